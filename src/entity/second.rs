//! What an entity did in one second, in sums and samples of bounded size.
//!
//! What counts for a second and not for a minute stands here alone. Start at [`SecondOf`].

use std::sync::Arc;

use super::measures::{Sent, add_sizes, vote};
use super::ports::SentPorts;
use super::silent::Silent;
use super::view::View;
use super::who::Who;
use crate::engine::window::Host;
use crate::packet::PacketClass;

/// What an entity did in one second.
#[derive(Clone, Debug)]
pub struct SecondOf {
    pub who: Arc<Who>,
    pub sent: Sent,
    pub received: Sent,
    /// Packets sent by protocol: TCP, UDP, ICMP (both), others.
    pub by_protocol: [u64; 4],
    pub syn_sent: u64,
    /// New flows towards peers: connections tried, datagram flows.
    pub flows: u64,
    pub unanswered_packets: u64,
    /// Where those went.
    pub silent: Silent,
    /// Who got more than half of the packets, where anybody did, and at least by how many
    /// more than all others (Boyer and Moore's vote); exact for one peer.
    pub top_peer: Option<(Host, u64)>,
    /// Its own address that sent more than half of them, the same way.
    pub own: Option<(Host, u64)>,
    /// Port of a flow with many of them.
    pub remote_port: u16,
    /// All of them, where they are few.
    pub ports: SentPorts,
}

impl SecondOf {
    /// In which it did nothing yet.
    pub(crate) fn new(who: Arc<Who>) -> Self {
        Self {
            who,
            sent: Sent::default(),
            received: Sent::default(),
            by_protocol: [0; 4],
            syn_sent: 0,
            flows: 0,
            unanswered_packets: 0,
            silent: Silent::default(),
            top_peer: None,
            own: None,
            remote_port: 0,
            ports: SentPorts::default(),
        }
    }

    /// For another second, of any entity.
    pub(super) fn begin(&mut self, of: Arc<Who>) {
        let Self {
            who,
            sent,
            received,
            by_protocol,
            syn_sent,
            flows,
            unanswered_packets,
            silent,
            top_peer,
            own,
            remote_port,
            ports,
        } = self;
        *who = of;
        (*sent, *received, *by_protocol) = (Sent::default(), Sent::default(), [0; 4]);
        (*syn_sent, *flows, *unanswered_packets) = (0, 0, 0);
        silent.clear();
        ports.clear();
        (*top_peer, *own, *remote_port) = (None, None, 0);
    }

    #[inline]
    pub(super) fn add(&mut self, view: &View<'_>) {
        let packets = u64::from(view.sent.packets()) * view.scale;
        self.sent.packets += packets;
        self.sent.wire_bytes += view.sent.wire_bytes * view.scale;
        self.sent.payload_bytes += view.sent.payload_bytes * view.scale;
        add_sizes(&mut self.sent.sizes, &view.sent.sizes, view.scale);
        let received_packets = u64::from(view.received.packets()) * view.scale;
        self.received.packets += received_packets;
        self.received.wire_bytes += view.received.wire_bytes * view.scale;
        self.received.payload_bytes += view.received.payload_bytes * view.scale;
        let protocol = match view.proto {
            6 => 0,
            17 => 1,
            1 | 58 => 2,
            _ => 3,
        };
        self.by_protocol[protocol] += packets;
        self.syn_sent += u64::from(view.sent.classes[PacketClass::TcpSyn as usize]) * view.scale;
        if packets > 0 {
            self.flows += view.scale;
        }
        if received_packets == 0 {
            self.unanswered_packets += packets;
            self.silent.add(&view.peer, packets);
        }
        self.ports.add(view);
        let lead = self.top_peer.map_or(0, |(_, lead)| lead);
        vote(&mut self.top_peer, view.peer, packets);
        vote(&mut self.own, view.sent.src, packets);
        if packets > lead {
            self.remote_port = view.remote_port;
        }
    }
}

//! A flow of a second as it looks from one of its ends, and who began it.
//!
//! Nothing is added up here. Start at [`View::of`].

use crate::engine::window::{Delta, EPHEMERAL, FlowRow, Host, is_between_clients, is_icmp_request};
use crate::packet::PacketClass;

/// IP protocol number (IANA).
pub(super) const TCP: u8 = 6;

/// Who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leg {
    /// The entity serves.
    Accepted,
    /// The entity is the client.
    Opened,
}

impl Leg {
    /// As far as ports tell: one under 32,768 that is the lower of both is the service's.
    pub fn of(local_port: u16, remote_port: u16) -> Self {
        match local_port < remote_port && local_port < EPHEMERAL {
            true => Self::Accepted,
            false => Self::Opened,
        }
    }
}

/// A flow of a second, seen from one of its ends.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub second: i64,
    pub peer: Host,
    /// The peer is outside the home networks.
    pub external: bool,
    pub proto: u8,
    pub local_port: u16,
    pub remote_port: u16,
    pub leg: Leg,
    pub sent: &'a Delta,
    pub received: &'a Delta,
    pub scale: u64,
}

impl<'a> View<'a> {
    /// From the end of `there`, or from the other; who began is told by ports.
    pub fn of(row: &'a FlowRow, second: i64, from_there: bool, external: bool) -> Self {
        let (sent, received) = match from_there {
            true => (&row.there, &row.back),
            false => (&row.back, &row.there),
        };
        Self {
            second,
            peer: sent.dst,
            external,
            proto: sent.proto,
            local_port: sent.src_port,
            remote_port: sent.dst_port,
            leg: Leg::of(sent.src_port, sent.dst_port),
            sent,
            received,
            scale: row.scale,
        }
    }

    /// Whether the entity began it, as far as this second tells: by who alone sent a SYN,
    /// of ICMP by who asks, else by the ports. Of a TCP flow whose ports are both services'
    /// nobody knows without its SYN, and a reset of its own answers something: what
    /// others send must not look as if it was asked for.
    #[inline]
    pub(super) fn is_opened(&self) -> bool {
        use PacketClass::{TcpRst, TcpSyn, TcpSynAck, TcpUnknown};
        let has = |delta: &Delta, class| delta.classes[class as usize] > 0;
        // Flags of a report are of a whole direction: an answer's look the same.
        let begins = |delta: &Delta| has(delta, TcpSyn) && !has(delta, TcpUnknown);
        let by_ports = self.leg == Leg::Opened;
        match self.proto {
            TCP => match (begins(self.sent), begins(self.received)) {
                (true, false) => true,
                (false, true) => false,
                _ => {
                    let resets = self.sent.classes[TcpRst as usize] == self.sent.packets();
                    let tells = self.local_port.max(self.remote_port) >= EPHEMERAL;
                    by_ports && tells && !resets && !has(self.sent, TcpSynAck)
                }
            },
            1 | 58 => is_icmp_request(self.proto, self.local_port),
            // Both services' ports, both clients', or none: whoever asks chooses that.
            _ => {
                let ports = [self.local_port, self.remote_port];
                by_ports && ports.iter().filter(|&&port| port >= EPHEMERAL).count() == 1
            }
        }
    }

    /// The same as far as its leg tells: of UDP between ports of clients that comes from who
    /// sent first, which is more than is known of a second.
    #[inline]
    pub(super) fn is_of_opened_leg(&self) -> bool {
        let between_clients = is_between_clients(self.proto, (self.local_port, self.remote_port));
        self.is_opened() || (between_clients && self.leg == Leg::Opened)
    }
}

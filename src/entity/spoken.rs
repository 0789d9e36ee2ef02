//! Payload sizes by service: what an entity speaks, each by itself.
//!
//! A window's rows have sizes by flow, so that nothing is counted twice for this and
//! nothing per packet.

use super::measures::{reserve_first, vote};
use super::view::{Leg, View};
use crate::engine::window::{Host, SIZE_BINS};

/// Services of a minute that are kept, those with the most packets with payload. A program
/// speaks one to three; of a host, which speaks more, small ones are judged with the rest of
/// it. Half a kilobyte of the 4 KB of an entity.
pub const SPOKEN: usize = 4;

/// A protocol and the port of who answers, at either end: a resolver does not ask in the
/// sizes in which it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    pub proto: u8,
    /// The code of an ICMP message.
    pub port: u16,
    pub leg: Leg,
}

impl Service {
    fn of(view: &View<'_>) -> Self {
        let port = match view.leg {
            Leg::Accepted => view.local_port,
            Leg::Opened => view.remote_port,
        };
        Self { proto: view.proto, port, leg: view.leg }
    }
}

/// `udp/53`, and `udp/53 served` at the end that answers.
impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&service_name((self.proto, self.port)))?;
        f.write_str(if self.leg == Leg::Accepted { " served" } else { "" })
    }
}

/// `udp/443`, `icmp`.
pub(crate) fn service_name((proto, port): (u8, u16)) -> String {
    let name = match proto {
        1 | 58 => return "icmp".to_owned(),
        6 => "tcp",
        17 => "udp",
        47 => return "gre".to_owned(),
        132 => "sctp",
        _ => return format!("ip/{proto}"),
    };
    format!("{name}/{port}")
}

/// What was spoken of one service. 112 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Spoken {
    pub service: Service,
    /// Packets sent by payload size, in the coarse bins of windows.
    sizes: [u32; SIZE_BINS],
    pub sent_payload: u64,
    pub received_payload: u64,
    /// Sent to peers outside the home networks.
    pub external_payload: u64,
    /// Who got more than half of the payload, where anybody did (Boyer and Moore's vote).
    pub to: Option<(Host, u64)>,
}

impl Spoken {
    pub fn new(service: Service) -> Self {
        Self {
            service,
            sizes: [0; SIZE_BINS],
            sent_payload: 0,
            received_payload: 0,
            external_payload: 0,
            to: None,
        }
    }

    pub fn sizes(&self) -> [u64; SIZE_BINS] {
        self.sizes.map(u64::from)
    }

    /// Packets sent with payload.
    pub fn packets(&self) -> u64 {
        self.sizes.iter().skip(1).map(|&packets| u64::from(packets)).sum()
    }

    /// Counts packets of a payload size that all went to one peer.
    pub fn send(&mut self, bin: usize, packets: u32, payload: u64) {
        if let Some(sum) = self.sizes.get_mut(bin) {
            *sum = sum.saturating_add(packets);
        }
        self.sent_payload = self.sent_payload.saturating_add(payload);
    }

    fn add(&mut self, view: &View<'_>) {
        let scale = u32::try_from(view.scale).unwrap_or(u32::MAX);
        let sizes = self.sizes.iter_mut().zip(&view.sent.sizes);
        // Mostly a row stands for itself.
        match scale {
            1 => sizes.for_each(|(sum, &packets)| *sum = sum.saturating_add(packets)),
            _ => sizes.for_each(|(sum, &packets)| {
                *sum = sum.saturating_add(packets.saturating_mul(scale));
            }),
        }
        let sent = view.sent.payload_bytes * view.scale;
        self.sent_payload += sent;
        self.external_payload += if view.external { sent } else { 0 };
        self.received_payload += view.received.payload_bytes * view.scale;
        vote(&mut self.to, view.peer, sent);
    }
}

/// Adds a flow's second to its service. Where there is no place left, the one with the
/// fewest packets gives up its own. The new one begins at nothing, unlike in space-saving: a
/// crowd of ports with a packet each takes turns at one place, rather than at all but the
/// largest.
pub(super) fn speak(kept: &mut Vec<Spoken>, view: &View<'_>) {
    let service = Service::of(view);
    if let Some(spoken) = kept.iter_mut().find(|spoken| spoken.service == service) {
        spoken.add(view);
        return;
    }
    // Who has only listened so far takes nobody's place.
    if view.sent.sizes.iter().skip(1).all(|&packets| packets == 0) {
        return;
    }
    let mut spoken = Spoken::new(service);
    spoken.add(view);
    if kept.len() < SPOKEN {
        reserve_first(kept);
        kept.push(spoken);
        return;
    }
    let least = kept.iter_mut().min_by_key(|spoken| (spoken.packets(), spoken.service));
    if let Some(least) = least {
        *least = spoken;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::window::{Delta, FlowRow, size_bin};

    const HOST: [u8; 4] = [10, 0, 0, 5];
    const PEER: [u8; 4] = [203, 0, 113, 9];

    /// Packets of a size from the host, and one of 100 bytes back.
    fn heard(kept: &mut Vec<Spoken>, (proto, ports): (u8, [u16; 2]), (size, packets): (u32, u32)) {
        let [own, peer] = [HOST, PEER].map(|ip| Host::from(IpAddr::from(ip)));
        let mut there = Delta::new(own, peer, proto, ports[0], ports[1]);
        there.sizes[size_bin(size)] = packets;
        there.payload_bytes = u64::from(size * packets);
        let mut back = Delta::new(peer, own, proto, ports[1], ports[0]);
        back.payload_bytes = 100;
        let row = FlowRow { there, back, echo_id: 0, scale: 1, first_there: None };
        speak(kept, &View::of(&row, 0, true, true));
    }

    fn find(kept: &[Spoken], port: u16) -> Option<&Spoken> {
        kept.iter().find(|spoken| spoken.service.port == port)
    }

    #[test]
    fn a_service_is_the_port_of_who_answers_at_either_end() {
        let mut kept = Vec::new();
        heard(&mut kept, (17, [50_000, 53]), (40, 3));
        heard(&mut kept, (17, [50_001, 53]), (40, 3));
        heard(&mut kept, (17, [53, 50_000]), (200, 5));
        heard(&mut kept, (6, [50_000, 53]), (600, 1));
        let told: Vec<_> = kept
            .iter()
            .map(|spoken| (spoken.service.proto, spoken.service.leg, spoken.packets()))
            .collect();
        assert_eq!(told, [(17, Leg::Opened, 6), (17, Leg::Accepted, 5), (6, Leg::Opened, 1)]);
        let asked = kept[0];
        assert_eq!((asked.service.port, asked.sizes()[size_bin(40)]), (53, 6));
        assert_eq!((asked.sent_payload, asked.received_payload), (240, 200));
        assert_eq!(asked.to, Some((Host::from(IpAddr::from(PEER)), 240)));
    }

    #[test]
    fn a_small_service_keeps_its_place_under_a_crowd_of_smaller_ones() {
        let mut kept = Vec::new();
        for second in 0..60 {
            heard(&mut kept, (6, [50_000, 443]), (1_400, 900));
            heard(&mut kept, (17, [50_000, 53]), (40, 5));
            for port in 0..50 {
                heard(&mut kept, (17, [60_000, 7_000 + second * 50 + port]), (100, 1));
            }
        }
        assert_eq!(kept.len(), SPOKEN);
        assert_eq!(find(&kept, 443).map(Spoken::packets), Some(60 * 900));
        assert_eq!(find(&kept, 53).map(Spoken::packets), Some(60 * 5));
    }

    #[test]
    fn what_has_no_sizes_or_only_listens_takes_no_place() {
        let mut kept = Vec::new();
        heard(&mut kept, (6, [50_000, 443]), (0, 9));
        assert!(kept.is_empty());
    }
}

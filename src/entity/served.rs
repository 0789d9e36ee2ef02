//! Who began a connection, where ports would deceive: a server on a port that is handed
//! out to clients, or higher than its client's.
//!
//! Who answers a SYN serves on that port, and goes on to serve those whose SYN was
//! seconds or minutes ago. Of UDP whose ports are both handed out to clients, who sent the
//! first packet that was seen is the client, of that flow alone. Only exceptions to
//! [`Leg::of`] and such flows are remembered, which are few. Two generations of which the
//! older goes as a whole, unless it is asked for; bounded by [`MAX_KNOWN`] and the rows of
//! a second each.

use std::hash::Hash;

use ahash::HashMap;

use super::view::{Leg, View};
use crate::engine::window::{FlowRow, Host, is_between_clients};
use crate::packet::PacketClass;

/// Peers of file sharing serve on such ports, and have such flows: thousands in an hour.
/// Two generations of flows take 3 MB.
const MAX_KNOWN: usize = 16_384;
/// Between one connection of a server and its next, at most.
const GENERATION_S: i64 = 3_600;
const TCP: u8 = 6;

/// An end of a flow.
type End = (Host, u16);

#[derive(Debug, Default)]
pub(crate) struct Served {
    ports: Recent<End, ()>,
    /// By both ends, the lesser first: which of them began.
    flows: Recent<[End; 2], End>,
}

#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    since_s: i64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), since_s: 0 }
    }
}

impl<K: Eq + Hash, V: Copy> Recent<K, V> {
    fn begin(&mut self, second: i64) {
        let is_over = second.saturating_sub(self.since_s) >= GENERATION_S;
        if is_over || self.young.len() >= MAX_KNOWN {
            self.old = std::mem::take(&mut self.young);
            self.since_s = second;
        }
    }

    fn get(&mut self, key: K) -> Option<V> {
        if let Some(&known) = self.young.get(&key) {
            return Some(known);
        }
        if self.old.is_empty() {
            return None;
        }
        let known = self.old.remove(&key)?;
        self.young.insert(key, known);
        Some(known)
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

impl Served {
    /// Looks at the rows of a second before any of them is asked about.
    pub(crate) fn learn<'a>(&mut self, second: i64, rows: impl Iterator<Item = &'a FlowRow>) {
        self.ports.begin(second);
        self.flows.begin(second);
        for row in rows {
            let (there, back) = (&row.there, &row.back);
            let ends = [(there.src, there.src_port), (there.dst, there.dst_port)];
            if is_between_clients(there.proto, (there.src_port, there.dst_port)) {
                let Some(first_there) = row.first_there else { continue };
                let flow = ordered(ends);
                if self.flows.get(flow).is_none() {
                    self.flows.young.insert(flow, ends[usize::from(!first_there)]);
                }
            }
            if there.proto != TCP {
                continue;
            }
            for (server, client) in [(there, back), (back, there)] {
                let answers = server.classes[PacketClass::TcpSynAck as usize] > 0
                    && client.classes[PacketClass::TcpSyn as usize] > 0;
                if answers && Leg::of(server.src_port, client.src_port) == Leg::Opened {
                    self.ports.young.insert((server.src, server.src_port), ());
                }
            }
        }
    }

    /// Which end of the flow the entity is at.
    pub(crate) fn leg(&mut self, view: &View<'_>) -> Leg {
        let by_ports = Leg::of(view.local_port, view.remote_port);
        let (own, peer) = ((view.sent.src, view.local_port), (view.peer, view.remote_port));
        if is_between_clients(view.proto, (own.1, peer.1)) {
            return match self.flows.get(ordered([own, peer])) {
                Some(began) if began == peer => Leg::Accepted,
                _ => by_ports,
            };
        }
        if view.proto != TCP || self.ports.is_empty() {
            return by_ports;
        }
        match by_ports {
            Leg::Opened if self.ports.get(own).is_some() => Leg::Accepted,
            Leg::Accepted if self.ports.get(peer).is_some() => Leg::Opened,
            by_ports => by_ports,
        }
    }
}

fn ordered([one, other]: [End; 2]) -> [End; 2] {
    if one <= other { [one, other] } else { [other, one] }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::window::Delta;

    fn ends() -> [Host; 2] {
        [IpAddr::from([10, 0, 0, 5]).into(), IpAddr::from([203, 0, 113, 9]).into()]
    }

    /// A client's row to a server, in its first second or later.
    fn row(client_port: u16, server_port: u16, opens: bool) -> FlowRow {
        let [server, client] = ends();
        let mut there = Delta::new(client, server, TCP, client_port, server_port);
        let mut back = Delta::new(server, client, TCP, server_port, client_port);
        there.classes[PacketClass::TcpSyn as usize] = u32::from(opens);
        back.classes[PacketClass::TcpSynAck as usize] = u32::from(opens);
        FlowRow { there, back, echo_id: 0, scale: 1, first_there: None }
    }

    /// At the server and at the client.
    fn legs(served: &mut Served, row: &FlowRow) -> [Leg; 2] {
        [false, true].map(|from_there| served.leg(&View::of(row, 0, from_there, false)))
    }

    #[test]
    fn a_server_on_a_clients_port_is_known_by_its_answer_and_from_then_on() {
        let mut served = Served::default();
        for (client_port, server_port) in [(33_000, 40_001), (60_000, 40_001), (2_048, 8_443)] {
            let later = row(client_port, server_port, false);
            assert_ne!(legs(&mut served, &later), [Leg::Accepted, Leg::Opened], "{server_port}");
            served.learn(1, [row(client_port, server_port, true)].iter());
            assert_eq!(legs(&mut served, &later), [Leg::Accepted, Leg::Opened], "{server_port}");
            served = Served::default();
        }
    }

    #[test]
    fn ports_are_forgotten_hours_after_their_last_use() {
        let mut served = Served::default();
        served.learn(0, [row(33_000, 40_001, true)].iter());
        let later = row(33_001, 40_001, false);
        for hour in 1..5 {
            served.learn(hour * GENERATION_S, std::iter::empty());
            assert_eq!(legs(&mut served, &later)[0], Leg::Accepted, "in use");
        }
        for hour in 5..7 {
            served.learn(hour * GENERATION_S, std::iter::empty());
        }
        assert_eq!(legs(&mut served, &later)[0], Leg::Opened);
        assert!(served.ports.is_empty());
    }

    #[test]
    fn usual_servers_take_no_place() {
        let mut served = Served::default();
        served.learn(1, [row(33_000, 443, true)].iter());
        assert!(served.ports.is_empty());
    }

    /// A row of UDP between ports of clients, whose first packet `first_there` sent.
    fn between_clients(ports: (u16, u16), first_there: Option<bool>) -> FlowRow {
        let [server, client] = ends();
        let there = Delta::new(client, server, 17, ports.0, ports.1);
        let back = Delta::new(server, client, 17, ports.1, ports.0);
        FlowRow { there, back, echo_id: 0, scale: 1, first_there }
    }

    #[test]
    fn between_ports_of_clients_who_sent_first_is_the_client() {
        for ports in [(40_000, 51_820), (51_820, 40_000), (51_820, 51_820)] {
            let row = |first_there| between_clients(ports, first_there);
            let mut served = Served::default();
            assert_eq!(legs(&mut served, &row(None)), [Leg::Opened; 2], "nobody knows");
            served.learn(1, [row(None)].iter());
            served.learn(2, [row(Some(true))].iter());
            // In later seconds the other sends first now and then.
            served.learn(3, [row(Some(false))].iter());
            assert_eq!(legs(&mut served, &row(None)), [Leg::Accepted, Leg::Opened], "{ports:?}");
            let mut served = Served::default();
            served.learn(1, [row(Some(false))].iter());
            assert_eq!(legs(&mut served, &row(None)), [Leg::Opened, Leg::Accepted], "{ports:?}");
            let other = between_clients((ports.0 + 1, ports.1), None);
            assert_eq!(legs(&mut served, &other), [Leg::Opened; 2], "of that flow alone");
        }
    }

    #[test]
    fn a_flood_between_ports_of_clients_takes_bounded_room_and_flows_at_work_stay() {
        let mut served = Served::default();
        let works = between_clients((40_000, 51_820), Some(true));
        for second in 0..16_i64 {
            let flood = (0..4_096).map(|nth| {
                let port = 32_768 + (second as u16 % 8) * 4_096 + nth;
                let mut row = between_clients((port, 51_821), Some(true));
                row.there.src = IpAddr::from([198, 51, 100, second as u8]).into();
                row.back.dst = row.there.src;
                row
            });
            // What came first in a later second says nothing any more.
            let first_there = Some(second == 0);
            let rows: Vec<_> = flood.chain([FlowRow { first_there, ..works }]).collect();
            served.learn(second, rows.iter());
            assert_eq!(legs(&mut served, &works), [Leg::Accepted, Leg::Opened], "{second}");
            for generation in [&served.flows.young, &served.flows.old] {
                assert!(generation.len() <= MAX_KNOWN + 4_097, "{}", generation.len());
            }
        }
    }

    #[test]
    fn usual_udp_takes_no_place() {
        let mut served = Served::default();
        served.learn(1, [between_clients((40_000, 1_194), Some(false))].iter());
        assert!(served.flows.is_empty());
    }
}

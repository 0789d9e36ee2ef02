//! Who began a connection, where ports would deceive: a server on a port that is handed
//! out to clients, or higher than its client's.
//!
//! Who answers a SYN serves on that port, and goes on to serve those whose SYN was
//! seconds or minutes ago. Only exceptions to [`Leg::of`] are remembered, which are few.
//! Two generations of which the older goes as a whole, unless it is asked for; bounded by
//! [`MAX_PORTS`] each.

use ahash::HashSet;

use super::measures::{Leg, View};
use crate::engine::window::{FlowRow, Host};
use crate::packet::PacketClass;

/// Peers of file sharing serve on such ports: thousands in an hour.
const MAX_PORTS: usize = 16_384;
/// Between one connection of a server and its next, at most.
const GENERATION_S: i64 = 3_600;
const TCP: u8 = 6;

#[derive(Debug, Default)]
pub(crate) struct Served {
    young: HashSet<(Host, u16)>,
    old: HashSet<(Host, u16)>,
    since_s: i64,
}

impl Served {
    /// Looks at the rows of a second before any of them is asked about.
    pub(crate) fn learn<'a>(&mut self, second: i64, rows: impl Iterator<Item = &'a FlowRow>) {
        let is_over = second.saturating_sub(self.since_s) >= GENERATION_S;
        if is_over || self.young.len() >= MAX_PORTS {
            self.old = std::mem::take(&mut self.young);
            self.since_s = second;
        }
        for row in rows.filter(|row| row.there.proto == TCP) {
            for (server, client) in [(&row.there, &row.back), (&row.back, &row.there)] {
                let answers = server.classes[PacketClass::TcpSynAck as usize] > 0
                    && client.classes[PacketClass::TcpSyn as usize] > 0;
                if answers && Leg::of(server.src_port, client.src_port) == Leg::Opened {
                    self.young.insert((server.src, server.src_port));
                }
            }
        }
    }

    /// Which end of the flow the entity is at.
    pub(crate) fn leg(&mut self, view: &View<'_>) -> Leg {
        let by_ports = Leg::of(view.local_port, view.remote_port);
        if view.proto != TCP || (self.young.is_empty() && self.old.is_empty()) {
            return by_ports;
        }
        let (own, peer) = (view.sent.src, view.peer);
        match by_ports {
            Leg::Opened if self.serves((own, view.local_port)) => Leg::Accepted,
            Leg::Accepted if self.serves((peer, view.remote_port)) => Leg::Opened,
            by_ports => by_ports,
        }
    }

    fn serves(&mut self, port: (Host, u16)) -> bool {
        if self.old.remove(&port) {
            self.young.insert(port);
        }
        self.young.contains(&port)
    }
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
        FlowRow { there, back, echo_id: 0, scale: 1 }
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
        assert!(served.young.is_empty() && served.old.is_empty());
    }

    #[test]
    fn usual_servers_take_no_place() {
        let mut served = Served::default();
        served.learn(1, [row(33_000, 443, true)].iter());
        assert!(served.young.is_empty());
    }
}

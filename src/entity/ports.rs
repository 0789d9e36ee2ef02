//! Ports at the other end that something went to, where those are few.
//!
//! Told only where none that counts is left out: what somebody allows at one port must not
//! hide what goes to another.

use super::view::View;
use crate::packet::PacketClass;

/// Ports of a sender's second that are told apart: a program floods one, and asks a resolver,
/// a proxy and a collector beside it. 24 bytes each.
const PLACES: usize = 8;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Whether a protocol's ports are ports: an ICMP message's are its type and code.
pub(crate) fn has_port((protocol, port): (u8, u16)) -> bool {
    matches!(protocol, TCP | UDP | SCTP) && port > 0
}

/// What went to ports, in a second of a sender or of several.
#[derive(Clone, Debug, Default)]
pub struct SentPorts {
    places: [Place; PLACES],
    len: u8,
    all: Sums<u64>,
    /// Of ports that have no place, or had none for a time.
    missed: Sums<u64>,
}

/// Protocol, port, and what went there.
type Place = ((u8, u16), Sums<u32>);

/// Packets and bytes, those of flows that nobody answered, and SYNs: whatever a flood is
/// counted in.
type Sums<T> = [T; 5];

impl SentPorts {
    pub(super) fn add(&mut self, view: &View<'_>) {
        let (sent, scale) = (view.sent, view.scale);
        let packets = u64::from(sent.packets()).saturating_mul(scale);
        if packets == 0 {
            return;
        }
        let bytes = sent.wire_bytes.saturating_mul(scale);
        let is_silent = u64::from(view.received.packets() == 0);
        let syn = u64::from(sent.classes[PacketClass::TcpSyn as usize]).saturating_mul(scale);
        let sums = [packets, bytes, is_silent * packets, is_silent * bytes, syn];
        self.put((view.proto, view.remote_port), sums);
    }

    fn put(&mut self, key: (u8, u16), sums: Sums<u64>) {
        grow(&mut self.all, &sums);
        let places = &mut self.places[..self.len.into()];
        if let Some((_, known)) = places.iter_mut().find(|(known, _)| *known == key) {
            for (sum, more) in known.iter_mut().zip(sums) {
                *sum = sum.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            }
            return;
        }
        let fresh = (key, sums.map(|sum| u32::try_from(sum).unwrap_or(u32::MAX)));
        if let Some(place) = self.places.get_mut(usize::from(self.len)) {
            *place = fresh;
            self.len += 1;
            return;
        }
        // Who has least gives up its place, the new one or another.
        let least = self.places.iter_mut().min_by_key(|(key, sums)| (sums[0], *key));
        match least.filter(|(_, least)| u64::from(least[0]) < sums[0]) {
            Some(least) => {
                let (_, gone) = std::mem::replace(least, fresh);
                grow(&mut self.missed, &gone.map(u64::from));
            }
            None => grow(&mut self.missed, &sums),
        }
    }

    /// What several sent together.
    pub(crate) fn join(&mut self, other: &Self) {
        for &(key, sums) in &other.places[..other.len.into()] {
            self.put(key, sums.map(u64::from));
        }
        grow(&mut self.all, &other.missed);
        grow(&mut self.missed, &other.missed);
    }

    /// So many packets to each, of a hundred bytes, that nobody answered.
    #[cfg(test)]
    pub(crate) fn unanswered(services: &[((u8, u16), u64)]) -> Self {
        let mut ports = Self::default();
        for &(key, packets) in services {
            ports.put(key, [packets, 100 * packets, packets, 100 * packets, 0]);
        }
        ports
    }

    pub(super) fn clear(&mut self) {
        (self.len, self.all, self.missed) = (0, Sums::default(), Sums::default());
    }

    /// Ports that a hundredth and more went to of anything that is counted, in order: what is
    /// less is a name asked. Nothing where such a port may be missing, or what went there has
    /// none.
    pub(crate) fn much(&self) -> Option<Vec<u16>> {
        let is_much = |sums: &Sums<u64>| {
            let held = sums.iter().zip(&self.all);
            held.into_iter().any(|(&part, &all)| part > 0 && part.saturating_mul(100) >= all)
        };
        if is_much(&self.missed) {
            return None;
        }
        let mut ports = Vec::new();
        for (key, sums) in &self.places[..self.len.into()] {
            let mut most = sums.map(u64::from);
            // It may have been without a place for a time.
            grow(&mut most, &self.missed);
            if is_much(&most) {
                ports.push(has_port(*key).then_some(key.1)?);
            }
        }
        ports.sort_unstable();
        ports.dedup();
        (!ports.is_empty()).then_some(ports)
    }
}

fn grow(sums: &mut Sums<u64>, more: &Sums<u64>) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// The service at the other end that all went to, where it was one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OneService {
    /// Nothing went anywhere yet.
    #[default]
    None,
    One(u8, u16),
    /// Others too, or perhaps.
    Several,
}

impl OneService {
    pub(super) fn add(&mut self, proto: u8, port: u16) {
        *self = match *self {
            Self::None => Self::One(proto, port),
            same if same == Self::One(proto, port) => same,
            _ => Self::Several,
        };
    }

    /// Its port, where it has one.
    pub(crate) fn port(self) -> Option<u16> {
        match self {
            Self::One(proto, port) => has_port((proto, port)).then_some(port),
            Self::None | Self::Several => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::window::{Delta, Host};
    use crate::entity::Leg;

    /// Protocol, port, packets, and whether they were answered.
    type Sent = (u8, u16, u32, bool);

    fn sent(rows: &[Sent]) -> SentPorts {
        let [own, peer] = [1, 2].map(|last| Host::from(IpAddr::from([192, 0, 2, last])));
        let mut ports = SentPorts::default();
        for &(proto, remote_port, packets, answered) in rows {
            let mut sent = Delta::new(own, peer, proto, 50_000, remote_port);
            let class = if proto == TCP { PacketClass::TcpSyn } else { PacketClass::Udp };
            sent.classes[class as usize] = packets;
            sent.wire_bytes = 60 * u64::from(packets);
            let mut received = Delta::new(peer, own, proto, remote_port, 50_000);
            received.classes[PacketClass::Udp as usize] = u32::from(answered);
            ports.add(&View {
                second: 0,
                peer,
                external: true,
                proto,
                local_port: 50_000,
                remote_port,
                leg: Leg::Opened,
                sent: &sent,
                received: &received,
                scale: 1,
            });
        }
        ports
    }

    #[test]
    fn ports_of_a_second_are_told_where_none_that_counts_is_left_out() {
        let much = (TCP, 443, 1_000, false);
        let told = |rows: &[Sent]| sent(rows).much();
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[much]), Some(vec![443]));
        assert_eq!(told(&[much, (UDP, 53, 5, true)]), Some(vec![443]), "a name was asked");
        assert_eq!(told(&[(UDP, 53, 20, true), much]), Some(vec![53, 443]));
        assert_eq!(told(&[much, (1, 8, 20, true)]), None, "ICMP has no ports");
        // Little of all packets, and all of those that are no answered ones.
        let upload = (UDP, 8_080, 1_000_000, true);
        assert_eq!(told(&[upload, much]), Some(vec![443, 8_080]));
    }

    #[test]
    fn more_ports_than_have_places_are_told_only_where_the_rest_is_little() {
        let rows = |packets, count: u16| {
            let small = (0..count).map(move |at| (UDP, 40_000 + at, packets, true));
            small.chain([(UDP, 443, 100_000, true)]).collect::<Vec<_>>()
        };
        assert_eq!(sent(&rows(2, 40)).much(), Some(vec![443]));
        assert_eq!(sent(&rows(2_000, 40)).much(), None);
        // Those of several add up, and what one of them has no place for.
        let mut both = sent(&[(UDP, 443, 1_000, true)]);
        both.join(&sent(&[(UDP, 53, 1_000, true)]));
        assert_eq!(both.much(), Some(vec![53, 443]));
        both.join(&sent(&rows(2_000, 40)));
        assert_eq!(both.much(), None);
        both.clear();
        assert_eq!(both.much(), None);
    }
}

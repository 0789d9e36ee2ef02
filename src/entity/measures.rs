//! What an entity did in some time: sums of fixed size, whatever it did.

use super::ports::{OneService, has_port};
use super::spoken::{Spoken, speak};
use super::view::{Leg, TCP, View};
use crate::engine::window::{Delta, Hll, Host, SIZE_BINS, Seed};
use crate::memory::prefetch;
use crate::packet::PacketClass;

/// Peers of a minute that are kept with sums of their own: the ones with the most
/// bytes (space-saving, Metwally et al. 2005). A share of over a sixteenth is always
/// among them.
pub const TOP_PEERS: usize = 16;
/// Services (protocol and port of the peer) that are kept the same way.
pub const SERVICES: usize = 8;
/// Seconds of a minute.
pub const SECONDS: usize = 60;

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    /// Packets by payload size, in the coarse bins of windows.
    pub sizes: [u64; SIZE_BINS],
}

impl Sent {
    fn add(&mut self, delta: &Delta, scale: u64) {
        self.packets += u64::from(delta.packets()) * scale;
        self.wire_bytes += delta.wire_bytes * scale;
        self.payload_bytes += delta.payload_bytes * scale;
        add_sizes(&mut self.sizes, &delta.sizes, scale);
    }
}

/// Mostly a row stands for itself, and there is nothing to multiply.
#[inline]
pub(super) fn add_sizes(sums: &mut [u64; SIZE_BINS], sizes: &[u32; SIZE_BINS], scale: u64) {
    if scale == 1 {
        sums.iter_mut().zip(sizes).for_each(|(sum, &packets)| *sum += u64::from(packets));
    } else {
        sums.iter_mut().zip(sizes).for_each(|(sum, &packets)| *sum += u64::from(packets) * scale);
    }
}

/// A peer, or a service (then `host` is nobody's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSums<K> {
    pub key: K,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub sent_payload: u64,
    /// Sent in flows that the entity began: who has none is no destination of it, but
    /// somebody whom it answers.
    pub opened_bytes: u64,
    /// Sent without connections in seconds in which nothing came back.
    pub unasked_bytes: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub received_payload: u64,
    /// Bytes that may belong to others that had this place before.
    pub error_bytes: u64,
    /// Where all of it went; not known of who had no place for a time.
    pub service: OneService,
}

impl<K> PeerSums<K> {
    /// What was sent to it of the entity's own accord; nothing where it only answered.
    /// Who sent nothing all the while can't have asked: a second alone does not tell, since
    /// answers take time.
    pub fn reached_bytes(&self) -> Option<u64> {
        let unasked = if self.received_packets == 0 { self.unasked_bytes } else { 0 };
        Some(self.opened_bytes.max(unasked)).filter(|&bytes| bytes > 0)
    }
}

/// What a row adds to the sums of its peer and of its service.
#[derive(Clone, Copy)]
struct Added {
    /// To who answers.
    to: (u8, u16),
    has_sent: bool,
    sent_bytes: u64,
    sent_packets: u64,
    sent_payload: u64,
    opened_bytes: u64,
    unasked_bytes: u64,
    received_bytes: u64,
    received_packets: u64,
    received_payload: u64,
}

/// Payload bytes of the seconds of a minute, by leg, received and sent. A leg takes half a
/// kilobyte once it, or what had its memory before, has any: most only serve, or only ask.
#[derive(Clone, Debug, Default)]
pub struct Series([Option<Box<Ways>>; 2]);

/// Received and sent.
type Ways = [[u32; SECONDS]; 2];

impl Series {
    pub fn of(&self, leg: Leg) -> &Ways {
        self.0[leg as usize].as_deref().unwrap_or(&[[0; SECONDS]; 2])
    }

    /// Adds what a leg received and sent in a second.
    fn add(&mut self, leg: Leg, second: i64, bytes: [u64; 2]) {
        if bytes == [0, 0] {
            return;
        }
        let at = second.rem_euclid(SECONDS as i64) as usize;
        let ways = self.0[leg as usize].get_or_insert_with(|| Box::new([[0; SECONDS]; 2]));
        for (way, bytes) in ways.iter_mut().zip(bytes) {
            way[at] = way[at].saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Nothing of either leg; the memory stays.
    fn clear(&mut self) {
        self.0.iter_mut().flatten().for_each(|ways| **ways = [[0; SECONDS]; 2]);
    }

    fn prefetch(&self, second: i64) {
        let at = second.rem_euclid(SECONDS as i64) as usize;
        let ways = self.0.iter().flatten().flat_map(|ways| ways.iter());
        ways.for_each(|way| prefetch(&way[at]));
    }
}

/// Sums of one entity over some seconds. About 2.5 KB, and half a KB more for each leg that it had.
#[derive(Clone, Debug)]
pub struct Measures {
    pub sent: Sent,
    pub received: Sent,
    /// Sent to peers outside the home networks.
    pub external: Sent,
    /// Sent over protocols without connections (UDP, ICMP, GRE, others).
    pub stateless: Sent,
    /// Sent in flows that nobody answered in that second.
    pub unanswered_packets: u64,
    pub unanswered_bytes: u64,
    /// New TCP connections that it tried to open (SYN sent).
    pub syn_sent: u64,
    pub flows: Hll,
    /// Addresses that it sent to.
    pub peers: Hll,
    /// Of those outside the home networks: whom it answered, and to whom it opened.
    pub outside_clients: Hll,
    pub outside_reached: Hll,
    /// Payload bytes of the opened leg, sent and received, with peers outside.
    pub opened_outside_bytes: u64,
    pub top: Vec<PeerSums<Host>>,
    /// Its own address that sent more than half of the bytes, where one did
    /// (Boyer and Moore's vote).
    pub own: Option<(Host, u64)>,
    /// By protocol and the peer's port.
    pub services: Vec<PeerSums<(u8, u16)>>,
    /// By protocol and the port of who answers, with sizes.
    pub spoken: Vec<Spoken>,
    /// Payload bytes by second.
    pub series: Series,
    /// Payload bytes, sent and received, of flows in which it stood for a workload that is
    /// known: counted for that too. By leg, accepted and opened.
    pub of_workloads_bytes: [u64; 2],
    /// The same of processes that are known.
    pub of_processes_bytes: u64,
    pub seconds_active: u32,
    last_second: i64,
    /// The second in which it sent the most packets, and what it sent then.
    pub busiest: (i64, u64, u64, u64),
    /// Packets of it in flows that nobody answered in it.
    pub busiest_unanswered: u64,
    /// Most packets of one second in flows that nobody answered in it.
    pub most_unanswered: u64,
    now: (u64, u64, u64),
    now_unanswered: u64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            sent: Sent::default(),
            received: Sent::default(),
            external: Sent::default(),
            stateless: Sent::default(),
            unanswered_packets: 0,
            unanswered_bytes: 0,
            syn_sent: 0,
            flows: Hll::default(),
            peers: Hll::default(),
            outside_clients: Hll::default(),
            outside_reached: Hll::default(),
            opened_outside_bytes: 0,
            top: Vec::new(),
            own: None,
            services: Vec::new(),
            spoken: Vec::new(),
            series: Series::default(),
            of_workloads_bytes: [0; 2],
            of_processes_bytes: 0,
            seconds_active: 0,
            last_second: i64::MIN,
            busiest: (0, 0, 0, 0),
            busiest_unanswered: 0,
            most_unanswered: 0,
            now: (0, 0, 0),
            now_unanswered: 0,
        }
    }
}

/// Entries whose memory serves the next minute: most entities have fewer, and what a few need
/// must not become what all hold.
const REUSED: usize = 4;

impl Measures {
    /// Nothing of another entity; most of the memory stays.
    pub(super) fn clear(&mut self) {
        fn emptied<T>(entries: &mut Vec<T>) -> Vec<T> {
            let mut entries = std::mem::take(entries);
            if entries.capacity() > REUSED {
                return Vec::new();
            }
            entries.clear();
            entries
        }
        let (top, services) = (emptied(&mut self.top), emptied(&mut self.services));
        let spoken = emptied(&mut self.spoken);
        let mut series = std::mem::take(&mut self.series);
        series.clear();
        *self = Self { top, services, spoken, series, ..Self::default() };
    }

    /// Counts a flow's second. Seconds come in order.
    pub fn add(&mut self, view: &View<'_>, seed: Seed) {
        let (sent, received, scale) = (view.sent, view.received, view.scale);
        let (sent_packets, received_packets) = (sent.packets(), received.packets());
        if view.second != self.last_second {
            self.last_second = view.second;
            self.now = (0, 0, 0);
            self.now_unanswered = 0;
            self.seconds_active += 1;
        }
        self.sent.add(sent, scale);
        self.received.add(received, scale);
        if view.external {
            self.external.add(sent, scale);
        }
        if view.proto != TCP {
            self.stateless.add(sent, scale);
        }
        if received_packets == 0 {
            self.unanswered_packets += u64::from(sent_packets) * scale;
            self.now_unanswered += u64::from(sent_packets) * scale;
            self.most_unanswered = self.most_unanswered.max(self.now_unanswered);
            self.unanswered_bytes += sent.wire_bytes * scale;
        }
        self.syn_sent += u64::from(sent.classes[PacketClass::TcpSyn as usize]) * scale;
        let peer_hash = seed.host(&view.peer);
        let ports = u64::from(view.local_port) << 16 | u64::from(view.remote_port);
        self.flows.insert(seed.mix(peer_hash, ports << 8 | u64::from(view.proto)));
        if sent_packets > 0 {
            self.peers.insert(peer_hash);
            if view.external && view.is_of_opened_leg() {
                self.outside_reached.insert(peer_hash);
            } else if view.external && view.leg == Leg::Accepted {
                self.outside_clients.insert(peer_hash);
            }
        }
        if view.external && view.leg == Leg::Opened {
            self.opened_outside_bytes += (sent.payload_bytes + received.payload_bytes) * scale;
        }
        vote(&mut self.own, view.sent.src, sent.wire_bytes * scale);
        let sent_bytes = sent.wire_bytes * scale;
        let if_so = |so: bool| if sent_packets > 0 && so { sent_bytes } else { 0 };
        let added = Added {
            to: (view.proto, view.remote_port),
            has_sent: sent_packets > 0,
            sent_bytes,
            sent_packets: u64::from(sent_packets) * scale,
            sent_payload: sent.payload_bytes * scale,
            opened_bytes: if_so(view.is_opened()),
            unasked_bytes: if_so(view.proto != TCP && received_packets == 0),
            received_bytes: received.wire_bytes * scale,
            received_packets: u64::from(received_packets) * scale,
            received_payload: received.payload_bytes * scale,
        };
        keep(&mut self.top, TOP_PEERS, view.peer, &added);
        keep(&mut self.services, SERVICES, added.to, &added);
        speak(&mut self.spoken, view);
        self.series.add(view.leg, view.second, [added.received_payload, added.sent_payload]);
        self.now.0 += u64::from(sent_packets) * scale;
        self.now.1 += sent.wire_bytes * scale;
        self.now.2 += sent.payload_bytes * scale;
        if self.now.0 > self.busiest.1 {
            self.busiest = (view.second, self.now.0, self.now.1, self.now.2);
            self.busiest_unanswered = self.now_unanswered;
        }
    }

    /// Asks for the memory that a second will be added to and that lies apart.
    pub(super) fn prefetch_parts(&self, second: i64) {
        self.top.iter().for_each(prefetch);
        self.services.iter().for_each(prefetch);
        self.spoken.iter().for_each(prefetch);
        self.series.prefetch(second);
    }

    /// Payload bytes, sent and received.
    pub fn payload_bytes(&self) -> u64 {
        self.sent.payload_bytes + self.received.payload_bytes
    }

    /// The same of each leg: accepted, opened.
    pub fn leg_bytes(&self) -> [u64; 2] {
        let sum = |bins: &[u32; SECONDS]| bins.iter().map(|&bytes| u64::from(bytes)).sum::<u64>();
        [Leg::Accepted, Leg::Opened].map(|leg| self.series.of(leg).iter().map(sum).sum())
    }

    /// Of all that was sent, the share that the address with the most took, and that
    /// address.
    pub fn top_peer(&self) -> Option<(&PeerSums<Host>, f64)> {
        let top = self.top.iter().max_by_key(|peer| (peer.sent_bytes, peer.key))?;
        let sure = top.sent_bytes.saturating_sub(top.error_bytes);
        Some((top, sure as f64 / self.sent.wire_bytes.max(1) as f64))
    }

    /// The same by service.
    pub fn top_service(&self) -> Option<(&PeerSums<(u8, u16)>, f64)> {
        let top = self.services.iter().max_by_key(|service| (service.sent_bytes, service.key))?;
        let sure = top.sent_bytes.saturating_sub(top.error_bytes);
        Some((top, sure as f64 / self.sent.wire_bytes.max(1) as f64))
    }

    /// Ports at the other end that a hundredth and more of what was sent went to: what is
    /// less is a name asked or a clock read. None where such a port may be missing here, or
    /// what went there has none.
    pub fn destination_ports(&self) -> Vec<u16> {
        let largest = self.largest(&self.services);
        if !largest.iter().all(|&service| has_port(service)) {
            return Vec::new();
        }
        let mut ports: Vec<u16> = largest.into_iter().map(|(_, port)| port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The same of addresses at the other end.
    pub fn destinations(&self) -> Vec<Host> {
        let mut hosts = self.largest(&self.top);
        hosts.sort_unstable();
        hosts
    }

    /// Those that a hundredth of what was sent and more went to; none where one may be
    /// missing.
    fn largest<K: Copy>(&self, sums: &[PeerSums<K>]) -> Vec<K> {
        let is_much = |part: u64, all: u64| part > 0 && part.saturating_mul(100) >= all;
        let (bytes, packets) = (self.sent.wire_bytes, self.sent.packets);
        if sums.iter().any(|sums| is_much(sums.error_bytes, bytes)) {
            return Vec::new();
        }
        let has = |sums: &&PeerSums<K>| {
            is_much(sums.sent_bytes, bytes) || is_much(sums.sent_packets, packets)
        };
        sums.iter().filter(has).map(|sums| sums.key).collect()
    }

    /// Packets received by packets sent.
    pub fn answer_ratio(&self) -> f64 {
        self.received.packets as f64 / self.sent.packets.max(1) as f64
    }
}

/// Who has more than half, where anybody does, and at least by how much more than all
/// others (Boyer and Moore's vote); exact for one.
pub(super) fn vote(leader: &mut Option<(Host, u64)>, host: Host, weight: u64) {
    let (known, lead) = leader.unwrap_or((host, 0));
    *leader = Some(match (known == host, lead >= weight) {
        (true, _) => (known, lead + weight),
        (false, true) => (known, lead - weight),
        (false, false) => (host, weight - lead),
    });
}

/// Room for one alone: most entities of a minute have a peer and a service, and `push` makes
/// room for four.
pub(super) fn reserve_first<T>(kept: &mut Vec<T>) {
    if kept.capacity() == 0 {
        kept.reserve_exact(1);
    }
}

/// Adds to the sums of a key; where there is no place left the one with the fewest
/// bytes gives up its own, which count for the new one as its error.
fn keep<K: Copy + Ord>(kept: &mut Vec<PeerSums<K>>, most: usize, key: K, added: &Added) {
    let at = kept.iter().position(|sums| sums.key == key).unwrap_or_else(|| {
        let fresh = |sent_bytes| PeerSums {
            key,
            sent_bytes,
            sent_packets: 0,
            sent_payload: 0,
            opened_bytes: 0,
            unasked_bytes: 0,
            received_bytes: 0,
            received_packets: 0,
            received_payload: 0,
            error_bytes: sent_bytes,
            service: if sent_bytes > 0 { OneService::Several } else { OneService::None },
        };
        if kept.len() < most {
            reserve_first(kept);
            kept.push(fresh(0));
            return kept.len() - 1;
        }
        let least = kept.iter().enumerate().min_by_key(|(_, sums)| (sums.sent_bytes, sums.key));
        let at = least.map_or(0, |(at, _)| at);
        kept[at] = fresh(kept[at].sent_bytes);
        at
    });
    let sums = &mut kept[at];
    if added.has_sent {
        sums.service.add(added.to.0, added.to.1);
    }
    sums.sent_bytes += added.sent_bytes;
    sums.opened_bytes += added.opened_bytes;
    sums.unasked_bytes += added.unasked_bytes;
    sums.sent_packets += added.sent_packets;
    sums.sent_payload += added.sent_payload;
    sums.received_bytes += added.received_bytes;
    sums.received_packets += added.received_packets;
    sums.received_payload += added.received_payload;
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const UDP: u8 = 17;
    const ACK: PacketClass = PacketClass::TcpAck;
    const RST: PacketClass = PacketClass::TcpRst;

    /// Whether who sent and got packets of these classes is taken to have begun it.
    fn opened(
        proto: u8,
        (local_port, remote_port): (u16, u16),
        sent: &[PacketClass],
        received: &[PacketClass],
    ) -> bool {
        let [own, peer] = [[10, 0, 0, 1], [203, 0, 113, 1]].map(|ip| Host::from(IpAddr::from(ip)));
        let delta = |classes: &[PacketClass], (src, src_port), (dst, dst_port)| {
            let mut delta = Delta::new(src, dst, proto, src_port, dst_port);
            classes.iter().for_each(|&class| delta.classes[class as usize] += 1);
            delta.wire_bytes = 100 * classes.len() as u64;
            delta
        };
        let ends = [(own, local_port), (peer, remote_port)];
        let view = View {
            second: 0,
            peer,
            external: true,
            proto,
            local_port,
            remote_port,
            leg: Leg::of(local_port, remote_port),
            sent: &delta(sent, ends[0], ends[1]),
            received: &delta(received, ends[1], ends[0]),
            scale: 1,
        };
        let mut measures = Measures::default();
        measures.add(&view, Seed::default());
        let [peer] = measures.top[..] else { panic!("one peer") };
        assert!(peer.opened_bytes == 0 || peer.opened_bytes == peer.sent_bytes);
        peer.opened_bytes > 0
    }

    /// What was sent to services, in bytes, by the rows of a second.
    fn sent_to(services: &[(u8, u16, u64)]) -> Measures {
        let own = Host::from(IpAddr::from([10, 0, 0, 1]));
        let mut measures = Measures::default();
        for &(proto, remote_port, bytes) in services {
            // Each at an address of its own.
            let [high, low] = remote_port.to_be_bytes();
            let peer = Host::from(IpAddr::from([203, 0, high, low]));
            let mut sent = Delta::new(own, peer, proto, 50_000, remote_port);
            sent.classes[ACK as usize] = (bytes / 100) as u32;
            sent.wire_bytes = bytes;
            let view = View {
                second: 0,
                peer,
                external: true,
                proto,
                local_port: 50_000,
                remote_port,
                leg: Leg::of(50_000, remote_port),
                sent: &sent,
                received: &Delta::new(peer, own, proto, remote_port, 50_000),
                scale: 1,
            };
            measures.add(&view, Seed::default());
        }
        measures
    }

    #[test]
    fn ports_that_much_went_to_are_told_where_none_of_them_is_left_out() {
        let much = (TCP, 443, 1_000_000);
        let ports = |services: &[_]| sent_to(services).destination_ports();
        assert_eq!(ports(&[much]), [443]);
        assert_eq!(ports(&[(UDP, 8_443, 20_000), much, (UDP, 443, 20_000)]), [443, 8_443]);
        assert_eq!(ports(&[much, (UDP, 53, 500)]), [443], "a name was asked");
        assert!(ports(&[much, (1, 8, 20_000)]).is_empty(), "ICMP has no ports");
        assert!(ports(&[]).is_empty());
        // More services than are kept: one that gave up its place may have been large.
        let others = (0..SERVICES as u16).map(|n| (TCP, 40_000 + n, 50_000));
        assert!(ports(&others.chain([much]).collect::<Vec<_>>()).is_empty());
        let small = (0..SERVICES as u16).map(|n| (TCP, 40_000 + n, 500));
        assert_eq!(ports(&[much].into_iter().chain(small).collect::<Vec<_>>()), [443]);
    }

    #[test]
    fn addresses_that_much_went_to_are_told_where_none_of_them_is_left_out() {
        let much = (TCP, 443, 1_000_000);
        let store = Host::from(IpAddr::from([203, 0, 1, 187]));
        assert_eq!(sent_to(&[much, (UDP, 53, 500)]).destinations(), [store]);
        assert_eq!(sent_to(&[much, (1, 8, 20_000)]).destinations().len(), 2);
        let others = (0..TOP_PEERS as u16).map(|n| (TCP, 40_000 + n, 50_000));
        let others: Vec<_> = others.chain([much]).collect();
        assert!(sent_to(&others).destinations().is_empty());
    }

    #[test]
    fn who_is_answered_was_not_reached() {
        use PacketClass::{Icmp, TcpSyn, TcpSynAck, Udp};
        // Whatever the ports, the SYN says who began.
        for ports in [(50_000, 443), (443, 50_000), (80, 80), (40_001, 33_000)] {
            assert!(opened(TCP, ports, &[TcpSyn, ACK], &[TcpSynAck]));
            assert!(!opened(TCP, ports, &[TcpSynAck], &[TcpSyn, ACK]));
            assert!(!opened(TCP, ports, &[RST], &[TcpSyn]));
        }
        // Later seconds go by the ports, as far as they say anything.
        assert!(opened(TCP, (50_000, 443), &[ACK], &[ACK]));
        assert!(!opened(TCP, (443, 50_000), &[ACK], &[ACK]));
        assert!(!opened(TCP, (443, 80), &[ACK], &[ACK]));
        // What a scan of ACKs from a service's port is answered with.
        assert!(!opened(TCP, (50_000, 443), &[RST], &[ACK]));
        assert!(opened(17, (50_000, 53), &[Udp], &[Udp]));
        // Ports that who asks chooses so that the answer looks like a question.
        for ports in [(53, 53), (53, 1), (51_820, 40_000), (40_000, 51_820), (0, 0)] {
            assert!(!opened(17, ports, &[Udp], &[Udp]), "{ports:?}");
        }
        assert!(!opened(17, (53, 50_000), &[Udp], &[Udp]));
        // The port of an end is the type that it sends.
        assert!(opened(1, (8, 0), &[Icmp], &[Icmp]) && opened(58, (128, 129), &[Icmp], &[Icmp]));
        assert!(!opened(1, (0, 8), &[Icmp], &[Icmp]) && !opened(58, (129, 128), &[Icmp], &[Icmp]));
        assert!(!opened(1, (3, 1), &[Icmp], &[]));
        assert!(!opened(17, (50_000, 53), &[], &[Udp]));
        // Reports of both directions have the flag, and it says nothing.
        let report = [TcpSyn, PacketClass::TcpUnknown];
        assert!(opened(TCP, (50_000, 443), &report, &report));
        assert!(!opened(TCP, (443, 50_000), &report, &report));
        assert!(!opened(TCP, (443, 50_000), &report, &[]));
    }
}

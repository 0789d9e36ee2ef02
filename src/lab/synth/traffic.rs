//! Traffic in bulk: many flows, a flood, elephants, elephants in a flood.
//!
//! Packets are made in time order and handed on at once: memory follows the
//! number of flows, never the number of packets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};

use super::encapsulation::{CLIENT_MAC, SERVER_MAC};
use super::frame::{Frame, Tcp, ip_proto};
use super::rng::Rng;
use crate::packet::facts::tcp_flag::{ACK, FIN, PSH, SYN};

/// First time stamp: 2026-09-21T14:13:20Z, so that a seed always gives the
/// same file.
pub const EPOCH_NS: i64 = 1_790_000_000 * 1_000_000_000;

/// Bytes that payloads are cut from: long enough that two flows seldom share one.
const PAYLOAD_POOL_BYTES: usize = 1 << 16;
const LARGEST_FRAME_BYTES: usize = 1_500;

/// How much traffic to make.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    pub packets: u64,
    pub flows: u32,
    pub seconds: f64,
    pub seed: u64,
    /// Length of each frame, for kinds whose frames are all alike; `None` is as
    /// small as the kind has them.
    pub frame_bytes: Option<u16>,
}

/// What stands before the payload of a UDP packet in IPv4 over Ethernet.
const UDP_HEADERS_BYTES: usize = 14 + 20 + 8;

impl Amount {
    /// Random bytes that fill UDP frames up to the length asked for.
    pub(super) fn udp_payload(&self, default_frame_bytes: u16, rng: &mut Rng) -> Vec<u8> {
        let frame_bytes = usize::from(self.frame_bytes.unwrap_or(default_frame_bytes));
        let mut payload = vec![0; frame_bytes.saturating_sub(UDP_HEADERS_BYTES)];
        rng.fill(&mut payload);
        payload
    }
}

/// Receives packets in time order. `forward` is client to server.
pub trait Receive {
    fn packet(&mut self, time_ns: i64, frame: &[u8], forward: bool) -> std::io::Result<()>;
}

/// TCP, UDP and ICMP between clients and servers. Flow sizes follow Zipf's law
/// with exponent 1: few flows carry most packets, most flows have a few.
pub fn many_flows(amount: Amount, receive: &mut dyn Receive) -> std::io::Result<()> {
    let mut rng = Rng::new(amount.seed);
    let sizes = zipf_sizes(amount.packets, amount.flows);
    let flows = sizes.iter().map(|&packets| Flow::random(&mut rng, packets, amount)).collect();
    run(flows, Sizes::Mixed, amount, &mut rng, receive)
}

/// Few flows of full frames for the whole time.
pub fn elephants(amount: Amount, receive: &mut dyn Receive) -> std::io::Result<()> {
    let mut rng = Rng::new(amount.seed);
    let count = u64::from(amount.flows).clamp(1, amount.packets.max(1));
    let flows = (0..count)
        .map(|index| {
            let extra = u64::from(index < amount.packets % count);
            let mut flow = Flow::random(&mut rng, amount.packets / count + extra, amount);
            flow.proto = if index % 4 == 0 { ip_proto::UDP } else { ip_proto::TCP };
            flow.server_port = if index % 4 == 0 { 51_820 } else { 443 };
            flow.next_ns = 0;
            flow.end_ns = duration_ns(amount);
            flow
        })
        .filter(|flow| flow.packets > 0)
        .collect();
    run(flows, Sizes::Full, amount, &mut rng, receive)
}

/// A UDP flood in which each packet is a new flow: random source address and
/// port, one victim, evenly spaced.
pub fn flood(amount: Amount, receive: &mut dyn Receive) -> std::io::Result<()> {
    Flood::new(amount).send_until(i64::MAX, receive)
}

/// Frame of a flood, where no other length is asked for.
const FLOOD_FRAME_BYTES: u16 = 64;

/// Elephants, and beside them from the first second to the last a flood that has
/// ten of eleven packets.
pub fn besieged(amount: Amount, receive: &mut dyn Receive) -> std::io::Result<()> {
    let inside = Amount { packets: amount.packets / BESIEGED_SHARE, ..amount };
    let packets = amount.packets - inside.packets;
    let flood = Flood::new(Amount { packets, seed: amount.seed.wrapping_add(1), ..amount });
    let mut siege = Siege { flood, receive };
    elephants(inside, &mut siege)?;
    siege.flood.send_until(i64::MAX, siege.receive)
}

/// Packets to one of the elephants'.
const BESIEGED_SHARE: u64 = 11;

/// Sends the packets of a flood before those that come later.
struct Siege<'a> {
    flood: Flood,
    receive: &'a mut dyn Receive,
}

impl Receive for Siege<'_> {
    fn packet(&mut self, time_ns: i64, frame: &[u8], forward: bool) -> std::io::Result<()> {
        self.flood.send_until(time_ns, self.receive)?;
        self.receive.packet(time_ns, frame, forward)
    }
}

struct Flood {
    amount: Amount,
    sent: u64,
    rng: Rng,
    payload: Vec<u8>,
    frame: Frame,
}

impl Flood {
    fn new(amount: Amount) -> Self {
        let mut rng = Rng::new(amount.seed);
        let payload = amount.udp_payload(FLOOD_FRAME_BYTES, &mut rng);
        let mut frame = Frame::default();
        frame.ttl = 200;
        Self { amount, sent: 0, rng, payload, frame }
    }

    /// Sends what is due before `until_ns` and not sent yet.
    fn send_until(&mut self, until_ns: i64, receive: &mut dyn Receive) -> std::io::Result<()> {
        let Self { amount, sent, rng, payload, frame } = self;
        let duration = duration_ns(*amount);
        while *sent < amount.packets {
            let since = u128::from(*sent) * duration as u128 / u128::from(amount.packets);
            let time_ns = EPOCH_NS + since as i64;
            if time_ns >= until_ns {
                break;
            }
            let source = Ipv4Addr::from(global_address(rng.next_u32()));
            let port = 1_024 + rng.below(64_512) as u16;
            frame.ip_id = *sent as u16;
            frame
                .payload(payload)
                .udp(port, 80)
                .ip(IpAddr::V4(source), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)))
                .ethernet(CLIENT_MAC, SERVER_MAC);
            receive.packet(time_ns, frame.bytes(), true)?;
            *sent += 1;
        }
        Ok(())
    }
}

/// Frame sizes to draw from.
#[derive(Clone, Copy)]
enum Sizes {
    /// 55 % of 64 bytes, 20 % of 576, 25 % of 1500: the classic simple mix
    /// (7:4:1) shifted to today's larger share of full frames.
    Mixed,
    Full,
}

impl Sizes {
    fn draw(self, rng: &mut Rng) -> usize {
        match (self, rng.below(100)) {
            (Self::Mixed, 0..55) => 64,
            (Self::Mixed, 55..75) => 576,
            _ => LARGEST_FRAME_BYTES,
        }
    }
}

/// A flow while it is being made; two cache lines.
#[derive(Clone, Debug)]
struct Flow {
    client: u32,
    server: u32,
    client_port: u16,
    server_port: u16,
    proto: u8,
    packets: u64,
    sent: u64,
    client_seq: u32,
    server_seq: u32,
    next_ns: i64,
    end_ns: i64,
}

impl Flow {
    fn random(rng: &mut Rng, packets: u64, amount: Amount) -> Self {
        const TCP_PORTS: [u16; 8] = [443, 443, 443, 80, 22, 993, 5_432, 8_443];
        const UDP_PORTS: [u16; 6] = [443, 443, 53, 123, 3_478, 51_820];
        let roll = rng.below(100);
        // Short flows are mostly DNS and the like, long ones mostly TCP.
        let proto = match (packets <= 3, roll) {
            (true, 0..75) | (false, 75..99) => ip_proto::UDP,
            (true, 75..83) | (false, 99..) => ip_proto::ICMP,
            _ => ip_proto::TCP,
        };
        let server_port = match proto {
            ip_proto::TCP => TCP_PORTS[rng.below(TCP_PORTS.len() as u32) as usize],
            ip_proto::UDP => UDP_PORTS[rng.below(UDP_PORTS.len() as u32) as usize],
            _ => 0,
        };
        let whole = duration_ns(amount);
        // Mean gaps from 1 ms to 500 ms, evenly over the logarithm.
        let gap_ns = 1e6 * libm::pow(500.0, rng.unit());
        let duration = ((packets as f64 * gap_ns) as i64).min(whole);
        let start = (rng.unit() * (whole - duration) as f64) as i64;
        Self {
            client: 0x0a00_0000 | (1 + rng.below(0x00ff_fffe)),
            server: 0xac10_0000 | (1 + rng.below(0x000f_fffe)),
            client_port: 1_024 + rng.below(64_512) as u16,
            server_port,
            proto,
            packets,
            sent: 0,
            client_seq: rng.next_u32(),
            server_seq: rng.next_u32(),
            next_ns: start,
            end_ns: start + duration,
        }
    }

    /// Time of the next packet: the smallest of the remaining ones, were they
    /// all drawn evenly over what is left.
    fn advance(&mut self, rng: &mut Rng) {
        self.sent += 1;
        let left = self.packets - self.sent;
        if left > 0 {
            let rest = 1.0 - rng.unit();
            // The power with exponent 1 is the number itself, and flows are mostly short.
            let rest = if left == 1 { rest } else { libm::pow(rest, 1.0 / left as f64) };
            let share = 1.0 - rest;
            self.next_ns += ((self.end_ns - self.next_ns) as f64 * share) as i64;
        }
    }

    /// Builds the packet that is due; returns its direction.
    fn build(&mut self, sizes: Sizes, rng: &mut Rng, pool: &[u8], frame: &mut Frame) -> bool {
        match self.proto {
            ip_proto::TCP => self.build_tcp(sizes, rng, pool, frame),
            ip_proto::UDP => {
                let forward = self.sent == 0 || rng.chance(50);
                let payload_bytes = sizes.draw(rng) - 42;
                let payload = slice(pool, rng, payload_bytes);
                let (src, dst) = self.ports(forward);
                self.network(frame.payload(payload).udp(src, dst), forward);
                forward
            }
            _ => {
                let forward = self.sent.is_multiple_of(2);
                let [a, b] = self.client_port.to_be_bytes();
                let [c, d] = ((self.sent / 2) as u16).to_be_bytes();
                frame.payload(slice(pool, rng, 56)).icmp(
                    if forward { 8 } else { 0 },
                    0,
                    [a, b, c, d],
                );
                self.network(frame, forward);
                forward
            }
        }
    }

    fn build_tcp(&mut self, sizes: Sizes, rng: &mut Rng, pool: &[u8], frame: &mut Frame) -> bool {
        let last = self.packets - self.sent;
        let closes = self.packets > 6;
        let (forward, flags, payload_bytes) = match self.sent {
            0 => (true, SYN, 0),
            1 => (false, SYN | ACK, 0),
            2 => (true, ACK, 0),
            3 => (true, ACK | PSH, 460),
            _ if closes && last == 2 => (true, ACK | FIN, 0),
            _ if closes && last == 1 => (false, ACK | FIN, 0),
            _ => match sizes.draw(rng) {
                64 => (rng.chance(80), ACK, 0),
                size => (rng.chance(15), ACK | PSH, size - 54),
            },
        };
        let (src, dst) = self.ports(forward);
        let (seq, ack) = if forward {
            (self.client_seq, self.server_seq)
        } else {
            (self.server_seq, self.client_seq)
        };
        let ack = if flags & ACK != 0 { ack } else { 0 };
        frame.payload(slice(pool, rng, payload_bytes)).tcp(
            src,
            dst,
            Tcp { seq, ack, flags, options: &[] },
        );
        let consumed = payload_bytes as u32 + u32::from(flags & (SYN | FIN) != 0);
        let counter = if forward { &mut self.client_seq } else { &mut self.server_seq };
        *counter = counter.wrapping_add(consumed);
        self.network(frame, forward);
        forward
    }

    fn network(&self, frame: &mut Frame, forward: bool) {
        let client = IpAddr::V4(Ipv4Addr::from(self.client));
        let server = IpAddr::V4(Ipv4Addr::from(self.server));
        frame.ip_id = self.sent as u16;
        if forward {
            frame.ttl = 64;
            frame.ip(client, server).ethernet(CLIENT_MAC, SERVER_MAC);
        } else {
            frame.ttl = 57;
            frame.ip(server, client).ethernet(SERVER_MAC, CLIENT_MAC);
        }
        frame.pad_to(60);
    }

    fn ports(&self, forward: bool) -> (u16, u16) {
        if forward {
            (self.client_port, self.server_port)
        } else {
            (self.server_port, self.client_port)
        }
    }
}

/// Hands out the packets of all flows in time order. Flows wait in slots of
/// time (a calendar queue); only the flows of the current slot are in a heap.
fn run(
    mut flows: Vec<Flow>,
    sizes: Sizes,
    amount: Amount,
    rng: &mut Rng,
    receive: &mut dyn Receive,
) -> std::io::Result<()> {
    let mut pool = vec![0; PAYLOAD_POOL_BYTES];
    rng.fill(&mut pool);
    // About 64 packets a slot: the heap stays in the first cache level.
    let slots = (amount.packets / 64).clamp(1, 1 << 20) as usize;
    let slot_ns = duration_ns(amount) / slots as i64 + 1;
    let slot_of = |time_ns: i64| ((time_ns / slot_ns) as usize).min(slots - 1);
    // Intrusive lists: the first flow of each slot, and each flow's next one.
    const NONE: u32 = u32::MAX;
    let mut first = vec![NONE; slots];
    let mut next = vec![NONE; flows.len()];
    for (index, flow) in flows.iter().enumerate() {
        let slot = slot_of(flow.next_ns);
        next[index] = std::mem::replace(&mut first[slot], index as u32);
    }
    let mut frame = Frame::default();
    let mut due = BinaryHeap::new();
    for slot in 0..slots {
        let mut waiting = first[slot];
        while waiting != NONE {
            due.push(Reverse((flows[waiting as usize].next_ns, waiting)));
            waiting = next[waiting as usize];
        }
        while let Some(Reverse((time_ns, index))) = due.pop() {
            let flow = &mut flows[index as usize];
            let forward = flow.build(sizes, rng, &pool, &mut frame);
            receive.packet(EPOCH_NS + time_ns, frame.bytes(), forward)?;
            flow.advance(rng);
            if flow.sent == flow.packets {
                continue;
            }
            let later = slot_of(flow.next_ns);
            if later == slot {
                due.push(Reverse((flow.next_ns, index)));
            } else {
                next[index as usize] = std::mem::replace(&mut first[later], index);
            }
        }
    }
    Ok(())
}

/// `max(1, C / rank)` packets for each rank, with C such that the sum is what
/// is asked for; the largest flow takes the rest.
fn zipf_sizes(packets: u64, flows: u32) -> Vec<u64> {
    let flows = u64::from(flows).clamp(1, packets.max(1));
    let total = |c: u64| (1..=flows).map(|rank| (c / rank).max(1)).sum::<u64>();
    let (mut low, mut high) = (1, packets.max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if total(middle) <= packets { low = middle } else { high = middle - 1 }
    }
    let mut sizes: Vec<u64> = (1..=flows).map(|rank| (low / rank).max(1)).collect();
    let rest = packets.saturating_sub(sizes.iter().sum());
    if let Some(largest) = sizes.first_mut() {
        *largest += rest;
    }
    if packets == 0 {
        sizes.clear();
    }
    sizes
}

pub(super) fn duration_ns(amount: Amount) -> i64 {
    ((amount.seconds * 1e9) as i64).max(1)
}

/// Moves addresses that can't be a source (0/8, 127/8, multicast and above)
/// to unicast ones.
fn global_address(random: u32) -> u32 {
    match random >> 24 {
        0 | 127 | 224.. => random & 0x00ff_ffff | (1 + (random >> 24) % 100) << 24,
        _ => random,
    }
}

fn slice<'a>(pool: &'a [u8], rng: &mut Rng, length: usize) -> &'a [u8] {
    let start = rng.below((pool.len() - length) as u32) as usize;
    &pool[start..start + length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Seen {
        times: Vec<i64>,
        flows: BTreeSet<(u8, u32, u32, u32)>,
        bytes: Vec<u8>,
    }

    impl Receive for Seen {
        fn packet(&mut self, time_ns: i64, frame: &[u8], forward: bool) -> std::io::Result<()> {
            let word = |at: usize| {
                u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
            };
            let (src, dst, ports) = (word(26), word(30), word(34));
            let key = match (frame[23], forward) {
                (ip_proto::ICMP, true) => (1, src, dst, word(38) >> 16),
                (ip_proto::ICMP, false) => (1, dst, src, word(38) >> 16),
                (proto, true) => (proto, src, dst, ports),
                (proto, false) => (proto, dst, src, ports.rotate_left(16)),
            };
            self.flows.insert(key);
            self.times.push(time_ns);
            self.bytes.extend_from_slice(frame);
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn zipf_sizes_add_up_and_never_rise(packets in 0u64..100_000, flows in 1u32..5_000) {
            let sizes = zipf_sizes(packets, flows);
            prop_assert_eq!(sizes.iter().sum::<u64>(), packets);
            prop_assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]));
            prop_assert_eq!(sizes.len() as u64, u64::from(flows).min(packets));
        }

        #[test]
        fn many_flows_gives_every_packet_and_flow_in_time_order(
            packets in 1u64..5_000, flows in 1u32..500, seconds in 0.001f64..20.0, seed: u64,
        ) {
            let mut seen = Seen::default();
            many_flows(Amount { packets, flows, seconds, seed, frame_bytes: None }, &mut seen).unwrap();
            prop_assert_eq!(seen.times.len() as u64, packets);
            prop_assert!(seen.times.is_sorted());
            let span = seen.times.last().unwrap() - EPOCH_NS;
            prop_assert!(span as f64 <= seconds * 1e9);
            // Two flows may draw the same addresses and ports, almost never.
            let expected = u64::from(flows).min(packets);
            prop_assert!(seen.flows.len() as u64 <= expected && seen.flows.len() as u64 + 1 >= expected);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let bytes = |seed| {
            let mut seen = Seen::default();
            let amount =
                Amount { packets: 2_000, flows: 100, seconds: 5.0, seed, frame_bytes: None };
            many_flows(amount, &mut seen).unwrap();
            seen.bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn each_packet_of_a_flood_is_a_new_flow_from_a_unicast_source() {
        let mut seen = Seen::default();
        let amount = Amount { packets: 20_000, flows: 0, seconds: 1.0, seed: 3, frame_bytes: None };
        flood(amount, &mut seen).unwrap();
        assert_eq!(seen.flows.len(), 20_000);
        assert!(seen.times.is_sorted());
        assert!(seen.flows.iter().all(|(_, src, ..)| !matches!(src >> 24, 0 | 127 | 224..)));
    }

    #[test]
    fn frames_of_a_flood_have_the_length_asked_for() {
        for frame_bytes in [60, 512, 1_514] {
            let mut seen = Seen::default();
            let amount = Amount {
                packets: 100,
                flows: 0,
                seconds: 1.0,
                seed: 3,
                frame_bytes: Some(frame_bytes),
            };
            flood(amount, &mut seen).unwrap();
            assert_eq!(seen.bytes.len(), 100 * usize::from(frame_bytes));
        }
    }

    #[test]
    fn the_besieged_are_elephants_and_a_flood_in_one_order_of_time() {
        let mut seen = Seen::default();
        let amount = Amount { packets: 11_000, flows: 5, seconds: 2.0, seed: 3, frame_bytes: None };
        besieged(amount, &mut seen).unwrap();
        assert_eq!(seen.times.len(), 11_000);
        assert!(seen.times.is_sorted());
        let victim = u32::from_be_bytes([203, 0, 113, 7]);
        let of_flood = seen.flows.iter().filter(|&&(_, _, dst, _)| dst == victim).count();
        assert_eq!((of_flood, seen.flows.len() - of_flood), (10_000, 5));
    }

    #[test]
    fn elephants_are_as_many_as_asked_for_and_full() {
        let mut seen = Seen::default();
        let amount = Amount { packets: 10_001, flows: 7, seconds: 2.0, seed: 3, frame_bytes: None };
        elephants(amount, &mut seen).unwrap();
        assert_eq!(seen.flows.len(), 7);
        assert_eq!(seen.times.len(), 10_001);
        assert!(seen.bytes.len() > 10_001 * 1_400);
    }
}

//! An exact number of live flows: what time a packet takes as they grow.
//!
//! Frames are UDP packets of one length between many sources and many servers, spread
//! so that no address stands out. Every packet's flow is computed from its
//! number: memory does not grow with the flows.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::encapsulation::{CLIENT_MAC, SERVER_MAC};
use super::frame::Frame;
use super::rng::Rng;
use super::traffic::{Amount, EPOCH_NS, Receive, duration_ns};

/// Longer than UDP flows live by default, and than anybody's open windows.
const GENERATION_GAP_NS: i64 = 120 * 1_000_000_000;
/// Neither a service that a reader would look into nor an amplifier.
const SERVER_PORT: u16 = 40_001;
const FLOWS_PER_SOURCE: u64 = 16;
/// Ethernet's smallest frame without its check sequence.
const LEAST_FRAME_BYTES: u16 = 60;

/// The first packet of each flow, then further ones of all flows over and
/// over, each time in another random order. Every flow stays alive as long as
/// two rounds take less than its time-out.
pub(super) fn growth(amount: Amount, receive: &mut dyn Receive) -> io::Result<()> {
    let mut rng = Rng::new(amount.seed);
    let mut sender = Sender::new(amount, &mut rng);
    let flows = u64::from(amount.flows).clamp(1, amount.packets.max(1));
    let mut order = Order::new(&mut rng, flows);
    for index in 0..amount.packets {
        let (round, within) = (index / flows, index % flows);
        if within == 0 && round > 0 {
            order = Order::new(&mut rng, flows);
        }
        let forward = round == 0 || rng.chance(50);
        let since = spaced(index, amount.packets, duration_ns(amount));
        sender.send(since, order.at(within), forward, receive)?;
    }
    Ok(())
}

/// Generations of as many flows as asked for, each flow one packet. When a
/// generation begins, the one before has long timed out. `amount.seconds` is
/// how long a generation lasts.
pub(super) fn churn(amount: Amount, receive: &mut dyn Receive) -> io::Result<()> {
    let mut rng = Rng::new(amount.seed);
    let mut sender = Sender::new(amount, &mut rng);
    let flows = u64::from(amount.flows).clamp(1, amount.packets.max(1));
    let duration = duration_ns(amount);
    let order = Order::new(&mut rng, flows);
    for index in 0..amount.packets {
        let (generation, within) = (index / flows, index % flows);
        let begin = (generation as i64).saturating_mul(duration.saturating_add(GENERATION_GAP_NS));
        let since = begin.saturating_add(spaced(within, flows, duration));
        sender.send(since, generation * flows + order.at(within), true, receive)?;
    }
    Ok(())
}

fn spaced(index: u64, count: u64, duration: i64) -> i64 {
    (u128::from(index) * duration as u128 / u128::from(count.max(1))) as i64
}

struct Sender {
    frame: Frame,
    payload: Vec<u8>,
}

impl Sender {
    fn new(amount: Amount, rng: &mut Rng) -> Self {
        Self { frame: Frame::default(), payload: amount.udp_payload(LEAST_FRAME_BYTES, rng) }
    }

    fn send(
        &mut self,
        since_ns: i64,
        flow: u64,
        forward: bool,
        receive: &mut dyn Receive,
    ) -> io::Result<()> {
        // 10.0.0.0/8 and its ports tell 16 million sources apart, and with the
        // ports of a source all flows; servers are spread over 172.16.0.0/12.
        let source = flow / FLOWS_PER_SOURCE;
        let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (source as u32 & 0x00ff_ffff)));
        let group = (source >> 24) as u16 % 2_048;
        let client_port =
            16_384 + group * FLOWS_PER_SOURCE as u16 + (flow % FLOWS_PER_SOURCE) as u16;
        let spread = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        let server = IpAddr::V4(Ipv4Addr::from(0xac10_0000 | spread as u32));
        let frame = self.frame.payload(&self.payload);
        if forward {
            frame.udp(client_port, SERVER_PORT).ip(client, server);
            frame.ethernet(CLIENT_MAC, SERVER_MAC);
        } else {
            frame.udp(SERVER_PORT, client_port).ip(server, client);
            frame.ethernet(SERVER_MAC, CLIENT_MAC);
        }
        receive.packet(EPOCH_NS.saturating_add(since_ns), frame.bytes(), forward)
    }
}

/// A random order of `0..count` that is computed, not stored: invertible steps
/// on the next power of two, repeated until the result lies in range.
struct Order {
    count: u64,
    mask: u64,
    shift: u32,
    factors: [u64; 3],
}

impl Order {
    fn new(rng: &mut Rng, count: u64) -> Self {
        let bits = (u64::BITS - (count - 1).leading_zeros()).max(2);
        Self {
            count,
            mask: u64::MAX >> (u64::BITS - bits),
            shift: bits.div_ceil(2),
            // Odd factors are invertible modulo a power of two.
            factors: [rng.next_u64() | 1, rng.next_u64() | 1, rng.next_u64() | 1],
        }
    }

    fn at(&self, index: u64) -> u64 {
        let mut value = index;
        loop {
            for factor in self.factors {
                // Without the addition zero would always stay zero.
                value = value.wrapping_add(factor >> 32).wrapping_mul(factor) & self.mask;
                value ^= value >> self.shift;
            }
            if value < self.count {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    type Key = ([u8; 4], [u8; 4], u16, u16);

    /// Each packet's time and key, the client first.
    #[derive(Default)]
    struct Seen(Vec<(i64, Key)>);

    impl Receive for Seen {
        fn packet(&mut self, time_ns: i64, frame: &[u8], forward: bool) -> io::Result<()> {
            let address = |at: usize| [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
            let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let (from, to) = ((address(26), port(34)), (address(30), port(36)));
            let (client, server) = if forward { (from, to) } else { (to, from) };
            self.0.push((time_ns, (client.0, server.0, client.1, server.1)));
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_order_has_every_number_once(count in 1u64..5_000, seed: u64) {
            let order = Order::new(&mut Rng::new(seed), count);
            let seen: BTreeSet<u64> = (0..count).map(|index| order.at(index)).collect();
            prop_assert_eq!(seen.len() as u64, count);
            prop_assert_eq!(seen.last().copied(), Some(count - 1));
        }

        #[test]
        fn growth_opens_every_flow_first_and_then_goes_round_all_of_them(
            flows in 1u32..2_000, rounds in 1usize..5, seed: u64,
        ) {
            let packets = u64::from(flows) * rounds as u64;
            let mut seen = Seen::default();
            growth(Amount { packets, flows, seconds: 2.0, seed, frame_bytes: None }, &mut seen).unwrap();
            prop_assert!(seen.0.is_sorted_by_key(|packet| packet.0));
            let keys: Vec<_> = seen.0.iter().map(|packet| packet.1).collect();
            let first: BTreeSet<_> = keys[..flows as usize].iter().collect();
            prop_assert_eq!(first.len(), flows as usize);
            let mut counts = BTreeMap::new();
            keys.iter().for_each(|key| *counts.entry(key).or_insert(0) += 1);
            prop_assert!(counts.len() == first.len() && counts.values().all(|&count| count == rounds));
        }

        #[test]
        fn every_packet_of_a_churn_is_new_and_generations_lie_apart(
            flows in 1u32..500, generations in 1usize..6, seed: u64,
        ) {
            let packets = u64::from(flows) * generations as u64;
            let mut seen = Seen::default();
            churn(Amount { packets, flows, seconds: 1.0, seed, frame_bytes: None }, &mut seen).unwrap();
            let keys: BTreeSet<_> = seen.0.iter().map(|packet| packet.1).collect();
            prop_assert_eq!(keys.len() as u64, packets);
            let times: Vec<i64> = seen.0.iter().map(|packet| packet.0).collect();
            for (before, after) in times.chunks(flows as usize).zip(times.chunks(flows as usize).skip(1)) {
                prop_assert!(after[0] - before[before.len() - 1] >= GENERATION_GAP_NS);
            }
        }
    }
}

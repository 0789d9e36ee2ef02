//! Flows that nobody answered and that tell no names: of each second a sample, and how many
//! others there were.
//!
//! Analytics look at when they were, for a beacon may call a server that is gone; and where
//! there are no records, who sent them is asked for the coverage. A flood has a million a
//! second, and to hand each to another thread and look it up takes longer than all else that
//! is done with it. So the flows with the smallest hashes are kept, a uniform sample that is
//! the same however many workers take part, with records and without, and the rest is
//! counted. Nothing is left out below [`LOOKED_UP_PER_S`].

use std::collections::BTreeMap;

use super::Outline;
use super::app::AppInfo;
use super::live::TCP;
use super::record::EndReason;
use super::stub::Stub;
use crate::engine::window::Seed;
use crate::engine::window::features::DNS_PORT;
use crate::packet::FlowKey;

/// Flows of a second that are kept. A share of them is known to about 1.6 %: two standard
/// errors, each at most `0.5 / sqrt(n)` for a sample of n. Over several seconds it is known
/// better, and to look up more would take a share of each second.
pub(crate) const LOOKED_UP_PER_S: usize = 4_096;

/// Whether names are read of a flow that has no record: where somebody wants any, and always
/// whether what goes to the port of DNS over TCP is that.
#[inline]
pub(crate) fn reads_names(key: &FlowKey, names: bool) -> bool {
    names || key.proto == TCP && (key.port_a == DNS_PORT || key.port_b == DNS_PORT)
}

/// Whether a flow is one of those.
pub(crate) fn is_sampled(
    key: &FlowKey,
    answered: bool,
    app: Option<&AppInfo>,
    names: bool,
) -> bool {
    !(answered || app.is_some_and(AppInfo::tells) && reads_names(key, names))
}

/// Flows and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) wire_bytes: u64,
}

impl Amount {
    fn add(&mut self, flow: &Outline) {
        self.flows += 1;
        self.packets += flow.packets.iter().sum::<u64>();
        self.wire_bytes += flow.wire_bytes;
    }

    fn add_stub(&mut self, flow: &Stub) {
        self.flows += 1;
        self.packets += 1;
        self.wire_bytes += u64::from(flow.wire_bytes);
    }
}

/// Those of one second.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    /// With their hashes; up to twice as many as there is room for.
    kept: Vec<(u64, Outline)>,
    /// What is not below it is not among the smallest.
    below: u64,
    left_out: Amount,
}

impl Default for Unanswered {
    fn default() -> Self {
        Self { kept: Vec::new(), below: u64::MAX, left_out: Amount::default() }
    }
}

impl Unanswered {
    #[inline]
    pub(crate) fn add(&mut self, flow: Outline) {
        self.keep(hash(&flow.key, flow.start_ns), flow);
    }

    /// The same of a flow of one packet: of most of a flood no outline is made.
    #[inline]
    pub(super) fn add_stub(&mut self, flow: &Stub, reason: EndReason, decided_ns: i64) {
        let hash = hash(&flow.key, flow.time_ns);
        if hash >= self.below {
            self.left_out.add_stub(flow);
        } else {
            self.keep(hash, flow.outline(reason, decided_ns));
        }
    }

    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.left_out.flows == 0
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        // At once, rather than by doubling; never more than this is kept.
        let room = (2 * LOOKED_UP_PER_S).saturating_sub(self.kept.len());
        self.kept.reserve(other.kept.len().min(room));
        self.left_out.flows += other.left_out.flows;
        self.left_out.packets += other.left_out.packets;
        self.left_out.wire_bytes += other.left_out.wire_bytes;
        self.below = self.below.min(other.below);
        for (hash, flow) in other.kept {
            self.keep(hash, flow);
        }
    }

    /// Those to look up, in order, and what the others were.
    pub(crate) fn into_parts(mut self) -> (Vec<Outline>, Amount) {
        self.leave_out();
        let mut kept: Vec<Outline> = self.kept.into_iter().map(|(_, flow)| flow).collect();
        kept.sort_unstable_by(|x, y| (x.start_ns, &x.key).cmp(&(y.start_ns, &y.key)));
        (kept, self.left_out)
    }

    #[inline]
    fn keep(&mut self, hash: u64, flow: Outline) {
        if hash >= self.below {
            self.left_out.add(&flow);
            return;
        }
        self.kept.push((hash, flow));
        if self.kept.len() == 2 * LOOKED_UP_PER_S {
            self.leave_out();
        }
    }

    /// Keeps those below a hash of which there are as many as there is room for; less
    /// those of the same hash, so that no order of arrival decides between them.
    fn leave_out(&mut self) {
        if self.kept.len() > LOOKED_UP_PER_S {
            let mut hashes: Vec<u64> = self.kept.iter().map(|&(hash, _)| hash).collect();
            let (_, &mut first_out, _) = hashes.select_nth_unstable(LOOKED_UP_PER_S);
            self.below = self.below.min(first_out);
        }
        let Self { kept, below, left_out } = self;
        kept.retain(|(hash, flow)| {
            let stays = hash < below;
            if !stays {
                left_out.add(flow);
            }
            stays
        });
    }
}

const SECOND_NS: i64 = 1_000_000_000;

/// Those of several seconds: of the one in which it was decided that they are over.
#[derive(Debug)]
pub(crate) struct BySecond {
    /// Of the second that was asked for last, which begins at this time: those of a flood
    /// end together.
    at_hand: (i64, Unanswered),
    others: BTreeMap<i64, Unanswered>,
}

impl Default for BySecond {
    fn default() -> Self {
        BTreeMap::new().into()
    }
}

impl From<BTreeMap<i64, Unanswered>> for BySecond {
    fn from(seconds: BTreeMap<i64, Unanswered>) -> Self {
        Self { at_hand: (i64::MIN, Unanswered::default()), others: seconds }
    }
}

impl BySecond {
    pub(crate) fn is_empty(&self) -> bool {
        self.at_hand.1.is_empty() && self.others.is_empty()
    }

    #[inline]
    pub(super) fn at(&mut self, decided_ns: i64) -> &mut Unanswered {
        // Wrapping: times of hostile captures lie anywhere.
        if decided_ns.wrapping_sub(self.at_hand.0).cast_unsigned() >= SECOND_NS.cast_unsigned() {
            self.turn_to(decided_ns.div_euclid(SECOND_NS));
        }
        &mut self.at_hand.1
    }

    #[cold]
    fn turn_to(&mut self, second: i64) {
        let flows = self.others.remove(&second).unwrap_or_default();
        let begins_ns = second.saturating_mul(SECOND_NS);
        let (before_ns, before) = std::mem::replace(&mut self.at_hand, (begins_ns, flows));
        if !before.is_empty() {
            self.others.insert(before_ns.div_euclid(SECOND_NS), before);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (second, flows) in other.into_seconds() {
            self.at(second.saturating_mul(SECOND_NS)).merge(flows);
        }
    }

    pub(crate) fn into_seconds(self) -> BTreeMap<i64, Unanswered> {
        let Self { at_hand: (begins_ns, flows), mut others } = self;
        if !flows.is_empty() {
            others.entry(begins_ns.div_euclid(SECOND_NS)).or_default().merge(flows);
        }
        others
    }
}

/// Of the flow alone: neither of the run's keys nor of the machine. Flows that differ in
/// nothing else are kept together.
#[inline]
fn hash(key: &FlowKey, start_ns: i64) -> u64 {
    let half = |address: &[u8; 16]| {
        let value = u128::from_ne_bytes(*address);
        (value as u64) ^ (value >> 64) as u64
    };
    let ports = u64::from(key.port_a) << 16 | u64::from(key.port_b);
    let seed = Seed::default();
    // Two rounds: whatever the first makes of chosen addresses, the time decides.
    seed.pair(seed.pair(half(&key.a) ^ ports, half(&key.b)), start_ns.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketRow;
    use crate::packet::key::mapped;

    fn flow(n: u32) -> Outline {
        let key = FlowKey { a: mapped(n.to_be_bytes()), ..PacketRow::NOTHING.key };
        Outline {
            key,
            forward_is_a_to_b: true,
            originator_guessed: false,
            start_ns: i64::from(n / 7),
            end_ns: 0,
            decided_ns: 0,
            packets: [1, 0],
            tcp_flags: [0, 0],
            wire_bytes: 60 + u64::from(n % 5),
            sent_ip_bytes: 46,
            had_response: false,
            is_cut: false,
        }
    }

    fn of(flows: impl Iterator<Item = u32>) -> Unanswered {
        let mut unanswered = Unanswered::default();
        flows.for_each(|n| unanswered.add(flow(n)));
        unanswered
    }

    #[test]
    fn a_flood_leaves_the_same_sample_however_it_is_split() {
        const FLOWS: u32 = 150_000;
        let (kept, left_out) = of(0..FLOWS).into_parts();
        assert_eq!(kept.len(), LOOKED_UP_PER_S);
        let mut sum = left_out;
        kept.iter().for_each(|flow| sum.add(flow));
        let bytes = (0..FLOWS).map(|n| flow(n).wire_bytes).sum();
        let all = Amount { flows: FLOWS.into(), packets: FLOWS.into(), wire_bytes: bytes };
        assert_eq!(sum, all);
        for shards in [2, 3] {
            let mut merged = Unanswered::default();
            for shard in (0..shards).rev() {
                merged.merge(of((0..FLOWS).rev().filter(|n| n % shards == shard)));
            }
            assert_eq!(merged.into_parts(), (kept.clone(), left_out), "{shards} shards");
        }
    }

    #[test]
    fn flows_of_one_hash_are_kept_or_left_out_together() {
        // Each flow three times over: the last to be kept would be one of three.
        let flows = || (0..3 * LOOKED_UP_PER_S as u32).map(|n| n / 3);
        let (kept, left_out) = of(flows()).into_parts();
        assert_eq!(kept.len() + left_out.flows as usize, 3 * LOOKED_UP_PER_S);
        assert!(kept.len() <= LOOKED_UP_PER_S && kept.len() > LOOKED_UP_PER_S - 3);
        assert!(kept.chunk_by(|x, y| x == y).all(|equal| equal.len() == 3));
        let mut merged = Unanswered::default();
        (0..3).for_each(|copy| merged.merge(of(flows().skip(copy).step_by(3))));
        assert_eq!(merged.into_parts(), (kept, left_out));
    }

    #[test]
    fn what_is_no_flood_is_kept_whole() {
        let flows = LOOKED_UP_PER_S as u32;
        let (kept, left_out) = of((0..flows).rev()).into_parts();
        assert_eq!(left_out, Amount::default());
        assert_eq!(kept, (0..flows).map(flow).collect::<Vec<_>>());
    }
}

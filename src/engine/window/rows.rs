//! What each flow did in a second, for stages that join flows to something else:
//! bounded, whatever the second holds.
//!
//! Up to a cap every row is handed out. Beyond it the rows with the most bytes are,
//! and of the rest one in so many by a hash of its flow, which stands for that many:
//! sums stay right on average, and which rows they are depends on the set of rows
//! alone. Start at [`Assembled::flows`].

use super::hash::halves;
use super::log::{FlowSecond, Single};
use super::{Assembled, Delta, Host, Seed};

/// Both directions of a flow in one second: `there` from its key's first end to the
/// second.
#[derive(Clone, Copy, Debug)]
pub struct FlowRow {
    pub there: Delta,
    pub back: Delta,
    /// Identifier of ICMP echo, 0 for all else.
    pub echo_id: u16,
    /// Flows that it stands for.
    pub scale: u64,
}

impl FlowRow {
    /// What tells it from the others of its second.
    pub fn key(&self) -> (Host, Host, u16, u16, u8, u16) {
        let there = &self.there;
        let ports = (there.src_port, there.dst_port);
        (there.src, there.dst, ports.0, ports.1, there.proto, self.echo_id)
    }

    /// Of the flow, the same in any run.
    pub(crate) fn hash(&self, seed: Seed) -> u64 {
        let Delta { src, dst, src_port, dst_port, proto, .. } = &self.there;
        let rest = u64::from(*proto) << 48 | u64::from(self.echo_id) << 32;
        hash_of(seed, src, dst, rest | ports_of(*src_port, *dst_port))
    }

    /// Adds a row of the same flow.
    pub fn merge(&mut self, other: &Self) {
        self.there.merge(&other.there);
        self.back.merge(&other.back);
        self.scale = self.scale.max(other.scale);
    }

    fn of_flow(row: &FlowSecond, scale: u64) -> Self {
        Self { there: row.delta(0), back: row.delta(1), echo_id: row.echo_id, scale }
    }

    fn of_single(row: &Single, scale: u64) -> Self {
        let delta = row.delta();
        let other = Delta::new(delta.dst, delta.src, delta.proto, delta.dst_port, delta.src_port);
        let (there, back) = if row.direction() == 0 { (delta, other) } else { (other, delta) };
        Self { there, back, echo_id: row.echo_id, scale }
    }
}

impl Assembled {
    /// Rows of the second with at least `least_bytes` on the wire; beyond `cap` rows the
    /// largest, and a sample of the others. None where the second had too many flows
    /// to keep rows.
    pub fn flows(
        &self,
        cap: usize,
        least_bytes: u64,
        seed: Seed,
    ) -> impl Iterator<Item = FlowRow> + '_ {
        let flows = || self.logs.iter().flat_map(|log| log.flows());
        let singles = self.logs.iter().flat_map(|log| log.singles());
        let rows: usize = self.logs.iter().map(|log| log.rows()).sum();
        let (floor, scale) = if rows <= cap {
            (0, 1)
        } else {
            let mut bytes: Vec<u64> = flows().map(bytes_of).collect();
            let floor = match bytes.len().checked_sub(cap) {
                Some(at) if at > 0 => *bytes.select_nth_unstable(at).1,
                _ => 0,
            };
            let rest = rows - bytes.iter().filter(|&&bytes| bytes > floor).count();
            (floor, rest.div_ceil(cap).max(1) as u64)
        };
        let chosen = move |a: &Host, b: &Host, ports: u64| {
            scale == 1 || hash_of(seed, a, b, ports).is_multiple_of(scale)
        };
        let of_flows =
            flows().filter(move |row| bytes_of(row) >= least_bytes).filter_map(move |row| {
                if bytes_of(row) > floor {
                    return Some(FlowRow::of_flow(row, 1));
                }
                let ports = ports_of(row.port_a, row.port_b);
                chosen(&row.host_a(), &row.host_b(), ports).then(|| FlowRow::of_flow(row, scale))
            });
        let of_singles = singles
            .filter(move |row| u64::from(row.wire_bytes) >= least_bytes)
            .filter_map(move |row| {
                let ports = ports_of(row.src_port, row.dst_port);
                chosen(&row.src(), &row.dst(), ports).then(|| FlowRow::of_single(row, scale))
            });
        of_flows.chain(of_singles)
    }
}

fn bytes_of(row: &FlowSecond) -> u64 {
    u64::from(row.counts[0].wire_bytes) + u64::from(row.counts[1].wire_bytes)
}

fn ports_of(first: u16, second: u16) -> u64 {
    u64::from(first) << 16 | u64::from(second)
}

/// One round for both ends: a flood asks for it with each of its rows.
#[inline]
fn hash_of(seed: Seed, a: &Host, b: &Host, rest: u64) -> u64 {
    let word = |host: &Host| {
        let [high, low] = halves(&host.address);
        high.rotate_left(32) ^ low
    };
    seed.mix(word(a) ^ rest.rotate_left(32), word(b))
}

//! From what the shards wrote down of a second to its [`Slice`].
//!
//! Two passes over the rows: the first counts in [`Filters`], the second adds
//! what may matter to the tables of hosts, pairs and services. So these tables
//! hold what a detector can ask for, exactly, and a second with a million
//! addresses is no harder than one with a hundred. Where a shard had to give up
//! its rows, or the second has too many flows, every row goes into the tables,
//! which step to their sketches.
//!
//! Start at [`Assembler::assemble`].

use std::sync::Arc;

use super::counted::{Counted, Direction};
use super::filter::{Filters, Plan};
use super::log::{ChunkPool, Log};
use super::{Delta, Detail, Host, Roles, Slice, WindowSettings};
use crate::detect::Interest;

/// Packets of a second up to which all pairs are kept: fewer than it takes to
/// clear the filter of pairs.
const FEW_PACKETS: u64 = 128;

/// Makes slices of rows. Owns the filters: one for a run.
#[derive(Debug)]
pub struct Assembler {
    settings: WindowSettings,
    interest: Interest,
    filters: Filters,
    pool: Arc<ChunkPool>,
    /// Empty tables of an earlier second, to use again.
    spare: Option<Detail>,
}

/// A second that is complete.
#[derive(Debug)]
pub struct Assembled {
    pub slice: Slice,
    logs: Vec<Log>,
}

impl Assembled {
    /// What each flow did in this second, in no order, unless there were too
    /// many: for stages that join flows to something else.
    pub fn deltas(&self) -> impl Iterator<Item = Delta> {
        self.logs.iter().flat_map(Log::deltas)
    }
}

impl Assembler {
    pub fn new(settings: WindowSettings, interest: Interest, pool: Arc<ChunkPool>) -> Self {
        Self { settings, interest, filters: Filters::new(settings.seed), pool, spare: None }
    }

    /// Puts the parts of one second together. `coarse` says that the rows of
    /// some shard are in its tables already.
    pub fn assemble(
        &mut self,
        mut slice: Slice,
        mut logs: Vec<Log>,
        coarse: bool,
        one_sided: bool,
    ) -> Assembled {
        if coarse || self.has_too_many_flows(&mut logs) {
            for log in &mut logs {
                drain(log, &mut slice);
                log.drain(0, &self.pool);
            }
        } else {
            // Nothing is in the detail yet.
            slice.detail = self.spare.take().unwrap_or(slice.detail);
            self.add_what_matters(&mut slice, &logs, one_sided);
        }
        Assembled { slice, logs }
    }

    /// Gives back the memory of a second that nobody needs any more.
    pub fn recycle(&mut self, assembled: Assembled) {
        let mut detail = assembled.slice.detail;
        detail.clear();
        self.spare = Some(detail);
        for mut log in assembled.logs {
            log.drain(0, &self.pool);
        }
    }

    fn has_too_many_flows(&self, logs: &mut [Log]) -> bool {
        let cap = self.settings.caps.log_flows;
        // A flow has a row at least; the estimate is never twice the truth.
        if logs.iter().map(Log::rows).sum::<usize>() <= cap / 2 {
            return false;
        }
        let seed = self.settings.seed;
        let mut counts = logs.iter_mut().map(|log| log.distinct(seed));
        let Some(mut all) = counts.next().cloned() else { return false };
        for count in counts {
            all.merge(count);
        }
        all.estimate() > cap
    }

    fn add_what_matters(&mut self, slice: &mut Slice, logs: &[Log], one_sided: bool) {
        let total = slice.total();
        let group_frames: u64 = slice.links().table().iter().map(|(_, link)| link.frames).sum();
        let plan = Plan {
            one_sided,
            hosts: self.interest.hosts_can_matter(total),
            prefixes: self.interest.prefixes_can_matter(total),
            group: group_frames >= self.interest.group_frames,
            all_pairs: total.packets() <= FEW_PACKETS,
        };
        let filters = &mut self.filters;
        filters.clear(&plan);
        for log in logs {
            for row in log.flows() {
                filters.see_flow(row, &plan);
            }
            for row in log.singles() {
                filters.see_single(row, &plan);
            }
        }
        filters.decide(&plan, &self.interest);
        let rows: usize = logs.iter().map(Log::rows).sum();
        let cap = self.settings.caps.pairs;
        if rows > cap && filters.has_more_pairs_than(cap, &plan) {
            slice.detail.pairs.overflow();
        }
        let seed = slice.seed();
        for log in logs {
            for row in log.flows() {
                let (a, b) = (row.host_a(), row.host_b());
                let (a, b) = ((&a, seed.host(&a)), (&b, seed.host(&b)));
                if row.counts[0].packets > 0 {
                    filters.sort_in(&Direction::there(row), a, b, &plan, slice);
                }
                if row.counts[1].packets > 0 {
                    filters.sort_in(&Direction::back(row), b, a, &plan, slice);
                }
            }
            for row in log.singles() {
                let (src, dst) = (row.src(), row.dst());
                let (src, dst) = ((&src, seed.host(&src)), (&dst, seed.host(&dst)));
                filters.sort_in(row, src, dst, &plan, slice);
            }
        }
    }
}

impl Filters {
    /// Counts packets in the tables that they belong in.
    #[inline]
    fn sort_in(
        &self,
        packets: &impl Counted,
        src: (&Host, u64),
        dst: (&Host, u64),
        plan: &Plan,
        slice: &mut Slice,
    ) {
        let roles = self.roles(src, dst, plan, !slice.pairs_overflowed());
        if roles.any() {
            slice.add_detail(packets, src.1, dst.1, roles);
        }
    }
}

/// Counts all rows in all tables.
pub(crate) fn drain(log: &Log, slice: &mut Slice) {
    let seed = slice.seed();
    for delta in log.deltas() {
        let (src_hash, dst_hash) = (seed.host(&delta.src), seed.host(&delta.dst));
        slice.add_detail(&delta, src_hash, dst_hash, Roles::ALL);
    }
}

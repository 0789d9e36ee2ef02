//! From what the shards wrote down of a second to its [`Slice`].
//!
//! Two passes over the rows: the first counts in [`Filters`], the second adds
//! what may matter to the tables of hosts, pairs and services; what is certain
//! to belong there already in the first, it adds at once. So these tables
//! hold what a detector can ask for, exactly, and a second with a million
//! addresses is no harder than one with a hundred. Where a shard had to give up
//! its rows, or the second has too many flows, every row goes into the tables,
//! which step to their sketches.
//!
//! Start at [`Assembler::assemble`].

use std::iter;
use std::sync::Arc;

use super::counted::{Counted, Direction};
use super::features::Features;
use super::filter::{Filters, Look, Places, Plan};
use super::log::{ChunkPool, FlowSecond, Log};
use super::{Delta, Detail, FineSizes, Roles, Slice, WindowSettings, pair_hash};
use crate::detect::Interest;
use crate::memory::prefetch;

/// Packets of a second up to which all pairs are kept: fewer than it takes to
/// clear the filter of pairs.
const FEW_PACKETS: u64 = 128;

/// Makes slices of rows. Owns the filters: one for a run.
#[derive(Debug)]
pub struct Assembler {
    settings: WindowSettings,
    interest: Interest,
    filters: Filters,
    /// Of the rows of the second at hand; kept for its memory.
    places: Vec<Places>,
    pool: Arc<ChunkPool>,
    /// Empty tables of an earlier second, to use again.
    spare: Option<Detail>,
}

/// A second that is complete.
#[derive(Debug)]
pub struct Assembled {
    pub slice: Slice,
    /// Payload sizes in fine bins; only where somebody watches.
    pub sizes: Option<Box<FineSizes>>,
    pub(super) logs: Vec<Log>,
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
        let filters = Filters::new(settings.seed, settings.caps.pairs);
        Self { settings, interest, filters, places: Vec::new(), pool, spare: None }
    }

    /// What matters from the next second on.
    pub fn set_interest(&mut self, interest: Interest) {
        self.interest = interest;
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
        Assembled { slice, sizes: None, logs }
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

    pub(crate) fn recycle_features(&self, features: Box<Features>) {
        self.pool.give_features(features);
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
        let (filters, interest) = (&mut self.filters, &self.interest);
        let places = &mut self.places;
        places.clear();
        places.reserve(logs.iter().map(Log::rows).sum());
        filters.clear(&plan);
        for log in logs {
            for (rows, coming) in log.flow_chunks().flat_map(blocks) {
                coming.iter().for_each(prefetch_flow);
                let mut looks = [Look::NONE; BLOCK];
                for (look, row) in looks.iter_mut().zip(rows) {
                    *look = filters.look(&row.host_a(), &row.host_b(), &plan);
                }
                for (look, row) in looks.iter().zip(rows) {
                    filters.see_flow(row, look, &plan);
                    places.push(look.places);
                }
            }
            for (rows, coming) in log.single_chunks().flat_map(blocks) {
                coming.iter().for_each(prefetch);
                let (mut looks, mut len) = ([(0, Look::NONE); BLOCK], 0);
                for (at, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_moved()) {
                    looks[len] = (at, filters.look(&row.src(), &row.dst(), &plan));
                    len += 1;
                }
                let start = places.len();
                places.resize(start + rows.len(), Places::NONE);
                for &(at, ref look) in &looks[..len] {
                    let row = &rows[at];
                    filters.see_single(row, look, &plan);
                    let early = filters.early_roles(look.places, &plan, interest);
                    places[start + at] = early.map_or(look.places, |(_, left)| left);
                    if let Some((roles, _)) = early {
                        slice.add_detail(&row, look.src_hash, look.dst_hash, roles);
                    }
                }
            }
        }
        filters.decide(&plan, interest);
        if filters.has_too_many_pairs() {
            slice.detail.pairs.overflow();
        }
        let mut places = places.iter().copied();
        let mut next = || places.next().unwrap_or(Places::NONE);
        let (mut flows, mut singles) = (Batch::new(), Batch::new());
        for log in logs {
            for row in log.flows() {
                let places = next();
                let directions =
                    [(Direction::there(row), places), (Direction::back(row), places.back())];
                for (packets, places) in directions {
                    let is_group = || packets.dst().is_group();
                    let roles = filters.roles(places, &plan, !slice.pairs_overflowed(), is_group);
                    if roles.any() {
                        packets.prefetch();
                        flows.add(packets, roles, slice);
                    }
                }
            }
            flows.flush(slice);
            for row in log.single_chunks().flatten() {
                let is_group = || row.dst().is_group();
                let roles = filters.roles(next(), &plan, !slice.pairs_overflowed(), is_group);
                if roles.any() {
                    prefetch(row);
                    singles.add(row, roles, slice);
                }
            }
            singles.flush(slice);
        }
    }
}

/// Rows that are looked at together: what one of them waits for comes meanwhile.
const BLOCK: usize = 8;

/// The blocks of a chunk, each with the one that comes next.
fn blocks<T>(chunk: &[T]) -> impl Iterator<Item = (&[T], &[T])> {
    let coming = chunk.chunks(BLOCK).skip(1).chain(iter::once(&[][..]));
    chunk.chunks(BLOCK).zip(coming)
}

fn prefetch_flow(row: &FlowSecond) {
    prefetch(row);
    row.counts.iter().for_each(prefetch);
}

/// Packets that are added to the tables together.
const MOST_AT_ONCE: usize = 16;

/// Packets that matter, a few at a time: their memory and that of their pairs comes while
/// others are added.
struct Batch<T> {
    packets: Vec<(T, Roles)>,
}

impl<T: Counted> Batch<T> {
    fn new() -> Self {
        Self { packets: Vec::with_capacity(MOST_AT_ONCE) }
    }

    #[inline]
    fn add(&mut self, packets: T, roles: Roles, slice: &mut Slice) {
        self.packets.push((packets, roles));
        if self.packets.len() == MOST_AT_ONCE {
            self.flush(slice);
        }
    }

    fn flush(&mut self, slice: &mut Slice) {
        let mut hashes = [(0, 0); MOST_AT_ONCE];
        for (hashes, (packets, roles)) in hashes.iter_mut().zip(&self.packets) {
            *hashes = (slice.seed.host(&packets.src()), slice.seed.host(&packets.dst()));
            if roles.pair {
                slice.detail.pairs.prefetch(pair_hash(slice.seed, hashes.0, hashes.1));
            }
        }
        for ((src, dst), (packets, roles)) in hashes.into_iter().zip(self.packets.drain(..)) {
            if !packets.is_nothing() {
                slice.add_detail(&packets, src, dst, roles);
            }
        }
    }
}

/// Counts all rows in all tables.
pub(crate) fn drain(log: &Log, slice: &mut Slice) {
    for delta in log.deltas() {
        let (src_hash, dst_hash) = (slice.seed.host(&delta.src), slice.seed.host(&delta.dst));
        slice.add_detail(&delta, src_hash, dst_hash, Roles::ALL);
    }
}

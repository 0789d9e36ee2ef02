//! One shard: the flows whose hash falls to it, its open windows, its ledger.

use crossbeam_channel::Sender;

use super::accounting::{Accounting, Overload};
use super::batch::{Batch, LinkKind, LinkRow};
use super::dedup::{Dedup, DedupSettings};
use super::feed::{ShardWindow, WindowFeed};
use super::run::FlowGauge;
use super::window::LinkDelta;
use crate::flow::Ended;
use crate::flow::settings::TableSettings;
use crate::flow::table::{Admission, Around, FlowTable, Guess, TableCounters};
use crate::flow::totals::{FlowTotals, InferredLoss};
use crate::input::Shed;
use crate::memory::prefetch_line;
use crate::packet::{PacketRow, row_flag};

/// Packets in a run: enough that a miss to memory (about as long as two
/// packets take) is over before its run comes, few enough that what was fetched
/// (its row and five lines a packet) is still in the first-level cache then.
const RUN: usize = 16;

pub(crate) struct Shard {
    table: FlowTable,
    feed: WindowFeed,
    dedup: Option<Dedup>,
    accounting: Accounting,
    closed_before_s: i64,
}

/// Sums of a shard over the whole run.
pub(crate) struct ShardSums {
    pub(crate) accounting: Accounting,
    pub(crate) counters: TableCounters,
    pub(crate) flows: u64,
    pub(crate) totals: FlowTotals,
    pub(crate) late_packets: u64,
}

/// What a shard hands on when seconds close. Covers all seconds before
/// `closed_before_s` that no earlier output covered.
#[derive(Debug)]
pub(crate) struct ShardOutput {
    pub(crate) shard: usize,
    pub(crate) closed_before_s: i64,
    pub(crate) windows: Vec<ShardWindow>,
    /// Decided before `closed_before_s`.
    pub(crate) ended: Ended,
    /// Of the shard's table now.
    pub(crate) flows: FlowGauge,
    /// Of the flows that ended so far, by interface.
    pub(crate) inferred_losses: Vec<InferredLoss>,
}

impl Shard {
    pub(crate) fn new(
        settings: TableSettings,
        dedup: Option<DedupSettings>,
        feed: WindowFeed,
        hash_state: ahash::RandomState,
    ) -> Self {
        Self {
            table: FlowTable::new(settings, hash_state),
            feed,
            dedup: dedup.map(Dedup::new),
            accounting: Accounting::default(),
            closed_before_s: i64::MIN,
        }
    }

    /// See [`FlowTable::preallocate`].
    pub(crate) fn preallocate(&mut self) {
        self.table.preallocate();
    }

    /// What the shard leaves behind when all is done.
    pub(crate) fn into_sums(mut self) -> ShardSums {
        self.accounting.cut = self.feed.cut_packets;
        self.accounting.count_in_flows();
        ShardSums {
            accounting: self.accounting,
            counters: self.table.counters,
            flows: self.table.outlet.flows,
            totals: self.table.outlet.totals,
            late_packets: self.feed.late_packets,
        }
    }

    /// Takes its part of a block. Works on runs of packets, and asks for the
    /// memory that the next three runs will touch: each step of that needs what
    /// the step before has fetched.
    pub(crate) fn take(&mut self, batch: &Batch) {
        let rows = &batch.rows.packets;
        let run = |number: usize| {
            let start = (number * RUN).min(rows.len());
            &rows[start..(start + RUN).min(rows.len())]
        };
        let (mut guesses, mut next_guesses) =
            (&mut [Guess::default(); RUN], &mut [Guess::default(); RUN]);
        prefetch_rows(run(0));
        prefetch_rows(run(1));
        prefetch_rows(run(2));
        self.table.prefetch_slots(run(0));
        self.table.prefetch_slots(run(1));
        self.table.guess(run(0), guesses);
        let around = Around {
            bytes: batch.data.all(),
            tunnels: &batch.rows.tunnels,
            shed: batch.shed,
            hints_alone: false,
        };
        self.accounting.shed[batch.shed as usize] += rows.len() as u64;
        let reads = batch.shed < Shed::Hints;
        let rare = row_flag::WINDOW_ONLY | if reads { row_flag::SPEAKS } else { 0 };
        for number in 0..rows.len().div_ceil(RUN) {
            prefetch_rows(run(number + 3));
            self.table.prefetch_slots(run(number + 2));
            self.table.guess(run(number + 1), next_guesses);
            if reads {
                run(number + 1)
                    .iter()
                    .for_each(|row| WindowFeed::prefetch_message(row, around.bytes));
            }
            self.table.prefetch_details(run(number), guesses, &self.feed);
            for (at, (row, &guess)) in run(number).iter().zip(guesses.iter()).enumerate() {
                if (row.is(rare) || self.dedup.is_some())
                    && !self.is_for_flow(batch, number * RUN + at, row, reads)
                {
                    continue;
                }
                self.take_packet(&around, row, guess);
            }
            std::mem::swap(&mut guesses, &mut next_guesses);
        }
        self.feed.note_shed(rows, batch.shed);
        self.feed.count_sizes(rows);
        for row in &batch.rows.links {
            self.take_link(row);
        }
    }

    /// Looks at what is rare in packets before they go to their flows, and whether they do.
    fn is_for_flow(&mut self, batch: &Batch, at: usize, row: &PacketRow, reads: bool) -> bool {
        if row.is(row_flag::WINDOW_ONLY) {
            self.feed.packet(row);
            // It comes again for its flow, and is counted then.
            self.accounting.shed[batch.shed as usize] -= 1;
            return false;
        }
        if let Some(dedup) = &mut self.dedup
            && !row.is(row_flag::FLOW_ONLY)
            && let Some(&digest) = batch.rows.digests.get(at)
            && dedup.is_copy(digest, batch.first_frame + u64::from(row.index), row.time_ns)
        {
            self.feed.packet(row);
            self.accounting.duplicate.add(row.wire_bytes);
            return false;
        }
        if reads {
            self.feed.extract(row, batch.data.all());
        }
        true
    }

    #[inline]
    fn take_packet(&mut self, around: &Around<'_>, row: &PacketRow, guess: Guess) {
        if self.table.update(row, around, guess, &mut self.feed) == Admission::Refused {
            self.accounting.untracked.add(row.wire_bytes);
        }
        self.accounting.protocols[usize::from(row.key.proto)].add(row.wire_bytes);
        if row.payload_captured < row.payload_bytes {
            self.feed.count_cut(row);
        }
    }

    fn take_link(&mut self, row: &LinkRow) {
        if row.late {
            self.feed.late_packets += 1;
        } else if let LinkKind::NonIp(ether_type) = row.kind {
            let delta = LinkDelta {
                ether_type,
                src_mac: row.src_mac,
                src_mac_known: row.has_mac,
                dst_mac: row.dst_mac,
                dst_mac_known: row.has_mac,
                vlan: row.vlan,
                vni: 0,
                frames: 1,
                wire_bytes: u64::from(row.wire_bytes),
                arp_target: row.arp_target,
            };
            self.feed.slice_at(row.time_ns).add_link(&delta);
        }
        if let Some(dedup) = &mut self.dedup
            && dedup.is_copy(row.digest, row.index, row.time_ns)
        {
            self.accounting.duplicate.add(row.wire_bytes);
            return;
        }
        match row.kind {
            LinkKind::NonIp(ether_type) => {
                self.accounting.non_ip.add(row.wire_bytes);
                *self.accounting.non_ip_types.entry(ether_type).or_default() += 1;
            }
            LinkKind::Malformed(reason) => {
                self.accounting.malformed.add(row.wire_bytes);
                *self.accounting.malformed_reasons.entry(reason).or_default() += 1;
            }
        }
    }

    /// Closes every second before `until_s`: complete windows and records that
    /// are decided.
    pub(crate) fn close(&mut self, shard: usize, until_s: i64) -> Option<ShardOutput> {
        if until_s <= self.closed_before_s {
            return None;
        }
        self.closed_before_s = until_s;
        self.table.sweep(until_s);
        Some(self.output(shard, until_s))
    }

    /// Ends all flows and closes all windows. The stream's clock stands at
    /// `latest_ns`. First what closes, to `out`; then the records of the flows
    /// that the end cut off, sorted, to `tail`.
    pub(crate) fn finish(
        &mut self,
        shard: usize,
        latest_ns: i64,
        out: Sender<ShardOutput>,
        tail: &Sender<Ended>,
    ) {
        let output = self.output(shard, i64::MAX);
        // Nobody listens any more only where the correlation stage panicked.
        let _ = out.send(output);
        drop(out);
        self.table.finish(latest_ns, |ended| {
            let _ = tail.send(ended);
        });
    }

    fn output(&mut self, shard: usize, until_s: i64) -> ShardOutput {
        let mut windows = Vec::new();
        while let Some(window) = self.feed.close_next(until_s) {
            windows.push(window);
        }
        let ended = self.table.outlet.take();
        let held = self.table.held();
        // Each flow is in the table until it has its record.
        let sampled_away = self.table.counters.sampled_packets;
        let overload = Overload::new(&self.accounting.shed, sampled_away);
        let flows = FlowGauge { held, begun: held + self.table.outlet.flows, overload };
        let inferred_losses = self.table.outlet.totals.inferred_losses.clone();
        ShardOutput { shard, closed_before_s: until_s, windows, ended, flows, inferred_losses }
    }
}

/// Asks for rows, which another worker may have written just now.
#[inline]
fn prefetch_rows(rows: &[PacketRow]) {
    for row in rows {
        prefetch_line(row, 0);
        prefetch_line(row, 64);
    }
}

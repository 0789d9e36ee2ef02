//! Recorded flows by the second of their next packet: the one shard of a run without
//! packets.
//!
//! Records come in the order in which flows ended; seconds want them in the order in
//! which they were. A second is complete once the records' clock is a `horizon` past it,
//! which is the longest that any of them was decided after its start.
//!
//! Bounded by [`Calendar::most`] records: beyond, the oldest second is closed early, flows
//! that are over with it are told of at once, and flows of it that come later count in
//! [`Calendar::late_flows`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pace::Pace;
use crate::engine::feed::{ShardWindow, SidedCount};
use crate::engine::run::FlowGauge;
use crate::engine::shard::ShardOutput;
use crate::engine::window::{ChunkPool, Sums, WindowSettings};
use crate::flow::record::Direction;
use crate::flow::{Ended, FlowRecord};
use crate::packet::facts::tcp_flag::{ACK, SYN};
use crate::packet::{Macs, PacketRow, Vlans, class_of, row_flag};

const SECOND_NS: i64 = 1_000_000_000;
const TCP: u8 = 6;

/// TCP packets one way, without an answer, that make a connection a one-sided one; as
/// the flow table has it.
const ONE_SIDED_PACKETS: u64 = 3;

pub(super) struct Calendar {
    /// By the second of the next packet, or of the decision where none is left.
    due: BTreeMap<i64, Vec<Held>>,
    held: usize,
    most: usize,
    horizon_s: i64,
    clock_s: i64,
    /// Seconds before it are closed.
    closed_s: i64,
    begun: u64,
    settings: WindowSettings,
    pool: Arc<ChunkPool>,
    logs: u32,
    pub(super) late_flows: u64,
}

struct Held {
    record: Box<FlowRecord>,
    pace: Pace,
    /// Its second of the decision.
    decided_s: i64,
    is_new: bool,
}

impl Calendar {
    pub(super) fn new(
        horizon_ns: i64,
        most: usize,
        settings: WindowSettings,
        pool: Arc<ChunkPool>,
    ) -> Self {
        Self {
            due: BTreeMap::new(),
            held: 0,
            most: most.max(1),
            // Both ends of it lie somewhere in their seconds.
            horizon_s: horizon_ns.max(0) / SECOND_NS + 1,
            clock_s: i64::MIN,
            closed_s: i64::MIN,
            begun: 0,
            settings,
            pool,
            logs: 0,
            late_flows: 0,
        }
    }

    pub(super) fn take(&mut self, mut record: FlowRecord) {
        record.end_ns = record.end_ns.max(record.start_ns);
        record.decided_ns = record.decided_ns.max(record.end_ns);
        let decided_s = second(record.decided_ns);
        self.clock_s = self.clock_s.max(decided_s);
        self.begun += 1;
        let mut held =
            Held { pace: Pace::of(&record), record: Box::new(record), decided_s, is_new: true };
        if self.closed_s > i64::MIN
            && held.pace.next_second().is_some_and(|next| next < self.closed_s)
        {
            self.late_flows += 1;
            // What was in closed seconds is lost to the windows.
            held.pace.until(self.closed_s.saturating_sub(1));
        }
        self.held += 1;
        self.put(held);
    }

    fn put(&mut self, held: Held) {
        let next = held.pace.next_second().unwrap_or(held.decided_s);
        self.due.entry(next.max(self.closed_s)).or_default().push(held);
    }

    /// Closes the next second that is complete; with `all`, the next there is.
    pub(super) fn close_next(&mut self, all: bool) -> Option<ShardOutput> {
        let &at = self.due.first_key_value()?.0;
        let is_complete = at < self.clock_s.saturating_sub(self.horizon_s);
        let is_full = self.held > self.most;
        if !all && !is_complete && !is_full {
            return None;
        }
        let flows = self.due.remove(&at)?;
        self.closed_s = at.saturating_add(1);
        let mut window = None;
        let mut ended = Ended::default();
        for mut held in flows {
            if held.pace.next_second() == Some(at) {
                let sums = held.pace.until(at);
                let window = window
                    .get_or_insert_with(|| ShardWindow::new(at, &self.settings, &mut self.logs));
                let record = &held.record;
                window.told.note(record);
                window.count(&ways(record, sums), &self.settings, &mut self.logs, &self.pool);
                if std::mem::take(&mut held.is_new) {
                    note_sides(window, record);
                }
            }
            // Where there is no place, the end is told before it was decided.
            if held.pace.next_second().is_none() && (held.decided_s <= at || is_full) {
                self.held -= 1;
                held.record.decided_ns = held.record.decided_ns.min(self.closed_s * SECOND_NS - 1);
                ended.records.push(*held.record);
            } else {
                self.put(held);
            }
        }
        if let Some(window) = &mut window {
            window.settle();
        }
        Some(ShardOutput {
            shard: 0,
            closed_before_s: self.closed_s,
            windows: window.into_iter().collect(),
            ended,
            flows: FlowGauge { held: self.held as u64, begun: self.begun, ..FlowGauge::default() },
            inferred_losses: Vec::new(),
        })
    }

    /// No more is to come.
    pub(super) fn last(&self) -> ShardOutput {
        ShardOutput {
            shard: 0,
            closed_before_s: i64::MAX,
            windows: Vec::new(),
            ended: Ended::default(),
            flows: FlowGauge { begun: self.begun, ..FlowGauge::default() },
            inferred_losses: Vec::new(),
        }
    }
}

fn second(ns: i64) -> i64 {
    ns.div_euclid(SECOND_NS)
}

/// What a flow did, from its key's `a` to `b` and back, each with a packet as all are.
fn ways(record: &FlowRecord, [fwd, rev]: [Sums; 2]) -> [(PacketRow, Sums); 2] {
    let packets = [true, false].map(|is_fwd| packet(record, is_fwd));
    match record.forward_is_a_to_b {
        true => [(packets[0], fwd), (packets[1], rev)],
        false => [(packets[1], rev), (packets[0], fwd)],
    }
}

fn packet(record: &FlowRecord, is_fwd: bool) -> PacketRow {
    let macs =
        if is_fwd { [record.src_mac, record.dst_mac] } else { [record.dst_mac, record.src_mac] };
    let mut flags = 0;
    if is_fwd == record.forward_is_a_to_b {
        flags |= row_flag::FORWARD;
    }
    if macs[0].is_some() {
        flags |= row_flag::HAS_MAC;
    }
    let vlan = record.vlans.last().copied();
    let mut packet = PacketRow {
        key: record.key,
        vlans: vlan.map_or(Vlans::NONE, Vlans::one),
        macs: Macs::new(macs[0].unwrap_or_default(), macs[1].unwrap_or_default()),
        class: class_of(record.key.proto),
        flags,
        ..PacketRow::NOTHING
    };
    packet.mark_group();
    packet
}

/// Whether one direction of a connection is missing: then answers mean nothing.
fn note_sides(window: &mut ShardWindow, record: &FlowRecord) {
    if record.key.proto != TCP {
        return;
    }
    let acks = |way: &Direction| {
        let is_acked = way.tcp_flags & ACK != 0;
        let syns = u64::from(way.tcp_flags & SYN != 0);
        if is_acked { way.packets.saturating_sub(syns) } else { 0 }
    };
    let vlan = record.vlans.last().copied().unwrap_or(0);
    let count: &mut SidedCount = window.sided.entry((0, vlan)).or_default();
    if record.fwd.packets > 0 && record.rev.packets > 0 {
        count.two_way += 1;
    } else if [&record.fwd, &record.rev].iter().any(|way| acks(way) >= ONE_SIDED_PACKETS) {
        count.one_way += 1;
    }
}

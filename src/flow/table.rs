//! The flow table of one shard.
//!
//! Takes packets in stream order, hands out finished records. Owned by one
//! thread, shares nothing. Memory is bounded by `max_flows`: at the cap the
//! oldest flows of one packet make room (end reason `evicted`) as long as they
//! are at least half of the table; else the new flow is refused. So a flood
//! in which each packet is a new flow competes with itself only.
//!
//! Start at [`FlowTable::update`], then [`FlowTable::sweep`] for each closed
//! second and [`FlowTable::finish`] at the end.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::app::{AppInfo, Payload, inspect};
use super::entropy::byte_entropy;
use super::index::Index;
use super::live::{
    Extra, Live, MAX_FLOW_TUNNELS, Sided, Stub, TCP, active_of_protocol, stub_idle_ns,
};
use super::record::{EndReason, FlowRecord};
use super::settings::TableSettings;
use super::slab::Slab;
use super::totals::FlowTotals;
use super::wheel::{Entry, Wheel};
use crate::engine::feed::WindowFeed;
use crate::packet::facts::tcp_flag;
use crate::packet::{PacketRow, TunnelLayer, row_flag};

const SECOND_NS: i64 = 1_000_000_000;

/// Ids of live flows carry this bit in the index; stubs don't.
const LIVE: u32 = 1 << 31;

/// Ended keys remembered to tell a conversation's next record from a new
/// conversation: 16 bytes each, so 128 MiB at most over all shards of one run.
const MAX_REMEMBERED: usize = 4 << 20;

/// Packets with payload in each direction that are shown to the application
/// parsers: the first carries the request, for DNS the next may be the answer.
const APP_PACKETS: u64 = 4;

/// Records handed over at once at the end of the input: about a megabyte.
const TAIL_RECORDS: usize = 1024;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Counted,
    /// The table is full of established flows.
    Refused,
}

/// Totals over everything the table has seen.
#[derive(Clone, Debug, Default)]
pub struct TableCounters {
    /// Distinct keys; a lower bound once `conversations_exact` is false.
    pub conversations: u64,
    pub conversations_inexact: bool,
    pub evicted: u64,
    pub refused_packets: u64,
    /// Most flows held at once.
    pub peak_flows: u64,
}

pub(crate) struct FlowTable {
    settings: TableSettings,
    index: Index,
    stubs: Slab<Stub>,
    lives: Slab<Live>,
    wheel: Wheel,
    due: Vec<Entry>,
    /// Where the search for the next stub to evict goes on.
    hand: u32,
    ended: HashSet<u64, BuildHasherDefault<PassThrough>>,
    pub(crate) counters: TableCounters,
    pub(crate) outlet: Outlet,
}

/// Where ended flows go.
#[derive(Default)]
pub(crate) struct Outlet {
    /// Make records at all.
    wanted: bool,
    pub(crate) records: Vec<FlowRecord>,
    pub(crate) totals: FlowTotals,
    pub(crate) flows: u64,
}

impl Outlet {
    fn live(&mut self, live: &Live, reason: EndReason, decided_ns: i64) {
        self.flows += 1;
        self.totals.add_live(live, reason);
        if self.wanted {
            self.records.push(live.record(reason, decided_ns));
        }
    }

    fn stub(&mut self, stub: &mut Stub, reason: EndReason, decided_ns: i64) {
        self.flows += 1;
        self.totals.add_stub(stub, reason);
        let extra = stub.extra.take();
        if self.wanted {
            let live = Live::start(&stub.packet, stub.cut_ns, extra);
            self.records.push(live.record(reason, decided_ns));
        }
    }
}

impl FlowTable {
    pub(crate) fn new(settings: TableSettings) -> Self {
        Self {
            settings,
            index: Index::new(),
            stubs: Slab::new(),
            lives: Slab::new(),
            wheel: Wheel::new(),
            due: Vec::new(),
            hand: 0,
            ended: HashSet::default(),
            counters: TableCounters::default(),
            outlet: Outlet { wanted: settings.records, ..Outlet::default() },
        }
    }

    /// Counts a packet in its flow and in the windows. `payload` is what was
    /// captured of it, `tunnels` what it came through.
    pub(crate) fn update(
        &mut self,
        packet: &PacketRow,
        payload: &[u8],
        tunnels: &[TunnelLayer],
        feed: &mut WindowFeed,
    ) -> Admission {
        let cut_ns = packet.time_ns.max(packet.clock_ns.saturating_sub(self.settings.lateness_ns));
        let found = self.index.find(packet.hash, |id| {
            if id & LIVE != 0 {
                self.lives[id & !LIVE].key == packet.key
            } else {
                self.stubs[id].packet.key == packet.key
            }
        });
        match found {
            Some(id) if id & LIVE != 0 => {
                self.update_live(id & !LIVE, packet, payload, tunnels, cut_ns, feed);
                Admission::Counted
            }
            Some(id) => {
                self.update_stub(id, packet, payload, tunnels, cut_ns, feed);
                Admission::Counted
            }
            None => self.admit(packet, payload, tunnels, cut_ns, feed),
        }
    }

    fn update_live(
        &mut self,
        id: u32,
        packet: &PacketRow,
        payload: &[u8],
        tunnels: &[TunnelLayer],
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) {
        let live = &mut self.lives[id];
        let idle_ns = live.idle_ns(&self.settings.timeouts);
        let over = live.life.is_over();
        let reason = cut_reason(
            Clock { start_ns: live.start_ns, last_ns: live.cut_ns, idle_ns, over },
            active_of_protocol(packet.key.proto, &self.settings.timeouts),
            packet,
            cut_ns,
        );
        if let Some((reason, decided_ns)) = reason {
            self.outlet.live(live, reason, decided_ns);
            let extra = first_payload(None, packet, payload, tunnels, true);
            let row = live.row;
            *live = Live::start(packet, cut_ns, extra);
            live.row = row;
        } else {
            let direction = packet.direction();
            let early = live.halves[direction].packets < APP_PACKETS;
            let new_tunnel = !tunnels.is_empty()
                && live.extra.as_ref().is_none_or(|extra| {
                    extra.tunnels.len() < MAX_FLOW_TUNNELS
                        && tunnels.iter().any(|layer| !extra.tunnels.contains(layer))
                });
            if (early && !payload.is_empty()) || new_tunnel {
                let from_originator = live.originator().0 == direction;
                let extra = live.extra.take();
                live.extra = first_payload(extra, packet, payload, tunnels, from_originator);
            }
            live.add(packet, cut_ns);
        }
        count_live(live, packet, feed);
        self.schedule(id | LIVE);
    }

    /// Second packet of a flow of one: it becomes a live flow, or ends here.
    fn update_stub(
        &mut self,
        id: u32,
        packet: &PacketRow,
        payload: &[u8],
        tunnels: &[TunnelLayer],
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) {
        let stub = &mut self.stubs[id];
        let first = stub.packet;
        let idle_ns = stub_idle_ns(&first, &self.settings.timeouts);
        let over = first.tcp_flags & tcp_flag::RST != 0;
        let clock = Clock { start_ns: first.time_ns, last_ns: stub.cut_ns, idle_ns, over };
        if let Some((reason, decided_ns)) = cut_reason(
            clock,
            active_of_protocol(packet.key.proto, &self.settings.timeouts),
            packet,
            cut_ns,
        ) {
            self.outlet.stub(stub, reason, decided_ns);
            stub.packet = *packet;
            stub.cut_ns = cut_ns;
            stub.extra = first_payload(None, packet, payload, tunnels, true);
            stub.row = feed.packet(packet);
            self.schedule(id);
            return;
        }
        let stub_cut_ns = stub.cut_ns;
        let mut live = Live::start(&first, stub_cut_ns, stub.extra.take());
        if !payload.is_empty() || !tunnels.is_empty() {
            let from_originator = live.originator().0 == packet.direction();
            let extra = live.extra.take();
            live.extra = first_payload(extra, packet, payload, tunnels, from_originator);
        }
        live.wheel_s = stub.wheel_s;
        live.row = stub.row;
        stub.alive = false;
        live.add(packet, cut_ns);
        let live_id = self.lives.insert(live);
        self.stubs.remove(id);
        self.index.replace(packet.hash, id, live_id | LIVE);
        // The wheel's entry names the stub: enter the flow anew.
        self.lives[live_id].wheel_s = i64::MAX;
        count_live(&mut self.lives[live_id], packet, feed);
        self.schedule(live_id | LIVE);
    }

    fn admit(
        &mut self,
        packet: &PacketRow,
        payload: &[u8],
        tunnels: &[TunnelLayer],
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) -> Admission {
        let row = feed.packet(packet);
        let held = self.stubs.len() + self.lives.len();
        if held >= self.settings.max_flows && !self.evict_a_stub(cut_ns) {
            self.counters.refused_packets += 1;
            return Admission::Refused;
        }
        self.counters.peak_flows = self.counters.peak_flows.max(held as u64 + 1);
        if self.ended.is_empty() || !self.ended.contains(&packet.hash) {
            self.counters.conversations += 1;
        }
        let stub = Stub {
            packet: *packet,
            extra: first_payload(None, packet, payload, tunnels, true),
            wheel_s: i64::MAX,
            cut_ns,
            row,
            alive: true,
        };
        let id = self.stubs.insert(stub);
        self.index.insert(packet.hash, id);
        self.schedule(id);
        Admission::Counted
    }

    /// Pushes out the flow of one packet that has waited longest, roughly: the
    /// hand goes round the slab in the order of arrival.
    fn evict_a_stub(&mut self, cut_ns: i64) -> bool {
        if self.stubs.len() * 2 < self.settings.max_flows {
            return false;
        }
        let ids = self.stubs.high_water();
        for _ in 0..ids {
            self.hand = (self.hand + 1) % ids;
            if self.stubs[self.hand].alive {
                self.counters.evicted += 1;
                self.end(self.hand, EndReason::Evicted, cut_ns);
                return true;
            }
        }
        false
    }

    /// Enters the flow in the wheel where its deadline came closer.
    fn schedule(&mut self, id: u32) {
        let Some((last_ns, deadline_ns)) = self.deadline_ns(id) else { return };
        let deadline_s = deadline_ns.div_euclid(SECOND_NS);
        let wheel_s = if id & LIVE != 0 {
            &mut self.lives[id & !LIVE].wheel_s
        } else {
            &mut self.stubs[id].wheel_s
        };
        if deadline_s < *wheel_s {
            *wheel_s = deadline_s;
            // A flow's deadline is never before its last packet's time, and that
            // never more than the lateness before the first packet's.
            let now_s = last_ns.saturating_sub(self.settings.lateness_ns).div_euclid(SECOND_NS);
            self.wheel.insert(Entry { id, deadline_s }, now_s);
        }
    }

    /// Time of the flow's last packet, and when it is over if no further one
    /// comes.
    fn deadline_ns(&self, id: u32) -> Option<(i64, i64)> {
        let (last_ns, idle_ns) = if id & LIVE != 0 {
            let live = &self.lives[id & !LIVE];
            (live.cut_ns, live.idle_ns(&self.settings.timeouts))
        } else {
            let stub = &self.stubs[id];
            (stub.cut_ns, stub_idle_ns(&stub.packet, &self.settings.timeouts))
        };
        idle_ns.map(|idle_ns| (last_ns, last_ns.saturating_add(idle_ns)))
    }

    /// Hands out every flow that was over before second `until_s`.
    pub(crate) fn sweep(&mut self, until_s: i64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_due(until_s, &mut due);
        for Entry { id, deadline_s } in due.drain(..) {
            let (alive, wheel_s) = if id & LIVE != 0 {
                let slot = id & !LIVE;
                if slot >= self.lives.high_water() {
                    continue;
                }
                (self.lives[slot].alive, self.lives[slot].wheel_s)
            } else {
                (self.stubs[id].alive, self.stubs[id].wheel_s)
            };
            if !alive || wheel_s != deadline_s {
                continue;
            }
            let Some((_, deadline_ns)) = self.deadline_ns(id) else { continue };
            if deadline_ns.div_euclid(SECOND_NS) < until_s {
                self.end(id, self.idle_reason(id), deadline_ns);
            } else {
                if id & LIVE != 0 {
                    self.lives[id & !LIVE].wheel_s = i64::MAX;
                } else {
                    self.stubs[id].wheel_s = i64::MAX;
                }
                self.schedule(id);
            }
        }
        self.due = due;
    }

    /// End reason of a flow that nothing more came for.
    fn idle_reason(&self, id: u32) -> EndReason {
        let over = if id & LIVE != 0 {
            self.lives[id & !LIVE].life.is_over()
        } else {
            self.stubs[id].packet.tcp_flags & tcp_flag::RST != 0
        };
        if over { EndReason::Closed } else { EndReason::Idle }
    }

    /// Ends everything left: `end_of_input`, decided at `latest_ns`. `tail` takes
    /// the records in the order of their start and key, some at a time: a table
    /// full of flows is never in memory as records.
    pub(crate) fn finish(&mut self, latest_ns: i64, mut tail: impl FnMut(Vec<FlowRecord>)) {
        let lives = (0..self.lives.high_water()).filter(|&id| self.lives[id].alive);
        let lives = lives.map(|id| (self.lives[id].start_ns, self.lives[id].key, id | LIVE));
        let stubs = (0..self.stubs.high_water()).filter(|&id| self.stubs[id].alive);
        let stubs = stubs.map(|id| {
            let packet = &self.stubs[id].packet;
            (packet.time_ns, packet.key, id)
        });
        let mut left: Vec<_> = lives.chain(stubs).collect();
        if self.outlet.wanted {
            left.sort_unstable();
        }
        for chunk in left.chunks(TAIL_RECORDS) {
            for &(_, _, id) in chunk {
                self.end(id, EndReason::EndOfInput, latest_ns);
            }
            if self.outlet.wanted {
                tail(std::mem::take(&mut self.outlet.records));
            }
        }
    }

    fn end(&mut self, id: u32, reason: EndReason, decided_ns: i64) {
        let hash;
        if id & LIVE != 0 {
            let live = &mut self.lives[id & !LIVE];
            hash = live.hash;
            live.alive = false;
            self.outlet.live(live, reason, decided_ns);
            live.extra = None;
            self.lives.remove(id & !LIVE);
        } else {
            let stub = &mut self.stubs[id];
            hash = stub.packet.hash;
            stub.alive = false;
            self.outlet.stub(stub, reason, decided_ns);
            self.stubs.remove(id);
        }
        self.index.remove(hash, id);
        if reason != EndReason::EndOfInput {
            if self.ended.len() < MAX_REMEMBERED {
                self.ended.insert(hash);
            } else if !self.ended.contains(&hash) {
                self.counters.conversations_inexact = true;
            }
        }
    }
}

/// Counts a packet that a live flow has just taken in.
fn count_live(live: &mut Live, packet: &PacketRow, feed: &mut WindowFeed) {
    let (now, vantage) = (sided_of(live), (live.interface, live.first_vlan));
    feed.report_side(&mut live.sided, now, vantage, packet.clock_ns);
    feed.live_packet(&mut live.row, packet);
}

/// What decides whether a flow's record ends before its next packet.
struct Clock {
    start_ns: i64,
    last_ns: i64,
    idle_ns: Option<i64>,
    /// Both FINs or a RST were seen.
    over: bool,
}

/// Whether this packet begins a new record, why, and when that was decided.
fn cut_reason(
    flow: Clock,
    active_ns: Option<i64>,
    packet: &PacketRow,
    cut_ns: i64,
) -> Option<(EndReason, i64)> {
    if let Some(idle_ns) = flow.idle_ns {
        let deadline_ns = flow.last_ns.saturating_add(idle_ns);
        if cut_ns > deadline_ns {
            let reason = if flow.over { EndReason::Closed } else { EndReason::Idle };
            return Some((reason, deadline_ns));
        }
    }
    let syn = packet.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
    if flow.over && syn && packet.key.proto == TCP {
        return Some((EndReason::Closed, cut_ns));
    }
    match active_ns {
        // By the packets' own times: a late packet is not old because others are new.
        Some(active_ns) if packet.time_ns.saturating_sub(flow.start_ns) > active_ns => {
            Some((EndReason::Active, cut_ns))
        }
        _ => None,
    }
}

/// Adds to a flow's extras what this packet tells: application hints, entropy
/// of the direction's first payload, tunnels.
fn first_payload(
    extra: Option<Box<Extra>>,
    packet: &PacketRow,
    payload: &[u8],
    tunnels: &[TunnelLayer],
    from_originator: bool,
) -> Option<Box<Extra>> {
    if payload.is_empty() && tunnels.is_empty() {
        return extra;
    }
    let mut extra = extra.unwrap_or_default();
    for layer in tunnels {
        if extra.tunnels.len() < MAX_FLOW_TUNNELS && !extra.tunnels.contains(layer) {
            extra.tunnels.push(*layer);
        }
    }
    if !payload.is_empty() && !packet.is(row_flag::LATER_FRAGMENT) {
        let entropy = &mut extra.entropy[packet.direction()];
        if entropy.is_none() {
            *entropy = byte_entropy(payload);
        }
        let (src_port, dst_port) = if packet.is(row_flag::FORWARD) {
            (packet.key.port_a, packet.key.port_b)
        } else {
            (packet.key.port_b, packet.key.port_a)
        };
        let app: &mut Option<Box<AppInfo>> = &mut extra.app;
        let proto = packet.key.proto;
        inspect(Payload { proto, src_port, dst_port, from_originator, bytes: payload }, app);
    }
    Some(extra)
}

/// Keys of the set are hashes already.
#[derive(Default)]
struct PassThrough(u64);

impl std::hash::Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Reports changes of what is known of a connection's sidedness.
pub(crate) fn sided_of(live: &Live) -> Sided {
    if live.key.proto != TCP {
        Sided::Unknown
    } else if live.halves[0].packets > 0 && live.halves[1].packets > 0 {
        Sided::TwoWay
    } else if live.halves.iter().any(|half| half.acks >= 3) {
        Sided::OneWay
    } else {
        Sided::Unknown
    }
}

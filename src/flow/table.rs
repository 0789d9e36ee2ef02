//! The flow table of one shard.
//!
//! Takes packets in stream order, hands out finished records. Owned by one
//! thread, shares nothing. Memory is bounded by `max_flows`: at the cap the
//! oldest flows of one packet make room (end reason `evicted`) as long as they
//! are at least half of the table; else the new flow is refused. So a flood
//! in which each packet is a new flow competes with itself only.
//!
//! Start at [`FlowTable::update`]; how flows leave is in `ending`:
//! [`FlowTable::sweep`] for each closed second, [`FlowTable::finish`] at the end.

mod ending;

use std::mem::offset_of;

use ending::{ENDED_AT_ONCE, Ending, NO_ENTRY};

use super::cut::{Clock, Shortest, cut_reason};
use super::first_payload::{APP_PACKETS, FirstPayload};
use super::half::Half;
use super::index::Index;
use super::live::{Bins, Live, Sided, TCP};
use super::outlet::Outlet;
use super::record::EndReason;
use super::remembered::{MAX_REMEMBERED, Remembered};
use super::settings::{TableSettings, Wanted};
use super::slab::Slab;
use super::stub::Stub;
use super::wheel::Wheel;
use crate::engine::feed::WindowFeed;
use crate::input::Shed;
use crate::memory::prefetch_line;
use crate::packet::row::NO_TUNNELS;
use crate::packet::{FlowKey, PacketRow, TunnelLayer, Tunnels, row_flag};

/// Ids of live flows carry this bit in the index; stubs don't.
const LIVE: u32 = 1 << 31;

/// A packet on its way into its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) packet: &'a PacketRow,
    /// What was captured of its payload.
    pub(crate) payload: &'a [u8],
    /// What it came through.
    pub(crate) tunnels: &'a [TunnelLayer],
    /// What to leave out.
    pub(crate) shed: Shed,
    /// Entropy is left out.
    pub(crate) hints_alone: bool,
}

/// What packets of a block point into. Most packets are counted without it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around<'a> {
    /// The block's captured bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) tunnels: &'a [Tunnels],
    pub(crate) shed: Shed,
    pub(crate) hints_alone: bool,
}

impl<'a> Around<'a> {
    /// The packet without its tunnels, of which names alone are wanted.
    fn hints(&self, packet: &'a PacketRow) -> Arrival<'a> {
        Self { tunnels: &[], hints_alone: true, ..*self }.arrival(packet)
    }

    fn arrival(&self, packet: &'a PacketRow) -> Arrival<'a> {
        let start = packet.payload_at as usize;
        let payload = self.bytes.get(start..start + packet.payload_captured as usize);
        let tunnels = self.tunnels.get(packet.tunnels as usize);
        Arrival {
            packet,
            payload: payload.unwrap_or_default(),
            tunnels: tunnels.map_or(&[], Tunnels::as_slice),
            shed: self.shed,
            hints_alone: self.hints_alone,
        }
    }
}

/// Which flow a packet may belong to, from its hash alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess(u32);

/// No flow.
const NO_FLOW: u32 = u32::MAX;

impl Default for Guess {
    fn default() -> Self {
        Self(NO_FLOW)
    }
}

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
    /// Distinct keys; an upper bound once `conversations_inexact`: what began since then may
    /// have been there before.
    pub conversations: u64,
    pub conversations_inexact: bool,
    pub evicted: u64,
    pub refused_packets: u64,
    /// Packets of new flows that were sampled away under overload.
    pub sampled_packets: u64,
    /// Most flows held at once.
    pub peak_flows: u64,
}

pub(crate) struct FlowTable {
    settings: TableSettings,
    shortest: Shortest,
    hash_state: ahash::RandomState,
    index: Index,
    stubs: Slab<Stub>,
    lives: Slab<Live>,
    bins: Slab<Bins>,
    wheel: Wheel,
    /// Second that [`Stub::wheel_s`] and [`Live::wheel_s`] count from.
    epoch_s: Option<i64>,
    due: Vec<(u32, i64)>,
    /// Flows that end together; empty in between.
    ending: Vec<Ending>,
    /// Where the search for the next stub to evict goes on.
    hand: u32,
    /// Of flows that ended. None once they are too many: looking for each new flow
    /// among millions costs a flood a tenth of its time.
    ended: Option<Remembered>,
    pub(crate) counters: TableCounters,
    pub(crate) outlet: Outlet,
}

impl FlowTable {
    /// `hash_state` is the one that packets' hashes were made with.
    pub(crate) fn new(settings: TableSettings, hash_state: ahash::RandomState) -> Self {
        Self {
            settings,
            shortest: Shortest::of(&settings.timeouts),
            index: Index::new(),
            stubs: Slab::new(),
            lives: Slab::new(),
            bins: Slab::new(),
            wheel: Wheel::new(),
            epoch_s: None,
            due: Vec::new(),
            ending: Vec::with_capacity(ENDED_AT_ONCE),
            hand: 0,
            ended: Some(Remembered::new(MAX_REMEMBERED)),
            counters: TableCounters::default(),
            outlet: Outlet::new(settings.wanted, settings.names, hash_state.clone()),
            hash_state,
        }
    }

    /// Takes what a flood of new flows would have to wait for now: the memory for as
    /// many flows of one packet as the table may hold, and for what is noted of each.
    pub(crate) fn preallocate(&mut self) {
        let flows = self.settings.max_flows;
        self.stubs.preallocate(flows);
        self.index.preallocate(flows);
        self.wheel.preallocate(flows);
        self.outlet.totals.talkers.preallocate(flows);
        if let Some(ended) = &mut self.ended {
            ended.preallocate(flows);
        }
    }

    /// First step for packets that will be counted soon: asks for the slots of
    /// their hashes.
    #[inline]
    pub(crate) fn prefetch_slots(&self, packets: &[PacketRow]) {
        for packet in packets {
            self.index.prefetch(packet.hash);
        }
    }

    /// Second step, a run later: guesses their flows and asks for the lines of
    /// them that counting will touch.
    #[inline]
    pub(crate) fn guess(&self, packets: &[PacketRow], guesses: &mut [Guess]) {
        for (packet, guess) in packets.iter().zip(guesses) {
            *guess = Guess(self.index.guess(packet.hash).unwrap_or(NO_FLOW));
            if guess.0 == NO_FLOW {
                if let Some(ended) = &self.ended {
                    ended.prefetch(packet.hash);
                }
                continue;
            }
            if guess.0 & LIVE == 0 {
                self.stubs.prefetch(guess.0, 0);
                self.stubs.prefetch(guess.0, 64);
                continue;
            }
            let Some(live) = self.lives.get(guess.0 & !LIVE) else { continue };
            let half = offset_of!(Live, halves) + packet.direction() * size_of::<Half>();
            for offset_bytes in [0, 64, half, half + 64] {
                prefetch_line(live, offset_bytes);
            }
        }
    }

    /// Third step, another run later: asks for what only the flows know the
    /// place of.
    #[inline]
    pub(crate) fn prefetch_details(
        &self,
        packets: &[PacketRow],
        guesses: &[Guess],
        feed: &WindowFeed,
    ) {
        for (packet, guess) in packets.iter().zip(guesses) {
            if guess.0 & LIVE == 0 {
                continue;
            }
            // There is none for no flow.
            let Some(live) = self.lives.get(guess.0 & !LIVE) else { continue };
            let direction = packet.direction();
            feed.prefetch(&live.row, direction);
            if let Some(bins) = live.bins_id() {
                self.bins.prefetch(bins, Bins::offset(direction, packet.payload_bytes));
            } else {
                prefetch_line(live, live.next_step_offset());
            }
        }
    }

    /// Counts a packet in its flow and in the windows. The way of nearly all packets: of a
    /// flow that was guessed and goes on.
    pub(crate) fn update(
        &mut self,
        packet: &PacketRow,
        around: &Around<'_>,
        guess: Guess,
        feed: &mut WindowFeed,
    ) -> Admission {
        let Self { lives, bins, shortest, outlet, settings, .. } = self;
        // Times are from 1970 on: no difference overflows.
        let cut_ns = packet.time_ns.max(packet.clock_ns - settings.lateness_ns);
        let id = guess.0 & !LIVE;
        if guess.0 & LIVE != 0
            && let Some(live) = lives.get_mut(id)
            && live.is_alive()
            && live.key == packet.key
            && !shortest.may_cut(live, packet, cut_ns)
        {
            if take_in(live, bins, outlet.wanted, packet, around, cut_ns, feed) {
                self.schedule(guess.0);
            }
            return Admission::Counted;
        }
        self.update_slowly(packet, around, guess, cut_ns, feed)
    }

    #[inline(never)]
    fn update_slowly(
        &mut self,
        packet: &PacketRow,
        around: &Around<'_>,
        guess: Guess,
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) -> Admission {
        let found = if guess.0 != NO_FLOW && self.is_flow(guess.0, &packet.key) {
            Some(guess.0)
        } else {
            // A wrong guess, or the flow's first packet is just before this one.
            self.index.find(packet.hash, |id| self.is_flow(id, &packet.key))
        };
        let arrival = self.arrival(packet, around);
        match found {
            Some(id) if id & LIVE != 0 => {
                self.update_live(id & !LIVE, arrival, around, cut_ns, feed);
                Admission::Counted
            }
            Some(id) => {
                self.update_stub(id, arrival, cut_ns, feed);
                Admission::Counted
            }
            None => self.admit(arrival, cut_ns, feed),
        }
    }

    /// With what is to be read of it: what only a record tells need not be looked at where
    /// nobody wants any.
    #[inline]
    fn arrival<'a>(&self, packet: &'a PacketRow, around: &Around<'a>) -> Arrival<'a> {
        match self.outlet.wanted {
            Wanted::Records => around.arrival(packet),
            // Names are learned from hints; entropy and tunnels are told by records alone.
            Wanted::Outlines if packet.is(row_flag::TELLS) => around.hints(packet),
            _ => Around { shed: around.shed, ..Around::default() }.arrival(packet),
        }
    }

    #[inline(always)]
    fn is_flow(&self, id: u32, key: &FlowKey) -> bool {
        if id & LIVE != 0 {
            let live = &self.lives[id & !LIVE];
            live.is_alive() && live.key == *key
        } else {
            let stub = &self.stubs[id];
            stub.is_alive() && stub.key == *key
        }
    }

    fn update_live(
        &mut self,
        id: u32,
        arrival: Arrival<'_>,
        around: &Around<'_>,
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) {
        let packet = arrival.packet;
        let may_cut = self.shortest.may_cut(&self.lives[id], packet, cut_ns);
        if may_cut && self.cut_live(id, arrival, cut_ns, feed) {
            return;
        }
        let Self { lives, bins, outlet, .. } = self;
        if take_in(&mut lives[id], bins, outlet.wanted, packet, around, cut_ns, feed) {
            self.schedule(id | LIVE);
        }
    }

    /// Where the packet begins a new record of its flow, ends the last one and
    /// counts the packet. False where it does not.
    #[cold]
    fn cut_live(
        &mut self,
        id: u32,
        arrival: Arrival<'_>,
        cut_ns: i64,
        feed: &mut WindowFeed,
    ) -> bool {
        let Self { lives, bins, settings, outlet, .. } = self;
        let packet = arrival.packet;
        let live = &mut lives[id];
        let idle_ns = live.idle_ns(&settings.timeouts);
        let (start_ns, last_ns, over) = (live.start_ns, live.cut_ns, live.life.is_over());
        let active_ns = settings.timeouts.active_ns(packet.key.proto);
        let clock = Clock { start_ns, last_ns, idle_ns, over };
        let Some((reason, decided_ns)) = cut_reason(clock, active_ns, packet, cut_ns) else {
            return false;
        };
        outlet.live(live, bins, reason, decided_ns);
        live.drop_bins(bins);
        let originator = (reason == EndReason::Active).then(|| live.originator());
        let from_originator = originator.is_none_or(|(known, _)| known == packet.direction());
        let first = FirstPayload::read(None, arrival, from_originator, false);
        let row = live.row;
        *live = Live::start(packet, cut_ns, first.extra, bins);
        if let Some(originator) = originator {
            live.goes_on(originator);
        }
        live.set_entropy(packet.direction(), first.entropy);
        live.row = row;
        count_live(live, packet, feed);
        self.schedule(id | LIVE);
        true
    }

    /// Second packet of a flow of one: it becomes a live flow, or ends here.
    fn update_stub(&mut self, id: u32, arrival: Arrival<'_>, cut_ns: i64, feed: &mut WindowFeed) {
        let Arrival { packet, payload, tunnels, .. } = arrival;
        let stub = &mut self.stubs[id];
        let idle_ns = stub.idle_ns(&self.settings.timeouts);
        let clock =
            Clock { start_ns: stub.time_ns, last_ns: stub.cut_ns, idle_ns, over: stub.is_over() };
        if let Some((reason, decided_ns)) =
            cut_reason(clock, self.settings.timeouts.active_ns(packet.key.proto), packet, cut_ns)
        {
            self.outlet.stub(stub, reason, decided_ns);
            if reason == EndReason::Active {
                // A stub has no place for who began it.
                let originator = Live::from_stub(stub, &mut self.bins).originator();
                let from_originator = originator.0 == packet.direction();
                let first = FirstPayload::read(None, arrival, from_originator, false);
                let mut live = Live::start(packet, cut_ns, first.extra, &mut self.bins);
                live.set_entropy(packet.direction(), first.entropy);
                live.goes_on(originator);
                live.wheel_s = self.lives.predecessor().map_or(NO_ENTRY, |before| before.wheel_s);
                let live_id = self.lives.insert(live);
                self.become_live(id, packet, live_id, feed);
                return;
            }
            let wheel_s = stub.wheel_s;
            *stub = first_stub(arrival, cut_ns);
            stub.wheel_s = wheel_s;
            stub.row = feed.packet(packet);
            self.schedule(id);
            return;
        }
        let wheel_s = self.lives.predecessor().map_or(NO_ENTRY, |before| before.wheel_s);
        let live_id = self.lives.insert(Live::from_stub(stub, &mut self.bins));
        let live = &mut self.lives[live_id];
        live.wheel_s = wheel_s;
        if !payload.is_empty() || !tunnels.is_empty() {
            let from_originator = live.originator().0 == packet.direction();
            live.look_at(arrival, from_originator);
        }
        live.add(packet, cut_ns, &mut self.bins);
        self.become_live(id, packet, live_id, feed);
    }

    /// Puts a live flow, which has taken in this packet, in the place of a stub.
    fn become_live(&mut self, id: u32, packet: &PacketRow, live_id: u32, feed: &mut WindowFeed) {
        self.stubs[id].bury();
        self.stubs.remove(id);
        self.index.replace(packet.hash, id, live_id | LIVE);
        count_live(&mut self.lives[live_id], packet, feed);
        // The wheel's entry names the place it had as a stub: enter the flow anew.
        self.schedule(live_id | LIVE);
    }

    /// Flows in the table.
    pub(crate) fn held(&self) -> u64 {
        (self.stubs.len() + self.lives.len()) as u64
    }

    fn admit(&mut self, arrival: Arrival<'_>, cut_ns: i64, feed: &mut WindowFeed) -> Admission {
        let packet = arrival.packet;
        let row = feed.packet(packet);
        if arrival.shed >= Shed::NewFlows && !is_sample(packet.hash) {
            self.counters.sampled_packets += 1;
            feed.note_crowded(packet);
            return Admission::Refused;
        }
        let held = self.stubs.len() + self.lives.len();
        if held >= self.settings.max_flows {
            // Those who make room begin anew with their next packet.
            feed.note_crowded(packet);
            if !self.evict_stubs(cut_ns) {
                self.counters.refused_packets += 1;
                return Admission::Refused;
            }
        }
        self.counters.peak_flows = self.counters.peak_flows.max(held as u64 + 1);
        if !self.ended.as_ref().is_some_and(|ended| ended.contains(packet.hash)) {
            self.counters.conversations += 1;
        }
        let mut stub = first_stub(arrival, cut_ns);
        stub.row = row;
        stub.wheel_s = self.stubs.predecessor().map_or(NO_ENTRY, |before| before.wheel_s);
        let id = self.stubs.insert(stub);
        self.index.insert(packet.hash, id);
        self.schedule(id);
        Admission::Counted
    }
}

/// One flow of [`Shed::NEW_FLOWS_KEPT`], by bits of its hash that neither the
/// index nor the choice of a shard looks at first.
fn is_sample(hash: u64) -> bool {
    (hash >> 24).is_multiple_of(Shed::NEW_FLOWS_KEPT)
}

/// Counts a packet in its live flow and in the windows. Whether the flow is in another
/// phase of its life now, which the wheel is to know; time alone moves the deadline later,
/// for which it need not.
#[inline(always)]
fn take_in(
    live: &mut Live,
    bins: &mut Slab<Bins>,
    wanted: Wanted,
    packet: &PacketRow,
    around: &Around<'_>,
    cut_ns: i64,
    feed: &mut WindowFeed,
) -> bool {
    if wanted == Wanted::Records || packet.is(row_flag::TELLS) {
        look_closer(live, wanted, packet, around);
    }
    let phase_changed = live.take_in(packet, cut_ns, bins);
    count_live(live, packet, feed);
    phase_changed
}

/// Reads what a packet tells of its flow, where somebody wants it.
#[inline(never)]
fn look_closer(live: &mut Live, wanted: Wanted, packet: &PacketRow, around: &Around<'_>) {
    let early =
        packet.payload_captured > 0 && live.halves[packet.direction()].packets < APP_PACKETS;
    match wanted {
        Wanted::Records if early || packet.tunnels != NO_TUNNELS => {
            live.look_closer(around.arrival(packet), early);
        }
        Wanted::Outlines if early => live.look_closer(around.hints(packet), true),
        _ => {}
    }
}

/// Counts a packet that a live flow has just taken in.
#[inline(always)]
fn count_live(live: &mut Live, packet: &PacketRow, feed: &mut WindowFeed) {
    if live.sided != Sided::TwoWay && live.key.proto == TCP {
        report_side(live, packet, feed);
    }
    feed.live_packet(&mut live.row, packet);
}

/// See [`WindowFeed::report_side`].
#[inline(never)]
fn report_side(live: &mut Live, packet: &PacketRow, feed: &mut WindowFeed) {
    let (now, vantage) = (live.seen_sides(), (live.interface(), live.first_vlan));
    feed.report_side(&mut live.sided, now, vantage, packet.clock_ns);
}

fn first_stub(arrival: Arrival<'_>, cut_ns: i64) -> Stub {
    let told = !arrival.payload.is_empty() || !arrival.tunnels.is_empty();
    let read = || FirstPayload::read(None, arrival, true, false);
    let first = if told { read() } else { FirstPayload::default() };
    Stub::new(arrival.packet, cut_ns, first.extra, first.entropy)
}

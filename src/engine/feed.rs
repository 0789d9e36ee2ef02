//! From packets of one shard to what it knows of its open seconds.
//!
//! A packet goes into the sums of its second at once, and into a row of the
//! second's log: its own while it is all of its flow, its flow's from the
//! second one on. When rows take more than they may, they are counted in the
//! slice's tables instead and the log starts anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::HashMap;

use super::recorded::Told;
use super::window::features::Features;
use super::window::{
    ChunkPool, FineSizes, Log, RowRef, Slice, StationCache, Sums, WindowSettings, Written, drain,
};
use crate::flow::live::Sided;
use crate::input::Shed;
use crate::memory::prefetch;
use crate::packet::{PacketRow, row_flag};

/// TCP connections of an interface and VLAN by whether both directions of
/// them are in the capture. Differences, so that they add up over seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SidedCount {
    pub one_way: i64,
    pub two_way: i64,
}

const SECOND_NS: i64 = 1_000_000_000;

/// Interface index and outermost VLAN (0 without).
pub type Vantage = (u16, u16);

/// Rows of a log between two looks at what they take, and between two drains
/// of a log whose second is coarse.
const ROWS_BETWEEN_LOOKS: usize = 8192;

/// What a shard knows of one second.
#[derive(Debug)]
pub struct ShardWindow {
    pub slice: Slice,
    pub log: Log,
    /// Rows went into the slice's tables: the second has too many flows.
    pub coarse: bool,
    pub sided: HashMap<Vantage, SidedCount>,
    /// Packets whose captured part does not hold all of the headers' length.
    pub cut_packets: u64,
    /// The most that was left out of any of its packets.
    pub shed: Shed,
    /// Only where somebody watches.
    pub sizes: Option<Box<FineSizes>>,
    /// Where there is anything of their protocols.
    pub features: Option<Box<Features>>,
    /// Who is at the ends of recorded flows.
    pub(super) told: Told,
    stations: StationCache,
    /// Rows at which to look at what they take.
    look_at_rows: usize,
}

/// The open seconds of a shard.
#[derive(Debug, Default)]
pub struct WindowFeed {
    settings: WindowSettings,
    pool: Arc<ChunkPool>,
    /// The second of the last packet; not in `open`.
    now: Option<Box<ShardWindow>>,
    /// Where that second begins.
    now_ns: i64,
    open: BTreeMap<i64, Box<ShardWindow>>,
    /// Logs so far: a number is given once.
    logs: u32,
    /// Packets that came after their second was closed.
    pub late_packets: u64,
    /// Packets of flows that were cut, of the seconds that are closed and of no second.
    pub(crate) cut_packets: u64,
    /// Set while somebody watches.
    pub(crate) watched: Option<Arc<AtomicBool>>,
}

impl WindowFeed {
    pub fn new(settings: WindowSettings, pool: Arc<ChunkPool>) -> Self {
        Self { settings, pool, ..Self::default() }
    }

    /// The window that a time lies in, and the pool that its log takes chunks
    /// from.
    #[inline(always)]
    fn window_at(&mut self, time_ns: i64) -> (&mut ShardWindow, &ChunkPool) {
        let since_ns = time_ns.wrapping_sub(self.now_ns) as u64;
        if since_ns >= SECOND_NS as u64 || self.now.is_none() {
            self.switch(time_ns.div_euclid(SECOND_NS));
        }
        let Self { now, now_ns, settings, logs, pool, .. } = self;
        (now.get_or_insert_with(|| open(*now_ns, settings, logs)), pool)
    }

    /// Puts the last packet's second back and takes this one out.
    #[cold]
    fn switch(&mut self, second: i64) {
        if let Some(before) = self.now.take() {
            self.open.insert(before.slice.second(), before);
        }
        self.now = self.open.remove(&second);
        self.now_ns = second * SECOND_NS;
    }

    /// Slice of the second of a frame that is in no flow.
    pub(crate) fn slice_at(&mut self, time_ns: i64) -> &mut Slice {
        &mut self.window_at(time_ns).0.slice
    }

    /// Counts a packet by itself: one of no flow, or the first of one, which
    /// hands the result on with the flow's second packet.
    pub fn packet(&mut self, packet: &PacketRow) -> RowRef {
        if packet.is(row_flag::FLOW_ONLY) {
            return RowRef::default();
        }
        if packet.is(row_flag::LATE) {
            self.late_packets += 1;
            return RowRef::default();
        }
        let (window, pool) = self.window_at(packet.time_ns);
        window.slice.count_group_packet(packet);
        let station = window.slice.station(packet, &mut window.stations);
        window.slice.note_source(packet, station);
        let row = window.log.single(packet, station, pool);
        self.look();
        row
    }

    /// There was no place for the flow of a packet that was counted: its next one will be
    /// counted by itself, too.
    pub(crate) fn note_crowded(&mut self, packet: &PacketRow) {
        if !packet.is(row_flag::FLOW_ONLY) && !packet.is(row_flag::LATE) {
            self.window_at(packet.time_ns).0.log.set_crowded();
        }
    }

    /// Counts payload sizes in fine bins while somebody watches. A pass of its
    /// own: where nobody does, it costs a look at a flag a batch.
    pub(crate) fn count_sizes(&mut self, packets: &[PacketRow]) {
        let watched = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        if !self.watched.as_ref().is_some_and(watched) {
            return;
        }
        for packet in packets {
            if !packet.is(row_flag::FLOW_ONLY) && !packet.is(row_flag::LATE) {
                let (window, _) = self.window_at(packet.time_ns);
                window.sizes.get_or_insert_default().record(packet.payload_bytes);
            }
        }
    }

    /// Counts a packet of a flow that was cut, in its second.
    #[inline]
    pub(crate) fn count_cut(&mut self, packet: &PacketRow) {
        if packet.is(row_flag::FLOW_ONLY) || packet.is(row_flag::LATE) {
            self.cut_packets += 1;
        } else {
            self.window_at(packet.time_ns).0.cut_packets += 1;
        }
    }

    /// Notes what is left out of a batch, in the seconds at its ends: live, a batch is no
    /// longer than that.
    pub(crate) fn note_shed(&mut self, packets: &[PacketRow], shed: Shed) {
        if shed == Shed::Nothing {
            return;
        }
        let ends = [packets.first(), packets.last()].into_iter().flatten();
        for packet in ends.filter(|p| !p.is(row_flag::FLOW_ONLY) && !p.is(row_flag::LATE)) {
            let window = self.window_at(packet.time_ns).0;
            window.shed = window.shed.max(shed);
        }
    }

    /// Reads what a packet of some protocols says, in its block's bytes.
    #[inline]
    pub(crate) fn extract(&mut self, packet: &PacketRow, bytes: &[u8]) {
        if packet.is(row_flag::SPEAKS) && !packet.is(row_flag::LATE) {
            self.extract_from(packet, bytes);
        }
    }

    #[cold]
    fn extract_from(&mut self, packet: &PacketRow, bytes: &[u8]) {
        let seed = self.settings.seed;
        let (window, pool) = self.window_at(packet.time_ns);
        let second = window.slice.second();
        let features = window.features.get_or_insert_with(|| pool.features(second, seed));
        features.add(packet, bytes);
    }

    /// Asks for the row that a flow's next packet is counted in.
    #[inline]
    pub(crate) fn prefetch(&self, row: &RowRef, direction: usize) {
        if let Some(window) = &self.now {
            window.log.prefetch(row, direction);
        }
    }

    /// Counts a packet of a flow that had one before; `row` is where that was
    /// counted.
    #[inline(always)]
    pub fn live_packet(&mut self, row: &mut RowRef, packet: &PacketRow) {
        if packet.is(row_flag::FLOW_ONLY | row_flag::LATE) {
            self.late_packets += u64::from(!packet.is(row_flag::FLOW_ONLY));
            return;
        }
        let (window, pool) = self.window_at(packet.time_ns);
        window.slice.count_group_packet(packet);
        let station = window.slice.station(packet, &mut window.stations);
        match window.log.flow(row, packet, station, pool) {
            Written::Known => {}
            Written::New => {
                window.slice.note_source(packet, station);
                self.look();
            }
            Written::Stray(other) => {
                window.slice.count_stray(packet, station, other, &mut window.stations);
            }
        }
    }

    /// Asks for what [`Self::extract`] reads first of a packet.
    #[inline]
    pub(crate) fn prefetch_message(packet: &PacketRow, bytes: &[u8]) {
        if packet.is(row_flag::SPEAKS)
            && let Some(first) = bytes.get(packet.payload_at as usize)
        {
            prefetch(first);
        }
    }

    /// Looks at what the rows of the last packet's second take, now and then.
    #[inline]
    fn look(&mut self) {
        if let Some(window) = &mut self.now
            && window.log.rows() >= window.look_at_rows
        {
            window.step(&self.settings, &mut self.logs, &self.pool);
        }
    }

    /// Reports when a connection turns out to be seen from one side, or from
    /// both after all. Goes to the second of the stream's clock, which is open
    /// also for a late packet.
    #[inline]
    pub(crate) fn report_side(
        &mut self,
        before: &mut Sided,
        now: Sided,
        vantage: Vantage,
        clock_ns: i64,
    ) {
        if now == *before || now == Sided::Unknown {
            return;
        }
        let (window, _) = self.window_at(clock_ns);
        let count = window.sided.entry(vantage).or_default();
        if *before == Sided::OneWay {
            count.one_way -= 1;
        }
        match now {
            Sided::OneWay => count.one_way += 1,
            Sided::TwoWay => count.two_way += 1,
            Sided::Unknown => {}
        }
        *before = now;
    }

    /// Takes the oldest open second before `until_s` out, complete.
    pub fn close_next(&mut self, until_s: i64) -> Option<ShardWindow> {
        if let Some(now) = self.now.take() {
            self.open.insert(now.slice.second(), now);
        }
        let oldest = self.open.first_entry()?;
        if *oldest.key() >= until_s {
            return None;
        }
        let mut window = *oldest.remove();
        self.cut_packets += window.cut_packets;
        window.settle();
        Some(window)
    }
}

/// A second that begins there.
#[cold]
fn open(from_ns: i64, settings: &WindowSettings, logs: &mut u32) -> Box<ShardWindow> {
    Box::new(ShardWindow::new(from_ns.div_euclid(SECOND_NS), settings, logs))
}

impl ShardWindow {
    pub(super) fn new(second: i64, settings: &WindowSettings, logs: &mut u32) -> Self {
        Self {
            slice: Slice::new(second, settings),
            log: Log::new(next(logs)),
            coarse: false,
            sided: HashMap::default(),
            cut_packets: 0,
            shed: Shed::Nothing,
            sizes: None,
            features: None,
            told: Told::default(),
            stations: StationCache::default(),
            look_at_rows: (settings.caps.log_flows / 2).max(1),
        }
    }

    /// Counts what a flow did in this second: `ways` from its key's `a` to `b`, and back,
    /// each with a packet as all of them are.
    pub(super) fn count(
        &mut self,
        ways: &[(PacketRow, Sums); 2],
        settings: &WindowSettings,
        logs: &mut u32,
        pool: &ChunkPool,
    ) {
        let mut stations = [0; 2];
        for (station, (packet, sums)) in stations.iter_mut().zip(ways) {
            let packets = sums.packets();
            if packets == 0 {
                continue;
            }
            if packet.is(row_flag::GROUP) {
                self.slice.count_group_packets(packet, packets, sums.wire_bytes);
            }
            *station = self.slice.station(packet, &mut self.stations);
            self.slice.note_source(packet, *station);
        }
        self.log.sums(&ways[0].0, &[ways[0].1, ways[1].1], stations, pool);
        if self.log.rows() >= self.look_at_rows {
            self.step(settings, logs, pool);
        }
    }

    /// No more comes.
    pub(super) fn settle(&mut self) {
        self.slice.settle(&self.log, &mut self.stations);
    }

    /// Counts the rows in the slice's tables where they are too many.
    #[cold]
    fn step(&mut self, settings: &WindowSettings, logs: &mut u32, pool: &ChunkPool) {
        let caps = &settings.caps;
        self.coarse = self.coarse
            || self.log.bytes() > caps.log_bytes
            || self.log.has_more_flows_than(caps.log_flows, settings.seed);
        if self.coarse {
            self.slice.settle(&self.log, &mut self.stations);
            drain(&self.log, &mut self.slice);
            self.log.drain(next(logs), pool);
        }
        self.look_at_rows = self.log.rows() + ROWS_BETWEEN_LOOKS;
    }
}

/// The next number of a log: never 0, which stands for none.
fn next(logs: &mut u32) -> u32 {
    *logs = logs.checked_add(1).unwrap_or(1);
    *logs
}

#[cfg(test)]
mod tests {
    use super::super::window::features::tests::udp;
    use super::*;

    #[test]
    fn cut_packets_are_of_their_second_and_of_the_whole() {
        let mut feed = WindowFeed::new(WindowSettings::default(), Arc::default());
        let (mut row, _) = udp((1, 40_000), (2, 53), &[0; 100]);
        row.payload_captured = 10;
        for (second, flags) in
            [(5, 0), (6, 0), (5, 0), (9, row_flag::LATE), (5, row_flag::FLOW_ONLY)]
        {
            let row = PacketRow { time_ns: second * SECOND_NS, flags: row.flags | flags, ..row };
            feed.packet(&row);
            feed.count_cut(&row);
        }
        let whole = PacketRow { time_ns: 7 * SECOND_NS, ..row };
        feed.packet(&whole);
        feed.note_shed(&[whole], Shed::Hints);
        let mut seconds = Vec::new();
        while let Some(window) = feed.close_next(i64::MAX) {
            seconds.push((window.slice.second(), window.cut_packets, window.shed));
        }
        let expected = [(5, 2, Shed::Nothing), (6, 1, Shed::Nothing), (7, 0, Shed::Hints)];
        assert_eq!(seconds, expected);
        assert_eq!(feed.cut_packets, 5, "with those of no second");
    }
}

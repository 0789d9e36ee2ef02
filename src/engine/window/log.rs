//! What a shard writes down of an open second: rows, not tables.
//!
//! A packet that is all that its flow did in this second so far, or stands
//! outside a flow, is a [`Single`]; a flow of more packets has one
//! [`FlowSecond`] for both of its directions. Rows are sums: whether a flow's second is in one row or in
//! several changes no result. They lie in chunks that go round through a
//! [`ChunkPool`]: one lock a chunk, no allocation once it has filled.
//!
//! The log never judges. Start at [`Log::single`] and [`Log::flow`]; stages
//! after the merge read it with [`Log::deltas`].

use super::features::Features;
use super::flow_count::FlowCount;
use super::hash::Seed;
use super::{Delta, Host, SIZE_BINS, size_bin};
use crate::lock::Lock;
use crate::memory::prefetch;
use crate::packet::facts::PACKET_CLASSES;
use crate::packet::{Address, IpVersion, PacketClass, PacketRow, row_flag};

/// Rows of a log's first chunk: most seconds of a slow capture need no more,
/// and a block of such a capture opens thousands of seconds.
const FIRST_ROWS: usize = 16;
/// Rows of every further chunk: about 100 KiB of singles or of flows, so that the
/// pool's lock is taken for thousands of packets.
const SINGLES: usize = 2048;
const FLOWS: usize = 512;

/// Where a flow's packets of the second at hand are written: valid as long as
/// its log is open and has not been drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowRef {
    /// Number of the log, 0 for none.
    pub(crate) log: u32,
    /// Where the row is; with [`SINGLE`] set, among the singles.
    pub(crate) row: u32,
}

/// Bit of [`RowRef::row`].
const SINGLE: u32 = 1 << 31;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Single {
    pub(super) src: Address,
    pub(super) dst: Address,
    /// For ICMP the type.
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) wire_bytes: u32,
    pub(super) payload_bytes: u32,
    /// Tag of the station that sent it.
    pub(super) station: u16,
    pub(super) proto: u8,
    pub(super) class: PacketClass,
    flags: u8,
    /// Of ICMP echo its identifier.
    pub(super) echo_id: u16,
}

/// Bits of [`Single::flags`].
mod single_flag {
    pub(super) const V6: u8 = 1;
    pub(super) const FRAGMENT: u8 = 2;
    /// From `key.b` to `key.a`.
    pub(super) const BACKWARD: u8 = 4;
    /// Its packet went over into a flow's row.
    pub(super) const MOVED: u8 = 8;
}

impl Single {
    pub(super) fn new(packet: &PacketRow, station: u16) -> Self {
        let key = &packet.key;
        let backward = packet.direction() == 1;
        let mut flags = 0;
        if key.version == IpVersion::V6 {
            flags |= single_flag::V6;
        }
        if packet.is(row_flag::FRAGMENT) {
            flags |= single_flag::FRAGMENT;
        }
        if backward {
            flags |= single_flag::BACKWARD;
        }
        let (src, dst, src_port, dst_port) = if backward {
            (key.b, key.a, key.port_b, key.port_a)
        } else {
            (key.a, key.b, key.port_a, key.port_b)
        };
        Self {
            src,
            dst,
            src_port,
            dst_port,
            wire_bytes: packet.wire_bytes,
            payload_bytes: packet.payload_bytes,
            station,
            proto: key.proto,
            class: packet.class,
            flags,
            echo_id: key.echo_id,
        }
    }

    #[inline]
    pub(super) fn version(&self) -> IpVersion {
        if self.flags & single_flag::V6 == 0 { IpVersion::V4 } else { IpVersion::V6 }
    }

    #[inline]
    pub(super) fn src(&self) -> Host {
        Host { version: self.version(), address: self.src }
    }

    #[inline]
    pub(super) fn dst(&self) -> Host {
        Host { version: self.version(), address: self.dst }
    }

    pub(super) fn is_fragment(&self) -> bool {
        self.flags & single_flag::FRAGMENT != 0
    }

    #[inline]
    pub(super) fn is_moved(&self) -> bool {
        self.flags & single_flag::MOVED != 0
    }

    pub(super) fn direction(&self) -> usize {
        usize::from(self.flags & single_flag::BACKWARD != 0)
    }

    pub(super) fn delta(&self) -> Delta {
        let mut delta =
            Delta::new(self.src(), self.dst(), self.proto, self.src_port, self.dst_port);
        delta.classes[self.class as usize] = 1;
        delta.sizes[size_bin(self.payload_bytes)] = 1;
        delta.wire_bytes = u64::from(self.wire_bytes);
        delta.payload_bytes = u64::from(self.payload_bytes);
        delta.fragments = u32::from(self.is_fragment());
        delta
    }
}

/// What a flow did in one direction: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Counts {
    pub(super) wire_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) classes: [u16; PACKET_CLASSES],
    pub(super) sizes: [u16; SIZE_BINS],
    pub(super) packets: u16,
    pub(super) fragments: u16,
    /// Tag of the station that sent the first of them.
    pub(super) station: u16,
}

impl Counts {
    /// False when a counter would overflow; then nothing is added.
    #[inline(always)]
    fn add(&mut self, class: PacketClass, wire: u32, payload: u32, fragment: bool) -> bool {
        let (packets, many) = self.packets.overflowing_add(1);
        let (wire_bytes, long) = self.wire_bytes.overflowing_add(wire);
        let (payload_bytes, full) = self.payload_bytes.overflowing_add(payload);
        if many | long | full {
            return false;
        }
        (self.packets, self.wire_bytes, self.payload_bytes) = (packets, wire_bytes, payload_bytes);
        // None of these is ever more than `packets`.
        self.classes[class as usize] += 1;
        self.sizes[size_bin(payload)] += 1;
        if fragment {
            self.fragments += 1;
        }
        true
    }
}

/// What a flow did in this second in both directions.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct FlowSecond {
    pub(super) a: Address,
    pub(super) b: Address,
    pub(super) port_a: u16,
    pub(super) port_b: u16,
    pub(super) proto: u8,
    pub(super) version: IpVersion,
    /// Of ICMP echo its identifier.
    pub(super) echo_id: u16,
    /// Direction of the first packet: 0 from `a` to `b`, 1 back.
    pub(super) first: u8,
    /// From `a` to `b`, and back.
    pub(super) counts: [Counts; 2],
}

impl FlowSecond {
    pub(super) fn new(packet: &PacketRow) -> Self {
        let key = &packet.key;
        Self {
            a: key.a,
            b: key.b,
            port_a: key.port_a,
            port_b: key.port_b,
            proto: key.proto,
            version: key.version,
            echo_id: key.echo_id,
            first: u8::from(packet.direction() == 1),
            counts: [Counts::default(); 2],
        }
    }

    #[inline]
    pub(super) fn host_a(&self) -> Host {
        Host { version: self.version, address: self.a }
    }

    #[inline]
    pub(super) fn host_b(&self) -> Host {
        Host { version: self.version, address: self.b }
    }

    pub(super) fn delta(&self, direction: usize) -> Delta {
        let (a, b) = (self.host_a(), self.host_b());
        let (counts, mut delta) = if direction == 0 {
            (&self.counts[0], Delta::new(a, b, self.proto, self.port_a, self.port_b))
        } else {
            (&self.counts[1], Delta::new(b, a, self.proto, self.port_b, self.port_a))
        };
        // Loops, which become vectors; `map` moves one by one.
        for (packets, &counted) in delta.classes.iter_mut().zip(&counts.classes) {
            *packets = counted.into();
        }
        for (packets, &counted) in delta.sizes.iter_mut().zip(&counts.sizes) {
            *packets = counted.into();
        }
        delta.wire_bytes = u64::from(counts.wire_bytes);
        delta.payload_bytes = u64::from(counts.payload_bytes);
        delta.fragments = u32::from(counts.fragments);
        delta
    }
}

/// Rows in chunks that never move: all but the first of `LARGE` rows.
#[derive(Debug)]
struct Rows<T, const LARGE: usize> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T, const LARGE: usize> Default for Rows<T, LARGE> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T, const LARGE: usize> Rows<T, LARGE> {
    /// The next row needs a further chunk.
    #[inline]
    fn is_full(&self) -> bool {
        self.chunks.last().is_none_or(|chunk| chunk.len() == chunk.capacity())
    }

    /// Where the row is: its chunk and its place there, as if the first were as large as
    /// the others.
    #[inline]
    fn push(&mut self, row: T) -> u32 {
        let before = self.chunks.len().saturating_sub(1) * LARGE;
        let Some(chunk) = self.chunks.last_mut() else { return 0 };
        let at = before + chunk.len();
        chunk.push(row);
        self.len += 1;
        at as u32
    }

    #[inline(always)]
    fn get(&self, at: u32) -> Option<&T> {
        let at = at as usize;
        self.chunks.get(at / LARGE)?.get(at % LARGE)
    }

    #[inline(always)]
    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        let at = at as usize;
        self.chunks.get_mut(at / LARGE)?.get_mut(at % LARGE)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

/// Chunks to use again: those of the first size, and large ones.
#[derive(Debug)]
struct Shelf<T> {
    first: Vec<Vec<T>>,
    large: Vec<Vec<T>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { first: Vec::new(), large: Vec::new() }
    }
}

impl<T> Shelf<T> {
    fn extend<const LARGE: usize>(&mut self, rows: &mut Rows<T, LARGE>) {
        let first = rows.chunks.is_empty();
        let (spare, size) =
            if first { (&mut self.first, FIRST_ROWS) } else { (&mut self.large, LARGE) };
        rows.chunks.push(spare.pop().unwrap_or_else(|| exactly(size)));
    }

    fn take_back<const LARGE: usize>(&mut self, rows: &mut Rows<T, LARGE>) {
        for (at, mut chunk) in rows.chunks.drain(..).enumerate() {
            chunk.clear();
            if at == 0 { self.first.push(chunk) } else { self.large.push(chunk) }
        }
        rows.len = 0;
    }
}

/// An empty chunk for `rows` rows and no more: the index of a row is computed
/// from it.
fn exactly<T>(rows: usize) -> Vec<T> {
    let mut chunk = Vec::new();
    chunk.reserve_exact(rows);
    chunk
}

/// Chunks, and tables of messages, that nobody uses at the moment, for all shards. Holds
/// the chunks that the fullest moment of the run needed.
#[derive(Debug, Default)]
pub struct ChunkPool {
    singles: Lock<Shelf<Single>>,
    flows: Lock<Shelf<FlowSecond>>,
    #[expect(clippy::vec_box, reason = "they come and go in their boxes")]
    features: Lock<Vec<Box<Features>>>,
}

/// Tables of messages that are kept: a second of so many shards, a few MB each once a
/// second was full of them.
const MAX_FEATURES: usize = 8;

impl ChunkPool {
    /// Tables for the messages of a second.
    pub(crate) fn features(&self, second: i64, seed: Seed) -> Box<Features> {
        let spare = self.features.lock().pop();
        let Some(mut features) = spare else { return Box::new(Features::new(second, seed)) };
        features.begin(second, seed);
        features
    }

    /// Gives tables back whose second is done.
    pub(super) fn give_features(&self, features: Box<Features>) {
        let mut spare = self.features.lock();
        if spare.len() < MAX_FEATURES {
            spare.push(features);
        }
    }
}

/// What became of a packet that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Into the row of before.
    Known,
    /// Into a new row or direction: its source is to be noted.
    New,
    /// Into the row of before, which is counted for this other station.
    Stray(u16),
}

/// The rows of one second of one shard.
#[derive(Debug, Default)]
pub struct Log {
    /// Number among the logs of a shard, from 1; changes when it is drained.
    number: u32,
    singles: Rows<Single, SINGLES>,
    flows: Rows<FlowSecond, FLOWS>,
    distinct: Option<FlowCount>,
    /// The flow table had no place for some flows: each of their packets is a single.
    pub(super) is_crowded: bool,
    /// Singles whose packet went over into a flow's row.
    moved: u32,
}

impl Log {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    /// Writes a packet by itself.
    #[inline]
    pub(crate) fn single(&mut self, packet: &PacketRow, station: u16, pool: &ChunkPool) -> RowRef {
        if self.singles.is_full() {
            pool.singles.lock().extend(&mut self.singles);
        }
        let row = self.singles.push(Single::new(packet, station));
        RowRef { log: self.number, row: row | SINGLE }
    }

    /// The flow table had no place for a flow.
    pub(crate) fn set_crowded(&mut self) {
        self.is_crowded = true;
    }

    /// Asks for the counters that a flow's next packet will be added to.
    #[inline]
    pub(crate) fn prefetch(&self, at: &RowRef, direction: usize) {
        // There are never so many flows that one lies where a single's bit is set.
        if at.log == self.number
            && let Some(row) = self.flows.get(at.row)
        {
            prefetch(&row.counts[direction]);
        }
    }

    /// Writes a packet of a flow; `at` says where the one before was written,
    /// and is brought up to date.
    #[inline(always)]
    pub(crate) fn flow(
        &mut self,
        at: &mut RowRef,
        packet: &PacketRow,
        station: u16,
        pool: &ChunkPool,
    ) -> Written {
        let fragment = packet.is(row_flag::FRAGMENT);
        if at.log != self.number {
            *at = self.single(packet, station, pool);
            return Written::New;
        }
        // None of a single: there are never so many flows.
        if let Some(row) = self.flows.get_mut(at.row) {
            let counts = &mut row.counts[packet.direction()];
            let first = counts.packets == 0;
            if first {
                counts.station = station;
            }
            if counts.add(packet.class, packet.wire_bytes, packet.payload_bytes, fragment) {
                return match counts.station {
                    _ if first => Written::New,
                    same if same == station => Written::Known,
                    other => Written::Stray(other),
                };
            }
        }
        self.new_flow(at, packet, station, pool);
        Written::New
    }

    /// Writes a row that was counted elsewhere.
    pub(super) fn push(&mut self, row: FlowSecond, pool: &ChunkPool) {
        if self.flows.is_full() {
            pool.flows.lock().extend(&mut self.flows);
        }
        self.flows.push(row);
    }

    #[inline(never)]
    fn new_flow(&mut self, at: &mut RowRef, packet: &PacketRow, station: u16, pool: &ChunkPool) {
        let mut row = FlowSecond::new(packet);
        let counts = &mut row.counts[packet.direction()];
        let fragment = packet.is(row_flag::FRAGMENT);
        // Nothing overflows the zeros of a new row.
        counts.add(packet.class, packet.wire_bytes, packet.payload_bytes, fragment);
        counts.station = station;
        self.absorb_single(*at, &mut row);
        if self.flows.is_full() {
            pool.flows.lock().extend(&mut self.flows);
        }
        *at = RowRef { log: self.number, row: self.flows.push(row) };
    }

    /// Takes the flow's first packet over from its single, so that a
    /// conversation is in one row with both directions.
    fn absorb_single(&mut self, at: RowRef, row: &mut FlowSecond) {
        if at.log != self.number || at.row & SINGLE == 0 {
            return;
        }
        let Some(single) = self.singles.get_mut(at.row & !SINGLE) else { return };
        let (wire, payload) = (single.wire_bytes, single.payload_bytes);
        let counts = &mut row.counts[single.direction()];
        if single.is_moved() || (counts.packets > 0 && counts.station != single.station) {
            return;
        }
        if counts.add(single.class, wire, payload, single.is_fragment()) {
            counts.station = single.station;
            row.first = u8::from(single.direction() == 1);
            single.flags |= single_flag::MOVED;
            self.moved += 1;
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.singles.len as usize + self.flows.len as usize
    }

    /// Rows without those whose packet went over into another.
    pub(super) fn kept_rows(&self) -> usize {
        self.rows() - self.moved as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        let singles: usize = self.singles.chunks.iter().map(Vec::capacity).sum();
        let flows: usize = self.flows.chunks.iter().map(Vec::capacity).sum();
        singles * size_of::<Single>() + flows * size_of::<FlowSecond>()
    }

    /// Packets that are in no other row.
    pub(super) fn singles(&self) -> impl Iterator<Item = &Single> {
        self.singles.iter().filter(|single| !single.is_moved())
    }

    /// The same with those whose packet went over into a flow's row.
    pub(super) fn single_chunks(&self) -> impl Iterator<Item = &[Single]> {
        self.singles.chunks.iter().map(Vec::as_slice)
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &FlowSecond> {
        self.flows.iter()
    }

    /// The same as they lie.
    pub(super) fn flow_chunks(&self) -> impl Iterator<Item = &[FlowSecond]> {
        self.flows.chunks.iter().map(Vec::as_slice)
    }

    /// What each flow did in this second, by direction.
    pub(crate) fn deltas(&self) -> impl Iterator<Item = Delta> {
        let flows = self.flows().flat_map(|row| {
            (0..2).filter(|&at| row.counts[at].packets > 0).map(|at| row.delta(at))
        });
        flows.chain(self.singles().map(Single::delta))
    }

    /// Gives the chunks back. What wrote here before has to start anew.
    pub(crate) fn drain(&mut self, number: u32, pool: &ChunkPool) {
        self.number = number;
        pool.singles.lock().take_back(&mut self.singles);
        pool.flows.lock().take_back(&mut self.flows);
        self.distinct = None;
        (self.is_crowded, self.moved) = (false, 0);
    }

    /// Whether these are estimated to be more flows than `cap`.
    pub(crate) fn has_more_flows_than(&mut self, cap: usize, seed: Seed) -> bool {
        self.rows() > cap / 2 && self.distinct(seed).estimate() > cap
    }

    /// Counts the distinct flows of the rows written so far.
    pub(super) fn distinct(&mut self, seed: Seed) -> &FlowCount {
        let distinct = self.distinct.get_or_insert_default();
        let (singles, flows) = (distinct.singles, distinct.flows);
        for row in rows_from(&self.singles, singles) {
            // A moved one is counted again with its flow: the same flow.
            let (src, dst) = ((row.src, row.src_port), (row.dst, row.dst_port));
            let (a, b) = if row.direction() == 0 { (src, dst) } else { (dst, src) };
            distinct.insert(seed, row.proto, a, b);
        }
        for row in rows_from(&self.flows, flows) {
            distinct.insert(seed, row.proto, (row.a, row.port_a), (row.b, row.port_b));
        }
        (distinct.singles, distinct.flows) = (self.singles.len, self.flows.len);
        distinct
    }
}

/// The rows from `first` on.
fn rows_from<T, const LARGE: usize>(rows: &Rows<T, LARGE>, first: u32) -> impl Iterator<Item = &T> {
    let first = first as usize;
    let (chunk, at) = match first.checked_sub(FIRST_ROWS) {
        None => (0, first),
        Some(rest) => (1 + rest / LARGE, rest % LARGE),
    };
    rows.chunks.iter().skip(chunk).flatten().skip(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_size_that_the_caps_are_reckoned_with() {
        assert_eq!(size_of::<Single>(), 52);
        assert_eq!(size_of::<FlowSecond>(), 192);
        assert_eq!(size_of::<RowRef>(), 8);
    }
}

//! The packet path's side of a recording: blocks to chunks of a file.
//!
//! One copy of each packet, into a buffer that comes back from the disk. Never
//! waits: where no buffer is free, packets are counted instead of copied.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::Shared;
use super::blocks::{self, MARK_BYTES, PACKET_BYTES};
use crate::input::live::TapStatus;
use crate::input::pcapng_codes::option;
use crate::input::{Block, Frame, Interface, Recorder};

const SECOND_NS: i64 = 1_000_000_000;

/// Before the first packet.
pub(super) const NO_TIME: i64 = i64::MIN;

/// Whole pcapng blocks on their way to the disk.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) packets: u64,
    pub(super) packet_bytes: u64,
    /// Interfaces that its packets may name.
    pub(super) interfaces: usize,
    /// Where the stream's clock stood before it.
    pub(super) clock_ns: i64,
    /// Of its packets.
    pub(super) earliest_ns: i64,
    pub(super) latest_ns: i64,
    /// Packets (and their captured bytes) that are missing before it.
    pub(super) lost: Lost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Lost {
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Chunk {
    pub(super) fn new(chunk_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(chunk_bytes),
            packets: 0,
            packet_bytes: 0,
            interfaces: 0,
            clock_ns: NO_TIME,
            earliest_ns: i64::MAX,
            latest_ns: NO_TIME,
            lost: Lost::default(),
        }
    }

    /// Time to name a file after that begins with this chunk.
    pub(super) fn begin_ns(&self) -> i64 {
        if self.clock_ns == NO_TIME { self.earliest_ns } else { self.clock_ns }
    }

    fn begin(&mut self, chunk_bytes: usize, interfaces: usize, clock_ns: i64, lost: Lost) {
        self.bytes.clear();
        self.bytes.reserve(chunk_bytes);
        (self.packets, self.packet_bytes) = (0, 0);
        (self.interfaces, self.clock_ns, self.lost) = (interfaces, clock_ns, lost);
        (self.earliest_ns, self.latest_ns) = (i64::MAX, NO_TIME);
    }
}

/// Counters of an interface since the capture began, as the system tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    pub received: Option<u64>,
    /// By the interface itself.
    pub dropped_by_interface: Option<u64>,
    /// For want of room in the capture's buffer.
    pub dropped_by_system: Option<u64>,
}

/// Takes blocks in stream order. Drop it when the stream has ended: what it
/// still holds goes to the disk then.
#[derive(Debug)]
pub struct Tap {
    shared: Arc<Shared>,
    to_disk: Sender<Chunk>,
    spare: Receiver<Chunk>,
    chunk: Chunk,
    chunk_bytes: usize,
    /// Buffers that may still be made: as few as the disk needs go round, so
    /// that they stay in the cache.
    unmade: usize,
    interfaces: usize,
    /// The stream's clock.
    latest_ns: i64,
    /// It stands later than what is in the chunk says.
    mark_due: bool,
    /// Second of the clock when a chunk was last handed over.
    handed_s: i64,
    /// Since the chunk at hand.
    lost: Lost,
}

impl Tap {
    pub(super) fn new(
        shared: Arc<Shared>,
        to_disk: Sender<Chunk>,
        spare: Receiver<Chunk>,
        chunk_bytes: usize,
        queue_chunks: usize,
    ) -> Self {
        Self {
            shared,
            to_disk,
            spare,
            chunk: Chunk::new(chunk_bytes),
            chunk_bytes,
            unmade: queue_chunks,
            interfaces: 0,
            latest_ns: NO_TIME,
            mark_due: false,
            handed_s: NO_TIME,
            lost: Lost::default(),
        }
    }

    /// Records the next block. One without frames is a clock mark. `interfaces`
    /// is the table that frames count in, as far as it has grown.
    pub fn block(&mut self, block: &Block, interfaces: &[Interface]) {
        self.learn(interfaces);
        let all = block.bytes.all();
        for frame in &block.frames {
            self.packet(frame, frame.bytes_in(all));
        }
        self.mark(block.latest_ns);
    }

    /// The stream's clock stands there, though no packet came. What was taken
    /// is handed to the disk with each second of this clock.
    pub fn mark(&mut self, time_ns: i64) {
        if time_ns > self.latest_ns {
            self.latest_ns = time_ns;
            self.mark_due = true;
        }
        let second = self.latest_ns.div_euclid(SECOND_NS);
        if second > self.handed_s && self.hand_over() {
            self.handed_s = second;
        }
    }

    /// Records the counters of an interface, by its index in the table.
    pub fn statistics(&mut self, interface: u16, counters: InterfaceCounters) {
        const MOST_BYTES: usize = MARK_BYTES + 3 * 12 + 4;
        let known = usize::from(interface) < self.interfaces;
        if !known || self.latest_ns == NO_TIME || !self.has_room(MOST_BYTES) {
            // Counters run on: the next ones tell all.
            return;
        }
        let options: Vec<(u16, u64)> = [
            (option::ISB_IFRECV, counters.received),
            (option::ISB_IFDROP, counters.dropped_by_interface),
            (option::ISB_OSDROP, counters.dropped_by_system),
        ]
        .into_iter()
        .filter_map(|(code, value)| Some((code, value?)))
        .collect();
        let bytes = &mut self.chunk.bytes;
        blocks::statistics(bytes, u32::from(interface), self.latest_ns, &options, "");
        self.mark_due = false;
    }

    #[cfg(test)]
    pub(super) fn interfaces(&self) -> usize {
        self.interfaces
    }

    fn learn(&mut self, interfaces: &[Interface]) {
        if let Some(new) = interfaces.get(self.interfaces..).filter(|new| !new.is_empty()) {
            self.shared.interfaces.lock().extend_from_slice(new);
            self.interfaces = interfaces.len();
            self.chunk.interfaces = self.interfaces;
        }
    }

    #[inline]
    fn packet(&mut self, frame: &Frame, data: &[u8]) {
        let interface = usize::from(frame.interface);
        let needed = PACKET_BYTES + data.len() + 3 + MARK_BYTES;
        if interface >= self.interfaces || !self.has_room(needed) {
            self.lose(frame, data);
            return;
        }
        if self.mark_due {
            self.write_mark();
        }
        let (time_ns, wire_bytes) = (frame.time_ns, frame.wire_bytes);
        let chunk = &mut self.chunk;
        blocks::bare_packet(&mut chunk.bytes, interface as u32, time_ns, wire_bytes, data);
        chunk.packets += 1;
        chunk.packet_bytes += data.len() as u64;
        chunk.earliest_ns = chunk.earliest_ns.min(time_ns);
        chunk.latest_ns = chunk.latest_ns.max(time_ns);
        self.latest_ns = self.latest_ns.max(time_ns);
    }

    #[cold]
    fn lose(&mut self, frame: &Frame, data: &[u8]) {
        let lost = Lost { packets: 1, bytes: data.len() as u64 };
        self.lost.add(lost);
        self.shared.status.lose(lost.packets, lost.bytes);
        if frame.time_ns > self.latest_ns {
            self.latest_ns = frame.time_ns;
            self.mark_due = true;
        }
    }

    /// Room for so many bytes more; a chunk that is full goes on its way.
    #[inline]
    fn has_room(&mut self, bytes: usize) -> bool {
        self.chunk.bytes.len() + bytes <= self.chunk_bytes
            || self.chunk.bytes.is_empty()
            || self.hand_over()
    }

    /// Every buffer may be on its way: then nothing changes.
    #[cold]
    fn hand_over(&mut self) -> bool {
        if self.interfaces == 0 || (self.chunk.bytes.is_empty() && !self.mark_due) {
            return true;
        }
        let mut next = match self.spare.try_recv() {
            Ok(chunk) => chunk,
            Err(_) if self.unmade > 0 => {
                self.unmade -= 1;
                Chunk::new(0)
            }
            Err(_) => return false,
        };
        if self.mark_due {
            self.write_mark();
        }
        next.begin(
            self.chunk_bytes,
            self.interfaces,
            self.latest_ns,
            std::mem::take(&mut self.lost),
        );
        // The queue has room for every buffer that there is.
        let _ = self.to_disk.try_send(std::mem::replace(&mut self.chunk, next));
        true
    }

    #[cold]
    fn write_mark(&mut self) {
        let chunk = &mut self.chunk;
        blocks::statistics(&mut chunk.bytes, 0, self.latest_ns, &[], "");
        chunk.earliest_ns = chunk.earliest_ns.min(self.latest_ns);
        self.mark_due = false;
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // The stream has ended: now there is time to wait for the disk.
        if self.mark_due && self.interfaces > 0 {
            self.write_mark();
        }
        let mut last = Chunk::new(0);
        last.begin(0, self.interfaces, self.latest_ns, self.lost);
        for chunk in [std::mem::replace(&mut self.chunk, Chunk::new(0)), last] {
            // Without bytes it may still say what is missing at the end.
            if !chunk.bytes.is_empty() || chunk.lost.packets > 0 {
                let _ = self.to_disk.send(chunk);
            }
        }
    }
}

impl Recorder for Tap {
    fn block(&mut self, block: &Block, interfaces: &[Interface]) {
        Self::block(self, block, interfaces);
    }

    fn counted(&mut self, taps: &[TapStatus]) {
        for (number, tap) in taps.iter().enumerate() {
            let counters = InterfaceCounters {
                received: Some(tap.frames + tap.kernel_drops),
                dropped_by_interface: Some(tap.interface_drops),
                dropped_by_system: Some(tap.kernel_drops),
            };
            self.statistics(number as u16, counters);
        }
    }
}

//! One libpcap handle: for systems without AF_PACKET rings, and to measure
//! those against.
//!
//! Frames are copied out of libpcap in batches, then merged like those of a
//! ring: one copy more.

use std::io;

use pcap::{Active, Capture, Precision};

use super::LiveOptions;
use super::frames::RawFrame;
use super::packet_socket::{RETIRE_MS, RingStatistics};

/// How long libpcap may have a frame and not show it: the kernel hands a block
/// over at the second look, one period apart; with it, a tick of a slow kernel
/// clock (10 ms).
pub(super) const HIDDEN_NS: i64 = (2 * RETIRE_MS as i64 + 10) * 1_000_000;

/// Frames taken from libpcap at a time.
const BATCH_FRAMES: usize = 4096;

pub(super) struct PcapHandle {
    capture: Capture<Active>,
    /// Data of `frames`, one after the other.
    bytes: Vec<u8>,
    frames: Vec<Held>,
    at: usize,
    /// libpcap's counters at the last look: they are sums, in 32 bits.
    before: (u32, u32),
    /// Frames after this are not wanted.
    until_ns: i64,
    /// Reading failed; nothing more comes.
    failed: bool,
}

struct Held {
    time_ns: i64,
    start: usize,
    end: usize,
    wire_bytes: u32,
}

impl PcapHandle {
    pub(super) fn open(name: &str, options: &LiveOptions) -> io::Result<Self> {
        let capture = Capture::from_device(name)
            .map_err(error)?
            .promisc(options.promiscuous)
            .snaplen(i32::try_from(options.snaplen_bytes).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(options.ring_bytes).unwrap_or(i32::MAX))
            .timeout(RETIRE_MS as i32)
            .precision(Precision::Nano)
            .open()
            .and_then(Capture::setnonblock)
            .map_err(error)?;
        let mut handle = Self {
            capture,
            bytes: Vec::new(),
            frames: Vec::new(),
            at: 0,
            before: (0, 0),
            until_ns: i64::MAX,
            failed: false,
        };
        if let Some(filter) = &options.filter {
            handle.capture.filter(filter.expression(), true).map_err(error)?;
        }
        Ok(handle)
    }

    /// The link type of its frames, by number.
    pub(super) fn link(&self) -> u16 {
        // Raw IP has another number in files than in handles, by system.
        match self.capture.get_datalink().0 {
            12 | 14 => 101,
            other => u16::try_from(other).unwrap_or(u16::MAX),
        }
    }

    /// Reads on, where all that was read has been passed.
    pub(super) fn fill(&mut self) {
        if self.at < self.frames.len() || self.failed {
            return;
        }
        let Self { capture, bytes, frames, at, until_ns, failed, .. } = self;
        bytes.clear();
        frames.clear();
        *at = 0;
        #[expect(clippy::unnecessary_cast, reason = "the fields' widths differ by system")]
        let read = capture.dispatch(Some(BATCH_FRAMES), |packet| {
            // With this precision the field of microseconds holds nanoseconds.
            let stamp = packet.header.ts;
            let time_ns = stamp.tv_sec as i64 * 1_000_000_000 + stamp.tv_usec as i64;
            if time_ns > *until_ns {
                return;
            }
            let start = bytes.len();
            bytes.extend_from_slice(packet.data);
            frames.push(Held { time_ns, start, end: bytes.len(), wire_bytes: packet.header.len });
        });
        // The interface is gone: the tap sees that for itself.
        *failed = read.is_err();
    }

    pub(super) fn frame(&self) -> Option<RawFrame<'_>> {
        let held = self.frames.get(self.at)?;
        Some(RawFrame {
            time_ns: held.time_ns,
            data: &self.bytes[held.start..held.end],
            wire_bytes: held.wire_bytes,
            vlan: None,
            hardware_stamp: false,
            checksum_pending: false,
        })
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// What is received from now on is not wanted. A filter would do, but
    /// libpcap throws away what it has when it is given one.
    pub(super) fn close(&mut self, now_ns: i64) {
        self.until_ns = now_ns;
    }

    /// All that was received before it was closed has been read.
    pub(super) fn is_drained(&self, now_ns: i64) -> bool {
        self.at == self.frames.len() && now_ns - self.until_ns > HIDDEN_NS
    }

    /// What was counted since this was asked last.
    pub(super) fn statistics(&mut self) -> RingStatistics {
        let Ok(now) = self.capture.stats() else { return RingStatistics::default() };
        let (received, dropped) = self.before;
        self.before = (now.received, now.dropped);
        let (all, drops) = (now.received.wrapping_sub(received), now.dropped.wrapping_sub(dropped));
        RingStatistics { packets: u64::from(all.saturating_sub(drops)), drops: u64::from(drops) }
    }
}

fn error(error: pcap::Error) -> io::Error {
    match error {
        pcap::Error::IoError(kind) => kind.into(),
        other => io::Error::other(other.to_string()),
    }
}

//! What is known of the inputs beside their frames.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{InputError, InputErrorKind};
use crate::packet::LinkType;

/// Warnings kept for one file. A damaged file could give one a block.
const MAX_WARNINGS: usize = 32;

/// Longest interface name or description kept: 65,536 interfaces of a hostile
/// file then hold at most 32 MiB of names.
const MAX_NAME_BYTES: usize = 256;

/// A capture interface. The same interface (name, description, link type, place
/// in its section, sensor and state of its clock) in another section or file is
/// the same entry, so that a capture cut into a ring of files has the interfaces
/// that it had whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Where it was first seen: index into [`super::Input::reports`].
    pub file: u32,
    /// Section of that file, from 0; always 0 in pcap.
    pub section: u32,
    /// Place among the interfaces of its section, from 0.
    pub position: u32,
    pub name: String,
    pub description: String,
    pub link: LinkType,
    /// Largest claimed; 0 when unlimited or not stated.
    pub snaplen_bytes: u32,
    /// pcapng's `if_tsresol` as first seen (6 = microseconds).
    pub tsresol: u8,
    /// Bytes of frame check sequence at each frame's end, when stated.
    pub fcs_bytes: Option<u8>,
    /// Sensor that captured here; empty where the file does not say.
    pub sensor: String,
    /// Whether the clock that stamped its packets followed a reference, where that
    /// is known. While it did and while it did not are two entries.
    pub clock_synchronised: Option<bool>,
}

/// Name, description, link, place, sensor, clock.
type Identity = (String, String, LinkType, u32, String, Option<bool>);

/// The global table behind [`super::Input::interfaces`].
#[derive(Debug, Default)]
pub(super) struct InterfaceTable {
    list: Vec<Interface>,
    index: HashMap<Identity, u16>,
}

impl InterfaceTable {
    pub(super) fn list(&self) -> &[Interface] {
        &self.list
    }

    /// Index of this interface, entered when new; `None` when the table is full.
    pub(super) fn enter(&mut self, mut interface: Interface) -> Option<u16> {
        for text in [&mut interface.name, &mut interface.description] {
            text.truncate(text.floor_char_boundary(MAX_NAME_BYTES));
        }
        let identity = (
            interface.name.clone(),
            interface.description.clone(),
            interface.link,
            interface.position,
            interface.sensor.clone(),
            interface.clock_synchronised,
        );
        if let Some(&index) = self.index.get(&identity) {
            if let Some(known) = self.list.get_mut(usize::from(index)) {
                let unlimited = known.snaplen_bytes == 0 || interface.snaplen_bytes == 0;
                known.snaplen_bytes =
                    if unlimited { 0 } else { known.snaplen_bytes.max(interface.snaplen_bytes) };
            }
            return Some(index);
        }
        let index = u16::try_from(self.list.len()).ok()?;
        self.list.push(interface);
        self.index.insert(identity, index);
        Some(index)
    }
}

/// One input file or stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// As the user named it; `-` for standard input.
    pub path: String,
    /// For people: "pcapng, zstd".
    pub format: String,
    pub frames: u64,
    pub wire_bytes: u64,
    pub captured_bytes: u64,
    /// Earliest and latest time of a packet, in nanoseconds since the epoch; nothing without
    /// packets, and where the stream has another time scale.
    pub span_ns: Option<(i64, i64)>,
    /// 1 when the file ends in the middle of a record or block.
    pub truncated_records: u64,
    /// Packets that the interfaces say they dropped (pcapng statistics).
    pub interface_drops: Option<u64>,
    /// Packets that the operating system says it dropped.
    pub system_drops: Option<u64>,
    /// Packets that packets say were lost before them (pcapng), beyond those two.
    pub unplaced_drops: Option<u64>,
    pub warnings: Vec<String>,
    pub error: Option<InputError>,
}

impl FileReport {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Nothing was read behind this.
    pub(super) fn fail(&mut self, kind: InputErrorKind) {
        self.error = Some(InputError::new(&self.path, kind));
    }

    /// Packets of these times were read too.
    pub(super) fn reach(&mut self, first_ns: i64, last_ns: i64) {
        let (first, last) = self.span_ns.unwrap_or((first_ns, last_ns));
        self.span_ns = Some((first.min(first_ns), last.max(last_ns)));
    }

    pub(super) fn warn(&mut self, text: String) {
        match self.warnings.len() {
            n if n < MAX_WARNINGS => self.warnings.push(text),
            MAX_WARNINGS => self.warnings.push("further warnings are not shown".to_owned()),
            _ => {}
        }
    }
}

/// Sums over the whole stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub frames: u64,
    pub wire_bytes: u64,
    pub captured_bytes: u64,
    /// Frames whose time stamp was replaced by that of the frame before.
    pub time_anomalies: u64,
    /// Frames with a time stamp before that of the frame before them.
    pub backward: u64,
    /// Frames of windows that were already closed.
    pub late: u64,
    /// Frames that claimed over 16 MiB on the wire.
    pub length_anomalies: u64,
    pub truncated_records: u64,
    /// Earliest and latest time stamp.
    pub first_ns: Option<i64>,
    pub latest_ns: Option<i64>,
}

impl Counters {
    /// First and last time; nothing without frames.
    pub fn span_ns(&self) -> Option<(i64, i64)> {
        self.first_ns.zip(self.latest_ns)
    }
}

/// How far reading has come; shared with a progress bar.
#[derive(Debug)]
pub struct Progress {
    read_bytes: AtomicU64,
    total_bytes: AtomicU64,
    packets: AtomicU64,
}

/// Total of a stream, which has no size.
const UNKNOWN_TOTAL: u64 = u64::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self {
            read_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(UNKNOWN_TOTAL),
            packets: AtomicU64::new(0),
        }
    }
}

impl Progress {
    /// Bytes taken from files and streams so far, as they lie there (compressed).
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Packets handed out so far.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    pub(super) fn add_packets(&self, packets: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
    }

    /// Size of all inputs; `None` when one is a stream.
    pub fn total_bytes(&self) -> Option<u64> {
        let total = self.total_bytes.load(Ordering::Relaxed);
        (total != UNKNOWN_TOTAL).then_some(total)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, total: Option<u64>) {
        self.total_bytes.store(total.unwrap_or(UNKNOWN_TOTAL), Ordering::Relaxed);
    }
}

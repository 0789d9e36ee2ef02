//! Frames from the wire: AF_PACKET rings, merged into one stream by time.
//!
//! `Live` opens one ring a worker and interface. The kernel shares frames out
//! among an interface's rings by a hash that is the same for both directions
//! of a flow; here they are put in the order of their time stamps again, so
//! that everything behind sees one stream, as from a file, and what is recorded
//! and read again gives the same flows. It never decodes a frame, and it never
//! waits: `Live::next_batch` gives what is there.
//!
//! A frame is copied once, out of the ring: the kernel gets its blocks back at
//! once, however long the flows take. Start at [`LiveOptions`]. Inside: `tap` is
//! an interface, `lane` one of its rings, `packet_socket` the system calls.

mod filter;
mod frames;
mod kernel_clock;
mod lane;
mod overload;
mod packet_socket;
mod pcap_handle;
pub mod probe;
mod rim_clock;
mod status;
mod tap;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

pub use kernel_clock::{ClockWatch, KernelClock};
pub use status::{Change, LiveStatus, TapStatus};

use super::filter::Filter;
use super::pool::Pool;
use super::reader::Batch;
use super::report::{Interface, InterfaceTable};
use super::walk::{Found, Limits, Tally, frame};
use super::{BlockBytes, Shed};
use lane::Lane;
use overload::Overload;
use tap::Tap;

/// How frames are taken from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// A ring a worker.
    #[default]
    Ring,
    /// One libpcap handle.
    Libpcap,
}

/// How to listen.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Interfaces by name, at least one.
    pub interfaces: Vec<String>,
    /// Rings an interface: one a worker.
    pub rings: usize,
    /// Size of each ring.
    pub ring_bytes: usize,
    /// Bytes of each frame that are kept.
    pub snaplen_bytes: u32,
    pub promiscuous: bool,
    /// Runs in the kernel; what it refuses is not counted.
    pub filter: Option<Arc<Filter>>,
    /// Ask for the device's time stamps. Frames without one keep the kernel's.
    pub hardware_stamps: bool,
    pub method: Method,
    /// Names this capture in records; empty for none.
    pub sensor: String,
    pub clock: Arc<dyn ClockWatch>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            rings: 1,
            // Half a second of 64-byte frames at 1 Mpkt/s.
            ring_bytes: 64 << 20,
            snaplen_bytes: 262_144,
            promiscuous: true,
            filter: None,
            hardware_stamps: false,
            method: Method::default(),
            sensor: String::new(),
            clock: Arc::new(KernelClock),
        }
    }
}

/// Why an interface can't be listened to.
#[derive(Debug, Error)]
pub enum LiveError {
    #[error(
        "{name}: there is no such interface (there are: {others}){}",
        if name == "any" { "; repeat -i for several interfaces" } else { "" }
    )]
    NoSuchInterface { name: String, others: String },
    #[error("{name}: no permission to capture: run as root, or give the program CAP_NET_RAW")]
    NoPermission { name: String },
    #[error("{name}: frames of hardware type {hardware} (ARPHRD) are not understood")]
    Link { name: String, hardware: u16 },
    #[error("{name}: {source}")]
    Other { name: String, source: io::Error },
}

impl LiveError {
    fn open(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSuchInterface { name, others: interface_names() },
            io::ErrorKind::PermissionDenied => Self::NoPermission { name },
            _ => Self::Other { name, source },
        }
    }
}

/// Names of all interfaces, for people.
fn interface_names() -> String {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()));
    names.collect::<Vec<_>>().join(", ")
}

/// After a stop, the longest that rings are waited for to be handed over: many
/// times what the kernel takes, also on a busy machine.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// After a stop, the least: what was received before may be on its way into a
/// ring.
const DRAIN_FOR: Duration = Duration::from_millis(20);

/// How much later than its time stamp a frame with a device's stamp may come.
const DEVICE_SLACK_NS: i64 = 500_000_000;

/// Time between two looks at interfaces and counters.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const SECOND_NS: i64 = 1_000_000_000;

/// What [`Live::next_batch`] has.
pub(super) enum Taken {
    Frames(Batch),
    /// No frame has come, and none before this time will.
    Mark(i64),
    /// Nothing yet.
    Nothing,
    /// Told to stop, and everything has been handed out.
    End,
}

/// All interfaces of a run.
pub(super) struct Live {
    options: LiveOptions,
    taps: Vec<Tap>,
    lanes: Vec<Lane>,
    stop: Arc<AtomicBool>,
    /// When nothing more was let in.
    closed: Option<Instant>,
    looked: Instant,
    status: Arc<LiveStatus>,
    changes: Vec<Change>,
    /// There was a look whose counts nobody has taken yet.
    counted: bool,
    /// Second that the last frame or mark was in.
    second: i64,
    /// Time of the last frame, and when it was handed out.
    last_frame: Option<(i64, Instant)>,
    overload: Overload,
    shed: Shed,
    /// The smallest offset that stamps were put ahead by, for marks.
    offset_ns: i64,
    /// State of the clock that frames are handed out with.
    clock_synchronised: Option<bool>,
}

impl Live {
    pub(super) fn open(
        options: LiveOptions,
        interfaces: &mut InterfaceTable,
    ) -> Result<Self, LiveError> {
        let clock = Arc::clone(&options.clock);
        let status = Arc::new(LiveStatus::new(&options.sensor, &options.interfaces, clock));
        let clock_synchronised = status.clock_synchronised();
        let mut taps = Vec::new();
        let mut lanes = Vec::new();
        let mut changes = Vec::new();
        for (number, name) in options.interfaces.iter().enumerate() {
            let opened = Tap::open(name, number as u16, &options);
            let (mut tap, more) = match opened {
                // Of several one may come later, as one may go and come back.
                Err(LiveError::NoSuchInterface { name, .. }) if options.interfaces.len() > 1 => {
                    changes.push(Change::Absent { name: name.clone() });
                    (Tap::awaited(&name, number as u16), Vec::new())
                }
                opened => opened?,
            };
            let interface = Interface {
                file: number as u32,
                section: 0,
                position: number as u32,
                name: name.clone(),
                description: String::new(),
                link: tap.link,
                snaplen_bytes: options.snaplen_bytes,
                tsresol: 9,
                fcs_bytes: None,
                sensor: options.sensor.clone(),
                clock_synchronised,
            };
            tap.enter(interface, interfaces);
            lanes.extend(more);
            taps.push(tap);
        }
        if !taps.is_empty() && taps.iter().all(|tap| tap.device.is_none()) {
            let name = options.interfaces.join(", ");
            return Err(LiveError::NoSuchInterface { name, others: interface_names() });
        }
        let mut live = Self {
            options,
            taps,
            lanes,
            stop: Arc::new(AtomicBool::new(false)),
            closed: None,
            looked: Instant::now(),
            status,
            changes,
            counted: false,
            second: i64::MIN,
            last_frame: None,
            overload: Overload::new(Instant::now()),
            shed: Shed::Nothing,
            offset_ns: 0,
            clock_synchronised,
        };
        live.look();
        Ok(live)
    }

    /// Set it to end the capture; what has come until then is still handed out.
    pub(super) fn stop_handle(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// The interfaces as counted at the last look, once for each look.
    pub(super) fn take_counted(&mut self) -> Option<Vec<TapStatus>> {
        std::mem::take(&mut self.counted)
            .then(|| self.taps.iter().map(|tap| tap.status.clone()).collect())
    }

    /// What to leave out of the packets handed out last.
    pub(super) fn shed(&self) -> Shed {
        self.shed
    }

    pub(super) fn status(&self) -> Arc<LiveStatus> {
        Arc::clone(&self.status)
    }

    pub(super) fn next_batch(
        &mut self,
        pool: &mut Pool,
        interfaces: &mut InterfaceTable,
        limits: Limits,
    ) -> Taken {
        let clock_synchronised = self.status.clock_synchronised();
        if clock_synchronised != self.clock_synchronised {
            self.clock_synchronised = clock_synchronised;
            for tap in &mut self.taps {
                tap.follow_clock(clock_synchronised, interfaces);
            }
        }
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
        if self.closed.is_none() && self.stop.load(Ordering::Acquire) {
            self.close_rings();
        }
        // Read before the rings are: what is not in them now is not older.
        let now_ns = now_ns();
        let mut found = Found::new(pool.frames());
        let mut bytes = pool.bytes();
        bytes.clear();
        let fill_percent = self.lanes.iter().map(Lane::fill_percent).max().unwrap_or(0);
        let shed = self.overload.observe(fill_percent, Instant::now());
        if shed != self.shed {
            self.shed = shed;
            self.changes.push(Change::Overload { shed });
        }
        self.take(limits, now_ns, &mut found, &mut bytes);
        if found.tally.backward {
            // Two processors filled one ring: each stamps a frame before it has
            // its turn there.
            found.frames.sort_by_key(|frame| frame.time_ns);
            found.tally = Tally::of(&found.frames);
        }
        if !found.frames.is_empty() {
            self.second = self.second.max(found.tally.latest_ns.div_euclid(SECOND_NS));
            self.last_frame = Some((found.tally.latest_ns, Instant::now()));
            return Taken::Frames(Batch::new(BlockBytes::Owned(bytes), found));
        }
        pool.give_bytes(bytes);
        pool.give_frames(found.frames);
        if self.is_drained() {
            self.look();
            return Taken::End;
        }
        let mark_ns = self.nothing_before_ns(now_ns);
        let second = mark_ns.div_euclid(SECOND_NS);
        if second > self.second {
            self.second = second;
            return Taken::Mark(mark_ns);
        }
        Taken::Nothing
    }

    /// Frames in the order of their time, as many as there are and as nothing
    /// older can still come in before.
    fn take(&mut self, limits: Limits, now_ns: i64, found: &mut Found, bytes: &mut Vec<u8>) {
        let Self { options, taps, lanes, .. } = self;
        lanes.iter_mut().for_each(|lane| {
            lane.head_ns();
        });
        // With one ring nothing can come in before; a device's clock can't be
        // held against the machine's.
        let alone = lanes.len() == 1 || lanes.iter().any(|lane| lane.by_device);
        let unseen_before =
            |lane: &Lane| if alone { i64::MAX } else { lane.nothing_before_ns(now_ns) };
        let mut bound_ns = i64::MAX;
        for lane in lanes.iter_mut() {
            if lane.head_ns().is_none() {
                bound_ns = bound_ns.min(unseen_before(lane));
            }
        }
        while found.frames.len() < limits.frames && bytes.len() < limits.bytes {
            let Some((first, until)) = first_two(lanes) else { return };
            // Until another lane's frame or the bound comes in between.
            let until = until.min((bound_ns, usize::MAX));
            if first > until {
                return;
            }
            let (_, at) = first;
            let lane = &mut lanes[at];
            let Tap { link, entry, status, .. } = &mut taps[usize::from(lane.tap)];
            lane.offer(|time_ns, raw| {
                let full = found.frames.len() >= limits.frames || bytes.len() >= limits.bytes;
                if full || (time_ns, at) > until {
                    return false;
                }
                let offset = bytes.len();
                raw.copy_to(bytes);
                // The kernel's filter saw no tag where the device had taken it off; libpcap
                // puts it back without saying so.
                let accepted = (raw.vlan.is_none() && options.method == Method::Ring)
                    || options.filter.as_ref().is_none_or(|filter| {
                        filter.matches(*link, &bytes[offset..], raw.full_wire_bytes())
                    });
                if !accepted {
                    bytes.truncate(offset);
                    return true;
                }
                let captured = raw.captured_bytes() as u32;
                let wire_bytes = raw.full_wire_bytes();
                status.frames += 1;
                status.wire_bytes += u64::from(wire_bytes);
                status.checksum_pending += u64::from(raw.checksum_pending);
                status.hardware_stamps += u64::from(raw.hardware_stamp);
                status.oversized += u64::from(wire_bytes > status.mtu_bytes + HEADER_BYTES);
                found.push(frame(time_ns, offset, captured, wire_bytes, *link, *entry, 0));
                true
            });
            if lane.head_ns().is_none() {
                bound_ns = bound_ns.min(unseen_before(lane));
            }
        }
    }

    /// No frame older than this will come.
    fn nothing_before_ns(&mut self, now_ns: i64) -> i64 {
        if let Some((latest_ns, at)) = self.last_frame
            && self.lanes.iter().any(|lane| lane.by_device)
        {
            // The device's clock may be far from ours, but runs as fast.
            let passed_ns = i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX);
            return latest_ns.saturating_add(passed_ns).saturating_sub(DEVICE_SLACK_NS);
        }
        let mut before_ns = now_ns.saturating_add(self.offset_ns);
        for lane in &mut self.lanes {
            if lane.head_ns().is_none() {
                before_ns = before_ns.min(lane.nothing_before_ns(now_ns));
            }
        }
        before_ns
    }

    /// Looks at interfaces and counters.
    fn look(&mut self) {
        self.looked = Instant::now();
        for tap in &mut self.taps {
            if let Some(lanes) = tap.look(&self.options, &mut self.changes) {
                self.lanes.extend(lanes);
            }
            tap.status.ring_fill_percent = 0;
            tap.status.rings = 0;
        }
        let Self { taps, lanes, changes, .. } = self;
        lanes.retain_mut(|lane| {
            let tap = &mut taps[usize::from(lane.tap)];
            tap.count(lane, changes);
            // The interface is gone: its ring is read to the end first.
            tap.device.is_some() || lane.head_ns().is_some()
        });
        self.offset_ns =
            lanes.iter().map(|lane| lane.clock.offset_ns()).min().unwrap_or(self.offset_ns);
        let taps = self.taps.iter().map(|tap| tap.status.clone()).collect();
        self.status.publish(taps, self.shed, &mut self.changes);
        self.counted = true;
    }

    /// Nothing more comes in.
    fn close_rings(&mut self) {
        let now_ns = now_ns();
        self.lanes.iter_mut().for_each(|lane| lane.close(now_ns));
        self.closed = Some(Instant::now());
    }

    /// Told to stop, and everything that was received has been taken.
    fn is_drained(&mut self) -> bool {
        let Some(closed) = self.closed else { return false };
        let waited = closed.elapsed();
        waited >= DRAIN_WITHIN
            || (waited >= DRAIN_FOR && self.lanes.iter_mut().all(|lane| lane.is_drained(now_ns())))
    }
}

/// Time and number of the lane whose frame is next, and of the one after; later
/// than all where there is none.
fn first_two(lanes: &mut [Lane]) -> Option<((i64, usize), (i64, usize))> {
    const NONE: (i64, usize) = (i64::MAX, usize::MAX);
    let (mut first, mut second) = (NONE, NONE);
    for (at, lane) in lanes.iter_mut().enumerate() {
        let Some(head_ns) = lane.head_ns() else { continue };
        let head = (head_ns, at);
        if head < first {
            (first, second) = (head, first);
        } else {
            second = second.min(head);
        }
    }
    (first != NONE).then_some((first, second))
}

/// What stands before the MTU's worth in the longest ordinary frame: Ethernet
/// header and two VLAN tags.
const HEADER_BYTES: u32 = 14 + 8;

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

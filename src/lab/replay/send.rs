//! Loads to the wire: each frame at its moment, in order, once.
//!
//! Clock and wire come in as traits, so that all of this runs in tests without
//! a network. What is due goes out before anything is waited for; a batch holds
//! only packets that are due. A full queue is waited for and counted; a frame
//! that the system refuses is counted and passed over; every other error ends
//! the replay. Start at [`Sender::send`].

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::admission::{NotSent, Refusal};
use super::clock::Clock;
use super::feed::{Fate, Load};
use super::report::Lateness;
use crate::pace::{Pace, until_phase_ns};

/// Frames handed over in one call.
pub(super) const BATCH: usize = 64;

/// From the decision about the first packet's moment to that moment, with
/// `--align-second`: enough for a busy machine to be there in time.
const NOTICE_NS: u64 = 50_000_000;

/// Waits for room in a full queue grow from this, about what a short queue
/// takes to drain ...
const LEAST_REST_NS: u64 = 20_000;
/// ... to this, below which nobody sees a pause.
const MOST_REST_NS: u64 = 1_000_000;

/// An interface that had no room for this long is given up: without a carrier
/// its queue stays full for good.
const PATIENCE_NS: u64 = 10_000_000_000;

const MILLISECOND_NS: u64 = 1_000_000;

/// One frame for the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    /// Sent after them.
    pub(super) zeros: u32,
}

impl Outgoing<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64 + u64::from(self.zeros)
    }
}

/// Where frames go.
pub(super) trait Wire {
    /// Hands over frames from the first on, at most [`BATCH`], and says how
    /// many were taken; an error is about the first one, which was not.
    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize>;
}

/// Why sending ends before the captures do.
#[derive(Debug)]
pub(super) enum End {
    Limit,
    Stopped,
    Failed(io::Error),
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rounds: u64,
    pub(super) sent_packets: u64,
    pub(super) sent_bytes: u64,
    pub(super) padded_packets: u64,
    pub(super) not_sent: NotSent,
    pub(super) full_queue_waits: u64,
    /// When the first packet was due, on the clock and UTC.
    pub(super) start_ns: Option<u64>,
    pub(super) start_wall_ns: i64,
    /// When the last packet had been taken.
    pub(super) end_ns: u64,
    late: Late,
}

#[derive(Debug, Default)]
struct Late {
    packets: u64,
    sum_ns: u128,
    worst_ns: u64,
    over_1ms_packets: u64,
}

/// How the user wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    pub(super) limit: Option<u64>,
    pub(super) align_second: bool,
}

pub(super) struct Sender<'s, W, C> {
    wire: W,
    clock: C,
    pace: Pace,
    manner: Manner,
    stop: &'s AtomicBool,
    /// The clock as last read: what is due by then needs no wait.
    now_ns: u64,
    tally: Tally,
}

impl<'s, W: Wire, C: Clock> Sender<'s, W, C> {
    pub(super) fn new(wire: W, clock: C, pace: Pace, manner: Manner, stop: &'s AtomicBool) -> Self {
        Self { wire, clock, pace, manner, stop, now_ns: 0, tally: Tally::default() }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends a load of the given round; rounds count from 0 and come in order.
    pub(super) fn send(&mut self, round: u64, load: &Load) -> ControlFlow<End> {
        self.begin_round(round, load)?;
        let all = load.bytes.all();
        let mut batch = Batch::new();
        for entry in &load.entries {
            let (bytes, zeros) = match entry.fate {
                Fate::Send { bytes, zeros } => (bytes as usize, zeros),
                Fate::Refuse(refusal) => {
                    self.tally.not_sent.count(refusal);
                    continue;
                }
            };
            let start = entry.offset as usize;
            let frame =
                Outgoing { bytes: all.get(start..start + bytes).unwrap_or_default(), zeros };
            let due_ns = self.pace.due_ns(entry.time_ns, frame.len());
            if let Some(due_ns) = due_ns.filter(|&due_ns| due_ns > self.now_ns) {
                self.flush(&mut batch)?;
                self.wait_until(due_ns)?;
            }
            batch.push(frame, due_ns);
            let limit_in_sight = self
                .manner
                .limit
                .is_some_and(|limit| self.tally.sent_packets + batch.len() as u64 >= limit);
            if batch.is_full() || limit_in_sight {
                self.flush(&mut batch)?;
                if self.manner.limit.is_some_and(|limit| self.tally.sent_packets >= limit) {
                    return ControlFlow::Break(End::Limit);
                }
            }
        }
        self.flush(&mut batch)
    }

    fn begin_round(&mut self, round: u64, load: &Load) -> ControlFlow<End> {
        if round < self.tally.rounds {
            return ControlFlow::Continue(());
        }
        self.tally.rounds = round + 1;
        let first_time_ns = load.entries.first().map_or(0, |entry| entry.time_ns);
        if self.tally.start_ns.is_some() && !self.manner.align_second {
            self.pace.go_on(first_time_ns);
            return ControlFlow::Continue(());
        }
        self.now_ns = self.clock.now_ns();
        let wall_ns = self.clock.wall_ns();
        let wait_ns = if self.manner.align_second {
            until_phase_ns(wall_ns, first_time_ns, NOTICE_NS)
        } else {
            0
        };
        let start_ns = self.now_ns.saturating_add(wait_ns);
        self.pace.begin(start_ns, first_time_ns);
        if self.tally.start_ns.is_none() {
            self.tally.start_ns = Some(start_ns);
            self.tally.start_wall_ns = wall_ns.saturating_add_unsigned(wait_ns);
            self.tally.end_ns = start_ns;
        }
        // At no pace nothing else would wait for it.
        self.wait_until(start_ns)
    }

    fn wait_until(&mut self, moment_ns: u64) -> ControlFlow<End> {
        // The flush before may have taken long enough.
        if moment_ns > self.now_ns {
            self.clock.wait_until(moment_ns, self.stop);
            self.now_ns = self.clock.now_ns();
        }
        self.heed_stop()
    }

    fn heed_stop(&self) -> ControlFlow<End> {
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(End::Stopped)
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Hands over the whole batch.
    fn flush(&mut self, batch: &mut Batch<'_>) -> ControlFlow<End> {
        let mut done = 0;
        // The system tells how many it took, and why not more only when asked again.
        let mut cut_short = false;
        let mut rest = Rest::default();
        while let Some(frames) = batch.frames.get(done..).filter(|frames| !frames.is_empty()) {
            self.heed_stop()?;
            self.now_ns = self.clock.now_ns();
            let result = match self.wire.send(frames) {
                // None taken and no reason given: as if there were no room.
                Ok(0) => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                result => result,
            };
            let about_a_frame = |error: &io::Error| refusal(error).is_some();
            if cut_short && !result.as_ref().is_err_and(about_a_frame) {
                self.tally.full_queue_waits += 1;
            }
            cut_short = false;
            match result {
                Ok(taken) => {
                    cut_short = taken < frames.len();
                    self.count_sent(batch, done, taken);
                    // Stands when an error keeps the rest of the batch back.
                    self.tally.end_ns = self.now_ns;
                    done += taken;
                    rest = Rest::default();
                }
                Err(error) => {
                    if let Some(refusal) = refusal(&error) {
                        self.tally.not_sent.count(refusal);
                        done += 1;
                    } else if is_full(&error) {
                        self.tally.full_queue_waits += 1;
                        if rest.since_ns.is_some_and(|since| self.now_ns - since > PATIENCE_NS) {
                            return ControlFlow::Break(End::Failed(io::Error::new(
                                io::ErrorKind::TimedOut,
                                "the interface had no room for 10 s: is its other end up?",
                            )));
                        }
                        rest.since_ns.get_or_insert(self.now_ns);
                        self.clock.rest(rest.next_ns());
                    } else if error.kind() != io::ErrorKind::Interrupted {
                        return ControlFlow::Break(End::Failed(error));
                    }
                }
            }
        }
        if batch.clear() {
            self.now_ns = self.clock.now_ns();
            self.tally.end_ns = self.now_ns;
        }
        self.heed_stop()
    }

    fn count_sent(&mut self, batch: &Batch<'_>, from: usize, count: usize) {
        let tally = &mut self.tally;
        for frame in batch.frames.iter().skip(from).take(count) {
            tally.sent_packets += 1;
            tally.sent_bytes += frame.len();
            tally.padded_packets += u64::from(frame.zeros > 0);
        }
        for &due_ns in batch.dues_ns.iter().skip(from).take(count) {
            tally.late.add(self.now_ns.saturating_sub(due_ns));
        }
    }
}

impl Tally {
    /// `None` when no packet had a moment.
    pub(super) fn lateness(&self) -> Option<Lateness> {
        let Late { packets, sum_ns, worst_ns, over_1ms_packets } = self.late;
        (packets > 0).then(|| Lateness {
            worst_ns,
            mean_ns: sum_ns as f64 / packets as f64,
            over_1ms_packets,
        })
    }

    pub(super) fn duration_ns(&self) -> u64 {
        self.start_ns.map_or(0, |start_ns| self.end_ns.saturating_sub(start_ns))
    }
}

impl Late {
    fn add(&mut self, late_ns: u64) {
        self.packets += 1;
        self.sum_ns += u128::from(late_ns);
        self.worst_ns = self.worst_ns.max(late_ns);
        self.over_1ms_packets += u64::from(late_ns > MILLISECOND_NS);
    }
}

/// What is about the frame and not about the interface.
fn refusal(error: &io::Error) -> Option<Refusal> {
    match error.raw_os_error()? {
        libc::EMSGSIZE => Some(Refusal::TooLong),
        libc::EINVAL => Some(Refusal::NotTaken),
        _ => None,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM))
}

/// How long to wait for room: longer each time.
#[derive(Default)]
struct Rest {
    since_ns: Option<u64>,
    previous_ns: u64,
}

impl Rest {
    fn next_ns(&mut self) -> u64 {
        self.previous_ns = (self.previous_ns * 2).clamp(LEAST_REST_NS, MOST_REST_NS);
        self.previous_ns
    }
}

/// Frames on their way into one call.
struct Batch<'a> {
    frames: Vec<Outgoing<'a>>,
    /// Their moments; empty where none is due at a moment.
    dues_ns: Vec<u64>,
}

impl<'a> Batch<'a> {
    fn new() -> Self {
        Self { frames: Vec::with_capacity(BATCH), dues_ns: Vec::with_capacity(BATCH) }
    }

    fn push(&mut self, frame: Outgoing<'a>, due_ns: Option<u64>) {
        self.frames.push(frame);
        self.dues_ns.extend(due_ns);
    }

    fn len(&self) -> usize {
        self.frames.len()
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= BATCH
    }

    /// True when there was anything.
    fn clear(&mut self) -> bool {
        let any = !self.frames.is_empty();
        self.frames.clear();
        self.dues_ns.clear();
        any
    }
}

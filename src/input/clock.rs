//! Time stamps set right.
//!
//! A stamp outside the range, with a fraction of a second or more, or a jump
//! ahead of over an hour that the next packets contradict takes the time of the
//! packet before it. This is decided for each file by itself (a clock belongs to
//! whoever wrote the file) and on packets alone, so that neither the size of
//! blocks nor how many files are read beside it changes anything.

use super::block::{Frame, frame_flag};
use super::walk::{Tally, UNTIMED};

/// A jump ahead over this needs confirmation.
const JUMP_NS: i64 = 3_600 * 1_000_000_000;

/// Packets that confirm a jump.
const CONFIRMING_PACKETS: usize = 64;

/// Captured bytes after which the packets seen so far decide: 64 records of
/// 16 MiB would otherwise have to be held.
const CONFIRMING_BYTES: u64 = 32 << 20;

/// One file's time so far.
#[derive(Debug, Default)]
pub(super) struct Clock {
    previous_ns: Option<i64>,
    latest_ns: i64,
}

/// Frames after the one in question, in order; `None` at the end of the file.
pub(super) trait Ahead {
    fn ahead(&mut self, index: usize) -> Option<Frame>;
}

impl Clock {
    /// Sets the times of `frames`, and with them what their `tally` says.
    /// `later` gives the frames after them.
    pub(super) fn settle(
        &mut self,
        frames: &mut [Frame],
        tally: &mut Tally,
        later: &mut impl Ahead,
    ) {
        let stamped = tally.flags & (frame_flag::TIME_ANOMALY | UNTIMED) == 0;
        // `latest_ns` only grows, so the latest stamp decides for all. Both are
        // on or after the epoch, so the difference can't overflow.
        let ordinary = self.previous_ns.is_some()
            && stamped
            && tally.least_ns >= 0
            && tally.latest_ns.saturating_sub(self.latest_ns) <= JUMP_NS;
        if ordinary {
            self.latest_ns = self.latest_ns.max(tally.latest_ns);
            self.previous_ns = Some(tally.last_ns);
        } else {
            self.settle_each(frames, later);
            *tally = Tally::of(frames);
        }
    }

    /// Takes a clock mark that lies before `frames`, which are not settled yet;
    /// false when it is not to be believed: it is held to what a time stamp is
    /// held to, and one at the start must not be far ahead of the packets either.
    pub(super) fn settle_mark(
        &mut self,
        mark_ns: i64,
        frames: &[Frame],
        later: &mut impl Ahead,
    ) -> bool {
        let started = self.previous_ns.is_some() || self.latest_ns > 0;
        let near = started && mark_ns.saturating_sub(self.latest_ns) <= JUMP_NS;
        let stands = near || Following::new(frames, later).confirm(mark_ns);
        if stands {
            self.latest_ns = self.latest_ns.max(mark_ns);
        }
        stands
    }

    fn settle_each(&mut self, frames: &mut [Frame], later: &mut impl Ahead) {
        for index in 0..frames.len() {
            let Some((frame, rest)) = frames.get_mut(index..).and_then(<[_]>::split_first_mut)
            else {
                return;
            };
            let Some(previous_ns) = self.previous_ns else {
                self.start(frame, rest, later);
                continue;
            };
            let stamped = is_stamped(frame);
            // The range starts at the epoch, so the difference can't overflow.
            if stamped && frame.time_ns - self.latest_ns <= JUMP_NS {
                self.latest_ns = self.latest_ns.max(frame.time_ns);
            } else if stamped && Following::new(rest, later).confirm(frame.time_ns) {
                self.latest_ns = frame.time_ns;
            } else {
                if frame.flags & UNTIMED == 0 {
                    frame.flags |= frame_flag::TIME_ANOMALY;
                }
                frame.time_ns = previous_ns;
            }
            frame.flags &= !UNTIMED;
            self.previous_ns = Some(frame.time_ns);
        }
    }

    /// The first frame has no packet before it. Its stamp stands unless most
    /// of the packets after it lie over an hour earlier; then, or without one,
    /// it takes the first good stamp after it.
    fn start(&mut self, frame: &mut Frame, rest: &[Frame], later: &mut impl Ahead) {
        let stamp = is_stamped(frame).then_some(frame.time_ns);
        let mut earlier = 0_usize;
        let mut others = 0_usize;
        let mut substitute = None;
        let mut following = Following::new(rest, later);
        // An ordinary start costs one look.
        while let Some(next_ns) = following.next() {
            let before = stamp.is_none_or(|stamp| stamp - next_ns > JUMP_NS);
            if !before && earlier == 0 {
                break;
            }
            if before {
                earlier += 1;
                substitute.get_or_insert(next_ns);
            } else {
                others += 1;
            }
            if stamp.is_none() {
                break;
            }
        }
        // A single packet an hour earlier proves nothing about either.
        let good = stamp.filter(|_| earlier <= others.max(1));
        if good.is_none() && frame.flags & UNTIMED == 0 {
            frame.flags |= frame_flag::TIME_ANOMALY;
        }
        frame.time_ns = good.or(substitute).unwrap_or(0);
        frame.flags &= !UNTIMED;
        self.previous_ns = Some(frame.time_ns);
        // A mark may have come before.
        self.latest_ns = self.latest_ns.max(frame.time_ns);
    }
}

/// True when the frame's own stamp can be used. Readers put what is outside
/// 1970 to 2262 outside the range of i64 or below 0.
fn is_stamped(frame: &Frame) -> bool {
    frame.flags & (frame_flag::TIME_ANOMALY | UNTIMED) == 0 && frame.time_ns >= 0
}

/// The stamps of the packets that follow, as many as may decide.
struct Following<'a, A> {
    rest: &'a [Frame],
    later: &'a mut A,
    index: usize,
    bytes: u64,
}

impl<'a, A: Ahead> Following<'a, A> {
    fn new(rest: &'a [Frame], later: &'a mut A) -> Self {
        Self { rest, later, index: 0, bytes: 0 }
    }

    /// Next usable stamp.
    fn next(&mut self) -> Option<i64> {
        while self.index < CONFIRMING_PACKETS && self.bytes <= CONFIRMING_BYTES {
            let frame = match self.rest.get(self.index) {
                Some(frame) => *frame,
                None => self.later.ahead(self.index - self.rest.len())?,
            };
            self.index += 1;
            self.bytes += u64::from(frame.captured_bytes);
            if is_stamped(&frame) {
                return Some(frame.time_ns);
            }
        }
        None
    }

    /// True when no following packet lies over an hour before `jump_ns`. At the
    /// end of the input those that are left decide: a capture may well end with
    /// one packet a day after the others.
    fn confirm(mut self, jump_ns: i64) -> bool {
        while let Some(next_ns) = self.next() {
            if jump_ns - next_ns > JUMP_NS {
                return false;
            }
        }
        true
    }
}

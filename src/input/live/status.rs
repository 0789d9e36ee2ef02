//! What a live capture says of itself, for others to read while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use super::kernel_clock::ClockWatch;
use crate::flow::totals::InferredLoss;
use crate::input::Shed;
use crate::lock::Lock;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapStatus {
    /// As it was named at the start, which is what packets are entered under: it stays
    /// when the interface gets another one.
    pub name: String,
    /// What the interface is called now.
    pub called: String,
    /// It is there.
    pub present: bool,
    /// It is up and has a carrier.
    pub up: bool,
    pub mtu_bytes: u32,
    /// Frames handed on, and their bytes on the wire.
    pub frames: u64,
    pub wire_bytes: u64,
    /// Frames that found the ring full.
    pub kernel_drops: u64,
    /// Frames that the device or its driver dropped.
    pub interface_drops: u64,
    /// Frames longer than the MTU: several packets put together by an offload.
    pub oversized: u64,
    /// Frames whose checksum was left to the device.
    pub checksum_pending: u64,
    /// Frames with a stamp of the device's clock.
    pub hardware_stamps: u64,
    /// Times that the clock was set back by over a second.
    pub clock_steps_back: u64,
    /// Share of the rings that waits to be read, in percent, at the last look.
    pub ring_fill_percent: u8,
    /// Rings joined.
    pub rings: usize,
}

impl TapStatus {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), called: name.to_owned(), ..Self::default() }
    }
}

/// What happened to an interface or the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Up {
        name: String,
    },
    Down {
        name: String,
    },
    /// It was not there at the start.
    Absent {
        name: String,
    },
    Removed {
        name: String,
    },
    Returned {
        name: String,
    },
    /// It is back and can't be listened to.
    CannotOpen {
        name: String,
        why: String,
    },
    Renamed {
        from: String,
        to: String,
    },
    ClockSetBack {
        name: String,
        step_ns: i64,
    },
    /// More or less is left out than before.
    Overload {
        shed: Shed,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Up { name } => write!(f, "{name} is up"),
            Self::Down { name } => write!(f, "{name} is down; waiting for it"),
            Self::Absent { name } => write!(f, "{name} is not there yet; waiting for it"),
            Self::Removed { name } => write!(f, "{name} is gone; waiting for it"),
            Self::Returned { name } => write!(f, "{name} is back"),
            Self::CannotOpen { name, why } => {
                write!(f, "{name} is back and can't be listened to: {why}; trying again")
            }
            Self::Renamed { from, to } => write!(f, "{from} is called {to} now"),
            Self::Overload { shed: Shed::Nothing } => {
                write!(f, "all packets are looked at in full again")
            }
            Self::Overload { shed } => {
                write!(f, "packets come in too fast: left out from here on: {}", shed.name())
            }
            Self::ClockSetBack { name, step_ns } => write!(
                f,
                "the clock was set back by {:.1} s ({name}): time stamps go on from where they were and come near by 1 %",
                *step_ns as f64 / 1e9
            ),
        }
    }
}

/// Changes kept for whoever asks next.
const KEPT_CHANGES: usize = 256;

/// Shared between the capture, which writes it once a second, and those who
/// watch it.
#[derive(Debug, Default)]
pub struct LiveStatus {
    state: Lock<State>,
    sensor: String,
    clock: Clock,
    /// Of the taps as they were named, which is what packets are entered under.
    names: Vec<String>,
    inferred: Lock<Vec<InferredLoss>>,
}

/// What is known of the clock, asked by one and read by others.
#[derive(Debug, Default)]
struct Clock {
    watch: Option<Arc<dyn ClockWatch>>,
    /// 0 while unknown.
    state: AtomicU8,
}

const UNSYNCHRONISED: u8 = 1;
const SYNCHRONISED: u8 = 2;

#[derive(Debug, Default)]
struct State {
    taps: Vec<TapStatus>,
    looked: Option<Instant>,
    shed: Shed,
    changes: Vec<Change>,
}

impl LiveStatus {
    /// Asks the clock at once.
    pub(crate) fn new(sensor: &str, names: &[String], watch: Arc<dyn ClockWatch>) -> Self {
        let clock = Clock { watch: Some(watch), state: AtomicU8::new(0) };
        let (sensor, names) = (sensor.to_owned(), names.to_vec());
        let status = Self { sensor, names, clock, ..Self::default() };
        status.ask_clock();
        status
    }

    /// Who captures; empty without a name.
    pub fn sensor(&self) -> &str {
        &self.sensor
    }

    /// Sums by tap of what `each` tells by the interface's name. Packets are entered
    /// under the name that the tap was given at the start, and keep it.
    pub(crate) fn sum_by_tap(
        &self,
        each: impl FnOnce(&mut dyn FnMut(&str, InferredLoss)),
    ) -> Vec<InferredLoss> {
        let mut sums = vec![InferredLoss::default(); self.names.len()];
        each(&mut |name, loss| {
            let number = self.names.iter().position(|known| known == name);
            if let Some(sum) = number.and_then(|number| sums.get_mut(number)) {
                sum.add(loss);
            }
        });
        sums
    }

    /// What acknowledgements say was lost, by tap, in the flows that have ended.
    pub fn inferred(&self) -> Vec<InferredLoss> {
        self.inferred.lock().clone()
    }

    pub(crate) fn set_inferred(&self, sums: Vec<InferredLoss>) {
        *self.inferred.lock() = sums;
    }

    /// Asks the clock anew: once a second, by those who close seconds. Packets that are
    /// handed out from then on carry what it said.
    pub(crate) fn ask_clock(&self) -> Option<bool> {
        let synchronised = self.clock.watch.as_ref()?.is_synchronised();
        let state = match synchronised {
            None => 0,
            Some(false) => UNSYNCHRONISED,
            Some(true) => SYNCHRONISED,
        };
        self.clock.state.store(state, Ordering::Relaxed);
        synchronised
    }

    /// Whether the clock followed a reference when it was asked last.
    pub fn clock_synchronised(&self) -> Option<bool> {
        match self.clock.state.load(Ordering::Relaxed) {
            UNSYNCHRONISED => Some(false),
            SYNCHRONISED => Some(true),
            _ => None,
        }
    }

    /// All interfaces, in the order named.
    pub fn taps(&self) -> Vec<TapStatus> {
        self.state.lock().taps.clone()
    }

    /// The same, and when the capture looked at them: rates are over the time
    /// between two looks.
    pub fn taps_and_look(&self) -> (Vec<TapStatus>, Option<Instant>) {
        let state = self.state.lock();
        (state.taps.clone(), state.looked)
    }

    /// What happened since this was asked last; of very many the newest.
    pub fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.state.lock().changes)
    }

    /// What is left out now.
    pub fn shed(&self) -> Shed {
        self.state.lock().shed
    }

    pub(crate) fn publish(&self, taps: Vec<TapStatus>, shed: Shed, changes: &mut Vec<Change>) {
        let mut state = self.state.lock();
        state.taps = taps;
        state.looked = Some(Instant::now());
        state.shed = shed;
        state.changes.append(changes);
        let over = state.changes.len().saturating_sub(KEPT_CHANGES);
        state.changes.drain(..over);
    }
}

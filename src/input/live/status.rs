//! What a live capture says of itself, for others to read while it runs.

use std::time::Instant;

use crate::input::Shed;
use crate::lock::Lock;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapStatus {
    pub name: String,
    /// There is an interface of this name.
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
        Self { name: name.to_owned(), ..Self::default() }
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
    Removed {
        name: String,
    },
    Returned {
        name: String,
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
            Self::Removed { name } => write!(f, "{name} is gone; waiting for it"),
            Self::Returned { name } => write!(f, "{name} is back"),
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
}

#[derive(Debug, Default)]
struct State {
    taps: Vec<TapStatus>,
    looked: Option<Instant>,
    shed: Shed,
    changes: Vec<Change>,
}

impl LiveStatus {
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

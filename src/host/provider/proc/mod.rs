//! Processes of a Linux host: what each is, from `/proc`, and when they start,
//! run another program and end, from the kernel's process connector.
//!
//! Never: looks names up over the network (users are those of `/etc/passwd`),
//! follows a path of a process outside of its own root, or sends a process
//! anything. Texts are cut to bounds, and secrets in them masked (unless told to
//! keep them, see [`Secrets`]) before anybody else sees them.
//!
//! Not a provider by itself: those that watch sockets run a [`ProcessWatch`]
//! beside. Start there; [`ProcessReader`] is for one process.

mod cgroup;
mod clock;
mod connector;
mod context;
mod folder;
mod poller;
mod reader;
mod stat;
mod table;
mod users;
mod watch;

pub use cgroup::{container_id, control_group, unit};
pub use clock::KernelClock;
pub use connector::ProcConnector;
pub use poller::ProcPoller;
pub use reader::{ProcessReader, ReadError, Secrets};
pub use table::{ProcessTable, TableCounters};
pub use watch::{Change, ProcessWatch, run_before_others};

use std::time::Duration;

use super::ProviderError;

/// Something that happened to a process. Threads are not processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcEvent {
    /// A copy of the parent began.
    Fork { parent: u32, child: u32, time_ns: i64 },
    /// It runs a program. [`ProcPoller`] says of new processes this alone.
    Exec { pid: u32, time_ns: i64 },
    /// All of its threads have ended.
    Exit { pid: u32, time_ns: i64 },
}

impl ProcEvent {
    /// By the wall clock, which stamps packets too.
    pub fn time_ns(&self) -> i64 {
        match *self {
            Self::Fork { time_ns, .. }
            | Self::Exec { time_ns, .. }
            | Self::Exit { time_ns, .. } => time_ns,
        }
    }

    /// The process that it happened to: of a fork the child.
    pub fn pid(&self) -> u32 {
        match *self {
            Self::Fork { child: pid, .. } | Self::Exec { pid, .. } | Self::Exit { pid, .. } => pid,
        }
    }
}

/// Events that the kernel could not keep because the reader was behind.
#[must_use = "after a loss only a new snapshot tells what is there"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many at most; kinds that nobody asked for count too.
    pub events: u64,
}

/// Where starts and ends of processes come from.
pub trait ProcessSource: Send {
    /// Waits for events, at most `timeout`, and appends what there is, in the order
    /// of their times. Events of one process come in their order; those of two
    /// calls may overlap by as much as the kernel needs to hand one over (far below
    /// a millisecond).
    fn next(&mut self, timeout: Duration, out: &mut Vec<ProcEvent>) -> Result<Lost, ProviderError>;

    /// Events are told as they happen, not found out at intervals.
    fn is_exact(&self) -> bool;
}

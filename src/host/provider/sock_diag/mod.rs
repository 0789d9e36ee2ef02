//! Sockets and their holders by the kernel's socket tables, without programs in
//! the kernel.
//!
//! Tables say which sockets there are, descriptors of processes say whose. What
//! lives long is always found. What lives short is found if a look falls into its
//! life, so young processes are looked at a few times in their first
//! milliseconds. Never sees a packet, never changes or holds a socket of others.
//!
//! Start at `engine` for the loop; `tables` reads sockets, `index` holders.

mod engine;
mod found;
mod index;
mod inet;
mod known;
mod proc_net;
mod process_events;
mod schedule;
mod tables;
mod unresolved;

use std::time::Duration;

pub use process_events::{PolledProcesses, ProcessEvents, WatchedProcesses};

use self::engine::Engine;
pub(super) use self::index::pids;
use super::proc::run_before_others;
use super::{EventSink, Provider, ProviderError, Stop};
use crate::host::attribution::Method;

/// How often and when to look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between full dumps of all tables. Longer where a dump takes more than a
    /// twentieth of it.
    pub dump_interval: Duration,
    /// Between walks through all processes while sockets without a holder are
    /// looked for. Longer where a walk takes more than a thirtieth of it.
    pub walk_interval: Duration,
    /// Ages at which the descriptors of a young process are looked at.
    pub ages: Vec<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dump_interval: Duration::from_secs(1),
            walk_interval: Duration::from_secs(1),
            // Of senders that kept a socket open from their 5th to their 10th millisecond
            // 0, 1, 3, 10, 30 found 91 of 100 and this 99, as each second one to 20 did.
            // The last ones for programs that take their time to begin: on a busy host an
            // interpreter starts for longer than many others live.
            ages: [0, 1, 3, 6, 10, 15, 20, 30, 45, 100, 300, 1000]
                .map(Duration::from_millis)
                .to_vec(),
        }
    }
}

/// Watches sockets as processes come and go.
#[derive(Debug)]
pub struct SockDiag<E> {
    settings: Settings,
    processes: E,
}

impl<E: ProcessEvents> SockDiag<E> {
    pub fn new(settings: Settings, processes: E) -> Self {
        Self { settings, processes }
    }
}

impl<E: ProcessEvents> Provider for SockDiag<E> {
    fn method(&self) -> Method {
        Method::SockDiag
    }

    fn run(self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        // Looks come too late where others are served first; without the right that
        // is so on a busy host.
        run_before_others();
        Engine::open(Method::SockDiag, self.settings, self.processes)?.run(events, stop)
    }
}

/// Runs the engine without what comes from the kernel by itself.
pub(super) fn run_polling(
    settings: Settings,
    processes: impl ProcessEvents,
    events: &EventSink,
    stop: &Stop,
) -> Result<(), ProviderError> {
    Engine::open(Method::Polling, settings, processes)?.run(events, stop)
}

/// Whether the kernel's socket tables can be read, and what is missing.
pub fn available() -> Result<(), ProviderError> {
    let unavailable = |reason: String| ProviderError::Unavailable {
        what: "the kernel's socket tables (sock_diag)",
        reason,
    };
    let mut tables = tables::SocketTables::open()
        .map_err(|error| unavailable(format!("netlink sockets can't be opened: {error}")))?;
    let read = tables.read(found::Tables::one(found::Table::Udp4), |_| {});
    if read.is_empty() {
        return Err(unavailable(
            "the kernel has no diagnosis of UDP sockets (CONFIG_INET_UDP_DIAG)".into(),
        ));
    }
    // Another user's process: only with the right can all holders be named.
    if std::fs::read_dir("/proc/1/fd").is_err() {
        return Err(unavailable(
            "descriptors of other users' processes can't be read; run with CAP_SYS_PTRACE".into(),
        ));
    }
    Ok(())
}

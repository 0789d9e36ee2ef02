//! The last resort: socket tables and processes, each looked at now and then.
//!
//! Sees what lives while it looks. The same engine as
//! [`sock_diag`](super::sock_diag), without notices of the kernel.

use std::time::Duration;

use super::sock_diag::{PolledProcesses, ProcessEvents, Settings, run_polling};
use super::{EventSink, Provider, ProviderError, Stop};
use crate::host::attribution::Method;

/// Looks at sockets and processes at intervals.
#[derive(Debug)]
pub struct Polling<E = PolledProcesses> {
    interval: Duration,
    processes: E,
}

impl Polling {
    /// Tells of sockets alone.
    pub fn new(interval: Duration) -> Self {
        Self::with(interval, PolledProcesses::new(interval))
    }
}

impl<E: ProcessEvents> Polling<E> {
    /// With another way to see processes.
    pub fn with(interval: Duration, processes: E) -> Self {
        Self { interval, processes }
    }
}

impl<E: ProcessEvents> Provider for Polling<E> {
    fn method(&self) -> Method {
        Method::Polling
    }

    fn run(self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        let settings = Settings {
            dump_interval: self.interval,
            walk_interval: self.interval,
            // A new process once, when it is seen.
            ages: vec![Duration::ZERO],
        };
        run_polling(settings, self.processes, events, stop)
    }
}

/// Polling needs no more than the tables.
pub fn available() -> Result<(), ProviderError> {
    super::sock_diag::available()
}

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
    settings: Settings,
    processes: E,
}

impl Polling {
    pub fn new(interval: Duration) -> Self {
        Self::with(interval, PolledProcesses::new(interval))
    }
}

impl<E: ProcessEvents> Polling<E> {
    /// With another way to see processes.
    pub fn with(interval: Duration, processes: E) -> Self {
        let settings =
            Settings { dump_interval: interval, walk_interval: interval, ages: Vec::new() };
        Self { settings, processes }
    }
}

impl<E: ProcessEvents> Provider for Polling<E> {
    fn method(&self) -> Method {
        Method::Polling
    }

    fn run(self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        run_polling(self.settings, self.processes, events, stop)
    }
}

/// Polling needs no more than the tables.
pub fn available() -> Result<(), ProviderError> {
    super::sock_diag::available()
}

//! The last resort: socket tables and processes, each looked at now and then.
//!
//! Sees what lives while it looks. The same engine as
//! [`sock_diag`](super::sock_diag), without notices of the kernel.

use std::time::Duration;

use super::proc::{ProcPoller, ProcessWatch};
use super::sock_diag::{Settings, run_polling};
use super::{EventSink, Provider, ProviderError, Stop};
use crate::host::attribution::Method;

/// Looks at sockets and processes at intervals.
#[derive(Debug)]
pub struct Polling {
    interval: Duration,
}

impl Polling {
    pub fn new(interval: Duration) -> Self {
        Self { interval }
    }
}

impl Provider for Polling {
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
        let processes = ProcessWatch::new(Box::new(ProcPoller::new(self.interval)));
        run_polling(settings, processes, events, stop)
    }
}

/// Polling needs no more than the tables.
pub fn available() -> Result<(), ProviderError> {
    super::sock_diag::available()
}

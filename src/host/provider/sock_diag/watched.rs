//! Processes as the watch of `/proc` tells them: each with all that is known of it,
//! by the kernel's notices where they can be had.

use std::time::Duration;

use super::process_events::{ProcessChange, ProcessEvents};
use crate::host::provider::proc::{Change, ProcessWatch};
use crate::host::provider::{EventSink, ProviderError};

/// Tells processes in full while their sockets are looked for.
#[derive(Debug)]
pub struct WatchedProcesses {
    watch: ProcessWatch,
    begun: bool,
    lost: u64,
    changes: Vec<Change>,
}

impl WatchedProcesses {
    pub fn new(watch: ProcessWatch) -> Self {
        Self { watch, begun: false, lost: 0, changes: Vec::new() }
    }

    /// Why the kernel's notices can't be had.
    pub fn why_polling(&self) -> Option<&ProviderError> {
        self.watch.why_polling()
    }
}

impl ProcessEvents for WatchedProcesses {
    fn next(
        &mut self,
        timeout: Duration,
        changes: &mut Vec<ProcessChange>,
        events: &EventSink,
    ) -> Result<u64, ProviderError> {
        if self.begun {
            self.watch.step(timeout, events, &mut self.changes)?;
        } else {
            self.begun = true;
            self.watch.begin(events, &mut self.changes)?;
        }
        changes.extend(self.changes.drain(..).map(|change| match change {
            Change::Appeared(id) => ProcessChange::Fork { pid: id.pid },
            Change::Ran(id) => ProcessChange::Exec { pid: id.pid },
            Change::Ended(id) => ProcessChange::Exit { pid: id.pid },
        }));
        // The watch told them itself.
        let lost = self.watch.lost() - self.lost;
        self.lost = self.watch.lost();
        Ok(lost)
    }
}

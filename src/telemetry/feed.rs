//! Telemetry on its way to the correlation stage: a thread reads and merges the
//! sources, and a bounded queue holds it back where they are ahead of the packets.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, bounded};

use super::merge::{Batch, Merge};
use super::report::SourceReport;
use super::source::Named;
use crate::lock::Lock;

/// Batches that wait: reading goes on while the correlation stage works.
const BATCHES_IN_FLIGHT: usize = 16;

/// Sources that are being read. Cloned, it is the same stream.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) batches: Receiver<Batch>,
    reports: Arc<Lock<Vec<SourceReport>>>,
    thread: Arc<Lock<Option<JoinHandle<()>>>>,
}

impl Feed {
    /// Starts to read.
    pub fn start(sources: Vec<Named>) -> Self {
        let (send, batches) = bounded(BATCHES_IN_FLIGHT);
        let reports = Arc::new(Lock::new(Vec::new()));
        let told = Arc::clone(&reports);
        let thread = thread::spawn(move || {
            let mut merge = Merge::new(sources);
            while let Some(batch) = merge.next_batch() {
                if send.send(batch).is_err() {
                    break;
                }
            }
            *told.lock() = merge.reports().to_vec();
        });
        Self { batches, reports, thread: Arc::new(Lock::new(Some(thread))) }
    }

    /// What became of the sources; waits for their end.
    pub fn finish(&self) -> Vec<SourceReport> {
        if let Some(thread) = self.thread.lock().take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        std::mem::take(&mut self.reports.lock())
    }
}

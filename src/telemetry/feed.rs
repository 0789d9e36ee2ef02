//! Telemetry on its way to the correlation stage: a thread reads and merges the
//! sources, and a bounded queue holds it back where they are ahead of the packets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

#[cfg(target_os = "linux")]
use super::export::listen::Listener;
use super::kind::Kind;
use super::live::{Follow, Followed, Shared, explained};
use super::merge::{Batch, Merge};
use super::observation::Observation;
use super::report::SourceReport;
use super::scrape::{self, Scrape};
use super::source::Named;
use crate::host::map::HostMap;
use crate::lock::Lock;

/// Batches that wait: reading goes on while the correlation stage works.
const BATCHES_IN_FLIGHT: usize = 16;

/// Observations that were looked at, on their way back together.
pub(crate) const SPENT_TOGETHER: usize = 512;

/// Of these, how many may wait: what is more is freed where it is.
const SPENT_IN_FLIGHT: usize = 64;

/// Notices that wait to be told.
const NOTICES_IN_FLIGHT: usize = 256;

/// Sources that are being read. Cloned, it is the same stream.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) batches: Receiver<Batch>,
    /// To the thread that made them: memory that one thread takes and another gives back
    /// keeps both waiting for the allocator's lock.
    spent: Option<Sender<Vec<Observation>>>,
    notices: Receiver<Notice>,
    reports: Arc<Lock<Vec<SourceReport>>>,
    threads: Arc<Lock<Vec<JoinHandle<()>>>>,
    /// Ends those that would go on for ever.
    stop: Option<Arc<AtomicBool>>,
}

/// Something happened to a source, which whoever runs the sensor should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `source.silent`, `source.lost` and so on.
    pub kind: &'static str,
    pub source: String,
    /// For people.
    pub text: String,
}

impl Feed {
    /// Starts to read files, in the order of time.
    pub fn start(sources: Vec<Named>) -> Self {
        let (send, batches) = bounded(BATCHES_IN_FLIGHT);
        let begun = |named: &Named| SourceReport::new(&named.context.name, named.kind);
        let reports = Arc::new(Lock::new(sources.iter().map(begun).collect()));
        let told = Arc::clone(&reports);
        let (give_back, spent) = bounded(SPENT_IN_FLIGHT);
        let thread = thread::spawn(move || {
            let mut merge = Merge::new(sources);
            while let Some(batch) = merge.next_batch() {
                if send.send(batch).is_err() {
                    break;
                }
                spent.try_iter().for_each(drop);
            }
            *told.lock() = merge.reports().to_vec();
        });
        let (_, notices) = bounded(0);
        let threads = Arc::new(Lock::new(vec![thread]));
        Self { batches, spent: Some(give_back), notices, reports, threads, stop: None }
    }

    /// Starts to follow, to scrape and to listen, until `stop` is set. What is told of hosts goes into `map` at
    /// once.
    pub fn follow(
        follows: Vec<Follow>,
        scrapes: Vec<Scrape>,
        #[cfg(target_os = "linux")] listener: Option<Listener>,
        stop: &Arc<AtomicBool>,
        map: Option<&Arc<HostMap>>,
    ) -> io::Result<Self> {
        let (send, batches) = bounded(BATCHES_IN_FLIGHT);
        let (tell, notices) = bounded(NOTICES_IN_FLIGHT);
        let reports = Arc::new(Lock::new(Vec::new()));
        let shared = Shared {
            batches: send,
            reports: Arc::clone(&reports),
            notices: tell,
            map: map.map(Arc::clone),
            stop: Arc::clone(stop),
        };
        let mut threads = Vec::new();
        for follow in follows {
            let name = follow.context.name.clone();
            let thread = Followed::start(follow, shared.clone());
            threads.push(thread.map_err(|error| explained(&name, error))?);
        }
        for scrape in scrapes {
            threads.push(scrape::start(scrape, shared.clone())?);
        }
        #[cfg(target_os = "linux")]
        if let Some(listener) = listener {
            threads.push(super::listening::start(listener, shared)?);
        }
        let stop = Some(Arc::clone(stop));
        let threads = Arc::new(Lock::new(threads));
        Ok(Self { batches, spent: None, notices, reports, threads, stop })
    }

    /// Takes back observations that nobody needs any more.
    pub(crate) fn give_back(&self, spent: Vec<Observation>) {
        if let Some(sender) = &self.spent {
            // Where the reading thread does not keep up, they are freed here.
            drop(sender.try_send(spent));
        }
    }

    /// No more is followed; files are still read to their end.
    pub(crate) fn stop(&self) {
        if let Some(stop) = &self.stop {
            stop.store(true, Ordering::Release);
        }
    }

    /// What happened to the sources since the last call.
    pub(crate) fn take_notices(&self) -> impl Iterator<Item = Notice> {
        self.notices.try_iter()
    }

    /// What a source is called and what it is, by its place.
    pub(crate) fn name_of(&self, source: u16) -> Option<(String, &'static Kind)> {
        let reports = self.reports.lock();
        reports.get(usize::from(source)).map(|report| (report.name.clone(), report.kind))
    }

    /// What became of the sources so far; of files that are read in the order of time
    /// only at their end.
    pub fn reports(&self) -> Vec<SourceReport> {
        self.reports.lock().clone()
    }

    /// What became of the sources; waits for their end.
    pub fn finish(&self) -> Vec<SourceReport> {
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        std::mem::take(&mut self.reports.lock())
    }
}

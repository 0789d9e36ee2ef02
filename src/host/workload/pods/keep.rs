//! A pod list that is read again when it changes.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{PodIndex, PodSource};

/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Not more often than this a server is asked, however many containers start.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_secs(2);

/// The newest list, kept by a thread that ends when this is dropped.
///
/// A file is read again when its time or size changes; a URL each interval, and
/// sooner when a container is met that the list does not have.
#[derive(Debug)]
pub struct PodList {
    shared: Arc<Mutex<Shared>>,
    wanted: Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    index: Arc<PodIndex>,
    reads: u64,
    failures: u64,
    problem: Option<String>,
}

impl PodList {
    /// Starts reading; empty until the first list is there.
    pub fn start(source: PodSource, interval: Duration) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (wanted, wakes) = crossbeam_channel::bounded(1);
        let keeper = Keeper { source, interval, shared: Arc::clone(&shared) };
        thread::Builder::new().name("pods".into()).spawn(move || keeper.run(&wakes))?;
        Ok(Self { shared, wanted })
    }

    /// The newest list. The same `Arc` while it is the same list.
    pub fn index(&self) -> Arc<PodIndex> {
        Arc::clone(&lock(&self.shared).index)
    }

    /// Asks for a newer one. Returns at once.
    pub fn want(&self) {
        // One that waits already does for all.
        let _ = self.wanted.try_send(());
    }

    /// How often a list was read, and how often that failed.
    pub fn counts(&self) -> (u64, u64) {
        let shared = lock(&self.shared);
        (shared.reads, shared.failures)
    }

    /// Why the newest attempt failed; nothing when it did not.
    pub fn problem(&self) -> Option<String> {
        lock(&self.shared).problem.clone()
    }
}

struct Keeper {
    source: PodSource,
    interval: Duration,
    shared: Arc<Mutex<Shared>>,
}

impl Keeper {
    fn run(&self, wakes: &Receiver<()>) {
        let mut before = None;
        loop {
            let stamp = self.source.file().map(stamp);
            // A file that can't be looked at has an answer to give too, once.
            if stamp.is_none() || stamp != before {
                self.read();
            }
            before = stamp;
            let interval = if before.is_some() { FILE_INTERVAL } else { self.interval };
            let read_at = Instant::now();
            let mut woken = wakes.recv_timeout(interval);
            while woken.is_ok() && before.is_none() {
                woken = wakes.recv_deadline(read_at + LEAST_INTERVAL);
            }
            if woken == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn read(&self) {
        let result = self.source.read();
        let mut shared = lock(&self.shared);
        match result {
            Ok(index) => {
                shared.reads += 1;
                shared.problem = None;
                shared.index = Arc::new(index);
            }
            // The last one that could be read goes on.
            Err(error) => {
                shared.failures += 1;
                let problem = Some(error.to_string());
                if shared.problem != problem {
                    tracing::warn!(event = "host.pods", "{error}; the list before it stays");
                    shared.problem = problem;
                }
            }
        }
    }
}

/// Changes with the file; nothing where there is none.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    // Nothing between lock and unlock can panic half-way through a change.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

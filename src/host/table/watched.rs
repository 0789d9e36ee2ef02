//! A file that is read again when it changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::{Stamp, read_stamped};
use super::{Table, TableError, Warning};
use crate::lock::Lock;

/// Looking costs a system call; nobody edits faster.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a file holds, and the file.
///
/// [`Watched::get`] is what is in force. [`Watched::look`] takes over another
/// version once it lies still from one look to the next, so that a file that is
/// being written is not taken for a whole one, and says what became of it. A
/// version that is no good changes nothing, and neither does a file that is gone.
/// While one is read both versions are in memory. Without `look` nothing ever
/// changes: offline nobody calls it.
pub struct Watched<T> {
    path: PathBuf,
    table: Lock<Arc<T>>,
    state: Lock<State>,
}

struct State {
    /// Version that was dealt with, whether it was good or not; nothing where the
    /// file was gone.
    done: Option<Stamp>,
    /// As it was at the last look.
    seen: Option<Stamp>,
    looked: Option<Instant>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Table> Watched<T> {
    /// Reads it for the first time.
    pub fn open(path: &Path) -> Result<(Self, Vec<Warning>), TableError> {
        let (content, stamp) = read_stamped(path, T::MAX_BYTES)?;
        let (table, warnings) = T::parse(content)?;
        let watched = Self {
            path: path.to_owned(),
            table: Lock::new(Arc::new(table)),
            state: Lock::new(State { done: Some(stamp), seen: Some(stamp), looked: None }),
        };
        Ok((watched, warnings))
    }

    /// What is in force. Never waits for a file.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.table.lock())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file changed, at most once a second, and reads it if it
    /// did: for a thread that may wait for a disk. What happened, for people; each
    /// version is told of once.
    pub fn look(&self, now: Instant) -> Option<String> {
        let mut state = self.state.lock();
        if state.looked.is_some_and(|last| now.saturating_duration_since(last) < LOOK_EVERY) {
            return None;
        }
        state.looked = Some(now);
        let stamp = Stamp::at(&self.path);
        let lies_still = stamp == state.seen;
        state.seen = stamp;
        if stamp == state.done || !lies_still {
            return None;
        }
        let name = self.path.display();
        if stamp.is_none() {
            state.done = None;
            return Some(format!("{name} is gone: what it said stays in force"));
        }
        match read_stamped(&self.path, T::MAX_BYTES) {
            Ok((content, read)) => {
                state.done = Some(read);
                state.seen = Some(read);
                Some(self.take_over(T::parse(content)))
            }
            Err(TableError::Changing { .. }) => None,
            Err(error) => {
                state.done = stamp;
                Some(self.take_over(Err(error)))
            }
        }
    }

    fn take_over(&self, parsed: Result<(T, Vec<Warning>), TableError>) -> String {
        let name = self.path.display();
        match parsed {
            Ok((table, warnings)) => {
                let former = std::mem::replace(&mut *self.table.lock(), Arc::new(table));
                // Taking apart a large table takes a while: not with the lock held.
                drop(former);
                let warnings = warnings.iter().map(|warning| format!("; {warning}"));
                format!("{name} read again{}", warnings.collect::<String>())
            }
            Err(error) => format!("{name} kept as it was: {error}"),
        }
    }
}

//! The end of reading before the end of the inputs, because somebody wants it.
//!
//! One for the process, as a signal is: whatever is read, packets or logs, ends with it. A
//! stream ends once nothing more comes for a moment: who writes into a pipe had the signal
//! too and may be writing its last. Start at [`end_with`].

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
#[cfg(unix)]
use std::time::{Duration, Instant};

static WANTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Ends reading when the flag is set. The first one holds.
pub(crate) fn end_with(flag: &Arc<AtomicBool>) {
    WANTED.get_or_init(|| Arc::clone(flag));
}

/// Whether reading is to end.
pub(crate) fn is_wanted() -> bool {
    WANTED.get().is_some_and(|flag| flag.load(Ordering::Acquire))
}

/// A pipe or the like, whose next bytes may never come.
pub(super) struct Stream {
    file: File,
    #[cfg(unix)]
    ends: Option<Instant>,
}

/// Looks for the end so often: unnoticed by who waits for it, and next to no work.
#[cfg(unix)]
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a stream goes on. A writer that ends hands on its buffer at once; one that never
/// ends is not waited for.
#[cfg(unix)]
const GOES_ON: Duration = Duration::from_millis(300);

impl Stream {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            #[cfg(unix)]
            ends: None,
        }
    }
}

#[cfg(unix)]
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        loop {
            if is_wanted()
                && Instant::now() >= *self.ends.get_or_insert_with(|| Instant::now() + GOES_ON)
            {
                return Ok(0);
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // What is wrong with it, reading tells.
                Ok(_) | Err(_) => return self.file.read(buffer),
            }
        }
    }
}

#[cfg(not(unix))]
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if is_wanted() { Ok(0) } else { self.file.read(buffer) }
    }
}

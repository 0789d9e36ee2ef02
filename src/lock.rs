//! The mutex of the way from input to windows. It never stays poisoned, and
//! where debug assertions are on it counts how often it is taken, so that a
//! test can hold the engine to taking none for a packet.
//!
//! Start at `Lock::lock`; [`taken`] is the count.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(debug_assertions)]
static TAKEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Times that any `Lock` of this process was taken; `None` in builds that
/// don't count.
pub fn taken() -> Option<u64> {
    #[cfg(debug_assertions)]
    return Some(TAKEN.load(std::sync::atomic::Ordering::Relaxed));
    #[cfg(not(debug_assertions))]
    return None;
}

/// A mutex whose value may be used even after a thread panicked with it: such
/// a panic ends the run by other means.
///
/// On lines of the cache of its own (processors fetch them in pairs): what lies beside
/// it is mostly read by every thread for each packet, and would have to be fetched from
/// another core whenever that one changes what is locked.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for its turn.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(debug_assertions)]
        TAKEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

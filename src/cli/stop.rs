//! SIGINT and SIGTERM end a command in order; a second one ends it at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The first of these signals sets the flag.
pub(crate) fn stop_on_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset and sets it.
        flag::register_conditional_default(signal, Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// The same, and the signal's number is told: 0 until there is one.
pub(crate) fn stop_on_signals_told(
    stop: &Arc<AtomicBool>,
    told: &Arc<AtomicUsize>,
) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // Before the flag is set: who sees it set can ask which it was.
        flag::register_usize(signal, Arc::clone(told), signal.unsigned_abs() as usize)?;
    }
    stop_on_signals(stop)
}

/// These signals are for another process of the same service, also where they are
/// sent to all of its name.
pub(crate) fn ignore_signals() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::default())?;
    }
    Ok(())
}

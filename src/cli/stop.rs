//! SIGINT and SIGTERM end a command in order; one that comes a while later ends it at
//! once.
//!
//! A while, because one wish to stop often comes twice: timeout(1) sends its signal to the
//! program and then to its group, and a supervisor and a terminal may both send theirs.

use std::io::{self, PipeReader, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::{emulate_default_handler, pipe};

/// Signals this near to the first one are the same wish. Nobody who waits in vain tries
/// again sooner.
const ONE_WISH: Duration = Duration::from_secs(1);

/// The first of these signals sets the flag.
pub(crate) fn stop_on_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    StopSignals::listen()?.set(stop, &Arc::default())
}

/// Signals that were noticed and have no effect yet.
pub(crate) struct StopSignals {
    /// A byte for each. A pipe and no socket: a confined process may write and read.
    came: PipeReader,
    /// Number of the latest.
    latest: Arc<AtomicUsize>,
}

impl StopSignals {
    pub(crate) fn listen() -> io::Result<Self> {
        let (came, comes) = io::pipe()?;
        let latest = Arc::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: who reads the byte finds the number.
            flag::register_usize(signal, Arc::clone(&latest), signal.unsigned_abs() as usize)?;
            pipe::register(signal, comes.try_clone()?)?;
        }
        Ok(Self { came, latest })
    }

    /// From now on the first one sets the flag, and tells its number: 0 until there is one.
    /// Starts a thread, so a process that confines its threads has done that before.
    pub(crate) fn set(self, stop: &Arc<AtomicBool>, told: &Arc<AtomicUsize>) -> io::Result<()> {
        let Self { mut came, latest } = self;
        let (stop, told) = (Arc::clone(stop), Arc::clone(told));
        let follow = move || {
            let mut first: Option<Instant> = None;
            while came.read_exact(&mut [0]).is_ok() {
                let signal = latest.load(Ordering::Acquire);
                match first {
                    None => {
                        first = Some(Instant::now());
                        // Before the flag is set: who sees it set can ask which it was.
                        told.store(signal, Ordering::Release);
                        stop.store(true, Ordering::Release);
                    }
                    Some(first) if first.elapsed() < ONE_WISH => {}
                    // Of these two signals it does not come back.
                    Some(_) => drop(emulate_default_handler(signal as i32)),
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(follow).map(drop)
    }
}

/// These signals are for another process of the same service, also where they are
/// sent to all of its name.
pub(crate) fn ignore_signals() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::default())?;
    }
    Ok(())
}

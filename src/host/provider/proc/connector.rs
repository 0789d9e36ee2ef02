//! The kernel's process connector: a netlink group that says of each fork,
//! exec and exit on the host.
//!
//! Only the initial process and user namespaces are served, and from elsewhere
//! the kernel does not even answer: [`ProcConnector::open`] looks first. The
//! network namespace has to be the host's as well, and is entered for it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use proc_connector::{Error, EventMask, NetlinkMessageIter, ProcEvent as KernelEvent};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::{KernelClock, Lost, ProcEvent, ProcessReader, ProcessSource};
use crate::host::provider::ProviderError;
use crate::host::provider::namespaces::{enter, own_inode};

const WHAT: &str = "process connector";

/// Room in the kernel for 40,000 events (800 bytes each with the kernel's own
/// structures; the kernel doubles what is asked for): seconds of a busy build.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// A message is below 100 bytes; the kernel sends one at a time.
const MESSAGE_BYTES: usize = 4096;

/// At most so many events at once, so that the first of a burst are looked at
/// while their processes still live.
const MAX_BATCH: usize = 64;

/// Numbers that the kernel gives the first namespaces (`PROC_USER_INIT_INO`,
/// `PROC_PID_INIT_INO` of `linux/proc_ns.h`).
const INITIAL: [(&str, &str); 2] =
    [("/proc/self/ns/user", "user:[4026531837]"), ("/proc/self/ns/pid", "pid:[4026531836]")];

/// Most processors that Linux is built for; other numbers are not believed.
const MAX_PROCESSORS: u32 = 8192;

/// Processes whose first thread ended before the others that are remembered;
/// there is rarely one.
const MAX_LEADERLESS: usize = 4096;

/// Follows forks, execs and exits of the whole host.
#[derive(Debug)]
pub struct ProcConnector {
    socket: proc_connector::ProcConnector,
    buffer: Vec<u8>,
    reader: ProcessReader,
    sequences: Sequences,
    leaderless: HashSet<u32>,
}

impl ProcConnector {
    /// Needs `CAP_NET_ADMIN` in the first namespaces.
    pub fn open() -> Result<Self, ProviderError> {
        for (path, initial) in INITIAL {
            let own = std::fs::read_link(path)
                .map_err(|source| ProviderError::Io { what: WHAT, source })?;
            if own.as_os_str() != initial {
                let reason = format!(
                    "{path} is not the host's: run it outside of the container, or with the host's namespace"
                );
                return Err(ProviderError::Unavailable { what: WHAT, reason });
            }
        }
        let socket = open_socket().map_err(unavailable)?;
        socket.set_nonblocking().map_err(failed)?;
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
            socket.set_recv_buf_size(RECEIVE_BUFFER_BYTES).map_err(failed)?;
        }
        // Kernels before 6.6 know no filter; what comes in spite of it is left out here.
        let _ = socket.subscribe_filtered(EventMask::FORK | EventMask::EXEC | EventMask::EXIT);
        Ok(Self {
            socket,
            buffer: vec![0; MESSAGE_BYTES],
            reader: ProcessReader::new(),
            sequences: Sequences::default(),
            leaderless: HashSet::new(),
        })
    }

    /// `batch` is what came since the call began.
    fn receive(&mut self, clock: KernelClock, batch: &mut Vec<ProcEvent>) -> Result<usize, Error> {
        let bytes = self.socket.recv_raw(&mut self.buffer)?;
        let mut events = Vec::new();
        for message in NetlinkMessageIter::new(&self.buffer, bytes) {
            match message {
                Ok(Some(event)) => events.push(event),
                // An acknowledgement, or one that is none of ours.
                Ok(None) | Err(Error::UnexpectedConnector | Error::Truncated) => {}
                Err(error) => return Err(error),
            }
        }
        for event in &events {
            self.take(event, clock, batch);
        }
        Ok(events.len())
    }

    fn take(&mut self, event: &KernelEvent, clock: KernelClock, batch: &mut Vec<ProcEvent>) {
        match *event {
            KernelEvent::Fork {
                cpu,
                seq,
                parent_tgid,
                child_pid,
                child_tgid,
                timestamp_ns,
                ..
            } => {
                self.sequences.note(cpu, seq);
                if child_pid == child_tgid {
                    let time_ns = clock.monotonic_to_wall_ns(timestamp_ns);
                    batch.push(ProcEvent::Fork { parent: parent_tgid, child: child_tgid, time_ns });
                }
            }
            KernelEvent::Exec { cpu, seq, tgid: pid, timestamp_ns, .. } => {
                self.sequences.note(cpu, seq);
                self.leaderless.remove(&pid);
                forget_exit(batch, pid);
                batch.push(ProcEvent::Exec {
                    pid,
                    time_ns: clock.monotonic_to_wall_ns(timestamp_ns),
                });
            }
            KernelEvent::Exit { cpu, seq, pid: thread, tgid: pid, timestamp_ns, .. } => {
                self.sequences.note(cpu, seq);
                let time_ns = clock.monotonic_to_wall_ns(timestamp_ns);
                let ends = if thread == pid || self.leaderless.contains(&pid) {
                    !self.lives_on(pid, time_ns, clock)
                } else {
                    forget_exit(batch, pid)
                };
                if ends {
                    self.leaderless.remove(&pid);
                    batch.push(ProcEvent::Exit { pid, time_ns });
                }
            }
            _ => {}
        }
    }

    /// The first thread can end before the others, also because another one runs
    /// a program and takes its place.
    fn lives_on(&mut self, pid: u32, time_ns: i64, clock: KernelClock) -> bool {
        let lives = self.reader.with_stat(pid, |stat| {
            if stat.is_dead() {
                stat.threads > 1
            } else {
                // Else the number is another process's by now.
                clock.start_to_wall_ns(stat.start_ticks) < time_ns
            }
        });
        let lives = lives.unwrap_or(false);
        if lives && self.leaderless.len() < MAX_LEADERLESS {
            self.leaderless.insert(pid);
        }
        lives
    }
}

impl ProcessSource for ProcConnector {
    fn next(&mut self, timeout: Duration, out: &mut Vec<ProcEvent>) -> Result<Lost, ProviderError> {
        let deadline = Instant::now() + timeout;
        let clock = KernelClock::now();
        let mut batch = Vec::new();
        let mut lost = Lost::default();
        let mut received = 0;
        while received < MAX_BATCH {
            match self.receive(clock, &mut batch) {
                Ok(events) => received += events,
                Err(Error::Interrupted) => {}
                Err(Error::Overrun) => {
                    self.sequences.overrun();
                    lost.events += 1;
                }
                Err(Error::WouldBlock) => {
                    self.sequences.drained();
                    if !batch.is_empty() || lost.events > 0 || !self.wait(deadline)? {
                        break;
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        lost.events = lost.events.max(std::mem::take(&mut self.sequences.missing));
        // Processors' events can overtake one another by a little.
        batch.sort_by_key(ProcEvent::time_ns);
        out.append(&mut batch);
        Ok(lost)
    }

    fn is_exact(&self) -> bool {
        true
    }
}

impl ProcConnector {
    /// See [`ProcessSource::next`].
    pub fn next(
        &mut self,
        timeout: Duration,
        out: &mut Vec<ProcEvent>,
    ) -> Result<Lost, ProviderError> {
        ProcessSource::next(self, timeout, out)
    }

    /// False when nothing came until then.
    fn wait(&self, deadline: Instant) -> Result<bool, ProviderError> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(ProviderError::Io { what: WHAT, source: errno.into() }),
        }
    }
}

/// The first thread's exit is the process's unless more comes: of another thread,
/// or a program that another thread ran. When all of it is over by the time that
/// it is read, only the order of events tells. True when there was an exit.
fn forget_exit(batch: &mut Vec<ProcEvent>, pid: u32) -> bool {
    let last = batch.iter().rposition(|event| event.pid() == pid);
    let exit = last.filter(|&at| matches!(batch[at], ProcEvent::Exit { .. }));
    exit.map(|at| batch.remove(at)).is_some()
}

/// Each processor numbers its events. With a filter in the kernel there are gaps
/// always, so they count only around an overrun: from when it is told, through what
/// the queue still holds, to the first event of each processor after.
#[derive(Debug, Default)]
struct Sequences {
    last: HashMap<u32, Sequence>,
    overrun: u64,
    is_drained: bool,
    missing: u64,
}

#[derive(Debug)]
struct Sequence {
    number: u32,
    /// The overrun up to which gaps were counted.
    settled: u64,
}

impl Sequences {
    fn note(&mut self, processor: u32, number: u32) {
        if processor >= MAX_PROCESSORS {
            return;
        }
        let (overrun, is_drained) = (self.overrun, self.is_drained);
        let first = Sequence { number: number.wrapping_sub(1), settled: 0 };
        let last = self.last.entry(processor).or_insert(first);
        if last.settled < overrun {
            self.missing += u64::from(number.wrapping_sub(last.number).saturating_sub(1));
            if is_drained {
                last.settled = overrun;
            }
        }
        last.number = number;
    }

    fn overrun(&mut self) {
        self.overrun += 1;
        self.is_drained = false;
    }

    fn drained(&mut self) {
        self.is_drained = true;
    }
}

/// A capture may hear another network namespace than the host's, which alone has
/// a connector.
fn open_socket() -> io::Result<proc_connector::ProcConnector> {
    let open = || proc_connector::ProcConnector::new().map_err(io_error);
    // Kernel threads are there for sure, 2 is the parent of all; the first process
    // may not be looked at everywhere.
    let host = File::open("/proc/2/ns/net").or_else(|_| File::open("/proc/1/ns/net"));
    match host {
        Ok(host) if host.metadata()?.ino() != own_inode()? => enter(&host, open),
        _ => open(),
    }
}

fn unavailable(error: io::Error) -> ProviderError {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "CAP_NET_ADMIN is missing (in another network namespace than the host's CAP_SYS_ADMIN)"
                .to_owned()
        }
        io::ErrorKind::ConnectionRefused => "the kernel has none (CONFIG_PROC_EVENTS)".to_owned(),
        _ => error.to_string(),
    };
    ProviderError::Unavailable { what: WHAT, reason }
}

fn failed(error: Error) -> ProviderError {
    ProviderError::Io { what: WHAT, source: io_error(error) }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Os(source) => source,
        error => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_count_only_around_an_overrun() {
        let mut sequences = Sequences::default();
        for number in [5, 6, 9] {
            sequences.note(0, number);
        }
        assert_eq!(sequences.missing, 0);
        sequences.overrun();
        sequences.note(0, 10);
        sequences.drained();
        sequences.note(0, 31);
        sequences.note(1, 7);
        sequences.note(0, 40);
        assert_eq!(sequences.missing, 20);
    }

    #[test]
    fn what_follows_the_first_threads_exit_makes_it_none() {
        let exit = |pid| ProcEvent::Exit { pid, time_ns: 1 };
        let fork = ProcEvent::Fork { parent: 1, child: 8, time_ns: 2 };
        let mut batch = vec![exit(7), exit(8), fork];
        assert!(forget_exit(&mut batch, 7));
        assert!(!forget_exit(&mut batch, 7));
        assert!(!forget_exit(&mut batch, 8), "the number is another process's");
        assert_eq!(batch, [exit(8), fork]);
    }

    #[test]
    fn numbers_wrap_and_absurd_processors_are_ignored() {
        let mut sequences = Sequences::default();
        sequences.note(0, u32::MAX);
        sequences.overrun();
        sequences.drained();
        sequences.note(0, 2);
        sequences.note(u32::MAX, 9);
        assert_eq!((sequences.missing, sequences.last.len()), (2, 1));
    }

    #[test]
    fn an_overrun_before_the_first_event_counts_too() {
        let mut sequences = Sequences::default();
        sequences.overrun();
        sequences.note(0, 5);
        sequences.drained();
        sequences.note(0, 16);
        assert_eq!(sequences.missing, 10);
    }
}

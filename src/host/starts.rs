//! Starts of processes that a source names by their number alone.
//!
//! `lsof`, `nettop` and logs have a process's number and no start; `ps` and process
//! events have both. Where one of these told of the process before, the number becomes
//! its identity, so that what all of them say is about one process. Where none did, the
//! start stays 0: not known.

use std::collections::HashMap;

use super::event::{HostEvent, What};
use super::process::{Process, ProcessId};

/// Processes of a host that are remembered; systems give numbers below that.
const MAX_PROCESSES: usize = 1 << 17;

/// What a process did can be told a little after its end, by a source that is late.
const LATE_NS: i64 = 2_000_000_000;

/// Of one host, whose events come in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Starts(HashMap<u32, Known, ahash::RandomState>);

#[derive(Clone, Copy, Debug)]
struct Known {
    id: ProcessId,
    exited_ns: Option<i64>,
}

impl Starts {
    /// Fills in what is known, and learns what the event says.
    #[expect(clippy::collapsible_match, reason = "a guard can't change what it looks at")]
    pub fn fill(&mut self, event: &mut HostEvent) {
        let time_ns = event.time_ns;
        match &mut event.what {
            What::ProcessStart(process) => {
                self.process(process, time_ns);
            }
            What::ProcessExec(process) => {
                // By its number alone nobody knows more of its program than whoever told
                // of it with its start.
                if self.process(process, time_ns) {
                    event.what = What::ProcessStart(std::mem::take(process));
                }
            }
            What::ProcessExit(id) => {
                self.id(id, time_ns);
                if let Some(known) = self.0.get_mut(&id.pid).filter(|known| known.id == *id) {
                    known.exited_ns = Some(time_ns);
                }
            }
            What::SocketOpen(socket) | What::SocketUse(socket) | What::SocketClose(socket) => {
                let others = socket.shared_with.iter_mut();
                socket.process.iter_mut().chain(others).for_each(|id| {
                    self.id(id, time_ns);
                });
            }
            _ => {}
        }
    }

    /// Whether its start was filled in.
    fn process(&mut self, process: &mut Process, time_ns: i64) -> bool {
        if let Some(parent) = &mut process.parent {
            self.id(parent, time_ns);
        }
        let id = &mut process.id;
        if id.start_ticks == 0 {
            return self.id(id, time_ns);
        }
        if self.0.len() < MAX_PROCESSES || self.0.contains_key(&id.pid) {
            let known = self.0.get(&id.pid).filter(|known| known.id == *id);
            // Told again, it is there: a snapshot that was cut short did not show it.
            let exited_ns = known.and_then(|known| known.exited_ns).filter(|&at| time_ns <= at);
            self.0.insert(id.pid, Known { id: *id, exited_ns });
        }
        false
    }

    fn id(&self, id: &mut ProcessId, time_ns: i64) -> bool {
        let is_there = |known: &&Known| {
            known.exited_ns.is_none_or(|exited| time_ns <= exited.saturating_add(LATE_NS))
        };
        match self.0.get(&id.pid).filter(is_there) {
            Some(known) if id.start_ticks == 0 => {
                *id = known.id;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attribution::{Basis, Method};
    use super::super::event::{Socket, SocketKind};
    use super::*;

    const S: i64 = 1_000_000_000;

    fn id(pid: u32, start_ticks: u64) -> ProcessId {
        ProcessId { pid, start_ticks }
    }

    fn process(id: ProcessId, exe: &str) -> Box<Process> {
        Box::new(Process { id, exe: exe.to_owned(), ..Process::default() })
    }

    fn socket(process: ProcessId, shared_with: Vec<ProcessId>) -> What {
        What::SocketOpen(Socket {
            method: Method::Imported,
            basis: Basis::Holds,
            kind: SocketKind::Stream,
            protocol: 6,
            local: None,
            local_port: 1,
            remote: None,
            remote_port: 0,
            dual_stack: false,
            process: Some(process),
            shared_with,
            cookie: None,
            inode: None,
            netns: None,
            interface_index: None,
            alone: false,
            since_ns: None,
        })
    }

    /// The events as they are after it.
    fn filled(events: impl IntoIterator<Item = (i64, What)>) -> Vec<What> {
        let mut starts = Starts::default();
        let fill = |(s, what)| {
            let mut event = HostEvent { time_ns: s * S, what };
            starts.fill(&mut event);
            event.what
        };
        events.into_iter().map(fill).collect()
    }

    #[test]
    fn a_number_becomes_the_process_that_was_told_before() {
        let told = filled([
            (1, What::ProcessStart(process(id(7, 100), "/sbin/ping"))),
            (2, socket(id(7, 0), vec![id(8, 0)])),
            (3, What::ProcessExec(process(id(7, 0), "/sbin/ping"))),
            (4, What::ProcessExit(id(7, 0))),
        ]);
        assert_eq!(told[1], socket(id(7, 100), vec![id(8, 0)]));
        assert_eq!(told[2], What::ProcessStart(process(id(7, 100), "/sbin/ping")));
        assert_eq!(told[3], What::ProcessExit(id(7, 100)));
    }

    #[test]
    fn a_number_is_nobodys_after_an_end() {
        let told = filled([
            (1, What::ProcessStart(process(id(7, 100), "/a"))),
            (2, What::ProcessExit(id(7, 100))),
            (4, socket(id(7, 0), vec![])),
            (5, socket(id(7, 0), vec![])),
            (6, What::ProcessStart(process(id(7, 600), "/b"))),
            (7, socket(id(7, 0), vec![])),
        ]);
        assert_eq!(told[2], socket(id(7, 100), vec![]));
        assert_eq!(told[3], socket(id(7, 0), vec![]));
        assert_eq!(told[5], socket(id(7, 600), vec![]));
    }

    #[test]
    fn what_is_told_again_after_its_end_has_not_ended() {
        let told = filled([
            (1, What::ProcessStart(process(id(7, 100), "/a"))),
            (2, What::ProcessExit(id(7, 100))),
            (5, What::ProcessStart(process(id(7, 100), "/a"))),
            (9, socket(id(7, 0), vec![])),
        ]);
        assert_eq!(told[3], socket(id(7, 100), vec![]));
    }

    #[test]
    fn what_has_a_start_keeps_it() {
        let mut child = process(id(9, 300), "/c");
        child.parent = Some(id(7, 0));
        let told = filled([
            (1, What::ProcessStart(process(id(7, 100), "/a"))),
            (2, socket(id(7, 50), vec![])),
            (3, What::ProcessExec(child)),
        ]);
        assert_eq!(told[1], socket(id(7, 50), vec![]));
        let What::ProcessExec(child) = &told[2] else { panic!("{:?}", told[2]) };
        assert_eq!((child.id, child.parent), (id(9, 300), Some(id(7, 100))));
    }
}

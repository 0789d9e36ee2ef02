//! Sockets of `nettop`'s samples as events of the host.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};

use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::{Process, ProcessId};
use crate::telemetry::decode::Out;
use crate::telemetry::process_log::command::short_name;
use crate::telemetry::process_log::hosts::claim;

use super::nettop_row::{Named, pid_of};
use super::process::process_id;
use super::speaker::Speaker;

/// Sockets and processes that are remembered.
const MAX_KNOWN: usize = 1 << 17;

/// What the samples have shown so far.
pub(super) struct Sockets {
    speaker: Speaker,
    process: Option<ProcessId>,
    /// By name, so that a number that has a new name is a new process.
    processes: HashMap<u32, String, ahash::RandomState>,
    known: HashMap<(u32, u64), Known, ahash::RandomState>,
    /// Number of the sample that is being read.
    sample: u64,
    /// Something of it was read.
    is_begun: bool,
}

struct Known {
    socket: Socket,
    counted: Counted,
    /// Sample in which it was last there.
    sample: u64,
}

type Counted = (Option<u64>, Option<u64>);

impl Sockets {
    pub(super) fn new(speaker: Speaker) -> Self {
        Self {
            speaker,
            process: None,
            processes: HashMap::default(),
            known: HashMap::default(),
            sample: 0,
            is_begun: false,
        }
    }

    fn looked(&mut self, time_ns: i64, out: &mut Out) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.speaker.looked(time_ns, out);
        }
    }

    /// The next sockets are this one's, `name.pid`.
    pub(super) fn process(&mut self, who: &str, time_ns: i64, out: &mut Out) {
        self.looked(time_ns, out);
        let Some(pid) = pid_of(who.as_bytes()) else { return };
        let id = process_id(pid, None);
        self.process = Some(id);
        let name = who.rsplit_once('.').map_or(who, |(name, _)| name);
        if self.processes.get(&pid).is_some_and(|known| known == name) {
            return;
        }
        if self.processes.len() < MAX_KNOWN || self.processes.contains_key(&pid) {
            self.processes.insert(pid, name.to_owned());
        }
        let process = Process { id, name: short_name(name), ..Process::default() };
        self.speaker.tell(time_ns, What::ProcessStart(Box::new(process)), out);
    }

    pub(super) fn socket(&mut self, named: Named, counted: Counted, time_ns: i64, out: &mut Out) {
        let Some(process) = self.process else {
            out.bad_part("socket before its process");
            return;
        };
        let name = identity(process, &named);
        let is_new = match self.known.get_mut(&(process.pid, name)) {
            Some(known) => {
                known.sample = self.sample;
                let before = std::mem::replace(&mut known.counted, counted);
                if before == counted {
                    return;
                }
                false
            }
            None => true,
        };
        let is_used = [counted.0, counted.1].into_iter().flatten().any(|bytes| bytes > 0);
        let socket = socket(process, &named, name, is_used);
        if is_new && self.known.len() < MAX_KNOWN {
            let known = Known { socket: socket.clone(), counted, sample: self.sample };
            self.known.insert((process.pid, name), known);
        } else if is_new {
            out.bad_part("more sockets than are kept");
        }
        let what = if is_used { What::SocketUse(socket) } else { What::SocketOpen(socket) };
        self.speaker.tell(time_ns, what, out);
    }

    /// What was not in this sample is gone.
    pub(super) fn end_sample(&mut self, time_ns: i64, out: &mut Out) {
        let sample = self.sample;
        let mut gone: Vec<_> = self
            .known
            .extract_if(|_, known| known.sample < sample)
            .map(|(key, known)| (key, known.socket))
            .collect();
        gone.sort_unstable_by_key(|(key, _)| *key);
        for (_, socket) in gone {
            self.speaker.tell(time_ns, What::SocketClose(socket), out);
        }
        self.sample += 1;
        self.is_begun = false;
        self.process = None;
    }
}

/// `nettop` names no socket: a name is made of its process and its ends, by which its
/// end can be told. Two sockets with the same ends are one.
fn identity(process: ProcessId, named: &Named) -> u64 {
    let ends = named.ends;
    let mut hasher = std::hash::DefaultHasher::new();
    (process, named.protocol, named.ipv6).hash(&mut hasher);
    (ends.local, ends.local_port, ends.remote, ends.remote_port).hash(&mut hasher);
    hasher.finish()
}

fn socket(process: ProcessId, named: &Named, name: u64, is_used: bool) -> Socket {
    let ends = named.ends;
    let is_open = ends.remote.is_none() && ends.local.is_none_or(|local| local.is_unspecified());
    // It has sent or received on it.
    let basis = if is_used { Basis::Used } else { Basis::Holds };
    let kind = match (named.protocol, named.listens) {
        (6, true) => SocketKind::Listener,
        (6, false) => SocketKind::Stream,
        _ => SocketKind::Datagram,
    };
    Socket {
        local: ends.local,
        local_port: ends.local_port,
        remote: ends.remote,
        remote_port: ends.remote_port,
        dual_stack: named.ipv6 && is_open,
        inode: Some(name),
        ..claim(kind, named.protocol, basis, process)
    }
}

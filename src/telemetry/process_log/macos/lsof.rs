//! Open internet sockets as `lsof -F` prints them: a line a field, or a line a set of
//! fields that end in NUL (`-F0`). The same on Linux.
//!
//! A snapshot: that a process holds a socket, not that it uses it. When it was comes
//! from a line of `date` before it, from `-r`'s marker after it (`-r 5m%s`), or is
//! when the file was last changed. Of several snapshots in a file only what changed
//! is told.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::{Process, ProcessId};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::process_log::command::{cut, short_name};
use crate::telemetry::process_log::hosts::claim;
use crate::telemetry::text::number;

use super::date::date_line;
use super::lsof_name::{Ends, ends, raw_protocol};
use super::process::process_id;
use super::speaker::Speaker;

/// Descriptors of sockets in a snapshot; a host has some thousand.
const MAX_FOUND: usize = 1 << 17;

/// Longest name of a user, twice over.
const MAX_USER_BYTES: usize = 64;

/// Who holds a socket besides the first.
const MAX_HOLDERS: usize = 64;

/// Letters of the fields that `lsof` has, of which few are read.
const FIELDS: &[u8] = b"aAcCdDfFgGiIkKlLmnNoOpPrRsStTuzZ";

pub(in crate::telemetry::process_log) static LSOF: Kind = Kind {
    name: "lsof",
    title: "lsof -i -n -P -F",
    gives: Gives::Hosts,
    versions: "4.9x of macOS and Linux, fields in lines or ended by NUL, repeated or not",
    source: "lsof(8), output for other programs; lsof 4.95 of Debian 12",
    sample: "p501\ng501\nR400\ncping\nu501\nLalice\nf3\ntIPv4\nd0x9f2b3c4d5e6f7081\nPICMP\nn*:*\n\
        p640\ng640\nR1\ncsshd\nu0\nLroot\nf4\ntIPv4\nd0x9f2b3c4d5e6f7101\nPTCP\n\
        n192.0.2.7:22->198.51.100.9:51514\nTST=ESTABLISHED\n",
    sees: "who holds which socket, and for whom it runs: the join to packets (AN0971)",
    absent: "short connections between two snapshots; starts, arguments and terminals of processes",
    // What a snapshot finds began before it; one is taken within seconds.
    lateness_s: 5,
    framing: Framing::Lines,
    recognise,
    decoder: |context| Ok(Box::new(Lsof::new(context))),
};

fn recognise(head: &Head<'_>) -> bool {
    let mut lines = head.lines.iter().filter(|line| date_line(line).is_none());
    let Some(first) = lines.next().and_then(|line| fields_of(line).next()) else { return false };
    let mut has_file = false;
    let are_fields = lines.all(|line| {
        has_file |= line.starts_with(b"f");
        line.first().is_some_and(|letter| FIELDS.contains(letter))
    });
    matches!(first, [b'p', pid @ ..] if number::<u32>(pid).is_some()) && are_fields && has_file
}

fn fields_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == 0).filter(|field| !field.is_empty())
}

struct Lsof {
    speaker: Speaker,
    modified_ns: Option<i64>,
    /// Of the snapshot that is being read.
    time_ns: Option<i64>,
    process: Option<Process>,
    file: Option<File>,
    found: Vec<Found>,
    processes: Vec<Process>,
    /// As of the snapshot before.
    told: HashMap<SocketKey, Socket, ahash::RandomState>,
    told_processes: HashMap<u32, Process, ahash::RandomState>,
}

/// A descriptor.
#[derive(Default)]
struct File {
    kind: Vec<u8>,
    protocol: Vec<u8>,
    name: Vec<u8>,
    listens: bool,
    /// What tells one socket from another: address of the kernel's structure (macOS),
    /// or inode (Linux).
    identity: Option<u64>,
}

struct Found {
    pid: u32,
    socket: Socket,
}

/// Sockets without an identity are told apart by their ends.
type SocketKey = (Option<u64>, u8, Option<IpAddr>, u16, Option<IpAddr>, u16, Option<ProcessId>);

fn key_of(socket: &Socket) -> SocketKey {
    let protocol = socket.protocol;
    match socket.inode {
        Some(_) => (socket.inode, protocol, None, 0, None, 0, None),
        None => (
            None,
            protocol,
            socket.local,
            socket.local_port,
            socket.remote,
            socket.remote_port,
            socket.process,
        ),
    }
}

impl Lsof {
    fn new(context: &Context) -> Self {
        Self {
            speaker: Speaker::new(context),
            modified_ns: context.modified_ns,
            time_ns: None,
            process: None,
            file: None,
            found: Vec::new(),
            processes: Vec::new(),
            told: HashMap::default(),
            told_processes: HashMap::default(),
        }
    }

    fn field(&mut self, letter: u8, value: &[u8], out: &mut Out) -> Result<(), Bad> {
        match letter {
            b'p' => {
                let ended = self.end_process(out);
                let pid = number(value).ok_or_else(|| Bad::value("no process number", value))?;
                let id = process_id(pid, None);
                self.process = Some(Process { id, ..Process::default() });
                return ended;
            }
            b'm' => {
                let ended = self.end_process(out);
                self.time_ns = date_line(value).or(self.time_ns);
                self.end_snapshot(out)?;
                return ended;
            }
            b'f' => {
                let ended = self.end_file(out);
                self.file = Some(File::default());
                return ended;
            }
            _ => {}
        }
        match (&mut self.file, &mut self.process) {
            (Some(file), Some(_)) => match letter {
                b't' => value.clone_into(&mut file.kind),
                b'P' => value.clone_into(&mut file.protocol),
                b'n' => value.clone_into(&mut file.name),
                b'T' => file.listens |= value == b"ST=LISTEN",
                // A device number (`D`) is something else.
                b'd' | b'i' => file.identity = identity(value).or(file.identity),
                _ => {}
            },
            (None, Some(process)) => match letter {
                b'c' => process.name = short_name(&String::from_utf8_lossy(value)),
                b'R' => process.parent = number(value).map(|pid| process_id(pid, None)),
                b'u' => process.uid = number(value),
                b'L' => {
                    process.user = cut(&String::from_utf8_lossy(value), MAX_USER_BYTES).to_owned();
                }
                _ => {}
            },
            _ if FIELDS.contains(&letter) => return Err(Bad::new("field before its process")),
            _ => return Err(Bad::value("no field", &[letter])),
        }
        Ok(())
    }

    fn end_process(&mut self, out: &mut Out) -> Result<(), Bad> {
        let ended = self.end_file(out);
        if let Some(process) = self.process.take()
            && self.found.last().is_some_and(|found| found.pid == process.id.pid)
        {
            self.processes.push(process);
        }
        ended
    }

    fn end_file(&mut self, out: &mut Out) -> Result<(), Bad> {
        let (Some(file), Some(process)) = (self.file.take(), &self.process) else { return Ok(()) };
        let Some(socket) = socket(&file, process.id)? else {
            out.pass("file that is no internet socket");
            return Ok(());
        };
        if self.found.len() < MAX_FOUND {
            self.found.push(Found { pid: process.id.pid, socket });
        } else {
            out.bad_part("more sockets than are kept");
        }
        Ok(())
    }

    /// Tells what is new since the snapshot before, and what is gone.
    fn end_snapshot(&mut self, out: &mut Out) -> Result<(), Bad> {
        let found = std::mem::take(&mut self.found);
        let processes = std::mem::take(&mut self.processes);
        let time_ns = self
            .time_ns
            .take()
            .ok_or_else(|| Bad::new("snapshot without a time (date before it, or -r 5m%s)"))?;
        let mut now: HashMap<SocketKey, Socket, ahash::RandomState> = HashMap::default();
        let mut order = Vec::new();
        for Found { socket, .. } in found {
            let key = key_of(&socket);
            let Some(known) = now.get_mut(&key) else {
                now.insert(key, socket);
                order.push(key);
                continue;
            };
            // Also its own second descriptor.
            if let Some(id) = socket.process
                && known.process != Some(id)
                && !known.shared_with.contains(&id)
                && known.shared_with.len() < MAX_HOLDERS
            {
                known.basis = Basis::SharesIt;
                known.shared_with.push(id);
            }
        }
        let mut gone: Vec<_> = self
            .told
            .iter()
            .filter(|(key, _)| !now.contains_key(*key))
            .map(|told| told.1)
            .collect();
        gone.sort_unstable_by_key(|socket| key_of(socket));
        for socket in gone {
            self.speaker.tell(time_ns, What::SocketClose(socket.clone()), out);
        }
        for process in &processes {
            if self.told_processes.get(&process.id.pid) != Some(process) {
                self.speaker.tell(time_ns, What::ProcessStart(Box::new(process.clone())), out);
            }
        }
        for socket in order.iter().filter_map(|key| Some((key, now.get(key)?))) {
            if self.told.get(socket.0) != Some(socket.1) {
                self.speaker.tell(time_ns, What::SocketOpen(socket.1.clone()), out);
            }
        }
        self.told = now;
        self.told_processes =
            processes.into_iter().map(|process| (process.id.pid, process)).collect();
        self.speaker.looked(time_ns, out);
        Ok(())
    }
}

impl Decoder for Lsof {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        // No field begins with a digit, or with a day's name and a space.
        if let Some(time_ns) = date_line(record) {
            let ended = self.end_process(out);
            if self.time_ns.is_some() {
                self.end_snapshot(out)?;
            }
            self.time_ns = Some(time_ns);
            return ended;
        }
        let mut first = Ok(());
        for field in fields_of(record) {
            if let [letter, value @ ..] = field {
                let read = self.field(*letter, value, out);
                first = first.and(read);
            }
        }
        first
    }

    fn end(&mut self, out: &mut Out) {
        let ended = self.end_process(out);
        // After a marker nothing has begun that could be empty.
        let told = if self.time_ns.is_some() || !self.found.is_empty() {
            self.time_ns = self.time_ns.or(self.modified_ns);
            self.end_snapshot(out)
        } else {
            Ok(())
        };
        for bad in [ended, told].into_iter().filter_map(Result::err) {
            out.bad_part(bad.reason);
        }
    }
}

/// `0x9f2b3c4d5e6f7081`, or a decimal number.
fn identity(value: &[u8]) -> Option<u64> {
    match value {
        [b'0', b'x', digits @ ..] => {
            u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        }
        _ => number(value),
    }
}

/// Nothing for what is no internet socket.
fn socket(file: &File, process: ProcessId) -> Result<Option<Socket>, Bad> {
    let ipv6 = match &*file.kind {
        b"IPv4" | b"raw" => false,
        b"IPv6" | b"raw6" => true,
        _ => return Ok(None),
    };
    let raw = file.kind.starts_with(b"raw");
    let (protocol, kind) = match &*file.protocol {
        b"TCP" if file.listens => (6, SocketKind::Listener),
        b"TCP" => (6, SocketKind::Stream),
        b"UDP" => (17, SocketKind::Datagram),
        b"ICMP" => (1, SocketKind::Raw),
        b"ICMPV6" | b"ICMP6" => (58, SocketKind::Raw),
        _ if raw => (raw_protocol(&file.name)?, SocketKind::Raw),
        other => return Err(Bad::value("unknown protocol", other)),
    };
    // The kernel's own words for a raw socket on Linux: who it is with is not in them.
    let Ends { local, local_port, remote, remote_port } =
        if raw { Ends::open(ipv6) } else { ends(&file.name, ipv6)? };
    Ok(Some(Socket {
        local,
        local_port,
        remote,
        remote_port,
        // Unless it is set to IPv6 alone, which is not said.
        dual_stack: ipv6
            && local.is_some_and(|local| local.is_unspecified())
            && remote.is_none()
            && !matches!(protocol, 1 | 58),
        inode: file.identity,
        ..claim(kind, protocol, Basis::Holds, process)
    }))
}

//! What the records of one event say together.

use std::borrow::Cow;
use std::collections::HashMap;

use ahash::RandomState;

use super::line::{Line, Type, Value, hex};
use super::syscall::{Address, Call};
use crate::host::attribution::Basis;
use crate::host::event::{SocketKind, What};
use crate::host::process::{Context, Process, ProcessId};
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::process_log::command::{
    MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, login, set_arguments, set_executable, short_name,
    short_text, terminal,
};
use crate::telemetry::process_log::hosts::{HostNumber, Hosts, Seen, Sighting, bound, claim};

/// Titles are cut by the kernel to this.
const MAX_TITLE_BYTES: usize = 128;

/// Sockets whose type is remembered; when full all are forgotten.
const MAX_SOCKETS: usize = 1 << 14;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const CLONE_THREAD: u64 = 0x1_0000;

/// Errors of `connect` after which packets have gone out: interrupted, network or
/// host unreachable, timed out, refused, in progress.
const SENT_ANYWAY: [i64; 6] = [-4, -101, -113, -110, -111, -115];
const IN_PROGRESS: i64 = -115;

/// Sockets by process and descriptor: what `socket` was asked for.
#[derive(Debug, Default)]
pub(super) struct Sockets(HashMap<(HostNumber, u32, u64), (SocketKind, u8), RandomState>);

/// An event as far as its records have come.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) host: HostNumber,
    pub(super) time_ns: i64,
    serial: u64,
    /// The host's latest time when its first record came.
    pub(super) opened_ns: i64,
    /// Nothing more of it will come.
    pub(super) complete: bool,
    call: Call,
    /// Absent where it did not return.
    success: Option<bool>,
    exit: i64,
    args: [u64; 3],
    pid: u32,
    parent: Option<u32>,
    uid: Option<u32>,
    user: Box<str>,
    login_uid: Option<u32>,
    login_user: Box<str>,
    tty: Tty,
    name: Box<str>,
    exe: Box<str>,
    program: Program,
    title: Vec<u8>,
    address: Option<Address>,
}

#[derive(Debug, Default)]
enum Tty {
    #[default]
    Unknown,
    None,
    Of(Box<str>),
}

/// Arguments of an exec, as far as they are kept.
#[derive(Debug, Default)]
struct Program {
    args: Vec<Vec<u8>>,
    bytes: usize,
    cut: bool,
}

impl Event {
    pub(super) fn new(host: HostNumber, opened_ns: i64, line: &Line<'_>) -> Result<Self, Bad> {
        let mut event = Self {
            host,
            time_ns: line.time_ns,
            serial: line.serial,
            opened_ns,
            complete: false,
            call: Call::Other,
            success: None,
            exit: 0,
            args: [0; 3],
            pid: 0,
            parent: None,
            uid: None,
            user: Box::default(),
            login_uid: None,
            login_user: Box::default(),
            tty: Tty::default(),
            name: Box::default(),
            exe: Box::default(),
            program: Program::default(),
            title: Vec::new(),
            address: None,
        };
        let (mut arch, mut number) = (None, None);
        for (name, value) in line.fields() {
            match name {
                b"arch" => arch = hexadecimal(value.raw()),
                b"syscall" => number = value.number::<u32>(),
                b"success" => event.success = Some(value.raw() == b"yes"),
                b"exit" => event.exit = signed(value.raw()),
                b"a0" => event.args[0] = hexadecimal(value.raw()).unwrap_or(0),
                b"a1" => event.args[1] = hexadecimal(value.raw()).unwrap_or(0),
                b"a2" => event.args[2] = hexadecimal(value.raw()).unwrap_or(0),
                b"ppid" => event.parent = value.number().filter(|&pid| pid != 0),
                b"pid" => event.pid = value.number().unwrap_or(0),
                b"auid" => event.login_uid = value.number().and_then(login),
                b"uid" => event.uid = value.number(),
                b"tty" => {
                    event.tty = value.text().map_or(Tty::None, |text| Tty::Of(lossy(&text)));
                }
                b"comm" => event.name = value.text().map_or_else(Box::default, |text| lossy(&text)),
                b"exe" => event.exe = value.text().map_or_else(Box::default, |text| lossy(&text)),
                _ => {}
            }
        }
        if event.pid == 0 {
            return Err(Bad::new("a system call without a process"));
        }
        let number = number.ok_or_else(|| Bad::new("a system call without its number"))?;
        let arch = arch.and_then(|arch| u32::try_from(arch).ok());
        event.call = arch.map_or(Call::Other, |arch| Call::of(arch, number));
        for (name, value) in line.in_words() {
            match name {
                b"SYSCALL" if event.call == Call::Other => event.call = Call::named(value.raw()),
                b"UID" => event.user = lossy(value.raw()),
                b"AUID" if event.login_uid.is_some() => event.login_user = lossy(value.raw()),
                _ => {}
            }
        }
        if event.call == Call::Multiplexed {
            event.call = Call::of_socketcall(event.args[0]);
            // What follows lies in memory.
            event.args = [u64::MAX; 3];
        }
        Ok(event)
    }

    pub(super) fn is(&self, host: HostNumber, line: &Line<'_>) -> bool {
        self.serial == line.serial && self.time_ns == line.time_ns && self.host == host
    }

    /// Another record of it.
    pub(super) fn add(&mut self, line: &Line<'_>, out: &mut Out) {
        for (name, value) in line.fields() {
            match (line.is, name) {
                (Type::Execve, _) => self.program.take(name, value),
                (Type::Title, b"proctitle") => {
                    self.title = value.text().map_or_else(Vec::new, Cow::into_owned);
                }
                (Type::Address, b"saddr") => {
                    self.address = hex(value.raw()).as_deref().and_then(Address::of);
                    if self.address.is_none() {
                        out.bad_part("not a socket address");
                    }
                }
                _ => {}
            }
        }
    }

    /// What the event means, at the latest time of its host.
    pub(super) fn tell(
        self,
        latest_ns: i64,
        hosts: &mut Hosts,
        sockets: &mut Sockets,
        out: &mut Out,
    ) {
        let (host, time_ns) = (self.host, self.time_ns);
        let failed = self.success == Some(false);
        let seen = if self.call == Call::Exec && !failed { Seen::Execs } else { Seen::Runs };
        let sighting = Sighting {
            seen,
            pid: self.pid,
            start_ticks: 0,
            exe: &self.exe,
            parent: self.parent,
            instance: None,
        };
        let id = hosts.sighted(host, time_ns, &sighting, out, |process| self.describe(process));
        match self.call {
            Call::Exec if failed => out.pass("exec that failed"),
            Call::Exec => {}
            Call::Exit => hosts.exits(host, self.pid, time_ns, out),
            Call::Fork | Call::Clone if failed || self.exit <= 0 => out.pass("fork that failed"),
            Call::Clone if self.args[0] & CLONE_THREAD != 0 => out.pass("thread"),
            Call::Clone3 => out.pass("clone3: a thread or a process"),
            Call::Fork | Call::Clone => self.tell_child(hosts, out),
            Call::Socket if !failed => sockets.note(&self),
            Call::Bind | Call::Connect | Call::Accept | Call::Send | Call::Receive => {
                self.tell_socket(id, latest_ns, hosts, sockets, out);
            }
            Call::Socket | Call::Multiplexed | Call::Other => out.pass("other system call"),
        }
    }

    /// Everything but who its parent is.
    fn describe(&self, process: &mut Process) {
        process.name = short_name(&self.name);
        set_executable(process, &self.exe);
        (process.uid, process.user) = (self.uid, short_text(&self.user));
        (process.login_uid, process.login_user) = (self.login_uid, short_text(&self.login_user));
        match &self.tty {
            Tty::Of(tty) => process.terminal = terminal(tty),
            // Programs of a graphical session have no terminal either; they belong to
            // somebody who logged in.
            Tty::None if self.login_uid.is_none() => process.context = Some(Context::None),
            Tty::None | Tty::Unknown => {}
        }
        if !process.terminal.is_empty() {
            process.context = Some(Context::Terminal);
        }
        if self.program.args.is_empty() {
            let title = self.title.strip_suffix(b"\0").unwrap_or(&self.title);
            if !title.is_empty() {
                process.args_cut = self.title.len() >= MAX_TITLE_BYTES;
                set_arguments(process, title.split(|&byte| byte == 0).map(String::from_utf8_lossy));
            }
        } else {
            process.args_cut = self.program.cut;
            set_arguments(
                process,
                self.program.args.iter().map(|arg| String::from_utf8_lossy(arg)),
            );
        }
    }

    fn tell_child(&self, hosts: &mut Hosts, out: &mut Out) {
        let Ok(pid) = u32::try_from(self.exit) else { return };
        let sighting = Sighting {
            seen: Seen::Begins,
            pid,
            start_ticks: 0,
            exe: &self.exe,
            parent: Some(self.pid),
            instance: None,
        };
        hosts.sighted(self.host, self.time_ns, &sighting, out, |process| {
            self.describe(process);
            process.started_ns = Some(self.time_ns);
        });
    }

    fn tell_socket(
        &self,
        id: ProcessId,
        latest_ns: i64,
        hosts: &mut Hosts,
        sockets: &Sockets,
        out: &mut Out,
    ) {
        let (address, port) = match self.address {
            Some(Address::Inet(address, port)) => (address, port),
            Some(Address::Other) => return out.pass("local socket"),
            None => return out.pass("socket call without an address"),
        };
        let went_out = self.success != Some(false)
            || self.call == Call::Connect && SENT_ANYWAY.contains(&self.exit);
        if !went_out {
            return out.pass("socket call that failed");
        }
        for (kind, protocol) in self.kinds(sockets) {
            // Of ICMP and of raw sockets there is no port.
            let has_ports = matches!(protocol, TCP | UDP);
            if has_ports && port == 0 {
                out.pass("socket address without a port");
                continue;
            }
            let port = if has_ports { port } else { 0 };
            let basis = match self.call {
                Call::Connect | Call::Send if has_ports => Basis::ConnectedTo,
                Call::Send | Call::Receive => Basis::Used,
                _ => Basis::Opened,
            };
            let mut socket = claim(kind, protocol, basis, id);
            let mut time_ns = self.time_ns;
            match self.call {
                Call::Bind => {
                    // What binds a port takes connections, or is about to.
                    if kind == SocketKind::Stream {
                        socket.kind = SocketKind::Listener;
                    }
                    (socket.local, socket.local_port) = (bound(Some(address)), port);
                    socket.dual_stack = address.is_ipv6() && socket.local.is_none();
                }
                Call::Accept | Call::Receive => {
                    (socket.remote, socket.remote_port) = (Some(address), port);
                    // The connection came at any time since the call began.
                    socket.since_ns = Some(time_ns);
                    time_ns = latest_ns.max(time_ns);
                }
                _ => (socket.remote, socket.remote_port) = (Some(address), port),
            }
            let what = match self.call {
                Call::Send | Call::Receive => What::SocketUse(socket),
                _ => What::SocketOpen(socket),
            };
            hosts.tell(self.host, time_ns, what, out);
        }
    }

    /// What the socket can be: where nobody said, both of what has ports.
    fn kinds(&self, sockets: &Sockets) -> impl Iterator<Item = (SocketKind, u8)> + use<> {
        const STREAM: (SocketKind, u8) = (SocketKind::Stream, TCP);
        const DATAGRAM: (SocketKind, u8) = (SocketKind::Datagram, UDP);
        let known = sockets.0.get(&(self.host, self.pid, self.args[0])).copied();
        let kinds = match (known, self.call) {
            (_, Call::Accept) => [Some(STREAM), None],
            (Some(known), _) => [Some(known), None],
            (None, Call::Send | Call::Receive) => [Some(DATAGRAM), None],
            (None, Call::Connect) if self.exit == IN_PROGRESS => [Some(STREAM), None],
            (None, _) => [Some(STREAM), Some(DATAGRAM)],
        };
        kinds.into_iter().flatten()
    }
}

impl Sockets {
    fn note(&mut self, event: &Event) {
        let [family, kind, protocol] = event.args;
        let Ok(descriptor) = u64::try_from(event.exit) else { return };
        let key = (event.host, event.pid, descriptor);
        let is_inet = matches!(family, 2 | 10);
        let protocol = u8::try_from(protocol).unwrap_or(0);
        // The upper bits are flags.
        let known = match (kind & 0xf, protocol) {
            (1, 0 | TCP) => Some((SocketKind::Stream, TCP)),
            (2, 0 | UDP) => Some((SocketKind::Datagram, UDP)),
            (2, ICMP | ICMPV6) => Some((SocketKind::Ping, protocol)),
            (3, 1..) => Some((SocketKind::Raw, protocol)),
            _ => None,
        };
        if self.0.len() >= MAX_SOCKETS {
            self.0.clear();
        }
        match known.filter(|_| is_inet) {
            Some(known) => self.0.insert(key, known),
            // The descriptor is another's now.
            None => self.0.remove(&key),
        };
    }
}

impl Program {
    /// `a1="word"`, `a1=776F7264`, and of a long one `a1_len=` and `a1[0]=`, `a1[1]=`.
    fn take(&mut self, name: &[u8], value: Value<'_>) {
        let Some(name) = name.strip_prefix(b"a") else { return };
        let end = name.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len());
        let (number, piece) = name.split_at(end);
        let Some(number) = crate::telemetry::text::number::<usize>(number) else { return };
        if !(piece.is_empty() || piece.starts_with(b"[")) {
            return;
        }
        if number >= MAX_ARGUMENTS || self.bytes > MAX_ARGUMENT_BYTES {
            self.cut = true;
            return;
        }
        let text = match value {
            Value::Quoted(text) => Cow::Borrowed(text),
            Value::Bare(digits) => hex(digits).map_or(Cow::Borrowed(digits), Cow::Owned),
        };
        if self.args.len() <= number {
            self.args.resize(number + 1, Vec::new());
        }
        let kept = &text[..text.len().min(MAX_ARGUMENT_BYTES + 1)];
        self.cut |= kept.len() < text.len();
        self.bytes += kept.len() + 1;
        if let Some(arg) = self.args.get_mut(number) {
            arg.extend_from_slice(kept);
        }
    }
}

fn lossy(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text).into()
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number that may be negative; 0 where it is none.
fn signed(digits: &[u8]) -> i64 {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

//! The programs' events, from bytes (`bpf/events.h`) to what the map takes.
//!
//! Names and arguments are whatever a process chose. Every length is checked
//! against what is there; what does not fit is no event.

use std::net::{IpAddr, Ipv6Addr};

use super::clock::Clock;
use crate::host::attribution::{Basis, Method};
use crate::host::event::{HostEvent, Socket, SocketKind, What};
use crate::host::process::{Process, ProcessId};

/// `USER_HZ` is 100 everywhere: a tick of `/proc/PID/stat` lasts so long.
const TICK_NS: u64 = 10_000_000;

const EXE_DELETED: u8 = 1;
const EXE_FOLDER_WRITABLE: u8 = 2;
const EXE_CUT: u8 = 4;

/// Nothing when the bytes are no event of this version.
pub(super) fn parse(bytes: &[u8], clock: &Clock) -> Option<HostEvent> {
    let mut fields = Fields(bytes);
    let time_ns = clock.wall_ns(fields.u64()?);
    let (id, start_ns) = fields.process()?;
    let kind = fields.u8()?;
    let basis = fields.u8()?;
    fields.bytes(6)?;
    let what = match kind {
        1 => What::ProcessStart(process(fields, id, start_ns, clock)?),
        2 => What::ProcessExec(process(fields, id, start_ns, clock)?),
        3 => What::ProcessExit(id),
        4 => What::SocketOpen(socket(fields, id, basis, clock)?),
        5 => What::SocketUse(socket(fields, id, basis, clock)?),
        6 => What::SocketClose(socket(fields, id, basis, clock)?),
        // Another user, session or state of its executable: as a map has it, another
        // version.
        7 => What::ProcessExec(process(fields, id, start_ns, clock)?),
        _ => return None,
    };
    Some(HostEvent { time_ns, what })
}

fn process(
    mut fields: Fields<'_>,
    id: ProcessId,
    start_ns: u64,
    clock: &Clock,
) -> Option<Box<Process>> {
    let (parent, _) = fields.process()?;
    let uid = fields.u32()?;
    let login_uid = fields.u32()?;
    let session = fields.u32()?;
    let netns = fields.u32()?;
    let args_full_bytes = fields.u32()?;
    let args_bytes = usize::from(fields.u16()?);
    let exe_bytes = usize::from(fields.u16()?);
    let cgroup_bytes = usize::from(fields.u16()?);
    let flags = fields.u8()?;
    fields.bytes(5)?;
    let name = text(fields.bytes(16)?);
    let terminal = terminal(text(fields.bytes(16)?));
    let args = fields.bytes(args_bytes)?;
    let exe = fields.bytes(exe_bytes)?;
    let cgroup = path(fields.bytes(cgroup_bytes)?);
    Some(Box::new(Process {
        id,
        started_ns: Some(clock.wall_ns(start_ns)),
        parent: (parent.pid != 0).then_some(parent),
        name,
        exe: match flags & EXE_CUT {
            0 => path(exe),
            _ => format!("...{}", path(exe)),
        },
        exe_deleted: flags & EXE_DELETED != 0,
        exe_in_writable_folder: flags & EXE_FOLDER_WRITABLE != 0,
        args: arguments(args),
        args_cut: args_bytes > 0 && u64::from(args_full_bytes) > args_bytes as u64,
        uid: Some(uid),
        login_uid: known_uid(login_uid),
        session: (session != 0).then_some(session),
        terminal,
        cgroup: if cgroup.is_empty() { "/".to_owned() } else { cgroup },
        netns: (netns != 0).then_some(u64::from(netns)),
        ..Process::default()
    }))
}

fn socket(mut fields: Fields<'_>, process: ProcessId, basis: u8, clock: &Clock) -> Option<Socket> {
    let since_ns = fields.u64()?;
    let cookie = fields.u64()?;
    let inode = fields.u64()?;
    let netns = fields.u32()?;
    let interface_index = fields.u32()?;
    let local = fields.address()?;
    let remote = fields.address()?;
    let local_port = fields.u16()?;
    let remote_port = fields.u16()?;
    let protocol = fields.u8()?;
    fields.bytes(3)?;
    let kind = match fields.u8()? {
        1 => SocketKind::Stream,
        2 => SocketKind::Listener,
        3 => SocketKind::Datagram,
        4 => SocketKind::Raw,
        5 => SocketKind::Ping,
        6 => SocketKind::Packet,
        _ => return None,
    };
    let takes_both = fields.u8()? != 0;
    let alone = fields.u8()? != 0;
    let basis = match basis {
        1 => Basis::Created,
        2 => Basis::Opened,
        3 => Basis::Used,
        _ => return None,
    };
    let is_bound = kind == SocketKind::Datagram && basis == Basis::Opened;
    let local = match local {
        // Of any version.
        local if local.is_unspecified() && kind == SocketKind::Packet => None,
        // Where it is bound the kernel does not show whether it takes IPv4 too.
        IpAddr::V6(v6) if v6.is_unspecified() && is_bound => None,
        local => Some(local),
    };
    Some(Socket {
        method: Method::Ebpf,
        basis,
        kind,
        protocol,
        local,
        local_port,
        remote: (!remote.is_unspecified()).then_some(remote),
        remote_port,
        dual_stack: takes_both
            && matches!(kind, SocketKind::Datagram | SocketKind::Listener | SocketKind::Stream),
        process: (process.pid != 0).then_some(process),
        shared_with: Vec::new(),
        cookie: (cookie != 0).then_some(cookie),
        inode: (inode != 0).then_some(inode),
        netns: (netns != 0).then_some(u64::from(netns)),
        interface_index: (kind == SocketKind::Packet && interface_index != 0)
            .then_some(interface_index),
        alone,
        since_ns: (since_ns != 0).then(|| clock.wall_ns(since_ns)),
    })
}

/// Up to its first zero, readable whatever the bytes are.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Arguments end in a zero each; the last one may be cut.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

/// The names of a path come from its last to its first.
fn path(names: &[u8]) -> String {
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    let mut path = String::with_capacity(names.len() + 1);
    if !names.is_empty() {
        for name in names.rsplit(|byte| *byte == 0) {
            path.push('/');
            path.push_str(&String::from_utf8_lossy(name));
        }
    }
    path
}

/// The kernel says `pts3` where everybody else says `pts/3`.
fn terminal(name: String) -> String {
    match name.strip_prefix("pts") {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("pts/{number}"),
        _ => name,
    }
}

/// The kernel's -1 is nobody.
fn known_uid(uid: u32) -> Option<u32> {
    (uid != u32::MAX).then_some(uid)
}

/// What is left of an event's bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_ne_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    /// A process, and when it began in nanoseconds since boot.
    fn process(&mut self) -> Option<(ProcessId, u64)> {
        let start_ns = self.u64()?;
        let pid = self.u32()?;
        self.bytes(4)?;
        Some((ProcessId { pid, start_ticks: start_ns / TICK_NS }, start_ns))
    }

    fn address(&mut self) -> Option<IpAddr> {
        Some(Ipv6Addr::from(self.array::<16>()?).to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process event as the programs send it.
    fn process_bytes(args: &[u8], exe: &[u8], cgroup: &[u8], flags: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(5_000_000_000_u64.to_ne_bytes());
        bytes.extend(4_129_999_999_u64.to_ne_bytes());
        bytes.extend([77_u32, 0].map(u32::to_ne_bytes).concat());
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(40_000_000_u64.to_ne_bytes());
        bytes.extend([12_u32, 0].map(u32::to_ne_bytes).concat());
        bytes.extend([1000, u32::MAX, 9, 4_026_531_840, 5000].map(u32::to_ne_bytes).concat());
        for part in [args, exe, cgroup] {
            bytes.extend(u16::try_from(part.len()).unwrap().to_ne_bytes());
        }
        bytes.extend([flags, 0, 0, 0, 0, 0]);
        bytes.extend(*b"curl\0remainder..");
        bytes.extend(*b"pts3\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend([args, exe, cgroup].concat());
        bytes
    }

    fn parsed(bytes: &[u8]) -> Process {
        match parse(bytes, &Clock::new()).map(|event| event.what) {
            Some(What::ProcessExec(process)) => *process,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_is_read_as_proc_would_have_it() {
        let process = parsed(&process_bytes(
            b"curl\0\0http://a/\0",
            b"curl\0bin\0usr\0",
            b"web.service\0system.slice\0",
            EXE_DELETED,
        ));
        assert_eq!(process.id, ProcessId { pid: 77, start_ticks: 412 });
        assert_eq!(process.parent, Some(ProcessId { pid: 12, start_ticks: 4 }));
        assert_eq!(process.args, ["curl", "", "http://a/"]);
        assert!(process.args_cut && process.exe_deleted && !process.exe_in_writable_folder);
        assert_eq!(process.exe, "/usr/bin/curl");
        assert_eq!(process.cgroup, "/system.slice/web.service");
        assert_eq!((process.name.as_str(), process.terminal.as_str()), ("curl", "pts/3"));
        assert_eq!((process.uid, process.login_uid), (Some(1000), None));
    }

    #[test]
    fn what_is_not_there_is_empty_and_what_is_cut_says_so() {
        let process = parsed(&process_bytes(b"", b"", b"", 0));
        assert_eq!((process.args.len(), process.args_cut), (0, false));
        assert_eq!((process.exe.as_str(), process.cgroup.as_str()), ("", "/"));
        let deep = parsed(&process_bytes(b"\xff\0", b"run\0deep\0", b"", EXE_CUT));
        assert_eq!(deep.exe, ".../deep/run");
        assert_eq!(deep.args, ["\u{fffd}"]);
    }

    #[test]
    fn a_cut_event_is_none_and_no_byte_makes_it_panic() {
        let whole = process_bytes(b"a\0b\0", b"c\0d\0", b"e\0", 7);
        let clock = Clock::new();
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end], &clock), None, "{end} bytes");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 4, 5, 6, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = parse(&bytes, &clock);
            }
        }
    }
}

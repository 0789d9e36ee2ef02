//! Which processes hold which sockets: `/proc/PID/fd`, kept process by process.
//!
//! A process is read again when it appeared or ran another program, when one of
//! its sockets is looked for, and when the number of its descriptors changed,
//! which one look at the folder's size tells (Linux 6.2 and later; before, each
//! walk reads every process). [`Index::walk`] goes through all processes;
//! its caller limits how often.

use std::collections::hash_map::Entry;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use ahash::{AHashMap, AHashSet};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, getxattr, openat, readlinkat_raw, statat};

use super::found::Tables;
use crate::host::process::ProcessId;

/// Descriptors read of one process; a proxy with a million connections is cut.
const MAX_DESCRIPTORS: usize = 1 << 20;

/// So many are read in a millisecond or so.
const FEW_DESCRIPTORS: i64 = 1024;

/// Processes kept: the kernel's own limit of process numbers.
const MAX_PROCESSES: usize = 1 << 22;

/// Threads of a process asked for their namespace.
const MAX_THREADS: usize = 256;

/// Sockets held by somebody, and by whom.
#[derive(Default)]
pub(super) struct Index {
    processes: AHashMap<u32, Known>,
    sockets: AHashMap<u32, Held>,
    /// Sockets that got or lost a holder since the last [`Index::take_changed`].
    changed: AHashSet<u32>,
}

struct Known {
    id: ProcessId,
    netns: u64,
    folder: Folder,
    /// Inodes of its sockets, in order.
    sockets: Box<[u32]>,
}

/// What changes when a process does: the folder of its descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Folder {
    inode: u64,
    descriptors: i64,
}

/// Most sockets have one holder.
struct Held {
    tables: Tables,
    first: u32,
    others: Vec<u32>,
}

/// A socket that a process was not known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewSocket {
    pub(super) pid: u32,
    pub(super) netns: u64,
    pub(super) inode: u32,
    /// Where to look for it.
    pub(super) tables: Tables,
    /// Parent of the process, if nobody was known to hold the socket: it may too.
    pub(super) parent: Option<u32>,
}

impl Index {
    /// Reads a process. What it holds that it did not before goes to `new`. False
    /// where it is gone or not to be read.
    pub(super) fn scan(&mut self, pid: u32, new: &mut Vec<NewSocket>) -> bool {
        match Reading::of(pid) {
            Some(reading) => {
                self.take(pid, reading, new);
                true
            }
            None => {
                self.remove(pid);
                false
            }
        }
    }

    /// Looks at every process and reads those that are new or whose number of
    /// descriptors changed; `thorough`, all of them: who closed one and opened
    /// another has as many as before.
    pub(super) fn walk(&mut self, thorough: bool, new: &mut Vec<NewSocket>) {
        let mut gone: AHashSet<u32> = self.processes.keys().copied().collect();
        for pid in pids() {
            gone.remove(&pid);
            let unchanged = self.processes.get(&pid).is_some_and(|known| {
                !thorough
                    && known.folder.descriptors > 0
                    && Folder::of(CWD, format!("/proc/{pid}/fd")) == Some(known.folder)
            });
            if !unchanged {
                self.scan(pid, new);
            }
        }
        for pid in gone {
            self.remove(pid);
        }
    }

    /// The same where it may hold others than it was known to, and has few enough for a
    /// look in between.
    pub(super) fn scan_if_changed(&mut self, pid: u32, new: &mut Vec<NewSocket>) {
        let Some(folder) = Folder::of(CWD, format!("/proc/{pid}/fd")) else { return };
        let is_known = folder.descriptors > 0
            && self.processes.get(&pid).is_some_and(|known| known.folder == folder);
        if !is_known && folder.descriptors <= FEW_DESCRIPTORS {
            self.scan(pid, new);
        }
    }

    pub(super) fn remove(&mut self, pid: u32) {
        if let Some(known) = self.processes.remove(&pid) {
            for &inode in &known.sockets {
                self.release(inode, pid);
            }
        }
    }

    /// Holders of a socket, by number.
    pub(super) fn holders(&self, inode: u32) -> Vec<ProcessId> {
        let Some(held) = self.sockets.get(&inode) else { return Vec::new() };
        let mut holders: Vec<ProcessId> = std::iter::once(&held.first)
            .chain(&held.others)
            .filter_map(|pid| Some(self.processes.get(pid)?.id))
            .collect();
        holders.sort_unstable();
        holders
    }

    /// A process that has been read, and its namespace.
    pub(super) fn process(&self, pid: u32) -> Option<(ProcessId, u64)> {
        self.processes.get(&pid).map(|known| (known.id, known.netns))
    }

    /// Each namespace with a process that is in it.
    pub(super) fn namespaces(&self) -> AHashMap<u64, u32> {
        self.processes.iter().map(|(&pid, known)| (known.netns, pid)).collect()
    }

    pub(super) fn take_changed(&mut self) -> AHashSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// The same unless it is more than `most`.
    pub(super) fn take_few_changed(&mut self, most: usize) -> AHashSet<u32> {
        if self.changed.len() > most { AHashSet::new() } else { self.take_changed() }
    }

    fn take(&mut self, pid: u32, reading: Reading, new: &mut Vec<NewSocket>) {
        if self.processes.get(&pid).is_some_and(|known| known.id != reading.id) {
            self.remove(pid);
        }
        if !self.processes.contains_key(&pid) && self.processes.len() >= MAX_PROCESSES {
            return;
        }
        let Reading { id, parent, netns, folder, descriptors } = reading;
        let before = self.processes.remove(&pid).map(|known| known.sockets).unwrap_or_default();
        let sockets: Box<[u32]> = descriptors.iter().map(|&(inode, _)| inode).collect();
        for &inode in before.iter().filter(|inode| sockets.binary_search(inode).is_err()) {
            self.release(inode, pid);
        }
        for (inode, descriptor) in descriptors {
            if before.binary_search(&inode).is_err() {
                let parent = (!self.sockets.contains_key(&inode)).then_some(parent);
                let tables = self.hold(inode, pid, descriptor);
                if !tables.is_empty() {
                    new.push(NewSocket { pid, netns, inode, tables, parent });
                }
            }
        }
        self.processes.insert(pid, Known { id, netns, folder, sockets });
    }

    fn hold(&mut self, inode: u32, pid: u32, descriptor: u32) -> Tables {
        self.changed.insert(inode);
        match self.sockets.entry(inode) {
            Entry::Occupied(held) => {
                let held = held.into_mut();
                held.others.push(pid);
                held.tables
            }
            Entry::Vacant(place) => {
                let tables = tables_of(pid, descriptor);
                place.insert(Held { tables, first: pid, others: Vec::new() });
                tables
            }
        }
    }

    fn release(&mut self, inode: u32, pid: u32) {
        self.changed.insert(inode);
        let Entry::Occupied(mut held) = self.sockets.entry(inode) else { return };
        let holders = held.get_mut();
        if holders.first != pid {
            holders.others.retain(|&other| other != pid);
        } else if let Some(other) = holders.others.pop() {
            holders.first = other;
        } else {
            held.remove();
        }
    }
}

/// A process as it is now.
struct Reading {
    id: ProcessId,
    parent: u32,
    netns: u64,
    folder: Folder,
    /// Inodes of sockets and a descriptor of each, by inode.
    descriptors: Vec<(u32, u32)>,
}

impl Reading {
    fn of(pid: u32) -> Option<Self> {
        // All that follows is of this very process, also when its number is reused.
        let process = openat(
            CWD,
            format!("/proc/{pid}"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let (parent, start_ticks) = stat(&process)?;
        let id = ProcessId { pid, start_ticks };
        let netns = statat(&process, "ns/net", AtFlags::empty()).ok()?.st_ino;
        let folder = Folder::of(&process, "fd")?;
        let descriptors = sockets(&process)?;
        Some(Self { id, parent, netns, folder, descriptors })
    }
}

/// Whether a process has the descriptor that it was seen with; not where it is gone.
pub(super) fn still_holds(socket: &NewSocket) -> bool {
    Reading::of(socket.pid)
        .is_some_and(|process| process.descriptors.iter().any(|&(inode, _)| inode == socket.inode))
}

impl Folder {
    fn of(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Option<Self> {
        let about = statat(at, path, AtFlags::empty()).ok()?;
        Some(Self { inode: about.st_ino, descriptors: about.st_size })
    }
}

fn sockets(process: &OwnedFd) -> Option<Vec<(u32, u32)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(process, "fd", flags, Mode::empty()).ok()?;
    let mut found = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 8 << 10];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    let mut seen = 0;
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        let Some(descriptor) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut link = [MaybeUninit::uninit(); 32];
        if let Ok((link, _)) = readlinkat_raw(&folder, name, &mut link)
            && let Some(inode) = socket_inode(link)
        {
            found.push((inode, descriptor));
        }
        seen += 1;
        if seen == MAX_DESCRIPTORS {
            break;
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|&mut (inode, _)| inode);
    Some(found)
}

/// `socket:[1234]`
fn socket_inode(link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn tables_of(pid: u32, descriptor: u32) -> Tables {
    let mut name = [0; 32];
    let path = format!("/proc/{pid}/fd/{descriptor}");
    let name = getxattr(path, "system.sockprotoname", &mut name[..])
        .ok()
        .and_then(|bytes| Some(name.get(..bytes)?.split(|&byte| byte == 0).next()?.to_vec()));
    Tables::of_protocol_name(name.as_deref())
}

/// Fields 4 and 22 of `/proc/PID/stat`: parent and start. The name before may hold
/// anything, but the last `)` ends it.
fn stat(process: &OwnedFd) -> Option<(u32, u64)> {
    let stat = openat(process, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 1024];
    let bytes = std::io::Read::read(&mut File::from(stat), &mut text).ok()?;
    let text = text.get(..bytes)?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace();
    Some((fields.nth(1)?.parse().ok()?, fields.nth(17)?.parse().ok()?))
}

/// Namespaces that threads of a process are in besides its own, with the path to
/// each.
pub(super) fn thread_namespaces(pid: u32) -> Vec<(u64, std::path::PathBuf)> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found: Vec<(u64, std::path::PathBuf)> = Vec::new();
    for thread in threads.flatten().take(MAX_THREADS) {
        let path = thread.path().join("ns/net");
        if let Ok(about) = statat(CWD, &path, AtFlags::empty())
            && found.iter().all(|&(inode, _)| inode != about.st_ino)
        {
            found.push((about.st_ino, path));
        }
    }
    found
}

/// Numbers of all processes, as `/proc` lists them.
pub(in crate::host::provider) fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::host::provider::sock_diag::found::Table;

    #[test]
    fn sockets_of_this_process_are_found_with_their_protocol_and_lost_when_closed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.as_os_str().as_encoded_bytes()).unwrap();
        let me = std::process::id();
        let (mut index, mut new) = (Index::default(), Vec::new());
        assert!(index.scan(me, &mut new));
        let found = new.iter().find(|new| new.inode == inode).unwrap();
        assert_eq!(found.tables, Tables::one(Table::Udp4));
        assert_eq!(index.holders(inode), [index.process(me).unwrap().0]);

        assert_eq!(found.parent, Some(std::os::unix::process::parent_id()));

        // A second look finds nothing new of it.
        new.clear();
        index.scan(me, &mut new);
        assert!(new.iter().all(|new| new.inode != inode));

        drop(socket);
        index.scan(me, &mut new);
        assert!(index.holders(inode).is_empty());
        assert!(index.take_changed().contains(&inode));
    }

    #[test]
    fn links_that_are_no_sockets_have_no_inode() {
        for link in ["pipe:[3]", "socket:[", "socket:[-1]", "socket:[99999999999]", "/socket:[3]"] {
            assert_eq!(socket_inode(link.as_bytes()), None, "{link}");
        }
        assert_eq!(socket_inode(b"socket:[4294967295]"), Some(u32::MAX));
    }
}

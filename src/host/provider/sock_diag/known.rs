//! Sockets that have been seen, and what has been told of them.
//!
//! What a dump shows is held against what was known; the differences become
//! events. A socket is told of once its holders are known, and again when its
//! ends or holders change.

use ahash::{AHashMap, AHashSet};

use super::found::{Found, Tables};
use super::index::Index;
use crate::host::attribution::{Basis, Method};
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::ProcessId;
use crate::host::provider::proc::KernelClock;

/// About 200 bytes each: 200 MB. What is beyond is counted as lost.
const MAX_SOCKETS: usize = 1 << 20;

/// Readings of every process after which a socket is told of without one: the
/// kernel's own have none, and one that was passed on meanwhile is in the second.
const TRIES: u8 = 2;

/// How a dump may miss a socket that lives: while it walks, others leave the same
/// bucket. Where the kernel tells of destroyed sockets, that decides first.
const MISSES_WITH_NOTICES: u8 = 2;

/// Identity of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Unique in a boot; on older kernels in its namespace.
    Cookie(u64, u64),
    Inode(u64, u32),
}

impl Key {
    fn of(netns: u64, found: &Found) -> Option<Self> {
        match found.cookie {
            Some(cookie) => Some(Self::Cookie(netns, cookie)),
            None if found.inode != 0 => Some(Self::Inode(netns, found.inode)),
            None => None,
        }
    }
}

struct Entry {
    found: Found,
    netns: u64,
    /// As told; empty while not told or without a process.
    holders: Vec<ProcessId>,
    told: bool,
    tries: u8,
    /// When it was certainly not there: the dump before.
    not_before_ns: Option<i64>,
    seen_in: u32,
    misses: u8,
}

pub(super) struct Known {
    method: Method,
    sockets: AHashMap<Key, Entry>,
    by_inode: AHashMap<u32, Key>,
    listeners: AHashMap<(u64, u16), u32>,
    untold: AHashSet<Key>,
    dump: u32,
    over_limit: u64,
}

impl Known {
    pub(super) fn new(method: Method) -> Self {
        Self {
            method,
            sockets: AHashMap::new(),
            by_inode: AHashMap::new(),
            listeners: AHashMap::new(),
            untold: AHashSet::new(),
            dump: 0,
            over_limit: 0,
        }
    }

    /// A full dump begins.
    pub(super) fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
    }

    /// A dump shows this socket, which was not there in the one that began at
    /// `not_before_ns` if it is new.
    pub(super) fn see(
        &mut self,
        netns: u64,
        found: Found,
        not_before_ns: Option<i64>,
        out: &mut Vec<What>,
    ) {
        let Some(key) = Key::of(netns, &found) else { return };
        let method = self.method;
        if let Some(entry) = self.sockets.get_mut(&key) {
            (entry.seen_in, entry.misses) = (self.dump, 0);
            if found.same_ends(&entry.found) {
                return;
            }
            // Bound or connected since. What it was before has ended.
            if entry.told {
                out.push(What::SocketClose(entry.socket(method)));
                entry.told = false;
            }
            // One whose process let go of it has no inode any more.
            let inode = if found.inode == 0 { entry.found.inode } else { found.inode };
            entry.found = Found { inode, ..found };
            entry.not_before_ns = not_before_ns;
            self.untold.insert(key);
            return;
        }
        if found.inode == 0 {
            return;
        }
        if self.sockets.len() >= MAX_SOCKETS {
            self.over_limit += 1;
            return;
        }
        if found.kind == SocketKind::Listener {
            self.listeners.insert((netns, found.local_port), found.inode);
        }
        self.by_inode.insert(found.inode, key);
        self.untold.insert(key);
        self.sockets.insert(
            key,
            Entry {
                found,
                netns,
                holders: Vec::new(),
                told: false,
                tries: 0,
                not_before_ns,
                seen_in: self.dump,
                misses: 0,
            },
        );
    }

    /// A full dump is over. `whole` are the tables of each namespace that were read
    /// wholly, and whether notices of destroyed sockets come from there.
    pub(super) fn end_dump(&mut self, whole: &AHashMap<u64, (Tables, bool)>, out: &mut Vec<What>) {
        let mut gone = Vec::new();
        for (&key, entry) in &mut self.sockets {
            if entry.seen_in == self.dump {
                continue;
            }
            // The namespace itself is gone.
            let Some(&(tables, notices)) = whole.get(&entry.netns) else {
                gone.push(key);
                continue;
            };
            if !tables.has(entry.found.table) {
                continue;
            }
            entry.misses += 1;
            if !notices || entry.misses >= MISSES_WITH_NOTICES {
                gone.push(key);
            }
        }
        for key in gone {
            self.close(key, out);
        }
    }

    /// A socket was destroyed. False where it was not known.
    pub(super) fn destroyed(&mut self, netns: u64, found: &Found, out: &mut Vec<What>) -> bool {
        Key::of(netns, found).is_some_and(|key| self.close(key, out))
    }

    /// Tells of sockets whose holders are known by now. `patience` is true where
    /// every process has been read: what has no holder after some of those has none.
    pub(super) fn tell(
        &mut self,
        index: &Index,
        clock: KernelClock,
        patience: bool,
        out: &mut Vec<What>,
    ) {
        let method = self.method;
        let sockets = &mut self.sockets;
        self.untold.retain(|key| {
            let Some(entry) = sockets.get_mut(key) else { return false };
            let holders = index.holders(entry.found.inode);
            entry.tries += u8::from(patience);
            if holders.is_empty() && entry.tries < TRIES {
                return true;
            }
            // One that was told with holders that let go of it.
            let again = entry.told;
            if again && (holders.is_empty() || holders == entry.holders) {
                return false;
            }
            // Who let go of it has no claim on what follows.
            if again {
                out.push(What::SocketClose(entry.socket(method)));
            }
            (entry.holders, entry.told) = (holders, true);
            let mut socket = entry.socket(method);
            if !again {
                let starts = entry.holders.iter().map(|&id| clock.start_to_wall_ns(id.start_ticks));
                socket.since_ns = starts.min().max(entry.not_before_ns);
            }
            out.push(What::SocketOpen(socket));
            false
        });
    }

    /// Tells again of sockets that have other holders now. Since the walk that began at
    /// `walked_ns` a process may have been given one.
    pub(super) fn tell_changed(
        &mut self,
        inodes: &AHashSet<u32>,
        index: &Index,
        clock: KernelClock,
        walked_ns: i64,
        out: &mut Vec<What>,
    ) {
        for inode in inodes {
            let Some(&key) = self.by_inode.get(inode) else { continue };
            let Some(entry) = self.sockets.get_mut(&key).filter(|entry| entry.told) else {
                continue;
            };
            let holders = index.holders(*inode);
            if holders.is_empty() && !entry.holders.is_empty() {
                // About to close, or held by somebody who was not looked at.
                entry.tries = 0;
                self.untold.insert(key);
            } else if holders != entry.holders {
                let new = holders.iter().filter(|id| !entry.holders.contains(id));
                let since = new.map(|id| clock.start_to_wall_ns(id.start_ticks).max(walked_ns));
                // Where nobody came, from now on.
                let not_before_ns = entry.not_before_ns.unwrap_or(i64::MIN);
                let since_ns = since.min().map(|since_ns| since_ns.max(not_before_ns));
                // Who let go of it has no claim on what follows.
                if entry.holders.iter().any(|id| !holders.contains(id)) {
                    out.push(What::SocketClose(entry.socket(self.method)));
                }
                entry.holders = holders;
                let socket = Socket { since_ns, ..entry.socket(self.method) };
                out.push(What::SocketOpen(socket));
            }
        }
    }

    /// Processes to look at first for sockets without a holder: who listens on the
    /// port that a connection came in at. And how many there are.
    pub(super) fn missing(&self, index: &Index) -> (AHashSet<u32>, usize) {
        let mut listeners = AHashSet::new();
        for entry in self.untold.iter().filter_map(|key| self.sockets.get(key)) {
            if let Some(inode) = self.listeners.get(&(entry.netns, entry.found.local_port)) {
                listeners.extend(index.holders(*inode).iter().map(|id| id.pid));
            }
        }
        (listeners, self.untold.len())
    }

    pub(super) fn knows(&self, inode: u32) -> bool {
        self.by_inode.contains_key(&inode)
    }

    /// Sockets passed over since the last call.
    pub(super) fn take_over_limit(&mut self) -> u64 {
        std::mem::take(&mut self.over_limit)
    }

    fn close(&mut self, key: Key, out: &mut Vec<What>) -> bool {
        let Some(entry) = self.sockets.remove(&key) else { return false };
        self.untold.remove(&key);
        let inode = entry.found.inode;
        if self.by_inode.get(&inode) == Some(&key) {
            self.by_inode.remove(&inode);
        }
        let port = (entry.netns, entry.found.local_port);
        if self.listeners.get(&port) == Some(&inode) {
            self.listeners.remove(&port);
        }
        if entry.told {
            out.push(What::SocketClose(entry.socket(self.method)));
        }
        true
    }
}

impl Entry {
    fn socket(&self, method: Method) -> Socket {
        socket(method, self.netns, &self.found, &self.holders)
    }
}

/// Holders named with one socket; a group of more says no more.
const MAX_SHARED: usize = 256;

/// The claim of holders on a socket.
pub(super) fn socket(method: Method, netns: u64, found: &Found, holders: &[ProcessId]) -> Socket {
    let (process, shared_with) = match holders {
        [] => (None, Vec::new()),
        [first, others @ ..] => (Some(*first), others.iter().copied().take(MAX_SHARED).collect()),
    };
    let basis = match found.kind {
        SocketKind::Raw => Basis::RawSocket,
        SocketKind::Packet => Basis::PacketSocket,
        _ if shared_with.is_empty() => Basis::Holds,
        _ => Basis::SharesIt,
    };
    Socket {
        method,
        basis,
        kind: found.kind,
        protocol: found.protocol,
        local: found.local,
        local_port: found.local_port,
        remote: found.remote,
        remote_port: found.remote_port,
        dual_stack: found.dual_stack,
        process,
        shared_with,
        cookie: found.cookie,
        inode: (found.inode != 0).then(|| found.inode.into()),
        netns: Some(netns),
        interface_index: found.interface_index,
        alone: false,
        since_ns: None,
    }
}

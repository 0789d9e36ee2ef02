//! The loop of the watchers of socket tables.
//!
//! ```text
//! a process appears ──▶ look at its descriptors at some ages ──▶ new socket: read
//!                                                                 that one table
//! each interval ──▶ read all tables of all namespaces ──▶ differences
//! socket destroyed (notice) ──▶ close
//! ```

use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};

use super::Settings;
use super::found::{Table, Tables};
use super::index::{Index, NewSocket, thread_namespaces};
use super::known::Known;
use super::process_events::ProcessEvents;
use super::schedule::Schedule;
use super::tables::SocketTables;
use super::unresolved::Unresolved;
use crate::host::attribution::Method;
use crate::host::event::What;
use crate::host::provider::namespaces::{Namespaces, named};
use crate::host::provider::proc::{Change, KernelClock};
use crate::host::provider::{EventSink, ProviderError, Stop, TIME_INTERVAL};

/// The loop turns at least this often: notices of destroyed sockets wait no
/// longer, and a stop is seen.
const TURN: Duration = Duration::from_millis(20);

/// A walk through all processes takes at most one part in so many of the time.
const WALK_SHARE: u32 = 30;

/// The same for dumps that young processes cause, of each table.
const DUMP_SHARE: u32 = 5;

/// And for full dumps.
const FULL_SHARE: u32 = 20;

/// Sockets whose new holders are told at once. Of more (a fork of a server with many,
/// which its child mostly closes) with the next full dump.
const FEW_CHANGED: usize = 64;

/// Without anything that is looked for, processes are walked this often: sockets
/// passed to others show only there.
const IDLE_WALK: Duration = Duration::from_secs(5);

pub(super) struct Engine<E> {
    method: Method,
    settings: Settings,
    processes: E,
    namespaces: Namespaces<SocketTables>,
    index: Index,
    known: Known,
    schedule: Schedule,
    unresolved: Unresolved,
    clock: KernelClock,
    /// When each table was last read wholly.
    read_at: AHashMap<(u64, Table), i64>,
    /// What young processes' sockets need, and when their tables may be read next.
    wanted: AHashMap<u64, Tables>,
    not_before: AHashMap<(u64, Table), Instant>,
    walk_not_before: Instant,
    /// Parents of those with new sockets: they may hold them too.
    parents: AHashSet<u32>,
    walked: Instant,
    /// When the last walk began, and the last one before whose finds were told.
    walking_ns: i64,
    walked_ns: i64,
    out: Vec<What>,
    lost: u64,
}

impl<E: ProcessEvents> Engine<E> {
    pub(super) fn open(
        method: Method,
        settings: Settings,
        processes: E,
    ) -> Result<Self, ProviderError> {
        let io = |what| move |source| ProviderError::Io { what, source };
        let now = Instant::now();
        let mut engine = Self {
            method,
            schedule: Schedule::new(settings.ages.clone()),
            settings,
            processes,
            namespaces: Namespaces::new().map_err(io("/proc/self/ns/net"))?,
            index: Index::default(),
            known: Known::new(method),
            unresolved: Unresolved::default(),
            clock: KernelClock::now(),
            read_at: AHashMap::new(),
            wanted: AHashMap::new(),
            not_before: AHashMap::new(),
            walk_not_before: now,
            parents: AHashSet::new(),
            walked: now,
            walking_ns: i64::MIN,
            walked_ns: i64::MIN,
            out: Vec::new(),
            lost: 0,
        };
        let own = engine.namespaces.own();
        engine.open_namespace(own, "/proc/self/ns/net".as_ref());
        if engine.namespaces.get_mut(own).is_none() {
            return Err(ProviderError::Unavailable {
                what: "the kernel's socket tables (sock_diag)",
                reason: "netlink sockets could not be opened; the log says why".into(),
            });
        }
        Ok(engine)
    }

    pub(super) fn run(mut self, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        let mut changes = Vec::new();
        let (mut next_full, mut next_time) = (Instant::now(), Instant::now());
        // What there is first, before anything waits.
        if !self.processes.next(Duration::ZERO, &mut changes, events)? {
            return Ok(());
        }
        self.walk(true);
        while !stop.is_set() {
            let now = Instant::now();
            if now >= next_full {
                self.full();
                let cost = now.elapsed();
                next_full = now + self.settings.dump_interval.max(cost * FULL_SHARE);
            }
            let began_ns = KernelClock::wall_now_ns();
            let due = self.schedule.next().unwrap_or(next_full).min(next_full).min(next_time);
            let timeout = due.saturating_duration_since(Instant::now()).min(TURN);
            changes.clear();
            if !self.processes.next(timeout, &mut changes, events)? {
                return Ok(());
            }
            self.take_changes(&changes);
            self.look();
            self.take_destroyed();
            self.read_wanted();
            if !self.hand_over(events) {
                return Ok(());
            }
            if Instant::now() >= next_time {
                next_time = Instant::now() + TIME_INTERVAL / 2;
                if !events.told_before(began_ns) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take_changes(&mut self, changes: &[Change]) {
        let now = Instant::now();
        for &change in changes {
            match change {
                Change::Appeared(id, netns) | Change::Ran(id, netns) => {
                    self.schedule.add(id.pid, netns, now);
                }
                Change::Ended(id) => {
                    let read = self.index.process(id.pid).filter(|&(read, _)| read == id);
                    let netns =
                        self.schedule.netns(id.pid).or_else(|| read.map(|(_, netns)| netns));
                    if self.schedule.is_young(id.pid, now) {
                        self.unresolved.ended(id, netns, now);
                    }
                    self.schedule.remove(id.pid);
                    self.index.remove(id.pid);
                }
            }
        }
    }

    /// Looks at the young processes that are due.
    fn look(&mut self) {
        let (mut due, mut new) = (Vec::new(), Vec::new());
        self.schedule.take_due(Instant::now(), &mut due);
        for pid in due {
            self.index.scan(pid, &mut new);
            // Its socket is not bound yet, or the table was not read meanwhile.
            for waiting in self.unresolved.of(pid) {
                self.want(waiting.netns, waiting.tables);
            }
        }
        // A socket that a young process came with is its parent's as well.
        let parents: AHashSet<u32> = new.iter().filter_map(|socket| socket.parent).collect();
        for pid in parents {
            self.index.scan_if_changed(pid, &mut new);
        }
        for socket in new {
            self.look_for(socket);
        }
        let changed = self.index.take_few_changed(FEW_CHANGED);
        self.tell_changed(&changed);
    }

    fn tell_changed(&mut self, changed: &AHashSet<u32>) {
        let (index, clock, out) = (&self.index, self.clock, &mut self.out);
        self.known.tell_changed(changed, index, clock, self.walked_ns, out);
    }

    /// A process holds a socket that it did not before.
    fn look_for(&mut self, socket: NewSocket) {
        self.parents.extend(socket.parent);
        if self.known.knows(socket.inode) {
            return;
        }
        if !self.namespaces.is_open(socket.netns) {
            let path = format!("/proc/{}/ns/net", socket.pid);
            self.open_namespace(socket.netns, path.as_ref());
        }
        if let Some((id, _)) = self.index.process(socket.pid) {
            self.unresolved.add(id, socket);
        }
        self.want(socket.netns, socket.tables);
    }

    fn want(&mut self, netns: u64, tables: Tables) {
        self.wanted.entry(netns).or_default().add(tables);
    }

    /// Reads tables that young processes' sockets should be in.
    fn read_wanted(&mut self) {
        let mut later = AHashMap::new();
        for (netns, tables) in std::mem::take(&mut self.wanted) {
            for table in tables.iter() {
                let began = Instant::now();
                if self.not_before.get(&(netns, table)).is_some_and(|&at| at > began) {
                    later.entry(netns).or_insert(Tables::NONE).add(Tables::one(table));
                    continue;
                }
                self.read(netns, Tables::one(table));
                let cost = began.elapsed();
                self.not_before.insert((netns, table), began + cost * DUMP_SHARE);
            }
        }
        self.wanted = later;
        self.known.tell(&self.index, self.clock, false, &mut self.out);
    }

    /// Tables of a namespace; which were read wholly.
    fn read(&mut self, netns: u64, tables: Tables) -> Tables {
        let Some(open) = self.namespaces.get_mut(netns) else { return Tables::NONE };
        let began_ns = KernelClock::wall_now_ns();
        let (known, unresolved, out) = (&mut self.known, &mut self.unresolved, &mut self.out);
        let read_at = &mut self.read_at;
        let whole = open.read(tables, |found| {
            let before = read_at.get(&(netns, found.table)).copied();
            unresolved.found(found.inode);
            known.see(netns, found, before, out);
        });
        for table in whole.iter() {
            read_at.insert((netns, table), began_ns);
        }
        whole
    }

    /// Everything: namespaces, all tables, and processes where need be.
    fn full(&mut self) {
        self.clock = KernelClock::now();
        self.find_namespaces();
        self.known.begin_dump();
        let mut whole = AHashMap::new();
        for netns in self.namespaces.inodes() {
            let read = self.read(netns, Tables::ALL);
            let notices = self.namespaces.get_mut(netns).is_some_and(|open| open.listens());
            whole.insert(netns, (read, notices));
        }
        self.known.end_dump(&whole, &mut self.out);
        self.known.tell(&self.index, self.clock, false, &mut self.out);
        let patience = self.find_missing();
        self.ask_threads();
        self.known.tell(&self.index, self.clock, patience, &mut self.out);
        let changed = self.index.take_changed();
        self.tell_changed(&changed);
        self.walked_ns = self.walking_ns;
        self.lost += self.known.take_over_limit();
        self.unresolved.forget(Instant::now());
        self.not_before.retain(|_, at| *at > Instant::now());
    }

    /// Looks for the holders of sockets that have none. True where every process
    /// has been read.
    fn find_missing(&mut self) -> bool {
        let (mut first, _) = self.known.missing(&self.index);
        first.extend(self.parents.drain());
        let mut new = Vec::new();
        for pid in first {
            self.index.scan(pid, &mut new);
        }
        self.known.tell(&self.index, self.clock, false, &mut self.out);
        let mut missing = self.known.missing(&self.index).1 > 0;
        let due = missing || self.walked.elapsed() >= IDLE_WALK;
        if !due || Instant::now() < self.walk_not_before {
            return false;
        }
        self.walk(false);
        if missing {
            self.known.tell(&self.index, self.clock, false, &mut self.out);
            missing = self.known.missing(&self.index).1 > 0;
        }
        if missing {
            self.walk(true);
        }
        missing
    }

    fn walk(&mut self, thorough: bool) {
        let began = Instant::now();
        let mut new = Vec::new();
        self.walking_ns = KernelClock::wall_now_ns();
        self.index.walk(thorough, &mut new);
        self.walked = began;
        let pause = self.settings.walk_interval.max(began.elapsed() * WALK_SHARE);
        self.walk_not_before = began + pause;
        if !thorough {
            self.parents.extend(new.iter().filter_map(|socket| socket.parent));
        }
        for socket in new {
            if let Some((id, _)) = self.index.process(socket.pid)
                && !self.known.knows(socket.inode)
            {
                self.unresolved.add(id, socket);
            }
        }
    }

    /// Sockets that no table shows may be in the namespace of a thread.
    fn ask_threads(&mut self) {
        for socket in self.unresolved.not_asked() {
            for (inode, path) in thread_namespaces(socket.pid) {
                if self.namespaces.is_open(inode) {
                    continue;
                }
                self.open_namespace(inode, &path);
                self.unresolved.thread_namespace(inode, path);
                self.want(inode, Tables::ALL);
            }
        }
    }

    fn find_namespaces(&mut self) {
        let mut there = self.index.namespaces();
        for (&inode, pid) in &there {
            if !self.namespaces.is_open(inode) {
                let path = format!("/proc/{pid}/ns/net");
                open_namespace(&mut self.namespaces, self.method, inode, path.as_ref());
            }
        }
        for (inode, path) in named() {
            there.insert(inode, 0);
            self.open_namespace(inode, &path);
        }
        let threads = self.unresolved.thread_namespaces();
        let closed =
            self.namespaces.retain(|inode| there.contains_key(&inode) || threads.contains(&inode));
        for netns in closed {
            self.read_at.retain(|&(of, _), _| of != netns);
        }
        self.lost += self.namespaces.take_newly_refused();
    }

    fn open_namespace(&mut self, inode: u64, path: &std::path::Path) {
        open_namespace(&mut self.namespaces, self.method, inode, path);
    }

    fn take_destroyed(&mut self) {
        let now = Instant::now();
        let (known, unresolved, out) = (&mut self.known, &mut self.unresolved, &mut self.out);
        for (netns, open) in self.namespaces.iter_mut() {
            self.lost += open.take_destroyed(|found| {
                if !known.destroyed(netns, &found, out) {
                    unresolved.destroyed(netns, found, now);
                }
            });
        }
        let clock = self.clock;
        let read_at = &self.read_at;
        unresolved.decide(now, super::index::still_holds, |netns, found, basis, holders| {
            let mut socket = super::known::socket(self.method, netns, found, holders);
            socket.basis = basis;
            let before = read_at.get(&(netns, found.table)).copied();
            socket.since_ns =
                holders.iter().map(|&id| clock.start_to_wall_ns(id.start_ticks)).min().max(before);
            out.push(What::SocketOpen(socket.clone()));
            out.push(What::SocketClose(socket));
        });
    }

    /// Tells what has gathered.
    fn hand_over(&mut self, events: &EventSink) -> bool {
        let now_ns = KernelClock::wall_now_ns();
        if self.lost > 0 && !events.lost(now_ns, std::mem::take(&mut self.lost)) {
            return false;
        }
        self.out.drain(..).all(|what| events.tell(now_ns, what))
    }
}

fn open_namespace(
    namespaces: &mut Namespaces<SocketTables>,
    method: Method,
    inode: u64,
    path: &std::path::Path,
) {
    namespaces.ensure(inode, path, |_| {
        let mut tables = SocketTables::open()?;
        if method == Method::SockDiag {
            tables.listen();
        }
        Ok(tables)
    });
}

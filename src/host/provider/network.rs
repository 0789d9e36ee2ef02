//! What surrounds sockets, beside whichever provider tells of them: addresses and
//! counters of interfaces, and translated connections, in every namespace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use rustix::fs::{AtFlags, CWD, statat};

use super::conntrack::ConnectionTable;
use super::interfaces::{InterfaceTables, Interfaces};
use super::namespaces::{Namespaces, named};
use super::proc::KernelClock;
use super::sock_diag::pids;
use super::{EventSink, Provider, ProviderError, Stop, TIME_INTERVAL};
use crate::host::attribution::Method;
use crate::host::event::What;

/// Between looks for new namespaces; longer where one takes more than a part in
/// [`FIND_SHARE`] of it.
const FIND_INTERVAL: Duration = Duration::from_secs(1);

const FIND_SHARE: u32 = 50;

/// Between looks at connections where each reads the whole table.
const SLOW_INTERVAL: Duration = Duration::from_secs(2);

/// Between looks at notices.
const TURN: Duration = Duration::from_millis(50);

/// Watches interfaces and translated connections.
#[derive(Clone, Debug)]
pub struct NetworkWatch {
    /// Between readings of every interface's counters.
    pub counter_interval: Duration,
}

impl Default for NetworkWatch {
    fn default() -> Self {
        Self { counter_interval: Duration::from_secs(10) }
    }
}

struct Opened {
    interfaces: InterfaceTables,
    /// Nothing without the right.
    connections: Option<ConnectionTable>,
}

impl Provider for NetworkWatch {
    fn method(&self) -> Method {
        Method::Network
    }

    fn run(self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        Self::run(&self, events, stop)
    }
}

impl NetworkWatch {
    /// Tells until told to stop.
    pub fn run(&self, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        let mut namespaces = Namespaces::new()
            .map_err(|source| ProviderError::Io { what: "/proc/self/ns/net", source })?;
        let mut interfaces = Interfaces::new(self.counter_interval);
        let (mut next_find, mut next_slow) = (Instant::now(), Instant::now());
        let mut next_time = Instant::now();
        let mut out = Vec::new();
        while !stop.is_set() {
            let began = Instant::now();
            let mut lost = 0;
            let mut is_new = false;
            if began >= next_find {
                is_new = find(&mut namespaces, &mut interfaces, &mut out);
                lost += namespaces.take_newly_refused();
                next_find = began + FIND_INTERVAL.max(began.elapsed() * FIND_SHARE);
            }
            let slow = began >= next_slow;
            if slow {
                next_slow = began + SLOW_INTERVAL;
            }
            for (netns, open) in namespaces.iter_mut() {
                if let Some(table) = &mut open.connections
                    && (slow || !table.is_slow())
                {
                    // Where it can't be read this once, the next look does.
                    lost += table.take(netns, |what| out.push(what)).unwrap_or(0);
                }
            }
            let tables = namespaces.iter_mut().map(|(netns, open)| (netns, &mut open.interfaces));
            interfaces.turn(tables, is_new, &mut out);
            let now_ns = KernelClock::wall_now_ns();
            if lost > 0 && !events.lost(now_ns, lost) {
                return Ok(());
            }
            if !out.drain(..).all(|what| events.tell(now_ns, what)) {
                return Ok(());
            }
            if began >= next_time {
                next_time = began + TIME_INTERVAL / 2;
                if !events.told_before(now_ns) {
                    return Ok(());
                }
            }
            stop.sleep(TURN);
        }
        Ok(())
    }
}

/// Opens namespaces that are new and lets go of those that are gone. True where
/// one is new.
fn find(
    namespaces: &mut Namespaces<Opened>,
    interfaces: &mut Interfaces,
    out: &mut Vec<What>,
) -> bool {
    let mut there: AHashMap<u64, PathBuf> = AHashMap::new();
    for path in pids().map(|pid| format!("/proc/{pid}/ns/net")) {
        if let Ok(about) = statat(CWD, &path, AtFlags::empty()) {
            there.entry(about.st_ino).or_insert_with(|| path.into());
        }
    }
    there.extend(named());
    for netns in namespaces.retain(|inode| there.contains_key(&inode)) {
        interfaces.close(netns, out);
    }
    let mut is_new = false;
    for (inode, path) in there {
        is_new |= namespaces.ensure(inode, &path, |_| {
            Ok(Opened {
                interfaces: InterfaceTables::open()?,
                connections: ConnectionTable::open().ok(),
            })
        });
    }
    is_new
}

//! Sockets of short-lived processes that no table showed in time.
//!
//! A process was seen with a descriptor of a UDP socket, say, but by the time the
//! table was read it had ended. The kernel still tells of the socket's end, with
//! its addresses but without an owner. Where the two meet within
//! [`MEETING_TIME`], the process is claimed to have had the socket. Where another
//! young process of the namespace ended in that time too, all of them are named, and
//! so they are where no look fell into the socket's life: that they ended with it is
//! then all that is known. Even one alone is a candidate and no more: whoever held the
//! socket may live on.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};

use super::found::Found;
use super::index::NewSocket;
use crate::host::attribution::Basis;
use crate::host::process::ProcessId;

/// Between the end of a socket and that of its process, as both are heard of: a
/// turn of the engine, and the kernel's grace before it frees a socket.
const MEETING_TIME: Duration = Duration::from_millis(25);

/// A socket that is waited for longer than this was never bound, or belongs to a
/// table that is not read.
const WAITING_TIME: Duration = Duration::from_secs(2);

/// Candidates beyond which a claim says nothing.
const MAX_CANDIDATES: usize = 32;

/// Of each kind kept; what is beyond is passed over.
const MAX_WAITING: usize = 1 << 14;

#[derive(Default)]
pub(super) struct Unresolved {
    /// By inode.
    waiting: AHashMap<u32, Waiting>,
    by_pid: AHashMap<u32, Vec<u32>>,
    destroyed: Vec<(Instant, u64, Found)>,
    /// Young processes that ended, with their namespace, in order.
    ended: VecDeque<(Instant, ProcessId, u64)>,
    /// Namespaces that only a thread was seen in, with a path to each.
    threads: AHashMap<u64, PathBuf>,
}

#[derive(Clone, Copy)]
struct Waiting {
    id: ProcessId,
    socket: NewSocket,
    since: Instant,
    ended: Option<Instant>,
    /// Its process's threads were asked for their namespaces.
    asked: bool,
}

impl Unresolved {
    pub(super) fn add(&mut self, id: ProcessId, socket: NewSocket) {
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        let waiting = Waiting { id, socket, since: Instant::now(), ended: None, asked: false };
        if self.waiting.insert(socket.inode, waiting).is_none() {
            self.by_pid.entry(socket.pid).or_default().push(socket.inode);
        }
    }

    /// What a process still waits for.
    pub(super) fn of(&self, pid: u32) -> Vec<NewSocket> {
        let inodes = self.by_pid.get(&pid).map(Vec::as_slice).unwrap_or_default();
        inodes.iter().filter_map(|inode| Some(self.waiting.get(inode)?.socket)).collect()
    }

    /// A table showed it.
    pub(super) fn found(&mut self, inode: u32) {
        if !self.waiting.is_empty() {
            self.remove(inode);
        }
    }

    /// A young process ended, in the namespace that it was last known to be in.
    pub(super) fn ended(&mut self, id: ProcessId, netns: Option<u64>, now: Instant) {
        for inode in self.by_pid.get(&id.pid).into_iter().flatten() {
            if let Some(waiting) = self.waiting.get_mut(inode) {
                waiting.ended.get_or_insert(now);
            }
        }
        // Of one that nobody read it is not known whether it could have had a socket there.
        if let Some(netns) = netns
            && self.ended.len() < MAX_WAITING
        {
            self.ended.push_back((now, id, netns));
        }
    }

    /// A socket that nobody knew was destroyed. One that never sent is no loss.
    pub(super) fn destroyed(&mut self, netns: u64, found: Found, now: Instant) {
        if found.local_port != 0 && self.destroyed.len() < MAX_WAITING {
            self.destroyed.push((now, netns, found));
        }
    }

    /// Calls `claim` for destroyed sockets of which by now is known what can be,
    /// with the processes that may have had them: first who ended closest to it. Nobody
    /// where none comes into question, or too many do. `holds`: whether a process that
    /// lives on has the descriptor that it was seen with, and so had another socket.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        holds: impl Fn(&NewSocket) -> bool,
        mut claim: impl FnMut(u64, &Found, Basis, &[ProcessId]),
    ) {
        let mut claimed = Vec::new();
        // Asked once for all that are decided now.
        let mut held: AHashMap<u32, bool> = AHashMap::new();
        let mut decided = 0;
        for (at, netns, found) in &self.destroyed {
            if now.duration_since(*at) < MEETING_TIME {
                break;
            }
            decided += 1;
            let distance = |ended: Instant| ended.max(*at) - ended.min(*at);
            let mut candidates: Vec<(Duration, ProcessId)> = self
                .ended
                .iter()
                .filter(|(_, _, of)| of == netns)
                .map(|&(ended, id, _)| (distance(ended), id))
                .filter(|&(distance, _)| distance <= MEETING_TIME)
                .collect();
            let seen: Vec<&Waiting> = self
                .waiting
                .values()
                .filter(|waiting| {
                    waiting.socket.netns == *netns
                        && waiting.socket.tables.has(found.table)
                        && waiting.since <= *at
                        && match waiting.ended {
                            Some(ended) => distance(ended) <= MEETING_TIME,
                            None => !*held
                                .entry(waiting.socket.inode)
                                .or_insert_with(|| holds(&waiting.socket)),
                        }
                })
                .collect();
            for waiting in &seen {
                if candidates.iter().all(|&(_, id)| id != waiting.id) {
                    candidates.push((MEETING_TIME, waiting.id));
                }
            }
            candidates.sort_unstable();
            let ids: Vec<ProcessId> = candidates.iter().map(|&(_, id)| id).collect();
            match (&ids[..], &seen[..]) {
                ([_], [only]) => {
                    claim(*netns, found, Basis::Created, &ids);
                    claimed.push(only.socket.inode);
                }
                (ids, _) if (1..=MAX_CANDIDATES).contains(&ids.len()) => {
                    claim(*netns, found, Basis::EndedWith, ids);
                }
                _ => claim(*netns, found, Basis::EndedWith, &[]),
            }
        }
        self.destroyed.drain(..decided);
        for inode in claimed {
            self.remove(inode);
        }
        // Needed for sockets destroyed up to now, which are decided later.
        while let Some((ended, ..)) = self.ended.front()
            && now.duration_since(*ended) > 3 * MEETING_TIME
        {
            self.ended.pop_front();
        }
    }

    /// Lets go of what was waited for too long.
    pub(super) fn forget(&mut self, now: Instant) {
        let old: Vec<u32> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| now - waiting.since > WAITING_TIME)
            .map(|(&inode, _)| inode)
            .collect();
        for inode in old {
            self.remove(inode);
        }
    }

    /// Sockets that are waited for since a while, each once.
    pub(super) fn not_asked(&mut self) -> Vec<NewSocket> {
        let waiting = self.waiting.values_mut().filter(|waiting| {
            !waiting.asked && waiting.ended.is_none() && waiting.since.elapsed() > MEETING_TIME
        });
        waiting
            .map(|waiting| {
                waiting.asked = true;
                waiting.socket
            })
            .collect()
    }

    pub(super) fn thread_namespace(&mut self, inode: u64, path: PathBuf) {
        self.threads.insert(inode, path);
    }

    /// Namespaces of threads that still are there.
    pub(super) fn thread_namespaces(&mut self) -> AHashSet<u64> {
        self.threads
            .retain(|&inode, path| std::fs::metadata(path).is_ok_and(|about| about.ino() == inode));
        self.threads.keys().copied().collect()
    }

    fn remove(&mut self, inode: u32) {
        let Some(waiting) = self.waiting.remove(&inode) else { return };
        if let Some(inodes) = self.by_pid.get_mut(&waiting.socket.pid) {
            inodes.retain(|&other| other != inode);
            if inodes.is_empty() {
                self.by_pid.remove(&waiting.socket.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::event::SocketKind;
    use crate::host::provider::sock_diag::found::{Table, Tables, UDP};

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid, start_ticks: 7 }
    }

    fn udp(local_port: u16) -> Found {
        Found {
            table: Table::Udp4,
            kind: SocketKind::Datagram,
            protocol: UDP,
            inode: 0,
            cookie: Some(local_port.into()),
            local: None,
            local_port,
            remote: None,
            remote_port: 0,
            dual_stack: false,
            interface_index: None,
        }
    }

    fn saw(unresolved: &mut Unresolved, pid: u32) {
        let tables = Tables::one(Table::Udp4);
        let socket = NewSocket { pid, netns: 1, inode: 100 + pid, tables, parent: None };
        unresolved.add(process(pid), socket);
    }

    fn claims(unresolved: &mut Unresolved, now: Instant) -> Vec<(u16, Basis, Vec<u32>)> {
        let mut claims = Vec::new();
        // Odd ones have theirs still.
        unresolved.decide(
            now,
            |socket| socket.pid % 2 == 1,
            |_, found, basis, ids| {
                claims.push((found.local_port, basis, ids.iter().map(|id| id.pid).collect()));
            },
        );
        claims
    }

    #[test]
    fn one_process_that_was_seen_with_such_a_socket_made_it() {
        let mut unresolved = Unresolved::default();
        saw(&mut unresolved, 5);
        let end = Instant::now();
        unresolved.destroyed(1, udp(4000), end);
        unresolved.ended(process(5), Some(1), end + MEETING_TIME / 5);
        // Others may still end with it.
        assert_eq!(claims(&mut unresolved, end + MEETING_TIME / 2), []);
        let told = claims(&mut unresolved, end + MEETING_TIME);
        assert_eq!(told, [(4000, Basis::Created, vec![5])]);
        assert_eq!(claims(&mut unresolved, end + 2 * MEETING_TIME), []);
    }

    #[test]
    fn of_several_that_ended_with_it_all_are_named_the_closest_first() {
        let mut unresolved = Unresolved::default();
        saw(&mut unresolved, 5);
        let end = Instant::now();
        unresolved.destroyed(1, udp(4000), end);
        unresolved.ended(process(6), Some(1), end + MEETING_TIME / 10);
        unresolved.ended(process(5), Some(1), end + MEETING_TIME / 5);
        // Elsewhere, and much later.
        unresolved.ended(process(8), Some(2), end);
        unresolved.ended(process(9), Some(1), end + 2 * MEETING_TIME);
        let told = claims(&mut unresolved, end + 2 * MEETING_TIME);
        assert_eq!(told, [(4000, Basis::EndedWith, vec![6, 5])]);
    }

    #[test]
    fn nobody_is_named_where_none_or_too_many_ended_with_it() {
        let mut unresolved = Unresolved::default();
        let end = Instant::now();
        unresolved.destroyed(1, udp(4000), end);
        // Who ended in another namespace, or nobody knows in which.
        unresolved.ended(process(3), Some(2), end);
        unresolved.ended(process(4), None, end);
        // Never bound: no packet came from it.
        unresolved.destroyed(1, udp(0), end);
        let nobodys = |port| (port, Basis::EndedWith, vec![]);
        assert_eq!(claims(&mut unresolved, end + MEETING_TIME), [nobodys(4000)]);
        unresolved.destroyed(1, udp(4001), end);
        for pid in 0..=u32::try_from(MAX_CANDIDATES).unwrap() {
            unresolved.ended(process(pid), Some(1), end);
        }
        assert_eq!(claims(&mut unresolved, end + MEETING_TIME), [nobodys(4001)]);
    }

    /// Regression: a program that had a socket ready was named for those of others.
    #[test]
    fn who_has_its_socket_still_had_no_part_in_another_ones_end() {
        let mut unresolved = Unresolved::default();
        saw(&mut unresolved, 5);
        let end = Instant::now();
        unresolved.destroyed(1, udp(4000), end);
        let told = claims(&mut unresolved, end + MEETING_TIME);
        assert_eq!(told, [(4000, Basis::EndedWith, vec![])]);
        // Who closed it and lives on.
        saw(&mut unresolved, 6);
        let end = Instant::now();
        unresolved.destroyed(1, udp(4001), end);
        let told = claims(&mut unresolved, end + MEETING_TIME);
        assert_eq!(told, [(4001, Basis::Created, vec![6])]);
    }
}

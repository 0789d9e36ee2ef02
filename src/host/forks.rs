//! Children that got their parent's sockets with them and were gone before anybody could
//! look: who holds a socket alone, when it is looked at, need not have been alone.
//!
//! Only watchers that see sockets by the descriptors of processes (`sock_diag`) leave this
//! open. A child that ran another program had its sockets closed, as a rule: nearly all are
//! opened to be closed there. One that lives on is looked at, and told as a holder itself.

use ahash::RandomState;
use dashmap::DashMap;

use super::claim::ProcessKey;
use super::map::HostMap;
use super::process::{Process, ProcessId};
use super::resolve::Question;

/// Who lives longer was looked at: of a new process the descriptors are ten times within its
/// first 0.1 s, and later where the host is busy.
const LOOKED_AT_NS: i64 = 300_000_000;

/// Children that are named; further ones change little.
const MAX_HEIRS: usize = 8;

/// Children that are asked about: a server that forks for each request has as many in a flow
/// that lasts.
const MAX_BORN: usize = 256;

/// By parent, when each child began. As many as the map has processes.
#[derive(Debug, Default)]
pub(super) struct Forks(DashMap<ProcessKey, Vec<(i64, ProcessId)>, RandomState>);

impl Forks {
    pub(super) fn note(&self, parent: ProcessKey, began_ns: i64, child: ProcessId) {
        let mut children = self.0.entry(parent).or_default();
        let place = children.partition_point(|&(other_ns, _)| other_ns <= began_ns);
        children.insert(place, (began_ns, child));
    }

    /// Children that began from then to then, the newest first. A copy: whoever notes one holds
    /// its process, which is asked for next.
    fn born(&self, parent: ProcessKey, from_ns: i64, to_ns: i64) -> Vec<(i64, ProcessId)> {
        let Some(children) = self.0.get(&parent) else { return Vec::new() };
        let first = children.partition_point(|&(began_ns, _)| began_ns < from_ns);
        let after = children.partition_point(|&(began_ns, _)| began_ns <= to_ns);
        let born = children.get(first..after).unwrap_or_default();
        born.iter().rev().take(MAX_BORN).copied().collect()
    }

    pub(super) fn forget_before(&self, ns: i64) {
        let since_ns = ns.saturating_sub(LOOKED_AT_NS);
        self.0.retain(|_, children| {
            children.retain(|&(began_ns, _)| began_ns >= since_ns);
            !children.is_empty()
        });
    }
}

impl HostMap {
    /// Children of a process that had its socket as well in the time of a question, and of
    /// which nobody could have told; the socket was there since then. Newest first.
    pub(super) fn heirs(
        &self,
        parent: ProcessKey,
        socket_since_ns: i64,
        question: &Question,
    ) -> Vec<ProcessKey> {
        let from_ns = socket_since_ns.max(question.start_ns.saturating_sub(LOOKED_AT_NS));
        let born = self.forks.born(parent, from_ns, question.end_ns);
        born.into_iter()
            .map(|(began_ns, id)| (began_ns, ProcessKey { source: parent.source, id }))
            .filter(|&(began_ns, child)| self.is_heir(parent, child, began_ns, question))
            .map(|(_, child)| child)
            .take(MAX_HEIRS)
            .collect()
    }

    /// Whether it was there in the question's time, too short to be looked at, and ran what
    /// its parent did.
    fn is_heir(
        &self,
        parent: ProcessKey,
        child: ProcessKey,
        began_ns: i64,
        question: &Question,
    ) -> bool {
        let known_ns = question.known_ns;
        let ran = |key, at_ns| self.process_at(key, at_ns, known_ns).map(|ran| ran.process);
        let exited_ns = self.processes.get(&child).and_then(|history| history.exited_ns);
        let until_ns = exited_ns.map_or(known_ns, |exited_ns| exited_ns.min(known_ns));
        let is_same =
            |one: &Process, other: &Process| (&one.exe, &one.args) == (&other.exe, &other.args);
        until_ns >= question.start_ns
            && until_ns.saturating_sub(began_ns) < LOOKED_AT_NS
            && ran(child, question.end_ns).is_some_and(|child| {
                ran(parent, began_ns).is_some_and(|parent| is_same(&child, &parent))
            })
    }
}

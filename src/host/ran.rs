//! What a process ran: one number may have run several programs one after the other.

use std::sync::Arc;

use super::attribution::Basis;
use super::claim::ProcessKey;
use super::map::HostMap;
use super::process::Process;
use super::resolve::{Answer, Question};
use super::side::Ancestor;
use super::versions::Version;

/// Parents that are followed: more than any real chain has.
const MAX_ANCESTORS: usize = 32;

/// Who started it, who started that, and so on to the top.
pub(super) fn ancestors(
    map: &HostMap,
    source: u16,
    process: &Process,
    at_ns: i64,
    known_ns: i64,
) -> Vec<Ancestor> {
    let mut chain: Vec<Ancestor> = Vec::new();
    let mut next = process.parent;
    while let Some(id) = next
        && chain.len() < MAX_ANCESTORS
        && let id = map.meant(source, id, at_ns)
        && id != process.id
        && chain.iter().all(|known| known.id != id)
    {
        let Some(ran) = map.process_at(ProcessKey { source, id }, at_ns, known_ns) else {
            chain.push(Ancestor { id, ..Ancestor::default() });
            break;
        };
        let parent = ran.process;
        chain.push(Ancestor { id, name: parent.name.clone(), exe: parent.exe.clone() });
        next = parent.parent;
    }
    chain
}

/// A program that a process ran.
#[derive(Clone, Debug)]
pub struct Ran {
    pub from_ns: i64,
    pub learned_ns: i64,
    pub process: Arc<Process>,
}

impl Ran {
    fn of(version: &Version<Arc<Process>>) -> Self {
        Self {
            from_ns: version.from_ns,
            learned_ns: version.learned_ns,
            process: Arc::clone(&version.value),
        }
    }
}

impl HostMap {
    /// What the process ran at a time, by what had been told at another.
    pub fn process_at(&self, key: ProcessKey, at_ns: i64, known_ns: i64) -> Option<Ran> {
        let history = self.processes.get(&key)?;
        history.versions.at_or_first(at_ns, known_ns).map(Ran::of)
    }

    /// What the process ran that answers a question. Of one that holds the socket nobody
    /// saw when it used it: what it ran longest in the flow's time. Else what it ran when
    /// it was first known to have the socket.
    pub fn program_of(&self, answer: &Answer, question: &Question) -> Option<Ran> {
        let history = self.processes.get(&answer.process)?;
        let (versions, known_ns) = (&history.versions, question.known_ns);
        let from_ns = question.start_ns.max(answer.since_ns);
        let version = match answer.basis {
            Basis::Holds | Basis::SharesIt | Basis::EndedWith => {
                versions.longest(from_ns, question.end_ns, known_ns)
            }
            _ => versions.at_or_first(from_ns, known_ns),
        };
        version.map(Ran::of)
    }
}

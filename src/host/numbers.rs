//! Which process a number alone stood for.
//!
//! What names a process by its number may be told before what knows its start: sources
//! of a host look at it in turn. Whoever began before that and has not ended was meant,
//! whenever it was told. So an answer does not hang on which of them looked first. In a
//! map that grows the same question can so get a better name later; watchers of their own
//! host always have the start.

use ahash::RandomState;
use dashmap::DashMap;

use super::claim::ProcessKey;
use super::map::HostMap;
use super::process::ProcessId;

/// A snapshot is of the time at which it was begun, and shows what began while it was
/// made: `lsof` takes seconds on a busy host.
const MADE_NS: i64 = 2_000_000_000;

/// Processes that had one number: systems give all others out before it comes again.
const MAX_AT_NUMBER: usize = 64;

/// Processes by source and number, in the order of their starts.
#[derive(Debug, Default)]
pub(super) struct Numbers(DashMap<(u16, u32), Vec<Began>, RandomState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Began {
    started_ns: i64,
    id: ProcessId,
}

impl Numbers {
    /// Of processes that the map holds alone: there are no more numbers than those.
    pub(super) fn note(&self, source: u16, id: ProcessId, started_ns: i64) {
        if id.start_ticks == 0 {
            return;
        }
        let began = Began { started_ns, id };
        let mut known = self.0.entry((source, id.pid)).or_default();
        if known.iter().any(|known| known.id == id) {
            return;
        }
        if known.len() >= MAX_AT_NUMBER {
            known.remove(0);
        }
        let place = known.partition_point(|known| *known < began);
        known.insert(place, began);
    }

    pub(super) fn forget(&self, key: &ProcessKey) {
        if let Some(mut known) = self.0.get_mut(&(key.source, key.id.pid)) {
            known.retain(|began| began.id != key.id);
        }
        self.0.remove_if(&(key.source, key.id.pid), |_, known| known.is_empty());
    }

    /// Who had begun last by then, and who began first after it, while it was looked.
    fn around(&self, source: u16, pid: u32, ns: i64) -> [Option<ProcessId>; 2] {
        let Some(known) = self.0.get(&(source, pid)) else { return [None; 2] };
        let count = known.partition_point(|began| began.started_ns <= ns);
        let after = known.get(count).filter(|next| next.started_ns <= ns.saturating_add(MADE_NS));
        [known[..count].last(), after].map(|began| began.map(|began| began.id))
    }
}

impl HostMap {
    /// The process that a source meant at a time; as it was named, where its start was
    /// told or nobody knows it.
    pub(super) fn meant(&self, source: u16, id: ProcessId, ns: i64) -> ProcessId {
        if id.start_ticks != 0 {
            return id;
        }
        let lived = |known: &ProcessId, ns: i64| {
            let history = self.processes.get(&ProcessKey { source, id: *known });
            history.is_some_and(|history| history.lives_since(ns))
        };
        let [before, after] = self.numbers.around(source, id.pid, ns);
        // What a process did can be told a little after its end.
        let ended = || before.filter(|id| lived(id, ns.saturating_sub(MADE_NS)));
        before.filter(|id| lived(id, ns)).or(after).or_else(ended).unwrap_or(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{HostEvent, MapStart, What};
    use super::*;
    use std::sync::Arc;

    use crate::host::attribution::Method;
    use crate::host::map::MapLimits;
    use crate::host::process::Process;

    const S: i64 = 1_000_000_000;
    const PID: u32 = 7;

    fn id(started_s: i64) -> ProcessId {
        ProcessId { pid: PID, start_ticks: started_s.unsigned_abs() * 100 }
    }

    /// A map of processes with one number: when each began, and when that was told, and
    /// when its end was.
    fn map(processes: &[(i64, i64, Option<i64>)], limits: MapLimits) -> Arc<HostMap> {
        let map = Arc::new(HostMap::new(limits));
        let mut events = vec![(
            0,
            What::Start(MapStart { providers: vec![Method::Imported], ..MapStart::default() }),
        )];
        for &(started_s, told_s, ended_s) in processes {
            let process = Process {
                id: id(started_s),
                started_ns: Some(started_s * S),
                exe: "/bin/x".to_owned(),
                ..Process::default()
            };
            events.push((told_s, What::ProcessStart(Box::new(process))));
            events.extend(ended_s.map(|at| (at, What::ProcessExit(id(started_s)))));
        }
        let mut writer = map.writer();
        for (at_s, what) in events {
            writer.apply(&HostEvent { time_ns: at_s * S, what });
        }
        map
    }

    fn meant(map: &HostMap, at_s: i64) -> u64 {
        map.meant(0, ProcessId { pid: PID, start_ticks: 0 }, at_s * S).start_ticks / 100
    }

    #[test]
    fn a_number_is_whoever_had_it_then_whenever_that_was_told() {
        let map = map(&[(100, 200, Some(205)), (300, 330, None)], MapLimits::default());
        assert_eq!(meant(&map, 97), 0, "before any began");
        // A snapshot that took two seconds to make.
        assert_eq!(meant(&map, 98), 100);
        assert_eq!([110, 199, 205, 207].map(|at| meant(&map, at)), [100; 4]);
        assert_eq!([208, 297].map(|at| meant(&map, at)), [0; 2], "it had ended");
        assert_eq!([298, 305, 900].map(|at| meant(&map, at)), [300; 3]);
        // What has its start keeps it, and numbers of others are none of it.
        assert_eq!(map.meant(0, id(50), 110 * S), id(50));
        let other = ProcessId { pid: PID + 1, start_ticks: 0 };
        assert_eq!(map.meant(0, other, 110 * S), other);
        assert_eq!(map.meant(1, ProcessId { pid: PID, start_ticks: 0 }, 110 * S).start_ticks, 0);
    }

    #[test]
    fn numbers_are_bounded_and_forgotten_with_their_processes() {
        let many: Vec<_> = (1..200).map(|at| (at * 100, at * 100, Some(at * 100 + 50))).collect();
        let map_of_many = map(&many, MapLimits::default());
        assert_eq!(map_of_many.numbers.0.get(&(0, PID)).map(|known| known.len()), Some(64));
        assert_eq!(meant(&map_of_many, 19_910), 19_900);
        map_of_many.forget_before(i64::MAX);
        assert!(map_of_many.numbers.0.is_empty());
        let full = map(&many, MapLimits { processes: 3, ..MapLimits::default() });
        assert_eq!(full.numbers.0.get(&(0, PID)).map(|known| known.len()), Some(3));
    }
}

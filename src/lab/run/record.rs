//! The truth of a run: who really ran, from when to when, and by which ids alerts may
//! speak of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::plan::{Action, Plan};
use super::program::Ran;
use crate::alert::time_text;
use crate::host::event::{HostEvent, What};
use crate::host::process::ProcessId;
use crate::lab::scenario::truth::{Attack, Expected, Quieted, SCHEMA, Truth};

/// What happened, by the places of the plan.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Of each action; none, where it was left out.
    pub(super) runs: Vec<Vec<Ran>>,
    /// Of each server; none, where it was left out.
    pub(super) servers: Vec<Option<ProcessId>>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) boot: String,
    pub(super) family: Family,
}

/// Who was started by whom.
#[derive(Debug, Default)]
pub(super) struct Family {
    children: BTreeMap<ProcessId, BTreeSet<ProcessId>>,
}

impl Family {
    /// From a recorded host map. Without one only those are known whom the lab started.
    pub(super) fn read(map: &Path) -> Result<Self> {
        let mut family = Self::default();
        if !map.exists() {
            return Ok(family);
        }
        let file = File::open(map).with_context(|| format!("can't read {}", map.display()))?;
        for line in BufReader::new(file).split(b'\n') {
            let event = serde_json::from_slice::<HostEvent>(&line?);
            // A last line may be cut.
            let Ok(HostEvent { what: What::ProcessStart(it) | What::ProcessExec(it), .. }) = event
            else {
                continue;
            };
            if let Some(parent) = it.parent {
                family.children.entry(parent).or_default().insert(it.id);
            }
        }
        Ok(family)
    }

    /// A process and all that it started.
    fn of(&self, id: ProcessId, known: &mut BTreeSet<ProcessId>) {
        let mut next = vec![id];
        while let Some(id) = next.pop() {
            if known.insert(id) {
                next.extend(self.children.get(&id).into_iter().flatten());
            }
        }
    }
}

impl Record {
    pub(super) fn truth(&self, plan: &Plan, packets: u64, wire_bytes: u64) -> Truth {
        let attacks = plan.actions.iter().enumerate().filter(|(_, action)| action.behaviour.attack);
        let attacks = attacks.filter_map(|(at, action)| self.attack(plan, at, action)).collect();
        let expects = plan.expects.iter().filter_map(|expect| {
            let labels = expect.attack.as_slice();
            let actions: Vec<usize> = labels.iter().filter_map(|it| action_of(plan, it)).collect();
            let spans: Vec<_> = actions.iter().filter_map(|&at| self.span(at)).collect();
            // What was left out raises nothing.
            let start_ns = spans.iter().map(|span| span.0).min()?;
            let end_ns = spans.iter().map(|span| span.1).max()?;
            let mut entities = BTreeSet::new();
            match &expect.entity {
                Some(names) => names
                    .as_slice()
                    .iter()
                    .for_each(|name| entities.extend(self.ids_of(plan, name))),
                None => actions.iter().for_each(|&at| {
                    entities.extend(self.senders(plan, at));
                }),
            }
            let detectors = expect.detector.as_slice().to_vec();
            let about = expect.analytic.clone().unwrap_or_else(|| detectors.join(" or "));
            Some(Expected {
                name: format!("{} by {about}", labels.join(", ")),
                detectors,
                entities: entities.into_iter().collect(),
                analytic: expect.analytic.clone(),
                severity: expect.severity,
                start: time_text(start_ns),
                until: time_text(end_ns.saturating_add((expect.late_s * 1e9) as i64)),
            })
        });
        let quiets = plan.quiets.iter().map(|quiet| {
            let names = quiet.entity.as_slice();
            let mut name = names.join(", ");
            if !quiet.because.is_empty() {
                name.push_str(&format!(": {}", quiet.because));
            }
            let entities: BTreeSet<String> =
                names.iter().flat_map(|name| self.ids_of(plan, name)).collect();
            Quieted { name, entities: entities.into_iter().collect(), below: quiet.below }
        });
        Truth {
            schema: SCHEMA.to_owned(),
            scenario: plan.name.clone(),
            seed: 0,
            start: time_text(self.start_ns),
            end: time_text(self.end_ns),
            home_hosts: plan.hosts.iter().filter(|host| !host.outside).count() as u64,
            log_host: None,
            packets,
            wire_bytes,
            attacks,
            expects: expects.collect(),
            quiets: quiets.collect(),
        }
    }

    fn attack(&self, plan: &Plan, at: usize, action: &Action) -> Option<Attack> {
        let (start_ns, end_ns) = self.span(at)?;
        let mut entities: BTreeSet<String> = self.senders(plan, at).into_iter().collect();
        for host in [action.from, action.to] {
            entities.extend(host_ids(plan, host));
        }
        let server = action.server.and_then(|at| self.servers.get(at).copied().flatten());
        entities.extend(server.into_iter().flat_map(|id| self.family_ids(id)));
        Some(Attack {
            label: action.behaviour.label.clone(),
            start: time_text(start_ns),
            end: time_text(end_ns),
            entities: entities.into_iter().collect(),
        })
    }

    /// First start and last end of an action.
    pub(super) fn span(&self, action: usize) -> Option<(i64, i64)> {
        let runs = self.runs.get(action)?;
        let start_ns = runs.iter().map(|ran| ran.start_ns).min()?;
        let end_ns = runs.iter().map(|ran| ran.end_ns).max()?;
        Some((start_ns, end_ns))
    }

    /// Processes of an action, and the host that they send from.
    fn senders(&self, plan: &Plan, at: usize) -> Vec<String> {
        let mut ids = self.processes(at);
        if let Some(action) = plan.actions.get(at) {
            ids.extend(host_ids(plan, action.from));
        }
        ids
    }

    fn processes(&self, at: usize) -> Vec<String> {
        let runs = self.runs.get(at).into_iter().flatten();
        runs.flat_map(|ran| self.family_ids(ran.id)).collect()
    }

    fn family_ids(&self, id: ProcessId) -> Vec<String> {
        let mut known = BTreeSet::new();
        self.family.of(id, &mut known);
        let boot = &self.boot;
        known.iter().map(|id| format!("{boot}:{}:{}", id.pid, id.start_ticks)).collect()
    }

    /// Of an action its processes alone; of a host all that goes by its name.
    fn ids_of(&self, plan: &Plan, name: &str) -> Vec<String> {
        match (action_of(plan, name), plan.host(name)) {
            (Some(at), _) => self.processes(at),
            (None, Some(host)) => host_ids(plan, host).into(),
            (None, None) => Vec::new(),
        }
    }
}

fn action_of(plan: &Plan, label: &str) -> Option<usize> {
    plan.actions.iter().position(|action| action.behaviour.label == label)
}

fn host_ids(plan: &Plan, host: usize) -> [String; 2] {
    let host = &plan.hosts[host];
    [host.address.to_string(), host.name.clone()]
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_family_has_all_that_one_started() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (pid, parent) in [(2, 1), (3, 2), (4, 3), (9, 1)] {
            writeln!(
                file,
                r#"{{"time":"2026-01-01T00:00:00Z","event":"process.start","pid":{pid},"start_ticks":5,"parent":{{"pid":{parent},"start_ticks":5}}}}"#
            )
            .unwrap();
        }
        write!(file, r#"{{"time":"2026-01-0"#).unwrap();
        let family = Family::read(file.path()).unwrap();
        let mut known = BTreeSet::new();
        family.of(ProcessId { pid: 2, start_ticks: 5 }, &mut known);
        assert_eq!(known.iter().map(|id| id.pid).collect::<Vec<_>>(), [2, 3, 4]);
        let mut other = BTreeSet::new();
        family.of(ProcessId { pid: 2, start_ticks: 6 }, &mut other);
        assert_eq!(other.len(), 1, "the number alone is somebody else's");
    }
}

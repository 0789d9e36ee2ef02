//! Processes behind ended flows: a flow names its process, and its entity is that of the
//! seconds in which the process sent.
//!
//! Bounded: [`PROCESSES`]; past it those that were seen last in the earlier half go.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entity::{SecondOf, Who};
use crate::host::process::ProcessId;
use crate::host::side::{FlowHosts, HostSide};

const PROCESSES: usize = 8_192;
/// A process that is less sure to be the one is not named: what the flow shows would be
/// another's.
const LEAST_CERTAINTY: f64 = 0.5;

/// Processes that sent lately, and when last.
#[derive(Debug, Default)]
pub(super) struct Callers {
    processes: BTreeMap<ProcessId, (i64, Arc<Who>)>,
}

impl Callers {
    pub(super) fn remember(&mut self, second: i64, entities: &[&SecondOf]) {
        for one in entities {
            if let Some(view) = &one.who.process {
                self.processes.insert(view.process.id, (second, Arc::clone(&one.who)));
            }
        }
        if self.processes.len() > PROCESSES {
            // Flows end a few minutes after the last of their packets at most.
            let mut seen: Vec<i64> = self.processes.values().map(|(at, _)| *at).collect();
            seen.sort_unstable();
            let middle = seen.get(seen.len() / 2).copied().unwrap_or(second);
            self.processes.retain(|_, (at, _)| *at > middle);
        }
    }

    /// The process that began a flow, or its workload.
    pub(super) fn of(&self, hosts: Option<&FlowHosts>) -> Option<Arc<Who>> {
        let side = hosts.and_then(|hosts| hosts.src.as_ref());
        let sure = |side: &&HostSide| {
            side.attribution.as_ref().is_none_or(|how| how.certainty >= LEAST_CERTAINTY)
        };
        let process = side.filter(sure).and_then(|side| side.process.as_ref());
        let known = process.and_then(|view| {
            let (_, who) = self.processes.get(&view.process.id)?;
            // Before an exec it was another program.
            let same = who.process.as_ref().is_some_and(|of| of.process.exe == view.process.exe);
            same.then(|| Arc::clone(who))
        });
        let workload = || side.and_then(|side| side.workload.as_ref()).map(Who::workload);
        known.or_else(|| workload().map(Arc::new))
    }
}

//! Which container each process of a watched host is in, added to what providers
//! tell. In the watcher's process, which may read the runtimes' state.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ahash::HashMap;

use super::event::{HostEvent, What};
use super::process::{Process, ProcessId};
use super::watch::Enrich;
use super::workload::{Workload, Workloads};

/// Processes whose container is remembered for their children; more than a host
/// runs. When full all are forgotten: live ones are found again by their path.
const MAX_REMEMBERED: usize = 1 << 17;

/// Adds containers, and tells each before the first process in it.
#[derive(Debug)]
pub struct Containers {
    workloads: Workloads,
    /// Of processes in containers.
    of: HashMap<ProcessId, Arc<Workload>>,
    told: BTreeSet<String>,
}

impl Containers {
    pub fn new(workloads: Workloads) -> Self {
        Self { workloads, of: HashMap::default(), told: BTreeSet::new() }
    }

    /// Of the host that this process runs on.
    pub fn of_this_host(pods: Option<super::workload::PodList>) -> std::io::Result<Self> {
        Ok(Self::new(Workloads::new(Path::new("/"), pods)?))
    }

    fn container_of(&mut self, process: &Process) -> Option<Arc<Workload>> {
        let of_path = self.workloads.of(&process.cgroup);
        // A child is born into its parent's group, and of one that ended at once the
        // path may say nothing: hosts that mix both versions of control groups show
        // the one that has the container in `/proc` alone.
        of_path.or_else(|| self.of.get(&process.parent?).cloned())
    }
}

impl Enrich for Containers {
    fn enrich(&mut self, event: &mut HostEvent, before: &mut Vec<HostEvent>) {
        let time_ns = event.time_ns;
        match &mut event.what {
            What::ProcessStart(process) | What::ProcessExec(process) => {
                let Some(workload) = self.container_of(process) else { return };
                process.container.clone_from(&workload.container);
                if self.of.len() >= MAX_REMEMBERED {
                    self.of.clear();
                    self.told.clear();
                }
                let known = self.of.insert(process.id, Arc::clone(&workload));
                // Told again when more of it is known.
                let news = known.is_some_and(|known| known != workload);
                if self.told.insert(workload.container.clone()) || news {
                    let workload = Workload::clone(&workload);
                    before.push(HostEvent { time_ns, what: What::Workload(Box::new(workload)) });
                }
            }
            What::ProcessExit(id) => {
                self.of.remove(id);
            }
            _ => {}
        }
    }
}

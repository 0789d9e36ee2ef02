//! Which container each process of a watched host is in, added to what providers
//! tell. In the watcher's process, which may read the runtimes' state.

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
    /// How many of those each container has, while it has any: who reads this gives up
    /// containers without, and is told again of one that starts once more.
    told: HashMap<String, usize>,
}

impl Containers {
    pub fn new(workloads: Workloads) -> Self {
        Self { workloads, of: HashMap::default(), told: HashMap::default() }
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

    /// One process less is in it.
    fn leave(&mut self, container: &str) {
        let Some(processes) = self.told.get_mut(container) else { return };
        *processes = processes.saturating_sub(1);
        if *processes == 0 {
            self.told.remove(container);
        }
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
                // Before the one that it was in is left: it may be the same.
                let processes = self.told.entry(workload.container.clone()).or_default();
                let is_first = *processes == 0;
                *processes += 1;
                let known = self.of.insert(process.id, Arc::clone(&workload));
                // Told again when more of it is known.
                let news = known.as_ref().is_some_and(|known| *known != workload);
                known.iter().for_each(|known| self.leave(&known.container));
                if is_first || news {
                    let workload = Workload::clone(&workload);
                    before.push(HostEvent { time_ns, what: What::Workload(Box::new(workload)) });
                }
            }
            What::ProcessExit(id) => {
                if let Some(known) = self.of.remove(id) {
                    self.leave(&known.container);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn in_container(pid: u32) -> Process {
        let uid = "11111111-2222-3333-4444-555555555555";
        let cgroup = format!("/kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{A}.scope");
        Process { id: ProcessId { pid, start_ticks: 1 }, cgroup, ..Process::default() }
    }

    /// How much is told before an event.
    fn told(containers: &mut Containers, what: What) -> usize {
        let mut before = Vec::new();
        containers.enrich(&mut HostEvent { time_ns: 1, what }, &mut before);
        before.len()
    }

    #[test]
    fn a_container_is_told_once_while_it_has_processes_and_again_when_it_starts_again() {
        let host = tempfile::tempdir().expect("a folder");
        let mut containers = Containers::new(Workloads::new(host.path(), None).expect("a host"));
        let mut told = |what: What| told(&mut containers, what);
        let start = |pid| What::ProcessStart(Box::new(in_container(pid)));
        let exit = |pid| What::ProcessExit(in_container(pid).id);
        assert_eq!([told(start(1)), told(start(2))], [1, 0]);
        assert_eq!([told(What::ProcessExec(Box::new(in_container(1)))), told(exit(1))], [0, 0]);
        assert_eq!([told(start(3)), told(exit(2)), told(exit(3))], [0; 3]);
        assert_eq!([told(start(4)), told(start(5))], [1, 0]);
        // One that nobody knew is no loss.
        assert_eq!([told(exit(9)), told(start(6))], [0, 0]);
        assert_eq!([told(exit(4)), told(exit(5)), told(exit(6))], [0; 3]);
        assert!(containers.told.is_empty() && containers.of.is_empty(), "nothing is left of them");
    }
}

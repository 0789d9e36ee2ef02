//! Everything that is known of the container of a process.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Workload;
use super::cgroup::{ContainerRef, candidates};
use super::pods::{PodIndex, PodList};
use super::recent::Recent;
use super::runtimes::Runtimes;

/// Answers remembered; see the runtimes' own bound.
const MAX_REMEMBERED: usize = 4_096;

/// Joins paths of control groups, runtimes' states and the pod list.
///
/// For one watcher: it asks once a process start or exec. Never waits for a
/// server; reads files of at most a few MiB the first time that a container is
/// met.
#[derive(Debug)]
pub struct Workloads {
    runtimes: Runtimes,
    pods: Option<PodList>,
    remembered: Recent<Joined>,
    counters: WorkloadCounters,
}

/// An answer, and what it was made of.
#[derive(Debug)]
struct Joined {
    state: Option<Arc<Workload>>,
    index: Option<Arc<PodIndex>>,
    workload: Arc<Workload>,
}

/// What was asked, and what was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkloadCounters {
    /// Questions.
    pub asked: u64,
    /// Answered with a container.
    pub in_container: u64,
    /// Of those: no runtime's state was found, the path alone says so.
    pub without_state: u64,
    /// Of those: in a pod that the pod list does not have (with a list alone).
    pub without_pod: u64,
    /// Files of runtimes that could not be read.
    pub unreadable: u64,
    /// Attempts to read the pod list that failed.
    pub pod_list_failures: u64,
}

impl Workloads {
    /// `root` is `/`, or where the host's file system is mounted.
    pub fn new(root: &Path, pods: Option<PodList>) -> io::Result<Self> {
        Ok(Self {
            runtimes: Runtimes::new(root)?,
            pods,
            remembered: Recent::new(MAX_REMEMBERED),
            counters: WorkloadCounters::default(),
        })
    }

    /// The container of a process by its control group's path; nothing for one
    /// that is in none. The same `Arc` comes back while nothing new is known.
    pub fn of(&mut self, cgroup: &str) -> Option<Arc<Workload>> {
        self.counters.asked += 1;
        let found = candidates(cgroup).find_map(|container| {
            let state = self.runtimes.look_up(&container);
            (container.sure || state.is_some()).then(|| self.join(&container, state))
        })?;
        self.counters.in_container += 1;
        Some(found)
    }

    pub fn counters(&self) -> WorkloadCounters {
        WorkloadCounters {
            unreadable: self.runtimes.unreadable(),
            pod_list_failures: self.pods.as_ref().map_or(0, |pods| pods.counts().1),
            ..self.counters
        }
    }

    /// What last went wrong with a file or the pod list, for people.
    pub fn problem(&self) -> Option<String> {
        let of_pods = self.pods.as_ref().and_then(PodList::problem);
        of_pods.or_else(|| self.runtimes.problem().map(str::to_owned))
    }

    fn join(
        &mut self,
        container: &ContainerRef<'_>,
        state: Option<Arc<Workload>>,
    ) -> Arc<Workload> {
        self.counters.without_state += u64::from(state.is_none());
        let index = self.pods.as_ref().map(PodList::index);
        if let (Some(index), Some(pods)) = (&index, &self.pods)
            && let Some(uid) = container.pod_uid.as_deref()
            && index.container(&container.id).is_none()
        {
            pods.want();
            self.counters.without_pod += u64::from(!index.has_pod(uid));
        }
        if let Some(known) = self.remembered.get(container.cgroup)
            && same(known.state.as_ref(), state.as_ref())
            && same(known.index.as_ref(), index.as_ref())
        {
            return Arc::clone(&known.workload);
        }
        let workload = joined(container, state.as_ref(), index.as_deref());
        let joined = Joined { state, index, workload: Arc::clone(&workload) };
        self.remembered.insert(container.cgroup.to_owned(), joined);
        workload
    }
}

fn joined(
    container: &ContainerRef<'_>,
    state: Option<&Arc<Workload>>,
    index: Option<&PodIndex>,
) -> Arc<Workload> {
    let mut workload = state.map_or_else(|| bare(container), |state| Workload::clone(state));
    // Ids that people choose are not Kubernetes'; a user's own runtime has no pods.
    if let Some(index) = index.filter(|_| container.has_full_id() && container.user.is_none()) {
        index.complete(&mut workload);
    }
    match state {
        Some(state) if **state == workload => Arc::clone(state),
        _ => Arc::new(workload),
    }
}

/// What the path alone says.
fn bare(container: &ContainerRef<'_>) -> Workload {
    let id = container.id.to_string();
    Workload {
        runtime: container.runtime.name().to_owned(),
        name: if container.has_full_id() { String::new() } else { id.clone() },
        container: id,
        pod_uid: container.pod_uid.as_deref().unwrap_or_default().to_owned(),
        ..Workload::default()
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

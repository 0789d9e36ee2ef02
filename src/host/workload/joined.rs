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
    /// Of those: in a pod that the pod list does not have (yet).
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::host::workload::Role;
    use crate::host::workload::pods::PodSource;

    const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
    const UID: &str = "3c9e1f52-8a40-4d7b-b6f1-0e2d4c6a8b90";

    fn write(root: &Path, path: &str, content: &serde_json::Value) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }

    #[test]
    fn state_and_pod_list_complete_each_other() {
        let host = tempfile::tempdir().unwrap();
        let spec = json!({"annotations": {
            "io.kubernetes.cri.container-name": "shop",
            "io.kubernetes.cri.sandbox-name": "shop-5d8f7c9b6d-x2x9z",
            "io.kubernetes.cri.sandbox-namespace": "store",
        }});
        let task = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{A}/config.json");
        write(host.path(), &task, &spec);
        let list = |containers: &str| {
            json!({"items": [{
                "metadata": {
                    "name": "shop-5d8f7c9b6d-x2x9z", "namespace": "store", "uid": UID,
                    "labels": {"app": "shop"},
                    "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-5d8f7c9b6d"}],
                },
                "spec": {"containers": [{"name": "shop"}]},
                "status": {"containerStatuses": [{"name": "shop", "image": "shop:1",
                    "containerID": format!("containerd://{containers}")}]},
            }]})
        };
        // The list is of before the container began.
        write(host.path(), "pods.json", &list(""));
        let path = host.path().join("pods.json");
        let source = PodSource::new(path.to_str().unwrap()).unwrap();
        let pods = PodList::start(source, Duration::from_secs(3_600)).unwrap();
        let start = Instant::now();
        while pods.counts().0 == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for the list");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut workloads = Workloads::new(host.path(), Some(pods)).unwrap();
        let group = format!("/kubepods/burstable/pod{UID}/{A}");
        let mut wait_for = |what: &str, there: &dyn Fn(&Workload) -> bool| {
            let start = Instant::now();
            loop {
                let found = workloads.of(&group).unwrap();
                if there(&found) {
                    return found;
                }
                assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let found = wait_for("the pod", &|found| !found.owner.is_empty());
        assert_eq!(found.stable_name(), "store/Deployment/shop/shop");
        assert_eq!((found.runtime.as_str(), found.image.as_str()), ("containerd", ""));
        assert_eq!(found.role, Some(Role::Main));

        write(host.path(), "pods.json", &list(A));
        let found = wait_for("the container", &|found| !found.image.is_empty());
        assert_eq!((found.image.as_str(), found.labels["app"].as_str()), ("shop:1", "shop"));
        let again = workloads.of(&group).unwrap();
        assert!(Arc::ptr_eq(&found, &again), "nothing new, nothing made");
        assert_eq!(workloads.counters().without_pod, 0);
    }

    #[test]
    fn a_container_without_any_state_is_still_one() {
        let host = tempfile::tempdir().unwrap();
        let mut workloads = Workloads::new(host.path(), None).unwrap();
        let found = workloads
            .of(&format!("/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{A}.scope"));
        let expected = Workload {
            runtime: "containerd".into(),
            container: A.into(),
            pod_uid: UID.into(),
            ..Workload::default()
        };
        assert_eq!(found.as_deref(), Some(&expected));
        assert_eq!(expected.stable_name(), A);
        // A name that no runtime confirms is none.
        for plain in ["/", "/system.slice/nginx.service", "/jobs/17", ""] {
            assert_eq!(workloads.of(plain), None, "{plain}");
        }
        let expected =
            WorkloadCounters { asked: 5, in_container: 1, without_state: 1, ..Default::default() };
        assert_eq!(workloads.counters(), expected);
    }
}

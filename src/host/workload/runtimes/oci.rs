//! OCI specifications (`config.json`) as containerd keeps them for what runs.

use serde::Deserialize;

use crate::host::workload::Workload;
use crate::host::workload::cgroup::{ContainerRef, Runtime};
use crate::host::workload::files::{Owner, Root};
use crate::host::workload::labels;
use crate::host::workload::text::{Texts, kept, or_default};

/// containerd's run folder: its own, that of k3s and RKE2, that of MicroK8s.
const FOLDERS: &[&str] =
    &["run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd"];

/// containerd's namespaces looked through: `k8s.io`, `moby`, `default` and few more.
const MAX_NAMESPACES: usize = 16;

#[derive(Deserialize)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) annotations: Texts,
    #[serde(default, deserialize_with = "or_default")]
    linux: Linux,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath", default)]
    cgroups_path: String,
}

pub(super) fn containerd(root: &mut Root, container: &ContainerRef<'_>) -> Option<Workload> {
    let id = &container.id;
    for folder in FOLDERS {
        let tasks = format!("{folder}/io.containerd.runtime.v2.task");
        for namespace in root.names(&tasks).into_iter().take(MAX_NAMESPACES) {
            let path = format!("{tasks}/{namespace}/{id}/config.json");
            let Some(spec) = root.json::<Spec>(&path, Owner::System) else { continue };
            if needs_proof(container) && !spec.linux.is_of(container) {
                continue;
            }
            // Docker's own names are in Docker's own state.
            let runtime = if namespace == "moby" { Runtime::Docker } else { Runtime::Containerd };
            let mut workload = labels::workload(runtime, id, &spec.annotations);
            if workload.pod.is_empty() && namespace != "moby" {
                let key = "containerd.namespace".to_owned();
                workload.labels.entry(key).or_insert_with(|| kept(&namespace));
            }
            return Some(workload);
        }
    }
    None
}

/// True where anybody could have made a group of this name.
pub(super) fn needs_proof(container: &ContainerRef<'_>) -> bool {
    !container.sure || container.user.is_some()
}

impl Linux {
    /// `/default/web`, or of systemd `system.slice:prefix:web`.
    fn is_of(&self, container: &ContainerRef<'_>) -> bool {
        let group = own_view(container.cgroup);
        match self.cgroups_path.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, id] => {
                group.contains(slice) && group.ends_with(&format!("/{prefix}-{id}.scope"))
            }
            _ => !self.cgroups_path.is_empty() && self.cgroups_path == group,
        }
    }
}

/// A path as the host has it, where it was seen from a group beside it.
pub(super) fn own_view(mut cgroup: &str) -> &str {
    while let Some(rest) = cgroup.strip_prefix("/..").filter(|rest| rest.starts_with('/')) {
        cgroup = rest;
    }
    cgroup
}

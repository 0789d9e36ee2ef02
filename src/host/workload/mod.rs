//! Which container, pod and image a process belongs to.
//!
//! ```text
//! /proc/PID/cgroup ──▶ cgroup ──▶ runtimes (their state on disk) ──▶ joined
//!                                 pods (kubelet or API, a list)  ──▶
//! ```
//!
//! No runtime is asked over its socket, and nothing is ever written. Start at
//! [`Workloads::of`]; [`cgroup::cgroup_path`] makes its argument.

pub mod cgroup;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod joined;
mod labels;
mod names;
pub mod pods;
mod recent;
#[cfg(target_os = "linux")]
pub mod runtimes;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::process::is_false;

#[cfg(target_os = "linux")]
pub use joined::{WorkloadCounters, Workloads};
pub(crate) use names::without_generated_end;
pub use pods::{PodList, PodSource};

/// A container as its runtime and orchestrator know it. What is not known is
/// empty. CONTRACT: an entity of kind `workload` is `runtime:container id`; its
/// baseline belongs to the stable namespace, owner and container name, or to the
/// image's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `docker`, `containerd`, `crio`, `podman`, `runc`, ...
    pub runtime: String,
    /// Full id of the container.
    pub container: String,
    /// Name of the container (of Kubernetes: within its pod).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod_uid: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What keeps the pod running, without the parts that change with each
    /// roll-out: `Deployment/shop`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// It uses the host's own network: its addresses are not its alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_network: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Workload {
    /// What stays the same over restarts and roll-outs, so that a baseline can
    /// belong to it: `namespace/owner/container`, of Compose `project/service`,
    /// else the image's name without its tag, else the container's name or id.
    pub fn stable_name(&self) -> String {
        let name = if self.name.is_empty() { &self.container } else { &self.name };
        if !self.pod.is_empty() {
            let owner = match self.owner.as_str() {
                "" => without_generated_end(&self.pod),
                owner => owner,
            };
            // A sandbox has no name of its own.
            let name = match self.role {
                Some(Role::Sandbox) => "",
                _ if self.name.is_empty() => names::image_name(&self.image),
                _ => &self.name,
            };
            return [self.namespace.as_str(), owner, name].join("/").trim_matches('/').to_owned();
        }
        let label = |key| self.labels.get(key).filter(|value: &&String| !value.is_empty());
        let compose = (label("com.docker.compose.project"), label("com.docker.compose.service"));
        if let (Some(project), Some(service)) = compose {
            return format!("{project}/{service}");
        }
        match names::image_name(&self.image) {
            "" => name.clone(),
            image => image.to_owned(),
        }
    }
}

/// Part that a container plays in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Main,
    Sidecar,
    Init,
    Ephemeral,
    /// Holds the pod's namespaces (`pause`).
    Sandbox,
}

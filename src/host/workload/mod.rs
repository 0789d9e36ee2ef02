//! Which container, pod and image a process belongs to.

pub mod cgroup;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
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

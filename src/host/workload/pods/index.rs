//! Pods by container and by uid, out of a list read as a stream.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{BufReader, Read};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::host::workload::names::{cron_job_of, deployment_of, is_known_sidecar};
use crate::host::workload::text::{Texts, kept, kept_labels, or_default};
use crate::host::workload::{Role, Workload};

/// Containers and pods kept: forty times the largest recommended node, or a
/// cluster of 5,000 nodes with 30 each.
const MAX_CONTAINERS: usize = 200_000;
const MAX_PODS: usize = 150_000;

/// What a pod list says.
#[derive(Debug, Default)]
pub struct PodIndex {
    by_container: HashMap<String, Arc<Workload>>,
    by_pod: HashMap<String, Arc<KnownPod>>,
    /// Pods and containers beyond what is kept.
    pub left_out: u64,
}

#[derive(Debug)]
struct KnownPod {
    /// Everything but the container.
    pod: Workload,
    roles: BTreeMap<String, Role>,
}

impl PodIndex {
    /// Reads a `PodList`, pod by pod.
    pub fn read(list: impl Read) -> Result<Self, serde_json::Error> {
        let mut index = Self::default();
        let mut reader = serde_json::Deserializer::from_reader(BufReader::new(list));
        List(&mut index).deserialize(&mut reader)?;
        reader.end()?;
        Ok(index)
    }

    pub fn pods(&self) -> usize {
        self.by_pod.len()
    }

    pub fn containers(&self) -> usize {
        self.by_container.len()
    }

    /// By the full id, without the runtime.
    pub fn container(&self, id: &str) -> Option<&Arc<Workload>> {
        self.by_container.get(id)
    }

    pub(in crate::host::workload) fn has_pod(&self, uid: &str) -> bool {
        self.by_pod.contains_key(uid)
    }

    /// Fills in what the list knows. A container that the list does not have yet
    /// gets its pod's part.
    pub(in crate::host::workload) fn complete(&self, workload: &mut Workload) {
        if let Some(listed) = self.by_container.get(&workload.container) {
            // Of who runs it the state on disk knows more.
            let runtime = match workload.runtime.as_str() {
                "" | "unknown" => listed.runtime.clone(),
                known => known.to_owned(),
            };
            let mut listed = Workload::clone(listed);
            if listed.image_id.is_empty() {
                listed.image_id.clone_from(&workload.image_id);
            }
            *workload = Workload { runtime, ..listed };
        } else if let Some(known) = self.by_pod.get(&workload.pod_uid) {
            let role = workload.role.or_else(|| known.roles.get(&workload.name).copied());
            *workload = Workload {
                runtime: workload.runtime.clone(),
                container: workload.container.clone(),
                name: workload.name.clone(),
                image: workload.image.clone(),
                image_id: workload.image_id.clone(),
                role,
                ..known.pod.clone()
            };
        }
    }

    fn add(&mut self, pod: Pod) {
        if self.by_pod.len() >= MAX_PODS {
            self.left_out += 1;
            return;
        }
        let roles = pod.spec.roles();
        let mut images = BTreeMap::new();
        for container in pod.spec.all() {
            images.insert(container.name.as_str(), container.image.as_str());
        }
        let known = pod.as_workload();
        for status in pod.status.all() {
            let role = roles.get(&status.name).copied();
            // The status has what runs, at times only its digest.
            let image = match status.image.as_str() {
                image if image.is_empty() || image.starts_with("sha256:") => {
                    images.get(status.name.as_str()).copied().unwrap_or(image)
                }
                image => image,
            };
            for full in status.ids() {
                let Some((runtime, id)) = full.split_once("://") else { continue };
                if self.by_container.len() >= MAX_CONTAINERS {
                    self.left_out += 1;
                    continue;
                }
                let runtime = if runtime == "cri-o" { "crio" } else { runtime };
                let workload = Workload {
                    runtime: kept(runtime),
                    container: kept(id),
                    name: kept(&status.name),
                    image: kept(image),
                    image_id: kept(&status.image_id),
                    role,
                    ..known.clone()
                };
                self.by_container.insert(workload.container.clone(), Arc::new(workload));
            }
        }
        let config_hash = kept(&pod.metadata.annotations.config_hash);
        let known = Arc::new(KnownPod { pod: known, roles });
        // Cgroups of a pod that the kubelet starts from a file have the file's
        // digest, not the uid that the API gives to its mirror.
        if !config_hash.is_empty() {
            self.by_pod.insert(config_hash, Arc::clone(&known));
        }
        if !known.pod.pod_uid.is_empty() {
            self.by_pod.insert(known.pod.pod_uid.clone(), known);
        }
    }
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    labels: Texts,
    #[serde(default, deserialize_with = "or_default")]
    annotations: Annotations,
    #[serde(default, deserialize_with = "or_default")]
    owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.hash", default)]
    config_hash: String,
}

#[derive(Deserialize)]
struct OwnerReference {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    host_network: bool,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    ephemeral_containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    restart_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "or_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    name: String,
    /// Before it starts empty; of one that restarts the last one's.
    #[serde(rename = "containerID", default)]
    container_id: String,
    #[serde(default)]
    image: String,
    #[serde(rename = "imageID", default)]
    image_id: String,
    #[serde(default, deserialize_with = "or_default")]
    last_state: LastState,
}

#[derive(Default, Deserialize)]
struct LastState {
    #[serde(default, deserialize_with = "or_default")]
    terminated: Terminated,
}

#[derive(Default, Deserialize)]
struct Terminated {
    #[serde(rename = "containerID", default, deserialize_with = "or_default")]
    container_id: String,
}

impl Pod {
    fn as_workload(&self) -> Workload {
        let metadata = &self.metadata;
        Workload {
            pod: kept(&metadata.name),
            pod_uid: kept(&metadata.uid),
            namespace: kept(&metadata.namespace),
            owner: kept(&metadata.owner()),
            host_network: self.spec.host_network,
            labels: kept_labels(metadata.labels.iter()),
            ..Workload::default()
        }
    }
}

impl Metadata {
    /// What is the same after the next roll-out.
    fn owner(&self) -> String {
        let owners = &self.owner_references;
        let Some(owner) = owners.iter().find(|owner| owner.controller).or_else(|| owners.first())
        else {
            return String::new();
        };
        let (kind, name) = (owner.kind.as_str(), owner.name.as_str());
        match kind {
            "ReplicaSet" => match self.labels.get("pod-template-hash") {
                "" => deployment_of(name),
                hash => name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')),
            }
            .map(|name| format!("Deployment/{name}")),
            "Job" => cron_job_of(name).map(|name| format!("CronJob/{name}")),
            // The kubelet adds the node's name to that of the file's pod.
            "Node" => {
                let pod = self.name.strip_suffix(name).and_then(|pod| pod.strip_suffix('-'));
                Some(format!("StaticPod/{}", pod.unwrap_or(&self.name)))
            }
            _ => None,
        }
        .unwrap_or_else(|| format!("{kind}/{name}"))
    }
}

impl Spec {
    fn all(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().chain(&self.init_containers).chain(&self.ephemeral_containers)
    }

    fn roles(&self) -> BTreeMap<String, Role> {
        let mut roles = BTreeMap::new();
        // One that is alone in its pod serves nobody else in it.
        let has_main = self.containers.iter().any(|container| !is_known_sidecar(&container.name));
        for container in &self.containers {
            let is_sidecar = has_main && is_known_sidecar(&container.name);
            let role = if is_sidecar { Role::Sidecar } else { Role::Main };
            roles.insert(kept(&container.name), role);
        }
        for container in &self.init_containers {
            let stays = container.restart_policy == "Always";
            let role = if stays { Role::Sidecar } else { Role::Init };
            roles.insert(kept(&container.name), role);
        }
        for container in &self.ephemeral_containers {
            roles.insert(kept(&container.name), Role::Ephemeral);
        }
        roles
    }
}

impl Status {
    fn all(&self) -> impl Iterator<Item = &ContainerStatus> {
        let others = self.init_container_statuses.iter().chain(&self.ephemeral_container_statuses);
        self.container_statuses.iter().chain(others)
    }
}

impl ContainerStatus {
    fn ids(&self) -> impl Iterator<Item = &str> {
        [self.container_id.as_str(), self.last_state.terminated.container_id.as_str()].into_iter()
    }
}

/// The list itself: of its fields `items` alone.
struct List<'a>(&'a mut PodIndex);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list with `items`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_items = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                has_items = true;
                map.next_value_seed(Items(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_items { Ok(()) } else { Err(serde::de::Error::missing_field("items")) }
    }
}

struct Items<'a>(&'a mut PodIndex);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of pods")
    }

    /// A node without pods says `null`.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pods: A) -> Result<(), A::Error> {
        while let Some(pod) = pods.next_element::<Pod>()? {
            self.0.add(pod);
        }
        Ok(())
    }
}

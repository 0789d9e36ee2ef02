//! Labels and annotations that runtimes put on containers, made a workload of.

use super::cgroup::Runtime;
use super::names::is_known_sidecar;
use super::text::{Texts, cut, kept, kept_labels};
use super::{Role, Workload};

/// Bounds what is looked for in a label that is JSON itself.
const MAX_JSON_BYTES: usize = 8 << 10;

/// For each field the keys that have it, the first with a text wins: the CRI of
/// containerd, CRI-O, the kubelet's labels on containers of Docker, nerdctl.
const NAME: &[&str] =
    &["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"];
const POD: &[&str] =
    &["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"];
const POD_UID: &[&str] = &["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];
const NAMESPACE: &[&str] = &[
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.cri-o.Namespace",
];
const IMAGE: &[&str] = &[
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
    "nerdctl/image",
    "org.opencontainers.image.ref.name",
];
const IMAGE_ID: &[&str] = &["io.kubernetes.cri-o.ImageRef"];
/// `container` and `sandbox`; of Docker `container` and `podsandbox`.
const TYPE: &[&str] = &[
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.docker.type",
];

/// What runtimes note for themselves. Values are whole documents at times.
const INTERNAL: &[&str] =
    &["io.kubernetes.", "io.container.", "io.podman.", "kubectl.kubernetes.io/", "nerdctl/"];

pub(super) fn workload(runtime: Runtime, container: &str, labels: &Texts) -> Workload {
    let first = |keys: &[&str]| {
        kept(keys.iter().map(|key| labels.get(key)).find(|value| !value.is_empty()).unwrap_or(""))
    };
    let (name, pod) = (first(NAME), first(POD));
    let role = match first(TYPE).as_str() {
        "sandbox" | "podsandbox" => Some(Role::Sandbox),
        // Which of the others is an init container the runtime does not know.
        _ => (!pod.is_empty() && is_known_sidecar(&name)).then_some(Role::Sidecar),
    };
    let own = |key: &str| !INTERNAL.iter().any(|prefix| key.starts_with(prefix));
    let given = match labels.get("io.kubernetes.cri-o.Labels") {
        "" => kept_labels(labels.iter().filter(|(key, _)| own(key))),
        json => {
            let given: Texts = serde_json::from_str(cut(json, MAX_JSON_BYTES)).unwrap_or_default();
            kept_labels(given.iter().filter(|(key, _)| own(key)))
        }
    };
    Workload {
        runtime: runtime.name().to_owned(),
        container: container.to_owned(),
        name,
        image: first(IMAGE),
        image_id: first(IMAGE_ID),
        pod,
        pod_uid: first(POD_UID),
        namespace: first(NAMESPACE),
        role,
        host_network: labels.get("io.kubernetes.cri-o.HostNetwork") == "true",
        labels: given,
        ..Workload::default()
    }
}

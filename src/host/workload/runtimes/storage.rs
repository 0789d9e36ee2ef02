//! CRI-O and Podman: both keep containers in containers/storage.

use serde::Deserialize;

use super::oci::Spec;
use crate::host::workload::Workload;
use crate::host::workload::cgroup::{ContainerRef, Runtime};
use crate::host::workload::files::{Owner, Root};
use crate::host::workload::labels;
use crate::host::workload::text::{kept, or_default};

/// Storage drivers give their folders their own names.
const DRIVERS: &[&str] = &["overlay", "vfs", "btrfs"];

/// Lists of containers; the second is of those that do not outlive a boot.
const LISTS: &[&str] = &["containers.json", "volatile-containers.json"];

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    /// Id of the image.
    #[serde(default)]
    image: String,
    /// JSON in a text.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "image-name", default)]
    image_name: String,
    #[serde(default)]
    name: String,
}

pub(super) fn read(
    root: &mut Root,
    folders: &[&str],
    container: &ContainerRef<'_>,
    owner: Owner,
) -> Option<Workload> {
    let id = container.id.as_ref();
    let entry = folders.iter().find_map(|folder| listed(root, folder, id, owner));
    let spec = folders.iter().find_map(|folder| {
        DRIVERS.iter().find_map(|driver| {
            let path = format!("{folder}/{driver}-containers/{id}/userdata/config.json");
            root.json::<Spec>(&path, owner)
        })
    });
    if entry.is_none() && spec.is_none() {
        return None;
    }
    let annotations = spec.map(|spec| spec.annotations).unwrap_or_default();
    let runtime = match annotations.get("io.container.manager") {
        "cri-o" => Runtime::Crio,
        "libpod" => Runtime::Podman,
        _ if !annotations.get("io.kubernetes.cri-o.ContainerType").is_empty() => Runtime::Crio,
        _ if container.runtime == Runtime::Crio => Runtime::Crio,
        _ => Runtime::Podman,
    };
    let mut workload = labels::workload(runtime, id, &annotations);
    if let Some(entry) = entry {
        let metadata: Metadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
        // CRI-O's names in storage are made of the pod's name and more.
        if workload.name.is_empty() && runtime == Runtime::Podman {
            let name = entry.names.first().unwrap_or(&metadata.name);
            workload.name = kept(name);
        }
        if workload.image.is_empty() {
            workload.image = kept(&metadata.image_name);
        }
        if workload.image_id.is_empty() {
            workload.image_id = kept(&entry.image);
        }
    }
    Some(workload)
}

fn listed(root: &mut Root, folder: &str, id: &str, owner: Owner) -> Option<Entry> {
    DRIVERS.iter().flat_map(|driver| LISTS.iter().map(move |list| (driver, list))).find_map(
        |(driver, list)| {
            let path = format!("{folder}/{driver}-containers/{list}");
            let entries: Vec<Entry> = root.json(&path, owner)?;
            entries.into_iter().find(|entry| entry.id == id)
        },
    )
}

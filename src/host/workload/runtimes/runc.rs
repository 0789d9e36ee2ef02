//! Runtimes without a daemon: runc and crun keep a folder a container, machines
//! of systemd a file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::oci::{Spec, needs_proof, own_view};
use crate::host::workload::Workload;
use crate::host::workload::cgroup::{ContainerRef, Runtime};
use crate::host::workload::files::{Owner, Root};
use crate::host::workload::labels;
use crate::host::workload::text::{Texts, kept, or_default};

const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

#[derive(Deserialize)]
struct RuncState {
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    config: RuncConfig,
    /// By controller; the unified hierarchy's has an empty name.
    #[serde(default, deserialize_with = "or_default")]
    cgroup_paths: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct RuncConfig {
    /// `key=value`: annotations, and the bundle's path.
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct CrunStatus {
    #[serde(default)]
    bundle: String,
    #[serde(rename = "cgroup-path", default)]
    cgroup_path: String,
}

pub(super) fn read(root: &mut Root, container: &ContainerRef<'_>) -> Option<Workload> {
    let of_user = container.user.map(|user| (format!("run/user/{user}"), Owner::User(user)));
    let folders = [Some(("run".to_owned(), Owner::System)), of_user];
    folders.into_iter().flatten().find_map(|(folder, owner)| {
        runc(root, &folder, container, owner).or_else(|| crun(root, &folder, container, owner))
    })
}

fn runc(
    root: &mut Root,
    folder: &str,
    container: &ContainerRef<'_>,
    owner: Owner,
) -> Option<Workload> {
    let id = &container.id;
    let state: RuncState = root.json(&format!("{folder}/runc/{id}/state.json"), owner)?;
    let of_group = state.cgroup_paths.values().any(|path| is_of(path, container));
    if state.id != *id || (needs_proof(container) && !of_group) {
        return None;
    }
    let labels = Texts::from_pairs(state.config.labels.iter().map(String::as_str));
    Some(labels::workload(Runtime::Runc, id, &labels))
}

fn crun(
    root: &mut Root,
    folder: &str,
    container: &ContainerRef<'_>,
    owner: Owner,
) -> Option<Workload> {
    let id = &container.id;
    let status: CrunStatus = root.json(&format!("{folder}/crun/{id}/status"), owner)?;
    if needs_proof(container) && status.cgroup_path != own_view(container.cgroup) {
        return None;
    }
    // crun keeps a copy of the specification beside its status.
    let spec: Option<Spec> = root.json(&format!("{folder}/crun/{id}/config.json"), owner);
    let labels = spec.map(|spec| spec.annotations).unwrap_or_default();
    let mut workload = labels::workload(Runtime::Crun, id, &labels);
    if !status.bundle.is_empty() {
        workload.labels.entry("bundle".to_owned()).or_insert_with(|| kept(&status.bundle));
    }
    Some(workload)
}

/// systemd-machined's notes on a container; of virtual machines there are some too.
pub(super) fn machine(root: &mut Root, container: &ContainerRef<'_>) -> Option<Workload> {
    let id = &container.id;
    let notes = root.read(&format!("run/systemd/machines/{id}"), Owner::System)?;
    let notes = String::from_utf8_lossy(&notes);
    let notes = Texts::from_pairs(notes.lines());
    (notes.get("CLASS") != "vm").then(|| Workload {
        runtime: Runtime::Nspawn.name().to_owned(),
        container: id.to_string(),
        name: id.to_string(),
        image: kept(notes.get("ROOT")),
        ..Workload::default()
    })
}

/// A path of the file system that is the container's group, in one of the
/// hierarchies of version 1 or in the unified one.
fn is_of(path: &str, container: &ContainerRef<'_>) -> bool {
    let group = own_view(container.cgroup);
    path.strip_prefix(CGROUP_MOUNT).is_some_and(|below| {
        let in_hierarchy =
            || below.get(1..).and_then(|rest| rest.find('/')).map(|at| &below[at + 1..]);
        below == group || in_hierarchy() == Some(group)
    })
}

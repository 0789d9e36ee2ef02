//! Docker: `containers/<id>/config.v2.json` below its data folder.

use serde::Deserialize;

use crate::host::workload::Workload;
use crate::host::workload::cgroup::{ContainerRef, Runtime};
use crate::host::workload::files::{Owner, Root};
use crate::host::workload::labels;
use crate::host::workload::text::{Texts, kept, or_default};

/// Of packages, and of the snap.
const FOLDERS: &[&str] = &["var/lib/docker", "var/snap/docker/common/var-lib-docker"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(rename = "ID", default)]
    id: String,
    /// With a slash before it.
    #[serde(default)]
    name: String,
    /// Of the image, a digest.
    #[serde(default)]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: Texts,
}

/// Data folders, the one that the daemon's configuration names first.
pub(super) fn folders(root: &mut Root) -> Vec<String> {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root", default)]
        data_root: String,
    }
    let daemon: Option<Daemon> = root.json("etc/docker/daemon.json", Owner::System);
    let configured = daemon.map(|daemon| daemon.data_root.trim_matches('/').to_owned());
    let configured = configured.filter(|folder| !folder.is_empty());
    configured.into_iter().chain(FOLDERS.iter().map(ToString::to_string)).collect()
}

pub(super) fn read(
    root: &mut Root,
    folders: &[String],
    container: &ContainerRef<'_>,
    owner: Owner,
) -> Option<Workload> {
    let id = &container.id;
    let state: State = folders
        .iter()
        .find_map(|folder| root.json(&format!("{folder}/containers/{id}/config.v2.json"), owner))?;
    if state.id != *id {
        return None;
    }
    let mut workload = labels::workload(Runtime::Docker, id, &state.config.labels);
    if workload.name.is_empty() {
        workload.name = kept(state.name.trim_start_matches('/'));
    }
    // The label is of the image's own build at best.
    workload.image = kept(&state.config.image);
    workload.image_id = kept(&state.image);
    Some(workload)
}

//! What runtimes know of their containers, from the state they keep on disk.
//!
//! [`Runtimes::look_up`] remembers what it found. When it looks again:
//! - A container with a full id is looked at again after five minutes (names can
//!   be changed), and what was known stays when its state has gone: such an id
//!   is never used again.
//! - A container with a name is looked at again after a second, since another one
//!   may have the name by now, and forgotten with its state.
//! - What is not found is looked for again after a tenth of a second, then each
//!   time twice as late up to a minute: a process can be faster than the file.
//!
//! Who belongs to no container costs one look at its path.

mod docker;
mod oci;
mod pod_logs;
mod runc;
mod storage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Workload;
use super::cgroup::{ContainerRef, Runtime};
use super::files::{Owner, Root};
use super::recent::Recent;

const FOUND_FOR: Duration = Duration::from_secs(300);
const NAMED_FOR: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// Containers remembered: a large node has a thousand. Users can make groups
/// with names like containers' at will.
const MAX_REMEMBERED: usize = 4_096;

/// The states of every runtime on this host, or below another root.
#[derive(Debug)]
pub struct Runtimes {
    root: Root,
    docker_folders: Vec<String>,
    remembered: Recent<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    workload: Option<Arc<Workload>>,
    again_at: Instant,
    retry: Duration,
}

impl Runtimes {
    /// `root` is `/`, or where the host's file system is mounted.
    pub fn new(root: &Path) -> io::Result<Self> {
        let mut root = Root::open(root)?;
        let docker_folders = docker::folders(&mut root);
        Ok(Self { root, docker_folders, remembered: Recent::new(MAX_REMEMBERED) })
    }

    /// What its runtime says of a container. Nothing where none has a state for
    /// it: of one that is not [`ContainerRef::sure`] that means that it is none.
    pub fn look_up(&mut self, container: &ContainerRef<'_>) -> Option<Arc<Workload>> {
        self.look_up_at(container, Instant::now())
    }

    /// Files of runtimes that are there and could not be read.
    pub fn unreadable(&self) -> u64 {
        self.root.unreadable
    }

    /// The last such file, and why.
    pub fn problem(&self) -> Option<&str> {
        self.root.problem.as_deref()
    }

    fn look_up_at(&mut self, container: &ContainerRef<'_>, now: Instant) -> Option<Arc<Workload>> {
        let (mut before, mut retry) = (None, RETRY_FIRST);
        if let Some(known) = self.remembered.get(container.cgroup) {
            if now < known.again_at {
                return known.workload.clone();
            }
            retry = (known.retry * 2).min(RETRY_LAST);
            before = known.workload.take().filter(|_| container.has_full_id());
        }
        let found = self.read(container).map(Arc::new);
        let wait = match &found {
            Some(_) if container.has_full_id() => FOUND_FOR,
            Some(_) => NAMED_FOR,
            None => retry,
        };
        if found.is_some() {
            retry = RETRY_FIRST / 2;
        }
        let workload = match (found, before) {
            // The same Arc while nothing changed: others compare by it.
            (Some(found), Some(before)) if found == before => Some(before),
            (found, before) => found.or(before),
        };
        let remembered = Remembered { workload: workload.clone(), again_at: now + wait, retry };
        self.remembered.insert(container.cgroup.to_owned(), remembered);
        workload
    }

    fn read(&mut self, container: &ContainerRef<'_>) -> Option<Workload> {
        let found = match container.user {
            Some(user) => self.read_of_user(container, user),
            None => self.read_of_system(container),
        };
        let mut workload = found.or_else(|| pod_logs::read(&mut self.root, container))?;
        if workload.pod_uid.is_empty() {
            workload.pod_uid = container.pod_uid.as_deref().unwrap_or_default().to_owned();
        }
        Some(workload)
    }

    fn read_of_system(&mut self, container: &ContainerRef<'_>) -> Option<Workload> {
        let (root, folders) = (&mut self.root, &self.docker_folders);
        let system = Owner::System;
        match container.runtime {
            Runtime::Docker => docker::read(root, folders, container, system)
                .or_else(|| oci::containerd(root, container)),
            Runtime::Containerd => oci::containerd(root, container),
            Runtime::Crio | Runtime::Podman => storage::read(root, STORAGE, container, system),
            Runtime::Runc | Runtime::Crun => {
                runc::read(root, container).or_else(|| oci::containerd(root, container))
            }
            Runtime::Nspawn => runc::machine(root, container),
            // Nothing on disk that would add to the name.
            Runtime::Lxc | Runtime::Buildkit | Runtime::Ecs => None,
            Runtime::Unknown => docker::read(root, folders, container, system)
                .or_else(|| oci::containerd(root, container))
                .or_else(|| storage::read(root, STORAGE, container, system))
                .or_else(|| runc::read(root, container)),
        }
    }

    /// Below a user's slice groups can have any name: what the user's own runtimes
    /// say is the user's to say. Of the system's only states that name the very
    /// group are believed, so that nobody passes for a container of the system.
    fn read_of_user(&mut self, container: &ContainerRef<'_>, user: u32) -> Option<Workload> {
        let root = &mut self.root;
        let owner = Owner::User(user);
        let found = runc::read(root, container).or_else(|| oci::containerd(root, container));
        if found.is_some() || !container.sure {
            return found;
        }
        let home = home(root, user)?;
        let folders = [format!("{home}/.local/share/docker")];
        let storage = format!("{home}/.local/share/containers/storage");
        let run_storage = format!("run/user/{user}/containers");
        docker::read(root, &folders, container, owner)
            .or_else(|| storage::read(root, &[&storage, &run_storage], container, owner))
    }
}

/// Where CRI-O and Podman of root keep containers, and what runs.
const STORAGE: &[&str] = &["var/lib/containers/storage", "run/containers/storage"];

/// A user's folder, from `passwd`, below the root.
fn home(root: &mut Root, user: u32) -> Option<String> {
    let passwd = root.read("etc/passwd", Owner::System)?;
    let text = String::from_utf8_lossy(&passwd);
    text.lines().find_map(|line| {
        // name:password:uid:gid:comment:home:shell
        let mut fields = line.split(':').skip(2);
        let is_user = fields.next()?.parse() == Ok(user);
        let home = fields.nth(2)?.trim_matches('/');
        (is_user && !home.is_empty()).then(|| home.to_owned())
    })
}

//! The container that a control group belongs to, from its path alone.
//!
//! Runtimes write ids and names into the paths of control groups. Nothing is
//! opened here: where a path alone does not say whether it is a container's,
//! the answer is not [`ContainerRef::sure`] and the runtime's state has to
//! confirm it. Start at [`container_of`]; [`cgroup_path`] picks the path out of
//! `/proc/PID/cgroup`.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Longer paths name no container: the kernel's own limit (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4_096;

/// Guesses from one path: each costs the reader of runtimes' state some looks at
/// the file system, and who is in a container may nest groups at will.
const MAX_GUESSES: usize = 8;

/// Ids and names are file names to runtimes.
const MAX_ID_BYTES: usize = 255;

/// Docker, containerd, CRI-O and Podman all make ids of 32 random bytes.
const FULL_ID_BYTES: usize = 64;

/// Who made a container, as far as a path or a state tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    Docker,
    Containerd,
    Crio,
    Podman,
    Runc,
    Crun,
    Lxc,
    Nspawn,
    Buildkit,
    /// Amazon ECS without Docker (Fargate).
    Ecs,
    /// A full id in a place that several runtimes use.
    Unknown,
}

impl Runtime {
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Podman => "podman",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Buildkit => "buildkit",
            Self::Ecs => "ecs",
            Self::Unknown => "unknown",
        }
    }
}

/// What a path says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef<'a> {
    /// A guess: of Kubernetes' older paths and of names it is open.
    pub runtime: Runtime,
    /// Id, or name where the runtime uses names. Safe as a file name: letters,
    /// digits and `_.-+:@` only, and never begins with a dot.
    pub id: Cow<'a, str>,
    /// Of a Kubernetes pod, with dashes.
    pub pod_uid: Option<Cow<'a, str>>,
    /// The container's own group: the path up to the part with the id.
    pub cgroup: &'a str,
    /// Who runs it where it runs below a user's slice (rootless).
    pub user: Option<u32>,
    /// False where a plain control group could have this name too: it is a
    /// container only if its runtime says so.
    pub sure: bool,
}

impl ContainerRef<'_> {
    /// True for ids that no two containers ever share.
    pub fn has_full_id(&self) -> bool {
        is_full_id(&self.id)
    }
}

/// The innermost container that a path names; else the innermost group that
/// could be one.
pub fn container_of(cgroup: &str) -> Option<ContainerRef<'_>> {
    candidates(cgroup).next()
}

/// The container that a path names for sure; where there is none, each group
/// that could be one, from the innermost outwards (a container may make groups
/// of its own).
pub fn candidates(cgroup: &str) -> impl Iterator<Item = ContainerRef<'_>> {
    let path = without_deleted(cgroup);
    let path = if path.len() <= MAX_PATH_BYTES { path } else { "" };
    let named = groups(path).find_map(|group| {
        let (runtime, id) = named_container(&group)?;
        Some(group.container(runtime, id, true))
    });
    // Containers in pods always have full ids.
    let open = named.is_none() && pod_uid(path).is_none();
    let possible = if open { path } else { "" };
    let guesses = groups(possible).filter_map(|group| {
        let id = could_be_an_id(group.name).then_some(Cow::Borrowed(group.name))?;
        Some(group.container(Runtime::Runc, id, false))
    });
    named.into_iter().chain(guesses.take(MAX_GUESSES))
}

/// The path of a text as `/proc/PID/cgroup` has it: of several hierarchies the
/// one that names a container, the unified one if that does. Runtimes on cgroup
/// v1 beside v2 leave the unified one alone.
pub fn cgroup_path(proc_cgroup_text: &str) -> &str {
    let hierarchies = || {
        // `ID:CONTROLLERS:PATH`; a path may have colons too.
        proc_cgroup_text.lines().filter_map(|line| {
            let (id, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            Some((id == "0" && controllers.is_empty(), controllers, without_deleted(path)))
        })
    };
    let unified = || hierarchies().find(|(unified, ..)| *unified).map(|(.., path)| path);
    let of = |name| {
        let mut all = hierarchies();
        all.find(move |(_, controllers, _)| controllers.split(',').any(|c| c == name))
            .map(|(.., path)| path)
    };
    // Where only a name could tell, hierarchies that every runtime takes part in:
    // others follow the service manager, and their paths mislead.
    let preferred = || [unified(), of("name=systemd"), of("devices")].into_iter().flatten();
    let sure = |path: &&str| container_of(path).is_some_and(|container| container.sure);
    let possible = |path: &&str| container_of(path).is_some();
    preferred()
        .find(sure)
        .or_else(|| hierarchies().map(|(.., path)| path).find(sure))
        .or_else(|| preferred().find(possible))
        .or_else(|| preferred().next())
        .or_else(|| hierarchies().map(|(.., path)| path).next())
        .unwrap_or_default()
}

/// One part of a path, and what lies around it.
struct Group<'a> {
    name: &'a str,
    /// Path up to and with this part.
    path: &'a str,
    parent: &'a str,
    whole: &'a str,
}

/// From the innermost outwards.
fn groups(whole: &str) -> impl Iterator<Item = Group<'_>> {
    let mut end = whole.trim_end_matches('/').len();
    let next = move || {
        let path = whole.get(..end).filter(|path| !path.is_empty())?;
        let start = path.rfind('/').map_or(0, |slash| slash + 1);
        let above = path[..start].trim_end_matches('/');
        end = above.len();
        let parent = above.rsplit('/').next().unwrap_or_default();
        Some(Group { name: &path[start..], path, parent, whole })
    };
    std::iter::from_fn(next)
}

impl<'a> Group<'a> {
    fn container(&self, runtime: Runtime, id: Cow<'a, str>, sure: bool) -> ContainerRef<'a> {
        ContainerRef {
            runtime,
            id,
            pod_uid: pod_uid(self.path),
            cgroup: self.path,
            user: user(self.whole),
            sure,
        }
    }
}

/// Forms that only containers have.
fn named_container<'a>(group: &Group<'a>) -> Option<(Runtime, Cow<'a, str>)> {
    // Where a runtime speaks systemd's way and the group is made without it:
    // `SLICE:PREFIX:ID`.
    if let Some((rest, id)) = group.name.rsplit_once(':')
        && let Some((_, prefix)) = rest.rsplit_once(':')
        && is_id(id)
        && let Some(runtime) = runtime_of_prefix(prefix)
    {
        return Some((runtime, Cow::Borrowed(id)));
    }
    if let Some(found) = named_by_manager(group) {
        return Some(found);
    }
    let name = group.name;
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return is_id(name).then_some((Runtime::Lxc, Cow::Borrowed(name)));
    }
    // Podman without systemd, also with parts of a container apart (crun).
    if let Some(id) = name.strip_prefix("libpod-") {
        let id = id.strip_prefix("payload-").unwrap_or(id);
        return is_full_id(id).then_some((Runtime::Podman, Cow::Borrowed(id)));
    }
    if let Some(id) = name.strip_prefix("crio-").filter(|id| is_full_id(id)) {
        return Some((Runtime::Crio, Cow::Borrowed(id)));
    }
    let runtime = match group.parent {
        "docker" if is_full_id(name) => Runtime::Docker,
        "lxc" | "lxc.payload" if is_id(name) && !is_managed(name) => Runtime::Lxc,
        "buildkit" if is_id(name) && !is_managed(name) => Runtime::Buildkit,
        _ if is_full_id(name) && group.path.contains("/ecs/") => Runtime::Docker,
        _ if is_full_id(name) => Runtime::Unknown,
        _ if is_fargate_id(name) => Runtime::Ecs,
        _ => return None,
    };
    Some((runtime, Cow::Borrowed(name)))
}

/// Scopes and services of systemd.
fn named_by_manager<'a>(group: &Group<'a>) -> Option<(Runtime, Cow<'a, str>)> {
    if let Some(scope) = group.name.strip_suffix(".scope") {
        // Of virtual machines libvirt and others make the same names.
        if let Some(machine) = scope.strip_prefix("machine-") {
            let id = unescaped(machine);
            let is_container = is_id(&id) && !id.starts_with("qemu-");
            return is_container.then_some((Runtime::Nspawn, id));
        }
        let (prefix, id) = scope.rsplit_once('-')?;
        if let Some(runtime) = runtime_of_prefix(prefix).filter(|_| is_full_id(id)) {
            return Some((runtime, Cow::Borrowed(id)));
        }
        // Names given by people may have dashes.
        let id = scope.strip_prefix("runc-").or_else(|| scope.strip_prefix("crun-"))?;
        let runtime = if scope.starts_with("crun") { Runtime::Crun } else { Runtime::Runc };
        return is_id(id).then_some((runtime, Cow::Borrowed(id)));
    }
    let instance = group.name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service")?;
    let id = unescaped(instance);
    is_id(&id).then_some((Runtime::Nspawn, id))
}

/// What runtimes put before ids in scopes. Their monitors (`crio-conmon-...`,
/// `libpod-conmon-...`) run outside of the container and are left out.
fn runtime_of_prefix(prefix: &str) -> Option<Runtime> {
    Some(match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "libpod" => Runtime::Podman,
        "runc" => Runtime::Runc,
        "crun" => Runtime::Crun,
        "buildkit" => Runtime::Buildkit,
        _ => return None,
    })
}

/// `pod<uid>`, `kubepods-besteffort-pod<uid_with_underscores>.slice`, of the
/// innermost pod.
fn pod_uid(path: &str) -> Option<Cow<'_, str>> {
    groups(path).find_map(|group| {
        // `SLICE:PREFIX:ID` has it within.
        let name = group.name.split(':').next().unwrap_or_default();
        let uid = match name.strip_suffix(".slice") {
            Some(slice) => slice.rsplit_once("-pod")?.1,
            None => name.strip_prefix("pod")?,
        };
        // 36 bytes, or 32 hexadecimal digits where the kubelet starts a pod from
        // a file (its uid is a digest of the file).
        let is_uid = matches!(uid.len(), 32 | 36)
            && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'_' | b'-'));
        is_uid.then(|| match uid.contains('_') {
            true => Cow::Owned(uid.replace('_', "-")),
            false => Cow::Borrowed(uid),
        })
    })
}

/// The user below whose slice a path lies.
fn user(path: &str) -> Option<u32> {
    let (_, rest) = path.split_once("/user-")?;
    rest.split_once(".slice")?.0.parse().ok()
}

/// A name that a runtime without a form of its own may have given: not one of
/// the service manager's, and not one that every host has.
fn could_be_an_id(name: &str) -> bool {
    is_id(name)
        && !is_managed(name)
        && !name.starts_with("lxc.monitor")
        && !name.starts_with("crio-conmon-")
        && !name.starts_with("libpod")
        && !matches!(name, "init" | "docker" | "lxc" | "kubelet" | "system" | "ecs" | "burstable")
        && !matches!(name, "besteffort" | "buildkit" | "user" | "supervisor" | "container")
}

fn is_managed(name: &str) -> bool {
    let suffixes = [".slice", ".scope", ".service", ".mount", ".swap", ".socket"];
    suffixes.iter().any(|suffix| name.ends_with(suffix))
}

fn is_full_id(text: &str) -> bool {
    text.len() == FULL_ID_BYTES && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `<task>-<number>`: a task is 32 hexadecimal digits.
fn is_fargate_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32
            && task.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What can be an id or a name, and a file's name.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-+:@".contains(&b))
}

/// systemd writes bytes that names of units can't have as `\xHH`.
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        text.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &after[2..];
            }
            // Stays, and is no id.
            None => {
                text.push_str("\\x");
                rest = after;
            }
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The kernel marks groups that were removed.
fn without_deleted(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

//! The user, the capabilities, and what they mean for the folders.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown, fchown};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use caps::{CapSet, Capability};
use rustix::fs::{Access, access};
use rustix::thread::{Gid, Uid};
use thiserror::Error;

use super::ConfineError;
use crate::output::access::make_folders;

/// A user to become: `NAME`, `UID` or `UID:GID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserError {
    #[error("there is no user '{0}' in /etc/passwd; UID:GID can be given instead")]
    Unknown(String),
    #[error("'{0}': the user to become can't be root")]
    Root(String),
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        /// Kept: once confined the process can't read it, and a reload asks again.
        static TABLE: OnceLock<String> = OnceLock::new();
        let table = TABLE.get_or_init(|| fs::read_to_string("/etc/passwd").unwrap_or_default());
        Self::find(text, table)
    }
}

/// By passwd(5), which may lack it: other systems of accounts are not asked.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    name_in(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn name_in(table: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let mut entries = table.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

impl User {
    /// Gives a file to the user that this process becomes, who is to read it.
    pub(crate) fn take_over(&self, file: &File) -> io::Result<()> {
        // Not a terminal or a pipe of whoever started this.
        if !file.metadata()?.is_file() {
            return Ok(());
        }
        fchown(file, Some(self.uid), Some(self.gid))
    }

    fn find(text: &str, table: &str) -> Result<Self, UserError> {
        let user = Self::numbers(text).or_else(|| Self::entry(text, table));
        let user = user.ok_or_else(|| UserError::Unknown(text.to_owned()))?;
        // The highest number means "leave it" to the kernel.
        let usable = |id: u32| id != 0 && id != u32::MAX;
        if usable(user.uid) && usable(user.gid) {
            Ok(user)
        } else {
            Err(UserError::Root(text.to_owned()))
        }
    }

    fn numbers(text: &str) -> Option<Self> {
        let (uid, gid) = text.split_once(':')?;
        Some(Self { name: text.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }

    /// By name or number in passwd(5).
    fn entry(text: &str, table: &str) -> Option<Self> {
        table.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
            let gid = fields.next()?.parse().ok()?;
            let wanted = name == text || uid == text;
            wanted.then_some(Self { name: name.to_owned(), uid: uid.parse().ok()?, gid })
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// What gives this program the right to capture.
pub fn how_to_get_cap_net_raw() -> String {
    how_to_get(&["cap_net_raw"])
}

/// What gives it all the rights of a capture that names processes; nothing when it
/// has them.
pub fn how_to_get_watcher_rights() -> Option<String> {
    use Capability::{
        CAP_BPF, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_SYS_ADMIN,
        CAP_SYS_PTRACE,
    };
    let needed = [
        CAP_NET_RAW,
        CAP_SYS_PTRACE,
        CAP_DAC_READ_SEARCH,
        CAP_SYS_ADMIN,
        CAP_NET_ADMIN,
        CAP_BPF,
        CAP_PERFMON,
    ];
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let is_missing = needed.iter().any(|capability| !effective.contains(capability));
    let names = needed.map(|capability| capability.to_string().to_lowercase());
    is_missing.then(|| how_to_get(&names.each_ref().map(String::as_str)))
}

fn how_to_get(capabilities: &[&str]) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut flag = status.lines().filter_map(|line| line.strip_prefix("NoNewPrivs:"));
    if flag.next().map(str::trim) == Some("1") {
        // Capabilities of the file are then ignored.
        let capabilities = capabilities.join(" ").to_uppercase();
        return format!(
            "no new privileges can be gained here: have the service manager give it (AmbientCapabilities={capabilities})"
        );
    }
    let program = std::env::current_exe();
    let program = program.map_or_else(|_| "flowtap".to_owned(), |path| path.display().to_string());
    format!("sudo setcap {}+ep {program}", capabilities.join(","))
}

/// Whether files are open to this process that their owners closed.
pub(super) fn overrides_file_rights() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE).unwrap_or(false)
}

/// Makes a folder, for the user that will write into it.
pub(super) fn make_folder(path: &Path, user: Option<&User>) -> Result<(), ConfineError> {
    let make = || -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        // Those above it too: the user has to come through them.
        for made in make_folders(path)? {
            user.map_or(Ok(()), |user| chown(made, Some(user.uid), Some(user.gid)))?;
        }
        Ok(())
    };
    make().map_err(|source| ConfineError::Folder { path: path.to_owned(), source })
}

/// Whether the folder can be written with the rights that are left.
pub(super) fn check_folder(path: &Path, overrode: bool) -> Result<(), ConfineError> {
    let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) else {
        return Ok(());
    };
    let error = io::Error::from(error);
    let why = match path.metadata() {
        Ok(_) if error.kind() != io::ErrorKind::PermissionDenied => error.to_string(),
        Err(_) if !overrode => error.to_string(),
        found => {
            let us = rustix::process::geteuid().as_raw();
            let (owner, owned) = found.map_or_else(
                |_| (None, "a folder above it is closed".to_owned()),
                |folder| {
                    let (owner, mode) = (folder.uid(), folder.mode() & 0o7777);
                    (Some(owner), format!("it belongs to user {owner} (mode {mode:04o})"))
                },
            );
            let mut why = format!("{owned} and flowtap runs as user {us}");
            if overrode {
                why.push_str(
                    ", confined: without CAP_DAC_OVERRIDE, by which root writes everywhere",
                );
                let path = path.display();
                why.push_str(&match owner {
                    Some(owner) if owner != 0 && owner != us => format!(
                        ". Run it as that user (--user {owner}), give the folder away (chown {us} {path}), or use --confine off"
                    ),
                    _ => format!(". Give it the folder (chown {us} {path}), or use --confine off"),
                });
            }
            why
        }
    };
    Err(ConfineError::NotWritable { path: path.to_owned(), why })
}

/// Nothing may ever come back. Without CAP_SETPCAP the set stays as it is,
/// which `no_new_privs` makes harmless.
pub(super) fn drop_bounding(keep: &[Capability]) {
    for capability in caps::all() {
        if !keep.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
}

/// Changes user and groups; the capabilities that are permitted stay so.
pub(super) fn become_user(user: &User) -> Result<(), ConfineError> {
    let change = || -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_keep_capabilities(true)?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_keep_capabilities(false)?;
        Ok(())
    };
    change().map_err(|source| ConfineError::User { user: user.clone(), source })
}

/// Gives up every other capability, and looks whether it is so.
pub(super) fn keep_only(keep: &[Capability]) -> Result<(), String> {
    let change = || -> Result<bool, caps::errors::CapsError> {
        let permitted = caps::read(None, CapSet::Permitted)?;
        let kept: HashSet<Capability> =
            keep.iter().copied().filter(|capability| permitted.contains(capability)).collect();
        // Kernels before 4.3 have no ambient set.
        let _ = caps::clear(None, CapSet::Ambient);
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)?;
        caps::clear(None, CapSet::Inheritable)?;
        Ok(caps::read(None, CapSet::Permitted)? == kept
            && caps::read(None, CapSet::Effective)? == kept
            && caps::read(None, CapSet::Inheritable)?.is_empty())
    };
    match change() {
        Ok(true) => Ok(()),
        Ok(false) => Err("the kernel kept some".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn forgo_new_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "root:x:0:0:root:/root:/bin/sh\nsensor:x:990:980::/:/bin/false\nbad:x:1\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let user = |name: &str, uid, gid| Ok(User { name: name.to_owned(), uid, gid });
        assert_eq!(User::find("sensor", TABLE), user("sensor", 990, 980));
        assert_eq!(User::find("990", TABLE), user("sensor", 990, 980));
        assert_eq!(User::find("7:8", TABLE), user("7:8", 7, 8));
        for text in ["", "nobody", "bad", "991", "7:", "7:x", ":", "sens"] {
            assert_eq!(User::find(text, TABLE), Err(UserError::Unknown(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn nobody_becomes_root_or_stays_who_they_are() {
        for text in ["root", "0", "0:5", "5:0", "4294967295:5", "5:4294967295"] {
            assert_eq!(User::find(text, TABLE), Err(UserError::Root(text.to_owned())), "{text}");
        }
    }
}

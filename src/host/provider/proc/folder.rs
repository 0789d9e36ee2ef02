//! Whether an executable lies where anybody may write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

use crate::host::process::in_usual_writable_folder;

/// Folders that are looked at, from the root down; deeper ones are not.
const MAX_FOLDERS: usize = 32;

/// Any folder on the way to `exe` may be written by others, sticky or not, by
/// its mode below the process's own root. Folders that are gone, or that the
/// kernel would have to ask a server for (it may never answer), are judged by
/// the usual places' names.
pub(super) fn in_writable_folder(process: BorrowedFd<'_>, exe: &str) -> bool {
    let Some(folder) = Path::new(exe).parent().filter(|folder| folder.is_absolute()) else {
        return false;
    };
    if in_usual_writable_folder(exe) {
        return true;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(mut at) = openat(process, "root", flags, Mode::empty()) else { return false };
    if others_may_write(&at) {
        return true;
    }
    for name in folder.components().take(MAX_FOLDERS) {
        let Component::Normal(name) = name else { continue };
        at = match step(at.as_fd(), Path::new(name)) {
            Ok(next) => next,
            Err(_) => return false,
        };
        if others_may_write(&at) {
            return true;
        }
    }
    false
}

/// One folder down. The path is one that the kernel resolved, so what is a link
/// by now has been put in its place since.
fn step(at: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(at, name, flags, Mode::empty(), ResolveFlags::CACHED | ResolveFlags::BENEATH) {
        // Kernels before 5.12, and sandboxes that know no openat2.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => openat(at, name, flags, Mode::empty()),
        result => result,
    }
}

/// By what the kernel has at hand.
fn others_may_write(folder: &OwnedFd) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(folder, c"", flags, StatxFlags::MODE)
        .is_ok_and(|stat| Mode::from_raw_mode(stat.stx_mode.into()).contains(Mode::WOTH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn myself() -> OwnedFd {
        openat(rustix::fs::CWD, "/proc/self", OFlags::PATH, Mode::empty()).unwrap()
    }

    #[test]
    fn the_mode_of_any_folder_on_the_path_decides() {
        // Not below /tmp, which would decide by itself.
        let Ok(base) = tempfile::tempdir_in("/var/lib") else {
            eprintln!("SKIP: needs the right to write to /var/lib");
            return;
        };
        let inner = base.path().join("open/closed");
        fs::create_dir_all(&inner).unwrap();
        let exe = inner.join("program");
        let exe = exe.to_str().unwrap();
        assert!(!in_writable_folder(myself().as_fd(), exe));
        fs::set_permissions(base.path().join("open"), Permissions::from_mode(0o777)).unwrap();
        assert!(in_writable_folder(myself().as_fd(), exe));
        let linked = base.path().join("link");
        std::os::unix::fs::symlink(base.path().join("open"), &linked).unwrap();
        let through = linked.join("program");
        assert!(
            !in_writable_folder(myself().as_fd(), through.to_str().unwrap()),
            "followed a link"
        );
    }

    #[test]
    fn usual_places_count_also_when_they_are_gone() {
        for exe in ["/tmp/x", "/dev/shm/a/b", "/var/tmp/gone/x"] {
            assert!(in_writable_folder(myself().as_fd(), exe), "{exe}");
        }
        for exe in ["/usr/bin/env", "/tmpx/a", "memfd:x", "", "/", "/no/such/folder/x"] {
            assert!(!in_writable_folder(myself().as_fd(), exe), "{exe}");
        }
    }
}

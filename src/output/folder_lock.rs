//! One process a folder: a locked file in it, which says who has the lock.
//!
//! Start at [`FolderLock::take`]. The system lets go of the lock when the
//! process ends, however it ends; the file stays, as to remove it would let two
//! processes have it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::access::Access;

/// Longest process id that is read from a lock file that anybody may have written.
const MOST_DIGITS: u64 = 10;

/// Of a run's results: two processes that wrote there would complete each other's files.
pub(super) const RUN_LOCK: &str = ".flowtap.lock";

/// Whether a process is writing a run's results into a folder.
pub(crate) fn is_being_written(folder: &Path) -> bool {
    let file = File::open(folder.join(RUN_LOCK));
    // Shared, so that two who ask are not taken for one who writes.
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Held as long as this lives.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it: the process of this id, if it could say so.
    #[error("another process{} writes into {}", process(*pid), folder.display())]
    Held { folder: PathBuf, pid: Option<u32> },
    #[error("can't write into {}: {error}", folder.display())]
    Io { folder: PathBuf, error: io::Error },
}

impl FolderLock {
    /// Takes the lock of this name in a folder that is there.
    pub(super) fn take(folder: &Path, name: &str) -> Result<Self, LockError> {
        let failed = |error| LockError::Io { folder: folder.to_owned(), error };
        let mut options = Access::Group.options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(folder.join(name)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { folder: folder.to_owned(), pid: written(&file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For whoever comes next. On a full disk the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn written(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(MOST_DIGITS).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_second_is_told_the_folder_and_who_has_it() {
        let folder = tempfile::tempdir().expect("folder");
        let first = FolderLock::take(folder.path(), "lock").expect("free");
        let refused = FolderLock::take(folder.path(), "lock").expect_err("held").to_string();
        let (pid, path) = (std::process::id(), folder.path().display());
        assert_eq!(refused, format!("another process (pid {pid}) writes into {path}"));
        FolderLock::take(folder.path(), "other").expect("a lock of another name is another");
        drop(first);
        FolderLock::take(folder.path(), "lock").expect("free again");
    }

    #[test]
    fn whatever_stands_in_the_file_is_at_most_a_number() {
        let folder = tempfile::tempdir().expect("folder");
        let _first = FolderLock::take(folder.path(), "lock").expect("free");
        for text in ["", "flowtap", "-1", "99999999999999999999"] {
            fs::write(folder.path().join("lock"), text).expect("written");
            let refused = FolderLock::take(folder.path(), "lock").expect_err("held");
            assert!(matches!(refused, LockError::Held { pid: None, .. }), "{text}: {refused}");
        }
    }
}

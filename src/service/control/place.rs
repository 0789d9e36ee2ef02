//! Where the control socket is, and how it is taken.
//!
//! A lock file beside the socket says whether its owner lives: it goes with the
//! process, however that ends. So a socket that a dead process left is replaced,
//! and two that start at once can't both have it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const FOLDER: &str = "flowtap";
const NAME: &str = "control.sock";
const MODE: u32 = 0o660;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("another flowtap answers at {}", .0.display())]
    InUse(PathBuf),
    #[error("{} is there and no socket", .0.display())]
    NoSocket(PathBuf),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Where a service of this process has its socket: in the folder that systemd
/// made for it, else in the user's, else, for root, in /run.
pub fn default_path() -> Option<PathBuf> {
    // A list, separated by colons; only ever one folder for our unit.
    let of_unit = variable("RUNTIME_DIRECTORY").and_then(|list| {
        let first = list.split(':').next().filter(|folder| !folder.is_empty())?;
        Some(Path::new(first).join(NAME))
    });
    of_unit.or_else(|| Some(user_folder()?.join(FOLDER).join(NAME))).or_else(|| {
        let root = fs::metadata("/proc/self").is_ok_and(|me| {
            use std::os::unix::fs::MetadataExt as _;
            me.uid() == 0
        });
        root.then(system_path)
    })
}

/// Where a service may have its socket, for whoever looks for one: the user's
/// own first, then the system's.
pub fn places() -> Vec<PathBuf> {
    let mut places: Vec<_> = default_path().into_iter().collect();
    places.extend(user_folder().map(|folder| folder.join(FOLDER).join(NAME)));
    places.push(system_path());
    places.dedup();
    places
}

fn system_path() -> PathBuf {
    Path::new("/run").join(FOLDER).join(NAME)
}

fn user_folder() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A socket that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Locked.
    _lock: File,
}

impl Place {
    pub(super) fn take(path: &Path) -> Result<(Self, UnixListener), ControlError> {
        let failed = |error| ControlError::Io { path: path.to_owned(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(failed)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE);
        let lock = options.open(&lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ControlError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ControlError::NoSocket(path.to_owned()));
            }
            // Of a program that knows nothing of the lock.
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(ControlError::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        Ok((Self { path: path.to_owned(), _lock: lock }, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The lock file stays: to remove it would let two have it. A socket
        // that can't be removed is replaced by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

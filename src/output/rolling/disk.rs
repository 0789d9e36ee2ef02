//! The few things that rolling output does to a disk, so that tests can stand
//! in a disk that fails, fills or hangs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::output::access::{Access, make_folders};

/// Where files are made.
pub(super) trait Disk: Send + Sync {
    /// Makes a file that is not there yet, and its folder.
    fn create(&self, path: &Path) -> io::Result<Box<dyn PartFile>>;

    /// Gives a file another name at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    fn exists(&self, path: &Path) -> bool;
}

/// A file that is being written. Every write goes to its end.
pub(super) trait PartFile: Send + Sync {
    /// As much as can be at once.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// False if it was removed or moved away: what is written would be lost.
    fn is_at(&self, path: &Path) -> bool;
}

/// The operating system's.
pub(super) struct OsDisk;

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn PartFile>> {
        let mut options = Access::Group.options();
        // Never through a link that somebody put there.
        options.append(true).create_new(true);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    make_folders(folder)?;
                }
                options.open(path)?
            }
            opened => opened?,
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }
}

impl PartFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        file.write(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let place = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.metadata(), path.symlink_metadata()) {
            (Ok(ours), Ok(there)) => place(&ours) == place(&there),
            _ => false,
        }
    }

    #[cfg(not(unix))]
    fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}

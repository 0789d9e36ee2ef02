//! Reading what runtimes and users left on disk, below a root, within bounds.
//!
//! A root other than `/` (the host's file system mounted into a container, a
//! test's folder) is never left: links in it are followed as the host itself
//! would. What users own is read only from plain files of theirs, without any
//! link on the way. Nothing here waits: a pipe or a device is refused.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

/// States of containers are a few KiB; those of CRI-O with all its annotations
/// some hundred.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Entries read of one folder. A node has a few hundred pods.
const MAX_ENTRIES: usize = 20_000;

/// Whose files are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// In folders that only the system writes to.
    System,
    /// In a user's own folders: what is said there holds for that user alone.
    User(u32),
}

#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    is_slash: bool,
    /// Files that are there and could not be used.
    pub(super) unreadable: u64,
    /// The last of them, and why.
    pub(super) problem: Option<String>,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { folder, is_slash: path == Path::new("/"), unreadable: 0, problem: None })
    }

    /// Nothing where there is no such file; what can't be used is counted.
    pub(super) fn read(&mut self, path: &str, owner: Owner) -> Option<Vec<u8>> {
        self.read_up_to(path, owner, MAX_FILE_BYTES)
    }

    fn read_up_to(&mut self, path: &str, owner: Owner, most_bytes: u64) -> Option<Vec<u8>> {
        match self.try_read(path, owner, most_bytes) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.note(path, &error);
                None
            }
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self, path: &str, owner: Owner) -> Option<T> {
        let bytes = self.read(path, owner)?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                // Also while it is being written: it is read again later.
                self.note(path, &io::Error::new(io::ErrorKind::InvalidData, error));
                None
            }
        }
    }

    /// Names in a folder of the system's, in no order.
    pub(super) fn names(&mut self, path: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let listed = self.open_below(path, flags, Owner::System).and_then(Dir::new);
        let folder = match listed {
            Ok(folder) => folder,
            Err(error) => {
                self.note(path, &error.into());
                return Vec::new();
            }
        };
        let names = folder.take(MAX_ENTRIES).flatten();
        let names = names.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()));
        names.filter(|name| name != "." && name != "..").collect()
    }

    fn try_read(&self, path: &str, owner: Owner, most_bytes: u64) -> io::Result<Vec<u8>> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        // A pipe without a writer must not hold up.
        let file =
            self.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, owner)?;
        let status = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(invalid("is no plain file"));
        }
        if matches!(owner, Owner::User(user) if user != status.st_uid) {
            return Err(invalid("is not the user's own"));
        }
        let mut bytes = Vec::new();
        // It may grow while it is read.
        File::from(file).take(most_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most_bytes {
            return Err(invalid("is larger than any container's state"));
        }
        Ok(bytes)
    }

    fn open_below(&self, path: &str, flags: OFlags, owner: Owner) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if owner != Owner::System {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        match rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), resolve) {
            // Linux before 5.6. The system's own files need no such care.
            Err(Errno::NOSYS) if self.is_slash && owner == Owner::System => {
                rustix::fs::openat(&self.folder, path, flags, Mode::empty())
            }
            result => result,
        }
    }

    fn note(&mut self, path: &str, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return;
        }
        self.unreadable += 1;
        self.problem = Some(format!("/{path}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn links_are_followed_within_the_root_alone() {
        let (folder, mut root) = root();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::create_dir_all(folder.path().join("data/docker")).unwrap();
        fs::create_dir_all(folder.path().join("var/lib")).unwrap();
        fs::write(folder.path().join("data/docker/state"), "inside").unwrap();
        // As the host would: relative to its own root.
        symlink("/data/docker", folder.path().join("var/lib/docker")).unwrap();
        symlink(outside.path(), folder.path().join("out")).unwrap();
        symlink("../../../../..", folder.path().join("up")).unwrap();

        assert_eq!(root.read("var/lib/docker/state", Owner::System).unwrap(), b"inside");
        assert_eq!(root.read("out/secret", Owner::System), None);
        let above = format!("up{}/secret", outside.path().display());
        assert_eq!(root.read(&above, Owner::System), None);
        assert_eq!(root.unreadable, 0);
    }

    #[test]
    fn users_files_are_read_without_links_and_only_their_own() {
        let (folder, mut root) = root();
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::write(folder.path().join("home/state"), "mine").unwrap();
        symlink("state", folder.path().join("home/link")).unwrap();
        let me = rustix::process::getuid().as_raw();

        assert_eq!(root.read("home/state", Owner::User(me)).unwrap(), b"mine");
        assert_eq!(root.read("home/link", Owner::User(me)), None);
        assert_eq!(root.read("home/state", Owner::User(me + 1)), None);
        assert_eq!(root.unreadable, 2);
        assert!(root.problem.as_deref().unwrap().contains("home/state"));
    }

    #[test]
    fn what_is_no_plain_small_file_is_refused_at_once() {
        let (folder, mut root) = root();
        let fifo = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        fs::write(folder.path().join("file"), "12345").unwrap();

        assert_eq!(root.read("pipe", Owner::System), None);
        assert_eq!(root.read_up_to("file", Owner::System, 5).unwrap(), b"12345");
        assert_eq!(root.read_up_to("file", Owner::System, 4), None);
        assert_eq!(root.unreadable, 2);
        // What is not there is no problem.
        assert_eq!(root.read("absent", Owner::System), None);
        assert_eq!(root.unreadable, 2);
    }
}

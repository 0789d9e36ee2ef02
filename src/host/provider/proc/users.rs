//! Names of users, from the host's `/etc/passwd` alone.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the file is looked at for changes: a new user's first process may
/// be nameless for so long.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A host with more local users than fit in it is not known; the rest stay
/// numbers.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Longest name that is kept: twice what `useradd` allows.
const MAX_NAME_BYTES: usize = 64;

/// User names by number, read again when the file changed.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    names: HashMap<u32, String>,
    version: Option<Version>,
    checked: Option<Instant>,
}

/// What tells one state of a file from another: editors put a new file in
/// place, so the inode counts too.
type Version = (u64, u64, i64, i64);

impl Users {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), names: HashMap::new(), version: None, checked: None }
    }

    /// Empty for a number that has no name.
    pub(super) fn name(&mut self, uid: u32) -> String {
        if self.checked.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL) {
            self.checked = Some(Instant::now());
            self.refresh();
        }
        self.names.get(&uid).cloned().unwrap_or_default()
    }

    fn refresh(&mut self) {
        let version = |file: &Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        let current = std::fs::metadata(&self.path).ok().filter(Metadata::is_file);
        let current = current.as_ref().map(version);
        if current == self.version {
            return;
        }
        self.version = current;
        self.names.clear();
        let mut text = Vec::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text));
        if current.is_some() && read.is_ok() {
            self.names = parse(&String::from_utf8_lossy(&text));
        }
    }
}

/// The first line of a number counts, as it does for the C library.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        if let (Some(name), Some(uid)) = (name, uid)
            && !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
        {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_file_and_follow_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/:/bin/sh\ntoor:x:0:0\nbad\n:x:7:7\nann:x:x:1\n")
            .unwrap();
        let mut users = Users::new(&path);
        assert_eq!(users.name(0), "root");
        assert_eq!((users.name(7), users.name(8)), (String::new(), String::new()));
        std::fs::write(&path, "root:x:0:0::/:/bin/sh\neve:x:8:8::/:/bin/sh\n").unwrap();
        users.checked = None;
        assert_eq!(users.name(8), "eve");
        std::fs::remove_file(&path).unwrap();
        users.checked = None;
        assert_eq!(users.name(8), "");
    }
}

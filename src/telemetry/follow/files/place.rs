//! Which files belong to a target.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::super::absolute;

/// Folders within folders: object stores' exports have about ten (account, service,
/// region, year, month, day, hour).
const MAX_DEPTH: usize = 16;

/// Files of a folder that are looked at.
pub(super) const MAX_FILES: usize = 1 << 17;

/// Ends of names of files that are not yet what they will be called.
const UNFINISHED: [&str; 5] = [".tmp", ".part", ".partial", ".crdownload", ".filepart"];

/// Ends of names of compressed files.
const PACKED: [&str; 8] = [".gz", ".zst", ".bz2", ".xz", ".lz4", ".lzma", ".zip", ".Z"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) number: u64,
}

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    pub(super) modified_ns: i64,
}

impl Stamp {
    pub(super) fn of(about: &Metadata) -> Self {
        let modified_ns =
            about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        Self { bytes: about.len(), modified_ns }
    }
}

impl Inode {
    pub(super) fn of(about: &Metadata) -> Self {
        Self { device: about.dev(), number: about.ino() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) inode: Inode,
    pub(super) stamp: Stamp,
    /// When the file was made, where the file system says so; else last changed.
    created_ns: i64,
    pub(super) packed_by_name: bool,
    /// Not here by its inode alone.
    pub(super) belongs: bool,
}

/// A file with what it was rotated to, or everything in a folder.
#[derive(Clone, Debug)]
pub(in super::super) enum Place {
    File(PathBuf),
    Folder(PathBuf),
}

pub(super) struct Listing {
    /// Each file once. Of a file's place the oldest first and the file itself last; of
    /// a folder by path.
    pub(super) found: Vec<Found>,
    /// More than is looked at was left out.
    pub(super) more: bool,
}

impl Place {
    pub(in super::super) fn folder(&self) -> &Path {
        match self {
            Self::File(path) => folder_of(path),
            Self::Folder(root) => root,
        }
    }

    /// The file that is followed by its name.
    pub(super) fn is_target(&self, path: &Path) -> bool {
        matches!(self, Self::File(target) if target == path)
    }

    /// Whether a file's going from here is more than its rotation's last step: it is what
    /// is followed, or one of a folder that is not what another was rotated to.
    pub(super) fn is_written_under(&self, path: &Path) -> bool {
        match self {
            Self::File(target) => {
                // A state may have been kept by a run that named it otherwise.
                absolute(target) == absolute(path)
            }
            Self::Folder(_) => !rotated_from(path).iter().any(|before| before.exists()),
        }
    }

    /// Also files under any other name whose inode's number is known. Fails where the
    /// folder can't be read: then nothing is known of what is in it.
    pub(super) fn list(&self, is_known: impl Fn(u64) -> bool) -> io::Result<Listing> {
        let mut listing = Listing { found: Vec::new(), more: false };
        match self {
            Self::File(path) => {
                let (folder, name) = (folder_of(path), path.file_name().unwrap_or_default());
                for entry in fs::read_dir(folder)? {
                    let Ok(entry) = entry else { continue };
                    let belongs = is_rotated(name, &entry.file_name());
                    if belongs || is_known(entry.ino()) {
                        listing.look_at(&entry.path(), belongs);
                    }
                }
                listing.found.sort_by_key(|found| (found.created_ns, found.inode));
                // A file that was renamed since it was seen is there under both names.
                listing.look_at(path, true);
                listing.keep_last_of_each();
            }
            Self::Folder(root) => {
                listing.walk(root, 0)?;
                listing.found.sort_by(|a, b| a.path.cmp(&b.path));
                listing.keep_last_of_each();
            }
        }
        Ok(listing)
    }
}

impl Listing {
    fn walk(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with('.') || UNFINISHED.iter().any(|end| text.ends_with(end)) {
                continue;
            }
            if self.found.len() == MAX_FILES {
                self.more = true;
                return Ok(());
            }
            // Links to folders are not gone into: they can lead in circles.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    // One that just went, or that is not ours to read, is not looked into.
                    let _ = self.walk(&entry.path(), depth + 1);
                }
                Ok(kind) if kind.is_dir() => self.more = true,
                Ok(_) => self.look_at(&entry.path(), true),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn look_at(&mut self, path: &Path, belongs: bool) {
        let Ok(about) = fs::metadata(path) else { return };
        if !about.is_file() {
            return;
        }
        let stamp = Stamp::of(&about);
        let created = about.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let created_ns = created.and_then(|time| i64::try_from(time.as_nanos()).ok());
        let name = path.file_name().unwrap_or_default();
        self.found.push(Found {
            path: path.to_owned(),
            inode: Inode::of(&about),
            stamp,
            created_ns: created_ns.unwrap_or(stamp.modified_ns),
            packed_by_name: is_packed(name),
            belongs,
        });
    }

    fn keep_last_of_each(&mut self) {
        let mut seen = std::collections::HashSet::new();
        self.found.reverse();
        self.found.retain(|found| seen.insert(found.inode));
        self.found.reverse();
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn is_packed(name: &OsStr) -> bool {
    PACKED.iter().any(|end| name.as_bytes().ends_with(end.as_bytes()))
}

/// Whether `name` is what a file called `base` is rotated to: a number or a date
/// behind it, or before its extension (`app.log.1`, `app.log-20261125.gz`,
/// `app-2026-11-25.log`), or `.old`.
fn is_rotated(base: &OsStr, name: &OsStr) -> bool {
    let (base, mut name) = (base.as_bytes(), name.as_bytes());
    for end in PACKED {
        name = name.strip_suffix(end.as_bytes()).unwrap_or(name);
    }
    let behind = name.strip_prefix(base).is_some_and(|rest| is_turn(rest) || rest == b".old");
    let before = base.iter().rposition(|&byte| byte == b'.').is_some_and(|dot| {
        let (stem, extension) = base.split_at(dot);
        let turn = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
        dot > 0 && turn.is_some_and(is_turn)
    });
    behind || before
}

/// What a file may have been copied from or called before, by its name.
pub(super) fn rotated_from(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let dot = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let begins = |text: &[u8]| -> Vec<usize> {
        let is_turn = |at: &usize| is_turn(&text[*at..]) || &text[*at..] == b".old";
        (1..text.len()).filter(is_turn).collect()
    };
    let behind = begins(name).into_iter().map(|at| name[..at].to_vec());
    let before = begins(stem).into_iter().map(|at| [&stem[..at], extension].concat());
    let names = behind.chain(before);
    names.map(|name| path.with_file_name(OsStr::from_bytes(&name))).collect()
}

/// `.1`, `-20261125`, `_2026-11-25T10:00:00Z`
fn is_turn(text: &[u8]) -> bool {
    let Some((b'.' | b'-' | b'_', rest)) = text.split_first() else { return false };
    rest.iter().any(u8::is_ascii_digit)
        && rest.iter().all(|byte| byte.is_ascii_digit() || b"-._:+TZ".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_have_a_number_or_a_date() {
        let rotated = |base: &str, name: &str| is_rotated(OsStr::new(base), OsStr::new(name));
        for name in [
            "app.log.1",
            "app.log.12.gz",
            "app.log-20261125",
            "app-2026-11-25.log",
            "app.log.old",
            "app.log_2026-11-25T10:00:00Z.zst",
            "app.2.log.gz",
        ] {
            assert!(rotated("app.log", name), "{name}");
        }
        for name in [
            "app.log",
            "app.log.bak",
            "app-errors.log",
            "app.log.",
            "app.logger.1",
            "xapp.log.1",
            "app.log.1.tmp",
            "app1.log",
        ] {
            assert!(!rotated("app.log", name), "{name}");
        }
        assert!(rotated("messages", "messages-20261125"));
        assert!(!rotated(".log", "1.log"));
    }
}

//! A file as it was at one moment.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::TableError;

const NS_PER_S: i64 = 1_000_000_000;

/// What was read.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its name, as the user gave it.
    pub file: String,
    pub bytes: Vec<u8>,
    /// When it was last written.
    pub modified_ns: i64,
}

/// What tells one version of a file from another. A replaced file has another
/// inode, one written in place another change time, whatever its own says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Of what the path leads to now; nothing where that is not to be had.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|meta| Self::of(&meta))
    }
}

/// The whole file, unless it is too large, nothing to be read twice, or being
/// written.
pub(in crate::host) fn read(path: &Path, max_bytes: u64) -> Result<Content, TableError> {
    read_stamped(path, max_bytes).map(|(content, _)| content)
}

pub(super) fn read_stamped(path: &Path, max_bytes: u64) -> Result<(Content, Stamp), TableError> {
    let file = path.display().to_string();
    let refuse = |what: String| TableError::File { file: file.clone(), what };
    let failed = |error: io::Error| TableError::Read { file: file.clone(), error };
    // A pipe without a writer would otherwise hold the program here.
    let mut open = OpenOptions::new();
    let handle: File = open.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let meta = handle.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(refuse("is a folder: name a file".to_owned()));
    }
    if !meta.is_file() {
        let what = "is no regular file: it is read again when it changes, so save it as a file";
        return Err(refuse(what.to_owned()));
    }
    let too_large = || refuse(format!("is larger than {} MiB: split it", max_bytes >> 20));
    if meta.len() > max_bytes {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    // Files of /proc say that they are empty.
    (&handle).take(max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large());
    }
    let stamp = Stamp::of(&meta);
    if Stamp::of(&handle.metadata().map_err(failed)?) != stamp {
        return Err(TableError::Changing { file });
    }
    let (second, ns) = stamp.modified;
    let modified_ns = second.saturating_mul(NS_PER_S).saturating_add(ns);
    Ok((Content { file, bytes, modified_ns }, stamp))
}

impl Content {
    /// Its text, without the mark that some editors put first.
    pub(in crate::host) fn text(&self) -> &[u8] {
        self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes)
    }
}

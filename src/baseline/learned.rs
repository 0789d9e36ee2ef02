//! Files that were learned from, so that none counts twice without a word.
//!
//! A file is known by its size and both ends ([`FileMark`]): enough to know the same one
//! again under another name, and no more than two reads of a capture of many gigabytes. The
//! same packets compressed otherwise, or cut into other files, are another file.
//!
//! Bounded: the newest [`MOST_FILES`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// A file an hour for half a year; 100 bytes each.
pub(super) const MOST_FILES: usize = 4_096;

/// Of each end: a capture's first packets and its last ones, with their time stamps.
const END_BYTES: u64 = 64 << 10;

/// Digest of a file's size, first and last 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileMark(pub(super) [u8; 32]);

impl FileMark {
    /// Nothing of what is no file or empty: what can be read once, and folders.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let is_file = std::fs::metadata(path)?.is_file();
        if !is_file {
            return Ok(None);
        }
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut hash = Sha256::new();
        hash.update(bytes.to_le_bytes());
        for from in [0, bytes.saturating_sub(END_BYTES)] {
            let mut end = Vec::new();
            file.seek(SeekFrom::Start(from))?;
            file.by_ref().take(END_BYTES).read_to_end(&mut end)?;
            hash.update(&end);
        }
        Ok((bytes > 0).then(|| Self(hash.finalize().into())))
    }
}

/// What is known of a file that was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedFile {
    /// Nanoseconds since the epoch of the first and the last packet of all captures that were
    /// learned with it; of a log, of its own records.
    pub span_ns: Option<(i64, i64)>,
    /// It was read to its end.
    pub whole: bool,
    /// Rises with each; those with the lowest give up their places.
    pub(super) number: u64,
}

/// Those that are known.
#[derive(Debug, Default)]
pub(super) struct LearnedFiles {
    all: BTreeMap<FileMark, LearnedFile>,
    /// Since they were last written: with nothing, no longer there.
    changed: BTreeMap<FileMark, Option<LearnedFile>>,
}

impl LearnedFiles {
    pub(super) fn new(all: impl IntoIterator<Item = (FileMark, LearnedFile)>) -> Self {
        Self { all: all.into_iter().collect(), changed: BTreeMap::new() }
    }

    pub(super) fn get(&self, mark: FileMark) -> Option<LearnedFile> {
        self.all.get(&mark).copied()
    }

    pub(super) fn note(&mut self, mark: FileMark, span_ns: Option<(i64, i64)>, whole: bool) {
        let number = self.all.values().map(|file| file.number).max().unwrap_or(0) + 1;
        let file = LearnedFile { span_ns, whole, number };
        self.all.insert(mark, file);
        self.changed.insert(mark, Some(file));
        while self.all.len() > MOST_FILES {
            let oldest = self.all.iter().min_by_key(|(_, file)| file.number);
            let Some((&oldest, _)) = oldest else { break };
            self.all.remove(&oldest);
            self.changed.insert(oldest, None);
        }
    }

    pub(super) fn changes(&self) -> Vec<(FileMark, Option<LearnedFile>)> {
        self.changed.iter().map(|(&mark, &file)| (mark, file)).collect()
    }

    pub(super) fn written(&mut self) {
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u32) -> FileMark {
        let mut mark = [0; 32];
        mark[..4].copy_from_slice(&n.to_be_bytes());
        FileMark(mark)
    }

    #[test]
    fn a_file_is_known_by_its_size_and_both_ends_under_any_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let of = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).expect("written");
            FileMark::of(&path).expect("read")
        };
        let mut content: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let first = of("a", &content);
        assert!(first.is_some());
        assert_eq!(of("b", &content), first);
        assert_ne!(of("b", &content[..299_744]), first, "the same ends, but shorter");
        for changed in [0, 65_535, 299_999] {
            content[changed] ^= 1;
            assert_ne!(of("b", &content), first, "{changed}");
            content[changed] ^= 1;
        }
        assert_eq!(of("b", b""), None);
        assert_eq!(FileMark::of(dir.path()).expect("looked at"), None);
        assert!(FileMark::of(&dir.path().join("nothing")).is_err());
    }

    #[test]
    fn the_newest_files_are_kept() {
        let most = MOST_FILES as u32;
        let mut files = LearnedFiles::default();
        (0..most).for_each(|n| files.note(mark(n), Some((0, 1)), true));
        files.written();
        files.note(mark(0), Some((0, 1)), true);
        files.note(mark(most), None, false);
        assert_eq!(files.all.len(), MOST_FILES);
        assert_eq!(files.get(mark(1)), None, "the first, since 0 was learned again");
        assert!(files.get(mark(0)).is_some() && files.get(mark(most)).is_some());
        let gone: Vec<FileMark> = files
            .changes()
            .into_iter()
            .filter(|(_, file)| file.is_none())
            .map(|(mark, _)| mark)
            .collect();
        assert_eq!(gone, [mark(1)]);
    }
}

//! The files of a recording: their names, and that they stay under their size.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::output::access::make_folders;
use crate::output::folder_lock::FolderLock;
use crate::time::rfc3339_bytes;

const PREFIX: &str = "flowtap-";
const SUFFIX: &str = ".pcapng";

/// Not that of records, which may be in the same folder.
const LOCK_NAME: &str = ".recording.lock";

/// One file of the ring.
#[derive(Clone, Debug)]
pub(super) struct RingFile {
    pub(super) path: PathBuf,
    /// Rises from file to file of a run.
    pub(super) number: u64,
    /// Whole blocks.
    pub(super) bytes: u64,
    /// Latest time of a packet in it.
    pub(super) latest_ns: i64,
}

/// All files with our names, those of earlier runs first.
#[derive(Debug)]
pub(super) struct Ring {
    dir: PathBuf,
    most_bytes: u64,
    files: VecDeque<RingFile>,
    bytes: u64,
    next_number: u64,
    removed: u64,
    /// Latest time of a packet in those.
    removed_until_ns: i64,
    /// Two would remove each other's files.
    _lock: FolderLock,
}

impl Ring {
    /// Takes the folder over, with what is in it; makes it when it is not there, and
    /// fails when another process records into it.
    pub(super) fn open(dir: &Path, most_bytes: u64) -> io::Result<Self> {
        make_folders(dir)?;
        let lock = FolderLock::take(dir, LOCK_NAME).map_err(io::Error::other)?;
        let mut ring = Self {
            dir: dir.to_owned(),
            most_bytes,
            files: VecDeque::new(),
            bytes: 0,
            next_number: 0,
            removed: 0,
            removed_until_ns: i64::MIN,
            _lock: lock,
        };
        for (_, path) in files_in(dir)? {
            let bytes = fs::metadata(&path)?.len();
            // Their times are not known, and of no use to this run.
            ring.add(path, bytes);
        }
        ring.make_room(0);
        Ok(ring)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files removed so far to make room.
    pub(super) fn removed(&self) -> u64 {
        self.removed
    }

    /// A path that is not taken, named after the stream's time.
    pub(super) fn new_path(&self, mut time_ns: i64) -> PathBuf {
        loop {
            let path = self.dir.join(file_name(time_ns));
            if !path.exists() {
                return path;
            }
            time_ns = time_ns.saturating_add(1);
        }
    }

    /// Number of the first file that may hold packets from this time on.
    pub(super) fn first_until(&self, begin_ns: i64) -> u64 {
        let found = self.files.iter().find(|file| file.latest_ns >= begin_ns);
        found.or_else(|| self.files.back()).map_or(self.next_number, |file| file.number)
    }

    /// Until when packets from this time on have left the ring, if any have.
    pub(super) fn gone_until(&self, begin_ns: i64) -> Option<i64> {
        Some(self.removed_until_ns).filter(|&until_ns| until_ns >= begin_ns)
    }

    /// The file of this number, or the first one after it: number, path, length,
    /// whether it is the last.
    pub(super) fn at_or_after(&self, number: u64) -> Option<(u64, PathBuf, u64, bool)> {
        let at = self.files.partition_point(|file| file.number < number);
        let file = self.files.get(at)?;
        Some((file.number, file.path.clone(), file.bytes, at + 1 == self.files.len()))
    }

    /// Adds a file at the end.
    pub(super) fn add(&mut self, path: PathBuf, bytes: u64) {
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += bytes;
        self.files.push_back(RingFile { path, number, bytes, latest_ns: i64::MIN });
    }

    /// The last file has grown by so much.
    pub(super) fn grow(&mut self, bytes: u64, latest_ns: i64) {
        if let Some(file) = self.files.back_mut() {
            file.bytes += bytes;
            file.latest_ns = file.latest_ns.max(latest_ns);
            self.bytes += bytes;
        }
    }

    /// Takes back a file into which nothing could be written.
    pub(super) fn remove_last(&mut self) {
        if let Some(last) = self.files.pop_back() {
            self.bytes -= last.bytes;
            let _ = fs::remove_file(last.path);
        }
    }

    /// Removes the oldest files until `bytes` more fit; false when they don't
    /// even then, and nothing is removed. A file that can't be removed is forgotten: somebody else
    /// owns it now.
    pub(super) fn make_room(&mut self, bytes: u64) -> bool {
        if bytes > self.most_bytes {
            return false;
        }
        while self.bytes.saturating_add(bytes) > self.most_bytes {
            let Some(oldest) = self.files.pop_front() else { return false };
            self.bytes -= oldest.bytes;
            self.removed_until_ns = self.removed_until_ns.max(oldest.latest_ns);
            self.removed += u64::from(fs::remove_file(&oldest.path).is_ok());
        }
        true
    }

    /// True when the last file can grow by so much, once the others are gone if
    /// need be.
    pub(super) fn fits_beside_last(&self, bytes: u64) -> bool {
        let last = self.files.back().map_or(0, |file| file.bytes);
        last.saturating_add(bytes) <= self.most_bytes
    }
}

/// `flowtap-20261121T143000.123456789Z.pcapng`. Names sort by time.
fn file_name(time_ns: i64) -> String {
    let text = rfc3339_bytes(time_ns.max(0));
    let compact: String =
        text.iter().filter(|byte| !matches!(byte, b'-' | b':')).map(|&byte| byte as char).collect();
    format!("{PREFIX}{compact}{SUFFIX}")
}

/// Time in a name of ours.
fn time_of(name: &str) -> Option<i64> {
    let stamp = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let time: Timestamp = stamp.parse().ok()?;
    let time_ns = i64::try_from(time.as_nanosecond()).ok()?;
    (file_name(time_ns) == name).then_some(time_ns)
}

/// The files of a recording in a folder, oldest first, each with the stream's
/// time when it was begun.
pub fn files_in(dir: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(time_ns) = name.to_str().and_then(time_of)
            && entry.file_type()?.is_file()
        {
            files.push((time_ns, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Those that may hold packets from `from_ns` to `to_ns`. All of a file came
/// before the stream's clock stood where the next one begins; what came more
/// than a minute late is not looked for.
pub fn files_between(files: Vec<(i64, PathBuf)>, from_ns: i64, to_ns: i64) -> Vec<PathBuf> {
    const LATE_NS: i64 = 60 * 1_000_000_000;
    let next: Vec<i64> = files.iter().skip(1).map(|&(time_ns, _)| time_ns).collect();
    files
        .into_iter()
        .enumerate()
        .filter(|(at, (begin_ns, _))| {
            let over = next.get(*at).is_some_and(|&next_ns| next_ns < from_ns);
            !over && *begin_ns <= to_ns.saturating_add(LATE_NS)
        })
        .map(|(_, (_, path))| path)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_times_to_the_nanosecond() {
        let name = "flowtap-20261121T143000.123456789Z.pcapng";
        let time_ns = time_of(name).expect("one of ours");
        assert_eq!(file_name(time_ns), name);
        for other in [
            "flowtap-.pcapng",
            "flowtap-2026.pcapng",
            "x.pcapng",
            "flowtap-20261121T143000Z.pcapng",
        ] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_time_comes_back_from_its_name(time_ns in 0..i64::MAX) {
            prop_assert_eq!(time_of(&file_name(time_ns)), Some(time_ns));
        }

        #[test]
        fn no_file_of_the_span_is_left_out(
            mut begins in prop::collection::vec(0_i64..1_000, 1..20),
            from_s in 0_i64..1_100,
            length_s in 0_i64..100,
            packet_s in 0_i64..1_100,
        ) {
            begins.sort_unstable();
            let second = 1_000_000_000;
            let files: Vec<_> = begins
                .iter()
                .enumerate()
                .map(|(at, begin_s)| (begin_s * second, PathBuf::from(at.to_string())))
                .collect();
            let to_s = from_s + length_s;
            let chosen = files_between(files, from_s * second, to_s * second);
            // A packet that is not late lies in the last file begun before it.
            let holder = begins.iter().rposition(|&begin_s| begin_s <= packet_s);
            if let Some(holder) = holder && (from_s..=to_s).contains(&packet_s) {
                prop_assert!(chosen.contains(&PathBuf::from(holder.to_string())));
            }
        }
    }

    #[test]
    fn strangers_in_the_folder_are_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let stranger = dir.path().join("other.pcapng");
        fs::write(&stranger, [0; 5_000]).expect("written");
        for second in 0..4 {
            let name = file_name(second * 1_000_000_000);
            fs::write(dir.path().join(name), [0; 1_000]).expect("written");
        }
        let ring = Ring::open(dir.path(), 2_500).expect("opened");
        assert_eq!((ring.bytes(), ring.removed(), ring.files.len()), (2_000, 2, 2));
        assert!(stranger.exists());
        assert_eq!(files_in(dir.path()).expect("listed").first().map(|f| f.0), Some(2_000_000_000));
    }
}

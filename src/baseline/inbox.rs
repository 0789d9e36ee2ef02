//! Verdicts for baselines that another process is learning.
//!
//! One process writes a file of baselines. Whoever marks an alert meanwhile leaves the
//! verdict in a file beside it, `NAME.verdicts`, a line of JSON each, and the one that
//! learns takes it up with the next second of its input. What it leaves is taken up by
//! whoever opens the baselines next. A lock of the file keeps both apart; a verdict that is
//! taken up twice, after a kill, finds nothing that waits for it any more.
//!
//! The file is opened with the baselines, before the process confines itself. Bounds:
//! [`MOST_BYTES`] wait at once, beyond that nothing is left.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::output::access::Access;

/// Thousands of verdicts: nobody marks as many while one second passes.
const MOST_BYTES: u64 = 1 << 20;

/// A verdict of an entity's alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Whose baseline.
    pub key: String,
    /// The alert's id; none in what an older flowtap left.
    #[serde(default)]
    pub alert: Option<String>,
    /// From the alert's first second to its last.
    pub from_s: i64,
    pub until_s: i64,
    pub verdict: Verdict,
    /// When it was said.
    pub at_s: i64,
}

/// Verdicts that wait beside a file of baselines.
#[derive(Debug)]
pub(super) struct Inbox {
    file: File,
}

/// What was in it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) words: Vec<Word>,
    /// Lines that are no verdict.
    pub(super) bad: u64,
}

/// Where verdicts for these baselines are left.
pub fn inbox_path(baselines: &Path) -> PathBuf {
    let mut name = baselines.as_os_str().to_owned();
    name.push(".verdicts");
    name.into()
}

/// Leaves a verdict for the process that learns these baselines.
pub fn leave(baselines: &Path, word: &Word) -> io::Result<()> {
    let mut file = Access::Group.options().append(true).create(true).open(inbox_path(baselines))?;
    file.lock()?;
    if file.metadata()?.len() >= MOST_BYTES {
        return Err(io::Error::other("too many verdicts wait there: nobody takes them up"));
    }
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

impl Inbox {
    pub(super) fn open(baselines: &Path) -> io::Result<Self> {
        let mut options = Access::Group.options();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Self { file: options.open(inbox_path(baselines))? })
    }

    /// Hands out what waits; it is gone once `done` has kept it.
    pub(super) fn take(&mut self, done: impl FnOnce(Taken) -> bool) -> io::Result<()> {
        // The usual case, each second.
        if self.file.metadata()?.len() == 0 {
            return Ok(());
        }
        self.file.lock()?;
        let kept = self.read().map(done);
        let cleared = match kept {
            Ok(true) => self.file.set_len(0),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.file.unlock()?;
        cleared
    }

    fn read(&mut self) -> io::Result<Taken> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        // A line more than may wait.
        (&self.file).take(2 * MOST_BYTES).read_to_end(&mut text)?;
        let mut taken = Taken::default();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(word) => taken.words.push(word),
                Err(_) => taken.bad += 1,
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(key: &str) -> Word {
        let (from_s, until_s, at_s) = (60, 119, 1_000);
        let verdict = Verdict::Expected;
        Word { key: key.into(), alert: Some("a1".to_owned()), from_s, until_s, verdict, at_s }
    }

    #[test]
    fn what_is_left_is_taken_once_and_kept_until_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let baselines = dir.path().join("normal.redb");
        let mut inbox = Inbox::open(&baselines).unwrap();
        inbox.take(|_| panic!("nothing waits")).unwrap();
        leave(&baselines, &word("address:10.0.0.1")).unwrap();
        leave(&baselines, &word("address:10.0.0.2")).unwrap();
        let mut file = File::options().append(true).open(inbox_path(&baselines)).unwrap();
        file.write_all(b"{\"key\":\n").unwrap();
        let mut seen = 0;
        inbox
            .take(|taken| {
                assert_eq!(taken.words, [word("address:10.0.0.1"), word("address:10.0.0.2")]);
                assert_eq!(taken.bad, 1);
                seen += 1;
                false
            })
            .unwrap();
        inbox
            .take(|taken| {
                seen += taken.words.len();
                true
            })
            .unwrap();
        assert_eq!(seen, 3, "again, as it could not be written");
        inbox.take(|_| panic!("nothing waits")).unwrap();
    }

    #[test]
    fn nobody_fills_a_disk_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let baselines = dir.path().join("normal.redb");
        std::fs::write(inbox_path(&baselines), vec![b'x'; MOST_BYTES as usize]).unwrap();
        assert!(leave(&baselines, &word("a")).is_err());
    }
}

//! What an earlier run left half-written is found at the start.
//!
//! Text is cut after its last whole line and gets its final name. Parquet can't
//! be read without its footer: a file that has one gets its final name, another
//! one is named `.unfinished` and kept, for whoever wants to look into it.
//! Start at [`recover`].

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::super::zeek;
use super::names::{ALERT_STEMS, CONN, FLOW_STEMS, FLOWS_CSV, FLOWS_PARQUET, FileName, FileState};

/// Read at once; files may have gigabytes.
const BLOCK_BYTES: usize = 1 << 18;

/// First and last bytes of a Parquet file.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// A file that an earlier run left. [`fmt::Display`] gives a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its name now, or then if it is no more.
    pub path: PathBuf,
    pub outcome: Recovery,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It has its final name and holds these whole records; half a line of
    /// `cut_bytes` was cut off.
    Completed { records: u64, cut_bytes: u64 },
    /// A whole Parquet file that only lacked its name.
    Named { bytes: u64 },
    /// It held no whole record and was removed.
    Empty { cut_bytes: u64 },
    /// It can't be read and was set aside.
    Unfinished { bytes: u64 },
    /// It could not be looked after and is as it was.
    Failed { error: String },
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.outcome {
            Recovery::Completed { records, cut_bytes: 0 } => {
                write!(f, "completed {path} of an earlier run: {records} records")
            }
            Recovery::Completed { records, cut_bytes } => write!(
                f,
                "completed {path} of an earlier run: {records} records, {cut_bytes} bytes of half \
                 a record cut off"
            ),
            Recovery::Named { bytes } => {
                write!(f, "completed {path} of an earlier run: {bytes} bytes")
            }
            Recovery::Empty { .. } => {
                write!(f, "removed {path} of an earlier run: it held no whole record")
            }
            Recovery::Unfinished { bytes } => write!(
                f,
                "an earlier run did not finish {path}: {bytes} bytes that can't be read, at most a \
                 minute of records"
            ),
            Recovery::Failed { error } => {
                write!(f, "can't complete {path} of an earlier run: {error}")
            }
        }
    }
}

/// Looks after everything of ours that is half-written in `folder`, oldest
/// first. Nobody may be writing there.
pub(super) fn recover(folder: &Path) -> io::Result<Vec<Recovered>> {
    let stems = [&FLOW_STEMS[..], &ALERT_STEMS].concat();
    let mut parts: Vec<FileName> = fs::read_dir(folder)?
        .filter_map(|entry| FileName::parse_any(&stems, entry.ok()?.file_name().to_str()?))
        .filter(|name| name.state == FileState::Part)
        .collect();
    parts.sort_by_key(|name| (name.began_s, name.number, name.text()));
    Ok(parts
        .into_iter()
        .map(|name| {
            let path = folder.join(name.text());
            look_after(folder, name, &path).unwrap_or_else(|error| Recovered {
                path,
                outcome: Recovery::Failed { error: error.to_string() },
            })
        })
        .collect())
}

fn look_after(folder: &Path, name: FileName, part: &Path) -> io::Result<Recovered> {
    if !part.symlink_metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if name.stem == FLOWS_PARQUET {
        let bytes = part.metadata()?.len();
        let (state, outcome) = if has_footer(part)? {
            (FileState::Complete, Recovery::Named { bytes })
        } else {
            (FileState::Unfinished, Recovery::Unfinished { bytes })
        };
        return Ok(Recovered { path: rename(folder, name, part, state)?, outcome });
    }
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    let found = Lines::count(&mut file)?;
    let heads = match name.stem {
        FLOWS_CSV => found.lines.min(1),
        CONN => found.comments,
        _ => 0,
    };
    let (records, cut_bytes) = (found.lines - heads, found.bytes - found.whole_bytes);
    if records == 0 {
        fs::remove_file(part)?;
        return Ok(Recovered { path: part.to_owned(), outcome: Recovery::Empty { cut_bytes } });
    }
    let changed = file.metadata()?.modified()?;
    file.set_len(found.whole_bytes)?;
    if name.stem == CONN && !found.closed {
        file.seek(SeekFrom::End(0))?;
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        file.write_all(&zeek::close_line(i64::try_from(changed).unwrap_or(i64::MAX)))?;
    }
    // Its age is that of its records.
    file.set_modified(changed)?;
    let path = rename(folder, name, part, FileState::Complete)?;
    Ok(Recovered { path, outcome: Recovery::Completed { records, cut_bytes } })
}

/// Never over another file.
fn rename(folder: &Path, name: FileName, part: &Path, state: FileState) -> io::Result<PathBuf> {
    let mut name = FileName { state, ..name };
    loop {
        let path = folder.join(name.text());
        if path.symlink_metadata().is_err() {
            fs::rename(part, &path)?;
            return Ok(path);
        }
        name.number = name.number.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?;
    }
}

fn has_footer(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    // Magic, length of the footer, magic again.
    if file.metadata()?.len() < 12 {
        return Ok(false);
    }
    let mut magic = [0; 4];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut magic)?;
    Ok(magic == *PARQUET_MAGIC)
}

/// What a text file holds.
#[derive(Debug, Default)]
struct Lines {
    bytes: u64,
    /// Up to the end of the last whole line.
    whole_bytes: u64,
    lines: u64,
    /// Lines that begin with `#`.
    comments: u64,
    /// The last whole line is Zeek's `#close`.
    closed: bool,
}

impl Lines {
    fn count(file: &mut File) -> io::Result<Self> {
        let mut found = Self::default();
        let mut block = vec![0; BLOCK_BYTES];
        let mut start = Vec::new();
        loop {
            let n = match file.read(&mut block) {
                Ok(0) => return Ok(found),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for line in block[..n].split_inclusive(|&byte| byte == b'\n') {
                found.bytes += line.len() as u64;
                // Only how a line starts matters, wherever blocks cut it.
                let room = b"#close\t".len().saturating_sub(start.len());
                start.extend_from_slice(&line[..line.len().min(room)]);
                if line.ends_with(b"\n") {
                    found.lines += 1;
                    found.whole_bytes = found.bytes;
                    found.comments += u64::from(start.starts_with(b"#"));
                    found.closed = start == b"#close\t";
                    start.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{ALERTS, EVE, FLOWS_NDJSON, Stem};
    use super::*;

    fn part(folder: &Path, stem: Stem, bytes: &[u8]) -> FileName {
        let name = FileName { stem, began_s: 1_795_253_400, number: 1, state: FileState::Part };
        fs::write(folder.join(name.text()), bytes).expect("written");
        name
    }

    fn recovered(stem: Stem, bytes: &[u8]) -> (Recovery, Option<Vec<u8>>) {
        let folder = tempfile::tempdir().expect("folder");
        let name = part(folder.path(), stem, bytes);
        let mut all = recover(folder.path()).expect("recovered");
        assert_eq!(all.len(), 1);
        let Recovered { path, outcome } = all.remove(0);
        let there = fs::read(&path).ok();
        if matches!(outcome, Recovery::Completed { .. } | Recovery::Named { .. }) {
            let name = FileName { state: FileState::Complete, ..name };
            assert_eq!(path, folder.path().join(name.text()));
        }
        assert_eq!(recover(folder.path()).expect("again"), [], "once is enough");
        (outcome, there)
    }

    #[test]
    fn text_is_cut_after_its_last_whole_line() {
        for stem in [FLOWS_NDJSON, EVE, ALERTS] {
            let (outcome, text) = recovered(stem, b"{\"a\":1}\n{\"b\":2}\n{\"c\"");
            assert_eq!(outcome, Recovery::Completed { records: 2, cut_bytes: 4 });
            assert_eq!(text.as_deref(), Some(&b"{\"a\":1}\n{\"b\":2}\n"[..]));
        }
        let (outcome, text) = recovered(FLOWS_CSV, b"start,end\n1,2\n3,");
        assert_eq!(outcome, Recovery::Completed { records: 1, cut_bytes: 2 });
        assert_eq!(text.as_deref(), Some(&b"start,end\n1,2\n"[..]));
    }

    #[test]
    fn heads_are_no_records_and_files_without_records_go() {
        for (stem, bytes) in [
            (FLOWS_NDJSON, &b""[..]),
            (FLOWS_NDJSON, b"{\"half\":"),
            (FLOWS_CSV, b"start,end\n1,"),
            (CONN, b"#separator \\x09\n#path\tconn\n1.0"),
        ] {
            let (outcome, there) = recovered(stem, bytes);
            assert!(matches!(outcome, Recovery::Empty { .. }), "{outcome:?}");
            assert_eq!(there, None);
        }
    }

    #[test]
    fn a_zeek_log_is_closed_once() {
        for bytes in [&b"#path\tconn\n1.0\tC1\n"[..], b"#path\tconn\n1.0\tC1\n2.0\t"] {
            let (outcome, text) = recovered(CONN, bytes);
            assert!(matches!(outcome, Recovery::Completed { records: 1, .. }), "{outcome:?}");
            let text = String::from_utf8(text.expect("file")).expect("text");
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[..2], ["#path\tconn", "1.0\tC1"]);
            assert!(lines.len() == 3 && lines[2].starts_with("#close\t20"), "{text}");
        }
        let whole = b"#path\tconn\n1.0\tC1\n#close\t2026-11-21-09-30-00\n";
        assert_eq!(recovered(CONN, whole).1.as_deref(), Some(&whole[..]));
    }

    #[test]
    fn lines_are_counted_across_blocks() {
        let mut text = Vec::new();
        for n in 0..90_000 {
            text.extend_from_slice(format!("{{\"n\":{n}}}\n").as_bytes());
        }
        assert!(text.len() > 3 * BLOCK_BYTES);
        let (outcome, _) = recovered(FLOWS_NDJSON, &text);
        assert_eq!(outcome, Recovery::Completed { records: 90_000, cut_bytes: 0 });
    }

    #[test]
    fn parquet_without_its_footer_is_set_aside() {
        let (outcome, there) = recovered(FLOWS_PARQUET, b"PAR1 some columns");
        assert_eq!(outcome, Recovery::Unfinished { bytes: 17 });
        assert_eq!(there.as_deref(), Some(&b"PAR1 some columns"[..]));
        let (outcome, _) = recovered(FLOWS_PARQUET, b"PAR1....\x04\0\0\0PAR1");
        assert_eq!(outcome, Recovery::Named { bytes: 16 });
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_of_others_is_touched() {
        let folder = tempfile::tempdir().expect("folder");
        let name = part(folder.path(), FLOWS_NDJSON, b"{}\n");
        let whole = folder.path().join(FileName { state: FileState::Complete, ..name }.text());
        fs::write(&whole, "earlier\n").expect("written");
        let other = folder.path().join("notes.part");
        fs::write(&other, "half").expect("written");
        let all = recover(folder.path()).expect("recovered");
        assert_eq!(all[0].path, folder.path().join("flows-20261121T093000Z_002.ndjson"));
        assert_eq!(fs::read_to_string(whole).expect("file"), "earlier\n");
        assert_eq!(fs::read_to_string(other).expect("file"), "half");
    }
}

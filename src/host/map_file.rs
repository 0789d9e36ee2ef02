//! The file that a host map is recorded into.
//!
//! A map that is there goes on, as it does after a restart: readers know where one
//! watch ended and the next began. What is no map is left alone.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::event::HostEvent;
use super::log::MAX_LINE_BYTES;

/// Command lines of all users are in it: for its owner alone.
const MODE: u32 = 0o600;

/// Where a map is written to.
#[derive(Debug)]
pub struct MapFile {
    /// At its end, and locked where files can be.
    pub file: File,
    /// What was there before.
    pub bytes: u64,
    /// Nothing was there.
    pub is_new: bool,
}

impl MapFile {
    /// Opens it for the next lines. Errors say what to do.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            // A pipe or a terminal has nothing to go on from.
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Self { file, bytes: 0, is_new: false });
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(MODE);
        let (mut file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.open(path)?, false)
            }
            created => (created?, true),
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process records into it: name another file"));
            }
            // Not every file system has locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            check(&file)?;
            if file.metadata()?.permissions().mode() & 0o077 != 0 {
                // Of before maps were their owner's alone.
                file.set_permissions(Permissions::from_mode(MODE))?;
            }
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            // A line that a crash cut must not swallow the next.
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self { file, bytes, is_new })
    }
}

/// An error where it does not begin as a map does.
fn check(file: &File) -> io::Result<()> {
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_LINE_BYTES as u64)).read_until(b'\n', &mut line)?;
    let event: Result<HostEvent, _> = serde_json::from_slice(&line);
    event.map(drop).map_err(|_| {
        let what = "it is there and is no host map (or a compressed one): name another file";
        io::Error::new(io::ErrorKind::AlreadyExists, what)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LINE: &str = r#"{"time":"2026-11-26T10:00:00Z","event":"map.time"}"#;

    #[test]
    fn a_map_is_made_for_its_owner_and_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.jsonl");
        let mut map = MapFile::open(&path).expect("made");
        assert_eq!((map.bytes, map.is_new), (0, true));
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, MODE);
        write!(map.file, "{LINE}\nhalf a li").expect("written");
        let second = MapFile::open(&path).expect_err("two at once").to_string();
        assert!(second.contains("another process"), "{second}");
        drop(map);
        let mut map = MapFile::open(&path).expect("goes on");
        assert_eq!((map.bytes, map.is_new), (LINE.len() as u64 + 11, false));
        writeln!(map.file, "{LINE}").expect("written");
        drop(map);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("opened");
        MapFile::open(&path).expect("of an older version");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, MODE);
        let whole = format!("{LINE}\nhalf a li\n{LINE}\n");
        assert_eq!(fs::read_to_string(&path).expect("read"), whole);
        // Empty is as new as any.
        fs::write(&path, "").expect("written");
        assert_eq!(MapFile::open(&path).expect("begun").bytes, 0);
    }

    #[test]
    fn what_is_no_map_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        for text in ["notes\n", "{}\n", "\n", "\u{0}"] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("open");
            let error = MapFile::open(&path).expect_err("no map").to_string();
            assert!(error.contains("no host map"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o7777, 0o644);
        }
        assert!(MapFile::open(folder.path()).is_err(), "a folder");
        MapFile::open("/dev/null".as_ref()).expect("as good as any");
    }
}

//! Files that nobody ever sees half of.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::output::access::Access;

/// Has a file written under another name, with `.partial` at its end, and moves it into
/// place; what came of it where that fails is removed, for it may be what fills the disk. In the
/// same folder: a file is moved within a file system only.
pub(crate) fn write<T, E: From<io::Error>>(
    path: &Path,
    access: Access,
    write: impl FnOnce(File) -> Result<T, E>,
) -> Result<T, E> {
    let mut partial = path.to_owned().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = access
        .replace(&partial)
        .map_err(E::from)
        .and_then(write)
        .and_then(|told| fs::rename(&partial, path).map(|()| told).map_err(E::from));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_the_old_one_until_it_is_the_whole_new_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("page.html");
        fs::write(&path, "old").expect("written");
        let told = write(&path, Access::Owner, |mut file| {
            file.write_all(b"new")?;
            file.flush()?;
            assert_eq!(fs::read_to_string(&path)?, "old");
            Ok::<_, io::Error>(7)
        });
        assert_eq!(told.expect("written"), 7);
        assert_eq!(fs::read_to_string(&path).expect("the file"), "new");
        assert_eq!(names(dir.path()), ["page.html"]);
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("page.html");
        fs::write(&path, "old").expect("written");
        let failed = write(&path, Access::Owner, |mut file| {
            file.write_all(b"ne")?;
            Err::<(), _>(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).expect("the file"), "old");
        assert_eq!(names(dir.path()), ["page.html"]);
    }
}

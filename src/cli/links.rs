//! Where a path leads, for rules about files: names are replaced in their folders, links
//! are set anew in theirs.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Links that are followed from one name, as many as Linux does.
const MOST_LINKS: usize = 40;

/// Names of a folder that are looked at for links.
const MOST_NAMES: usize = 65_536;

/// The folder that holds a file, and those of what it leads to if it is a link.
pub(super) fn folders_along(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut next = std::path::absolute(file).ok();
    while let Some(at) = next.take()
        && folders.len() <= MOST_LINKS
    {
        let Some(folder) = at.parent() else { break };
        folders.push(folder.to_owned());
        next = fs::read_link(&at).ok().map(|target| folder.join(target));
    }
    folders
}

/// What is read where a path may be a file or a folder of files: links in it lead elsewhere
/// (`/var/log/containers`).
pub(super) fn folders_read(path: &Path) -> Vec<PathBuf> {
    let mut folders = folders_along(path);
    if path.is_dir() {
        folders.extend(std::path::absolute(path).ok());
        let links = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_symlink().then(|| entry.path())
        };
        let entries = fs::read_dir(path).into_iter().flatten().take(MOST_NAMES);
        folders.extend(entries.filter_map(links).flat_map(|link| folders_along(&link)));
    }
    folders.sort_unstable();
    folders.dedup();
    folders
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_chain_of_links_is_followed_to_its_end_and_a_ring_is_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["containers", "pods", "docker"] {
            fs::create_dir(at(folder)).expect("made");
        }
        fs::write(at("docker/a.log"), "").expect("written");
        symlink("../docker/a.log", at("pods/a.log")).expect("linked");
        symlink(at("pods/a.log"), at("containers/a.log")).expect("linked");
        symlink("b", at("containers/b")).expect("linked");
        let real = |folders: Vec<PathBuf>| {
            let mut real: Vec<_> =
                folders.iter().map(|folder| folder.canonicalize().expect("there")).collect();
            real.sort_unstable();
            real.dedup();
            real
        };
        let all =
            ["containers", "docker", "pods"].map(|name| at(name).canonicalize().expect("there"));
        assert_eq!(real(folders_along(&at("containers/a.log"))), all);
        let read = real(folders_read(&at("containers")));
        assert!(all.iter().all(|folder| read.contains(folder)), "{read:?}");
        assert!(folders_along(&at("containers/b")).len() <= MOST_LINKS + 1);
    }
}

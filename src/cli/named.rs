//! What is odd about inputs as they were named: said before they are read, since their
//! figures would not show it.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Usage;
use crate::input::is_hidden;

/// An interface that is listened to twice would give each packet twice.
pub(super) fn each_once(interfaces: &[String]) -> Result<(), Usage> {
    let twice = interfaces.iter().enumerate().find(|(at, name)| interfaces[..*at].contains(name));
    twice.map_or(Ok(()), |(_, name)| {
        Err(Usage(format!("--interface {name} is there twice: each packet would count twice")))
    })
}

/// A map that is read twice would hold two claims to each socket, each half as certain.
pub(super) fn maps_once(maps: &[PathBuf]) -> Result<(), Usage> {
    let mut seen = HashSet::new();
    for map in maps {
        let Ok(about) = map.metadata() else { continue };
        if about.is_file() && !seen.insert((about.dev(), about.ino())) {
            return Err(Usage(format!("--procs {}: the same map is named twice", map.display())));
        }
    }
    Ok(())
}

/// Named twice under one name or two, and folders that are not gone into.
pub(super) fn oddities(paths: &[PathBuf]) -> Vec<String> {
    counted_twice(paths, false)
}

/// The logs to follow, each once, and what to warn of.
pub(super) fn each_log_once(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut once, mut odd): (Vec<PathBuf>, Vec<String>) = Default::default();
    let same = |a: &Path, b: &Path| std::path::absolute(a).ok() == std::path::absolute(b).ok();
    for path in paths {
        if once.iter().any(|before| same(before, path)) {
            odd.push(format!("{} is named twice: it is followed once", path.display()));
        } else {
            once.push(path.clone());
        }
    }
    odd.extend(counted_twice(&once, true));
    (once, odd)
}

fn counted_twice(paths: &[PathBuf], into_subfolders: bool) -> Vec<String> {
    let mut odd = Vec::new();
    let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut note = |path: &Path, about: &Metadata, odd: &mut Vec<String>| {
        if let Some(first) = seen.insert((about.dev(), about.ino()), path.to_owned()) {
            let same = if first == path {
                "is named twice".to_owned()
            } else {
                format!("is the same file as {}", first.display())
            };
            odd.push(format!("{}: {same}: what is in it counts twice", path.display()));
        }
    };
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        let Ok(about) = path.metadata() else { continue };
        if about.is_file() {
            note(path, &about, &mut odd);
        } else if about.is_dir() {
            // What can't be listed says so when it is read.
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            entries.retain(|entry| !is_hidden(entry));
            entries.sort();
            let mut folders = 0;
            for entry in entries {
                match entry.metadata() {
                    Ok(about) if about.is_dir() => folders += 1,
                    Ok(about) if about.is_file() => note(&entry, &about, &mut odd),
                    _ => {}
                }
            }
            if folders > 0 && !into_subfolders {
                let what = if folders == 1 { "subfolder was" } else { "subfolders were" };
                odd.push(format!("{}: {folders} {what} not looked into", path.display()));
            }
        }
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: each was followed by itself, with one state for both.
    #[test]
    fn a_log_that_is_named_twice_is_followed_once_and_one_with_two_names_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("logs/more")).unwrap();
        std::fs::write(path("logs/a.log"), "").unwrap();
        std::os::unix::fs::symlink(path("logs/a.log"), path("link")).unwrap();
        let here = |name: &str| PathBuf::from(name);
        let twice = [path("logs/a.log"), path("logs/./a.log"), here("-"), here("-")];
        let (once, odd) = each_log_once(&twice);
        assert_eq!(once, [path("logs/a.log"), here("-")]);
        assert_eq!(odd.len(), 2);
        assert!(odd.iter().all(|odd| odd.ends_with("is named twice: it is followed once")));
        let (all, odd) = each_log_once(&[path("logs"), path("link")]);
        assert_eq!(all.len(), 2);
        assert_eq!(odd.len(), 1, "{odd:?}");
        assert!(odd[0].contains("link: is the same file as") && odd[0].contains("counts twice"));
    }
}

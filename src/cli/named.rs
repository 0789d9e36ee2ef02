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
            if folders > 0 {
                let what = if folders == 1 { "subfolder was" } else { "subfolders were" };
                odd.push(format!("{}: {folders} {what} not looked into", path.display()));
            }
        }
    }
    odd
}

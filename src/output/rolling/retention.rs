//! Old files go: a maximum age and a maximum size of what is kept.
//!
//! Removes regular files of one folder whose names are ours to the letter,
//! oldest first, and never one that is being written. General: whoever leaves
//! dated files says which names are its own. Start at [`prune`].

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::names::{FileName, FileState, Stem};

/// How much is kept; without a limit everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Files whose newest byte is older go.
    pub max_age: Option<Duration>,
    /// The oldest files go until the rest, files being written included, is no
    /// larger.
    pub max_bytes: Option<u64>,
}

/// What [`prune`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub files: u64,
    pub bytes: u64,
}

/// A file that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// When it was begun, by its name.
    pub began_s: i64,
    /// Orders files that were begun in one second.
    pub number: u32,
    /// Counts, and is never removed.
    pub being_written: bool,
}

/// Says for a file's name whether it is ours.
pub type Owns<'a> = dyn Fn(&str) -> Option<OwnFile> + 'a;

/// Names of files of these kinds: for [`prune`].
pub fn owned_by(stems: &[Stem]) -> impl Fn(&str) -> Option<OwnFile> + '_ {
    |text| {
        let FileName { began_s, number, state, .. } = FileName::parse_any(stems, text)?;
        Some(OwnFile { began_s, number, being_written: state == FileState::Part })
    }
}

struct Candidate {
    path: PathBuf,
    own: OwnFile,
    bytes: u64,
    /// Of its newest byte.
    newest_s: i64,
}

/// Removes what is beyond the limits. A file is as old as its last change, or
/// as its name says if that is later (a copy that kept its time). A file that
/// can't be removed does not keep the others: the first error comes back
/// beside what was removed.
pub fn prune(
    folder: &Path,
    owns: &Owns<'_>,
    limits: Limits,
    now_ns: i64,
) -> (Removed, Option<io::Error>) {
    let mut removed = Removed::default();
    if limits == Limits::default() {
        return (removed, None);
    }
    let mut files = match candidates(folder, owns) {
        Ok(files) => files,
        Err(error) => return (removed, Some(error)),
    };
    // The oldest last, where they are taken from.
    files.sort_by(|x, y| {
        let key = |file: &Candidate| Reverse((file.own.began_s, file.own.number));
        key(x).cmp(&key(y)).then_with(|| y.path.cmp(&x.path))
    });
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    let now_s = now_ns.div_euclid(1_000_000_000);
    let mut first_error = None;
    while let Some(file) = files.pop() {
        let age_s = u64::try_from(now_s.saturating_sub(file.newest_s)).unwrap_or(0);
        let too_old = limits.max_age.is_some_and(|max| age_s > max.as_secs());
        let too_much = limits.max_bytes.is_some_and(|max| total > max);
        if file.own.being_written || !(too_old || too_much) {
            continue;
        }
        match fs::remove_file(&file.path) {
            Ok(()) => {
                removed.files += 1;
                removed.bytes += file.bytes;
                total -= file.bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => total -= file.bytes,
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    (removed, first_error)
}

fn candidates(folder: &Path, owns: &Owns<'_>) -> io::Result<Vec<Candidate>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(own) = entry.file_name().to_str().and_then(owns) else { continue };
        // Not through links: what they point to is not ours.
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed_s = i64::try_from(changed.as_secs()).unwrap_or(i64::MAX);
        files.push(Candidate {
            path: entry.path(),
            own,
            bytes: metadata.len(),
            newest_s: changed_s.max(own.began_s),
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::super::names::{ALERT_STEMS, ALERTS, FLOW_STEMS, FLOWS_NDJSON};
    use super::*;

    const NOW_S: i64 = 1_795_253_400;

    fn put(folder: &Path, name: &str, bytes: usize, changed_s: i64) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, vec![b'x'; bytes]).expect("written");
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed_s as u64);
        File::options()
            .append(true)
            .open(&path)
            .expect("file")
            .set_modified(changed)
            .expect("time");
        path
    }

    fn name(stem: Stem, began_s: i64, state: FileState) -> String {
        FileName { stem, began_s, number: 1, state }.text()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    fn limits(max_age_s: Option<u64>, max_bytes: Option<u64>) -> Limits {
        Limits { max_age: max_age_s.map(Duration::from_secs), max_bytes }
    }

    fn prune_flows(folder: &Path, limits: Limits) -> Removed {
        let (removed, error) = prune(folder, &owned_by(&FLOW_STEMS), limits, NOW_S * 1_000_000_000);
        assert!(error.is_none(), "{error:?}");
        removed
    }

    #[test]
    fn files_of_others_links_folders_and_parts_stay_whatever_the_limits() {
        let folder = tempfile::tempdir().expect("folder");
        let ours = name(FLOWS_NDJSON, NOW_S - 9000, FileState::Complete);
        let keep = [
            "flows.ndjson".to_owned(),
            "notes-20261121T143000Z.ndjson".to_owned(),
            format!("{ours}.gz"),
            name(ALERTS, NOW_S - 9000, FileState::Complete),
            name(FLOWS_NDJSON, NOW_S - 8000, FileState::Part),
        ];
        for other in &keep {
            put(folder.path(), other, 10, NOW_S - 9000);
        }
        put(folder.path(), &ours, 10, NOW_S - 9000);
        let dir = name(FLOWS_NDJSON, NOW_S - 7000, FileState::Complete);
        fs::create_dir(folder.path().join(&dir)).expect("folder");
        let link = name(FLOWS_NDJSON, NOW_S - 6000, FileState::Complete);
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path().join(&keep[0]), folder.path().join(&link))
            .expect("link");
        let removed = prune_flows(folder.path(), limits(Some(0), Some(0)));
        assert_eq!(removed, Removed { files: 1, bytes: 10 });
        let left = names(folder.path());
        assert!(!left.contains(&ours));
        for kept in keep.iter().chain([&dir]) {
            assert!(left.contains(kept), "{kept} of {left:?}");
        }
        #[cfg(unix)]
        assert!(left.contains(&link));
    }

    #[test]
    fn age_is_that_of_the_newest_byte() {
        let folder = tempfile::tempdir().expect("folder");
        // A file of a whole day, changed a minute ago, and one that is a day old.
        let young = name(FLOWS_NDJSON, NOW_S - 86_400, FileState::Complete);
        let old = name(FLOWS_NDJSON, NOW_S - 86_500, FileState::Complete);
        put(folder.path(), &young, 10, NOW_S - 60);
        put(folder.path(), &old, 10, NOW_S - 86_450);
        assert_eq!(prune_flows(folder.path(), limits(Some(3600), None)).files, 1);
        assert_eq!(names(folder.path()), [young]);
        assert_eq!(prune_flows(folder.path(), limits(None, None)), Removed::default());
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_and_no_panic() {
        let missing = Path::new("/nonexistent/flowtap");
        let (removed, error) =
            prune(missing, &owned_by(&ALERT_STEMS), limits(Some(1), None), NOW_S);
        assert_eq!(removed, Removed::default());
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_stays_is_the_newest_that_fits(
            sizes in prop::collection::vec(0usize..100, 0..12), max_bytes in 0u64..600,
        ) {
            let folder = tempfile::tempdir().expect("folder");
            let mut all = Vec::new();
            for (n, &bytes) in sizes.iter().enumerate() {
                let name = name(FLOWS_NDJSON, NOW_S - 1000 + n as i64, FileState::Complete);
                put(folder.path(), &name, bytes, NOW_S);
                all.push((name, bytes as u64));
            }
            let removed = prune_flows(folder.path(), limits(None, Some(max_bytes)));
            let left = names(folder.path());
            let total = |names: &[(String, u64)]| names.iter().map(|(_, bytes)| bytes).sum::<u64>();
            let gone = all.len() - left.len();
            // Those that are left are the newest ones, and one more would be too much.
            prop_assert!(all[gone..].iter().map(|(name, _)| name).eq(&left));
            prop_assert!(total(&all[gone..]) <= max_bytes);
            prop_assert!(gone == 0 || total(&all[gone - 1..]) > max_bytes);
            prop_assert_eq!(removed, Removed { files: gone as u64, bytes: total(&all[..gone]) });
        }
    }
}

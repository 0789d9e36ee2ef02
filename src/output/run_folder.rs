//! Whose results lie in a folder.
//!
//! A folder of `read` holds one run: what an earlier one left goes when the next begins,
//! whatever formats that had and however far it came. A folder of `live` holds what all its
//! starts wrote. So neither writes where the other did: who looks into it later would add
//! up the same traffic twice, or take one run's alerts for another's.
//!
//! Start at [`RunFolder::begin_read`]; [`super::rolling`] asks whether a folder holds a run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Format;
use super::access::Access;
use super::folder_lock::{FolderLock, LockError, RUN_LOCK};
use super::rolling::{ALERT_STEMS, FLOW_STEMS, FileName};

/// What a run is told by, and its alerts, whatever the formats of its flows.
const OF_EACH_RUN: [&str; 4] = ["alerts.ndjson", "allowed.ndjson", "summary.json", "run.json"];

/// Says from the start which files a run makes, should it be killed.
const BEGUN: &str = ".flowtap.run";

/// What logs said, of a run that had some.
const OF_LOGS: [&str; 3] = ["requests.ndjson", "reported_flows.ndjson", "counters.ndjson"];

/// Of runs that do not say in which formats they wrote. `eve.json` and `conn.log` are other
/// programs' names too: they are ours where the run that was here says so.
const FLOWS: [&str; 3] = ["flows.ndjson", "flows.csv", "flows.parquet"];

/// Runs whose files are in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    Read,
    Live,
}

/// Why a run can't have a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{} holds the results of a live run: name another folder", .0.display())]
    Live(PathBuf),
    #[error("{} holds the results of `flowtap read`: name another folder", .0.display())]
    Read(PathBuf),
    #[error("{} is packed, of an earlier run: move it away, or name another folder", .0.display())]
    Packed(PathBuf),
    #[error("{} is read: it would be written over; name another folder", .0.display())]
    Input(PathBuf),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("can't write into {}: {error}", folder.display())]
    Io { folder: PathBuf, error: io::Error },
}

/// The folder of a run of `read`, this process's own as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    _lock: FolderLock,
}

impl RunFolder {
    /// Takes a folder that is there, and removes what an earlier run of `read` left in it,
    /// as that says (`.flowtap.run`, `run.json`). Files of `formats` are left to who makes them anew; `inputs`
    /// are never touched.
    pub fn begin_read(
        folder: &Path,
        formats: &[Format],
        inputs: &[PathBuf],
    ) -> Result<Self, FolderError> {
        let begun = json_in(folder, BEGUN);
        let told = if begun.is_null() { record(folder) } else { begun };
        let lock = FolderLock::take(folder, RUN_LOCK)?;
        let failed = |error| FolderError::Io { folder: folder.to_owned(), error };
        if holds(folder).map_err(failed)? == Holds::Live {
            return Err(FolderError::Live(folder.to_owned()));
        }
        let written: Vec<&str> = formats.iter().map(|format| format.file_name()).collect();
        let mut old: Vec<String> = Vec::new();
        if told["inputs"].is_array() {
            match told["formats"].as_array() {
                Some(told) => {
                    let told: Vec<&str> = told.iter().filter_map(Value::as_str).collect();
                    let of_formats = Format::ALL.iter();
                    let of_formats = of_formats.filter(|format| told.contains(&format.name()));
                    old.extend(of_formats.map(|format| format.file_name().to_owned()));
                }
                None => old.extend(FLOWS.map(str::to_owned)),
            }
            old.extend(OF_EACH_RUN.map(str::to_owned));
            if json_in(folder, "summary.json")["sources"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
            {
                old.extend(OF_LOGS.map(str::to_owned));
            }
            old.extend(OF_EACH_RUN.iter().map(|name| format!("{name}.partial")));
        }
        let is_input = inputs.iter().any(|input| is_same_folder(input, folder));
        let ours = old.iter().map(String::as_str).chain(written.iter().copied());
        for name in ours.chain(OF_EACH_RUN).chain(OF_LOGS) {
            let path = folder.join(name);
            // Of a folder that is read, what no earlier run left there may be an input.
            let may_be_read = is_input && path.exists() && !old.iter().any(|old| old == name);
            if may_be_read || inputs.iter().any(|input| is_same(input, &path)) {
                return Err(FolderError::Input(path));
            }
        }
        old.retain(|name| !written.contains(&name.as_str()));
        for name in ["flows.ndjson", "alerts.ndjson"] {
            let packed = ["zst", "gz"].map(|ending| folder.join(format!("{name}.{ending}")));
            if let Some(packed) = packed.into_iter().find(|packed| packed.exists()) {
                return Err(FolderError::Packed(packed));
            }
        }
        for name in old {
            remove(&folder.join(name)).map_err(failed)?;
        }
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        let begun = json!({"inputs": [], "formats": names});
        let begin = |mut file: File| file.write_all(begun.to_string().as_bytes());
        Access::Group.create(&folder.join(BEGUN)).and_then(begin).map_err(failed)?;
        Ok(Self { _lock: lock })
    }
}

/// Removes a file that need not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whose files are in a folder, also where a run was killed before it could say so.
pub(super) fn holds(folder: &Path) -> io::Result<Holds> {
    let told = record(folder);
    let mut read = told["inputs"].is_array();
    // Names that others use too: somebody's own export is no run.
    let locked = folder.join(RUN_LOCK).exists();
    if told["interfaces"].is_array() {
        return Ok(Holds::Live);
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_live = |stems| FileName::parse_any(stems, name).is_some();
        if is_live(&FLOW_STEMS) || is_live(&ALERT_STEMS) {
            return Ok(Holds::Live);
        }
        read |= locked && (FLOWS.contains(&name) || name == "alerts.ndjson");
    }
    Ok(if read { Holds::Read } else { Holds::Nothing })
}

/// What the folder's run says of itself; null where there is none.
fn record(folder: &Path) -> Value {
    json_in(folder, "run.json")
}

fn json_in(folder: &Path, name: &str) -> Value {
    let bytes = fs::read(folder.join(name));
    bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn is_same_folder(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other && one.is_dir(),
        _ => false,
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other && one.is_file(),
        _ => false,
    }
}

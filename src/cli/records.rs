//! Records of a run, as they lie in its folder: `alerts.ndjson` and `flows.ndjson`, or
//! the pieces that a live run wrote of them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::read_files::ALLOWED;
use super::rundir;
use crate::alert::thousands;
use crate::output::folder_lock;
use crate::output::rolling::FLOW_STEMS;

/// No record of ours is longer by far.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// What is behind the name of a file while it is written.
const PART: &str = ".part";

/// `alerts.ndjson`, or those of a live run: `alerts-TIME.ndjson`, oldest first,
/// and what is being written. None is no error: a file is made with its first record.
pub(super) fn files_of(dir: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let path = entry?.path();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|found| {
            // Packed by whoever keeps them long.
            let found = [".zst", ".gz", PART]
                .into_iter()
                .fold(found, |name, ending| name.strip_suffix(ending).unwrap_or(name));
            found == name
                || found
                    .strip_prefix(stem)
                    .is_some_and(|rest| rest.starts_with('-') && rest.ends_with(ending))
        });
        if is_ours {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Of each alert its last revision, in the order of their first.
fn last_revisions(found: Vec<Value>) -> Vec<Value> {
    let mut last: Vec<Value> = Vec::new();
    for alert in found {
        match last.iter_mut().find(|known| known["id"] == alert["id"]) {
            Some(known) => *known = alert,
            None => last.push(alert),
        }
    }
    last
}

/// The files of a run's flow records; an error where it had flows and kept none as NDJSON.
pub(super) fn flow_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = files_of(dir, "flows.ndjson")?;
    if !files.is_empty() {
        return Ok(files);
    }
    if let Some(why) = why_no_flows(dir)? {
        bail!("{} {why}", dir.display());
    }
    if folder_lock::is_being_written(dir) {
        eprintln!("flowtap: this run is still going and has written no flows yet");
    }
    Ok(files)
}

/// Why a run without NDJSON flows has none that can be read, where it is not that
/// there were no flows.
pub(super) fn why_no_flows(dir: &Path) -> anyhow::Result<Option<String>> {
    let mut others = Vec::new();
    for stem in FLOW_STEMS.iter().filter(|stem| stem.extension != "ndjson") {
        let name = format!("{}.{}", stem.prefix, stem.extension);
        if !files_of(dir, &name)?.is_empty() {
            others.push(name);
        }
    }
    if !others.is_empty() {
        return Ok(Some(format!(
            "has its flows as {} alone: run it again with --out DIR and --format ndjson",
            others.join(", ")
        )));
    }
    if rundir::is_kept(dir) {
        return Ok(Some("kept no flows: run it again with --out DIR".to_owned()));
    }
    // As the run itself counted them; one that still goes on has not.
    let summary = std::fs::read(dir.join("summary.json")).unwrap_or_default();
    let summary: Value = serde_json::from_slice(&summary).unwrap_or_default();
    let flows = summary["flows"].as_u64().unwrap_or_default();
    Ok((flows > 0).then(|| {
        let flows = thousands(flows);
        format!("had {flows} flows, and their file is not there (any more): run it again")
    }))
}

/// Every alert of a run, each in its last revision.
pub(super) fn alerts(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for path in files_of(dir, "alerts.ndjson")? {
        found.append(&mut find(&path, "id", "", true)?);
    }
    Ok(last_revisions(found))
}

/// The one alert whose id begins so.
pub(super) fn alert(dir: &Path, id: &str) -> anyhow::Result<Value> {
    let found = alert_if_any(dir, id)?;
    found.with_context(|| format!("no alert with id {id} in {}", dir.display()))
}

/// What entries of the configuration kept from being alerts.
pub(super) fn allowed(dir: &Path) -> anyhow::Result<Vec<Value>> {
    allowed_of(dir, "")
}

fn allowed_of(dir: &Path, id: &str) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for path in files_of(dir, ALLOWED)? {
        found.append(&mut find(&path, "id", id, true)?);
    }
    Ok(found)
}

/// The same, where there may be none: of the alerts, else of those that were allowed.
pub(super) fn alert_if_any(dir: &Path, id: &str) -> anyhow::Result<Option<Value>> {
    let mut found = Vec::new();
    for path in files_of(dir, "alerts.ndjson")? {
        found.append(&mut find(&path, "id", id, true)?);
    }
    if found.is_empty() {
        found = allowed_of(dir, id)?;
    }
    let mut found = last_revisions(found);
    match (found.len(), found.pop()) {
        (0 | 1, found) => Ok(found),
        (many, _) => bail!("{many} alerts begin with {id}: name one in full"),
    }
}

pub(super) fn find(
    path: &Path,
    field: &str,
    wanted: &str,
    prefix: bool,
) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut number = 0;
    each_line(path, |line| {
        number += 1;
        // Most lines are of other flows: a look at the text spares parsing them.
        if memchr::memmem::find(line, wanted.as_bytes()).is_none() {
            return Ok(());
        }
        let record: Value = serde_json::from_slice(line)
            .with_context(|| format!("{} line {number}: no JSON", path.display()))?;
        let value = record.get(field).and_then(Value::as_str).unwrap_or_default();
        if value == wanted || (prefix && value.starts_with(wanted)) {
            found.push(record);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Shows every line of a file, unpacked where it was packed since. Of a file that is being
/// written the last line may be half a record: it is passed over until its end is there.
pub(super) fn each_line(
    path: &Path,
    mut show: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let read = || format!("can't read {}", path.display());
    let is_part = path.to_str().is_some_and(|path| path.ends_with(PART));
    let file = match File::open(path) {
        // It was completed since it was listed.
        Err(error) if is_part && error.kind() == ErrorKind::NotFound => {
            File::open(path.with_extension(""))
        }
        opened => opened,
    };
    let file = file.with_context(|| format!("can't open {}", path.display()))?;
    let plain: Box<dyn Read> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("zst") => Box::new(zstd::Decoder::new(file).with_context(read)?),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut reader = BufReader::with_capacity(1 << 18, plain);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader).take(MOST_LINE_BYTES).read_until(b'\n', &mut line);
        let length = length.with_context(read)? as u64;
        let is_torn = is_part && length < MOST_LINE_BYTES && !line.ends_with(b"\n");
        if length == 0 || is_torn {
            return Ok(());
        }
        show(&line)?;
    }
}

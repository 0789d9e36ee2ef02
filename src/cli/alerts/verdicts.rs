//! `verdicts.ndjson` beside a run: what analysts found of its alerts.
//!
//! Only ever added to: who changes a verdict adds another, and the last one counts.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::output::access::Access;

const FILE: &str = "verdicts.ndjson";

/// A hundred verdicts on each of the most alerts that a run keeps.
const MOST_BYTES: u64 = 1 << 30;

/// In the order in which they were given; none where there is no file.
pub(super) fn read(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let path = dir.join(FILE);
    let text = match fs::metadata(&path) {
        Ok(about) if about.len() > MOST_BYTES => {
            anyhow::bail!("{} has more than {MOST_BYTES} bytes", path.display())
        }
        Ok(_) => fs::read_to_string(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let text = text.with_context(|| format!("can't read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{} line {}: no JSON", path.display(), at + 1))
        })
        .collect()
}

/// What counts for an alert.
pub(super) fn last<'a>(verdicts: &'a [Value], id: &str) -> Option<&'a Value> {
    verdicts.iter().rev().find(|verdict| verdict["alert"] == id)
}

/// All that were given on one alert.
pub(in crate::cli) fn of_alert(dir: &Path, id: &str) -> anyhow::Result<Vec<Value>> {
    let mut verdicts = read(dir)?;
    verdicts.retain(|verdict| verdict["alert"] == id);
    Ok(verdicts)
}

/// Adds one, and has it on disk before it says so.
pub(super) fn add(dir: &Path, verdict: &Value) -> anyhow::Result<()> {
    let path = dir.join(FILE);
    let write = || -> io::Result<()> {
        let mut file = Access::Group.options().create(true).append(true).open(&path)?;
        // One write: others may be adding theirs.
        file.write_all(format!("{verdict}\n").as_bytes())?;
        file.sync_data()
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

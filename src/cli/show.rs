//! `flowtap show`: everything that a run knows about one alert or flow.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{packets, rundir};
use crate::report::detail;
use crate::report::terminal::Style;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(subcommand)]
    what: What,
    /// Run directory; the newest run by default.
    #[arg(long, global = true, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print the records as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One alert, with its evidence.
    Alert {
        /// The alert's id, or the start of it.
        id: String,
        /// Write the alert's packets into this pcapng file, from 10 s before to 10 s after it.
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
        /// Captures to take them from: files, or folders of a recording
        /// [default: the run's recording, or what it read].
        #[arg(long, value_name = "PATH", requires = "pcap")]
        from: Vec<PathBuf>,
    },
    /// Every record of one flow.
    Flow {
        /// Community ID (1:...).
        community_id: String,
    },
}

/// `alerts.ndjson`, or those of a live run: `alerts-TIME.ndjson`, oldest first,
/// and what is being written.
fn files_of(dir: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let path = entry?.path();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|found| {
            let found = found.strip_suffix(".part").unwrap_or(found);
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

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let dir = rundir::find(args.run.as_deref())?;
    let (file, field, wanted) = match &args.what {
        What::Alert { id, .. } => ("alerts.ndjson", "id", id),
        What::Flow { community_id } => ("flows.ndjson", "community_id", community_id),
    };
    let files = files_of(&dir, file)?;
    if files.is_empty() {
        bail!("{} has no {file}: read the capture again with --out DIR", dir.display());
    }
    let prefix = matches!(args.what, What::Alert { .. });
    let mut found = Vec::new();
    for path in &files {
        found.append(&mut find(path, field, wanted, prefix)?);
    }
    if prefix {
        found = last_revisions(found);
    }
    if found.is_empty() {
        bail!("nothing with {field} {wanted} in {}", dir.display());
    }
    if let What::Alert { pcap: Some(to), from, .. } = &args.what {
        let [alert] = found.as_slice() else {
            bail!("{} alerts begin with {wanted}: name one in full", found.len());
        };
        return packets::write(&dir, alert, from, to, args.json);
    }
    let mut out = std::io::stdout().lock();
    let style = Style::for_stdout();
    match &args.what {
        _ if args.json => {
            for record in &found {
                writeln!(out, "{}", detail::json(record))?;
            }
        }
        What::Alert { .. } => {
            for (at, record) in found.iter().enumerate() {
                let gap = if at > 0 { "\n" } else { "" };
                write!(out, "{gap}{}", detail::alert(record, style))?;
            }
        }
        What::Flow { .. } => write!(out, "{}", detail::flow(&found, style))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find(path: &Path, field: &str, wanted: &str, prefix: bool) -> anyhow::Result<Vec<Value>> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let mut found = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("can't read {}", path.display()))?;
        // Most lines are of other flows: a look at the text spares parsing them.
        if !line.contains(wanted) {
            continue;
        }
        let record: Value = serde_json::from_str(&line)
            .with_context(|| format!("{} line {}: no JSON", path.display(), number + 1))?;
        let value = record.get(field).and_then(Value::as_str).unwrap_or_default();
        if value == wanted || (prefix && value.starts_with(wanted)) {
            found.push(record);
        }
    }
    Ok(found)
}

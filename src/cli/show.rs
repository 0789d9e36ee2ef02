//! `flowtap show`: everything that a run knows about one alert or flow.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::records::{files_of, find, last_revisions};
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

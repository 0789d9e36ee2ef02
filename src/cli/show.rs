//! `flowtap show`: everything that a run knows about one alert or flow.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{packets, records, rundir};
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
        #[arg(value_parser = NonEmptyStringValueParser::new())]
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
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        community_id: String,
    },
}

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let dir = rundir::find(args.run.as_deref())?;
    match &args.what {
        What::Alert { id, pcap, from } => {
            let alert = records::alert(&dir, id)?;
            match pcap {
                Some(to) => packets::write(&dir, &alert, from, to, args.json),
                None => args.tell(&[alert], |found, style| detail::alert(&found[0], style)),
            }
        }
        What::Flow { community_id } => {
            let mut found = Vec::new();
            for path in records::flow_files(&dir)? {
                found.append(&mut records::find(&path, "community_id", community_id, false)?);
            }
            if found.is_empty() {
                bail!("nothing with community_id {community_id} in {}", dir.display());
            }
            args.tell(&found, detail::flow)
        }
    }
}

impl ShowArgs {
    fn tell(
        &self,
        found: &[Value],
        page: impl FnOnce(&[Value], Style) -> String,
    ) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        if self.json {
            for record in found {
                writeln!(out, "{}", detail::json(record))?;
            }
        } else {
            write!(out, "{}", page(found, Style::for_stdout()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

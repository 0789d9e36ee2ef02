//! `flowtap inputs`: the kinds of logs, exports and counters that are read.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Usage;
use crate::telemetry::kind::{Kind, kinds, named};

/// List what is read beside captures: kinds of logs, exports and counters, each with what
/// it lets detectors see and what it never shows.
#[derive(Debug, Args)]
pub(crate) struct InputsArgs {
    /// Only this kind, with a sample.
    kind: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print a table for documents, in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

#[derive(Serialize)]
struct Described {
    kind: &'static str,
    title: &'static str,
    gives: &'static str,
    versions: &'static str,
    source: &'static str,
    sees: &'static str,
    absent: &'static str,
    lateness_s: i64,
    sample: &'static str,
}

impl Described {
    fn new(kind: &'static Kind) -> Self {
        Self {
            kind: kind.name,
            title: kind.title,
            gives: kind.gives.name(),
            versions: kind.versions,
            source: kind.source,
            sees: kind.sees,
            absent: kind.absent,
            lateness_s: kind.lateness_s,
            sample: kind.sample,
        }
    }
}

pub(crate) fn run(args: &InputsArgs) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let chosen: Vec<_> = match &args.kind {
        Some(name) => {
            let kind = named(name).ok_or_else(|| {
                Usage(format!("there is no kind '{name}'; `flowtap inputs` lists them"))
            })?;
            vec![Described::new(kind)]
        }
        None => kinds().map(Described::new).collect(),
    };
    if args.json {
        serde_json::to_writer_pretty(&mut out, &chosen)?;
        writeln!(out)?;
    } else if args.markdown {
        markdown(&mut out, &chosen)?;
    } else if let ([one], Some(_)) = (chosen.as_slice(), &args.kind) {
        whole(&mut out, one)?;
    } else {
        list(&mut out, &chosen)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(out: &mut impl Write, chosen: &[Described]) -> io::Result<()> {
    let width = chosen.iter().map(|one| one.kind.len()).max().unwrap_or(0);
    let mut gives = "";
    for one in chosen {
        if one.gives != gives {
            writeln!(out, "{}to {}", if gives.is_empty() { "" } else { "\n" }, one.gives)?;
            gives = one.gives;
        }
        writeln!(out, "  {:width$}  {}: {}", one.kind, one.title, one.versions)?;
        writeln!(out, "  {:width$}  sees {}", "", one.sees)?;
    }
    writeln!(out, "\n`flowtap inputs KIND` shows a sample and what the kind never shows.")
}

fn markdown(out: &mut impl Write, chosen: &[Described]) -> io::Result<()> {
    writeln!(out, "| kind | versions | gives | sees | never shows | read by |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for one in chosen {
        writeln!(
            out,
            "| `{}` {} | {} | {} | {} | {} | {} |",
            one.kind, one.title, one.versions, one.gives, one.sees, one.absent, one.source
        )?;
    }
    Ok(())
}

fn whole(out: &mut impl Write, one: &Described) -> io::Result<()> {
    let lateness = match one.lateness_s {
        0 => "in the order of time".to_owned(),
        seconds => format!("up to {seconds} s later than what it tells of"),
    };
    writeln!(out, "{} ({})", one.title, one.kind)?;
    for (name, text) in [
        ("gives", one.gives),
        ("versions", one.versions),
        ("sees", one.sees),
        ("never shows", one.absent),
        ("comes", &*lateness),
        ("read by", one.source),
    ] {
        writeln!(out, "  {name:<12}{text}")?;
    }
    writeln!(out, "\n{}", one.sample.trim_end())
}

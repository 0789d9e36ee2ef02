//! `flowtap explain`: an alert's score, severity and confidence, redone.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{records, rundir};
use crate::report::terminal::Style;
use crate::report::{detail, explain};

/// Redo an alert's score, severity and confidence from its own evidence, term by term. Ends with 1
/// where a figure is not as it was told.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The alert's id, or the start of it; or a file that `flowtap bundle` made.
    #[arg(value_name = "ID|FILE", value_parser = NonEmptyStringValueParser::new())]
    alert: String,
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print the terms as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let alert = if Path::new(&args.alert).is_file() {
        super::bundle::alert_of(Path::new(&args.alert))?
    } else {
        let name = detail::printable(&args.alert);
        let dir = rundir::find(args.run.as_deref())
            .with_context(|| format!("there is no file {name}"))?;
        let found = records::alert_if_any(&dir, &args.alert)?;
        found
            .with_context(|| format!("no alert with id {name} in {}, nor a file", dir.display()))?
    };
    let lacks = explain::lacks(&alert);
    ensure!(lacks.is_none(), "it is no alert: it lacks {}", lacks.unwrap_or_default());
    let explanation = explain::redo(&alert);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", detail::json(&explanation.json))?;
    } else {
        write!(out, "{}", explain::page(&explanation, Style::for_stdout()))?;
    }
    Ok(if explanation.differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

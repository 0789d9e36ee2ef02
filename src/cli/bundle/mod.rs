//! `flowtap bundle`: one alert, packed for a colleague.
//!
//! A `.tar.zst` of small files and a manifest with their digests. The same run gives
//! the same bytes. Start at [`run`]; [`archive`] has the format.

mod archive;
mod parts;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::{Usage, packets, records, rundir};
use crate::output::access::Access;
use crate::report::detail;

/// Pack an alert for a colleague: packets before, during and after it, flows, process tree,
/// baseline, configuration, formula, and a manifest with the digest of each. `flowtap explain
/// FILE` reads it.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The alert's id, or the start of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// File to write.
    #[arg(long, short, value_name = "FILE.tar.zst")]
    output: PathBuf,
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Captures to take the packets from: files, or folders of a recording [default: the run's
    /// recording, or what it read].
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// Leave the packets out.
    #[arg(long)]
    no_packets: bool,
    /// Print what is in it as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    // One that was packed before may be packed anew; a capture or a run's records may not go.
    let is_other = |path: &Path| {
        let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
        path.is_file() && !is_empty && alert_of(path).is_err()
    };
    if is_other(&args.output) {
        let why = "there is a file by that name, and it is no bundle: name another";
        return Err(Usage(format!("{}: {why}", args.output.display())).into());
    }
    let dir = rundir::find(args.run.as_deref())?;
    let alert = records::alert(&dir, &args.id)?;
    let record = packets::run_record(&dir)?;
    let mut parts = parts::Parts::new(&dir, &alert, &record)?;
    parts.flows()?;
    let complete = parts.packets(&args.from, args.no_packets, &args.output)?;
    let status = if complete { ExitCode::SUCCESS } else { ExitCode::from(1) };
    let parts = parts.finish()?;
    let bytes = archive::pack(&parts.manifest, &parts.files)?;
    // There are packets in it.
    rundir::write_whole_by(&args.output, Access::Owner, |file| file.write_all(&bytes))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", detail::json(&parts.manifest))?;
        return Ok(status);
    }
    let path = args.output.display().to_string();
    let id = alert["id"].as_str().unwrap_or_default();
    writeln!(out, "Alert {id} in {}, {} bytes", detail::printable(&path), bytes.len())?;
    for file in &parts.files {
        writeln!(out, "  {:<18} {:>12} bytes  {}", file.name, file.bytes.len(), file.what)?;
    }
    for left in parts.manifest["left_out"].as_array().into_iter().flatten() {
        let (what, why) = (left["what"].as_str(), left["why"].as_str());
        let text = format!("no {}: {}", what.unwrap_or_default(), why.unwrap_or_default());
        writeln!(out, "  {}", detail::printable(&text).replace('\n', " "))?;
    }
    Ok(status)
}

/// The alert in a bundle, once every file of it is what the manifest says.
pub(super) fn alert_of(path: &Path) -> anyhow::Result<Value> {
    let unpacked = archive::unpack(path)
        .with_context(|| format!("{} is no bundle that can be trusted", path.display()))?;
    let alert: Value = serde_json::from_slice(&unpacked).context("its alert is no JSON")?;
    ensure!(alert.is_object(), "{} holds no alert", path.display());
    Ok(alert)
}

/// What the manifest begins with.
fn manifest(alert: &Value, record: &Value) -> Value {
    json!({
        "schema": archive::SCHEMA,
        "flowtap": env!("CARGO_PKG_VERSION"),
        "alert": alert["id"],
        "revision": alert["revision"],
        "pseudonyms": record["pseudonyms"] == true,
    })
}

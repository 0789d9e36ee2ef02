//! `flowtap why-not`: what each detector measured of somebody, and what it lacked.
//!
//! A run does not keep what was no alert. Its inputs are read again, as they were read
//! then, with somebody watched; where they are not there any more, or are others by
//! now, nothing is said.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::{Command, Usage, config, packets, read, read_files, records, rundir};
use crate::detect::{Seen, Watch};
use crate::report::terminal::Style;
use crate::report::{detail, why_not};

/// Say what each detector measured of a flow or an entity, how far that was from an alert, and
/// what kept it from one. Reads the run's inputs again.
#[derive(Debug, Args)]
pub(crate) struct WhyNotArgs {
    /// A Community ID (1:...), an address, or an entity: a prefix, a MAC, a process, container or
    /// instance by its id, name or baseline key.
    #[arg(value_name = "FLOW|ENTITY", value_parser = NonEmptyStringValueParser::new())]
    who: String,
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &WhyNotArgs) -> anyhow::Result<ExitCode> {
    let dir = rundir::find(args.run.as_deref())?;
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let record = packets::run_record(&dir)?;
    let again = as_it_was_read(&dir, &record)?;
    let watch = watch(&dir, &args.who)?;
    let report = read::look_again(&again, watch.clone())?;
    let seen = watch.seen();
    let alerts: Vec<Value> = report
        .alerts
        .iter()
        .filter(|alert| seen.concerns(&alert.detector, &alert.entity.id))
        .map(|alert| {
            json!({
                "id": alert.id, "detector": alert.detector, "entity": alert.entity.id,
                "severity": alert.severity,
            })
        })
        .collect();
    let told = json!({
        "who": args.who, "findings": seen.findings, "windows": seen.windows,
        "left_out": seen.left_out, "alerts": alerts, "silent": silent(&seen),
    });
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", detail::json(&told))?;
    } else {
        write!(out, "{}", why_not::page(&told, Style::for_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Detectors that measured nothing worth handing over.
fn silent(seen: &Seen) -> Vec<&'static str> {
    let spoke = |name: &str| seen.findings.iter().any(|near| near.detector == name);
    crate::alert::DETECTORS.into_iter().filter(|name| !spoke(name)).collect()
}

/// The arguments of the run, once its inputs are known to be what they were.
fn as_it_was_read(dir: &Path, record: &Value) -> anyhow::Result<read::ReadArgs> {
    let arguments = record["arguments"].as_array().with_context(|| {
        format!("{} has no run.json: read the capture again with --out DIR", dir.display())
    })?;
    if record["pseudonyms"] == true {
        bail!("this run has pseudonyms, which its inputs have not");
    }
    // The run's arguments name files from where it was made.
    if let Some(folder) = record["folder"].as_str() {
        let _ = std::env::set_current_dir(folder);
    }
    for input in record["inputs"].as_array().into_iter().flatten() {
        let path = packets::input_path(record, input);
        if !path.exists() {
            bail!("{} is not there (any more)", path.display());
        }
        let Some(wanted) = input["sha256"].as_str() else { continue };
        let found = read_files::sha256_of(&path)
            .with_context(|| format!("can't read {}", path.display()))?;
        if found != wanted {
            bail!("{} has changed since it was read", path.display());
        }
    }
    let words = arguments.iter().filter_map(Value::as_str).map(OsString::from);
    let words: Vec<OsString> = std::iter::once("flowtap".into()).chain(words).collect();
    let (cli, _) = config::parse(&words)
        .map_err(|_| Usage("the run's own arguments are none of this version".to_owned()))?;
    match cli.command {
        Command::Read(args) => Ok(*args),
        _ => bail!(
            "this run was live: read its recording with `flowtap read --out DIR`, and ask of that"
        ),
    }
}

/// Whom to watch: of a flow both ends, with their processes.
fn watch(dir: &Path, who: &str) -> anyhow::Result<Watch> {
    if let Ok(address) = who.parse::<IpAddr>() {
        return Ok(Watch::new(vec![address], Vec::new()));
    }
    if !who.starts_with("1:") {
        return Ok(Watch::new(Vec::new(), vec![who.to_owned()]));
    }
    let mut flows = Vec::new();
    for path in records::files_of(dir, "flows.ndjson")? {
        flows.append(&mut records::find(&path, "community_id", who, false)?);
    }
    let first = flows.first().with_context(|| format!("no flow {who} in {}", dir.display()))?;
    let ends = ["src_ip", "dst_ip"].into_iter();
    let ends = ends.filter_map(|end| first[end].as_str()?.parse::<IpAddr>().ok()).collect();
    let names = ["src_host", "dst_host"].into_iter().flat_map(|side| {
        let process = &first[side]["process"];
        let names = [&process["exe"], &process["name"], &first[side]["workload"]["container"]];
        names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)).collect::<Vec<_>>()
    });
    Ok(Watch::new(ends, names.collect()))
}

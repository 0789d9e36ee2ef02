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

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::baseline::{self, BaselineCommand};
use super::{Command, config, digests, packets, read, records, rundir};
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
    // Of the run: once this is confined its folder can't be read.
    let alerts = records::alerts(&dir)?;
    let notes = notes(&record, &again);
    read::look_again(&again, watch.clone())?;
    let seen = watch.seen();
    let is_of_it = |alert: &&Value| {
        let detector = alert["detector"].as_str().unwrap_or_default();
        seen.concerns(detector, alert["entity"]["id"].as_str().unwrap_or_default())
    };
    let alerts: Vec<Value> = alerts
        .iter()
        .filter(is_of_it)
        .map(|alert| {
            json!({
                "id": alert["id"], "detector": alert["detector"],
                "entity": alert["entity"]["id"], "severity": alert["severity"],
            })
        })
        .collect();
    let told = json!({
        "who": args.who, "findings": seen.findings, "windows": seen.windows,
        "left_out": seen.left_out, "alerts": alerts, "silent": silent(&seen), "notes": notes,
    });
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", detail::json(&told))?;
    } else {
        write!(out, "{}", why_not::page(&told, Style::for_stdout()))?;
    }
    // Of an address or a flow that is an answer; a name may be mistyped.
    let is_name = args.who.parse::<IpAddr>().is_err() && !args.who.starts_with("1:");
    if is_name && seen.findings.is_empty() && told["alerts"] == json!([]) {
        let who = detail::printable(&args.who);
        bail!(
            "no detector measured anything of a prefix, MAC, process, container or instance {who}"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where this need not be what the run saw, though nothing that it kept a digest of changed.
fn notes(record: &Value, again: &read::ReadArgs) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(path) = again.learned_into() {
        notes.push(format!(
            "the run learned into {}: entities are held against what that is now, not against \
             what it was before",
            path.display()
        ));
    }
    let files = [&record["inputs"], &record["also_read"]].into_iter();
    for file in files.filter_map(Value::as_array).flatten() {
        if file["sha256"].is_null() {
            let path = file["path"].as_str().unwrap_or_default();
            notes.push(format!("the run kept no digest of {path}: it may have changed since"));
        }
    }
    if record["also_read"].is_null() {
        notes.push(
            "the run kept digests of its inputs alone: what else its arguments name may have \
             changed since"
                .to_owned(),
        );
    }
    notes
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
    let files = [&record["inputs"], &record["also_read"]].into_iter();
    for file in files.filter_map(Value::as_array).flatten() {
        digests::check(&digests::path_of(record, file), file)?;
    }
    let words = arguments.iter().filter_map(Value::as_str).map(OsString::from);
    let words: Vec<OsString> = std::iter::once("flowtap".into()).chain(words).collect();
    let (cli, _) = config::parse(&words).map_err(|refusal| {
        let why = match refusal {
            config::Refusal::Arguments(error) => error.render().to_string(),
            config::Refusal::File(problems) => problems.join("\n"),
        };
        anyhow!("the run can't be read again as it was: {}", why.trim())
    })?;
    match cli.command {
        Command::Read(args) => Ok(*args),
        Command::Baseline(BaselineCommand::Learn(args)) => {
            // Files that were learned before were passed over: they have no kind.
            let inputs = record["inputs"].as_array().into_iter().flatten();
            let inputs = inputs.filter(|input| input["kind"].is_string());
            let inputs = inputs.filter_map(|input| input["path"].as_str().map(PathBuf::from));
            Ok(baseline::that_learn(args.of_inputs(inputs.collect())))
        }
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

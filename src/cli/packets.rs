//! `flowtap show alert ID --pcap`: the packets that an alert is about.
//!
//! They come from the run's recording (`run.json` says where it is, as
//! `recording: {"dir": ...}`), from the captures that the run read, or from
//! what `--from` names.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::digests;
use super::rundir::write_whole_by;
use crate::input::filter::Filter;
use crate::output::access::Access;
use crate::output::recording::{Selector, Wanted, extract, files_between, files_in};
use crate::report::detail;

/// Before an alert's start and after its end, as evidence is recorded by
/// default.
pub(super) const AROUND_NS: i64 = 10 * 1_000_000_000;

/// What was taken out of captures.
pub(super) struct Taken {
    pub(super) packets: u64,
    /// Captures that held any, with how many.
    files: Vec<(PathBuf, u64)>,
    /// Captures that could not be read to their end, or are not what the run read, with why.
    pub(super) unread: Vec<String>,
}

/// Writes the packets of `alert` into `to` and says how many there were.
pub(super) fn write(
    run: &Path,
    alert: &Value,
    from: &[PathBuf],
    to: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let id = alert["id"].as_str().unwrap_or_default();
    let record = run_record(run)?;
    if record["pseudonyms"] == true {
        return copy_evidence(&record, id, to, as_json);
    }
    let taken = take(&record, alert, from, to, true)?;
    let mut out = io::stdout().lock();
    if as_json {
        let files = taken.files.iter();
        let files: Vec<Value> = files
            .map(|(path, packets)| json!({"path": path.display().to_string(), "packets": packets}))
            .collect();
        let said = json!({
            "alert": id, "pcap": to.display().to_string(), "packets": taken.packets, "files": files,
        });
        writeln!(out, "{}", detail::json(&said))?;
    } else {
        let path = to.display().to_string();
        writeln!(out, "{} packets of alert {id} in {}", taken.packets, detail::printable(&path))?;
        for (path, packets) in &taken.files {
            let path = path.display().to_string();
            writeln!(out, "  {packets} from {}", detail::printable(&path))?;
        }
    }
    Ok(if !taken.unread.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Takes the packets of `alert` out of captures, of `from` or those of the run. Of those that
/// are not what the run read none are taken; with `whole` then there are none at all.
pub(super) fn take(
    record: &Value,
    alert: &Value,
    from: &[PathBuf],
    to: &Path,
    whole: bool,
) -> anyhow::Result<Taken> {
    let id = alert["id"].as_str().unwrap_or_default();
    let entity = &alert["entity"];
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (words(&entity["kind"]), words(&entity["id"]));
    let peers = alert["peers"].as_array().into_iter().flatten();
    let peers = peers.filter_map(|peer| peer["address"].as_str()?.parse::<IpAddr>().ok());
    let selector = Selector::named(&kind, &name, peers).with_context(|| {
        format!("alert {id} is about {kind} {name}: no packet can be told to be its own")
    })?;
    let from_ns = time_of(&alert["start"])?.saturating_sub(AROUND_NS);
    let to_ns = time_of(&alert["end"])?.saturating_add(AROUND_NS);

    let (captures, changed) = captures(record, id, from, from_ns, to_ns)?;
    if !changed.is_empty() && (whole || captures.is_empty()) {
        bail!("{}: name the captures by --from", changed.join("; "));
    }
    if captures.iter().any(|path| same_file(path, to)) {
        bail!("{} is one of the captures: choose another file to write", to.display());
    }
    let filter = record["filter"].as_str().map(Filter::compile).transpose()?;
    let wanted = Wanted {
        selector,
        from_ns,
        to_ns,
        filter,
        comment: id,
        section_comment: &alert.to_string(),
    };
    let found = extract(&captures, &wanted, to)
        .with_context(|| format!("can't take the packets of alert {id} out"))?;
    for report in &found.reports {
        for warning in &report.warnings {
            let text = format!("{}: {warning}", report.path);
            eprintln!("flowtap: warning: {}", detail::printable(&text));
        }
        if let Some(error) = &report.error {
            eprintln!("flowtap: {}", detail::printable(&error.to_string()));
        }
    }
    let unread = found.reports.iter().filter_map(|report| report.error.as_ref());
    let unread: Vec<String> = unread.map(ToString::to_string).chain(changed).collect();
    if found.packets == 0 && !unread.is_empty() {
        bail!("{}", unread.join("; "));
    }
    if found.packets == 0 {
        bail!(
            "no packet of {kind} {name} from {} to {} in {}",
            crate::time::rfc3339(from_ns),
            crate::time::rfc3339(to_ns),
            named(&captures)
        );
    }
    Ok(Taken { packets: found.packets, files: found.files, unread })
}

/// Of a run with pseudonyms nothing can be looked up in real packets: the
/// sensor, which knew both, kept what there is.
fn copy_evidence(record: &Value, id: &str, to: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let dir = Path::new(record["recording"]["dir"].as_str().unwrap_or_default());
    let evidence = dir.join("evidence").join(format!("{id}.pcapng"));
    if !evidence.is_file() {
        bail!(
            "this run has pseudonyms, which no recorded packet has: the packets of alert {id} are \
             only there where `live` ran with --record and --evidence"
        );
    }
    fs::File::open(&evidence)
        .map_err(anyhow::Error::from)
        .and_then(|mut from| {
            write_whole_by(to, Access::Owner, |file| io::copy(&mut from, file).map(drop))
        })
        .with_context(|| format!("can't copy {} to {}", evidence.display(), to.display()))?;
    let mut out = io::stdout().lock();
    let (to, from) = (to.display().to_string(), evidence.display().to_string());
    if as_json {
        writeln!(out, "{}", detail::json(&json!({"alert": id, "pcap": to, "evidence": from})))?;
    } else {
        writeln!(out, "packets of alert {id} in {}", detail::printable(&to))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing where a run has no `run.json`: one without `--out` keeps none.
pub(super) fn run_record(run: &Path) -> anyhow::Result<Value> {
    let path = run.join("run.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} holds no JSON", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Files to look into, and why others of the run are none.
fn captures(
    record: &Value,
    id: &str,
    named: &[PathBuf],
    from_ns: i64,
    to_ns: i64,
) -> anyhow::Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut captures, mut changed) = (Vec::new(), Vec::new());
    if !named.is_empty() {
        for path in named {
            captures.extend(within(path, id, from_ns, to_ns)?);
        }
    } else if let Some(dir) = record["recording"]["dir"].as_str() {
        captures = within(Path::new(dir), id, from_ns, to_ns)?;
    } else {
        for input in record["inputs"].as_array().into_iter().flatten() {
            let path = digests::path_of(record, input);
            if digests::is_log(&path, input) || !may_hold(input, from_ns, to_ns) {
                continue;
            }
            match digests::check(&path, input) {
                Ok(()) => captures.push(path),
                Err(why) => changed.push(why.to_string()),
            }
        }
        let inputs = record["inputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        if captures.is_empty() && changed.is_empty() && !inputs.is_empty() {
            if inputs.iter().any(|input| input["first_packet"].is_string()) {
                bail!(
                    "no capture that the run read has packets of that time: name others by --from"
                );
            }
            bail!("the run read logs alone: name captures by --from");
        }
    }
    if captures.is_empty() && changed.is_empty() {
        bail!("the run does not say where its packets are: name the captures by --from");
    }
    Ok((captures, changed))
}

/// Whether a capture that the run read may have had packets of that time, as far as the run
/// says.
fn may_hold(input: &Value, from_ns: i64, to_ns: i64) -> bool {
    match (time_of(&input["first_packet"]), time_of(&input["last_packet"])) {
        (Ok(first_ns), Ok(last_ns)) => first_ns <= to_ns && from_ns <= last_ns,
        _ => true,
    }
}

/// A file itself; of a recording's folder what may hold the packets, of any
/// other folder everything.
fn within(path: &Path, id: &str, from_ns: i64, to_ns: i64) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let ring = files_in(path).with_context(|| format!("can't list {}", path.display()))?;
    let evidence = path.join("evidence").join(format!("{id}.pcapng"));
    let reaches_back = ring.first().is_some_and(|&(begin_ns, _)| begin_ns <= from_ns);
    if !reaches_back && evidence.is_file() {
        return Ok(vec![evidence]);
    }
    let chosen = files_between(ring, from_ns, to_ns);
    Ok(if chosen.is_empty() { vec![path.to_owned()] } else { chosen })
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

pub(super) fn time_of(value: &Value) -> anyhow::Result<i64> {
    let text = value.as_str().unwrap_or_default();
    let time: Timestamp =
        text.parse().with_context(|| format!("the alert has no time: {text:?}"))?;
    i64::try_from(time.as_nanosecond()).context("the alert's time is out of range")
}

fn named(captures: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> =
        captures.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    if captures.len() > SHOWN {
        names.push(format!("{} others", captures.len() - SHOWN));
    }
    names.join(", ")
}

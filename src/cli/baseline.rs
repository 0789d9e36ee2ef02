//! `flowtap baseline`: what was learned, looked at and put right.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};

use super::baseline_args::{Maturity, MaturityArgs, open, tell};
use super::learned_files::Known;
use super::{Usage, read};
use crate::baseline::{Baselines, View};
use crate::detect::DetectSettings;

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Learn what entities usually do from captures and logs, into the file of --baseline.
    Learn(Box<read::ReadArgs>),
    /// Print what is known of all entities, or of some.
    Show(ShowArgs),
    /// Print what changed from one file to another.
    Diff(DiffArgs),
    /// Print everything that is known of all entities: CSV, or JSON lines.
    Export(ExportArgs),
    /// Forget entities.
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its key, or a part of it.
    entity: Option<String>,
    /// File that was learned into.
    #[arg(long, value_name = "PATH")]
    baseline: PathBuf,
    #[command(flatten)]
    maturity: MaturityArgs,
    /// Print JSON, an entity a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The earlier file.
    before: PathBuf,
    /// The later one.
    after: PathBuf,
    /// Measures that are so many times more or less count as changed.
    #[arg(long, value_name = "X", default_value_t = 1.5)]
    times: f64,
    #[command(flatten)]
    maturity: MaturityArgs,
    /// Print JSON, an entity a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// File that was learned into.
    #[arg(long, value_name = "PATH")]
    baseline: PathBuf,
    #[command(flatten)]
    maturity: MaturityArgs,
    /// JSON, an entity a line, with everything.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Their keys, as `baseline show` prints them.
    #[arg(required = true)]
    entities: Vec<String>,
    /// File that was learned into.
    #[arg(long, value_name = "PATH")]
    baseline: PathBuf,
}

pub(crate) fn run(command: BaselineCommand) -> anyhow::Result<ExitCode> {
    match command {
        BaselineCommand::Learn(args) => return learn(*args),
        BaselineCommand::Show(args) => show(&args)?,
        BaselineCommand::Diff(args) => diff(&args)?,
        BaselineCommand::Export(args) => export(&args)?,
        BaselineCommand::Forget(args) => forget(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn learn(args: read::ReadArgs) -> anyhow::Result<ExitCode> {
    if args.baselines.baseline.is_none() {
        return Err(Usage("name the file to learn into by --baseline PATH".to_owned()).into());
    }
    read::run(&that_learn(args))
}

/// What `read` takes for `baseline learn`.
pub(super) fn that_learn(mut args: read::ReadArgs) -> read::ReadArgs {
    (args.learn, args.known) = (true, Known::PassedOver);
    args
}

fn views(baselines: &Baselines) -> impl Iterator<Item = View> {
    baselines.keys().filter_map(move |key| view(baselines, key))
}

fn view(baselines: &Baselines, key: &str) -> Option<View> {
    let profile = baselines.look_up(key)?;
    Some(View::of(key, &profile, None, baselines.settings().mature_days))
}

/// An error where profiles of a file could not be read, as far as they were looked at.
fn ensure_whole(path: &Path, baselines: &Baselines) -> anyhow::Result<()> {
    let damaged = baselines.counters().damaged;
    ensure!(
        damaged == 0,
        "{}: {damaged} of {} entities are damaged and left out",
        path.display(),
        baselines.len()
    );
    Ok(())
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let maturity = args.maturity.read()?;
    let baselines = open(&args.baseline, &maturity.settings, false)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let wanted = |view: &View| match &args.entity {
        Some(entity) => view.entity == *entity,
        None => true,
    };
    let part = |view: &View| args.entity.as_ref().is_some_and(|part| view.entity.contains(part));
    let mut found: Vec<View> = views(&baselines).filter(wanted).collect();
    if found.is_empty() {
        found = views(&baselines).filter(part).collect();
    }
    if let (Some(entity), true) = (&args.entity, found.is_empty()) {
        ensure_whole(&args.baseline, &baselines)?;
        bail!("nothing is known of {entity}: `flowtap baseline show` lists whom there is");
    }
    if args.json {
        for view in &found {
            serde_json::to_writer(&mut out, view)?;
            writeln!(out)?;
        }
    } else if args.entity.is_some() {
        found.iter().try_for_each(|view| write_page(&mut out, view, &maturity))?;
    } else {
        write_table(&mut out, &found)?;
        writeln!(
            out,
            "{} entities, {} {maturity}, {} spans wait for a verdict",
            found.len(),
            found.iter().filter(|view| view.mature).count(),
            baselines.pending()
        )?;
    }
    out.flush()?;
    ensure_whole(&args.baseline, &baselines)
}

fn write_table(out: &mut impl Write, views: &[View]) -> io::Result<()> {
    let width = views.iter().map(|view| view.entity.len()).max().unwrap_or(0).clamp(6, 60);
    writeln!(
        out,
        "{:width$}  {:>6}  {:>8}  {:>14}  {:>14}  {:>5}  {:>5}  {:>7}  last seen",
        "entity", "days", "minutes", "median B/min", "99 % B/min", "dests", "names", "clipped"
    )?;
    for view in views {
        let egress = view.normal.get("egress_bytes").map(|measure| measure.normal);
        let figure = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
        };
        writeln!(
            out,
            "{:width$}  {:>6.1}  {:>8}  {:>14}  {:>14}  {:>5}  {:>5}  {:>7}  {}",
            view.entity,
            view.days,
            view.minutes,
            figure(egress.map(|normal| normal.median)),
            figure(egress.map(|normal| normal.q99)),
            view.destinations.len(),
            view.names.as_ref().map_or(0, |names| names.count),
            view.clipped,
            view.last_seen.as_deref().unwrap_or("-")
        )?;
    }
    Ok(())
}

fn write_page(out: &mut impl Write, view: &View, maturity: &Maturity) -> io::Result<()> {
    let not_yet = if view.mature { "" } else { "not yet " };
    writeln!(out, "{}", view.entity)?;
    writeln!(
        out,
        "  history       {:.1} days, {not_yet}{maturity}, {} minutes, active on {} of the last 64 days",
        view.days, view.minutes, view.active_days
    )?;
    if let (Some(first), Some(last)) = (&view.first_seen, &view.last_seen) {
        writeln!(out, "  seen          {first} to {last}")?;
    }
    if let Some(woke) = &view.woke {
        writeln!(out, "  active since  {}, after {} s of quiet", woke.at, woke.quiet_s)?;
    }
    if let Some(roles) = view.roles {
        let role = match (roles.is_server, roles.is_client) {
            (true, false) => "server",
            (false, true) => "client",
            _ => "server and client",
        };
        writeln!(out, "  role          {role}, {:.0} % served", roles.served * 100.0)?;
    }
    for (name, measure) in &view.normal {
        let normal = measure.normal;
        let basis = serde_json::to_value(normal.basis).ok();
        let basis = basis.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        writeln!(
            out,
            "  {name:<17} median {:.0}, sigma {:.0}, 99 % {:.0}, most {:.0} a minute ({basis})",
            normal.median, normal.sigma, normal.q99, normal.max
        )?;
    }
    if view.clipped > 0 {
        writeln!(out, "  held back     {} values grew faster than allowed", view.clipped)?;
    }
    if let Some(newness) = view.newness {
        writeln!(out, "  destinations  the next is new with probability {newness:.3}")?;
    }
    for known in &view.destinations {
        let (first, last) = (&known.first_day, &known.last_day);
        writeln!(out, "    {:<24} {first} to {last}  {} bytes", known.prefix, known.bytes)?;
    }
    if let Some(names) = &view.names {
        let newness = names.newness.map_or_else(String::new, |newness| {
            format!("; the next is new with probability {newness:.3}")
        });
        writeln!(
            out,
            "  names         {} domains since {}, of which digests alone are kept{newness}",
            names.count, names.since
        )?;
        for known in &names.known {
            let (first, last) = (&known.first_day, &known.last_day);
            writeln!(out, "    {:<24} {first} to {last}", known.digest)?;
        }
    }
    for said in &view.verdicts {
        writeln!(out, "  verdict       {}: {:?}", said.day, said.verdict)?;
    }
    Ok(())
}

#[derive(Debug, serde::Serialize)]
struct Difference<'a> {
    entity: &'a str,
    change: &'static str,
    what: Vec<String>,
}

fn diff(args: &DiffArgs) -> anyhow::Result<()> {
    if args.times.is_nan() || args.times <= 1.0 {
        return Err(Usage("--times must be over 1".to_owned()).into());
    }
    let maturity = args.maturity.read()?;
    let [before, after] =
        [&args.before, &args.after].map(|path| open(path, &maturity.settings, false));
    let (before, after) = (before?, after?);
    // Who takes the differences to a program has nothing else there.
    eprintln!("flowtap: baselines are {maturity}");
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut out = io::BufWriter::new(io::stdout().lock());
    for key in keys {
        let is_known = |of: &Baselines| of.known(key).is_some();
        let (change, what) = match (view(&before, key), view(&after, key)) {
            (None, Some(_)) if !is_known(&before) => ("new", Vec::new()),
            (Some(_), None) if !is_known(&after) => ("gone", Vec::new()),
            (Some(was), Some(now)) => ("changed", now.changes(&was, args.times)),
            _ => ("damaged", Vec::new()),
        };
        if change == "changed" && what.is_empty() {
            continue;
        }
        let difference = Difference { entity: key, change, what };
        if args.json {
            serde_json::to_writer(&mut out, &difference)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{key}: {change}")?;
            difference.what.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    out.flush()?;
    ensure_whole(&args.before, &before)?;
    ensure_whole(&args.after, &after)
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let baselines = open(&args.baseline, &args.maturity.read()?.settings, false)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        for view in views(&baselines) {
            serde_json::to_writer(&mut out, &view)?;
            writeln!(out)?;
        }
        out.flush()?;
        return ensure_whole(&args.baseline, &baselines);
    }
    let mut csv = csv::Writer::from_writer(out);
    let head = [
        "entity", "metric", "median", "sigma", "q99", "max", "minutes", "days", "clipped", "names",
    ];
    csv.write_record(head)?;
    for view in views(&baselines) {
        for (name, measure) in &view.normal {
            let normal = measure.normal;
            let figures = [normal.median, normal.sigma, normal.q99, normal.max];
            let mut row = vec![view.entity.clone(), (*name).to_owned()];
            row.extend(figures.map(|figure| format!("{figure:.1}")));
            row.push(normal.minutes.to_string());
            row.push(view.days.to_string());
            row.push(view.clipped.to_string());
            row.push(view.names.as_ref().map_or(0, |names| names.count).to_string());
            csv.write_record(&row)?;
        }
    }
    csv.flush()?;
    ensure_whole(&args.baseline, &baselines)
}

fn forget(args: &ForgetArgs) -> anyhow::Result<()> {
    if !args.baseline.exists() {
        bail!("{}: there are no baselines", args.baseline.display());
    }
    let mut baselines = open(&args.baseline, &DetectSettings::default(), true)?;
    tell(&mut baselines);
    let mut forget = |name: &String| {
        // An address is meant as what is known of it.
        let is_address = name.parse::<IpAddr>().is_ok();
        baselines.forget(name) || is_address && baselines.forget(&format!("address:{name}"))
    };
    let unknown: Vec<&str> =
        args.entities.iter().filter(|name| !forget(name)).map(String::as_str).collect();
    if !baselines.flush() {
        tell(&mut baselines);
        bail!("nothing was forgotten");
    }
    let forgotten = args.entities.len() - unknown.len();
    eprintln!("flowtap: {forgotten} forgotten");
    if !unknown.is_empty() {
        bail!("nothing is known of {}", unknown.join(", "));
    }
    Ok(())
}

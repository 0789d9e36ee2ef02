//! `flowtap read`: captures and logs in, flow records, alerts and a summary out.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use clap::builder::Resettable;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Usage;
use super::baseline_args::{BaselineArgs, take_back};
use super::confine_args::{ConfineArgs, state_folder};
use super::engine_args::EngineArgs;
use super::host_args::HostArgs;
use super::named::maps_once;
use super::output_args::PayloadArgs;
use super::report_args::ReportArgs;
use super::rundir::{recorded_arguments, state_run, write_whole};
use super::telemetry_args::{Split, TelemetryArgs};
use crate::alert::Alert;
use crate::detect::Watch;
use crate::engine::window::Assembled;
use crate::engine::{Joined, RecordSink, RunOptions, RunReport, run as run_engine};
use crate::flow::FlowRecord;
use crate::host::join::HostKnowledge;
use crate::host::log::read_map;
use crate::host::map::{HostMap, MapLimits};
use crate::input::{Input, InputOptions, Progress, Speed, is_hidden};
use crate::output::observed::ObservedFiles;
use crate::output::privacy::Privacy;
use crate::output::{Format, Pipeline, Summary};
use crate::report::html::{Collector, RunPage, run_page};
use crate::report::terminal::{self, Style};
use crate::service::confine::Plan;
use crate::telemetry::Observation;
use crate::telemetry::feed::Feed;
use crate::telemetry::hosts::read_into_map;

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Captures, logs, exports and counters in any mix, each by its content: files, folders (the
    /// files in them, not those of folders within), or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write flows, alerts and summary into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Formats of the flow records in --out; several are separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "ndjson")]
    format: Vec<Format>,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Host maps that tell which process had which socket: what `flowtap procs record` or
    /// `flowtap live --procs-record` wrote; repeat it for several hosts.
    #[arg(long, value_name = "MAP")]
    procs: Vec<PathBuf>,
    #[command(flatten)]
    hosts: HostArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    report: ReportArgs,
    /// As if replayed so fast (10x, 0.5x) or at this rate (50000pps, 100Mbps): what `live` would
    /// have made of that.
    #[arg(long, value_name = "SPEED", value_parser = time_scale, help_heading = Resettable::Reset)]
    time_scale: Option<Speed>,
    /// Print no summary for people and no progress.
    #[arg(long, short, help_heading = Resettable::Reset)]
    quiet: bool,
    #[command(flatten)]
    pub(crate) baselines: BaselineArgs,
    /// Learn into the file of --baseline what entities did.
    #[arg(long, requires = "baseline", help_heading = "Baselines")]
    pub(crate) learn: bool,
    #[command(flatten)]
    confine: ConfineArgs,
}

/// What a replay as fast as an interface takes it amounts to is known after it.
fn time_scale(text: &str) -> Result<Speed, String> {
    match text.parse()? {
        Speed::Max => Err("max is no time scale: give the rate that `replay` printed".to_owned()),
        speed => Ok(speed),
    }
}

pub(crate) fn run(args: &ReadArgs) -> anyhow::Result<ExitCode> {
    args.report.check()?;
    if args.out.is_none() && args.format != [Format::Ndjson] {
        eprintln!("flowtap: warning: --format without --out: does nothing");
    }
    let mut options = args.engine.run_options()?;
    let progress = Arc::new(Progress::default());
    let input_options = InputOptions {
        lateness_s: options.lateness_s,
        time_scale: args.time_scale,
        progress: Some(Arc::clone(&progress)),
        ..InputOptions::default()
    };
    let mut plan = Plan::read(&args.paths, args.out.iter().cloned().collect());
    if args.out.is_none() {
        plan.keeps = state_folder();
    }
    plan.writes.extend(args.report.folder().map(PathBuf::from));
    plan.reads.extend(args.procs.iter().cloned());
    plan.reads.extend(args.hosts.paths().map(PathBuf::from));
    options.baselines = args.baselines.open(&options.detect, args.learn)?;
    args.confine.apply(&plan)?;
    let started = Instant::now();
    let input = open(args, &mut options, input_options)?;
    let privacy = Arc::new(args.payload.privacy());
    let mut sink = Sink::open(args, options.workers, &privacy)?;
    let hashes = sink.dir.is_some().then(|| hash_in_background(args.paths.clone()));
    let bar = (!args.quiet && io::stderr().is_terminal())
        .then(|| crate::report::progress::Bar::start(Arc::clone(&progress)));
    let mut report = run_engine(input, &options, &mut sink);
    drop(bar);
    let learned = take_back(options.baselines.as_ref());
    let dir = sink.dir.take();
    let collected = sink.collector.take();
    if let Err(error) = sink.finish() {
        report.write_error.get_or_insert(error);
    }
    if let Some(filter) = &options.filter {
        for (link, reason) in filter.unsupported() {
            eprintln!(
                "flowtap: warning: the filter matches nothing on link type {}: {reason}",
                link.name()
            );
        }
    }
    let mut summary = Summary::new(&report, started.elapsed());
    privacy.summary(&mut summary);
    write_run(args, &options, dir.as_deref(), &summary, hashes)?;
    if let Some(collected) = collected {
        let made = RunPage::new(collected, &report, learned.as_ref());
        args.report.write(|| run_page(&summary, &made))?;
    }
    for source in &summary.sources {
        if let Some(first_bad) = &source.first_bad {
            let bad: u64 = source.bad.values().sum();
            eprintln!(
                "flowtap: warning: {}: {bad} record{} left out; the first: {first_bad}",
                source.path,
                if bad == 1 { " was" } else { "s were" }
            );
        }
        if let Some(error) = &source.error {
            eprintln!("flowtap: {}: {error}", source.path);
        }
    }
    for file in &summary.files {
        for warning in &file.warnings {
            eprintln!("flowtap: warning: {}: {warning}", file.path);
        }
        if let Some(error) = &file.error {
            eprintln!("flowtap: {error}");
        }
    }
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
    } else if !args.quiet {
        let style = Style::for_stdout();
        io::stdout()
            .lock()
            .write_all(terminal::render(&summary, dir.as_deref(), style).as_bytes())?;
    }
    if let (Some(learned), true) = (&learned, args.learn && !args.quiet) {
        let counters = learned.counters();
        eprintln!(
            "flowtap: baselines: {} minutes learned, {} under alert kept apart; {} entities known",
            counters.minutes,
            counters.frozen_minutes,
            learned.len()
        );
    }
    if learned.is_some_and(|learned| learned.counters().failed_flushes > 0) {
        anyhow::bail!("not everything that was learned could be written");
    }
    if let Some(error) = &report.write_error {
        anyhow::bail!("some records could not be written: {error}");
    }
    Ok(args.engine.exit_status(&summary))
}

/// Opens what is to be read, and sets up what is read beside it.
fn open(
    args: &ReadArgs,
    options: &mut RunOptions,
    input_options: InputOptions,
) -> anyhow::Result<Input> {
    let split = args.telemetry.split(&args.paths)?;
    for odd in &split.odd {
        eprintln!("flowtap: warning: {odd}");
    }
    for path in &split.strangers {
        eprintln!(
            "flowtap: warning: {}: passed over: no capture, and no log of a kind that is known (`flowtap inputs`)",
            path.display()
        );
    }
    options.hosts = host_knowledge(args, options, &split)?;
    let input = if split.captures.is_empty() {
        Input::from_bytes(Vec::new(), input_options)
    } else {
        Input::open(&split.captures, input_options)?
    };
    if !split.sources.is_empty() {
        options.telemetry = Some(Feed::start(split.sources));
    }
    Ok(input)
}

/// Reads the same again, with somebody watched; writes nothing.
pub(super) fn look_again(args: &ReadArgs, watch: Watch) -> anyhow::Result<RunReport> {
    let mut options = args.engine.run_options()?;
    options.detect.watch = Some(watch);
    // As they are now: a run that learned held entities against earlier ones.
    options.baselines = args.baselines.open(&options.detect, false)?;
    let input_options = InputOptions {
        lateness_s: options.lateness_s,
        time_scale: args.time_scale,
        ..InputOptions::default()
    };
    let mut plan = Plan::read(&args.paths, Vec::new());
    plan.reads.extend(args.procs.iter().cloned());
    plan.reads.extend(args.hosts.paths().map(PathBuf::from));
    args.confine.apply(&plan)?;
    let input = open(args, &mut options, input_options)?;
    Ok(run_engine(
        input,
        &options,
        &mut Nowhere { records: args.out.is_some() || args.report.wanted() },
    ))
}

/// Takes records as the run did that is looked at again: analytics see more of them.
struct Nowhere {
    records: bool,
}

impl RecordSink for Nowhere {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        self.records
    }
}

/// What is known of hosts, read whole before the captures.
fn host_knowledge(
    args: &ReadArgs,
    options: &RunOptions,
    split: &Split,
) -> anyhow::Result<Option<HostKnowledge>> {
    let files = args.hosts.open()?;
    for warning in &files.warnings {
        eprintln!("flowtap: warning: {warning}");
    }
    if let Some(pipe) = split.of_hosts().find(|named| !named.path.is_file()) {
        let why = format!(
            "{}: process telemetry is read twice, for the map and in the order of time: give a file",
            pipe.path.display()
        );
        return Err(Usage(why).into());
    }
    let mapped = !args.procs.is_empty() || split.of_hosts().next().is_some();
    if !mapped && args.hosts.paths().next().is_none() {
        return Ok(None);
    }
    let map = mapped.then(|| Arc::new(HostMap::new(MapLimits::default())));
    maps_once(&args.procs)?;
    for path in &args.procs {
        let Some(map) = &map else { break };
        // As any other file of hosts that is no good.
        let read = read_map(path, &mut map.writer()).map_err(|error| Usage(error.to_string()))?;
        if let Some(first) = read.first_bad {
            eprintln!(
                "flowtap: warning: {} lines are no events and are left out; the first: {first}",
                read.bad_lines
            );
        }
    }
    if let Some(map) = &map {
        read_into_map(split.of_hosts().cloned().collect(), map);
        map.complete();
    }
    Ok(Some(HostKnowledge {
        map,
        live: false,
        inventory: files.inventory,
        lists: Some(files.lists),
        home_nets: options.detect.home_nets.clone(),
    }))
}

/// Writes records into the files of `--out`, and collects them for `--report`.
struct Sink {
    collector: Option<Collector>,
    pipeline: Option<Pipeline>,
    observed: Option<ObservedFiles>,
    dir: Option<PathBuf>,
    privacy: Arc<Privacy>,
}

impl Sink {
    fn open(args: &ReadArgs, threads: usize, privacy: &Arc<Privacy>) -> anyhow::Result<Self> {
        let privacy = Arc::clone(privacy);
        let collector = args.report.collector(Arc::clone(&privacy), report_sample());
        let Some(dir) = &args.out else {
            return Ok(Self { collector, pipeline: None, observed: None, dir: None, privacy });
        };
        fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
        let mut writers = Vec::new();
        for format in &args.format {
            writers.push(format.create(dir).with_context(|| {
                format!("can't write {} records into {}", format.name(), dir.display())
            })?);
        }
        let pipeline = (!writers.is_empty()).then(|| Pipeline::start(writers, threads));
        let observed = Some(ObservedFiles::new(dir));
        let (pipeline, dir) = (pipeline.transpose()?, Some(dir.clone()));
        Ok(Self { collector, pipeline, observed, dir, privacy })
    }

    /// Where a record could not be written says so now.
    fn finish(self) -> io::Result<()> {
        let flows = self.pipeline.map_or(Ok(()), Pipeline::finish);
        let observed = self.observed.map_or(Ok(()), ObservedFiles::finish);
        flows.and(observed)
    }
}

impl RecordSink for Sink {
    fn record(&mut self, mut record: FlowRecord) -> io::Result<()> {
        if let Some(collector) = &mut self.collector {
            collector.record(&record);
        }
        if let Some(pipeline) = &mut self.pipeline {
            self.privacy.record(&mut record);
            pipeline.push(record);
        }
        Ok(())
    }

    fn observed(
        &mut self,
        source: u16,
        observation: &Observation,
        joined: &Joined<'_>,
    ) -> io::Result<()> {
        let Some(files) = &mut self.observed else { return Ok(()) };
        match self.privacy.observed(observation, joined.hosts) {
            Some((shown, hosts)) => {
                let joined = Joined { hosts: hosts.as_ref(), ..*joined };
                files.write(source, &shown, &joined)
            }
            None => files.write(source, observation, joined),
        }
    }

    fn window(&mut self, window: &Assembled) {
        if let Some(collector) = &mut self.collector {
            collector.window(window);
        }
    }

    fn wants_records(&self) -> bool {
        self.pipeline.is_some() || self.collector.is_some()
    }
}

/// Fixed keys: the same captures give the same report.
fn report_sample() -> ahash::RandomState {
    ahash::RandomState::with_seeds(0, 1, 2, 3)
}

/// Digest of one input, for `run.json`.
#[derive(Debug, Serialize)]
struct InputDigest {
    path: String,
    /// Absent for what can't be read twice.
    sha256: Option<String>,
}

type Hashes = std::thread::JoinHandle<Vec<InputDigest>>;

fn hash_in_background(paths: Vec<PathBuf>) -> Hashes {
    std::thread::spawn(move || {
        let mut files = Vec::new();
        for path in paths {
            match fs::read_dir(&path) {
                Ok(entries) => {
                    let entries = entries.flatten().map(|entry| entry.path());
                    files.extend(entries.filter(|path| !is_hidden(path)));
                }
                Err(_) => files.push(path),
            }
        }
        files.sort_unstable();
        files
            .into_iter()
            .map(|path| InputDigest {
                sha256: path.is_file().then(|| sha256_of(&path)).and_then(Result::ok),
                path: path.display().to_string(),
            })
            .collect()
    })
}

pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What was run on what: `run.json`.
#[derive(Debug, Serialize)]
struct RunRecord<'a> {
    schema: &'static str,
    flowtap: &'static str,
    arguments: Vec<String>,
    inputs: Vec<InputDigest>,
    workers: usize,
    max_flows: usize,
    lateness_s: i64,
    home_nets: Vec<String>,
    filter: Option<&'a str>,
}

fn write_run(
    args: &ReadArgs,
    options: &RunOptions,
    out: Option<&Path>,
    summary: &Summary,
    hashes: Option<Hashes>,
) -> anyhow::Result<()> {
    let kept;
    let dir = match out {
        Some(dir) => dir,
        // Without --out a run is kept for `show`, if there is a place for it.
        None => {
            let Some(dir) = state_run() else { return Ok(()) };
            kept = dir;
            &kept
        }
    };
    write_whole(&dir.join("summary.json"), &serde_json::to_vec_pretty(summary)?)?;
    write_alerts(&dir.join("alerts.ndjson"), &summary.alerts)?;
    if out.is_some() && args.format.contains(&Format::Eve) {
        crate::output::eve::append_alerts(dir, &summary.alerts)?;
    }
    if let Some(hashes) = hashes {
        let record = RunRecord {
            schema: "flowtap.run.v1",
            flowtap: env!("CARGO_PKG_VERSION"),
            arguments: recorded_arguments(&Privacy::none()),
            inputs: hashes.join().unwrap_or_default(),
            workers: options.workers,
            max_flows: options.max_flows,
            lateness_s: options.lateness_s,
            home_nets: options.detect.home_nets.nets().iter().map(ToString::to_string).collect(),
            filter: args.engine.filter.as_deref(),
        };
        write_whole(&dir.join("run.json"), &serde_json::to_vec_pretty(&record)?)?;
    }
    Ok(())
}

fn write_alerts(path: &Path, alerts: &[Alert]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for alert in alerts {
            serde_json::to_writer(&mut file, alert)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

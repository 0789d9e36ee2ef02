//! `flowtap read`: captures and logs in, flow records, alerts and a summary out.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use clap::builder::Resettable;

use super::baseline_args::{BaselineArgs, take_back, tell};
use super::confine_args::{ConfineArgs, state_folder};
use super::digests::Hashes;
use super::engine_args::EngineArgs;
use super::host_args::HostArgs;
use super::learned_files::{Known, LearnedFiles};
use super::output_args::PayloadArgs;
use super::read_files;
use super::read_files::Named;
use super::read_hosts::{MapSpans, host_knowledge};
use super::report_args::ReportArgs;
use super::rundir::{leave_word, state_run};
use super::stop::StopSignals;
use super::telemetry_args::{Split, TelemetryArgs};
use crate::baseline::{Baselines, Lent};
use crate::detect::Watch;
use crate::engine::window::Assembled;
use crate::engine::{Joined, RecordSink, RunOptions, run as run_engine};
use crate::flow::FlowRecord;
use crate::input::ending::end_with;
use crate::input::{Input, InputOptions, Progress, Speed};
use crate::output::access::make_folders;
use crate::output::observed::ObservedFiles;
use crate::output::privacy::Privacy;
use crate::output::run_folder::RunFolder;
use crate::output::{Format, Pipeline, Summary};
use crate::report::detail::printable;
use crate::report::html::{Collector, RunPage, run_page};
use crate::report::terminal::{self, Style};
use crate::service::confine::Plan;
use crate::telemetry::Observation;
use crate::telemetry::feed::Feed;

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
    /// Learn also from files that were learned from before: what is in them counts twice.
    #[arg(long, requires = "baseline", help_heading = "Baselines")]
    again: bool,
    #[arg(skip)]
    pub(crate) known: Known,
    #[command(flatten)]
    confine: ConfineArgs,
}

impl ReadArgs {
    /// What the run takes from files beside its inputs. Baselines that it learns into are
    /// others as soon as it has.
    fn also_read(&self) -> Vec<PathBuf> {
        let baseline = self.baselines.baseline.as_deref().filter(|_| !self.learn);
        let named = self.engine.config.as_deref().into_iter().chain(self.engine.paths());
        let named = named.chain(self.procs.iter().map(PathBuf::as_path));
        named.chain(self.hosts.paths()).chain(baseline).map(PathBuf::from).collect()
    }

    /// What was named, by what it is.
    fn split(&self) -> anyhow::Result<Split> {
        let split = self.telemetry.split(&self.paths)?;
        for odd in &split.odd {
            eprintln!("flowtap: warning: {odd}");
        }
        for path in &split.strangers {
            eprintln!(
                "flowtap: warning: {}: passed over: no capture, and no log of a kind that is known (`flowtap inputs`)",
                path.display()
            );
        }
        Ok(split)
    }

    /// What is to be learned from, without what was before.
    fn learned_files(
        &self,
        split: &mut Split,
        lent: Option<&Lent>,
    ) -> anyhow::Result<LearnedFiles> {
        let baselines = lent.filter(|_| self.learn).and_then(|lent| Some((lent, lent.take()?)));
        let Some((lent, baselines)) = baselines else { return Ok(LearnedFiles::default()) };
        let files = LearnedFiles::of(split, &baselines, self.known, self.again);
        lent.give_back(baselines);
        Ok(files?)
    }

    /// The same of these inputs alone.
    pub(super) fn of_inputs(mut self, inputs: Vec<PathBuf>) -> Self {
        self.paths = inputs;
        self
    }

    /// Baselines that are not what the run held entities against, since it learned into them.
    pub(super) fn learned_into(&self) -> Option<&Path> {
        self.baselines.baseline.as_deref().filter(|_| self.learn)
    }
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
    if args.again && !args.learn {
        eprintln!("flowtap: warning: --again without --learn: does nothing");
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
    plan.keeps = state_folder();
    plan.writes.extend(args.report.folder().map(PathBuf::from));
    plan.reads.extend(args.also_read());
    options.baselines = args.baselines.open(&options.detect, args.learn)?;
    let (stop, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let signals = StopSignals::listen().context("can't listen for signals")?;
    end_with(&stop);
    args.confine.apply(&plan)?;
    signals.set(&stop, &signal).context("can't listen for signals")?;
    let started = Instant::now();
    let mut split = args.split()?;
    let files = args.learned_files(&mut split, options.baselines.as_ref())?;
    if files.leaves_nothing_of(&split) {
        eprintln!("flowtap: all of it was learned before: nothing is read");
        return Ok(ExitCode::SUCCESS);
    }
    let (input, maps) = open(args, split, &mut options, input_options)?;
    let privacy = Arc::new(args.payload.privacy());
    let mut sink = Sink::open(args, options.workers, &privacy)?;
    let hashes =
        sink.dir.is_some().then(|| Hashes::start(args.paths.clone(), args.also_read(), &stop));
    let bar = (!args.quiet && io::stderr().is_terminal())
        .then(|| crate::report::progress::Bar::start(Arc::clone(&progress)));
    let mut report = run_engine(input, &options, &mut sink);
    // One that comes later ends nothing of this.
    let signal = signal.load(Ordering::Acquire);
    drop(bar);
    let mut learned = take_back(options.baselines.as_ref());
    if let Some(learned) = &mut learned {
        files.tell(learned, &report, signal != 0);
        learned.flush();
        tell(learned);
    }
    let dir = sink.dir.take();
    // Until everything is written.
    let _folder = sink.folder.take();
    let collected = sink.collector.take();
    if let Err(error) = sink.finish() {
        report.write_error.get_or_insert(error);
    }
    let mut summary = Summary::new(&report, started.elapsed());
    privacy.summary(&mut summary);

    // What can't be written is said at the end: what was found is told all the same.
    let mut failed = Vec::new();
    if let Some(error) = &report.write_error {
        failed.push(anyhow::anyhow!("some records could not be written: {error}"));
    }
    failed.extend(write_run(args, &options, dir.as_deref(), &summary, hashes).err());
    if let Some(collected) = collected {
        let made = RunPage::new(collected, &report, learned.as_ref());
        failed.extend(args.report.write(|| run_page(&summary, &made)).err());
    }
    tell_troubles(&options, &summary);
    if let Some(warning) = report.input.span_ns().and_then(|span| maps.warning(span)) {
        say(&format!("warning: {warning}"));
    }
    // Who does not listen any more is no failure, so that comes after all that is.
    let printed = print(args, &summary, dir.as_deref()).err();
    failed.extend(learned.and_then(|learned| tell_learned(args, &learned)));
    failed.extend(printed);
    if signal != 0 {
        eprintln!("flowtap: stopped by a signal: what comes after is not in this");
    }
    let mut failed = failed.into_iter();
    if let Some(first) = failed.next() {
        failed.for_each(|error| eprintln!("flowtap: {error:#}"));
        return Err(first);
    }
    // As a shell names a program that a signal ended.
    match u8::try_from(signal) {
        Ok(signal @ 1..128) => Ok(ExitCode::from(128 + signal)),
        _ => Ok(args.engine.exit_status(&summary)),
    }
}

/// On one line, whatever stands in names.
fn say(text: &str) {
    eprintln!("flowtap: {}", printable(text).replace('\n', "\\u{a}"));
}

/// What was wrong with the inputs. Their names are others' choice.
fn tell_troubles(options: &RunOptions, summary: &Summary) {
    if let Some(filter) = &options.filter {
        for (link, reason) in filter.unsupported() {
            say(&format!(
                "warning: the filter matches nothing on link type {}: {reason}",
                link.name()
            ));
        }
    }
    for source in &summary.sources {
        if let Some(first_bad) = &source.first_bad {
            let bad: u64 = source.bad.values().sum();
            say(&format!(
                "warning: {}: {bad} record{} left out; the first: {first_bad}",
                source.path,
                if bad == 1 { " was" } else { "s were" }
            ));
        }
        if source.late > 0 {
            say(&format!(
                "warning: {}: {} record{} came too far out of the order of time to be judged with \
                 the others; give its parts as files of their own",
                source.path,
                source.late,
                if source.late == 1 { "" } else { "s" }
            ));
        }
        if let Some(error) = &source.error {
            say(&format!("{}: {error}", source.path));
        }
    }
    for file in &summary.files {
        for warning in &file.warnings {
            say(&format!("warning: {}: {warning}", file.path));
        }
        if let Some(error) = &file.error {
            say(&error.to_string());
        }
    }
}

fn print(args: &ReadArgs, summary: &Summary, dir: Option<&Path>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, summary)?;
        writeln!(out)?;
    } else if !args.quiet && !could_read_nothing(summary) {
        out.write_all(terminal::render(summary, dir, Style::for_stdout()).as_bytes())?;
    }
    Ok(())
}

/// Not a record of anything that was named: the errors say all that there is.
fn could_read_nothing(summary: &Summary) -> bool {
    let (files, sources) = (&summary.files, &summary.sources);
    let named = files.len() + sources.len();
    named > 0
        && files.iter().all(|file| file.error.is_some() && file.packets == 0)
        && sources.iter().all(|source| source.error.is_some() && source.records == 0)
}

/// What was learned; an error where not all of it is kept.
fn tell_learned(args: &ReadArgs, learned: &Baselines) -> Option<anyhow::Error> {
    let counters = learned.counters();
    if args.learn && !args.quiet {
        eprintln!(
            "flowtap: baselines: {} minutes learned, {} under alert kept apart; {} entities known",
            counters.minutes,
            counters.frozen_minutes,
            learned.len()
        );
        if counters.expired > 0 {
            let days = learned.settings().unseen_days;
            eprintln!(
                "flowtap: baselines: {} entities are forgotten: not seen for {days} days",
                counters.expired
            );
        }
    }
    let lost = counters.failed_flushes > 0;
    lost.then(|| anyhow::anyhow!("not everything that was learned could be written"))
}

fn write_run(
    args: &ReadArgs,
    options: &RunOptions,
    out: Option<&Path>,
    summary: &Summary,
    hashes: Option<Hashes>,
) -> anyhow::Result<()> {
    let Some(dir) = out else {
        // Without --out a run is kept for `show`, if there is a place for it.
        return state_run().map_or(Ok(()), |dir| read_files::write(&dir, summary, None));
    };
    let filter = args.engine.filter.as_deref();
    let named = hashes.map(|hashes| Named { hashes, formats: &args.format, options, filter });
    read_files::write(dir, summary, named)?;
    leave_word(dir);
    Ok(())
}

/// Opens what is to be read, and sets up what is read beside it.
fn open(
    args: &ReadArgs,
    split: Split,
    options: &mut RunOptions,
    input_options: InputOptions,
) -> anyhow::Result<(Input, MapSpans)> {
    let (hosts, maps) = host_knowledge(&args.procs, &args.hosts, options, &split)?;
    options.hosts = hosts;
    let input = if split.captures.is_empty() {
        Input::from_bytes(Vec::new(), input_options)
    } else {
        Input::open(&split.captures, input_options)?
    };
    if !split.sources.is_empty() {
        options.telemetry = Some(Feed::start(split.sources));
    }
    Ok((input, maps))
}

/// Reads the same again, with somebody watched; writes nothing.
pub(super) fn look_again(args: &ReadArgs, watch: Watch) -> anyhow::Result<()> {
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
    plan.reads.extend(args.also_read());
    args.confine.apply(&plan)?;
    let (input, _) = open(args, args.split()?, &mut options, input_options)?;
    let mut nowhere = Nowhere { records: args.out.is_some() || args.report.wanted() };
    run_engine(input, &options, &mut nowhere);
    Ok(())
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

/// Writes records into the files of `--out`, and collects them for `--report`.
struct Sink {
    folder: Option<RunFolder>,
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
            let (folder, pipeline, observed, dir) = (None, None, None, None);
            return Ok(Self { folder, collector, pipeline, observed, dir, privacy });
        };
        make_folders(dir).with_context(|| format!("can't make {}", dir.display()))?;
        let folder = Some(RunFolder::begin_read(dir, &args.format, &args.paths)?);
        let mut writers = Vec::new();
        for format in &args.format {
            writers.push(format.create(dir).with_context(|| {
                format!("can't write {} records into {}", format.name(), dir.display())
            })?);
        }
        let pipeline = (!writers.is_empty()).then(|| Pipeline::start(writers, threads));
        let observed = Some(ObservedFiles::new(dir));
        let (pipeline, dir) = (pipeline.transpose()?, Some(dir.clone()));
        Ok(Self { folder, collector, pipeline, observed, dir, privacy })
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

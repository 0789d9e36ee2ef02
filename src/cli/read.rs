//! `flowtap read`: captures in, flow records, alerts and a summary out.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Usage;
use super::rundir::{new_state_run, write_whole};
use super::values::TimeoutNs;
use crate::alert::{Alert, Severity};
use crate::detect::HomeNets;
use crate::engine::dedup::{DedupMode, DedupSettings};
use crate::engine::{RecordSink, RunOptions, run as run_engine};
use crate::flow::{FlowRecord, Timeouts};
use crate::input::filter::Filter;
use crate::input::{Input, InputOptions, Progress};
use crate::output::{Format, Pipeline, Summary};
use crate::packet::DecodeOptions;
use crate::report::terminal::{self, Style};

/// Memory for one flow that the default cap is sized by: 768 bytes of a long
/// one with its places in index and wheel, 64 in the list that the end of the
/// input sorts, and room for application hints.
const BYTES_PER_FLOW: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Captures: files, folders, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write flows, alerts and summary into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Formats of the flow records in --out; several are separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "ndjson")]
    format: Vec<Format>,
    /// Print the summary as JSON to standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Count only packets that this BPF expression (pcap-filter(7)) matches.
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Drop the second copies that SPAN ports deliver.
    #[arg(long, value_enum, value_name = "MODE")]
    dedup: Option<Dedup>,
    /// Look for copies among this many packets before.
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "dedup")]
    dedup_packets: u64,
    /// And not further back than this many microseconds.
    #[arg(long, value_name = "US", default_value_t = 10_000, requires = "dedup")]
    dedup_us: u64,
    /// Keep the outermost flow instead of opening tunnels.
    #[arg(long)]
    no_decap: bool,
    /// Flows in different VLANs are different flows.
    #[arg(long)]
    key_vlan: bool,
    /// Our side: prefixes, repeated or separated by commas [default: private ranges].
    #[arg(long, value_delimiter = ',', value_name = "PREFIX")]
    home_net: Vec<IpNet>,
    /// Worker threads [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Flows held at once [default: what an eighth of the machine's memory holds].
    #[arg(long, value_name = "N")]
    max_flows: Option<usize>,
    /// Idle time-out of TCP flows.
    #[arg(long, value_name = "TIME", default_value = "300s")]
    tcp_idle: TimeoutNs,
    /// Time-out of TCP flows whose SYN was not answered.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    tcp_half_open: TimeoutNs,
    /// Time that a closed TCP flow waits for stragglers.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    tcp_closed: TimeoutNs,
    /// Idle time-out of UDP flows.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    udp_idle: TimeoutNs,
    /// Idle time-out of ICMP and ICMPv6 flows.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    icmp_idle: TimeoutNs,
    /// Idle time-out of all other flows.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    other_idle: TimeoutNs,
    /// Age at which a flow's record is cut and a new one begun.
    #[arg(long, value_name = "TIME", default_value = "300s")]
    active: TimeoutNs,
    /// The same for TCP alone [default: --active].
    #[arg(long, value_name = "TIME")]
    tcp_active: Option<TimeoutNs>,
    /// The same for UDP alone [default: --active].
    #[arg(long, value_name = "TIME")]
    udp_active: Option<TimeoutNs>,
    /// The same for ICMP and ICMPv6 alone [default: --active].
    #[arg(long, value_name = "TIME")]
    icmp_active: Option<TimeoutNs>,
    /// The same for all other protocols [default: --active].
    #[arg(long, value_name = "TIME")]
    other_active: Option<TimeoutNs>,
    /// Flood threshold in packets a second (ATT&CK: PacketRateThreshold).
    #[arg(long, value_name = "PPS")]
    packet_rate_threshold: Option<u64>,
    /// Exit with status 3 when there is an alert of this severity or higher.
    #[arg(long, value_name = "SEVERITY", num_args = 0..=1, require_equals = true,
          default_missing_value = "low")]
    fail_on_alert: Option<Severity>,
    /// Print no summary for people and no progress.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dedup {
    /// The same bytes.
    Exact,
    /// The same packet with other MACs, VLANs or TTL.
    Routed,
}

pub(crate) fn run(args: &ReadArgs) -> anyhow::Result<ExitCode> {
    let options = run_options(args)?;
    let progress = Arc::new(Progress::default());
    let input_options = InputOptions {
        lateness_s: options.lateness_s,
        progress: Some(Arc::clone(&progress)),
        ..InputOptions::default()
    };
    let started = Instant::now();
    let input = Input::open(&args.paths, input_options)?;
    let mut sink = Sink::open(args, options.workers)?;
    let hashes = sink.dir.is_some().then(|| hash_in_background(args.paths.clone()));
    let bar = (!args.quiet && io::stderr().is_terminal())
        .then(|| crate::report::progress::Bar::start(Arc::clone(&progress)));
    let mut report = run_engine(input, &options, &mut sink);
    drop(bar);
    let dir = sink.dir.take();
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
    let summary = Summary::new(&report, started.elapsed());

    write_run(args, &options, dir.as_deref(), &summary, hashes)?;
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
    if let Some(error) = &report.write_error {
        anyhow::bail!("some records could not be written: {error}");
    }
    Ok(exit_status(&summary, args.fail_on_alert))
}

fn exit_status(summary: &Summary, fail_on: Option<Severity>) -> ExitCode {
    if summary.files.iter().any(|file| file.error.is_some()) {
        return ExitCode::from(1);
    }
    match fail_on {
        Some(lowest) if summary.alerts.iter().any(|alert| alert.severity >= lowest) => {
            ExitCode::from(3)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run_options(args: &ReadArgs) -> anyhow::Result<RunOptions> {
    let mut options = RunOptions::default();
    if let Some(workers) = args.workers {
        options.workers = usize::from(workers);
    }
    options.decode = DecodeOptions { no_decap: args.no_decap, key_vlan: args.key_vlan };
    options.timeouts = Timeouts {
        tcp_idle_ns: args.tcp_idle.0,
        half_open_ns: args.tcp_half_open.0,
        closed_ns: args.tcp_closed.0,
        udp_idle_ns: args.udp_idle.0,
        icmp_idle_ns: args.icmp_idle.0,
        other_idle_ns: args.other_idle.0,
        tcp_active_ns: args.tcp_active.unwrap_or(args.active).0,
        udp_active_ns: args.udp_active.unwrap_or(args.active).0,
        icmp_active_ns: args.icmp_active.unwrap_or(args.active).0,
        other_active_ns: args.other_active.unwrap_or(args.active).0,
    };
    if args.key_vlan && matches!(args.dedup, Some(Dedup::Routed)) {
        // Copies in other VLANs would be other flows, with other workers.
        let text =
            "--dedup routed ignores VLANs and --key-vlan separates flows by them: choose one";
        return Err(Usage(text.to_owned()).into());
    }
    options.max_flows = args.max_flows.unwrap_or_else(default_max_flows);
    options.dedup = args.dedup.map(|mode| DedupSettings {
        mode: match mode {
            Dedup::Exact => DedupMode::Exact,
            Dedup::Routed => DedupMode::Routed,
        },
        window_packets: args.dedup_packets,
        window_ns: i64::try_from(args.dedup_us.saturating_mul(1000)).unwrap_or(i64::MAX),
    });
    options.filter = args
        .filter
        .as_deref()
        .map(Filter::compile)
        .transpose()
        .map_err(|error| Usage(error.to_string()))?
        .map(Arc::new);
    if !args.home_net.is_empty() {
        options.detect.home_nets = HomeNets::new(args.home_net.clone());
    }
    if let Some(threshold) = args.packet_rate_threshold {
        options.detect.packet_rate_threshold = threshold;
    }
    Ok(options)
}

/// An eighth of the machine's memory, or of what its control group may have,
/// between 64 Ki and 64 Mi flows. Not of what is free at the moment: the same
/// capture has the same flows evicted on every run. Most of the memory stays
/// with the page cache, which the next read of the capture wants.
fn default_max_flows() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    // "max" where there is no limit; the root group has no such file.
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let bytes = machine.into_iter().chain(group).min();
    let flows = bytes.map_or(1 << 20, |bytes| bytes / 8 / BYTES_PER_FLOW);
    flows.clamp(1 << 16, 1 << 26) as usize
}

/// Writes records into the files of `--out`.
struct Sink {
    pipeline: Option<Pipeline>,
    dir: Option<PathBuf>,
}

impl Sink {
    fn open(args: &ReadArgs, threads: usize) -> anyhow::Result<Self> {
        let Some(dir) = &args.out else { return Ok(Self { pipeline: None, dir: None }) };
        fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
        let mut writers = Vec::new();
        for format in &args.format {
            writers.push(format.create(dir).with_context(|| {
                format!("can't write {} records into {}", format.name(), dir.display())
            })?);
        }
        let pipeline = (!writers.is_empty()).then(|| Pipeline::start(writers, threads));
        Ok(Self { pipeline: pipeline.transpose()?, dir: Some(dir.clone()) })
    }

    /// Where a record could not be written says so now.
    fn finish(self) -> io::Result<()> {
        self.pipeline.map_or(Ok(()), Pipeline::finish)
    }
}

impl RecordSink for Sink {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.push(record);
        }
        Ok(())
    }

    fn wants_records(&self) -> bool {
        self.pipeline.is_some()
    }
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
                Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
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

fn sha256_of(path: &Path) -> io::Result<String> {
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
        None => match new_state_run() {
            Ok(dir) => {
                kept = dir;
                &kept
            }
            Err(_) => return Ok(()),
        },
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
            arguments: std::env::args().skip(1).collect(),
            inputs: hashes.join().unwrap_or_default(),
            workers: options.workers,
            max_flows: options.max_flows,
            lateness_s: options.lateness_s,
            home_nets: options.detect.home_nets.nets().iter().map(ToString::to_string).collect(),
            filter: args.filter.as_deref(),
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

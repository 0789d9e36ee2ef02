//! Options of everything that runs the engine: `read` and `live`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::config::FromFile;
use super::values::{TimeoutNs, prefix};
use super::{Usage, machine};
use crate::alert::Severity;
use crate::detect::classes::Classes;
use crate::detect::{DetectSettings, HomeNets, PACKET_RATES};
use crate::engine::RunOptions;
use crate::engine::dedup::{DedupMode, DedupSettings};
use crate::flow::Timeouts;
use crate::input::filter::Filter;
use crate::output::Summary;
use crate::output::sources::InputSource;
use crate::packet::DecodeOptions;

/// Memory for one flow that the default cap is sized by: 768 bytes of a long
/// one with its places in index and wheel, 64 in the list that the end of the
/// input sorts, and room for application hints.
const BYTES_PER_FLOW: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Take options, thresholds and what is allowed from this TOML file
    /// (`flowtap config show` prints one); the command line wins.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[arg(skip)]
    pub(crate) from_file: FromFile,
    /// Count only packets that this BPF expression (pcap-filter(7)) matches.
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,
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
    #[arg(long, value_delimiter = ',', value_name = "PREFIX", value_parser = prefix)]
    home_net: Vec<IpNet>,
    /// Worker threads [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Flows held at once [default: what an eighth of the machine's memory holds].
    #[arg(long, value_name = "N")]
    max_flows: Option<NonZeroUsize>,
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
    #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u64).range(
          *PACKET_RATES.start()..=*PACKET_RATES.end()))]
    packet_rate_threshold: Option<u64>,
    /// What kinds of program are expected to do on the network: a TOML table whose
    /// entries come before the built-in ones (`src/detect/classes/classes.toml`).
    #[arg(long, value_name = "FILE", value_parser = ProcessClasses::read)]
    process_classes: Option<ProcessClasses>,
    /// Count flows only: no detector runs and no alert is raised.
    #[arg(long)]
    no_detection: bool,
    /// Exit with status 3 when there is an alert of this severity or higher.
    #[arg(long, value_name = "SEVERITY", num_args = 0..=1, require_equals = true,
          default_missing_value = "low")]
    fail_on_alert: Option<Severity>,
}

/// The option may stand alone, so what follows it would be an input or nothing.
pub(crate) fn severity_is_joined(arguments: &[OsString]) -> Result<(), Usage> {
    let option = "--fail-on-alert";
    let before = arguments.split(|argument| argument == "--").next().unwrap_or_default();
    let apart = before.windows(2).filter(|pair| pair[0] == option).find_map(|pair| {
        let word = pair[1].to_str()?;
        let severity = <Severity as ValueEnum>::from_str(word, true).ok()?;
        // There may be a capture of that name.
        (!Path::new(word).exists()).then_some(severity)
    });
    apart.map_or(Ok(()), |severity| {
        Err(Usage(format!("{option} takes a severity behind =: {option}={}", severity.name())))
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dedup {
    /// The same bytes.
    Exact,
    /// The same packet with other MACs, VLANs or TTL.
    Routed,
}

/// A table of process classes that was read.
#[derive(Clone, Debug)]
struct ProcessClasses {
    path: PathBuf,
    classes: Arc<Classes>,
}

impl ProcessClasses {
    fn read(path: &str) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("can't read it: {error}"))?;
        let classes = Arc::new(Classes::of_user(&text)?);
        Ok(Self { path: path.into(), classes })
    }
}

impl EngineArgs {
    /// Files that a live run must be able to read again.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.process_classes.iter().map(|file| file.path.as_path())
    }

    /// What the engine is told.
    pub(crate) fn run_options(&self) -> anyhow::Result<RunOptions> {
        let mut options = RunOptions::default();
        if let Some(workers) = self.workers {
            options.workers = usize::from(workers);
        }
        options.decode = DecodeOptions { no_decap: self.no_decap, key_vlan: self.key_vlan };
        options.timeouts = Timeouts {
            tcp_idle_ns: self.tcp_idle.0,
            half_open_ns: self.tcp_half_open.0,
            closed_ns: self.tcp_closed.0,
            udp_idle_ns: self.udp_idle.0,
            icmp_idle_ns: self.icmp_idle.0,
            other_idle_ns: self.other_idle.0,
            tcp_active_ns: self.tcp_active.unwrap_or(self.active).0,
            udp_active_ns: self.udp_active.unwrap_or(self.active).0,
            icmp_active_ns: self.icmp_active.unwrap_or(self.active).0,
            other_active_ns: self.other_active.unwrap_or(self.active).0,
        };
        if self.no_detection && self.fail_on_alert.is_some() {
            let text =
                "--no-detection raises no alert that --fail-on-alert could wait for: choose one";
            return Err(Usage(text.to_owned()).into());
        }
        if self.key_vlan && matches!(self.dedup, Some(Dedup::Routed)) {
            // Copies in other VLANs would be other flows, with other workers.
            let text =
                "--dedup routed ignores VLANs and --key-vlan separates flows by them: choose one";
            return Err(Usage(text.to_owned()).into());
        }
        options.max_flows = self.max_flows.map_or_else(default_max_flows, NonZeroUsize::get);
        options.dedup = self.dedup.map(|mode| DedupSettings {
            mode: match mode {
                Dedup::Exact => DedupMode::Exact,
                Dedup::Routed => DedupMode::Routed,
            },
            window_packets: self.dedup_packets,
            window_ns: i64::try_from(self.dedup_us.saturating_mul(1000)).unwrap_or(i64::MAX),
        });
        options.filter = self
            .filter
            .as_deref()
            .map(Filter::compile)
            .transpose()
            .map_err(|error| Usage(error.to_string()))?
            .map(Arc::new);
        options.detect = self.detect_settings();
        options.detects = !self.no_detection;
        options.leaves_memory = true;
        Ok(options)
    }

    /// What detectors compare with: the file's, and what the options say.
    pub(crate) fn detect_settings(&self) -> DetectSettings {
        let mut settings = self.from_file.detect.clone();
        if !self.home_net.is_empty() {
            settings.home_nets = HomeNets::new(self.home_net.clone());
        }
        if let Some(threshold) = self.packet_rate_threshold {
            settings.packet_rate_threshold = threshold;
        }
        if let Some(file) = &self.process_classes {
            settings.classes = Arc::clone(&file.classes);
        }
        settings
    }

    /// See [`super`].
    pub(crate) fn exit_status(&self, summary: &Summary) -> ExitCode {
        let failed = summary.files.iter().any(|file| file.error.is_some());
        if failed || summary.sources.iter().any(InputSource::failed) {
            return ExitCode::from(1);
        }
        match self.fail_on_alert {
            Some(lowest) if summary.alerts.iter().any(|alert| alert.severity >= lowest) => {
                ExitCode::from(3)
            }
            _ => ExitCode::SUCCESS,
        }
    }
}

/// An eighth of the machine's memory, or of what its control group may have,
/// between 64 Ki and 64 Mi flows. Not of what is free at the moment: the same
/// capture has the same flows evicted on every run. Most of the memory stays
/// with the page cache, which the next read of the capture wants.
fn default_max_flows() -> usize {
    let bytes = machine::memory_bytes();
    let flows = bytes.map_or(1 << 20, |bytes| bytes / 8 / BYTES_PER_FLOW);
    flows.clamp(1 << 16, 1 << 26) as usize
}

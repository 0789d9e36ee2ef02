//! Which providers watch this host, and what starts them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tracing::warn;

use super::pods::PodArgs;
use crate::cli::confine_args::ConfineArgs;
use crate::cli::sensor_id::SensorId;
use crate::host::attribution::Method;
use crate::host::containers::Containers;
use crate::host::event::{HostEvent, MAP_VERSION, MapStart};
use crate::host::process::ProcessId;
use crate::host::provider::network::NetworkWatch;
use crate::host::provider::polling::{self, Polling};
use crate::host::provider::proc::{KernelClock, ProcPoller, ProcessReader, ProcessWatch, Secrets};
use crate::host::provider::sock_diag::{self, Settings, SockDiag, WatchedProcesses};
use crate::host::provider::{Provider, ProviderError, Stop};
use crate::host::watch::watch;
use crate::host::workload::PodList;
use crate::service::confine::{Plan, User, how_to_get_watcher_rights};

/// How the processes behind sockets are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Providers {
    /// Not at all.
    Off,
    /// The best that this host offers: ebpf, else sock-diag, else polling.
    Auto,
    /// By programs in the kernel, exactly; also processes of a few milliseconds.
    Ebpf,
    /// By the kernel's socket tables whenever a process starts.
    SockDiag,
    /// By the kernel's socket tables, once a second.
    Polling,
}

impl Providers {
    /// Those that watch, for commands that do nothing else.
    pub(super) fn watching() -> impl TypedValueParser<Value = Self> {
        let all = Self::value_variants().iter().filter(|way| **way != Self::Off);
        let named = PossibleValuesParser::new(all.filter_map(Self::to_possible_value));
        named.try_map(|name| Self::from_str(&name, false))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Ebpf => "ebpf",
            Self::SockDiag => "sock-diag",
            Self::Polling => "polling",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct SecretArgs {
    /// Leave passwords, tokens and keys in command lines, which are masked otherwise.
    /// Whoever can read the map, the records or the alerts has them then, and so has
    /// each receiver of alerts.
    #[arg(long)]
    procs_unmasked: bool,
}

impl SecretArgs {
    fn secrets(self) -> Secrets {
        if self.procs_unmasked { Secrets::Kept } else { Secrets::Masked }
    }

    /// The same option once more, for another process.
    pub(crate) fn arguments(self) -> Option<&'static str> {
        self.procs_unmasked.then_some("--procs-unmasked")
    }
}

/// Providers that are about to begin.
pub(super) struct Watching {
    providers: Vec<Box<dyn Provider>>,
}

/// Beside programs in the kernel, which see sockets when they are used, the tables
/// are read for those that were there before and rest.
#[cfg(feature = "ebpf")]
const REST_INTERVAL: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Watching {
    /// Opens what the providers need, with all the rights of this process. Starts no
    /// thread: rights are given up after it, and those are each thread's own.
    pub(super) fn open(wanted: Providers, kept: SecretArgs) -> anyhow::Result<Self> {
        let secrets = kept.secrets();
        let providers: Vec<Box<dyn Provider>> = match wanted {
            Providers::Off => Vec::new(),
            Providers::Auto => Self::best(secrets)?,
            Providers::Ebpf => Self::ebpf(secrets)?,
            Providers::SockDiag => vec![sock_diag(secrets)?],
            Providers::Polling => {
                polling::available()?;
                let poller = ProcessWatch::new(Box::new(ProcPoller::new(POLL_INTERVAL)));
                let poller = poller.with_secrets(secrets);
                vec![Box::new(Polling::with(POLL_INTERVAL, WatchedProcesses::new(poller)))]
            }
        };
        let mut providers = providers;
        if !providers.is_empty() {
            providers.push(Box::new(NetworkWatch::default()));
        }
        Ok(Self { providers })
    }

    /// The ways in which it is watched.
    pub(super) fn methods(&self) -> Vec<Method> {
        self.providers.iter().map(|provider| provider.method()).collect()
    }

    fn best(secrets: Secrets) -> Result<Vec<Box<dyn Provider>>, ProviderError> {
        let why_not = match Self::ebpf(secrets) {
            Ok(providers) => return Ok(providers),
            Err(error) => error,
        };
        let sock_diag = sock_diag(secrets).map_err(|error| match error {
            ProviderError::Unavailable { what, reason } => {
                let way = how_to_get_watcher_rights();
                let way = way.map_or_else(String::new, |way| format!(" ({way})"));
                let reason = format!("{reason}{way}. Nor is there eBPF: {why_not}");
                ProviderError::Unavailable { what, reason }
            }
            error => error,
        })?;
        warn!(
            event = "procs.provider",
            "processes are watched by sock_diag, less exactly than by eBPF: {why_not}"
        );
        Ok(vec![sock_diag])
    }

    #[cfg(feature = "ebpf")]
    fn ebpf(secrets: Secrets) -> Result<Vec<Box<dyn Provider>>, ProviderError> {
        use crate::host::provider::ebpf::Ebpf;
        let ebpf = Box::new(Ebpf::new(secrets)?);
        Ok(match polling::available() {
            Ok(()) => vec![ebpf, Box::new(Polling::new(REST_INTERVAL))],
            Err(_) => vec![ebpf],
        })
    }

    #[cfg(not(feature = "ebpf"))]
    fn ebpf(_: Secrets) -> Result<Vec<Box<dyn Provider>>, ProviderError> {
        let reason = "this flowtap was built without the feature `ebpf`".to_owned();
        Err(ProviderError::Unavailable { what: "eBPF", reason })
    }

    /// Gives up what watching does not take.
    pub(super) fn confine(
        &self,
        confine: &ConfineArgs,
        pods: &PodArgs,
        user: Option<&User>,
    ) -> anyhow::Result<()> {
        let plan = Plan::watcher(&self.methods(), pods.fetches());
        let confined = confine.apply(&Plan { user: user.cloned(), ..plan });
        let confined = confined.context("the watcher of processes")?;
        if !confined.missing.is_empty() {
            warn!(event = "procs.confined", "the watcher of processes is {}", confined.text());
        }
        Ok(())
    }

    /// Runs until told to stop.
    pub(super) fn run(
        self,
        pods: Option<PodList>,
        stop: &Stop,
        take: &mut dyn FnMut(&HostEvent) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut containers = Containers::of_this_host(pods)?;
        let start = MapStart {
            version: MAP_VERSION,
            host: SensorId::of_this_machine().0,
            boot: boot_id(),
            providers: self.methods(),
            netns: own_netns(),
            observers: observers(),
        };
        watch(self.providers, (KernelClock::wall_now_ns(), start), stop, &mut containers, take)
    }
}

fn sock_diag(secrets: Secrets) -> Result<Box<dyn Provider>, ProviderError> {
    sock_diag::available()?;
    let processes = ProcessWatch::open(POLL_INTERVAL).with_secrets(secrets);
    let processes = WatchedProcesses::new(processes);
    if let Some(error) = processes.why_polling() {
        warn!(event = "procs.provider", "processes are looked for once a second alone: {error}");
    }
    Ok(Box::new(SockDiag::new(Settings::default(), processes)))
}

/// This process, and the one that started it if that is a capture of ours.
fn observers() -> Vec<ProcessId> {
    let mut reader = ProcessReader::new();
    let Ok(own) = reader.read_process(std::process::id()) else { return Vec::new() };
    let parent = own
        .parent
        .filter(|parent| reader.read_process(parent.pid).is_ok_and(|parent| parent.exe == own.exe));
    [Some(own.id), parent].into_iter().flatten().collect()
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Inode of this process's network namespace: where its captures hear.
fn own_netns() -> Option<u64> {
    fs::metadata("/proc/self/ns/net").ok().map(|namespace| namespace.ino())
}

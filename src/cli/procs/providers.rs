//! Which providers watch this host, and what starts them.

use std::io;

use clap::ValueEnum;

use crate::host::event::{HostEvent, MAP_VERSION, MapStart};
use crate::host::provider::{Provider, Stop};
use crate::host::watch::watch;

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

/// Providers that are about to begin.
pub(super) struct Watching {
    providers: Vec<Box<dyn Provider>>,
}

impl Watching {
    /// Opens what the providers need, with all the rights of this process.
    pub(super) fn open(_: Providers) -> anyhow::Result<Self> {
        Ok(Self { providers: Vec::new() })
    }

    /// Gives up what watching does not take.
    pub(super) fn confine(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Runs until told to stop.
    pub(super) fn run(
        self,
        stop: &Stop,
        take: &mut dyn FnMut(&HostEvent) -> io::Result<()>,
    ) -> io::Result<()> {
        let start = MapStart { version: MAP_VERSION, ..MapStart::default() };
        watch(self.providers, (0, start), stop, &mut (), take)
    }
}

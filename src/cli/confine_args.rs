//! Options of what a run gives up before it begins.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Usage;
use super::rundir::state_dir;
use crate::input::live::LiveError;
use crate::output::access::make_folders;
use crate::service::confine::{Confined, Mode, Plan, confine, how_to_get_cap_net_raw};

#[derive(Debug, Args)]
#[command(next_help_heading = "Confinement")]
pub(crate) struct ConfineArgs {
    /// Give up rights, files and system calls that are not needed: what the
    /// kernel offers (on), all of it or no start (strict), or nothing (off).
    #[arg(long, value_enum, default_value = "on", value_name = "MODE")]
    confine: Mode,
}

impl ConfineArgs {
    pub(crate) fn is_off(&self) -> bool {
        self.confine == Mode::Off
    }

    /// The same option once more, for another process.
    pub(crate) fn arguments(&self) -> [&'static str; 2] {
        let mode = match self.confine {
            Mode::On => "on",
            Mode::Strict => "strict",
            Mode::Off => "off",
        };
        ["--confine", mode]
    }

    /// Before any thread is started, and before anything that others send is
    /// read.
    pub(crate) fn apply(&self, plan: &Plan) -> anyhow::Result<Confined> {
        confine(plan, self.confine).map_err(Into::into)
    }
}

/// The folder where runs are kept that nobody named one for, if there can be
/// one.
pub(crate) fn state_folder() -> Option<PathBuf> {
    state_dir().filter(|dir| make_folders(dir).is_ok())
}

/// With what gives the right to capture, where that is missing. To be asked
/// for before the process is confined, when nothing can give it any more.
pub(crate) fn explaining() -> impl FnOnce(LiveError) -> anyhow::Error {
    let way = how_to_get_cap_net_raw();
    move |error| match error {
        LiveError::NoPermission { .. } => anyhow::anyhow!("{error}: {way}"),
        LiveError::NoSuchInterface { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

/// Binds the port of the metrics while every port can be bound.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("can't serve metrics at {address}"))
}

//! `--control` of a live run: the socket, and what is shown there.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use tracing::warn;

use crate::alert::Alert;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, SensorEvent};
use crate::input::LiveHandle;
use crate::output::privacy::Privacy;
use crate::service::control::{Collector, ControlServer, ControlSocket, default_path};

/// Where the socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlAt {
    Nowhere,
    Path(PathBuf),
}

impl FromStr for ControlAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("name a path, or `none`".to_owned()),
            "none" => Ok(Self::Nowhere),
            path => Ok(Self::Path(path.into())),
        }
    }
}

/// Takes the socket. One that was asked for and can't be had is an error. The
/// default one is not worth a run: a second service on the machine does without,
/// and says so.
pub(crate) fn take_control_socket(at: Option<&ControlAt>) -> anyhow::Result<Option<ControlSocket>> {
    let path = match at {
        Some(ControlAt::Nowhere) => None,
        Some(ControlAt::Path(path)) => Some(path.clone()),
        None => default_path(),
    };
    match path.map(|path| ControlSocket::take(&path)).transpose() {
        Ok(socket) => Ok(socket),
        Err(error) if at.is_none() => {
            warn!(
                event = "control.none",
                "no control socket: {error}; `flowtap top` can't watch this run: name another \
                 place with --control PATH, or --control none"
            );
            Ok(None)
        }
        Err(error) => Err(error).context("no control socket"),
    }
}

/// The socket and its snapshots; nothing where there is no socket.
pub(crate) struct Control {
    open: Option<(ControlServer, Collector)>,
}

impl Control {
    pub(crate) fn start(
        socket: Option<ControlSocket>,
        privacy: &Arc<Privacy>,
        handle: &LiveHandle,
        watched: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let Some(socket) = socket else { return Ok(Self { open: None }) };
        let server = ControlServer::serve(socket, Arc::clone(&watched))?;
        let collector = Collector::new(Arc::clone(privacy), Arc::clone(&handle.status), watched);
        Ok(Self { open: Some((server, collector)) })
    }

    pub(crate) fn window(&mut self, window: &Assembled) {
        if let Some((_, collector)) = &mut self.open {
            collector.window(window);
        }
    }

    /// As it may be shown.
    pub(crate) fn alert(&mut self, shown: &Alert, over: bool) {
        if let Some((_, collector)) = &mut self.open {
            collector.alert(shown, over);
        }
    }

    pub(crate) fn event(&mut self, event: &SensorEvent) {
        if let Some((_, collector)) = &mut self.open {
            collector.event(event);
        }
    }

    pub(crate) fn closed(&mut self, before_s: i64, flows: FlowGauge, now_ns: i64) {
        if let Some((server, collector)) = &mut self.open
            && let Some(snapshot) = collector.closed(before_s, flows, now_ns)
        {
            server.publish(&snapshot);
        }
    }
}

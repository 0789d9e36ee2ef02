//! `--control` of a live run: the socket, and what is shown there.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use crate::alert::Alert;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, SensorEvent};
use crate::input::LiveHandle;
use crate::output::privacy::Privacy;
use crate::service::control::{Collector, ControlServer, default_path};

/// Where the socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlAt {
    Default,
    Nowhere,
    Path(PathBuf),
}

impl FromStr for ControlAt {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" => Self::Default,
            "none" => Self::Nowhere,
            path => Self::Path(path.into()),
        })
    }
}

/// The socket and its snapshots; nothing where there is no socket.
pub(crate) struct Control {
    open: Option<(ControlServer, Collector)>,
}

impl Control {
    /// A socket that was asked for and can't be had is an error. The default one
    /// is not worth a run: a second service on the machine does without, and
    /// says so.
    pub(crate) fn start(
        at: &ControlAt,
        privacy: &Arc<Privacy>,
        handle: &LiveHandle,
        watched: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let none = Self { open: None };
        let path = match at {
            ControlAt::Nowhere => return Ok(none),
            ControlAt::Path(path) => path.clone(),
            ControlAt::Default => match default_path() {
                Some(path) => path,
                None => return Ok(none),
            },
        };
        let server = match ControlServer::start(&path, Arc::clone(&watched)) {
            Ok(server) => server,
            Err(error) if *at == ControlAt::Default => {
                eprintln!(
                    "flowtap: no control socket: {error}; `flowtap top` can't watch this run: \
                     name another place with --control PATH, or --control none"
                );
                return Ok(none);
            }
            Err(error) => return Err(error).context("no control socket"),
        };
        let status = Arc::clone(&handle.status);
        let collector = Collector::new(Arc::clone(privacy), status, watched);
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

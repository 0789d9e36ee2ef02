//! What a run that goes on covers so far, beside its results ([`SO_FAR`]): `flowtap coverage`
//! shows it until there is a summary, and of a run that was killed ever after.
//!
//! Kept by a thread of its own, since a disk may not answer. Start at [`SoFar::start`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

use crate::cli::rundir::{SO_FAR, write_whole};
use crate::detect::analytic::Inputs;
use crate::host::coverage::Coverage;
use crate::lock::Lock;
use crate::output::analytics::{AnalyticState, Given, states};
use crate::output::run_folder;
use crate::time::rfc3339;

/// For who looks whether a run that they have just begun works.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// Nobody watches a table for changes of seconds, and a disk that holds nothing else has
/// little to do by it: some kilobytes.
const INTERVAL: Duration = Duration::from_secs(10);

/// At the end of a second.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) closed_ns: i64,
    pub(super) hosts: Option<Coverage>,
    pub(super) inputs: Inputs,
    pub(super) flow_records_lost: bool,
    pub(super) platform_omitted: bool,
}

#[derive(Serialize)]
struct Figures<'a> {
    as_of: String,
    hosts: Option<&'a Coverage>,
    analytics: Vec<AnalyticState>,
}

pub(super) struct SoFar {
    path: PathBuf,
    newest: Arc<Lock<Option<Known>>>,
    ending: Sender<()>,
    thread: JoinHandle<()>,
}

impl SoFar {
    pub(super) fn start(dir: &Path) -> io::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let newest = Arc::<Lock<Option<Known>>>::default();
        let path = dir.join(SO_FAR);
        let (to, from) = (path.clone(), Arc::clone(&newest));
        let keep = move || {
            let mut wait = FIRST_AFTER;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                // In a statement of its own: who tells does not wait for the disk.
                let known = from.lock().take();
                if let Some(known) = known {
                    wait = INTERVAL;
                    // A full disk is told by those who write results.
                    let _ = serde_json::to_vec(&figures(&known))
                        .map(|figures| write_whole(&to, &figures));
                }
            }
        };
        let thread = thread::Builder::new().name("so-far".to_owned()).spawn(keep)?;
        Ok(Self { path, newest, ending, thread })
    }

    pub(super) fn tell(&self, known: Known) {
        *self.newest.lock() = Some(known);
    }

    /// With a summary the file says nothing any more.
    pub(super) fn finish(self, has_summary: bool) {
        drop(self.ending);
        let _ = self.thread.join();
        if has_summary {
            let _ = run_folder::remove(&self.path);
        }
    }
}

/// What only the end tells (the order of records, owners of senders, mirrors) is taken to be
/// well.
fn figures(known: &Known) -> Figures<'_> {
    let hosts = known.hosts.as_ref();
    let all = hosts.map(Coverage::all).unwrap_or_default();
    let analytics = states(&Given {
        inputs: &known.inputs,
        hosts,
        flows: all.flows,
        wire_bytes: all.wire_bytes,
        flows_in_vni: 0,
        flow_records_lost: known.flow_records_lost,
        records_unordered: false,
        senders_unknown: false,
        platform_omitted: known.platform_omitted,
    });
    Figures { as_of: rfc3339(known.closed_ns), hosts, analytics }
}

//! What was run: `run.json`, beside the results of a live run.
//!
//! A sensor that starts while the disk is full captures, tells and delivers all the same;
//! the file is [`Owed`] until there is room. Start at [`write`].

use std::io::{self, ErrorKind::QuotaExceeded, ErrorKind::StorageFull};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tracing::warn;

use super::LiveArgs;
use crate::cli::rundir::{recorded_arguments, write_whole};
use crate::output::privacy::Privacy;
use crate::service::confine::Confined;

#[derive(Debug, Serialize)]
struct RunRecord {
    schema: &'static str,
    flowtap: &'static str,
    arguments: Vec<String>,
    interfaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingPlace>,
    /// Records and alerts have pseudonyms; recorded packets never do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pseudonyms: bool,
    confinement: Confined,
}

#[derive(Debug, Serialize)]
struct RecordingPlace {
    dir: PathBuf,
}

/// A file that could not be written yet.
pub(super) struct Owed {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Owed {
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        write_whole(&self.path, &self.bytes)
    }
}

/// Where the disk is full it is told, and owed.
pub(super) fn write(
    dir: &Path,
    args: &LiveArgs,
    privacy: &Privacy,
    confinement: Confined,
) -> anyhow::Result<Option<Owed>> {
    let place = |dir: &PathBuf| RecordingPlace {
        dir: std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
    };
    let record = RunRecord {
        schema: "flowtap.run.v1",
        flowtap: env!("CARGO_PKG_VERSION"),
        arguments: recorded_arguments(privacy),
        interfaces: args.interface.clone(),
        recording: args.record.as_ref().map(place),
        pseudonyms: privacy.pseudonyms.is_some(),
        confinement,
    };
    let owed = Owed { path: dir.join("run.json"), bytes: serde_json::to_vec_pretty(&record)? };
    let Err(error) = owed.settle() else { return Ok(None) };
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        kind.is_some_and(|kind| matches!(kind, StorageFull | QuotaExceeded))
    };
    if !error.chain().any(is_full) {
        return Err(error);
    }
    warn!(event = "output.failing", "{error:#}: nothing is kept until there is room");
    Ok(Some(owed))
}

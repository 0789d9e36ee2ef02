//! Options of what a live run writes, for how long, and what it leaves out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::values::{Bytes, TimeoutNs};
use crate::output::Format;
use crate::output::privacy::{Key, Privacy, Pseudonyms};
use crate::output::rolling::{Limits, RollingOptions, Rotation};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write flows, alerts and summary into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Formats of the flow records in --out; several are separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "ndjson")]
    format: Vec<Format>,
    /// Begin new files at each multiple of this time.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    rotate_every: TimeoutNs,
    /// Begin a new file before one is larger than this.
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    rotate_size: Bytes,
    /// Remove flow records that are older.
    #[arg(long, value_name = "TIME", default_value = "never")]
    keep_flows_for: TimeoutNs,
    /// Remove the oldest flow records when all take more than this.
    #[arg(long, value_name = "SIZE")]
    keep_flows_size: Option<Bytes>,
    /// Remove alerts that are older.
    #[arg(long, value_name = "TIME", default_value = "never")]
    keep_alerts_for: TimeoutNs,
    /// Remove the oldest alerts when all take more than this.
    #[arg(long, value_name = "SIZE")]
    keep_alerts_size: Option<Bytes>,
    /// Write pseudonyms that keep prefixes instead of addresses; the key is in
    /// this file, which is made if it is not there.
    #[arg(long, value_name = "KEYFILE")]
    pseudonyms: Option<PathBuf>,
    #[command(flatten)]
    payload: PayloadArgs,
}

/// What records have of payloads.
#[derive(Debug, Default, Args)]
pub(crate) struct PayloadArgs {
    /// Write nothing that was read from payloads.
    #[arg(long)]
    no_payload: bool,
    /// Write values of query strings in HTTP requests, which are masked otherwise.
    #[arg(long)]
    keep_query_values: bool,
}

impl PayloadArgs {
    pub(crate) fn privacy(&self) -> Privacy {
        Privacy {
            pseudonyms: None,
            no_payload: self.no_payload,
            keep_query_values: self.keep_query_values,
        }
    }
}

impl OutputArgs {
    pub(crate) fn privacy(&self) -> anyhow::Result<Arc<Privacy>> {
        let pseudonyms = self.pseudonyms.as_ref().map(|path| {
            Key::from_file(path)
                .map(|key| Pseudonyms::new(&key))
                .with_context(|| format!("can't use the key file {}", path.display()))
        });
        Ok(Arc::new(Privacy { pseudonyms: pseudonyms.transpose()?, ..self.payload.privacy() }))
    }

    /// Options of flow records that are given where none are written. Alerts are, and have
    /// files that end as `--rotate-every` says.
    pub(crate) fn idle(&self) -> Vec<&'static str> {
        if self.out.is_some() {
            return Vec::new();
        }
        // What differs from the default was said by somebody, on the command line or in a file.
        let changed = [
            ("--format", self.format != [Format::Ndjson]),
            ("--keep-flows-for", self.keep_flows_for != TimeoutNs(None)),
            ("--keep-flows-size", self.keep_flows_size.is_some()),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }

    /// What to write into `folder`: alerts alone where nobody named one.
    pub(crate) fn rolling(&self, folder: PathBuf, privacy: Arc<Privacy>) -> RollingOptions {
        let formats = if self.out.is_some() { self.format.clone() } else { Vec::new() };
        RollingOptions {
            formats,
            rotation: Rotation {
                every: self.rotate_every.0.map(duration),
                bytes: Some(self.rotate_size.0),
            },
            keep_flows: limits(self.keep_flows_for, self.keep_flows_size),
            keep_alerts: limits(self.keep_alerts_for, self.keep_alerts_size),
            privacy,
            ..RollingOptions::new(folder)
        }
    }
}

/// How long and how much is kept.
pub(crate) fn limits(age: TimeoutNs, size: Option<Bytes>) -> Limits {
    Limits { max_age: age.0.map(duration), max_bytes: size.map(|size| size.0) }
}

fn duration(ns: i64) -> Duration {
    Duration::from_nanos(ns.unsigned_abs())
}

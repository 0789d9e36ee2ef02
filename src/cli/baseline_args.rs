//! Options of what a run holds entities against.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Usage, config};
use crate::baseline::{BaselineSettings, Baselines, Lent, StoreError};
use crate::detect::DetectSettings;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Baselines")]
pub(crate) struct BaselineArgs {
    /// Hold entities against what this file has learned of them.
    #[arg(long, value_name = "PATH")]
    pub(crate) baseline: Option<PathBuf>,
}

impl BaselineArgs {
    /// What a run is lent. To be opened before the process is confined: a damaged file
    /// is renamed.
    pub(crate) fn open(
        &self,
        settings: &DetectSettings,
        learning: bool,
    ) -> anyhow::Result<Option<Lent>> {
        let Some(path) = &self.baseline else { return Ok(None) };
        let mut baselines = open(path, settings, learning)?;
        tell(&mut baselines);
        Ok(Some(Lent::new(baselines)))
    }
}

/// Options of what looks at baselines without a run.
#[derive(Debug, Args)]
pub(crate) struct MaturityArgs {
    /// Take from this TOML file after how many days a baseline is mature
    /// (`baseline_mature_days`).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// After how many days a baseline is mature, and who says so.
pub(crate) struct Maturity {
    pub(crate) settings: DetectSettings,
    by: String,
}

impl MaturityArgs {
    pub(crate) fn read(&self) -> anyhow::Result<Maturity> {
        let Some(path) = &self.config else {
            let (settings, by) = (DetectSettings::default(), "the default".to_owned());
            return Ok(Maturity { settings, by });
        };
        let (settings, warnings) = config::detection(path)?;
        warnings.iter().for_each(|warning| eprintln!("flowtap: warning: {warning}"));
        Ok(Maturity { settings, by: format!("by {}", path.display()) })
    }
}

impl std::fmt::Display for Maturity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = self.settings.baseline_mature_days;
        write!(f, "mature from {days} days on ({})", self.by)
    }
}

pub(crate) fn open(
    path: &Path,
    settings: &DetectSettings,
    learning: bool,
) -> anyhow::Result<Baselines> {
    if !learning && !path.exists() {
        let why = format!("{}: there are no baselines yet: learn some first", path.display());
        return Err(Usage(why).into());
    }
    let opened = Baselines::open(path, BaselineSettings::from(settings), learning);
    opened.map_err(opening)
}

/// Why baselines can't be opened, with the status that says whose fault it is.
pub(crate) fn opening(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::InUse(_) | StoreError::TooNew { .. } | StoreError::Foreign(_) => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    }
}

/// What people should know.
pub(crate) fn tell(baselines: &mut Baselines) {
    for note in baselines.take_notes() {
        if tracing::dispatcher::has_been_set() {
            tracing::warn!(event = "baseline.warning", "{note}");
        } else {
            eprintln!("flowtap: warning: {note}");
        }
    }
}

/// Takes them back after a run, and says what became of them.
pub(crate) fn take_back(lent: Option<&Lent>) -> Option<Baselines> {
    let mut baselines = lent?.take()?;
    tell(&mut baselines);
    let counters = baselines.counters();
    for (count, what) in [
        (counters.refused, "minutes of entities beyond the bound were not learned"),
        (counters.forgotten, "entities were forgotten: their file could not be written"),
        (counters.damaged, "profiles in the file are damaged"),
    ] {
        if count > 0 {
            eprintln!("flowtap: warning: baselines: {count} {what}");
        }
    }
    Some(baselines)
}

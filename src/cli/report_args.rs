//! `--report`: a page for a browser beside the other results.

use std::path::{Path, PathBuf};

use ahash::RandomState;
use anyhow::Context as _;
use clap::Args;
use clap::builder::Resettable;

use super::Usage;
use crate::report::html;

#[derive(Debug, Default, Args)]
pub(crate) struct ReportArgs {
    /// Write a report for a browser into this file when all is done: one HTML file that loads
    /// nothing from anywhere.
    #[arg(long, value_name = "FILE", help_heading = Resettable::Reset)]
    report: Option<PathBuf>,
}

impl ReportArgs {
    pub(crate) fn wanted(&self) -> bool {
        self.report.is_some()
    }

    /// The folder that is written into.
    pub(crate) fn folder(&self) -> Option<&Path> {
        let parent = self.report.as_deref()?.parent()?;
        Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    }

    /// Says before a long run what would fail after it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (Some(file), folder) = (&self.report, self.folder()) else { return Ok(()) };
        if file.is_dir() || file.file_name().is_none() {
            let why = format!("--report {}: must be a file, and this is a folder", file.display());
            return Err(Usage(why).into());
        }
        match folder {
            Some(folder) if !folder.is_dir() => {
                let (file, folder) = (file.display(), folder.display());
                let why = format!("--report {file}: there is no folder {folder}: make it first");
                Err(Usage(why).into())
            }
            _ => Ok(()),
        }
    }

    /// What collects a run for the report; nothing where none is wanted. `hasher` chooses
    /// the sample of flows.
    pub(crate) fn collector(
        &self,
        privacy: std::sync::Arc<crate::output::privacy::Privacy>,
        hasher: RandomState,
    ) -> Option<html::Collector> {
        self.wanted().then(|| html::Collector::new(privacy, hasher))
    }

    /// Writes the page, which is made only where one is wanted.
    pub(crate) fn write(&self, page: impl FnOnce() -> String) -> anyhow::Result<()> {
        let Some(file) = &self.report else { return Ok(()) };
        html::write(file, &page())
            .with_context(|| format!("can't write the report {}", file.display()))
    }
}

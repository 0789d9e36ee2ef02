//! `--report`: a page for a browser beside the other results.

use std::fs::File;
use std::io::{self, Read as _};
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

/// Something is in the file, and it begins otherwise.
fn is_file_without(path: &Path, beginning: &[u8]) -> bool {
    let read = || {
        let mut head = Vec::new();
        File::open(path)?.take(beginning.len() as u64).read_to_end(&mut head)?;
        io::Result::Ok(head)
    };
    // Of a device or a pipe nothing is lost. What can't be read is told when it is written.
    path.is_file() && read().is_ok_and(|head| !head.is_empty() && head != beginning)
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
        // `--report *.pcap` names a capture.
        if is_file_without(file, html::BEGINNING.as_bytes()) {
            let why = "there is a file by that name, and it is no report: name another";
            return Err(Usage(format!("--report {}: {why}", file.display())).into());
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

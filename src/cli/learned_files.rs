//! Files that baselines have learned from before: not twice without a word.

use std::path::{Path, PathBuf};

use super::Usage;
use super::telemetry_args::Split;
use crate::baseline::{Baselines, FileMark, LearnedFile};
use crate::engine::RunReport;
use crate::input::{is_capture, is_hidden};
use crate::report::detail::printable;
use crate::telemetry::kind::Gives;
use crate::time::rfc3339;

/// What becomes of a file that was learned from before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Whoever reads it wants its alerts too: nothing is read.
    #[default]
    Refused,
    /// Who came to learn has no other use for it.
    PassedOver,
}

/// Files that a run learns from.
#[derive(Debug, Default)]
pub(super) struct LearnedFiles {
    marks: Vec<(PathBuf, FileMark)>,
    passed_over: usize,
}

impl LearnedFiles {
    /// Of all inputs that something is learned from, but for those that can be read once.
    /// Those that `baselines` know are left out of them, unless they are to be learned again.
    pub(super) fn of(
        split: &mut Split,
        baselines: &Baselines,
        known: Known,
        again: bool,
    ) -> Result<Self, Usage> {
        let mut files = Self::default();
        let mut captures = Vec::new();
        for path in std::mem::take(&mut split.captures) {
            let inside = files_in(&path);
            let whole = inside.is_empty();
            let inside = if whole { vec![path.clone()] } else { inside };
            let all = inside.len();
            let mut left = Vec::new();
            for file in inside {
                if files.takes(&file, baselines, known, again)? {
                    left.push(file);
                }
            }
            // As it was named: whoever reads a folder says what it passed over.
            if left.len() == all {
                captures.push(path);
            } else {
                captures.extend(left.into_iter().filter(|file| whole || is_capture(file)));
            }
        }
        split.captures = captures;
        let mut sources = Vec::new();
        for named in std::mem::take(&mut split.sources) {
            // Of hosts nothing is learned: they say whose the traffic is.
            let is_of_hosts = named.kind.gives == Gives::Hosts;
            if is_of_hosts || files.takes(&named.path, baselines, known, again)? {
                sources.push(named);
            }
        }
        split.sources = sources;
        Ok(files)
    }

    /// Everything was learned before.
    pub(super) fn leaves_nothing_of(&self, split: &Split) -> bool {
        let is_of_hosts = split.of_hosts().count() == split.sources.len();
        self.passed_over > 0 && split.captures.is_empty() && is_of_hosts
    }

    fn takes(
        &mut self,
        path: &Path,
        baselines: &Baselines,
        known: Known,
        again: bool,
    ) -> Result<bool, Usage> {
        // Whoever reads it says why it can't be opened.
        let Ok(Some(mark)) = FileMark::of(path) else { return Ok(true) };
        let before = baselines.learned_from(mark).filter(|_| !again);
        let Some(before) = before else {
            self.marks.push((path.to_owned(), mark));
            return Ok(true);
        };
        let name = printable(&path.display().to_string()).replace('\n', "\\u{a}");
        let before = words(&before);
        match known {
            Known::Refused => Err(Usage(format!(
                "{name}: {before}: leave --learn out, or give --again to have it count twice"
            ))),
            Known::PassedOver => {
                eprintln!("flowtap: {name}: {before}: passed over (--again has it count twice)");
                self.passed_over += 1;
                Ok(false)
            }
        }
    }

    /// Tells the baselines what was read of them, unless nothing was learned: whoever named the
    /// wrong home networks tries again.
    pub(super) fn tell(&self, baselines: &mut Baselines, report: &RunReport, ended_early: bool) {
        let counters = baselines.counters();
        if counters.minutes + counters.frozen_minutes == 0 {
            return;
        }
        for (path, mark) in &self.marks {
            let name = path.display().to_string();
            let span_ns = report.input.span_ns();
            let captures = report.files.iter().filter(|file| file.path == name && file.frames > 0);
            let captures = captures.map(|file| (span_ns, file.error.is_none()));
            let logs = report.sources.iter().filter(|log| log.name == name && log.records > 0);
            let logs = logs.map(|log| (log.first_ns.zip(log.last_ns), log.error.is_none()));
            if let Some((span_ns, is_whole)) = captures.chain(logs).next() {
                baselines.note_file(*mark, span_ns, is_whole && !ended_early);
            }
        }
    }
}

/// In a folder, by name; none of what is no folder.
fn files_in(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| !is_hidden(path));
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn words(before: &LearnedFile) -> String {
    let minute = |ns: i64| rfc3339(ns).chars().take("2026-11-21T09:30".len()).collect::<String>();
    let span = before.span_ns.map_or_else(String::new, |(first_ns, last_ns)| {
        format!(" with what was from {}Z to {}Z", minute(first_ns), minute(last_ns))
    });
    let part = if before.whole { "" } else { " in part" };
    format!("learned before{part}{span}")
}

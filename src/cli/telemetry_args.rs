//! Options on logs, exports and counters, and which of the named inputs are such.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use super::Usage;
use super::named::oddities;
use crate::input::peek::is_stream;
use crate::input::{is_capture, is_hidden};
use crate::telemetry::Context;
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind, kinds, named};
use crate::telemetry::source::{Named, recognise_path, recognise_stream};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TelemetryArgs {
    /// Read inputs that are no captures as this kind of log (`flowtap inputs` lists them)
    /// instead of going by their content; PATH=KIND for one input alone, - is standard input.
    #[arg(
        long = "as",
        value_name = "[PATH=]KIND",
        allow_hyphen_values = true,
        help_heading = "Logs"
    )]
    kinds: Vec<String>,
    /// Order of fields or format string of logs that have a configurable one and no header:
    /// AWS's fields, nginx's log_format, Apache's LogFormat.
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    fields: Option<String>,
    /// The host that logs and snapshots are about, where they do not say so themselves.
    #[arg(long, value_name = "NAME", help_heading = "Logs")]
    log_host: Option<String>,
}

/// What was named, by what it is.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) captures: Vec<PathBuf>,
    pub(crate) sources: Vec<Named>,
    /// Files of folders that are neither.
    pub(crate) strangers: Vec<PathBuf>,
    /// What to warn of.
    pub(crate) odd: Vec<String>,
}

impl TelemetryArgs {
    /// Looks into each input. What can't be opened counts as a capture, whose report
    /// then says why.
    pub(crate) fn split(&self, paths: &[PathBuf]) -> anyhow::Result<Split> {
        let forced = self.forced()?;
        let context = self.context();
        let mut split = Split::default();
        for path in paths {
            if is_stream(path) {
                split.add_stream(path, &forced, &context)?;
            } else if let Some(kind) = forced.of(path) {
                split.sources.push(Named::new(path, kind, &context));
            } else if path.is_dir() {
                split.add_folder(path, &context)?;
            } else {
                match recognise_path(path) {
                    Ok(Some(kind)) => split.sources.push(Named::new(path, kind, &context)),
                    Ok(None) | Err(_) => split.captures.push(path.clone()),
                }
            }
        }
        forced.all_used(paths)?;
        split.odd = oddities(paths);
        split.odd.extend(self.unused(&split));
        Ok(split)
    }

    /// Options that are about logs, where there is none.
    fn unused(&self, split: &Split) -> Option<String> {
        if !split.sources.is_empty() {
            return None;
        }
        let options = [
            ("--as", !self.kinds.is_empty()),
            ("--fields", self.fields.is_some()),
            ("--log-host", self.log_host.is_some()),
        ];
        let given: Vec<&str> =
            options.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        (!given.is_empty())
            .then(|| format!("{} changes nothing: no log is among the inputs", given.join(" and ")))
    }

    /// What decoders are told of any source.
    pub(crate) fn context(&self) -> Context {
        Context {
            format: self.fields.clone(),
            host: self.log_host.as_deref().map(Arc::from),
            ..Context::default()
        }
    }

    /// The kind that the user gives one of the named logs.
    pub(crate) fn forced_for(
        &self,
        path: &Path,
        named: &[PathBuf],
    ) -> anyhow::Result<Option<&'static Kind>> {
        let forced = self.forced()?;
        forced.all_used(named)?;
        Ok(forced.by_path(path).or(forced.all))
    }

    fn forced(&self) -> anyhow::Result<Forced> {
        let mut forced = Forced::default();
        for text in &self.kinds {
            let (path, name) = match text.rsplit_once('=') {
                Some((path, name)) => (Some(PathBuf::from(path)), name),
                None => (None, text.as_str()),
            };
            let kind = named(name).ok_or_else(|| unknown_kind(name))?;
            match path {
                Some(path) => forced.by_path.push((path, kind)),
                None => forced.all = Some(kind),
            }
        }
        Ok(forced)
    }
}

fn unknown_kind(name: &str) -> Usage {
    let near = kinds().map(|kind| (strsim::jaro_winkler(kind.name, name), kind.name));
    // Below this a suggestion is a guess that helps nobody.
    let near = near.filter(|&(score, _)| score > 0.8).max_by(|x, y| x.0.total_cmp(&y.0));
    let hint = near.map_or_else(String::new, |(_, near)| format!(" (did you mean {near}?)"));
    Usage(format!("--as: there is no kind '{name}'{hint}; `flowtap inputs` lists them"))
}

#[derive(Default)]
struct Forced {
    all: Option<&'static Kind>,
    by_path: Vec<(PathBuf, &'static Kind)>,
}

impl Forced {
    fn of(&self, path: &Path) -> Option<&'static Kind> {
        let known = self.by_path(path);
        if known.is_some() || self.all.is_none() {
            return known;
        }
        self.unless_capture(path.is_dir() || path.is_file() && is_capture(path))
    }

    fn unless_capture(&self, is_capture: bool) -> Option<&'static Kind> {
        self.all.filter(|kind| !is_capture || kind.framing == Framing::Datagrams)
    }

    fn by_path(&self, path: &Path) -> Option<&'static Kind> {
        self.by_path.iter().find(|(named, _)| named == path).map(|&(_, kind)| kind)
    }

    fn all_used(&self, paths: &[PathBuf]) -> anyhow::Result<()> {
        match self.by_path.iter().find(|(named, _)| !paths.contains(named)) {
            Some((path, kind)) => {
                Err(Usage(format!("--as {}={}: there is no such input", path.display(), kind.name))
                    .into())
            }
            None => Ok(()),
        }
    }
}

impl Split {
    /// A pipe or standard input, by how it begins.
    fn add_stream(
        &mut self,
        path: &Path,
        forced: &Forced,
        context: &Context,
    ) -> anyhow::Result<()> {
        let is_known = self.captures.iter().any(|known| known == path);
        if is_known || self.sources.iter().any(|named| named.path == path) {
            let why = format!("{}: can be read once and is named twice", path.display());
            return Err(Usage(why).into());
        }
        let kind = match forced.by_path(path) {
            Some(kind) => Some(kind),
            None => match recognise_stream(path) {
                Ok((is_capture, kind)) => forced.unless_capture(is_capture).or(kind),
                // Whoever reads it says what is wrong.
                Err(_) => None,
            },
        };
        match kind {
            Some(kind) if kind.framing == Framing::File => {
                let why = format!(
                    "{}: {} is read from its end on: give a file, no pipe",
                    path.display(),
                    kind.title
                );
                return Err(Usage(why).into());
            }
            Some(kind) => self.sources.push(Named::new(path, kind, context)),
            None => self.captures.push(path.to_owned()),
        }
        Ok(())
    }

    /// A folder's files by name. One without telemetry is left to the reader of
    /// captures as a whole, which says what it passed over.
    fn add_folder(&mut self, folder: &Path, context: &Context) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(folder)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("can't list {}", folder.display()))?;
        let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| path.is_file() && !is_hidden(path));
        files.sort();
        let (mut sources, mut others) = (Vec::new(), Vec::new());
        for path in files {
            match recognise_path(&path) {
                Ok(Some(kind)) => sources.push(Named::new(&path, kind, context)),
                Ok(None) | Err(_) => others.push(path),
            }
        }
        if sources.is_empty() {
            self.captures.push(folder.to_owned());
            return Ok(());
        }
        self.sources.append(&mut sources);
        for path in others {
            if is_capture(&path) {
                self.captures.push(path);
            } else {
                self.strangers.push(path);
            }
        }
        Ok(())
    }

    /// Sources that tell of processes, sockets or containers.
    pub(crate) fn of_hosts(&self) -> impl Iterator<Item = &Named> {
        self.sources.iter().filter(|named| named.kind.gives == Gives::Hosts)
    }
}

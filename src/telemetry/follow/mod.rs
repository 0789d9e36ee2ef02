//! Sources that grow, read as they do: files that rotate, folders that gain files,
//! standard input, the systemd journal, object stores.
//!
//! A [`Follower`] hands out what is new of one [`Target`], as bytes of one or more
//! sources. [`cut::Cutter`] makes records of them, one for each source. The consumer
//! says up to which [`Mark`] it has handed on what came of them
//! ([`Follower::acknowledge`]); that is what the state file keeps, so that after a
//! crash nothing is missing and at most what was not acknowledged comes again, and
//! after [`Follower::finish`] nothing comes again.
//!
//! Files are looked at every [`Options::pause`], not watched by inotify: network and
//! overlay file systems tell of no changes made elsewhere, inotify's queue overflows,
//! so looking is needed anyway, and no log is so prompt that a quarter of a second
//! matters. Nothing here decodes, sleeps or reads a clock; what is followed is opened
//! for reading alone.

pub mod cut;
mod files;
mod journal;
#[cfg(feature = "object-store")]
mod objects;
mod print;
mod state;
mod stream;
mod unpack;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::framing::Mark;
use files::{Files, Place};
use journal::Journal;
use state::{Saved, StateFile};
use stream::Stream;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file that grows and is rotated. It need not be there yet.
    File(PathBuf),
    /// All files in a folder and the folders in it, those that come later too. They
    /// may grow and be rotated within it; compressed ones are read once complete.
    Folder(PathBuf),
    /// To its end. A pipe can't be read again: nothing is kept of it.
    Stdin,
    /// Messages of the systemd journal, each program's as lines of a source of its own.
    /// Read by journalctl, which must be there; the arguments choose which
    /// (`--unit=nginx.service`, `--file=/srv/host1.journal`).
    Journal(Vec<String>),
    /// All objects of an S3-compatible store below `s3://bucket/prefix`, those that come
    /// later too. Where it is and who asks is taken from `settings`, by object_store's
    /// names (`endpoint`, `region`), then from the environment, as other programs do.
    #[cfg(feature = "object-store")]
    Objects { url: String, settings: Vec<(String, String)> },
}

impl Target {
    /// What a path is by what is there now.
    pub fn of_path(path: &Path) -> Self {
        if path.is_dir() { Self::Folder(path.to_owned()) } else { Self::File(path.to_owned()) }
    }

    /// How a state file names it: the same from wherever it is named.
    fn name(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", absolute(path).display()),
            Self::Folder(path) => format!("folder {}", absolute(path).display()),
            Self::Stdin => "standard input".into(),
            Self::Journal(arguments) => format!("journal {}", arguments.join(" ")),
            #[cfg(feature = "object-store")]
            Self::Objects { url, .. } => format!("objects {url}"),
        }
    }

    /// Whether a state file's name is its own; earlier versions kept paths as they were
    /// given.
    fn is_named(&self, name: &str) -> bool {
        let (path, theirs) = match self {
            Self::File(path) => (path, name.strip_prefix("file ")),
            Self::Folder(path) => (path, name.strip_prefix("folder ")),
            _ => return name == self.name(),
        };
        let (ours, theirs) = (absolute(path), theirs.map(Path::new));
        theirs.is_some_and(|theirs| {
            absolute(theirs) == ours || (theirs.is_relative() && ours.ends_with(theirs))
        })
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[derive(Clone, Debug)]
pub struct Options {
    /// What was there before the first start is read too, not only what is added. What
    /// a file was rotated to before is never read.
    pub from_start: bool,
    /// Between two looks at what is there.
    pub pause: Duration,
    /// A file that was rotated, or one of a folder, is closed when nothing was added for
    /// this long: a writer goes on in a renamed file until it is told to reopen it.
    pub grace: Duration,
    /// A compressed file is complete when it did not change for this long.
    pub settle: Duration,
    /// Between two listings of an object store: each costs, and its logs are minutes late.
    pub object_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            from_start: true,
            pause: Duration::from_millis(250),
            grace: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            object_pause: Duration::from_secs(60),
        }
    }
}

/// One source of a target: a file in one of its lives. Unique within a follower, and
/// not kept across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u64);

/// A source that begins, or goes on after it was closed or after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub source: SourceId,
    /// For people: its path.
    pub name: String,
    pub modified_ns: Option<i64>,
    /// Its bytes come from here on; a cutter begins with it.
    pub from: Mark,
    /// Where it does not begin at its start: its first bytes, of those before, for
    /// recognition and for headers that the decoder must have seen.
    pub head: Vec<u8>,
    /// The host that it is of, where that is known.
    pub host: Option<String>,
}

impl Opened {
    fn new(source: SourceId, name: String) -> Self {
        Self { source, name, modified_ns: None, from: Mark::START, head: Vec::new(), host: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing was added for a while; more can still come, as the same source.
    Idle,
    /// It is at another name now, or gone; it was read to its end.
    Rotated,
    /// What is in the file now is another source.
    Truncated,
    /// It can't be read any further; [`Told`] says why.
    Broken,
    /// Nothing more can come.
    Ended,
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The file to follow is not there yet: it is waited for. A mistyped path looks the same.
    NotThere { name: String },
    /// What was not yet read of it is gone: removed or overwritten while nobody followed,
    /// or while it was not open. Where that is not sure, there may have been nothing.
    Lost { name: String, offset: u64, surely: bool },
    /// What was read of it, up to there, is neither in it nor in a copy: what is in it
    /// now was read from its start. What was added last before that may be lost.
    Rewritten { name: String, offset: u64 },
    /// Is passed over until it changes.
    Unreadable { name: String, error: String },
    /// So many files are in the folder that not all are looked at or remembered.
    TooManyFiles,
    /// So many programs write to the journal that those of further ones are left out.
    TooManySources,
    /// A crash would read again what was read since.
    StateNotKept { error: String },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Polled<'a> {
    Opened(Opened),
    /// The next bytes of a source, cut anywhere.
    Bytes {
        source: SourceId,
        bytes: &'a [u8],
    },
    /// What a cutter still holds of it is whole. It can be acknowledged later.
    Closed {
        source: SourceId,
        why: Closed,
    },
    Told(Told),
    /// Nothing for now: ask again after [`Options::pause`].
    Waiting,
    /// Nothing will come any more.
    Ended,
}

/// Why following can't begin.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{program}: {error}")]
    Program { program: &'static str, error: io::Error },
    #[error("{url}: {reason}")]
    Objects { url: String, reason: String },
    #[error("standard input: {0}")]
    Stdin(io::Error),
    #[error("{}: no state of following: {reason}; remove it to begin anew", path.display())]
    State { path: PathBuf, reason: String },
    #[error("{}: keeps the place in another source: {theirs}", path.display())]
    OtherTarget { path: PathBuf, theirs: String },
}

/// Reads what is new of a target.
///
/// [`poll`](Self::poll) until it says [`Polled::Waiting`], acknowledge what was handed
/// on, wait, and so on; [`finish`](Self::finish) at the end.
pub struct Follower {
    engine: Box<dyn Engine + Send>,
    buffer: Vec<u8>,
    state: Option<StateFile>,
    state_told: bool,
}

impl Follower {
    /// Goes on where the state file says, if there is one; else as `options` say.
    pub fn start(
        target: &Target,
        state: Option<&Path>,
        options: &Options,
        now: Instant,
    ) -> Result<Self, FollowError> {
        let state = state.map(|path| StateFile::new(path, target.clone()));
        let saved = state.as_ref().map(StateFile::load).transpose()?.flatten();
        let files = |place, files| {
            Files::start(place, files, options, now)
                .map_err(|(path, error)| FollowError::Read { path, error })
        };
        let engine: Box<dyn Engine + Send> = match target {
            Target::File(path) => {
                Box::new(files(Place::File(path.clone()), saved.and_then(|saved| saved.files))?)
            }
            Target::Folder(path) => {
                Box::new(files(Place::Folder(path.clone()), saved.and_then(|saved| saved.files))?)
            }
            Target::Stdin => Box::new(Stream::stdin().map_err(FollowError::Stdin)?),
            Target::Journal(arguments) => {
                let cursor = saved.and_then(|saved| saved.cursor);
                let journal = Journal::start("journalctl", arguments, cursor, options);
                Box::new(
                    journal
                        .map_err(|error| FollowError::Program { program: "journalctl", error })?,
                )
            }
            #[cfg(feature = "object-store")]
            Target::Objects { url, settings } => {
                let saved = saved.and_then(|saved| saved.objects);
                let objects = objects::Objects::start(url, settings, saved, options);
                Box::new(
                    objects.map_err(|reason| FollowError::Objects { url: url.clone(), reason })?,
                )
            }
        };
        Ok(Self { engine, buffer: Vec::new(), state, state_told: false })
    }

    /// What is next. Reads at most a piece of a file; never waits.
    pub fn poll(&mut self, now: Instant) -> Polled<'_> {
        if let Err(error) = self.save_when_due(now)
            && !std::mem::replace(&mut self.state_told, true)
        {
            return Polled::Told(Told::StateNotKept { error: error.to_string() });
        }
        match self.engine.step(now, &mut self.buffer) {
            Step::Event(Event::Opened(opened)) => Polled::Opened(opened),
            Step::Event(Event::Closed(source, why)) => Polled::Closed { source, why },
            Step::Event(Event::Told(told)) => Polled::Told(told),
            Step::Bytes(source, range) => {
                Polled::Bytes { source, bytes: self.buffer.get(range).unwrap_or_default() }
            }
            Step::Waiting => Polled::Waiting,
            Step::Ended => Polled::Ended,
        }
    }

    /// Everything of the source before the mark has been handed on: it is never read
    /// again. Marks of a source only grow; others are passed over.
    pub fn acknowledge(&mut self, source: SourceId, mark: Mark) {
        self.engine.acknowledge(source, mark);
        if let Some(state) = &mut self.state {
            state.changed();
        }
    }

    /// None of the source is wanted: nothing more of it is handed out.
    pub fn ignore(&mut self, source: SourceId) {
        self.engine.ignore(source);
        if let Some(state) = &mut self.state {
            state.changed();
        }
    }

    /// The consumer no longer holds the source, and has taken what came of it up to the
    /// mark: when more comes, it is opened again.
    pub fn release(&mut self, source: SourceId, mark: Mark) {
        self.engine.release(source, mark);
    }

    /// Keeps what was acknowledged.
    pub fn finish(mut self) -> io::Result<()> {
        self.save()
    }

    fn save_when_due(&mut self, now: Instant) -> io::Result<()> {
        let has_changed = self.engine.has_changed();
        if let Some(state) = self.state.as_mut().filter(|_| has_changed) {
            state.changed();
        }
        match self.state.as_mut().is_some_and(|state| state.is_due(now)) {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn save(&mut self) -> io::Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let mut saved = Saved::default();
        self.engine.save(&mut saved);
        state.save(saved)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

/// How one sort of target is followed.
trait Engine {
    fn step(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Step;
    fn acknowledge(&mut self, source: SourceId, mark: Mark);
    fn ignore(&mut self, source: SourceId);
    /// Where sources are too few for a consumer to give one up, nothing is to be done.
    fn release(&mut self, _: SourceId, _: Mark) {}
    /// Whether what is kept changed otherwise than by what the consumer says, since this
    /// was asked last.
    fn has_changed(&mut self) -> bool {
        false
    }
    fn save(&mut self, saved: &mut Saved);
}

enum Event {
    Opened(Opened),
    Closed(SourceId, Closed),
    Told(Told),
}

enum Step {
    Event(Event),
    /// In the buffer.
    Bytes(SourceId, std::ops::Range<usize>),
    Waiting,
    Ended,
}

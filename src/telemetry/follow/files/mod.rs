//! Files that grow, rotate and come: each is read in the order in which it was
//! written, whatever it is called by now.
//!
//! A file is its inode, held open while it is read, so that renaming and removing it
//! lose nothing; and its content, by fingerprints of its first bytes and of those
//! before the place, so that a reused inode, a truncated file and a copy are known for
//! what they are. What is in a file when it is truncated is looked for in its copy.

mod closing;
mod entry;
mod place;
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::framing::Mark;
use super::state::Saved;
use super::{Closed, Engine, Event, Options, SourceId, Step};
use entry::{Entry, Gone, Got, SavedFile};
pub(super) use place::Place;
use place::{Inode, Stamp};

/// Files that are held open while they are not read: more than the 110 pods that a node
/// of Kubernetes has at most by default, far fewer than the 1024 files that a process
/// may have open.
const MAX_OPEN: usize = 128;

/// Sources that the consumer has at a time, of those that wait for nothing.
const MAX_SOURCES: usize = 1024;

/// What is kept across restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedFiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten_ns: Option<i64>,
    known: Vec<SavedFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<(Inode, Stamp)>,
}

pub(super) struct Files {
    place: Place,
    options: Options,
    known: BTreeMap<SourceId, Entry>,
    by_inode: HashMap<Inode, SourceId>,
    /// Files that are not read as long as they stay as they are: copies of others, and
    /// compressed ones that belong to no one.
    passed_over: HashMap<Inode, Stamp>,
    /// Files that may not be read, each told once: they are tried at each look, since a
    /// right that is given changes nothing else of them.
    refused: HashSet<Inode>,
    /// Compressed files that are not known yet, and since when they stay as they are.
    settling: HashMap<Inode, (Stamp, Instant)>,
    /// With something to read, by order.
    ready: BTreeSet<(PathBuf, SourceId)>,
    /// Files last changed up to then that are not known are not read.
    forgotten_ns: Option<i64>,
    events: VecDeque<Event>,
    /// Of a folder, those that were read to their ends last, each once, in that order.
    resting: BTreeMap<u64, SourceId>,
    /// The latest of them, which stay open.
    resting_open: BTreeMap<u64, SourceId>,
    next_rest: u64,
    /// Read and not yet handed out: where in the buffer.
    bytes: Option<(SourceId, Range<usize>)>,
    next_scan: Option<Instant>,
    /// What was there before is not read.
    is_first: bool,
    /// Looked for the first time since the start.
    has_looked: bool,
    told_unreadable: bool,
    told_too_many: bool,
    /// What is kept did, since it was asked.
    has_changed: bool,
    next_id: u64,
}

/// Whether a file that could not be opened may be at the next look, without a change of its
/// own: a right is given, or others were closed.
fn is_for_now(error: &io::Error) -> bool {
    /// EMFILE and ENFILE: the process, or the machine, has as many open as it may.
    const TOO_MANY_OPEN: [i32; 2] = [24, 23];
    error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN.contains(&code))
}

impl Files {
    pub(super) fn start(
        place: Place,
        saved: Option<SavedFiles>,
        options: &Options,
        now: Instant,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let mut files = Self {
            place,
            options: options.clone(),
            known: BTreeMap::new(),
            by_inode: HashMap::new(),
            passed_over: HashMap::new(),
            refused: HashSet::new(),
            settling: HashMap::new(),
            ready: BTreeSet::new(),
            forgotten_ns: saved.as_ref().and_then(|saved| saved.forgotten_ns),
            events: VecDeque::new(),
            resting: BTreeMap::new(),
            resting_open: BTreeMap::new(),
            next_rest: 0,
            bytes: None,
            next_scan: None,
            is_first: saved.is_none(),
            has_looked: false,
            told_unreadable: false,
            told_too_many: false,
            has_changed: false,
            next_id: 0,
        };
        if let Some(saved) = saved {
            files.passed_over = saved.passed_over.into_iter().collect();
            let latest_ns = saved.known.iter().filter_map(SavedFile::changed_ns).max();
            for known in saved.known {
                let rested_ns = latest_ns.zip(known.changed_ns()).map(|(a, b)| a.saturating_sub(b));
                let rested_ns = rested_ns.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0);
                let mut entry = Entry::restored(known, now);
                let growth = now.checked_sub(Duration::from_nanos(rested_ns));
                entry.last_growth = growth.unwrap_or(now);
                files.insert(entry);
            }
        }
        // A folder that can't be read is an error at the start, and waited for later.
        let listed = files.place.list(|_| false);
        listed.map_err(|error| (files.place.folder().to_owned(), error))?;
        Ok(files)
    }

    fn insert(&mut self, entry: Entry) -> SourceId {
        let id = SourceId(self.next_id);
        self.next_id += 1;
        if let Some(inode) = entry.inode {
            self.by_inode.insert(inode, id);
        }
        self.known.insert(id, entry);
        id
    }

    /// Reads on in a file. What it gives are events, bytes, or that it rests.
    fn read(&mut self, id: SourceId, now: Instant, buffer: &mut Vec<u8>) {
        let Some(entry) = self.known.get_mut(&id) else {
            self.ready.retain(|(_, ready)| *ready != id);
            return;
        };
        let from = entry.next_mark();
        match entry.next_piece(now, self.options.settle, buffer) {
            Ok(Got::Bytes(range)) => {
                entry.last_growth = now;
                if entry.ignored || range.is_empty() {
                    return;
                }
                if !std::mem::replace(&mut entry.announced, true) {
                    let offset = entry.read - range.len() as u64;
                    // Behind a hole that was passed over.
                    let from = Mark { offset, ..from };
                    let opened = entry.announce(id, from);
                    self.events.push_back(Event::Opened(opened));
                }
                self.bytes = Some((id, range));
            }
            Ok(Got::Dry) => {
                self.rest(id);
                let Some(entry) = self.known.get_mut(&id) else { return };
                // Complete when it was begun: no more is waited for.
                if entry.packing.is_some() {
                    entry.whole = entry.seen.map(|(stamp, _)| stamp);
                    self.close_source(id, Closed::Idle);
                } else if entry.ignored {
                    entry.close_file();
                } else if matches!(self.place, Place::Folder(_)) {
                    self.let_rest(id);
                }
            }
            Ok(Got::Changed) => {
                self.part(id, now);
                // Its copy is there now, and may be renamed soon.
                self.next_scan = None;
            }
            Ok(Got::NotYet) => self.rest(id),
            Err(error) => self.give_up(id, &error),
        }
    }

    fn make_ready(&mut self, id: SourceId) {
        let Some(entry) = self.known.get_mut(&id) else { return };
        if entry.queued.is_none() {
            // What was begun is read to its end before what comes first by name; a file
            // after what it was rotated to.
            let order = match self.place {
                Place::Folder(_) if entry.announced => PathBuf::new(),
                Place::File(_) if !self.place.is_target(&entry.path) => PathBuf::new(),
                _ => entry.path.clone(),
            };
            entry.queued = Some(order.clone());
            self.ready.insert((order, id));
        }
    }

    fn rest(&mut self, id: SourceId) {
        if let Some(order) = self.known.get_mut(&id).and_then(|entry| entry.queued.take()) {
            self.ready.remove(&(order, id));
        }
    }

    /// A folder's files of which all was read: the latest stay open, and those before
    /// with the consumer.
    fn let_rest(&mut self, id: SourceId) {
        let number = self.next_rest;
        self.next_rest += 1;
        self.no_longer_rests(id);
        let Some(entry) = self.known.get_mut(&id) else { return };
        entry.rested = Some(number);
        self.resting.insert(number, id);
        self.resting_open.insert(number, id);
        if self.resting_open.len() > MAX_OPEN
            && let Some((_, oldest)) = self.resting_open.pop_first()
            && let Some(entry) = self.known.get_mut(&oldest)
            && entry.queued.is_none()
        {
            entry.close_file();
        }
        if self.resting.len() > MAX_SOURCES
            && let Some((_, oldest)) = self.resting.pop_first()
            && let Some(entry) = self.known.get(&oldest)
            && entry.queued.is_none()
            && entry.ends_in_line_end
        {
            self.close_source(oldest, Closed::Idle);
        }
    }

    fn no_longer_rests(&mut self, id: SourceId) {
        if let Some(number) = self.known.get_mut(&id).and_then(|entry| entry.rested.take()) {
            self.resting.remove(&number);
            self.resting_open.remove(&number);
        }
    }

    /// What was read is no longer in its file; it may be found in a copy.
    fn part(&mut self, id: SourceId, now: Instant) {
        self.part_from_inode(id, now);
        if let Some(entry) = self.known.get_mut(&id) {
            entry.is_truncated = true;
            entry.gone = Gone::Rewritten;
        }
    }

    fn part_from_inode(&mut self, id: SourceId, now: Instant) {
        self.rest(id);
        let Some(entry) = self.known.get_mut(&id) else { return };
        self.has_changed = true;
        entry.close_file();
        entry.missing_since = Some(now);
        if let Some(inode) = entry.inode.take()
            && self.by_inode.get(&inode) == Some(&id)
        {
            self.by_inode.remove(&inode);
        }
    }

    fn give_up(&mut self, id: SourceId, error: &io::Error) {
        self.rest(id);
        let Some(entry) = self.known.get_mut(&id) else { return };
        let is_refused = is_for_now(error);
        if !is_refused {
            // Not tried again until it changes.
            entry.whole = entry.seen.map(|(stamp, _)| stamp);
        }
        entry.close_file();
        let name = entry.path.display().to_string();
        let is_told = is_refused && entry.inode.is_some_and(|inode| !self.refused.insert(inode));
        if !is_told {
            self.tell_unreadable(&name, error);
        }
        self.close_source(id, Closed::Broken);
    }

    fn close_source(&mut self, id: SourceId, why: Closed) {
        let Some(entry) = self.known.get_mut(&id) else { return };
        // Its last lines may come when it is gone from here already.
        let rests_open = entry.rested.is_some_and(|number| self.resting_open.contains_key(&number));
        let may_grow = why == Closed::Idle && entry.packing.is_none() && rests_open;
        if !may_grow && !self.place.is_target(&entry.path) {
            entry.close_file();
        }
        if std::mem::replace(&mut entry.announced, false) && !entry.ignored {
            self.events.push_back(Event::Closed(id, why));
        }
    }
}

impl Engine for Files {
    fn step(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Step {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if let Some((id, range)) = self.bytes.take() {
                return Step::Bytes(id, range);
            }
            if self.next_scan.is_none_or(|at| now >= at) {
                self.scan(now);
                continue;
            }
            let Some((_, id)) = self.ready.first() else { return Step::Waiting };
            self.read(*id, now, buffer);
        }
    }

    fn acknowledge(&mut self, id: SourceId, mark: Mark) {
        if let Some(entry) = self.known.get_mut(&id) {
            entry.acknowledge(mark);
        }
    }

    fn ignore(&mut self, id: SourceId) {
        if let Some(entry) = self.known.get_mut(&id) {
            entry.ignored = true;
        }
        if self.bytes.as_ref().is_some_and(|(of, _)| *of == id) {
            self.bytes = None;
        }
    }

    fn release(&mut self, id: SourceId, mark: Mark) {
        if let Some(entry) = self.known.get_mut(&id) {
            entry.announced = false;
            entry.released = Some(mark);
        }
    }

    fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    fn save(&mut self, saved: &mut Saved) {
        // The next start is the first one then, which decides what is history.
        if self.is_first {
            return;
        }
        saved.files = Some(SavedFiles {
            forgotten_ns: self.forgotten_ns,
            // Of what nothing was read, nothing would show that it is the same.
            known: self
                .known
                .values_mut()
                .filter(|entry| entry.head.bytes > 0)
                .map(Entry::saved)
                .collect(),
            passed_over: self.passed_over.iter().map(|(&inode, &stamp)| (inode, stamp)).collect(),
        });
    }
}

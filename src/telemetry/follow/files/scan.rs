//! Looks at what is there, and makes of it what is to be read.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::super::print::{Print, bytes_at};
use super::super::unpack::{Packing, head_print};
use super::super::{Closed, Event, SourceId, Told};
use super::entry::{Entry, Gone};
use super::place::{Found, Inode, Place, rotated_from};
use super::{Files, MAX_OPEN, MAX_SOURCES, Mark, is_for_now};

/// Files that are remembered; the oldest are forgotten first, and none as old as
/// those is read then.
const MAX_KNOWN: usize = 1 << 16;

/// How long a file that is gone is remembered: it may be on its way to another name,
/// or be found again compressed.
const FORGET: Duration = Duration::from_secs(60);

/// A file that nothing was added to for so long was not written to just before it went:
/// old ones are removed all the time.
const WRITTEN: Duration = Duration::from_secs(3600);

/// Between two looks, for each file that is there: looking at one takes some
/// microseconds, and all looking is to take a tenth of the time at most.
const PAUSE_PER_FILE: Duration = Duration::from_micros(50);

/// One look at what is there.
struct Look {
    now: Instant,
    /// Files that were known and were not seen.
    missing: Vec<SourceId>,
    /// Files that were seen and are open.
    open: Vec<SourceId>,
    /// Fingerprints of the uncompressed ones, once they are asked for.
    heads: Option<HashSet<Print>>,
    /// Missing ones under whose names are others that begin as they did.
    rewritten: Vec<SourceId>,
}

/// Whether a file is a copy of one that is read anyway.
enum Copied {
    No,
    /// Were it truncated now, it would be found again in the copy by what was read.
    Begun,
    /// Nothing would show then that the copy has what was in it.
    Unread,
}

impl Files {
    pub(super) fn scan(&mut self, now: Instant) {
        self.next_scan = Some(now + self.options.pause);
        let numbers: HashSet<_> = match self.place {
            Place::File(_) => self.by_inode.keys().map(|inode| inode.number).collect(),
            Place::Folder(_) => HashSet::new(),
        };
        let listing = match self.place.list(|number| numbers.contains(&number)) {
            Ok(listing) => listing,
            Err(error) => {
                if !std::mem::replace(&mut self.told_unreadable, true) {
                    self.tell_unreadable(&self.place.folder().display().to_string(), &error);
                }
                self.read_on_in_open_ones();
                return;
            }
        };
        self.told_unreadable = false;
        self.tell_if_not_there(&listing.found);
        let pause = PAUSE_PER_FILE * u32::try_from(listing.found.len()).unwrap_or(u32::MAX);
        self.next_scan = Some(now + self.options.pause.max(pause));
        if listing.more {
            self.tell_too_many();
        }
        let inodes: HashSet<_> = listing.found.iter().map(|found| found.inode).collect();
        self.passed_over.retain(|inode, _| inodes.contains(inode));
        self.settling.retain(|inode, _| inodes.contains(inode));
        self.refused.retain(|inode| inodes.contains(inode));
        let mut seen = HashSet::new();
        let mut unknown = Vec::new();
        for found in listing.found {
            match self.by_inode.get(&found.inode).copied() {
                Some(id) if self.look_again(id, &found, now) => {
                    seen.insert(id);
                }
                _ if found.belongs => unknown.push(found),
                _ => {}
            }
        }
        let missing = self.look_after_missing(&seen, now);
        let open =
            self.known.iter().filter(|(id, entry)| entry.open.is_some() && seen.contains(id));
        let open = open.map(|(&id, _)| id).collect();
        let mut look = Look { now, missing, open, heads: None, rewritten: Vec::new() };
        // The file itself first, so that a copy of it is known for one.
        unknown.sort_by_key(|found| !self.place.is_target(&found.path));
        for found in unknown {
            if let Err(error) = self.take_in(&found, &mut look) {
                // Renamed again since it was listed: the next look finds it.
                if error.kind() == io::ErrorKind::NotFound {
                    continue;
                }
                if !is_for_now(&error) {
                    self.passed_over.insert(found.inode, found.stamp);
                } else if !self.refused.insert(found.inode) {
                    continue;
                }
                self.tell_unreadable(&found.path.display().to_string(), &error);
            }
        }
        // No rotation leaves a log that begins as the one before.
        for id in look.rewritten.iter().filter(|id| look.missing.contains(id)) {
            let Some(entry) = self.known.get_mut(id).filter(|entry| !entry.ignored) else {
                continue;
            };
            entry.gone = Gone::Read;
            let (name, offset) = (entry.path.display().to_string(), entry.read);
            self.events.push_back(Event::Told(Told::Rewritten { name, offset }));
        }
        // What is history must not be asked again after a kill: more has come by then.
        self.has_changed |= std::mem::replace(&mut self.is_first, false);
        self.close_what_rests(now);
        self.forget(now);
    }

    /// Once, and where nothing was ever seen of it: a log that a rotation left without a
    /// file for a while is no news.
    fn tell_if_not_there(&mut self, found: &[Found]) {
        let Place::File(path) = &self.place else { return };
        let is_there = !self.known.is_empty() || found.iter().any(|found| found.belongs);
        if !std::mem::replace(&mut self.has_looked, true) && !is_there {
            let told = Told::NotThere { name: path.display().to_string() };
            self.events.push_back(Event::Told(told));
        }
    }

    /// A file that is known by its inode; false where its content is another now.
    fn look_again(&mut self, id: SourceId, found: &Found, now: Instant) -> bool {
        let Some(entry) = self.known.get_mut(&id) else { return false };
        let before = std::mem::replace(&mut entry.path, found.path.clone());
        let was_gone = entry.missing_since.take().map(|_| entry.gone);
        entry.see(found.stamp, now);
        // Its last lines may come when it is gone from here already.
        let is_target = self.place.is_target(&found.path);
        let is_whole = entry.whole == Some(found.stamp);
        // One of a folder that was read to its end before the start.
        let may_rest_open = is_whole
            && entry.is_restored
            && matches!(self.place, Place::Folder(_))
            && entry.packing.is_none()
            && self.resting_open.len() < MAX_OPEN;
        if is_whole {
            entry.is_restored = false;
        }
        if is_whole && !((is_target || may_rest_open) && entry.open.is_none()) {
            return true;
        }
        if entry.packing.is_some() {
            entry.is_restored = false;
            // Unpacking it again would bring no more: it is done from its start each time.
            if ![entry.whole, entry.cut_off_as].contains(&Some(found.stamp)) {
                self.make_ready(id);
            }
            return true;
        }
        let was_open = entry.open.is_some();
        let is_same = match entry.opened_and_same() {
            Ok(Some(is_same)) => {
                self.refused.remove(&found.inode);
                is_same
            }
            // Renamed meanwhile: the next look finds it.
            Ok(None) => return true,
            Err(error) => {
                self.give_up(id, &error);
                return true;
            }
        };
        if !is_same {
            // Where it was gone before, or this is elsewhere, its inode is another file's now.
            let is_reused = before != found.path;
            entry.path = before;
            let unseen = || how_gone(&self.place, entry, was_open, now);
            let gone = was_gone.or_else(|| is_reused.then(unseen));
            self.part(id, now);
            if let Some((entry, gone)) = self.known.get_mut(&id).zip(gone) {
                entry.gone = gone;
            }
            return false;
        }
        entry.is_restored = false;
        if found.stamp.bytes > entry.read {
            self.make_ready(id);
        } else {
            entry.whole = Some(found.stamp).filter(|stamp| stamp.bytes == entry.read);
        }
        if may_rest_open {
            self.let_rest(id);
        } else if !was_open
            && !is_target
            && let Some(entry) = self.known.get_mut(&id)
        {
            entry.close_file();
        }
        true
    }

    /// Where the folder is gone, or not to be read for now: nothing is known then of what
    /// is in it, but what is open may still grow.
    fn read_on_in_open_ones(&mut self) {
        let grown = |entry: &Entry| {
            let bytes = entry.open.as_ref().and_then(|file| Some(file.metadata().ok()?.len()));
            entry.packing.is_none() && bytes.is_some_and(|bytes| bytes > entry.read)
        };
        let known = self.known.iter().filter(|(_, entry)| grown(entry));
        for id in known.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.make_ready(id);
        }
    }

    /// Files that are no longer there, some of which are still open and read on.
    fn look_after_missing(&mut self, seen: &HashSet<SourceId>, now: Instant) -> Vec<SourceId> {
        let missing: Vec<_> = self.known.keys().filter(|id| !seen.contains(id)).copied().collect();
        for &id in &missing {
            let Some(entry) = self.known.get_mut(&id) else { continue };
            if entry.missing_since.is_none() {
                self.has_changed = true;
                entry.missing_since = Some(now);
                entry.gone = how_gone(&self.place, entry, entry.open.is_some(), now);
            }
            let bytes = entry.open.as_ref().and_then(|file| file.metadata().ok()?.len().into());
            match bytes {
                Some(bytes) if bytes > entry.read => self.make_ready(id),
                Some(bytes) if bytes < entry.read && entry.packing.is_none() => self.part(id, now),
                _ => {}
            }
        }
        missing
    }

    /// A file whose inode is not known.
    fn take_in(&mut self, found: &Found, look: &mut Look) -> io::Result<()> {
        let now = look.now;
        let is_target = self.place.is_target(&found.path);
        let passed_over = self.passed_over.get(&found.inode) == Some(&found.stamp);
        if (passed_over && look.missing.is_empty()) || (found.stamp.bytes == 0 && !is_target) {
            return Ok(());
        }
        let file = File::open(&found.path)?;
        self.refused.remove(&found.inode);
        if Inode::of(&file.metadata()?) != found.inode {
            // Renamed meanwhile: the next look finds it.
            return Ok(());
        }
        let packing = Packing::of(&bytes_at(&file, 0, Packing::MAGIC_BYTES)?);
        if packing.is_some() || found.packed_by_name {
            let (stamp, since) = self.settling.entry(found.inode).or_insert((found.stamp, now));
            if *stamp != found.stamp {
                (*stamp, *since) = (found.stamp, now);
            }
            if now < *since + self.options.settle && !self.is_first {
                return Ok(());
            }
        }
        for (n, &id) in look.missing.iter().enumerate() {
            let Some(entry) = self.known.get_mut(&id).filter(|entry| entry.head.bytes > 0) else {
                continue;
            };
            let goes_on = entry.is_in(&file, packing)?;
            if !goes_on && (packing.is_some() || !entry.reopen_document(&file)?) {
                continue;
            }
            if !goes_on {
                self.close_source(id, Closed::Idle);
            }
            look.missing.remove(n);
            self.adopt(id, found, file, packing, now);
            return Ok(());
        }
        if passed_over {
            return Ok(());
        }
        match self.copied(found, &file, packing, look)? {
            Copied::No => {}
            Copied::Begun => {
                self.passed_over.insert(found.inode, found.stamp);
                return Ok(());
            }
            // The next look tells whether it was truncated before anything was read of it.
            Copied::Unread => return Ok(()),
        }
        if found.packed_by_name && packing.is_none() {
            self.passed_over.insert(found.inode, found.stamp);
            if matches!(self.place, Place::Folder(_)) {
                return Err(io::Error::other("compressed in a way that is not read"));
            }
            return Ok(());
        }
        let is_rotated = matches!(self.place, Place::File(_)) && !is_target;
        let is_history = self.is_first && (is_rotated || !self.options.from_start);
        if is_history && packing.is_some() {
            self.passed_over.insert(found.inode, found.stamp);
            return Ok(());
        }
        self.passed_over.remove(&found.inode);
        for id in look.missing.iter().filter(|_| packing.is_none()) {
            if let Some(entry) = self.known.get_mut(id)
                && entry.path == found.path
                && entry.missing_since == Some(now)
                && entry.packing.is_none()
                && entry.head.bytes > 0
                && entry.head.begins_file(&file)?
            {
                look.rewritten.push(*id);
            }
        }
        if self.forgotten_ns.is_some_and(|until_ns| found.stamp.modified_ns <= until_ns) {
            return Ok(());
        }
        let mut entry = Entry::new(found.path.clone(), found.inode, now);
        entry.packing = packing;
        entry.see(found.stamp, now);
        if is_history {
            entry.is_history(&file, found.stamp)?;
        }
        if is_target {
            entry.open = Some(file);
        }
        let id = self.insert(entry);
        if is_target {
            look.open.push(id);
        }
        self.make_ready(id);
        Ok(())
    }

    /// What was read of a missing file goes on in this one.
    fn adopt(
        &mut self,
        id: SourceId,
        found: &Found,
        file: File,
        packing: Option<Packing>,
        now: Instant,
    ) {
        self.part_from_inode(id, now);
        let Some(entry) = self.known.get_mut(&id) else { return };
        entry.is_restored = false;
        entry.whole = None;
        entry.path.clone_from(&found.path);
        entry.inode = Some(found.inode);
        entry.packing = packing;
        entry.open = Some(file);
        entry.missing_since = None;
        entry.see(found.stamp, now - self.options.settle);
        self.by_inode.insert(found.inode, id);
        self.passed_over.remove(&found.inode);
        self.make_ready(id);
    }

    /// Whether all of a file was read elsewhere, or is going to be.
    fn copied(
        &self,
        found: &Found,
        file: &File,
        packing: Option<Packing>,
        look: &mut Look,
    ) -> io::Result<Copied> {
        // What a name is given for is never a copy.
        if self.place.is_target(&found.path) {
            return Ok(Copied::No);
        }
        let of = |entry: &Entry| if entry.read > 0 { Copied::Begun } else { Copied::Unread };
        let Some(packing) = packing else {
            let bytes = found.stamp.bytes;
            for entry in look.open.iter().filter_map(|id| self.known.get(id)) {
                let ours = entry.open.as_ref().filter(|_| entry.packing.is_none());
                if ours.map_or(Ok(false), |ours| is_copy_of(ours, file, bytes))? {
                    return Ok(of(entry));
                }
            }
            // One that rests, or that was found just now, is not open.
            for path in rotated_from(&found.path) {
                let Ok(ours) = File::open(path) else { continue };
                let inode = Inode::of(&ours.metadata()?);
                let entry = self.by_inode.get(&inode).and_then(|id| self.known.get(id));
                if let Some(entry) = entry.filter(|_| inode != found.inode)
                    && is_copy_of(&ours, file, bytes)?
                {
                    return Ok(of(entry));
                }
            }
            return Ok(Copied::No);
        };
        let head: Print = match head_print(file, packing) {
            Ok(head) => head,
            // Not complete. What a file is rotated to is waited for; of a folder it is read
            // as far as it goes, and the rest when it changes.
            Err(_) if matches!(self.place, Place::File(_)) => return Ok(Copied::Begun),
            Err(_) => return Ok(Copied::No),
        };
        let heads = look.heads.get_or_insert_with(|| {
            let plain = self.known.values().filter(|entry| entry.packing.is_none());
            plain.map(|entry| entry.head).collect()
        });
        Ok(if heads.contains(&head) { Copied::Begun } else { Copied::No })
    }

    fn close_what_rests(&mut self, now: Instant) {
        let ready: HashSet<_> = self.ready.iter().map(|(_, id)| *id).collect();
        let resting = self.known.iter().filter(|(id, _)| !ready.contains(id));
        let mut announced = Vec::new();
        let mut open = Vec::new();
        for (&id, entry) in resting {
            let is_target = entry.missing_since.is_none() && self.place.is_target(&entry.path);
            if !is_target && entry.announced {
                announced.push((entry.last_growth, id));
            }
            if !is_target && entry.open.is_some() && entry.missing_since.is_none() {
                open.push((entry.last_growth, id));
            }
        }
        announced.sort_unstable();
        let too_many = announced.len().saturating_sub(MAX_SOURCES);
        for (n, (last_growth, id)) in announced.into_iter().enumerate() {
            let Some(entry) = self.known.get(&id) else { continue };
            if now >= last_growth + self.options.grace || (n < too_many && entry.ends_in_line_end) {
                let why = match self.place {
                    _ if entry.is_truncated => Closed::Truncated,
                    Place::Folder(_) if entry.missing_since.is_none() => Closed::Idle,
                    _ => Closed::Rotated,
                };
                self.close_source(id, why);
            }
        }
        open.sort_unstable();
        open.truncate(open.len().saturating_sub(MAX_OPEN));
        for (_, id) in open {
            if let Some(entry) = self.known.get_mut(&id) {
                entry.close_file();
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (&id, entry) in &self.known {
            let long = entry.missing_since.is_some_and(|since| now >= since + FORGET);
            if long && !entry.announced && (entry.is_settled() || entry.is_restored) {
                gone.push(id);
            }
        }
        for id in gone {
            let Some(entry) = self.remove(id) else { continue };
            if entry.ignored || entry.packing.is_some() && entry.whole.is_some() {
                continue;
            }
            let (name, offset) = (entry.path.display().to_string(), entry.read);
            let surely = entry.is_restored && entry.whole.is_none();
            let told = match entry.gone {
                Gone::Rewritten if !surely => Told::Rewritten { name, offset },
                Gone::Read if !surely => continue,
                _ => Told::Lost { name, offset, surely },
            };
            self.events.push_back(Event::Told(told));
        }
        let over = self.known.len().saturating_sub(MAX_KNOWN);
        if over == 0 {
            return;
        }
        self.tell_too_many();
        let done = self.known.iter().filter(|(_, entry)| !entry.announced && entry.is_settled());
        let mut done: Vec<_> =
            done.filter_map(|(&id, entry)| Some((entry.whole?.modified_ns, id))).collect();
        done.sort_unstable();
        // A consumer that never acknowledges does not make us remember for ever.
        let gone = self.known.iter().filter(|(_, entry)| entry.missing_since.is_some());
        done.extend(gone.map(|(&id, _)| (i64::MIN, id)));
        for (modified_ns, id) in done.into_iter().take(over) {
            self.forgotten_ns = self.forgotten_ns.max(Some(modified_ns));
            self.remove(id);
        }
    }

    fn remove(&mut self, id: SourceId) -> Option<Entry> {
        self.rest(id);
        self.no_longer_rests(id);
        self.has_changed = true;
        let entry = self.known.remove(&id)?;
        if let Some(inode) = entry.inode
            && self.by_inode.get(&inode) == Some(&id)
        {
            self.by_inode.remove(&inode);
        }
        Some(entry)
    }

    pub(super) fn tell_unreadable(&mut self, name: &str, error: &io::Error) {
        let told = Told::Unreadable { name: name.to_owned(), error: error.to_string() };
        self.events.push_back(Event::Told(told));
    }

    fn tell_too_many(&mut self) {
        if !std::mem::replace(&mut self.told_too_many, true) {
            self.events.push_back(Event::Told(Told::TooManyFiles));
        }
    }
}

/// How a file went that is no longer here.
fn how_gone(place: &Place, entry: &Entry, was_open: bool, now: Instant) -> Gone {
    // What is packed was whole.
    let may_have_grown = !was_open && entry.packing.is_none();
    let is_written = now < entry.last_growth + WRITTEN && place.is_written_under(&entry.path);
    if may_have_grown && is_written { Gone::Unseen } else { Gone::Read }
}

/// Whether a file is a smaller or equal copy of the beginning of ours, as far as its
/// first and last bytes show.
fn is_copy_of(ours: &File, copy: &File, bytes: u64) -> io::Result<bool> {
    if bytes == 0 || ours.metadata()?.len() < bytes {
        return Ok(false);
    }
    Ok(Print::head(copy, bytes)? == Print::head(ours, bytes)?
        && Print::before(copy, bytes)? == Print::before(ours, bytes)?)
}

impl Entry {
    /// All that is in it is as if it had been read, up to its last whole line.
    fn is_history(&mut self, file: &File, stamp: super::Stamp) -> io::Result<()> {
        let mut read = stamp.bytes;
        let from = read.saturating_sub(super::super::super::decode::MAX_RECORD_BYTES as u64);
        let last = bytes_at(file, from, (read - from) as usize)?;
        if let Some(end) = memchr::memrchr(b'\n', &last) {
            read = from + end as u64 + 1;
        }
        self.read = read;
        self.acked = Mark { offset: read, ..Mark::START };
        self.head = Print::head(file, read)?;
        self.tail = Print::before(file, read)?;
        self.whole = Some(stamp).filter(|stamp| stamp.bytes == read);
        Ok(())
    }
}

//! All profiles: in memory those that are used, on disk the others.

mod judging;
mod learning;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::destinations::prefix_of;
use super::fleet::{Fleet, Others, Places, is_place};
use super::frozen::{Freeze, Frozen};
use super::inbox::{Inbox, inbox_path};
use super::learned::{FileMark, LearnedFile, LearnedFiles};
use super::names::NameDigest;
use super::pending::Pending;
use super::profile::Profile;
use super::store::{Batch, FleetBytes, Store, StoreError};
use super::verdict::Standing;
use super::{BaselineSettings, DAY_S};
use crate::engine::window::Host;

pub use judging::Judged;

/// All profiles.
#[derive(Debug, Default)]
pub struct Baselines {
    settings: BaselineSettings,
    learning: bool,
    slots: BTreeMap<Arc<str>, Slot>,
    /// Profiles in memory.
    warm: AtomicUsize,
    /// Counts uses, to know which was last.
    clock: AtomicU64,
    /// What is alerting, until when nothing of it is learned.
    frozen: Frozen,
    /// What was said of alerts that are not over.
    standing: Standing,
    pending: Pending,
    fleet: Fleet,
    /// Some were learned since the file was opened.
    has_names: bool,
    store: Option<Store>,
    /// What was learned from, other than interfaces.
    files: LearnedFiles,
    /// Verdicts that others leave while this process learns.
    inbox: Option<Inbox>,
    flushed_s: Option<i64>,
    /// Since the last flush.
    removed: BTreeSet<Arc<str>>,
    lost: BTreeSet<Arc<str>>,
    unread: AtomicU64,
    /// That most entities are from another time was said.
    says_unseen: bool,
    counters: BaselineCounters,
    notes: Vec<String>,
}

/// An entity that is known.
#[derive(Debug, Default)]
struct Slot {
    /// Empty while it is on disk alone; none where it could not be read.
    profile: OnceLock<Option<Box<Profile>>>,
    used: AtomicU64,
    last_s: i64,
    changed: bool,
}

/// What was left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BaselineCounters {
    /// Minutes that were learned.
    pub minutes: u64,
    /// Minutes of entities that were alerting.
    pub frozen_minutes: u64,
    /// Minutes of entities that had no place.
    pub refused: u64,
    /// Entities that were given up for lack of memory, without a file.
    pub forgotten: u64,
    /// Entities that were not seen for so long that they were given up.
    pub expired: u64,
    /// Spans under alert that were dropped without a verdict, and minutes that found no place
    /// in one.
    pub pending_dropped: u64,
    /// Profiles on disk that could not be read.
    pub damaged: u64,
    /// Verdicts that were left while the baselines were being learned.
    pub verdicts_taken: u64,
    pub flushes: u64,
    pub failed_flushes: u64,
}

impl Baselines {
    /// Empty, in memory alone.
    pub fn in_memory(settings: BaselineSettings, learning: bool) -> Self {
        Self { settings, learning, ..Self::default() }
    }

    /// From a file: for learning it is made where it is not there, and nobody else may
    /// be learning from it; for reading any number may.
    pub fn open(
        path: &Path,
        settings: BaselineSettings,
        learning: bool,
    ) -> Result<Self, StoreError> {
        let (store, note) = match learning {
            true => Store::open(path)?,
            false => (Store::open_read_only(path)?, None),
        };
        let mut all = Self::in_memory(settings, learning);
        all.notes.extend(note);
        for (key, last_s) in store.index()? {
            all.slots.insert(key.into(), Slot { last_s, ..Slot::default() });
        }
        for (key, from_s, bytes) in store.pending()? {
            if !all.pending.load(key, from_s, &bytes) {
                all.counters.damaged += 1;
            }
        }
        all.files = LearnedFiles::new(store.files()?);
        let fleet = store.fleet()?;
        all.store = Some(store);
        all.take_fleet(fleet);
        if learning {
            match Inbox::open(path) {
                Ok(inbox) => all.inbox = Some(inbox),
                Err(error) => {
                    let place = inbox_path(path);
                    let why = format!("{}: {error}: verdicts are not taken up", place.display());
                    all.notes.push(why);
                }
            }
            all.take_verdicts();
        }
        Ok(all)
    }

    /// The fleet of the file; counted anew where the file has none, or one that counted
    /// otherwise.
    fn take_fleet(&mut self, bytes: Option<FleetBytes>) {
        let read = bytes.map(|FleetBytes { prefixes, names }| {
            // Where nobody has learned a name there are none.
            let names =
                names.map_or_else(|| Some(Places::default()), |bytes| Places::decode(&bytes));
            Some(Fleet { prefixes: Places::decode(&prefixes)?, names: names? })
        });
        self.counters.damaged += u64::from(read == Some(None));
        self.fleet = read.flatten().unwrap_or_else(|| {
            let places = self.slots.keys().filter(|key| is_place(key));
            let mut fleet = Fleet::default();
            // One at a time: a million profiles have no place in memory.
            for profile in places.filter_map(|key| self.look_up(key)) {
                fleet.became(&Profile::default(), &profile);
            }
            fleet
        });
    }

    /// What is known of a file, where it was learned from.
    pub fn learned_from(&self, file: FileMark) -> Option<LearnedFile> {
        self.files.get(file)
    }

    /// A file was learned from, to its end if it is `whole`; `span_ns` is from the first to
    /// the last packet of all that was read with it, in nanoseconds since the epoch.
    pub fn note_file(&mut self, file: FileMark, span_ns: Option<(i64, i64)>, whole: bool) {
        if self.learning {
            self.files.note(file, span_ns, whole);
        }
    }

    pub fn settings(&self) -> &BaselineSettings {
        &self.settings
    }

    /// Other settings from now on.
    pub fn set_settings(&mut self, settings: BaselineSettings) {
        self.settings = settings;
    }

    pub fn is_learning(&self) -> bool {
        self.learning
    }

    /// Entities that are known.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Of them, those in memory.
    pub fn held(&self) -> usize {
        self.warm.load(Relaxed)
    }

    /// Their keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots.keys()
    }

    /// Its key, where an entity is known.
    pub fn known(&self, key: &str) -> Option<Arc<str>> {
        self.slots.get_key_value(key).map(|(key, _)| Arc::clone(key))
    }

    /// Spans that wait for a verdict.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    pub fn counters(&self) -> BaselineCounters {
        let mut counters = self.counters;
        counters.pending_dropped = self.pending.dropped;
        counters.damaged += self.unread.load(Relaxed);
        counters
    }

    /// What people should be told, once.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// What is known of an entity.
    pub fn profile(&self, key: &str) -> Option<&Profile> {
        let slot = self.slots.get(key)?;
        slot.used.store(self.clock.load(Relaxed), Relaxed);
        let load = || {
            self.warm.fetch_add(1, Relaxed);
            let read = self.load(key);
            if read.is_none() {
                self.unread.fetch_add(1, Relaxed);
            }
            read.map(Box::new)
        };
        slot.profile.get_or_init(load).as_deref()
    }

    /// The same without keeping it in memory: for looking at all of them.
    pub fn look_up(&self, key: &str) -> Option<Profile> {
        let slot = self.slots.get(key)?;
        match slot.profile.get() {
            Some(profile) => profile.as_deref().cloned(),
            None => {
                let found = self.load(key);
                self.unread.fetch_add(u64::from(found.is_none()), Relaxed);
                found
            }
        }
    }

    fn load(&self, key: &str) -> Option<Profile> {
        let bytes = self.store.as_ref()?.profile(key).ok()??;
        Profile::decode(&bytes)
    }

    pub fn is_mature(&self, key: &str) -> bool {
        self.profile(key).is_some_and(|profile| profile.days() >= self.settings.mature_days)
    }

    /// How many places know this destination, or others of its prefix, beside those with
    /// these keys.
    pub fn others(&self, host: &Host, own: &[Arc<str>]) -> Others {
        let own = self.places(own).map(|profile| &profile.destinations);
        self.fleet.prefixes.others(prefix_of(host), own)
    }

    /// The same of a name.
    pub fn others_by_name(&self, name: NameDigest, own: &[Arc<str>]) -> Others {
        self.fleet.names.others(name.0, self.places(own).map(|profile| &profile.names))
    }

    fn places<'a>(&'a self, keys: &'a [Arc<str>]) -> impl Iterator<Item = &'a Profile> {
        keys.iter().filter(|key| is_place(key)).filter_map(|key| self.profile(key))
    }

    /// Until when nothing of it is learned, where it was alerting.
    pub fn frozen_until(&self, key: &str) -> Option<i64> {
        self.frozen.until(key)
    }

    /// Nothing of these minutes up to that second is learned before a verdict.
    pub fn freeze(&mut self, freeze: &Freeze) {
        if self.learning {
            self.frozen.add(freeze);
        }
    }

    /// A profile to be changed; nothing where there is no place for another.
    fn profile_mut(&mut self, key: &Arc<str>, at_s: i64) -> Option<&mut Profile> {
        if !self.slots.contains_key(key) {
            if self.slots.len() >= self.settings.entities {
                return None;
            }
            let slot = Slot { last_s: at_s, ..Slot::default() };
            let mut profile = Profile::default();
            profile.start_at(at_s);
            let _ = slot.profile.set(Some(Box::new(profile)));
            self.warm.fetch_add(1, Relaxed);
            self.removed.remove(key);
            self.slots.insert(Arc::clone(key), slot);
        } else if self.profile(key).is_none() {
            self.lost.insert(Arc::clone(key));
        }
        let used = self.clock.fetch_add(1, Relaxed);
        let slot = self.slots.get_mut(key)?;
        slot.used.store(used, Relaxed);
        slot.changed = true;
        slot.last_s = slot.last_s.max(at_s);
        let profile = slot.profile.get_mut()?.get_or_insert_with(|| {
            let mut profile = Profile::default();
            profile.start_at(at_s);
            Box::new(profile)
        });
        Some(profile)
    }

    /// Puts those that were used least recently out of memory, a tenth of all. Without
    /// a file, or where it can't be written, they are forgotten.
    fn make_room(&mut self) {
        let kept = self.settings.held.max(1) * 9 / 10;
        let written = self.store.is_some() && self.flush();
        let warm = |(key, slot): (&Arc<str>, &Slot)| {
            slot.profile.get().map(|_| (slot.used.load(Relaxed), Arc::clone(key)))
        };
        let mut warm: Vec<(u64, Arc<str>)> = self.slots.iter().filter_map(warm).collect();
        let leaving = warm.len().saturating_sub(kept);
        if leaving > 0 && leaving < warm.len() {
            warm.select_nth_unstable(leaving - 1);
        }
        for (_, key) in warm.into_iter().take(leaving) {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if written && !slot.changed {
                slot.profile.take();
                self.warm.fetch_sub(1, Relaxed);
            } else {
                if let Some(profile) = self.remove(&key) {
                    self.lose_place(&key, &profile);
                }
                self.counters.forgotten += 1;
            }
        }
    }

    /// Forgets an entity and whatever waits for a verdict of it. False where there is
    /// none.
    pub fn forget(&mut self, key: &str) -> bool {
        let Some((key, _)) = self.slots.get_key_value(key) else { return false };
        let key = Arc::clone(key);
        if let Some(profile) = self.look_up(&key) {
            self.lose_place(&key, &profile);
        }
        self.remove(&key);
        self.pending.drop_of(&key);
        true
    }

    fn lose_place(&mut self, key: &str, profile: &Profile) {
        if is_place(key) {
            self.fleet.lost(profile);
        }
    }

    /// Hands out the profile where it was in memory.
    fn remove(&mut self, key: &Arc<str>) -> Option<Box<Profile>> {
        let slot = self.slots.remove(key)?;
        self.removed.insert(Arc::clone(key));
        let profile = slot.profile.into_inner()?;
        self.warm.fetch_sub(1, Relaxed);
        profile
    }

    /// Time has come to this second: what is due is written and given up.
    pub fn tick(&mut self, second: i64) {
        if !self.learning {
            return;
        }
        self.take_verdicts();
        let since = *self.flushed_s.get_or_insert(second);
        let every_s = self.settings.flush_s.max(1);
        if second.saturating_sub(since) < every_s {
            return;
        }
        self.flushed_s = Some(second);
        self.frozen.thaw(second);
        if !self.standing.is_empty() {
            self.standing.keep(&self.frozen.alerts());
        }
        let kept_s = (self.settings.pending_days * DAY_S as f64) as i64;
        self.pending.drop_before(second.saturating_sub(kept_s));
        self.forget_unseen(second);
        self.flush();
    }

    /// Gives up whom nobody has seen for long. Where that would be most of them at once, the
    /// clock is wrong, or what is learned is from another time: all of them stay.
    fn forget_unseen(&mut self, second: i64) {
        let days = self.settings.unseen_days;
        let gone_s = second.saturating_sub(days.saturating_mul(DAY_S));
        let unseen = self.slots.iter().filter(|(_, slot)| slot.last_s < gone_s);
        let gone: Vec<Arc<str>> = unseen.map(|(key, _)| Arc::clone(key)).collect();
        if gone.len() > self.slots.len() / 2 {
            if !std::mem::replace(&mut self.says_unseen, true) {
                self.notes.push(format!(
                    "{} of {} entities were last seen over {days} days before what is learned \
                     now: none is forgotten; is a clock wrong?",
                    gone.len(),
                    self.slots.len()
                ));
            }
            return;
        }
        for key in gone {
            self.forget(&key);
            self.counters.expired += 1;
        }
    }

    /// Writes what changed, in one transaction. False where that failed: it stays and
    /// is written with the next.
    pub fn flush(&mut self) -> bool {
        let (Some(store), true) = (&self.store, self.learning) else { return true };
        let changed = self.slots.iter().filter(|(_, slot)| slot.changed);
        let bytes = |(key, slot): (&Arc<str>, &Slot)| {
            let profile = slot.profile.get()?.as_ref()?;
            Some((Arc::clone(key), slot.last_s, profile.encode()))
        };
        let batch = Batch {
            profiles: changed.filter_map(bytes).collect(),
            forgotten: self.removed.iter().cloned().collect(),
            pending: self.pending.changes(),
            fleet: self.fleet.has_changed().then(|| self.fleet.bytes()),
            has_names: self.has_names,
            files: self.files.changes(),
            lost: self.lost.iter().cloned().collect(),
        };
        if let Err(error) = store.write(&batch) {
            if self.counters.failed_flushes == 0 {
                self.notes.push(format!("baselines could not be written: {error}"));
            }
            self.counters.failed_flushes += 1;
            return false;
        }
        if !self.lost.is_empty() {
            self.notes.push(format!(
                "{}: {} profiles were damaged: they are kept apart, and learned anew",
                store.path().display(),
                self.lost.len()
            ));
        }
        self.slots.values_mut().for_each(|slot| slot.changed = false);
        self.removed.clear();
        self.lost.clear();
        self.pending.written();
        self.fleet.written();
        self.files.written();
        self.counters.flushes += 1;
        true
    }
}

//! What is not learned, until when, and because of whose alert.
//!
//! One flow counts for several baselines: the process's, its workload's, the instance's or
//! the address's. An alert is about one of them; of the others that traffic is no more
//! normal. So an alert freezes all of them, by their keys or by the address that their
//! minutes are of. Each remembers which alerts they were, and whose: a verdict on one of them
//! is a verdict on the minutes that waited because of it.
//!
//! Bounded: [`MOST`] keys and as many addresses; at the bound the quarter that is over
//! soonest makes room. Of one at most [`MOST_CAUSES`] are told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fleet::is_place;
use crate::engine::window::Host;
use crate::entity::Minute;

/// About 200 bytes each. A flood with addresses at home as its senders names 64 a second,
/// and what it names is over after minutes.
const MOST: usize = 16_384;
/// Alerts of one act by several detectors are a few.
pub(super) const MOST_CAUSES: usize = 8;

/// What one alert keeps from being learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Freeze {
    /// Whose alert it is: verdicts name this baseline.
    pub cause: Arc<str>,
    /// Its id; none where nobody was told of it.
    pub alert: Option<Arc<str>>,
    /// Others that the same traffic counts for.
    pub keys: Vec<Arc<str>>,
    /// Addresses that it counts for.
    pub addresses: Vec<Host>,
    /// And processes and workloads at them: it may be anybody's of them.
    pub all: bool,
    pub until_s: i64,
}

#[derive(Debug, Default)]
pub(super) struct Frozen {
    keys: BTreeMap<Arc<str>, Causes>,
    addresses: BTreeMap<Host, Causes>,
    /// With whatever is at them.
    wholly: BTreeMap<Host, Causes>,
}

/// An alert that keeps something from being learned, by whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    pub(super) key: Arc<str>,
    pub(super) alert: Option<Arc<str>>,
}

impl Cause {
    /// Whether a verdict on this baseline's alert is on this one. Where one of them has no
    /// id, as of older versions, the time must tell.
    pub(super) fn is_of(&self, key: &str, alert: Option<&str>) -> bool {
        let ids = self.alert.as_deref().zip(alert);
        *self.key == *key && ids.is_none_or(|(own, judged)| own == judged)
    }
}

/// Which alerts, and until when each.
#[derive(Debug, Default)]
struct Causes(Vec<(Cause, i64)>);

impl Frozen {
    pub(super) fn add(&mut self, freeze: &Freeze) {
        let Freeze { cause, alert, keys, addresses, all, until_s } = freeze;
        let cause = &Cause { key: Arc::clone(cause), alert: alert.clone() };
        for key in keys.iter().chain([&cause.key]) {
            add(&mut self.keys, Arc::clone(key), cause, *until_s);
        }
        for &address in addresses {
            add(&mut self.addresses, address, cause, *until_s);
            if *all {
                add(&mut self.wholly, address, cause, *until_s);
            }
        }
    }

    /// What keeps something from being learned at this time.
    pub(super) fn causes(&self, key: &str, at_s: i64) -> Vec<Cause> {
        self.keys.get(key).map_or_else(Vec::new, |causes| causes.at(at_s))
    }

    /// The same of what was seen at an address, by its key and by that.
    pub(super) fn causes_at(&self, key: &str, own: Option<Host>, at_s: i64) -> Vec<Cause> {
        let mut all = self.causes(key, at_s);
        let by_address = if is_place(key) { &self.addresses } else { &self.wholly };
        let causes = own.and_then(|own| by_address.get(&own));
        all.extend(causes.into_iter().flat_map(|causes| causes.at(at_s)));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same of a minute.
    pub(super) fn causes_of(&self, minute: &Minute) -> Vec<Cause> {
        let is_there = !self.addresses.is_empty();
        let own = minute.measures.own.filter(|_| is_there).map(|(own, _)| own);
        self.causes_at(&minute.who.baseline, own, minute.start_s)
    }

    /// Alerts that keep anything from being learned.
    pub(super) fn alerts(&self) -> BTreeSet<&str> {
        let keys = self.keys.values();
        let all = keys.chain(self.addresses.values()).chain(self.wholly.values());
        all.flat_map(|causes| &causes.0).filter_map(|(cause, _)| cause.alert.as_deref()).collect()
    }

    pub(super) fn until(&self, key: &str) -> Option<i64> {
        let by_address = || {
            let address: std::net::IpAddr = key.strip_prefix("address:")?.parse().ok()?;
            self.addresses.get(&Host::from(address))?.until()
        };
        self.keys.get(key).and_then(Causes::until).max(by_address())
    }

    /// Gives up what is over.
    pub(super) fn thaw(&mut self, second: i64) {
        let lasts = |causes: &Causes| causes.until().is_some_and(|until_s| until_s >= second);
        self.keys.retain(|_, causes| lasts(causes));
        self.addresses.retain(|_, causes| lasts(causes));
        self.wholly.retain(|_, causes| lasts(causes));
    }

    /// It was seen at a time when it was frozen no more.
    pub(super) fn thaw_one(&mut self, key: &str) {
        self.keys.remove(key);
    }
}

fn add<K: Ord + Clone>(to: &mut BTreeMap<K, Causes>, key: K, cause: &Cause, until_s: i64) {
    if to.len() >= MOST && !to.contains_key(&key) {
        let mut ends: Vec<_> = to.iter().map(|(key, causes)| (causes.until(), key)).collect();
        ends.sort_unstable();
        let over: Vec<K> = ends.into_iter().take(MOST / 4).map(|(_, key)| key.clone()).collect();
        over.iter().for_each(|key| {
            to.remove(key);
        });
    }
    let Causes(causes) = to.entry(key).or_default();
    let is_full = causes.len() >= MOST_CAUSES;
    let known = causes.iter().position(|(known, _)| known == cause);
    match known.and_then(|at| causes.get_mut(at)) {
        Some((_, until)) => *until = (*until).max(until_s),
        None if !is_full => causes.push((cause.clone(), until_s)),
        // The last lasts as long as all that have no place, whatever is said of its alert.
        None => causes.last_mut().into_iter().for_each(|(last, until)| {
            last.alert = None;
            *until = (*until).max(until_s);
        }),
    }
}

impl Causes {
    fn at(&self, at_s: i64) -> Vec<Cause> {
        let lasting = self.0.iter().filter(|(_, until_s)| *until_s >= at_s);
        lasting.map(|(cause, _)| cause.clone()).collect()
    }

    fn until(&self) -> Option<i64> {
        self.0.iter().map(|&(_, until_s)| until_s).max()
    }
}

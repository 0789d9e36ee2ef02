//! What entities did while they were alerting, kept apart until somebody has judged.
//!
//! A span is a profile of its own, and knows for which alerts it waits: its own, or those of
//! others that the same traffic counts for. Where these are others, another span begins: what
//! is said of an alert is said of its minutes alone. Once all of them are judged false or
//! expected it is merged into the entity's, judged true by one it is dropped. Without a
//! verdict it is dropped after some days (the caller's). Bounded: [`MOST`] spans; at the bound
//! the alert that most of them wait for gives up the one that began last, which means that it
//! is never learned: a flood of a whole network makes a span of each victim, and takes none
//! from an alert of before. Where no alert has more than that of the newcomer, the newcomer
//! is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frozen::{Cause, MOST_CAUSES};
use super::profile::Profile;
use super::wire::{Reader, Writer};

/// Spans that wait: 4 MB.
const MOST: usize = 1_024;
/// A quiet time that ends a span: what comes after it is another alert's.
const PAUSE_S: i64 = 3_600;
const MINUTE_S: i64 = 60;

pub(super) type SpanKey = (Arc<str>, i64);

#[derive(Debug, Default)]
pub(super) struct Pending {
    spans: BTreeMap<SpanKey, Span>,
    /// Since they were written last.
    changed: BTreeSet<SpanKey>,
    /// Spans by what they wait for, until one comes, goes or waits for something else.
    waiting: Option<BTreeMap<Cause, usize>>,
    pub(super) dropped: u64,
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) until_s: i64,
    pub(super) profile: Profile,
    /// What it waits for, in order.
    causes: Vec<Cause>,
}

/// What a verdict settles.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// With their entities.
    pub(super) spans: Vec<(Arc<str>, Span)>,
    /// Spans that wait for a verdict on another alert as well.
    pub(super) waiting: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The span that this second of the entity belongs to, which waits for these alerts;
    /// nothing where there is no place for it.
    pub(super) fn span(
        &mut self,
        key: &Arc<str>,
        at_s: i64,
        causes: &[Cause],
    ) -> Option<&mut Profile> {
        let of_entity = (Arc::clone(key), i64::MIN)..=(Arc::clone(key), at_s);
        // What one minute brings may wait for different alerts.
        let last = self.spans.range(of_entity).rev().take(MOST_CAUSES);
        let mut goes_on = last.filter(|(_, span)| at_s.saturating_sub(span.until_s) <= PAUSE_S);
        let going_on = goes_on.find(|(_, span)| span.causes == causes);
        let at = going_on.map_or_else(|| self.free(key, at_s), |(at, _)| at.clone());
        if !self.spans.contains_key(&at) {
            if self.spans.len() >= MOST {
                self.dropped += 1;
                if !self.make_room(causes) {
                    return None;
                }
            }
            self.waiting = None;
        }
        self.changed.insert(at.clone());
        let span = self.spans.entry(at).or_insert_with(|| {
            let mut profile = Profile::default();
            profile.start_at(at_s);
            Span { until_s: at_s, profile, causes: causes.to_vec() }
        });
        span.until_s = span.until_s.max(at_s);
        Some(&mut span.profile)
    }

    /// Where a span of the entity may begin: several may in one second, by what they wait for.
    fn free(&self, key: &Arc<str>, at_s: i64) -> SpanKey {
        let mut at = (Arc::clone(key), at_s);
        while self.spans.contains_key(&at) {
            at.1 += 1;
        }
        at
    }

    /// Takes a span from the alert that most wait for; false where that is one of these.
    fn make_room(&mut self, causes: &[Cause]) -> bool {
        let waiting = self.waiting.get_or_insert_with(|| {
            let mut waiting = BTreeMap::new();
            for cause in self.spans.values().flat_map(|span| &span.causes) {
                *waiting.entry(cause.clone()).or_default() += 1;
            }
            waiting
        });
        let own =
            causes.iter().filter_map(|cause| waiting.get(cause)).max().map_or(1, |own| own + 1);
        let most = waiting.iter().max_by_key(|(_, spans)| **spans);
        let Some((cause, _)) = most.filter(|(_, spans)| **spans > own) else { return false };
        let of_most = self.spans.iter().filter(|(_, span)| span.causes.contains(cause));
        let last = of_most.max_by_key(|((_, from_s), _)| *from_s).map(|(at, _)| at.clone());
        last.iter().for_each(|at| self.remove(at));
        last.is_some()
    }

    /// Takes out the spans, each with its entity, that a verdict on this baseline's alert of
    /// that time settles: all that waited for it, or those that wait for nothing else.
    pub(super) fn judge(
        &mut self,
        key: &str,
        alert: Option<&str>,
        (from_s, until_s): (i64, i64),
        is_learned: bool,
    ) -> Settled {
        let mut settled = Vec::new();
        let mut waiting = 0;
        for (at, span) in &mut self.spans {
            // A minute begins before what happens in it.
            let touches = at.1 <= until_s && span.until_s.saturating_add(MINUTE_S) > from_s;
            let is_it = |cause: &Cause| cause.is_of(key, alert);
            if !touches || !span.causes.iter().any(is_it) {
                continue;
            }
            self.changed.insert(at.clone());
            self.waiting = None;
            span.causes.retain(|cause| !is_learned || !is_it(cause));
            if !is_learned || span.causes.is_empty() {
                settled.push(at.clone());
            } else {
                waiting += 1;
            }
        }
        let taken = settled.into_iter().filter_map(|at| Some((self.spans.remove(&at)?, at)));
        Settled { spans: taken.map(|(span, (entity, _))| (entity, span)).collect(), waiting }
    }

    /// Gives up the spans of an entity.
    pub(super) fn drop_of(&mut self, key: &Arc<str>) {
        let of_entity = (Arc::clone(key), i64::MIN)..=(Arc::clone(key), i64::MAX);
        let all: Vec<SpanKey> = self.spans.range(of_entity).map(|(at, _)| at.clone()).collect();
        all.iter().for_each(|at| self.remove(at));
    }

    pub(super) fn drop_before(&mut self, second: i64) {
        let old: Vec<SpanKey> = self
            .spans
            .iter()
            .filter(|(_, span)| span.until_s < second)
            .map(|(at, _)| at.clone())
            .collect();
        self.dropped += old.len() as u64;
        old.iter().for_each(|at| self.remove(at));
    }

    fn remove(&mut self, at: &SpanKey) {
        self.spans.remove(at);
        self.waiting = None;
        self.changed.insert(at.clone());
    }

    /// What changed since this was asked last, as bytes.
    pub(super) fn changes(&self) -> Vec<(Arc<str>, i64, Option<Vec<u8>>)> {
        let bytes = |at: &SpanKey| self.spans.get(at).map(|span| span.encode(&at.0));
        self.changed.iter().map(|at| (Arc::clone(&at.0), at.1, bytes(at))).collect()
    }

    pub(super) fn written(&mut self) {
        self.changed.clear();
    }

    /// One of the file's; false where it can't be read.
    pub(super) fn load(&mut self, key: String, from_s: i64, bytes: &[u8]) -> bool {
        let key: Arc<str> = key.into();
        let span = Span::decode(bytes, &key);
        let read = span.is_some();
        if let Some(span) = span
            && self.spans.len() < MOST
        {
            self.spans.insert((key, from_s), span);
            self.waiting = None;
        }
        read
    }
}

impl Span {
    /// What waits for its own alert alone is written as it was before others could be.
    fn encode(&self, key: &Arc<str>) -> Vec<u8> {
        let mut out = Writer::default();
        out.signed(self.until_s);
        if self.causes != [Cause { key: Arc::clone(key), alert: None }] {
            out.number(self.causes.len() as u64);
            for Cause { key, alert } in &self.causes {
                // Before alerts were told apart, a key was all.
                let alert = alert.as_deref().map(|alert| format!("\0{alert}"));
                let cause = [key, alert.as_deref().unwrap_or_default()].concat();
                out.number(cause.len() as u64);
                out.0.extend(cause.as_bytes());
            }
        }
        out.0.extend(self.profile.encode());
        out.0
    }

    fn decode(bytes: &[u8], key: &Arc<str>) -> Option<Self> {
        let mut from = Reader(bytes);
        let until_s = from.signed()?;
        // A profile's digest tells whether this is one.
        if let Some(profile) = Profile::decode(from.0) {
            let own = Cause { key: Arc::clone(key), alert: None };
            return Some(Self { until_s, profile, causes: vec![own] });
        }
        let mut causes = Vec::new();
        for _ in 0..from.up_to(MOST_CAUSES as u64)? {
            let len = usize::try_from(from.number()?).ok()?;
            let (cause, rest) = from.0.split_at_checked(len)?;
            let cause = std::str::from_utf8(cause).ok()?;
            let (key, alert) = match cause.split_once('\0') {
                Some((key, alert)) => (key, Some(alert.into())),
                None => (cause, None),
            };
            causes.push(Cause { key: key.into(), alert });
            from = Reader(rest);
        }
        Some(Self { until_s, profile: Profile::decode(from.0)?, causes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pending: &mut Pending, entity: &str, at_s: i64, cause: &str) -> bool {
        let cause = Cause { key: cause.into(), alert: None };
        pending.span(&entity.into(), at_s, &[cause]).is_some()
    }

    /// Entities whose spans wait for an alert.
    fn waiting_for(pending: &mut Pending, cause: &str) -> usize {
        pending.judge(cause, None, (0, i64::MAX), false).spans.len()
    }

    #[test]
    fn a_carpet_of_victims_takes_no_place_from_alerts_of_before_nor_of_after() {
        let mut pending = Pending::default();
        for n in 0..50 {
            let entity = format!("address:10.0.0.{n}");
            assert!(waits(&mut pending, &entity, 60 * n, &entity));
        }
        for n in 0..5_000 {
            let victim = format!("address:10.1.{}.{}", n / 256, n % 256);
            waits(&mut pending, &victim, 7_200, "prefix:10.1.0.0/16");
        }
        assert_eq!((pending.len(), pending.dropped), (MOST, 5_050 - MOST as u64));
        for n in 0..30 {
            let entity = format!("address:10.2.0.{n}");
            assert!(waits(&mut pending, &entity, 10_000, &entity), "of another alert");
        }
        assert_eq!(pending.len(), MOST);
        for n in 0..50 {
            assert_eq!(waiting_for(&mut pending, &format!("address:10.0.0.{n}")), 1, "{n}");
        }
        assert_eq!(waiting_for(&mut pending, "prefix:10.1.0.0/16"), MOST - 80);
    }

    #[test]
    fn where_each_alert_has_as_many_the_older_ones_stay() {
        let mut pending = Pending::default();
        for n in 0..MOST as i64 + 10 {
            let entity = format!("address:{n}");
            assert_eq!(waits(&mut pending, &entity, n, &entity), n < MOST as i64);
        }
        // What has its place goes on.
        assert!(waits(&mut pending, "address:0", 600, "address:0"));
        // And there is place again once somebody has judged.
        assert_eq!(waiting_for(&mut pending, "address:0"), 1);
        assert!(waits(&mut pending, "address:9999", 700, "address:9999"));
    }
}

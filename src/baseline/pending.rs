//! What entities did while they were alerting, kept apart until somebody has judged.
//!
//! A span is a profile of its own, and knows because of whose alerts it waits: its own, or
//! those of others that the same traffic counts for. Once all of them are judged false or
//! expected it is merged into the entity's, judged true by one it is dropped. Without a
//! verdict it is dropped after some days (the caller's). Bounded: [`MOST`] spans; at the bound the one that ended
//! first is dropped, which means that it is never learned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frozen::MOST_CAUSES;
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
    pub(super) dropped: u64,
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) until_s: i64,
    pub(super) profile: Profile,
    /// Baselines whose alerts it waits for.
    causes: Vec<Arc<str>>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The span that this second of the entity belongs to, which waits for these alerts.
    pub(super) fn span(
        &mut self,
        key: &Arc<str>,
        at_s: i64,
        causes: &[Arc<str>],
    ) -> Option<&mut Profile> {
        let of_entity = (Arc::clone(key), i64::MIN)..=(Arc::clone(key), at_s);
        let last = self.spans.range(of_entity).next_back();
        let going_on = last.filter(|(_, span)| at_s.saturating_sub(span.until_s) <= PAUSE_S);
        let at = going_on.map_or_else(|| (Arc::clone(key), at_s), |(at, _)| at.clone());
        if !self.spans.contains_key(&at) && self.spans.len() >= MOST {
            let oldest = self.spans.iter().min_by_key(|(_, span)| span.until_s);
            let oldest = oldest.map(|(at, _)| at.clone());
            oldest.iter().for_each(|at| self.remove(at));
            self.dropped += 1;
        }
        self.changed.insert(at.clone());
        let span = self.spans.entry(at).or_insert_with(|| {
            let mut profile = Profile::default();
            profile.start_at(at_s);
            Span { until_s: at_s, profile, causes: Vec::new() }
        });
        span.until_s = span.until_s.max(at_s);
        for cause in causes {
            if span.causes.len() < MOST_CAUSES && !span.causes.contains(cause) {
                span.causes.push(Arc::clone(cause));
            }
        }
        Some(&mut span.profile)
    }

    /// Takes out the spans, each with its entity, that a verdict on this baseline's alert of
    /// that time settles: all that waited for it, or those that wait for nothing else.
    pub(super) fn judge(
        &mut self,
        cause: &Arc<str>,
        from_s: i64,
        until_s: i64,
        is_learned: bool,
    ) -> Vec<(Arc<str>, Span)> {
        let mut settled = Vec::new();
        for (at, span) in &mut self.spans {
            // A minute begins before what happens in it.
            let touches = at.1 <= until_s && span.until_s.saturating_add(MINUTE_S) > from_s;
            if !touches || !span.causes.contains(cause) {
                continue;
            }
            self.changed.insert(at.clone());
            span.causes.retain(|waits| !is_learned || waits != cause);
            if !is_learned || span.causes.is_empty() {
                settled.push(at.clone());
            }
        }
        let taken = settled.into_iter().filter_map(|at| Some((self.spans.remove(&at)?, at)));
        taken.map(|(span, (entity, _))| (entity, span)).collect()
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
        }
        read
    }
}

impl Span {
    /// What waits for its own alert alone is written as it was before others could be.
    fn encode(&self, key: &Arc<str>) -> Vec<u8> {
        let mut out = Writer::default();
        out.signed(self.until_s);
        if self.causes != [Arc::clone(key)] {
            out.number(self.causes.len() as u64);
            for cause in &self.causes {
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
            return Some(Self { until_s, profile, causes: vec![Arc::clone(key)] });
        }
        let mut causes = Vec::new();
        for _ in 0..from.up_to(MOST_CAUSES as u64)? {
            let len = usize::try_from(from.number()?).ok()?;
            let (cause, rest) = from.0.split_at_checked(len)?;
            causes.push(std::str::from_utf8(cause).ok()?.into());
            from = Reader(rest);
        }
        Some(Self { until_s, profile: Profile::decode(from.0)?, causes })
    }
}

//! What entities did while they were alerting, kept apart until somebody has judged.
//!
//! A span is a profile of its own: judged false or expected it is merged into the
//! entity's, judged true it is dropped. Without a verdict it is dropped after some
//! days (the caller's). Bounded: [`MOST`] spans; at the bound the one that ended
//! first is dropped, which means that it is never learned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::profile::Profile;
use super::wire::{Reader, Writer};

/// Spans that wait: 4 MB.
const MOST: usize = 1_024;
/// A quiet time that ends a span: what comes after it is another alert's.
const PAUSE_S: i64 = 3_600;

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
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The span that this second of the entity belongs to.
    pub(super) fn span(&mut self, key: &Arc<str>, at_s: i64) -> Option<&mut Profile> {
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
            Span { until_s: at_s, profile }
        });
        span.until_s = span.until_s.max(at_s);
        Some(&mut span.profile)
    }

    /// Takes out the spans of an entity that touch this time.
    pub(super) fn take(&mut self, key: &Arc<str>, from_s: i64, until_s: i64) -> Vec<Span> {
        let of_entity = (Arc::clone(key), i64::MIN)..=(Arc::clone(key), until_s);
        let touched: Vec<SpanKey> = self
            .spans
            .range(of_entity)
            .filter(|(_, span)| span.until_s >= from_s)
            .map(|(at, _)| at.clone())
            .collect();
        self.changed.extend(touched.iter().cloned());
        touched.iter().filter_map(|at| self.spans.remove(at)).collect()
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
        let bytes = |at: &SpanKey| self.spans.get(at).map(Span::encode);
        self.changed.iter().map(|at| (Arc::clone(&at.0), at.1, bytes(at))).collect()
    }

    pub(super) fn written(&mut self) {
        self.changed.clear();
    }

    /// One of the file's; false where it can't be read.
    pub(super) fn load(&mut self, key: String, from_s: i64, bytes: &[u8]) -> bool {
        let span = Span::decode(bytes);
        let read = span.is_some();
        if let Some(span) = span
            && self.spans.len() < MOST
        {
            self.spans.insert((key.into(), from_s), span);
        }
        read
    }
}

impl Span {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.signed(self.until_s);
        out.0.extend(self.profile.encode());
        out.0
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let until_s = from.signed()?;
        Some(Self { until_s, profile: Profile::decode(from.0)? })
    }
}

//! What analysts' verdicts do to what waited for them, and to what an alert brings later.

use std::sync::Arc;

use super::Baselines;
use crate::baseline::calendar::day;
use crate::baseline::fleet::is_place;
use crate::baseline::inbox::Word;
use crate::baseline::pending::{Settled, Span};

/// What became of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Judged {
    /// Of the entity itself.
    pub spans: usize,
    pub minutes: u64,
    /// Minutes of others that waited because of it.
    pub others: u64,
    /// Spans, its own or others', that wait for a verdict on another alert as well.
    pub waiting: usize,
    pub learned: bool,
}

impl Judged {
    /// Together with what became of a later verdict of the same sense, which knows what still
    /// waits.
    pub fn and(self, later: Self) -> Self {
        Self {
            spans: self.spans + later.spans,
            minutes: self.minutes.saturating_add(later.minutes),
            others: self.others.saturating_add(later.others),
            ..later
        }
    }
}

impl Baselines {
    /// Takes up the verdicts that wait beside the file.
    pub(super) fn take_verdicts(&mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        let taken = inbox.take(|taken| {
            for word in &taken.words {
                self.judge(word);
                // The alert may go on, and the minute that it is in is not over.
                if let Some(alert) = &word.alert {
                    self.standing.say(alert, word.verdict, word.at_s);
                }
            }
            self.counters.verdicts_taken += taken.words.len() as u64;
            if taken.bad > 0 {
                self.notes
                    .push(format!("{} lines beside the baselines are no verdicts", taken.bad));
            }
            self.flush()
        });
        if let Err(error) = taken {
            // Said once: it would be said each second.
            self.notes.push(format!("verdicts beside the baselines can't be read: {error}"));
            return;
        }
        self.inbox = Some(inbox);
    }

    /// What an analyst says of an alert of this entity and time: its minutes, and those of
    /// others that waited because of it alone, are learned, or dropped for good.
    pub fn judge(&mut self, word: &Word) -> Judged {
        let Word { alert, from_s, until_s, verdict, at_s, .. } = word;
        let key = &Arc::from(word.key.as_str());
        let Settled { spans, waiting } =
            self.pending.judge(key, alert.as_deref(), (*from_s, *until_s), verdict.is_learned());
        let own = || spans.iter().filter(|(entity, _)| entity == key).map(|(_, span)| span);
        let minutes = own().map(|span| span.profile.minutes()).sum();
        let all: u64 = spans.iter().map(|(_, span)| span.profile.minutes()).sum();
        let (spans_of_it, others, learned) = (own().count(), all - minutes, verdict.is_learned());
        let told = Judged { spans: spans_of_it, minutes, others, waiting, learned };
        let last_s = own().map(|span| span.until_s).max().unwrap_or(*from_s);
        // Alerts are of prefixes and stations as well, which nothing is learned of.
        if (self.slots.contains_key(key) || told.spans > 0)
            && let Some(profile) = self.profile_mut(key, last_s)
        {
            profile.remember(day(*at_s), *verdict);
        }
        if verdict.is_learned() {
            spans.iter().for_each(|(entity, span)| self.take_span(entity, span));
        }
        told
    }

    /// Learns what waited.
    fn take_span(&mut self, key: &Arc<str>, span: &Span) {
        let Some(profile) = self.profile_mut(key, span.until_s) else {
            self.counters.refused += 1;
            return;
        };
        let before = profile.clone();
        profile.merge(&span.profile);
        let after = profile.clone();
        if is_place(key) {
            self.fleet.became(&before, &after);
        }
    }
}

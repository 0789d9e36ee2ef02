//! What an analyst says of an alert, and what that does to what was learned.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::frozen::{Cause, MOST_CAUSES};

/// Verdicts on alerts that go on; of more the one that was said first is forgotten. Far
/// more than anybody marks while they are open.
const MOST_STANDING: usize = 1_024;
/// An alert's id has 16 digits; what is longer is none.
const LONGEST_ID: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was what the alert says: nothing of it is normal.
    True,
    /// It was not: its minutes are learned.
    False,
    /// It was, and is as it should be: its minutes are learned.
    Expected,
}

impl Verdict {
    pub fn is_learned(self) -> bool {
        self != Self::True
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::True => 0,
            Self::False => 1,
            Self::Expected => 2,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        [Self::True, Self::False, Self::Expected].into_iter().find(|verdict| verdict.code() == code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    pub(super) day: i64,
    pub(super) verdict: Verdict,
}

/// What was said of alerts that may go on: what they bring from then on is settled by it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// By the alert's id, with when it was said.
    said: BTreeMap<String, (Verdict, i64)>,
}

/// What becomes of a minute.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is learned.
    Nothing,
    /// It waits for a verdict on these alerts.
    Until(Vec<Cause>),
    /// It is dropped: the verdict was that it is an attack.
    ForGood,
}

impl Standing {
    pub(super) fn say(&mut self, alert: &str, verdict: Verdict, at_s: i64) {
        if alert.len() > LONGEST_ID {
            return;
        }
        if self.said.len() >= MOST_STANDING && !self.said.contains_key(alert) {
            let first = self.said.iter().min_by_key(|(_, (_, at_s))| *at_s);
            if let Some(first) = first.map(|(alert, _)| alert.clone()) {
                self.said.remove(&first);
            }
        }
        self.said.insert(alert.to_owned(), (verdict, at_s));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Forgets what was said of alerts other than these.
    pub(super) fn keep(&mut self, alerts: &BTreeSet<&str>) {
        self.said.retain(|alert, _| alerts.contains(alert.as_str()));
    }

    /// What becomes of a minute that these alerts would have wait.
    pub(super) fn settle(&self, causes: Vec<Cause>) -> Hold {
        let said = |cause: &Cause| {
            let (verdict, _) = self.said.get(cause.alert.as_deref()?)?;
            Some(*verdict)
        };
        if causes.iter().any(|cause| said(cause) == Some(Verdict::True)) {
            return Hold::ForGood;
        }
        let mut waits = causes;
        waits.retain(|cause| said(cause).is_none());
        waits.sort_unstable();
        waits.dedup();
        waits.truncate(MOST_CAUSES);
        if waits.is_empty() { Hold::Nothing } else { Hold::Until(waits) }
    }
}

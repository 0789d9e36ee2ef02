//! What an analyst says of an alert, and what that does to what was learned.

use serde::{Deserialize, Serialize};

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

//! In what range the figures of a scenario make sense.
//!
//! They are looked at as a file or the command line has them, so that what is wrong is named
//! with what is allowed. Start at [`check`].

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use crate::alert::thousands;

/// A year: what [`super::World`] can be long.
const MOST_S: f64 = 366.0 * 86_400.0;
/// Behaviours begin a conversation each microsecond at most.
const MOST_A_SECOND: f64 = 1e6;
/// A terabyte: over what a capture of a year of anything here comes to.
const MOST_BYTES: f64 = 1e12;
/// A terabit a second, over any link that there is.
const MOST_MBPS: f64 = 1e6;
/// A minute: longer than any path, and than what waits for an answer.
const MOST_RTT_MS: f64 = 60_000.0;
/// Talks that a behaviour begins at once, each of them in memory.
const MOST_CONNECTIONS: f64 = 1e5;
/// What a conversation of requests is cut to.
const MOST_TURNS: f64 = 1e3;

#[derive(Clone, Copy)]
enum Range {
    /// Over 0, up to this.
    Over0(f64),
    From0(f64),
    From1(f64),
}
use Range::{From0, From1, Over0};

const OF_SCENARIO: &[(&str, Range)] = &[("duration_s", Over0(MOST_S))];
const OF_LEARNING: &[(&str, Range)] = &[("days", From0(366.0)), ("duration_s", Over0(MOST_S))];
const OF_BEHAVIOUR: &[(&str, Range)] = &[
    ("start_s", From0(MOST_S)),
    ("duration_s", Over0(MOST_S)),
    ("gap_s", Over0(MOST_S)),
    ("jitter_share", From0(1.0)),
    ("rate_per_s", Over0(MOST_A_SECOND)),
    ("payload_bytes", From0(MOST_BYTES)),
    ("payload_spread_share", From0(1.0)),
    ("up_bytes", From0(MOST_BYTES)),
    ("down_bytes", From0(MOST_BYTES)),
    ("rate_mbps", Over0(MOST_MBPS)),
    ("turns", From1(MOST_TURNS)),
    ("connections", From1(MOST_CONNECTIONS)),
    ("answered_share", From0(1.0)),
    ("rtt_ms", From0(MOST_RTT_MS)),
];

/// Refuses what is no number, or one that nothing can be made of.
pub(super) fn check(scenario: &Map<String, Value>) -> Result<()> {
    each(scenario, OF_SCENARIO, "")?;
    if let Some(learn) = scenario.get("learn").and_then(Value::as_object) {
        each(learn, OF_LEARNING, "learn: ")?;
    }
    let behaviours = scenario.get("behaviour").and_then(Value::as_array);
    for (at, behaviour) in behaviours.into_iter().flatten().enumerate() {
        let Some(behaviour) = behaviour.as_object() else { continue };
        let label = behaviour.get("label").and_then(Value::as_str).unwrap_or_default();
        each(behaviour, OF_BEHAVIOUR, &format!("behaviour {} ({label}): ", at + 1))?;
    }
    Ok(())
}

fn each(table: &Map<String, Value>, ranges: &[(&str, Range)], place: &str) -> Result<()> {
    for (name, range) in ranges {
        let Some(value) = table.get(*name) else { continue };
        if !value.as_f64().is_some_and(|value| range.has(value)) {
            bail!("{place}{name} is {value}: must be {}", range.text());
        }
    }
    Ok(())
}

impl Range {
    fn has(self, value: f64) -> bool {
        match self {
            Over0(most) => value > 0.0 && value <= most,
            From0(most) => (0.0..=most).contains(&value),
            From1(most) => (1.0..=most).contains(&value),
        }
    }

    fn text(self) -> String {
        // Bounds are whole.
        let whole = |most: f64| thousands(most as u64);
        match self {
            Over0(most) => format!("a number over 0, at most {}", whole(most)),
            From0(most) => format!("a number from 0 to {}", whole(most)),
            From1(most) => format!("a whole number from 1 to {}", whole(most)),
        }
    }
}

//! What several analytics say in the same words: the baseline that an entity was held
//! against, amounts with their units, and what a source of minutes lacks.

use serde_json::json;

use super::AnalyticContext;
use crate::alert::{Case, bits, thousands};
use crate::baseline::{Basis, Normal};
use crate::entity::Minute;

/// Fills in what the entity's baseline says of a measure, or why there is none; the
/// terms of confidence and what is missing with it.
pub(super) fn hold(
    case: &mut Case,
    ctx: &AnalyticContext<'_>,
    key: &str,
    measures: &[(&'static str, Option<Normal>)],
) {
    case.baseline_days = ctx.baselines.profile(key).map_or(0.0, |profile| profile.days());
    case.baseline_mature = ctx.baselines.is_mature(key);
    let known: Vec<_> =
        measures.iter().filter_map(|&(name, normal)| Some((name, normal?))).collect();
    case.baseline = match (ctx.inputs.baseline, known.is_empty()) {
        (false, true) => "none: no baseline was given".to_owned(),
        (true, true) => "none: too little is known of this entity".to_owned(),
        (_, false) => known
            .iter()
            .map(|(name, normal)| {
                format!(
                    "{name} {}: median {:.0}, 99th percentile {:.0}, of {} minutes",
                    basis(normal.basis),
                    normal.median,
                    normal.q99,
                    thousands(normal.minutes)
                )
            })
            .collect::<Vec<_>>()
            .join("; "),
    };
    if !known.is_empty() {
        case.baseline_values =
            known.iter().map(|(name, normal)| ((*name).to_owned(), json!(normal))).collect();
    }
    if known.is_empty() {
        case.missing.push("baseline");
    } else if case.baseline_mature {
        case.confident("mature_baseline", 0.2);
    } else {
        case.missing.push("mature_baseline");
    }
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::HourOfWeek => "at this hour of the week",
        Basis::HourOfDay => "at this hour of the day",
        Basis::All => "at any time",
    }
}

/// What a minute's source can't tell.
pub(super) fn lacks(case: &mut Case, minute: &Minute) {
    let Some(facts) = &minute.reported else { return };
    case.missing.push("packets");
    if minute.length_s > 60 {
        case.missing.push("aggregation_interval");
    }
    if facts.sampled_1_of > 1 {
        case.missing.push("sampled_packets");
        case.confident("sampled", -0.1);
    }
    if facts.skipped {
        case.missing.push("skipped_records");
        case.confident("records_skipped", -0.1);
    }
    if facts.unordered {
        case.missing.push("unordered_records");
        case.confident("records_left_out", -0.1);
    }
    if facts.one_sided {
        case.missing.push("one_sided_reports");
        case.confident("answers_not_seen", -0.1);
    }
}

/// `1.2 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", value / 1e9),
        1_000_000.. => format!("{:.1} MB", value / 1e6),
        1_000.. => format!("{:.1} kB", value / 1e3),
        _ => format!("{bytes} B"),
    }
}

/// A sum of some seconds as bits a second.
pub(super) fn rate(bytes: u64, seconds: i64) -> String {
    bits(bytes.saturating_mul(8) / seconds.max(1) as u64)
}

/// A length as people say it.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        60 => "a minute".to_owned(),
        3_600 => "an hour".to_owned(),
        s if s % 3_600 == 0 => format!("{} hours", s / 3_600),
        s if s % 60 == 0 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
}

//! A chain as a finding: score, severity and why, confidence, timeline.

use super::links::{Links, weight};
use super::stage::{Place, Sign, Stage};
use super::{AnalyticContext, about};
use crate::alert::{DecidedBy, Moment, Score, Severity, Term};
use crate::detect::{Finding, Peer, PeerRole, Rule};
use crate::engine::window::Host;

const SECOND_NS: i64 = 1_000_000_000;

/// A log that came later than that says so.
const LATE_S: i64 = 60;

const RULE: &str = "stages in order on one workload, each within time_window_s of the one before: \
     30 points for the request, 40 for the foothold, 30 for the egress, each times its strength; \
     three stages are high, two low, one informational, as are those that together are below the \
     threshold";

/// Terms' names, in the order of stages.
const TERMS: [&str; 3] = ["exploit_or_errors", "shell_or_metadata", "new_destination"];

/// What is told.
pub(super) struct Story<'a> {
    pub links: &'a Links<'a>,
    /// What happened beside.
    pub more: Vec<&'a Sign>,
    pub case: &'a Place,
    pub second: i64,
    /// How late logs may come.
    pub lateness_s: i64,
}

/// One for each stage that was seen.
pub(super) fn terms(stages: &[Option<&Sign>; 3]) -> Vec<Term> {
    let seen = stages.iter().zip(TERMS).enumerate();
    seen.filter_map(|(stage, (sign, name))| {
        Some(Term::new(name, (*sign)?.strength, 0.0, 1.0, weight(stage)))
    })
    .collect()
}

/// Nothing where nobody knows whose it is.
pub(super) fn finding(story: &Story<'_>, ctx: &AnalyticContext<'_>) -> Option<Finding> {
    let Story { links, more, case: place, second, lateness_s } = story;
    let threshold = ctx.settings.chain_score;
    let signs: Vec<&Sign> = links.stages.iter().flatten().copied().collect();
    let mut who = place.who()?;
    let foothold = links.stages.iter().flatten().find(|sign| sign.stage == Stage::Foothold);
    let acting = foothold.or_else(|| signs.iter().find(|sign| sign.stage == Stage::Egress));
    who.process = acting.and_then(|sign| sign.place.process.clone());
    let first_ns = signs.iter().map(|sign| sign.time_ns).min()?;
    let last_ns = signs.iter().map(|sign| sign.time_ns).max()?;
    let score = Score::of(terms(&links.stages), threshold);
    let rule = Rule {
        name: "chain",
        threshold: libm::round(threshold) as u64,
        unit: "points",
        formula: RULE,
    };
    let start_s = first_ns.div_euclid(SECOND_NS);
    let mut finding = about("chain", &who, (start_s, *second), rule, score, ctx.seed);
    finding.kind = "chain";
    finding.measured = libm::round(links.score) as u64;
    finding.peers = signs.iter().filter_map(|sign| peer(sign)).collect();
    let case = finding.case.as_mut()?;
    let counted = links.counted();
    let whole = links.is_whole(threshold);
    let (severity, reason) = match (whole, counted >= 2 && links.score >= threshold) {
        (true, _) => (Severity::High, "All three stages of the chain, in order on one workload."),
        (false, true) => (Severity::Low, "Two stages of the chain, in order on one workload."),
        (false, false) if counted >= 2 => (
            Severity::Informational,
            "Stages that together are below the threshold of a chain: no more than one alone.",
        ),
        (false, false) if signs.len() > 1 => (
            Severity::Informational,
            "One stage, which others cause as well: what else was seen is too weak to be another.",
        ),
        _ => (Severity::Informational, "One stage alone, which others cause as well."),
    };
    case.severity = severity;
    case.severity_reason = reason.to_owned();
    case.decided_by = DecidedBy::Pattern;
    case.analytics = vec!["AN0223"];
    let window_s = i64::try_from(ctx.settings.time_window_s).unwrap_or(i64::MAX);
    case.quiet_s = window_s.saturating_add(*lateness_s);
    let baselines = place.baselines();
    let known = baselines.iter().find_map(|key| Some((key, ctx.baselines.profile(key)?)));
    match known {
        Some((key, profile)) => {
            case.baseline_days = profile.days();
            case.baseline_mature = ctx.baselines.is_mature(key);
            case.baseline =
                format!("destinations of {key} over {:.1} days of history", profile.days());
        }
        None => case.missing.push("baseline"),
    }
    case.baseline_key = baselines.into_iter().next();
    // Whoever took part, and as whom the network sees the place.
    let parts = signs.iter().filter_map(|sign| sign.place.process_baseline());
    case.same_traffic = parts.chain(place.seen_as()).collect();
    case.same_traffic.sort_unstable();
    case.same_traffic.dedup();
    confide(case, links);
    gaps(case, story, ctx);
    let mut moments: Vec<&Sign> = signs.iter().chain(more).copied().collect();
    moments.sort_by_key(|sign| (sign.time_ns, sign.stage));
    case.timeline = moments
        .into_iter()
        .map(|sign| Moment {
            time_ns: sign.time_ns,
            what: sign.what.to_owned(),
            text: sign.text.clone(),
            source: sign.source.to_string(),
        })
        .collect();
    let told: Vec<&str> = signs.iter().map(|sign| sign.text.as_str()).collect();
    let seconds = last_ns.saturating_sub(first_ns) / SECOND_NS;
    let stages = match (severity, counted, signs.len()) {
        (Severity::Informational, 2.., _) => "Stages of a chain that are below the threshold",
        (Severity::Informational, _, 2..) => "One stage of a chain and weaker signs of others",
        (_, _, 1) => "One stage of a chain",
        (_, _, 2) => "Two stages of a chain",
        _ => "Three stages of a chain",
    };
    case.summary = format!(
        "{stages} at {} within {seconds} s, {:.0} points of 100 (threshold {threshold:.0}): {}.",
        finding.entity.id,
        links.score,
        told.join("; then "),
    );
    Some(finding)
}

fn peer(sign: &Sign) -> Option<Peer> {
    let role = match sign.stage {
        Stage::Request => PeerRole::Source,
        _ => PeerRole::Destination,
    };
    Some(Peer { host: Host::from(sign.peer?), role, packets: None, wire_bytes: None })
}

fn confide(case: &mut crate::alert::Case, links: &Links<'_>) {
    let [request, foothold, egress] = links.stages;
    case.confident("start", 0.4);
    if request.is_some_and(|sign| sign.strength >= 0.9) {
        case.confident("target_answered", 0.1);
    }
    if foothold.is_some_and(|sign| sign.strength >= 0.9) {
        case.confident("foothold_is_new", 0.1);
    }
    if egress.is_some_and(|sign| sign.by_baseline) {
        case.confident("destination_new_by_baseline", 0.1);
    }
    if links.stages.iter().flatten().all(|sign| sign.place.process.is_some()) {
        case.confident("processes_known", 0.1);
    }
    if links.counted() == 3 {
        case.confident("all_stages", 0.1);
    }
}

/// What was not seen, or not for sure.
fn gaps(case: &mut crate::alert::Case, story: &Story<'_>, ctx: &AnalyticContext<'_>) {
    let Story { links, case: place, second, .. } = story;
    let mut missing: Vec<&'static str> =
        links.stages.iter().flatten().flat_map(|sign| sign.missing.iter().copied()).collect();
    if !ctx.inputs.host_map && place.host.is_none() && place.workload.is_none() {
        missing.push("process_map");
    }
    if links.stages[0].is_none() && !ctx.inputs.request_logs {
        missing.push("request_logs");
    }
    // An address may have been another's a minute before.
    let by_address = |sign: &&Sign| {
        let place = &sign.place;
        place.host.is_none() && place.workload.is_none() && place.instance.is_none()
    };
    if links.stages.iter().flatten().any(by_address) {
        missing.push("address_reuse");
    }
    let is_late = |sign: &&Sign| second - sign.time_ns.div_euclid(SECOND_NS) > LATE_S;
    if links.stages[0].as_ref().is_some_and(is_late) {
        missing.push("late_log");
    }
    missing.sort_unstable();
    missing.dedup();
    for &gap in &missing {
        // Late is not doubtful.
        if gap != "late_log" {
            case.confident(gap, -0.1);
        }
    }
    case.missing.extend(missing);
}

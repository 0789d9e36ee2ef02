//! AN0031: payload sizes that are not the entity's own.
//!
//! Method: the minute's histogram of sizes of packets with payload against the learned
//! one, by Jensen-Shannon divergence; over max(`payload_shift_threshold`, the 99.5 %
//! quantile of the entity's own last 200 divergences + 3 times their median deviation)
//! (METHODS 7, "Calibration"; Slips has the same idea), with `payload_shift_packets` at
//! least. The earth mover's distance says by how many doublings sizes moved. A shift
//! alone is no alert: one more sign must speak (see `signs`), and a program that is known
//! to talk needs more of them.
//!
//! Limits: bins of windows are octaves, so a shift inside an octave is not seen; TCP
//! segments show the path's MSS rather than messages. Memory: [`KEPT`] entities with 200
//! divergences each, 4 MB; those that were quiet for a day go first, others are refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::distance::{emd_bits, jsd, with_payload};
use super::signs::{Signs, is_of_processes, is_whitelisted, sent_to, subject};
use super::{Analytic, AnalyticContext, Event, about, measured_in};
use crate::alert::{DecidedBy, Score, Term, thousands};
use crate::detect::{Finding, Rule, round3};
use crate::entity::Minute;

const NAME: &str = "payload_shift";
const KEPT: usize = 4_096;
const WINDOWS: usize = 200;
/// Divergences before which their quantile says nothing.
const CALIBRATED: usize = 30;
/// Minutes of history before which there is no shape to shift from.
const LEAST_MINUTES: u64 = 30;
const DAY_S: i64 = 86_400;
const THRESHOLD: f64 = 60.0;

#[derive(Default)]
pub(super) struct PayloadShift {
    history: BTreeMap<Arc<str>, History>,
    refused: u64,
}

#[derive(Default)]
struct History {
    last_s: i64,
    divergences: VecDeque<f32>,
}

impl History {
    /// What the entity's own minutes rarely reach, once there are enough of them.
    fn usual(&self) -> Option<f64> {
        if self.divergences.len() < CALIBRATED {
            return None;
        }
        let mut sorted: Vec<f64> = self.divergences.iter().map(|&d| f64::from(d)).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |sorted: &[f64], per_mille: usize| {
            sorted.get((sorted.len() - 1) * per_mille / 1_000).copied().unwrap_or(0.0)
        };
        let median = at(&sorted, 500);
        let mut off: Vec<f64> = sorted.iter().map(|d| (d - median).abs()).collect();
        off.sort_by(f64::total_cmp);
        Some(at(&sorted, 995) + 3.0 * at(&off, 500))
    }
}

impl Analytic for PayloadShift {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        if let Event::Minute(minute) = event {
            out.extend(self.minute(minute, ctx));
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl PayloadShift {
    fn minute(&mut self, minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let sizes = &minute.measures.sent.sizes;
        let packets = with_payload(sizes);
        if packets < ctx.settings.payload_shift_packets
            || is_whitelisted(minute, ctx)
            || is_of_processes(minute)
        {
            return None;
        }
        let profile = ctx.baselines.profile(&minute.who.baseline)?;
        let learned = profile.sizes();
        let learned_packets = with_payload(learned);
        if profile.minutes() < LEAST_MINUTES
            || learned_packets < 5 * ctx.settings.payload_shift_packets
        {
            return None;
        }
        let divergence = jsd(learned, sizes);
        let history = self.history_of(minute)?;
        let usual = history.usual();
        let threshold = ctx.settings.payload_shift_threshold.max(usual.unwrap_or(0.0));
        if divergence <= threshold {
            history.divergences.push_back(divergence as f32);
            if history.divergences.len() > WINDOWS {
                history.divergences.pop_front();
            }
            return None;
        }
        let moved = emd_bits(learned, sizes);
        let signs = Signs::of(minute, None, ctx);
        let weight = if signs.expected() { 25.0 } else { 40.0 };
        let mut terms = vec![
            Term::new("divergence", divergence, threshold, (3.0 * threshold).min(1.0), weight),
            Term::new("doublings_moved", moved, 0.5, 2.0, 15.0),
        ];
        terms.extend(signs.terms(ctx));
        let score = Score::of(terms, THRESHOLD);
        let enough = score.alerts() && Signs::supported(&score, &["divergence", "doublings_moved"]);
        if !ctx.decide(NAME, &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "payload_shift_threshold",
            threshold: (threshold * 1_000.0) as u64,
            unit: "thousandths of a bit",
            formula: "Jensen-Shannon divergence between the minute's payload sizes and the learned ones",
        };
        let (severity, severity_reason) = signs.severity(&score);
        let span = (minute.start_s, minute.start_s + minute.length_s - 1);
        let mut finding = about(NAME, &minute.who, span, rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        finding.measured = (divergence * 1_000.0) as u64;
        finding.kind = "payload_sizes";
        signs.fill(&mut finding, minute, ctx);
        finding.details.insert("packets_with_payload", json!(packets));
        let case = finding.case.as_mut()?;
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.decided_by = DecidedBy::Baseline;
        let calibrated = match usual {
            Some(usual) => format!("its own minutes rarely diverge by more than {usual:.3}"),
            None => "too few of its own minutes to say what they usually diverge by".to_owned(),
        };
        case.baseline = format!(
            "sizes of {} packets in {} minutes; {calibrated}",
            thousands(learned_packets),
            thousands(profile.minutes())
        );
        case.baseline_values = json!({
            "sizes": learned, "usual_divergence": usual.map(round3), "packets": learned_packets,
        });
        if usual.is_none() {
            case.confident("threshold_not_calibrated", -0.1);
        }
        case.summary = format!(
            "{} sent {} in a minute, in sizes that are not its own: divergence {divergence:.2} of at \
             most 1 (threshold {threshold:.2}), moved by {moved:.1} doublings.",
            subject(minute),
            sent_to(minute),
        );
        Some(finding)
    }

    fn history_of(&mut self, minute: &Minute) -> Option<&mut History> {
        let key = &minute.who.baseline;
        if !self.history.contains_key(key) && self.history.len() >= KEPT {
            let from = minute.start_s - DAY_S;
            self.history.retain(|_, history| history.last_s >= from);
            if self.history.len() >= KEPT {
                self.refused += 1;
                return None;
            }
        }
        let history = self.history.entry(Arc::clone(key)).or_default();
        history.last_s = minute.start_s;
        Some(history)
    }
}

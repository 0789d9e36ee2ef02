//! What an alert of unusual egress says: details, severity, summary.

use serde_json::json;

use super::{Over, Seen};
use crate::alert::{Case, DecidedBy, Severity, thousands};
use crate::detect::analytic::AnalyticContext;
use crate::detect::analytic::held::{self, hold};
use crate::detect::{Finding, round3};

impl Seen<'_> {
    pub(super) fn detail(&self, finding: &mut Finding, over: &Over) {
        let measures = &self.minute.measures;
        let details = &mut finding.details;
        details.insert("source", json!(&*self.minute.source));
        details.insert("interval_s", json!(self.minute.length_s));
        details.insert("concentrated_by", json!(self.place.by));
        details.insert("top_share", json!(round3(self.place.share)));
        details.insert("stateless_share", json!(round3(self.stateless_share)));
        details.insert("bytes_back_by_bytes_out", json!(round3(self.bytes_back)));
        let each = measures.sent.wire_bytes / measures.sent.packets.max(1);
        details.insert("bytes_per_packet", json!(each));
        details.insert("flows", json!(measures.flows.estimate()));
        if let Some(sigmas) = over.sigmas {
            details.insert("sigmas_above", json!(round3(sigmas)));
        }
        if let Some(new) = self.new_destination {
            details.insert("new_destination", json!(new));
        }
        if let Some(facts) = &self.minute.reported {
            details.insert("rejected_flows", json!(facts.rejected_flows));
            details.insert("rejected_bytes", json!(facts.rejected_bytes));
            details.insert("sampled_1_of", json!(facts.sampled_1_of));
        }
    }

    pub(super) fn fill(&self, case: &mut Case, over: &Over, run: u64, ctx: &AnalyticContext<'_>) {
        let who = &self.minute.who;
        case.decided_by = over.decided_by;
        case.quiet_s = 180.max(self.minute.length_s.saturating_mul(3));
        case.analytics.push("AN0972");
        case.possible_analytics.extend(["AN0971", "AN0083"]);
        case.confident("unusual_and_concentrated", 0.4);
        for (name, holds) in [
            ("twice_the_threshold", over.times() >= 2.0),
            ("unanswered", self.is_one_way(ctx)),
            ("second_minute_in_a_row", run >= 2),
        ] {
            if holds {
                case.confident(name, 0.1);
            }
        }
        let [bytes, packets] = self.normal;
        hold(case, ctx, &who.baseline, &[("egress_bytes", bytes), ("egress_packets", packets)]);
        held::lacks(case, self.minute);
        if !ctx.inputs.host_map {
            case.missing.push("process_map");
        }
        if who.instance.is_none() && !ctx.inputs.inventory {
            case.missing.push("inventory");
        }
        let shared = who.instance.as_ref().is_some_and(|instance| instance.shared_egress);
        if shared {
            case.missing.push("shared_egress");
            case.confident("shared_egress", -0.2);
        }
        self.grade(case, over, shared, ctx);
        case.summary = self.summary(case, over, shared);
    }

    fn grade(&self, case: &mut Case, over: &Over, shared: bool, ctx: &AnalyticContext<'_>) {
        const STEPS: [Severity; 4] =
            [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        let signs = [
            ("over a stateless protocol", self.stateless),
            ("unanswered", self.is_one_way(ctx)),
            ("ten times the threshold", over.times() >= 10.0),
        ];
        let held: Vec<&str> =
            signs.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect();
        let unexplained = self.is_one_way(ctx) || (self.answers.is_none() && self.stateless);
        let calm = if self.place.group {
            Some("it goes to a group, which never answers")
        } else if self.is_symmetric() {
            Some("as much comes back as goes out, as in a call")
        } else if !case.baseline_mature && !unexplained {
            Some("it is answered, and no mature baseline says that it is unusual here")
        } else {
            None
        };
        (case.severity, case.severity_reason) = match calm {
            Some(reason) => (Severity::Informational, format!("Informational: {reason}.")),
            None => {
                let severity = STEPS[held.len().min(STEPS.len() - 1)];
                let steps = if held.is_empty() {
                    String::new()
                } else {
                    format!(", a step up each for: {}", held.join(", "))
                };
                (severity, format!("Low for unusual and concentrated egress{steps}."))
            }
        };
        if shared {
            case.severity_reason.push_str(" Others' traffic leaves by this address.");
        }
    }

    fn summary(&self, case: &Case, over: &Over, shared: bool) -> String {
        let minute = self.minute;
        let sent = &minute.measures.sent;
        let answered = match self.answers {
            None => "answers not seen".to_owned(),
            Some(ratio) if ratio > 0.0 => format!("answer ratio {}", round3(ratio)),
            Some(_) => "unanswered".to_owned(),
        };
        let stateless = if self.stateless { ", stateless" } else { "" };
        let seconds = minute.length_s.max(1) as u64;
        let held = match over.decided_by {
            DecidedBy::Baseline => format!(
                "normal allows {} {} a minute",
                thousands(over.threshold as u64),
                over.metric
            ),
            _ => format!(
                "no baseline: from {} {} a minute on",
                thousands(over.threshold as u64),
                over.metric
            ),
        };
        let by = if shared { " (shared egress: it may be another's)" } else { "" };
        format!(
            "{}{by} sent {} in {} ({}, {} packets/s), {:.0} % of it to {}{stateless}, {answered}; \
             {held}; confidence {}.",
            minute.who.entity.id,
            held::bytes(sent.wire_bytes),
            held::span(minute.length_s),
            held::rate(sent.wire_bytes, minute.length_s),
            thousands(sent.packets / seconds),
            self.place.share * 100.0,
            self.place.name,
            case.confidence(),
        )
    }
}

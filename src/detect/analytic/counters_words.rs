//! The finding of counters whose increase has lasted.

use std::sync::Arc;

use serde_json::json;

use super::{ALERTS_FROM, FORMULA, IDLE, RELAYS, Window, service_of, who};
use crate::alert::{Case, DecidedBy, EntityKind, Score, Severity, Term};
use crate::baseline::Normal;
use crate::detect::analytic::{AnalyticContext, about, held};
use crate::detect::{Finding, Rule, round3};
use crate::entity::Who;
use crate::telemetry::sample::Subject;

/// A window of an increase that has lasted.
pub(super) struct Increase<'a> {
    pub(super) window: &'a Window,
    pub(super) from_s: i64,
    pub(super) over_s: i64,
    pub(super) value: f64,
    pub(super) threshold: f64,
    pub(super) normal: Normal,
    /// The normal is the baseline's, not this run's.
    pub(super) learned: bool,
    /// Seconds since a container of the service came.
    pub(super) deployed: Option<i64>,
}

impl Increase<'_> {
    pub(super) fn finding(
        &self,
        source: &Arc<str>,
        subject: &Subject,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let (sent, received) = (self.window.sent as f64, self.window.received as f64);
        let symmetry = 1.0 - (sent - received).abs() / (sent + received).max(1.0);
        let idle = self.normal.median <= self.value * IDLE;
        let lasting = ctx.settings.counter_increase_s as f64;
        let score = Score::of(
            vec![
                Term::doubling(
                    "times_threshold",
                    self.value / self.threshold.max(1.0),
                    0.5,
                    16.0,
                    40.0,
                ),
                Term::new("lasts_s", self.over_s as f64, lasting / 2.0, lasting * 3.0, 20.0),
                Term::new("idle_before", f64::from(u8::from(idle)), 0.0, 1.0, 20.0),
                Term::new("symmetry", symmetry, 0.5, 0.95, 20.0),
            ],
            ALERTS_FROM,
        );
        let enough = score.alerts() && score.dimensions() >= 2;
        if !enough && !ctx.is_asked() {
            return None;
        }
        let rule = Rule {
            name: "container_baseline_network_usage",
            threshold: self.threshold as u64,
            unit: "bytes/minute",
            formula: FORMULA,
        };
        let who = who(subject);
        let span = (self.from_s, self.window.end_s.saturating_sub(1));
        if !ctx.decide("counter_increase", &who, span.0, &score, enough) {
            return None;
        }
        let mut finding = about("counter_increase", &who, span, rule, score, ctx.seed);
        finding.kind = "counters";
        finding.measured = self.value as u64;
        finding.minute_bytes = Some(self.value as u64);
        finding.traffic.wire_bytes = self.window.sent;
        finding.details.extend([
            ("source", json!(&**source)),
            ("service", json!(service_of(subject))),
            ("interface", json!(&*subject.interface)),
            ("interval_s", json!(self.window.end_s - self.window.start_s)),
            ("lasts_s", json!(self.over_s)),
            ("sent_bytes", json!(self.window.sent)),
            ("received_bytes", json!(self.window.received)),
            ("symmetry", json!(round3(symmetry))),
            ("idle_before", json!(idle)),
            ("newest_container_s_ago", json!(self.deployed)),
        ]);
        if let Some(case) = &mut finding.case {
            let relays = symmetry >= RELAYS;
            self.fill(case, &who, subject, (idle, relays), ctx);
        }
        Some(finding)
    }

    fn fill(
        &self,
        case: &mut Case,
        who: &Who,
        subject: &Subject,
        (idle, relays): (bool, bool),
        ctx: &AnalyticContext<'_>,
    ) {
        case.decided_by = DecidedBy::Baseline;
        case.quiet_s = 300.max((self.window.end_s - self.window.start_s).saturating_mul(3));
        case.confident("lasting_increase", 0.4);
        for (name, holds) in [("idle_before", idle), ("in_equals_out", relays)] {
            if holds {
                case.confident(name, 0.1);
            }
        }
        let normal = Some(self.normal).filter(|_| self.learned);
        held::hold(case, ctx, &who.baseline, &[("counter_bytes", normal)]);
        if !self.learned {
            case.baseline = format!(
                "none; {} windows before, of this run: median {:.0} bytes a minute, 99th \
                 percentile {:.0}",
                self.normal.minutes, self.normal.median, self.normal.q99
            );
            case.baseline_values = json!({ "counter_bytes_of_this_run": self.normal });
        }
        case.missing.extend(["packets", "destinations"]);
        match who.entity.kind {
            EntityKind::Workload => case.analytics.push("AN0083"),
            EntityKind::Instance => {
                case.analytics.push("AN0972");
                case.possible_analytics.push("AN0083");
            }
            _ if !subject.process.is_empty() => {
                // Who started it, and with what, no counter says.
                case.possible_analytics.push("AN0971");
                case.missing.extend(["process_executable", "process_ancestry"]);
            }
            _ => {
                case.possible_analytics.extend(["AN0083", "AN0972"]);
                case.missing.push("workload");
            }
        }
        if !subject.pod.is_empty() && subject.interface.is_empty() && subject.container.is_empty() {
            case.missing.push("containers_of_the_pod");
        }
        let (severity, reason) = match self.deployed {
            Some(ago_s) => (
                Severity::Informational,
                format!("Informational: a container of the service came {ago_s} s before: a deployment or scaling explains it."),
            ),
            None if idle && relays => (
                Severity::Medium,
                "Medium: it was idle, and as much comes in as goes out, as in a relay.".to_owned(),
            ),
            None if case.baseline_mature => {
                (Severity::Low, "Low: counters grow far above their normal, and go on.".to_owned())
            }
            None => (
                Severity::Informational,
                "Informational: no mature baseline says that a batch job or a backup is unusual here."
                    .to_owned(),
            ),
        };
        (case.severity, case.severity_reason) = (severity, reason);
        case.summary = format!(
            "{} sends {} a minute by its counters, for {} s; {} a minute before; {} comes in for \
             each byte out; confidence {}.",
            who.entity.id,
            held::bytes(self.value as u64),
            self.over_s,
            held::bytes(self.normal.median as u64),
            round3(self.window.received as f64 / self.window.sent.max(1) as f64),
            case.confidence(),
        );
    }
}

//! The finding of a beacon.

use serde_json::json;

use super::rita::Beacon;
use super::{DAY_S, Key, NAME, Pair};
use crate::alert::{DecidedBy, Score, Severity, lasted, thousands};
use crate::detect::analytic::process_context::{cite, details, person_at, subject};
use crate::detect::analytic::{AnalyticContext, about, answers_with_process};
use crate::detect::classes::{Class, ClassKind, Doubt};
use crate::detect::{Finding, Peer, PeerRole, Rule};

/// A pair with a rhythm.
pub(super) struct Judged<'a> {
    pub(super) key: &'a Key,
    pub(super) pair: &'a Pair,
    pub(super) class: Option<Class>,
    pub(super) beacon: Beacon,
    pub(super) strobe: bool,
    pub(super) share: f64,
    pub(super) score: Score,
}

impl Judged<'_> {
    pub(super) fn finding(&self, ctx: &AnalyticContext<'_>) -> Finding {
        let Self { key, pair, beacon, .. } = self;
        let who = &pair.who;
        let (source, _, host, proto, port) = key;
        let rule = Rule {
            name: "beacon_score",
            threshold: self.score.threshold as u64,
            unit: "points of 100",
            formula: "RITA v5: (timing + sizes + duration + histogram) / 4, and its modifiers",
        };
        let span = (pair.first_s, pair.last_s);
        let mut finding = about(NAME, who, span, rule, self.score.clone(), ctx.seed);
        let digest = |sum: u64, byte: u8| ctx.seed.mix(sum, byte.into());
        let place = ctx.seed.mix(ctx.seed.host(host), u64::from(*proto) << 16 | u64::from(*port));
        finding.whole = Some(source.bytes().fold(place, digest));
        finding.measured = self.score.value.max(0.0) as u64;
        finding.kind = if *proto == 6 { "tcp" } else { "udp" };
        // The book of alerts adds up what each finding tells.
        finding.traffic.packets = pair.untold.packets;
        finding.traffic.wire_bytes = pair.untold.wire_bytes;
        // Each call a second at least; between them nothing is sent.
        finding.active_s = Some(pair.untold_calls);
        let lasted_s = (pair.last_s - pair.first_s).max(0).unsigned_abs();
        finding.minute_bytes = Some(pair.volume.wire_bytes.saturating_mul(60) / lasted_s.max(60));
        finding.peers = vec![Peer {
            host: *host,
            role: PeerRole::Destination,
            packets: Some(pair.untold.packets),
            wire_bytes: Some(pair.untold.wire_bytes),
        }];
        finding.to_ports = vec![*port];
        if let (Some(view), Some(class)) = (&who.process, &self.class) {
            finding.details = details(view, class);
        }
        let details = &mut finding.details;
        if !source.is_empty() {
            details.insert("source", json!(&**source));
        }
        details.insert("destination_port", json!(port));
        details.insert("connections", json!(pair.counted));
        details.insert("median_interval_s", json!(beacon.interval_s));
        details.insert("rita_score", json!(beacon.score));
        details.insert("strobe", json!(self.strobe));
        details.insert("share_of_entities", json!(crate::detect::round3(self.share)));
        let (severity, severity_reason) = self.severity();
        let mature = ctx.baselines.is_mature(&who.baseline);
        let Some(case) = finding.case.as_mut() else { return finding };
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.decided_by = DecidedBy::Pattern;
        case.baseline_mature = mature;
        answers_with_process(case, who, "AN0031");
        cite(case, who, self.class.as_ref());
        match ctx.baselines.profile(&who.baseline) {
            Some(profile) => {
                case.baseline_days = profile.days();
                case.baseline = "asked only since when the destination is known".to_owned();
            }
            None => case.missing.push("baseline"),
        }
        // Until the next connections have been scored.
        case.quiet_s = (beacon.interval_s * 80.0).clamp(180.0, DAY_S as f64) as i64;
        case.confident("start", 0.4);
        if self.beacon.score >= 0.9 {
            case.confident("score_over_90", 0.1);
        }
        if pair.last_s - pair.first_s >= 6 * 3_600 {
            case.confident("six_hours", 0.1);
        }
        if pair.counted >= 100 {
            case.confident("hundred_connections", 0.1);
        }
        if who.process.is_some() && who.certainty >= 0.9 {
            case.confident("process_certain", 0.1);
        }
        if who.process.is_none() && who.workload.is_none() {
            case.confident("process_unknown", -0.1);
        }
        case.summary = format!(
            "{} called {} port {port} {} times, about every {:.0} s, for {}: beacon score {:.0} of 100 (threshold {:.0}).",
            subject(who),
            host.ip(),
            thousands(pair.counted),
            beacon.interval_s,
            lasted(lasted_s),
            self.score.value,
            self.score.threshold,
        );
        finding
    }

    /// RITA's own steps, from six hours on; a program that lies where it should not is
    /// one step worse.
    fn severity(&self) -> (Severity, String) {
        let long = self.pair.last_s - self.pair.first_s >= 6 * 3_600;
        let odd = self.class.as_ref().is_some_and(|class| {
            class.kind == ClassKind::Never || class.doubt.is_some_and(Doubt::is_sign)
        });
        let person = self.pair.who.process.as_ref().and_then(|view| person_at(view));
        let kind = self.class.as_ref().map(|class| class.kind);
        let own = kind == Some(ClassKind::InteractiveClient)
            || (person == Some(true) && kind == Some(ClassKind::Client));
        let severity = match (odd, self.score.value, long) {
            (true, _, true) => Severity::High,
            (true, _, false) => Severity::Medium,
            _ if own => Severity::Informational,
            (false, value, true) if value >= 100.0 || self.strobe => Severity::High,
            (false, value, true) if value >= 90.0 => Severity::Medium,
            _ => Severity::Low,
        };
        let program = kind.map_or("not known", ClassKind::name);
        let hours = if long { "for six hours or more" } else { "for less than six hours" };
        let person = if own { ", a person's own" } else { "" };
        (
            severity,
            format!(
                "score {:.0}, {hours}, by a program of class {program}{person}",
                self.score.value
            ),
        )
    }
}

//! AN0031: much more is sent than received.
//!
//! Method: a minute with at least `data_ratio_bytes` of payload sent and
//! `data_ratio_threshold` times what came back (ATT&CK DataRatioThreshold; METHODS 7,
//! junk data). That alone is any upload; other signs must speak too (see `signs`): made-up
//! sizes, a program of which that is not expected, a new destination, more than its own
//! normal, high byte entropy where the protocol has it not (ATT&CK EntropyScore).
//!
//! Limits: entropy is known only of flows that ended, from the first 256 bytes, and says
//! nothing of encrypted protocols, which are left out. Each minute is judged by itself: a
//! leak of less than `data_ratio_bytes` in each (140 kbit/s) is never judged, however long
//! it goes on; a lower floor over more minutes would hold every agent that pushes its
//! figures to be one. Memory: entropy of [`KEPT`] processes, the rest is forgotten by number.

use std::collections::BTreeMap;

use serde_json::json;

use super::signs::{ENCRYPTED, Signs, is_of_processes, is_whitelisted, sent_to, subject};
use super::{Analytic, AnalyticContext, Event, FlowEnd, about, measured_in};
use crate::alert::{DecidedBy, Score, Term};
use crate::detect::{Finding, Rule};
use crate::entity::Minute;
use crate::host::process::ProcessId;

const NAME: &str = "data_ratio";
const KEPT: usize = 8_192;
const THRESHOLD: f64 = 55.0;

#[derive(Default)]
pub(super) struct DataRatio {
    /// Highest entropy of what a process sent first in a flow, where that is a sign.
    entropy: BTreeMap<ProcessId, f64>,
}

impl Analytic for DataRatio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Flow(flow) => self.flow(flow),
            Event::Minute(minute) => out.extend(self.minute(minute, ctx)),
            _ => {}
        }
    }
}

impl DataRatio {
    fn flow(&mut self, flow: &FlowEnd<'_>) {
        let Some(record) = flow.record else { return };
        let side = flow.hosts.and_then(|hosts| hosts.src.as_ref());
        let Some(view) = side.and_then(|side| side.process.as_ref()) else { return };
        // Under 256 bytes there is no verdict (METHODS 7).
        let Some((bits, 256)) = record.fwd.entropy else { return };
        let encrypted = ENCRYPTED.contains(&record.dst_port())
            || flow
                .app
                .is_some_and(|app| app.tls.is_some() || app.quic.is_some() || app.ssh.is_some());
        if encrypted {
            return;
        }
        let highest = self.entropy.entry(view.process.id).or_insert(0.0);
        *highest = highest.max(f64::from(bits));
        if self.entropy.len() > KEPT {
            self.entropy.pop_first();
        }
    }

    fn minute(&self, minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let measures = &minute.measures;
        let sent = measures.sent.payload_bytes;
        if sent < ctx.settings.data_ratio_bytes
            || is_whitelisted(minute, ctx)
            || is_of_processes(minute)
        {
            return None;
        }
        let process = minute.who.process.as_ref();
        let entropy = process.and_then(|view| self.entropy.get(&view.process.id)).copied();
        let signs = Signs::of(minute, entropy, ctx);
        let most = ctx.settings.data_ratio_threshold;
        if signs.ratio < most {
            return None;
        }
        let least = ctx.settings.data_ratio_bytes as f64;
        let mut terms =
            vec![Term::doubling("payload_bytes", sent as f64, least / 2.0, least * 64.0, 15.0)];
        terms.extend(signs.terms(ctx));
        let score = Score::of(terms, THRESHOLD);
        let enough =
            score.alerts() && Signs::supported(&score, &["payload_bytes", "send_receive_ratio"]);
        if !ctx.decide(NAME, &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "data_ratio_threshold",
            threshold: most as u64,
            unit: "times",
            formula: "payload bytes sent / payload bytes received, in a minute",
        };
        let (severity, severity_reason) = signs.severity(&score);
        let span = (minute.start_s, minute.start_s + minute.length_s - 1);
        let mut finding = about(NAME, &minute.who, span, rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        finding.measured = signs.ratio as u64;
        finding.kind = "data_ratio";
        signs.fill(&mut finding, minute, ctx);
        if let Some(entropy) = entropy {
            finding.details.insert("entropy_bits_per_byte", json!(entropy));
        }
        let case = finding.case.as_mut()?;
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.decided_by = DecidedBy::AbsoluteThreshold;
        case.summary = format!(
            "{} sent {} in a minute and got {} bytes back: {} (threshold {most}).",
            subject(minute),
            sent_to(minute),
            crate::alert::thousands(measures.received.payload_bytes),
            match measures.received.payload_bytes {
                0 => "nothing comes back".to_owned(),
                _ => format!("{:.0} to 1", signs.ratio),
            },
        );
        Some(finding)
    }
}

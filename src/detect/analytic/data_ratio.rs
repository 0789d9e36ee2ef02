//! AN0031: much more is sent than received.
//!
//! Method: a minute with at least `data_ratio_bytes` of payload sent and
//! `data_ratio_threshold` times what came back (ATT&CK DataRatioThreshold; METHODS 7,
//! junk data). That alone is any upload; other signs must speak too (see `signs`): made-up
//! sizes, a program of which that is not expected, a new destination, more than its own
//! normal, high byte entropy where the protocol has it not (ATT&CK EntropyScore). What
//! stays under the floor in each minute is added up for a day where it goes to somebody
//! new outside (see `slow_leak`), and judged by the same signs.
//!
//! Limits: entropy is known only of flows that ended and have records, from the first 256
//! bytes, and says nothing of encrypted protocols, which are left out. Without a baseline
//! nobody is new. Memory: entropy of [`KEPT`] processes, the rest is forgotten by number.

use std::collections::BTreeMap;

use serde_json::json;

use super::signs::{ENCRYPTED, Signs, is_of_processes, is_whitelisted, sent_to, subject};
use super::slow_leak::{Leak, Leaks, PAUSE_S, active_seconds};
use super::{Analytic, AnalyticContext, Event, EventKind, about, add, measured_in};
use crate::alert::{DecidedBy, Score, Term, thousands};
use crate::detect::{Finding, Rule};
use crate::engine::window::Host;
use crate::entity::Minute;
use crate::flow::FlowRecord;
use crate::host::process::ProcessId;
use crate::time::rfc3339;

const NAME: &str = "data_ratio";
const KEPT: usize = 8_192;
const THRESHOLD: f64 = 55.0;

/// Minutes in which a leak went on: ten can be one piece of work, an hour is a habit.
const STEADY_MINUTES: (f64, f64) = (10.0, 60.0);

#[derive(Default)]
pub(super) struct DataRatio {
    /// Highest entropy of what a process sent first in a flow, where that is a sign.
    entropy: BTreeMap<ProcessId, f64>,
    leaks: Leaks,
}

impl Analytic for DataRatio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Record, EventKind::Minute]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Record(record) => self.record(record),
            Event::Minute(minute) if !is_whitelisted(minute, ctx) && !is_of_processes(minute) => {
                let leak = self.leaks.add(minute, ctx);
                let found = self.minute(minute, ctx);
                let found = found.or_else(|| self.leak(minute, leak?, ctx));
                if found.is_some() {
                    self.leaks.told(minute);
                }
                add(found, out);
            }
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.leaks.refused()
    }
}

impl DataRatio {
    fn record(&mut self, record: &FlowRecord) {
        let side = record.hosts.as_ref().and_then(|hosts| hosts.src.as_ref());
        let Some(view) = side.and_then(|side| side.process.as_ref()) else { return };
        // Under 256 bytes there is no verdict (METHODS 7).
        let Some((bits, 256)) = record.fwd.entropy else { return };
        let encrypted = ENCRYPTED.contains(&record.dst_port())
            || record
                .app
                .as_ref()
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

    fn entropy_of(&self, minute: &Minute) -> Option<f64> {
        let process = minute.who.process.as_ref();
        process.and_then(|view| self.entropy.get(&view.process.id)).copied()
    }

    fn minute(&self, minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let measures = &minute.measures;
        if measures.sent.payload_bytes < ctx.settings.data_ratio_bytes {
            return None;
        }
        let entropy = self.entropy_of(minute);
        let signs = Signs::of(minute, entropy, ctx);
        if signs.ratio < ctx.settings.data_ratio_threshold {
            return None;
        }
        let own = ["payload_bytes", "send_receive_ratio"];
        let judged = Judged { terms: signs.sums(ctx), own: &own, kind: "data_ratio" };
        let mut finding = judged.finding(minute, &signs, minute.start_s, ctx)?;
        finding.to_ports = measures.destination_ports();
        if let Some(entropy) = entropy {
            finding.details.insert("entropy_bits_per_byte", json!(entropy));
        }
        let received = measures.received.payload_bytes;
        // Who gets the most need not be who answers.
        let of_it = match measures.top_peer() {
            Some((peer, share)) if share >= 0.9 && peer.received_payload < received => {
                format!(", {} of them from there", thousands(peer.received_payload))
            }
            _ => String::new(),
        };
        finding.case.as_mut()?.summary = format!(
            "{} sent {} in a minute and got {} bytes back{of_it}: {} (threshold {}).",
            subject(minute),
            sent_to(minute),
            thousands(received),
            to_one(received, signs.ratio),
            ctx.settings.data_ratio_threshold,
        );
        Some(finding)
    }

    fn leak(
        &mut self,
        minute: &Minute,
        (peer, leak): (Host, Leak),
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let signs = Signs::of_leak(minute, &leak, self.entropy_of(minute), ctx);
        let mut terms = signs.sums(ctx);
        let (few, many) = STEADY_MINUTES;
        terms.push(Term::new("steady_minutes", leak.minutes as f64, few, many, 15.0));
        // Who is not new is not added up at all.
        let own = ["payload_bytes", "send_receive_ratio", "steady_minutes", "new_destination"];
        let judged = Judged { terms, own: &own, kind: "slow_leak" };
        let mut finding = judged.finding(minute, &signs, leak.since_s, ctx)?;
        let before = self.leaks.tells(minute, peer)?;
        finding.traffic.packets += before.packets;
        finding.traffic.wire_bytes += before.wire_bytes;
        finding.traffic.payload_bytes += before.payload_bytes;
        finding.active_s = Some(before.active_s.saturating_add(active_seconds(minute)));
        if let Some(to) = finding.peers.iter_mut().find(|known| known.host == peer) {
            to.packets = to.packets.map(|packets| packets + before.packets);
            to.wire_bytes = to.wire_bytes.map(|bytes| bytes + before.wire_bytes);
        }
        (finding.to_peers, finding.to_ports) = (vec![peer], leak.known_ports());
        finding.whole = Some(ctx.seed.host(&peer));
        let leaked = json!({
            "to": peer.ip(),
            "minutes": leak.minutes,
            "of_several": leak.several,
            "sent_payload_bytes": leak.sent_payload,
            "received_payload_bytes": leak.received_payload,
        });
        finding.details.insert("leak", leaked);
        let mut since = rfc3339(leak.since_s.saturating_mul(1_000_000_000));
        since.truncate("0000-00-00T00:00".len());
        let case = finding.case.as_mut()?;
        case.quiet_s = PAUSE_S;
        let who = match leak.several {
            true => {
                let sender = minute.who.baseline.trim_end_matches(':');
                format!("{}, with others of {sender},", subject(minute))
            }
            false => subject(minute),
        };
        case.summary = format!(
            "{who} sent {} bytes to {}, which was new to it, in {} minutes since {since}Z and got {} bytes \
             back: {} (threshold {}).",
            thousands(leak.sent_payload),
            peer.ip(),
            leak.minutes,
            thousands(leak.received_payload),
            to_one(leak.received_payload, signs.ratio),
            ctx.settings.data_ratio_threshold,
        );
        Some(finding)
    }
}

/// What is held against the threshold of the score.
struct Judged<'a> {
    terms: Vec<Term>,
    /// Terms that say no more than that it was looked at.
    own: &'a [&'static str],
    kind: &'static str,
}

impl Judged<'_> {
    fn finding(
        self,
        minute: &Minute,
        signs: &Signs,
        start_s: i64,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let score = Score::of(self.terms, THRESHOLD);
        let enough = score.alerts() && Signs::supported(&score, self.own);
        if !ctx.decide(NAME, &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "data_ratio_threshold",
            threshold: ctx.settings.data_ratio_threshold as u64,
            unit: "times",
            formula: match self.kind {
                "slow_leak" => "payload bytes sent / payload bytes received, since it began",
                _ => "payload bytes sent / payload bytes received, in a minute",
            },
        };
        let (severity, severity_reason) = signs.severity(&score);
        let span = (start_s, minute.start_s + minute.length_s - 1);
        let mut finding = about(NAME, &minute.who, span, rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        finding.measured = signs.ratio as u64;
        finding.kind = self.kind;
        signs.fill(&mut finding, minute, ctx);
        let case = finding.case.as_mut()?;
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.decided_by = DecidedBy::AbsoluteThreshold;
        Some(finding)
    }
}

fn to_one(received: u64, ratio: f64) -> String {
    match received {
        0 => "nothing comes back".to_owned(),
        _ => format!("{ratio:.0} to 1"),
    }
}

//! The finding of a flood by a process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;

use super::rates::{Over, Rates, What, silence_floor};
use super::usual::Usual;
use super::{NAME, Second};
use crate::alert::{DecidedBy, Score, Severity, Term, bits, thousands};
use crate::detect::analytic::process_context::{details, missing, named, person_at};
use crate::detect::analytic::{AnalyticContext, about};
use crate::detect::classes::{Class, ClassKind, Tool};
use crate::detect::{Act, Busiest, Finding, Peer, PeerRole, Rule, Shape, Traffic, round3};
use crate::entity::Who;

/// At or over it there is an alert: the floor alone never reaches it.
const THRESHOLD: f64 = 50.0;

/// Baselines are of one program each, whose processes come and go.
const TOGETHER_UNKNOWN: &str = "several processes together have no normal";

/// A sender that is over a floor for long enough.
pub(super) struct Judged<'a> {
    pub(super) rates: &'a Rates,
    pub(super) class: &'a Class,
    pub(super) over: Over,
    /// What several have in common, and how many they are.
    pub(super) together: Option<(&'static str, usize)>,
    pub(super) seconds: u64,
    pub(super) span: (i64, i64),
    /// Of those not told of the one with the most packets: the sentence and the figures
    /// are its.
    pub(super) busiest: &'a Second,
    /// The last of them is the one that is judged.
    pub(super) untold: &'a VecDeque<Second>,
}

impl Judged<'_> {
    pub(super) fn finding(&self, who: &Who, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let view = who.process.as_ref()?;
        let rates = self.rates;
        let usual = self.usual(who, ctx);
        let mature = ctx.baselines.is_mature(&who.baseline);
        if mature && usual.as_ref().is_some_and(|usual| self.is_quiet(usual)) {
            return None;
        }
        // Several together have none of their own.
        let usual = usual.filter(|_| self.together.is_none());
        let times_normal = usual.as_ref().map(|usual| usual.times_packets);
        let score = self.score(usual.as_ref(), person_at(view), ctx);
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, who, self.span.1, &score, enough) {
            return None;
        }
        let shown = &self.busiest.rates;
        let over = self.busiest.over;
        let rule = Rule {
            name: over.what.rule(),
            threshold: over.floor,
            unit: over.what.unit(),
            formula: over.what.formula(),
        };
        let mut finding = about(NAME, who, self.span, rule, score, ctx.seed);
        finding.measured = over.measured;
        finding.kind = self.kind();
        finding.stateless = shown.connectionless * 2 > shown.packets;
        self.fill(&mut finding);
        finding.answer_ratio = Some(round3(shown.received as f64 / shown.packets.max(1) as f64));
        finding.sources = shown.senders;
        let concentration = shown.concentration();
        finding.shape = if concentration >= 0.9 { Shape::OneToOne } else { Shape::OneToMany };
        finding.act = rates.own.map(|from| Act {
            from,
            to: rates.top_peer.filter(|_| rates.concentration() >= 0.5).map(|(host, _)| host),
            packets: Some(rates.packets),
            wire_bytes: Some(rates.wire_bytes),
        });
        finding.details = details(view, self.class);
        finding.details.insert("tool", json!(self.class.tool.name()));
        finding.details.insert("destination_port", json!(shown.remote_port));
        finding.details.insert("share_of_one_destination", json!(round3(concentration)));
        finding.details.insert("seconds_over_floor", json!(self.seconds));
        if let Some((by, processes)) = self.together {
            finding.details.insert("processes_together", json!(processes));
            finding.details.insert("together_by", json!(by));
        }
        let (severity, severity_reason) = match &usual {
            Some(usual) if mature && usual.as_if_down() => (
                Severity::Informational,
                "Informational: as many packets as usual to where it always sends, and nobody \
                 answers any more: servers that are down look the same."
                    .to_owned(),
            ),
            _ => self.severity(person_at(view), ctx),
        };
        let summary = self.summary(who, ctx);
        let case = finding.case.as_mut()?;
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.analytics = vec!["AN0971"];
        case.process_class = Some(self.class.cited());
        case.missing = missing(view, self.class);
        case.baseline_mature = mature;
        case.baseline_days = ctx.baselines.profile(&who.baseline).map_or(0.0, |p| p.days());
        match &usual {
            Some(usual) => {
                let (normal, times) = (&usual.packets, usual.times_packets);
                case.baseline = format!(
                    "usually at most {} packets/s (99th percentile of the busiest seconds of {} minutes); now {}, {:.1} times as many",
                    thousands(normal.q99 as u64),
                    thousands(normal.minutes),
                    thousands(rates.packets),
                    times
                );
                if let Some(unanswered) = &usual.unanswered {
                    case.baseline.push_str(&format!(
                        "; unanswered at most {} packets/s ever, now {}",
                        thousands(unanswered.max as u64),
                        thousands(rates.unanswered)
                    ));
                }
                case.baseline_values = json!(normal);
                if mature && (!usual.as_many() || usual.is_unheard()) {
                    case.decided_by = DecidedBy::Baseline;
                }
            }
            None if self.together.is_some() => {
                case.baseline = format!("none: {TOGETHER_UNKNOWN}");
                case.missing.push("baseline");
                case.never_learned = Some(TOGETHER_UNKNOWN);
                (case.baseline_mature, case.baseline_days) = (false, 0.0);
            }
            None => {
                case.baseline = "none yet of this program: the tool's floor decided".to_owned();
                case.missing.push("baseline");
            }
        }
        case.confident("start", 0.4);
        if who.certainty >= 0.9 {
            case.confident("process_certain", 0.1);
        }
        if self.over.times() >= 2.0 {
            case.confident("twice_the_floor", 0.1);
        }
        if self.seconds >= ctx.settings.burst_time_window_s {
            case.confident("whole_window", 0.1);
        }
        if rates.share(rates.unanswered) >= 0.95 {
            case.confident("unanswered", 0.1);
        }
        if times_normal.is_some_and(|times| times >= 2.0) {
            case.confident("twice_its_own_normal", 0.1);
        }
        if who.certainty < 0.5 {
            case.confident("process_uncertain", -0.2);
        }
        let gaps = case.missing.iter().filter(|&&gap| gap != "baseline").count();
        if gaps > 0 {
            case.confident("telemetry_missing", -0.1 * gaps.min(3) as f64);
        }
        case.summary = summary;
        Some(finding)
    }

    /// Fills in what was sent in all seconds that no finding has told of.
    fn fill(&self, finding: &mut Finding) {
        let mut traffic = Traffic::default();
        let mut peers = BTreeMap::new();
        let mut ports = Some(BTreeSet::new());
        for Second { rates, .. } in self.untold {
            traffic.packets += rates.packets;
            traffic.wire_bytes += rates.wire_bytes;
            traffic.payload_bytes += rates.payload_bytes;
            for (sum, packets) in traffic.sizes.iter_mut().zip(&rates.sizes) {
                *sum += packets;
            }
            finding.unanswered += rates.unanswered;
            ports = ports.zip(rates.ports.much()).map(|(mut known, more)| {
                known.extend(more);
                known
            });
            if let Some((host, packets)) = rates.top_peer {
                *peers.entry(host).or_insert(0) += packets;
            }
        }
        finding.traffic = traffic;
        let peer = |(host, packets)| Peer {
            host,
            role: PeerRole::Destination,
            packets: Some(packets),
            wire_bytes: None,
        };
        finding.peers = peers.into_iter().map(peer).collect();
        finding.to_ports = ports.into_iter().flatten().collect();
        let Second { second, rates, .. } = self.busiest;
        finding.busiest = Some(Busiest {
            second: *second,
            packets: rates.packets,
            wire_bytes: rates.wire_bytes,
            payload_bytes: rates.payload_bytes,
            unanswered: rates.unanswered,
        });
    }

    fn score(
        &self,
        usual: Option<&Usual>,
        person: Option<bool>,
        ctx: &AnalyticContext<'_>,
    ) -> Score {
        let rates = self.rates;
        let window = ctx.settings.burst_time_window_s as f64;
        let mut terms = vec![
            Term::doubling("times_floor", self.over.times(), 0.5, 4.0, 40.0),
            Term::new("seconds_over_floor", self.seconds as f64, 0.0, window, 20.0),
            Term::new("share_connectionless", rates.share(rates.connectionless), 0.5, 1.0, 15.0),
            Term::new("share_unanswered", rates.share(rates.unanswered), 0.5, 0.95, 15.0),
            Term::new("share_of_one_destination", rates.concentration(), 0.5, 0.95, 15.0),
        ];
        if let Some(usual) = usual {
            terms.push(Term::doubling("times_own_q99", usual.times_packets, 1.0, 4.0, 20.0));
            if usual.is_unheard()
                && let Some(times) = usual.times_unanswered
            {
                terms.push(Term::doubling("times_own_unanswered", times, 1.0, 16.0, 20.0));
            }
        }
        let nobody = f64::from(u8::from(person == Some(false)));
        terms.push(Term::new("nobody_at_it", nobody, 1.0, 1.0, 10.0));
        Score::of(terms, THRESHOLD)
    }

    fn usual(&self, who: &Who, ctx: &AnalyticContext<'_>) -> Option<Usual> {
        // What starts anew for each request, a loop of curls, is usual one by one.
        if self.together.is_some() && self.class.tool != Tool::Other {
            return None;
        }
        let profile = ctx.baselines.profile(&who.baseline)?;
        let floor = silence_floor(self.class, ctx.settings);
        Usual::of(profile, self.rates, self.span.1, floor)
    }

    /// Each does as it always does; several together also where they always do it, since
    /// how many there usually are nobody knows.
    fn is_quiet(&self, usual: &Usual) -> bool {
        let same_place = self.together.is_none() || usual.same_place();
        usual.as_many() && !usual.is_unheard() && same_place
    }

    fn severity(&self, person: Option<bool>, ctx: &AnalyticContext<'_>) -> (Severity, String) {
        let times = self.over.times();
        let fast = times >= 10.0 || self.rates.packets >= ctx.settings.packet_rate_threshold;
        let at_it = person == Some(true);
        let testing = at_it && &*self.class.rule == "throughput-test";
        let interactive = self.class.kind == ClassKind::InteractiveClient;
        let severity = match (at_it, fast) {
            _ if testing => Severity::Informational,
            (true, false) => Severity::Low,
            _ if interactive => Severity::Low,
            (true, true) | (false, false) => Severity::Medium,
            (false, true) => Severity::High,
        };
        let who = match person {
            Some(true) => "a person is at it",
            Some(false) => "nobody is at it",
            None => "whether somebody is at it is not known",
        };
        let test = if testing { ", with a tool that measures by filling a path" } else { "" };
        let reason = format!("{times:.1} times the floor of its tool, and {who}{test}");
        (severity, reason)
    }

    /// What most of it is.
    fn kind(&self) -> &'static str {
        let rates = &self.busiest.rates;
        match self.busiest.over.what {
            What::Connections => "tcp_syn",
            _ if rates.icmp * 2 > rates.packets => "icmp",
            _ if (rates.connectionless - rates.icmp.min(rates.connectionless)) * 2
                > rates.packets =>
            {
                "udp"
            }
            _ => "tcp",
        }
    }

    fn summary(&self, who: &Who, ctx: &AnalyticContext<'_>) -> String {
        let Second { rates, over, .. } = self.busiest;
        let subject = match (self.together, &who.process) {
            (Some((by, processes)), Some(view)) => {
                format!("{processes} processes of one {by}, such as {},", named(view))
            }
            (None, Some(view)) => named(view),
            (_, None) => who.entity.id.clone(),
        };
        let to = match rates.top_peer {
            Some((host, _)) if rates.concentration() >= 0.9 => format!(" to {}", host.ip()),
            Some((host, _)) => format!(" to several, most to {}", host.ip()),
            None => String::new(),
        };
        let tool = match self.class.tool {
            Tool::Other => "its traffic's floor".to_owned(),
            tool => format!("the floor of {}", tool.name()),
        };
        format!(
            "{subject} sent {} packets/s and {}{to}: {} {} are {:.1} times {tool} ({}), in {} of {} s.",
            thousands(rates.packets),
            bits(rates.wire_bytes.saturating_mul(8)),
            thousands(over.measured),
            over.what.unit(),
            over.times(),
            thousands(over.floor),
            self.seconds,
            ctx.settings.burst_time_window_s,
        )
    }
}

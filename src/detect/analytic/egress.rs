//! `egress`: an instance or address sends far more than usual, to one place (AN0972).
//!
//! Method (METHODS sections 1 and 8), for each minute of an entity, or interval of a
//! source that counts by longer ones (then in the mean of a minute):
//!
//! 1. *Unusual*. With a baseline: bytes or packets at least
//!    `instance_traffic_threshold` percent above the median of that hour (where it is
//!    answered: above what that hour of the day reaches on three days of the week, such as
//!    a backup), over its 99th percentile, `egress_deviation` robust sigmas out, and over a floor
//!    (`egress_bytes_per_minute`, `egress_packets_per_minute`). Without one: a one-way
//!    stream over a stateless protocol from the same floor on; all else from
//!    `egress_absolute_*` on.
//! 2. *Concentrated*: one address or one service takes `egress_concentration` of the
//!    bytes.
//! 3. The score adds how far it is over, how concentrated, stateless and unanswered it
//!    is, and whether the destination is new. What is at both thresholds has enough of it.
//!
//! Packets decide only where they are most of what is sent and not the
//! acknowledgements of a download: stateless ones, or those that nobody answers.
//!
//! Severity starts at low; a step up each for stateless (`protocol_type`), for one-way,
//! and for ten times the threshold. While no mature baseline says what is normal,
//! traffic that is answered is informational: it may be tonight's backup. So is a
//! stream that comes back as it goes (a call, a game), and one to a group.
//!
//! Limits: shared egress hides who sent, and is named. Answers are those of the top
//! destination, whatever their protocol. Memory: entities that are over, at most
//! [`MAX_RUNS`]; beyond, further ones count as new each minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Analytic, AnalyticContext, Event, EventKind, about, measured_in};
use crate::alert::{DecidedBy, EntityKind, Score, Term};
use crate::baseline::{Metric, Normal};
use crate::detect::{Direction, Finding, Kind, Rule, round3};
use crate::entity::Minute;

#[path = "egress_words.rs"]
mod words;

#[derive(Debug, Default)]
pub(super) struct Egress {
    /// Entities that are over, by source: end of the last minute, and how many in a row.
    runs: BTreeMap<(Arc<str>, EntityKind, String), (i64, u64)>,
    refused: u64,
}

const MAX_RUNS: usize = 4_096;
const ALERTS_FROM: f64 = 35.0;

/// Share of stateless bytes from which the whole counts as stateless (METHODS: 0.7).
const STATELESS: f64 = 0.7;
/// Bytes back by bytes out of a stream that goes both ways: a call with one camera off
/// still sends a third.
const SYMMETRIC: std::ops::RangeInclusive<f64> = 0.3..=3.0;

const BY_NORMAL: &str = "bytes or packets of a minute >= (1 + instance_traffic_threshold / 100) * \
    median of the hour (answered: or of its regular peak), > its 99th percentile, >= egress_deviation sigmas above, and >= the floor; \
    top share >= egress_concentration";
const BY_FLOOR: &str = "bytes or packets of a minute >= the floor (egress_bytes_per_minute where \
    stateless and unanswered, else egress_absolute_bytes_per_minute; the same for packets); \
    top share >= egress_concentration";

/// What is held against the floors, without its figure.
const FLOOR: Rule = Rule { name: "egress_floor", formula: BY_FLOOR, ..Rule::NONE };

impl Analytic for Egress {
    fn name(&self) -> &'static str {
        "egress"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Minute]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let Event::Minute(minute) = event else { return };
        if !matches!(minute.who.entity.kind, EntityKind::Address | EntityKind::Instance) {
            return;
        }
        let Some(seen) = Seen::of(minute, ctx) else { return };
        let Some(over) = seen.over(ctx) else { return seen.tell_nearest(ctx) };
        let run = self.run(minute);
        out.extend(seen.finding(&over, run, ctx));
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Egress {
    /// Minutes in a row, this one included.
    fn run(&mut self, minute: &Minute) -> u64 {
        let entity = &minute.who.entity;
        let key = (Arc::clone(&minute.source), entity.kind, entity.id.clone());
        let end_s = minute.start_s.saturating_add(minute.length_s);
        if self.runs.len() >= MAX_RUNS && !self.runs.contains_key(&key) {
            self.runs.retain(|_, (last_s, _)| *last_s >= minute.start_s);
            if self.runs.len() >= MAX_RUNS {
                self.refused += 1;
                return 1;
            }
        }
        let run = self.runs.entry(key).or_insert((minute.start_s, 0));
        *run = (end_s, if run.0 == minute.start_s { run.1 + 1 } else { 1 });
        run.1
    }
}

/// A minute with what is asked of it.
struct Seen<'a> {
    minute: &'a Minute,
    /// Of a minute.
    bytes: f64,
    packets: f64,
    /// Of those, such as are no part of an answered connection.
    lone_packets: f64,
    normal: [Option<Normal>; 2],
    place: Place,
    stateless_share: f64,
    /// Protocols that raise the severity.
    stateless: bool,
    /// Packets back by packets out at the top; nothing where answers can't be seen.
    answers: Option<f64>,
    bytes_back: f64,
    new_destination: Option<bool>,
}

/// Where most of it goes.
struct Place {
    name: String,
    share: f64,
    by: &'static str,
    internal: bool,
    group: bool,
}

/// What is over, and how far.
struct Over {
    decided_by: DecidedBy,
    metric: &'static str,
    value: f64,
    threshold: f64,
    sigmas: Option<f64>,
}

impl Over {
    fn times(&self) -> f64 {
        self.value / self.threshold.max(1.0)
    }

    fn rule(&self) -> Rule {
        let (name, formula) = match self.decided_by {
            DecidedBy::Baseline => ("instance_traffic_threshold", BY_NORMAL),
            _ => (FLOOR.name, BY_FLOOR),
        };
        let unit = if self.metric == "bytes" { "bytes/minute" } else { "packets/minute" };
        Rule { name, threshold: self.threshold as u64, unit, formula }
    }
}

impl<'a> Seen<'a> {
    /// Nothing where less is sent than the lower floors, or not to one place.
    fn of(minute: &'a Minute, ctx: &AnalyticContext<'_>) -> Option<Self> {
        let settings = ctx.settings;
        let (bytes, packets) = (Metric::EgressBytes.of(minute), Metric::EgressPackets.of(minute));
        if bytes < settings.egress_bytes_per_minute as f64
            && packets < settings.egress_packets_per_minute as f64
        {
            let floor = settings.egress_bytes_per_minute;
            let rule = Rule { threshold: floor, unit: "bytes/minute", ..FLOOR };
            ctx.missed("egress", &minute.who, minute.start_s, (bytes, &rule));
            return None;
        }
        let measures = &minute.measures;
        let (peer, peer_share) = measures.top_peer()?;
        let (service, service_share) = measures.top_service()?;
        let name = crate::entity::service_name(service.key);
        let by_address = peer_share >= settings.egress_concentration || peer_share >= service_share;
        let place = match by_address {
            true => Place {
                name: format!("{} ({name})", peer.key.ip()),
                share: peer_share,
                by: "destination",
                internal: ctx.home().contains(&peer.key),
                group: peer.key.is_group(),
            },
            false => Place {
                name: format!("{name} at {} addresses", measures.peers.estimate()),
                share: service_share,
                by: "service",
                internal: false,
                group: false,
            },
        };
        if place.share < settings.egress_concentration {
            let least = (settings.egress_concentration * 100.0) as u64;
            let rule = Rule { threshold: least, unit: "% to one place", ..FLOOR };
            ctx.missed("egress", &minute.who, minute.start_s, (place.share * 100.0, &rule));
            return None;
        }
        let (out, back, bytes_out, bytes_back) = match by_address {
            true => {
                (peer.sent_packets, peer.received_packets, peer.sent_bytes, peer.received_bytes)
            }
            false => (
                service.sent_packets,
                service.received_packets,
                service.sent_bytes,
                service.received_bytes,
            ),
        };
        let stateless_share =
            measures.stateless.wire_bytes as f64 / measures.sent.wire_bytes.max(1) as f64;
        let one_sided = minute.reported.as_ref().is_some_and(|facts| facts.one_sided)
            // Nothing came back to anything: data over TCP goes nowhere unanswered.
            || (measures.received.packets == 0 && stateless_share < STATELESS);
        let sent = measures.sent.packets.max(1) as f64;
        let lone = measures.stateless.packets.max(measures.unanswered_packets) as f64;
        let profile = ctx.baselines.profile(&minute.who.baseline);
        let normal = [Metric::EgressBytes, Metric::EgressPackets]
            .map(|metric| profile.and_then(|profile| profile.normal(metric, minute.start_s)));
        let kind = match service.key.0 {
            17 => Some(Kind::Udp),
            1 | 58 => Some(Kind::Icmp),
            47 => Some(Kind::Gre),
            6 => None,
            _ => Some(Kind::OtherIp),
        };
        let raises = kind.is_some_and(|kind| settings.protocol_type.contains(&kind));
        Some(Self {
            minute,
            bytes,
            packets,
            // A download's acknowledgements are no egress.
            lone_packets: if bytes_back > bytes_out {
                0.0
            } else {
                packets * (lone / sent).min(1.0)
            },
            normal,
            place,
            stateless_share,
            stateless: raises && stateless_share >= STATELESS,
            answers: (!one_sided).then(|| back as f64 / out.max(1) as f64),
            bytes_back: bytes_back as f64 / bytes_out.max(1) as f64,
            new_destination: profile
                .filter(|_| by_address && normal.iter().any(Option::is_some))
                .and_then(|profile| ctx.is_new(profile, minute, peer)),
        })
    }

    fn is_one_way(&self, ctx: &AnalyticContext<'_>) -> bool {
        !self.place.group && self.answers.is_some_and(|ratio| ratio < ctx.settings.answer_ratio)
    }

    fn is_symmetric(&self) -> bool {
        self.answers.is_some() && SYMMETRIC.contains(&self.bytes_back)
    }

    /// Whether it is unusual, by the measure that is furthest over.
    fn over(&self, ctx: &AnalyticContext<'_>) -> Option<Over> {
        let over = self.held(ctx).into_iter().flatten().filter(|(_, is_over)| *is_over);
        over.map(|(over, _)| over).max_by(|x, y| x.times().total_cmp(&y.times()))
    }

    /// To whoever asks why there is no alert: the measure that came nearest.
    fn tell_nearest(&self, ctx: &AnalyticContext<'_>) {
        let held = self.held(ctx).into_iter().flatten().map(|(over, _)| over);
        if let Some(nearest) = held.max_by(|x, y| x.times().total_cmp(&y.times())) {
            let (who, rule) = (&self.minute.who, nearest.rule());
            ctx.missed("egress", who, self.minute.start_s, (nearest.value, &rule));
        }
    }

    /// Bytes and packets against what is usual, or against the floor, and whether they are
    /// over it.
    fn held(&self, ctx: &AnalyticContext<'_>) -> [Option<(Over, bool)>; 2] {
        let settings = ctx.settings;
        let floors =
            [settings.egress_bytes_per_minute as f64, settings.egress_packets_per_minute as f64];
        let absolute = [
            settings.egress_absolute_bytes_per_minute as f64,
            settings.egress_absolute_packets_per_minute as f64,
        ];
        let held = self.normal.iter().any(Option::is_some);
        let low = !held && self.is_one_way(ctx) && self.stateless_share >= STATELESS;
        let measured = [("bytes", self.bytes), ("packets", self.packets)];
        let judged = [self.bytes, self.lone_packets];
        [0, 1].map(|at| {
            let (metric, value) = measured[at];
            if !held {
                let threshold = if low { floors[at].min(absolute[at]) } else { absolute[at] };
                let decided_by = DecidedBy::AbsoluteThreshold;
                let over = Over { decided_by, metric, value, threshold, sigmas: None };
                return Some((over, judged[at] >= threshold));
            }
            let normal = self.normal[at]?;
            // What nobody answers is no backup, whenever it comes.
            let usual = if self.is_one_way(ctx) { 0.0 } else { normal.regular };
            let usual = usual.max(normal.median);
            let above = usual * (1.0 + settings.instance_traffic_threshold / 100.0);
            let threshold = above.max(normal.q99).max(floors[at]);
            let sigmas = normal.above(value);
            let over = Over {
                decided_by: DecidedBy::Baseline,
                metric,
                value,
                threshold,
                sigmas: Some(sigmas),
            };
            let counts = at == 0 || judged[at] * 2.0 >= value;
            let unusual = value >= threshold && value > normal.q99;
            Some((over, counts && unusual && sigmas >= settings.egress_deviation))
        })
    }

    fn score(&self, over: &Over, ctx: &AnalyticContext<'_>) -> Score {
        let answer_ratio = ctx.settings.answer_ratio;
        let mut terms = vec![
            // At their thresholds these two are enough: those are what is promised.
            Term::doubling("times_threshold", over.times(), 0.0, 6.0, 40.0),
            Term::new("top_share", self.place.share, 0.0, ctx.settings.egress_concentration, 25.0),
            Term::new("stateless_share", self.stateless_share, 0.0, STATELESS, 15.0),
        ];
        if let (Some(answers), false) = (self.answers, self.place.group) {
            // From ten times the ratio on it is a conversation.
            terms.push(Term::new("answer_ratio", answers, answer_ratio * 10.0, answer_ratio, 20.0));
        }
        if let Some(new) = self.new_destination {
            terms.push(Term::new("new_destination", f64::from(u8::from(new)), 0.0, 1.0, 10.0));
        }
        Score::of(terms, ALERTS_FROM)
    }

    fn finding(&self, over: &Over, run: u64, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let minute = self.minute;
        let score = self.score(over, ctx);
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide("egress", &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = over.rule();
        let last_s = minute.start_s.saturating_add(minute.length_s.max(1) - 1);
        let span = (minute.start_s, last_s);
        let mut finding = about("egress", &minute.who, span, rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        // It is about all of the minute, and not about what is little of it.
        finding.to_ports = minute.measures.destination_ports();
        finding.to_peers = minute.measures.destinations();
        finding.kind = if self.stateless { "stateless" } else { "any" };
        finding.stateless = self.stateless;
        finding.measured = over.value as u64;
        finding.minute_bytes = Some(self.bytes as u64);
        finding.answer_ratio = self.answers.map(round3);
        if self.place.internal {
            finding.direction = Direction::Internal;
        }
        self.detail(&mut finding, over);
        if let Some(case) = &mut finding.case {
            self.fill(case, over, run, ctx);
        }
        Some(finding)
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;

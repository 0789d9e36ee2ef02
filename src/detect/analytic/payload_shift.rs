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
//! By service and as a whole: each service of the minute (protocol, port of who answers,
//! side) that the profile knows well enough is judged by its own sizes and its own
//! quantiles, which the profile keeps. The whole is judged against what is to be expected
//! of the minute's mix: of each service that is known its own sizes, of the others those of
//! the whole. So another mix is no shift, and of services with too little history the whole
//! decides. One finding a minute, about the service that moved where one did.
//!
//! Limits: bins of windows are octaves, so a shift inside an octave is not seen; TCP
//! segments show the path's MSS rather than messages; a service that usually sends under 20
//! packets a minute has no quantiles and is judged with the whole. Memory: [`KEPT`] entities
//! with 200 divergences each, 4 MB; those that were quiet for a day go first, others are
//! refused.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::distance::{Sizes, emd_bits, jsd, with_payload};
use super::signs::{Part, Signs, is_of_processes, is_whitelisted, subject};
use super::{Analytic, AnalyticContext, Event, EventKind, about, add, measured_in};
use crate::alert::{DecidedBy, Score, Term, thousands};
use crate::baseline::{KnownService, Profile};
use crate::detect::{DetectSettings, Finding, Rule, round3};
use crate::engine::window::SIZE_BINS;
use crate::entity::{Leg, Minute, Spoken, has_port};

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

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Minute]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        if let Event::Minute(minute) = event {
            add(self.minute(minute, ctx), out);
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

/// What was sent against what is usual of it.
struct Held<'a> {
    part: Part<'a>,
    usual_sizes: Sizes,
    learned_packets: u64,
    learned_minutes: u64,
    divergence: f64,
    threshold: f64,
    /// What its own minutes rarely reach.
    usual: Option<f64>,
}

impl Held<'_> {
    fn has_moved(&self) -> bool {
        self.divergence > self.threshold
    }

    fn doublings(&self) -> f64 {
        emd_bits(&self.usual_sizes, &self.part.sizes)
    }
}

/// One that moved, and what else speaks.
struct Shift<'a> {
    held: &'a Held<'a>,
    signs: Signs,
    score: Score,
    enough: bool,
}

impl<'a> Shift<'a> {
    fn of(held: &'a Held<'a>, minute: &Minute, ctx: &AnalyticContext<'_>) -> Self {
        let signs = Signs::in_part(minute, &held.part, None, ctx);
        let weight = if signs.expected() { 25.0 } else { 40.0 };
        let (divergence, threshold) = (held.divergence, held.threshold);
        let mut terms = vec![
            Term::new("divergence", divergence, threshold, (3.0 * threshold).min(1.0), weight),
            Term::new("doublings_moved", held.doublings(), 0.5, 2.0, 15.0),
        ];
        terms.extend(signs.terms(ctx));
        let score = Score::of(terms, THRESHOLD);
        let enough = score.alerts() && Signs::supported(&score, &["divergence", "doublings_moved"]);
        Self { held, signs, score, enough }
    }

    /// One that alerts before one that does not, a service before the whole.
    fn is_before(&self, other: &Self) -> bool {
        let rank = |shift: &Self| (shift.enough, shift.held.part.service.is_some());
        match rank(self).cmp(&rank(other)) {
            Ordering::Equal => self.score.value > other.score.value,
            order => order == Ordering::Greater,
        }
    }
}

impl PayloadShift {
    fn minute(&mut self, minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        if with_payload(&minute.measures.sent.sizes) < ctx.settings.payload_shift_packets
            || is_whitelisted(minute, ctx)
            || is_of_processes(minute)
        {
            return None;
        }
        let profile = ctx.baselines.profile(&minute.who.baseline)?;
        if profile.minutes() < LEAST_MINUTES {
            return None;
        }
        let services = by_service(minute, profile, ctx.settings);
        let whole = self.whole(minute, profile, ctx.settings);
        let all = services.iter().chain(&whole).filter(|held| held.has_moved());
        let moved: Vec<&Held<'_>> = all.collect();
        let shift = moved
            .iter()
            .map(|held| Shift::of(held, minute, ctx))
            .reduce(|best, next| if next.is_before(&best) { next } else { best })?;
        let name = shift.held.part.service.map(|service| service.to_string());
        let told = (&shift.score, shift.enough);
        if !ctx.decide_part(NAME, &minute.who, name.as_deref(), minute.start_s, told) {
            return None;
        }
        let mut finding = finding(minute, &shift, &services, ctx);
        finding.to_ports = ports_of(minute, &moved).unwrap_or_default();
        Some(finding)
    }

    /// All that was sent, held against what its mix of services lets expect.
    fn whole<'a>(
        &mut self,
        minute: &'a Minute,
        profile: &Profile,
        settings: &DetectSettings,
    ) -> Option<Held<'a>> {
        let learned_packets = with_payload(profile.sizes());
        if learned_packets < 5 * settings.payload_shift_packets {
            return None;
        }
        let usual_sizes = expected(minute, profile, settings);
        let part = Part::whole(minute);
        let divergence = jsd(&usual_sizes, &part.sizes);
        let history = self.history_of(minute)?;
        let usual = history.usual();
        let threshold = settings.payload_shift_threshold.max(usual.unwrap_or(0.0));
        if divergence <= threshold {
            history.divergences.push_back(divergence as f32);
            if history.divergences.len() > WINDOWS {
                history.divergences.pop_front();
            }
        }
        let learned_minutes = profile.minutes();
        Some(Held {
            part,
            usual_sizes,
            learned_packets,
            learned_minutes,
            divergence,
            threshold,
            usual,
        })
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

/// Services with enough packets in the minute that are known well enough.
fn by_service<'a>(
    minute: &'a Minute,
    profile: &Profile,
    settings: &DetectSettings,
) -> Vec<Held<'a>> {
    let held = |spoken: &Spoken| {
        if spoken.packets() < settings.payload_shift_packets {
            return None;
        }
        let known = known(profile, spoken, settings)?;
        let usual = known.distances()?.rarely_over();
        let part = Part::of_service(minute, spoken);
        let usual_sizes = known.sizes();
        Some(Held {
            divergence: jsd(&usual_sizes, &part.sizes),
            part,
            usual_sizes,
            learned_packets: known.packets(),
            learned_minutes: known.minutes(),
            threshold: settings.payload_shift_threshold.max(usual),
            usual: Some(usual),
        })
    };
    minute.measures.spoken.iter().filter_map(held).collect()
}

/// The service, where there is a shape to hold against.
fn known<'a>(
    profile: &'a Profile,
    spoken: &Spoken,
    settings: &DetectSettings,
) -> Option<&'a KnownService> {
    profile.service(spoken.service).filter(|known| {
        known.minutes() >= LEAST_MINUTES && known.packets() >= 5 * settings.payload_shift_packets
    })
}

/// What the mix of the minute's services lets expect: of each that is known its own sizes, of
/// the rest those of all that was learned; as many packets as were learned.
fn expected(minute: &Minute, profile: &Profile, settings: &DetectSettings) -> Sizes {
    let learned = profile.sizes();
    let all = with_payload(&minute.measures.sent.sizes);
    let mut rest = all;
    let mut shares = Vec::new();
    for spoken in &minute.measures.spoken {
        let Some(known) = known(profile, spoken, settings) else { continue };
        let packets = spoken.packets().min(rest);
        rest -= packets;
        shares.push((known.sizes(), packets));
    }
    if shares.is_empty() {
        return *learned;
    }
    shares.push((*learned, rest));
    let mut sizes = [0.0; SIZE_BINS];
    for (shape, packets) in shares {
        let each = packets as f64 / with_payload(&shape).max(1) as f64;
        for (sum, learned) in sizes.iter_mut().zip(shape).skip(1) {
            *sum += each * learned as f64;
        }
    }
    let times = with_payload(learned) as f64 / all.max(1) as f64;
    sizes.map(|packets| (packets * times).round() as u64)
}

/// Ports that what has moved went to: of services theirs, where the entity asked, of the whole
/// those of the minute. Nothing where one of them is not known.
fn ports_of(minute: &Minute, moved: &[&Held<'_>]) -> Option<Vec<u16>> {
    let mut ports = BTreeSet::new();
    for held in moved {
        match held.part.service {
            Some(service) => {
                let is_port = service.leg == Leg::Opened && has_port((service.proto, service.port));
                ports.insert(is_port.then_some(service.port)?);
            }
            None => {
                let all = minute.measures.destination_ports();
                ports.extend((!all.is_empty()).then_some(all)?);
            }
        }
    }
    Some(ports.into_iter().collect())
}

fn finding(
    minute: &Minute,
    shift: &Shift<'_>,
    services: &[Held<'_>],
    ctx: &AnalyticContext<'_>,
) -> Finding {
    let Held { part, divergence, threshold, usual, learned_packets, .. } = shift.held;
    let rule = Rule {
        name: "payload_shift_threshold",
        threshold: (threshold * 1_000.0) as u64,
        unit: "thousandths of a bit",
        formula: "Jensen-Shannon divergence between the minute's payload sizes and the learned ones",
    };
    let (severity, severity_reason) = shift.signs.severity(&shift.score);
    let span = (minute.start_s, minute.start_s + minute.length_s - 1);
    let mut finding = about(NAME, &minute.who, span, rule, shift.score.clone(), ctx.seed);
    measured_in(&mut finding, minute);
    // The chart of what moved, next to what was learned of it.
    finding.traffic.sizes = part.sizes;
    if let Some(act) = finding.act.as_mut().filter(|_| part.service.is_some()) {
        act.to = part.target();
    }
    finding.measured = (divergence * 1_000.0) as u64;
    finding.kind = "payload_sizes";
    shift.signs.fill(&mut finding, minute, ctx);
    finding.details.insert("packets_with_payload", json!(part.packets()));
    if let Some(service) = part.service {
        finding.details.insert("service", json!(service.to_string()));
    }
    if !services.is_empty() {
        let told = services.iter().map(|held| {
            json!({
                "service": held.part.service.map(|service| service.to_string()), "packets": held.part.packets(),
                "divergence": round3(held.divergence), "threshold": round3(held.threshold),
            })
        });
        finding.details.insert("services", told.collect());
    }
    let Some(case) = finding.case.as_mut() else { return finding };
    case.severity = severity;
    case.severity_reason = severity_reason;
    case.decided_by = DecidedBy::Baseline;
    let of_what = part.service.map(|service| format!(" of {service}"));
    let of_what = of_what.unwrap_or_default();
    let calibrated = match usual {
        Some(usual) => format!("its own minutes rarely diverge by more than {usual:.3}"),
        None => "too few of its own minutes to say what they usually diverge by".to_owned(),
    };
    case.baseline = format!(
        "sizes of {} packets{of_what} in {} minutes; {calibrated}",
        thousands(*learned_packets),
        thousands(shift.held.learned_minutes)
    );
    case.baseline_values = json!({
        "sizes": shift.held.usual_sizes, "usual_divergence": usual.map(round3),
        "packets": learned_packets,
    });
    if usual.is_none() {
        case.confident("threshold_not_calibrated", -0.1);
    }
    let there = if part.service.is_some() { " there" } else { "" };
    case.summary = format!(
        "{} sent {} in a minute, in sizes that are not its own{there}: divergence \
         {divergence:.2} of at most 1 (threshold {threshold:.2}) over {} packets, moved by {:.1} \
         doublings.",
        subject(minute),
        part.sent_to(),
        thousands(part.packets()),
        shift.held.doublings(),
    );
    let is_other = |held: &&Held<'_>| held.has_moved() && held.part.service != part.service;
    let others = services.iter().filter(is_other).filter_map(|held| held.part.service);
    let others: Vec<String> = others.map(|service| service.to_string()).collect();
    if !others.is_empty() {
        case.summary += &format!(" So are those of {}.", others.join(", "));
    }
    finding
}

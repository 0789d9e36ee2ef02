//! Signs of AN0031 that its detectors have in common: no one of them is enough.
//!
//! A detector has a measure of its own and adds these terms to it ([`Signs::terms`]); it
//! alerts only if at least one of them speaks too ([`Signs::supported`]).

use serde_json::json;

use super::distance::{Sizes, jsd_from_random, top_bin, with_payload};
use super::process_context::{cite, details, named, person_at};
use super::slow_leak::Leak;
use super::{AnalyticContext, answers_with_process};
use crate::alert::{EntityKind, Score, Severity, Term, thousands};
use crate::baseline::{Metric, Profile};
use crate::detect::classes::{Class, ClassKind, Doubt, matches};
use crate::detect::{Finding, round3};
use crate::engine::window::{Host, size_bin, size_bin_range};
use crate::entity::{Leg, Minute, PeerSums, Service, Spoken, service_name};

/// Minutes of history from which a destination that is not in it is new.
pub(super) const LEAST_MINUTES: u64 = 30;

/// Packets with payload before which their sizes say nothing.
const LEAST_PACKETS: u64 = 50;

/// Distance under which sizes are as good as drawn by lot (see `distance`).
const RANDOM: f64 = 0.02;

/// Ports of protocols whose bytes are encrypted or packed as a rule.
pub(super) const ENCRYPTED: [u16; 16] =
    [22, 443, 465, 500, 563, 636, 853, 989, 990, 993, 995, 1194, 4500, 5061, 8443, 51820];

/// What of a minute is looked at: all that was sent, or what was over one service.
pub(super) struct Part<'a> {
    pub service: Option<Service>,
    pub sizes: Sizes,
    pub sent_payload: u64,
    received_payload: u64,
    external_payload: u64,
    /// Who got the most, with what is known of that, and the share for certain.
    to: Option<(Host, Option<&'a PeerSums<Host>>, f64)>,
    /// Most of it was over services whose payload nobody can read, as far as ports tell.
    encrypted: bool,
}

impl<'a> Part<'a> {
    pub(super) fn whole(minute: &'a Minute) -> Self {
        let measures = &minute.measures;
        Self {
            service: None,
            sizes: measures.sent.sizes,
            sent_payload: measures.sent.payload_bytes,
            received_payload: measures.received.payload_bytes,
            external_payload: measures.external.payload_bytes,
            to: measures.top_peer().map(|(peer, share)| (peer.key, Some(peer), share)),
            encrypted: is_mostly_encrypted(minute),
        }
    }

    pub(super) fn of_service(minute: &'a Minute, spoken: &Spoken) -> Self {
        let to = spoken.to.map(|(host, lead)| {
            let peer = minute.measures.top.iter().find(|peer| peer.key == host);
            (host, peer, lead as f64 / spoken.sent_payload.max(1) as f64)
        });
        Self {
            service: Some(spoken.service),
            sizes: spoken.sizes(),
            sent_payload: spoken.sent_payload,
            received_payload: spoken.received_payload,
            external_payload: spoken.external_payload,
            to,
            encrypted: ENCRYPTED.contains(&spoken.service.port),
        }
    }

    /// Packets with payload.
    pub(super) fn packets(&self) -> u64 {
        with_payload(&self.sizes)
    }

    /// Who got at least half of it.
    pub(super) fn target(&self) -> Option<Host> {
        self.to.filter(|&(_, _, share)| share >= 0.5).map(|(host, ..)| host)
    }

    /// `1,234 bytes to 192.0.2.1 over udp/53`; `1,234 bytes, 99 % of it to 192.0.2.1` where
    /// others got some.
    pub(super) fn sent_to(&self) -> String {
        let mut text = format!("{} bytes", thousands(self.sent_payload));
        if let Some((host, _, share)) = self.to {
            // Never more than it is: 100 % is all.
            let percent = libm::floor(share * 100.0);
            text += &match share {
                1.0.. => format!(" to {}", host.ip()),
                0.9.. => format!(", {percent:.0} % of it to {}", host.ip()),
                _ => format!(" to several, most to {}", host.ip()),
            };
        }
        if let Some(service) = self.service {
            let as_what = if service.leg == Leg::Opened { "over" } else { "as server of" };
            text += &format!(" {as_what} {}", service_name((service.proto, service.port)));
        }
        text
    }
}

/// What else is odd in a minute of an entity.
pub(super) struct Signs {
    /// Nothing where the entity is no process.
    pub class: Option<Class>,
    person: Option<bool>,
    /// Payload sent by payload received.
    pub ratio: f64,
    pub sent_payload: u64,
    external: f64,
    /// Bin with the most packets with payload, and its share.
    top: Option<(usize, f64)>,
    random_sizes: bool,
    new_destination: Option<bool>,
    times_q99: Option<f64>,
    entropy: Option<f64>,
    encrypted: bool,
}

impl Signs {
    pub(super) fn of(minute: &Minute, entropy: Option<f64>, ctx: &AnalyticContext<'_>) -> Self {
        Self::in_part(minute, &Part::whole(minute), entropy, ctx)
    }

    /// The same of what was over one service.
    pub(super) fn in_part(
        minute: &Minute,
        part: &Part<'_>,
        entropy: Option<f64>,
        ctx: &AnalyticContext<'_>,
    ) -> Self {
        let view = minute.who.process.as_ref();
        let profile =
            ctx.baselines.profile(&minute.who.baseline).filter(|p| p.minutes() >= LEAST_MINUTES);
        let normal = profile.and_then(|p| p.normal(Metric::EgressBytes, minute.start_s));
        // How much the others sent is no sign of a small service.
        let is_most = part.sent_payload.saturating_mul(2) >= minute.measures.sent.payload_bytes;
        let normal = normal.filter(|_| is_most);
        let sent = part.sent_payload;
        let sizes = Some(&part.sizes).filter(|sizes| with_payload(sizes) >= LEAST_PACKETS);
        Self {
            class: view.map(|view| ctx.settings.classes.classify(view)),
            person: view.and_then(|view| person_at(view)),
            ratio: sent as f64 / part.received_payload.max(1) as f64,
            sent_payload: sent,
            external: part.external_payload as f64 / sent.max(1) as f64,
            top: sizes.and_then(top_bin),
            random_sizes: sizes.and_then(jsd_from_random).is_some_and(|d| d <= RANDOM),
            new_destination: profile.and_then(|profile| is_new(profile, minute, part, ctx)),
            times_q99: normal.map(|n| n.times_q99(Metric::EgressBytes.of(minute))),
            entropy,
            encrypted: part.encrypted,
        }
    }

    /// What else is odd in the latest minute of a leak to somebody new outside: sums and
    /// destination are those of all of it.
    pub(super) fn of_leak(
        minute: &Minute,
        leak: &Leak,
        entropy: Option<f64>,
        ctx: &AnalyticContext<'_>,
    ) -> Self {
        Self {
            ratio: leak.ratio(),
            sent_payload: leak.sent_payload,
            external: 1.0,
            new_destination: Some(true),
            ..Self::of(minute, entropy, ctx)
        }
    }

    /// Nobody who talks by profession: then odd figures are its business.
    fn unexpected(&self) -> f64 {
        let Some(class) = &self.class else { return 0.0 };
        if class.doubt.is_some_and(Doubt::is_sign) {
            return 0.8;
        }
        match class.kind {
            ClassKind::Never => 1.0,
            ClassKind::Unknown if class.doubt != Some(Doubt::NameAlone) => 0.4,
            ClassKind::Interpreter if self.person != Some(true) => 0.4,
            _ => 0.0,
        }
    }

    /// A program that is known to talk.
    pub(super) fn expected(&self) -> bool {
        let kind = self.class.as_ref().map(|class| class.kind);
        use ClassKind::{Agent, Client, InteractiveClient, Kernel, Server};
        matches!(kind, Some(Agent | Client | InteractiveClient | Kernel | Server))
    }

    /// Share of packets of one size, where that is not simply a full packet; 1 for sizes
    /// by lot.
    fn made_up_sizes(&self) -> f64 {
        if self.random_sizes {
            return 1.0;
        }
        match self.top {
            Some((bin, share)) if bin < size_bin(1_024) => share,
            _ => 0.0,
        }
    }

    /// Of these, each that speaks gives at least a third of its points.
    pub(super) fn terms(&self, ctx: &AnalyticContext<'_>) -> Vec<Term> {
        let most = ctx.settings.data_ratio_threshold;
        let enough = self.sent_payload >= ctx.settings.data_ratio_bytes;
        let ratio = if enough { self.ratio.min(1e6) } else { 0.0 };
        let mut terms = vec![
            Term::doubling("send_receive_ratio", ratio, 2.0, most, 20.0),
            Term::new("one_or_random_sizes", self.made_up_sizes(), 0.7, 0.95, 15.0),
            Term::new("unexpected_sender", self.unexpected(), 0.0, 1.0, 25.0),
            Term::new("share_external", self.external, 0.5, 1.0, 5.0),
        ];
        if let Some(new) = self.new_destination {
            terms.push(Term::new("new_destination", f64::from(u8::from(new)), 1.0, 1.0, 10.0));
        }
        if let Some(times) = self.times_q99 {
            terms.push(Term::doubling("times_own_q99", times, 1.0, 4.0, 15.0));
        }
        if let Some(entropy) = self.entropy {
            let least = ctx.settings.entropy_score;
            terms.push(Term::new("entropy_score", entropy, least - 0.5, least, 10.0));
        }
        terms
    }

    /// Whether a sign other than the detector's own measures speaks; where the traffic
    /// goes to is none.
    pub(super) fn supported(score: &Score, own: &[&str]) -> bool {
        score.terms.iter().any(|term| {
            term.name != "share_external"
                && !own.contains(&term.name)
                && term.points * 3.0 >= term.weight
        })
    }

    /// The same terms beside how much was sent, where that is the measure.
    pub(super) fn sums(&self, ctx: &AnalyticContext<'_>) -> Vec<Term> {
        let (sent, least) = (self.sent_payload as f64, ctx.settings.data_ratio_bytes as f64);
        let mut terms =
            vec![Term::doubling("payload_bytes", sent, least / 2.0, least * 64.0, 15.0)];
        terms.extend(self.terms(ctx));
        terms
    }

    /// What all alerts of AN0031 say the same way.
    pub(super) fn fill(&self, finding: &mut Finding, minute: &Minute, ctx: &AnalyticContext<'_>) {
        let who = &minute.who;
        let profile = ctx.baselines.profile(&who.baseline);
        finding.details.extend(self.details());
        if let (Some(view), Some(class)) = (&who.process, &self.class) {
            finding.details.extend(details(view, class));
        }
        let Some(case) = finding.case.as_mut() else { return };
        case.quiet_s = 180;
        let is_named = answers_with_process(case, who, "AN0031");
        cite(case, who, self.class.as_ref());
        case.baseline_mature = ctx.baselines.is_mature(&who.baseline);
        case.baseline_days = profile.map_or(0.0, Profile::days);
        case.baseline = match profile {
            Some(profile) => self.held_against(profile),
            None if ctx.inputs.baseline => "none yet of this entity".to_owned(),
            None => "none: no baseline was given".to_owned(),
        };
        if profile.is_none() {
            case.missing.push("baseline");
        }
        case.confident("start", 0.4);
        if who.process.is_some() && who.certainty >= 0.9 {
            case.confident("process_certain", 0.1);
        }
        if case.score.value >= case.score.threshold + 20.0 {
            case.confident("well_over_the_threshold", 0.1);
        }
        if case.score.dimensions() >= 4 {
            case.confident("four_dimensions", 0.1);
        }
        if case.baseline_mature {
            case.confident("mature_baseline", 0.1);
        }
        if !is_named {
            case.confident("process_unknown", -0.1);
        }
        // What is inside can't be looked at: sizes and sums are all there is.
        if self.encrypted {
            case.missing.push("encrypted_payload");
            case.confident("encrypted_payload", -0.1);
        }
        if who.certainty < 0.5 {
            case.confident("process_uncertain", -0.2);
        }
    }

    /// What is known of the entity, and what of that the terms are held against.
    fn held_against(&self, profile: &Profile) -> String {
        let minutes = thousands(profile.minutes());
        if profile.minutes() < LEAST_MINUTES {
            return format!("none: too little is known of this entity ({minutes} minutes)");
        }
        let sent = self.times_q99.map(|times| format!("sent {times:.1} times its 99th percentile"));
        let new = self.new_destination.map(|is_new| {
            let what = if is_new { "new" } else { "known" };
            format!("where most of it went is {what}")
        });
        let of: Vec<String> = [sent, new].into_iter().flatten().collect();
        match of.is_empty() {
            true => format!("of {minutes} minutes; none of what is scored is held against it"),
            false => format!("{}; of {minutes} minutes", of.join(", ")),
        }
    }

    fn details(&self) -> std::collections::BTreeMap<&'static str, serde_json::Value> {
        let mut details = std::collections::BTreeMap::new();
        details.insert("send_receive_ratio", json!(round3(self.ratio)));
        details.insert("share_external", json!(round3(self.external)));
        details.insert("random_sizes", json!(self.random_sizes));
        if let Some((bin, share)) = self.top {
            let (min, max) = size_bin_range(bin);
            details
                .insert("commonest_size", json!({"min": min, "max": max, "share": round3(share)}));
        }
        details
    }

    /// Severity by what the program is and whether somebody is at it.
    pub(super) fn severity(&self, score: &Score) -> (Severity, String) {
        let odd = self.unexpected();
        let strong = score.value >= score.threshold + 20.0;
        let severity = match (odd >= 0.8, strong, self.person) {
            (true, true, Some(true)) => Severity::Medium,
            (true, true, _) => Severity::High,
            (true, false, _) | (false, true, Some(false) | None) => Severity::Medium,
            (false, _, _) => Severity::Low,
        };
        let program = match &self.class {
            Some(class) => format!("the program's class is {}", class.kind.name()),
            None => "the program is not known".to_owned(),
        };
        let person = match self.person {
            Some(true) => ", a person is at it",
            Some(false) => ", nobody is at it",
            None => "",
        };
        let score = format!("score {} of {}", score.value, score.threshold);
        (severity, format!("{program}{person}, {score}"))
    }
}

/// Executables that the user vouches for, by path: ATT&CK's ProcessWhitelist.
pub(super) fn is_whitelisted(minute: &Minute, ctx: &AnalyticContext<'_>) -> bool {
    let view = minute.who.process.as_ref();
    view.is_some_and(|view| {
        let process = &view.process;
        !process.exe_in_writable_folder && matches(&ctx.settings.process_whitelist, &process.exe)
    })
}

/// Most of what an address or instance sent and got is that of processes that are known:
/// they are judged by themselves, each by its own normal.
pub(super) fn is_of_processes(minute: &Minute) -> bool {
    let kind = minute.who.entity.kind;
    matches!(kind, EntityKind::Address | EntityKind::Instance | EntityKind::Host)
        && minute.measures.of_processes_bytes * 2 > minute.measures.payload_bytes()
}

/// Most of what was sent went to services whose payload nobody can read, as far as ports
/// tell.
fn is_mostly_encrypted(minute: &Minute) -> bool {
    let measures = &minute.measures;
    let services = measures.services.iter();
    let encrypted = services.filter(|service| ENCRYPTED.contains(&service.key.1));
    let bytes = encrypted.fold(0_u64, |sum, service| sum.saturating_add(service.sent_payload));
    bytes > measures.sent.payload_bytes / 2
}

/// The entity in words.
pub(super) fn subject(minute: &Minute) -> String {
    match &minute.who.process {
        Some(view) => named(view),
        None => format!(
            "{} {}",
            minute.who.baseline.split(':').next().unwrap_or(""),
            minute.who.entity.id
        ),
    }
}

/// `1,234 bytes to 192.0.2.1`.
pub(super) fn sent_to(minute: &Minute) -> String {
    Part::whole(minute).sent_to()
}

/// Whether who got the most is new to the entity; nothing where nobody got anything, or
/// asked for it.
fn is_new(
    profile: &Profile,
    minute: &Minute,
    part: &Part<'_>,
    ctx: &AnalyticContext<'_>,
) -> Option<bool> {
    let (_, peer, _) = part.to?;
    ctx.is_new(profile, minute, peer?)
}

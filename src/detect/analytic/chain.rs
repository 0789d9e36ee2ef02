//! From an exploited service to the outside: the three stages of AN0223, joined.
//!
//! Method (METHODS section 11): signs of the three stages on one workload, in their
//! order, each within `time_window_s` of the one before. Whose a sign is says the
//! narrowest that is known: container, host, instance, address. What is known of the wider
//! alone counts for the narrower too: the balancer's target and a flow log's source for
//! the host that has the address, or that the inventory calls so. Not where two hosts had
//! the address, nor for a container unless the request came there. Within a host without
//! containers, what a process did follows on what another did only where it descends
//! from it, or has the same service or unit above it. A log comes when it comes: signs
//! are held for `log_lateness_s`, or what the log's kind says, beyond the window, and are judged by their own times.
//!
//! Score: 30 points for the request, 40 for the foothold, 30 for the egress, each times
//! the sign's strength. A stage counts from a third of its points on. Three stages that
//! reach `chain_score` are high, two are low. One alone is informational, and only where
//! a person might want to look: a shell below a service, a tool that asks for metadata,
//! a request that the target answered, a burst of errors. A probe that the target did
//! not find is everyday noise and a new destination alone is everyday life: they open
//! nothing, and join when more comes. So each workload has at most one alert, which is
//! revised as stages come.
//!
//! Bounded: [`MAX_CASES`] workloads with [`super::links::MAX_SIGNS`] signs a stage; past it the
//! eighth that was quiet longest makes room, of signs the weakest, then the oldest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ahash::HashSet;

use super::error_spike::ErrorSpike;
use super::exploit::Exploit;
use super::first_seen::FirstSeen;
use super::links::{Case, Lent};
use super::metadata::Metadata;
use super::room::make_room;
use super::shell::Shell;
use super::stage::{Neighbours, Place, Sign, Stage};
use super::story::{self, Story};
use super::{Analytic, AnalyticContext, Event, EventKind, Measured};
use crate::alert::EntityKind;
use crate::detect::Finding;
use crate::host::execs::Served;
use crate::host::side::FlowHosts;

const MAX_CASES: usize = 4_096;

const SECOND_NS: i64 = 1_000_000_000;

/// How long an alert goes without being told again while signs go on.
const TELL_AGAIN_S: i64 = 60;

type CaseKey = (EntityKind, String);

/// What cases are called by ([`Place::who`]), the narrowest first.
const KINDS: [EntityKind; 4] =
    [EntityKind::Workload, EntityKind::Host, EntityKind::Instance, EntityKind::Address];

/// Joins signs to chains.
#[derive(Debug, Default)]
pub(super) struct Chain {
    exploit: Exploit,
    errors: ErrorSpike,
    shell: Shell,
    metadata: Metadata,
    first_seen: FirstSeen,
    cases: BTreeMap<CaseKey, Known>,
    /// Those with news since the last second.
    news: BTreeSet<CaseKey>,
    now_s: i64,
    forgot_s: i64,
    /// Most that the kind of a source says.
    lateness_s: i64,
    refused: u64,
}

/// A workload, and what was told of it.
#[derive(Debug, Default)]
struct Known {
    case: Case,
    told: Option<Told>,
}

/// What was told last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    second: i64,
    score: f64,
    moments: usize,
}

impl Analytic for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[
            EventKind::Request,
            EventKind::Asked,
            EventKind::Exec,
            EventKind::Flow,
            EventKind::Report,
            EventKind::Time,
        ]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match *event {
            Event::Request { source, request, served } => {
                self.lateness_s = self.lateness_s.max(source.lateness_ns / SECOND_NS);
                self.advance(request.time_ns, ctx, out);
                self.note_service(served, request.time_ns);
                let exploit = self.exploit.look(source, request, served, ctx);
                let spike = self.errors.look(source, request, served, ctx);
                for sign in [exploit, spike].into_iter().flatten() {
                    self.take(sign);
                }
            }
            Event::Asked { time_ns, served } => self.note_service(served, time_ns),
            Event::Exec(exec) => {
                self.advance(exec.time_ns, ctx, out);
                let sign = self.shell.look(exec, ctx);
                sign.into_iter().for_each(|sign| self.take(sign));
            }
            Event::Flow(flow) => {
                if flow.app.is_some_and(|app| app.http.is_some()) {
                    self.note_http(flow.hosts, flow.outline.start_ns);
                }
                let services = self.shell.services();
                // One after the other: a sign is large, and hardly any flow has one.
                if let Some(sign) = self.metadata.flow(flow, services, ctx) {
                    self.take(sign);
                }
                let services = self.shell.services();
                if let Some(sign) = self.first_seen.flow(flow, services, ctx) {
                    self.take(sign);
                }
            }
            Event::Report { source, flow, hosts } => {
                self.advance(flow.end_ns, ctx, out);
                let services = self.shell.services();
                let metadata = self.metadata.report(source, flow, hosts, services, ctx);
                let egress = self.first_seen.report(source, flow, hosts, services, ctx);
                for sign in [metadata, egress].into_iter().flatten() {
                    self.take(sign);
                }
            }
            Event::Time { second } => self.tell(second.saturating_sub(1), ctx, out),
            _ => {}
        }
    }

    fn teach(&mut self, taught: &mut Vec<Measured>) {
        self.errors.teach(taught);
    }

    fn refused(&self) -> u64 {
        self.refused
            + self.errors.refused()
            + self.shell.refused()
            + self.metadata.refused()
            + self.first_seen.refused()
    }
}

impl Chain {
    /// Who answers logged requests is a service, whatever it is called.
    fn note_service(&mut self, served: &Served, time_ns: i64) {
        if let Some(process) = &served.process {
            self.shell.services_mut().note(process, time_ns);
        }
    }

    fn note_http(&mut self, hosts: Option<&FlowHosts>, time_ns: i64) {
        let side = hosts.and_then(|hosts| hosts.dst.as_ref());
        if let Some(process) = side.and_then(|side| side.process.as_ref()) {
            self.shell.services_mut().note(process, time_ns);
        }
    }

    fn take(&mut self, sign: Sign) {
        let Some(who) = sign.place.who() else { return };
        let key = (who.entity.kind, who.entity.id);
        if !self.cases.contains_key(&key) {
            self.refused += make_room(&mut self.cases, MAX_CASES, |known| known.case.last_ns);
        }
        let known = self.cases.entry(key.clone()).or_default();
        self.refused += u64::from(!known.case.add(sign));
        self.news.insert(key);
    }

    /// Where no packets tell the time, what comes does.
    fn advance(&mut self, time_ns: i64, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let second = time_ns.div_euclid(SECOND_NS);
        if second > self.now_s && !self.news.is_empty() {
            self.tell(self.now_s, ctx, out);
        }
        self.now_s = self.now_s.max(second);
    }

    /// Tells what there is to tell up to this second.
    fn tell(&mut self, now_s: i64, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        self.now_s = self.now_s.max(now_s);
        let lateness_s = self.lateness(ctx);
        if self.now_s.div_euclid(60) != self.forgot_s.div_euclid(60) {
            self.forgot_s = self.now_s;
            self.forget(ctx);
        }
        let mut keys: Vec<CaseKey> = self.with_news().into_iter().collect();
        // What is told of the narrower is not told of the wider again.
        keys.sort_by_key(|(kind, _)| KINDS.iter().position(|one| one == kind));
        let contested = self.contested();
        let mut in_stories: HashSet<*const Sign> = HashSet::default();
        for key in keys {
            let Some(Known { case, told }) = self.cases.get(&key) else { continue };
            let lent = self.lent_to(&key, case, &contested);
            let Some(links) = case.best(&lent, ctx) else { continue };
            let mut signs = links.stages.iter().flatten().map(|&sign| std::ptr::from_ref(sign));
            if !links.is_worth_telling(ctx.settings.chain_score)
                || signs.all(|sign| in_stories.contains(&sign))
            {
                continue;
            }
            let more = case.more(&links, &lent);
            let story = links.stages.iter().flatten().chain(&more);
            in_stories.extend(story.map(|&sign| std::ptr::from_ref(sign)));
            let moments = links.stages.iter().flatten().count();
            let is_news = told.is_none_or(|before| {
                links.score > before.score
                    || moments > before.moments
                    || self.now_s - before.second >= TELL_AGAIN_S
            });
            if !is_news {
                continue;
            }
            // The book takes one finding of a second.
            let second = told.map_or(self.now_s, |before| self.now_s.max(before.second + 1));
            let story = Story { links: &links, more, case: &case.place, second, lateness_s };
            out.extend(story::finding(&story, ctx));
            let told = Told { second, score: links.score, moments };
            if let Some(known) = self.cases.get_mut(&key) {
                known.told = Some(told);
            }
        }
    }

    /// How late logs may come: what is set, or what the kinds of these say.
    fn lateness(&self, ctx: &AnalyticContext<'_>) -> i64 {
        let set_s = i64::try_from(ctx.settings.log_lateness_s).unwrap_or(i64::MAX);
        set_s.max(self.lateness_s)
    }

    /// Cases with news of their own, or of the host, instance or address they are at.
    fn with_news(&mut self) -> BTreeSet<CaseKey> {
        let mut all = std::mem::take(&mut self.news);
        let wide: Vec<(EntityKind, &Place)> = all
            .iter()
            .filter(|(kind, _)| *kind != EntityKind::Workload)
            .filter_map(|key| Some((key.0, &self.cases.get(key)?.case.place)))
            .collect();
        // Each case beside each with news would be millions of pairs where thousands of
        // addresses have news every second. Two of one kind are never at the same place:
        // it is what they are called by.
        for kind in KINDS {
            let others =
                || wide.iter().filter(|(other, _)| *other != kind).map(|(_, place)| *place);
            if others().next().is_none() {
                continue;
            }
            let near = Neighbours::of(others());
            let of_kind = self.cases.range((kind, String::new())..);
            let of_kind = of_kind.take_while(|((of, _), _)| *of == kind);
            let more = of_kind.filter(|(_, known)| {
                let place = &known.case.place;
                near.may_meet(place) && others().any(|other| other.meets(place))
            });
            all.extend(more.map(|(key, _)| key.clone()));
        }
        all
    }

    /// Signs that are known of the case's host, instance or address alone, as far as they
    /// may be the case's.
    fn lent_to<'a>(&'a self, key: &CaseKey, case: &Case, contested: &HashSet<IpAddr>) -> Lent<'a> {
        let place = &case.place;
        let host = place.host.as_ref().map(|host| (EntityKind::Host, host.to_string()));
        let instance =
            place.instance.as_ref().map(|instance| (EntityKind::Instance, instance.id.clone()));
        let address = place.address.map(|address| (EntityKind::Address, address.to_string()));
        let wider = [host, instance, address].into_iter().flatten().filter(|wider| wider != key);
        let cases: Vec<&Case> =
            wider.filter_map(|wider| Some(&self.cases.get(&wider)?.case)).collect();
        let of = |stage: Stage| {
            let signs = cases.iter().flat_map(move |case| case.signs(stage));
            signs.filter(|sign| sign.place.meets(place))
        };
        let requests: Vec<&Sign> = of(Stage::Request).collect();
        let asked = case.signs(Stage::Request).iter().chain(requests.iter().copied());
        let at: HashSet<IpAddr> =
            asked.filter_map(|sign| sign.place.address).chain(place.address).collect();
        let is_its = |sign: &&Sign| {
            // A process that is known to be of no container is not this one's.
            let is_unknown = sign.place.process.is_none();
            let address = sign.place.address;
            // Beside a container there are others, at other addresses of the host.
            let is_here = key.0 != EntityKind::Workload || address.is_some_and(|a| at.contains(&a));
            is_unknown && is_here && !address.is_some_and(|address| contested.contains(&address))
        };
        let later = |stage| of(stage).filter(is_its).collect();
        [requests, later(Stage::Foothold), later(Stage::Egress)]
    }

    /// Addresses that two hosts had: what is known of the address alone may be either's.
    fn contested(&self) -> HashSet<IpAddr> {
        let hosts = self.cases.range((EntityKind::Host, String::new())..);
        let hosts = hosts.take_while(|((kind, _), _)| *kind == EntityKind::Host);
        let mut seen = HashSet::default();
        hosts
            .filter_map(|(_, known)| known.case.place.address)
            .filter(|address| !seen.insert(*address))
            .collect()
    }

    /// What is too old to be joined by anything that may still come.
    fn forget(&mut self, ctx: &AnalyticContext<'_>) {
        let windows_s = i64::try_from(2 * ctx.settings.time_window_s).unwrap_or(i64::MAX);
        let held_s = windows_s.saturating_add(self.lateness(ctx));
        let before_ns = self.now_s.saturating_sub(held_s).saturating_mul(SECOND_NS);
        self.cases.retain(|_, known| known.case.forget(before_ns));
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;

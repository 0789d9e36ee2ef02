//! From an exploited service to the outside: the three stages of AN0223, joined.
//!
//! Method (METHODS section 11): signs of the three stages on one workload, in their
//! order, each within `time_window_s` of the one before. Whose a sign is says the
//! narrowest that is known: container, host, instance, address. Within a host without
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
//! Bounded: [`MAX_CASES`] workloads with [`MAX_SIGNS`] signs a stage; past it the
//! workload that was quiet longest makes room, of signs the weakest, then the oldest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error_spike::ErrorSpike;
use super::exploit::Exploit;
use super::first_seen::FirstSeen;
use super::metadata::Metadata;
use super::shell::Shell;
use super::stage::{Place, Sign, Stage};
use super::story::{self, Story};
use super::{Analytic, AnalyticContext, Event};
use crate::alert::EntityKind;
use crate::detect::Finding;
use crate::host::execs::Served;
use crate::host::side::FlowHosts;

const MAX_CASES: usize = 4_096;
const MAX_SIGNS: usize = 16;

const SECOND_NS: i64 = 1_000_000_000;

/// How long an alert goes without being told again while signs go on.
const TELL_AGAIN_S: i64 = 60;

/// Clocks of packets and of the host's kernel agree to less than that.
const CLOCKS_NS: i64 = SECOND_NS;

/// Weights of the stages: what happens on the host is the surest.
const WEIGHTS: [f64; 3] = [30.0, 40.0, 30.0];

/// Strength from which a request was answered, so that something may have come of it.
const ANSWERED: f64 = 0.6;

/// Points of all three stages, one of them below a third, that are high all the same.
const SURE: f64 = 75.0;

type CaseKey = (EntityKind, String);

/// Joins signs to chains.
#[derive(Debug, Default)]
pub struct Chain {
    exploit: Exploit,
    errors: ErrorSpike,
    shell: Shell,
    metadata: Metadata,
    first_seen: FirstSeen,
    cases: BTreeMap<CaseKey, Case>,
    /// Those with news since the last second.
    news: BTreeSet<CaseKey>,
    now_s: i64,
    forgot_s: i64,
    /// Most that the kind of a source says.
    lateness_s: i64,
    refused: u64,
}

/// A workload and what was seen of it.
#[derive(Debug, Default)]
struct Case {
    place: Place,
    signs: [Vec<Sign>; 3],
    last_ns: i64,
    told: Option<Told>,
}

/// What was told last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    second: i64,
    score: f64,
    moments: usize,
}

/// Signs that belong together, one a stage at most.
#[derive(Clone, Debug)]
pub(super) struct Links<'a> {
    pub stages: [Option<&'a Sign>; 3],
    pub score: f64,
}

impl Links<'_> {
    /// Stages that count.
    pub(super) fn counted(&self) -> usize {
        self.stages.iter().flatten().filter(|sign| sign.counts()).count()
    }

    /// All three, or enough of them to be sure.
    pub(super) fn is_whole(&self, threshold: f64) -> bool {
        let present = self.stages.iter().flatten().count();
        self.score >= threshold && (self.counted() == 3 || (present == 3 && self.score >= SURE))
    }

    /// Whether somebody should see it at all.
    fn is_worth_telling(&self, threshold: f64) -> bool {
        let [request, foothold, _] = self.stages;
        (self.counted() >= 2 && self.score >= threshold)
            || foothold.is_some_and(|sign| sign.counts() && !sign.only_after_request)
            || request.is_some_and(|sign| sign.strength >= ANSWERED)
    }
}

impl Analytic for Chain {
    fn name(&self) -> &'static str {
        "chain"
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
                let metadata = self.metadata.flow(flow, services, ctx);
                let egress = self.first_seen.flow(flow, services, ctx);
                for sign in [metadata, egress].into_iter().flatten() {
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
        if self.cases.len() >= MAX_CASES && !self.cases.contains_key(&key) {
            let quiet = self.cases.iter().min_by_key(|&(key, case)| (case.last_ns, key));
            if let Some(quiet) = quiet.map(|(key, _)| key.clone()) {
                self.cases.remove(&quiet);
                self.refused += 1;
            }
        }
        let case = self.cases.entry(key.clone()).or_default();
        case.last_ns = case.last_ns.max(sign.time_ns);
        case.place.learn(&sign.place);
        self.refused += u64::from(!case.add(sign));
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
        for key in self.with_news() {
            let Some(case) = self.cases.get(&key) else { continue };
            let elsewhere = self.requests_for(&key, case);
            let Some(links) = case.best(&elsewhere, ctx) else { continue };
            if !links.is_worth_telling(ctx.settings.chain_score) {
                continue;
            }
            let moments = links.stages.iter().flatten().count();
            let is_news = case.told.is_none_or(|before| {
                links.score > before.score
                    || moments > before.moments
                    || self.now_s - before.second >= TELL_AGAIN_S
            });
            if !is_news {
                continue;
            }
            // The book takes one finding of a second.
            let second = case.told.map_or(self.now_s, |before| self.now_s.max(before.second + 1));
            let story = Story { links: &links, case: &case.place, second, lateness_s };
            out.extend(story::finding(&story, ctx));
            let told = Told { second, score: links.score, moments };
            if let Some(case) = self.cases.get_mut(&key) {
                case.told = Some(told);
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
        let wide: Vec<&Case> = all
            .iter()
            .filter(|key| key.0 != EntityKind::Workload)
            .filter_map(|key| self.cases.get(key))
            .collect();
        if !wide.is_empty() {
            let meets = |case: &Case| wide.iter().any(|other| other.place.meets(&case.place));
            let more = self.cases.iter().filter(|(_, case)| meets(case));
            let more: Vec<CaseKey> = more.map(|(key, _)| key.clone()).collect();
            all.extend(more);
        }
        all
    }

    /// Requests that are known of the case's host, instance or address alone.
    fn requests_for<'a>(&'a self, key: &CaseKey, case: &Case) -> Vec<&'a Sign> {
        let place = &case.place;
        let host = place.host.as_ref().map(|host| (EntityKind::Host, host.to_string()));
        let instance =
            place.instance.as_ref().map(|instance| (EntityKind::Instance, instance.id.clone()));
        let address = place.address.map(|address| (EntityKind::Address, address.to_string()));
        let wider = [host, instance, address].into_iter().flatten().filter(|wider| wider != key);
        let cases = wider.filter_map(|wider| self.cases.get(&wider));
        cases.flat_map(|case| &case.signs[0]).filter(|sign| sign.place.meets(place)).collect()
    }

    /// What is too old to be joined by anything that may still come.
    fn forget(&mut self, ctx: &AnalyticContext<'_>) {
        let windows_s = i64::try_from(2 * ctx.settings.time_window_s).unwrap_or(i64::MAX);
        let held_s = windows_s.saturating_add(self.lateness(ctx));
        let before_ns = self.now_s.saturating_sub(held_s).saturating_mul(SECOND_NS);
        self.cases.retain(|_, case| {
            for signs in &mut case.signs {
                signs.retain(|sign| sign.time_ns >= before_ns);
            }
            case.signs.iter().any(|signs| !signs.is_empty())
        });
    }
}

impl Place {
    /// Takes over what is not known yet.
    fn learn(&mut self, other: &Self) {
        let take = |mine: &mut Option<Arc<str>>, theirs: &Option<Arc<str>>| {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        };
        take(&mut self.host, &other.host);
        if self.workload.is_none() {
            self.workload.clone_from(&other.workload);
        }
        if self.instance.is_none() {
            self.instance.clone_from(&other.instance);
        }
        if self.address.is_none() {
            self.address = other.address;
        }
    }
}

impl Case {
    /// False where another had to make room.
    fn add(&mut self, sign: Sign) -> bool {
        let Some(signs) = self.signs.get_mut(sign.stage as usize) else { return true };
        let again = |known: &&mut Sign| known.text == sign.text && known.place == sign.place;
        if let Some(known) = signs.iter_mut().find(again) {
            // The same again: of a request, which comes first, the latest counts.
            let is_later = sign.time_ns > known.time_ns;
            if is_later == (sign.stage == Stage::Request) {
                *known = sign;
            }
            return true;
        }
        signs.push(sign);
        if signs.len() <= MAX_SIGNS {
            return true;
        }
        let weakest = signs.iter().enumerate().min_by(|(_, one), (_, other)| {
            one.strength.total_cmp(&other.strength).then(one.time_ns.cmp(&other.time_ns))
        });
        if let Some(at) = weakest.map(|(at, _)| at) {
            signs.remove(at);
        }
        false
    }

    /// The signs that make the most of a chain.
    fn best<'a>(&'a self, elsewhere: &[&'a Sign], ctx: &AnalyticContext<'_>) -> Option<Links<'a>> {
        let window_ns =
            i64::try_from(ctx.settings.time_window_s).unwrap_or(i64::MAX).saturating_mul(SECOND_NS);
        let [requests, footholds, egress] = &self.signs;
        let requests: Vec<&Sign> = requests.iter().chain(elsewhere.iter().copied()).collect();
        let before = |sign: &Sign| {
            let fits = requests.iter().copied().filter(|first| {
                let from_ns = first.time_ns.saturating_sub(first.may_be_earlier_ns);
                from_ns <= sign.time_ns.saturating_add(CLOCKS_NS)
                    && sign.time_ns.saturating_sub(first.time_ns) <= window_ns
            });
            strongest(fits)
        };
        let after = |sign: &Sign| {
            let fits = egress.iter().filter(|last| {
                last.time_ns.saturating_add(CLOCKS_NS) >= sign.time_ns
                    && last.time_ns.saturating_sub(sign.time_ns) <= window_ns
                    && last.place.can_follow(&sign.place)
            });
            strongest(fits)
        };
        let with_foothold = footholds.iter().filter_map(|foothold| {
            let request = before(foothold);
            let answered = request.is_some_and(|request| request.strength >= ANSWERED);
            (answered || !foothold.only_after_request)
                .then(|| links([request, Some(foothold), after(foothold)]))
        });
        let without = egress.iter().map(|last| {
            // On a host without containers only services' own traffic follows on requests.
            let place = &last.place;
            let is_served =
                place.workload.is_some() || place.process.is_none() || place.service.is_some();
            links([before(last).filter(|_| is_served), None, Some(last)])
        });
        let alone = strongest(requests.iter().copied()).map(|sign| links([Some(sign), None, None]));
        with_foothold.chain(without).chain(alone).max_by(|one, other| {
            let first = |links: &Links<'_>| {
                links.stages.iter().flatten().map(|sign| sign.time_ns).min().unwrap_or_default()
            };
            // Of equals the earlier one.
            one.score.total_cmp(&other.score).then_with(|| first(other).cmp(&first(one)))
        })
    }
}

/// The strongest, of equals the earliest.
fn strongest<'a>(signs: impl Iterator<Item = &'a Sign>) -> Option<&'a Sign> {
    signs.max_by(|one, other| {
        one.strength.total_cmp(&other.strength).then(other.time_ns.cmp(&one.time_ns))
    })
}

fn links(stages: [Option<&Sign>; 3]) -> Links<'_> {
    let points = story::terms(&stages).iter().map(|term| term.points).sum::<f64>();
    Links { stages, score: points }
}

/// Weight of a stage.
pub(super) fn weight(stage: usize) -> f64 {
    WEIGHTS.get(stage).copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;

//! Destinations outside that a workload had never reached: stage 3 of a chain (AN0223).
//!
//! Method (METHODS sections 8 and 11): a flow out of the home networks to a prefix (/24,
//! /48) that the workload's baseline does not have, or did not see for `first_seen_days`, and that
//! less than `first_seen_prevalence` of all other places reach, or fewer than
//! [`LEAST_OTHERS`]: places are addresses and instances, and whose flow it is is none of
//! them. Of a host without containers it is the address's or instance's baseline. Where there is no
//! baseline, what the workload reached earlier in this run is all that is known: that
//! weighs half and is said. Good and Turing's estimate of the chance that the next peer
//! is new, from peers met once, is taken off: whoever meets new peers all the time gains
//! nothing by another.
//!
//! Names ([`crate::detect::Names`]) are destinations too. At a prefix that is new, one that DNS gives
//! the address and that the workload reached before makes it known, unless it claims
//! another one that is not: clouds and content networks move. A claim alone (SNI, HTTP host)
//! makes nothing known. At a prefix that is known, a name that was never reached makes the
//! destination new, where the baseline has names for as long as it takes to be mature, and
//! most flows to that prefix have one. How common a destination is is then asked of the
//! name.
//!
//! Feeds [`super::chain`] alone. Limits: one registered domain is one name, but where anybody
//! gets hosts below it; what is encrypted has the name that DNS told, if anybody saw it.
//! Bounded: [`MAX_PLACES`] with [`MAX_PREFIXES`] each, and as many names; past it the eighth that
//! was quiet longest makes room (`super::room`), which is counted. Flows that nobody answers
//! count as the others do: a flood of them from home, to addresses outside, takes its places.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::room::make_room;
use super::shell::Services;
use super::stage::{Place, Sign, Stage, named};
use super::{AnalyticContext, FlowEnd, Source};
use crate::baseline::{Destination, NameDigest, Others, Profile};
use crate::detect::names::prefix;
use crate::detect::{FlowNames, Name};
use crate::engine::window::Host;
use crate::flow::app::AppInfo;
use crate::host::side::FlowHosts;
use crate::telemetry::observation::{Action, FlowReport};

const MAX_PLACES: usize = 4_096;
const MAX_PREFIXES: usize = 1_024;

/// Flows from which the share of new peers says anything.
const ENOUGH: u64 = 20;

const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;

/// New to the workload, but not to others: it stands in the timeline and is no stage.
const COMMON: f64 = 0.3;
/// Others that must reach a destination before anything calls it common. One may be the
/// gateway that passed the same flow on under its own address, two the next victims of the
/// same attacker; of a small site either is far above any share.
const LEAST_OTHERS: u64 = 3;

/// Finds them.
#[derive(Debug, Default)]
pub(super) struct FirstSeen {
    met: BTreeMap<Key, Met>,
    refused: u64,
}

/// The workload, host, instance or address that reached something. Asked for with every
/// flow, so an address is not put in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Address(IpAddr),
    Named(Arc<str>),
}

/// Prefixes that were reached in this run, and how often.
#[derive(Debug, Default)]
struct Met {
    prefixes: BTreeMap<Host, Times>,
    names: BTreeMap<NameDigest, Times>,
    flows: u64,
    once: u64,
    last_ns: i64,
    /// When some of the prefixes were last forgotten.
    forgot_ns: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    flows: u64,
    first_ns: i64,
    last_ns: i64,
}

/// What this run says of a prefix.
struct Meeting {
    is_first: bool,
    /// The first time in this run was within the time window.
    is_recent: bool,
    /// That the next peer is new, whoever it is.
    chance: f64,
}

/// A flow as far as it matters here.
struct Reached<'a> {
    time_ns: i64,
    dst: IpAddr,
    port: u16,
    source: Option<&'a Source>,
    app: Option<&'a AppInfo>,
    translated: bool,
}

/// What a baseline does not know of a destination.
struct News<'a> {
    why: String,
    /// The name that is new, or that DNS gives to an address of a new prefix.
    name: Option<&'a Name>,
    /// The name alone is.
    by_name: bool,
}

impl Key {
    fn of(place: &Place) -> Option<Self> {
        let is_named = place.workload.is_some() || place.host.is_some() || place.instance.is_some();
        match is_named {
            true => place.who().map(|who| Self::Named(who.baseline)),
            false => place.address.map(Self::Address),
        }
    }
}

impl FirstSeen {
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn flow(
        &mut self,
        flow: &FlowEnd<'_>,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let outline = flow.outline;
        if outline.originator_guessed || !leaves((outline.src(), outline.dst()), ctx) {
            return None;
        }
        let side = flow.hosts.and_then(|hosts| hosts.src.as_ref());
        let attribution = side.and_then(|side| side.attribution.as_ref());
        let reached = Reached {
            time_ns: outline.start_ns,
            dst: outline.dst_ip(),
            port: outline.dst_port(),
            source: None,
            app: flow.app,
            translated: attribution.is_some_and(|how| how.translated),
        };
        self.reach(&reached, Place::of_flow(side, outline.src_ip()), services, ctx)
    }

    pub(super) fn report(
        &mut self,
        source: &Source,
        flow: &FlowReport,
        hosts: Option<&FlowHosts>,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let (src_port, dst_port) = (flow.src_port?, flow.dst_port?);
        // Of a log of single directions one is the answer: the client's port is higher.
        let is_out = flow.originator_known || src_port > dst_port;
        if flow.action == Some(Action::Rejected) || !is_out {
            return None;
        }
        let reached = Reached {
            time_ns: flow.start_ns,
            dst: flow.dst,
            port: dst_port,
            source: Some(source),
            app: None,
            translated: false,
        };
        if !leaves((flow.src.into(), flow.dst.into()), ctx) {
            return None;
        }
        let place = Place::of_flow(hosts.and_then(|hosts| hosts.src.as_ref()), flow.src);
        self.reach(&reached, place, services, ctx)
    }

    /// Takes a flow that leaves.
    fn reach(
        &mut self,
        reached: &Reached<'_>,
        mut place: Place,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let src = Host::from(place.address?);
        let dst = Host::from(reached.dst);
        if super::metadata::is_endpoint(reached.dst, ctx) {
            return None;
        }
        let window_s = i64::try_from(ctx.settings.time_window_s).unwrap_or(i64::MAX);
        let window_ns = window_s.saturating_mul(SECOND_NS);
        let met = Key::of(&place)?;
        let meeting = self.meet(met.clone(), prefix(&dst), reached.time_ns, window_ns);
        // Asked of every flow: most are to where it always goes, and nobody learned more.
        if !meeting.is_first && ctx.baselines.is_empty() {
            return None;
        }
        let names = ctx.names.of(&src, &dst, reached.app, reached.time_ns);
        if let Some(view) = &place.process {
            place.service = services.of(view, ctx).map(|(id, _)| id);
        }
        let keys = place.baselines();
        let profile = keys.iter().find_map(|key| Some((key, ctx.baselines.profile(key)?)));
        let mut chance = meeting.chance;
        let (strength, why) = match profile {
            Some((key, profile)) => {
                let recent = self.meet_names(&met, &names, reached.time_ns, window_ns);
                let asked =
                    Asked { profile, names: &names, time_ns: reached.time_ns, src, dst, ctx };
                let News { why, name, by_name } = asked.news(meeting.is_recent, &recent)?;
                let newness = match by_name {
                    true => profile.name_newness(),
                    false => profile.newness(),
                };
                // Who always meets new prefixes may know all names of them.
                chance = if by_name { 0.0 } else { chance };
                chance = chance.max(newness.unwrap_or_default());
                let is_mature = ctx.baselines.is_mature(key);
                let own = place.seen_as();
                let by_prefix = (!by_name).then(|| ctx.baselines.others(&dst, &own));
                let others = name.map(|name| ctx.baselines.others_by_name(name.digest, &own));
                let shares = by_prefix.into_iter().chain(others);
                match shares.filter_map(|others| common(others, ctx)).max_by(f64::total_cmp) {
                    Some(share) => {
                        (COMMON, format!("{why}; {:.1} % of all others reach it", 100.0 * share))
                    }
                    None => (if is_mature { 1.0 } else { 0.7 }, why),
                }
            }
            None if meeting.is_first => (0.5, "new in this run; no baseline says more".to_owned()),
            None => return None,
        };
        let mut sign = Sign::new(Stage::Egress, "new_destination", reached.time_ns, place);
        sign.strength = strength * (1.0 - chance);
        sign.by_baseline = profile.is_some();
        let view = sign.place.process.as_ref();
        let by = match view {
            Some(view) => named(view),
            None => sign.place.who()?.entity.id,
        };
        let names: String = names.iter().map(|name| format!(", {name}")).collect();
        sign.text = format!("{by} reached {} port {}{names}: {why}", reached.dst, reached.port);
        if view.is_none() {
            sign.missing.push("process_map");
        }
        let shared = sign.place.instance.as_ref().is_some_and(|instance| instance.shared_egress);
        if reached.translated || shared {
            sign.missing.push("nat");
        }
        if let Some(source) = reached.source {
            sign.source = Arc::clone(&source.name);
        }
        sign.peer = Some(reached.dst);
        Some(sign)
    }

    /// Of its names, those that this run met first within the time window.
    fn meet_names(
        &mut self,
        key: &Key,
        names: &FlowNames,
        ns: i64,
        window_ns: i64,
    ) -> Vec<NameDigest> {
        let Some(met) = self.met.get_mut(key) else { return Vec::new() };
        let mut recent = Vec::new();
        for name in names.iter() {
            if met.names.len() >= MAX_PREFIXES && !met.names.contains_key(&name.digest) {
                self.refused += make_room(&mut met.names, MAX_PREFIXES, |times| times.last_ns);
            }
            let new = Times { flows: 0, first_ns: ns, last_ns: ns };
            let times = met.names.entry(name.digest).or_insert(new);
            times.flows += 1;
            times.last_ns = times.last_ns.max(ns);
            if ns.saturating_sub(times.first_ns) <= window_ns {
                recent.push(name.digest);
            }
        }
        recent
    }

    /// What this run says of it so far.
    fn meet(&mut self, key: Key, prefix: Host, ns: i64, window_ns: i64) -> Meeting {
        if self.met.len() >= MAX_PLACES && !self.met.contains_key(&key) {
            self.refused += make_room(&mut self.met, MAX_PLACES, |met| met.last_ns);
        }
        let met = self.met.entry(key).or_default();
        met.last_ns = met.last_ns.max(ns);
        let chance = if met.flows >= ENOUGH { met.once as f64 / met.flows as f64 } else { 0.0 };
        if met.prefixes.len() >= MAX_PREFIXES && !met.prefixes.contains_key(&prefix) {
            self.refused += met.make_room();
            met.forgot_ns = Some(ns);
        }
        // What seems new may have been forgotten; what is used comes again within a day.
        let is_whole = met.forgot_ns.is_none_or(|at| ns.saturating_sub(at) > DAY_NS);
        met.flows += 1;
        let new = Times { flows: 0, first_ns: ns, last_ns: ns };
        let times = met.prefixes.entry(prefix).or_insert(new);
        times.flows += 1;
        times.last_ns = times.last_ns.max(ns);
        match times.flows {
            1 => met.once += 1,
            2 => met.once -= 1,
            _ => {}
        }
        let is_recent = ns.saturating_sub(times.first_ns) <= window_ns;
        Meeting { is_first: times.flows == 1 && is_whole, is_recent, chance }
    }
}

impl Met {
    /// Room for another prefix. What is known of the next peer is of those that stay.
    fn make_room(&mut self) -> u64 {
        let gone = make_room(&mut self.prefixes, MAX_PREFIXES, |times| times.last_ns);
        if gone > 0 {
            self.flows = self.prefixes.values().map(|times| times.flows).sum();
            self.once = self.prefixes.values().filter(|times| times.flows == 1).count() as u64;
        }
        gone
    }
}

/// Whether a flow goes out of the home networks: asked of every one, most come in.
fn leaves((src, dst): (Host, Host), ctx: &AnalyticContext<'_>) -> bool {
    let home = ctx.home();
    home.contains(&src) && !home.contains(&dst) && !dst.is_group()
}

/// The share of all others that reach a destination, where that makes it common.
fn common(others: Others, ctx: &AnalyticContext<'_>) -> Option<f64> {
    let share = others.share();
    (others.know >= LEAST_OTHERS && share >= ctx.settings.first_seen_prevalence).then_some(share)
}

/// A flow, held against a baseline.
struct Asked<'a> {
    profile: &'a Profile,
    names: &'a FlowNames,
    time_ns: i64,
    src: Host,
    dst: Host,
    ctx: &'a AnalyticContext<'a>,
}

impl<'a> Asked<'a> {
    /// Nothing where the destination is known.
    fn news(&self, is_recent: bool, recent_names: &[NameDigest]) -> Option<News<'a>> {
        let Self { profile, names, time_ns, src, dst, ctx } = *self;
        let of_name = |name: &Name| {
            self.unknown(profile.name(name.digest), recent_names.contains(&name.digest))
        };
        let new = names.iter().find_map(|name| Some((name, of_name(name)?)));
        let Some(why) = self.unknown(profile.destination(&dst), is_recent) else {
            let (name, why) = new.filter(|_| self.has_names())?;
            let why = format!("the domain of {name} was {why}, others at its prefix were reached");
            return Some(News { why, name: Some(name), by_name: true });
        };
        let known = (ctx.home(), ctx.baselines);
        let vouched = ctx.names.vouched((&src, profile), &dst, names, time_ns, known);
        if new.is_none() && vouched.is_some_and(|name| of_name(name).is_none()) {
            return None;
        }
        let name = vouched
            .filter(|vouched| new.as_ref().is_none_or(|(name, _)| name.digest == vouched.digest));
        Some(News { why: format!("its prefix was {why}"), name, by_name: false })
    }

    /// Whether this baseline knows what its destinations there are called.
    fn has_names(&self) -> bool {
        let day = self.time_ns.div_euclid(DAY_NS);
        let mature_days = self.ctx.settings.baseline_mature_days;
        let since = self.profile.named_since();
        since.is_some_and(|since| day.saturating_sub(since) as f64 >= mature_days)
            && self.profile.is_named(&self.dst)
    }

    /// Why a baseline does not know a prefix or a name; nothing where it does.
    fn unknown(&self, known: Option<Destination>, is_recent: bool) -> Option<String> {
        let day = self.time_ns.div_euclid(DAY_NS);
        let days = format!("{:.1} days", self.profile.days());
        let Some(known) = known else {
            return Some(format!("never reached in {days} of history"));
        };
        // Of a long flow the baseline learns before it ends.
        if known.first_day >= day && is_recent {
            return Some(format!("never reached in {days} of history before"));
        }
        let quiet = day - known.last_day;
        let most = i64::try_from(self.ctx.settings.first_seen_days).unwrap_or(i64::MAX);
        (quiet > most).then(|| format!("not reached for {quiet} days"))
    }
}

#[cfg(test)]
#[path = "first_seen_tests.rs"]
mod names_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_swept_over_many_prefixes_still_has_new_ones_later() {
        let mut known = FirstSeen::default();
        let key = || Key::Address(IpAddr::from([10, 0, 0, 1]));
        let swept =
            |n: usize| prefix(&IpAddr::from([198, (n / 250) as u8, (n % 250) as u8, 1]).into());
        let usual = prefix(&IpAddr::from([203, 0, 113, 1]).into());
        for n in 0..MAX_PREFIXES + 1 {
            known.meet(key(), swept(n), n as i64, 0);
        }
        assert!(known.refused() > 0);
        for ns in 0..10_000 {
            known.meet(key(), usual, MAX_PREFIXES as i64 + ns, 0);
        }
        let fresh = |net: u8| prefix(&IpAddr::from([192, 0, net, 1]).into());
        assert!(!known.meet(key(), fresh(2), 20_000, 0).is_first, "it may have been forgotten");
        let meeting = known.meet(key(), fresh(3), 20_000 + DAY_NS, 0);
        assert!(meeting.is_first && meeting.chance < 0.1, "{}", meeting.chance);
        assert!(!known.meet(key(), usual, 20_001 + DAY_NS, 0).is_first, "what it uses now stays");
    }
}

//! `relay`: what comes in on one side goes out on the other (AN0083): a workload that
//! is used as a proxy.
//!
//! Method (METHODS section 6), over the last five minutes of a workload, where no host
//! map tells workloads apart of an instance or address (then only possibly AN0083):
//!
//! - *Two legs*: connections that were accepted and those that were opened (by who sent
//!   the SYN, else by their ports); or one peer against all others, for those who let
//!   themselves be led: proxyware opens both.
//! - *Symmetry* of payload bytes, both ways: `S = 1 - |A - B| / (A + B)` of what one
//!   leg received and the other sent. A way with hardly any bytes says nothing.
//!   `relay_symmetry` both ways, and `relay_bytes` in all, are the condition.
//! - The score adds the correlation of the legs' series by second (at lag 0 or 1),
//!   outside addresses that it opened to (those that are new to a mature profile once more,
//!   unless it meets new ones all the time), ports of proxies that it served or opened to
//!   outside (SOCKS 1080, HTTP CONNECT 3128 and 8080, Tor 9001, 9030, 9050) and the share of
//!   the opened leg that is with outside.
//!
//! Clients are no destinations: any web tier passes on what they ask to a backend. Where
//! the opened leg stays at home it is informational, whoever asks.
//!
//! An address most of whose payload is that of known workloads is left to those, unless
//! they are known of one leg and not of the other (sock_diag finds no connection that was
//! over before it asked): then both legs are known of the address alone, and it is judged,
//! against the role of the workload with the most.
//! Who relays by design is judged against its role: images and programs in
//! `proxy_names`, and instances with shared egress or such a role, are passed over
//! unless their opened leg leaves to outside.
//!
//! Limits: where no connection to a port was seen to open, who began is guessed from
//! ports. An address is judged by itself: one that accepts and another that opens are two
//! entities, unless an inventory or a map says that they are one. What is sent outside by
//! the opened leg of a known proxy is a lower bound (bytes to outside less all that was
//! answered to clients). Bins are seconds: delays of milliseconds are not told apart.
//! Whether a destination is new is asked of the 16 with the most bytes a minute. Memory:
//! [`MAX_CANDIDATES`] entities with both legs, 8 KB each, and as many ports; beyond, the
//! eighth seen longest ago goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::HashMap;
use serde_json::json;

use super::held::{self, hold};
use super::room::make_room;
use super::{Analytic, AnalyticContext, Event, EventKind, FlowEnd, about, add, measured_in};
use crate::alert::{Case, DecidedBy, Entity, EntityKind, Score, Severity, Term};
use crate::baseline::Metric;
use crate::detect::{DetectSettings, Finding, Rule, round3};
use crate::engine::window::{Hll, Host};
use crate::entity::{Minute, Who};

#[path = "relay_legs.rs"]
mod legs;

use legs::{Candidate, Legs, Part, Ways, symmetry};

#[derive(Debug, Default)]
pub(super) struct Relay {
    /// Asked of every minute.
    candidates: HashMap<Entity, Candidate>,
    /// Proxy ports that entities served on: the port, and when last.
    ports: HashMap<(EntityKind, String), (u16, i64)>,
    seats: Seats,
    refused: u64,
}

/// Workloads by the address that they have, in one minute.
#[derive(Debug, Default)]
struct Seats {
    start_s: i64,
    /// Of each address the one with the most payload, and that.
    most: BTreeMap<Host, (u64, Arc<Who>)>,
}

const MAX_CANDIDATES: usize = 1_024;
const WINDOW_MINUTES: i64 = 5;
const ALERTS_FROM: f64 = 55.0;

/// Outside destinations that no ordinary client of one purpose has in five minutes
/// (METHODS: 20 new /24 an hour).
const MANY_PEERS: f64 = 20.0;
const PROXY_PORTS: [u16; 6] = [1_080, 3_128, 8_080, 9_001, 9_030, 9_050];
/// A known proxy whose opened leg sends at least this share to outside is no ingress
/// or mesh.
const LEAVES: f64 = 0.1;

const NAME: &str = "relay";

const FORMULA: &str = "payload of two legs over 5 minutes >= relay_bytes; S = 1 - |A - B| / (A + B) of what one \
    leg received and the other sent >= relay_symmetry both ways; score >= its threshold";

impl Analytic for Relay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Minute, EventKind::Flow]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Minute(minute) if minute.reported.is_none() => {
                add(self.minute(minute, ctx), out);
            }
            Event::Flow(flow) => self.flow(flow, ctx.settings),
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Relay {
    fn minute(&mut self, minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let entity = &minute.who.entity;
        if !matches!(entity.kind, EntityKind::Workload | EntityKind::Instance | EntityKind::Address)
        {
            return None;
        }
        let known = self.candidates.contains_key(entity);
        let least = ctx.settings.relay_bytes / 10;
        // Both legs together, before they are told apart.
        let payload_bytes = minute.measures.payload_bytes();
        if !known && payload_bytes < least {
            return None;
        }
        let mut seated = None;
        if entity.kind == EntityKind::Workload {
            self.refused += self.seats.note(minute);
        } else if minute.measures.of_workloads_bytes.iter().sum::<u64>() * 2 > payload_bytes {
            // What its workloads relay is judged as theirs, by their roles.
            if !known_of_one_leg(minute, ctx.settings.relay_symmetry) {
                ctx.lacks(
                    NAME,
                    &minute.who,
                    minute.start_s,
                    &Score::of(vec![], ALERTS_FROM),
                    || {
                        "left to its workloads, whose most of both legs is: ask about them"
                            .to_owned()
                    },
                );
                return None;
            }
            seated = self.seats.of(minute);
        }
        let part = Part::of(minute, ctx);
        let sums = Ways::of(std::slice::from_ref(&part).iter());
        if !known && sums.all() < least {
            return None;
        }
        if !known {
            self.refused += make_room(&mut self.candidates, MAX_CANDIDATES, Candidate::newest_s);
        }
        let candidate = self.candidates.entry(entity.clone()).or_default();
        candidate.add(part);
        if sums.all() == 0 {
            return None;
        }
        let served = self.ports.get(&(entity.kind, entity.id.clone())).map(|&(port, _)| port);
        let candidate = self.candidates.get(entity)?;
        candidate.judge(minute, served, seated.as_deref(), ctx)
    }

    /// Remembers proxy ports that were served, of those who are looked at.
    fn flow(&mut self, flow: &FlowEnd<'_>, settings: &DetectSettings) {
        let outline = flow.outline;
        let port = outline.dst_port();
        if outline.key.proto != 6 || !PROXY_PORTS.contains(&port) || !outline.answered() {
            return;
        }
        let side = flow.hosts.and_then(|hosts| hosts.dst.as_ref());
        let server = outline.dst();
        let known = side.is_some_and(|side| side.workload.is_some() || side.instance.is_some());
        if !known && !settings.home_nets.contains(&server) {
            return;
        }
        let workload = side.and_then(|side| side.workload.as_ref());
        let workload = workload.map(|workload| Who::workload(workload).entity);
        let place = match side.and_then(|side| side.instance.as_ref()) {
            Some(instance) => Who::instance(instance).entity,
            None => Entity::address(&server),
        };
        let at_s = outline.end_ns.div_euclid(1_000_000_000);
        for entity in workload.into_iter().chain([place]) {
            let key = (entity.kind, entity.id);
            if !self.ports.contains_key(&key) {
                self.refused += make_room(&mut self.ports, MAX_CANDIDATES, |&(_, at_s)| at_s);
            }
            self.ports.insert(key, (port, at_s));
        }
    }
}

impl Seats {
    /// Takes down a workload's minute; how many have no place. Workloads come before
    /// addresses.
    fn note(&mut self, minute: &Minute) -> u64 {
        if self.start_s != minute.start_s {
            (self.start_s, self.most) = (minute.start_s, BTreeMap::new());
        }
        let Some((own, _)) = minute.measures.own else { return 0 };
        if self.most.len() >= MAX_CANDIDATES && !self.most.contains_key(&own) {
            return 1;
        }
        let bytes = minute.measures.payload_bytes();
        let most = self.most.entry(own).or_insert_with(|| (0, Arc::clone(&minute.who)));
        if bytes > most.0 {
            *most = (bytes, Arc::clone(&minute.who));
        }
        0
    }

    /// The workload at the address of this minute.
    fn of(&self, minute: &Minute) -> Option<Arc<Who>> {
        let (own, _) = minute.measures.own?;
        let known = self.most.get(&own).filter(|_| self.start_s == minute.start_s);
        known.map(|(_, who)| Arc::clone(who))
    }
}

/// Its legs are alike, and what its workloads have of them is not.
fn known_of_one_leg(minute: &Minute, least: f64) -> bool {
    let legs = minute.measures.leg_bytes().map(|bytes| bytes as f64);
    let known = minute.measures.of_workloads_bytes;
    let [accepted, opened] = [0, 1].map(|leg| known[leg] as f64 / legs[leg].max(1.0));
    symmetry(legs[0], legs[1]) >= least && symmetry(accepted, opened) < least
}

/// What kept it from being a relay.
fn lacked(minute: &Minute, legs: &Legs, sums: &Ways, settings: &DetectSettings) -> String {
    if legs.bytes < settings.relay_bytes {
        let least = held::bytes(settings.relay_bytes);
        return format!("its legs carry {}, less than {least}", held::bytes(legs.bytes));
    }
    let [(got, sent_on), (got_back, answered)] = [sums.there, sums.back];
    let [got, sent_on, got_back, answered] = [got, sent_on, got_back, answered].map(held::bytes);
    let mut text = format!(
        "its legs are not alike (symmetry {}, less than {}): what it accepted brought {got} and \
         got {answered}, what it opened got {sent_on} and brought {got_back}",
        round3(legs.symmetry),
        settings.relay_symmetry,
    );
    let own = minute.measures.own.filter(|_| minute.who.entity.kind == EntityKind::Workload);
    if let Some((own, _)) = own {
        let own = own.ip();
        text.push_str(&format!(
            "; connections whose process is not known are of its address alone: ask about {own}"
        ));
    }
    text
}

impl Candidate {
    fn judge(
        &self,
        minute: &Minute,
        served: Option<u16>,
        seated: Option<&Who>,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let settings = ctx.settings;
        let legs = self.legs(settings.relay_symmetry);
        let is_relay =
            legs.bytes >= settings.relay_bytes && legs.symmetry >= settings.relay_symmetry;
        if !is_relay && !ctx.is_asked() {
            return None;
        }
        let (mut reached, mut clients) = (Hll::default(), Hll::default());
        let (mut external, mut all_opened, mut opened_outside) = (0, 0, 0);
        for part in &self.parts {
            reached.merge(&part.reached);
            clients.merge(&part.clients);
            external += part.external;
            all_opened += part.opened;
            opened_outside += part.opened_outside;
        }
        let sums = Ways::of(self.parts.iter());
        let (answered, opened) = (sums.back.1, sums.there.1);
        let port = self.parts.iter().find_map(|part| part.port).or(served);
        let leaves = external.saturating_sub(answered) as f64 / opened.max(1) as f64;
        let role = relays_by_design(seated.unwrap_or(&minute.who), &settings.proxy_names);
        let stays = role.is_some() && (leaves < LEAVES || opened == 0);
        if stays && !ctx.is_asked() {
            return None;
        }
        let (peers, clients) = (reached.estimate(), clients.estimate());
        let proxy_port = f64::from(u8::from(port.is_some()));
        let share = opened_outside as f64 / all_opened.max(1) as f64;
        let new_peers = self.new_peers();
        let score = Score::of(
            vec![
                Term::new("symmetry", legs.symmetry, 0.7, 0.95, 40.0),
                Term::new("correlation", legs.correlation, 0.3, 0.9, 25.0),
                Term::doubling("outside_peers", peers as f64, 2.0, MANY_PEERS, 20.0),
                Term::doubling(
                    "new_outside_peers",
                    new_peers.unwrap_or(0) as f64,
                    2.0,
                    MANY_PEERS,
                    10.0,
                ),
                Term::new("proxy_port", proxy_port, 0.0, 1.0, 15.0),
                Term::new("outside_share", share, 0.0, 0.5, 10.0),
            ],
            ALERTS_FROM,
        );
        if !is_relay || stays {
            ctx.lacks(NAME, &minute.who, minute.start_s, &score, || {
                let role = role.filter(|_| is_relay);
                role.map_or_else(
                    || lacked(minute, &legs, &sums, settings),
                    |role| format!("it relays by design ({role}), and hardly anything to outside"),
                )
            });
            return None;
        }
        // With one peer against others any busy host is symmetric by chance: then it
        // takes destinations outside as well.
        let led = legs.controller.is_some();
        let chance = led && (peers as f64) < MANY_PEERS;
        let enough = score.alerts() && score.dimensions() >= 2 && !chance;
        if !ctx.decide(NAME, &minute.who, minute.start_s, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "relay_symmetry",
            threshold: settings.relay_bytes,
            unit: "bytes/5 minutes",
            formula: FORMULA,
        };
        let first_s = self.parts.front().map_or(minute.start_s, |part| part.start_s);
        let last_s = minute.start_s.saturating_add(minute.length_s - 1);
        let mut finding = about(NAME, &minute.who, (first_s, last_s), rule, score, ctx.seed);
        measured_in(&mut finding, minute);
        finding.kind = "relay";
        finding.measured = legs.bytes;
        finding.minute_bytes = Some(minute.measures.sent.wire_bytes);
        finding.details.extend([
            ("legs", json!(legs.by)),
            ("symmetry", json!(round3(legs.symmetry))),
            ("correlation", json!(round3(legs.correlation))),
            ("relayed_bytes", json!(legs.bytes)),
            ("outside_peers", json!(peers)),
            ("outside_clients", json!(clients)),
            ("new_outside_peers", json!(new_peers)),
            ("outside_share", json!(round3(share))),
            ("proxy_port", json!(port)),
            ("controller", json!(legs.controller.map(|host| host.ip()))),
            ("role", json!(role)),
        ]);
        let in_part = seated.map(|who| &*who.entity.id);
        finding.details.extend(in_part.map(|id| ("workload_in_part", json!(id))));
        if let Some(case) = &mut finding.case {
            fill(case, minute, &legs, &Signs { peers, clients, port, share, in_part }, ctx);
        }
        Some(finding)
    }
}

/// What a proxy has beside its symmetry.
struct Signs<'a> {
    /// Outside destinations, and those outside who are answered.
    peers: u64,
    clients: u64,
    port: Option<u16>,
    /// Of what the opened leg carries, with outside.
    share: f64,
    /// The workload that a part of it is known to be of.
    in_part: Option<&'a str>,
}

fn fill(
    case: &mut Case,
    minute: &Minute,
    legs: &Legs,
    signs: &Signs<'_>,
    ctx: &AnalyticContext<'_>,
) {
    let &Signs { peers, clients, port, share, in_part } = signs;
    let who = &minute.who;
    let of_workload = who.entity.kind == EntityKind::Workload;
    case.decided_by = DecidedBy::Pattern;
    case.quiet_s = 300;
    match of_workload {
        true => case.analytics.push("AN0083"),
        false => {
            case.possible_analytics.push("AN0083");
            case.missing.push("workload");
        }
    }
    case.confident("symmetric_both_ways", 0.4);
    for (name, holds) in [
        ("correlated_in_time", legs.correlation >= 0.7),
        ("many_outside_peers", peers as f64 >= MANY_PEERS),
        ("proxy_port", port.is_some()),
    ] {
        if holds {
            case.confident(name, 0.1);
        }
    }
    if !of_workload {
        case.confident("no_workload_known", -0.15);
    }
    let profile = ctx.baselines.profile(&who.baseline);
    let normal = profile.and_then(|known| known.normal(Metric::EgressBytes, minute.start_s));
    hold(case, ctx, &who.baseline, &[("egress_bytes", normal)]);
    if who.workload.as_ref().is_some_and(|workload| workload.host_network) {
        case.missing.push("host_network");
    }
    let many = |addresses: u64| addresses as f64 >= MANY_PEERS;
    // Many who are passed on to one outside: a redirector.
    let crowd = match many(peers) {
        true => "many outside destinations",
        false => "many outside clients",
    };
    let raised = [(crowd, many(peers.max(clients))), ("a proxy's port", port.is_some())];
    let held: Vec<&str> =
        raised.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect();
    let steps = if held.is_empty() {
        String::new()
    } else {
        format!(", a step up each for: {}", held.join(", "))
    };
    let levels = [Severity::Low, Severity::Medium, Severity::High];
    (case.severity, case.severity_reason) = match of_workload {
        true => (
            levels[held.len().min(2)],
            format!("Low for a workload that passes on what it gets{steps}."),
        ),
        // Routers, gateways and servers of all sorts do.
        false => (
            levels[held.len().saturating_sub(1).min(1)],
            format!(
                "Low for a host that passes on what it gets{steps}, one less without a workload."
            ),
        ),
    };
    // So do web tiers, databases with a replica, and brokers.
    let only = match (share < LEAVES, held.is_empty() && !of_workload) {
        (true, _) => Some("it passes on what it gets, and hardly anything of it to outside"),
        (false, true) => Some(
            "it passes on what it gets, and nothing else is of a proxy: no crowd outside, no \
             proxy's port",
        ),
        (false, false) => None,
    };
    if let Some(only) = only {
        case.severity = Severity::Informational;
        case.severity_reason = format!("Informational: {only}.");
    }
    let from = match legs.controller {
        Some(host) => format!(
            "with {} on one side and about {peers} outside addresses on the other",
            host.ip()
        ),
        None => "between connections that it accepts and that it opens".to_owned(),
    };
    let part = in_part.map(|id| format!("; a part of it is known to be of {id}"));
    let part = part.unwrap_or_default();
    case.summary = format!(
        "{} passes on what it gets, {from}: {} in 5 minutes, symmetry {}, correlation {}{part}; confidence {}.",
        who.entity.id,
        held::bytes(legs.bytes),
        round3(legs.symmetry),
        round3(legs.correlation),
        case.confidence(),
    );
}

/// Why the entity may relay.
fn relays_by_design(who: &Who, names: &[String]) -> Option<String> {
    let has = |text: &str| {
        let text = text.to_ascii_lowercase();
        names.iter().find(|name| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| {
                word == name.as_str()
                    || word.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'))
            })
        })
    };
    if let Some(workload) = &who.workload {
        let image = workload.image.split('@').next().unwrap_or_default();
        // A tag is behind the last part; a registry may have a port.
        let tag = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let image = tag.map_or(image, |(image, _)| image);
        // Whatever the registry is called: its name has a dot or a port.
        let is_registry = |part: &str| part.contains(['.', ':']);
        let repository = match image.split_once('/') {
            Some((first, rest)) if is_registry(first) => rest,
            _ => image,
        };
        return has(repository).map(|name| format!("image {name}"));
    }
    let instance = who.instance.as_ref()?;
    if instance.shared_egress {
        return Some("shared egress".to_owned());
    }
    has(&instance.role).or_else(|| has(&instance.purpose)).map(|name| format!("role {name}"))
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;

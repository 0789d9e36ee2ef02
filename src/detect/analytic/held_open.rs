//! `held_open`: many connections held open with hardly any data, as slowloris does to use
//! up a server's workers.
//!
//! Method: of TCP connections that ended, or that the active time-out cut, those that
//! lasted `held_open_s`, were answered, and moved under [`QUIET_BYTES_PER_S`], those that
//! were open are counted each ten seconds, by client and service (address and port).
//! At `held_open_threshold` at once there is an alert where the score says so: how many
//! times the threshold, for how long, and how many of them the server *never answered*:
//! it sent no payload. All clients of a service together are held against twice the
//! threshold, which is as many as a server's default has workers, and only where at least
//! half were never answered.
//!
//! Quiet: browsers (six connections a host), pools, chats, long polls and WebSockets, whose
//! servers answer. Where most were answered, it is informational however many one client
//! has: a balancer's or a proxy's idle connections, a large pool. Between two hosts of ours it is
//! low.
//!
//! Limits: known when connections end or are cut (after 300 s at most, unless `--active`
//! says otherwise). Slow reading, and slow requests within TLS, look like an idle
//! connection: the server did send something. Clients behind one address are one. Memory:
//! [`MAX_PAIRS`] clients and services of 300 bytes; at the bound those that hold less than
//! [`FEW`] go, and further ones are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::callers::Callers;
use super::room::Gate;
use super::{Analytic, AnalyticContext, Event, EventKind, FlowEnd, about};
use crate::alert::{Case, DecidedBy, Score, Severity, Term, thousands};
use crate::detect::{Direction, Finding, Peer, PeerRole, Rule, Shape, round3};
use crate::engine::window::Host;
use crate::entity::Who;

const NAME: &str = "held_open";
const MAX_PAIRS: usize = 16_384;
/// A pair with fewer at once makes room: a browser's connections, and some.
const FEW: u16 = 16;
/// Looks ten seconds apart: over twice the active time-out, so that what was cut at
/// different times still meets.
const LOOKS: usize = 64;
const LOOK_EACH_S: i64 = 10;
/// A line of a header each second with its acknowledgement; a TLS handshake of 3,000
/// bytes over 30 s. A download or a chat in use has more.
const QUIET_BYTES_PER_S: u64 = 100;
/// At the threshold half a minute and no answer suffice; with answers twice the threshold
/// and five minutes.
const ALERTS_FROM: f64 = 45.0;
/// As often as is looked.
const TELL_EACH_S: i64 = LOOK_EACH_S;
/// Connections are cut each 300 s, and may be told of a minute later.
const NEWS_WITHIN_S: i64 = 360;

const TCP: u8 = 6;

const NEVER_ANSWERED: &str = "never_answered_share";

const FORMULA: &str = "answered TCP connections of one client with one service, open at once, each held \
    for held_open_s with under 100 bytes/s, >= held_open_threshold; of all clients >= twice that";

#[derive(Debug, Default)]
pub(super) struct HeldOpen {
    callers: Callers,
    /// By client (nothing: all of them) and service.
    pairs: BTreeMap<Key, Pair>,
    /// Those over their threshold that are not told of yet.
    waiting: BTreeSet<Key>,
    gate: Gate,
    refused: u64,
}

type Key = (Option<Host>, Host, u16);

/// Connections of one client, or of all, with one service.
#[derive(Debug)]
struct Pair {
    who: Option<Arc<Who>>,
    /// Open at each look, and of those never answered; by the look's number.
    held: [(u16, u16); LOOKS],
    /// The newest of them.
    last_look: i64,
    /// Since it was told last.
    news: News,
    told_s: i64,
    waits: Option<Waits>,
}

/// For the end of the second, or until it may be told of again: connections that end
/// together are counted together.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// The seconds in which the first and the last of them was known.
    seconds: (i64, i64),
    /// The looks at which any of them was open.
    looks: (i64, i64),
}

#[derive(Clone, Copy, Debug, Default)]
struct News {
    connections: u64,
    held_s: u64,
    packets: u64,
    wire_bytes: u64,
}

/// A connection that was held.
struct Held {
    client: Host,
    server: Host,
    port: u16,
    /// The first and the last look at which it was open.
    looks: (i64, i64),
    held_s: u64,
    packets: u64,
    wire_bytes: u64,
    never_answered: bool,
    second: i64,
}

impl Analytic for HeldOpen {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Second, EventKind::Flow, EventKind::Time, EventKind::End]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Second { second, entities } => self.callers.remember(*second, entities),
            Event::Flow(flow) => {
                let Some(held) = Held::of(flow, ctx) else { return };
                let who = self.callers.of(flow.hosts);
                let service = (held.server, held.port);
                let of_client = (Some(held.client), service.0, service.1);
                let of_all = (None, service.0, service.1);
                self.count(of_client, who, &held, ctx);
                self.count(of_all, None, &held, ctx);
            }
            Event::Time { second } => self.tell(*second, ctx, out),
            Event::End => self.tell(i64::MAX, ctx, out),
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Held {
    fn of(flow: &FlowEnd<'_>, ctx: &AnalyticContext<'_>) -> Option<Self> {
        let outline = flow.outline;
        let life_ns = outline.end_ns.saturating_sub(outline.start_ns);
        let held_s = u64::try_from(life_ns / 1_000_000_000).unwrap_or(0);
        let is_held = outline.key.proto == TCP
            && outline.answered()
            && held_s >= ctx.settings.held_open_s
            && outline.wire_bytes / held_s.max(1) < QUIET_BYTES_PER_S;
        if !is_held {
            return None;
        }
        let each_ns = LOOK_EACH_S * 1_000_000_000;
        let first = outline.start_ns.saturating_sub(1).div_euclid(each_ns) + 1;
        let last = outline.end_ns.div_euclid(each_ns);
        let packets = outline.packets[0] + outline.packets[1];
        let client = Host::from(outline.src_ip());
        Some(Self {
            client,
            server: Host::from(outline.dst_ip()),
            port: outline.dst_port(),
            looks: (first, last),
            held_s,
            packets,
            wire_bytes: outline.wire_bytes,
            never_answered: !outline.had_response,
            second: outline.decided_ns.div_euclid(1_000_000_000),
        })
    }
}

impl HeldOpen {
    fn count(&mut self, key: Key, who: Option<Arc<Who>>, held: &Held, ctx: &AnalyticContext<'_>) {
        if !self.make_room(&key, held.second) {
            self.refused += 1;
            return;
        }
        let pair = self.pairs.entry(key).or_insert_with(|| Pair::new(held.looks.0));
        pair.who = who.or_else(|| pair.who.take());
        let most = pair.add(held);
        if pair.waits.is_some() || u64::from(most) >= threshold(&key, ctx) {
            pair.wait(held);
            self.waiting.insert(key);
        }
    }

    /// Judges those whose second, and whose pause, is over.
    fn tell(&mut self, now_s: i64, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        let is_due = |pair: &Pair| {
            let due_s = pair.told_s.saturating_add(TELL_EACH_S);
            pair.waits.is_some_and(|waits| waits.seconds.0 < now_s && due_s <= now_s)
        };
        let pairs = &self.pairs;
        let due = self.waiting.iter().filter(|key| pairs.get(key).is_none_or(is_due));
        // Each client before all of them together.
        let (all, alone): (Vec<Key>, Vec<Key>) = due.copied().partition(|key| key.0.is_none());
        let mut of_clients: BTreeMap<(Host, u16), u64> = BTreeMap::new();
        for key in self.waiting.iter().filter(|key| key.0.is_some()) {
            let most = self.pairs.get(key).and_then(Pair::most).map_or(0, |(_, most)| most.0);
            *of_clients.entry((key.1, key.2)).or_default() += u64::from(most);
        }
        for key in alone.into_iter().chain(all) {
            self.waiting.remove(&key);
            let Some(pair) = self.pairs.get_mut(&key) else { continue };
            let (most, waits) = (pair.most(), pair.waits.take());
            let (Some((look, most)), Some(waits)) = (most, waits) else { continue };
            // Where single clients have half of it, it is theirs.
            let theirs = of_clients.get(&(key.1, key.2)).copied().unwrap_or(0);
            if key.0.is_none() && theirs * 2 >= u64::from(most.0) {
                continue;
            }
            let (threshold, second) = (threshold(&key, ctx), waits.seconds.1);
            let found = Judged { key, pair, look, most, threshold, second }.finding(ctx);
            if let Some(found) = found {
                out.push(found);
                pair.told_s = second;
                pair.news = News::default();
            }
        }
    }

    fn make_room(&mut self, key: &Key, now_s: i64) -> bool {
        let oldest = now_s.div_euclid(LOOK_EACH_S) - LOOKS as i64;
        self.gate.admits(&mut self.pairs, key, MAX_PAIRS, now_s, |pair| {
            pair.last_look > oldest && pair.held.iter().any(|&(held, _)| held >= FEW)
        })
    }
}

/// Of one client; of all twice as many.
fn threshold(key: &Key, ctx: &AnalyticContext<'_>) -> u64 {
    let times = if key.0.is_none() { 2 } else { 1 };
    ctx.settings.held_open_threshold.saturating_mul(times)
}

impl Pair {
    fn new(look: i64) -> Self {
        Self {
            who: None,
            held: [(0, 0); LOOKS],
            last_look: look,
            news: News::default(),
            told_s: i64::MIN,
            waits: None,
        }
    }

    /// Adds a connection to the looks at which it was open; how many were at one of them at
    /// most.
    fn add(&mut self, held: &Held) -> u16 {
        let (first, last) = held.looks;
        let length = LOOKS as i64;
        // Newer looks take the places of old ones.
        for look in (self.last_look + 1).max(last - length + 1)..=last {
            self.held[look.rem_euclid(length) as usize] = (0, 0);
        }
        self.last_look = self.last_look.max(last);
        self.news.connections += 1;
        self.news.held_s += held.held_s;
        self.news.packets += held.packets;
        self.news.wire_bytes += held.wire_bytes;
        let mut most = 0;
        for look in first.max(self.last_look - length + 1)..=last {
            let at = &mut self.held[look.rem_euclid(length) as usize];
            at.0 = at.0.saturating_add(1);
            at.1 = at.1.saturating_add(u16::from(held.never_answered));
            most = most.max(at.0);
        }
        most
    }

    fn wait(&mut self, held: &Held) {
        let second = held.second;
        let waits =
            self.waits.get_or_insert(Waits { seconds: (second, second), looks: held.looks });
        waits.seconds.1 = waits.seconds.1.max(second);
        waits.looks.0 = waits.looks.0.min(held.looks.0);
        waits.looks.1 = waits.looks.1.max(held.looks.1);
    }

    /// The look of those that wait at which most were open, and how many.
    fn most(&self) -> Option<(i64, (u16, u16))> {
        let (first, last) = self.waits?.looks;
        let length = LOOKS as i64;
        let looks = first.max(self.last_look - length + 1)..=last;
        let held = |look: i64| (look, self.held[look.rem_euclid(length) as usize]);
        // The first of them: it began then.
        looks.rev().map(held).max_by_key(|(_, (held, _))| *held)
    }
}

/// As many as the threshold.
struct Judged<'a> {
    key: Key,
    pair: &'a Pair,
    look: i64,
    /// Open at it, and of those never answered.
    most: (u16, u16),
    threshold: u64,
    second: i64,
}

impl Judged<'_> {
    fn finding(&self, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let (client, server, port) = self.key;
        let home_client = client.is_some_and(|client| ctx.home().contains(&client));
        let address = match client.filter(|_| home_client) {
            Some(client) => Who::address(&client),
            None => Who::address(&server),
        };
        let known = self.pair.who.as_deref().filter(|_| home_client);
        let who = known.unwrap_or(&address);
        let score = self.score();
        // A popular service has as many that are idle.
        let of_many = client.is_none() && self.never_answered() < 0.5;
        // That they were never answered and pass the threshold are two dimensions: the points
        // of the first term are a third of its weight only from 1.24 times the threshold on.
        let silent =
            score.terms.iter().any(|term| term.name == NEVER_ANSWERED && term.is_dimension());
        let enough = score.alerts() && (silent || score.dimensions() >= 2) && !of_many;
        if !ctx.decide(NAME, who, self.second, &score, enough) {
            return None;
        }
        let news = &self.pair.news;
        let rule = Rule {
            name: "held_open_threshold",
            threshold: self.threshold,
            unit: "connections",
            formula: FORMULA,
        };
        // Its sums are of more than a second, however late the look was.
        let start_s = self.look.saturating_mul(LOOK_EACH_S).min(self.second - 1);
        let mut finding = about(NAME, who, (start_s, self.second), rule, score, ctx.seed);
        finding.kind = "tcp";
        finding.home_sender = home_client;
        finding.direction = Direction::new(home_client, ctx.home().contains(&server));
        finding.shape = if client.is_some() { Shape::OneToOne } else { Shape::ManyToOne };
        finding.measured = u64::from(self.most.0);
        finding.traffic.packets = news.packets;
        finding.traffic.wire_bytes = news.wire_bytes;
        let peer = |host, role| Peer { host, role, packets: None, wire_bytes: None };
        finding.peers = match client {
            Some(_) if home_client => vec![peer(server, PeerRole::Destination)],
            client => client.map(|client| peer(client, PeerRole::Source)).into_iter().collect(),
        };
        if client.is_some() && home_client {
            finding.to_ports = vec![port];
        }
        finding.details.extend([
            ("held_at_once", json!(self.most.0)),
            (NEVER_ANSWERED, json!(round3(self.never_answered()))),
            ("mean_held_s", json!(self.mean_held_s())),
            ("service", json!(crate::entity::service_name((TCP, port)))),
        ]);
        let direction = finding.direction;
        let case = finding.case.as_mut()?;
        self.fill(case, direction);
        if who.process.is_some() {
            case.analytics.push("AN0971");
        } else if home_client {
            case.possible_analytics.push("AN0971");
            case.missing.push("process_map");
        }
        let by = match client {
            Some(client) if known.is_none() => client.ip().to_string(),
            Some(_) => case.actor(),
            None => "all clients together".to_owned(),
        };
        case.summary = format!(
            "{by} held {} connections at {} port {port} open at once (threshold {}), {:.0} s each in the mean, \
             with {} bytes/s; {:.0} % were never answered; confidence {}.",
            thousands(self.most.0.into()),
            server.ip(),
            thousands(self.threshold),
            self.mean_held_s(),
            thousands(news.wire_bytes / news.held_s.max(1)),
            self.never_answered() * 100.0,
            case.confidence(),
        );
        Some(finding)
    }

    fn score(&self) -> Score {
        let times = f64::from(self.most.0) / self.threshold.max(1) as f64;
        Score::of(
            vec![
                Term::doubling("times_threshold", times, 0.5, 4.0, 40.0),
                Term::new(NEVER_ANSWERED, self.never_answered(), 0.5, 0.95, 40.0),
                Term::new("mean_held_s", self.mean_held_s(), 30.0, 300.0, 20.0),
            ],
            ALERTS_FROM,
        )
    }

    fn never_answered(&self) -> f64 {
        f64::from(self.most.1) / f64::from(self.most.0.max(1))
    }

    fn mean_held_s(&self) -> f64 {
        libm::round(self.pair.news.held_s as f64 / self.pair.news.connections.max(1) as f64)
    }

    fn fill(&self, case: &mut Case, direction: Direction) {
        case.decided_by = DecidedBy::AbsoluteThreshold;
        case.quiet_s = NEWS_WITHIN_S;
        case.missing.push("baseline");
        case.confident("held_over_the_threshold", 0.4);
        if u64::from(self.most.0) >= 2 * self.threshold {
            case.confident("twice_the_threshold", 0.1);
        }
        let silent = self.never_answered() >= 0.5;
        if silent {
            case.confident("server_sent_nothing", 0.1);
        }
        let one = self.key.0.is_some();
        let (severity, why) = match (silent, one, direction) {
            (false, ..) => (
                Severity::Informational,
                "Informational: most were answered, as those of pools, proxies and chats are.",
            ),
            (true, true, Direction::Internal) => {
                (Severity::Low, "Low: between two hosts of ours a pool may look so.")
            }
            (true, true, _) => (
                Severity::Medium,
                "Medium: one client holds them, and the server never had a whole request.",
            ),
            (true, false, _) => {
                (Severity::Low, "Low: many clients hold them; the server sent none a byte.")
            }
        };
        (case.severity, case.severity_reason) = (severity, why.to_owned());
    }
}

#[cfg(test)]
#[path = "held_open_tests.rs"]
mod tests;

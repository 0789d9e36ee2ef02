//! ICMP tunnels: data carried in echo requests and replies.
//!
//! Method: METHODS section 4, by pair of requester and responder, in windows of five
//! minutes (bytes by the hour). A reply must carry its request's data (RFC 792, RFC 4443),
//! and ping programs fill theirs in few known ways (FORMATS section 2); a tunnel does
//! neither. Gaps in the sequence, large data and high rates are every tool's and
//! count little. Where all is echoed properly, how much new data no ping program would
//! send decides, and in how many sizes: few bytes of one are a monitor's (`fping -R`),
//! millions an hour, or some thirty sizes, are exfiltration.
//! Part of AN0031: a network-only hit stands under
//! `possible_analytics`, since it names no process.
//!
//! Limits: data in fragments and of cut packets are not compared; one-way
//! exfiltration in requests of one size that are echoed properly stays under the
//! threshold below 23 times `icmp_tunnel_bytes` an hour (2.4 MB; text 3.9 MB), and at any
//! volume where the bytes are less even than text's; so does data dressed as `ping -p`; other ICMP
//! types are not looked at.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::HashMap;
use serde_json::json;

use super::process_context::subject;
use super::tunnelled::Tunnelled;
use super::{Analytic, AnalyticContext, EchoSecond, Event, EventKind, about, add, trusts_process};
use crate::alert::{DecidedBy, Score, Severity, Term};
use crate::detect::{Direction, Finding, Rule, Subject, round3};
use crate::engine::window::features::{EchoKey, Sampled, Symbols, Template, entropy};
use crate::engine::window::{Hll, Host};
use crate::entity::Who;

const NAME: &str = "icmp_tunnel";

/// As for DNS: ten times what a ping a second takes to show its shape.
const WINDOW_S: i64 = 300;
const HOUR_S: i64 = 3_600;
/// Between two looks at what is over the floor.
const LOOK_S: i64 = 10;
const QUIET_S: i64 = 400;

/// Pairs at once. When they are full, those of windows that are over leave; while that
/// frees none, new ones are refused and counted. 1.5 KB each, 1 KB more from
/// 120 bytes of strange data on.
const MAX_PAIRS: usize = 8_192;

/// Evenness of bytes (see [`Sums::randomness`]) from which new data counts by volume.
/// Text has 4.2 bits or more, over half of random bytes' eight; a constant filling behind
/// a time stamp, which makes each message of an unknown monitor new, has under one.
const EVEN: f64 = 0.5;

/// What replies that nobody asked, bytes and rates can add up to.
const ORDINARY_POINTS: f64 = 25.0;

#[derive(Default)]
pub(super) struct IcmpTunnel {
    window: i64,
    /// Boxed: a new one may move the others.
    pairs: HashMap<EchoKey, Box<Pair>>,
    /// Of earlier windows and silent in this one: what room can be made of.
    idle: usize,
    refused: u64,
}

/// What two hosts echoed in this window.
#[derive(Default)]
struct Pair {
    who: Option<Arc<Who>>,
    sums: Sums,
    /// Of this hour, as the score is, or of less: what was before a pause that ended an
    /// alert was told.
    volume: Tunnelled,
    volume_first_s: i64,
    /// When it was told of last, while its alert is open.
    told_s: Option<i64>,
    hour: Option<i64>,
    hour_bytes: u64,
    /// Of them new data, in windows before this one.
    hour_new_bytes: u64,
    /// Whose replies may come in the next second.
    before: Option<Sampled>,
    look_at_s: i64,
}

#[derive(Default)]
struct Sums {
    first_s: i64,
    last_s: i64,
    active_s: u64,
    requests: u64,
    replies: u64,
    request_bytes: u64,
    reply_bytes: u64,
    identifiers: Hll,
    sizes: Hll,
    longest: u32,
    /// Messages whose data were looked at, those with any, and those of no template.
    compared: u64,
    with_data: u64,
    strange: u64,
    strange_bytes: u64,
    strange_kinds: Hll,
    symbols: Symbols,
    alike: u64,
    unlike: u64,
    unasked: u64,
    incomplete: u64,
}

impl Sums {
    fn add(&mut self, echo: &EchoSecond<'_>, before: Option<&Sampled>) {
        let stats = echo.stats;
        if self.active_s == 0 {
            self.first_s = echo.second;
        }
        self.last_s = echo.second;
        self.active_s += 1;
        self.requests += u64::from(stats.requests);
        self.replies += u64::from(stats.replies);
        self.request_bytes += stats.request_bytes;
        self.reply_bytes += stats.reply_bytes;
        self.identifiers.merge(&stats.identifiers);
        self.sizes.merge(&stats.sizes);
        self.longest = self.longest.max(stats.longest);
        let compared: u64 = stats.templates.iter().map(|&count| u64::from(count)).sum();
        self.compared += compared;
        self.with_data += compared - u64::from(stats.templates[Template::Empty as usize]);
        let strange = u64::from(stats.templates[Template::Other as usize]);
        self.strange += strange;
        self.strange_bytes += stats.strange_bytes;
        self.incomplete += u64::from(stats.incomplete);
        if strange > 0 {
            self.strange_kinds.merge(&stats.strange);
            self.symbols.merge(&stats.symbols);
        }
        let found = stats.exchanges(before, echo.seed);
        self.alike += u64::from(found.alike);
        self.unlike += u64::from(found.unlike);
        self.unasked += u64::from(found.unasked);
    }

    /// Of the strange data, by what as many random bytes have; nothing under 256 bytes.
    fn randomness(&self) -> f64 {
        let Some(symbols) = self.symbols.counts() else { return 0.0 };
        let bytes = symbols.iter().fold(0_u32, |sum, &count| sum.saturating_add(count));
        // FORMATS section 3: bytes, and the mean entropy of as many random ones.
        let table = [(4_096, 7.95), (1_500, 7.87), (1_024, 7.81), (512, 7.59), (256, 7.18)];
        let random = table.iter().find(|&&(least, _)| bytes >= least);
        random.map_or(0.0, |&(_, random)| (entropy(&symbols[..]) / random).min(1.0))
    }

    /// Share of the sampled replies that are not their request's.
    fn unlike_share(&self) -> f64 {
        share(self.unlike, self.alike + self.unlike)
    }

    /// Different strange data: what is sent again and again is a tool's filling, and what
    /// comes back alike is the same data.
    fn strange_share(&self) -> f64 {
        let echoed = self.strange_kinds.estimate().saturating_mul(2);
        share(self.strange.min(echoed), self.compared)
    }

    /// Whether nothing but what [`ORDINARY_POINTS`] are for can have points: every reply is
    /// its request's, data are a ping program's, in a size or two. Most pairs, told without
    /// a logarithm.
    fn is_ordinary(&self) -> bool {
        // Two registers estimate two.
        self.unlike == 0 && self.strange == 0 && self.sizes.registers_in_use() <= 2
    }

    /// Different sizes, where most data are strange and even enough to be data.
    fn new_sizes(&self, randomness: f64) -> u64 {
        let are_new = self.strange_share() >= 0.5 && randomness >= EVEN;
        if are_new { self.sizes.estimate() } else { 0 }
    }

    /// Bytes of different strange data: an echo brings nothing new, and what is sent again
    /// and again neither. Nothing where the bytes are too uneven to be data.
    fn new_bytes(&self, randomness: f64) -> u64 {
        if randomness < EVEN {
            return 0;
        }
        let kinds = self.strange_kinds.estimate().min(self.strange);
        (self.strange_bytes as f64 * share(kinds, self.strange)) as u64
    }

    fn score(
        &self,
        (hour_bytes, hour_new_bytes, randomness): (u64, u64, f64),
        ctx: &AnalyticContext<'_>,
    ) -> Score {
        // Where no request was seen, one direction is missing from the capture.
        let seen = self.requests > 0;
        let unasked = share(self.unasked, self.alike + self.unlike + self.unasked);
        let surplus = share(self.replies.saturating_sub(self.requests), self.replies);
        let much = ctx.settings.icmp_tunnel_bytes as f64;
        let messages = (self.requests + self.replies) as f64;
        let terms = vec![
            // Corruption on the way is rarer than one in fifty by far.
            Term::new("replies_unlike_request", self.unlike_share(), 0.02, 0.5, 30.0),
            Term::new(
                "replies_unasked",
                if seen { unasked.max(surplus) } else { 0.0 },
                0.1,
                0.7,
                10.0,
            ),
            // A ping has one size; path MTU discovery some; packets in a tunnel have theirs.
            Term::doubling("distinct_sizes", self.sizes.estimate() as f64, 2.0, 16.0, 15.0),
            // In one direction alone, or echoed: each of many sizes with other data. A search for
            // a path's MTU takes a dozen.
            Term::doubling(
                "sizes_of_new_data",
                self.new_sizes(randomness) as f64,
                16.0,
                64.0,
                10.0,
            ),
            Term::new("data_of_no_ping_program", self.strange_share(), 0.1, 0.8, 25.0),
            Term::doubling("bytes_an_hour", hour_bytes as f64, much, 32.0 * much, 10.0),
            // With what is strange and random enough: 2.4 MB where all of it is. `fping -R`
            // five times a second is 1 MB; each second, as monitors ask, 0.2 MB.
            Term::doubling(
                "new_data_an_hour",
                hour_new_bytes as f64,
                10.0 * much,
                80.0 * much,
                20.0,
            ),
            Term::doubling(
                "messages_a_second",
                messages / self.active_s.max(1) as f64,
                4.0,
                100.0,
                5.0,
            ),
            Term::new("randomness_of_data", randomness, 0.75, 0.97, 5.0),
        ];
        Score::of(terms, ctx.settings.icmp_tunnel_score)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl IcmpTunnel {
    fn take(&mut self, echo: &EchoSecond<'_>, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let window = echo.second.div_euclid(WINDOW_S);
        if window != self.window {
            // A pair stays for its hour while each window shows it.
            self.pairs.retain(|_, pair| pair.sums.last_s.div_euclid(WINDOW_S) + 1 >= window);
            for pair in self.pairs.values_mut() {
                pair.hour_new_bytes += pair.sums.new_bytes(pair.sums.randomness());
                // What the next window may need of a pair that is quiet now.
                pair.sums = Sums { last_s: pair.sums.last_s, ..Sums::default() };
                pair.look_at_s = i64::MIN;
            }
            self.idle = self.pairs.len();
            self.window = window;
        }
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(echo.key) {
            // To look at all pairs for each new one would be no end.
            if self.idle > 0 {
                self.pairs.retain(|_, pair| pair.sums.active_s > 0);
                self.idle = 0;
            }
            if self.pairs.len() >= MAX_PAIRS {
                self.refused += 1;
                return None;
            }
        }
        let pair = match self.pairs.entry(*echo.key) {
            Entry::Occupied(pair) => {
                self.idle -= usize::from(pair.get().sums.active_s == 0);
                pair.into_mut()
            }
            Entry::Vacant(place) => place.insert(Box::default()),
        };
        if echo.who.is_some() {
            pair.who.clone_from(&echo.who);
        }
        if pair.told_s.is_some_and(|told_s| echo.second > told_s.saturating_add(QUIET_S)) {
            (pair.told_s, pair.volume) = (None, Tunnelled::default());
            pair.volume_first_s = echo.second;
        }
        let hour = Some(echo.second.div_euclid(HOUR_S));
        if hour != pair.hour {
            (pair.hour, pair.hour_bytes, pair.hour_new_bytes) = (hour, 0, 0);
            pair.volume_first_s = echo.second;
            pair.volume.begin();
        }
        pair.hour_bytes += echo.stats.request_bytes + echo.stats.reply_bytes;
        pair.sums.add(echo, pair.before.as_ref());
        let unanswered = echo.stats.requests.saturating_sub(echo.stats.replies);
        pair.volume.add(echo.second, &echo.stats.carried, unanswered);
        pair.before = (echo.stats.requests > 0).then(|| echo.stats.asked.clone());
        let floor = ctx.settings.icmp_tunnel_packets;
        if pair.sums.with_data < floor || echo.second < pair.look_at_s {
            return None;
        }
        pair.look_at_s = echo.second + LOOK_S;
        let found = pair.judge(echo, ctx);
        if found.is_some() {
            pair.volume.told();
            pair.told_s = Some(echo.second);
        }
        found
    }
}

impl Pair {
    /// New data of this hour.
    fn new_bytes(&self, randomness: f64) -> u64 {
        self.hour_new_bytes + self.sums.new_bytes(randomness)
    }

    fn judge(&self, echo: &EchoSecond<'_>, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let sums = &self.sums;
        if sums.is_ordinary()
            && self.hour_new_bytes == 0
            && ctx.settings.icmp_tunnel_score > ORDINARY_POINTS
            && !ctx.is_asked()
        {
            return None;
        }
        // A logarithm for each of 256 values: once.
        let randomness = sums.randomness();
        let score = sums.score((self.hour_bytes, self.new_bytes(randomness), randomness), ctx);
        let EchoKey { requester, responder } = *echo.key;
        let asks = ctx.home().contains(&requester) || !ctx.home().contains(&responder);
        let (own, peer) = if asks { (requester, responder) } else { (responder, requester) };
        let value = score.value;
        let known = self.who.clone().filter(|_| asks);
        let who = known.unwrap_or_else(|| Arc::new(Who::address(&own)));
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, &who, echo.second, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "icmp_tunnel_score",
            threshold: score.threshold as u64,
            unit: "points",
            formula: "score of the echo messages of two hosts in five minutes",
        };
        let times = (self.volume_first_s, echo.second);
        let mut finding = about(NAME, &who, times, rule, score, ctx.seed);
        if let Subject::Entity(digest) = finding.subject {
            finding.subject = Subject::Entity(ctx.seed.mix(digest, ctx.seed.host(&peer)));
        }
        finding.kind = NAME;
        finding.home_sender = ctx.home().contains(&own);
        finding.direction =
            if finding.home_sender { Direction::Outbound } else { Direction::Crossing };
        finding.measured = value as u64;
        self.volume.fill(&mut finding, peer);
        self.tell(&mut finding, &who, peer, randomness);
        Some(finding)
    }

    fn tell(&self, finding: &mut Finding, who: &Who, peer: Host, randomness: f64) {
        let sums = &self.sums;
        let (unlike, strange) = (sums.unlike_share(), sums.strange_share());
        finding.details.extend([
            ("requests", json!(sums.requests)),
            ("replies", json!(sums.replies)),
            ("request_bytes", json!(sums.request_bytes)),
            ("reply_bytes", json!(sums.reply_bytes)),
            ("bytes_this_hour", json!(self.hour_bytes)),
            ("new_bytes_this_hour", json!(self.new_bytes(randomness))),
            ("identifiers", json!(sums.identifiers.estimate())),
            ("distinct_sizes", json!(sums.sizes.estimate())),
            ("longest_data_bytes", json!(sums.longest)),
            ("sampled_replies_like_request", json!(sums.alike)),
            ("sampled_replies_unlike_request", json!(sums.unlike)),
            ("sampled_replies_unasked", json!(sums.unasked)),
            ("messages_of_no_ping_program", json!(sums.strange)),
            ("messages_not_compared", json!(sums.incomplete)),
            ("entropy_by_random", json!(round3(randomness))),
        ]);
        let Some(case) = finding.case.as_mut() else { return };
        case.decided_by = DecidedBy::Pattern;
        case.baseline = "not asked: what an echo may carry is settled by its protocol".to_owned();
        case.quiet_s = QUIET_S;
        case.confident("start", 0.4);
        if unlike >= 0.25 {
            case.confident("replies_are_not_echoes", 0.15);
        }
        if strange >= 0.5 {
            case.confident("data_ever_new", 0.1);
        }
        if sums.incomplete > sums.compared {
            case.confident("messages_cut", -0.1);
            case.missing.push("cut_packets");
        }
        if sums.requests == 0 || sums.replies == 0 {
            case.confident("one_direction_only", -0.1);
            case.missing.push("other_direction");
        }
        trusts_process(case, who, "AN0031");
        let much = self.hour_bytes >= 1 << 20;
        case.severity = if much { Severity::High } else { Severity::Medium };
        case.severity_reason = match much {
            true => "High: over 1 MiB went through it in this hour.",
            false => "Medium: a tunnel by its shape, under 1 MiB in this hour.",
        }
        .to_owned();
        case.summary = format!(
            "{} and {} sent {} echoes with {} bytes of data in {} s that are no pings: {:.0} % of \
             the replies differ from their request, {:.0} % carry new data of no ping program, in \
             {} sizes.",
            subject(who),
            peer.ip(),
            sums.requests + sums.replies,
            sums.request_bytes + sums.reply_bytes,
            finding.second - sums.first_s + 1,
            unlike * 100.0,
            strange * 100.0,
            sums.sizes.estimate(),
        );
    }
}

impl Analytic for IcmpTunnel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Echo]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        if let Event::Echo(echo) = event {
            add(self.take(echo, ctx), out);
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
#[path = "icmp_tunnel_tests.rs"]
mod tests;

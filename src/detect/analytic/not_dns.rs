//! Tunnels at the port of DNS that are no DNS at all, for `dns_tunnel`.
//!
//! iodine sends whatever it carries to port 53 as it is where nothing stands between client
//! and server, and VPN programs are set to that port since firewalls let it through. By
//! client and server, in five minutes: at least [`LEAST_PACKETS`] and [`LEAST_BYTES`] of UDP
//! that no DNS message can be, and more of such packets than of messages.
//!
//! Quiet: QUIC, DTLS and STUN with TURN, which say what they are; what is as small as games
//! are. Limits: who begins with a packet of QUIC may send what looks like QUIC's short
//! header. VPN programs at port 53 are told of: that is a tunnel. Memory: [`MAX_PAIRS`]
//! pairs of 1 KB; at the bound those of earlier windows go, and further ones are refused.

use std::sync::Arc;

use ahash::HashMap;
use serde_json::json;

use super::process_context::subject;
use super::room::Gate;
use super::tunnelled::Tunnelled;
use super::{AnalyticContext, DnsSecond, NotDnsSecond, about, trusts_process};
use crate::alert::{DecidedBy, Score, Severity, Term, thousands};
use crate::detect::{Direction, Finding, Rule, Subject, round3};
use crate::engine::window::Host;
use crate::engine::window::features::{DNS_PORT, NotDnsKey, NotDnsStats};
use crate::entity::Who;

const NAME: &str = "dns_tunnel";

const WINDOW_S: i64 = 300;
const LOOK_S: i64 = 10;
/// As long as that of tunnels in names.
const QUIET_S: i64 = 400;
const MAX_PAIRS: usize = 4_096;

/// Strays (scanners, whatever answers at a wrong port) have a few packets.
const LEAST_PACKETS: u64 = 50;
const LEAST_BYTES: u64 = 64 << 10;
/// Mean payload of what no header names: games send 40 bytes and get 130 (Feng and
/// others 2002, a busy server of Counter-Strike), tunnels fill packets in one direction.
const LEAST_MEAN_BYTES: f64 = 256.0;
/// Of a kind of packet that makes up so much of all, the rest is chance.
const NEARLY_ALL: f64 = 0.9;

#[derive(Default)]
pub(super) struct NotDns {
    /// Boxed: a new one may move the others.
    pairs: HashMap<NotDnsKey, Box<Pair>>,
    gate: Gate,
    pub(super) refused: u64,
}

/// What a client and a server sent, since a window began or since it was first told of.
#[derive(Default)]
struct Pair {
    who: Option<Arc<Who>>,
    first_s: i64,
    last_s: i64,
    look_at_s: i64,
    /// When it was told of last, if ever.
    told_s: Option<i64>,
    /// A protocol that says what it is was seen, in this window or one before.
    is_known: bool,
    sums: Sums,
    volume: Tunnelled,
}

#[derive(Default)]
struct Sums {
    packets: u64,
    bytes: u64,
    sent: u64,
    iodine: u64,
    known: u64,
    short: u64,
    known_bytes: u64,
    short_bytes: u64,
    /// DNS messages between them.
    messages: u64,
}

/// What is left once known protocols are taken out.
#[derive(Clone, Copy)]
struct Strange {
    packets: u64,
    bytes: u64,
    /// Of them and the messages.
    share: f64,
    mean_bytes: f64,
    iodine_share: f64,
}

impl Sums {
    fn add(&mut self, stats: &NotDnsStats) {
        self.packets += u64::from(stats.carried.packets);
        self.bytes += stats.carried.payload_bytes;
        self.sent += u64::from(stats.sent);
        self.iodine += u64::from(stats.iodine);
        self.known += u64::from(stats.known);
        self.short += u64::from(stats.short);
        self.known_bytes += stats.known_bytes;
        self.short_bytes += stats.short_bytes;
    }

    fn strange(&self, is_known: bool) -> Strange {
        // Of noise one packet in four is so; where nearly all are, the beginning was missed.
        let are_short = is_known || self.short as f64 >= NEARLY_ALL * self.packets as f64;
        let (short, short_bytes) = if are_short { (self.short, self.short_bytes) } else { (0, 0) };
        let packets = self.packets.saturating_sub(self.known + short);
        let bytes = self.bytes.saturating_sub(self.known_bytes + short_bytes);
        let of = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        Strange {
            packets,
            bytes,
            share: of(packets, self.packets + self.messages),
            mean_bytes: of(bytes, packets),
            iodine_share: of(self.iodine, packets),
        }
    }
}

impl Strange {
    fn is_enough(&self) -> bool {
        self.packets >= LEAST_PACKETS
            && self.bytes >= LEAST_BYTES
            && self.share > 0.5
            && (self.mean_bytes >= LEAST_MEAN_BYTES || self.is_iodine())
    }

    fn is_iodine(&self) -> bool {
        self.iodine_share >= NEARLY_ALL
    }

    fn score(&self, ctx: &AnalyticContext<'_>) -> Score {
        let bytes = self.bytes as f64;
        let least = LEAST_BYTES as f64;
        let terms = vec![
            Term::new("packets_not_dns_share", self.share, 0.5, NEARLY_ALL, 35.0),
            Term::new("iodine_header_share", self.iodine_share, 0.0, NEARLY_ALL, 25.0),
            Term::new("mean_payload_bytes", self.mean_bytes, 0.0, LEAST_MEAN_BYTES, 20.0),
            Term::doubling("bytes_not_dns", bytes, least, 16.0 * least, 20.0),
        ];
        Score::of(terms, ctx.settings.dns_tunnel_score)
    }
}

impl NotDns {
    /// Messages between two of which something else was seen.
    pub(super) fn count(&mut self, dns: &DnsSecond<'_>) {
        let key = NotDnsKey { client: dns.key.client, server: dns.key.server };
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.sums.messages += u64::from(dns.stats.carried.packets);
        }
    }

    pub(super) fn take(
        &mut self,
        seen: &NotDnsSecond<'_>,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let now_s = seen.second;
        let is_admitted = self
            .gate
            .admits(&mut self.pairs, seen.key, MAX_PAIRS, now_s, |pair| !pair.is_over(now_s));
        if !is_admitted {
            self.refused += 1;
            return None;
        }
        let pair = self.pairs.entry(*seen.key).or_default();
        pair.add(seen);
        let strange = pair.sums.strange(pair.is_known);
        if !strange.is_enough() || now_s < pair.look_at_s {
            return None;
        }
        pair.look_at_s = now_s + LOOK_S;
        let found = pair.judge(seen, strange, ctx);
        if found.is_some() {
            pair.told_s = Some(now_s);
            pair.volume.told();
        }
        found
    }
}

impl Pair {
    /// Whether another window begins: while its alert is open, none does.
    fn is_over(&self, now_s: i64) -> bool {
        match self.told_s {
            Some(told_s) => now_s > told_s.saturating_add(QUIET_S),
            None => now_s >= self.first_s.saturating_add(WINDOW_S),
        }
    }

    fn add(&mut self, seen: &NotDnsSecond<'_>) {
        if self.sums.packets == 0 || self.is_over(seen.second) {
            let is_known = self.is_known;
            *self = Self { first_s: seen.second, is_known, ..Self::default() };
        }
        self.last_s = seen.second;
        self.is_known |= seen.stats.known > 0;
        if seen.who.is_some() {
            self.who.clone_from(&seen.who);
        }
        self.sums.add(seen.stats);
        let answers = seen.stats.carried.packets.saturating_sub(seen.stats.sent);
        let unanswered = seen.stats.sent.saturating_sub(answers);
        self.volume.add(seen.second, &seen.stats.carried, unanswered);
    }

    fn judge(
        &self,
        seen: &NotDnsSecond<'_>,
        strange: Strange,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let NotDnsKey { client, server } = *seen.key;
        let at_home = ctx.home().contains(&client);
        if !at_home && ctx.home().contains(&server) {
            return None;
        }
        let score = strange.score(ctx);
        let value = score.value;
        let who = self.who.clone().unwrap_or_else(|| Arc::new(Who::address(&client)));
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, &who, seen.second, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "dns_tunnel_score",
            threshold: score.threshold as u64,
            unit: "points",
            formula: "score of what a client and a server sent at UDP port 53 that is no DNS",
        };
        let mut finding = about(NAME, &who, (self.first_s, seen.second), rule, score, ctx.seed);
        let pair = ctx.seed.mix(ctx.seed.host(&client), ctx.seed.host(&server));
        if let Subject::Entity(digest) = finding.subject {
            finding.subject = Subject::Entity(ctx.seed.mix(digest, pair));
        }
        finding.whole = Some(pair);
        finding.kind = NAME;
        finding.direction = if at_home { Direction::Outbound } else { Direction::Crossing };
        finding.home_sender = at_home;
        finding.measured = value as u64;
        self.volume.fill(&mut finding, server);
        finding.to_ports = vec![DNS_PORT];
        let received = self.sums.packets.saturating_sub(self.sums.sent);
        finding.unanswered = self.sums.sent.saturating_sub(received);
        self.tell(&mut finding, &who, server, strange);
        Some(finding)
    }

    fn tell(&self, finding: &mut Finding, who: &Who, server: Host, strange: Strange) {
        finding.details.extend([
            ("server", json!(server.ip())),
            ("packets_not_dns", json!(strange.packets)),
            ("bytes_not_dns", json!(strange.bytes)),
            ("dns_messages", json!(self.sums.messages)),
            ("packets_not_dns_share", json!(round3(strange.share))),
            ("iodine_header_share", json!(round3(strange.iodine_share))),
        ]);
        let Some(case) = finding.case.as_mut() else { return };
        case.decided_by = DecidedBy::Pattern;
        case.baseline = "not asked: what its port is for is no host's normal".to_owned();
        case.quiet_s = QUIET_S;
        case.confident("start", 0.4);
        if strange.is_iodine() {
            case.confident("header_of_iodine", 0.2);
        }
        trusts_process(case, who, "AN0031");
        // The bounds of a tunnel in names.
        let much = strange.bytes >= 256 << 10;
        case.severity = if much { Severity::High } else { Severity::Medium };
        case.severity_reason = match much {
            true => "High: over 256 KiB went through it.",
            false => "Medium: no DNS at the port of DNS, under 256 KiB so far.",
        }
        .to_owned();
        let by = if strange.is_iodine() { ": iodine's raw packets" } else { "" };
        case.summary = format!(
            "{} and {} sent {} packets at UDP port 53 in {} s, with {} bytes of payload, that are \
             not DNS at all{by} ({:.0} % of all there).",
            subject(who),
            server.ip(),
            thousands(strange.packets),
            finding.second - finding.start_second + 1,
            thousands(strange.bytes),
            strange.share * 100.0,
        );
    }
}

#[cfg(test)]
#[path = "not_dns_tests.rs"]
mod tests;

//! `request_flood`: more requests than any user makes, by the logs of balancers and
//! servers: from one client, or to one target.
//!
//! Method: requests of ten seconds (logs have the whole second or come in batches) from
//! one client address to one observer at `request_rate_threshold` a second or more, and
//! of all clients to one target at `target_request_rate_threshold`, in two windows in a
//! row. Sources are told apart: the balancer and the server behind it log the same
//! request.
//!
//! What comes in from outside answers no analytic; a client at home is AN0972 (one
//! service). Proxies and load tests reach the figures: severity is low, or
//! informational where most answers were good (under 400), since then the target coped.
//!
//! Limits: addresses behind one NAT or CDN count as one client; a window in which a log
//! ends is judged as a whole one. Memory: the clients and targets of a window, at most
//! [`MAX_KEYS`] a source; requests of others are counted as refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::json;

use super::{Analytic, AnalyticContext, Event, EventKind, PACKETS, about};
use crate::alert::{Case, DecidedBy, Entity, EntityKind, Score, Severity, Term, thousands};
use crate::detect::{Direction, Finding, Peer, PeerRole, Rule, round3};
use crate::engine::window::Host;
use crate::entity::Who;
use crate::telemetry::request::{Request, Target};

#[derive(Debug, Default)]
pub(super) struct RequestFlood {
    sources: BTreeMap<Arc<str>, Window>,
    refused: u64,
}

#[derive(Debug, Default)]
struct Window {
    number: i64,
    /// How late the source may tell of a request.
    lateness_s: i64,
    now: BTreeMap<Key, Sums>,
    /// Those of the window before that were over.
    before: BTreeMap<Key, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Client(IpAddr, Arc<str>),
    Target(String),
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    failed: u64,
    bytes: u64,
    /// Who served most of them, by a vote (Boyer and Moore 1981), and by how much it leads.
    server: Option<(IpAddr, Option<u16>)>,
    lead: u64,
    /// Others served some.
    several: bool,
}

impl Sums {
    fn vote(&mut self, target: &Target) {
        let Some(address) = target.address else { return };
        let server = Some((address, target.port));
        self.several |= self.server.is_some() && self.server != server;
        match self.lead {
            0 => (self.server, self.lead) = (server, 1),
            _ if self.server == server => self.lead += 1,
            _ => self.lead -= 1,
        }
    }

    /// Of one client: whom it sends to, as far as packets show it. A log's observer is who
    /// was asked; the servers behind it are not.
    fn server(&self, observer: &str) -> Option<(IpAddr, Option<u16>)> {
        self.server.filter(|_| observer == PACKETS)
    }
}

const MAX_SOURCES: usize = 256;
const MAX_KEYS: usize = 16_384;
const WINDOW_S: i64 = 10;
const ALERTS_FROM: f64 = 30.0;

const FORMULA: &str = "requests of 10 seconds / 10 >= request_rate_threshold from one client, or >= \
    target_request_rate_threshold to one target, two windows in a row";

impl Analytic for RequestFlood {
    fn name(&self) -> &'static str {
        "request_flood"
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Request, EventKind::Time, EventKind::End]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Request { source, request, .. } => {
                let number = request.time_ns.div_euclid(WINDOW_S * 1_000_000_000);
                if !self.sources.contains_key(&source.name) && self.sources.len() >= MAX_SOURCES {
                    self.refused += 1;
                    return;
                }
                let window = self.sources.entry(Arc::clone(&source.name)).or_default();
                window.lateness_s = source.lateness_ns.div_euclid(1_000_000_000);
                if window.number < number {
                    window.close(&source.name, number, ctx, out);
                }
                // What is late by less than a window belongs to it; older ones are over.
                if window.number <= number + 1 {
                    self.refused += window.count(request);
                }
            }
            Event::Time { second } => {
                // Live, no request comes after the last one of a flood.
                for (source, window) in &mut self.sources {
                    let over_s = (window.number + 2) * WINDOW_S + window.lateness_s;
                    if over_s < *second && !window.now.is_empty() {
                        let next = window.number + 1;
                        window.close(source, next, ctx, out);
                    }
                }
            }
            Event::End => {
                for (source, window) in &mut self.sources {
                    let next = window.number + 1;
                    window.close(source, next, ctx, out);
                }
            }
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Window {
    /// How many had no place.
    fn count(&mut self, request: &Request) -> u64 {
        let failed = request.status.is_some_and(|status| !(100..400).contains(&status));
        let bytes = request.received_bytes.unwrap_or(0);
        let client = request.client.map(|ip| Key::Client(ip, Arc::clone(&request.observer)));
        let target = request.target.as_ref().and_then(place).map(Key::Target);
        let target = target.or_else(|| {
            (!request.observer.is_empty()).then(|| Key::Target(request.observer.to_string()))
        });
        let mut refused = 0;
        for key in [client, target].into_iter().flatten() {
            if self.now.len() >= MAX_KEYS && !self.now.contains_key(&key) {
                refused += 1;
                continue;
            }
            let sums = self.now.entry(key).or_default();
            sums.requests += 1;
            sums.failed += u64::from(failed);
            sums.bytes = sums.bytes.saturating_add(bytes);
            if let Some(target) = &request.target {
                sums.vote(target);
            }
        }
        refused
    }

    fn close(
        &mut self,
        source: &Arc<str>,
        next: i64,
        ctx: &AnalyticContext<'_>,
        out: &mut Vec<Finding>,
    ) {
        let mut over = BTreeMap::new();
        for (key, sums) in std::mem::take(&mut self.now) {
            let threshold = key.threshold(ctx);
            let rate = sums.requests / WINDOW_S as u64;
            if rate < threshold {
                continue;
            }
            let run = self.before.get(&key).copied().unwrap_or(0) + 1;
            if run >= 2 {
                let at = At { source, number: self.number, run };
                out.extend(finding(&key, &sums, threshold, &at, ctx));
            }
            over.insert(key, run);
        }
        self.before = if next == self.number + 1 { over } else { BTreeMap::new() };
        self.number = next;
    }
}

/// Address and port, or the name, of what answered.
pub(super) fn place(target: &Target) -> Option<String> {
    match (target.address, target.port) {
        (Some(address), Some(port)) => Some(SocketAddr::new(address, port).to_string()),
        (Some(address), None) => Some(address.to_string()),
        (None, _) => target.name.as_ref().map(ToString::to_string),
    }
}

struct At<'a> {
    source: &'a Arc<str>,
    number: i64,
    /// Windows in a row.
    run: u64,
}

impl Key {
    fn threshold(&self, ctx: &AnalyticContext<'_>) -> u64 {
        match self {
            Self::Client(..) => ctx.settings.request_rate_threshold,
            Self::Target(_) => ctx.settings.target_request_rate_threshold,
        }
    }
}

fn finding(
    key: &Key,
    sums: &Sums,
    threshold: u64,
    at: &At<'_>,
    ctx: &AnalyticContext<'_>,
) -> Option<Finding> {
    let rate = sums.requests / WINDOW_S as u64;
    let failed = sums.failed as f64 / sums.requests.max(1) as f64;
    let score = Score::of(
        vec![
            Term::doubling(
                "times_threshold",
                rate as f64 / threshold.max(1) as f64,
                0.0,
                8.0,
                60.0,
            ),
            Term::new("windows_in_a_row", at.run as f64, 1.0, 3.0, 25.0),
            Term::new("failed_share", failed, 0.0, 0.5, 15.0),
        ],
        ALERTS_FROM,
    );
    let enough = score.alerts() && score.dimensions() >= 2;
    if !enough && !ctx.is_asked() {
        return None;
    }
    let rule =
        Rule { name: "request_rate_threshold", threshold, unit: "requests/s", formula: FORMULA };
    let (who, home, text) = match key {
        Key::Client(client, observer) => {
            let host = Host::from(*client);
            (
                Who::address(&host),
                ctx.home().contains(&host),
                format!("{client} sends to {}", asked(sums, observer)),
            )
        }
        Key::Target(place) => {
            let entity = Entity::new(EntityKind::Host, place.clone());
            let baseline = format!("target:{place}").into();
            let who = Who {
                entity,
                baseline,
                process: None,
                workload: None,
                instance: None,
                certainty: 1.0,
            };
            (who, false, format!("{place} gets"))
        }
    };
    let start_s = at.number * WINDOW_S;
    let span = (start_s - WINDOW_S, start_s + WINDOW_S - 1);
    if !ctx.decide("request_flood", &who, start_s, &score, enough) {
        return None;
    }
    let mut finding = about("request_flood", &who, span, rule, score, ctx.seed);
    finding.kind = "requests";
    finding.home_sender = home;
    finding.direction = if home { Direction::Outbound } else { Direction::Inbound };
    finding.measured = rate;
    finding.minute_bytes = Some(sums.bytes.saturating_mul(6));
    if let Key::Client(_, observer) = key {
        let server = sums.server(observer).map(|(address, _)| Peer {
            host: Host::from(address),
            role: PeerRole::Destination,
            packets: None,
            wire_bytes: None,
        });
        finding.peers.extend(server);
    }
    finding.details.extend([
        ("source", json!(&**at.source)),
        ("requests", json!(sums.requests)),
        ("failed_share", json!(round3(failed))),
        ("windows_in_a_row", json!(at.run)),
    ]);
    let case = finding.case.as_mut()?;
    fill(case, home, failed);
    case.summary = format!(
        "{text} {} requests/s in the mean of ten seconds (threshold {}), {:.0} % of them failed, {} windows in a \
         row.",
        thousands(rate),
        thousands(threshold),
        failed * 100.0,
        at.run,
    );
    Some(finding)
}

/// Whom a client sends to, in words.
fn asked(sums: &Sums, observer: &str) -> String {
    let Some((address, port)) = sums.server(observer) else { return observer.to_owned() };
    let target = Target { address: Some(address), port, name: None };
    let place = place(&target).unwrap_or_default();
    if sums.several { format!("several servers, such as {place},") } else { place }
}

fn fill(case: &mut Case, home: bool, failed: f64) {
    case.decided_by = DecidedBy::AbsoluteThreshold;
    case.missing.extend(["baseline", "packets"]);
    case.confident("rate_over_the_threshold", 0.4);
    if failed >= 0.5 {
        case.confident("half_failed", 0.1);
    }
    if home {
        case.analytics.push("AN0972");
        case.possible_analytics.extend(["AN0971", "AN0083"]);
    }
    (case.severity, case.severity_reason) = match failed >= 0.5 {
        true => (Severity::Low, "Low: a flood of requests, half of which failed.".to_owned()),
        false => (
            Severity::Informational,
            "Informational: a flood of requests that were answered; a load test or a proxy may be one."
                .to_owned(),
        ),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::analytic::Source;
    use crate::detect::analytic::testing::Bench;
    use crate::host::execs::Served;

    fn source() -> Source {
        Source { name: "access.log".into(), kind: "nginx", lateness_ns: 0 }
    }

    fn run(client: &str, rate: i64, seconds: i64, status: u16) -> Vec<Finding> {
        let mut bench = Bench::new(RequestFlood::default());
        let mut found = Vec::new();
        for at in 0..seconds * rate {
            let request = Request {
                time_ns: at * 1_000_000_000 / rate,
                client: Some(client.parse().unwrap()),
                status: Some(status),
                observer: "lb".into(),
                ..Request::default()
            };
            found.extend(bench.see(&Event::Request {
                source: &source(),
                request: &request,
                served: &Served::default(),
            }));
        }
        found.extend(bench.see(&Event::Time { second: seconds + 60 }));
        found
    }

    #[test]
    fn a_client_that_floods_for_two_windows_is_told_of() {
        let found = run("203.0.113.9", 200, 40, 503);
        assert_eq!(found[0].measured, 200);
        let case = found[0].case.as_ref().unwrap();
        assert_eq!((case.severity, case.analytics.len()), (Severity::Low, 0));
        let home = run("10.0.0.1", 200, 40, 503);
        assert_eq!(home[0].case.as_ref().unwrap().analytics, ["AN0972"]);
        let answered = run("203.0.113.9", 200, 40, 200);
        assert!(
            answered.iter().all(|finding| {
                finding.case.as_ref().unwrap().severity == Severity::Informational
            })
        );
    }

    #[test]
    fn the_last_window_of_a_log_that_just_ends_is_judged() {
        let mut bench = Bench::new(RequestFlood::default());
        let mut found = Vec::new();
        // Twenty seconds: the second window is over the threshold when the log ends.
        for at in 0..4_000 {
            let request = Request {
                time_ns: at * 5_000_000,
                client: "203.0.113.9".parse().ok(),
                status: Some(503),
                observer: "lb".into(),
                ..Request::default()
            };
            let (source, served) = (source(), Served::default());
            let event = Event::Request { source: &source, request: &request, served: &served };
            found.extend(bench.see(&event));
        }
        // As the end of a run has it: time has come to the last request, and no further.
        found.extend(bench.see(&Event::Time { second: 20 }));
        assert!(found.is_empty(), "a request of the window may still come");
        let found = bench.see(&Event::End);
        assert_eq!(found.iter().map(|finding| finding.measured).collect::<Vec<_>>(), [200]);
        assert!(bench.see(&Event::End).is_empty(), "judged once");
    }

    #[test]
    fn of_requests_in_packets_the_server_is_named() {
        let flood = |others: i64| {
            let mut bench = Bench::new(RequestFlood::default());
            let source = Source { name: PACKETS.into(), kind: PACKETS, lateness_ns: 0 };
            let mut found = Vec::new();
            for at in 0..6_000 {
                let last = if at % 100 < others { 81 } else { 80 };
                let request = Request {
                    time_ns: at * 5_000_000,
                    client: "203.0.113.9".parse().ok(),
                    target: Some(Target {
                        address: Some([10, 0, 0, last].into()),
                        port: Some(8080),
                        name: None,
                    }),
                    observer: PACKETS.into(),
                    ..Request::default()
                };
                let served = Served::default();
                let event = Event::Request { source: &source, request: &request, served: &served };
                found.extend(bench.see(&event));
            }
            found.remove(0)
        };
        let one = flood(0);
        assert_eq!(one.peers[0].host.ip().to_string(), "10.0.0.80");
        let summary = &one.case.as_ref().unwrap().summary;
        let told = "203.0.113.9 sends to 10.0.0.80:8080 200 requests/s";
        assert!(summary.starts_with(told), "{summary}");
        let several = flood(30);
        let summary = &several.case.as_ref().unwrap().summary;
        assert!(summary.contains("to several servers, such as 10.0.0.80:8080, 200"), "{summary}");
    }

    #[test]
    fn users_and_short_bursts_are_none() {
        assert!(run("203.0.113.9", 60, 40, 200).is_empty(), "under the threshold");
        assert!(run("203.0.113.9", 500, 9, 200).is_empty(), "one window");
    }
}

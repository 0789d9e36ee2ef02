//! When behaviours begin conversations, and what ordinary ones consist of.
//!
//! What stands as a constant here is what a behaviour's fields replace. "Assumed" is a
//! choice of ours without a measurement behind it; lognormal and the other distributions,
//! with their sources and what was looked up of those, stand in [`super::draw`].
//!
//! | kind | sizes | gaps |
//! |---|---|---|
//! | `web` | objects and their number a page: after SURGE (Barford and Crovella 1998), figures from memory; requests lognormal about 600 bytes: assumed | pages: Poisson, mean 120 s: assumed (of users' sessions by Paxson and Floyd 1995); objects exponential, 0.2 s: assumed |
//! | `dns` | the messages of RFC 1035 themselves; names nearly by Zipf's law (heavy-tailed by Jung et al. 2002), exponent and number assumed | Poisson, mean 30 s: assumed |
//! | `mail` | lognormal (Paxson 1994 of SMTP, from memory), medians 40 kB up, 6 kB down: assumed | Poisson, mean 600 s: assumed |
//! | `backup`, `upload`, `tls`, `requests`, `updates` | lognormal, medians assumed | Poisson, means assumed |
//! | `video_call` | sound 120 bytes, pictures 1,000 bytes, even spread: assumed | sound every 20 ms, the usual frame of Opus (RFC 7587); pictures 90 a second, and jitter: assumed |
//! | `monitoring` | lognormal about 30 kB: assumed | 15 s, which Prometheus' example configuration has |
//! | `chat` | lognormal about 300 bytes, sigma 1: assumed | exponential, mean 25 s, a sign of life after 30 s: assumed |
//! | `replication` | lognormal about 2 kB, sigma 1.2: assumed | Poisson, one a second: assumed |
//! | `ntp` | 48 bytes: RFC 5905 | 256 s, within the 64 to 1,024 s that RFC 5905 has by default |
//! | `syslog` | 180 bytes: assumed | Poisson, two a second: assumed |
//! | `ping` | 56 bytes of data: iputils' default | one second: iputils' default |
//! | `vpn` | multiples of 16 and 32 bytes of header and tag, as WireGuard has them (its messages.h in Linux, looked up); 700 bytes assumed | 40 a second up, 64 down: assumed |

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::bytes::{Said, http_answer, http_request, ntp};
use super::draw::{DAY, Draw};
use super::talk::{
    Content, Datagrams, End, Form, LogLine, Stream, Talk, Tcp, Turn, USUAL_SEGMENT_GAP_NS,
    echo_proto,
};
use super::world::{Seat, World};
use super::{Behaviour, Kind, dns, tls};
use crate::lab::synth::Rng;
use crate::lab::synth::frame::ip_proto;

pub(super) const MS: f64 = 1e6;
pub(super) const S: f64 = 1e9;

/// Frame around a full segment, in bits.
const SEGMENT_BITS: f64 = 1_514.0 * 8.0;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// A behaviour of one of those who do it.
#[derive(Debug)]
pub struct Source {
    pub behaviour: Arc<Behaviour>,
    pub seat: Seat,
    targets: Vec<Seat>,
    pub(super) via: Vec<Seat>,
    pub(super) rng: Rng,
    gap_ns: Option<f64>,
    pub(super) end_ns: i64,
    /// Conversations so far.
    pub(super) count: u64,
    port: u16,
    /// When it is due first.
    pub next_ns: Option<i64>,
}

pub type Talks = Vec<(i64, Talk)>;

impl Source {
    pub fn new(
        behaviour: &Arc<Behaviour>,
        seat: Seat,
        world: &World,
        mut rng: Rng,
        scale: f64,
    ) -> Result<Self> {
        let place = || format!("behaviour {} ({:?})", behaviour.label, behaviour.kind);
        let seats = |name: &Option<String>| -> Result<Vec<Seat>> {
            let seats = name.as_ref().map(|name| world.seats(name)).transpose();
            Ok(seats.with_context(place)?.unwrap_or_default().to_vec())
        };
        let mut targets = seats(&behaviour.to)?;
        targets.retain(|target| target.address != seat.address);
        if targets.is_empty() {
            bail!("{}: it needs a `to` that is not itself", place());
        }
        let via = seats(&behaviour.via)?;
        let start_ns = world.start_ns.saturating_add((behaviour.start_s * S) as i64);
        let end_ns = behaviour
            .duration_s
            .map_or(world.end_ns, |duration_s| start_ns.saturating_add((duration_s * S) as i64))
            .min(world.end_ns);
        let scale = if behaviour.is_attack() { 1.0 } else { scale };
        let gap_ns = gap_s(behaviour).map(|gap_s| (gap_s * S / scale).max(1_000.0));
        // An attack begins when it is told to, what is ordinary at any point of its gap.
        let phase = match gap_ns {
            Some(gap_ns) if !behaviour.is_attack() => gap_ns * rng.unit(),
            _ => 0.0,
        };
        let first_ns = start_ns.saturating_add(phase as i64);
        let port = 32_768 + rng.below(28_000) as u16;
        Ok(Self {
            behaviour: Arc::clone(behaviour),
            seat,
            targets,
            via,
            rng,
            gap_ns,
            end_ns,
            count: 0,
            port,
            next_ns: (first_ns < end_ns).then_some(first_ns),
        })
    }

    /// Conversations that begin now or soon, and when the next ones do.
    pub fn next(&mut self, now_ns: i64, world: &World) -> (Talks, Option<i64>) {
        let next_ns = self.gap_ns.map(|gap_ns| {
            let gap = match self.behaviour.jitter_share {
                Some(share) => self.rng.jittered(gap_ns, share),
                None => self.rng.exponential(gap_ns),
            };
            now_ns.saturating_add(gap.max(1_000.0) as i64)
        });
        let next_ns = next_ns.filter(|&next_ns| next_ns < self.end_ns);
        if self.behaviour.daily {
            let hour = now_ns.div_euclid(3_600_000_000_000).rem_euclid(24) as usize;
            if self.rng.unit() >= DAY[hour] {
                return (Vec::new(), next_ns);
            }
        }
        let at = self.rng.popular(self.targets.len());
        let talks = match self.targets.get(at).copied() {
            Some(target) => self.talks(now_ns, target, world),
            None => Vec::new(),
        };
        self.count += 1;
        (talks, next_ns)
    }

    fn talks(&mut self, now_ns: i64, target: Seat, world: &World) -> Talks {
        let name = self.name_of(target, world);
        let answer_sized = |source: &mut Self, up, down| {
            let up = source.rng.about(source.behaviour.up_bytes.unwrap_or(up));
            (up as u64, source.rng.about(source.behaviour.down_bytes.unwrap_or(down)) as u64)
        };
        match self.behaviour.kind {
            Kind::Web => self.page(now_ns, target, &name),
            Kind::Dns => {
                let name = self.looked_up();
                vec![(now_ns, self.lookup(target, &name, None))]
            }
            Kind::Mail => {
                let turns = self.tls_turns(&name, 40_000.0, 6_000.0, 2);
                vec![(now_ns, self.tcp(target, 993, turns))]
            }
            Kind::Backup => {
                let turns = self.tls_turns(&name, 50e6, 20_000.0, 1);
                vec![(now_ns, self.tcp(target, 443, turns))]
            }
            Kind::Upload => {
                let turns = self.tls_turns(&name, 20e6, 5_000.0, 1);
                vec![(now_ns, self.tcp(target, 443, turns))]
            }
            Kind::Tls => {
                let turns = self.tls_turns(&name, 2_000.0, 8_000.0, 1);
                vec![(now_ns, self.tcp(target, 443, turns))]
            }
            Kind::VideoCall => self.call(now_ns, target),
            Kind::Monitoring => {
                let (_, down) = answer_sized(self, 0.0, 30_000.0);
                let turns = self.http(&name, "GET", "/metrics", "Prometheus/2.53", 200, down);
                vec![(now_ns, self.tcp(target, 9_100, turns))]
            }
            Kind::Updates => {
                let (_, down) = answer_sized(self, 0.0, 3e6);
                let path = "/debian/pool/main/b/base-files/base-files_13.1_amd64.deb";
                let turns = self.http(&name, "GET", path, "Debian APT-HTTP/1.3 (2.9.8)", 200, down);
                vec![(now_ns, self.tcp(target, 80, turns))]
            }
            Kind::Chat => {
                let connections = self.behaviour.connections.unwrap_or(1);
                let chat = |_| {
                    let turns = self.chat(&name, now_ns);
                    (now_ns, self.tcp(target, 443, turns))
                };
                (0..connections).map(chat).collect()
            }
            Kind::Replication => {
                let turns = self.replication(now_ns);
                vec![(now_ns, self.tcp(target, 5_432, turns))]
            }
            Kind::Ntp => {
                let rtt_ns = self.rtt_ns();
                let turns = vec![
                    Turn::new(true, 0, Said::Bytes(ntp(3, now_ns))),
                    Turn::new(false, rtt_ns, Said::Bytes(ntp(4, now_ns + rtt_ns / 2))),
                ];
                vec![(now_ns, self.datagrams(target, 123, turns))]
            }
            Kind::Syslog => vec![(now_ns, self.stream(target, 514, 180.0, 2.0, Content::Syslog))],
            Kind::Ping => vec![(now_ns, self.echo_stream(target, 1.0, 56.0, Content::Ping))],
            Kind::Vpn => {
                let up = self.stream(target, 51_820, 700.0, 40.0, Content::WireGuard);
                vec![(now_ns, mirrored(&up, &mut self.rng, 1.6)), (now_ns, up)]
            }
            Kind::Requests | Kind::Exploit => self.requests(now_ns, target, &name),
            _ => self.attack(now_ns, target, &name, world),
        }
    }

    /// A name is looked up, then objects come over one to three connections.
    fn page(&mut self, now_ns: i64, target: Seat, name: &str) -> Talks {
        let mut talks = Vec::new();
        let mut start_ns = now_ns;
        if let Some(resolver) = self.via.first().copied()
            && self.rng.chance(60)
        {
            talks.push((now_ns, self.lookup(resolver, name, Some(target))));
            start_ns += (30.0 * MS) as i64;
        }
        for _ in 0..1 + self.rng.below(3) {
            let mut turns = self.hello(name);
            for _ in 0..self.rng.page_objects() {
                let (up, down) = (self.rng.about(600.0), self.rng.web_object_bytes());
                let wait = self.rng.exponential(0.2 * S);
                turns.push(Turn::new(true, wait as i64, Said::Tls { bytes: up as u64 }));
                turns.push(Turn::new(false, self.rtt_ns(), Said::Tls { bytes: down as u64 }));
            }
            talks.push((start_ns, self.tcp(target, 443, turns)));
            start_ns += (self.rng.exponential(0.1) * S) as i64;
        }
        talks
    }

    /// Sound in both directions, and pictures: 50 packets a second of 120 bytes, 90 of
    /// about 1,000.
    fn call(&mut self, now_ns: i64, target: Seat) -> Talks {
        let mut talks = Vec::new();
        for (rate, bytes, spread, port) in [(50.0, 120.0, 0.2, 0), (90.0, 1_000.0, 0.3, 1)] {
            let mut up = self.stream(target, 50_000 + port, bytes, rate, Content::Media);
            if let Form::Stream(stream) = &mut up.form {
                stream.payload_spread_share = spread;
                stream.jitter_share = Some(0.5);
                if self.gap_ns.is_some() {
                    // A call of about half an hour, where there are several.
                    let length = self.rng.about(1_800.0) * S;
                    stream.until_ns = stream.until_ns.min(now_ns + length as i64);
                }
            }
            talks.push((now_ns, mirrored(&up, &mut self.rng, 1.0)));
            talks.push((now_ns, up));
        }
        talks
    }

    /// Messages in both directions for as long as it lasts, and signs of life.
    fn chat(&mut self, name: &str, now_ns: i64) -> Vec<Turn> {
        let mut turns = self.hello(name);
        let mut at_ns = now_ns as f64;
        while at_ns < self.end_ns as f64 && turns.len() < 20_000 {
            let wait = self.rng.exponential(25.0).min(30.0) * S;
            let bytes = if wait >= 30.0 * S { 60.0 } else { self.rng.lognormal(300.0, 1.0) };
            let forward = self.rng.chance(45);
            turns.push(Turn::new(forward, wait as i64, Said::Tls { bytes: bytes as u64 }));
            turns.push(Turn::new(!forward, self.rtt_ns(), Said::Tls { bytes: 60 }));
            at_ns += wait;
        }
        turns
    }

    /// PostgreSQL asks for TLS, then what was written goes over as it comes.
    fn replication(&mut self, now_ns: i64) -> Vec<Turn> {
        let rtt_ns = self.rtt_ns();
        let ssl_request = vec![0, 0, 0, 8, 4, 210, 22, 47];
        let mut turns = vec![
            Turn::new(true, 0, Said::Bytes(ssl_request)),
            Turn::new(false, rtt_ns, Said::Bytes(b"S".to_vec())),
        ];
        turns.extend(self.hello("replica.example"));
        let mean_s = 1.0 / self.behaviour.rate_per_s.unwrap_or(1.0);
        let median = self.behaviour.up_bytes.unwrap_or(2_000.0);
        let mut at_ns = now_ns as f64;
        while at_ns < self.end_ns as f64 && turns.len() < 100_000 {
            let wait = self.rng.exponential(mean_s) * S;
            let bytes = self.rng.lognormal(median, 1.2).min(5e6) as u64;
            turns.push(Turn::new(true, wait as i64, Said::Tls { bytes }));
            at_ns += wait;
        }
        turns
    }

    /// Requests in clear text, of which the server writes a log.
    fn requests(&mut self, now_ns: i64, target: Seat, name: &str) -> Talks {
        let behaviour = Arc::clone(&self.behaviour);
        let usual = ["/", "/index.html", "/api/items?page=2", "/static/app.js", "/cart"];
        let turns = behaviour.turns.unwrap_or(1).min(1_000);
        let mut all = Vec::new();
        for turn in 0..turns {
            let at = (self.count * u64::from(turns) + u64::from(turn)) as usize;
            let path = match behaviour.paths.as_slice() {
                [] => usual[self.rng.popular(usual.len())],
                paths => &paths[at % paths.len()],
            };
            let method = behaviour.method.as_deref().unwrap_or("GET");
            let agent = behaviour.user_agent.as_deref().unwrap_or(BROWSER);
            let status = behaviour.status.unwrap_or(200);
            let median = behaviour.down_bytes.unwrap_or(6_000.0);
            let down = self.rng.about(if status >= 400 { 160.0 } else { median }) as u64;
            let mut turns = self.http(name, method, path, agent, status, down);
            let request_bytes = turns.first().map_or(0, |turn| turn.said.length());
            if let Some(answer) = turns.last_mut() {
                answer.log = Some(Box::new(LogLine {
                    client: self.seat.address,
                    request: format!("{method} {path} HTTP/1.1"),
                    status,
                    bytes: down,
                    agent: agent.to_owned(),
                    host: name.to_owned(),
                    request_bytes,
                }));
            }
            all.extend(turns);
        }
        let mut talk = self.tcp(target, 80, all);
        talk.server.port = behaviour.port.unwrap_or(80);
        vec![(now_ns, talk)]
    }

    pub(super) fn http(
        &mut self,
        host: &str,
        method: &str,
        path: &str,
        agent: &str,
        status: u16,
        down: u64,
    ) -> Vec<Turn> {
        let up = (method == "POST").then(|| self.behaviour.up_bytes.unwrap_or(200.0) as u64);
        let request = Said::WithBody {
            head: http_request(method, path, host, agent, up),
            body_bytes: up.unwrap_or(0),
            text: true,
        };
        let binary = down > 500_000;
        let content = if binary { "application/octet-stream" } else { "text/plain" };
        let head = http_answer(status, down, content);
        let answer = Said::WithBody { head, body_bytes: down, text: !binary };
        let think = self.rtt_ns() + (self.rng.exponential(5.0) * MS) as i64;
        vec![Turn::new(true, 0, request), Turn::new(false, think, answer)]
    }

    /// Handshake of TLS.
    pub(super) fn hello(&mut self, name: &str) -> Vec<Turn> {
        let rtt_ns = self.rtt_ns();
        let certificate = self.rng.jittered(3_000.0, 0.3) as usize;
        vec![
            Turn::new(true, 0, Said::Bytes(tls::client_hello(name, &mut self.rng))),
            Turn::new(false, rtt_ns, Said::Bytes(tls::server_hello(certificate, &mut self.rng))),
            Turn::new(true, 0, Said::Bytes(tls::finished(&mut self.rng))),
        ]
    }

    pub(super) fn tls_turns(&mut self, name: &str, up: f64, down: f64, turns: u32) -> Vec<Turn> {
        let mut all = self.hello(name);
        let behaviour = Arc::clone(&self.behaviour);
        for _ in 0..behaviour.turns.unwrap_or(turns).min(100_000) {
            let up = self.rng.about(behaviour.up_bytes.unwrap_or(up)) as u64;
            let down = self.rng.about(behaviour.down_bytes.unwrap_or(down)) as u64;
            let wait = self.rng.exponential(0.05 * S) as i64;
            all.push(Turn::new(true, wait, Said::Tls { bytes: up }));
            all.push(Turn::new(false, self.rtt_ns(), Said::Tls { bytes: down }));
        }
        all
    }

    /// `answer` is whose address it is; nobody's at times, where it is not given.
    pub(super) fn lookup(&mut self, resolver: Seat, name: &str, answer: Option<Seat>) -> Talk {
        let id = self.rng.next_u32() as u16;
        let found = match answer {
            Some(seat) => Some(seat.address),
            None => {
                (!self.rng.chance(8)).then(|| [203, 0, 113, 1 + self.rng.below(250) as u8].into())
            }
        };
        let (kind, data) = found.map(dns::address_data).unzip();
        let kind = kind.unwrap_or(dns::A);
        let turns = vec![
            Turn::new(true, 0, Said::Bytes(dns::question(id, name, kind))),
            Turn::new(
                false,
                self.rtt_ns(),
                Said::Bytes(dns::answer(id, name, kind, data.as_deref())),
            ),
        ];
        self.datagrams(resolver, 53, turns)
    }

    /// One of a few thousand names, the first ones most often.
    fn looked_up(&mut self) -> String {
        const PARTS: [&str; 8] = ["www", "api", "cdn", "mail", "img", "static", "login", "news"];
        let part = PARTS[self.rng.popular(PARTS.len())];
        format!("{part}.site{}.example", self.rng.popular(2_000) + 1)
    }

    pub(super) fn name_of(&self, target: Seat, world: &World) -> String {
        let host = world.hosts.get(target.host).map(|host| host.dns_name.clone());
        self.behaviour.domain.clone().or(host).unwrap_or_default()
    }

    pub(super) fn tcp(&mut self, target: Seat, port: u16, turns: Vec<Turn>) -> Talk {
        let segment_gap_ns = self.behaviour.rate_mbps.map_or(USUAL_SEGMENT_GAP_NS, |mbps| {
            (SEGMENT_BITS * 1e3 / mbps.max(0.001) * 0.7) as i64
        });
        let (client, server) = self.ends(target, port);
        let tcp = Tcp::new(turns, self.rtt_ns(), segment_gap_ns, &mut self.rng);
        Talk { client, server, form: Form::Tcp(tcp), rng: self.fork() }
    }

    pub(super) fn datagrams(&mut self, target: Seat, port: u16, turns: Vec<Turn>) -> Talk {
        let (client, server) = self.ends(target, port);
        let datagrams = Datagrams { turns, proto: ip_proto::UDP, turn: 0, sequence: 1 };
        Talk { client, server, form: Form::Datagrams(datagrams), rng: self.fork() }
    }

    /// UDP at a rate until the behaviour ends.
    pub(super) fn stream(
        &mut self,
        target: Seat,
        port: u16,
        payload_bytes: f64,
        rate_per_s: f64,
        content: Content,
    ) -> Talk {
        let behaviour = Arc::clone(&self.behaviour);
        let (client, server) = self.ends(target, port);
        let stream = Stream {
            proto: ip_proto::UDP,
            until_ns: self.end_ns,
            gap_ns: S / behaviour.rate_per_s.unwrap_or(rate_per_s).max(1e-6),
            jitter_share: behaviour.jitter_share.filter(|_| behaviour.gap_s.is_none()),
            payload_bytes: behaviour.payload_bytes.map_or(payload_bytes, f64::from),
            payload_spread_share: behaviour.payload_spread_share.unwrap_or(0.0),
            content,
            answered_share: behaviour.answered_share.unwrap_or(0.0),
            rtt_ns: self.rtt_ns(),
            backward: false,
            sequence: 1,
            due_ns: None,
            answer: Vec::new(),
        };
        Talk { client, server, form: Form::Stream(stream), rng: self.fork() }
    }

    /// ICMP echo at a rate, answered unless it is told otherwise.
    pub(super) fn echo_stream(
        &mut self,
        target: Seat,
        rate_per_s: f64,
        payload_bytes: f64,
        content: Content,
    ) -> Talk {
        let mut talk = self.stream(target, 0, payload_bytes, rate_per_s, content);
        if let Form::Stream(stream) = &mut talk.form {
            stream.proto = echo_proto(target.address);
            stream.answered_share = self.behaviour.answered_share.unwrap_or(1.0);
            stream.jitter_share = Some(self.behaviour.jitter_share.unwrap_or(0.01));
        }
        talk.server.port = 0;
        talk
    }

    /// Ephemeral ports in turn.
    fn ends(&mut self, target: Seat, port: u16) -> (End, End) {
        self.port = if self.port >= 60_999 { 32_768 } else { self.port + 1 };
        let port = self.behaviour.port.unwrap_or(port);
        (End { seat: self.seat, port: self.port }, End { seat: target, port })
    }

    pub(super) fn rtt_ns(&mut self) -> i64 {
        let rtt_ms = self.behaviour.rtt_ms.unwrap_or(20.0);
        (self.rng.jittered(rtt_ms, 0.2) * MS) as i64
    }

    pub(super) fn fork(&mut self) -> Rng {
        Rng::new(self.rng.next_u64())
    }
}

/// Usual time between conversations; nothing for what is done once.
fn gap_s(behaviour: &Behaviour) -> Option<f64> {
    let usual = match behaviour.kind {
        Kind::Web => Some(120.0),
        Kind::Dns => Some(30.0),
        Kind::Mail => Some(600.0),
        Kind::Monitoring => Some(15.0),
        Kind::Updates => Some(21_600.0),
        Kind::Ntp => Some(256.0),
        Kind::Requests | Kind::Tls => Some(10.0),
        Kind::Beacon | Kind::Exploit | Kind::Metadata => Some(60.0),
        Kind::Relay => Some(5.0),
        Kind::ConnectionFlood => Some(1.0 / behaviour.rate_per_s.unwrap_or(200.0).max(1e-6)),
        Kind::DnsTunnel => Some(1.0 / behaviour.rate_per_s.unwrap_or(10.0).max(1e-6)),
        _ => None,
    };
    behaviour.gap_s.or(usual)
}

/// What the other side sends in the same stream, at `times` its rate.
fn mirrored(talk: &Talk, rng: &mut Rng, times: f64) -> Talk {
    let mut back = talk.clone();
    back.rng = Rng::new(rng.next_u64());
    if let Form::Stream(stream) = &mut back.form {
        stream.backward = true;
        stream.gap_ns /= times;
    }
    back
}

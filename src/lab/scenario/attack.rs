//! What attacks consist of.
//!
//! Shapes follow the tools that do such things: hping3 and plain ping for floods, curl in
//! a loop, slowloris.py for what is held open (150 connections, a line each 15 s), iodine for DNS (names of base 32 near the longest that is allowed), ptunnel for
//! ICMP (echo with other data in each answer). Nothing is taken from a detector.

use super::bytes::{Said, http_answer, http_request};
use super::draw::Draw;
use super::ordinary::{MS, S, Source, Talks};
use super::talk::{Content, Datagrams, Form, Talk, Turn, echo_proto};
use super::world::{Seat, World};
use super::{Kind, dns};

impl Source {
    pub(super) fn attack(&mut self, now_ns: i64, target: Seat, name: &str, world: &World) -> Talks {
        let talk = match self.behaviour.kind {
            Kind::UdpFlood => self.stream(target, 7_777, 1_024.0, 20_000.0, Content::Random),
            Kind::IcmpFlood => {
                let mut talk = self.echo_stream(target, 5_000.0, 56.0, Content::Ping);
                if let Form::Stream(stream) = &mut talk.form {
                    stream.answered_share = self.behaviour.answered_share.unwrap_or(0.0);
                }
                talk
            }
            Kind::ConnectionFlood => {
                let down = self.rng.about(self.behaviour.down_bytes.unwrap_or(800.0)) as u64;
                let turns = self.http(name, "GET", "/", "curl/8.9.1", 200, down);
                self.tcp(target, 80, turns)
            }
            Kind::HeldOpen => return self.held_open(now_ns, target, name),
            Kind::Relay => return self.relay(now_ns, target, world),
            Kind::SizeShift => {
                let turns = self.constant_sizes(name, now_ns);
                self.tcp(target, 443, turns)
            }
            Kind::Beacon => {
                let turns = self.tls_turns(name, 400.0, 250.0, 1);
                self.tcp(target, 443, turns)
            }
            Kind::DnsTunnel => self.dns_tunnel(target),
            Kind::IcmpTunnel => self.icmp_tunnel(target, now_ns),
            Kind::Metadata => {
                let paths = ["/latest/meta-data/iam/security-credentials/web-role"];
                let path = self.behaviour.paths.first().map_or(paths[0], String::as_str).to_owned();
                let agent = self.behaviour.user_agent.clone();
                let agent = agent.as_deref().unwrap_or("curl/8.9.1");
                let address = target.address.to_string();
                let answer = http_answer(200, 1_300, "text/plain");
                let turns = vec![
                    Turn::new(
                        true,
                        0,
                        Said::Bytes(http_request("GET", &path, &address, agent, None)),
                    ),
                    Turn::new(
                        false,
                        (0.5 * MS) as i64,
                        Said::WithBody { head: answer, body_bytes: 1_300, text: true },
                    ),
                ];
                self.tcp(target, 80, turns)
            }
            _ => return Vec::new(),
        };
        vec![(now_ns, talk)]
    }

    /// A client's connection goes on to a target, what comes on one side leaves on the
    /// other a little later.
    fn relay(&mut self, now_ns: i64, target: Seat, world: &World) -> Talks {
        let at = self.rng.popular(self.via.len().max(1));
        let Some(client) = self.via.get(at).copied() else { return Vec::new() };
        let name = self.name_of(target, world);
        let turns = self.tls_turns(&name, 1_500.0, 60_000.0, 3);
        let mut outward = self.tcp(target, 443, turns.clone());
        outward.server.port = 443;
        let mut inward = self.tcp(self.seat, 1_080, turns);
        let relay = inward.server;
        inward.client.seat = client;
        inward.server = super::talk::End { seat: self.seat, ..relay };
        vec![(now_ns, inward), (now_ns + (15.0 * MS) as i64, outward)]
    }

    /// Heads of requests that drip until the end: as slowloris.py has them.
    fn held_open(&mut self, now_ns: i64, target: Seat, name: &str) -> Talks {
        let connections = self.behaviour.connections.unwrap_or(150);
        let each_s = self.behaviour.gap_s.unwrap_or(15.0);
        let opened = |at: u32| now_ns + i64::from(at) * (20.0 * MS) as i64;
        (0..connections)
            .map(|at| {
                let number = self.rng.next_u32() % 2_000;
                let head = format!(
                    "GET /?{number} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
                     Accept-language: en-US,en,q=0.5\r\n"
                );
                let mut turns = vec![Turn::new(true, 0, Said::Bytes(head.into_bytes()))];
                let mut at_ns = opened(at) as f64;
                while at_ns < self.end_ns as f64 && turns.len() < 10_000 {
                    let wait = self.rng.jittered(each_s, 0.05) * S;
                    let line = format!("X-a: {}\r\n", 1 + self.rng.next_u32() % 5_000);
                    turns.push(Turn::new(true, wait as i64, Said::Bytes(line.into_bytes())));
                    at_ns += wait;
                }
                (opened(at), self.tcp(target, 80, turns))
            })
            .collect()
    }

    /// Pieces of one size at a time, far from what the program usually sends.
    fn constant_sizes(&mut self, name: &str, now_ns: i64) -> Vec<Turn> {
        let mut turns = self.hello(name);
        let bytes = u64::from(self.behaviour.payload_bytes.unwrap_or(1_400));
        let gap_s = 1.0 / self.behaviour.rate_per_s.unwrap_or(5.0).max(1e-3);
        let mut at_ns = now_ns as f64;
        while at_ns < self.end_ns as f64 && turns.len() < 100_000 {
            let wait = self.rng.jittered(gap_s, 0.1) * S;
            turns.push(Turn::new(true, wait as i64, Said::Tls { bytes }));
            at_ns += wait;
        }
        turns
    }

    /// Data up in the name, data down in the answer.
    fn dns_tunnel(&mut self, resolver: Seat) -> Talk {
        let domain = self.behaviour.domain.clone().unwrap_or_else(|| "t.tunnel.example".to_owned());
        let up = self.rng.jittered(self.behaviour.up_bytes.unwrap_or(110.0), 0.2) as usize;
        let down = self.rng.jittered(self.behaviour.down_bytes.unwrap_or(180.0), 0.2) as usize;
        let name = dns::tunnel_name(&domain, up, &mut self.rng);
        let id = self.rng.next_u32() as u16;
        let mut data = vec![0; down.clamp(1, 1_000)];
        self.rng.fill(&mut data);
        let turns = vec![
            Turn::new(true, 0, Said::Bytes(dns::question(id, &name, dns::NULL))),
            Turn::new(
                false,
                self.rtt_ns(),
                Said::Bytes(dns::answer(id, &name, dns::NULL, Some(&data))),
            ),
        ];
        self.datagrams(resolver, 53, turns)
    }

    /// Echo whose answers hold other data than was asked with.
    fn icmp_tunnel(&mut self, target: Seat, now_ns: i64) -> Talk {
        let (rtt_ns, rate) = (self.rtt_ns(), self.behaviour.rate_per_s.unwrap_or(10.0));
        let bytes = f64::from(self.behaviour.payload_bytes.unwrap_or(900));
        let mut turns = Vec::new();
        let mut at_ns = now_ns as f64;
        while at_ns < self.end_ns as f64 && turns.len() < 500_000 {
            let wait = self.rng.exponential(S / rate.max(1e-3));
            let size = |source: &mut Self| source.rng.jittered(bytes, 0.6).min(1_400.0) as u64;
            let (up, down) = (size(self), size(self));
            let first_wait = if turns.is_empty() { 0 } else { wait as i64 };
            turns.push(Turn::new(true, first_wait, Said::Random { bytes: up }));
            turns.push(Turn::new(false, rtt_ns, Said::Random { bytes: down }));
            at_ns += wait + rtt_ns as f64;
        }
        let mut talk = self.datagrams(target, 0, Vec::new());
        let proto = echo_proto(target.address);
        talk.form = Form::Datagrams(Datagrams { turns, proto, turn: 0, sequence: 1 });
        talk.server.port = 0;
        talk
    }
}

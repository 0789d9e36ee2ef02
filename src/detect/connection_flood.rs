//! Floods of new connections that are answered.
//!
//! Method, per address and second:
//! - 3,500 SYNs or more (FastNetMon's default for flows of one host), at least
//!   half of them answered by SYN-ACK;
//! - or, from one source, 256 or more (ntopng's default) to at most three ports
//!   that are answered and carry hardly any data, two seconds in a row:
//!   connections made to be dropped.
//!
//! When the clients go on with less than half of the handshakes, it is called
//! the SYN flood that it is.
//!
//! Pairs that look like a scan don't count. A SYN flood at the same address
//! takes precedence. Popular servers reach the first figure: without a baseline
//! the alert is a question, hence its low confidence.

use std::collections::BTreeMap;

use ahash::HashMap;
use serde_json::json;

use super::{
    Context, Detector, Direction, Family, Finding, Peer, PeerRole, PortShare, Rule, Shape, Subject,
    Traffic, Window,
};
use crate::alert::Entity;
use crate::engine::window::{Host, HostStats, PairStats, Slice, Tally};
use crate::packet::PacketClass as C;

#[derive(Debug, Default)]
pub struct ConnectionFlood {
    /// Pairs of the window before that were over the lower figure.
    empty: BTreeMap<(Host, Host), Finding>,
    /// SYN of the window at hand by target; kept for its memory.
    syn: HashMap<Host, u64>,
}

const RATE: &str = "SYN of one second at one address >= connection_rate_threshold, at least half \
                    answered by SYN-ACK";

const EMPTY: &str = "SYN of one second from one source to one address >= \
                     empty_connection_rate_threshold, at least half answered, data packets < half \
                     of SYN, at most 3 ports, two seconds in a row";

/// Ports of one target up to which connections are no scan.
const FEW_PORTS: u64 = 3;

impl Detector for ConnectionFlood {
    fn name(&self) -> &'static str {
        "connection_flood"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let before = std::mem::take(&mut self.empty);
        let slice = window.slice;
        // Without the other direction or the pairs nothing tells it apart.
        let Some(pairs) = slice.pairs().filter(|_| !ctx.one_sided) else { return };
        let lower = ctx.settings.empty_connection_rate_threshold;
        let threshold = ctx.settings.connection_rate_threshold;
        // The figure of `Interest::syn`: whoever got so many is in the table of receivers.
        let fewest = lower.min(threshold);
        if slice.total().class(C::TcpSyn) < fewest {
            return;
        }
        // What one source or all send to an address is no more than it received: in most
        // seconds no address got so many, and no pair needs a look.
        let is_loud = |stats: &HostStats| stats.tally.class(C::TcpSyn) >= fewest;
        if let Some(hosts) = slice.receivers().exact()
            && !hosts.iter().any(|(_, host)| is_loud(&host.stats))
        {
            return;
        }
        self.syn.clear();
        let mut loud = false;
        for (&(src, dst), pair) in pairs.iter() {
            let syn = pair.tally.class(C::TcpSyn);
            if syn == 0 || src == dst || dst.is_group() || is_scan_like(pair, syn, ctx) {
                continue;
            }
            let sum = self.syn.entry(dst).or_default();
            *sum += syn;
            loud |= *sum >= threshold;
            // Few pairs have so many.
            if syn < lower {
                continue;
            }
            let nothing = Tally::default();
            let back = slice.pair(&dst, &src).map_or(&nothing, |back| &back.tally);
            if is_empty(pair, syn, back) {
                self.judge_empty(slice, (src, dst), pair, back, &before, ctx, out);
            }
        }
        if loud {
            self.judge_servers(slice, ctx, out);
        }
    }
}

#[derive(Default)]
struct Server {
    syn: u64,
    answered: u64,
    home_syn: u64,
    /// Handshakes that the client went on with.
    completed: u64,
    traffic: Traffic,
    sources: u64,
    top: Vec<(u64, Host, u64)>,
}

impl Server {
    fn add(&mut self, src: Host, pair: &PairStats, syn: u64, back: &Tally, ctx: &Context<'_>) {
        self.syn += syn;
        self.answered += syn.min(back.class(C::TcpSynAck));
        let tally = &pair.tally;
        let going_on = tally.class(C::TcpAck) + tally.class(C::TcpData) + tally.class(C::TcpFin);
        self.completed += syn.min(going_on);
        self.home_syn += if ctx.settings.home_nets.contains(&src) { syn } else { 0 };
        self.sources += 1;
        let before = self.traffic.wire_bytes;
        self.traffic.add_share(&pair.tally, syn);
        self.top.push((syn, src, self.traffic.wire_bytes - before));
    }

    fn finding(mut self, slice: &Slice, host: Host, ctx: &Context<'_>) -> Finding {
        self.top.sort_unstable_by_key(|&(syn, src, _)| (u64::MAX - syn, src));
        self.top.truncate(super::victims::TOP_PEERS);
        let home = ctx.settings.home_nets.contains(&host);
        let rule = Rule {
            name: "connection_rate",
            threshold: ctx.settings.connection_rate_threshold,
            unit: "connections/s",
            formula: RATE,
        };
        let entity = Entity::address(&host);
        let half_open = self.completed * 2 < self.syn;
        let server = slice.receivers().get(slice.seed(), &host).unwrap_or_default();
        let main = self.top.first().is_some_and(|&(syn, ..)| syn * 10 >= self.syn * 9);
        Finding {
            opens: true,
            precedence: 6,
            measured: self.syn,
            kind: "tcp_syn",
            direction: Direction::new(self.home_syn * 2 >= self.syn, home),
            shape: if main { Shape::OneToOne } else { Shape::ManyToOne },
            unanswered: self.syn - self.answered,
            answer_ratio: Some(super::round3(self.answered as f64 / self.syn.max(1) as f64)),
            sources: self.sources,
            dst_port: PortShare::of(&server.dst_port),
            peers: self
                .top
                .into_iter()
                .map(|(syn, host, bytes)| Peer {
                    host,
                    role: PeerRole::Source,
                    packets: Some(syn),
                    wire_bytes: Some(bytes),
                })
                .collect(),
            traffic: self.traffic,
            details: [("victim", json!(host.ip())), ("connections_per_s", json!(self.syn))].into(),
            ..Finding::new(
                if half_open { "tcp_syn_flood" } else { "connection_flood" },
                Family::Tcp,
                slice.second(),
                Subject::Host(host),
                entity,
                rule,
            )
        }
    }
}

impl ConnectionFlood {
    /// Looks closer at the targets that got enough SYN, which are few.
    fn judge_servers(&self, slice: &Slice, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let threshold = ctx.settings.connection_rate_threshold;
        let mut servers = BTreeMap::<Host, Server>::new();
        for (&(src, dst), pair) in slice.pairs().into_iter().flat_map(|pairs| pairs.iter()) {
            let syn = pair.tally.class(C::TcpSyn);
            if syn == 0
                || src == dst
                || self.syn.get(&dst).is_none_or(|&sum| sum < threshold)
                || is_scan_like(pair, syn, ctx)
            {
                continue;
            }
            let nothing = Tally::default();
            let back = slice.pair(&dst, &src).map_or(&nothing, |back| &back.tally);
            servers.entry(dst).or_default().add(src, pair, syn, back, ctx);
        }
        for (host, server) in servers {
            if server.answered * 2 >= server.syn {
                out.push(server.finding(slice, host, ctx));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it is needed")]
    fn judge_empty(
        &mut self,
        slice: &Slice,
        (src, dst): (Host, Host),
        pair: &PairStats,
        back: &Tally,
        before: &BTreeMap<(Host, Host), Finding>,
        ctx: &Context<'_>,
        out: &mut Vec<Finding>,
    ) {
        let syn = pair.tally.class(C::TcpSyn);
        let mut server = Server::default();
        server.add(src, pair, syn, back, ctx);
        let mut finding = server.finding(slice, dst, ctx);
        finding.precedence = 7;
        finding.rule = Rule {
            name: "empty_connection_rate",
            threshold: ctx.settings.empty_connection_rate_threshold,
            unit: "connections/s",
            formula: EMPTY,
        };
        finding.details.insert("empty_connections", json!(true));
        let previous =
            before.get(&(src, dst)).filter(|previous| previous.second + 1 == finding.second);
        finding.opens = previous.is_some();
        if let Some(previous) = previous.filter(|previous| !previous.opens) {
            out.push(Finding { opens: true, ..previous.clone() });
        }
        self.empty.insert((src, dst), finding.clone());
        out.push(finding);
    }
}

fn is_scan_like(pair: &PairStats, syn: u64, ctx: &Context<'_>) -> bool {
    if syn < ctx.settings.scan_ports {
        return false;
    }
    let ports = pair.ports.estimate();
    ports >= ctx.settings.scan_ports && syn / ports.max(1) <= 3
}

fn is_empty(pair: &PairStats, syn: u64, back: &Tally) -> bool {
    let data = pair.tally.class(C::TcpData) + back.class(C::TcpData);
    back.class(C::TcpSynAck) * 2 >= syn && data * 2 < syn && pair.ports.estimate() <= FEW_PORTS
}

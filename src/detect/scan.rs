//! Scans: one source, many targets that don't want it.
//!
//! Method: a pair counts when what it sends can be a probe and is not taken up
//! (SYN without SYN-ACK; lone ACK or FIN without a connection; FIN, NULL, XMAS;
//! UDP without UDP back; echo requests). The distinct targets and ports of such
//! pairs are kept for each source over five minutes. A SYN-ACK that comes in a
//! later second takes its SYN back, so that a crawler with slow servers is no
//! scanner. Then:
//!
//! - port scan: 50 ports in two minutes (or 100 in five) of few targets, or of
//!   one target within a second; or the same ports at many hosts;
//! - host scan: 30 hosts in two minutes (60 in five) on at most three ports, or
//!   on an eighth as many ports as hosts;
//! - ping sweep: 16 hosts (Slips: 25 flows), 30 % of the requests unanswered;
//! - protocol scan: 20 IP protocols (nmap tries 256).
//!
//! UDP takes twice the ports, since a traceroute touches up to 90 of one
//! target. Peer-to-peer clients that call many dead peers on as many ports are
//! neither. Pairs of a flood that opened in the same second don't count.
//!
//! Memory: `scan_sources` sources ([`super::sources`]); when full, the half with
//! the fewest probes is given up and counted. In a second with too many pairs scans are not seen.
//! In a one-sided capture only port scans and flag scans are.

use serde_json::json;

use super::horizon::Probes;
use super::scan_order::{Order, Place};
use super::sources::{Key, Once, Sources};
use super::victims::{Explained, TOP_PEERS};
use super::{
    Context, Detector, Direction, Family, Finding, Peer, PeerRole, Rule, Shape, Subject, Traffic,
    Window,
};
use crate::alert::Entity;
use crate::engine::window::{Host, PairStats, Register, Slice, Table, Tally, pair_hash};
use crate::memory::prefetch;
use crate::packet::PacketClass as C;

#[derive(Debug, Default)]
pub struct Scan {
    sources: Sources,
    /// Of the window at hand; kept for their memory.
    hits: Vec<Hit>,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Style {
    Syn,
    Odd,
    Ack,
    Fin,
    Udp,
    Icmp,
    Protocol,
}

impl Style {
    fn kind(self) -> &'static str {
        match self {
            Self::Syn => "tcp_syn",
            Self::Odd => "tcp_odd",
            Self::Ack => "tcp_ack",
            Self::Fin => "tcp_fin",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Protocol => "other_ip",
        }
    }

    /// Family of the flood that the same packets would be.
    fn family(self) -> Family {
        match self {
            Self::Udp => Family::Udp,
            Self::Icmp => Family::Icmp,
            Self::Protocol => Family::OtherIp,
            Self::Syn | Self::Odd | Self::Ack | Self::Fin => Family::Tcp,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::Odd => "FIN, NULL or XMAS",
            Self::Ack => "ACK",
            Self::Fin => "FIN with ACK",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP echo",
            Self::Protocol => "IP protocols",
        }
    }
}

type Pairs = Table<(Host, Host), PairStats>;

/// What one pair adds to what is known of a source: probes, or answers to
/// earlier ones.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Hit {
    source: Host,
    style: Style,
    packets: u64,
    answers: u64,
    /// Of its source and style.
    hash: u64,
    /// Its place in the table.
    pair: u32,
    /// Answers, which come from the target.
    late: bool,
    /// What it does to the distinct targets, and to the distinct ports unless
    /// there are several.
    target: Register,
    port: Option<Register>,
}

/// Those of one source and style in one second.
#[derive(Clone, Copy)]
struct Local<'a> {
    places: &'a [Place],
    hits: &'a [Hit],
    pairs: &'a Pairs,
}

impl<'a> Local<'a> {
    fn hits(self) -> impl Iterator<Item = &'a Hit> {
        self.places.iter().map(move |place| &self.hits[place.at as usize])
    }
}

const FEW_PORTS: u64 = 3;

/// Targets to each port from which further ports don't matter.
const TARGETS_A_PORT: u64 = 8;

/// Hits whose memory is asked for before their turn.
const AHEAD: usize = 8;

/// Share of late answers from which failed SYNs were only slow.
const LATE_SHARE: f64 = 0.3;

/// Share of echo requests that a sweep leaves unanswered at least.
const UNANSWERED_SHARE: f64 = 0.3;

impl Detector for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let slice = window.slice;
        let Some(pairs) = slice.pairs() else { return };
        let mut hits = std::mem::take(&mut self.hits);
        let mut order = std::mem::take(&mut self.order);
        self.find_hits(slice, pairs, ctx, out, &mut hits);
        order.sort(hits.len(), |at| hits[at].key());
        let fewest = fewest_packets(ctx);
        let cap = ctx.settings.scan_sources;
        let hit = |place: &Place| &hits[place.at as usize];
        let mut coming = order.places().iter().skip(2 * AHEAD);
        let mut next = order.places().iter().skip(AHEAD);
        let alike = |x: &Place, y: &Place| x.word == y.word && hit(x).key() == hit(y).key();
        for places in order.places().chunk_by(alike) {
            coming.by_ref().take(places.len()).for_each(|place| prefetch(hit(place)));
            let of_sources = next.by_ref().take(places.len());
            of_sources.for_each(|place| self.sources.prefetch(hit(place).hash));
            // The usual case: one probe, and too few for any rule.
            if let [place] = places
                && let Some(once) = hit(place).once(slice.second(), fewest)
                && self.sources.note(hit(place).key(), hit(place).hash, once, cap)
            {
                continue;
            }
            self.judge(slice, Local { places, hits: &hits, pairs }, fewest, ctx, out);
        }
        (self.hits, self.order) = (hits, order);
    }

    fn refused(&self) -> u64 {
        self.sources.given_up()
    }
}

struct Verdict {
    detector: &'static str,
    measured: u64,
    rule: Rule,
    shape: Shape,
}

/// Probes in five minutes below which no rule of [`decide`] can be met: they
/// bound distinct targets and ports.
fn fewest_packets(ctx: &Context<'_>) -> u64 {
    let settings = ctx.settings;
    settings
        .scan_ports
        .min(settings.scan_hosts)
        .min(settings.sweep_hosts)
        .min(settings.scan_protocols)
}

/// `factor` is 1 for the recent past and 2 for the long one.
fn decide(
    style: Style,
    probes: &Probes,
    one_second_ports: u64,
    factor: u64,
    ctx: &Context<'_>,
) -> Option<Verdict> {
    let settings = ctx.settings;
    let (targets, ports) = (probes.distinct_targets(), probes.distinct_ports());
    let answered = probes.answers as f64 / probes.packets.max(1) as f64;
    let verdict = |detector, measured, name, threshold, unit, formula, shape| Verdict {
        detector,
        measured,
        rule: Rule { name, threshold, unit, formula },
        shape,
    };
    match style {
        Style::Icmp => (!ctx.one_sided
            && targets >= settings.sweep_hosts * factor
            && 1.0 - answered >= UNANSWERED_SHARE)
            .then(|| {
                let formula = "distinct targets of echo requests >= sweep_hosts in two minutes (twice \
                               in five), at least 30 % unanswered";
                let threshold = settings.sweep_hosts * factor;
                verdict("ping_sweep", targets, "sweep_hosts", threshold, "hosts", formula, Shape::OneToMany)
            }),
        Style::Protocol => (ports >= settings.scan_protocols).then(|| {
            let formula = "distinct IP protocols without an answer >= scan_protocols";
            let threshold = settings.scan_protocols;
            verdict("protocol_scan", ports, "scan_protocols", threshold, "protocols", formula, Shape::OneToOne)
        }),
        _ => {
            if style == Style::Syn && answered >= LATE_SHARE {
                return None;
            }
            let wanted = settings.scan_ports * factor * if style == Style::Udp { 2 } else { 1 };
            let few_targets = ports >= wanted && ports >= 5 * targets;
            // The same ports again and again: a grid of hosts and ports, as no
            // peer-to-peer client makes it.
            let grid = style != Style::Udp
                && targets >= settings.scan_hosts * factor
                && ports >= 10
                && probes.packets * 3 >= targets * ports;
            if few_targets || grid || one_second_ports >= wanted {
                let formula = "distinct ports of refused or unanswered probes >= scan_ports in two \
                               minutes (twice in five; UDP twice again)";
                let shape = if targets > 1 { Shape::OneToMany } else { Shape::OneToOne };
                let measured = ports.max(one_second_ports);
                return Some(verdict("port_scan", measured, "scan_ports", wanted, "ports", formula, shape));
            }
            let wanted = settings.scan_hosts * factor;
            // A bot that tries four ports everywhere, with some calls home.
            let same_port = ports <= FEW_PORTS || ports * TARGETS_A_PORT <= targets;
            (!ctx.one_sided && targets >= wanted && same_port).then(|| {
                let formula = "distinct targets of refused or unanswered probes >= scan_hosts in two \
                               minutes (twice in five), at most 3 ports";
                verdict("host_scan", targets, "scan_hosts", wanted, "hosts", formula, Shape::OneToMany)
            })
        }
    }
}

impl Scan {
    /// Probes of this window, in no order.
    fn find_hits(
        &self,
        slice: &Slice,
        pairs: &Pairs,
        ctx: &Context<'_>,
        floods: &[Finding],
        hits: &mut Vec<Hit>,
    ) {
        hits.clear();
        let seed = slice.seed();
        let explained = Explained::by(floods.iter().filter(|flood| flood.opens));
        let (any_explained, nothing) = (!explained.is_empty(), Tally::default());
        // Hashes of the destination and of what it sends back, which is asked for ahead.
        let mut coming = pairs.iter().map(|((src, dst), _)| {
            let dst_hash = seed.host(dst);
            let back_hash = pair_hash(seed, dst_hash, seed.host(src));
            pairs.prefetch(back_hash);
            (dst_hash, back_hash)
        });
        let mut ahead = [(0, 0); AHEAD].map(|nothing| coming.next().unwrap_or(nothing));
        for (at, (&(src, dst), pair)) in pairs.iter().enumerate() {
            let next = coming.next().unwrap_or_default();
            let (dst_hash, back_hash) = std::mem::replace(&mut ahead[at % AHEAD], next);
            if src == dst || dst.is_group() {
                continue;
            }
            let back = pairs.get(back_hash, &(dst, src)).map_or(&nothing, |back| &back.tally);
            let hit = Hit {
                source: src,
                style: Style::Syn,
                packets: 0,
                answers: 0,
                hash: 0,
                // Caps are far under 2^32 pairs.
                pair: at as u32,
                late: false,
                target: Register::of(dst_hash),
                port: pair.ports.only_register(),
            };
            // SYN-ACKs beyond the SYNs of this second answer earlier ones.
            let late = pair.tally.class(C::TcpSynAck).saturating_sub(back.class(C::TcpSyn));
            if late > 0 {
                let hash = self.sources.hash(&(dst, Style::Syn));
                if self.sources.contains(&(dst, Style::Syn), hash) {
                    let port = Some(Register::default());
                    let target = Register::default();
                    let hit = Hit { target, port, hash, ..hit };
                    hits.push(Hit { source: dst, answers: late, late: true, ..hit });
                }
            }
            let Some((style, packets, answers)) = probe_of(&pair.tally, back, ctx) else {
                continue;
            };
            let family = style.family();
            if any_explained && (explained.contains(family, &dst) || explained.sender(family, &src))
            {
                continue;
            }
            let hash = self.sources.hash(&(src, style));
            hits.push(Hit { style, packets, answers, hash, ..hit });
        }
    }

    /// Adds the probes of one source and style in one second, and looks whether
    /// they make a scan.
    fn judge(
        &mut self,
        slice: &Slice,
        local: Local<'_>,
        fewest: u64,
        ctx: &Context<'_>,
        out: &mut Vec<Finding>,
    ) {
        let Some((key, hash)) = local.hits().next().map(|hit| (hit.key(), hit.hash)) else {
            return;
        };
        let (second, (_, style)) = (slice.second(), key);
        let horizon = self.sources.horizon(key, hash, second, ctx.settings.scan_sources);
        let packets: u64 = local.hits().map(|hit| hit.packets).sum();
        let answers = local.hits().map(|hit| hit.answers).sum();
        let distinct = horizon.add(second, packets, answers);
        for hit in local.hits() {
            distinct.targets.raise(hit.target);
            // The pair itself, which has to be fetched, where its ports are several.
            if let Some(port) = hit.port {
                distinct.ports.raise(port);
            } else if let Some((_, pair)) = hit.target(local.pairs) {
                distinct.ports.merge(&pair.ports);
            }
        }
        // Late answers alone, or too few probes for any rule.
        if packets == 0 || horizon.packets(second) < fewest {
            return;
        }
        let ports = local.hits().map(|hit| ports_of(hit, local.pairs, ctx));
        let one_second_ports = ports.max().unwrap_or(0);
        let (recent, long) = (horizon.recent(second), horizon.long(second));
        let decided = decide(style, &recent, one_second_ports, 1, ctx)
            .map(|verdict| (verdict, recent))
            .or_else(|| decide(style, &long, 0, 2, ctx).map(|verdict| (verdict, long)));
        if let Some((verdict, probes)) = decided {
            out.push(finding(slice, key, local, verdict, &probes, ctx));
        }
    }
}

impl Hit {
    fn key(&self) -> Key {
        (self.source, self.style)
    }

    /// All of it in the light form, if it fits and can't meet a rule by itself.
    fn once(&self, second: i64, fewest: u64) -> Option<Once> {
        let packets = u16::try_from(self.packets).ok()?;
        let answers = u16::try_from(self.answers).ok()?;
        let once = Once { second, packets, answers, target: self.target, port: self.port? };
        (self.packets < fewest).then_some(once)
    }

    /// Whom it probes, with the pair. Nothing for late answers, which come from the target.
    fn target<'a>(&self, pairs: &'a Pairs) -> Option<(Host, &'a PairStats)> {
        let (&(_, dst), pair) = pairs.nth(self.pair as usize).filter(|_| !self.late)?;
        Some((dst, pair))
    }
}

/// Ports of one target in one second, where they can be many.
fn ports_of(hit: &Hit, pairs: &Pairs, ctx: &Context<'_>) -> u64 {
    let many = hit.packets >= ctx.settings.scan_ports && hit.style != Style::Icmp;
    let pair = if many { hit.target(pairs) } else { None };
    pair.map_or(0, |(_, pair)| pair.ports.estimate().min(hit.packets))
}

/// The style in which one end probes the other, the probes, and how many of
/// them were answered; nothing when the pair talks.
fn probe_of(to: &Tally, back: &Tally, ctx: &Context<'_>) -> Option<(Style, u64, u64)> {
    let (syn, odd, udp) = (to.class(C::TcpSyn), to.class(C::TcpOdd), to.class(C::Udp));
    let (ack, fin) = (to.class(C::TcpAck), to.class(C::TcpFin));
    let other = to.class(C::OtherIp) + to.class(C::Gre);
    let no_data = to.class(C::TcpData) == 0 && back.class(C::TcpData) == 0;
    let no_connection = no_data && syn == 0 && back.class(C::TcpSynAck) == 0;
    let silent_stack = back.class(C::TcpAck) == 0 && back.class(C::TcpFin) == 0;
    let lone = no_connection && silent_stack && !ctx.one_sided;
    // One open port among many closed ones is still a scan.
    let failed_syn = syn.saturating_sub(back.class(C::TcpSynAck));
    let syn_failed = syn > 0 && (ctx.one_sided || failed_syn * 2 > syn);
    let answered = back.class(C::OtherIp) + back.class(C::Gre);
    let requests = u64::from(to.icmp_requests);
    let echoed = u64::from(back.icmp_replies).min(requests);
    let ours = !ctx.one_sided;
    // Of several styles at once the main one, in this order when equal.
    let mut main = (Style::Odd, odd, 0);
    let mut see = |style, is_probe, packets, answers| {
        if is_probe && packets > main.1 {
            main = (style, packets, answers);
        }
    };
    see(Style::Syn, syn_failed, failed_syn.max(1), 0);
    see(Style::Ack, lone && fin == 0, ack, 0);
    see(Style::Fin, lone && ack == 0, fin, 0);
    see(Style::Udp, ours && back.class(C::Udp) * 20 < udp, udp, 0);
    see(Style::Icmp, ours, requests, echoed);
    see(Style::Protocol, ours && answered * 20 < other, other, 0);
    (main.1 > 0).then_some(main)
}

fn finding(
    slice: &Slice,
    (source, style): Key,
    local: Local<'_>,
    verdict: Verdict,
    probes: &Probes,
    ctx: &Context<'_>,
) -> Finding {
    let nets = &ctx.settings.home_nets;
    let mut traffic = Traffic::default();
    let mut targets = Vec::with_capacity(local.places.len());
    for hit in local.hits() {
        if let Some((target, pair)) = hit.target(local.pairs) {
            traffic.add_share(&pair.tally, hit.packets);
            targets.push((hit.packets, target));
        }
    }
    targets.sort_unstable_by_key(|&(packets, dst)| (u64::MAX - packets, dst));
    let home_targets = targets.iter().filter(|(_, dst)| nets.contains(dst)).count();
    let home = nets.contains(&source);
    let direction = Direction::new(home, home_targets * 2 >= targets.len());
    targets.truncate(TOP_PEERS);
    Finding {
        start_second: probes.since.unwrap_or_else(|| slice.second()),
        opens: true,
        home_sender: home,
        kind: style.kind(),
        direction,
        shape: verdict.shape,
        measured: verdict.measured,
        unanswered: traffic.packets,
        destinations: probes.distinct_targets(),
        peers: targets
            .into_iter()
            .map(|(packets, host)| Peer {
                host,
                role: PeerRole::Destination,
                packets: Some(packets),
                wire_bytes: None,
            })
            .collect(),
        traffic,
        details: [
            ("style", json!(style.words())),
            ("distinct_targets", json!(probes.distinct_targets())),
            ("distinct_ports", json!(probes.distinct_ports())),
            ("probes", json!(probes.packets)),
        ]
        .into(),
        ..Finding::new(
            verdict.detector,
            Family::Scan,
            slice.second(),
            Subject::Sender(source),
            Entity::address(&source),
            verdict.rule,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::DetectSettings;
    use crate::detect::interest::{Glance, may_probe};
    use crate::packet::facts::PACKET_CLASSES;
    use proptest::prelude::*;

    type Row = [([u16; PACKET_CLASSES], u16); 2];

    prop_compose! {
        /// Both directions: packets by class, ICMP requests among them.
        fn any_row()(
            counts in prop::array::uniform2(prop::array::uniform12(
                prop_oneof![5 => Just(0u16), 2 => 1u16..4, 1 => 1u16..200],
            )),
            requests in any::<[bool; 2]>(),
        ) -> Row {
            std::array::from_fn(|at| {
                let icmp = counts[at][C::Icmp as usize];
                (counts[at], if requests[at] { icmp } else { 0 })
            })
        }
    }

    fn sum(rows: &[Row], direction: usize) -> Tally {
        let mut tally = Tally::default();
        for (classes, requests) in rows.iter().map(|row| &row[direction]) {
            for (sum, &count) in tally.classes.iter_mut().zip(classes) {
                *sum += u32::from(count);
            }
            tally.icmp_requests += u32::from(*requests);
        }
        tally
    }

    proptest! {
        #[test]
        fn no_pair_probes_or_answers_late_without_a_row_that_may(
            rows in prop::collection::vec(any_row(), 1..5),
            one_sided in any::<bool>(),
        ) {
            let settings = DetectSettings::default();
            let ctx = Context { settings: &settings, one_sided, losses: &[] };
            let (to, back) = (sum(&rows, 0), sum(&rows, 1));
            let late = to.class(C::TcpSynAck) > back.class(C::TcpSyn);
            if late || probe_of(&to, &back, &ctx).is_some() {
                let glance = |row: &([u16; PACKET_CLASSES], u16)| (row.0, row.1 > 0);
                let some_row_may = rows.iter().any(|row| {
                    let ((to, asks), (back, asked)) = (glance(&row[0]), glance(&row[1]));
                    let to = Glance { classes: &to, requests: asks };
                    may_probe(&to, &Glance { classes: &back, requests: asked }, one_sided)
                });
                prop_assert!(some_row_may);
            }
        }
    }
}

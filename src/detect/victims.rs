//! Addresses that receive a lot, and how much of it is a flood: measured once
//! a window for all flood detectors.
//!
//! Where pairs are known each conversation is judged by itself, so that a busy
//! server's answered traffic neither hides a flood nor is taken for one.
//! Otherwise the address is judged as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::{Exchange, Judged, Kind};
use super::{Context, Family, Finding, Subject, Traffic};
use crate::engine::window::{Host, HostStats, PairStats, Prefix, Slice, Tally};

/// Peers listed with a finding.
pub(crate) const TOP_PEERS: usize = 10;

/// An address over the floor in at least one kind.
pub(crate) struct Victim {
    pub host: Host,
    pub stats: HostStats,
    pub kinds: Vec<Measure>,
    /// Sums come from a sketch.
    pub estimated: bool,
}

/// One kind of packet at one victim (or from one sender) in one window.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub kind: Kind,
    pub count: u64,
    pub judged: Judged,
    pub traffic: Traffic,
    pub peers: Peers,
}

/// The other ends of a measure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    pub distinct: u64,
    /// Flood packets of peers inside the home networks.
    pub home_packets: u64,
    /// By packets, most first.
    pub top: Vec<PeerSum>,
    /// Members of a sample without sums, when pairs are not known.
    pub sample: Vec<Host>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSum {
    pub host: Host,
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Measure {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            count: 0,
            judged: Judged::default(),
            traffic: Traffic::default(),
            peers: Peers::default(),
        }
    }

    /// Adds one conversation with `peer`.
    pub(crate) fn add(&mut self, peer: Host, tally: &Tally, judged: Judged, ctx: &Context<'_>) {
        self.count += self.kind.count(tally);
        self.judged.answers += judged.answers;
        if judged.flood == 0 {
            return;
        }
        self.judged.flood += judged.flood;
        self.judged.unanswered += judged.unanswered;
        let before = self.traffic.wire_bytes;
        self.traffic.add_share(tally, judged.flood);
        if ctx.settings.home_nets.contains(&peer) {
            self.peers.home_packets += judged.flood;
        }
        let wire_bytes = self.traffic.wire_bytes - before;
        self.peers.top.push(PeerSum { host: peer, packets: judged.flood, wire_bytes });
    }

    /// Adds up what each peer has in several conversations: with several
    /// addresses of a prefix.
    pub(crate) fn join_peers(&mut self) {
        self.peers.top.sort_unstable_by_key(|sum| sum.host);
        self.peers.top.dedup_by(|next, kept| {
            let same = next.host == kept.host;
            if same {
                kept.packets += next.packets;
                kept.wire_bytes += next.wire_bytes;
            }
            same
        });
    }

    /// Sums up the peers, each of which is there once, when all conversations
    /// are in.
    pub(crate) fn finish(&mut self) {
        let order = |sum: &PeerSum| (u64::MAX - sum.packets, sum.host);
        let top = &mut self.peers.top;
        self.peers.distinct = top.len() as u64;
        if top.len() > TOP_PEERS {
            top.select_nth_unstable_by_key(TOP_PEERS, order);
            top.truncate(TOP_PEERS);
        }
        top.sort_unstable_by_key(order);
    }

    pub(crate) fn answer_ratio(&self) -> f64 {
        self.judged.answers as f64 / self.count.max(1) as f64
    }
}

/// Addresses that get at least the floor of one kind of packet, by address.
pub(crate) fn find(slice: &Slice, ctx: &Context<'_>) -> Vec<Victim> {
    let floor = ctx.settings.unanswered_rate_threshold.min(ctx.settings.packet_rate_threshold);
    if slice.total().packets() < floor {
        return Vec::new();
    }
    let estimated = !slice.receivers().is_exact();
    let mut victims: Vec<Victim> = slice
        .receivers()
        .heavy(slice.seed(), floor)
        .into_iter()
        .filter(|(host, stats)| {
            // Multicast has a few sources. An address of that range that many
            // send to was put there by an anonymiser, or is attacked.
            !host.is_group() || stats.peers.estimate() >= ctx.settings.reflectors
        })
        .filter_map(|(host, stats)| {
            let kinds: Vec<_> = Kind::ALL
                .into_iter()
                .filter(|kind| kind.count(&stats.tally) >= floor)
                .map(Measure::new)
                .collect();
            (!kinds.is_empty()).then_some(Victim { host, stats, kinds, estimated })
        })
        .collect();
    if victims.is_empty() {
        return victims;
    }
    match slice.pairs() {
        Some(pairs) => {
            let index = HostIndex::of(victims.iter().map(|victim| victim.host));
            for (&(src, dst), pair) in pairs.iter() {
                let Some(at) = index.get(&dst) else { continue };
                for measure in &mut victims[at].kinds {
                    let judged = judge_pair(slice, &src, &dst, pair, measure.kind, ctx);
                    measure.add(src, &pair.tally, judged, ctx);
                }
            }
            for measure in victims.iter_mut().flat_map(|victim| &mut victim.kinds) {
                measure.finish();
            }
        }
        None => {
            for victim in &mut victims {
                let sent = slice.senders().get(slice.seed(), &victim.host).unwrap_or_default();
                let sample = slice.receivers().sample(slice.seed(), &victim.host);
                for measure in &mut victim.kinds {
                    measure_whole(measure, &victim.stats, &sent, &sample, ctx);
                }
            }
        }
    }
    victims
}

/// Places of a few hosts that are looked for among many.
pub(crate) struct HostIndex {
    places: BTreeMap<Host, usize>,
    /// By last byte of the address: whether some of them has it. Most others
    /// don't, and that is quicker seen.
    last_bytes: [bool; 256],
}

impl HostIndex {
    pub(crate) fn of(hosts: impl Iterator<Item = Host>) -> Self {
        let places: BTreeMap<_, _> = hosts.enumerate().map(|(at, host)| (host, at)).collect();
        let mut last_bytes = [false; 256];
        for host in places.keys() {
            last_bytes[usize::from(host.address[15])] = true;
        }
        Self { places, last_bytes }
    }

    #[inline]
    pub(crate) fn get(&self, host: &Host) -> Option<usize> {
        let may_be = self.last_bytes[usize::from(host.address[15])];
        if may_be { self.places.get(host).copied() } else { None }
    }
}

/// Victims, prefixes and senders that findings of this window explain already.
pub(crate) struct Explained {
    hosts: BTreeSet<(Family, Host)>,
    senders: BTreeSet<(Family, Host)>,
    prefixes: Vec<(Family, Prefix)>,
}

impl Explained {
    pub(crate) fn by<'a>(found: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut explained =
            Self { hosts: BTreeSet::new(), senders: BTreeSet::new(), prefixes: Vec::new() };
        for finding in found {
            match finding.subject {
                Subject::Host(victim) => {
                    explained.hosts.insert((finding.family, victim));
                }
                Subject::Prefix(prefix) => explained.prefixes.push((finding.family, prefix)),
                Subject::Sender(sender) => {
                    explained.senders.insert((finding.family, sender));
                }
                Subject::Station(..) | Subject::Interface(_) | Subject::Entity(_) => {}
            }
        }
        explained
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.senders.is_empty() && self.prefixes.is_empty()
    }

    pub(crate) fn sender(&self, family: Family, src: &Host) -> bool {
        self.senders.contains(&(family, *src))
    }

    pub(crate) fn contains(&self, family: Family, dst: &Host) -> bool {
        self.hosts.contains(&(family, *dst))
            || self.prefixes.iter().any(|(of, prefix)| *of == family && prefix.contains(dst))
    }
}

/// One conversation, with what came back in it.
pub(crate) fn judge_pair(
    slice: &Slice,
    src: &Host,
    dst: &Host,
    pair: &PairStats,
    kind: Kind,
    ctx: &Context<'_>,
) -> Judged {
    let nothing = Tally::default();
    // A packet from an address to itself (land attack) answers nothing.
    let back = if src == dst { None } else { slice.pair(dst, src) };
    let exchange = Exchange {
        to: &pair.tally,
        back: back.map_or(&nothing, |back| &back.tally),
        spread: Some((&pair.ports, &pair.flows)),
    };
    exchange.judge(kind, ctx)
}

/// An address as a whole, when the other ends can't be told apart.
pub(crate) fn measure_whole(
    measure: &mut Measure,
    stats: &HostStats,
    back: &HostStats,
    sample: &[Host],
    ctx: &Context<'_>,
) {
    // Thousands of peers of which most get nothing back are spoofed or
    // ignored: some answered traffic beside them must not excuse them.
    let peers = stats.peers.estimate();
    let ignored = peers >= 1_000 && back.peers.estimate() * 4 < peers;
    let nothing = Tally::default();
    let exchange = Exchange {
        to: &stats.tally,
        back: if ignored { &nothing } else { &back.tally },
        spread: None,
    };
    let judged = exchange.judge(measure.kind, ctx);
    measure.count = measure.kind.count(&stats.tally);
    measure.judged = judged;
    measure.traffic.add_share(&stats.tally, judged.flood);
    let home = sample.iter().filter(|host| ctx.settings.home_nets.contains(host)).count() as u64;
    measure.peers = Peers {
        distinct: peers,
        home_packets: judged.flood * home / (sample.len() as u64).max(1),
        top: Vec::new(),
        sample: sample.to_vec(),
    };
}

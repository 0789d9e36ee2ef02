//! The two legs of a relay: what each carried in the last minutes, how symmetric they
//! are, and how their series go together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AnalyticContext, PROXY_PORTS, WINDOW_MINUTES};
use crate::detect::names::prefix;
use crate::engine::window::{Hll, Host};
use crate::entity::{Leg, Minute, Series};

/// A way with less than this share of all bytes is requests or acknowledgements.
const MINOR_WAY: f64 = 0.02;
/// Of the prefixes that an entity meets, a tenth is new: a crawler, a mail server.
const OFTEN_NEW: f64 = 0.1;

/// An entity with two legs, over the last minutes.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) parts: VecDeque<Part>,
}

/// What relaying needs of a minute.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) start_s: i64,
    pub(super) series: Series,
    /// Payload sent to outside.
    pub(super) external: u64,
    /// Payload of the opened leg, both ways, and of it with outside.
    pub(super) opened: u64,
    pub(super) opened_outside: u64,
    /// Addresses outside that it answered, and to which it opened.
    pub(super) clients: Hll,
    pub(super) reached: Hll,
    /// Of the peers with the most bytes: sent to and received from them, on the wire.
    pub(super) top: Vec<(Host, u64, u64)>,
    pub(super) wire: (u64, u64),
    /// Of a proxy, which it served on or opened to outside.
    pub(super) port: Option<u16>,
    /// Prefixes of the peers with the most bytes, those outside where its mature profile
    /// has never been; nothing where nobody knows.
    pub(super) new_peers: Option<BTreeSet<Host>>,
}

impl Part {
    pub(super) fn of(minute: &Minute, ctx: &AnalyticContext<'_>) -> Self {
        let measures = &minute.measures;
        let top = measures.top.iter().map(|peer| (peer.key, peer.sent_bytes, peer.received_bytes));
        let of_proxy = measures.spoken.iter().filter(|spoken| {
            let service = spoken.service;
            let counts = service.leg == Leg::Accepted || spoken.external_payload > 0;
            service.proto == 6 && counts && PROXY_PORTS.contains(&service.port)
        });
        Self {
            start_s: minute.start_s,
            series: measures.series.clone(),
            external: measures.external.payload_bytes,
            opened: measures.leg_bytes()[OPENED as usize],
            opened_outside: measures.opened_outside_bytes,
            clients: measures.outside_clients.clone(),
            reached: measures.outside_reached.clone(),
            top: top.collect(),
            wire: (measures.sent.wire_bytes, measures.received.wire_bytes),
            port: of_proxy.map(|spoken| spoken.service.port).next(),
            new_peers: new_peers(minute, ctx),
        }
    }
}

/// Before the minute is learned: by the next one they are known.
fn new_peers(minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<BTreeSet<Host>> {
    let key = &minute.who.baseline;
    let profile = ctx.baselines.profile(key).filter(|_| ctx.baselines.is_mature(key))?;
    // Who meets others all the time meets others now.
    if profile.newness().is_none_or(|newness| newness >= OFTEN_NEW) {
        return None;
    }
    let reached = minute.measures.top.iter();
    let reached = reached.filter(|peer| ctx.is_new(profile, minute, peer) == Some(true));
    let peers = reached.map(|peer| peer.key);
    let outside = peers.filter(|host| !ctx.home().contains(host) && !host.is_group());
    Some(outside.map(|host| prefix(&host)).collect())
}

const ACCEPTED: Leg = Leg::Accepted;
const OPENED: Leg = Leg::Opened;
const RECEIVED: usize = 0;
const SENT: usize = 1;

/// Bytes of two legs: what one received, what the other sent on, and the same back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    pub(super) there: (u64, u64),
    pub(super) back: (u64, u64),
}

impl Ways {
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Part>) -> Self {
        let mut ways = Self::default();
        let sum = |bins: &[u32; 60]| bins.iter().map(|&bytes| u64::from(bytes)).sum::<u64>();
        for part in parts {
            let [accepted, opened] = [ACCEPTED, OPENED].map(|leg| part.series.of(leg));
            ways.there.0 += sum(&accepted[RECEIVED]);
            ways.there.1 += sum(&opened[SENT]);
            ways.back.0 += sum(&opened[RECEIVED]);
            ways.back.1 += sum(&accepted[SENT]);
        }
        ways
    }

    pub(super) fn all(&self) -> u64 {
        self.there.0 + self.there.1 + self.back.0 + self.back.1
    }

    /// The lesser symmetry of the ways that carry something.
    fn symmetry(&self) -> f64 {
        let all = self.all() as f64;
        let of = |(a, b): (u64, u64)| {
            let (a, b) = (a as f64, b as f64);
            (a + b >= all * MINOR_WAY).then(|| symmetry(a, b))
        };
        [of(self.there), of(self.back)].into_iter().flatten().reduce(f64::min).unwrap_or(0.0)
    }
}

/// 1 for equal sums, whatever their scale; 0 where one is nothing.
pub(super) fn symmetry(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { 1.0 - (a - b).abs() / (a + b) } else { 0.0 }
}

/// How the legs were told apart, and what came of it.
pub(super) struct Legs {
    pub(super) by: &'static str,
    pub(super) symmetry: f64,
    pub(super) bytes: u64,
    pub(super) correlation: f64,
    pub(super) controller: Option<Host>,
}

impl Candidate {
    pub(super) fn add(&mut self, part: Part) {
        let from_s = part.start_s - (WINDOW_MINUTES - 1) * 60;
        self.parts.retain(|old| old.start_s >= from_s && old.start_s < part.start_s);
        self.parts.push_back(part);
    }

    pub(super) fn newest_s(&self) -> i64 {
        self.parts.back().map_or(i64::MIN, |part| part.start_s)
    }

    /// Accepted against opened; where these are not symmetric enough, one peer against
    /// the others, should that be more so.
    pub(super) fn legs(&self, least: f64) -> Legs {
        let ways = Ways::of(self.parts.iter());
        let accepted = Legs {
            by: "accepted_and_opened",
            symmetry: ways.symmetry(),
            bytes: ways.all() / 2,
            correlation: self
                .correlation((ACCEPTED, RECEIVED), (OPENED, SENT))
                .max(self.correlation((OPENED, RECEIVED), (ACCEPTED, SENT))),
            controller: None,
        };
        match self.led() {
            Some(led) if accepted.symmetry < least && led.symmetry > accepted.symmetry => led,
            _ => accepted,
        }
    }

    /// How many prefixes outside are new to it, where that can be told.
    pub(super) fn new_peers(&self) -> Option<usize> {
        let known = self.parts.iter().filter_map(|part| part.new_peers.as_ref());
        let all = known.fold(None::<BTreeSet<Host>>, |all, new| {
            Some(all.into_iter().flatten().chain(new.iter().copied()).collect())
        });
        all.map(|all| all.len())
    }

    /// One peer against all others. Bytes on the wire: acknowledgements are a tenth at
    /// most of what is worth looking at.
    fn led(&self) -> Option<Legs> {
        let mut peers = BTreeMap::<Host, (u64, u64)>::new();
        let (mut sent, mut received) = (0, 0);
        for part in &self.parts {
            (sent, received) = (sent + part.wire.0, received + part.wire.1);
            for &(host, to, from) in &part.top {
                let sums = peers.entry(host).or_default();
                (sums.0, sums.1) = (sums.0 + to, sums.1 + from);
            }
        }
        // With one other peer it is a conversation of two, judged by its legs.
        if peers.len() <= 2 {
            return None;
        }
        let of = |(host, (to, from)): (&Host, &(u64, u64))| {
            let there = (*from, sent.saturating_sub(*to));
            let back = (received.saturating_sub(*from), *to);
            let ways = Ways { there, back };
            (ways.symmetry(), *host, ways.all() / 2)
        };
        let (symmetry, host, bytes) =
            peers.iter().map(of).max_by(|x, y| x.0.total_cmp(&y.0).then_with(|| y.1.cmp(&x.1)))?;
        Some(Legs {
            by: "one_peer_and_others",
            symmetry,
            bytes,
            correlation: self.total_correlation(),
            controller: Some(host),
        })
    }

    fn bins(&self, leg: Leg, way: usize) -> Vec<f64> {
        let bins = self.parts.iter().flat_map(|part| part.series.of(leg)[way].iter());
        bins.map(|&bytes| f64::from(bytes)).collect()
    }

    fn correlation(&self, from: (Leg, usize), to: (Leg, usize)) -> f64 {
        lagged(&self.bins(from.0, from.1), &self.bins(to.0, to.1))
    }

    fn total_correlation(&self) -> f64 {
        let total = |way| {
            let (accepted, opened) = (self.bins(ACCEPTED, way), self.bins(OPENED, way));
            accepted.iter().zip(&opened).map(|(x, y)| x + y).collect::<Vec<_>>()
        };
        lagged(&total(RECEIVED), &total(SENT))
    }
}

/// The highest correlation of what goes in with what goes out then or a second later.
pub(super) fn lagged(from: &[f64], to: &[f64]) -> f64 {
    let later = to.get(1..).unwrap_or_default();
    let earlier = from.get(..later.len()).unwrap_or_default();
    correlation(from, to).max(correlation(earlier, later))
}

/// Pearson's; 0 where one does not change.
pub(super) fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let count = x.len().min(y.len());
    if count < 2 {
        return 0.0;
    }
    let mean = |values: &[f64]| values.iter().take(count).sum::<f64>() / count as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    if xx <= 0.0 || yy <= 0.0 { 0.0 } else { xy / libm::sqrt(xx * yy) }
}

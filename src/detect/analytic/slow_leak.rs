//! What `data_ratio` adds up over hours: too little in each minute, and on and on, to an
//! address outside that was new to the sender when it began.
//!
//! Why only new ones: an agent that pushes its figures sends as much and gets as little
//! back, always to where it always did. So nothing is added up of whom the baseline has
//! too little history. Memory: [`PLACES`] of each of [`KEPT`] senders. Of a sender the one
//! that got least makes room for one that gets more; of senders who sent longest ago goes,
//! an eighth at once, and is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AnalyticContext;
use super::room::make_room;
use super::signs::LEAST_MINUTES;
use crate::baseline::Profile;
use crate::engine::window::Host;
use crate::entity::{Minute, PeerSums};

const KEPT: usize = 4_096;

/// Of a sender: of more new places at once none gets much.
const PLACES: usize = 4;

/// A day: what a leak of less than the floor in one adds up to is little.
const LONGEST_S: i64 = 86_400;

/// A pause after which it is another matter; so long an alert stays open.
pub(super) const PAUSE_S: i64 = 6 * 3_600;

/// Ethernet, IPv4 and TCP without options: no packet with a TCP header has less.
const HEADER_BYTES: u64 = 54;

/// What went to one peer since it was new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leak {
    pub(super) since_s: i64,
    pub(super) last_s: i64,
    /// In which something went there.
    pub(super) minutes: u64,
    pub(super) sent_payload: u64,
    /// An upper bound: options of headers are in it.
    pub(super) received_payload: u64,
}

impl Leak {
    fn new(start_s: i64) -> Self {
        let (since_s, last_s) = (start_s, start_s);
        Self { since_s, last_s, minutes: 0, sent_payload: 0, received_payload: 0 }
    }

    pub(super) fn ratio(&self) -> f64 {
        self.sent_payload as f64 / self.received_payload.max(1) as f64
    }

    fn is_over(&self, start_s: i64) -> bool {
        start_s - self.last_s > PAUSE_S || start_s - self.since_s > LONGEST_S
    }

    fn add(&mut self, minute: &Minute, peer: &PeerSums<Host>) {
        self.last_s = minute.start_s;
        self.minutes += (minute.length_s / 60).max(1).cast_unsigned();
        self.sent_payload = self.sent_payload.saturating_add(peer.sent_payload);
        let headers = peer.received_packets.saturating_mul(HEADER_BYTES);
        let received = peer.received_bytes.saturating_sub(headers);
        self.received_payload = self.received_payload.saturating_add(received);
    }
}

struct Open {
    to: Host,
    leak: Leak,
    /// What had been sent when it was last told, and by which entity.
    told: Option<(u64, String)>,
}

#[derive(Default)]
pub(super) struct Leaks {
    /// By normal and not by entity: a program that is started anew for each piece has one.
    senders: BTreeMap<Arc<str>, Vec<Open>>,
    refused: u64,
}

impl Leaks {
    /// Adds a minute; the leak in it that sent the most so far, where the floor of bytes and
    /// the ratio are passed.
    pub(super) fn add(
        &mut self,
        minute: &Minute,
        ctx: &AnalyticContext<'_>,
    ) -> Option<(Host, Leak)> {
        let sender = &minute.who.baseline;
        let known = self.senders.contains_key(sender);
        let profile = ctx.baselines.profile(sender);
        let profile = profile.filter(|profile| profile.minutes() >= LEAST_MINUTES)?;
        let peers = &minute.measures.top;
        if !known {
            if !peers.iter().any(|peer| is_new_outside(profile, minute, peer, ctx)) {
                return None;
            }
            let age = |places: &Vec<Open>| places.iter().map(|open| open.leak.last_s).max();
            self.refused += make_room(&mut self.senders, KEPT, age);
        }
        let places = self.senders.entry(Arc::clone(sender)).or_default();
        places.retain(|open| !open.leak.is_over(minute.start_s));
        let mut most: Option<(Host, Leak)> = None;
        for peer in peers {
            let at = places.iter().position(|open| open.to == peer.key);
            let at = at.or_else(|| {
                is_new_outside(profile, minute, peer, ctx)
                    .then(|| place_for(places, peer, minute.start_s))?
            });
            let Some(leak) = at.and_then(|at| places.get_mut(at)).map(|open| &mut open.leak) else {
                continue;
            };
            leak.add(minute, peer);
            let enough = leak.sent_payload >= ctx.settings.data_ratio_bytes
                && leak.ratio() >= ctx.settings.data_ratio_threshold;
            if enough && most.is_none_or(|(_, most)| most.sent_payload < leak.sent_payload) {
                most = Some((peer.key, *leak));
            }
        }
        if places.is_empty() {
            self.senders.remove(sender);
        }
        most
    }

    /// Whether to tell of it: each minute of the one that was told of, of another (a new
    /// process of the same program) when twice as much is gone.
    pub(super) fn tells(&mut self, minute: &Minute, peer: Host) -> bool {
        let places = self.senders.get_mut(&minute.who.baseline).into_iter().flatten();
        let Some(open) = places.into_iter().find(|open| open.to == peer) else { return false };
        let (id, sent) = (&minute.who.entity.id, open.leak.sent_payload);
        let tells = open
            .told
            .as_ref()
            .is_none_or(|(bytes, by)| by == id || sent >= bytes.saturating_mul(2));
        if tells {
            open.told = Some((sent, id.clone()));
        }
        tells
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

fn is_new_outside(
    profile: &Profile,
    minute: &Minute,
    peer: &PeerSums<Host>,
    ctx: &AnalyticContext<'_>,
) -> bool {
    let is_outside = peer.sent_payload > 0 && !ctx.home().contains(&peer.key);
    is_outside && ctx.is_new(profile, minute, peer) == Some(true)
}

/// Where a new peer is added up, if it got more than the least of those that are.
fn place_for(places: &mut Vec<Open>, peer: &PeerSums<Host>, start_s: i64) -> Option<usize> {
    if places.len() == PLACES {
        let least = (0..PLACES).min_by_key(|&at| places[at].leak.sent_payload)?;
        if places[least].leak.sent_payload >= peer.sent_payload {
            return None;
        }
        places.swap_remove(least);
    }
    places.push(Open { to: peer.key, leak: Leak::new(start_s), told: None });
    Some(places.len() - 1)
}

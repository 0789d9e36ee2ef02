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
use crate::entity::{Minute, OneService, PeerSums};

const KEPT: usize = 4_096;

/// Of a sender: of more new places at once none gets much.
const PLACES: usize = 4;

/// A day: what a leak of less than the floor in one adds up to is little.
const LONGEST_S: i64 = 86_400;

/// A pause after which it is another matter; so long an alert stays open.
pub(super) const PAUSE_S: i64 = 6 * 3_600;

/// What went to one peer since it was new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leak {
    pub(super) since_s: i64,
    pub(super) last_s: i64,
    /// In which something went there.
    pub(super) minutes: u64,
    /// Nothing of later minutes is counted yet.
    counted_s: i64,
    pub(super) sent_payload: u64,
    pub(super) received_payload: u64,
    /// More than one entity of the sender's normal: processes of one program, replicas of
    /// one workload.
    pub(super) several: bool,
    ports: Ports,
}

/// Ports of the peer that all of it went to; nothing where others may be among them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ports(Option<[u16; MOST_PORTS]>);

/// Of one peer: more are no habit. Unused ones are 0.
const MOST_PORTS: usize = 4;

impl Ports {
    fn add(&mut self, service: OneService) {
        let added = self.0.zip(service.port()).and_then(|(mut known, port)| {
            let place = known.iter_mut().find(|known| **known == port || **known == 0)?;
            *place = port;
            Some(known)
        });
        self.0 = added;
    }
}

impl Leak {
    fn new(start_s: i64) -> Self {
        Self {
            since_s: start_s,
            last_s: start_s,
            minutes: 0,
            counted_s: start_s,
            sent_payload: 0,
            received_payload: 0,
            several: false,
            ports: Ports(Some([0; MOST_PORTS])),
        }
    }

    pub(super) fn known_ports(&self) -> Vec<u16> {
        self.ports.0.into_iter().flatten().filter(|&port| port > 0).collect()
    }

    pub(super) fn ratio(&self) -> f64 {
        self.sent_payload as f64 / self.received_payload.max(1) as f64
    }

    fn is_over(&self, start_s: i64) -> bool {
        start_s - self.last_s > PAUSE_S || start_s - self.since_s > LONGEST_S
    }

    fn add(&mut self, minute: &Minute, peer: &PeerSums<Host>) {
        self.last_s = minute.start_s;
        // Each entity of the sender has a minute of its own.
        if minute.start_s >= self.counted_s {
            self.minutes += (minute.length_s / 60).max(1).cast_unsigned();
            self.counted_s = minute.start_s + minute.length_s.max(60);
        }
        self.sent_payload = self.sent_payload.saturating_add(peer.sent_payload);
        self.received_payload = self.received_payload.saturating_add(peer.received_payload);
        if peer.sent_packets > 0 {
            self.ports.add(peer.service);
        }
    }
}

struct Open {
    to: Host,
    leak: Leak,
    /// The first entity that sent.
    by: String,
    /// What had been sent when it was last told, and by which entity.
    told: Option<(u64, String)>,
    /// Sent in minutes before the latest, and in that: no finding has told of it.
    untold: Sent,
    latest: Sent,
}

/// Packets with their bytes and payload, and the seconds in which any were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) wire_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) active_s: u64,
}

impl Open {
    fn add(&mut self, minute: &Minute, peer: &PeerSums<Host>) {
        self.leak.add(minute, peer);
        self.leak.several |= self.by != minute.who.entity.id;
        let Sent { packets, wire_bytes, payload_bytes, active_s } =
            std::mem::take(&mut self.latest);
        self.untold.packets = self.untold.packets.saturating_add(packets);
        self.untold.wire_bytes = self.untold.wire_bytes.saturating_add(wire_bytes);
        self.untold.payload_bytes = self.untold.payload_bytes.saturating_add(payload_bytes);
        self.untold.active_s = self.untold.active_s.saturating_add(active_s);
        self.latest = Sent {
            packets: peer.sent_packets,
            wire_bytes: peer.sent_bytes,
            payload_bytes: peer.sent_payload,
            active_s: active_seconds(minute),
        };
    }
}

#[derive(Default)]
pub(super) struct Leaks {
    /// By source and normal: two sources may count the same traffic, and a program that is
    /// started anew for each piece has one normal.
    senders: BTreeMap<(Arc<str>, Arc<str>), Vec<Open>>,
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
        let sender = sender_of(minute);
        let known = self.senders.contains_key(&sender);
        let profile = ctx.baselines.profile(&minute.who.baseline);
        let profile = profile.filter(|profile| profile.minutes() >= LEAST_MINUTES)?;
        let peers = &minute.measures.top;
        if !known {
            if !peers.iter().any(|peer| is_new_outside(profile, minute, peer, ctx)) {
                return None;
            }
            let age = |places: &Vec<Open>| places.iter().map(|open| open.leak.last_s).max();
            self.refused += make_room(&mut self.senders, KEPT, age);
        }
        let places = self.senders.entry(sender.clone()).or_default();
        places.retain(|open| !open.leak.is_over(minute.start_s));
        let mut most: Option<(Host, Leak)> = None;
        for peer in peers {
            let at = places.iter().position(|open| open.to == peer.key);
            let at = at.or_else(|| {
                is_new_outside(profile, minute, peer, ctx)
                    .then(|| place_for(places, peer, minute))?
            });
            let Some(open) = at.and_then(|at| places.get_mut(at)) else { continue };
            open.add(minute, peer);
            let leak = &open.leak;
            let enough = leak.sent_payload >= ctx.settings.data_ratio_bytes
                && leak.ratio() >= ctx.settings.data_ratio_threshold;
            if enough && most.is_none_or(|(_, most)| most.sent_payload < leak.sent_payload) {
                most = Some((peer.key, *leak));
            }
        }
        if places.is_empty() {
            self.senders.remove(&sender);
        }
        most
    }

    /// Whether to tell of it: each minute of the one that was told of, of another (a new
    /// process of the same program) when twice as much is gone. What went there in minutes
    /// before this one, and was not told.
    pub(super) fn tells(&mut self, minute: &Minute, peer: Host) -> Option<Sent> {
        let places = self.senders.get_mut(&sender_of(minute)).into_iter().flatten();
        let open = places.into_iter().find(|open| open.to == peer)?;
        let (id, sent) = (&minute.who.entity.id, open.leak.sent_payload);
        let told = open.told.as_ref();
        if !told.is_none_or(|(bytes, by)| by == id || sent >= bytes.saturating_mul(2)) {
            return None;
        }
        open.told = Some((sent, id.clone()));
        Some(std::mem::take(&mut open.untold))
    }

    /// A finding has told of all that was sent in this minute.
    pub(super) fn told(&mut self, minute: &Minute) {
        for open in self.senders.get_mut(&sender_of(minute)).into_iter().flatten() {
            open.latest = Sent::default();
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// Of a minute that another source reports all may be.
pub(super) fn active_seconds(minute: &Minute) -> u64 {
    match &minute.reported {
        Some(_) => minute.length_s.max(1).cast_unsigned(),
        None => minute.measures.seconds_active.into(),
    }
}

fn sender_of(minute: &Minute) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&minute.source), Arc::clone(&minute.who.baseline))
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
fn place_for(places: &mut Vec<Open>, peer: &PeerSums<Host>, minute: &Minute) -> Option<usize> {
    if places.len() == PLACES {
        let least = (0..PLACES).min_by_key(|&at| places[at].leak.sent_payload)?;
        if places[least].leak.sent_payload >= peer.sent_payload {
            return None;
        }
        places.swap_remove(least);
    }
    let (leak, by) = (Leak::new(minute.start_s), minute.who.entity.id.clone());
    let (untold, latest) = (Sent::default(), Sent::default());
    places.push(Open { to: peer.key, leak, by, told: None, untold, latest });
    Some(places.len() - 1)
}

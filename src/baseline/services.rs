//! Payload sizes of an entity by service, each with its own usual distances: a small
//! service under a large one has a normal too, and another mix of services is none of
//! theirs.
//!
//! [`MOST`] are known. A minute with one that finds no place takes a minute from the least
//! used of those that are silent in it; at none that gives up its place. So what is used
//! each minute stays whoever comes by, and what is not goes in time.

use std::cmp::Reverse;

use super::distance::{Distances, distance_from};
use super::sketch::Sketch;
use super::wire::{Reader, Writer};
use crate::engine::window::SIZE_BINS;
use crate::entity::{Leg, Service, Spoken};

/// A minute has four; others are those of other hours. 700 bytes of a profile at most.
pub(super) const MOST: usize = 6;
/// Half an octave each, where distances spread over no more than eight.
const BUCKETS: usize = 16;
/// Packets of a minute from which its distance says anything: chance alone makes it about
/// 0.03, far below what is called a shift. Of the entity as a whole there must be more, but of
/// a small service there may never be.
const LEAST_PACKETS: u64 = 20;
/// Minutes with a distance before which there is no usual one.
const LEAST_MINUTES: f64 = 30.0;
/// Below this no distance is held back: as little may happen to anybody.
const SMALL: f64 = 0.15;

/// What is known of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownService {
    service: Service,
    minutes: u32,
    /// Halved together where one has no room: it is their shape that counts.
    sizes: [u32; SIZE_BINS],
    distances: Sketch,
}

impl KnownService {
    fn new(service: Service) -> Self {
        Self { service, minutes: 0, sizes: [0; SIZE_BINS], distances: Sketch::default() }
    }

    pub fn service(&self) -> Service {
        self.service
    }

    /// Minutes in which it was spoken; halved every 21 days.
    pub fn minutes(&self) -> u64 {
        self.minutes.into()
    }

    /// Packets sent by payload size, in the coarse bins of windows; halved with the minutes.
    pub fn sizes(&self) -> [u64; SIZE_BINS] {
        self.sizes.map(u64::from)
    }

    /// Packets with payload.
    pub fn packets(&self) -> u64 {
        self.sizes.iter().skip(1).map(|&packets| u64::from(packets)).sum()
    }

    /// How far its own minutes usually lie from [`Self::sizes`]: those with 20 packets with
    /// payload. Nothing of fewer than 30 such minutes.
    pub fn distances(&self) -> Option<Distances> {
        Distances::of(&self.distances).filter(|usual| usual.minutes >= LEAST_MINUTES)
    }

    fn learn(&mut self, sizes: &[u64; SIZE_BINS]) {
        if let Some(distance) = distance_from(&self.sizes(), sizes, LEAST_PACKETS) {
            // A minute far off is learned as one at the edge, or the first minute of an
            // attack, which is no alert yet, would make the others usual.
            let most =
                self.distances().map_or(f64::INFINITY, |usual| usual.rarely_over().max(SMALL));
            self.distances.add(distance.min(most));
            self.distances.fit_to(BUCKETS);
        }
        self.count(sizes);
        self.minutes = self.minutes.saturating_add(1);
    }

    fn count(&mut self, sizes: &[u64; SIZE_BINS]) {
        let mut sums = self.sizes();
        sums.iter_mut().zip(sizes).for_each(|(sum, &more)| *sum = sum.saturating_add(more));
        let most = sums.iter().max().copied().unwrap_or(0);
        let halvings = (u64::BITS - u32::BITS).saturating_sub(most.leading_zeros());
        self.sizes = sums.map(|sum| (sum >> halvings) as u32);
    }

    fn merge(&mut self, other: &Self) {
        self.minutes = self.minutes.saturating_add(other.minutes);
        self.count(&other.sizes());
        self.distances.merge(&other.distances);
        self.distances.fit_to(BUCKETS);
    }

    /// What it is kept by.
    fn rank(&self) -> (u32, u64, Reverse<Service>) {
        (self.minutes, self.packets(), Reverse(self.service))
    }
}

/// By service, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Services(Vec<KnownService>);

impl Services {
    pub(super) fn all(&self) -> &[KnownService] {
        &self.0
    }

    pub(super) fn get(&self, service: Service) -> Option<&KnownService> {
        self.place(service).ok().and_then(|at| self.0.get(at))
    }

    fn place(&self, service: Service) -> Result<usize, usize> {
        self.0.binary_search_by_key(&service, KnownService::service)
    }

    /// Takes a minute in, by its number.
    pub(super) fn learn(&mut self, minute: i64, spoken_now: &[Spoken]) {
        let mut new: Vec<&Spoken> = Vec::new();
        for spoken in spoken_now.iter().filter(|spoken| spoken.packets() > 0) {
            match self.place(spoken.service) {
                Ok(at) => self.0[at].learn(&spoken.sizes()),
                Err(_) => new.push(spoken),
            }
        }
        // Turns go round: who comes once with much does not keep out who comes each minute.
        let turn = minute.rem_euclid(new.len().max(1) as i64) as usize;
        new.rotate_left(turn);
        let mut paid = false;
        for spoken in new {
            if self.0.len() >= MOST {
                if paid || !self.pay(spoken_now) {
                    return;
                }
                paid = true;
            }
            let mut known = KnownService::new(spoken.service);
            known.learn(&spoken.sizes());
            if let Err(at) = self.place(spoken.service) {
                self.0.reserve_exact(1);
                self.0.insert(at, known);
            }
        }
    }

    /// Takes a minute from the least used of the silent; whether that made a place.
    fn pay(&mut self, spoken_now: &[Spoken]) -> bool {
        let is_silent =
            |known: &KnownService| spoken_now.iter().all(|spoken| spoken.service != known.service);
        let silent = self.0.iter_mut().enumerate().filter(|(_, known)| is_silent(known));
        let Some((at, least)) = silent.min_by_key(|(_, known)| known.rank()) else { return false };
        least.minutes = least.minutes.saturating_sub(1);
        let is_over = least.minutes == 0;
        if is_over {
            self.0.remove(at);
        }
        is_over
    }

    /// Leaves out the least used, where there are more.
    pub(super) fn keep(&mut self, most: usize) {
        while self.0.len() > most {
            let least = self.0.iter().enumerate().min_by_key(|(_, known)| known.rank());
            let Some((at, _)) = least else { return };
            self.0.remove(at);
        }
    }

    /// Forgets half of it, so many times.
    pub(super) fn halve(&mut self, times: u32) {
        for known in &mut self.0 {
            known.minutes = known.minutes.checked_shr(times).unwrap_or(0);
            known.distances.halve(times);
            let sums = known.sizes.iter_mut();
            sums.for_each(|sum| *sum = sum.checked_shr(times).unwrap_or(0));
        }
        self.0.retain(|known| known.minutes > 0);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for theirs in &other.0 {
            match self.place(theirs.service) {
                Ok(at) => self.0[at].merge(theirs),
                Err(at) => self.0.insert(at, theirs.clone()),
            }
        }
        self.keep(MOST);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let sketches = self.0.iter().map(|known| known.distances.heap_bytes());
        self.0.capacity() * size_of::<KnownService>() + sketches.sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.number(self.0.len() as u64);
        for known in &self.0 {
            out.byte(known.service.proto);
            let leg = known.service.leg as u64;
            out.number(u64::from(known.service.port) << 1 | leg);
            out.number(known.minutes.into());
            let used = (0..).zip(&known.sizes).filter(|&(_, &packets)| packets > 0);
            out.number(used.map(|(bin, _)| 1_u64 << bin).sum());
            let sizes = known.sizes.iter().filter(|&&packets| packets > 0);
            sizes.for_each(|&packets| out.number(packets.into()));
            known.distances.encode(out);
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let mut all: Vec<KnownService> = Vec::new();
        for _ in 0..from.up_to(MOST as u64)? {
            let proto = from.byte()?;
            let place = from.up_to(u64::from(u16::MAX) << 1 | 1)?;
            let leg = if place & 1 == Leg::Opened as u64 { Leg::Opened } else { Leg::Accepted };
            let port = u16::try_from(place >> 1).ok()?;
            let mut known = KnownService::new(Service { proto, port, leg });
            if all.last().is_some_and(|last| last.service >= known.service) {
                return None;
            }
            known.minutes = u32::try_from(from.number()?).ok().filter(|&minutes| minutes > 0)?;
            let used = from.up_to((1 << SIZE_BINS) - 1)?;
            for (bin, packets) in known.sizes.iter_mut().enumerate() {
                if used >> bin & 1 == 1 {
                    *packets = u32::try_from(from.number()?).ok()?;
                }
            }
            known.distances = Sketch::decode(from)?;
            all.push(known);
        }
        Some(Self(all))
    }
}

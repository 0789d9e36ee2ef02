//! What is known of one entity. Under [`MOST_BYTES`] as bytes and little more in
//! memory, whatever it did.

use super::calendar::{Calendar, day};
use super::destinations::{
    Change, Destination, Destinations, Names, Prefix, prefix_of, prefix_text, short,
};
use super::distance::{Distances, size_distance};
use super::drift::Ceilings;
use super::metric::Metric;
use super::names::NameDigest;
use super::normal::{Basis, Normal};
use super::season::{ANSWERS, Season, TRAFFIC};
use super::services::{KnownService, Services};
use super::sketch::Sketch;
use super::verdict::{Said, Verdict};
use crate::alert::EntityKind;
use crate::engine::window::{Host, SIZE_BINS};
use crate::entity::{Leg, Minute, PeerSums, Service};

/// Of a profile as bytes.
pub const MOST_BYTES: usize = 4096;

/// Everything that is counted is halved so often: METHODS 8 gives 14 to 28 days.
const HALF_LIFE_DAYS: i64 = 21;
/// Minutes before anything is called normal.
const LEAST_MINUTES: f64 = 30.0;
/// Verdicts that are remembered.
pub(super) const VERDICTS: usize = 4;

/// What learning goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Days from which growth is held back.
    pub(super) mature_days: f64,
    /// How many times its 99th percentile a measure may have the next day.
    pub(super) growth: f64,
}

/// One entity's normal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Which half-life its counts are of.
    pub(super) age: i64,
    pub(super) minutes: u64,
    pub(super) sketches: [Sketch; Metric::COUNT],
    pub(super) season: Season<{ TRAFFIC.len() }>,
    /// Only targets of requests have any.
    pub(super) answers: Option<Box<Season<{ ANSWERS.len() }>>>,
    pub(super) sizes: [u64; SIZE_BINS],
    /// How far minutes lay from `sizes`.
    pub(super) distances: Sketch,
    /// Both of these of what it speaks most, each by itself.
    pub(super) services: Services,
    pub(super) destinations: Destinations,
    pub(super) names: Names,
    /// Day on which the first name was learned; 0 where none was.
    pub(super) named_since: u16,
    pub(super) calendar: Calendar,
    /// Payload bytes of connections that it accepted, and opened.
    pub(super) legs: [u64; 2],
    pub(super) ceilings: Ceilings,
    pub(super) verdicts: Vec<Said>,
}

/// What an entity usually is to others.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Roles {
    /// Share of its payload bytes in connections that others opened to it.
    pub served: f64,
    pub is_server: bool,
    pub is_client: bool,
}

impl Profile {
    /// Days between the first and the last minute that were learned.
    pub fn days(&self) -> f64 {
        self.calendar.days()
    }

    /// Minutes in which it was active.
    pub fn minutes(&self) -> u64 {
        self.minutes
    }

    /// Seconds since the entity was last active before this time.
    pub fn quiet_s(&self, now_s: i64) -> i64 {
        now_s.saturating_sub(self.calendar.last_s)
    }

    /// How long it was quiet before the stretch of activity that was learned last, and
    /// when that began; pauses under two hours are none.
    pub fn woke(&self) -> Option<(i64, i64)> {
        self.calendar.woke()
    }

    /// When it was first and last active, of what was learned.
    pub fn seen_s(&self) -> Option<(i64, i64)> {
        self.calendar.first_s.map(|first_s| (first_s, self.calendar.last_s))
    }

    /// Of the last 64 days, those on which it was active.
    pub fn active_days(&self) -> u32 {
        self.calendar.active_days()
    }

    /// A day since the epoch, of the last 64 before its last.
    pub fn was_active_on(&self, day: i64) -> bool {
        self.calendar.was_active_on(day)
    }

    /// What is usual at a time, of the narrowest kind of minutes that there are enough
    /// of; nothing before there are 30.
    pub fn normal(&self, metric: Metric, at_s: i64) -> Option<Normal> {
        let sketch = &self.sketches[metric as usize];
        let minutes = sketch.count();
        if minutes < LEAST_MINUTES {
            return None;
        }
        let median = sketch.quantile(0.5);
        let all = Normal {
            median,
            sigma: 1.4826 * sketch.deviation(median),
            q99: sketch.quantile(0.99),
            max: sketch.max(),
            regular: 0.0,
            minutes: minutes as u64,
            basis: Basis::All,
        };
        let mut normal = match (self.answers.as_ref(), place(&ANSWERS, metric)) {
            (Some(answers), Some(at)) => answers.narrow(at, at_s, all),
            _ => place(&TRAFFIC, metric).map_or(all, |at| self.season.narrow(at, at_s, all)),
        };
        // Levels of hours are rounded; what is held back stays exact.
        normal.q99 = normal.q99.min(self.ceilings.most(metric)).min(normal.max);
        normal.median = normal.median.min(normal.q99);
        Some(normal)
    }

    /// The 99th percentile of all hours may not be above this today.
    pub fn ceiling(&self, metric: Metric) -> Option<f64> {
        Some(self.ceilings.most(metric)).filter(|most| most.is_finite())
    }

    /// Values that grew too fast and were learned as less.
    pub fn clipped(&self) -> u64 {
        self.ceilings.clipped
    }

    /// Packets sent by payload size, in the coarse bins of windows; halved every 21
    /// days.
    pub fn sizes(&self) -> &[u64; SIZE_BINS] {
        &self.sizes
    }

    /// How far payload sizes of its minutes usually lie from [`Self::sizes`], by
    /// [`size_distance`].
    pub fn distances(&self) -> Option<Distances> {
        Distances::of(&self.distances)
    }

    /// What is known of a service that it speaks.
    pub fn service(&self, service: Service) -> Option<&KnownService> {
        self.services.get(service)
    }

    /// Services that it speaks most, by protocol and port.
    pub fn services(&self) -> &[KnownService] {
        self.services.all()
    }

    /// When it reached this address, or others of its prefix (/24, /48), before: who
    /// reached it, and was answered, is none of its destinations.
    pub fn destination(&self, host: &Host) -> Option<Destination> {
        self.destination_prefix(prefix_of(host))
    }

    pub(crate) fn destination_prefix(&self, prefix: Prefix) -> Option<Destination> {
        self.destinations.get(prefix)
    }

    /// Whether a peer of its minute is a destination that it did not know; nothing of
    /// one that it answered alone.
    pub fn is_new(&self, peer: &PeerSums<Host>) -> Option<bool> {
        peer.reached_bytes().map(|_| self.destination(&peer.key).is_none())
    }

    /// Known prefixes as text, most bytes first.
    pub fn destinations(&self) -> Vec<(String, Destination)> {
        let all = self.destinations.all().into_iter();
        all.map(|(prefix, known)| (prefix_text(prefix), known)).collect()
    }

    /// When it reached a host of this domain before.
    pub fn name(&self, name: NameDigest) -> Option<Destination> {
        self.names.get(name.0)
    }

    /// Digests of domains that it reached, the first by day and digest first.
    pub fn names(&self) -> Vec<(NameDigest, Destination)> {
        let mut all = self.names.all();
        all.sort_unstable_by_key(|&(digest, known)| (known.first_day, digest));
        all.into_iter().map(|(digest, known)| (NameDigest(digest), known)).collect()
    }

    /// Day since the epoch on which the first name was learned.
    pub fn named_since(&self) -> Option<i64> {
        Some(self.named_since).filter(|&day| day > 0).map(i64::from)
    }

    /// Whether most flows to this address, or to others of its prefix, had a name.
    pub fn is_named(&self, host: &Host) -> bool {
        self.destinations.is_named(prefix_of(host))
    }

    /// Probability that the next name it reaches is new to it (Good-Turing).
    pub fn name_newness(&self) -> Option<f64> {
        self.names.newness()
    }

    /// Probability that the next prefix it reaches is new to it (Good-Turing).
    pub fn newness(&self) -> Option<f64> {
        self.destinations.newness()
    }

    /// Whether it serves, or is a client, by the payload bytes of either; nothing of
    /// whom nothing was seen.
    pub fn roles(&self) -> Option<Roles> {
        let [accepted, opened] = self.legs.map(|bytes| bytes as f64);
        let total = accepted + opened;
        let share = |bytes: f64| bytes / total >= 0.1;
        (total > 0.0).then(|| Roles {
            served: accepted / total,
            is_server: share(accepted),
            is_client: share(opened),
        })
    }

    /// What analysts said of its last alerts, oldest first.
    pub fn verdicts(&self) -> impl Iterator<Item = (i64, Verdict)> {
        self.verdicts.iter().map(|said| (said.day, said.verdict))
    }

    /// Takes a minute in.
    pub(super) fn learn(&mut self, minute: &Minute, rules: &Rules) -> Vec<Change> {
        let (at_s, measures) = (minute.start_s, &minute.measures);
        self.grow_old(at_s, rules);
        for metric in Metric::ALL {
            self.take(metric, metric.of(minute));
        }
        // Sources that count by intervals know no seconds.
        if minute.who.entity.kind == EntityKind::Process && minute.reported.is_none() {
            self.take(Metric::PeakUnanswered, Metric::PeakUnanswered.of(minute));
        }
        let hourly =
            TRAFFIC.map(|metric| self.held_back(metric, at_s, metric.of(minute), rules.growth));
        self.season.add(at_s, hourly);
        if let Some(distance) = size_distance(&self.sizes, &measures.sent.sizes) {
            self.distances.add(distance);
        }
        for (sum, &packets) in self.sizes.iter_mut().zip(&measures.sent.sizes) {
            *sum = sum.saturating_add(packets);
        }
        self.services.learn(at_s.div_euclid(60), &measures.spoken);
        for leg in [Leg::Accepted, Leg::Opened] {
            let sums = measures.series.of(leg);
            let bytes = sums.iter().flatten().map(|&bytes| u64::from(bytes)).sum();
            self.legs[leg as usize] = self.legs[leg as usize].saturating_add(bytes);
        }
        self.minutes += 1;
        self.calendar.mark(at_s);
        let reached = |peer: &PeerSums<Host>| Some((prefix_of(&peer.key), peer.reached_bytes()?));
        let mut peers: Vec<_> = measures.top.iter().filter_map(reached).collect();
        peers.sort_unstable();
        peers.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        let meet = |(prefix, bytes)| self.destinations.meet(prefix, day(at_s), bytes);
        peers.into_iter().map(meet).collect()
    }

    /// Takes a minute's value in that is not of its traffic. One that is out of the
    /// ordinary can become a habit of its hour, and is no part of what is usual.
    pub(super) fn learn_value(
        &mut self,
        metric: Metric,
        at_s: i64,
        (value, is_usual): (f64, bool),
        rules: &Rules,
    ) {
        self.grow_old(at_s, rules);
        if let Some(at) = place(&ANSWERS, metric) {
            let value = self.held_back(metric, at_s, value, rules.growth);
            self.answers.get_or_insert_default().add_one(at_s, at, value);
        }
        if is_usual {
            self.take(metric, value);
        }
        self.calendar.mark(at_s);
    }

    pub(super) fn meet(&mut self, host: &Host, at_s: i64, bytes: u64, rules: &Rules) -> Change {
        self.grow_old(at_s, rules);
        self.destinations.meet(prefix_of(host), day(at_s), bytes)
    }

    /// A flow to this address had these names, or none.
    pub(super) fn meet_names(
        &mut self,
        host: &Host,
        names: &[NameDigest],
        at_s: i64,
        rules: &Rules,
    ) -> Vec<Change> {
        self.grow_old(at_s, rules);
        if self.named_since == 0 {
            if names.is_empty() {
                return Vec::new();
            }
            self.named_since = short(day(at_s)).max(1);
        }
        self.destinations.note_name(prefix_of(host), !names.is_empty());
        names.iter().map(|name| self.names.meet(name.0, day(at_s), 0)).collect()
    }

    fn take(&mut self, metric: Metric, value: f64) {
        let value = self.ceilings.clip(metric, value);
        self.sketches[metric as usize].add(value);
    }

    /// What is a habit of an hour stays one, though it is far above nearly all minutes.
    fn held_back(&self, metric: Metric, at_s: i64, value: f64, growth: f64) -> f64 {
        let most = self.ceilings.most(metric);
        if value <= most {
            return value;
        }
        let regular = match (self.answers.as_ref(), place(&ANSWERS, metric)) {
            (Some(answers), Some(at)) => answers.regular(at, at_s),
            _ => place(&TRAFFIC, metric).map_or(0.0, |at| self.season.regular(at, at_s)),
        };
        value.min(most.max(regular * growth))
    }

    /// Forgets what time has made old, and sets what today may have at most.
    fn grow_old(&mut self, at_s: i64, rules: &Rules) {
        self.age_to(age_of(at_s));
        let today = day(at_s);
        if self.ceilings.are_before(today) && self.days() >= rules.mature_days {
            let (ceilings, sketches) = (&mut self.ceilings, &self.sketches);
            ceilings.raise(today, rules.growth, |metric| {
                let sketch = &sketches[metric as usize];
                (sketch.count() >= LEAST_MINUTES).then(|| sketch.quantile(0.99))
            });
        }
    }

    fn age_to(&mut self, age: i64) {
        let times = u32::try_from(age.saturating_sub(self.age)).unwrap_or(0);
        if times == 0 {
            return;
        }
        self.age = age;
        self.sketches.iter_mut().for_each(|sketch| sketch.halve(times));
        self.distances.halve(times);
        self.services.halve(times);
        self.season.halve(times);
        self.answers.iter_mut().for_each(|answers| answers.halve(times));
        self.destinations.halve(times);
        self.names.halve(times);
        let sums = self.sizes.iter_mut().chain(&mut self.legs);
        sums.for_each(|sum| *sum = sum.checked_shr(times).unwrap_or(0));
    }

    /// Takes in what was learned apart. What lies above a ceiling of either is counted
    /// as it is: somebody has said that it is normal.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        let age = self.age.max(other.age);
        self.age_to(age);
        other.age_to(age);
        self.minutes = self.minutes.saturating_add(other.minutes);
        for (mine, theirs) in self.sketches.iter_mut().zip(&other.sketches) {
            mine.merge(theirs);
        }
        self.distances.merge(&other.distances);
        self.services.merge(&other.services);
        self.season.merge(&other.season);
        if let Some(theirs) = &other.answers {
            self.answers.get_or_insert_default().merge(theirs);
        }
        self.destinations.merge(&other.destinations);
        self.names.merge(&other.names);
        let since = [self.named_since, other.named_since].into_iter().filter(|&day| day > 0);
        self.named_since = since.min().unwrap_or(0);
        self.calendar.merge(&other.calendar);
        let mine = self.sizes.iter_mut().chain(&mut self.legs);
        for (sum, &more) in mine.zip(other.sizes.iter().chain(&other.legs)) {
            *sum = sum.saturating_add(more);
        }
        self.ceilings.lift();
        self.ceilings.clipped = self.ceilings.clipped.saturating_add(other.ceilings.clipped);
        self.verdicts.extend(other.verdicts);
        self.verdicts.sort_unstable();
        let old = self.verdicts.len().saturating_sub(VERDICTS);
        self.verdicts.drain(..old);
    }

    pub(super) fn remember(&mut self, day: i64, verdict: Verdict) {
        if self.verdicts.len() == VERDICTS {
            self.verdicts.remove(0);
        }
        self.verdicts.push(Said { day, verdict });
    }

    /// Counts of how many half-lives ago.
    pub(super) fn start_at(&mut self, at_s: i64) {
        self.age = age_of(at_s);
    }

    /// What memory holds of it.
    pub fn bytes(&self) -> usize {
        let sketches = self.sketches.iter().chain([&self.distances]).map(Sketch::heap_bytes);
        let verdicts = self.verdicts.capacity() * size_of::<Said>();
        let answers = |of: &Season<{ ANSWERS.len() }>| size_of_val(of) + of.heap_bytes();
        let hours = self.season.heap_bytes() + self.answers.as_deref().map_or(0, answers);
        let met = self.destinations.heap_bytes() + self.names.heap_bytes();
        let lists = hours + met + verdicts + self.services.heap_bytes();
        size_of::<Self>() + sketches.sum::<usize>() + lists
    }
}

/// Where a measure has its place among those of a season.
fn place(of: &[Metric], metric: Metric) -> Option<usize> {
    of.iter().position(|&seasonal| seasonal == metric)
}

fn age_of(at_s: i64) -> i64 {
    day(at_s).div_euclid(HALF_LIFE_DAYS)
}

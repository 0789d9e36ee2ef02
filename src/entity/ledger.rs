//! The open minute of every entity.
//!
//! Bounded: [`LedgerLimits::entities`] a minute; rows of others are counted in
//! `refused`. A minute is closed when a second of a later one comes, in the order of
//! the entities' kinds and ids, so that what reads it does not depend on anything
//! else. The memory of its entities serves those of the next minute.

use std::sync::Arc;

use ahash::HashMap;

use super::measures::Measures;
use super::second::SecondOf;
use super::view::View;
use super::who::Who;
use crate::alert::Beginning;
use crate::engine::window::Seed;
use crate::memory::{prefetch, prefetch_line};

/// Number of an entity in its ledger; given anew with each minute.
pub type WhoId = u32;

#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Entities of one minute, about 4 KB each.
    pub entities: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        // A site's hosts with their busy processes; 64 MB.
        Self { entities: 16_384 }
    }
}

/// What an entity did from `start_s` on, for `length_s` seconds.
#[derive(Clone, Debug)]
pub struct Minute {
    pub who: Arc<Who>,
    /// Seconds since the epoch.
    pub start_s: i64,
    pub length_s: i64,
    /// `packets`, or the name of the source that counted it.
    pub source: Arc<str>,
    pub measures: Measures,
    /// Where another source than packets counted.
    pub reported: Option<Box<ReportedFacts>>,
}

/// What a source says of its own counting, and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedFacts {
    /// Records of the entity's flows.
    pub flows: u64,
    /// Flows from the entity that were refused, and their bytes: in none of the
    /// measures.
    pub rejected_flows: u64,
    pub rejected_bytes: u64,
    /// Packets that each counted one stood for, at most.
    pub sampled_1_of: u32,
    /// The source says that it left out flows of an interface that counted these.
    pub skipped: bool,
    /// Records of this source, before or in this window, came after their own was closed.
    pub unordered: bool,
    /// The source never had a flow both ways so far, and need not: what is unanswered is not known.
    pub one_sided: bool,
}

struct Open {
    /// What it is sorted by, at hand without going to where its texts lie.
    beginning: Beginning,
    minute: Minute,
    /// Where it is among those that were touched in some second; nothing before the first.
    touched_at: Option<u32>,
    sure: Sure,
}

/// How sure the rows of an entity are to be its own: their mean, by what was sent. One
/// row must not speak for all, neither the first nor the least sure: whoever sends
/// something to a listening socket makes such a row.
#[derive(Default)]
struct Sure {
    wire_bytes: u64,
    /// Bytes times thousandths.
    weighed: u64,
    differs: bool,
}

/// Who is known behind an address in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    Nobody,
    Process,
    /// A process, and the workload that it is in.
    Workload,
}

/// Entities of a source, minute by minute.
pub struct Ledger {
    source: Arc<str>,
    limits: LedgerLimits,
    seed: Seed,
    minute: i64,
    /// By a digest of whatever tells entities apart; the caller makes it.
    ids: HashMap<u64, WhoId>,
    #[expect(clippy::vec_box, reason = "2 KB each, which would move as their number grows")]
    open: Vec<Box<Open>>,
    /// Touched in the second at hand.
    touched: Vec<WhoId>,
    /// What those did in it, and behind them what is left of longer ones: a few are used again
    /// and again, where each entity's own would be far from all caches.
    seconds: Vec<SecondOf>,
    /// Of the minute before, for entities of this one.
    #[expect(clippy::vec_box, reason = "they were and will be open ones")]
    spare: Vec<Box<Open>>,
    /// Kept for its memory.
    order: Vec<Place>,
    /// Rows of entities that had no place.
    pub refused: u64,
}

/// What an entity is sorted by first, and where it is.
type Place = (Beginning, u32);

const MINUTE_S: i64 = 60;

impl Ledger {
    pub fn new(source: Arc<str>, limits: LedgerLimits, seed: Seed) -> Self {
        Self {
            source,
            limits,
            seed,
            minute: i64::MIN,
            ids: HashMap::default(),
            open: Vec::new(),
            touched: Vec::new(),
            seconds: Vec::new(),
            spare: Vec::new(),
            order: Vec::new(),
            refused: 0,
        }
    }

    /// Begins a second; hands out the minute before it, if this begins another.
    pub fn begin(&mut self, second: i64) -> Minutes {
        self.touched.clear();
        let minute = second.div_euclid(MINUTE_S);
        if minute == self.minute {
            return Minutes::default();
        }
        let closed = self.close();
        self.minute = minute;
        closed
    }

    /// The second that the minute at hand ends before; nothing where it has no entities.
    pub fn end_s(&self) -> Option<i64> {
        let is_open = !self.open.is_empty();
        is_open.then(|| self.end_of_minute_s())
    }

    fn end_of_minute_s(&self) -> i64 {
        self.minute.saturating_add(1).saturating_mul(MINUTE_S)
    }

    /// The minute at hand, since the epoch: numbers are of it.
    pub fn minute(&self) -> i64 {
        self.minute
    }

    /// The number of an entity in this minute; nothing where there is no place.
    pub fn id(&mut self, digest: u64, who: impl FnOnce() -> Arc<Who>) -> Option<WhoId> {
        if let Some(&id) = self.ids.get(&digest) {
            return Some(id);
        }
        if self.open.len() >= self.limits.entities {
            self.refused += 1;
            return None;
        }
        let id = self.open.len() as WhoId;
        let who = who();
        self.ids.insert(digest, id);
        let start_s = self.minute.saturating_mul(MINUTE_S);
        let open = match self.spare.pop() {
            Some(mut open) => {
                open.begin(who, start_s);
                open
            }
            None => Box::new(Open::new(who, start_s, Arc::clone(&self.source))),
        };
        self.open.push(open);
        Some(id)
    }

    /// The entity of a number.
    pub fn who(&self, id: WhoId) -> Option<&Arc<Who>> {
        self.open.get(id as usize).map(|open| &open.minute.who)
    }

    /// Asks for where an entity that will be added to is.
    pub fn prefetch_place(&self, id: WhoId) {
        if let Some(place) = self.open.get(id as usize) {
            prefetch_line(place, 0);
        }
    }

    /// The same of its memory, once that has come.
    pub fn prefetch(&self, id: WhoId) {
        if let Some(open) = self.open.get(id as usize) {
            prefetch_all(&**open);
        }
    }

    /// The same of what lies apart from it, once that has come.
    pub fn prefetch_parts(&self, id: WhoId, second: i64) {
        if let Some(open) = self.open.get(id as usize) {
            open.minute.measures.prefetch_parts(second);
            if let Some(at) = self.touched_at(open, id) {
                prefetch_all(&self.seconds[at]);
            }
        }
    }

    /// Where an entity is among those that were touched in the second at hand.
    fn touched_at(&self, open: &Open, id: WhoId) -> Option<usize> {
        let at = open.touched_at? as usize;
        (self.touched.get(at) == Some(&id)).then_some(at)
    }

    /// Counts a flow's second for an entity.
    pub fn add(&mut self, id: WhoId, view: &View<'_>) {
        let Some(open) = self.open.get(id as usize) else { return };
        let at = self.touched_at(open, id).unwrap_or(self.touched.len());
        let open = &mut self.open[id as usize];
        if at == self.touched.len() {
            open.touched_at = Some(at as u32);
            self.touched.push(id);
            let who = Arc::clone(&open.minute.who);
            match self.seconds.get_mut(at) {
                Some(of_second) => of_second.begin(who),
                None => self.seconds.push(SecondOf::new(who)),
            }
        }
        open.minute.measures.add(view, self.seed);
        self.seconds[at].add(view);
    }

    /// Says of a flow how sure it is to be the entity's own.
    pub fn weigh(&mut self, id: WhoId, view: &View<'_>, certainty: f64) {
        let Some(open) = self.open.get_mut(id as usize) else { return };
        // Of an entity that sends nothing each row counts the same.
        let wire_bytes = (view.sent.wire_bytes * view.scale).max(1);
        let thousandths = (certainty.clamp(0.0, 1.0) * 1000.0).round() as u64;
        open.sure.wire_bytes = open.sure.wire_bytes.saturating_add(wire_bytes);
        open.sure.weighed =
            open.sure.weighed.saturating_add(wire_bytes.saturating_mul(thousandths));
        open.sure.differs |= certainty != open.minute.who.certainty;
    }

    /// Says of a flow that who stood behind it is known, too.
    pub fn add_known(&mut self, id: WhoId, view: &View<'_>, behind: Behind) {
        let Some(open) = self.open.get_mut(id as usize) else { return };
        let payload_bytes = (view.sent.payload_bytes + view.received.payload_bytes) * view.scale;
        if behind >= Behind::Process {
            open.minute.measures.of_processes_bytes += payload_bytes;
        }
        if behind == Behind::Workload {
            open.minute.measures.of_workloads_bytes[view.leg as usize] += payload_bytes;
        }
    }

    /// What entities did in the second at hand, by kind and id.
    pub fn second(&mut self) -> Vec<&SecondOf> {
        let Self { open, touched, seconds, order, .. } = self;
        order.clear();
        for ((&id, of_second), at) in touched.iter().zip(&mut *seconds).zip(0_u32..) {
            let open = &mut open[id as usize];
            if open.settle() {
                of_second.who = Arc::clone(&open.minute.who);
            }
            order.push((open.beginning, at));
        }
        put_in_order(order, |at| &open[touched[at as usize] as usize]);
        order.iter().map(|&(_, at)| &seconds[at as usize]).collect()
    }

    /// Hands out the minute at hand.
    pub fn close(&mut self) -> Minutes {
        self.ids.clear();
        // What this minute had no use for goes, and what its busiest second had for more than
        // most do.
        (self.spare, self.seconds) = (Vec::new(), Vec::new());
        self.touched.clear();
        let open = std::mem::take(&mut self.open);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        let touched = open.iter().zip(0_u32..).filter(|(open, _)| open.touched_at.is_some());
        order.extend(touched.map(|(open, at)| (open.beginning, at)));
        put_in_order(&mut order, |at| &open[at as usize]);
        Minutes { open, order, next: 0 }
    }

    /// Takes back the memory of a minute that was handed out.
    pub fn give_back(&mut self, minutes: Minutes) {
        if !minutes.open.is_empty() {
            (self.spare, self.order) = (minutes.open, minutes.order);
        }
    }

    /// Lets go of what it holds for the entities of a minute that had none.
    pub fn rest(&mut self, before_s: i64) {
        if self.end_of_minute_s() <= before_s && self.open.is_empty() {
            self.spare = Vec::new();
        }
    }
}

impl Open {
    fn new(who: Arc<Who>, start_s: i64, source: Arc<str>) -> Self {
        Self {
            beginning: who.entity.beginning(),
            minute: Minute {
                who,
                start_s,
                length_s: MINUTE_S,
                source,
                measures: Measures::default(),
                reported: None,
            },
            touched_at: None,
            sure: Sure::default(),
        }
    }

    /// For another entity of the same source, in another minute.
    fn begin(&mut self, who: Arc<Who>, start_s: i64) {
        self.beginning = who.entity.beginning();
        (self.minute.who, self.minute.start_s) = (who, start_s);
        self.minute.measures.clear();
        (self.touched_at, self.sure) = (None, Sure::default());
    }

    /// Takes over how sure all its rows are; whether that is something else.
    fn settle(&mut self) -> bool {
        if !self.sure.differs {
            return false;
        }
        let certainty = self.sure.weighed as f64 / self.sure.wire_bytes as f64 / 1000.0;
        let who = &mut self.minute.who;
        let is_other = certainty != who.certainty;
        if is_other {
            Arc::make_mut(who).certainty = certainty;
        }
        is_other
    }
}

/// Minutes of entities that are over, by kind and id, shown where they lie: they are 2 KB each,
/// thousands of them.
#[derive(Default)]
pub struct Minutes {
    #[expect(clippy::vec_box, reason = "they go back to where they come from")]
    open: Vec<Box<Open>>,
    order: Vec<Place>,
    next: usize,
}

impl Minutes {
    /// The next one. They lie anywhere: what is looked at next is asked for.
    pub fn show_next(&mut self) -> Option<&Minute> {
        let ahead = |by: usize| {
            let &(_, at) = self.order.get(self.next + by)?;
            self.open.get(at as usize)
        };
        if let Some(open) = ahead(3) {
            prefetch_all(&**open);
        }
        if let Some(open) = ahead(2) {
            prefetch_all(&*open.minute.who);
        }
        if let Some(open) = ahead(1) {
            open.minute.who.entity.id.as_bytes().first().into_iter().for_each(prefetch);
        }
        let &(_, at) = self.order.get(self.next)?;
        self.next += 1;
        let open = &mut self.open[at as usize];
        open.settle();
        Some(&open.minute)
    }

    /// All of them, for who keeps them.
    pub fn into_minutes(self) -> impl Iterator<Item = Minute> {
        let mut all: Vec<_> = self.open.into_iter().map(Some).collect();
        self.order.into_iter().filter_map(move |(_, at)| {
            let mut open = all[at as usize].take()?;
            open.settle();
            Some(open.minute)
        })
    }
}

fn prefetch_all<T>(value: &T) {
    const LINE_BYTES: usize = 64;
    for line in 0..size_of::<T>().div_ceil(LINE_BYTES) {
        prefetch_line(value, line * LINE_BYTES);
    }
}

/// By kind and id. Most entities differ in their first letters.
fn put_in_order<'a>(order: &mut [Place], open: impl Fn(u32) -> &'a Open) {
    order.sort_unstable_by_key(|&(beginning, _)| beginning);
    for alike in order.chunk_by_mut(|x, y| x.0 == y.0).filter(|alike| alike.len() > 1) {
        let entity = |at: u32| &open(at).minute.who.entity;
        alike.sort_unstable_by(|&(_, x), &(_, y)| (entity(x), x).cmp(&(entity(y), y)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::window::{Delta, FlowRow, Host};
    use crate::entity::{Leg, Series};
    use crate::host::side::ProcessView;
    use crate::packet::PacketClass;

    /// What a host sends in a minute to so many peers and services, as it is told.
    fn minute_of(ledger: &mut Ledger, minute: i64, last: u8, peers: u8) -> String {
        let own = Host::from(IpAddr::from([192, 0, 2, last]));
        let second = minute * 60 + 3;
        assert!(ledger.begin(second).show_next().is_none());
        let id = ledger.id(last.into(), || Arc::new(Who::address(&own))).expect("a place");
        for peer in 1..=peers {
            let (peer, port) =
                (Host::from(IpAddr::from([203, 0, 113, peer])), 80 + u16::from(peer));
            let mut sent = Delta::new(own, peer, 17, 40_000, port);
            (sent.wire_bytes, sent.payload_bytes) = (900, 860);
            sent.classes[PacketClass::Udp as usize] = 2;
            sent.sizes[5] = 2;
            let row = FlowRow {
                there: sent,
                back: Delta::new(peer, own, 17, port, 40_000),
                echo_id: 0,
                scale: 1,
                first_there: None,
            };
            let view = View::of(&row, second, true, true);
            ledger.add(id, &view);
            ledger.weigh(id, &view, if peers > 9 { 0.5 } else { 1.0 });
        }
        let of_second = match &ledger.second()[..] {
            [of] => format!(
                "{:?}",
                (
                    of.sent,
                    of.received,
                    of.by_protocol,
                    of.flows,
                    of.top_peer,
                    of.own,
                    of.ports.much()
                )
            ),
            others => panic!("{}", others.len()),
        };
        let mut minutes = ledger.close();
        let mut minute = minutes.show_next().expect("a minute").clone();
        let series = [Leg::Accepted, Leg::Opened].map(|leg| *minute.measures.series.of(leg));
        minute.measures.series = Series::default();
        ledger.give_back(minutes);
        format!("{of_second} {minute:?} {series:?}")
    }

    #[test]
    fn memory_serves_the_next_minute_and_nothing_of_the_one_before_is_left() {
        let fresh = || Ledger::new("packets".into(), LedgerLimits::default(), Seed::default());
        let mut ledger = fresh();
        for (minute, (last, peers)) in (1..).zip([(1, 40), (2, 1), (1, 3), (3, 1)]) {
            let told = minute_of(&mut ledger, minute, last, peers);
            assert_eq!(told, minute_of(&mut fresh(), minute, last, peers));
            assert_eq!(ledger.spare.len(), 1);
        }
        // The last one was of the minute that ends at 300.
        ledger.rest(299);
        assert_eq!(ledger.spare.len(), 1);
        ledger.rest(300);
        assert!(ledger.spare.is_empty());
    }

    /// What hosts, by the last number of their address, did in a second: each called so many
    /// peers in vain.
    fn second_of(ledger: &mut Ledger, second: i64, hosts: &[(u8, u8)]) -> String {
        ledger.begin(second);
        for &(last, peers) in hosts {
            let own = Host::from(IpAddr::from([192, 0, 2, last]));
            let id = ledger.id(last.into(), || Arc::new(Who::address(&own))).expect("a place");
            for peer in 1..=peers {
                let peer = Host::from(IpAddr::from([203, 0, 113, peer]));
                let mut sent = Delta::new(own, peer, 6, 40_000, 80 + u16::from(last));
                sent.wire_bytes = 60;
                sent.classes[PacketClass::TcpSyn as usize] = 1;
                let back = Delta::new(peer, own, 6, 80 + u16::from(last), 40_000);
                let first_there = Some(true);
                let row = FlowRow { there: sent, back, echo_id: 0, scale: 1, first_there };
                ledger.add(id, &View::of(&row, second, true, true));
            }
        }
        format!("{:?}", ledger.second())
    }

    #[test]
    fn a_second_has_nothing_of_the_one_before_whoever_has_its_place() {
        let fresh = || Ledger::new("packets".into(), LedgerLimits::default(), Seed::default());
        let mut ledger = fresh();
        let before = second_of(&mut ledger, 60, &[(1, 40), (2, 40)]);
        assert!(before.contains("syn_sent: 40"), "{before}");
        let hosts = [(3, 1), (1, 2)];
        assert_eq!(second_of(&mut ledger, 61, &hosts), second_of(&mut fresh(), 61, &hosts));
    }

    /// How sure a process is after rows of so many sent bytes, each so sure.
    fn certainty_of(rows: &[(u64, f64)]) -> [f64; 2] {
        let [own, peer] = [1, 2].map(|last| Host::from(IpAddr::from([192, 0, 2, last])));
        let mut ledger = Ledger::new("packets".into(), LedgerLimits::default(), Seed::default());
        ledger.begin(60);
        let first = rows[0].1;
        let who =
            || Arc::new(Who::process("h", "b", &Arc::new(ProcessView::default()), None, first));
        let id = ledger.id(1, who).expect("a place");
        for &(wire_bytes, certainty) in rows {
            let mut sent = Delta::new(own, peer, 17, 40_000, 80);
            sent.wire_bytes = wire_bytes;
            let received = Delta::new(peer, own, 17, 80, 40_000);
            let view = View {
                second: 60,
                peer,
                external: false,
                proto: 17,
                local_port: 40_000,
                remote_port: 80,
                leg: Leg::of(40_000, 80),
                sent: &sent,
                received: &received,
                scale: 1,
            };
            ledger.add(id, &view);
            ledger.weigh(id, &view, certainty);
        }
        let of_second = ledger.second()[0].who.certainty;
        [of_second, ledger.close().show_next().expect("a minute").who.certainty]
    }

    #[test]
    fn a_process_is_as_sure_as_what_it_sent_whichever_row_comes_first() {
        assert_eq!(certainty_of(&[(100, 0.95), (900, 0.95)]), [0.95; 2]);
        assert_eq!(certainty_of(&[(500, 1.0), (500, 0.6)]), [0.8; 2]);
        assert_eq!(certainty_of(&[(500, 0.6), (500, 1.0)]), [0.8; 2]);
        // What comes to a listening socket says nothing of what was sent besides.
        let [second, minute] = certainty_of(&[(40, 0.6), (100_000, 1.0), (0, 0.6)]);
        assert!(second > 0.99 && minute > 0.99, "{second} {minute}");
        let [second, minute] = certainty_of(&[(40, 1.0), (100_000, 0.6)]);
        assert!(second < 0.61 && minute < 0.61, "{second} {minute}");
        // Of one that only gets something all rows are alike.
        assert_eq!(certainty_of(&[(0, 1.0), (0, 0.5)]), [0.75; 2]);
    }
}

//! Several sources as one stream in event-time order.
//!
//! A source hands out what it holds in its own order, which need not be that of time:
//! logs of several interfaces one after the other are one file. What ends can be put in
//! order, so as much waits as there is room for, by the second in which it would be known
//! live: its time and its kind's lateness. Nothing is handed out before all sources are
//! over or the room is full; then the earliest second is. So the order does not depend on
//! how records lie in files, as long as what lies between them fits into the room; what
//! comes after later ones have gone counts as late and comes at once.
//!
//! Sources that begin later are opened when the others get there, so that a folder
//! of thousands of files has few open at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::observation::Observation;
use super::report::SourceReport;
use super::source::{Named, Source};

const NS_PER_S: i64 = 1_000_000_000;

/// Observations that wait, and what they may take in memory: about 500 bytes each, of
/// requests whose texts are long up to megabytes. Above either the earliest second is
/// handed out: order is then kept only within the rest.
const MAX_WAITING: usize = 1 << 18;
const MAX_WAITING_BYTES: usize = 512 << 20;

/// A jump ahead that must be confirmed: one wrong time must not make all that follows
/// late. As the contract has it for packets.
const MAX_JUMP_NS: i64 = 3600 * NS_PER_S;
const CONFIRMED_BY: u32 = 64;

/// An observation and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Place of its source in the list of reports.
    pub source: u16,
    /// The second in which it would be known live: its time and its kind's lateness.
    pub due_s: i64,
    pub observation: Observation,
}

/// What is handed out at once.
#[derive(Debug)]
pub struct Batch {
    /// Everything that is due in an earlier second has been handed out with this batch.
    pub clock_s: i64,
    pub observed: Vec<Observed>,
}

/// Merges sources.
pub struct Merge {
    lanes: Vec<Lane>,
    /// Lanes that are not over, by the time that they have reached.
    reached: BinaryHeap<Reverse<(i64, u16)>>,
    /// By the second in which they are due.
    waiting: BTreeMap<i64, Vec<Waiting>>,
    waiting_count: usize,
    waiting_bytes: usize,
    most_waiting: usize,
    most_waiting_bytes: usize,
    /// Nothing that is still to come is handed out as due before this second.
    floor_s: i64,
    /// By lane, observations in a row that are far ahead of all before.
    ahead: Vec<u32>,
    reports: Vec<SourceReport>,
}

/// A source on its way through the merge.
enum Lane {
    /// Read a little, to see where it begins.
    Later(Box<Named>),
    Open(Box<Source>),
    Over,
}

struct Waiting {
    due_ns: i64,
    source: u16,
    /// In memory, about.
    bytes: usize,
    observation: Observation,
}

impl Merge {
    /// Of at most 65,536 sources; what is named beyond is not read.
    pub fn new(sources: Vec<Named>) -> Self {
        let mut merge = Self {
            lanes: Vec::new(),
            reached: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            waiting_count: 0,
            waiting_bytes: 0,
            most_waiting: MAX_WAITING,
            most_waiting_bytes: MAX_WAITING_BYTES,
            floor_s: i64::MIN,
            ahead: Vec::new(),
            reports: Vec::new(),
        };
        let alone = sources.len() == 1;
        for (at, named) in (0..=u16::MAX).zip(sources) {
            merge.add(at, named, alone);
        }
        merge
    }

    fn add(&mut self, at: u16, named: Named, alone: bool) {
        let mut source = Source::open(&named);
        self.ahead.push(0);
        if alone || !named.is_file() {
            self.reports.push(source.report().clone());
            self.lanes.push(Lane::Open(Box::new(source)));
            self.reached.push(Reverse((i64::MIN, at)));
            return;
        }
        let begins_ns = source.chunk().iter().map(Observation::time_ns).min();
        self.reports.push(source.report().clone());
        match begins_ns {
            Some(begins_ns) => {
                self.lanes.push(Lane::Later(Box::new(named)));
                self.reached.push(Reverse((begins_ns, at)));
            }
            None => self.lanes.push(Lane::Over),
        }
    }

    /// The next observations; nothing at the end of all sources.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let mut observed = Vec::new();
        loop {
            let over = !self.advance();
            while let Some((&second, _)) = self.waiting.first_key_value()
                && (over || self.is_full())
                && let Some(mut second) = self.waiting.remove(&second)
            {
                self.waiting_count -= second.len();
                self.waiting_bytes -= second.iter().map(|waiting| waiting.bytes).sum::<usize>();
                // Stable: what one source said of one time stays in its order.
                second.sort_by_key(|waiting| (waiting.due_ns, waiting.source));
                for waiting in second {
                    // What comes late is due when it comes: those before it are gone.
                    self.floor_s = self.floor_s.max(waiting.due_ns.div_euclid(NS_PER_S));
                    observed.push(Observed {
                        source: waiting.source,
                        due_s: self.floor_s,
                        observation: waiting.observation,
                    });
                }
            }
            if over {
                let clock_s = i64::MAX;
                return (!observed.is_empty()).then_some(Batch { clock_s, observed });
            }
            if !observed.is_empty() {
                return Some(Batch { clock_s: self.floor_s, observed });
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiting_count > self.most_waiting || self.waiting_bytes > self.most_waiting_bytes
    }

    /// Takes a chunk of the source that is furthest behind; false at the end of all.
    fn advance(&mut self) -> bool {
        let Some(Reverse((reached_ns, at))) = self.reached.pop() else { return false };
        let index = usize::from(at);
        if let Lane::Later(named) = &self.lanes[index] {
            self.lanes[index] = Lane::Open(Box::new(Source::open(named)));
        }
        if let Lane::Open(source) = &mut self.lanes[index] {
            let chunk = source.chunk();
            let mut report =
                SourceReport { late: self.reports[index].late, ..source.report().clone() };
            if chunk.is_empty() {
                self.lanes[index] = Lane::Over;
            } else {
                let lateness_ns = report.kind.lateness_s.saturating_mul(NS_PER_S);
                let begins_ns = chunk.iter().map(Observation::time_ns).min();
                let mut reached_ns = reached_ns.max(begins_ns.unwrap_or(i64::MIN));
                self.waiting_count += chunk.len();
                for observation in chunk {
                    let time_ns = observation.time_ns();
                    let ahead = &mut self.ahead[index];
                    *ahead = if time_ns.saturating_sub(reached_ns) > MAX_JUMP_NS {
                        *ahead + 1
                    } else {
                        0
                    };
                    if *ahead == 0 || *ahead > CONFIRMED_BY {
                        reached_ns = reached_ns.max(time_ns);
                    }
                    let bytes = observation.held_bytes();
                    self.waiting_bytes += bytes;
                    let due_ns = time_ns.saturating_add(lateness_ns);
                    let due_s = due_ns.div_euclid(NS_PER_S);
                    report.late += u64::from(due_s < self.floor_s);
                    let waiting = Waiting { due_ns, source: at, bytes, observation };
                    self.waiting.entry(due_s).or_default().push(waiting);
                }
                self.reached.push(Reverse((reached_ns, at)));
            }
            self.reports[index] = report;
        }
        true
    }

    /// One for each source, in the order in which they were given.
    pub fn reports(&self) -> &[SourceReport] {
        &self.reports
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::telemetry::decode::Context;
    use crate::telemetry::kind::named;

    /// Records of ten seconds each, from each of these minutes on, one after the other.
    fn of_minutes(folder: &Path, minutes: &[i64]) -> Merge {
        let path = folder.join("vpc.log");
        let mut log = String::new();
        for from_s in minutes.iter().map(|minute| 1_772_360_100 + 60 * minute) {
            for second in from_s..from_s + 10 {
                writeln!(
                    log,
                    "2 111122223333 eni-1 10.0.1.5 203.0.113.9 40112 53 17 1 100 {second} \
                     {second} ACCEPT OK",
                )
                .expect("a string takes it");
            }
        }
        fs::write(&path, log).expect("written");
        let kind = named("aws-vpc").expect("a kind");
        Merge::new(vec![Named::new(&path, kind, &Context::default())])
    }

    fn times(merge: &mut Merge) -> Vec<i64> {
        let mut times = Vec::new();
        while let Some(batch) = merge.next_batch() {
            times.extend(batch.observed.iter().map(|observed| observed.observation.time_ns()));
        }
        times
    }

    #[test]
    fn logs_one_after_the_other_in_one_file_come_in_the_order_of_time() {
        let folder = tempfile::tempdir().expect("folder");
        // Hours apart: no kind is as late as that.
        let mut merge = of_minutes(folder.path(), &[240, 480, 0, 240]);
        let times = times(&mut merge);
        assert_eq!(times.len(), 40);
        assert!(times.is_sorted());
        assert_eq!(merge.reports()[0].late, 0);
    }

    #[test]
    fn what_does_not_fit_among_those_that_wait_is_told_late_and_counted() {
        let folder = tempfile::tempdir().expect("folder");
        // More than a source hands out at once.
        let minutes: Vec<i64> = (240..640).chain([0]).collect();
        let mut merge = of_minutes(folder.path(), &minutes);
        merge.most_waiting = 1_000;
        let times = times(&mut merge);
        assert_eq!(times.len(), 10 * minutes.len());
        assert!(!times.is_sorted());
        assert_eq!(merge.reports()[0].late, 10);
    }

    #[test]
    fn what_waits_is_bounded_by_its_bytes_and_nothing_of_it_is_lost() {
        const REQUESTS: usize = 60;
        const URI_BYTES: usize = 100_000;
        const MOST_BYTES: usize = 2_000_000;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("access.log");
        let mut log = String::new();
        for second in 0..REQUESTS {
            let uri = "a".repeat(URI_BYTES);
            writeln!(
                log,
                "198.51.100.7 - - [01/Mar/2026:10:00:{second:02} +0000] \"GET /{uri} HTTP/1.1\" \
                 200 5 \"-\" \"-\"",
            )
            .expect("a string takes it");
        }
        fs::write(&path, log).expect("written");
        let kind = named("combined").expect("a kind");
        let mut merge = Merge::new(vec![Named::new(&path, kind, &Context::default())]);
        merge.most_waiting_bytes = MOST_BYTES;
        let (mut times, mut most) = (Vec::new(), 0);
        while let Some(batch) = merge.next_batch() {
            times.extend(batch.observed.iter().map(|observed| observed.observation.time_ns()));
            most = most.max(merge.waiting_bytes);
        }
        assert_eq!(times.len(), REQUESTS);
        assert!(times.is_sorted());
        assert_eq!((merge.waiting_count, merge.waiting_bytes), (0, 0));
        // Without the bound all would wait.
        assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&most), "{most}");
    }
}

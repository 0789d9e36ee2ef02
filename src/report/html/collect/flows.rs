//! Flow records of a report: all while they are few; then the largest, and a fair sample
//! of the others.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::IpAddr;

use ahash::RandomState;

use crate::flow::FlowRecord;
use crate::flow::app::AppInfo;
use crate::host::side::HostSide;
use crate::output::names::proto_name;
use crate::report::detail::printable;

/// Rows kept: what a browser sorts and filters without a pause, and some 10 MB of file.
pub(super) const MOST: usize = 100_000;

/// Of these the largest; the others are the sample, in which scans and floods show too.
const LARGEST: usize = MOST / 2;

/// Letters kept of a name that traffic tells.
const TEXT_LETTERS: usize = 160;

/// A flow as the table shows it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report::html) struct Row {
    pub(in crate::report::html) start_ns: i64,
    pub(in crate::report::html) duration_ns: i64,
    pub(in crate::report::html) proto: &'static str,
    pub(in crate::report::html) src: (IpAddr, u16),
    pub(in crate::report::html) dst: (IpAddr, u16),
    pub(in crate::report::html) packets: u64,
    pub(in crate::report::html) sent_bytes: u64,
    pub(in crate::report::html) received_bytes: u64,
    pub(in crate::report::html) state: &'static str,
    /// What was asked for: a name, a path.
    pub(in crate::report::html) about: Option<Box<str>>,
    /// Process or container at its ends.
    pub(in crate::report::html) process: Option<Box<str>>,
}

impl Row {
    pub(super) fn of(record: &FlowRecord) -> Self {
        let sides = record.hosts.as_deref().map(|hosts| [&hosts.src, &hosts.dst]);
        let actors: Vec<String> = sides.into_iter().flatten().flatten().filter_map(actor).collect();
        Self {
            start_ns: record.start_ns,
            duration_ns: record.end_ns.saturating_sub(record.start_ns),
            proto: proto_name(record.key.proto),
            src: (record.src_ip(), record.src_port()),
            dst: (record.dst_ip(), record.dst_port()),
            packets: record.fwd.packets.saturating_add(record.rev.packets),
            sent_bytes: record.fwd.wire_bytes,
            received_bytes: record.rev.wire_bytes,
            state: record.state.name(),
            about: record.app.as_deref().and_then(about).map(|text| shortened(&text)),
            process: (!actors.is_empty()).then(|| shortened(&actors.join(" to "))),
        }
    }
}

fn actor(side: &HostSide) -> Option<String> {
    let process = side.process.as_deref().map(|view| {
        let process = &view.process;
        format!("{}({})", process.name, process.id.pid)
    });
    let workload = side
        .workload
        .as_deref()
        .map(|one| if one.name.is_empty() { one.container.clone() } else { one.name.clone() });
    match (process, workload) {
        (Some(process), Some(workload)) => Some(format!("{process} in {workload}")),
        (process, workload) => process.or(workload),
    }
}

fn about(app: &AppInfo) -> Option<String> {
    let sni = app.tls.as_ref().and_then(|tls| tls.sni.as_ref());
    let sni = sni.or_else(|| app.quic.as_ref().and_then(|quic| quic.sni.as_ref()));
    if let Some(sni) = sni {
        return Some(sni.clone());
    }
    if let Some(http) = &app.http {
        let parts = [&http.host, &http.path].map(|part| part.as_deref().unwrap_or_default());
        return Some(parts.concat()).filter(|text| !text.is_empty());
    }
    app.dns.as_ref().map(|dns| dns.query.clone()).filter(|query| !query.is_empty())
}

fn shortened(text: &str) -> Box<str> {
    let text = printable(text).replace('\n', " ");
    match text.char_indices().nth(TEXT_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[derive(Debug)]
struct Ranked<K> {
    rank: (K, u64),
    row: Row,
}

impl<K: Ord> PartialEq for Ranked<K> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<K: Ord> Eq for Ranked<K> {}

impl<K: Ord> PartialOrd for Ranked<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> Ord for Ranked<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// The rows. A flow is offered once.
#[derive(Debug)]
pub(in crate::report::html) struct KeptFlows {
    hasher: RandomState,
    largest_kept: usize,
    sample_kept: usize,
    /// The smallest of the largest on top.
    largest: BinaryHeap<Reverse<Ranked<u64>>>,
    /// Those with the smallest hashes; the greatest of these on top.
    sample: BinaryHeap<Ranked<u64>>,
    offered: u64,
}

impl KeptFlows {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self::bounded(hasher, LARGEST, MOST - LARGEST)
    }

    fn bounded(hasher: RandomState, largest_kept: usize, sample_kept: usize) -> Self {
        Self {
            hasher,
            largest_kept,
            sample_kept,
            largest: BinaryHeap::new(),
            sample: BinaryHeap::new(),
            offered: 0,
        }
    }

    /// The row is made only where it is kept.
    pub(super) fn offer(&mut self, bytes: u64, row: impl FnOnce() -> Row) {
        let number = self.offered;
        self.offered += 1;
        if self.largest.len() < self.largest_kept {
            self.largest.push(Reverse(Ranked { rank: (bytes, u64::MAX - number), row: row() }));
            return;
        }
        let rank = (bytes, u64::MAX - number);
        let is_large = self.largest.peek().is_some_and(|smallest| rank > smallest.0.rank);
        if !is_large {
            self.offer_sample(number, row);
            return;
        }
        self.largest.push(Reverse(Ranked { rank, row: row() }));
        if let Some(Reverse(out)) = self.largest.pop() {
            self.offer_sample(u64::MAX - out.rank.1, || out.row);
        }
    }

    fn offer_sample(&mut self, number: u64, row: impl FnOnce() -> Row) {
        let rank = (self.hasher.hash_one(number), number);
        if self.sample.len() < self.sample_kept {
            self.sample.push(Ranked { rank, row: row() });
        } else if self.sample.peek().is_some_and(|greatest| rank < greatest.rank) {
            self.sample.push(Ranked { rank, row: row() });
            self.sample.pop();
        }
    }

    /// Flows that there were.
    pub(in crate::report::html) fn offered(&self) -> u64 {
        self.offered
    }

    /// In order of their start.
    pub(in crate::report::html) fn rows(&self) -> Vec<&Row> {
        let largest = self.largest.iter().map(|kept| &kept.0.row);
        let mut rows: Vec<&Row> = largest.chain(self.sample.iter().map(|kept| &kept.row)).collect();
        rows.sort_by_key(|row| (row.start_ns, row.src, row.dst));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64) -> Row {
        let address = (IpAddr::from([192, 0, 2, 1]), 0);
        Row {
            start_ns: number as i64,
            duration_ns: 0,
            proto: "udp",
            src: address,
            dst: address,
            packets: 1,
            sent_bytes: number,
            received_bytes: 0,
            state: "one_way",
            about: None,
            process: None,
        }
    }

    fn kept(flows: u64, bytes: impl Fn(u64) -> u64) -> KeptFlows {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut kept = KeptFlows::bounded(hasher, 50, 50);
        (0..flows).for_each(|number| kept.offer(bytes(number), || row(number)));
        kept
    }

    #[test]
    fn all_are_kept_while_they_are_few() {
        let kept = kept(100, |number| number);
        assert_eq!(kept.rows().len(), 100);
        assert_eq!(kept.offered(), 100);
    }

    #[test]
    fn the_largest_are_kept_and_a_sample_of_the_others() {
        // The large ones come first, last and in between.
        for bytes in [|n: u64| n, |n| 100_000 - n, |n| (n * 7_919) % 100_003] {
            let kept = kept(100_000, bytes);
            let rows = kept.rows();
            assert_eq!(rows.len(), 100);
            let mut sizes: Vec<u64> = (0..100_000).map(bytes).collect();
            sizes.sort_unstable_by_key(|&size| Reverse(size));
            let numbers: Vec<u64> = rows.iter().map(|row| row.sent_bytes).collect();
            let large = numbers.iter().filter(|&&number| bytes(number) >= sizes[49]).count();
            assert!(large >= 50, "{large}");
            // A sample has both halves of the input in it.
            let early = numbers.iter().filter(|&&number| number < 50_000).count();
            assert!((15..=85).contains(&early), "{early}");
            let distinct: std::collections::BTreeSet<u64> = numbers.into_iter().collect();
            assert_eq!(distinct.len(), 100, "each flow once");
        }
    }

    #[test]
    fn long_and_commanding_names_are_shortened_and_shown_as_text() {
        let text = shortened(&format!("a\u{202e}b\n{}", "x".repeat(1_000)));
        assert!(text.starts_with("a\\u{202e}b x") && text.chars().count() == TEXT_LETTERS + 1);
    }
}

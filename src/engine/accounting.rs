//! Every packet read, exactly once: `packets = in_flows + non_ip + malformed +
//! filtered + duplicate + untracked`, and the same for wire bytes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::input::Shed;
use crate::packet::MalformedReason;

/// Packets and wire bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub wire_bytes: u64,
}

impl Count {
    pub fn add(&mut self, wire_bytes: u32) {
        self.packets += 1;
        self.wire_bytes += u64::from(wire_bytes);
    }

    pub fn merge(&mut self, other: Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
    }
}

/// The ledger. Each worker keeps its own; they add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounting {
    pub in_flows: Count,
    pub non_ip: Count,
    pub malformed: Count,
    pub filtered: Count,
    pub duplicate: Count,
    /// IP packets of new flows that a full table refused.
    pub untracked: Count,
    /// By EtherType or pseudo type (see [`crate::packet::link::non_ip_name`]).
    pub non_ip_types: BTreeMap<u16, u64>,
    pub malformed_reasons: BTreeMap<MalformedReason, u64>,
    /// In flows and untracked, by IP protocol.
    pub protocols: Box<[Count; 256]>,
    /// IP packets whose captured part does not hold all of the headers' length.
    pub cut: u64,
    /// Packets that went to flows while so much was left out; see [`Shed`].
    pub shed: [u64; Shed::ALL.len()],
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            in_flows: Count::default(),
            non_ip: Count::default(),
            malformed: Count::default(),
            filtered: Count::default(),
            duplicate: Count::default(),
            untracked: Count::default(),
            non_ip_types: BTreeMap::new(),
            malformed_reasons: BTreeMap::new(),
            protocols: Box::new([Count::default(); 256]),
            cut: 0,
            shed: [0; Shed::ALL.len()],
        }
    }
}

impl Accounting {
    pub fn merge(&mut self, other: &Self) {
        self.in_flows.merge(other.in_flows);
        self.non_ip.merge(other.non_ip);
        self.malformed.merge(other.malformed);
        self.filtered.merge(other.filtered);
        self.duplicate.merge(other.duplicate);
        self.untracked.merge(other.untracked);
        for (&name, &packets) in &other.non_ip_types {
            *self.non_ip_types.entry(name).or_default() += packets;
        }
        for (&reason, &packets) in &other.malformed_reasons {
            *self.malformed_reasons.entry(reason).or_default() += packets;
        }
        for (mine, theirs) in self.protocols.iter_mut().zip(other.protocols.iter()) {
            mine.merge(*theirs);
        }
        self.cut += other.cut;
        for (mine, theirs) in self.shed.iter_mut().zip(other.shed) {
            *mine += theirs;
        }
    }

    /// Counts what is in flows: by the protocols, less what is untracked.
    pub(super) fn count_in_flows(&mut self) {
        let mut all = Count::default();
        self.protocols.iter().for_each(|&of_protocol| all.merge(of_protocol));
        self.in_flows = Count {
            packets: all.packets - self.untracked.packets,
            wire_bytes: all.wire_bytes - self.untracked.wire_bytes,
        };
    }

    /// Sum over all kinds; equals what was read.
    pub fn total(&self) -> Count {
        let mut total = self.in_flows;
        for count in [self.non_ip, self.malformed, self.filtered, self.duplicate, self.untracked] {
            total.merge(count);
        }
        total
    }
}

/// Packets that were counted while something was left out, each step with those
/// before it, because they came in too fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overload {
    pub application_hints: u64,
    pub payload_entropy: u64,
    /// Packets while new flows were sampled.
    pub new_flows_sampled: u64,
    /// Those of them whose flow was not taken in; also in `untracked`.
    pub sampled_away: u64,
}

impl Overload {
    /// From packets by the step in force ([`Accounting::shed`]).
    pub(crate) fn new(shed: &[u64; Shed::ALL.len()], sampled_away: u64) -> Self {
        let from = |step: Shed| shed[step as usize..].iter().sum();
        Self {
            application_hints: from(Shed::Hints),
            payload_entropy: from(Shed::Entropy),
            new_flows_sampled: from(Shed::NewFlows),
            sampled_away,
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.application_hints += other.application_hints;
        self.payload_entropy += other.payload_entropy;
        self.new_flows_sampled += other.new_flows_sampled;
        self.sampled_away += other.sampled_away;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::engine::{FlowGauge, LiveRun, RecordSink, RunOptions, run};
    use crate::flow::FlowRecord;
    use crate::input::live::LiveStatus;
    use crate::input::{Input, InputOptions};
    use crate::output::Summary;

    /// What was told last while the run went on.
    struct Watch(Overload);

    impl RecordSink for Watch {
        fn record(&mut self, _: FlowRecord) -> io::Result<()> {
            Ok(())
        }

        fn closed_before(&mut self, _: i64, flows: FlowGauge) {
            self.0 = flows.overload;
        }
    }

    /// The overload that a run with packets left out so told along the way, and in its
    /// summary; packets that went to flows, and those that found none.
    fn overload_of(capture: &str, workers: usize, shed: Shed) -> (Overload, Overload, [u64; 2]) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
        let capture = std::fs::read(folder.join(capture)).expect("a capture of the repository");
        let input = Input::from_bytes(vec![capture], InputOptions::default()).shedding(shed);
        let live = LiveRun {
            status: Arc::new(LiveStatus::default()),
            filter_in_kernel: false,
            silent_after_s: 60,
            heard_before: BTreeMap::new(),
            preallocates: false,
            watched: Arc::default(),
        };
        let options = RunOptions { workers, live: Some(live), ..RunOptions::default() };
        let mut watch = Watch(Overload::default());
        let report = run(input, &options, &mut watch);
        let summary = Summary::new(&report, std::time::Duration::ZERO);
        let overload = summary.capture.expect("a live run").overload;
        let Accounting { in_flows, untracked, .. } = report.accounting;
        (watch.0, overload, [in_flows.packets, untracked.packets])
    }

    #[test]
    fn packets_are_counted_by_what_was_left_out_of_them_whatever_the_workers() {
        for workers in [1, 3] {
            for capture in ["hping3-syn-flood-spoofed.pcap.zst", "crafted-ipv6-fragments.pcap"] {
                let (_, told, _) = overload_of(capture, workers, Shed::Nothing);
                assert_eq!(told, Overload::default(), "{capture}");
                for shed in [Shed::Hints, Shed::Entropy, Shed::NewFlows] {
                    let (sofar, told, [in_flows, untracked]) = overload_of(capture, workers, shed);
                    let all = in_flows + untracked;
                    let if_at_least = |step| if shed >= step { all } else { 0 };
                    let expected = Overload {
                        application_hints: all,
                        payload_entropy: if_at_least(Shed::Entropy),
                        new_flows_sampled: if_at_least(Shed::NewFlows),
                        sampled_away: untracked,
                    };
                    assert_eq!(told, expected, "{capture}, {shed:?}, {workers} workers");
                    assert!(sofar.application_hints <= all);
                    assert!(untracked == 0 || shed == Shed::NewFlows);
                }
            }
        }
        let (sofar, told, _) = overload_of("hping3-syn-flood-spoofed.pcap.zst", 2, Shed::NewFlows);
        assert!(told.sampled_away > 0 && sofar.sampled_away > 0, "{sofar:?} {told:?}");
        assert!(sofar.new_flows_sampled > 0, "{sofar:?}");
    }
}

//! Established flows in a flood of new ones that fills the table over and over:
//! one file with both.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use common::{Dir, text};
use flowtap::engine::run::{RecordSink, RunOptions, RunReport, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};

/// Whom the generator's flood goes to.
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// Workers, so that the bound on memory means the same on every machine.
const WORKERS: usize = 2;

struct Siege {
    established: u64,
    packets_of_established: u64,
    flood_packets: u64,
    max_flows: usize,
}

impl Siege {
    fn capture(&self, dir: &Dir) -> PathBuf {
        let packets = (self.packets_of_established + self.flood_packets).to_string();
        let flows = self.established.to_string();
        let args = ["lab", "synth", "besieged", "--packets", &packets, "--flows", &flows];
        let file = ["--snaplen", "128", "--seconds", "60", "-o", "besieged.pcap"];
        let output = dir.run(args.iter().chain(&file));
        assert!(output.status.success(), "{}", text(&output.stderr));
        dir.path("besieged.pcap")
    }

    fn read(&self, capture: &Path, sink: &mut dyn RecordSink) -> RunReport {
        let input = Input::open(&[capture.to_owned()], InputOptions::default()).expect("a capture");
        let options =
            RunOptions { workers: WORKERS, max_flows: self.max_flows, ..RunOptions::default() };
        let report = run(input, &options, sink);
        assert_eq!(
            report.accounting.in_flows.packets,
            self.packets_of_established + self.flood_packets
        );
        assert_eq!(report.table.refused_packets, 0);
        assert!(report.table.peak_flows <= self.max_flows as u64 + WORKERS as u64);
        let room = self.max_flows as u64 + self.established;
        assert!(report.table.evicted >= self.flood_packets - room, "{}", report.table.evicted);
        report
    }

    /// Each established flow comes out as one record with all its packets.
    fn all_established_survive(&self, capture: &Path) {
        let mut packets = Vec::new();
        let mut of_flood = 0;
        let mut sink = |flow: &FlowRecord| {
            if flow.src_ip() == VICTIM || flow.dst_ip() == VICTIM {
                of_flood += flow.fwd.packets + flow.rev.packets;
            } else {
                packets.push(flow.fwd.packets + flow.rev.packets);
            }
        };
        self.read(capture, &mut sink);
        packets.sort_unstable();
        let (each, more) = (
            self.packets_of_established / self.established,
            self.packets_of_established % self.established,
        );
        let mut expected = vec![each; (self.established - more) as usize];
        expected.extend((0..more).map(|_| each + 1));
        assert_eq!(packets, expected);
        assert_eq!(of_flood, self.flood_packets);
    }
}

#[test]
fn established_flows_survive_a_flood_that_fills_the_table_sixty_times() {
    let siege = Siege {
        established: 20,
        packets_of_established: 20_010,
        flood_packets: 200_100,
        max_flows: 3_000,
    };
    let dir = Dir::new();
    siege.all_established_survive(&siege.capture(&dir));
}

/// Counts flows and makes no records.
struct Uncollected;

impl RecordSink for Uncollected {
    fn record(&mut self, _: FlowRecord) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }
}

/// The most memory that this process has had.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// As many packets of a flood as the reference file `flood` has.
#[test]
#[ignore = "two gigabytes and minutes; tools/test --all"]
fn memory_stays_under_the_cap_and_established_flows_survive_twenty_million_new_ones() {
    /// Of the flow's own, its place in the index and in the wheel.
    const BYTES_A_FLOW: u64 = 256;
    /// Beside the flows: for each worker up to half a million talkers and four
    /// million hashes of ended flows; open seconds; blocks on their way.
    const BESIDE_FLOWS: u64 = 400 << 20;

    let siege = Siege {
        established: 2_000,
        packets_of_established: 2_000_000,
        flood_packets: 20_000_000,
        max_flows: 1_000_000,
    };
    let dir = Dir::new();
    let capture = siege.capture(&dir);
    siege.read(&capture, &mut Uncollected);
    match peak_bytes() {
        Some(peak) => {
            let cap = siege.max_flows as u64 * BYTES_A_FLOW + BESIDE_FLOWS;
            eprintln!("peak {} MB of {} MB", peak >> 20, cap >> 20);
            assert!(peak <= cap, "{peak} bytes of {cap}");
        }
        None => eprintln!("SKIPPED: no /proc/self/status, memory was not checked"),
    }
    siege.all_established_survive(&capture);
}

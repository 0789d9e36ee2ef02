use super::*;
use crate::host::coverage::Share;
use crate::host::map::MapCounters;

pub(crate) fn snapshot() -> Snapshot {
    let tap = TapStatus {
        name: "eth\"0\\".to_owned(),
        called: "tx".to_owned(),
        present: true,
        up: true,
        frames: 90,
        kernel_drops: 7,
        interface_drops: 3,
        ring_fill_percent: 25,
        ..TapStatus::default()
    };
    Snapshot {
        packets: 90,
        wire_bytes: 9_000,
        alerts: [0, 1, 2, 3, 4],
        taps: vec![tap],
        inferred: vec![InferredLoss { missed_bytes: 11, expected_bytes: 12 }],
        sensor: "tap-7".to_owned(),
        clock_synchronised: Some(false),
        overload: Shed::Entropy,
        left_out: Overload {
            application_hints: 61,
            payload_entropy: 62,
            new_flows_sampled: 63,
            sampled_away: 64,
        },
        seconds_behind: 3.0,
        recording: Some(RecordingCounters {
            packets: 5,
            bytes: 6,
            lost_packets: 7,
            evidence_files_removed: 51,
            disk_bytes: 52,
            ..RecordingCounters::default()
        }),
        delivery: vec![TargetCounters {
            target: "syslog://h:514".to_owned(),
            delivered: 8,
            ..TargetCounters::default()
        }],
        hosts: Some(coverage()),
        sources: vec![source()],
        ..Snapshot::default()
    }
}

fn source() -> SourceReport {
    let kind = crate::telemetry::kind::named("aws-vpc").expect("a kind");
    let mut report = SourceReport::new("/logs/\"vpc\".log", kind);
    (report.records, report.bytes, report.observations.flows) = (41, 42, 43);
    report.bad = [("no address", 44)].into();
    report.lost = [("skipdata", 45)].into();
    report
}

fn coverage() -> Coverage {
    let share = |flows| Share { flows, packets: 2 * flows, wire_bytes: 100 * flows };
    Coverage {
        attributed: [("ebpf", share(21)), ("polling", share(22))].into(),
        unattributed: [("no_socket", share(23))].into(),
        late_seconds: 24,
        map: MapCounters {
            events: 31,
            unknown_events: 32,
            lost_events: 33,
            refused: 34,
            claims: 35,
            processes: 36,
        },
        ..Coverage::default()
    }
}

fn published(change: impl FnOnce(&mut Snapshot)) -> Published {
    let (published, mut snapshot) = (Published::default(), snapshot());
    change(&mut snapshot);
    published.publish(snapshot);
    published
}

#[test]
fn figures_stand_under_their_names_and_labels() {
    let text = metrics_text(&published(|_| ()));
    for line in [
        "flowtap_packets_total 90",
        "flowtap_wire_bytes_total 9000",
        "flowtap_alerts_total{severity=\"critical\"} 4",
        "flowtap_overload_step{step=\"payload_entropy\"} 1",
        "flowtap_overload_step{step=\"nothing\"} 0",
        "flowtap_overload_packets_total{step=\"application_hints\"} 61",
        "flowtap_overload_packets_total{step=\"payload_entropy\"} 62",
        "flowtap_overload_packets_total{step=\"new_flows_sampled\"} 63",
        "flowtap_sampled_away_packets_total 64",
        "flowtap_drops_total{interface=\"eth\\\"0\\\\\",kind=\"kernel\"} 7",
        "flowtap_drops_total{interface=\"eth\\\"0\\\\\",kind=\"interface\"} 3",
        "flowtap_interface_info{interface=\"eth\\\"0\\\\\",called=\"tx\"} 1",
        "flowtap_interface_ring_fill_ratio{interface=\"eth\\\"0\\\\\"} 0.25",
        "flowtap_recording_packets_lost_total 7",
        "flowtap_evidence_files_removed_total 51",
        "flowtap_recording_disk_bytes 52",
        "flowtap_delivery_delivered_total{target=\"syslog://h:514\"} 8",
        "flowtap_healthy 1",
        "flowtap_sensor_info{sensor=\"tap-7\"} 1",
        "flowtap_clock_synchronised 0",
        "flowtap_inferred_loss_bytes_total{interface=\"eth\\\"0\\\\\"} 11",
        "flowtap_inferred_loss_expected_bytes_total{interface=\"eth\\\"0\\\\\"} 12",
        "flowtap_flows_attributed_total{method=\"ebpf\"} 21",
        "flowtap_flows_attributed_total{method=\"polling\"} 22",
        "flowtap_flows_unattributed_total{reason=\"no_socket\"} 23",
        "flowtap_host_late_seconds_total 24",
        "flowtap_host_events_total 31",
        "flowtap_host_events_unknown_total 32",
        "flowtap_host_events_lost_total 33",
        "flowtap_host_refused_total 34",
        "flowtap_host_claims 35",
        "flowtap_host_processes 36",
        "flowtap_source_records_total{source=\"/logs/\\\"vpc\\\".log\",kind=\"aws-vpc\"} 41",
        "flowtap_source_bad_records_total{source=\"/logs/\\\"vpc\\\".log\",kind=\"aws-vpc\"} 44",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!metrics_text(&published(|s| s.hosts = None)).contains("flowtap_host_"));
}

#[test]
fn promtool_finds_nothing_to_object_to() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("SKIPPED: promtool: not installed (tools/setup test)");
        return;
    };
    let text = metrics_text(&published(|_| ()));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn a_run_is_well_while_seconds_close_and_interfaces_are_there() {
    assert!(health(&published(|_| ())).is_ok());
    let reasons = |change: fn(&mut Snapshot)| health(&published(change)).reasons;
    assert_eq!(reasons(|s| s.taps[0].up = false), ["eth\"0\\: the interface is down"]);
    assert_eq!(reasons(|s| s.taps[0].present = false), ["eth\"0\\: there is no such interface"]);
    let full = "can't write alerts to /out: No space left on device";
    assert_eq!(health(&published(|s| s.troubles.push(full.to_owned()))).reasons, [full]);
    assert_eq!(reasons(|s| s.seconds_behind = 16.0), ["seconds are closed 16 s late"]);
    assert_eq!(reasons(|s| s.seconds_behind = f64::NAN).len(), 1);
    assert_eq!(health(&Published::default()).reasons, ["no second has been closed yet"]);
}

#[test]
fn a_run_that_publishes_nothing_more_is_not_well() {
    let published = Published::default();
    let long_ago = Instant::now().checked_sub(BEHIND_LIMIT).unwrap();
    *published.newest.lock() = Some((long_ago, Arc::new(snapshot())));
    assert_eq!(health(&published).reasons, ["seconds are closed 18 s late"]);
}

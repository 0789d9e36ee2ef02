//! What comes out: standard output, the run folder, pages for people.

use super::*;

#[test]
fn json_is_the_only_thing_on_standard_output() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello"), &udp_frame(b"hello again")]));
    let summary = dir.summary([&file]);
    assert_eq!(summary["packets"], 2);
    assert_eq!(summary["accounting"]["in_flows"], 2);
    assert_eq!(summary["flows"], 1);
    assert_eq!(summary["protocols"]["udp"]["packets"], 2);
    assert_eq!(summary["payload_sizes"]["min"], 5);
    assert_eq!(summary["first_packet"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(summary["alerts"], Value::Array(vec![]));
}

/// `--report *.pcap` made a page of the first capture.
#[test]
fn a_report_replaces_no_file_but_a_report() {
    let dir = Dir::new();
    let capture = pcap(&[&udp_frame(b"a")]);
    dir.write("a.pcap", &capture);
    dir.write("b.pcap", &capture);
    let output = dir.run(["read", "-q", "--report", "a.pcap", "b.pcap"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("a.pcap: there is a file"), "{said}");
    assert_eq!(std::fs::read(dir.path("a.pcap")).expect("there"), capture);
    dir.write("page.html", b"");
    for _ in 0..2 {
        let output = dir.run(["read", "-q", "--report", "page.html", "b.pcap"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn one_is_not_told_as_several() {
    let dir = Dir::new();
    dir.write("a.pcap", &pcap(&[&udp_frame(b"a")]));
    let page = text(&dir.run(["read", "a.pcap"]).stdout);
    assert!(
        page.starts_with("1 packet, ") && page.contains("1 flow of 1 conversation\n"),
        "{page}"
    );
}

#[test]
fn a_run_folder_holds_flows_alerts_summary_and_what_was_run() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let out = dir.path("out");
    let mut command = dir.command(["read", "--quiet", "--out"]);
    let output = command.arg(&out).arg(&file).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let flows = std::fs::read_to_string(out.join("flows.ndjson")).expect("flows");
    let flow: Value = serde_json::from_str(flows.trim()).expect("one record");
    assert_eq!(flow["src_ip"], "10.0.0.1");
    assert_eq!(flow["fwd"]["payload_bytes"], 5);
    let run: Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).expect("run")).expect("JSON");
    let sha256 = run["inputs"][0]["sha256"].as_str().expect("a digest");
    assert_eq!(sha256.len(), 64);
    assert!(out.join("summary.json").is_file() && out.join("alerts.ndjson").is_file());

    let id = flow["community_id"].as_str().expect("an id");
    let mut command = dir.command(["show", "flow", id, "--json", "--run"]);
    let shown = command.arg(&out).output().expect("starts");
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("one record");
    assert_eq!(shown, flow);
}

#[test]
fn the_newest_run_is_kept_for_show_without_out() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    assert!(dir.command(["read", "-q"]).arg(&file).output().expect("starts").status.success());
    let output = dir.run(["show", "alert", "0000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no alert with id 0000"), "{}", text(&output.stderr));
}

#[test]
fn an_alert_and_its_flow_are_shown_as_pages_for_people() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let out = dir.path("run");
    let mut command = dir.command(["read", "-q", "--out"]);
    assert!(command.arg(&out).arg(&flood).output().expect("starts").status.success());
    let show = |what: &str, id: &str| {
        let mut command = dir.command(["show", what, id, "--run"]);
        let output = command.arg(&out).output().expect("starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let first = |name: &str| -> Value {
        let lines = std::fs::read_to_string(out.join(name)).expect("written");
        serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON")
    };
    let page = show("alert", first("alerts.ndjson")["id"].as_str().expect("an id"));
    for line in [
        "UDP flood from 10.77.0.2 to 203.0.113.7 (outbound): 20,440 packets/s and 90.6 Mbit/s at \
         most, threshold 10,000, unanswered; 6 s from 2026-11-21T13:13:03Z; confidence 0.6 \
         without a baseline.",
        "  measured           20,440 packets/s",
        "  threshold          10,000 packets/s (absolute_rate)",
        "  missing            baseline, cut_packets, process_map",
        "  analytics          AN0972",
        "       512 to 1023 bytes        69,086 packets 100.0%",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line:?} in\n{page}");
    }
    let flow = first("flows.ndjson");
    let page = show("flow", flow["community_id"].as_str().expect("an id"));
    assert!(page.contains(flow["src_ip"].as_str().expect("an address")), "{page}");
    assert!(
        page.contains("  forward            ") && page.contains("  reverse            "),
        "{page}"
    );
}

#[test]
fn no_colour_and_no_bar_when_piped() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let output = dir.run(["read", file.to_str().expect("UTF-8")]);
    assert!(!output.stdout.contains(&0x1b), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
    assert!(
        text(&output.stdout).contains("1 packets") || text(&output.stdout).contains("1 packet")
    );
}

#[test]
fn who_reads_no_further_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let dir = Dir::new();
    let mut command = dir.command(["doctor", "--json"]);
    let output = command.stdout(writer).output().expect("starts");
    assert_eq!(text(&output.stderr), "");
}

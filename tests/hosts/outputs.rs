//! A capture joined to a host map: what files, summary and commands say of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Dir, captures, text};
use flowtap::engine::{RecordSink, RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::host::event::HostEvent;
use flowtap::host::join::HostKnowledge;
use flowtap::host::map::{HostMap, MapLimits};
use flowtap::input::{Input, InputOptions};
use flowtap::output::ndjson::flow_line;
use flowtap::output::{FLOW_SCHEMA, SUMMARY_SCHEMA, Summary};
use serde_json::{Value, json};

/// Before the capture's first packet.
const EARLIER: &str = "2020-01-01T00:00:00.000000000Z";

/// A host with the address, and the process `sh` on it that serves port 80 in
/// its own words.
fn map(address: &str) -> Arc<HostMap> {
    let parent = json!({"event": "process.start", "pid": 1, "start_ticks": 1, "name": "init"});
    let process = json!({
        "event": "process.start", "pid": 4720, "start_ticks": 5, "name": "we\u{1b}[2Jb",
        "parent": {"pid": 1, "start_ticks": 1}, "args": ["web", "--root", "a b\n"],
        "user": "ann", "uid": 1000, "container": "0123456789abcdef",
    });
    let socket = json!({
        "event": "socket.open", "method": "ebpf", "basis": "opened", "kind": "listener",
        "protocol": 6, "local": address, "local_port": 80,
        "process": {"pid": 4720, "start_ticks": 5},
    });
    let events = [
        json!({"event": "map.start", "version": 1, "host": "h", "boot": "b"}),
        json!({"event": "address.up", "address": address}),
        parent,
        process,
        socket,
    ];
    let map = Arc::new(HostMap::new(MapLimits::default()));
    let mut writer = map.writer();
    for mut event in events {
        event["time"] = json!(EARLIER);
        writer.apply(&serde_json::from_value::<HostEvent>(event).expect("an event"));
    }
    // All there is to know until long after the capture.
    let told = json!({"event": "map.time", "time": "2030-01-01T00:00:00.000000000Z"});
    writer.apply(&serde_json::from_value::<HostEvent>(told).expect("an event"));
    map.complete();
    map
}

/// The lines of the flow file and the summary.
fn joined(capture: &str, map: Arc<HostMap>) -> (Vec<Value>, Value) {
    let mut lines = Vec::new();
    let mut take = |flow: &FlowRecord| lines.push(flow_line(flow));
    let summary = summary_of(capture, map, RunOptions::default(), &mut take);
    let lines = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (lines, summary)
}

fn summary_of(
    capture: &str,
    map: Arc<HostMap>,
    options: RunOptions,
    sink: &mut dyn RecordSink,
) -> Value {
    let input = Input::open(&[captures().join(capture)], InputOptions::default()).expect("capture");
    let hosts = Some(HostKnowledge { map: Some(map), ..HostKnowledge::default() });
    let report = run(input, &RunOptions { hosts, ..options }, sink);
    serde_json::to_value(Summary::new(&report, Duration::from_millis(10))).expect("JSON")
}

/// Wants no records.
struct Uncaring;

impl RecordSink for Uncaring {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        panic!("nobody asked for {record:?}");
    }

    fn wants_records(&self) -> bool {
        false
    }
}

fn check(schema: &str, value: &Value) {
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a JSON Schema");
    let errors: Vec<_> =
        schema.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}\n{value}");
}

/// An address of `web.pcap` that port 80 is served at.
fn server() -> String {
    let (lines, _) = joined("web.pcap", map("198.51.100.77"));
    let http = lines.iter().find(|line| line["dst_port"] == 80).expect("a flow to port 80");
    http["dst_ip"].as_str().expect("an address").to_owned()
}

#[test]
fn a_joined_capture_says_who_served_and_why_the_rest_is_nobodys() {
    let server = server();
    let (lines, summary) = joined("web.pcap", map(&server));
    let (mut named, mut unnamed) = (0, 0);
    for line in &lines {
        check(FLOW_SCHEMA, line);
        let side = ["src", "dst"].into_iter().find(|side| line[format!("{side}_ip")] == server);
        let Some(side) = side else { continue };
        let host = &line[format!("{side}_host")];
        if side == "dst" && line["dst_port"] == 80 {
            named += 1;
            assert_eq!(host["process"]["command_line"], r"web --root $'a b\n'");
            assert_eq!(host["process"]["ancestors"][0]["name"], "init");
            assert_eq!(host["workload"]["container"], "0123456789abcdef");
            assert_eq!(host["attribution"]["method"], "ebpf");
        } else {
            unnamed += 1;
            assert_eq!(host["attribution"]["reason"], "no_socket", "{line}");
        }
    }
    assert!(named > 0, "nothing went to the server");
    check(SUMMARY_SCHEMA, &summary);
    let coverage = &summary["coverage"];
    assert_eq!(coverage["attributed"]["ebpf"]["flows"], named);
    assert_eq!(coverage["unattributed"]["no_socket"]["flows"].as_u64().unwrap_or(0), unnamed);
    assert_eq!(coverage["in_workloads"]["flows"], named);
}

/// Of a flood that is looked up as a sample: each flow counts once, and the sample is in
/// the rows where all of them are.
fn assert_like(sampled: &Value, whole: &Value) {
    let rows = |coverage: &Value| -> BTreeMap<String, f64> {
        let of = |row: &Value| row["flows"].as_f64().unwrap();
        let lists = ["attributed", "unattributed"].map(|list| coverage[list].as_object().unwrap());
        let named = lists.into_iter().flatten().map(|(name, row)| (name.clone(), of(row)));
        named.chain([("no_host".to_owned(), of(&coverage["no_host"]))]).collect()
    };
    let others = sampled["not_looked_up"]["flows"].as_f64().unwrap();
    let sum = |rows: &BTreeMap<String, f64>| rows.values().sum::<f64>();
    let (sampled, whole) = (rows(sampled), rows(whole));
    assert!(others > 0.0, "this is no flood");
    assert_eq!(sum(&sampled) + others, sum(&whole));
    assert!(sampled.keys().all(|name| whole.contains_key(name)), "{sampled:?}, {whole:?}");
    for (name, all) in &whole {
        // Of a handful of flows the sample may have none.
        let some = sampled.get(name).copied().unwrap_or(0.0);
        let difference = some / sum(&sampled) - all / sum(&whole);
        assert!(difference.abs() < 0.05, "{name}: {some} of {sampled:?}, {all} of {whole:?}");
    }
}

#[test]
fn a_run_without_records_knows_of_hosts_what_one_with_them_does() {
    let server = server();
    let captures = [
        ("web.pcap", &*server),
        ("dns.pcap", "192.0.2.53"),
        ("demo-udp-flood.pcap.zst", "192.0.2.1"),
    ];
    for (capture, address) in captures {
        let (lines, with) = joined(capture, map(address));
        let mut first = None;
        for workers in [1, 3] {
            let options = RunOptions { workers, ..RunOptions::default() };
            let without = summary_of(capture, map(address), options, &mut Uncaring);
            let coverage = without["coverage"].clone();
            if capture == "demo-udp-flood.pcap.zst" {
                assert_like(&coverage, &with["coverage"]);
            } else {
                assert_eq!(coverage, with["coverage"], "{capture} by {workers}");
            }
            assert_eq!(*first.get_or_insert_with(|| coverage.clone()), coverage, "{workers}");
            // They say which names their addresses had.
            assert_eq!(without["alerts"], with["alerts"], "{capture} by {workers}");
            assert_eq!(without["flows"], lines.len());
        }
    }
}

#[test]
fn coverage_and_show_print_what_the_run_knew() {
    let dir = Dir::new();
    let (lines, summary) = joined("web.pcap", map(&server()));
    std::fs::create_dir(dir.path("run")).expect("folder");
    dir.write("run/summary.json", summary.to_string().as_bytes());
    let flows: String = lines.iter().map(|line| format!("{line}\n")).collect();
    dir.write("run/flows.ndjson", flows.as_bytes());

    let printed = text(&dir.run(["coverage", "--run", "run"]).stdout);
    assert!(printed.starts_with("Hosts\n") && printed.contains("by ebpf"), "{printed}");
    let object = dir.run(["coverage", "--run", "run", "--json"]).stdout;
    let object: Value = serde_json::from_slice(&object).expect("JSON");
    assert_eq!(object["hosts"], summary["coverage"]);

    let flow =
        lines.iter().find(|line| line.get("dst_host").is_some()).expect("a flow of the host");
    let id = flow["community_id"].as_str().expect("text");
    let page = text(&dir.run(["show", "flow", id, "--run", "run"]).stdout);
    assert!(page.contains("init(1) > we\\u{1b}[2Jb(4720)"), "{page}");
    assert!(page.contains("ebpf, listens, certainty"), "{page}");
}

#[test]
fn coverage_of_a_run_that_knew_nothing_says_how_to_give_it_more() {
    let dir = Dir::new();
    let capture = captures().join("web.pcap");
    assert!(dir.command(["read", "-q"]).arg(&capture).status().expect("starts").success());
    let output = dir.run(["coverage"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for how in ["live --procs auto", "read --procs map.jsonl", "--inventory"] {
        assert!(printed.contains(how), "{printed}");
    }
    let object = dir.run(["coverage", "--json"]).stdout;
    let object: Value = serde_json::from_slice(&object).expect("JSON");
    assert_eq!(object["hosts"], Value::Null);
    let analytics = object["analytics"].as_array().expect("of each analytic what it could see");
    let ids: Vec<&Value> = analytics.iter().map(|analytic| &analytic["id"]).collect();
    assert_eq!(ids, ["AN0972", "AN0223", "AN0971", "AN0083", "AN0031"]);
    let missing = dir.run(["coverage", "--run", "nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("nowhere"), "{}", text(&missing.stderr));
}

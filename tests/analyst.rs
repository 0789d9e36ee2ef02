//! What an analyst does with alerts: list, explain, mark, bundle, look over flows.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::process::Output;

use common::{Dir, captures, text};
use serde_json::Value;

/// A run of a flood out of the home networks, kept in `run`.
fn flood(dir: &Dir) -> (PathBuf, Vec<Value>) {
    read(dir, "demo-udp-flood.pcap.zst")
}

fn read(dir: &Dir, capture: &str) -> (PathBuf, Vec<Value>) {
    let run = dir.path("run");
    let mut command = dir.command(["read", "--quiet", "--out"]);
    let output = command.arg(&run).arg(captures().join(capture)).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(run.join("alerts.ndjson")).expect("alerts");
    (run, lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn id(alert: &Value) -> &str {
    alert["id"].as_str().expect("an id")
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_alert_of_a_flood_a_scan_and_a_carpet_is_redone_to_the_same_figures() {
    for capture in ["demo-udp-flood.pcap.zst", "nmap-syn.pcap", "hping3-carpet.pcap.zst"] {
        let dir = Dir::new();
        let (_, alerts) = read(&dir, capture);
        assert!(!alerts.is_empty(), "{capture}");
        for alert in &alerts {
            let output = dir.run(["explain", id(alert), "--run", "run"]);
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            let page = text(&output.stdout);
            assert!(page.contains("the same as recorded"), "{page}");
            let sentence = alert["severity_reason"].as_str().expect("a reason");
            assert!(page.contains(sentence), "{page}");
            let json = dir.run(["explain", id(alert), "--run", "run", "--json"]);
            let told: Value = serde_json::from_slice(&json.stdout).expect("JSON");
            assert_eq!(told["severity"]["recomputed"], alert["severity"]);
            assert_eq!(told["confidence"]["recomputed"], alert["confidence"]);
            assert_eq!(told["measured"]["reached"], true, "{told}");
        }
    }
}

#[test]
fn a_figure_that_was_changed_is_named_and_ends_with_1() {
    let dir = Dir::new();
    let (run, mut alerts) = flood(&dir);
    for (pointer, value, what) in [
        ("/confidence", Value::from(0.9), "confidence: 0.6, recorded as 0.9"),
        ("/severity", "low".into(), "severity: "),
        ("/evidence/peak/packets_per_s", 5.into(), "packets_per_s_10000"),
    ] {
        let before = alerts[0].clone();
        *alerts[0].pointer_mut(pointer).expect(pointer) = value;
        std::fs::write(run.join("alerts.ndjson"), format!("{}\n", alerts[0])).expect("written");
        let output = dir.run(["explain", id(&before), "--run", "run"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(text(&output.stdout).contains(what), "{what}: {}", said(&output));
        alerts[0] = before;
    }
}

#[test]
fn a_verdict_is_kept_and_its_draft_allows_what_it_says_once_it_is_put_in_force() {
    let dir = Dir::new();
    let (run, alerts) = flood(&dir);
    let id = id(&alerts[0]);
    let output = dir.run(["alerts", "list", "--run", "run", "--severity", "medium"]);
    assert!(text(&output.stdout).contains(id), "{}", said(&output));
    let none = dir.run(["alerts", "list", "--run", "run", "--detector", "reflection"]);
    assert_eq!(text(&none.stdout), "No alerts.\n");

    let mark = |verdict: &str| {
        let args = ["alerts", "mark", id, verdict, "--why", "load test", "--by", "ann"];
        let output = dir.command(args).args(["--run", "run"]).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        text(&output.stdout)
    };
    assert!(!mark("true").contains("[[allow]]"));
    let draft = mark("expected");
    assert!(draft.contains("[[allow]]") && draft.contains("owner = \"ann\""), "{draft}");
    assert!(draft.contains("\npeer = \"203.0.113.7\"\nport = 53\n"), "{draft}");
    let verdicts = std::fs::read_to_string(run.join("verdicts.ndjson")).expect("verdicts");
    let verdicts: Vec<Value> =
        verdicts.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(verdicts.len(), 2, "only ever added to");
    assert_eq!(
        (&verdicts[0]["verdict"], &verdicts[1]["verdict"]),
        (&"true".into(), &"expected".into())
    );
    assert_eq!(verdicts[1]["by"], "ann");
    let output = dir.run(["alerts", "list", "--run", "run", "--json"]);
    let first = text(&output.stdout).lines().next().map(str::to_owned).expect("an alert");
    let listed: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(listed["verdict"]["why"], "load test");

    let file = dir.write("flowtap.toml", draft.as_bytes());
    let checked = dir.command(["config", "check"]).arg(&file).output().expect("starts");
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    let mut again = dir.command(["read", "--json", "--config"]);
    again.arg(&file).arg(captures().join("demo-udp-flood.pcap.zst"));
    let summary: Value =
        serde_json::from_slice(&again.output().expect("starts").stdout).expect("JSON");
    assert!(summary["alerts"].as_array().expect("alerts").iter().all(|alert| alert["id"] != id));
    assert_eq!(summary["alerts_allowed"][0]["suppressed"], 1);

    for args in [
        ["alerts", "mark", id, "maybe", "--why", "x"],
        ["alerts", "mark", id, "true", "--why", " "],
    ] {
        assert_eq!(dir.run(args).status.code(), Some(2));
    }
}

#[test]
fn a_bundle_is_the_same_bytes_and_explains_itself_elsewhere() {
    let dir = Dir::new();
    let (_, alerts) = flood(&dir);
    let id = id(&alerts[0]);
    for name in ["a.tar.zst", "b.tar.zst"] {
        let output = dir.run(["bundle", id, "--run", "run", "-o", name]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        for file in ["alert.json", "flows.ndjson", "packets.pcapng", "run.json", "formula.json"] {
            assert!(text(&output.stdout).contains(file), "{file}: {}", said(&output));
        }
    }
    let bytes = |name: &str| std::fs::read(dir.path(name)).expect("a bundle");
    assert!(bytes("a.tar.zst") == bytes("b.tar.zst"));

    let elsewhere = Dir::new();
    let file = elsewhere.write("from-a-colleague.tar.zst", &bytes("a.tar.zst"));
    let output = elsewhere.command(["explain", "--json"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let here = dir.run(["explain", id, "--run", "run", "--json"]);
    assert_eq!(text(&output.stdout), text(&here.stdout));

    let mut changed = bytes("a.tar.zst");
    let at = changed.len() / 2;
    changed[at] ^= 1;
    let file = elsewhere.write("changed.tar.zst", &changed);
    let output = elsewhere.command(["explain"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no bundle that can be trusted"), "{}", said(&output));
}

#[test]
fn flows_are_chosen_summed_up_and_mistakes_shown_at_their_place() {
    let dir = Dir::new();
    let (run, _) = read(&dir, "dns.pcap");
    let flows =
        |args: &[&str]| dir.command(["flows", "--run", "run"]).args(args).output().expect("starts");
    let output =
        flows(&["--where", "proto_name = udp and dst_port = 53", "--by", "dst_port", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let lines = std::fs::read_to_string(run.join("flows.ndjson")).expect("flows");
    let records: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let udp: Vec<_> = records.iter().filter(|flow| flow["proto_name"] == "udp").collect();
    let sum = |of: &str| -> u64 {
        let sides = udp.iter().flat_map(|flow| [&flow["fwd"], &flow["rev"]]);
        sides.filter_map(|side| side[of].as_u64()).sum()
    };
    assert_eq!(told["flows_read"], records.len());
    assert_eq!(told["top"][0]["key"]["dst_port"], "53");
    assert_eq!(told["top"][0]["sums"]["flows"], udp.len());
    assert_eq!(told["total"]["wire_bytes"], sum("wire_bytes"));
    assert_eq!(told["total"]["packets"], sum("packets"));

    let page = text(&flows(&["--top", "1"]).stdout);
    assert!(page.starts_with("proto_name") && page.contains("total"), "{page}");

    // What was packed since reads the same.
    let packed = zstd::encode_all(lines.as_bytes(), 1).expect("packed");
    std::fs::write(run.join("flows.ndjson.zst"), packed).expect("written");
    std::fs::remove_file(run.join("flows.ndjson")).expect("removed");
    let again =
        flows(&["--where", "proto_name = udp and dst_port = 53", "--by", "dst_port", "--json"]);
    assert_eq!(text(&again.stdout), text(&output.stdout));

    let output = flows(&["--where", "answered and dst_prot = 53"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("\n               ^^^^^^^^ no such field; did you mean dst_port?"),
        "{said}"
    );
    assert_eq!(flows(&["--by", "nothing"]).status.code(), Some(2));
    // No flow can have that: said, rather than found nowhere.
    for wrong in ["dst_port = abc", "dst_port = 99999", "bytes > 1X", "src_ip = nope"] {
        let output = flows(&["--where", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(text(&output.stderr).contains("^ "), "{}", text(&output.stderr));
    }
    let upper = flows(&["--where", "proto_name = UDP", "--json"]);
    let told: Value = serde_json::from_slice(&upper.stdout).expect("JSON");
    assert_eq!(told["total"]["flows"], udp.len());
}

#[test]
fn why_not_says_what_was_measured_and_what_kept_it_from_an_alert() {
    let dir = Dir::new();
    let (_, alerts) = flood(&dir);
    let ask = |who: &str| {
        let output = dir.run(["why-not", who, "--run", "run", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    // Who has an alert.
    let sender = alerts[0]["entity"]["id"].as_str().expect("an address");
    let told = ask(sender);
    assert_eq!(told["alerts"][0]["id"], alerts[0]["id"]);
    let flood = told["findings"].as_array().expect("findings").iter();
    let flood = flood
        .clone()
        .find(|near| near["detector"] == "udp_flood" && near["entity"] == sender)
        .expect("the flood");
    assert_eq!(flood["opens"], true);
    assert_eq!(flood["value"].as_f64(), alerts[0]["evidence"]["measured"].as_f64());
    // Who has none: far below any threshold, and known all the same.
    let told = ask("10.77.0.1");
    assert_eq!(told["alerts"], Value::Array(vec![]));
    let windows = told["windows"].as_array().expect("windows");
    assert!(!windows.is_empty(), "{told}");
    assert!(windows.iter().all(|peak| peak["packets"].as_u64() < peak["threshold"].as_u64()));
    let page = text(&dir.run(["why-not", "10.77.0.1", "--run", "run"]).stdout);
    assert!(page.contains("Highest counts of a second"), "{page}");
    assert!(
        text(&dir.run(["why-not", "192.0.2.200", "--run", "run"]).stdout).contains("Nothing of it")
    );

    // A flow, by both its ends.
    let flows = std::fs::read_to_string(dir.path("run/flows.ndjson")).expect("flows");
    let flow: Value = serde_json::from_str(flows.lines().next().expect("a flow")).expect("JSON");
    let told = ask(flow["community_id"].as_str().expect("an id"));
    assert!(!told["windows"].as_array().expect("windows").is_empty());
}

#[test]
fn why_not_names_the_entry_that_allows_it_and_refuses_inputs_that_changed() {
    let dir = Dir::new();
    let config = dir.write(
        "flowtap.toml",
        b"[[allow]]\ndetector = \"any\"\nentity = \"10.77.0.0/24\"\nreason = \"load test\"\n\
          owner = \"ann\"\nexpires = 2036-01-01\n",
    );
    let capture = dir.path("copy.pcap.zst");
    std::fs::copy(captures().join("demo-udp-flood.pcap.zst"), &capture).expect("copied");
    let mut read = dir.command(["read", "--quiet", "--out", "run", "--config"]);
    let output = read.arg(&config).arg(&capture).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let output = dir.run(["why-not", "10.77.0.2", "--run", "run"]);
    let page = text(&output.stdout);
    assert!(page.contains("allowed: load test (by ann"), "{}", said(&output));

    let mut bytes = std::fs::read(&capture).expect("the capture");
    bytes.push(0);
    std::fs::write(&capture, bytes).expect("written");
    let output = dir.run(["why-not", "10.77.0.2", "--run", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has changed since"), "{}", said(&output));
}

#[test]
fn coverage_says_of_each_analytic_what_it_lacked() {
    let dir = Dir::new();
    read(&dir, "dns.pcap");
    let output = dir.run(["coverage", "--run", "run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let states: Vec<(&str, &str)> = told["analytics"]
        .as_array()
        .expect("analytics")
        .iter()
        .filter_map(|one| Some((one["id"].as_str()?, one["state"].as_str()?)))
        .collect();
    assert_eq!(
        states,
        [
            ("AN0972", "degraded"),
            ("AN0223", "degraded"),
            ("AN0971", "degraded"),
            ("AN0083", "blind"),
            ("AN0031", "blind"),
        ]
    );
    let page = text(&dir.run(["coverage", "--run", "run"]).stdout);
    assert!(page.contains("no process telemetry: no flow has a program to judge"), "{page}");
}

#[test]
fn coverage_names_what_traffic_mirrors_and_flow_logs_of_aws_never_carry() {
    let dir = Dir::new();
    read(&dir, "crafted-vxlan.pcap");
    let page = text(&dir.run(["coverage", "--run", "run"]).stdout);
    let of_mirror = "no metadata, NTP, DHCP or ARP in a cloud's traffic mirror (VXLAN, GENEVE): ";
    assert_eq!(page.matches(of_mirror).count(), 5, "{page}");
    assert!(page.contains("(VXLAN, GENEVE): metadata access is not seen"), "{page}");

    let line = "2 111122223333 eni-0a1b2c3d 10.0.1.5 203.0.113.9 40112 53 17 120 9600 \
        1760000000 1760000058 ACCEPT OK\n";
    std::fs::write(dir.path("vpc.log"), line).expect("written");
    let output = dir.run(["read", "--quiet", "--out", "logs", "vpc.log"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = text(&dir.run(["coverage", "--run", "logs"]).stdout);
    let of_log = "no metadata, Amazon DNS, DHCP or time traffic in AWS flow logs: ";
    assert_eq!(page.matches(of_log).count(), 5, "{page}");
    assert!(!page.contains("traffic mirror"), "{page}");
}

/// A busy host talks to others in the minute of the flood, too.
#[test]
fn a_draft_allows_a_flood_and_its_minute_towards_the_victim_and_nobody_else() {
    let dir = Dir::new();
    let output = dir.run(["lab", "make", "udp-flood", "-o", "lab", "--set", "strength=1500"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(dir.run(["read", "-q", "lab/traffic.pcap", "--out", "run"]).status.success());
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let mut alerts = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let flood = alerts.find(|alert| alert["detector"] == "udp_flood").expect("the flood");
    let mark = ["alerts", "mark", id(&flood), "expected", "--why", "drill", "--run", "run"];
    let draft = text(&dir.run(mark).stdout);
    let victim = flood["peers"][0]["address"].as_str().expect("an address");
    assert_eq!(
        draft.matches(&format!("\npeer = \"{victim}\"\nport = 7777\n")).count(),
        2,
        "{draft}"
    );
    let left = |draft: &str| -> Vec<String> {
        dir.write("flowtap.toml", draft.as_bytes());
        let args = ["read", "--json", "lab/traffic.pcap", "--config", "flowtap.toml"];
        let summary: Value = serde_json::from_slice(&dir.run(args).stdout).expect("JSON");
        let alerts = summary["alerts"].as_array().expect("alerts").iter();
        alerts.map(|alert| alert["detector"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(left(&draft), Vec::<String>::new());
    assert_eq!(left(&draft.replace(victim, "192.0.2.1")), ["udp_flood", "egress"]);
    assert_eq!(left(&draft.replace("port = 7777", "port = 443")), ["udp_flood", "egress"]);
}

/// Baselines belong to the process that learns them. An analyst's verdict reaches it.
#[test]
fn a_verdict_reaches_baselines_that_another_process_is_learning() {
    let dir = Dir::new();
    let output = dir.run(["lab", "make", "udp-flood", "-o", "lab", "--set", "strength=1500"]);
    assert!(output.status.success(), "{}", said(&output));
    let learning = ["--baseline", "normal.redb", "--learn", "--quiet"];
    let first = ["read", "lab/traffic.pcap", "--out", "run"];
    let output = dir.run(first.iter().chain(&learning));
    assert!(output.status.success(), "{}", said(&output));
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let alerts = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let alerts: Vec<Value> = alerts.collect();
    let last = |detector| alerts.iter().rfind(|alert| alert["detector"] == detector).expect("one");
    let (flood, egress) = (last("udp_flood"), last("egress"));
    assert_eq!(egress["part_of"]["id"], flood["id"]);
    let key = egress["case"]["baseline_key"].as_str().expect("a key").to_owned();
    let shown = |dir: &Dir| -> Value {
        let output = dir.run(["baseline", "show", &key, "--baseline", "normal.redb", "--json"]);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let before = shown(&dir);
    assert!(before.get("verdicts").is_none(), "{before:#}");

    let inbox = dir.path("normal.redb.verdicts");
    std::fs::remove_file(&inbox).expect("made with the baselines");
    let mut command = dir.command(["read", "-"].iter().chain(&learning));
    let mut holder =
        command.stdin(std::process::Stdio::piped()).spawn().expect("the binary starts");
    // It is made anew when the holder has the baselines.
    for _ in 0..600 {
        if inbox.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mark = ["alerts", "mark", id(flood), "expected", "--why", "a test of the line"];
    let output = dir.run(mark.iter().chain(&["--run", "run", "--baseline", "normal.redb"]));
    assert!(output.status.success(), "{}", said(&output));
    assert!(text(&output.stdout).contains("Another process is learning"), "{}", said(&output));
    assert!(std::fs::metadata(&inbox).expect("left").len() > 0);
    let capture = std::fs::read(captures().join("dns.pcap")).expect("a capture");
    let mut input = holder.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, &capture).expect("the holder reads");
    drop(input);
    assert!(holder.wait().expect("it ends").success());

    assert_eq!(std::fs::metadata(&inbox).expect("kept").len(), 0, "it was taken up");
    let after = shown(&dir);
    assert_eq!(after["verdicts"][0]["verdict"], "expected", "{after:#}");
    let minutes = |view: &Value| view["minutes"].as_u64().expect("minutes");
    assert!(minutes(&after) > minutes(&before), "minutes that waited are learned");
}

/// As a live run leaves its folder while it goes on.
fn running(dir: &Dir) -> Value {
    let (run, alerts) = flood(dir);
    std::fs::remove_file(run.join("summary.json")).expect("removed");
    for name in ["alerts", "flows"] {
        let text = std::fs::read_to_string(run.join(format!("{name}.ndjson"))).expect("records");
        std::fs::remove_file(run.join(format!("{name}.ndjson"))).expect("removed");
        // What follows is being written.
        let torn = format!("{text}{}", &text[..text.find('\n').expect("a line") / 2]);
        let part = run.join(format!("{name}-20261121T131300Z.ndjson.part"));
        std::fs::write(part, torn).expect("written");
    }
    alerts.into_iter().next().expect("an alert")
}

#[test]
fn a_run_that_goes_on_is_looked_at_up_to_its_last_whole_line() {
    let dir = Dir::new();
    let alert = running(&dir);
    let id = id(&alert);
    for args in [
        &["alerts", "list"][..],
        &["show", "alert", id],
        &["explain", id],
        &["bundle", id, "-o", "a.tar.zst"],
    ] {
        let output = dir.command(args).args(["--run", "run"]).output().expect("starts");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        assert!(text(&output.stdout).contains(id), "{args:?}: {}", said(&output));
    }
    let output = dir.run(["flows", "--run", "run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["flows_read"], 53_003, "{}", said(&output));
    assert_eq!(text(&output.stderr), "", "half a line is no damage");
    let output = dir.run(["coverage", "--run", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("before it could write its summary"),
        "{}",
        said(&output)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_live_run_in_which_nothing_happened_has_no_alerts_and_no_flows() {
    let dir = Dir::new();
    dir.write("access.log", b"");
    let live = ["live", "-q", "--log", "access.log", "--out", "run", "--seconds", "1"];
    let output = dir.command(live).args(["--control", "none"]).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let output = dir.run(["alerts", "list", "--run", "run"]);
    assert_eq!((text(&output.stdout), output.status.code()), ("No alerts.\n".into(), Some(0)));
    let output = dir.run(["flows", "--run", "run"]);
    assert!(text(&output.stdout).contains("0 of 0 flows"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(0));
    for args in
        [&["show", "alert", "00ff"][..], &["explain", "00ff"], &["bundle", "00ff", "-o", "b"]]
    {
        let output = dir.command(args).args(["--run", "run"]).output().expect("starts");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("no alert with id 00ff"), "{}", said(&output));
    }
}

#[test]
fn flows_in_other_formats_alone_are_no_run_without_flows() {
    let dir = Dir::new();
    let capture = captures().join("demo-udp-flood.pcap.zst");
    let mut read = dir.command(["read", "-q", "--out", "run", "--format", "csv"]);
    assert!(read.arg(&capture).output().expect("starts").status.success());
    let output = dir.run(["flows", "--run", "run"]);
    assert_eq!(output.status.code(), Some(1));
    let why = "has its flows as flows.csv alone: run it again with --out DIR and --format ndjson";
    assert!(text(&output.stderr).contains(why), "{}", said(&output));
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    let alert: Value = serde_json::from_str(lines.lines().next().expect("one")).expect("JSON");
    let output = dir.run(["bundle", id(&alert), "--run", "run", "-o", "a.tar.zst"]);
    assert!(
        text(&output.stdout).contains(&format!("no flows: the run {why}")),
        "{}",
        said(&output)
    );

    // Without --out there are none either.
    assert!(dir.command(["read", "-q"]).arg(&capture).output().expect("starts").status.success());
    let output = dir.run(["flows"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("kept no flows: run it again with --out DIR"));
}

#[test]
fn an_id_is_one_alert_everywhere_and_never_nothing() {
    let dir = Dir::new();
    let (run, alerts) = flood(&dir);
    // Two that begin alike.
    let mut other = alerts[0].clone();
    let known = id(&alerts[0]).to_owned();
    other["id"] = format!("{}{}", &known[..8], "ffffffff").into();
    let lines = format!("{}\n{other}\n", alerts[0]);
    std::fs::write(run.join("alerts.ndjson"), lines).expect("written");
    for command in [&["show", "alert"][..], &["explain"], &["bundle", "-o", "x"]] {
        let ask = |id: &str| {
            let mut command = dir.command(command);
            command.args([id, "--run", "run"]).output().expect("starts")
        };
        let output = ask(&known[..8]);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
        assert!(text(&output.stderr).contains("2 alerts begin with"), "{}", said(&output));
        assert_eq!(ask("").status.code(), Some(2), "{command:?}");
    }
    assert_eq!(dir.run(["why-not", "", "--run", "run"]).status.code(), Some(2));
    let output = dir.run(["explain", "nope.tar.zst", "--run", "run"]);
    assert!(text(&output.stderr).contains("nor a file"), "{}", said(&output));
}

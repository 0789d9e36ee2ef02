//! `--config` and `flowtap config` with the real binary.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod common;

use std::path::PathBuf;
use std::process::Output;

use common::{Dir, captures, text};
use flowtap::output::{ALERT_SCHEMA, SUMMARY_SCHEMA};
use proptest::prelude::*;
use serde_json::Value;

fn capture(name: &str) -> String {
    captures().join(name).to_str().unwrap().to_owned()
}

/// A fresh folder with a configuration in it.
fn with_config(toml: &str) -> Dir {
    let dir = Dir::new();
    dir.write("flowtap.toml", toml.as_bytes());
    // What the template's files are called: a table of process classes is looked into.
    dir.write("list.csv", b"version = \"1\"\n");
    dir
}

fn check(toml: &str) -> Output {
    with_config(toml).run(["config", "check"])
}

/// What `config check` objects to, without the file's name.
fn problems(toml: &str) -> Vec<String> {
    let output = check(toml);
    assert_eq!(output.status.code(), Some(2), "{toml}");
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    said.lines().map(|line| line.strip_prefix("flowtap.toml:").unwrap().to_owned()).collect()
}

/// What a run was told, by its `run.json`, and its summary.
fn run(dir: &Dir, args: &[&str]) -> (Value, Output) {
    let ping = capture("ping.pcap");
    let mut all = vec!["read", "--config", "flowtap.toml", "--out", "out"];
    all.extend(args);
    all.push(&ping);
    let output = dir.run(all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record = std::fs::read(dir.path("out/run.json")).unwrap();
    (serde_json::from_slice(&record).unwrap(), output)
}

/// More than anybody mends at once is not looked for: each took as long as the file is.
#[test]
fn a_file_that_is_wrong_throughout_is_refused_after_its_first_thousand_problems() {
    for line in ["[[allow]]\n", "= 1\n"] {
        let output = check(&line.repeat(300_000));
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() <= 1_001, "{} lines", lines.len());
        assert!(lines[0].starts_with("flowtap.toml:1: "), "{}", lines[0]);
        let last = lines.last().unwrap();
        assert_eq!(*last, "flowtap.toml: the rest was not looked at: mend these first");
    }
    let few = "= 1\n".repeat(3);
    assert!(problems(&few).iter().all(|problem| problem.starts_with(['1', '2', '3'])));
}

#[test]
fn the_command_line_wins_then_the_section_then_the_top() {
    let dir = with_config(
        "workers = 3\nhome-net = ['10.0.0.0/8', '192.0.2.0/24']\nmax-flows = 70_000\njson = true\n\
         [read]\nmax-flows = 80_000\n[live]\ninterface = ['eth9']\nworkers = 9\n",
    );
    let (told, output) = run(&dir, &[]);
    assert_eq!(told["workers"], 3);
    assert_eq!(told["max_flows"], 80_000);
    assert_eq!(told["home_nets"], serde_json::json!(["10.0.0.0/8", "192.0.2.0/24"]));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "json = true");

    let args = ["--workers", "2", "--home-net", "198.51.100.0/24", "--json=false", "--quiet"];
    let (told, output) = run(&dir, &args);
    assert_eq!(told["workers"], 2);
    assert_eq!(told["home_nets"], serde_json::json!(["198.51.100.0/24"]), "replaced, not added to");
    assert_eq!(text(&output.stdout), "");

    // A section says the default: that too is said.
    let dir =
        with_config("tcp-idle = '1ms'\njson = true\n[read]\ntcp-idle = '300s'\njson = false\n");
    let (_, output) = run(&dir, &["-q"]);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let found = problems(
        "wrokers = 2\nworkers = 'many'\nno-decap = 1\nring-mib = 64\npacket_rate_threshold = 9\n\
         format = ['ndjson', 'xml']\nhome-net = 'nowhere'\nconfig = 'x'\ntcp-idle = '5w'\n\
         [detect]\nscan_port = 3\nscan_ports = 0\nanswer_ratio = nan\nprotocol_type = ['udp', 'upd']\n\
         home_net = []\nreflectors = -1\n\
         [live]\nring-mib = 1\nring_mib = 8\nworkers = [1]\n[reed]\nx = 1\n",
    );
    let starts = [
        "1: wrokers: no such key at the top: did you mean \"workers\"?",
        "2: workers = \"many\": invalid digit",
        "3: no-decap: 1 is not allowed: true or false",
        "4: ring-mib is an option of `live` alone: put it under [live]",
        "5: packet_rate_threshold is a threshold: put it under [detect]",
        "6: format = \"xml\": allowed: ndjson, csv",
        "7: home-net = \"nowhere\": ",
        "8: config can't stand in the file itself",
        "9: tcp-idle = \"5w\": unknown unit 'w'",
        "11: scan_port: no such key in [detect]: did you mean \"scan_ports\"?",
        "12: scan_ports: 0 is not allowed: a whole number from 5 to 65536, since",
        "13: answer_ratio: NaN is not allowed: a number from 0.0001 to 1",
        "14: protocol_type: \"upd\" is not allowed: a list of udp, icmp",
        "15: home_net: no such key in [detect]: home networks are home-net, at the top",
        "16: reflectors: -1 is not allowed: a whole number from 2",
        "18: ring-mib = \"1\": 1 is not in 2..=4096",
        "19: ring_mib: no such key in [live]: did you mean \"ring-mib\"?",
        "20: workers: a list is not allowed: one N",
        "21: [reed]: no such section: did you mean \"read\"?",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\n{start}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_where() {
    let found = problems("workers = 2\njson = \n[live\nquiet = true\n");
    assert!(found.iter().any(|line| line.starts_with("2: ")), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("3: ")), "{found:?}");
    let found = problems("workers = 1\nworkers = 2\n");
    assert!(found[0].starts_with("2: duplicate key"), "{found:?}");
    let dir = Dir::new();
    dir.write("flowtap.toml", b"quiet = true\n# \xff\n");
    let output = dir.run(["config", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "flowtap: flowtap.toml:2: not UTF-8\n");
    let output = Dir::new().run(["config", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("can't read flowtap.toml"));
}

#[test]
fn a_run_with_a_broken_file_does_not_begin() {
    let dir = with_config("wrokers = 2\nquite = true\n");
    let output = dir.run(["read", "--config", "flowtap.toml", &capture("ping.pcap")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr).lines().count(), 2, "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn what_means_another_thing_to_each_command_stands_in_its_section() {
    let hosts = "[read]\nprocs = ['map.jsonl']\n[live]\nprocs = 'auto'\nprocs-record = 'm'\n\
                 procs-record-size = '5MiB'\npods = 'https://node:10250/pods'\npods-ca = 'ca.pem'\n\
                 pods-token-file = 'token'\nprocs-unmasked = true\n";
    assert_eq!(text(&check(hosts).stdout), "ok\n");
    assert_eq!(
        problems("procs = 'auto'\n[live]\nprocs = 'map.jsonl'\npods = 'ftp://x/'\n"),
        [
            "1: procs means another thing to `read` and `live`: put it under [read] or [live]",
            "3: procs = \"map.jsonl\": allowed: off, auto, ebpf, sock-diag, polling",
            "4: pods = \"ftp://x/\": 'ftp://x/' is no pod list: use a file, \
             http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH",
        ]
    );
}

#[test]
fn options_that_do_not_go_together_are_told() {
    for (toml, said) in [
        ("key-vlan = true\ndedup = 'routed'\n", "--dedup routed ignores VLANs"),
        ("no-detection = true\nfail-on-alert = 'low'\n", "--no-detection raises no alert"),
        ("filter = 'nonsense here'\n", "nonsense"),
        ("[live]\nevidence = true\n", "--record"),
        ("packet-rate-threshold = 99\n[detect]\npacket_rate_threshold = 99\n", "is the same"),
    ] {
        let output = check(toml);
        assert_eq!(output.status.code(), Some(2), "{toml}");
        assert!(text(&output.stderr).contains(said), "{toml}: {}", text(&output.stderr));
    }
}

/// A value that an option takes, by what stands for it in the template.
fn sample(placeholder: &str) -> &str {
    match placeholder {
        "DIR" | "KEYFILE" => "x",
        "EXPR" => "udp",
        "MODE" => "exact",
        "PREFIX" => "192.0.2.0/24",
        "N" | "S" => "2",
        "TIME" => "7s",
        "PPS" => "20000",
        "SEVERITY" => "high",
        "IFACE" => "eth9",
        "SIZE" => "64MiB",
        "TARGET" => "unix:/run/x",
        "PATH" => "x.sock",
        "MIB" => "32",
        "ID" => "tap-7",
        "SPEED" => "10x",
        "MAP" => "map.jsonl",
        "FILE" => "list.csv",
        "SOURCE" => "pods.json",
        "[PATH=]KIND" => "aws-vpc",
        "FORMAT" => "srcaddr dstaddr",
        "NAME" => "host-1",
        "PATH|URL" => "/proc/net/dev",
        "ADDRESS:PORT" => "127.0.0.1:2055",
        other => panic!("no sample for {other}: add one"),
    }
}

#[test]
fn every_key_of_the_template_is_accepted_again() {
    let show = |args: &[&str]| {
        let output = Dir::new().run(["config", "show"].iter().chain(args));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let template = show(&[]);
    assert_eq!(text(&check(&template).stdout), "ok\n");

    // Now with all keys: comments become keys, each with another value.
    let mut full = String::new();
    let mut keys = 0;
    for line in template.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split(" = ").next().unwrap();
        let is_key =
            bare.contains(" = ") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let placeholder = bare.split('"').nth(1);
        match placeholder {
            Some(name)
                if line.starts_with('#')
                    && is_key
                    && name.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                full.push_str(&bare.replace(name, sample(name)));
                keys += 1;
            }
            _ if bare.starts_with("packet_rate_threshold") => {}
            // Does not go together with fail-on-alert.
            _ if bare.starts_with("no-detection") => {}
            _ => full.push_str(&line.replace(" = false", " = true")),
        }
        full.push('\n');
    }
    assert!(keys >= 15, "{full}");
    let output = check(&full);
    assert_eq!(text(&output.stdout), "ok\n", "{}\n{full}", text(&output.stderr));

    // And what it shows of that file is the same configuration.
    let dir = with_config(&full);
    let shown = text(&dir.run(["config", "show", "flowtap.toml"]).stdout);
    let dir = with_config(&shown);
    assert_eq!(text(&dir.run(["config", "check"]).stdout), "ok\n", "{shown}");
    assert_eq!(text(&dir.run(["config", "show", "flowtap.toml"]).stdout), shown);
    for line in full.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")) {
        let value = line.split(" = ").nth(1).unwrap().trim_matches(['[', ']', '"']);
        let key = line.split(" = ").next().unwrap();
        assert!(
            shown.lines().any(|shown| shown.starts_with(key) && shown.contains(value)),
            "{line}\n{shown}"
        );
    }
}

#[test]
fn every_option_of_the_help_is_in_the_template() {
    let template = text(&Dir::new().run(["config", "show"]).stdout);
    for command in ["read", "live"] {
        let help = text(&Dir::new().run([command, "--help"]).stdout);
        let options = help.lines().filter_map(|line| line.split("--").nth(1));
        let names = options.filter_map(|rest| rest.split([' ', '=', '[', ',']).next());
        let mut seen = 0;
        for name in names.filter(|name| !matches!(*name, "config" | "help" | "")) {
            if !help.contains(&format!("  --{name}")) && !help.contains(&format!(", --{name}")) {
                continue; // named in a sentence
            }
            let found = template
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
            assert!(found, "{command} --{name}");
            seen += 1;
        }
        assert!(seen > 20, "{command}: {seen}");
    }
}

const SCANNER: &str = "203.0.113.66";

/// `nmap-syn.pcap`, a scan at 1,000 packets/s from 13:05:00, with this entry.
fn scan_with(entry: &str) -> (Value, Output) {
    let dir = with_config(&format!("json = true\n[[allow]]\n{entry}"));
    let output = dir.run(["read", "--config", "flowtap.toml", &capture("nmap-syn.pcap")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), output)
}

fn entry(detector: &str, entity: &str, rest: &str) -> String {
    let reason = "reason = 'audit'\nowner = 'ops'";
    format!("detector = '{detector}'\nentity = '{entity}'\n{reason}\n{rest}\n")
}

#[test]
fn a_scan_that_is_allowed_is_counted_and_not_raised() {
    for (detector, entity_name) in
        [("port_scan", SCANNER), ("any", "203.0.113.0/24"), ("any", "0.0.0.0/0")]
    {
        let (summary, _) = scan_with(&entry(detector, entity_name, "expires = 2199-12-31"));
        assert_eq!(summary["alerts"], serde_json::json!([]), "{entity_name}");
        let allowed = &summary["alerts_allowed"][0];
        assert_eq!(allowed["suppressed"], 1);
        assert_eq!(allowed["entity"], entity_name);
        assert_eq!(allowed["expires"], "2200-01-01T00:00:00.000000000Z");
        follows(SUMMARY_SCHEMA, &summary);
    }
    for (detector, entity_name) in [("host_scan", SCANNER), ("port_scan", "203.0.113.67")] {
        let (summary, _) = scan_with(&entry(detector, entity_name, "expires = 2199-12-31"));
        assert_eq!(summary["alerts"].as_array().unwrap().len(), 1, "{detector} {entity_name}");
        assert_eq!(summary["alerts_allowed"][0]["suppressed"], 0);
    }
}

#[test]
fn what_is_allowed_to_an_instance_is_allowed_to_its_address() {
    let entry = entry("any", "instance:i-0abc", "expires = 2199-12-31");
    let dir = with_config(&format!("json = true\n[[allow]]\n{entry}"));
    let summary = |address: &str| -> Value {
        dir.write("inventory.csv", format!("id,address\ni-0abc,{address}\n").as_bytes());
        let args = ["read", "--config", "flowtap.toml", "--inventory", "inventory.csv"];
        let output = dir.run([&args[..], &[&capture("nmap-syn.pcap")]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(summary(SCANNER)["alerts"], serde_json::json!([]));
    assert_eq!(summary(SCANNER)["alerts_allowed"][0]["suppressed"], 1);
    assert_eq!(summary("203.0.113.67")["alerts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_scan_is_allowed_towards_its_targets_alone() {
    let towards = |lines: &str| {
        let rest = format!("expires = 2199-12-31\n{lines}");
        scan_with(&entry("port_scan", SCANNER, &rest)).0
    };
    let whole = scan_with(&entry("host_scan", SCANNER, "expires = 2199-12-31")).0;
    let target = whole["alerts"][0]["peers"][0]["address"].as_str().unwrap().to_owned();
    let summary = towards(&format!("peer = ['192.0.2.99', '{target}']"));
    assert_eq!(summary["alerts"], serde_json::json!([]));
    assert_eq!(summary["alerts_allowed"][0]["peer"], serde_json::json!(["192.0.2.99", target]));
    follows(SUMMARY_SCHEMA, &summary);
    // It is of many ports, so no few of them are all.
    for other in ["peer = '192.0.2.99'".to_owned(), format!("peer = '{target}'\nport = 443")] {
        assert_eq!(towards(&other)["alerts"].as_array().unwrap().len(), 1, "{other}");
    }
}

#[test]
fn what_an_entry_is_towards_is_shown_as_it_is_read() {
    let rest = "expires = 2199-12-31\npeer = ['192.0.2.9/24', '::1']\nport = 443";
    let dir = with_config(&format!("[[allow]]\n{}", entry("any", "10.0.0.1", rest)));
    let shown = dir.run(["config", "show", "flowtap.toml"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("\npeer = [\"192.0.2.0/24\", \"::1\"]\nport = [443]\n"), "{shown}");
    let again = with_config(&shown).run(["config", "show", "flowtap.toml"]);
    assert_eq!(text(&again.stdout), shown);
}

#[test]
fn an_entry_towards_nonsense_is_refused_by_its_line() {
    for (line, why) in [
        ("peer = 'store.example'", "peer: \"store.example\" is not allowed: an address"),
        ("peer = 443", "peer: 443 is not allowed: an address"),
        ("peer = ['10.0.0.1', '10.0.0.0/33']", "peer: \"10.0.0.0/33\" is not allowed: an address"),
        ("peer = []", "peer: the list is empty: leave it out"),
        ("peer = ['10.0.0.1', '10.0.0.1/32']", "peer: \"10.0.0.1/32\" is there twice"),
        ("port = 0", "port: 0 is not allowed: a port from 1 to 65535"),
        ("port = 65536", "port: 65536 is not allowed: a port"),
        ("port = '443'", "port: \"443\" is not allowed: a port"),
        ("port = [443, -1]", "port: -1 is not allowed: a port"),
        ("ports = 443", "ports: no such key in [[allow]]: did you mean \"port\"?"),
    ] {
        let rest = format!("expires = 2199-12-31\n{line}");
        let found = problems(&format!("[[allow]]\n{}", entry("any", "::1", &rest)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("7: {why}")), "{}", found[0]);
    }
}

#[test]
fn an_entry_ends_by_the_time_of_the_packets_and_says_so() {
    let at = |expires: &str| scan_with(&entry("any", SCANNER, &format!("expires = {expires}")));
    let alerts = |summary: &Value| summary["alerts"].as_array().unwrap().len();
    let (summary, output) = at("2026-11-21T13:05:00Z");
    assert_eq!(alerts(&summary), 1);
    let said = text(&output.stderr);
    assert!(
        said.contains("flowtap.toml:2: what is allowed to 203.0.113.66 (audit) has expired"),
        "{said}"
    );
    // A moment later, by the capture and not by the clock.
    assert_eq!(alerts(&at("2026-11-21T13:05:01Z").0), 0);
    assert_eq!(alerts(&at("2026-11-21").0), 0, "to the end of the day");
    assert_eq!(alerts(&at("2026-11-20").0), 1);
}

#[test]
fn beyond_its_bound_the_scan_is_raised_and_says_so() {
    let bound = |most: u64| {
        let rest = format!("expires = 2199-12-31\nmax_packets_per_s = {most}");
        scan_with(&entry("port_scan", SCANNER, &rest)).0
    };
    assert_eq!(bound(1_000)["alerts"], serde_json::json!([]));
    let summary = bound(999);
    let alert = &summary["alerts"][0];
    assert_eq!(alert["evidence"]["details"]["allowed"]["max_packets_per_s"], 999);
    let said = alert["summary"].as_str().unwrap();
    assert!(
        said.contains("Beyond the 999 packets/s that are allowed (audit, by ops, until 2200"),
        "{said}"
    );
    assert_eq!(summary["alerts_allowed"][0]["suppressed"], 0);
    follows(SUMMARY_SCHEMA, &summary);
    follows(ALERT_SCHEMA, alert);
    // Nothing else about it is another one.
    let dir = Dir::new();
    let plain = dir.summary([capture("nmap-syn.pcap")]);
    let mut without = alert.clone();
    without["evidence"]["details"].as_object_mut().unwrap().remove("allowed");
    without["summary"] = plain["alerts"][0]["summary"].clone();
    assert_eq!(without, plain["alerts"][0]);
}

fn follows(schema: &str, value: &Value) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{value}");
}

#[test]
fn what_is_wrong_with_allow_entries_is_told() {
    let found = problems(
        "[[allow]]\ndetector = 'port_scn'\nentity = 'eth0'\nreason = ''\nowner = 1\nexpires = 'soon'\n\
         [[allow]]\ndetector = 'any'\nentity = '::1'\nreason = 'x'\nownr = 'y'\nexpires = 2027-01-31T01:00:00\n\
         max_packets_per_s = 0\n",
    );
    let starts = [
        "2: detector: there is no detector \"port_scn\": did you mean \"port_scan\"?",
        "3: entity: 'eth0' is neither an address",
        "4: reason: \"\" is not allowed: a text",
        "5: owner: 1 is not allowed: a text",
        "6: expires: soon is not allowed: a date",
        "7: [[allow]]: owner is missing",
        "11: ownr: no such key in [[allow]]: did you mean \"owner\"?",
        "12: expires: 2027-01-31T01:00:00 is not allowed: a date",
        "13: max_packets_per_s: 0 is not allowed",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\n{start}");
    }
    // An entry that is over is no error.
    let output = check(&format!("[[allow]]\n{}", entry("any", "::1", "expires = 2020-01-01")));
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "ok\n");
    assert!(text(&output.stderr).starts_with("warning: flowtap.toml:1: what is allowed to ::1"));
}

#[test]
fn thresholds_of_the_file_are_in_force() {
    let dir = with_config("[detect]\nscan_ports = 2000\n");
    let summary = dir.summary(["--config", "flowtap.toml", &capture("nmap-syn.pcap")]);
    assert_eq!(summary["alerts"], serde_json::json!([]));
    let dir = with_config("[detect]\nscan_ports = 100\n");
    let summary = dir.summary(["--config", "flowtap.toml", &capture("nmap-syn.pcap")]);
    assert_eq!(summary["alerts"][0]["evidence"]["rule"]["threshold"], 100);
}

/// Options of a run, as on the command line.
fn any_options() -> impl Strategy<Value = Vec<(&'static str, Vec<String>)>> {
    fn one<T: ToString>(
        name: &'static str,
        values: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = (&'static str, Vec<String>)> {
        values.prop_map(move |value| (name, vec![value.to_string()]))
    }
    let name = |values: &'static [&'static str]| prop::sample::select(values);
    let each = (
        one("workers", 1u16..4),
        one("tcp-idle", name(&["1s", "250ms", "never", "300"])),
        one("udp-idle", 1u64..90),
        one("active", name(&["2s", "1m", "300s"])),
        one("packet-rate-threshold", 10u64..50_000),
        one("filter", name(&["tcp", "udp or icmp", "port 53", "not arp"])),
        one("dedup", name(&["exact", "routed"])),
        one("max-flows", 1_000u32..100_000),
        prop::sample::subsequence(vec!["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"], 1..4)
            .prop_map(|nets| ("home-net", nets.into_iter().map(str::to_owned).collect())),
        one("no-decap", any::<bool>()),
        one("fail-on-alert", name(&["low", "critical", "true"])),
    );
    (each, any::<[bool; 11]>()).prop_map(|((a, b, c, d, e, f, g, h, i, j, k), chosen)| {
        let all = [a, b, c, d, e, f, g, h, i, j, k];
        all.into_iter()
            .zip(chosen)
            .filter_map(|(option, chosen)| chosen.then_some(option))
            .collect()
    })
}

/// Exit status, files of a run, and what it printed, less what time it took.
fn results(dir: &Dir, options: &[String], capture: &str) -> (Option<i32>, [Vec<u8>; 2], Value) {
    let out = dir.path("out");
    let mut command = dir.command(["read", "--json", "--out"]);
    let output = command.arg(&out).args(options).arg(capture).output().unwrap();
    let printed: Result<Value, _> = serde_json::from_slice(&output.stdout);
    let mut summary = printed.unwrap_or_else(|_| panic!("{options:?}: {}", text(&output.stderr)));
    summary["elapsed_s"] = Value::Null;
    let file = |name: &str| std::fs::read(PathBuf::from(&out).join(name)).unwrap();
    (output.status.code(), [file("flows.ndjson"), file("alerts.ndjson")], summary)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_and_the_same_options_give_the_same_bytes(
        options in any_options(),
        section: bool,
        name in prop::sample::select(&["web.pcap", "dns.pcap", "nmap-syn.pcap", "crafted-vlan.pcap"]),
    ) {
        let mut typed = Vec::new();
        let mut toml = if section { "[read]\n".to_owned() } else { String::new() };
        for (name, values) in &options {
            let value = values.join("', '");
            match (*name, value.as_str()) {
                ("no-decap", "false") => {}
                (_, "true") => typed.push(format!("--{name}")),
                _ => typed.extend(values.iter().map(|value| format!("--{name}={value}"))),
            }
            let bare = matches!(value.as_str(), "true" | "false") || value.parse::<u64>().is_ok();
            toml.push_str(&match (*name, bare) {
                ("home-net", _) => format!("{name} = ['{value}']\n"),
                (_, true) => format!("{name} = {value}\n"),
                (_, false) => format!("{name} = '{value}'\n"),
            });
        }
        let path = capture(name);
        let (by_line, by_file) = (Dir::new(), with_config(&toml));
        let file = ["--config".to_owned(), "flowtap.toml".to_owned()];
        prop_assert_eq!(results(&by_file, &file, &path), results(&by_line, &typed, &path), "{}", toml);
    }
}

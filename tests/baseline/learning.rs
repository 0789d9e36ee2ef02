//! Learning goes on while somebody attacks: by the real binary, what that makes of alerts
//! and of baselines.

mod verdicts;

use crate::common::{Dir, text};
use flowtap::lab::scenario::load::EMBEDDED;
use serde_json::Value;

fn make(dir: &Dir, scenario: &str, out: &str, more: &[&str]) {
    let args = ["lab", "make", scenario, "-o", out];
    let made = dir.run([&args[..], more].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// Reads a scenario's packets and processes while it learns.
fn learn(dir: &Dir, made: &str, baselines: &str) -> Value {
    dir.summary(learning(dir, made, baselines))
}

fn learning(dir: &Dir, made: &str, baselines: &str) -> Vec<String> {
    let maps = std::fs::read_dir(dir.path(made)).expect("a folder").filter_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        name.starts_with("map").then(|| ["--procs".to_owned(), format!("{made}/{name}")])
    });
    let mut args = vec![format!("{made}/traffic.pcap")];
    args.extend(maps.flatten());
    args.extend(["--baseline", baselines, "--learn"].map(str::to_owned));
    args
}

/// What is known of an entity.
fn known(dir: &Dir, entity: &str, baselines: &str) -> Value {
    let shown = dir.run(["baseline", "show", entity, "--json", "--baseline", baselines]);
    serde_json::from_slice(&shown.stdout).expect("JSON")
}

fn prefixes(known: &Value) -> Vec<&str> {
    let all = known["destinations"].as_array().expect("destinations").iter();
    all.filter_map(|known| known["prefix"].as_str()).collect()
}

fn severities<'a>(summary: &'a Value, detector: &str) -> Vec<&'a str> {
    let alerts = summary["alerts"].as_array().expect("alerts");
    let of = alerts.iter().filter(|alert| alert["detector"] == detector);
    of.filter_map(|alert| alert["severity"].as_str()).collect()
}

#[test]
fn a_chain_is_as_high_where_it_is_learned_from_as_without_baselines() {
    let dir = Dir::new();
    make(&dir, "web-chain", "attack", &[]);
    let fresh = learn(&dir, "attack", "fresh.db");
    assert_eq!(severities(&fresh, "chain"), ["high"], "{:#}", fresh["alerts"]);
    for days in ["2", "1"] {
        make(&dir, "web-chain", "before", &["--days-before", days]);
        learn(&dir, "before", "known.db");
    }
    let later = learn(&dir, "attack", "known.db");
    assert_eq!(severities(&later, "chain"), ["high"], "{:#}", later["alerts"]);
}

/// The chain's last address is in a prefix that visited the server once, the day before.
#[test]
fn a_visit_from_the_attackers_network_does_not_make_it_known() {
    let dir = Dir::new();
    let (_, scenario) = EMBEDDED.iter().find(|(name, _)| *name == "web-chain").expect("there");
    let visited = scenario.replace(r#""203.0.113.200""#, r#""192.88.77.200""#)
        + r#"
[[host]]
name = "visitor"
address = "192.88.77.5"
outside = true
[[behaviour]]
kind = "requests"
from = "visitor"
to = "nginx"
start_s = 60
duration_s = 60
gap_s = 20
"#;
    dir.write("visited.toml", visited.as_bytes());
    make(&dir, "visited.toml", "before", &["--days-before", "1"]);
    learn(&dir, "before", "known.db");
    let web = known(&dir, "address:10.0.1.10", "known.db");
    assert_eq!(prefixes(&web), ["192.0.2.0/24"], "the mirror, and no visitor");
    make(&dir, "visited.toml", "attack", &[]);
    let later = learn(&dir, "attack", "known.db");
    assert_eq!(severities(&later, "chain"), ["high"], "{:#}", later["alerts"]);
}

/// Of five attacks at once the alerts are about processes, a workload, a host.
#[test]
fn where_an_alert_is_about_a_process_nothing_of_it_is_learned_of_its_address() {
    let dir = Dir::new();
    make(&dir, "all-five", "five", &["--set", "flood_per_s=300"]);
    let told = learn(&dir, "five", "five.db");
    assert!(!severities(&told, "non_networking").is_empty(), "{:#}", told["alerts"]);
    // The thief's, and the relay's in a container.
    for address in ["address:10.0.5.20", "address:10.244.1.5"] {
        let known = known(&dir, address, "five.db");
        assert!(!prefixes(&known).is_empty(), "what it does before is learned: {known:#}");
        assert!(!prefixes(&known).contains(&"203.0.113.0/24"), "{known:#}");
    }
    // The exploited host's shell reached it as well.
    let curl = dir.run(["baseline", "show", "--json", "--baseline", "five.db"]);
    let known = text(&curl.stdout);
    assert!(known.contains("process:web:"), "others of the host are known: {known}");
    assert!(!known.contains("process:web:/usr/bin/curl"), "{known}");
}

/// The web server of the chain, with a program that asks a shop for something each minute,
/// and the last step of the attack: a program that asks this address for that name, having
/// asked a resolver for it or not.
fn calls_home(address: &str, name: &str, asks: bool) -> String {
    let (_, scenario) = EMBEDDED.iter().find(|(name, _)| *name == "web-chain").expect("there");
    let (before, rest) = scenario.split_once("[[behaviour]]\nkind = \"upload\"").expect("there");
    let (_, after) = rest.split_once("[[expect]]").expect("there");
    let before =
        before.replace(r#""203.0.113.200""#, &format!("\"{address}\"\ndns_name = \"{name}\""));
    let via = if asks { "via = \"resolver\"\n" } else { "" };
    format!(
        r#"{before}
[[host]]
name = "resolver"
address = "10.0.1.53"
[[host]]
name = "shop"
address = "192.88.77.80"
dns_name = "api.shop.example"
outside = true
[[process]]
name = "fetch"
host = "web"
exe = "/usr/bin/fetch"
[[behaviour]]
kind = "web"
from = "fetch"
to = "shop"
start_s = 30
gap_s = 60
[[behaviour]]
kind = "web"
label = "egress"
attack = true
from = "curl2"
to = "drop"
start_s = 1262
gap_s = 5
duration_s = 4
{via}
[[expect]]{after}"#
    )
}

/// What the chain says of its last step: how severe it is, and in what words.
fn told_of(dir: &Dir, scenario: &str, baselines: &str) -> (String, String) {
    dir.write("attack.toml", scenario.as_bytes());
    make(dir, "attack.toml", "attack", &[]);
    let mut args = vec!["attack/traffic.pcap", "--baseline", baselines];
    args.extend(["--procs", "attack/map.jsonl"]);
    let summary = dir.summary(args);
    let alerts = summary["alerts"].as_array().expect("alerts").iter();
    let chain = alerts.filter(|alert| alert["detector"] == "chain").collect::<Vec<_>>();
    let [chain] = chain[..] else { panic!("{:#}", summary["alerts"]) };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&chain["severity"]), text(&chain["summary"]))
}

#[test]
fn names_make_moved_addresses_known_and_strangers_behind_known_ones_new() {
    let dir = Dir::new();
    let usual = calls_home("203.0.113.200", "evil.example", false);
    dir.write("usual.toml", usual.as_bytes());
    for days in ["9", "1"] {
        make(&dir, "usual.toml", "before", &["--days-before", days]);
        learn(&dir, "before", "known.db");
        let alone = ["before/traffic.pcap", "--learn", "--baseline"];
        dir.summary([&alone[..], &["alone.db"]].concat());
        // Packets too small for a server's name, and no answers of DNS.
        let nameless = ["nameless.db", "--filter", "not port 53 and less 150"];
        dir.summary([&alone[..], &nameless].concat());
    }
    let names = |baselines| known(&dir, "address:10.0.1.10", baselines)["names"].clone();
    assert_eq!(names("known.db")["count"], 2, "the mirror and the shop: {}", names("known.db"));
    assert_eq!(names("alone.db")["count"], 2, "without a map and records: {}", names("alone.db"));
    assert_eq!(names("nameless.db"), Value::Null);

    let told =
        |address, name, asks, baselines| told_of(&dir, &calls_home(address, name, asks), baselines);
    let (shop, beside, moved) = ("api7.shop.example", "192.88.77.9", "203.0.113.200");
    let (severity, text) = told(moved, shop, true, "known.db");
    assert_eq!(severity, "low", "the shop has moved: {text}");
    let (severity, text) = told(moved, shop, false, "known.db");
    assert_eq!(severity, "high", "{text}");
    assert!(text.contains("api7.shop.example (by SNI alone): its prefix was never"), "{text}");
    let (severity, text) = told(beside, "c2.evil.example", false, "known.db");
    assert_eq!(severity, "high", "{text}");
    assert!(text.contains("the domain of c2.evil.example (by SNI alone) was never"), "{text}");
    let (severity, text) = told(beside, shop, false, "known.db");
    assert_eq!(severity, "low", "another host of the shop: {text}");
    let (severity, text) = told(beside, "c2.evil.example", false, "nameless.db");
    assert_eq!(severity, "low", "of names it knows nothing: {text}");
}

/// A program sends much over one service and little over another, all day.
const SHIPPER: &str = r#"
about = "A program that ships files and reports, each over a service of its own"
start = "2026-03-02T09:00:00Z"
duration_s = 2400
[learn]
days = 1
[parameters]
upload_gap_s = 10
report_gap_s = 1
[[host]]
name = "app"
address = "10.0.5.10"
watched = true
[[host]]
name = "vault"
address = "10.0.9.10"
[[host]]
name = "collector"
address = "10.0.9.9"
[[host]]
name = "drop"
address = "203.0.113.99"
outside = true
[[process]]
name = "shipper"
host = "app"
exe = "/opt/app/bin/shipper"
[[behaviour]]
kind = "upload"
from = "shipper"
to = "vault"
gap_s = "$upload_gap_s"
jitter_share = 0.1
up_bytes = 1.5e6
rate_mbps = 20
[[behaviour]]
kind = "tls"
from = "shipper"
to = "collector"
port = 8443
gap_s = "$report_gap_s"
up_bytes = 150
"#;

fn size_shifts(summary: &Value) -> Vec<&Value> {
    let alerts = summary["alerts"].as_array().expect("alerts").iter();
    alerts.filter(|alert| alert["detector"] == "payload_shift").collect()
}

#[test]
fn a_shift_on_a_programs_small_service_is_found_under_its_big_one() {
    let dir = Dir::new();
    let attack = r#"
[[behaviour]]
kind = "size_shift"
label = "shift"
from = "shipper"
to = "drop"
port = 8443
start_s = 600
duration_s = 600
rate_per_s = 10
payload_bytes = 700
"#;
    dir.write("shipper.toml", format!("{SHIPPER}{attack}").as_bytes());
    make(&dir, "shipper.toml", "before", &["--days-before", "1"]);
    assert_eq!(size_shifts(&learn(&dir, "before", "known.db")), [&Value::Null; 0]);
    let program = "process:app:/opt/app/bin/shipper:";
    let usual = known(&dir, program, "known.db");
    let services = usual["services"].as_array().expect("services").iter();
    let names: Vec<&str> = services.filter_map(|known| known["service"].as_str()).collect();
    assert_eq!(names, ["tcp/443", "tcp/8443"], "{usual:#}");

    make(&dir, "shipper.toml", "attack", &[]);
    let told = learn(&dir, "attack", "known.db");
    let [alert] = size_shifts(&told)[..] else { panic!("{:#}", told["alerts"]) };
    assert_eq!(alert["evidence"]["details"]["service"], "tcp/8443", "{alert:#}");
    assert_eq!(alert["entity"]["kind"], "process");
    let summary = alert["summary"].as_str().expect("a text");
    assert!(summary.contains("over tcp/8443"), "{summary}");
}

#[test]
fn another_mix_of_a_programs_services_is_no_shift_of_sizes() {
    let dir = Dir::new();
    dir.write("shipper.toml", SHIPPER.as_bytes());
    make(&dir, "shipper.toml", "before", &["--days-before", "1"]);
    learn(&dir, "before", "known.db");
    // Twenty times the reports, and few files: most of what it sends now.
    let busy = ["upload_gap_s=60", "report_gap_s=0.05", "duration_s=600"];
    make(&dir, "shipper.toml", "busy", &busy.map(|set| ["--set", set]).concat());
    let told = learn(&dir, "busy", "known.db");
    assert_eq!(size_shifts(&told), [&Value::Null; 0], "{:#}", told["alerts"]);
}

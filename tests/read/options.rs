//! What options change, and how wrong ones are told.

use super::*;

/// As `live` writes them: what --record kept gives the same records.
#[test]
fn values_of_queries_are_masked_unless_they_are_to_stay() {
    let dir = Dir::new();
    let request = b"GET /login?user=ann&password=secret1 HTTP/1.1\r\nHost: a\r\n\r\n";
    dir.write("a.pcap", &pcap(&[&tcp_frame(request)]));
    dir.write(
        "access.log",
        b"192.0.2.7 - - [21/Nov/2026:09:30:00 +0000] \"GET /a?token=secret2 HTTP/1.1\" 200 12 \
          \"http://b/?q=secret3\" \"x\"\n",
    );
    let written = |options: &[&str]| {
        let out = ["read", "-q", "a.pcap", "access.log", "--out", "out", "--report", "page.html"];
        let args = [&out[..], options].concat();
        let output = dir.run(args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        ["out/flows.ndjson", "out/requests.ndjson", "page.html"]
            .map(|file| std::fs::read_to_string(dir.path(file)).expect("written"))
    };
    let masked = written(&[]);
    assert!(masked.iter().all(|file| !file.contains("secret")), "{masked:.2000?}");
    assert!(masked[0].contains("/login?user=*&password=*"), "{}", masked[0]);
    assert!(masked[1].contains("/a?token=*"), "{}", masked[1]);
    let [flows, requests, _] = written(&["--keep-query-values"]);
    assert!(flows.contains("password=secret1"), "{flows}");
    assert!(requests.contains("token=secret2") && requests.contains("q=secret3"), "{requests}");
    let [flows, requests, _] = written(&["--no-payload"]);
    assert!(!flows.contains("login") && !flows.contains("entropy"), "{flows}");
    assert!(!requests.contains("token"), "{requests}");
}

/// What alerts say of names and requests is of payloads as well.
#[test]
fn without_payload_alerts_say_nothing_that_packets_said() {
    let dir = Dir::new();
    let made = dir.run(["lab", "make", "web-chain", "-o", "lab"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    dir.write("owners.csv", b"prefix,owner\n203.0.113.0/24,somebody\n");
    let web = ["lab/traffic.pcap", "lab/access.log", "--procs", "lab/map.jsonl"];
    let web = [&web[..], &["--owners", "owners.csv"]].concat();
    let iodine = captures().join("iodine.pcap");
    let iodine = [iodine.to_str().expect("a name")];
    for (inputs, said) in [
        (&web[..], &["jndi", "/search", "drop.example"][..]),
        (&iodine, &["zwzeaabbcc", "example.test"]),
    ] {
        let written = |options: &[&str]| {
            let to = ["read", "-q", "--json", "--out", "out", "--report", "page.html"];
            let output = dir.run([&to[..], inputs, options].concat());
            assert!(output.status.success(), "{}", text(&output.stderr));
            let read = |file| std::fs::read_to_string(dir.path(file)).expect("written");
            let summary = text(&output.stdout);
            [read("out/alerts.ndjson"), read("out/summary.json"), read("page.html"), summary]
        };
        let whole = written(&[]);
        assert!(said.iter().all(|piece| whole[0].contains(piece)), "{}", whole[0]);
        for file in written(&["--no-payload"]) {
            assert!(file.contains("AN0"), "{file:.500}");
            for piece in said {
                assert!(!file.contains(piece), "{piece} in {file}");
            }
        }
    }
}

#[test]
fn a_home_network_may_be_one_address_and_a_wrong_one_is_explained() {
    let dir = Dir::new();
    dir.write("a.pcap", &pcap(&[&udp_frame(b"a")]));
    let read = ["read", "-q", "a.pcap", "--out", "out", "--home-net"];
    let run = |net: &str| dir.run([&read[..], &[net]].concat());
    assert!(run("10.0.0.1,fd00::1").status.success());
    let told = std::fs::read(dir.path("out/run.json")).expect("written");
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told["home_nets"], serde_json::json!(["10.0.0.1/32", "fd00::1/128"]));
    let refused = run("10.0.0.0/33");
    let said = text(&refused.stderr);
    assert!(said.contains("'10.0.0.0/33' is no prefix: try 10.0.0.0/8"), "{said}");
    assert_eq!(refused.status.code(), Some(2));
}

/// Options stand under what they are about.
#[test]
fn headings_of_the_help_hold_their_own_options() {
    let under = |command: &[&str], option: &str| {
        let help = text(&Dir::new().run([command, &["-h"]].concat()).stdout);
        let mut heading = None;
        for line in help.lines() {
            let starts = line.trim_start();
            match starts.strip_prefix(option).or_else(|| starts.get(4..)?.strip_prefix(option)) {
                Some(rest) if rest.is_empty() || rest.starts_with(' ') => return heading,
                _ if line.ends_with(':') && !line.starts_with(' ') => {
                    heading = Some(line.to_owned());
                }
                _ => {}
            }
        }
        panic!("no {option} in {help}");
    };
    for (command, option, heading) in [
        (&["read"][..], "--as", "Logs:"),
        (&["read"], "--fields", "Logs:"),
        (&["read"], "--report", "Options:"),
        (&["read"], "--time-scale", "Options:"),
        (&["read"], "--quiet", "Options:"),
        (&["read"], "--keep-query-values", "Options:"),
        (&["read"], "--inventory", "Hosts:"),
        (&["live"], "--log", "Logs:"),
        (&["live"], "--scrape", "Logs:"),
        (&["live"], "--listen", "Logs:"),
        (&["live"], "--pseudonyms", "Output:"),
        (&["lab", "backtest"], "--json", "Options:"),
    ] {
        assert_eq!(under(command, option).as_deref(), Some(heading), "{command:?} {option}");
    }
}

#[test]
fn an_alert_sets_the_exit_status_only_when_asked_to() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let flood = flood.to_str().expect("UTF-8");
    assert_eq!(dir.run(["read", "-q", flood]).status.code(), Some(0));
    assert_eq!(dir.run(["read", "-q", "--fail-on-alert", flood]).status.code(), Some(3));
    let quiet = dir.write("a.pcap", &pcap(&[&udp_frame(b"hello")]));
    let mut command = dir.command(["read", "-q", "--fail-on-alert"]);
    assert_eq!(command.arg(&quiet).output().expect("starts").status.code(), Some(0));
}

#[test]
fn without_detection_flows_are_the_same_and_there_is_no_alert() {
    let dir = Dir::new();
    let flood = captures().join("demo-udp-flood.pcap.zst");
    let read = |out: &str, options: &[&str]| -> (String, Value) {
        let mut command = dir.command(["read", "--json", "--out", out]);
        let output = command.args(options).arg(&flood).output().expect("starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let flows = std::fs::read_to_string(dir.path(out).join("flows.ndjson")).expect("written");
        (flows, serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    let (flows, summary) = read("with", &[]);
    assert!(summary["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()));
    let (same, summary) = read("without", &["--no-detection"]);
    assert_eq!(flows, same);
    assert_eq!(summary["alerts"], Value::Array(Vec::new()));
    let told = dir.run(["coverage", "--run", "without"]);
    assert!(text(&told.stdout).contains("--no-detection"), "{}", text(&told.stdout));
}

#[test]
fn the_age_limit_of_records_is_set_for_each_protocol() {
    let dir = Dir::new();
    // Six packets, a second apart.
    let frame = udp_frame(b"hello");
    let file = dir.write("a.pcap", &pcap(&[frame.as_slice(); 6]));
    let file = file.to_str().expect("UTF-8");
    let flows = |args: &[&str]| dir.summary([args, &[file]].concat())["flows"].clone();
    assert_eq!(flows(&[]), 1);
    assert_eq!(flows(&["--active", "2s"]), 2);
    assert_eq!(flows(&["--udp-active", "2s"]), 2);
    assert_eq!(flows(&["--tcp-active", "2s"]), 1);
    assert_eq!(flows(&["--active", "2s", "--udp-active", "never"]), 1);
}

#[test]
fn a_severity_without_its_sign_of_equality_is_told_as_such() {
    let dir = Dir::new();
    dir.write("a.pcap", &pcap(&[]));
    for args in [
        ["read", "a.pcap", "--fail-on-alert", "critical"],
        ["live", "-ilo", "--fail-on-alert", "critical"],
    ] {
        let output = dir.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        let said = text(&output.stderr);
        assert!(said.contains("--fail-on-alert=critical"), "{said}");
    }
    // A capture may be called so, and the option stand alone.
    dir.write("high", &pcap(&[]));
    let output = dir.run(["read", "--fail-on-alert", "high"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

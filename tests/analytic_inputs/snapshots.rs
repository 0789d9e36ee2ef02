//! AN0971 from what `ps`, `lsof` and the console of a Mac show now and again: who floods,
//! from where, and whether a person is there. Which of them looked first says nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::frames::{eth, icmp, ipv4, udp};
use super::{START_S, at, iso, pcap, read};

const MAC: [u8; 4] = [10, 0, 5, 20];
const TARGET: [u8; 4] = [203, 0, 113, 77];
/// When the flooder began.
const BEGAN_S: i64 = START_S - 2;
const STARTED: &str = "%a %b %e %H:%M:%S %Y";

/// What one sends for half a minute.
fn flood(rate: i64, frame: &[u8]) -> Vec<u8> {
    let times = (0..30 * rate).map(|at| START_S * 1_000_000 + at * 1_000_000 / rate);
    pcap(times.map(|time_us| (time_us, frame.to_vec())))
}

fn pings() -> Vec<u8> {
    flood(300, &eth(0x0800, &ipv4(1, MAC, TARGET, &icmp(8, 0, 4_000, &[0x55; 56]))))
}

/// Snapshots of a shell at a terminal and of what it runs since just before the flood.
fn ps(times: impl IntoIterator<Item = i64>, words: &str) -> String {
    let mut out = String::new();
    for second in times {
        let _ = writeln!(out, "{}\nPID PPID TTY USER UID STARTED COMMAND", iso(second));
        let mut row = |pid: i64, parent: u32, tty: &str, started: i64, words: &str| {
            let started = at(started, STARTED);
            let _ = writeln!(out, "{pid} {parent} {tty} ann 501 {started} {words}");
        };
        row(1, 0, "??", START_S - 3_600, "/sbin/launchd");
        row(400, 1, "ttys001", START_S - 3_600, "/bin/zsh");
        if second >= BEGAN_S {
            row(501, 400, "ttys001", BEGAN_S, words);
        }
        row(800 + second - START_S, 400, "ttys001", second, "ps -axo pid,ppid");
    }
    out
}

/// The flooder's socket, and another's that tells which address the host has.
fn lsof(times: impl IntoIterator<Item = i64>, name: &str, socket: &str) -> String {
    let flooder = format!("p501\nc{name}\nu501\nLann\nf5\ntIPv4\n{socket}\n");
    times.into_iter().fold(String::new(), |out, second| {
        let flooder = if second >= BEGAN_S { &*flooder } else { "" };
        out + &format!(
            "{}\n{flooder}p640\ncsshd\nu0\nLroot\nf4\ntIPv4\nPTCP\n\
             n10.0.5.20:22->198.51.100.9:51514\n",
            iso(second)
        )
    })
}

/// A person who touched the keyboard three seconds ago.
fn console(times: impl IntoIterator<Item = i64>) -> String {
    times.into_iter().fold(String::new(), |out, second| {
        out + &format!(
            "{}\nann\n    | |   \"HIDIdleTime\" = 3000000000\n\
             ann              console      Mar  1 09:00\nann              ttys001      Mar  1 09:00\n",
            iso(second)
        )
    })
}

/// A snapshot every five seconds.
fn every_5_s(from: i64) -> impl Iterator<Item = i64> {
    (from..36).step_by(5).map(|second| START_S + second)
}

fn alerts(files: &[(&str, &[u8])]) -> Vec<Value> {
    let (summary, alerts) = read(files, &["--log-host", "mac1"]);
    for source in summary["sources"].as_array().expect("a list") {
        assert!(source.get("bad").is_none() && source.get("bad_parts").is_none(), "{source:#}");
    }
    alerts
}

/// Of what a process did there is one alert.
fn tool_flood(alerts: &[Value]) -> &Value {
    let of_process: Vec<_> =
        alerts.iter().filter(|alert| alert["detector"] == "tool_flood").collect();
    let [alert] = of_process[..] else { panic!("one alert: {alerts:#?}") };
    alert
}

#[test]
fn snapshots_in_which_nothing_changes_name_who_floods() {
    let socket = "PUDP\nn10.0.5.20:4000->203.0.113.77:53";
    let lsof = lsof(every_5_s(-1), "python3", socket);
    let capture = flood(1_500, &eth(0x0800, &ipv4(17, MAC, TARGET, &udp(4_000, 53, &[0x61; 100]))));
    let ps = ps(every_5_s(-1).take(1), "python3 f.py");
    for more in [&[][..], &[("ps", ps.as_bytes())]] {
        let mut files = vec![("capture", &*capture), ("lsof", lsof.as_bytes())];
        files.extend(more);
        let found = alerts(&files);
        let alert = tool_flood(&found);
        assert_eq!(alert["entity"]["labels"]["name"], "python3", "{alert:#}");
        let missing = alert["missing_telemetry"].as_array().expect("a list");
        assert!(!missing.contains(&"process_map".into()), "{missing:?}");
        // It names the process of all the packets.
        assert!(alert["evidence"]["packets"].as_u64() >= Some(40_000), "{alert:#}");
    }
}

#[test]
fn which_snapshot_came_first_does_not_matter() {
    let (capture, words) = (pings(), "ping -f 203.0.113.77");
    let console = console(every_5_s(-6));
    let judged = |ps_from: i64, lsof_from: i64| {
        let ps = ps(every_5_s(ps_from), words);
        let lsof = lsof(every_5_s(lsof_from), "ping", "PICMP\nn*:*");
        let files = [
            ("capture", &*capture),
            ("console", console.as_bytes()),
            ("ps", ps.as_bytes()),
            ("lsof", lsof.as_bytes()),
        ];
        // Nor does the order of the files.
        [[0, 1, 2, 3], [0, 1, 3, 2], [3, 2, 1, 0]].map(|order| {
            let found = alerts(&order.map(|at| files[at]));
            let alert = tool_flood(&found);
            let id = alert["entity"]["id"].as_str().expect("an id").to_owned();
            let of_process = json!({
                "severity": alert["severity"], "confidence": alert["confidence"],
                "missing": alert["missing_telemetry"],
                "person": alert["evidence"]["details"]["person_at_it"],
                "parents": alert["evidence"]["details"]["parent_chain"],
            });
            (id, of_process)
        })
    };
    let usual = judged(-5, 0);
    let (id, judgement) = &usual[0];
    assert!(id.contains(":501:") && !id.ends_with(":0"), "{id}");
    assert_eq!(judgement["severity"], "low", "{judgement:#}");
    assert_eq!(judgement["person"], true);
    let parents = judgement["parents"].as_array().expect("a list");
    assert!(parents.starts_with(&["zsh".into(), "launchd".into()]), "{judgement:#}");
    for (ps_from, lsof_from) in [(-5, 0), (0, 0), (0, -1), (-5, -1), (-1, -5), (4, 0), (9, -1)] {
        for other in judged(ps_from, lsof_from) {
            assert_eq!(&other, &usual[0], "ps from {ps_from} s, lsof from {lsof_from} s");
        }
    }
}

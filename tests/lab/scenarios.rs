//! Scenarios end to end: what is made is right and the same again, and detection meets
//! its gates on seeds that nothing was tuned on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use flowtap::alert::Severity;
use flowtap::lab::scenario::load::{EMBEDDED, load};
use flowtap::lab::scenario::make::{Made, make};
use flowtap::lab::scenario::sweep::{Gate, Row, Sweep, Vary, sweep};

/// Seeds from here on are for tests alone.
const FIRST_SEED: u64 = 9_000;

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn made(name: &str, seed: u64, pairs: &[(&str, &str)], dir: &Path) -> Made {
    let (title, scenario) = load(name, &set(pairs)).unwrap();
    make(&title, &scenario, dir, seed, 1.0).unwrap()
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
        .into_iter()
        .map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_others() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for (dir, seed) in dirs.iter().zip([7, 7, 8]) {
        let made = made("web-chain", seed, &[("duration_s", "1300")], dir.path());
        assert!(made.played.packets > 1_000);
    }
    let [first, again, other] = dirs.each_ref().map(|dir| files(dir.path()));
    assert!(first == again);
    assert!(first != other);
    let names: Vec<_> = first.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names, ["access.log", "map.jsonl", "traffic.pcap", "truth.json"]);
}

/// What keeps a scenario small enough for tshark and a test: attacks begin early.
const SHORT: [(&str, &[(&str, &str)]); 24] = [
    ("udp-flood", &[("strength", "50"), ("flood.start_s", "5"), ("duration_s", "25")]),
    ("egress-lookalikes", &[("duration_s", "30")]),
    (
        "web-chain",
        &[
            ("exploit.start_s", "20"),
            ("metadata.start_s", "52"),
            ("egress.start_s", "82"),
            ("duration_s", "150"),
        ],
    ),
    ("web-noise", &[("duration_s", "200")]),
    ("ping-flood", &[("strength", "20"), ("flood.start_s", "20"), ("duration_s", "90")]),
    ("curl-loop", &[("strength", "5"), ("flood.start_s", "20"), ("duration_s", "120")]),
    ("relay", &[("relay.start_s", "20"), ("duration_s", "80")]),
    ("dormant", &[("sold.start_s", "20"), ("up_bytes", "100000"), ("duration_s", "120")]),
    ("beacon", &[("beacon.start_s", "20"), ("duration_s", "400")]),
    ("dns-tunnel", &[("strength", "2"), ("tunnel.start_s", "20"), ("duration_s", "120")]),
    ("icmp-tunnel", &[("strength", "2"), ("tunnel.start_s", "20"), ("duration_s", "120")]),
    (
        "size-shift",
        &[("shift.start_s", "10"), ("service-shift.start_s", "20"), ("duration_s", "60")],
    ),
    ("exfiltration", &[("theft.start_s", "20"), ("up_bytes", "500000"), ("duration_s", "100")]),
    ("ordinary-day", &[("start", "2026-03-03T09:00:00Z"), ("duration_s", "300")]),
    ("office", &[("duration_s", "200")]),
    ("rollout", &[("warming.start_s", "5"), ("duration_s", "20")]),
    ("script-flood", &[("strength", "50"), ("flood.start_s", "5"), ("duration_s", "15")]),
    ("all-five", &[("flood_per_s", "50"), ("flood.start_s", "20"), ("duration_s", "60")]),
    ("mirrored-flood", &[("strength", "50"), ("flood.start_s", "5"), ("duration_s", "20")]),
    (
        "held-open",
        &[("holder.start_s", "5"), ("own.start_s", "5"), ("strength", "20"), ("duration_s", "60")],
    ),
    ("split-exfiltration", &[("pieces.start_s", "5"), ("gap_s", "2"), ("duration_s", "40")]),
    (
        "tunnelled-exfiltration",
        &[("theft.start_s", "5"), ("up_bytes", "500000"), ("duration_s", "60")],
    ),
    ("tunnelled-flood", &[("strength", "50"), ("flood.start_s", "5"), ("duration_s", "40")]),
    ("slow-leak", &[("leak.start_s", "5"), ("duration_s", "60")]),
];

/// What packets can be put into on their way out, and a field of tshark that says so.
const TUNNELS: [(&str, &str); 8] = [
    ("none", "ip.proto == 6"),
    ("gre", "gre"),
    ("ip_in_ip", "ip.proto == 4"),
    ("vxlan", "vxlan"),
    ("geneve", "geneve"),
    ("gtp_u", "gtp"),
    ("wireguard", "wg.type == 4"),
    ("wireguard_program", "wg.type == 4"),
];

/// Lines that tshark prints for a capture, with every checksum verified. `None` without it.
fn tshark(capture: &Path, more: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("tshark")
        .args(["-n", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"])
        .args(["-o", "udp.check_checksum:TRUE", "-r"])
        .arg(capture)
        .args(more)
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: tshark is not installed, generated captures were not checked");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Packets whose payload is noise by design, which looks like some protocol now and then:
/// the flood (7777), a call's media (50000, 50001), WireGuard (51820) and tunnels in echoes.
const NOISE: &str = "udp.port in {7777, 50000, 50001, 51820} || icmp";

/// tshark verifies every checksum, reassembles, and dissects DNS, TLS and HTTP.
#[test]
fn tshark_finds_nothing_wrong_in_any_scenario() {
    let names: Vec<&str> = SHORT.iter().map(|(name, _)| *name).collect();
    assert!(EMBEDDED.iter().all(|(name, _)| names.contains(name)), "a scenario is missing here");
    for (name, pairs) in SHORT {
        let dir = tempfile::tempdir().unwrap();
        let made = made(name, FIRST_SEED, pairs, dir.path());
        let truth = &made.truth;
        let Some(found) = tshark(&made.capture, &["-Y", &wrong()]) else { return };
        assert!(found.is_empty(), "{name}: {:#?}", found.iter().take(5).collect::<Vec<_>>());
        // Connections begin with what their ports promise.
        let begins = "tcp.flags == 2 || tls.handshake.type == 1 || http.request || udp.port == 53";
        let fields =
            ["-Y", begins, "-d", "tcp.port==9100,http", "-T", "fields", "-e", "tcp.dstport"];
        let more = ["-e", "tls.handshake.type", "-e", "http.request.method", "-e", "dns.id"];
        let more = [&more[..], &["-e", "udp.port"]].concat();
        let lines = tshark(&made.capture, &[&fields[..], &more[..]].concat()).unwrap_or_default();
        let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
        let count = |ports: &[&str], begun: fn(&[&str]) -> bool| {
            rows.iter().filter(|row| ports.contains(&row[0]) && begun(row)).count()
        };
        let says_hello: fn(&[&str]) -> bool = |row| row[1] == "1";
        let asks: fn(&[&str]) -> bool = |row| !row[2].is_empty();
        for (what, ports, has) in
            [("TLS", &["443", "993"], says_hello), ("HTTP", &["80", "9100"], asks)]
        {
            let opened = count(ports, |row| row[1].is_empty() && row[2].is_empty());
            let begun = count(ports, has);
            if name == "held-open" && what == "HTTP" {
                // Their requests are never whole: each begins, and no more.
                let gets = ["-Y", "tcp.dstport == 80 && tcp.payload[0:4] == 47:45:54:20"];
                let gets = tshark(&made.capture, &gets).unwrap_or_default().len();
                assert!(begun == 0 && gets + 3 >= opened && opened > 3, "{gets} of {opened}");
                continue;
            }
            // Some were opened when the scenario ended.
            assert!(begun + 3 + opened / 50 >= opened, "{name}: {what} in {begun} of {opened}");
        }
        let dns = rows.iter().filter(|row| row[4].split(',').any(|port| port == "53"));
        for row in dns {
            assert!(!row[3].is_empty(), "{name}: port 53 without DNS: {row:?}");
        }
        assert!(truth.packets > 100, "{name}: {} packets", truth.packets);
    }
}

/// What is wrong in a packet, as a filter of tshark.
fn wrong() -> String {
    format!(
        "((_ws.malformed || _ws.expert.severity >= \"Error\") && !({NOISE})) || \
         ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || \
         icmp.checksum.status == 0 || tcp.analysis.lost_segment || \
         tcp.analysis.ack_lost_segment || tcp.analysis.retransmission || \
         tcp.analysis.out_of_order"
    )
}

#[test]
fn tshark_sees_each_tunnel_with_nothing_wrong_in_it() {
    for (kind, filter) in TUNNELS {
        let dir = tempfile::tempdir().unwrap();
        let short = [("theft.start_s", "5"), ("up_bytes", "200000"), ("duration_s", "30")];
        let pairs = [&short[..], &[("tunnel", kind)]].concat();
        let made = made("tunnelled-exfiltration", FIRST_SEED, &pairs, dir.path());
        let Some(found) = tshark(&made.capture, &["-Y", &wrong()]) else { return };
        assert!(found.is_empty(), "{kind}: {:#?}", found.iter().take(5).collect::<Vec<_>>());
        let is_long = "frame.len > 1514";
        assert_eq!(tshark(&made.capture, &["-Y", is_long]), Some(Vec::new()), "{kind}: over 1,500");
        // Outside goes only what is meant to: the archive, in the tunnel or to its own address.
        let out = format!("{filter} && ip.addr == 10.0.5.10 && frame.len > 1000");
        let out = tshark(&made.capture, &["-Y", &out]).unwrap_or_default().len();
        assert!(out > 100, "{kind}: {out}");
        let bare = "ip.dst == 203.0.113.99 && !(ip.dst == 203.0.113.7)";
        let bare = tshark(&made.capture, &["-Y", bare]).unwrap_or_default().len();
        assert_eq!(bare > 0, kind == "none", "{kind}: {bare} past the tunnel");
    }
}

#[test]
fn every_embedded_scenario_is_whole() {
    for (name, _) in EMBEDDED {
        let dir = tempfile::tempdir().unwrap();
        // Names of behaviours and expectations are looked up before anything is made.
        let (_, scenario) = load(name, &set(&[("duration_s", "5")])).unwrap();
        make(name, &scenario, dir.path(), 1, 1.0)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

fn swept(name: &str, seeds: u64, vary: Vec<Vary>) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    let told = Sweep {
        scenario: name.to_owned(),
        set: Vec::new(),
        vary,
        seeds: (FIRST_SEED..FIRST_SEED + seeds).collect(),
        scale: 1.0,
        learn_days: None,
        formats: Vec::new(),
        least: Severity::Low,
        folder: dir.path().to_owned(),
    };
    sweep(&told, &AtomicBool::new(false), |_| {}).expect(name)
}

/// A row of the README's table of scores.
struct Scored {
    analytic: &'static str,
    scenario: &'static str,
    key: &'static str,
    /// What the key is, for people.
    unit: &'static str,
    values: &'static [&'static str],
    /// Seconds even unoptimised: judged with every run of the tests.
    quick: bool,
}

const SEEDS: u64 = 5;

#[rustfmt::skip]
const SCORES: [Scored; 18] = [
    Scored { analytic: "AN0972", scenario: "udp-flood", key: "strength", unit: "packets/s",
             values: &["100", "300", "1000", "3000", "12000"], quick: false },
    Scored { analytic: "AN0223", scenario: "web-chain", key: "exploit_status", unit: "answer to the exploit",
             values: &["200", "404", "500"], quick: true },
    Scored { analytic: "AN0971", scenario: "ping-flood", key: "strength", unit: "echoes/s",
             values: &["50", "100", "1000"], quick: true },
    Scored { analytic: "AN0971", scenario: "curl-loop", key: "strength", unit: "connections/s",
             values: &["100", "200", "300", "1000"], quick: false },
    Scored { analytic: "AN0971", scenario: "script-flood", key: "strength", unit: "datagrams/s",
             values: &["300", "1000", "3000"], quick: false },
    Scored { analytic: "AN0971", scenario: "held-open", key: "strength", unit: "connections",
             values: &["50", "150", "300"], quick: false },
    Scored { analytic: "AN0083", scenario: "relay", key: "gap_s", unit: "seconds between connections",
             values: &["4", "16", "60"], quick: false },
    Scored { analytic: "AN0083", scenario: "dormant", key: "up_bytes", unit: "bytes each 8 s",
             values: &["300000", "1000000", "2000000", "4000000"], quick: false },
    Scored { analytic: "AN0031", scenario: "size-shift", key: "strength", unit: "pieces/s",
             values: &["1", "5", "20"], quick: false },
    Scored { analytic: "AN0031", scenario: "beacon", key: "jitter", unit: "share of the interval",
             values: &["0.1", "0.3", "0.5", "0.8"], quick: true },
    Scored { analytic: "AN0031", scenario: "exfiltration", key: "up_bytes", unit: "bytes",
             values: &["100000", "300000", "1000000", "60000000"], quick: true },
    Scored { analytic: "AN0031", scenario: "dns-tunnel", key: "strength", unit: "questions/s",
             values: &["0.1", "0.3", "1", "10"], quick: false },
    Scored { analytic: "AN0031", scenario: "icmp-tunnel", key: "strength", unit: "echoes/s",
             values: &["0.03", "0.1", "1", "20"], quick: true },
    Scored { analytic: "AN0972", scenario: "mirrored-flood", key: "strength", unit: "packets/s over IPv6, in VXLAN",
             values: &["300", "1000", "3000"], quick: false },
    Scored { analytic: "AN0031", scenario: "split-exfiltration", key: "gap_s", unit: "seconds between pieces",
             values: &["10", "60", "300"], quick: false },
    Scored { analytic: "AN0031", scenario: "slow-leak", key: "strength", unit: "pieces of 1,200 bytes a second, to a new address",
             values: &["0.1", "0.3", "1"], quick: false },
    Scored { analytic: "AN0031", scenario: "tunnelled-exfiltration", key: "tunnel", unit: "what it goes through",
             values: &["gre", "vxlan", "wireguard", "wireguard_program"], quick: false },
    Scored { analytic: "AN0972, AN0971", scenario: "tunnelled-flood", key: "tunnel", unit: "what it goes through",
             values: &["gre", "wireguard", "wireguard_program"], quick: false },
];

/// What looks alike, and ordinary days.
const QUIET: [(&str, u64, bool); 5] = [
    ("web-noise", SEEDS, true),
    ("egress-lookalikes", SEEDS, false),
    ("rollout", SEEDS, false),
    ("office", SEEDS, true),
    ("ordinary-day", 2, false),
];

impl Scored {
    /// As it stands in the README.
    fn line(&self) -> String {
        let values = self.values.iter().map(|&value| value.to_owned()).collect();
        let rows = swept(self.scenario, SEEDS, vec![Vary { key: self.key.to_owned(), values }]);
        let cells: Vec<String> =
            self.values.iter().zip(&rows).map(|(value, row)| cell(value, row)).collect();
        format!(
            "| {} | `{}` | {} | {} |",
            self.analytic,
            self.scenario,
            self.unit,
            cells.join(", ")
        )
    }
}

fn cell(value: &str, row: &Row) -> String {
    let recall = row.recall.unwrap_or_default();
    let after =
        row.time_to_detect_s.map_or_else(String::new, |after_s| format!(" ({after_s:.0} s)"));
    let precision = match row.precision {
        Some(precision) if precision < 1.0 => format!(" precision {precision}"),
        _ => String::new(),
    };
    format!("{value}: {recall}{after}{precision}")
}

fn quiet_line(name: &str, seeds: u64) -> String {
    let rows = swept(name, seeds, Vec::new());
    let false_alerts = rows[0].false_per_day_and_100_hosts;
    format!(
        "| quiet | `{name}` | {seeds} seeds | {false_alerts} false alerts a day and 100 hosts |"
    )
}

fn the_readme_holds(lines: impl Iterator<Item = String>) {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let missing: Vec<String> =
        lines.filter(|line| !readme.lines().any(|stated| stated == line)).collect();
    assert!(missing.is_empty(), "measured, but not so in the README:\n{}", missing.join("\n"));
}

/// Detection does what the README says of it, to the figure: scenarios and seeds give
/// the same bytes, and the same bytes the same alerts.
#[test]
fn scores_are_those_of_the_readme() {
    the_readme_holds(SCORES.iter().filter(|scored| scored.quick).map(Scored::line));
}

#[test]
fn what_looks_alike_stays_quiet() {
    let quick = QUIET.iter().filter(|(.., quick)| *quick);
    the_readme_holds(quick.map(|&(name, seeds, _)| quiet_line(name, seeds)));
}

/// The first value of those that take long, with one seed.
#[test]
fn a_flood_and_a_relay_are_found_and_nothing_else() {
    for (name, key, value) in [("udp-flood", "strength", "1000"), ("relay", "gap_s", "4")] {
        let vary = vec![Vary { key: key.to_owned(), values: vec![value.to_owned()] }];
        let rows = swept(name, 1, vary);
        let gate: Gate = "precision>=1,recall>=1,false_per_day<=0".parse().unwrap();
        let failures = gate.failures(&rows[0]);
        assert!(failures.is_empty(), "{name}: {failures:?}; {rows:#?}");
    }
}

#[test]
#[ignore = "minutes: whole days, full rates, and a week that is learned first"]
fn all_scores_are_those_of_the_readme() {
    let slow = SCORES.iter().filter(|scored| !scored.quick).map(Scored::line);
    let quiet = QUIET.iter().filter(|(.., quick)| !quick);
    the_readme_holds(slow.chain(quiet.map(|&(name, seeds, _)| quiet_line(name, seeds))));
}

//! AN0031's detectors of minutes: payload shift, data ratio, non-networking.

use std::net::IpAddr;
use std::sync::Arc;

use super::testing::{alert_of, show};
use super::*;
use crate::alert::Severity;
use crate::baseline::BaselineSettings;
use crate::detect::{DetectSettings, Names};
use crate::engine::window::{Host, SIZE_BINS, size_bin};
use crate::entity::{Leg, OneService, PeerSums, Service, Spoken};
use crate::host::process::{Context, Process, ProcessId};

pub(super) struct Run {
    pub settings: DetectSettings,
    pub baselines: Baselines,
    pub inputs: Inputs,
    detectors: Vec<Box<dyn Analytic>>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            settings: DetectSettings::default(),
            baselines: Baselines::in_memory(BaselineSettings::default(), true),
            inputs: Inputs::default(),
            detectors: vec![
                Box::<payload_shift::PayloadShift>::default(),
                Box::<data_ratio::DataRatio>::default(),
                Box::<non_networking::NonNetworking>::default(),
            ],
        }
    }
}

impl Run {
    pub(super) fn minute(&mut self, minute: &Minute) -> Vec<Finding> {
        let ctx = AnalyticContext {
            settings: &self.settings,
            baselines: &self.baselines,
            inputs: &self.inputs,
            names: &Names::default(),
            seed: Seed::default(),
        };
        let mut out = Vec::new();
        for detector in &mut self.detectors {
            show(&mut **detector, &Event::Minute(minute), &ctx, &mut out);
        }
        out
    }

    /// Nine days of the same, each hour.
    fn learn(&mut self, traffic: &Traffic, exe: &str) {
        for hour in 0..9 * 24 {
            let minute = minute(exe, Context::None, hour * 3_600, traffic);
            self.minute(&minute);
            self.baselines.learn(&minute);
        }
    }
}

/// Packets by payload size, what came back, to whom.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    pub sizes: [(u32, u64); 2],
    pub received: u64,
    pub to: [u8; 4],
    pub port: u16,
}

pub(super) const OUTSIDE: [u8; 4] = [192, 0, 2, 9];
pub(super) const INSIDE: [u8; 4] = [10, 0, 0, 9];
pub(super) const NOW_S: i64 = 10 * 86_400;

pub(super) fn minute(exe: &str, context: Context, start_s: i64, traffic: &Traffic) -> Minute {
    let process = Process {
        id: ProcessId { pid: 7, start_ticks: 1 },
        name: exe.rsplit('/').next().unwrap_or_default().to_owned(),
        exe: exe.to_owned(),
        args: vec![exe.to_owned(), "/srv/job/run".to_owned()],
        context: Some(context),
        ..Process::default()
    };
    let view = Arc::new(ProcessView { process, ..ProcessView::default() });
    let who = Arc::new(Who::process("host", "boot", &view, None, 1.0));
    let mut measures = crate::entity::Measures::default();
    let (mut packets, mut bytes) = (0, 0);
    for (size, count) in traffic.sizes {
        measures.sent.sizes[size_bin(size)] += count;
        packets += count;
        bytes += count * u64::from(size);
    }
    measures.sent.packets = packets;
    measures.sent.payload_bytes = bytes;
    measures.sent.wire_bytes = bytes + 66 * packets;
    measures.received.payload_bytes = traffic.received;
    if traffic.to == OUTSIDE {
        measures.external = measures.sent;
    }
    let sums = |wire| (wire, packets, bytes);
    let (sent_bytes, sent_packets, sent_payload) = sums(measures.sent.wire_bytes);
    fn peer<K>(key: K, sent_bytes: u64, sent_packets: u64, sent_payload: u64) -> PeerSums<K> {
        PeerSums {
            key,
            sent_bytes,
            sent_packets,
            sent_payload,
            opened_bytes: sent_bytes,
            unasked_bytes: 0,
            received_bytes: 0,
            received_packets: 0,
            received_payload: 0,
            error_bytes: 0,
            service: OneService::None,
        }
    }
    let host = IpAddr::from(traffic.to).into();
    measures.top = vec![peer(host, sent_bytes, sent_packets, sent_payload)];
    measures.top[0].service = OneService::One(6, traffic.port);
    measures.services = vec![peer((6, traffic.port), sent_bytes, sent_packets, sent_payload)];
    let mut spoken = Spoken::new(Service { proto: 6, port: traffic.port, leg: Leg::Opened });
    for (size, count) in traffic.sizes {
        spoken.send(size_bin(size), count as u32, count * u64::from(size));
    }
    spoken.received_payload = traffic.received;
    spoken.external_payload = measures.external.payload_bytes;
    spoken.to = Some((host, bytes));
    measures.spoken = vec![spoken];
    Minute { who, start_s, length_s: 60, source: "packets".into(), measures, reported: None }
}

const ORDINARY: Traffic =
    Traffic { sizes: [(90, 300), (700, 100)], received: 900_000, to: INSIDE, port: 443 };

#[test]
fn an_address_is_left_to_its_processes_where_they_are_known() {
    let told = |known_share: f64| {
        let mut run = Run::default();
        let address = |start_s: i64, traffic: &Traffic| {
            let mut minute = minute("/x", Context::None, start_s, traffic);
            minute.who = Arc::new(Who::address(&Host::from(IpAddr::from([10, 0, 0, 5]))));
            let all = minute.measures.payload_bytes() as f64;
            minute.measures.of_processes_bytes = (all * known_share) as u64;
            minute
        };
        for hour in 0..9 * 24 {
            run.baselines.learn(&address(hour * 3_600, &ORDINARY));
        }
        let junk =
            Traffic { sizes: [(512, 4_000), (0, 0)], received: 1_000, to: OUTSIDE, port: 443 };
        run.minute(&address(NOW_S, &junk)).len()
    };
    assert!(told(0.0) > 0 && told(0.4) > 0);
    assert_eq!((told(0.6), told(1.0)), (0, 0));
}

#[test]
fn sizes_that_are_not_ones_own_and_a_new_destination() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let same = minute("/opt/shop/shopd", Context::None, NOW_S, &ORDINARY);
    assert!(run.minute(&same).is_empty());
    let junk = Traffic { sizes: [(512, 4_000), (0, 0)], received: 1_000, to: OUTSIDE, port: 443 };
    let found = run.minute(&minute("/opt/shop/shopd", Context::None, NOW_S, &junk));
    let shift = found.iter().find(|finding| finding.detector == "payload_shift").unwrap();
    let case = shift.case.as_ref().unwrap();
    assert_eq!(case.analytics, ["AN0031"]);
    assert_eq!(case.decided_by.name(), "baseline");
    assert!(case.baseline_mature && case.confidence() > 0.6);
    assert!(case.missing.contains(&"encrypted_payload"), "to port 443: {:?}", case.missing);
    assert!(case.confidence_terms.iter().any(|term| term.name == "encrypted_payload"));
    assert_eq!(case.score.recompute(), case.score.value);
    assert!(case.summary.contains("to 192.0.2.9 over tcp/443"), "{}", case.summary);
    assert!(case.summary.contains("doublings"), "{}", case.summary);
    assert!(found.iter().any(|finding| finding.detector == "data_ratio"));
}

#[test]
fn an_alert_says_what_it_was_held_against_or_why_it_was_not() {
    let junk = Traffic { sizes: [(512, 40_000), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let told = |run: &mut Run, detector: &str, exe: &str| {
        let found = run.minute(&minute(exe, Context::None, NOW_S, &junk));
        let finding = found.into_iter().find(|finding| finding.detector == detector);
        finding.unwrap().case.unwrap().baseline.clone()
    };
    let script = "/usr/bin/python3";
    for (detector, exe) in [("data_ratio", script), ("non_networking", "/usr/bin/ls")] {
        let told = |run: &mut Run| told(run, detector, exe);
        let mut run = Run::default();
        assert_eq!(told(&mut run), "none: no baseline was given");
        run.inputs.baseline = true;
        assert_eq!(told(&mut run), "none yet of this entity");
        for at in 0..10 {
            run.baselines.learn(&minute(exe, Context::None, at * 60, &ORDINARY));
        }
        assert_eq!(told(&mut run), "none: too little is known of this entity (10 minutes)");
        run.learn(&ORDINARY, exe);
        let text = told(&mut run);
        assert!(text.contains("times its 99th percentile"), "{text}");
        assert!(text.contains("where most of it went is new; of 226 minutes"), "{text}");
    }
}

#[test]
fn a_shift_alone_is_no_alert() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/usr/bin/git");
    // Another sort of day: full packets to the same place, as much as ever.
    let push = Traffic { sizes: [(1_448, 500), (90, 20)], ..ORDINARY };
    assert!(run.minute(&minute("/usr/bin/git", Context::None, NOW_S, &push)).is_empty());
}

#[test]
fn the_threshold_is_the_entitys_own() {
    let mut run = Run::default();
    // It has always changed its mind.
    for hour in 0..9 * 24 {
        let small = if hour % 2 == 0 { 400 } else { 20 };
        let traffic = Traffic { sizes: [(90, small), (700, 420 - small)], ..ORDINARY };
        let minute = minute("/opt/x/xd", Context::None, hour * 3_600, &traffic);
        run.minute(&minute);
        run.baselines.learn(&minute);
    }
    let traffic = Traffic { sizes: [(90, 410), (700, 10)], ..ORDINARY };
    assert!(run.minute(&minute("/opt/x/xd", Context::None, NOW_S, &traffic)).is_empty());
}

#[test]
fn a_script_that_sends_one_size_and_gets_nothing_back() {
    let mut run = Run::default();
    let junk = Traffic { sizes: [(512, 40_000), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let found = run.minute(&minute("/usr/bin/python3", Context::None, NOW_S, &junk));
    let [finding] = &found[..] else { panic!("{}", found.len()) };
    assert_eq!(finding.detector, "data_ratio");
    let case = finding.case.as_ref().unwrap();
    assert!(case.process_class.as_ref().unwrap().starts_with("interpreter"));
    assert!(case.summary.contains("nothing comes back"), "{}", case.summary);
    assert!(case.score.dimensions() >= 3);
    assert!(!case.missing.contains(&"encrypted_payload"), "to port 9999: {:?}", case.missing);
}

#[test]
fn a_port_of_look_ups_excuses_questions_and_no_haul() {
    let told = |port, to, count| {
        let traffic = Traffic { sizes: [(50, count), (0, 0)], received: 500, to, port };
        let found = Run::default().minute(&minute("/usr/bin/tar", Context::None, NOW_S, &traffic));
        found.iter().any(|finding| finding.detector == "non_networking")
    };
    // 300 kB and 2 kB.
    for port in [53, 88, 111, 389, 636, 749, 5353, 443] {
        assert!(told(port, OUTSIDE, 6_000), "300 kB to outside over {port}");
        assert!(!told(port, INSIDE, 40) || port == 443, "2 kB at home over {port}");
    }
    assert!(!told(53, OUTSIDE, 40), "names are asked anywhere");
    assert!(told(389, OUTSIDE, 40), "directories are one's own");
    assert!(told(53, INSIDE, 6_000), "that much is no question, at home either");
}

#[test]
fn ordinary_senders_stay_quiet() {
    let full = |to| Traffic { sizes: [(1_448, 60_000), (200, 50)], received: 9_000, to, port: 443 };
    for (what, exe, context, traffic) in [
        ("a backup", "/usr/bin/restic", Context::None, full(OUTSIDE)),
        ("a copy by a person", "/usr/bin/scp", Context::Terminal, full(OUTSIDE)),
        ("an upload", "/usr/bin/curl", Context::None, full(OUTSIDE)),
        ("a package manager", "/usr/bin/apt-get", Context::None, ORDINARY),
        ("a monitoring agent", "/usr/bin/telegraf", Context::None, full(INSIDE)),
        ("an admin's script", "/usr/bin/python3", Context::Terminal, full(INSIDE)),
        ("a VPN", "/usr/sbin/openvpn", Context::None, full(OUTSIDE)),
        ("a name look-up", "/usr/bin/tar", Context::None, Traffic { port: 53, ..ORDINARY }),
    ] {
        let found = Run::default().minute(&minute(exe, context, NOW_S, &traffic));
        assert!(found.is_empty(), "{what}: {}", found[0].case.as_ref().unwrap().summary);
    }
}

#[test]
fn sort_has_no_business_outside() {
    let little = Traffic { sizes: [(512, 40), (0, 0)], received: 0, to: OUTSIDE, port: 4_444 };
    let found = Run::default().minute(&minute("/usr/bin/sort", Context::None, NOW_S, &little));
    let [finding] = &found[..] else { panic!("{}", found.len()) };
    let case = finding.case.as_ref().unwrap();
    assert_eq!((finding.detector, case.severity), ("non_networking", Severity::High));
    assert!(case.process_class.as_ref().unwrap().starts_with("never (text-tools"));
    assert!(case.summary.contains("a program that never talks"), "{}", case.summary);
}

#[test]
fn who_only_may_have_talked_is_no_alarm() {
    let much = Traffic { sizes: [(512, 4_000), (0, 0)], received: 0, to: OUTSIDE, port: 4_444 };
    for exe in ["/usr/bin/sort", "/tmp/x"] {
        let severity = |certainty| {
            let mut minute = minute(exe, Context::None, NOW_S, &much);
            let who = Who { certainty, ..Who::clone(&minute.who) };
            minute.who = Arc::new(who);
            let found = Run::default().minute(&minute);
            let named = found.iter().find(|finding| finding.detector == "non_networking")?;
            Some(named.case.as_ref().unwrap().severity)
        };
        assert!(severity(0.9) > Some(Severity::Informational), "{exe}");
        assert_eq!(severity(0.8), Some(Severity::Informational), "{exe}");
    }
}

#[test]
fn a_program_from_tmp_needs_more() {
    let little = Traffic { sizes: [(80, 4), (0, 0)], received: 500, to: INSIDE, port: 80 };
    let much = Traffic { sizes: [(512, 4_000), (0, 0)], received: 0, to: OUTSIDE, port: 4_444 };
    let mut run = Run::default();
    assert!(run.minute(&minute("/tmp/x", Context::None, NOW_S, &little)).is_empty());
    let found = run.minute(&minute("/tmp/x", Context::None, NOW_S, &much));
    let named = found.iter().find(|finding| finding.detector == "non_networking").unwrap();
    assert_eq!(named.case.as_ref().unwrap().severity, Severity::Medium);
}

#[test]
fn the_whitelist_is_by_path() {
    let mut run = Run::default();
    run.settings.process_whitelist = vec!["/usr/bin/sort".to_owned()];
    let little = Traffic { sizes: [(512, 40), (0, 0)], received: 0, to: OUTSIDE, port: 4_444 };
    assert!(run.minute(&minute("/usr/bin/sort", Context::None, NOW_S, &little)).is_empty());
    assert_eq!(run.minute(&minute("/bin/sort", Context::None, NOW_S, &little)).len(), 1);
}

#[test]
fn an_address_alone_is_only_possible() {
    let junk = Traffic { sizes: [(512, 40_000), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let of = minute;
    let mut minute = of("/x", Context::None, NOW_S, &junk);
    minute.who = Arc::new(Who::address(&IpAddr::from([10, 0, 0, 5]).into()));
    let mut run = Run::default();
    assert!(run.minute(&minute).is_empty(), "ratio and one size alone");
    let learned = Traffic { sizes: [(700, 300), (90, 10)], ..ORDINARY };
    for hour in 0..9 * 24 {
        let mut usual = of("/x", Context::None, hour * 3_600, &learned);
        usual.who = Arc::clone(&minute.who);
        run.baselines.learn(&usual);
    }
    minute.measures.sent.sizes = [0; SIZE_BINS];
    minute.measures.sent.sizes[1] = 40_000;
    let found = run.minute(&minute);
    assert!(!found.is_empty());
    for finding in found {
        let case = finding.case.unwrap();
        assert!(case.analytics.is_empty());
        assert_eq!(case.possible_analytics, ["AN0031"]);
    }
}

/// What `data_ratio` says of a minute that is learned then.
fn ratio_of(run: &mut Run, minute: &Minute) -> Option<Finding> {
    let found = run.minute(minute).into_iter().find(|found| found.detector == "data_ratio");
    run.baselines.learn(minute);
    found
}

/// Ten kilobytes each five minutes, until that is told: after how many, and what.
fn leak(run: &mut Run, exe: &str, to: [u8; 4], sizes: [(u32, u64); 2]) -> Option<(i64, Finding)> {
    let pieces = Traffic { sizes, received: 0, to, port: 9_999 };
    (0..288).find_map(|n| {
        let minute = minute(exe, Context::None, NOW_S + 300 * n, &pieces);
        Some((n + 1, ratio_of(run, &minute)?))
    })
}

const OF_ONE_SIZE: [(u32, u64); 2] = [(512, 20), (0, 0)];

#[test]
fn a_leak_that_is_small_in_each_minute_is_added_up() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let (minutes, finding) = leak(&mut run, "/opt/shop/shopd", OUTSIDE, OF_ONE_SIZE).unwrap();
    // The first of which a megabyte is gone.
    assert_eq!(minutes, (1 << 20) / (20 * 512) + 1);
    assert_eq!((finding.kind, finding.start_second), ("slow_leak", NOW_S));
    let case = finding.case.as_ref().unwrap();
    let words = "to 192.0.2.9, which was new to it, in 103 minutes since 1970-01-11T00:00Z";
    assert!(case.summary.contains(words), "{}", case.summary);
    assert_eq!(case.score.recompute(), case.score.value);
}

#[test]
fn a_leak_names_the_ports_that_all_of_it_went_to_or_none() {
    let ports = |service: fn(i64, u16) -> OneService| {
        let mut run = Run::default();
        run.learn(&ORDINARY, "/opt/shop/shopd");
        let pieces = Traffic { sizes: OF_ONE_SIZE, received: 0, to: OUTSIDE, port: 9_999 };
        let found = (0..288).find_map(|n| {
            let mut minute = minute("/opt/shop/shopd", Context::None, NOW_S + 300 * n, &pieces);
            minute.measures.top[0].service = service(n, pieces.port);
            ratio_of(&mut run, &minute)
        });
        let found = found.unwrap();
        assert_eq!(found.to_peers, [IpAddr::from(OUTSIDE).into()]);
        found.to_ports
    };
    assert_eq!(ports(|_, port| OneService::One(6, port)), [9_999]);
    assert_eq!(ports(|n, port| OneService::One(6, port + (n % 3) as u16)), [9_999, 10_000, 10_001]);
    assert!(ports(|n, port| OneService::One(6, port + n as u16)).is_empty(), "more than are kept");
    assert!(ports(|_, _| OneService::One(1, 8)).is_empty(), "ICMP has no ports");
    // In one minute something went to another port too, and once is enough.
    let once = |n, port| if n == 7 { OneService::Several } else { OneService::One(6, port) };
    assert!(ports(once).is_empty());
}

#[test]
fn an_alert_of_a_leak_has_all_that_leaked() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let pieces = Traffic { sizes: OF_ONE_SIZE, received: 0, to: OUTSIDE, port: 9_999 };
    let minute = |n: i64| {
        let mut minute = minute("/opt/shop/shopd", Context::None, NOW_S + 300 * n, &pieces);
        minute.measures.seconds_active = 20;
        minute
    };
    let found: Vec<Finding> = (0..130).filter_map(|n| ratio_of(&mut run, &minute(n))).collect();
    assert_eq!(found.len(), 130 - 102);
    let (alert, _) = alert_of(found);
    let sent = &minute(0).measures.sent;
    let evidence = &alert.evidence;
    assert_eq!(
        (evidence.packets, evidence.wire_bytes),
        (130 * sent.packets, 130 * sent.wire_bytes)
    );
    assert_eq!(alert.peers[0].wire_bytes, Some(evidence.wire_bytes));
    assert_eq!(evidence.details["leak"]["minutes"], 130);
    assert_eq!(evidence.active_seconds, 130 * 20, "nothing of the pauses");
    assert!(alert.summary.contains(", in 130 minutes since"), "{}", alert.summary);
}

#[test]
fn what_somebody_gets_is_not_said_of_who_answers() {
    let mut run = Run::default();
    let much = Traffic { sizes: [(512, 40_000), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let mut one = minute("/tmp/x", Context::None, NOW_S, &much);
    let told = ratio_of(&mut run, &one).unwrap().case.unwrap().summary;
    assert!(told.contains(" bytes to 192.0.2.9 in a minute and got 0 bytes back: "), "{told}");
    // Somebody else is asked, and answers.
    one.measures.sent.wire_bytes += one.measures.sent.wire_bytes / 40;
    one.measures.received.payload_bytes = 1_000;
    let told = ratio_of(&mut run, &one).unwrap().case.unwrap().summary;
    let words = " bytes, 97 % of it to 192.0.2.9 in a minute and got 1,000 bytes back, 0 of them \
                 from there: ";
    assert!(told.contains(words), "{told}");
}

#[test]
fn a_leak_by_ever_new_processes_is_told_again_when_twice_as_much_is_gone() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let pieces = Traffic { sizes: OF_ONE_SIZE, received: 0, to: OUTSIDE, port: 9_999 };
    let told = (0..280).filter(|&n| {
        let mut minute = minute("/opt/shop/shopd", Context::None, NOW_S + 300 * n, &pieces);
        let mut view = ProcessView::clone(minute.who.process.as_ref().unwrap());
        view.process.id.pid += n as u32;
        minute.who = Arc::new(Who::process("host", "boot", &Arc::new(view), None, 1.0));
        ratio_of(&mut run, &minute).is_some()
    });
    assert_eq!(told.collect::<Vec<_>>(), [102, 205]);
}

#[test]
fn what_processes_of_one_program_leak_at_once_is_theirs_together_and_a_minute_is_one() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let pieces = Traffic { sizes: [(512, 100), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let found = (0..60).find_map(|n| {
        (0..4).find_map(|worker| {
            let mut one = minute("/opt/shop/shopd", Context::None, NOW_S + 60 * n, &pieces);
            let mut view = ProcessView::clone(one.who.process.as_ref().unwrap());
            view.process.id.pid += worker;
            one.who = Arc::new(Who::process("host", "boot", &Arc::new(view), None, 1.0));
            ratio_of(&mut run, &one)
        })
    });
    let case = found.unwrap().case.unwrap();
    let minutes = case.score.terms.iter().find(|term| term.name == "steady_minutes").unwrap();
    assert_eq!(minutes.value, 6.0, "51 kB of each of four in one: the sixth passes a megabyte");
    assert!(
        case.summary.contains(", with others of process:host:/opt/shop/shopd,"),
        "{}",
        case.summary
    );
}

#[test]
fn what_two_sources_count_is_not_added_up() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let pieces = Traffic { sizes: OF_ONE_SIZE, received: 0, to: OUTSIDE, port: 9_999 };
    let told = (0..140).position(|n| {
        let mut one = minute("/opt/shop/shopd", Context::None, NOW_S + 300 * n, &pieces);
        let of_packets = ratio_of(&mut run, &one);
        one.source = "conn.log".into();
        of_packets.or_else(|| ratio_of(&mut run, &one)).is_some()
    });
    assert_eq!(told, Some(102), "as of one");
}

#[test]
fn figures_that_go_where_they_always_went_are_no_leak() {
    let told = |learned: &Traffic, exe, to, sizes| {
        let mut run = Run::default();
        run.learn(learned, exe);
        leak(&mut run, exe, to, sizes).is_some()
    };
    let varied = [(90, 40), (270, 25)];
    assert!(told(&ORDINARY, "/opt/shop/shopd", OUTSIDE, OF_ONE_SIZE));
    let always = Traffic { to: OUTSIDE, ..ORDINARY };
    assert!(!told(&always, "/opt/shop/shopd", OUTSIDE, OF_ONE_SIZE), "as it ever did");
    assert!(!told(&ORDINARY, "/opt/shop/shopd", INSIDE, OF_ONE_SIZE), "at home");
    assert!(!told(&ORDINARY, "/usr/bin/telegraf", OUTSIDE, varied), "that is what it is for");
    let unlearned = leak(&mut Run::default(), "/opt/shop/shopd", OUTSIDE, OF_ONE_SIZE);
    assert!(unlearned.is_none(), "nobody is new without history");
}

#[test]
fn a_pause_of_hours_ends_a_leak() {
    let mut run = Run::default();
    run.learn(&ORDINARY, "/opt/shop/shopd");
    let half = Traffic { sizes: [(512, 1_200), (0, 0)], received: 0, to: OUTSIDE, port: 9_999 };
    let mut is_told = |start_s| {
        let minute = minute("/opt/shop/shopd", Context::None, start_s, &half);
        run.minute(&minute).iter().any(|found| found.detector == "data_ratio")
    };
    assert!(!is_told(NOW_S));
    assert!(!is_told(NOW_S + 7 * 3_600), "two halves with a night between");
    assert!(is_told(NOW_S + 8 * 3_600), "two of one day");
}

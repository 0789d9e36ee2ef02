use std::net::IpAddr;

use serde_json::json;

use super::*;
use crate::alert::{AlertBook, DecidedBy, Entity, EntityKind, Severity};
use crate::baseline::{BaselineSettings, Baselines};
use crate::detect::analytic::Inputs;
use crate::detect::analytic::testing::show;
use crate::detect::{DetectSettings, Names, Telemetry};
use crate::engine::window::{Host, Seed};
use crate::entity::{Measures, Minute, OneService, PeerSums, Sent, SentPorts, Silent};
use crate::host::process::{Context, Process, ProcessId};
use crate::host::side::{Ancestor, ProcessView};

/// After nine days of learning.
const NOW: i64 = 10 * 86_400;

#[derive(Default)]
struct Run {
    settings: DetectSettings,
    baselines: Baselines,
    detector: ToolFlood,
}

impl Run {
    fn second(&mut self, second: i64, entities: &[SecondOf]) -> Vec<Finding> {
        let inputs = Inputs::default();
        let ctx = AnalyticContext {
            settings: &self.settings,
            baselines: &self.baselines,
            inputs: &inputs,
            names: &Names::default(),
            seed: Seed::default(),
        };
        let entities: Vec<&SecondOf> = entities.iter().collect();
        let mut out = Vec::new();
        let event = Event::Second { second, entities: &entities };
        show(&mut self.detector, &event, &ctx, &mut out);
        show(&mut self.detector, &Event::Time { second: second + 1 }, &ctx, &mut out);
        out
    }

    /// The same each second; what came of the last.
    fn seconds(&mut self, seconds: i64, entities: &[SecondOf]) -> Vec<Finding> {
        (0..seconds).map(|second| self.second(NOW + second, entities)).last().unwrap_or_default()
    }
}

struct Traffic {
    tcp: u64,
    udp: u64,
    icmp: u64,
    syn: u64,
    answered: bool,
}

const QUIET: Traffic = Traffic { tcp: 0, udp: 0, icmp: 0, syn: 0, answered: true };

fn process(pid: u32, exe: &str, context: Context) -> ProcessView {
    let name = exe.rsplit('/').next().unwrap_or_default();
    let process = Process {
        id: ProcessId { pid, start_ticks: 50 },
        parent: Some(ProcessId { pid: 90, start_ticks: 9 }),
        name: name.to_owned(),
        exe: exe.to_owned(),
        user: "eve".to_owned(),
        context: Some(context),
        ..Process::default()
    };
    let parent = Ancestor { name: "xargs".to_owned(), ..Ancestor::default() };
    ProcessView { process, ancestors: vec![parent], ..ProcessView::default() }
}

fn sender(view: ProcessView, traffic: &Traffic) -> SecondOf {
    let Traffic { tcp, udp, icmp, syn, answered } = *traffic;
    let packets = tcp + udp + icmp;
    let who = Who::process("host", "boot", &Arc::new(view), None, 1.0);
    let peer = Host::from(IpAddr::from([192, 0, 2, 1]));
    let mut silent = Silent::default();
    silent.add(&peer, if answered { 0 } else { packets });
    let sent = |packets| Sent { packets, wire_bytes: packets * 98, ..Sent::default() };
    SecondOf {
        who: Arc::new(who),
        sent: sent(packets),
        received: sent(if answered { packets } else { 0 }),
        by_protocol: [tcp, udp, icmp, 0],
        syn_sent: syn,
        flows: 1,
        unanswered_packets: if answered { 0 } else { packets },
        silent,
        top_peer: Some((peer, packets)),
        own: Some((Host::from(IpAddr::from([10, 0, 0, 1])), packets)),
        remote_port: 80,
        ports: SentPorts::unanswered(&[((6, 80), tcp), ((17, 80), udp), ((1, 8), icmp)]),
    }
}

#[test]
fn a_fast_ping_without_anybody_at_it_is_a_flood() {
    let mut run = Run::default();
    let ping = sender(process(7, "/usr/bin/ping", Context::None), &Traffic { icmp: 500, ..QUIET });
    assert!(run.seconds(4, std::slice::from_ref(&ping)).is_empty(), "not sustained yet");
    let found = run.second(NOW + 4, &[ping]);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let case = finding.case.as_ref().unwrap();
    assert_eq!(case.analytics, ["AN0971"]);
    assert_eq!(case.severity, Severity::Medium);
    assert_eq!((finding.rule.threshold, finding.measured), (100, 500));
    assert_eq!(case.score.recompute(), case.score.value);
    assert!(case.process_class.as_ref().unwrap().starts_with("client (ping, table 1)"));
    assert_eq!(
        case.summary,
        "ping (pid 7, user eve, no terminal, below xargs) sent 500 packets/s and 392.0 kbit/s to \
         192.0.2.1: 500 packets/s are 5.0 times the floor of ping (100), in 5 of 15 s."
    );
    assert_eq!(finding.details["parent_chain"], json!(["xargs"]));
}

#[test]
fn the_first_finding_tells_of_the_seconds_before_it_and_of_the_busiest() {
    let mut run = Run::default();
    let ping =
        |icmp| sender(process(7, "/usr/bin/ping", Context::None), &Traffic { icmp, ..QUIET });
    let mut found = Vec::new();
    for (second, icmp) in (NOW..).zip([150, 900, 200, 180, 170, 160]) {
        found.extend(run.second(second, &[ping(icmp)]));
    }
    let [first, next] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.start_second, first.second), (NOW, NOW + 4));
    assert_eq!(first.traffic.packets, 150 + 900 + 200 + 180 + 170);
    assert_eq!(first.traffic.wire_bytes, 98 * first.traffic.packets);
    assert_eq!(first.peers[0].packets, Some(first.traffic.packets));
    let busiest = first.busiest();
    assert_eq!((busiest.second, busiest.packets, busiest.wire_bytes), (NOW + 1, 900, 98 * 900));
    assert_eq!(first.measured, 900);
    let summary = &first.case.as_ref().unwrap().summary;
    assert!(summary.contains(" sent 900 packets/s and 705.6 kbit/s"), "{summary}");
    assert!(summary.contains("900 packets/s are 9.0 times the floor"), "{summary}");
    assert_eq!((next.traffic.packets, next.busiest().packets), (160, 160));
}

#[test]
fn a_person_at_it_lowers_the_severity_and_never_hides_it() {
    for (context, severity) in
        [(Context::Terminal, Severity::Low), (Context::None, Severity::Medium)]
    {
        let mut run = Run::default();
        let ping = sender(process(7, "/usr/bin/ping", context), &Traffic { icmp: 500, ..QUIET });
        let found = run.seconds(6, &[ping]);
        assert_eq!(found[0].case.as_ref().unwrap().severity, severity);
    }
}

#[test]
fn a_renamed_ping_is_judged_by_its_traffic() {
    let mut run = Run::default();
    let mut view = process(7, "/tmp/x", Context::None);
    view.process.exe_in_writable_folder = true;
    let found = run.seconds(6, &[sender(view, &Traffic { icmp: 500, ..QUIET })]);
    let case = found[0].case.as_ref().unwrap();
    assert!(case.process_class.as_ref().unwrap().starts_with("unknown"), "{case:?}");
    assert_eq!(found[0].details["doubt"], json!("executable_in_writable_folder"));
    assert!(case.summary.contains("its traffic's floor"), "{}", case.summary);
}

#[test]
fn many_slow_pings_together_flood_as_their_parent() {
    let mut run = Run::default();
    let pings: Vec<SecondOf> = (100..120)
        .map(|pid| process(pid, "/sbin/ping", Context::None))
        .map(|view| sender(view, &Traffic { icmp: 10, ..QUIET }))
        .collect();
    let found = run.seconds(16, &pings);
    let [finding] = &found[..] else { panic!("{}", found.len()) };
    assert_eq!(finding.entity.id, "boot:90:9");
    assert_eq!(finding.entity.labels["name"], "xargs");
    assert_eq!(finding.measured, 200);
    assert_eq!(finding.details["processes_together"], json!(20));
    // Without a normal, and it says so.
    let case = finding.case.as_ref().unwrap();
    assert!(case.missing.contains(&"baseline"), "{:?}", case.missing);
    assert_eq!(case.baseline, "none: several processes together have no normal");
    let settings = &run.settings;
    let mut book = AlertBook::new(settings);
    book.record(finding.second, &mut found.clone(), &Telemetry::default(), settings);
    let reason = &book.alerts()[0].grade.confidence_reason;
    assert!(
        reason.ends_with("at most 0.6 since several processes together have no normal."),
        "{reason}"
    );
}

#[test]
fn a_loop_of_curls_floods_with_another_process_each_time() {
    let mut run = Run::default();
    let mut found = Vec::new();
    for second in 0..8 {
        let curls: Vec<SecondOf> = (0..150)
            .map(|at| process(1_000 + 200 * second + at, "/usr/bin/curl", Context::None))
            .map(|view| sender(view, &Traffic { tcp: 6, syn: 1, ..QUIET }))
            .collect();
        found = run.second(1_000 + i64::from(second), &curls);
    }
    let [finding] = &found[..] else { panic!("{}", found.len()) };
    assert_eq!((finding.kind, finding.measured), ("tcp_syn", 150));
    assert!(run.detector.followed.len() < 5, "the group is followed, not each curl");
}

#[test]
fn a_script_that_sends_datagrams_nobody_answers_floods_at_once() {
    let mut run = Run::default();
    let mut view = process(7, "/usr/bin/python3.11", Context::None);
    view.process.args = ["python3", "/home/eve/udp.py"].map(str::to_owned).into();
    let script = sender(view, &Traffic { udp: 50_000, answered: false, ..QUIET });
    assert!(run.second(1_000, std::slice::from_ref(&script)).is_empty());
    let found = run.second(1_001, &[script]);
    let case = found[0].case.as_ref().unwrap();
    assert_eq!(case.severity, Severity::High);
    assert!(case.process_class.as_ref().unwrap().contains("/home/eve/udp.py"));
}

#[test]
fn look_alikes_stay_quiet() {
    use Context::{None as Nobody, Terminal};
    let cases: [(&str, &str, Context, Traffic); 9] = [
        ("a person's ping", "/usr/bin/ping", Terminal, Traffic { icmp: 5, ..QUIET }),
        ("a health check", "/usr/bin/curl", Nobody, Traffic { tcp: 12, syn: 2, ..QUIET }),
        (
            "apt update",
            "/usr/lib/apt/methods/http",
            Nobody,
            Traffic { tcp: 4_000, syn: 20, ..QUIET },
        ),
        ("a monitor's pings", "/usr/bin/smokeping", Nobody, Traffic { icmp: 300, ..QUIET }),
        ("a CI script", "/usr/bin/curl", Nobody, Traffic { tcp: 60, syn: 8, ..QUIET }),
        ("an upload", "/usr/bin/curl", Nobody, Traffic { tcp: 80_000, syn: 1, ..QUIET }),
        ("a name server", "/usr/sbin/named", Nobody, Traffic { udp: 20_000, ..QUIET }),
        ("a proxy", "/usr/sbin/haproxy", Nobody, Traffic { tcp: 9_000, syn: 1_500, ..QUIET }),
        ("a call", "/usr/bin/zoom", Terminal, Traffic { udp: 900, ..QUIET }),
    ];
    for (what, exe, context, traffic) in cases {
        let mut run = Run::default();
        for _ in 0..2 {
            let found = run.seconds(30, &[sender(process(7, exe, context), &traffic)]);
            assert!(found.is_empty(), "{what}: {}", found[0].case.as_ref().unwrap().summary);
        }
    }
}

#[test]
fn a_persons_measuring_is_informational() {
    let mut run = Run::default();
    let iperf = process(7, "/usr/bin/iperf3", Context::Terminal);
    let found = run.seconds(6, &[sender(iperf, &Traffic { udp: 9_000, answered: false, ..QUIET })]);
    assert_eq!(found[0].case.as_ref().unwrap().severity, Severity::Informational);
}

const USUAL_PEER: [u8; 4] = [192, 0, 2, 1];

/// Baselines of nine days in which the program sent at most so many packets in a second,
/// and so many unanswered, to [`USUAL_PEER`].
fn learned(who: &Arc<Who>, most: u64, most_unanswered: u64) -> Run {
    learned_of(who, most, most_unanswered, &[USUAL_PEER])
}

fn learned_of(who: &Arc<Who>, most: u64, most_unanswered: u64, peers: &[[u8; 4]]) -> Run {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    for hour in 0..24 * 9 {
        let mut measures = Measures::default();
        measures.busiest = (0, most, 0, 0);
        measures.most_unanswered = most_unanswered;
        measures.sent.packets = 10 * most;
        measures.top.extend(peers.iter().map(|&peer| PeerSums {
            key: Host::from(IpAddr::from(peer)),
            sent_bytes: 1_000_000,
            sent_packets: 10 * most,
            sent_payload: 1_000_000,
            opened_bytes: 1_000_000,
            unasked_bytes: 0,
            received_bytes: 1_000,
            received_packets: 10,
            received_payload: 0,
            error_bytes: 0,
            service: OneService::None,
        }));
        let minute = Minute {
            who: Arc::clone(who),
            start_s: hour * 3_600,
            length_s: 60,
            source: "packets".into(),
            measures,
            reported: None,
        };
        baselines.learn(&minute);
    }
    Run { baselines, ..Run::default() }
}

fn to_another(sender: SecondOf) -> SecondOf {
    spread(sender, &[OTHER_PEER])
}

/// The same to several, an equal part to each.
fn spread(mut sender: SecondOf, peers: &[[u8; 4]]) -> SecondOf {
    let of_each = |packets| packets / peers.len() as u64;
    let hosts = || peers.iter().map(|&peer| Host::from(IpAddr::from(peer)));
    sender.top_peer = hosts().next().map(|host| (host, of_each(sender.sent.packets)));
    sender.silent = Silent::default();
    hosts().for_each(|host| sender.silent.add(&host, of_each(sender.unanswered_packets)));
    sender
}

const OTHER_PEER: [u8; 4] = [203, 0, 113, 9];

#[test]
fn what_is_normal_of_a_program_is_quiet_and_more_is_decided_by_it() {
    let sensor = |packets| {
        let view = process(7, "/opt/probe/probed", Context::None);
        sender(view, &Traffic { udp: packets, answered: false, ..QUIET })
    };
    let mut run = learned(&sensor(1).who, 3_000, 3_000);
    assert!(run.seconds(20, &[sensor(3_100)]).is_empty());
    let found = run.seconds(20, &[sensor(12_000)]);
    let case = found[0].case.as_ref().unwrap();
    assert_eq!(case.decided_by, DecidedBy::Baseline);
    assert!(case.baseline_mature && case.confidence() > 0.6, "{case:?}");
}

#[test]
fn as_many_packets_as_usual_are_a_flood_where_far_more_than_ever_go_unanswered() {
    let client = |answered| {
        let view = process(7, "/opt/shop/client", Context::None);
        sender(view, &Traffic { udp: 3_000, answered, ..QUIET })
    };
    let mut run = learned(&client(true).who, 3_000, 60);
    assert!(run.seconds(20, &[to_another(client(true))]).is_empty(), "answered");
    let found = run.seconds(20, &[to_another(client(false))]);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let case = finding.case.as_ref().unwrap();
    assert_eq!((case.severity, case.decided_by), (Severity::Medium, DecidedBy::Baseline));
    let told = "unanswered at most 60 packets/s ever, now 3,000";
    assert!(case.baseline.contains(told), "{}", case.baseline);
    assert_eq!(case.score.recompute(), case.score.value);

    // A server that is down looks the same but for where the packets go.
    let down = run.seconds(20, &[client(false)]);
    let case = down[0].case.as_ref().unwrap();
    assert_eq!(case.severity, Severity::Informational, "{}", case.severity_reason);

    // It was so before: a quarter of it at least.
    let mut run = learned(&client(true).who, 3_000, 800);
    assert!(run.seconds(20, &[to_another(client(false))]).is_empty());
}

/// Each in a prefix of its own.
const BACKENDS: [[u8; 4]; 6] = [
    [192, 0, 2, 1],
    [192, 0, 3, 1],
    [198, 51, 100, 1],
    [198, 51, 101, 1],
    [203, 0, 114, 1],
    [203, 0, 115, 1],
];

#[test]
fn one_whose_many_known_servers_are_all_down_is_no_flood_and_one_that_goes_elsewhere_is() {
    let client = |packets, peers: &[[u8; 4]]| {
        let view = process(7, "/opt/shop/client", Context::None);
        spread(sender(view, &Traffic { udp: packets, answered: false, ..QUIET }), peers)
    };
    let told = |run: &mut Run, one: SecondOf| {
        let found = run.seconds(20, &[one]);
        found.first().map(|finding| finding.case.as_ref().unwrap().severity)
    };
    let who = client(1, &BACKENDS).who;
    let learned = || learned_of(&who, 3_000, 60, &BACKENDS);
    let down = Some(Severity::Informational);
    assert_eq!(told(&mut learned(), client(3_000, &BACKENDS)), down);
    assert_eq!(told(&mut learned(), client(1_500, &BACKENDS)), down, "it backs off");
    assert_eq!(told(&mut learned(), client(900, &BACKENDS)), None, "farther");

    let flood = Some(Severity::Medium);
    assert_eq!(told(&mut Run::default(), client(3_000, &BACKENDS)), flood, "nothing learned");
    assert_eq!(told(&mut learned(), client(6_000, &BACKENDS)), flood, "more than ever");
    let strangers = BACKENDS.map(|[a, b, c, d]| [a, b, c + 50, d]);
    assert_eq!(told(&mut learned(), client(3_000, &strangers)), flood, "none of its servers");
    let [first, others @ ..] = strangers;
    let half = [&BACKENDS[..], &others[..2], &[first]].concat();
    assert_eq!(told(&mut learned(), client(3_000, &half)), flood, "a third goes elsewhere");
    let many: Vec<_> = (0..200).map(|at| [10, 9, at, 1]).collect();
    assert_eq!(told(&mut learned(), client(3_000, &many)), flood, "a spray");

    // Most of what it sends is answered by a server that it knows; the rest is a flood.
    let mut beside = client(3_000, &strangers);
    beside.sent.packets = 7_000;
    beside.top_peer = Some((Host::from(IpAddr::from(USUAL_PEER)), 4_000));
    let mut run = learned_of(&who, 7_000, 60, &BACKENDS);
    assert_eq!(told(&mut run, beside), flood);
}

#[test]
fn retries_and_pings_of_hosts_that_are_off_stay_quiet() {
    let cases = [
        (
            "a client tries again",
            "/opt/shop/client",
            Traffic { udp: 700, answered: false, ..QUIET },
        ),
        (
            "connections that nobody takes",
            "/usr/bin/curl",
            Traffic { tcp: 200, syn: 200, answered: false, ..QUIET },
        ),
        ("hosts that are off", "/usr/bin/ping", Traffic { icmp: 300, answered: false, ..QUIET }),
        ("a resolver", "/usr/sbin/named", Traffic { udp: 8_000, answered: false, ..QUIET }),
    ];
    for (what, exe, traffic) in cases {
        let one = sender(process(7, exe, Context::None), &traffic);
        let mut run = learned(&one.who, 20_000, 10);
        let found = run.seconds(20, &[to_another(one)]);
        assert!(found.is_empty(), "{what}: {}", found[0].case.as_ref().unwrap().summary);
    }
}

/// Baselines of before unanswered packets were counted, or that have counted them for a day.
#[test]
fn a_normal_that_does_not_know_what_was_unanswered_is_one_of_packets_alone() {
    let view = || process(7, "/opt/shop/client", Context::None);
    let one = sender(view(), &Traffic { udp: 3_000, answered: false, ..QUIET });
    let old = Arc::new(Who {
        entity: Entity::new(EntityKind::Workload, "x".into()),
        ..(*one.who).clone()
    });
    let mut run = learned(&old, 3_000, 0);
    assert!(run.seconds(20, &[to_another(one)]).is_empty());
}

/// So many processes of one parent, each with this.
fn pool(processes: u32, exe: impl Fn(u32) -> String, traffic: &Traffic) -> Vec<SecondOf> {
    let of_pid = |pid| sender(process(pid, &exe(pid), Context::None), traffic);
    (100..100 + processes).map(of_pid).collect()
}

#[test]
fn many_small_senders_of_one_unknown_program_flood_together() {
    let few = Traffic { udp: 50, answered: false, ..QUIET };
    let same = |_| "/opt/job/sender".to_owned();
    let mut run = Run::default();
    let found = run.seconds(6, &pool(30, same, &few));
    let [finding] = &found[..] else { panic!("{}", found.len()) };
    assert_eq!((finding.measured, &*finding.entity.id), (1_500, "boot:90:9"));
    assert_eq!(finding.details["processes_together"], json!(30));

    let mut run = Run::default();
    let each_its_own = pool(30, |pid| format!("/opt/job/sender{pid}"), &few);
    assert!(run.seconds(30, &each_its_own).is_empty(), "programs with nothing in common");
    let of_no_path = pool(30, |_| String::new(), &few);
    assert!(run.seconds(30, &of_no_path).is_empty(), "a name is no program");
    // Each request takes a connection to the database.
    let workers = pool(30, same, &Traffic { tcp: 200, syn: 20, ..QUIET });
    assert!(run.seconds(30, &workers).is_empty(), "the workers of a server");
    let attackers = pool(100, same, &Traffic { tcp: 90, syn: 30, ..QUIET });
    assert_eq!(run.seconds(15, &attackers).len(), 1, "more than those of any");
}

#[test]
fn many_of_one_program_that_do_what_each_always_does_are_quiet_where_they_always_do_it() {
    let few = Traffic { udp: 50, answered: false, ..QUIET };
    let workers = pool(30, |_| "/opt/app/worker".to_owned(), &few);
    let mut run = learned(&workers[0].who, 50, 50);
    assert!(run.seconds(20, &workers).is_empty(), "figures for a collector");
    let elsewhere: Vec<SecondOf> = workers.into_iter().map(to_another).collect();
    assert_eq!(run.seconds(20, &elsewhere).len(), 1);

    let to_backends: Vec<SecondOf> =
        elsewhere.into_iter().map(|one| spread(one, &BACKENDS[..5])).collect();
    let mut run = learned_of(&to_backends[0].who, 50, 50, &BACKENDS);
    assert!(run.seconds(20, &to_backends).is_empty(), "figures for several collectors");
}

#[test]
fn a_flood_names_its_ports_over_all_seconds_and_all_senders() {
    let flood = Traffic { udp: 20_000, answered: false, ..QUIET };
    let to = |services: &[((u8, u16), u64)]| {
        let mut one = sender(process(7, "/opt/x", Context::None), &flood);
        one.ports = SentPorts::unanswered(services);
        one
    };
    let ports = |seconds: &[SecondOf]| {
        let mut run = Run::default();
        let at = NOW..;
        let found = at.zip(seconds).map(|(at, one)| run.second(at, std::slice::from_ref(one)));
        found.flatten().next().expect("a flood").to_ports
    };
    let (web, name) = (to(&[((17, 443), 20_000)]), to(&[((17, 53), 20_000)]));
    assert_eq!(ports(&[web.clone(), web.clone()]), [443]);
    assert_eq!(ports(&[name, web.clone()]), [53, 443], "the second before was told of with it");
    let spray: Vec<_> = (1..200).map(|port| ((17, port), 100)).collect();
    assert!(ports(&[to(&spray), web]).is_empty(), "others are not known");
    let pings = pool(30, |_| "/bin/ping".to_owned(), &Traffic { icmp: 50, ..QUIET });
    let found = Run::default().seconds(6, &pings);
    assert!(found[0].to_ports.is_empty(), "ICMP has none");
    let mut senders = pool(30, |_| "/opt/job/sender".to_owned(), &Traffic { udp: 50, ..flood });
    senders[3].ports = SentPorts::unanswered(&[((6, 22), 50)]);
    assert_eq!(Run::default().seconds(6, &senders)[0].to_ports, [22, 80]);
}

#[test]
fn memory_is_bounded_and_given_back() {
    let mut run = Run::default();
    let many: Vec<SecondOf> = (0..FOLLOWED as u32 + 10)
        .map(|pid| process(pid + 100, &format!("/opt/x{pid}"), Context::None))
        .map(|view| sender(view, &Traffic { icmp: 200, ..QUIET }))
        .collect();
    run.second(1_000, &many);
    assert_eq!((run.detector.followed.len(), run.detector.refused()), (FOLLOWED, 10));
    run.second(1_100, &[]);
    assert!(run.detector.followed.is_empty());
}

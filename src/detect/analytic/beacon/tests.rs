use std::net::IpAddr;

use super::*;
use crate::alert::{Severity, thousands};
use crate::baseline::Baselines;
use crate::detect::analytic::testing::{alert_of, show};
use crate::detect::analytic::{Inputs, Source};
use crate::detect::{DetectSettings, Names};
use crate::engine::window::Seed;
use crate::entity::SecondOf;
use crate::flow::Outline;
use crate::host::process::{Context, Process, ProcessId};
use crate::host::side::{FlowHosts, HostSide, ProcessView};
use crate::lab::scenario::draw::Draw as _;
use crate::packet::FlowKey;
use crate::packet::key::{from_ip, mapped};

#[derive(Default)]
struct Run {
    settings: DetectSettings,
    detector: Beacons,
    found: Vec<Finding>,
}

impl Run {
    fn event(&mut self, event: &Event<'_>) {
        let (baselines, inputs) = (Baselines::default(), Inputs::default());
        let (settings, seed) = (&self.settings, Seed::default());
        let ctx = AnalyticContext {
            settings,
            baselines: &baselines,
            inputs: &inputs,
            names: &Names::default(),
            seed,
        };
        show(&mut self.detector, event, &ctx, &mut self.found);
    }

    /// A connection to port 443 (or another) outside at a second, by a process if any.
    fn call(&mut self, at_s: i64, port: u16, source_port: u16, process: Option<&Arc<ProcessView>>) {
        self.flow(at_s, (6, port, source_port), process, |_| {});
    }

    fn flow(
        &mut self,
        at_s: i64,
        (proto, port, source_port): (u8, u16, u16),
        process: Option<&Arc<ProcessView>>,
        change: impl Fn(&mut Outline),
    ) {
        let hosts = process.map(|view| {
            let second = sent_by(view);
            self.event(&Event::Second { second: at_s, entities: &[&second] });
            let side = HostSide { process: Some(Arc::clone(view)), ..HostSide::default() };
            FlowHosts { src: Some(side), dst: None }
        });
        let (src, dst): (IpAddr, IpAddr) = ([10, 0, 0, 5].into(), [192, 0, 2, 9].into());
        let key = FlowKey {
            proto,
            port_a: source_port,
            port_b: port,
            a: from_ip(src).1,
            b: from_ip(dst).1,
            ..FlowKey::ZERO
        };
        let mut outline = Outline {
            key,
            forward_is_a_to_b: true,
            originator_guessed: false,
            start_ns: at_s * SECOND_NS,
            end_ns: at_s * SECOND_NS + 1,
            decided_ns: at_s * SECOND_NS + 2,
            packets: [6, 5],
            tcp_flags: [0, 0],
            wire_bytes: 900,
            sent_ip_bytes: 900,
            had_response: true,
            is_cut: false,
        };
        change(&mut outline);
        let flow = FlowEnd { outline: &outline, app: None, hosts: hosts.as_ref() };
        self.event(&Event::Flow(&flow));
    }

    /// Every ten minutes of a day.
    fn day(&mut self, port: u16, process: Option<&Arc<ProcessView>>) {
        for at in 0..144_u16 {
            self.call(i64::from(at) * 600, port, 40_000 + at, process);
        }
    }
}

fn sent_by(view: &Arc<ProcessView>) -> SecondOf {
    let who = Who::process("host", "boot", view, None, 1.0);
    SecondOf::new(Arc::new(who))
}

fn process(pid: u32, exe: &str) -> Arc<ProcessView> {
    let process = Process {
        id: ProcessId { pid, start_ticks: u64::from(pid) },
        name: exe.rsplit('/').next().unwrap_or_default().to_owned(),
        exe: exe.to_owned(),
        context: Some(Context::None),
        ..Process::default()
    };
    Arc::new(ProcessView { process, ..ProcessView::default() })
}

#[test]
fn each_packet_is_told_of_once_and_how_long_it_went_on_in_a_unit_that_shows_it() {
    let mut run = Run::default();
    run.settings.beacon_span_s = 60;
    for at in 0..31_u16 {
        run.call(i64::from(at) * 5, 443, 40_000 + at, None);
    }
    assert!(run.found.len() > 1, "told again and again");
    let last = run.found.last().unwrap();
    let told = (last.second / 5 + 1) as u64;
    let sum = |of: fn(&Finding) -> u64| run.found.iter().map(of).sum::<u64>();
    assert_eq!(sum(|one| one.traffic.packets), 11 * told);
    assert_eq!(sum(|one| one.traffic.wire_bytes), 900 * told);
    assert_eq!(sum(|one| one.peers[0].packets.unwrap()), 11 * told);
    assert_eq!(last.busiest().packets, 0, "which second was the busiest is not known");
    assert_eq!(last.bytes_per_minute(), Some(900 * told * 60 / last.second as u64));
    let summary = &last.case.as_ref().unwrap().summary;
    assert!(summary.contains(&format!("about every 5 s, for {} s:", last.second)), "{summary}");
}

#[test]
fn between_calls_it_is_not_active() {
    let mut run = Run::default();
    run.day(443, None);
    let calls = run.found.last().unwrap().details["connections"].clone();
    let (alert, _) = alert_of(run.found);
    assert!(calls.as_u64() > Some(60), "{calls}");
    assert_eq!(alert.evidence.active_seconds, calls);
}

#[test]
fn a_program_that_calls_by_the_clock_is_found_with_another_process_each_time() {
    let mut run = Run::default();
    for at in 0..144_u16 {
        let view = process(1_000 + u32::from(at), "/usr/bin/curl");
        run.call(i64::from(at) * 600, 443, 40_000 + at, Some(&view));
    }
    let last = run.found.last().unwrap();
    let case = last.case.as_ref().unwrap();
    assert_eq!(last.entity.id, "boot:1000:1000", "one entity for all of them");
    assert_eq!(case.analytics, ["AN0031"]);
    assert_eq!(case.severity, Severity::High);
    assert_eq!(case.score.recompute(), case.score.value);
    assert!(case.summary.contains("about every 600 s"), "{}", case.summary);
    assert!(case.process_class.as_ref().unwrap().starts_with("client (web-client"));
}

/// One that starts as `low` with a full score is told by all of its day.
#[test]
fn a_day_of_calls_is_no_half_hour() {
    let mut run = Run::default();
    for at in 0..1_440_u16 {
        run.call(i64::from(at) * 60, 8_443, 20_000 + at, None);
    }
    assert_eq!(run.found[0].case.as_ref().unwrap().severity, Severity::Low);
    let (alert, told) = alert_of(run.found);
    assert_eq!(alert.severity, Severity::High);
    assert_eq!(alert.confidence, 0.6, "with six hours, and a hundred connections");
    let reason = &alert.grade.severity_reason;
    assert!(reason.contains("for six hours or more"), "{reason}");
    // All until it was scored last.
    let calls = (alert.end_ns / SECOND_NS + 59) as u64 / 60;
    assert!(calls > 1_376, "{calls}");
    assert_eq!(alert.evidence.details["connections"], calls);
    assert_eq!(alert.evidence.packets, calls * 11);
    let words = format!("port 8443 {} times, about every 60 s, for 2", thousands(calls));
    assert!(alert.summary.contains(&words), "{}", alert.summary);
    assert!(told.len() < 5, "{} revisions", told.len());
}

#[test]
fn without_a_process_the_analytic_is_only_possible() {
    let mut run = Run::default();
    run.day(443, None);
    let case = run.found.last().unwrap().case.as_ref().unwrap();
    assert!(case.analytics.is_empty());
    assert_eq!(case.possible_analytics, ["AN0031"]);
    assert!(case.missing.contains(&"process_map"));
}

#[test]
fn services_agents_and_the_whitelist_beacon_by_design() {
    let mut run = Run::default();
    for at in 0..144_u16 {
        for port in SERVICES {
            run.flow(i64::from(at) * 600, (17, port, 40_000 + at), None, |_| {});
        }
    }
    run.day(443, Some(&process(7, "/usr/bin/zabbix_agentd")));
    run.day(443, Some(&process(8, "/usr/sbin/openvpn")));
    run.settings.process_whitelist = vec!["/opt/ours/*".to_owned()];
    run.day(443, Some(&process(9, "/opt/ours/poll")));
    assert!(run.found.is_empty(), "{}", run.found[0].case.as_ref().unwrap().summary);
}

#[test]
fn a_short_loop_and_a_long_connection_are_no_beacon() {
    let mut run = Run::default();
    for at in 0..600_u16 {
        run.call(i64::from(at), 443, 40_000 + at, None);
    }
    assert!(run.found.is_empty(), "ten minutes are a script");
    // Two connections that stay open are cut every five minutes.
    for proto in [6, 17] {
        let mut run = Run::default();
        for at in 0..288_i64 {
            for port in [40_000, 40_001] {
                run.flow(at * 300, (proto, 443, port), None, |outline| {
                    outline.originator_guessed = proto == 6 && at > 0;
                    outline.end_ns += 299 * SECOND_NS;
                    outline.is_cut = true;
                });
            }
        }
        assert!(run.found.is_empty());
        assert_eq!(run.detector.pairs.values().map(|pair| pair.counted).sum::<u64>(), 2);
    }
    // One that says something every eight minutes is over for the flow table each time.
    let mut run = Run::default();
    for at in 0..180_i64 {
        run.flow(at * 480, (6, 443, 40_000), None, |outline| outline.originator_guessed = at > 0);
    }
    assert_eq!(run.detector.pairs.values().map(|pair| pair.counted).sum::<u64>(), 1);
}

#[test]
fn a_caller_that_keeps_its_port_is_found_all_the_same() {
    for proto in [6, 17] {
        let mut run = Run::default();
        for at in 0..144_i64 {
            run.flow(at * 120, (proto, 443, 40_000), None, |_| {});
        }
        assert!(!run.found.is_empty(), "protocol {proto}");
    }
}

#[test]
fn a_log_that_keeps_its_port_is_of_calls_unless_it_splits_one() {
    let counted = |length_s: i64| {
        let mut run = Run::default();
        let source = Source { name: "zeek".into(), kind: "zeek_conn", lateness_ns: 0 };
        for at in 0..144_i64 {
            let start_ns = at * 120 * SECOND_NS;
            let (src, dst) = ([10, 0, 0, 5].into(), [192, 0, 2, 9].into());
            let mut flow = FlowReport::between(src, dst, start_ns, start_ns + length_s * SECOND_NS);
            (flow.src_port, flow.dst_port) = (Some(40_000), Some(443));
            (flow.protocol, flow.originator_known) = (Some(6), true);
            run.event(&Event::Report { source: &source, flow: &flow, hosts: None });
        }
        run.detector.pairs.values().map(|pair| pair.counted).sum::<u64>()
    };
    assert_eq!((counted(1), counted(119)), (144, 1));
}

#[test]
fn a_services_port_over_tcp_is_no_excuse() {
    for port in [123, 853, 1_900, 53] {
        let mut run = Run::default();
        run.day(port, None);
        assert!(!run.found.is_empty(), "port {port}");
    }
}

#[test]
fn a_person_at_pages_is_no_clock() {
    let mut run = Run::default();
    let mut at_s = 0_i64;
    for at in 0..400_u16 {
        // Bursts of a page, then some minutes of reading.
        at_s += if at % 8 == 0 { 60 + i64::from(at) * 7_919 % 900 } else { i64::from(at) % 3 };
        run.call(at_s, 443, 40_000 + at, None);
    }
    assert!(run.found.is_empty(), "{}", run.found[0].case.as_ref().unwrap().summary);
}

#[test]
fn pairs_are_bounded_and_old_ones_make_room() {
    let mut run = Run::default();
    for port in 0..PAIRS as u16 + 5 {
        for source_port in [40_000, 40_001] {
            run.call(i64::from(port) / 100, 1_000 + port, source_port, None);
        }
    }
    assert_eq!(run.detector.pairs.len(), PAIRS);
    assert_eq!(run.detector.refused(), 5);
    for source_port in [40_000, 40_001] {
        run.call(90_000, 65_000, source_port, None);
    }
    assert_eq!(run.detector.pairs.len(), 1);
}

/// A million calls from made-up addresses, each of its own.
#[test]
fn a_flood_that_nobody_answers_hides_no_beacon_that_is_answered() {
    let mut run = Run::default();
    let mut number = 0_u32;
    for at in 0..144_u16 {
        run.call(i64::from(at) * 600, 443, 40_000 + at, None);
        for _ in 0..7_000 {
            number += 1;
            run.flow(i64::from(at) * 600 + 1, (6, 443, 40_000), None, |outline| {
                outline.key.a = mapped((0x0b00_0000 + number).to_be_bytes());
                outline.packets = [1, 0];
            });
        }
    }
    let of_the_beacon = |finding: &Finding| finding.entity.id == "10.0.0.5";
    assert!(!run.found.is_empty() && run.found.iter().all(of_the_beacon));
    assert_eq!(run.detector.pairs.len(), 1);
    assert!(run.detector.refused() > 0, "it is said that calls were forgotten");
    let score = |run: &Run| run.found.iter().map(|finding| finding.measured).collect::<Vec<_>>();
    let mut alone = Run::default();
    (0..144).for_each(|at| alone.call(i64::from(at) * 600, 443, 40_000 + at as u16, None));
    assert_eq!(score(&run), score(&alone));
}

#[test]
fn calls_by_chance_are_hardly_ever_regular_enough() {
    let mut rng = crate::lab::synth::Rng::new(5);
    for (calls, most) in [(20, 2), (30, 2), (60, 2), (200, 0)] {
        let mut chance = 0;
        for _ in 0..3_000 {
            let mut at_s = 0;
            let starts: Vec<(i64, u64)> = (0..calls)
                .map(|_| {
                    at_s += libm::round(rng.exponential(60.0)) as i64;
                    (at_s, 500)
                })
                .collect();
            let timing = rita::score(&starts, (0, at_s + 1)).unwrap().timing;
            chance += u32::from(timing >= least_timing(starts.len()));
        }
        assert!(chance <= most, "{calls} calls: {chance} of 3,000");
    }
}

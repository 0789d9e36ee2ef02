//! What a chain is, and what looks like one.

use std::net::IpAddr;
use std::sync::Arc;

use crate::alert::{Alert, Severity};
use crate::baseline::{BaselineSettings, Baselines, Metric};
use crate::detect::analytic::testing::outline;
use crate::detect::analytic::{Event, Exec, FlowEnd, Inputs, Source};
use crate::detect::{DetectSettings, Detection, Telemetry};
use crate::engine::window::Host;
use crate::entity::{Measures, Minute, OneService, PeerSums, Who};
use crate::flow::app::{AppInfo, HttpInfo};
use crate::host::attribution::Method;
use crate::host::execs::Served;
use crate::host::process::{Context, Process, ProcessId};
use crate::host::side::{Ancestor, Attribution, FlowHosts, HostSide, ProcessView};
use crate::host::workload::Workload;
use crate::telemetry::request::{Request, Target};

/// 2026-03-01T10:15:00Z.
const T: i64 = 1_772_360_100;
const S: i64 = 1_000_000_000;
const OUTSIDE: &str = "203.0.113.9";
const METADATA: &str = "169.254.169.254";

#[path = "chain_names_tests.rs"]
mod names;

struct Lab {
    detection: Detection,
    source: Source,
    second: i64,
}

impl Lab {
    fn new() -> Self {
        Self::with(DetectSettings::default(), Baselines::default())
    }

    fn with(settings: DetectSettings, baselines: Baselines) -> Self {
        let mut detection = Detection::new(settings);
        let inputs = Inputs { host_map: true, request_logs: true, ..Inputs::default() };
        detection.set_inputs(inputs);
        detection.set_baselines(baselines);
        let source = Source { name: "access.log".into(), kind: "nginx", lateness_ns: 60 * S };
        Self { detection, source, second: T }
    }

    fn show(&mut self, second: i64, event: &Event<'_>) {
        self.second = self.second.max(second);
        self.detection.event(event, self.second, &Telemetry::default());
    }

    fn tick(&mut self) {
        self.show(self.second, &Event::Time { second: self.second + 1 });
    }

    /// A request that is known when it is logged, `late_s` after it was.
    fn request(&mut self, at_s: i64, late_s: i64, uri: &str, status: u16) {
        let request = request(at_s, uri, status);
        let served = Served { host: Some("web-1".into()), ..Served::default() };
        let event =
            Event::Request { source: &self.source.clone(), request: &request, served: &served };
        self.show(at_s + late_s, &event);
        self.tick();
    }

    fn exec(&mut self, at_s: i64, process: &Arc<ProcessView>, workload: Option<Workload>) {
        let exec = Exec {
            time_ns: at_s * S,
            process: Arc::clone(process),
            workload: workload.map(Arc::new),
            begins_container: false,
            host: "web-1".into(),
            boot: "boot".into(),
            instance: None,
            addresses: Vec::new(),
        };
        self.show(at_s, &Event::Exec(&exec));
        self.tick();
    }

    fn flow(&mut self, at_s: i64, process: &Arc<ProcessView>, dst: &str, path: Option<&str>) {
        self.flow_of(at_s, Some(process), None, dst, path);
    }

    fn flow_of(
        &mut self,
        at_s: i64,
        process: Option<&Arc<ProcessView>>,
        workload: Option<Workload>,
        dst: &str,
        path: Option<&str>,
    ) {
        let outline = outline(at_s, "10.0.1.5", dst);
        let side = HostSide {
            process: process.cloned(),
            workload: workload.map(Arc::new),
            host: if process.is_some() { "web-1".into() } else { "".into() },
            attribution: process
                .map(|_| Attribution { method: Some(Method::Ebpf), ..Attribution::default() }),
            ..HostSide::default()
        };
        let hosts = FlowHosts { src: Some(side), dst: None };
        let http = path.map(|path| HttpInfo { path: Some(path.to_owned()), ..HttpInfo::default() });
        let app = http.map(|http| AppInfo { http: Some(http), ..AppInfo::default() });
        let end = FlowEnd { outline: &outline, app: app.as_ref(), hosts: Some(&hosts) };
        self.show(at_s, &Event::Flow(&end));
        self.tick();
    }

    fn alerts(&self) -> Vec<Alert> {
        let alerts = self.detection.alerts_so_far();
        alerts.into_iter().filter(|alert| alert.detector == "chain").collect()
    }

    fn severities(&self) -> Vec<Severity> {
        self.alerts().iter().map(|alert| alert.severity).collect()
    }
}

fn request(at_s: i64, uri: &str, status: u16) -> Request {
    Request {
        time_ns: at_s * S,
        client: Some("198.51.100.7".parse().unwrap()),
        method: Some("GET".into()),
        uri: Some(uri.into()),
        decoded_uri: crate::telemetry::text::decoded_uri(uri),
        status: Some(status),
        user_agent: Some("curl/8.5.0".into()),
        duration_ns: Some(1_000_000),
        ..Request::default()
    }
}

/// A process and its parents, from the nearest up: each its number and name.
fn process(line: &[(u32, &str)], args: &[&str]) -> Arc<ProcessView> {
    let id = |pid| ProcessId { pid, start_ticks: u64::from(pid) };
    let exe = |name: &str| format!("/usr/bin/{name}");
    let (pid, name) = line[0];
    let ancestors = line[1..].iter().map(|&(pid, name)| Ancestor {
        id: id(pid),
        name: name.to_owned(),
        exe: exe(name),
    });
    Arc::new(ProcessView {
        process: Process {
            id: id(pid),
            name: name.to_owned(),
            exe: exe(name),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            ..Process::default()
        },
        ancestors: ancestors.collect(),
        ..ProcessView::default()
    })
}

fn shell() -> Arc<ProcessView> {
    process(&[(50, "sh"), (40, "php-fpm"), (1, "systemd")], &["sh", "-c", "id; uname -a"])
}

fn curl(args: &[&str]) -> Arc<ProcessView> {
    process(&[(60, "curl"), (50, "sh"), (40, "php-fpm"), (1, "systemd")], args)
}

/// A baseline in which an entity sent to one address for days.
fn learned(who: Who, dst: &str, days: i64) -> Baselines {
    let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
    let who = Arc::new(who);
    for hour in 0..=days * 24 {
        let key = Host::from(dst.parse::<IpAddr>().unwrap());
        let mut measures = Measures::default();
        measures.sent.packets = 10;
        measures.sent.wire_bytes = 4_000;
        measures.top.push(PeerSums {
            key,
            sent_bytes: 4_000,
            sent_packets: 10,
            sent_payload: 3_000,
            opened_bytes: 4_000,
            unasked_bytes: 0,
            received_bytes: 100,
            received_packets: 10,
            received_payload: 0,
            error_bytes: 0,
            service: OneService::None,
        });
        baselines.learn(&Minute {
            who: Arc::clone(&who),
            start_s: T - days * 86_400 + hour * 3_600 - 3_600,
            length_s: 60,
            source: "packets".into(),
            measures,
            reported: None,
        });
    }
    baselines
}

fn address_baseline(days: i64) -> Baselines {
    let host = Host::from("10.0.1.5".parse::<IpAddr>().unwrap());
    learned(Who::address(&host), "203.0.113.80", days)
}

const EXPLOIT: &str = "/item?id=1%27%20UNION%20SELECT%20password";

#[test]
fn three_stages_in_order_are_one_high_alert_with_their_story() {
    let mut lab = Lab::new();
    lab.request(T, 0, EXPLOIT, 200);
    assert_eq!(lab.severities(), [Severity::Informational]);
    lab.exec(T + 2, &shell(), None);
    assert_eq!(lab.severities(), [Severity::Low]);
    lab.flow(T + 5, &curl(&["curl", "https://x"]), OUTSIDE, None);
    let alerts = lab.alerts();
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.severity, alert.entity.id.as_str()), (Severity::High, "web-1"));
    assert_eq!(alert.analytics, ["AN0223"]);
    let case = alert.case.as_ref().unwrap();
    let story: Vec<&str> = case.timeline.iter().map(|moment| moment.what.as_str()).collect();
    assert_eq!(story, ["exploit_request", "shell_from_service", "new_destination"]);
    assert!(case.timeline[0].text.contains("UNION"), "{:?}", case.timeline);
    assert!(case.timeline.is_sorted_by_key(|moment| moment.time_ns));
    assert!((case.score.recompute() - case.score.value).abs() < 1e-9);
    assert!(alert.missing_telemetry.contains(&"baseline".to_owned()), "{alert:?}");
    assert!(alert.revision >= 3 && alert.confidence <= 0.6);
}

#[test]
fn each_stage_alone_is_informational_at_most() {
    let mut requests = Lab::new();
    requests.request(T, 0, EXPLOIT, 200);
    assert_eq!(requests.severities(), [Severity::Informational]);
    let mut execs = Lab::new();
    execs.exec(T, &shell(), None);
    assert_eq!(execs.severities(), [Severity::Informational]);
    let mut metadata = Lab::new();
    metadata.flow(T, &curl(&["curl"]), METADATA, Some("/latest/meta-data/"));
    assert_eq!(metadata.severities(), [Severity::Informational]);
    // New destinations are everyday life.
    let mut egress = Lab::with(DetectSettings::default(), address_baseline(10));
    egress.flow(T, &curl(&["curl"]), "198.51.100.200", None);
    assert_eq!(egress.severities(), []);
}

#[test]
fn out_of_order_or_out_of_time_is_no_chain() {
    let mut turned = Lab::new();
    turned.flow(T, &curl(&["curl"]), OUTSIDE, None);
    turned.exec(T + 100, &shell(), None);
    turned.request(T + 200, 0, EXPLOIT, 200);
    assert_eq!(turned.severities(), [Severity::Informational]);
    let mut apart = Lab::new();
    apart.request(T, 0, EXPLOIT, 200);
    apart.exec(T + 901 + 1, &shell(), None);
    apart.flow(T + 2 * 902, &curl(&["curl"]), OUTSIDE, None);
    assert!(apart.severities().iter().all(|&severity| severity < Severity::Low));
}

#[test]
fn a_log_that_comes_five_minutes_late_still_joins() {
    let mut lab = Lab::new();
    lab.exec(T + 2, &shell(), None);
    lab.flow(T + 5, &curl(&["curl"]), OUTSIDE, None);
    assert_eq!(lab.severities(), [Severity::Low]);
    let before = lab.alerts()[0].id.clone();
    lab.request(T, 300, EXPLOIT, 200);
    let alerts = lab.alerts();
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.severity, &alert.id), (Severity::High, &before));
    assert!(alert.missing_telemetry.contains(&"late_log".to_owned()));
    assert!(alert.case.as_ref().unwrap().timeline.is_sorted_by_key(|moment| moment.time_ns));
}

#[test]
fn a_log_without_durations_may_say_when_the_request_was_over() {
    let mut lab = Lab::new();
    lab.exec(T, &shell(), None);
    let long = Request { duration_ns: None, ..request(T + 20, EXPLOIT, 200) };
    let served = Served { host: Some("web-1".into()), ..Served::default() };
    let source = lab.source.clone();
    lab.show(T + 20, &Event::Request { source: &source, request: &long, served: &served });
    lab.tick();
    assert_eq!(lab.severities(), [Severity::Low]);
}

#[test]
fn what_scanners_leave_everywhere_opens_nothing() {
    let mut lab = Lab::new();
    for (at, uri) in ["/.env", "/.git/config", "/cgi-bin/luci", EXPLOIT].iter().enumerate() {
        for again in 0..50 {
            lab.request(T + 100 * at as i64 + again, 0, uri, 404);
        }
    }
    assert_eq!(lab.severities(), []);
    // Nor does it make a chain of what the application does anyway.
    let php = process(&[(40, "php-fpm"), (1, "systemd")], &["php-fpm"]);
    lab.flow(T + 500, &php, OUTSIDE, None);
    assert_eq!(lab.severities(), []);
}

#[test]
fn a_shell_of_a_person_is_no_foothold() {
    let mut lab = Lab::new();
    lab.request(T, 0, EXPLOIT, 200);
    let admin = process(&[(70, "bash"), (65, "sshd"), (1, "systemd")], &["-bash"]);
    lab.exec(T + 1, &admin, None);
    let health = process(&[(71, "sh"), (66, "containerd-shim")], &["sh", "-c", "curl localhost"]);
    lab.exec(T + 2, &health, None);
    let mut editor = ProcessView::clone(&process(&[(72, "bash"), (67, "node")], &["bash"]));
    editor.process.context = Some(Context::Terminal);
    lab.exec(T + 3, &Arc::new(editor), None);
    assert_eq!(lab.severities(), [Severity::Informational]);
}

#[test]
fn an_allowed_tool_below_a_service_is_no_foothold() {
    let allowed = vec!["convert".to_owned(), "node:git".to_owned()];
    let settings = DetectSettings { allowed_child_list: allowed, ..DetectSettings::default() };
    let mut lab = Lab::with(settings, Baselines::default());
    let line = [(50, "sh"), (40, "php-fpm"), (1, "systemd")];
    lab.exec(T, &process(&line, &["sh", "-c", "/usr/bin/convert a.png b.png"]), None);
    assert_eq!(lab.severities(), []);
    // Allowed is the command, not what hangs on to it.
    lab.exec(T + 1, &process(&line, &["sh", "-c", "/usr/bin/convert a.png; id"]), None);
    assert_eq!(lab.severities(), [Severity::Informational]);
}

#[test]
fn what_a_service_has_started_for_hours_is_usual() {
    let mut lab = Lab::new();
    let line = [(50, "sh"), (40, "node"), (1, "systemd")];
    let deploy = process(&line, &["sh", "-c", "git pull"]);
    lab.exec(T, &deploy, None);
    lab.exec(T + 7_200, &deploy, None);
    lab.request(T + 7_190, 20, EXPLOIT, 200);
    lab.flow(T + 7_215, &process(&[(60, "git"), (50, "sh"), (40, "node")], &[]), OUTSIDE, None);
    assert!(lab.severities().iter().all(|&severity| severity == Severity::Informational));
}

#[test]
fn agents_that_poll_metadata_all_day_are_quiet() {
    let mut lab = Lab::new();
    let agent = process(&[(30, "ssm-agent"), (1, "systemd")], &["ssm-agent"]);
    for minute in 0..60 {
        lab.flow(T + 60 * minute, &agent, METADATA, Some("/latest/meta-data/"));
        lab.flow(T + 60 * minute + 1, &agent, "168.63.129.16", None);
    }
    assert_eq!(lab.severities(), []);
    lab.request(T + 3_600, 0, EXPLOIT, 200);
    lab.flow(T + 3_610, &agent, METADATA, Some("/latest/meta-data/"));
    assert_eq!(lab.severities(), [Severity::Informational]);
}

#[test]
fn metadata_counts_behind_an_answered_request_and_more_with_a_role() {
    let score = |status: u16, path: &str| {
        let mut lab = Lab::new();
        lab.request(T, 0, "/fetch?url=http://169.254.169.254/", status);
        let app = process(&[(30, "app"), (1, "systemd")], &["app"]);
        lab.flow(T + 1, &app, METADATA, Some(path));
        let alerts = lab.alerts();
        alerts.first().map(|alert| (alert.severity, alert.case.as_ref().unwrap().score.value))
    };
    let (plain, role) = ("/latest/meta-data/", "/latest/meta-data/iam/security-credentials/web");
    let (low, informational) = (Severity::Low, Severity::Informational);
    assert_eq!(score(200, plain), Some((low, 50.0)));
    assert_eq!(score(200, role), Some((low, 62.0)));
    assert_eq!(score(404, role), None);
    // A role's credentials for a tool below a service need no request.
    let mut lab = Lab::new();
    lab.flow(T, &curl(&["curl"]), METADATA, Some(role));
    assert_eq!(lab.severities(), [informational]);
}

#[test]
fn without_a_process_metadata_needs_a_capture_on_the_host() {
    let mut lab = Lab::new();
    lab.request(T, 0, EXPLOIT, 200);
    lab.flow_of(T + 1, None, None, METADATA, None);
    assert_eq!(lab.severities(), [Severity::Informational]);
}

#[test]
fn a_baseline_decides_what_is_new() {
    let mut weak = Lab::new();
    let mut strong = Lab::with(DetectSettings::default(), address_baseline(10));
    weak.request(T, 0, EXPLOIT, 200);
    let php = process(&[(40, "php-fpm"), (1, "systemd")], &["php-fpm"]);
    weak.flow(T + 5, &php, "198.51.100.200", None);
    assert_eq!(weak.severities(), [Severity::Informational], "45 of 100 points");
    strong.request(T, 0, EXPLOIT, 200);
    strong.flow(T + 4, &php, "203.0.113.80", None);
    assert_eq!(strong.severities(), [Severity::Informational], "it is known");
    strong.flow(T + 5, &php, "198.51.100.200", None);
    assert_eq!(strong.severities(), [Severity::Low]);
    let alert = strong.alerts().remove(0);
    assert!(alert.case.as_ref().unwrap().baseline_mature);
    assert!(!alert.missing_telemetry.contains(&"baseline".to_owned()));
}

#[test]
fn who_meets_new_peers_all_the_time_gains_nothing_by_another() {
    let mut lab = Lab::new();
    let crawler = process(&[(40, "node"), (1, "systemd")], &["node", "crawl.js"]);
    for host in 0..200 {
        lab.flow(T - 300 + host, &crawler, &format!("198.51.{host}.1"), None);
    }
    lab.request(T, 0, EXPLOIT, 200);
    lab.exec(T + 1, &process(&[(50, "sh"), (40, "node")], &["sh", "-c", "id;"]), None);
    lab.flow(T + 3, &crawler, OUTSIDE, None);
    assert_eq!(lab.severities(), [Severity::Low], "the egress is no stage");
}

#[test]
fn another_service_of_the_host_does_not_complete_the_chain() {
    let mut lab = Lab::new();
    lab.request(T, 0, EXPLOIT, 200);
    lab.exec(T + 1, &shell(), None);
    let apt = process(&[(90, "apt"), (80, "cron"), (1, "systemd")], &["apt", "update"]);
    lab.flow(T + 2, &apt, OUTSIDE, None);
    assert_eq!(lab.severities(), [Severity::Low]);
}

#[test]
fn a_container_is_its_own_and_a_log_of_its_host_joins_it() {
    let workload = |name: &str| Workload {
        runtime: "docker".to_owned(),
        container: name.to_owned(),
        image: format!("{name}:1"),
        ..Workload::default()
    };
    let mut lab = Lab::new();
    lab.exec(T + 1, &shell(), Some(workload("shop")));
    lab.flow_of(T + 2, Some(&curl(&["curl"])), Some(workload("other")), OUTSIDE, None);
    assert_eq!(lab.severities(), [Severity::Informational], "two containers");
    lab.flow_of(T + 3, Some(&curl(&["curl"])), Some(workload("shop")), OUTSIDE, None);
    lab.request(T, 60, EXPLOIT, 200);
    let alerts = lab.alerts();
    let high: Vec<&Alert> =
        alerts.iter().filter(|alert| alert.severity == Severity::High).collect();
    assert_eq!(high.len(), 1, "{alerts:?}");
    assert_eq!(high[0].entity.id, "docker:shop");
}

#[test]
fn errors_are_held_against_the_targets_own_normal() {
    // What scanners cause all day is normal.
    let mut usual = Lab::new();
    for minute in 0..60 {
        for request in 0..8 {
            usual.request(T + 60 * minute + request, 0, "/nothing-here", 404);
        }
    }
    assert_eq!(usual.severities(), []);
    for minute in 60..63 {
        for request in 0..30 {
            usual.request(T + 60 * minute + request, 0, "/search?q=a", 500);
        }
    }
    assert_eq!(usual.severities(), [Severity::Informational]);
    let alert = usual.alerts().remove(0);
    assert_eq!(alert.case.as_ref().unwrap().timeline[0].what, "error_spike");
    // Without a normal a few errors are none.
    let mut new = Lab::new();
    for minute in 0..3 {
        for request in 0..30 {
            new.request(T + 60 * minute + request, 0, "/search?q=a", 500);
        }
    }
    assert_eq!(new.severities(), []);
}

#[test]
fn an_endless_attack_is_bounded_and_hides_nothing() {
    let mut lab = Lab::new();
    for number in 0..2_000 {
        lab.request(T + number / 50, 0, &format!("/a{number}?x=../../etc/passwd"), 200);
    }
    lab.exec(T + 60, &shell(), None);
    lab.flow(T + 61, &curl(&["curl"]), OUTSIDE, None);
    assert_eq!(lab.severities(), [Severity::High]);
    assert!(lab.detection.counters().detector_state_refused > 0);
}

#[test]
fn a_service_is_known_by_what_it_answers() {
    let mut lab = Lab::new();
    let app = process(&[(30, "my-app"), (1, "systemd")], &["my-app"]);
    let mut first = request(T, EXPLOIT, 200);
    first.target = Some(Target { address: "10.0.1.5".parse().ok(), port: Some(8080), name: None });
    let served =
        Served { process: Some(Arc::clone(&app)), host: Some("web-1".into()), ..Served::default() };
    let source = lab.source.clone();
    lab.show(T, &Event::Request { source: &source, request: &first, served: &served });
    let child = process(&[(31, "sh"), (30, "my-app"), (1, "systemd")], &["sh", "-c", "id;"]);
    lab.exec(T + 1, &child, None);
    assert_eq!(lab.severities(), [Severity::Low]);
}

#[test]
fn errors_are_held_against_what_earlier_runs_learned_of_the_target() {
    let everyday = |lab: &mut Lab, minutes: std::ops::Range<i64>| {
        for minute in minutes {
            for request in 0..8 {
                lab.request(T + 60 * minute + request, 0, "/nothing-here", 404);
            }
        }
    };
    let failing = |lab: &mut Lab, minutes: std::ops::Range<i64>| {
        for minute in minutes {
            for request in 0..30 {
                lab.request(T + 60 * minute + request, 0, "/search?q=a", 500);
            }
        }
    };
    let learning = Baselines::in_memory(BaselineSettings::default(), true);
    let mut before = Lab::with(DetectSettings::default(), learning);
    everyday(&mut before, 0..60);
    failing(&mut before, 60..63);
    everyday(&mut before, 63..70);
    assert_eq!(before.severities(), [Severity::Informational]);
    let baselines = before.detection.take_baselines();
    let target = baselines.keys().find(|key| key.starts_with("target:")).cloned().unwrap();
    let profile = baselines.profile(&target).unwrap();
    let of = |metric| profile.normal(metric, T).unwrap();
    assert!((7.0..=9.0).contains(&of(Metric::Errors4xx).q99));
    assert_eq!(of(Metric::Errors5xx).max, 0.0, "minutes of a burst are not learned");

    // A day later: from the first minute on, without half an hour of the run's own.
    let mut after = Lab::with(DetectSettings::default(), baselines);
    everyday(&mut after, 1_440..1_443);
    assert_eq!(after.severities(), []);
    failing(&mut after, 1_443..1_446);
    assert_eq!(after.severities(), [Severity::Informational]);
    let alert = after.alerts().remove(0);
    let spike = &alert.case.as_ref().unwrap().timeline[0];
    assert!(spike.text.contains("99th percentile of its baseline"), "{}", spike.text);
}

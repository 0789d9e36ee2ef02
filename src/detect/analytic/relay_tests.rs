use std::sync::Arc;

use super::legs::{correlation, lagged, symmetry};
use super::*;
use crate::detect::Watch;
use crate::detect::analytic::testing::{Bench, Stream, address, minute_of, workload};

fn bench() -> Bench<Relay> {
    Bench::new(Relay::default())
}

/// What a client asks for changes from second to second.
fn volume(second: i64) -> u32 {
    ((second * 7_919 + 13).rem_euclid(97) * 20) as u32
}

/// A SOCKS client outside of the pod, on port 1080; what it gets comes from targets
/// outside that change all the time.
fn socks(second: i64) -> Vec<Stream> {
    let volume = volume(second);
    let target = format!("198.51.100.{}", second.rem_euclid(40) + 1);
    vec![
        Stream::tcp("203.0.113.7", 0, (volume, 1_454), (volume / 20 + 1, 554)).serves(1_080),
        Stream::tcp(&target, 443, (volume / 20 + 1, 560), (volume, 1_460)),
    ]
}

fn run(
    bench: &mut Bench<Relay>,
    who: &Arc<Who>,
    streams: impl Fn(i64) -> Vec<Stream>,
) -> Vec<Finding> {
    let mut last = Vec::new();
    for at in 0..5 {
        last = bench.minute(&minute_of(who, at * 60, &streams));
    }
    last
}

fn severity(found: &[Finding]) -> Option<Severity> {
    found.first().map(|finding| finding.case.as_ref().unwrap().severity)
}

#[test]
fn a_proxy_in_a_workload_is_found_by_what_it_passes_on() {
    let who = workload("app", "registry/app:1");
    let found = run(&mut bench(), &who, socks);
    let case = found[0].case.as_ref().unwrap();
    // To many outside, from a proxy's port.
    assert_eq!((case.decided_by, case.severity), (DecidedBy::Pattern, Severity::High));
    assert_eq!(case.analytics, ["AN0083"]);
    assert_eq!(found[0].details["proxy_port"], json!(1_080));
    assert_eq!(found[0].details["outside_share"], json!(1.0));
    assert_eq!(found[0].details["legs"], json!("accepted_and_opened"));
    assert!(found[0].details["symmetry"].as_f64().unwrap() > 0.9);
}

#[test]
fn without_a_workload_it_is_only_possibly_one_and_one_step_less() {
    let found = run(&mut bench(), &address("10.0.0.1"), socks);
    let case = found[0].case.as_ref().unwrap();
    assert!(case.analytics.is_empty() && case.possible_analytics == ["AN0083"]);
    assert_eq!(case.severity, Severity::Medium);
}

/// Clients outside, other ones all the time, are passed on to one server.
fn tier(served: u16, server: &str, port: u16, second: i64) -> Vec<Stream> {
    let volume = volume(second);
    let client = format!("203.0.113.{}", second.rem_euclid(30) + 1);
    vec![
        Stream::tcp(&client, 0, (volume, 1_454), (volume / 20 + 1, 554)).serves(served),
        Stream::tcp(server, port, (volume / 20 + 1, 560), (volume, 1_460)),
    ]
}

#[test]
fn clients_of_a_web_tier_are_no_destinations_and_its_backends_port_is_no_proxys() {
    let told = |who: &Arc<Who>, served, server: &str, port| {
        let found = run(&mut bench(), who, |second| tier(served, server, port, second));
        let [finding] = &found[..] else { panic!("{found:?}") };
        let of = |name| finding.details[name].clone();
        let clients = of("outside_clients").as_u64().unwrap();
        assert!((25..=35).contains(&clients), "{clients}");
        let case = finding.case.as_ref().unwrap();
        (case.severity, of("outside_peers"), of("proxy_port"), of("outside_share"))
    };
    for who in [address("10.0.0.1"), workload("web", "registry/shop/web:3")] {
        let inner = told(&who, 80, "10.0.0.8", 8_080);
        assert_eq!(inner, (Severity::Informational, json!(0), json!(null), json!(0.0)));
        // Whatever it serves on: what goes on stays at home.
        let inner = told(&who, 8_080, "10.0.0.8", 8_080);
        assert_eq!(inner, (Severity::Informational, json!(0), json!(8_080), json!(0.0)));
        // A redirector, and one to a proxy outside.
        let [low, medium] = match who.workload.is_some() {
            true => [Severity::Medium, Severity::High],
            false => [Severity::Low, Severity::Medium],
        };
        let outer = told(&who, 443, "198.51.100.1", 443);
        assert_eq!(outer, (low, json!(1), json!(null), json!(1.0)));
        let outer = told(&who, 443, "198.51.100.1", 9_001);
        assert_eq!(outer, (medium, json!(1), json!(9_001), json!(1.0)));
    }
}

#[test]
fn destinations_that_a_mature_profile_does_not_have_are_told() {
    let who = workload("app", "registry/app:1");
    let mut bench = bench();
    assert_eq!(run(&mut bench, &who, socks)[0].details["new_outside_peers"], json!(null));
    let new = |known: &[String]| {
        let mut bench = self::bench();
        // Others each hour.
        bench.learn(14, |at| {
            let at_known =
                |nth: i64| &known[(at / 3_600 + nth).rem_euclid(known.len() as i64) as usize];
            let usual =
                |second| vec![Stream::tcp(at_known(second % 8), 443, (100, 700), (100, 700))];
            Some(minute_of(&who, at, usual))
        });
        let found = run(&mut bench, &who, |second| {
            let mut streams = socks(second);
            streams[1].peer = [198, 51, (second % 40) as u8, 1].into();
            streams
        });
        let points = &found[0].case.as_ref().unwrap().score.terms;
        let term = points.iter().find(|term| term.name == "new_outside_peers").unwrap();
        (found[0].details["new_outside_peers"].clone(), term.points)
    };
    let (all, points) = new(&["198.52.1.1".to_owned()]);
    assert!(all.as_u64() >= Some(15) && points > 5.0, "{all} {points}");
    // It has been there; whom it answers is no destination.
    let known: Vec<String> = (0..40).map(|net| format!("198.51.{net}.9")).collect();
    assert_eq!(new(&known), (json!(0), 0.0));
}

#[test]
fn an_address_is_not_told_beside_the_workload_behind_it() {
    let told = |known_share: f64| {
        let (mut bench, mut last) = (bench(), Vec::new());
        for at in 0..5 {
            let mut minute = minute_of(&address("10.0.0.1"), at * 60, socks);
            let legs = minute.measures.leg_bytes();
            minute.measures.of_workloads_bytes = legs.map(|all| (all as f64 * known_share) as u64);
            last = bench.minute(&minute);
        }
        last.len()
    };
    assert_eq!((told(0.0), told(0.4), told(0.6), told(1.0)), (1, 1, 0, 0));
}

/// The workload, known of what it accepted and of so many seconds in ten of what it opened,
/// and then its address; what came of both.
fn known_in_part(
    bench: &mut Bench<Relay>,
    who: &Arc<Who>,
    (opened_in_ten, streams): (i64, fn(i64) -> Vec<Stream>),
) -> [Vec<Finding>; 2] {
    let mut last = [Vec::new(), Vec::new()];
    for at in 0..5 {
        let known = |second: i64| {
            let mut known = streams(second);
            known.truncate(if second % 10 < opened_in_ten { 2 } else { 1 });
            known
        };
        let known = minute_of(who, at * 60, known);
        let mut all = minute_of(&address("10.0.0.1"), at * 60, streams);
        all.measures.of_workloads_bytes = known.measures.leg_bytes();
        last = [bench.minute(&known), bench.minute(&all)];
    }
    last
}

#[test]
fn a_relay_is_told_where_both_its_legs_are_known() {
    let who = workload("app", "registry/app:1");
    for opened_in_ten in [2, 5] {
        let [of_workload, of_address] = known_in_part(&mut bench(), &who, (opened_in_ten, socks));
        assert!(of_workload.is_empty(), "of one leg alone");
        let [finding] = &of_address[..] else { panic!("{opened_in_ten}: {of_address:?}") };
        assert_eq!(finding.entity.id, "10.0.0.1");
        assert_eq!(finding.details["workload_in_part"], json!("runc:app-1"));
        let case = finding.case.as_ref().unwrap();
        assert!(case.analytics.is_empty() && case.possible_analytics == ["AN0083"]);
        assert!(case.summary.contains("a part of it is known to be of runc:app-1"));
    }
    let [of_workload, of_address] = known_in_part(&mut bench(), &who, (9, socks));
    assert_eq!((of_workload.len(), of_address.len()), (1, 0), "nearly all is the workload's");
}

#[test]
fn one_known_of_one_leg_may_be_a_proxy_by_design() {
    let mesh: fn(i64) -> Vec<Stream> = |second| {
        let volume = volume(second);
        vec![
            Stream::tcp("10.0.0.7", 0, (volume, 1_454), (volume / 20 + 1, 554)).serves(8_080),
            Stream::tcp("10.0.0.8", 8_080, (volume / 20 + 1, 560), (volume, 1_460)),
        ]
    };
    let told = |image| known_in_part(&mut bench(), &workload("proxy", image), (2, mesh))[1].len();
    assert_eq!((told("envoyproxy/envoy:v1.30"), told("registry/app:1")), (0, 1));
}

#[test]
fn who_asks_is_told_which_leg_was_missing_and_where_it_is_known() {
    let lacked = |opened_in_ten| {
        let mut bench = bench();
        let watch = Watch::new(vec!["10.0.0.1".parse().unwrap()], vec!["app-1".to_owned()]);
        bench.settings.watch = Some(watch.clone());
        known_in_part(&mut bench, &workload("app", "registry/app:1"), (opened_in_ten, socks));
        let near = watch.seen().findings.into_iter().map(|near| (near.entity, near.lacked));
        near.collect::<BTreeMap<_, _>>()
    };
    let part = lacked(2);
    let of_workload = part["runc:app-1"].as_deref().unwrap();
    for word in ["not alike", "less than 0.85", "are of its address alone: ask about 10.0.0.1"] {
        assert!(of_workload.contains(word), "{of_workload}");
    }
    assert_eq!(part["10.0.0.1"], None, "told");
    let most = lacked(9);
    assert!(most["10.0.0.1"].as_ref().unwrap().starts_with("left to its workloads"));
}

#[test]
fn proxyware_that_opens_both_legs_is_found_by_its_one_controller() {
    let led = |second| {
        let volume = volume(second);
        let target = format!("198.51.100.{}", second.rem_euclid(15) + 1);
        vec![
            Stream::tcp("203.0.113.7", 443, (volume, 1_454), (volume / 20 + 1, 554)),
            Stream::tcp(&target, 443, (volume / 20 + 1, 560), (volume, 1_460)),
        ]
    };
    // 15 targets a minute, others the next.
    let mut bench = bench();
    let who = workload("app", "registry/app:1");
    let mut last = Vec::new();
    for at in 0..5 {
        let streams = |second| {
            let mut streams = led(second);
            let target = format!("198.51.{}.{}", 100 + at, second.rem_euclid(15) + 1);
            streams[1].peer = target.parse().unwrap();
            streams
        };
        last = bench.minute(&minute_of(&who, at * 60, streams));
    }
    assert_eq!(last[0].details["legs"], json!("one_peer_and_others"));
    assert_eq!(last[0].details["controller"], json!("203.0.113.7"));
    assert!(severity(&last) >= Some(Severity::Medium));
}

#[test]
fn proxies_by_design_are_judged_against_their_role() {
    let mesh = |second| {
        let volume = volume(second);
        vec![
            Stream::tcp("10.0.0.7", 0, (volume, 1_454), (volume / 20 + 1, 554)).serves(15_006),
            Stream::tcp("10.0.0.8", 8_080, (volume / 20 + 1, 560), (volume, 1_460)),
        ]
    };
    let ingress = |second| {
        let mut streams = mesh(second);
        streams[0].peer = "203.0.113.7".parse().unwrap();
        streams
    };
    for image in ["docker.io/istio/proxyv2:1.20", "envoyproxy/envoy:v1.30", "nginx:1.27"] {
        let who = workload("proxy", image);
        assert!(run(&mut bench(), &who, mesh).is_empty(), "{image}: mesh");
        assert!(run(&mut bench(), &who, ingress).is_empty(), "{image}: ingress");
    }
    // Upload through a known image to outside: that is no ingress.
    let upload = |second| {
        let volume = volume(second);
        let target = format!("198.51.100.{}", second.rem_euclid(40) + 1);
        vec![
            Stream::tcp("10.0.0.7", 0, (volume / 20 + 1, 554), (volume, 1_454)).serves(1_080),
            Stream::tcp(&target, 443, (volume, 1_460), (volume / 20 + 1, 560)),
        ]
    };
    let found = run(&mut bench(), &workload("proxy", "nginx:1.27"), upload);
    assert!(severity(&found) >= Some(Severity::Medium));
}

#[test]
fn look_alikes_do_not_pass_on_what_they_get() {
    let who = workload("app", "registry/app:1");
    // An image pull, a backup, a batch job that reads and writes, a web service with a
    // database, a client of many.
    type Case = (&'static str, fn(i64) -> Vec<Stream>);
    let cases: [Case; 5] = [
        ("pull", |s| {
            vec![Stream::tcp("198.51.100.1", 443, (volume(s) / 10, 66), (volume(s), 1_500))]
        }),
        ("backup", |s| vec![Stream::tcp("10.0.0.8", 873, (volume(s), 1_500), (volume(s) / 4, 66))]),
        ("batch", |s| {
            let (read, write) = if s < 30 { (900, 20) } else { (20, 400) };
            vec![
                Stream::tcp("10.0.0.8", 5_432, (20, 200), (read, 1_500)),
                Stream::tcp("10.0.0.9", 9_000, (write, 1_500), (20, 66)),
            ]
        }),
        ("web", |s| {
            vec![
                Stream::tcp("203.0.113.7", 0, (volume(s), 1_500), (volume(s) / 10, 400))
                    .serves(443),
                Stream::tcp("10.0.0.8", 5_432, (volume(s) / 5, 300), (volume(s) / 4, 700)),
            ]
        }),
        ("crawler", |s| {
            let target = format!("198.51.100.{}", s % 50 + 1);
            vec![Stream::tcp(&target, 443, (20, 400), (volume(s), 1_500))]
        }),
    ];
    for (name, streams) in cases {
        let found = run(&mut bench(), &who, streams);
        assert_eq!(severity(&found), None, "{name}");
    }
    // A database with a replica passes writes on, at home.
    let replica = |s| {
        vec![
            Stream::tcp("10.0.0.7", 0, (volume(s) / 10, 66), (volume(s), 1_500)).serves(5_432),
            Stream::tcp("10.0.0.8", 5_432, (volume(s), 1_500), (volume(s) / 10, 66)),
        ]
    };
    assert!(severity(&run(&mut bench(), &who, replica)) <= Some(Severity::Informational));
}

#[test]
fn ports_that_flows_served_count() {
    assert_eq!(correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), 1.0);
    assert_eq!(correlation(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
    assert_eq!(lagged(&[1.0, 5.0, 2.0, 0.0], &[9.0, 1.0, 5.0, 2.0]), 1.0, "a second later");
}

proptest::proptest! {
    /// Symmetry does not depend on how much it is.
    #[test]
    fn symmetry_is_the_same_at_any_scale(a in 0u32.., b in 0u32.., scale in 1u16..) {
        let (a, b, scale) = (f64::from(a), f64::from(b), f64::from(scale));
        let (one, other) = (symmetry(a, b), symmetry(a * scale, b * scale));
        proptest::prop_assert!((one - other).abs() < 1e-9);
        proptest::prop_assert!((0.0..=1.0).contains(&one));
    }

    #[test]
    fn a_correlation_lies_between_its_bounds(
        pairs in proptest::collection::vec((0u32.., 0u32..), 0..80),
    ) {
        let (x, y): (Vec<f64>, Vec<f64>) =
            pairs.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).unzip();
        let correlation = lagged(&x, &y);
        proptest::prop_assert!((-1.000_001..=1.000_001).contains(&correlation));
    }
}

#[test]
fn an_image_is_known_by_its_repository_and_not_by_its_registry() {
    let names = ["ingress", "nginx"].map(str::to_owned);
    for (image, known) in [
        ("registry.k8s.io/ingress-nginx/controller:v1.11", true),
        ("nginx:1.27", true),
        ("localhost:5000/nginx-unprivileged@sha256:00", true),
        ("nginx.example/app:1", false),
        ("library/app-nginxless", false),
    ] {
        let who = workload("app", image);
        assert_eq!(relays_by_design(&who, &names).is_some(), known, "{image}");
    }
}

use proptest::prelude::*;

use super::*;
use crate::flow::app::{DnsAddress, DnsInfo, QuicInfo, TlsInfo};
use crate::flow::{Direction, FlowRecord};
use crate::output::samples;
use crate::packet::key::from_ip;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// An answered flow to a server at some second.
fn record(server: &str, second: i64, app: AppInfo) -> FlowRecord {
    let mut record = samples::tcp();
    let (version, address) = from_ip(ip(server));
    record.key.version = version;
    let end = if record.forward_is_a_to_b { &mut record.key.b } else { &mut record.key.a };
    *end = address;
    record.start_ns = second * 1_000_000_000;
    record.app = Some(Box::new(app));
    record
}

fn tls(sni: &str) -> AppInfo {
    let tls = TlsInfo { sni: Some(sni.to_owned()), ..TlsInfo::default() };
    AppInfo { tls: Some(tls), ..AppInfo::default() }
}

fn http(host: &str, path: &str) -> AppInfo {
    let (host, path) = (Some(host.to_owned()), Some(path.to_owned()));
    AppInfo { http: Some(HttpInfo { host, path, ..HttpInfo::default() }), ..AppInfo::default() }
}

fn dns(query: &str, addresses: &[&str], ttl_s: u32) -> AppInfo {
    let addresses = addresses.iter().map(|address| DnsAddress { address: ip(address), ttl_s });
    let dns =
        DnsInfo { query: query.to_owned(), addresses: addresses.collect(), ..DnsInfo::default() };
    AppInfo { dns: Some(dns), ..AppInfo::default() }
}

fn learn(names: &mut Names, record: &FlowRecord) {
    names.learn(&record.outline(), record.app.as_deref());
}

fn learned(records: &[FlowRecord]) -> Names {
    let mut names = Names::default();
    records.iter().for_each(|record| learn(&mut names, record));
    names
}

/// Name, source and second of each.
fn told(names: &Names, address: &str) -> Vec<(String, NameSource, i64)> {
    let names = names.of(ip(address), 0).into_iter();
    names.map(|name| (name.name, name.source, name.seen_ns / 1_000_000_000)).collect()
}

#[test]
fn names_come_from_answers_servers_and_hosts_the_newest_first() {
    let quic = QuicInfo { sni: Some("Q.example".to_owned()), ..QuicInfo::default() };
    let names = learned(&[
        record("192.0.2.53", 1, dns("a.example", &["198.51.100.1", "2001:db8::1"], 60)),
        record("198.51.100.1", 2, tls("A.example.")),
        record("198.51.100.1", 3, http("a.example:8080", "/")),
        record("198.51.100.1", 3, AppInfo { quic: Some(quic), ..AppInfo::default() }),
        record("198.51.100.1", 1, tls("a.example")),
    ]);
    use NameSource::{Dns, Http, Tls};
    let expected = [
        ("a.example", Http, 3),
        ("q.example", Tls, 3),
        ("a.example", Tls, 2),
        ("a.example", Dns, 1),
    ];
    let expected = expected.map(|(name, source, second)| (name.to_owned(), source, second));
    assert_eq!(told(&names, "198.51.100.1"), expected);
    assert_eq!(told(&names, "2001:db8::1").len(), 1);
    assert_eq!(told(&names, "192.0.2.53"), [], "a resolver has no name of what it is asked for");
    let dns = names.of(ip("2001:db8::1"), 3_000_000_000).remove(0);
    assert_eq!((dns.age_ns, dns.ttl_s), (2_000_000_000, Some(60)));
    assert_eq!(names.of(ip("2001:db8::1"), 0)[0].age_ns, 0, "seen later");
}

#[test]
fn what_names_nobody_is_left_out() {
    let of = |record: FlowRecord| told(&learned(&[record]), "198.51.100.1").len();
    let named = |app| record("198.51.100.1", 1, app);
    assert_eq!(of(named(tls("a.example"))), 1);
    let unanswered = Direction::default();
    assert_eq!(of(FlowRecord { rev: unanswered, ..named(tls("a.example")) }), 0, "a scan");
    assert_eq!(of(FlowRecord { originator_guessed: true, ..named(tls("a.example")) }), 0);
    for app in [
        tls("198.51.100.1"),
        tls(""),
        http("198.51.100.1:80", "/"),
        http("[2001:db8::1]:80", "/"),
        http("a.example", "http://a.example/"),
        http("a.example:443", "a.example:443"),
        dns(".", &["198.51.100.1"], 1),
        AppInfo::default(),
    ] {
        assert_eq!(of(named(app.clone())), 0, "{app:?}");
    }
}

#[test]
fn an_address_keeps_the_names_used_last() {
    let records: Vec<FlowRecord> =
        (0..20).map(|n| record("198.51.100.1", n % 13, tls(&format!("n{n:02}")))).collect();
    let names: Vec<String> =
        told(&learned(&records), "198.51.100.1").into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["n12", "n11", "n10", "n09", "n08", "n07", "n06", "n19"]);
}

#[test]
fn addresses_named_longest_ago_go_first_and_the_bounds_hold() {
    let mut names = Names::with_bounds(3, 40);
    for (server, name) in
        [("10.0.0.1", "a"), ("10.0.0.2", "b"), ("10.0.0.3", "c"), ("10.0.0.1", "d")]
    {
        learn(&mut names, &record(server, 1, tls(name)));
    }
    learn(&mut names, &record("10.0.0.4", 1, tls("e")));
    assert_eq!(told(&names, "10.0.0.2"), []);
    assert_eq!(told(&names, "10.0.0.1").len(), 2);
    learn(&mut names, &record("10.0.0.5", 1, tls(&"x".repeat(39))));
    assert_eq!((told(&names, "10.0.0.4").len(), told(&names, "10.0.0.1").len()), (1, 0));
    learn(&mut names, &record("10.0.0.6", 1, tls(&"y".repeat(41))));
    assert_eq!((names.known.len(), names.order.len(), names.name_bytes), (0, 0, 0));
}

/// A flow to one of a few servers with one of some names.
fn few_flows() -> impl Strategy<Value = Vec<(u8, u8, i64)>> {
    prop::collection::vec((0..6_u8, 0..12_u8, 0..5_i64), 0..60)
}

fn of_few((server, name, second): (u8, u8, i64)) -> FlowRecord {
    let address = format!("10.0.0.{server}");
    let name = format!("n{name}");
    let app = match server % 3 {
        0 => tls(&name),
        1 => http(&name, "/"),
        _ => dns(&name, &[&address], second as u32),
    };
    record(&address, second, app)
}

proptest! {
    #[test]
    fn sizes_add_up_and_bounds_hold_whatever_comes(flows in few_flows()) {
        let mut names = Names::with_bounds(4, 60);
        for flow in flows {
            learn(&mut names, &of_few(flow));
            let bytes = names.known.values().flat_map(|known| &known.names);
            prop_assert_eq!(names.name_bytes, bytes.map(|name| name.name.len()).sum::<usize>());
            prop_assert!(names.known.len() <= 4 && names.name_bytes <= 60);
            prop_assert_eq!(names.known.len(), names.order.len());
            prop_assert!(names.known.values().all(|known| known.names.len() <= MAX_NAMES));
        }
    }

    #[test]
    fn while_there_is_room_the_order_of_records_does_not_matter(
        flows in few_flows(), seed in any::<u64>(),
    ) {
        let forth: Vec<FlowRecord> = flows.iter().copied().map(of_few).collect();
        let mut back = forth.clone();
        back.sort_by_key(|record| record.start_ns.wrapping_mul(7) ^ seed as i64);
        back.reverse();
        let (forth, back) = (learned(&forth), learned(&back));
        for server in 0..6_u8 {
            let address = IpAddr::from([10, 0, 0, server]);
            prop_assert_eq!(forth.of(address, 0), back.of(address, 0));
        }
    }
}

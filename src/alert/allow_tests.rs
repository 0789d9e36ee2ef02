//! What an entry covers, and up to what.

use proptest::prelude::*;

use super::*;
use crate::alert::{AlertBook, Case, Entity, Score, Update};
use crate::detect::{DetectSettings, Family, Rule, Subject, Telemetry, Traffic};

fn entry(entity: &str) -> AllowEntry {
    AllowEntry {
        detector: None,
        entity: entity.parse().unwrap(),
        towards: Towards::default(),
        reason: "backup".to_owned(),
        owner: "ops".to_owned(),
        expires_ns: i64::MAX,
        max_packets_per_s: None,
        max_bytes_per_minute: None,
    }
}

fn finding(detector: &'static str, entity: Entity, second: i64) -> Finding {
    let subject = Subject::Interface(0);
    Finding {
        opens: true,
        traffic: Traffic { packets: 5_000, ..Traffic::default() },
        ..Finding::new(detector, Family::Udp, second, subject, entity, Rule::NONE)
    }
}

fn packets(packets_per_s: u64) -> Volume {
    Volume { packets_per_s: Some(packets_per_s), bytes_per_minute: None }
}

fn entity(kind: EntityKind, id: &str) -> Entity {
    Entity { kind, id: id.to_owned(), labels: BTreeMap::new() }
}

#[test]
fn entities_are_covered_by_what_holds_them() {
    for (allowed, kind, id, covered) in [
        ("192.0.2.1", EntityKind::Address, "192.0.2.1", true),
        ("192.0.2.1", EntityKind::Address, "192.0.2.2", false),
        ("192.0.2.0/24", EntityKind::Address, "192.0.2.200", true),
        ("192.0.2.9/24", EntityKind::Prefix, "192.0.2.128/25", true),
        ("192.0.2.0/24", EntityKind::Prefix, "192.0.0.0/16", false),
        ("0.0.0.0/0", EntityKind::Address, "2001:db8::1", false),
        ("2001:db8::/32", EntityKind::Address, "2001:db8::1", true),
        ("02:00:00:00:00:0A", EntityKind::Mac, "02:00:00:00:00:0a", true),
        ("02:00:00:00:00:0a", EntityKind::Mac, "02:00:00:00:00:0a@vlan7", true),
        ("02:00:00:00:00:0a@vlan7", EntityKind::Mac, "02:00:00:00:00:0a", false),
        ("02:00:00:00:00:0a@vlan7", EntityKind::Mac, "02:00:00:00:00:0a@vlan7", true),
        ("interface:eth0", EntityKind::Host, "sensor:eth0", true),
        ("sensor:eth0", EntityKind::Host, "sensor:eth1", false),
        ("instance:i-1", EntityKind::Instance, "i-1", true),
        ("instance:i-1", EntityKind::Instance, "i-2", false),
        ("workload:i-1", EntityKind::Instance, "i-1", false),
    ] {
        let allowed: AllowedEntity = allowed.parse().unwrap();
        assert_eq!(allowed.covers(&entity(kind, id), None), covered, "{allowed} {id}");
    }
    for bad in ["", "eth0", "192.0.2.1/33", "02:00:00:00:00", "02:00:00:00:00:+a", "sensor:"] {
        assert!(bad.parse::<AllowedEntity>().is_err(), "{bad}");
    }
}

/// The addresses and the host of an instance, of which floods and scans know no more.
#[test]
fn an_entry_for_an_instance_covers_its_addresses_prefixes_and_host_by_the_inventory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.csv");
    let lines =
        "id,name,address\ni-1,web-1,192.0.2.1 2001:db8::1 10.9.0.0/16\ni-2,web-2,10.9.0.7\n";
    std::fs::write(&path, lines).unwrap();
    let inventory = Inventory::read(&path).unwrap().0;
    let allowed: AllowedEntity = "instance:i-1".parse().unwrap();
    for (kind, id, covered) in [
        (EntityKind::Address, "192.0.2.1", true),
        (EntityKind::Address, "2001:db8::1", true),
        (EntityKind::Address, "10.9.0.6", true),
        (EntityKind::Address, "10.9.0.7", false),
        (EntityKind::Address, "192.0.2.2", false),
        (EntityKind::Host, "web-1", true),
        (EntityKind::Host, "web-2", false),
        (EntityKind::Host, "sensor:eth0", false),
        // Its network, but for what another has inside.
        (EntityKind::Prefix, "10.9.1.0/24", true),
        (EntityKind::Prefix, "10.9.0.0/24", false),
        (EntityKind::Prefix, "10.9.0.0/16", false),
        (EntityKind::Prefix, "10.8.0.0/15", false),
        // One address of it.
        (EntityKind::Prefix, "192.0.2.0/24", false),
    ] {
        assert_eq!(allowed.covers(&entity(kind, id), Some(&inventory)), covered, "{id}");
        assert!(!allowed.covers(&entity(kind, id), None), "{id}: nobody says whose it is");
    }
}

#[test]
fn an_entry_ends_by_the_time_of_the_stream() {
    let mut allowances =
        Allowances::new(&[AllowEntry { expires_ns: 10_000_000_000, ..entry("192.0.2.1") }]);
    let at = |second| finding("udp_flood", entity(EntityKind::Address, "192.0.2.1"), second);
    assert!(matches!(allowances.judge(&at(9), packets(1), 60), Verdict::Suppressed(_)));
    assert_eq!(allowances.judge(&at(10), packets(1), 60), Verdict::NotListed);
}

#[test]
fn beyond_its_bound_an_entry_allows_nothing_and_the_widest_is_named() {
    let bound = |most| AllowEntry { max_packets_per_s: Some(most), ..entry("192.0.2.1") };
    let mut allowances = Allowances::new(&[bound(100), bound(300), bound(200)]);
    let flood = finding("udp_flood", entity(EntityKind::Address, "192.0.2.1"), 1);
    assert!(matches!(allowances.judge(&flood, packets(300), 60), Verdict::Suppressed(_)));
    let beyond = Bound { entry: bound(300), volume_known: true };
    assert_eq!(allowances.judge(&flood, packets(301), 60), Verdict::Beyond(beyond));
    let suppressed: Vec<u64> = allowances.counts().iter().map(|count| count.suppressed).collect();
    assert_eq!(suppressed, [0, 1, 0]);
}

#[test]
fn a_bound_in_bytes_holds_as_well() {
    let bytes = |bytes_per_minute| Volume {
        packets_per_s: Some(1),
        bytes_per_minute: Some(bytes_per_minute),
    };
    let entry = AllowEntry { max_bytes_per_minute: Some(1_000), ..entry("192.0.2.1") };
    let mut allowances = Allowances::new(std::slice::from_ref(&entry));
    let flood = finding("egress", entity(EntityKind::Address, "192.0.2.1"), 1);
    assert!(matches!(allowances.judge(&flood, bytes(1_000), 60), Verdict::Suppressed(_)));
    let beyond = Bound { entry, volume_known: true };
    assert_eq!(allowances.judge(&flood, bytes(1_001), 60), Verdict::Beyond(beyond));
}

#[test]
fn what_has_no_volume_is_not_within_a_bound() {
    let mut chain = finding("chain", entity(EntityKind::Address, "192.0.2.1"), 1);
    chain.traffic = Traffic::default();
    chain.case = Some(Box::new(Case::new(Score::of(Vec::new(), 0.0))));
    let volume = Volume::of(&chain);
    assert_eq!(volume, Volume::default());
    let bounded = AllowEntry { max_bytes_per_minute: Some(1_000_000), ..entry("192.0.2.1") };
    let mut allowances = Allowances::new(std::slice::from_ref(&bounded));
    let beyond = Bound { entry: bounded, volume_known: false };
    assert_eq!(allowances.judge(&chain, volume, 60), Verdict::Beyond(beyond));
    let mut allowances = Allowances::new(&[entry("192.0.2.1")]);
    assert!(
        matches!(allowances.judge(&chain, volume, 60), Verdict::Suppressed(_)),
        "without a bound"
    );
}

#[test]
fn a_workload_is_named_as_its_baseline_is() {
    let mut found = finding("egress", entity(EntityKind::Workload, "runc:1234"), 1);
    let mut case = Case::new(Score::of(Vec::new(), 0.0));
    case.baseline_key = Some("workload:shop/Deployment/api/app".into());
    found.case = Some(Box::new(case));
    assert!(entry("workload:shop/Deployment/api/app").covers_at(&found, 1, None));
    assert!(!entry("workload:shop/Deployment/api").covers_at(&found, 1, None));
}

#[test]
fn a_pause_longer_than_the_quiet_time_makes_another_alert() {
    let mut allowances = Allowances::new(&[entry("192.0.2.0/24")]);
    for second in [1, 2, 61, 62, 123] {
        let flood = finding("udp_flood", entity(EntityKind::Address, "192.0.2.1"), second);
        allowances.judge(&flood, packets(1), 60);
    }
    let count = &allowances.counts()[0];
    assert_eq!((count.suppressed, count.suppressed_windows), (2, 5));
}

#[test]
fn entries_that_stay_keep_their_counts_and_those_that_go_are_still_told() {
    let mut allowances = Allowances::new(&[entry("192.0.2.1"), entry("192.0.2.2")]);
    for address in ["192.0.2.1", "192.0.2.2"] {
        allowances.judge(
            &finding("udp_flood", entity(EntityKind::Address, address), 1),
            packets(1),
            60,
        );
    }
    allowances.replace(&[entry("192.0.2.3"), entry("192.0.2.2")]);
    let gone = finding("udp_flood", entity(EntityKind::Address, "192.0.2.1"), 2);
    assert_eq!(allowances.judge(&gone, packets(1), 60), Verdict::NotListed);
    let counts: Vec<_> =
        allowances.counts().into_iter().map(|c| (c.entity, c.suppressed)).collect();
    let expected = [("192.0.2.3", 0), ("192.0.2.2", 1), ("192.0.2.1", 1)];
    assert_eq!(counts, expected.map(|(entity, count)| (entity.to_owned(), count)));
}

/// A flood of 5,000 packets/s at an address, second by second.
struct Flood {
    book: AlertBook,
    settings: DetectSettings,
    second: i64,
    /// When it began, where each finding is of all of it.
    since: Option<i64>,
}

impl Flood {
    fn allowed(entries: Vec<AllowEntry>) -> Self {
        let settings = DetectSettings { allow: entries, ..DetectSettings::default() };
        Self { book: AlertBook::new(&settings), settings, second: 0, since: None }
    }

    fn take_over(&mut self, entries: Vec<AllowEntry>) {
        self.settings.allow = entries;
        self.book.set_settings(&self.settings);
    }

    /// What is told of so many more seconds of it.
    fn goes_on(&mut self, seconds: i64) -> Vec<Update> {
        for _ in 0..seconds {
            self.second += 1;
            let address = entity(EntityKind::Address, "192.0.2.1");
            let mut flood = finding("udp_flood", address, self.second);
            flood.start_second = self.since.unwrap_or(self.second);
            let telemetry = Telemetry::default();
            self.book.record(self.second, &mut vec![flood], &telemetry, &self.settings);
        }
        self.book.take_updates()
    }

    fn suppressed(&self) -> Vec<(u64, u64)> {
        let counts = self.book.allowed().into_iter();
        counts.map(|count| (count.suppressed, count.suppressed_windows)).collect()
    }
}

#[test]
fn an_alert_that_is_open_is_closed_by_an_entry_that_comes_and_says_so() {
    let mut flood = Flood::allowed(Vec::new());
    let opened = flood.goes_on(3)[0].alert.clone();
    // About others it goes on.
    let other = AllowEntry { detector: Some("icmp_flood".to_owned()), ..entry("192.0.2.1") };
    flood.take_over(vec![other.clone(), entry("192.0.2.2")]);
    assert_eq!(flood.goes_on(3), []);
    flood.take_over(vec![other, entry("192.0.2.0/24")]);
    let told = flood.goes_on(1);
    assert_eq!(told.len(), 1);
    let last = &told[0].alert;
    assert!(told[0].closed && last.revision > opened.revision && last.id == opened.id);
    assert_eq!(last.evidence.active_seconds, 6, "what came after is the entry's");
    assert_eq!(last.evidence.details["closed_as_allowed"]["owner"], "ops");
    let words = "Closed: allowed by now (backup, by ops, until ";
    assert!(last.summary.contains(words), "{}", last.summary);
    assert_eq!(flood.goes_on(3), []);
    assert_eq!(flood.suppressed(), [(0, 0), (1, 4)]);
}

/// A tunnel is told whole, since its first query: by alerts behind one another, even so.
#[test]
fn what_goes_on_behind_a_closed_alert_has_an_id_of_its_own() {
    let mut flood = Flood { since: Some(0), ..Flood::allowed(Vec::new()) };
    let first = flood.goes_on(3)[0].alert.clone();
    flood.take_over(vec![entry("192.0.2.1")]);
    assert!(flood.goes_on(3)[0].closed);
    flood.take_over(Vec::new());
    let second = flood.goes_on(3)[0].alert.clone();
    let allowed = flood.book.take_allowed_alerts();
    let starts = [&first, &allowed[0], &second].map(|alert| alert.start_ns / 1_000_000_000);
    assert_eq!(starts, [0, 4, 7]);
    let ids: std::collections::BTreeSet<_> =
        [&first, &allowed[0], &second].map(|alert| &alert.id).into();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_may_pause_longer_counts_once_for_as_long() {
    let mut allowances = Allowances::new(&[entry("192.0.2.1")]);
    let address = entity(EntityKind::Address, "192.0.2.1");
    for call in 0..5 {
        let mut case = Case::new(Score::of(Vec::new(), 0.0));
        case.quiet_s = 600;
        let mut beacon = finding("beacon", address.clone(), call * 650);
        beacon.case = Some(Box::new(case));
        allowances.judge(&beacon, packets(1), 60);
    }
    let count = &allowances.counts()[0];
    assert_eq!((count.suppressed, count.suppressed_windows), (1, 5));
}

#[test]
fn an_alert_that_is_quiet_is_closed_without_waiting_for_more() {
    let mut flood = Flood::allowed(Vec::new());
    flood.goes_on(3);
    flood.take_over(vec![entry("192.0.2.1")]);
    flood.book.close_quiet(flood.second + 1, &flood.settings);
    let told = flood.book.take_updates();
    assert!(told[0].closed && told[0].alert.evidence.details.contains_key("closed_as_allowed"));
    assert_eq!(flood.suppressed(), [(0, 0)], "nothing was held back");
}

#[test]
fn an_entry_that_comes_with_a_bound_closes_what_is_within_it_alone() {
    let bound = |most| AllowEntry { max_packets_per_s: Some(most), ..entry("192.0.2.1") };
    let mut flood = Flood::allowed(vec![bound(100)]);
    assert!(flood.goes_on(3)[0].alert.summary.contains("Beyond the 100 packets/s"));
    flood.take_over(vec![bound(4_999)]);
    assert_eq!(flood.goes_on(1), []);
    let open = flood.book.alerts().remove(0);
    assert!(open.summary.contains("Beyond the 4,999 packets/s"), "{}", open.summary);
    flood.take_over(vec![bound(5_000)]);
    let told = flood.goes_on(1);
    assert!(told[0].closed && told[0].alert.summary.contains("Closed: allowed by now"));
    assert_eq!(flood.suppressed()[0], (1, 1));
}

#[test]
fn the_same_entries_once_more_change_nothing_of_an_open_alert() {
    let bound = AllowEntry { max_packets_per_s: Some(4_999), ..entry("192.0.2.1") };
    let mut flood = Flood::allowed(vec![bound.clone()]);
    flood.goes_on(3);
    let opened = flood.book.alerts();
    flood.take_over(vec![entry("192.0.2.7"), bound]);
    assert_eq!(flood.goes_on(1), []);
    let mut open = flood.book.alerts().remove(0);
    open.end_ns = opened[0].end_ns;
    assert_eq!(open.evidence.details, opened[0].evidence.details);
}

#[test]
fn what_is_no_longer_allowed_alerts_again() {
    let mut flood = Flood::allowed(Vec::new());
    let first = flood.goes_on(3)[0].alert.id.clone();
    flood.take_over(vec![entry("192.0.2.1")]);
    assert!(flood.goes_on(3)[0].closed);
    // Removed.
    flood.take_over(Vec::new());
    let told = flood.goes_on(1);
    assert!(!told[0].closed && told[0].alert.id != first);
    assert!(!told[0].alert.evidence.details.contains_key("closed_as_allowed"));
    // There again, it is another entry than before, and this time it expires.
    let expires_ns = second_ns(flood.second + 3);
    flood.take_over(vec![AllowEntry { expires_ns, ..entry("192.0.2.1") }]);
    assert!(flood.goes_on(2)[0].closed);
    let told = flood.goes_on(1);
    assert_eq!((told[0].closed, told[0].alert.start_ns), (false, expires_ns));
    // One that is over by then closes nothing.
    flood.take_over(vec![AllowEntry { expires_ns, ..entry("192.0.2.0/24") }]);
    assert_eq!(flood.goes_on(2), []);
    flood.take_over(vec![entry("192.0.2.1")]);
    assert!(flood.goes_on(1)[0].closed);
}

proptest! {
    #[test]
    fn what_is_shown_of_an_entity_is_read_as_the_same(
        address in any::<[u8; 16]>(), v6: bool, bits in 0u8..=128, mac in any::<[u8; 6]>(),
        vlan in proptest::option::of(1u16..4096),
    ) {
        let ip = if v6 { IpAddr::from(address) } else {
            IpAddr::from([address[0], address[1], address[2], address[3]])
        };
        let bits = if v6 { bits } else { bits % 33 };
        let net = AllowedEntity::Net(IpNet::new(ip, bits).unwrap().trunc());
        prop_assert_eq!(net.to_string().parse(), Ok(net));
        let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
        let vlan = vlan.map(|vlan| format!("@vlan{vlan}")).unwrap_or_default();
        let mac = AllowedEntity::Mac(format!("{}{vlan}", octets.join(":")));
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn no_text_makes_the_reader_of_entities_panic(text in ".{0,40}") {
        let _ = text.parse::<AllowedEntity>();
    }
}

//! One act, several alerts: which stands, and what becomes of the others.

use std::net::IpAddr;

use super::super::{Alert, AlertBook, Case, Entity, EntityKind, Score, Severity};
use crate::detect::{
    Act, Busiest, DetectSettings, Direction, Family, Finding, Peer, PeerRole, Rule, Shape, Subject,
    Telemetry,
};
use crate::engine::window::Host;

const RULE: Rule = Rule { name: "r", threshold: 1_000, unit: "packets/s", formula: "f" };

fn host(last: u8) -> Host {
    IpAddr::from([10, 0, 0, last]).into()
}

fn victim() -> Host {
    IpAddr::from([203, 0, 113, 7]).into()
}

/// A flood between two addresses, as the detectors of windows tell of it.
fn flood(second: i64, from: Host, packets: u64) -> Finding {
    let entity = Entity::address(&from);
    let subject = Subject::Host(victim());
    let mut finding = Finding::new("udp_flood", Family::Udp, second, subject, entity, RULE);
    finding.opens = true;
    finding.home_sender = true;
    finding.stateless = true;
    finding.direction = Direction::Outbound;
    finding.measured = packets;
    (finding.traffic.packets, finding.traffic.wire_bytes) = (packets, packets * 500);
    let peer =
        |host, role| Peer { host, role, packets: Some(packets), wire_bytes: Some(packets * 500) };
    finding.peers = vec![peer(victim(), PeerRole::Destination), peer(from, PeerRole::Source)];
    finding
}

/// What an entity does in a second or a minute.
fn of_entity(
    detector: &'static str,
    (kind, id): (EntityKind, &str),
    (start, second): (i64, i64),
    (from, packets): (Host, u64),
    severity: Severity,
) -> Finding {
    let entity = Entity::new(kind, id.to_owned());
    let digest = id.bytes().map(u64::from).sum();
    let subject = Subject::Entity(digest);
    let mut finding = Finding::new(detector, Family::Case(detector), second, subject, entity, RULE);
    finding.opens = true;
    finding.start_second = start;
    finding.shape = Shape::OneToOne;
    let wire_bytes = packets * 500;
    finding.busiest = Some(Busiest { second: start, packets, wire_bytes, ..Busiest::default() });
    finding.traffic.packets = packets * (second - start + 1) as u64;
    finding.act = Some(Act { from, to: Some(victim()), packets: None, wire_bytes: None });
    let mut case = Case::new(Score::of(Vec::new(), 0.0));
    case.severity = severity;
    case.severity_reason = "Chosen.".to_owned();
    case.summary = format!("{detector} of {id}.");
    case.analytics = vec![if kind == EntityKind::Process { "AN0971" } else { "AN0972" }];
    finding.case = Some(Box::new(case));
    finding
}

const PROCESS: (EntityKind, &str) = (EntityKind::Process, "boot:7:1");
const INSTANCE: (EntityKind, &str) = (EntityKind::Instance, "i-0a");

fn by_process(second: i64, packets: u64) -> Finding {
    let at = (second, second);
    let finding = of_entity("tool_flood", PROCESS, at, (host(1), packets), Severity::Low);
    Finding { kind: "udp", ..finding }
}

fn egress(minute: i64, packets: u64) -> Finding {
    let span = (minute * 60, minute * 60 + 59);
    of_entity("egress", INSTANCE, span, (host(1), packets), Severity::Medium)
}

struct Book {
    book: AlertBook,
    settings: DetectSettings,
}

impl Book {
    fn new() -> Self {
        let settings = DetectSettings::default();
        Self { book: AlertBook::new(&settings), settings }
    }

    fn see(&mut self, finding: Finding) {
        let second = finding.second;
        self.book.record(second, &mut vec![finding], &Telemetry::default(), &self.settings);
    }

    fn alert(&self, detector: &str) -> Alert {
        let mut alerts = self.book.alerts().into_iter();
        alerts.find(|alert| alert.detector == detector).expect(detector)
    }
}

#[test]
fn the_process_stands_for_the_flood_of_its_address_and_the_egress_of_its_instance() {
    let mut book = Book::new();
    for second in 0..60 {
        book.see(flood(second, host(1), 20_000));
        // A tool is told of after some seconds over its floor.
        if second >= 5 {
            book.see(by_process(second, 19_000));
        }
        if second == 3 {
            assert_eq!(book.alert("udp_flood").severity, Severity::High, "told at once");
        }
    }
    book.see(egress(0, 20_000));
    let stands = book.alert("tool_flood");
    assert_eq!(stands.severity, Severity::Critical, "as severe as the flood by itself");
    assert_eq!(stands.analytics, ["AN0971", "AN0972"]);
    assert!(stands.part_of.is_none());
    let parts: Vec<&str> = stands.parts.iter().map(|part| part.detector.as_str()).collect();
    assert_eq!(parts, ["udp_flood", "egress"]);
    for detector in ["udp_flood", "egress"] {
        let part = book.alert(detector);
        assert_eq!(part.severity, Severity::Informational);
        assert_eq!(part.part_of.as_ref().expect(detector).id, stands.id);
        assert!(part.summary.ends_with("Part of what tool_flood tells."), "{}", part.summary);
        assert!(part.grade.severity_terms.is_empty());
    }
    // Each change was told, the parts' too.
    let updates = book.book.take_updates();
    let told = |detector: &str| {
        let of: Vec<_> = updates.iter().filter(|it| it.alert.detector == detector).collect();
        (of.len(), of.last().expect(detector).alert.severity)
    };
    assert_eq!(told("udp_flood").1, Severity::Informational);
    assert_eq!(told("egress"), (1, Severity::Informational));
    assert_eq!(told("tool_flood").1, Severity::Critical);
}

#[test]
fn a_flood_stands_for_the_egress_that_is_the_same() {
    let mut book = Book::new();
    for second in 0..10 {
        book.see(flood(second, host(1), 20_000));
    }
    book.see(egress(0, 20_000));
    assert!(book.alert("egress").part_of.is_some());
    let flood = book.alert("udp_flood");
    assert_eq!((flood.severity, flood.parts.len()), (Severity::High, 1));
    // Severity is still the sum of its terms.
    let steps = flood.grade.severity_terms.iter().map(|term| term.steps).sum();
    assert_eq!(Severity::of_steps(steps), flood.severity);
}

#[test]
fn what_somebody_else_sends_stands_for_itself() {
    for (name, flooder, packets) in [
        ("another address", host(2), 20_000),
        ("hardly any of it is the process's", host(1), 41_000),
    ] {
        let mut book = Book::new();
        for second in 0..10 {
            book.see(flood(second, flooder, packets));
            book.see(by_process(second, 20_000));
        }
        assert!(book.alert("udp_flood").part_of.is_none(), "{name}");
        assert!(book.alert("tool_flood").parts.is_empty(), "{name}");
    }
    // An upload at a hundred times the rate of the flood beside it.
    let mut book = Book::new();
    for second in 0..10 {
        book.see(by_process(second, 2_000));
    }
    book.see(egress(0, 200_000));
    assert!(book.alert("egress").part_of.is_none());
    // A ping beside a flood of datagrams to the same.
    let mut book = Book::new();
    for second in 0..10 {
        book.see(flood(second, host(1), 5_000));
        book.see(Finding { kind: "icmp", ..by_process(second, 20_000) });
    }
    assert!(book.alert("udp_flood").part_of.is_none());
    // Another process, which sends less to the same.
    let mut book = Book::new();
    let other = (EntityKind::Process, "boot:8:1");
    for second in 0..60 {
        book.see(by_process(second, 20_000));
    }
    book.see(of_entity("data_ratio", other, (0, 59), (host(1), 2_000), Severity::Low));
    assert!(book.alert("data_ratio").part_of.is_none());
    book.see(of_entity("data_ratio", PROCESS, (0, 59), (host(1), 20_000), Severity::Low));
    let parts = book.alert("tool_flood").parts;
    assert_eq!(parts.iter().map(|part| &*part.entity.id).collect::<Vec<_>>(), [PROCESS.1]);
    // What may be expected stands for nothing.
    let mut book = Book::new();
    let informational = |second| {
        let at = (second, second);
        let finding =
            of_entity("tool_flood", PROCESS, at, (host(1), 20_000), Severity::Informational);
        Finding { kind: "udp", ..finding }
    };
    for second in 0..10 {
        book.see(flood(second, host(1), 20_000));
        book.see(informational(second));
    }
    assert!(book.alert("udp_flood").part_of.is_none());
}

#[test]
fn what_goes_on_without_the_process_is_told_for_itself_again() {
    let mut book = Book::new();
    for second in 0..130 {
        book.see(flood(second, host(1), 20_000));
        if second < 20 {
            book.see(by_process(second, 20_000));
        }
        let part = book.alert("udp_flood").part_of.is_some();
        assert_eq!(part, second <= 19 + super::RELEASED_AFTER_S, "second {second}");
    }
    assert_eq!(book.alert("udp_flood").severity, Severity::Critical);
}

#[test]
fn the_one_that_knows_most_takes_over_what_another_stood_for() {
    let mut book = Book::new();
    let connections = |second| {
        let at = (second, second);
        of_entity("connection_rate", PROCESS, at, (host(1), 20_000), Severity::Medium)
    };
    for second in 0..10 {
        book.see(Finding { family: Family::Tcp, ..flood(second, host(1), 20_000) });
        book.see(connections(second));
        assert!(book.alert("udp_flood").part_of.is_some());
        if second >= 5 {
            book.see(Finding { kind: "tcp_syn", ..by_process(second, 20_000) });
        }
    }
    let parts = |detector: &str| -> Vec<String> {
        book.alert(detector).parts.into_iter().map(|part| part.detector).collect()
    };
    assert_eq!(parts("tool_flood"), ["udp_flood", "connection_rate"]);
    assert_eq!(parts("connection_rate"), [""; 0]);
    let whole = book.alert("tool_flood").id;
    for detector in ["udp_flood", "connection_rate"] {
        assert_eq!(book.alert(detector).part_of.expect(detector).id, whole);
    }
}

//! Fixtures through recognition, framing and decoder. What made them stands in
//! `tests/fixtures/macos/README.md`.

macro_rules! fixture {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/macos/", $name))
                .as_slice(),
        )
    };
}

mod events;
mod nettop;
mod snapshots;

use crate::host::attribution::Basis;
use crate::host::event::{Presence, Socket, SocketKind, What};
use crate::host::process::{Context as Seat, Process, ProcessId};
use crate::telemetry::decode::{Bad, Context, Out};
use crate::telemetry::kind::{Head, Kind, recognise};
use crate::telemetry::observation::Observation;
use crate::telemetry::sample::{CounterSample, Reading};
use crate::telemetry::tests::decode;

const S: i64 = 1_000_000_000;
/// 2026-03-01T10:15:00Z.
const T: i64 = 1_772_360_100 * S;

fn kind_of(bytes: &[u8]) -> Option<&'static Kind> {
    recognise(&Head::new(bytes, true))
}

fn read((name, bytes): (&str, &[u8]), kind: &str) -> (Out, Vec<Bad>) {
    read_at(name, bytes, kind, None)
}

fn read_at(name: &str, bytes: &[u8], kind: &str, modified_ns: Option<i64>) -> (Out, Vec<Bad>) {
    let found = kind_of(bytes).unwrap_or_else(|| panic!("{name} is not recognised"));
    assert_eq!(found.name, kind, "{name}");
    let context = Context { modified_ns, host: Some("mac1".into()), ..Context::default() };
    decode(found, &context, bytes)
}

/// What a host said, and when, in its order; who speaks comes first. That it was looked
/// at is left out.
fn events(out: &Out) -> Vec<(i64, &What)> {
    let mut events = out.observations.iter().filter_map(|observation| match observation {
        Observation::Host(report) => {
            assert_eq!(&*report.host, "mac1");
            Some((report.event.time_ns, &report.event.what))
        }
        _ => None,
    });
    let Some((_, What::Start(start))) = events.next() else { panic!("nobody speaks") };
    assert_eq!(start.host, "mac1");
    events.filter(|(_, what)| **what != What::Time).collect()
}

fn samples(out: &Out) -> Vec<&CounterSample> {
    let samples = out.observations.iter().filter_map(|observation| match observation {
        Observation::Counter(sample) => Some(&**sample),
        _ => None,
    });
    samples.collect()
}

fn started<'a>(events: &[(i64, &'a What)], pid: u32) -> &'a Process {
    let found = events.iter().find_map(|(_, what)| match what {
        What::ProcessStart(process) if process.id.pid == pid => Some(&**process),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{pid} did not start"))
}

fn execs<'a>(events: &[(i64, &'a What)]) -> Vec<&'a Process> {
    let of = |what: &&'a What| match what {
        What::ProcessExec(process) => Some(&**process),
        _ => None,
    };
    events.iter().filter_map(|(_, what)| of(what)).collect()
}

fn opened<'a>(events: &[(i64, &'a What)]) -> Vec<&'a Socket> {
    let of = |what: &&'a What| match what {
        What::SocketOpen(socket) => Some(socket),
        _ => None,
    };
    events.iter().filter_map(|(_, what)| of(what)).collect()
}

fn count(events: &[(i64, &What)], is: fn(&What) -> bool) -> usize {
    events.iter().filter(|(_, what)| is(what)).count()
}

#[test]
fn bad_lines_are_told_with_what_is_wrong() {
    for (kind, line, reason) in [
        ("eslogger", &b"{}"[..], "no event"),
        ("macos-log", b"{\"eventMessage\":\"x\"}", "no time"),
        ("macos-log", b"{\"timestamp\":\"yesterday\"}", "no time"),
        ("lsof", b"pxyz", "no process number"),
        ("lsof", b"p1\0f3\0tIPv4\0PTCP\0n*:ssh\0p2\0", "names instead of numbers (lsof -n -P)"),
        ("lsof", b"cping", "field before its process"),
        ("ps", b"  501 ttys001", "row before the header"),
        ("nettop", b"10:15:02.5,curl.501,1,", "row before the header"),
        ("macos-console", b"two words", "no line of date, stat, ioreg or who"),
    ] {
        let kind = crate::telemetry::kind::named(kind).expect("a kind");
        let (_, bad) = decode(kind, &Context::default(), line);
        assert_eq!(bad.first().map(|bad| bad.reason), Some(reason), "{}", kind.name);
    }
}

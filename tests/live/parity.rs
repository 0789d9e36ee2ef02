//! The same alerts from a wire as from the file, in real time and faster.
//!
//! Every capture of `captures/` that a wire can carry as it was: uncut Ethernet
//! of at most 30 seconds.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use flowtap::input::{Input, InputOptions};
use jiff::Timestamp;
use serde_json::Value;

use crate::common::captures;
use crate::lab::{Lab, alerts, complete, read, shape};
use crate::support::netns::LinkOptions;

/// So late a packet still lies in the second that it lay in, but for the few next to
/// its end.
const ON_TIME_NS: u64 = 20_000_000;

/// Captures on the way at the same time. Most of it is waiting.
const LANES: usize = 2;

/// Of a replay that a busy machine interrupts.
const ATTEMPTS: usize = 20;

/// Calls `compare` with each capture; it gives what was heard of it.
fn for_each_capture(test: &str, compare: impl Fn(&Lab, &str) -> Value + Sync) {
    let left = Mutex::new(fit_for_a_wire());
    assert!(left.lock().unwrap().len() > 30, "most captures are");
    let (with_alerts, skipped) = (AtomicUsize::new(0), AtomicBool::new(true));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let Some(lab) = Lab::or_skip(test, &[], LinkOptions::quiet()) else { return };
                skipped.store(false, Ordering::Relaxed);
                loop {
                    let Some(path) = left.lock().unwrap().pop() else { return };
                    let heard = compare(&lab, path.to_str().unwrap());
                    let alarmed = usize::from(!alerts(&heard).is_empty());
                    with_alerts.fetch_add(alarmed, Ordering::Relaxed);
                }
            });
        }
    });
    // Floods and scans are among them at any speed.
    assert!(skipped.into_inner() || with_alerts.into_inner() >= 8, "nothing was compared");
}

/// What `live` makes of a capture that is replayed so fast, and the replay's own
/// report.
fn heard(lab: &Lab, path: &str, speed: &str, options: &[&str]) -> (Value, Value) {
    let live = lab.listen(options);
    let sent = lab.replay(&["--speed", speed, "--align-second", path]);
    let heard = live.stop();
    assert_eq!(complete(&heard), sent["sent_packets"], "{path}");
    (heard, sent)
}

fn assert_same(heard: &Value, file: &Value, which: &str) {
    assert_eq!(alerts(heard), alerts(file), "{which}");
    assert_eq!(shape(heard), shape(file), "{which}");
}

fn fit_for_a_wire() -> Vec<PathBuf> {
    let files = std::fs::read_dir(captures()).unwrap().map(|entry| entry.unwrap().path());
    let mut fit: Vec<_> = files
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(".pcap"))
        .filter(|path| is_fit(&read(&[path.to_str().unwrap()])))
        .collect();
    fit.sort();
    fit
}

fn is_fit(summary: &Value) -> bool {
    let time = |name: &str| -> Option<Timestamp> { summary[name].as_str()?.parse().ok() };
    let links = summary["interfaces"].as_array().unwrap();
    let ethernet = links.iter().all(|interface| interface["link_type"] == "ethernet");
    let span = time("first_packet").zip(time("last_packet")).map(|(a, b)| b.duration_since(a));
    ethernet && summary["cut_packets"] == 0 && span.is_some_and(|span| span.as_secs() < 30)
}

#[test]
fn in_real_time_every_capture_gives_its_own_alerts() {
    for_each_capture("parity 1x", |lab, path| {
        let heard = heard_on_time(lab, path, "1x");
        assert_same(&heard, &read(&[path]), path);
        heard
    });
}

#[test]
fn ten_times_as_fast_is_what_read_makes_of_that_time_scale() {
    for_each_capture("parity 10x", |lab, path| {
        let heard = heard_on_time(lab, path, "10x");
        assert_same(&heard, &read(&["--time-scale", "10x", path]), path);
        heard
    });
}

/// Times are the capture's only while the replay keeps to them: by its own
/// report. One that the machine interrupted is done again.
fn heard_on_time(lab: &Lab, path: &str, speed: &str) -> Value {
    for _ in 0..ATTEMPTS {
        let (heard, sent) = heard(lab, path, speed, &[]);
        if sent["lateness"]["worst_ns"].as_u64().unwrap() <= ON_TIME_NS {
            return heard;
        }
    }
    panic!("{path}: no replay on time in {ATTEMPTS}");
}

/// A rate describes a replay only while it is even: one that the machine
/// interrupted is done again.
#[test]
fn as_fast_as_can_be_is_what_read_makes_of_that_rate() {
    for_each_capture("parity max", |lab, path| {
        for attempt in 0..ATTEMPTS {
            let name = path.replace('/', "_");
            let ring = lab.dir.path(&format!("{name}-{attempt}"));
            let ring = ring.to_str().unwrap();
            let (heard, _) = heard(lab, path, "max", &["--record", ring]);
            assert_same(&heard, &read(&[ring]), path);
            if let Some(rate) = even_rate(&times_ns(ring)) {
                let rate = format!("{rate}pps");
                let which = format!("{path} at {rate}");
                assert_same(&heard, &read(&["--time-scale", &rate, path]), &which);
                return heard;
            }
        }
        panic!("{path}: no even replay in {ATTEMPTS}");
    });
}

fn times_ns(ring: &str) -> Vec<i64> {
    let mut input = Input::open(&[ring.into()], InputOptions::default()).unwrap();
    let mut times = Vec::new();
    while let Some(block) = input.next_block() {
        times.extend(block.frames.iter().map(|frame| frame.time_ns));
    }
    times
}

/// Packets a second, if that puts all but a hundredth of them into the seconds
/// that they came in.
fn even_rate(times_ns: &[i64]) -> Option<f64> {
    const SECOND_NS: i64 = 1_000_000_000;
    let (first, last) = (*times_ns.first()?, *times_ns.last()?);
    let each_ns = (last - first).max(1) as f64 / (times_ns.len() - 1).max(1) as f64;
    let moved = times_ns.iter().enumerate().filter(|&(at, time)| {
        let even_ns = first + (at as f64 * each_ns) as i64;
        even_ns.div_euclid(SECOND_NS) != time.div_euclid(SECOND_NS)
    });
    (moved.count() * 100 <= times_ns.len()).then_some(1e9 / each_ns)
}

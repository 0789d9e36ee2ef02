//! What is known of the machine's clock, live and from a recording.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flowtap::engine::{LiveRun, RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::live::{ClockWatch, LiveOptions};
use flowtap::input::{Input, InputOptions};
use flowtap::output::recording::{LEAST_RING_BYTES, Recording, RecordingSettings};

use crate::common::Dir;
use crate::support::netns::{Netns, wait_for};

/// The system's clock is never touched: what is said of it is.
#[derive(Debug)]
struct Said(AtomicBool);

impl ClockWatch for Said {
    fn is_synchronised(&self) -> Option<bool> {
        Some(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_clock_that_loses_its_reference_is_told_and_told_again_from_the_recording() {
    // Only to skip without root: loopback is everybody's.
    if Netns::or_skip("clock", 1, &[]).is_none() {
        return;
    }
    let dir = Dir::new();
    let clock = Arc::new(Said(AtomicBool::new(true)));
    let live = LiveOptions {
        interfaces: vec!["lo".to_owned()],
        ring_bytes: 4 << 20,
        sensor: "tap-7".to_owned(),
        clock: Arc::clone(&clock) as Arc<dyn ClockWatch>,
        ..LiveOptions::default()
    };
    let (mut input, handle) = Input::live(live, InputOptions::default()).unwrap();
    let settings = RecordingSettings::new(&dir.path("ring"), LEAST_RING_BYTES);
    let (recording, tap) = Recording::start(&settings).unwrap();
    input.record(Box::new(tap));
    let offline = RunOptions { workers: 1, ..RunOptions::default() };
    let status = Arc::clone(&handle.status);
    let watched = Arc::default();
    let of = LiveRun {
        status,
        filter_in_kernel: false,
        silent_after_s: 60,
        heard_before: std::collections::BTreeMap::new(),
        preallocates: false,
        watched,
    };
    let options = RunOptions { live: Some(of), ..offline.clone() };
    let said = std::thread::spawn(move || {
        let send = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"tick", to.local_addr().unwrap()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            socket.local_addr().unwrap().port()
        };
        let before = send();
        clock.0.store(false, Ordering::Relaxed);
        // It is asked once a second, as seconds close.
        let asked = || handle.status.clock_synchronised() == Some(false);
        wait_for("the clock to be asked", asked);
        let after = send();
        handle.stop.store(true, Ordering::Release);
        (before, after)
    });
    let records = |input, options| {
        let mut records = Vec::new();
        run(input, options, &mut |record: &FlowRecord| records.push(record.clone()));
        records
    };
    let live = records(input, &options);
    let (before, after) = said.join().unwrap();
    assert_eq!(recording.finish().0.lost_packets, 0);
    for (port, synchronised) in [(before, true), (after, false)] {
        let record = live.iter().find(|record| record.src_port() == port).unwrap();
        let origin = record.origin.as_deref().unwrap();
        assert_eq!((&*origin.sensor, &*origin.interface), ("tap-7", "lo"));
        assert_eq!(origin.clock_synchronised, Some(synchronised), "port {port}");
    }
    let files = Input::open(&[dir.path("ring")], InputOptions::default()).unwrap();
    assert_eq!(records(files, &offline), live);
}

//! Connection logs: the first byte says which, the rest is the log, read as a file
//! and behind a sample, which makes the decoder trust its header.
#![no_main]

use flowtap::telemetry::{Context, Observation};
use libfuzzer_sys::fuzz_target;

#[path = "../telemetry.rs"]
mod telemetry;

const KINDS: [&str; 5] =
    ["zeek-conn", "zeek-conn-json", "suricata-eve", "nfdump-csv", "nfdump-json"];

fuzz_target!(|data: &[u8]| {
    telemetry::read(data, &KINDS, &Context::default(), check);
});

fn check(observations: &[Observation]) {
    for observation in observations {
        let Observation::Flow(flow) = observation else { panic!("{observation:?}") };
        assert!(flow.start_ns <= flow.end_ns);
    }
}

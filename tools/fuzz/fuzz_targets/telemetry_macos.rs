//! What a Mac records: the first byte says which, the rest is the log, read as a file
//! and behind a sample, which makes the decoder trust its header.
#![no_main]

use flowtap::telemetry::{Context, Observation};
use libfuzzer_sys::fuzz_target;

#[path = "../telemetry.rs"]
mod telemetry;

const KINDS: [&str; 6] = ["eslogger", "macos-log", "nettop", "macos-console", "lsof", "ps"];

fuzz_target!(|data: &[u8]| {
    // Snapshots without a time are read too.
    let context = Context { modified_ns: Some(1_772_360_102_000_000_000), ..Context::default() };
    telemetry::read(data, &KINDS, &context, check);
});

fn check(observations: &[Observation]) {
    for observation in observations {
        let is_due = matches!(observation, Observation::Host(_) | Observation::Counter(_));
        assert!(is_due, "{observation:?}");
    }
}

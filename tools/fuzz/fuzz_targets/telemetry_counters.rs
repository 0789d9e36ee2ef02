//! Counters: the first byte says which kind, the rest is the log, read as a file and
//! behind a sample; what comes of it through a series that is always full.
#![no_main]

use flowtap::telemetry::counters::series::Series;
use flowtap::telemetry::{Context, Observation};
use libfuzzer_sys::fuzz_target;

#[path = "../telemetry.rs"]
mod telemetry;

const KINDS: [&str; 7] = [
    "proc-net-dev",
    "docker-stats",
    "docker-api-stats",
    "podman-stats",
    "cri-pod-stats",
    "prometheus",
    "cloudwatch",
];
const MAX_SUBJECTS: usize = 3;

fuzz_target!(|data: &[u8]| {
    let context = Context { modified_ns: Some(1_772_360_102_000_000_000), ..Context::default() };
    telemetry::read(data, &KINDS, &context, check);
});

fn check(observations: &[Observation]) {
    let mut series = Series::new(MAX_SUBJECTS);
    for observation in observations {
        let Observation::Counter(sample) = observation else { panic!("{observation:?}") };
        if let Some(growth) = series.take(sample) {
            assert!(growth.start_ns < growth.end_ns);
        }
        assert!(series.subjects() <= MAX_SUBJECTS);
    }
}

//! Counters: the first byte says which kind, the rest is the log, read as a file and
//! behind a sample; what comes of it through a series that is always full.
#![no_main]

use flowtap::telemetry::counters::series::Series;
use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Head, Kind, named, recognise};
use flowtap::telemetry::{Context, Observation, Out};
use libfuzzer_sys::fuzz_target;

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
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(KINDS[usize::from(which) % KINDS.len()]).expect("a kind");
    let _ = recognise(&Head::new(log, true));
    read(kind, log);
    read(kind, &[kind.sample.as_bytes(), log].concat());
});

fn read(kind: &Kind, log: &[u8]) {
    let context = Context { modified_ns: Some(1_772_360_102_000_000_000), ..Context::default() };
    let mut decoder = (kind.decoder)(&context).expect("a decoder");
    let (mut out, mut records) = (Out::default(), Records::new(log, kind.framing));
    loop {
        match records.next_record().expect("memory can be read") {
            Next::Record(record) => drop(decoder.record(record, &mut out)),
            Next::TooLong | Next::NoJson => {}
            Next::End => break,
        }
    }
    decoder.end(&mut out);
    let mut series = Series::new(MAX_SUBJECTS);
    for observation in &out.observations {
        let Observation::Counter(sample) = observation else { panic!("{observation:?}") };
        if let Some(growth) = series.take(sample) {
            assert!(growth.start_ns < growth.end_ns);
        }
        assert!(series.subjects() <= MAX_SUBJECTS);
    }
}

//! What a Mac records: the first byte says which, the rest is the log, read as a file
//! and behind a sample, which makes the decoder trust its header.
#![no_main]

use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Head, Kind, named, recognise};
use flowtap::telemetry::{Context, Observation, Out};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 6] = ["eslogger", "macos-log", "nettop", "macos-console", "lsof", "ps"];

fuzz_target!(|data: &[u8]| {
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(KINDS[usize::from(which) % KINDS.len()]).expect("a kind");
    let _ = recognise(&Head::new(log, true));
    read(kind, log);
    read(kind, &[kind.sample.as_bytes(), log].concat());
});

fn read(kind: &Kind, log: &[u8]) {
    // Snapshots without a time are read too.
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
    for observation in &out.observations {
        let is_due = matches!(observation, Observation::Host(_) | Observation::Counter(_));
        assert!(is_due, "{observation:?}");
    }
}

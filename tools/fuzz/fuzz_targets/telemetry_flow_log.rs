//! Flow logs of clouds: the first byte says which, the rest is the log, read as a
//! file and behind a sample, which makes the decoder know its fields.
#![no_main]

use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Head, Kind, named, recognise};
use flowtap::telemetry::{Context, Observation, Out};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 5] = ["aws-vpc", "aws-tgw", "azure-nsg", "azure-vnet", "gcp-vpc"];

fuzz_target!(|data: &[u8]| {
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(KINDS[usize::from(which) % KINDS.len()]).expect("a kind");
    let _ = recognise(&Head::new(log, true));
    read(kind, log);
    read(kind, &[kind.sample.as_bytes(), log].concat());
    // As a format of the user's, which may be refused.
    let format = Some(String::from_utf8_lossy(log).into_owned());
    let _ = (kind.decoder)(&Context { format, ..Context::default() });
});

fn read(kind: &Kind, log: &[u8]) {
    let mut decoder = (kind.decoder)(&Context::default()).expect("a decoder");
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
        let Observation::Flow(flow) = observation else { panic!("{observation:?}") };
        assert!(flow.start_ns <= flow.end_ns);
    }
}

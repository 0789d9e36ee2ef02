//! Access logs: any bytes as each kind, and as records of a format that is the first
//! line of the same bytes.
#![no_main]

use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Gives, Head, Kind, kinds};
use flowtap::telemetry::{Context, Observation, Out};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let head = Head::new(input, true);
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let format = std::str::from_utf8(&input[..end]).ok();
    for kind in kinds().filter(|kind| kind.gives == Gives::Requests) {
        let _ = (kind.recognise)(&head);
        read(kind, &Context::default(), input);
        if let Some(format) = format {
            let context = Context { format: Some(format.to_owned()), ..Context::default() };
            read(kind, &context, &input[end..]);
        }
    }
});

fn read(kind: &Kind, context: &Context, input: &[u8]) {
    let Ok(mut decoder) = (kind.decoder)(context) else { return };
    let mut records = Records::new(input, kind.framing);
    let mut out = Out::default();
    loop {
        match records.next_record().expect("memory can be read") {
            Next::Record(record) => {
                let before = out.observations.len();
                let bad = decoder.record(record, &mut out).err();
                assert!(out.observations.len() <= before + 1, "one request a record");
                assert!(bad.is_none_or(|bad| bad.detail.len() < 1000));
            }
            Next::End => break,
            Next::TooLong | Next::NoJson => {}
        }
    }
    decoder.end(&mut out);
    for observation in &out.observations {
        let Observation::Request(request) = observation else { panic!("{observation:?}") };
        assert!(request.end_ns.is_none_or(|end_ns| end_ns >= request.time_ns), "{request:?}");
        assert!(request.duration_ns.is_none_or(|ns| ns >= 0), "{request:?}");
    }
}

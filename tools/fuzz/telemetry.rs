//! What fuzz targets of logs share: the first byte says which kind, the rest is the log,
//! read as a file and behind the kind's sample, after which its decoder trusts more.

use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Head, Kind, named, recognise};
use flowtap::telemetry::{Context, Observation, Out};

/// Reads the input as one of the kinds, and shows each time what came of it.
pub fn read(data: &[u8], kinds: &[&str], context: &Context, mut check: impl FnMut(&[Observation])) {
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(kinds[usize::from(which) % kinds.len()]).expect("a kind");
    let _ = recognise(&Head::new(log, true));
    check(&observations(kind, context, log));
    check(&observations(kind, context, &[kind.sample.as_bytes(), log].concat()));
}

fn observations(kind: &Kind, context: &Context, log: &[u8]) -> Vec<Observation> {
    let mut decoder = (kind.decoder)(context).expect("a decoder");
    let (mut out, mut records) = (Out::default(), Records::new(log, kind.framing));
    loop {
        match records.next_record().expect("memory can be read") {
            Next::Record(record) => drop(decoder.record(record, &mut out)),
            Next::TooLong | Next::NoJson => {}
            Next::End => break,
        }
    }
    decoder.end(&mut out);
    out.observations
}

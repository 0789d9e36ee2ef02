//! Process logs: the first byte says which, the rest is the log, read as a file and
//! behind a sample, after which the decoder knows a host and its processes.
#![no_main]

use flowtap::host::event::What;
use flowtap::telemetry::framing::{Next, Records};
use flowtap::telemetry::kind::{Head, Kind, named, recognise};
use flowtap::telemetry::{Context, Observation, Out};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 5] = ["auditd", "sysmon-linux", "osquery", "falco", "tetragon"];

fuzz_target!(|data: &[u8]| {
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(KINDS[usize::from(which) % KINDS.len()]).expect("a kind");
    let _ = recognise(&Head::new(log, true));
    read(kind, log);
    read(kind, &[kind.sample.as_bytes(), log].concat());
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
        let report = match observation {
            Observation::Host(report) => report,
            Observation::Counter(_) => continue,
            other => panic!("{other:?}"),
        };
        if let What::ProcessStart(process) | What::ProcessExec(process) = &report.event.what {
            assert!(process.args.len() <= 64 && process.name.len() <= 15);
            assert!(process.exe.len() <= 4096 && process.user.len() <= 512);
        }
    }
}

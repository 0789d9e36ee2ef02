//! Process logs: the first byte says which, the rest is the log, read as a file and
//! behind a sample, after which the decoder knows a host and its processes.
#![no_main]

use flowtap::host::event::What;
use flowtap::telemetry::{Context, Observation};
use libfuzzer_sys::fuzz_target;

#[path = "../telemetry.rs"]
mod telemetry;

const KINDS: [&str; 5] = ["auditd", "sysmon-linux", "osquery", "falco", "tetragon"];

fuzz_target!(|data: &[u8]| {
    telemetry::read(data, &KINDS, &Context::default(), check);
});

fn check(observations: &[Observation]) {
    for observation in observations {
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

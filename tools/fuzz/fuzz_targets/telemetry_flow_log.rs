//! Flow logs of clouds: the first byte says which, the rest is the log, read as a
//! file and behind a sample, which makes the decoder know its fields.
#![no_main]

use flowtap::telemetry::kind::named;
use flowtap::telemetry::{Context, Observation};
use libfuzzer_sys::fuzz_target;

#[path = "../telemetry.rs"]
mod telemetry;

const KINDS: [&str; 5] = ["aws-vpc", "aws-tgw", "azure-nsg", "azure-vnet", "gcp-vpc"];

fuzz_target!(|data: &[u8]| {
    telemetry::read(data, &KINDS, &Context::default(), check);
    let Some((&which, log)) = data.split_first() else { return };
    let kind = named(KINDS[usize::from(which) % KINDS.len()]).expect("a kind");
    // As a format of the user's, which may be refused.
    let format = Some(String::from_utf8_lossy(log).into_owned());
    let _ = (kind.decoder)(&Context { format, ..Context::default() });
});

fn check(observations: &[Observation]) {
    for observation in observations {
        let Observation::Flow(flow) = observation else { panic!("{observation:?}") };
        assert!(flow.start_ns <= flow.end_ns);
    }
}

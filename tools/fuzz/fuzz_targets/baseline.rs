//! Profiles as a damaged file may have them: what is read can be asked and written.
#![no_main]

use flowtap::baseline::{Metric, Profile, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(profile) = Profile::decode_checked(input) else { return };
    for metric in Metric::EVERY {
        let _ = profile.normal(metric, 1_795_000_000);
    }
    let view = View::of("address:192.0.2.1", &profile, None, 7.0);
    assert!(view.changes(&view, 1.5).is_empty());
    assert!(profile.encode().len() <= flowtap::baseline::MOST_BYTES);
});

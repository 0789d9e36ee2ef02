//! The direct reader against the general path on Ethernet frames.
#![no_main]

use flowtap::packet::DecodeOptions;
use flowtap::packet::fuzzing::paths_agree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([settings, more], data)) = input.split_first_chunk::<2>() else { return };
    let options = DecodeOptions { no_decap: settings & 1 != 0, key_vlan: settings & 2 != 0 };
    paths_agree(options, data, data.len() as u32 + u32::from(*more) * 8);
});

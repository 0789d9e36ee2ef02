//! Any bytes under any link type: no panic, and facts that keep their word.
#![no_main]

use flowtap::packet::fuzzing::facts_are_sound;
use flowtap::packet::{DecodeOptions, LinkType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Link type, settings, wire bytes beyond the capture, then the frame.
    let Some(([l0, l1, settings, more], data)) = input.split_first_chunk::<4>() else { return };
    let options = DecodeOptions { no_decap: settings & 1 != 0, key_vlan: settings & 2 != 0 };
    let link = LinkType(u16::from_be_bytes([*l0, *l1]));
    let wire_bytes = data.len() as u32 + u32::from(*more) * 8;
    facts_are_sound(options, link, data, wire_bytes);
});

//! pcap files: a good header in any variant, then arbitrary records.
#![no_main]

use flowtap::input::fuzzing::read_capture;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&variant, records)) = data.split_first() else { return };
    let magic: u32 = match variant % 3 {
        0 => 0xa1b2_c3d4,
        1 => 0xa1b2_3c4d,
        _ => 0xa1b2_cd34,
    };
    let big_endian = variant & 0x80 != 0;
    let minor = u16::from(variant >> 2 & 0x07);
    let mut file = Vec::new();
    if big_endian {
        file.extend(magic.to_be_bytes());
        file.extend([0, 2]);
        file.extend(minor.to_be_bytes());
    } else {
        file.extend(magic.to_le_bytes());
        file.extend([2, 0]);
        file.extend(minor.to_le_bytes());
    }
    file.resize(24, 0);
    file.extend(records);
    read_capture(&file);
    // As it is: recognition, decompression, whatever it looks like.
    read_capture(data);
});

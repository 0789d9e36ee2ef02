//! pcapng files: a good section with an interface, then arbitrary blocks; and
//! blocks with honest lengths around arbitrary bodies.
#![no_main]

use flowtap::input::fuzzing::read_capture;
use libfuzzer_sys::fuzz_target;

fn block(kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let padded = body.len().next_multiple_of(4);
    let total = (padded as u32 + 12).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(total);
    out.extend(body);
    out.resize(out.len() + padded - body.len(), 0);
    out.extend(total);
}

fn start() -> Vec<u8> {
    let mut file = Vec::new();
    let magic = 0x1a2b_3c4d_u32.to_le_bytes();
    block(0x0a0d_0d0a, &[&magic[..], &[1, 0, 0, 0], &[0xff; 8]].concat(), &mut file);
    block(1, &[1, 0, 0, 0, 0, 0, 0, 0], &mut file);
    file
}

fuzz_target!(|data: &[u8]| {
    let mut file = start();
    file.extend(data);
    read_capture(&file);

    // Type and length of each block from two bytes, so that most bodies are reached.
    let mut file = start();
    let mut rest = data;
    while let Some((&[kind, length], after)) = rest.split_first_chunk::<2>() {
        let (body, after) = after.split_at(after.len().min(usize::from(length)));
        let kind = if kind % 9 == 8 { 0x0a0d_0d0a } else { u32::from(kind % 9) };
        block(kind, body, &mut file);
        rest = after;
    }
    read_capture(&file);
});

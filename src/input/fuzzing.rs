//! For fuzz targets: bytes as if they were a file.

use super::{Input, InputOptions};

/// Reads arbitrary bytes as a capture, recognition and all, with blocks small
/// enough that records lie across them. Gives the number of frames.
pub fn read_capture(bytes: &[u8]) -> u64 {
    let options = InputOptions { block_bytes: 4 << 10, block_frames: 7, ..InputOptions::default() };
    let mut input = Input::from_bytes(vec![bytes.to_vec()], options);
    let mut touched = 0_u64;
    while let Some(block) = input.next_block() {
        for frame in &block.frames {
            let data = block.bytes.frame(frame);
            assert_eq!(data.len(), frame.captured_bytes as usize, "frames lie in their block");
            touched += u64::from(data.first().copied().unwrap_or(0));
        }
    }
    std::hint::black_box(touched);
    input.counters().frames
}

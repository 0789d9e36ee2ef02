//! The input as a whole, on captures written by the small writers here.

mod formats;
mod hostile;
mod marks;
mod order;
mod sources;
mod writer;

use super::{Block, Counters, FileReport, Frame, Input, InputOptions, Interface};

/// A frame with its bytes; its place in the block left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    frame: Frame,
    data: Vec<u8>,
}

struct Everything {
    frames: Vec<Seen>,
    blocks: usize,
    interfaces: Vec<Interface>,
    reports: Vec<FileReport>,
    counters: Counters,
}

fn read_all(mut input: Input) -> Everything {
    let mut frames = Vec::new();
    let mut sequence = 0;
    while let Some(block) = input.next_block() {
        check(&block, sequence, &frames);
        sequence += 1;
        for frame in &block.frames {
            let data = block.bytes.frame(frame).to_vec();
            assert_eq!(data.len(), frame.captured_bytes as usize, "bytes lie in the block");
            assert!(usize::from(frame.interface) < input.interfaces().len());
            frames.push(Seen { frame: Frame { offset: 0, ..*frame }, data });
        }
        if let super::BlockBytes::Owned(bytes) = block.bytes {
            input.recycle(bytes, block.frames);
        }
    }
    assert!(input.next_block().is_none(), "the end is the end");
    let counters = input.counters();
    assert_eq!(counters.frames, frames.len() as u64);
    assert_eq!(counters.frames, input.reports().iter().map(|r| r.frames).sum::<u64>());
    assert_eq!(counters.wire_bytes, input.reports().iter().map(|r| r.wire_bytes).sum::<u64>());
    Everything {
        frames,
        blocks: sequence as usize,
        interfaces: input.interfaces().to_vec(),
        reports: input.reports().to_vec(),
        counters,
    }
}

fn check(block: &Block, sequence: u64, before: &[Seen]) {
    assert_eq!(block.sequence, sequence);
    assert_eq!(block.first_frame, before.len() as u64);
    assert!(!block.frames.is_empty());
    let times = before.iter().map(|seen| seen.frame.time_ns);
    let latest = times.chain(block.frames.iter().map(|frame| frame.time_ns)).max();
    assert_eq!(Some(block.latest_ns), latest);
}

fn read_bytes(capture: &[u8]) -> Everything {
    read_with(capture, InputOptions::default())
}

fn read_with(capture: &[u8], options: InputOptions) -> Everything {
    read_all(Input::from_bytes(vec![capture.to_vec()], options))
}

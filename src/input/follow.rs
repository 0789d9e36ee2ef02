//! A pcapng file of our own that still grows, read as far as it is whole.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::block::Frame;
use super::pcapng::PcapngWalker;
use super::report::{FileReport, Interface, InterfaceTable};
use super::walk::{Found, Limits, Notes, Stop};

/// Read at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Frames held at a time.
const MAX_FRAMES: usize = 8192;

/// Reads a recording behind its writer. Times are taken as they stand there:
/// what we recorded was set right before.
pub(crate) struct Follower {
    file: File,
    walker: PcapngWalker,
    /// Read, but not a whole block yet.
    bytes: Vec<u8>,
    read_bytes: u64,
    frames: Vec<Frame>,
    interfaces: InterfaceTable,
    report: FileReport,
    clock_ns: i64,
}

impl Follower {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            walker: PcapngWalker::default(),
            bytes: Vec::new(),
            read_bytes: 0,
            frames: Vec::new(),
            interfaces: InterfaceTable::default(),
            report: FileReport::default(),
            clock_ns: i64::MIN,
        })
    }

    /// Offset up to which the file was read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Latest time so far, of frames and clock marks.
    pub(crate) fn clock_ns(&self) -> i64 {
        self.clock_ns
    }

    /// Shows every frame up to the offset `until`, or the end of the file.
    pub(crate) fn read_until(
        &mut self,
        until: u64,
        mut show: impl FnMut(&Frame, &[u8], &[Interface]),
    ) -> io::Result<()> {
        while self.read_bytes < until {
            let most = (until - self.read_bytes).min(PIECE_BYTES);
            let got = (&self.file).take(most).read_to_end(&mut self.bytes)? as u64;
            if got == 0 {
                return Ok(());
            }
            self.read_bytes += got;
            let mut at = 0;
            loop {
                let mut found = Found::new(std::mem::take(&mut self.frames));
                let limits = Limits { frames: MAX_FRAMES, bytes: usize::MAX };
                let interfaces = &mut self.interfaces;
                let mut notes = Notes { interfaces, report: &mut self.report, file: 0 };
                let walked = self.walker.walk(&self.bytes, at, limits, &mut found, &mut notes);
                for frame in &found.frames {
                    show(frame, frame.bytes_in(&self.bytes), self.interfaces.list());
                }
                let latest_ns = found.mark_ns.unwrap_or(i64::MIN).max(found.tally.latest_ns);
                self.clock_ns = self.clock_ns.max(latest_ns);
                self.frames = found.frames;
                self.frames.clear();
                at = walked.at;
                match walked.stop {
                    Stop::Limit => {}
                    Stop::Need(_) => break,
                    // Only pcap has it.
                    Stop::Another => break,
                    Stop::Damage(what) => return Err(io::Error::new(ErrorKind::InvalidData, what)),
                }
            }
            self.bytes.drain(..at);
        }
        Ok(())
    }
}

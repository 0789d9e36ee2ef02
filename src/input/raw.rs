//! A capture as it lies in its file, for who copies it and puts packets of their own in.
//!
//! [`RawCapture`] hands out the file piece by piece: headers and blocks that are no
//! packet, and packets, each with the very bytes that it has in the (unpacked) file.
//! [`RawCapture::encode`] writes a packet in the form of those that were read last: byte
//! order, unit of time, interface. What it reads it never changes, and it sets no time
//! right: that is what [`super::Input`] does, whose frames come in the same order.

use std::io::Read;
use std::path::Path;

use super::block::Frame;
use super::error::{InputError, InputErrorKind};
use super::opening::{Opened, ReadOptions, open_path};
use super::report::{FileReport, InterfaceTable};
use super::walk::{Found, Limits, Notes, Stop, Walker};
use super::{Interface, Mapping};

/// Read at once.
const READ_BYTES: usize = 1 << 18;

/// One packet a walk.
const ONE: Limits = Limits { frames: 1, bytes: usize::MAX };

/// The next bytes of the file.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// No packet: a header, or blocks of other kinds.
    Other(&'a [u8]),
    Packet(RawPacket<'a>),
}

#[derive(Debug)]
pub(crate) struct RawPacket<'a> {
    /// Its whole record or block.
    pub(crate) record: &'a [u8],
    /// What was captured of it.
    pub(crate) data: &'a [u8],
    /// Its interface, as its section counts; 0 in pcap.
    pub(crate) local_interface: u32,
}

pub(crate) struct RawCapture {
    path: String,
    read: Box<dyn Read + Send>,
    walker: Walker,
    interfaces: InterfaceTable,
    report: FileReport,
    buffer: Vec<u8>,
    /// Handed out up to here, and walked over up to there.
    taken: usize,
    walked: usize,
    filled: usize,
    /// Offset in the (unpacked) file of the buffer.
    offset: u64,
    ended: bool,
    /// Found, while what lies before it is handed out.
    found: Option<Frame>,
    /// Recycled.
    frames: Vec<Frame>,
}

impl RawCapture {
    pub(crate) fn open(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let fails = |kind| InputError::new(&name, kind);
        let origin = open_path(path).map_err(|e| fails(InputErrorKind::Open(e.to_string())))?;
        let options =
            ReadOptions { limits: ONE, mapping: Mapping::Never, unpack_threads: 1, progress: None };
        let mut report = FileReport::new(&name);
        let mut interfaces = InterfaceTable::default();
        let opened = Opened::new(origin, &options, &mut report).map_err(fails)?;
        let mut notes = Notes { interfaces: &mut interfaces, report: &mut report, file: 0 };
        let (walker, walked) = opened.walker(&mut notes).map_err(fails)?;
        let Opened { read, head, ended, .. } = opened;
        let filled = head.len();
        Ok(Self {
            path: name,
            read,
            walker,
            interfaces,
            report,
            buffer: head,
            taken: 0,
            walked,
            filled,
            offset: 0,
            ended,
            found: None,
            frames: Vec::new(),
        })
    }

    /// Whether it is pcapng; pcap otherwise.
    pub(crate) fn is_pcapng(&self) -> bool {
        matches!(self.walker, Walker::Pcapng(_))
    }

    /// Sections that began so far; 0 in pcap.
    pub(crate) fn sections(&self) -> u32 {
        match &self.walker {
            Walker::Pcap(_) => 0,
            Walker::Pcapng(walker) => walker.sections(),
        }
    }

    /// Nothing at the end. A packet that the end of the file cuts is left out.
    pub(crate) fn next(&mut self) -> Result<Option<Piece<'_>>, InputError> {
        if let Some(frame) = self.found.take() {
            return self.packet(frame).map(|packet| Some(Piece::Packet(packet)));
        }
        loop {
            let mut found = Found::new(std::mem::take(&mut self.frames));
            let mut notes =
                Notes { interfaces: &mut self.interfaces, report: &mut self.report, file: 0 };
            let bytes = self.buffer.get(..self.filled).unwrap_or_default();
            let from = self.walked;
            let walked = self.walker.walk(bytes, from, ONE, &mut found, &mut notes);
            self.walked = walked.at;
            let frame = found.frames.pop();
            self.frames = found.frames;
            if let Some(frame) = frame {
                let start = self.record_start(&frame).ok_or_else(|| self.damage("a packet"))?;
                if start == self.taken {
                    return self.packet(frame).map(|packet| Some(Piece::Packet(packet)));
                }
                self.found = Some(frame);
                return Ok(Some(self.other(start)));
            }
            let need = match walked.stop {
                Stop::Damage(what) => return Err(self.damage(&what)),
                Stop::Another => {
                    let kind = InputErrorKind::Another { offset: self.offset + self.walked as u64 };
                    return Err(InputError::new(&self.path, kind));
                }
                // A clock mark alone.
                Stop::Limit => continue,
                Stop::Need(need) => need,
            };
            if self.walked > self.taken {
                return Ok(Some(self.other(self.walked)));
            }
            if self.ended || !self.fill(need)? {
                return Ok(None);
            }
        }
    }

    /// A packet in the form of the file, on an interface that its section has. Cut at the
    /// interface's snap length.
    pub(crate) fn encode(&self, local: u32, time_ns: i64, data: &[u8], out: &mut Vec<u8>) -> bool {
        match &self.walker {
            Walker::Pcap(walker) => walker.encode(time_ns, data, self.snaplen(), out),
            Walker::Pcapng(walker) => walker.encode(local, time_ns, data, out),
        }
    }

    /// The time as it will be once it is written: in the interface's unit.
    pub(crate) fn in_its_unit(&self, local: u32, time_ns: i64) -> Option<i64> {
        match &self.walker {
            Walker::Pcap(walker) => Some(walker.in_its_unit(time_ns)),
            Walker::Pcapng(walker) => walker.in_its_unit(local, time_ns),
        }
    }

    fn snaplen(&self) -> u32 {
        self.interfaces.list().first().map_or(0, |interface: &Interface| interface.snaplen_bytes)
    }

    fn other(&mut self, until: usize) -> Piece<'_> {
        let from = std::mem::replace(&mut self.taken, until);
        Piece::Other(self.buffer.get(from..until).unwrap_or_default())
    }

    fn packet(&mut self, frame: Frame) -> Result<RawPacket<'_>, InputError> {
        let from = std::mem::replace(&mut self.taken, self.walked);
        let bytes = self.buffer.get(..self.walked).unwrap_or_default();
        let record = bytes.get(from..).unwrap_or_default();
        let local_interface = match &self.walker {
            Walker::Pcap(_) => 0,
            Walker::Pcapng(walker) => walker.local_interface(record),
        };
        Ok(RawPacket { record, data: frame.bytes_in(bytes), local_interface })
    }

    /// Where the record begins that ends where the walk does.
    fn record_start(&self, frame: &Frame) -> Option<usize> {
        match &self.walker {
            Walker::Pcap(walker) => (frame.offset as usize).checked_sub(walker.record_bytes()),
            Walker::Pcapng(walker) => {
                let bytes = self.buffer.get(..self.walked)?;
                self.walked.checked_sub(walker.last_block_bytes(bytes)?)
            }
        }
        .filter(|&start| start >= self.taken)
    }

    /// Reads on until `need` bytes lie behind the walk; false where there are no more.
    fn fill(&mut self, need: usize) -> Result<bool, InputError> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.offset += self.taken as u64;
        self.walked -= self.taken;
        self.taken = 0;
        let want = self.walked.saturating_add(need).max(self.filled + READ_BYTES);
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        let before = self.filled;
        while self.filled < want {
            match self.read.read(&mut self.buffer[self.filled..want]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = self.offset + self.filled as u64;
                    let kind = InputErrorKind::Read { offset, error: error.to_string() };
                    return Err(InputError::new(&self.path, kind));
                }
            }
        }
        Ok(self.filled > before)
    }

    fn damage(&self, what: &str) -> InputError {
        let kind = InputErrorKind::Damaged {
            offset: self.offset + self.walked as u64,
            what: what.to_owned(),
        };
        InputError::new(&self.path, kind)
    }
}

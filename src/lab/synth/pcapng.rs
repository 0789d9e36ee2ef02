//! Writes pcapng: several sections and interfaces, either byte order, any time
//! resolution, and the blocks that readers must step over.

use std::io::{self, Write};

/// One interface of a section.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    pub link_type: u16,
    pub snap_length: u32,
    /// The if_tsresol byte: 6 is microseconds, 9 nanoseconds, 0x80 | n is 2^-n s.
    pub resolution: u8,
    /// The if_tsoffset option: seconds to add to each time stamp.
    pub offset_s: i64,
}

impl Default for Interface {
    fn default() -> Self {
        Self { link_type: 1, snap_length: 262_144, resolution: 9, offset_s: 0 }
    }
}

/// Writes blocks one after the other.
#[derive(Debug)]
pub struct PcapngWriter<W: Write> {
    out: W,
    big_endian: bool,
    interfaces: Vec<Interface>,
    body: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Starts with a section; interfaces follow.
    pub fn new(out: W, big_endian: bool) -> io::Result<Self> {
        let mut writer = Self { out, big_endian, interfaces: Vec::new(), body: Vec::new() };
        writer.section(big_endian)?;
        Ok(writer)
    }

    /// A further section, maybe in the other byte order; forgets the interfaces.
    pub fn section(&mut self, big_endian: bool) -> io::Result<()> {
        self.big_endian = big_endian;
        self.interfaces.clear();
        self.body.clear();
        self.u32(0x1a2b_3c4d);
        self.u16(1);
        self.u16(0);
        self.u64(u64::MAX); // section length: unknown
        self.block(0x0a0d_0d0a)
    }

    /// Returns the index to give to [`Self::packet`].
    pub fn interface(&mut self, interface: Interface) -> io::Result<u32> {
        self.body.clear();
        self.u16(interface.link_type);
        self.u16(0);
        self.u32(interface.snap_length);
        self.option(9, &[interface.resolution]);
        if interface.offset_s != 0 {
            let offset = if self.big_endian {
                interface.offset_s.to_be_bytes()
            } else {
                interface.offset_s.to_le_bytes()
            };
            self.option(14, &offset);
        }
        self.option(0, &[]);
        self.block(1)?;
        self.interfaces.push(interface);
        Ok(self.interfaces.len() as u32 - 1)
    }

    /// Enhanced packet block with a comment when there is one.
    pub fn packet(
        &mut self,
        interface: u32,
        time_ns: i64,
        frame: &[u8],
        comment: Option<&str>,
    ) -> io::Result<()> {
        let settings = self.settings(interface)?;
        let captured = frame.len().min(settings.snap_length as usize);
        let ticks = ticks(time_ns, settings)?;
        self.body.clear();
        self.u32(interface);
        self.u32((ticks >> 32) as u32);
        self.u32(ticks as u32);
        self.u32(captured as u32);
        self.u32(frame.len() as u32);
        self.body.extend_from_slice(&frame[..captured]);
        self.align();
        if let Some(comment) = comment {
            self.option(1, comment.as_bytes());
            self.option(0, &[]);
        }
        self.block(6)
    }

    /// Simple packet block: the first interface, no time stamp.
    pub fn simple_packet(&mut self, frame: &[u8]) -> io::Result<()> {
        let captured = frame.len().min(self.settings(0)?.snap_length as usize);
        self.body.clear();
        self.u32(frame.len() as u32);
        self.body.extend_from_slice(&frame[..captured]);
        self.align();
        self.block(3)
    }

    /// Obsolete packet block (type 2), which old files still hold.
    pub fn obsolete_packet(
        &mut self,
        interface: u16,
        time_ns: i64,
        frame: &[u8],
    ) -> io::Result<()> {
        let settings = self.settings(u32::from(interface))?;
        let captured = frame.len().min(settings.snap_length as usize);
        let ticks = ticks(time_ns, settings)?;
        self.body.clear();
        self.u16(interface);
        self.u16(0xffff); // drops: unknown
        self.u32((ticks >> 32) as u32);
        self.u32(ticks as u32);
        self.u32(captured as u32);
        self.u32(frame.len() as u32);
        self.body.extend_from_slice(&frame[..captured]);
        self.align();
        self.block(2)
    }

    /// A block of any type, such as one that no reader knows.
    pub fn other_block(&mut self, block_type: u32, body: &[u8]) -> io::Result<()> {
        self.body.clear();
        self.body.extend_from_slice(body);
        self.align();
        self.block(block_type)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn settings(&self, interface: u32) -> io::Result<Interface> {
        self.interfaces
            .get(interface as usize)
            .copied()
            .ok_or_else(|| io::Error::other("packet on an interface that was not described"))
    }

    fn block(&mut self, block_type: u32) -> io::Result<()> {
        let length = self.body.len() as u32 + 12;
        let word =
            |value: u32| if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.out.write_all(&word(block_type))?;
        self.out.write_all(&word(length))?;
        self.out.write_all(&self.body)?;
        self.out.write_all(&word(length))
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(value.len() as u16);
        self.body.extend_from_slice(value);
        self.align();
    }

    fn align(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    fn u16(&mut self, value: u16) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.body.extend_from_slice(&bytes);
    }

    fn u32(&mut self, value: u32) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.body.extend_from_slice(&bytes);
    }

    fn u64(&mut self, value: u64) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.body.extend_from_slice(&bytes);
    }
}

/// Time stamp in the interface's ticks after its offset.
fn ticks(time_ns: i64, interface: Interface) -> io::Result<u64> {
    let time_ns = i128::from(time_ns) - i128::from(interface.offset_s) * 1_000_000_000;
    let per_second = if interface.resolution & 0x80 == 0 {
        10i128.pow(u32::from(interface.resolution).min(18))
    } else {
        1i128 << (interface.resolution & 0x7f).min(62)
    };
    u64::try_from(time_ns * per_second / 1_000_000_000)
        .map_err(|_| io::Error::other("time stamp does not fit the resolution and offset"))
}

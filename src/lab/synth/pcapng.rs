//! Writes pcapng: several sections and interfaces, either byte order, any time
//! resolution, and the blocks that readers must step over.

use std::io::{self, Write};

use crate::input::pcapng_codes::{block, option};
use crate::output::recording::blocks::{self, BlockWriter};

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
    bytes: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Starts with a section; interfaces follow.
    pub fn new(out: W, big_endian: bool) -> io::Result<Self> {
        let mut writer = Self { out, big_endian, interfaces: Vec::new(), bytes: Vec::new() };
        writer.section(big_endian)?;
        Ok(writer)
    }

    /// A further section, maybe in the other byte order; forgets the interfaces.
    pub fn section(&mut self, big_endian: bool) -> io::Result<()> {
        self.big_endian = big_endian;
        self.interfaces.clear();
        self.bytes.clear();
        blocks::section(&mut self.bytes, big_endian, |_| {});
        self.out.write_all(&self.bytes)
    }

    /// Returns the index to give to [`Self::packet`].
    pub fn interface(&mut self, interface: Interface) -> io::Result<u32> {
        self.block(block::INTERFACE_DESCRIPTION, |block| {
            block.u16(interface.link_type);
            block.u16(0);
            block.u32(interface.snap_length);
            block.option(option::IF_TSRESOL, &[interface.resolution]);
            if interface.offset_s != 0 {
                block.option_u64(option::IF_TSOFFSET, interface.offset_s.cast_unsigned());
            }
            block.end_of_options();
        })?;
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
        self.block(block::ENHANCED_PACKET, |block| {
            block.u32(interface);
            block.ticks(ticks);
            block.u32(captured as u32);
            block.u32(frame.len() as u32);
            block.padded(&frame[..captured]);
            if let Some(comment) = comment {
                block.option(option::COMMENT, comment.as_bytes());
                block.end_of_options();
            }
        })
    }

    /// Simple packet block: the first interface, no time stamp.
    pub fn simple_packet(&mut self, frame: &[u8]) -> io::Result<()> {
        let captured = frame.len().min(self.settings(0)?.snap_length as usize);
        self.block(block::SIMPLE_PACKET, |block| {
            block.u32(frame.len() as u32);
            block.padded(&frame[..captured]);
        })
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
        self.block(block::OBSOLETE_PACKET, |block| {
            block.u16(interface);
            block.u16(0xffff); // drops: unknown
            block.ticks(ticks);
            block.u32(captured as u32);
            block.u32(frame.len() as u32);
            block.padded(&frame[..captured]);
        })
    }

    /// A block of any type, such as one that no reader knows.
    pub fn other_block(&mut self, block_type: u32, body: &[u8]) -> io::Result<()> {
        self.block(block_type, |block| block.padded(body))
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

    fn block(
        &mut self,
        block_type: u32,
        body: impl FnOnce(&mut BlockWriter<'_>),
    ) -> io::Result<()> {
        self.bytes.clear();
        let mut block = BlockWriter::begin(&mut self.bytes, block_type, self.big_endian);
        body(&mut block);
        block.finish();
        self.out.write_all(&self.bytes)
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

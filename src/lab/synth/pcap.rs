//! Writes classic pcap in every variant that readers must know.

use std::io::{self, Write};

/// What a pcap file says of itself.
#[derive(Clone, Copy, Debug)]
pub struct PcapOptions {
    pub link_type: u16,
    pub big_endian: bool,
    /// Nanosecond magic; otherwise time stamps are cut to microseconds.
    pub nanoseconds: bool,
    /// Kuznetzov's "modified" format: 8 more bytes in each record header. It
    /// has microseconds only.
    pub modified: bool,
    pub snap_length: u32,
}

impl Default for PcapOptions {
    fn default() -> Self {
        Self {
            link_type: 1,
            big_endian: false,
            nanoseconds: true,
            modified: false,
            snap_length: 262_144,
        }
    }
}

/// Writes records; cuts them at the snap length.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
    options: PcapOptions,
}

impl<W: Write> PcapWriter<W> {
    pub fn new(mut out: W, options: PcapOptions) -> io::Result<Self> {
        let magic: u32 = match (options.modified, options.nanoseconds) {
            (true, _) => 0xa1b2_cd34,
            (false, true) => 0xa1b2_3c4d,
            (false, false) => 0xa1b2_c3d4,
        };
        let mut header = [0; 24];
        let word = |value: u32| word(options.big_endian, value);
        header[0..4].copy_from_slice(&word(magic));
        // Two 16-bit fields: major 2, minor 4.
        header[4..8].copy_from_slice(&if options.big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        header[16..20].copy_from_slice(&word(options.snap_length));
        header[20..24].copy_from_slice(&word(u32::from(options.link_type)));
        out.write_all(&header)?;
        Ok(Self { out, options })
    }

    pub fn write(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        let captured = frame.len().min(self.options.snap_length as usize);
        let fraction = time_ns.rem_euclid(1_000_000_000) as u32;
        let nanoseconds = self.options.nanoseconds && !self.options.modified;
        let mut header = [0; 24];
        let fields = [
            time_ns.div_euclid(1_000_000_000) as u32,
            if nanoseconds { fraction } else { fraction / 1_000 },
            captured as u32,
            frame.len() as u32,
        ];
        for (slot, field) in header.chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&word(self.options.big_endian, field));
        }
        // The modified header goes on with interface index, protocol, packet
        // type and padding: all zero.
        let header_bytes = if self.options.modified { 24 } else { 16 };
        self.out.write_all(&header[..header_bytes])?;
        self.out.write_all(&frame[..captured])
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn word(big_endian: bool, value: u32) -> [u8; 4] {
    if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
}

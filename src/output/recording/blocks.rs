//! Blocks of pcapng (draft-ietf-opsawg-pcapng) as bytes.
//!
//! [`BlockWriter`] puts one block of any kind together; the functions after it
//! write those of our own files: little-endian, times in nanoseconds.

use crate::input::Interface;
use crate::input::pcapng_codes::{BYTE_ORDER_MAGIC, OUR_APPLICATION, Observer, block, option};

/// Nanoseconds (draft, section 4.2: 10 to the minus this).
const TSRESOL_NS: u8 = 9;

/// Longest value of an option: its length has 16 bits.
const MAX_OPTION_BYTES: usize = u16::MAX as usize;

/// Fields of an enhanced packet block before and after the packet's bytes.
pub(super) const PACKET_HEAD_BYTES: usize = 28;
pub(super) const PACKET_BYTES: usize = PACKET_HEAD_BYTES + 4;

/// A statistics block without options.
pub(super) const MARK_BYTES: usize = 24;

/// One block under way at the end of `out`. [`Self::finish`] sets its lengths.
pub(crate) struct BlockWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    big_endian: bool,
}

impl<'a> BlockWriter<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, block_type: u32, big_endian: bool) -> Self {
        let start = out.len();
        let mut block = Self { out, start, big_endian };
        block.u32(block_type);
        block.u32(0);
        block
    }

    pub(crate) fn u16(&mut self, value: u16) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.out.extend_from_slice(&bytes);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.out.extend_from_slice(&bytes);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.out.extend_from_slice(&bytes);
    }

    /// Ticks as packet and statistics blocks have them: high half, low half.
    pub(crate) fn ticks(&mut self, ticks: u64) {
        self.u32((ticks >> 32) as u32);
        self.u32(ticks as u32);
    }

    /// Bytes and what fills them up to 32 bits.
    pub(crate) fn padded(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        let length = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + length, 0);
    }

    /// An option; what is beyond the longest is left out.
    pub(crate) fn option(&mut self, code: u16, value: &[u8]) {
        let value = value.get(..MAX_OPTION_BYTES).unwrap_or(value);
        self.u16(code);
        self.u16(value.len() as u16);
        self.padded(value);
    }

    pub(crate) fn option_u64(&mut self, code: u16, value: u64) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.option(code, &bytes);
    }

    /// A text as comments: one, or several where it is longer than an option.
    pub(crate) fn comment(&mut self, mut text: &str) {
        while !text.is_empty() {
            let (part, rest) = text.split_at(text.floor_char_boundary(MAX_OPTION_BYTES));
            self.option(option::COMMENT, part.as_bytes());
            text = rest;
        }
    }

    pub(crate) fn end_of_options(&mut self) {
        self.option(option::END, &[]);
    }

    pub(crate) fn finish(mut self) {
        let total = (self.out.len() - self.start + 4) as u32;
        self.u32(total);
        let bytes = if self.big_endian { total.to_be_bytes() } else { total.to_le_bytes() };
        if let Some(field) = self.out.get_mut(self.start + 4..self.start + 8) {
            field.copy_from_slice(&bytes);
        }
    }
}

/// A section header whose length is left open.
pub(crate) fn section(
    out: &mut Vec<u8>,
    big_endian: bool,
    options: impl FnOnce(&mut BlockWriter<'_>),
) {
    let mut header = BlockWriter::begin(out, block::SECTION_HEADER, big_endian);
    header.u32(BYTE_ORDER_MAGIC);
    header.u16(1);
    header.u16(0);
    header.u64(u64::MAX);
    options(&mut header);
    header.finish();
}

/// The machine that recorded, as far as it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) hardware: String,
    pub(super) os: String,
}

impl Host {
    pub(super) fn of_this_machine() -> Self {
        let kernel = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
            text.map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let os = format!("{} {}", kernel("ostype"), kernel("osrelease"));
        Self { hardware: std::env::consts::ARCH.to_owned(), os: os.trim().to_owned() }
    }
}

/// The header of our own sections.
pub(super) fn our_section(out: &mut Vec<u8>, host: &Host, comments: &[&str]) {
    section(out, false, |header| {
        comments.iter().for_each(|comment| header.comment(comment));
        for (code, text) in [(option::SHB_HARDWARE, &host.hardware), (option::SHB_OS, &host.os)] {
            if !text.is_empty() {
                header.option(code, text.as_bytes());
            }
        }
        let application = format!("{OUR_APPLICATION}{}", env!("CARGO_PKG_VERSION"));
        header.option(option::SHB_USERAPPL, application.as_bytes());
        header.end_of_options();
    });
}

pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface) {
    let mut description = BlockWriter::begin(out, block::INTERFACE_DESCRIPTION, false);
    description.u16(interface.link.0);
    description.u16(0);
    description.u32(interface.snaplen_bytes);
    for (code, text) in
        [(option::IF_NAME, &interface.name), (option::IF_DESCRIPTION, &interface.description)]
    {
        if !text.is_empty() {
            description.option(code, text.as_bytes());
        }
    }
    let observer = Observer {
        sensor: interface.sensor.clone(),
        clock_synchronised: interface.clock_synchronised,
    };
    observer.comments().for_each(|comment| description.comment(&comment));
    description.option(option::IF_TSRESOL, &[TSRESOL_NS]);
    if let Some(fcs_bytes) = interface.fcs_bytes {
        // In bits.
        description.option(option::IF_FCSLEN, &[fcs_bytes.saturating_mul(8)]);
    }
    description.end_of_options();
    description.finish();
}

/// A packet with a comment when there is one.
pub(super) fn packet(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: i64,
    wire_bytes: u32,
    data: &[u8],
    comment: &str,
) {
    let mut packet = BlockWriter::begin(out, block::ENHANCED_PACKET, false);
    packet.u32(interface);
    packet.ticks(ticks(time_ns));
    // No capture format gives more than 16 MiB.
    packet.u32(data.len() as u32);
    packet.u32(wire_bytes);
    packet.padded(data);
    if !comment.is_empty() {
        packet.comment(comment);
        packet.end_of_options();
    }
    packet.finish();
}

/// The same without a comment, for the packet path.
#[inline]
pub(super) fn bare_packet(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: i64,
    wire_bytes: u32,
    data: &[u8],
) {
    let padding = data.len().wrapping_neg() & 3;
    let total = ((PACKET_BYTES + data.len() + padding) as u32).to_le_bytes();
    let ticks = ticks(time_ns);
    let mut head = [0; PACKET_HEAD_BYTES];
    let fields = [
        block::ENHANCED_PACKET.to_le_bytes(),
        total,
        interface.to_le_bytes(),
        ((ticks >> 32) as u32).to_le_bytes(),
        (ticks as u32).to_le_bytes(),
        (data.len() as u32).to_le_bytes(),
        wire_bytes.to_le_bytes(),
    ];
    for (place, field) in head.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field);
    }
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
    let mut tail = [0; 7];
    tail[padding..padding + 4].copy_from_slice(&total);
    out.extend_from_slice(&tail[..padding + 4]);
}

/// A statistics block. In our sections its time says where the stream's clock
/// stood.
pub(super) fn statistics(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: i64,
    counters: &[(u16, u64)],
    comment: &str,
) {
    let mut statistics = BlockWriter::begin(out, block::INTERFACE_STATISTICS, false);
    statistics.u32(interface);
    statistics.ticks(ticks(time_ns));
    statistics.comment(comment);
    for &(code, value) in counters {
        statistics.option_u64(code, value);
    }
    if !counters.is_empty() || !comment.is_empty() {
        statistics.end_of_options();
    }
    statistics.finish();
}

/// Times begin with the epoch.
fn ticks(time_ns: i64) -> u64 {
    time_ns.max(0).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fast_packet_is_the_plain_one(
            interface: u32,
            time_ns: i64,
            wire_bytes: u32,
            data in prop::collection::vec(any::<u8>(), 0..70),
        ) {
            let (mut plain, mut fast) = (vec![1, 2, 3], vec![1, 2, 3]);
            packet(&mut plain, interface, time_ns, wire_bytes, &data, "");
            bare_packet(&mut fast, interface, time_ns, wire_bytes, &data);
            prop_assert_eq!(fast.len() - 3, PACKET_BYTES + data.len().next_multiple_of(4));
            prop_assert_eq!(plain, fast);
        }

        #[test]
        fn a_long_text_is_whole_over_several_comments(text in "[a-zß]{0,200000}") {
            let mut out = Vec::new();
            let mut block = BlockWriter::begin(&mut out, 7, false);
            block.comment(&text);
            block.finish();
            let mut found = Vec::new();
            let mut rest = &out[8..out.len() - 4];
            while let [_, _, low, high, after @ ..] = rest {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                found.extend_from_slice(&after[..length]);
                rest = &after[length.next_multiple_of(4)..];
            }
            prop_assert_eq!(String::from_utf8(found).unwrap(), text);
        }
    }
}

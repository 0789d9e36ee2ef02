//! The frames in a block of a TPACKET_V3 ring.
//!
//! Reads the kernel's headers from plain bytes; a block that makes no sense
//! ends early instead of reading outside. Layout: linux/if_packet.h, numbers
//! in the machine's byte order.

use std::mem::offset_of;

use libc::{tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};

const SECOND_NS: i64 = 1_000_000_000;

/// VLAN tag that the kernel or the device has taken out of a frame.
const VLAN_TAG_BYTES: usize = 4;
/// Where it stood: behind the two MAC addresses.
const MACS_BYTES: usize = 12;

/// Tag protocol of an IEEE 802.1Q tag, where the kernel gives none.
const TPID_8021Q: u16 = 0x8100;

/// Place of the next frame in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    at: usize,
    left: u32,
}

/// One frame as it lies in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawFrame<'a> {
    pub(super) time_ns: i64,
    /// Captured bytes without [`Self::vlan`].
    pub(super) data: &'a [u8],
    /// Length before it was cut, without the tag.
    pub(super) wire_bytes: u32,
    /// Tag to put back, as it was on the wire.
    pub(super) vlan: Option<[u8; VLAN_TAG_BYTES]>,
    /// The device's clock stamped it.
    pub(super) hardware_stamp: bool,
    /// Its checksum was left to the device: the frame was sent here.
    pub(super) checksum_pending: bool,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

impl Cursor {
    /// The first frame of a block.
    pub(super) fn start(block: &[u8]) -> Self {
        let header = offset_of!(tpacket_block_desc, hdr);
        let frames = u32_at(block, header + offset_of!(tpacket_hdr_v1, num_pkts));
        let first = u32_at(block, header + offset_of!(tpacket_hdr_v1, offset_to_first_pkt));
        Self { at: first.unwrap_or(0) as usize, left: frames.unwrap_or(0) }
    }

    /// The frame at hand; `None` behind the last.
    #[inline]
    pub(super) fn frame(self, block: &[u8]) -> Option<RawFrame<'_>> {
        if self.left == 0 {
            return None;
        }
        let rest = block.get(self.at..)?;
        let header: &Header = rest.first_chunk()?;
        let captured = field(header, offset_of!(tpacket3_hdr, tp_snaplen)) as usize;
        let status = field(header, offset_of!(tpacket3_hdr, tp_status));
        let data_at = usize::from(half_field(header, offset_of!(tpacket3_hdr, tp_mac)));
        let seconds = field(header, offset_of!(tpacket3_hdr, tp_sec));
        let nanoseconds = field(header, offset_of!(tpacket3_hdr, tp_nsec));
        Some(RawFrame {
            time_ns: i64::from(seconds) * SECOND_NS + i64::from(nanoseconds),
            data: rest.get(data_at..data_at + captured)?,
            wire_bytes: field(header, offset_of!(tpacket3_hdr, tp_len)),
            vlan: (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| vlan_tag(header, status)),
            hardware_stamp: status & libc::TP_STATUS_TS_RAW_HARDWARE != 0,
            checksum_pending: status & libc::TP_STATUS_CSUMNOTREADY != 0,
        })
    }

    /// Behind the frame at hand.
    #[inline]
    pub(super) fn next(self, block: &[u8]) -> Self {
        let header: Option<&Header> = block.get(self.at..).and_then(<[u8]>::first_chunk);
        let step =
            header.map_or(0, |header| field(header, offset_of!(tpacket3_hdr, tp_next_offset)));
        // A step of 0 is the end: from there nothing could be found.
        let left = if step == 0 { 0 } else { self.left - 1 };
        Self { at: self.at + step as usize, left }
    }
}

/// A frame's header, still in bytes: reads at fixed places need no checks.
type Header = [u8; size_of::<tpacket3_hdr>()];

#[inline(always)]
fn field(header: &Header, at: usize) -> u32 {
    u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline(always)]
fn half_field(header: &Header, at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

fn vlan_tag(header: &Header, status: u32) -> [u8; VLAN_TAG_BYTES] {
    let variant = offset_of!(tpacket3_hdr, hv1);
    let tci = field(header, variant + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci)) as u16;
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        TPID_8021Q
    } else {
        half_field(header, variant + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid))
    };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    [a, b, c, d]
}

impl RawFrame<'_> {
    /// Bytes of the frame with its tag put back.
    pub(super) fn captured_bytes(&self) -> usize {
        self.data.len() + if self.takes_tag() { VLAN_TAG_BYTES } else { 0 }
    }

    /// Length on the wire with its tag.
    pub(super) fn full_wire_bytes(&self) -> u32 {
        self.wire_bytes + if self.takes_tag() { VLAN_TAG_BYTES as u32 } else { 0 }
    }

    /// Appends the frame as it was on the wire.
    #[inline]
    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        match self.vlan {
            Some(tag) if self.takes_tag() => {
                let (macs, rest) = self.data.split_at(MACS_BYTES);
                out.extend_from_slice(macs);
                out.extend_from_slice(&tag);
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(self.data),
        }
    }

    fn takes_tag(&self) -> bool {
        self.vlan.is_some() && self.data.len() >= MACS_BYTES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Second, nanosecond, data, wire length, status, VLAN.
    type Sample<'a> = (u32, u32, &'a [u8], u32, u32, u16);

    /// A block as the kernel lays it out.
    fn block(frames: &[Sample<'_>]) -> Vec<u8> {
        let header = offset_of!(tpacket_block_desc, hdr);
        let mut block = vec![0; 64];
        let mut put = |at: usize, value: u32| {
            block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(header + offset_of!(tpacket_hdr_v1, num_pkts), frames.len() as u32);
        put(header + offset_of!(tpacket_hdr_v1, offset_to_first_pkt), 64);
        for (number, &(sec, nsec, data, wire, status, tci)) in frames.iter().enumerate() {
            let start = block.len();
            let data_at = 82_usize;
            let len = (data_at + data.len()).next_multiple_of(16);
            block.resize(start + len, 0xee);
            let mut put = |at: usize, value: u32| {
                block[start + at..start + at + 4].copy_from_slice(&value.to_ne_bytes());
            };
            let last = number + 1 == frames.len();
            put(offset_of!(tpacket3_hdr, tp_next_offset), if last { 0 } else { len as u32 });
            put(offset_of!(tpacket3_hdr, tp_sec), sec);
            put(offset_of!(tpacket3_hdr, tp_nsec), nsec);
            put(offset_of!(tpacket3_hdr, tp_snaplen), data.len() as u32);
            put(offset_of!(tpacket3_hdr, tp_len), wire);
            put(offset_of!(tpacket3_hdr, tp_status), status);
            put(offset_of!(tpacket3_hdr, hv1) + 4, u32::from(tci));
            let mac = start + offset_of!(tpacket3_hdr, tp_mac);
            block[mac..mac + 2].copy_from_slice(&(data_at as u16).to_ne_bytes());
            block[start + data_at..start + data_at + data.len()].copy_from_slice(data);
        }
        block
    }

    fn all(block: &[u8]) -> Vec<RawFrame<'_>> {
        let mut cursor = Cursor::start(block);
        let mut found = Vec::new();
        while let Some(frame) = cursor.frame(block) {
            found.push(frame);
            cursor = cursor.next(block);
        }
        found
    }

    #[test]
    fn frames_come_in_order_with_time_and_lengths() {
        let bytes =
            block(&[(7, 5, b"first", 5, 0, 0), (8, 999_999_999, b"second, cut", 1500, 0, 0)]);
        let found = all(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].time_ns, found[0].data), (7_000_000_005, &b"first"[..]));
        assert_eq!((found[1].time_ns, found[1].wire_bytes), (8_999_999_999, 1500));
    }

    #[test]
    fn a_tag_that_was_taken_out_is_put_back() {
        let bytes =
            block(&[(1, 0, b"aaaaaabbbbbb\x08\x00rest", 18, libc::TP_STATUS_VLAN_VALID, 5)]);
        let frame = all(&bytes)[0];
        let mut out = Vec::new();
        frame.copy_to(&mut out);
        assert_eq!(out, b"aaaaaabbbbbb\x81\x00\x00\x05\x08\x00rest");
        assert_eq!((frame.captured_bytes(), frame.full_wire_bytes()), (22, 22));
    }

    #[test]
    fn a_tag_on_a_frame_cut_inside_its_addresses_stays_out() {
        let frame = block(&[(1, 0, b"short", 64, libc::TP_STATUS_VLAN_VALID, 5)]);
        let mut out = Vec::new();
        all(&frame)[0].copy_to(&mut out);
        assert_eq!(out, b"short");
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            all(&bytes);
        }
    }
}

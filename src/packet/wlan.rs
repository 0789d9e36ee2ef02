//! IEEE 802.11 data frames, and the radio headers that captures put before
//! them. Management, control and encrypted frames are told apart by name only.

use super::cursor::{Cursor, be16};
use super::ethernet::Layer;
use super::facts::{Facts, MalformedReason, Verdict};
use super::key::Mac;
use super::link::{LinkType, pseudo};
use super::row::Macs;

const SHORT: MalformedReason = MalformedReason::LinkTooShort;

/// How the frame differs from what is on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// Some drivers pad the MAC header to four bytes and say so in radiotap.
    PaddedTo4,
    /// Cisco's access points swap the frame control field in CAPWAP.
    EitherOrder,
}

/// Goes over an 802.11 data frame's header (IEEE 802.11-2020 section 9.3.2).
pub(super) fn data_frame(
    cursor: &mut Cursor<'_>,
    form: Form,
    outermost: Option<&mut Facts>,
) -> Result<Layer, Verdict> {
    const TO_DS: u8 = 0x01;
    const FROM_DS: u8 = 0x02;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    const QOS: u8 = 0x8;
    const NO_DATA: u8 = 0x4;
    const AGGREGATED: u8 = 0x80;

    let start = cursor.at();
    let [mut control, mut flags] = *cursor.take::<2>(SHORT)?;
    if form == Form::EitherOrder && !is_data(control) && is_data(flags) {
        (control, flags) = (flags, control);
    }
    match (control >> 2) & 3 {
        0 => return Err(Verdict::NonIp(pseudo::WLAN_MANAGEMENT)),
        1 => return Err(Verdict::NonIp(pseudo::WLAN_CONTROL)),
        2 => {}
        _ => return Err(Verdict::NonIp(pseudo::WLAN_EXTENSION)),
    }
    cursor.take::<2>(SHORT)?;
    let first = *cursor.take::<6>(SHORT)?;
    let second = *cursor.take::<6>(SHORT)?;
    let third = *cursor.take::<6>(SHORT)?;
    let [fragment_and_sequence, _] = *cursor.take::<2>(SHORT)?;
    let fourth = if flags & (TO_DS | FROM_DS) == TO_DS | FROM_DS {
        *cursor.take::<6>(SHORT)?
    } else {
        [0; 6]
    };
    if let Some(facts) = outermost {
        let (dst, src): (Mac, Mac) = match flags & (TO_DS | FROM_DS) {
            0 => (first, second),
            TO_DS => (third, second),
            FROM_DS => (first, third),
            _ => (third, fourth),
        };
        facts.macs = Macs::new(src, dst);
        facts.has_mac = true;
    }
    let subtype = control >> 4;
    if subtype & NO_DATA != 0 {
        return Err(Verdict::NonIp(pseudo::WLAN_NULL));
    }
    if flags & PROTECTED != 0 {
        return Err(Verdict::NonIp(pseudo::WLAN_ENCRYPTED));
    }
    let mut aggregated = false;
    if subtype & QOS != 0 {
        let [qos, _] = *cursor.take::<2>(SHORT)?;
        aggregated = qos & AGGREGATED != 0;
        if flags & ORDER != 0 {
            // The HT control field.
            cursor.skip(4, SHORT)?;
        }
    }
    if form == Form::PaddedTo4 {
        cursor.skip((cursor.at() - start).wrapping_neg() % 4, SHORT)?;
    }
    // Controllers leave odd fragment numbers in whole frames: what starts with
    // SNAP is read all the same.
    if fragment_and_sequence & 0x0f != 0 && cursor.peek() != Some(&[0xaa, 0xaa, 0x03]) {
        return Err(Verdict::NonIp(pseudo::WLAN_FRAGMENT));
    }
    if aggregated {
        // The first of several frames in one: two addresses and its length.
        let [.., high, low] = *cursor.take::<14>(SHORT)?;
        *cursor = cursor.limited(usize::from(be16([high, low])));
    }
    Ok(Layer::Llc)
}

/// Protocol version 0 and type 2.
fn is_data(control: u8) -> bool {
    control & 0x0f == 0x08
}

/// Radiotap (radiotap.org): little-endian, its length at 2.
pub(super) fn radiotap(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const FLAG_FCS: u8 = 0x10;
    const FLAG_DATA_PAD: u8 = 0x20;
    const FCS_BYTES: usize = 4;

    let header = *cursor;
    let [_, _, low, high] = *cursor.take::<4>(SHORT)?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    cursor.skip(length.saturating_sub(4), SHORT)?;
    let flags = radiotap_flags(header.limited(length).captured());
    if flags & FLAG_FCS != 0 {
        *cursor = cursor.limited(cursor.wire_left().saturating_sub(FCS_BYTES));
    }
    Ok(Layer::Wlan(if flags & FLAG_DATA_PAD != 0 { Form::PaddedTo4 } else { Form::Plain }))
}

/// The flags field if there is one: the first or, after the time, the second.
fn radiotap_flags(header: &[u8]) -> u8 {
    const TIME: u32 = 1 << 0;
    const FLAGS: u32 = 1 << 1;
    const MORE_BITMAPS: u32 = 1 << 31;
    /// Real headers have one for each antenna and one in common.
    const MAX_BITMAPS: usize = 16;

    let mut bitmaps = header
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(4)
        .filter_map(|word| word.first_chunk())
        .map(|word| u32::from_le_bytes(*word));
    let Some(present) = bitmaps.next() else { return 0 };
    if present & FLAGS == 0 {
        return 0;
    }
    let mut count = 1;
    let mut last = present;
    while last & MORE_BITMAPS != 0 && count < MAX_BITMAPS {
        let Some(next) = bitmaps.next() else { return 0 };
        last = next;
        count += 1;
    }
    let mut at = 4 + count * 4;
    if present & TIME != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    header.get(at).copied().unwrap_or(0)
}

/// Per-Packet Information: its length at 2, the link type at 4, little-endian.
pub(super) fn ppi(cursor: &mut Cursor<'_>) -> Result<LinkType, Verdict> {
    let [_, _, low, high, l0, l1, l2, l3] = *cursor.take::<8>(SHORT)?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    cursor.skip(length.saturating_sub(8), SHORT)?;
    Ok(LinkType::from_header_field(u32::from_le_bytes([l0, l1, l2, l3])))
}

/// Prism II header or, under the same link type, AVS: both give their length
/// at 4, the first in the byte order of the card's host.
pub(super) fn prism(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    let [m0, m1, m2, m3, l0, l1, l2, l3] = *cursor.take::<8>(SHORT)?;
    let big = u32::from_be_bytes([l0, l1, l2, l3]);
    let length = if u32::from_be_bytes([m0, m1, m2, m3]) & 0xffff_f000 == AVS_MAGIC {
        big
    } else {
        big.min(u32::from_le_bytes([l0, l1, l2, l3]))
    };
    cursor.skip((length as usize).saturating_sub(8), SHORT)?;
    Ok(Layer::Wlan(Form::Plain))
}

/// Version 1 or 2 in the low byte.
const AVS_MAGIC: u32 = 0x8021_1000;

//! Which frames may be sent: what arrives must be what was captured.
//!
//! Judges a frame by what the capture says about it and by what the interface
//! takes; never by what is inside, except the EtherType of a VLAN tag, for
//! which interfaces have four bytes more room. Start at [`Admission::judge`].

use serde::Serialize;

use crate::input::{Frame, frame_flag};
use crate::packet::LinkType;

/// Destination, source, EtherType.
pub(super) const ETHERNET_HEADER_BYTES: u32 = 14;

/// IEEE 802.1Q tag; Linux lets a frame be longer by it (`packet_snd`), on
/// Ethernet and for this EtherType alone.
const VLAN_TAG_BYTES: u32 = 4;
const VLAN_ETHER_TYPE: [u8; 2] = [0x81, 0x00];

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotEthernet,
    TooShort,
    TooLong,
    Cut,
    /// The system would not take it, and not for its length.
    NotTaken,
}

/// Frames not sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotSent {
    /// Of another link type.
    pub not_ethernet: u64,
    /// Shorter than an Ethernet header.
    pub too_short: u64,
    /// Longer than the interface takes.
    pub too_long: u64,
    /// Not captured whole.
    pub cut: u64,
    /// Refused by the system for another reason.
    pub not_taken: u64,
}

impl NotSent {
    pub(super) fn count(&mut self, refusal: Refusal) {
        *match refusal {
            Refusal::NotEthernet => &mut self.not_ethernet,
            Refusal::TooShort => &mut self.too_short,
            Refusal::TooLong => &mut self.too_long,
            Refusal::Cut => &mut self.cut,
            Refusal::NotTaken => &mut self.not_taken,
        } += 1;
    }

    pub fn total(&self) -> u64 {
        let Self { not_ethernet, too_short, too_long, cut, not_taken } = *self;
        not_ethernet + too_short + too_long + cut + not_taken
    }
}

/// A frame that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Bytes to send of those captured.
    pub(super) bytes: u32,
    /// Zero bytes to send after them.
    pub(super) zeros: u32,
}

/// What an interface takes, and what the user wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    /// Header included, VLAN tag not.
    pub(super) max_frame_bytes: u32,
    /// The interface has room for a VLAN tag beside that.
    pub(super) takes_vlan_tag: bool,
    /// Fill cut frames up with zero bytes.
    pub(super) pad: bool,
}

impl Admission {
    /// `captured` are the frame's bytes; `fcs_bytes` of frame check sequence
    /// end it, which the sending interface makes anew.
    pub(super) fn judge(
        &self,
        frame: &Frame,
        captured: &[u8],
        fcs_bytes: u8,
    ) -> Result<Admitted, Refusal> {
        if frame.link != LinkType::ETHERNET {
            return Err(Refusal::NotEthernet);
        }
        if frame.flags & frame_flag::LENGTH_ANOMALY != 0 {
            // Over 16 MiB on the wire, it says.
            return Err(Refusal::TooLong);
        }
        // A capture that claims less than it holds is taken by what it holds.
        let wire_bytes = frame.wire_bytes.max(frame.captured_bytes);
        let wire_bytes = wire_bytes.saturating_sub(u32::from(fcs_bytes));
        if wire_bytes < ETHERNET_HEADER_BYTES {
            return Err(Refusal::TooShort);
        }
        let tagged = self.takes_vlan_tag && captured.get(12..14) == Some(&VLAN_ETHER_TYPE[..]);
        let room_for_tag = if tagged { VLAN_TAG_BYTES } else { 0 };
        if wire_bytes > self.max_frame_bytes.saturating_add(room_for_tag) {
            return Err(Refusal::TooLong);
        }
        let bytes = frame.captured_bytes.min(wire_bytes);
        let zeros = wire_bytes - bytes;
        if zeros > 0 && !self.pad {
            return Err(Refusal::Cut);
        }
        Ok(Admitted { bytes, zeros })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VETH: Admission = Admission { max_frame_bytes: 1_514, takes_vlan_tag: true, pad: false };

    fn frame(captured_bytes: u32, wire_bytes: u32) -> Frame {
        Frame {
            time_ns: 0,
            offset: 0,
            captured_bytes,
            wire_bytes,
            link: LinkType::ETHERNET,
            interface: 0,
            flags: 0,
        }
    }

    fn judge(admission: Admission, frame: Frame, fcs_bytes: u8) -> Result<(u32, u32), Refusal> {
        let bytes = vec![0; frame.captured_bytes as usize];
        admission.judge(&frame, &bytes, fcs_bytes).map(|a| (a.bytes, a.zeros))
    }

    #[test]
    fn whole_ethernet_frames_up_to_the_mtu_pass() {
        assert_eq!(judge(VETH, frame(14, 14), 0), Ok((14, 0)));
        assert_eq!(judge(VETH, frame(1_514, 1_514), 0), Ok((1_514, 0)));
        assert_eq!(judge(VETH, frame(1_515, 1_515), 0), Err(Refusal::TooLong));
        assert_eq!(judge(VETH, frame(13, 13), 0), Err(Refusal::TooShort));
    }

    #[test]
    fn other_link_types_do_not_pass() {
        let raw = Frame { link: LinkType::RAW, ..frame(60, 60) };
        assert_eq!(judge(VETH, raw, 0), Err(Refusal::NotEthernet));
    }

    #[test]
    fn a_vlan_tag_has_room_on_ethernet_only() {
        let mut bytes = vec![0; 1_518];
        bytes[12..14].copy_from_slice(&[0x81, 0x00]);
        let tagged = frame(1_518, 1_518);
        let loopback = Admission { takes_vlan_tag: false, ..VETH };
        assert_eq!(VETH.judge(&tagged, &bytes, 0), Ok(Admitted { bytes: 1_518, zeros: 0 }));
        assert_eq!(loopback.judge(&tagged, &bytes, 0), Err(Refusal::TooLong));
        bytes[12] = 0x88;
        assert_eq!(VETH.judge(&tagged, &bytes, 0), Err(Refusal::TooLong));
    }

    #[test]
    fn cut_frames_pass_only_when_they_are_to_be_filled_up() {
        assert_eq!(judge(VETH, frame(96, 1_000), 0), Err(Refusal::Cut));
        let padding = Admission { pad: true, ..VETH };
        assert_eq!(judge(padding, frame(96, 1_000), 0), Ok((96, 904)));
        assert_eq!(judge(padding, frame(96, 9_000), 0), Err(Refusal::TooLong));
    }

    #[test]
    fn a_frame_check_sequence_is_left_to_the_interface() {
        assert_eq!(judge(VETH, frame(1_518, 1_518), 4), Ok((1_514, 0)));
        // Cut within the check sequence: the frame itself is whole.
        assert_eq!(judge(VETH, frame(98, 100), 4), Ok((96, 0)));
        assert_eq!(judge(VETH, frame(95, 100), 4), Err(Refusal::Cut));
        assert_eq!(judge(VETH, frame(3, 3), 4), Err(Refusal::TooShort));
    }

    #[test]
    fn a_claimed_length_that_makes_no_sense_is_too_long() {
        let odd = Frame { flags: frame_flag::LENGTH_ANOMALY, ..frame(60, 60) };
        assert_eq!(judge(VETH, odd, 0), Err(Refusal::TooLong));
    }

    proptest! {
        #[test]
        fn what_passes_is_as_long_as_on_the_wire_and_fits(
            captured in 0u32..3_000, wire: u32, max_frame_bytes: u32, pad: bool, fcs: u8,
        ) {
            let admission = Admission { max_frame_bytes, takes_vlan_tag: true, pad };
            if let Ok((bytes, zeros)) = judge(admission, frame(captured, wire), fcs) {
                prop_assert!(bytes <= captured && (pad || zeros == 0));
                prop_assert_eq!(bytes + zeros, wire.max(captured) - u32::from(fcs));
                prop_assert!((14..=max_frame_bytes).contains(&(bytes + zeros)));
            }
        }
    }
}

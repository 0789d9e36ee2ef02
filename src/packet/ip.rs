//! IPv4 and IPv6 headers with everything up to the transport header.

use etherparse::{
    IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

use super::cursor::{Cursor, be16};
use super::facts::{Fragment, FragmentId, MalformedReason, Verdict};
use super::key::{Address, IpVersion, mapped};

/// Extension headers that are followed; RFC 8200 section 4.1 knows of seven in
/// a packet that makes sense.
const MAX_EXTENSIONS: usize = 16;

/// IP protocol numbers (IANA) that the decoder reads or opens.
pub(super) mod proto {
    pub(in crate::packet) const HOP_BY_HOP: u8 = 0;
    pub(in crate::packet) const ICMP: u8 = 1;
    pub(in crate::packet) const IPV4: u8 = 4;
    pub(in crate::packet) const TCP: u8 = 6;
    pub(in crate::packet) const UDP: u8 = 17;
    pub(in crate::packet) const IPV6: u8 = 41;
    pub(in crate::packet) const ROUTING: u8 = 43;
    pub(in crate::packet) const FRAGMENT: u8 = 44;
    pub(in crate::packet) const GRE: u8 = 47;
    pub(in crate::packet) const AH: u8 = 51;
    pub(in crate::packet) const ICMPV6: u8 = 58;
    pub(in crate::packet) const NO_NEXT_HEADER: u8 = 59;
    pub(in crate::packet) const DESTINATION_OPTIONS: u8 = 60;
    pub(in crate::packet) const ETHER_IP: u8 = 97;
    pub(in crate::packet) const SCTP: u8 = 132;
    pub(in crate::packet) const MOBILITY: u8 = 135;
    pub(in crate::packet) const UDP_LITE: u8 = 136;
    pub(in crate::packet) const MPLS_IN_IP: u8 = 137;
    pub(in crate::packet) const HIP: u8 = 139;
    pub(in crate::packet) const SHIM6: u8 = 140;
}

/// What the IP headers of one packet say.
#[derive(Clone, Copy, Debug)]
pub(super) struct IpPacket<'a> {
    pub(super) version: IpVersion,
    pub(super) src: Address,
    pub(super) dst: Address,
    /// Of what follows all extension headers that could be read.
    pub(super) proto: u8,
    pub(super) ttl: u8,
    /// Whole packet by its own length field.
    pub(super) ip_bytes: u32,
    pub(super) fragment: Option<Fragment>,
    /// Starts after the last header read, ends where the packet does.
    pub(super) payload: Cursor<'a>,
    /// `payload` starts at the header that `proto` names: false for later
    /// fragments and where extension headers were cut.
    pub(super) at_transport: bool,
}

pub(super) fn read(version: IpVersion, cursor: Cursor<'_>) -> Result<IpPacket<'_>, Verdict> {
    match version {
        IpVersion::V4 => read_v4(cursor),
        IpVersion::V6 => read_v6(cursor),
    }
}

fn read_v4(cursor: Cursor<'_>) -> Result<IpPacket<'_>, Verdict> {
    const LEN: usize = 20;
    use MalformedReason as Reason;

    let Some(fixed) = cursor.peek::<LEN>() else {
        return Err(cursor.missing(LEN, Reason::Ipv4TooShort));
    };
    if fixed[0] >> 4 != 4 {
        return Err(Verdict::Malformed(Reason::IpVersion));
    }
    let header_bytes = usize::from(fixed[0] & 0x0f) * 4;
    if header_bytes < LEN {
        return Err(Verdict::Malformed(Reason::Ipv4HeaderLength));
    }
    if header_bytes > cursor.wire_left() {
        return Err(Verdict::Malformed(Reason::Ipv4TooShort));
    }
    // Options may be cut off: nothing in them is needed, so the header is read
    // as if it had none.
    let mut without_options = *fixed;
    without_options[0] = 0x45;
    let Ok(header) = Ipv4HeaderSlice::from_slice(&without_options) else {
        return Err(Verdict::Malformed(Reason::Ipv4HeaderLength));
    };
    let total_bytes = match usize::from(header.total_len()) {
        // Segmentation offload: the card fills it in after the capture.
        0 => cursor.wire_left(),
        total_bytes if total_bytes < header_bytes => {
            return Err(Verdict::Malformed(Reason::Ipv4TotalLength));
        }
        total_bytes => total_bytes,
    };
    let mut payload = cursor.limited(total_bytes);
    payload.skip(header_bytes, Reason::Ipv4TooShort)?;

    let (src, dst) = (mapped(header.source()), mapped(header.destination()));
    let id = FragmentId {
        version: IpVersion::V4,
        proto: header.protocol().0,
        id: u32::from(header.identification()),
        src,
        dst,
    };
    let fragment = fragment(header.fragments_offset().value(), header.more_fragments(), id);
    let mut packet = IpPacket {
        version: IpVersion::V4,
        src,
        dst,
        proto: header.protocol().0,
        ttl: header.ttl(),
        ip_bytes: total_bytes as u32,
        fragment,
        payload,
        at_transport: !matches!(fragment, Some(Fragment::Later(_))),
    };
    for _ in 0..MAX_EXTENSIONS {
        if packet.proto != proto::AH || !packet.at_transport {
            break;
        }
        // IPv4 has no reason of its own for a bad AH: the flow is AH's then.
        let Ok(header) = IpAuthHeaderSlice::from_slice(packet.payload.captured()) else { break };
        packet.payload.skip(header.slice().len(), Reason::Ipv4TooShort)?;
        packet.proto = header.next_header().0;
    }
    Ok(packet)
}

fn read_v6(cursor: Cursor<'_>) -> Result<IpPacket<'_>, Verdict> {
    const LEN: usize = 40;
    use MalformedReason as Reason;

    let Some(fixed) = cursor.peek::<LEN>() else {
        return Err(cursor.missing(LEN, Reason::Ipv6TooShort));
    };
    let Ok(header) = Ipv6HeaderSlice::from_slice(fixed) else {
        return Err(Verdict::Malformed(Reason::IpVersion));
    };
    let next = header.next_header().0;
    let total_bytes = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675) or segmentation offload. Nothing at all is a
        // real length only when there is no next header.
        0 if next != proto::NO_NEXT_HEADER => cursor.wire_left(),
        payload_bytes => LEN + payload_bytes,
    };
    let mut payload = cursor.limited(total_bytes);
    payload.skip(LEN, Reason::Ipv6TooShort)?;
    let mut packet = IpPacket {
        version: IpVersion::V6,
        src: header.source(),
        dst: header.destination(),
        proto: next,
        ttl: header.hop_limit(),
        ip_bytes: u32::try_from(total_bytes).unwrap_or(u32::MAX),
        fragment: None,
        payload,
        at_transport: true,
    };
    // Once more than there may be headers: what follows the last one.
    for _ in 0..=MAX_EXTENSIONS {
        match extension(&mut packet)? {
            Step::Next => {}
            Step::Transport => return Ok(packet),
            Step::Blind => {
                packet.at_transport = false;
                return Ok(packet);
            }
        }
    }
    Err(Verdict::Malformed(Reason::Ipv6ExtensionCount))
}

/// What became of one more extension header.
enum Step {
    Next,
    /// It was none: the transport header starts here.
    Transport,
    /// It is there but can't be gone over: cut off, or in a later fragment.
    Blind,
}

fn extension(packet: &mut IpPacket<'_>) -> Result<Step, Verdict> {
    let captured = packet.payload.captured();
    let (next, bytes) = match packet.proto {
        proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION_OPTIONS => {
            match Ipv6RawExtHeaderSlice::from_slice(captured) {
                Ok(header) => (header.next_header().0, header.slice().len()),
                Err(error) => return unread_extension(packet, error.required_len),
            }
        }
        proto::MOBILITY | proto::HIP | proto::SHIM6 => {
            match Ipv6RawExtHeaderSlice::from_slice(captured) {
                // Without anything behind it, the header itself is what the
                // packet is about (RFC 6275 section 6.1.1).
                Ok(header) if header.next_header().0 == proto::NO_NEXT_HEADER => {
                    return Ok(Step::Transport);
                }
                Ok(header) => (header.next_header().0, header.slice().len()),
                Err(error) => return unread_extension(packet, error.required_len),
            }
        }
        proto::AH => {
            use etherparse::err::ip_auth::HeaderSliceError;
            match IpAuthHeaderSlice::from_slice(captured) {
                Ok(header) => (header.next_header().0, header.slice().len()),
                Err(HeaderSliceError::Len(error)) => {
                    return unread_extension(packet, error.required_len);
                }
                Err(HeaderSliceError::Content(_)) => {
                    return Err(Verdict::Malformed(MalformedReason::Ipv6Extension));
                }
            }
        }
        proto::FRAGMENT => match Ipv6FragmentHeaderSlice::from_slice(captured) {
            Ok(header) => {
                let id = FragmentId {
                    version: IpVersion::V6,
                    proto: 0,
                    id: header.identification(),
                    src: packet.src,
                    dst: packet.dst,
                };
                let fragment =
                    fragment(header.fragment_offset().value(), header.more_fragments(), id);
                // A second fragment header is nonsense that no host sends: the
                // first one names the datagram.
                packet.fragment = packet.fragment.or(fragment);
                if matches!(fragment, Some(Fragment::Later(_))) {
                    packet.fragment = fragment;
                    packet.proto = header.next_header().0;
                    packet.payload.skip(header.slice().len(), MalformedReason::Ipv6Extension)?;
                    return Ok(Step::Blind);
                }
                (header.next_header().0, header.slice().len())
            }
            Err(error) => return unread_extension(packet, error.required_len),
        },
        _ => return Ok(Step::Transport),
    };
    packet.payload.skip(bytes, MalformedReason::Ipv6Extension)?;
    packet.proto = next;
    Ok(Step::Next)
}

/// A header that runs over the captured bytes: cut, or a lie, or continued in
/// the next fragment.
fn unread_extension(packet: &IpPacket<'_>, required_bytes: usize) -> Result<Step, Verdict> {
    if required_bytes > packet.payload.wire_left() && packet.fragment.is_none() {
        return Err(Verdict::Malformed(MalformedReason::Ipv6Extension));
    }
    Ok(Step::Blind)
}

/// An atomic fragment (RFC 6946), which is all there is, is none.
fn fragment(offset: u16, more: bool, id: FragmentId) -> Option<Fragment> {
    match (offset, more) {
        (0, false) => None,
        (0, true) => Some(Fragment::First(id)),
        _ => Some(Fragment::Later(id)),
    }
}

/// True for an address of 6to4 (RFC 3056 section 2).
pub(super) fn is_6to4(address: [u8; 16]) -> bool {
    be16([address[0], address[1]]) == 0x2002
}

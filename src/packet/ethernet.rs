//! Layers between the link header and IP: Ethernet, its tags, LLC, PPP, MPLS.
//!
//! [`walk`] goes through them until IP starts or it is clear that none does.
//! It is used for frames and, again, for Ethernet and PPP inside tunnels.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::cursor::{Cursor, be16};
use super::facts::{Facts, MalformedReason, Verdict};
use super::key::IpVersion;
use super::link::pseudo;
use super::row::Macs;
use super::wlan;

/// Link headers in a row that are followed. Provider networks stack an outer
/// Ethernet, two tags, PBB, an inner Ethernet, two tags, MPLS and PPPoE; more
/// than twice that is an attack on the decoder.
const MAX_LINK_HEADERS: usize = 20;

/// What starts at a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    Ethernet,
    /// What an EtherType announces.
    EtherType(u16),
    /// IP whose version only its own first bits tell.
    Ip,
    Ipv4,
    Ipv6,
    /// IEEE 802.2 in a layer whose end is known.
    Llc,
    Ppp,
    Wlan(wlan::Form),
}

/// EtherTypes that lead on to further layers.
mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const TRILL: u16 = 0x22f3;
    pub(super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const PPP: u16 = 0x880b;
    pub(super) const MPLS: u16 = 0x8847;
    /// Upstream-assigned labels (RFC 5332), first meant for multicast.
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const JUMBO_LLC: u16 = 0x8870;
    pub(super) const PROVIDER_VLAN: u16 = 0x88a8;
    pub(super) const MACSEC: u16 = 0x88e5;
    pub(super) const PBB: u16 = 0x88e7;
    pub(super) const CISCO_METADATA: u16 = 0x8909;
    pub(super) const VN_TAG: u16 = 0x8926;
    pub(super) const HSR: u16 = 0x892f;
    pub(super) const NSH: u16 = 0x894f;
    /// Tags used before 802.1ad was settled.
    pub(super) const OLD_VLAN_1: u16 = 0x9100;
    pub(super) const OLD_VLAN_2: u16 = 0x9200;
}

/// Goes from `layer` to the start of an IP header. `outermost` takes MACs and
/// VLANs of the first Ethernet header; `None` inside tunnels.
pub(super) fn walk(
    cursor: &mut Cursor<'_>,
    mut layer: Layer,
    mut outermost: Option<&mut Facts>,
) -> Result<IpVersion, Verdict> {
    for _ in 0..MAX_LINK_HEADERS {
        layer = match layer {
            Layer::Ipv4 => return Ok(IpVersion::V4),
            Layer::Ipv6 => return Ok(IpVersion::V6),
            Layer::Ip => return ip_by_version(cursor),
            Layer::Ethernet => {
                // Only the first Ethernet header of a frame is the outermost.
                let outermost = outermost.as_deref_mut().filter(|facts| !facts.has_mac);
                ethernet(cursor, outermost)?
            }
            Layer::EtherType(ether_type) => match ether_type {
                ether_type::VLAN
                | ether_type::PROVIDER_VLAN
                | ether_type::OLD_VLAN_1
                | ether_type::OLD_VLAN_2 => vlan(cursor, outermost.as_deref_mut())?,
                other => {
                    outermost = None;
                    after_tags(cursor, other)?
                }
            },
            Layer::Llc => llc(cursor)?,
            Layer::Ppp => ppp(cursor)?,
            Layer::Wlan(form) => wlan::data_frame(cursor, form, outermost.as_deref_mut())?,
        };
    }
    Err(Verdict::NonIp(pseudo::TOO_DEEP))
}

fn ethernet(cursor: &mut Cursor<'_>, outermost: Option<&mut Facts>) -> Result<Layer, Verdict> {
    let bytes = cursor.take::<14>(MalformedReason::LinkTooShort)?;
    let Ok(header) = Ethernet2HeaderSlice::from_slice(bytes) else {
        return Err(Verdict::Malformed(MalformedReason::LinkTooShort));
    };
    if let Some(facts) = outermost {
        facts.macs = Macs::new(header.source(), header.destination());
        facts.has_mac = true;
    }
    Ok(type_or_length(cursor, header.ether_type().0))
}

/// IEEE 802.3 section 3.2.6: up to 1,500 it is the length of an LLC frame.
pub(super) fn type_or_length(cursor: &mut Cursor<'_>, field: u16) -> Layer {
    if field > 1500 {
        return Layer::EtherType(field);
    }
    *cursor = cursor.limited(usize::from(field));
    Layer::Llc
}

fn vlan(cursor: &mut Cursor<'_>, outermost: Option<&mut Facts>) -> Result<Layer, Verdict> {
    let bytes = cursor.take::<4>(MalformedReason::VlanTooShort)?;
    let Ok(tag) = SingleVlanHeaderSlice::from_slice(bytes) else {
        return Err(Verdict::Malformed(MalformedReason::VlanTooShort));
    };
    if let Some(facts) = outermost {
        facts.row.vlans.push(tag.vlan_identifier().value());
    }
    Ok(type_or_length(cursor, tag.ether_type().0))
}

fn after_tags(cursor: &mut Cursor<'_>, ether_type: u16) -> Result<Layer, Verdict> {
    let reason = MalformedReason::LinkTooShort;
    Ok(match ether_type {
        ether_type::IPV4 => Layer::Ipv4,
        ether_type::IPV6 => Layer::Ipv6,
        ether_type::MPLS | ether_type::MPLS_UPSTREAM => mpls(cursor)?,
        ether_type::PPPOE_SESSION => pppoe(cursor)?,
        ether_type::PPP => Layer::Ppp,
        ether_type::JUMBO_LLC => Layer::Llc,
        ether_type::TRANSPARENT_ETHERNET => Layer::Ethernet,
        ether_type::PBB => {
            // IEEE 802.1Q section 9.7: the service tag's four bytes stand
            // before the customer's addresses.
            cursor.take::<4>(reason)?;
            Layer::Ethernet
        }
        ether_type::VN_TAG | ether_type::HSR => {
            let [.., high, low] = *cursor.take::<6>(reason)?;
            type_or_length(cursor, be16([high, low]))
        }
        ether_type::CISCO_METADATA => {
            // Version, length, option, group tag: one fixed form is in use.
            let [_, _, _, _, _, _, high, low] = *cursor.take::<8>(reason)?;
            type_or_length(cursor, be16([high, low]))
        }
        ether_type::MACSEC => macsec(cursor)?,
        ether_type::NSH => {
            nsh(cursor).map_err(|malformed| malformed.unwrap_or(Verdict::NonIp(ether_type)))?
        }
        ether_type::TRILL => {
            // RFC 6325 section 3.1: options in units of four bytes.
            let [high, low, ..] = *cursor.take::<6>(reason)?;
            cursor.skip(usize::from((be16([high, low]) >> 6) & 0x1f) * 4, reason)?;
            Layer::Ethernet
        }
        other => return Err(Verdict::NonIp(other)),
    })
}

/// IEEE 802.1AE section 9: only a frame that is authenticated but neither
/// encrypted nor changed shows what it carries.
fn macsec(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const SECURE_CHANNEL: u8 = 0x20;
    const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
    const CHECK_VALUE_BYTES: usize = 16;

    let Some([control, ..]) = cursor.peek::<1>() else {
        return Err(Verdict::NonIp(ether_type::MACSEC));
    };
    if control & ENCRYPTED_OR_CHANGED != 0 {
        return Err(Verdict::NonIp(ether_type::MACSEC));
    }
    let tag_bytes = if control & SECURE_CHANNEL != 0 { 14 } else { 6 };
    let short = Verdict::NonIp(ether_type::MACSEC);
    cursor.skip(tag_bytes, MalformedReason::LinkTooShort).map_err(|_| short)?;
    let Some(inside) = cursor.wire_left().checked_sub(CHECK_VALUE_BYTES) else {
        return Err(short);
    };
    *cursor = cursor.limited(inside);
    let [high, low] = *cursor.take::<2>(MalformedReason::LinkTooShort).map_err(|_| short)?;
    Ok(type_or_length(cursor, be16([high, low])))
}

/// RFC 8300 section 2.2: the length in words of four bytes, the next protocol
/// in the fourth byte. `None`: something that is not IP follows.
pub(super) fn nsh(cursor: &mut Cursor<'_>) -> Result<Layer, Option<Verdict>> {
    const LEN: usize = 8;

    let [_, words, _, next, ..] = *cursor.take::<LEN>(MalformedReason::LinkTooShort)?;
    let Some(context_bytes) = (usize::from(words & 0x3f) * 4).checked_sub(LEN) else {
        return Err(None);
    };
    cursor.skip(context_bytes, MalformedReason::LinkTooShort)?;
    match next {
        1 => Ok(Layer::Ipv4),
        2 => Ok(Layer::Ipv6),
        3 => Ok(Layer::Ethernet),
        5 => Ok(Layer::EtherType(ether_type::MPLS)),
        _ => Err(None),
    }
}

/// RFC 3032; what follows the stack is told by its first nibble (RFC 4928).
pub(super) fn mpls(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    /// Networks use up to about ten; hostile stacks end here.
    const MAX_LABELS: usize = 32;
    const BOTTOM_OF_STACK: u8 = 0x01;

    let mut bottom = false;
    for _ in 0..MAX_LABELS {
        let [_, _, class_and_bottom, _] = *cursor.take::<4>(MalformedReason::MplsTooShort)?;
        if class_and_bottom & BOTTOM_OF_STACK != 0 {
            bottom = true;
            break;
        }
    }
    if !bottom {
        return Err(Verdict::NonIp(pseudo::TOO_DEEP));
    }
    let Some([first, ..]) = cursor.peek::<1>() else {
        return Err(cursor.missing(1, MalformedReason::MplsTooShort));
    };
    match first >> 4 {
        4 if plausible_ip(cursor, IpVersion::V4) => Ok(Layer::Ipv4),
        6 if plausible_ip(cursor, IpVersion::V6) => Ok(Layer::Ipv6),
        // RFC 4385: a pseudowire's control word starts with four zero bits;
        // only Ethernet is looked for behind it. Without a control word the
        // MAC address comes at once.
        0 if plausible_ethernet(&{ skipped(cursor, 4) }) => {
            *cursor = skipped(cursor, 4);
            Ok(Layer::Ethernet)
        }
        _ if plausible_ethernet(cursor) => Ok(Layer::Ethernet),
        4 => Ok(Layer::Ipv4),
        6 => Ok(Layer::Ipv6),
        _ => Err(Verdict::NonIp(pseudo::MPLS_PAYLOAD)),
    }
}

fn skipped<'a>(cursor: &Cursor<'a>, count: usize) -> Cursor<'a> {
    let mut moved = *cursor;
    if moved.skip(count, MalformedReason::MplsTooShort).is_err() {
        moved = moved.limited(0);
    }
    moved
}

/// MAC addresses may start with 4 or 6, too: the header must fit its length.
fn plausible_ip(cursor: &Cursor<'_>, version: IpVersion) -> bool {
    match version {
        IpVersion::V4 => cursor.peek::<4>().is_some_and(|[first, _, high, low]| {
            let header_bytes = usize::from(first & 0x0f) * 4;
            let total_bytes = usize::from(be16([*high, *low]));
            header_bytes >= 20
                && (total_bytes == 0 || total_bytes >= header_bytes)
                && total_bytes <= cursor.wire_left()
        }),
        IpVersion::V6 => cursor.peek::<6>().is_some_and(|[.., high, low]| {
            40 + usize::from(be16([*high, *low])) <= cursor.wire_left()
        }),
    }
}

/// Only types that lead to IP count: everything else stays an MPLS payload.
fn plausible_ethernet(cursor: &Cursor<'_>) -> bool {
    cursor.peek::<14>().is_some_and(|[.., high, low]| {
        matches!(
            be16([*high, *low]),
            ether_type::IPV4
                | ether_type::IPV6
                | ether_type::VLAN
                | ether_type::PROVIDER_VLAN
                | ether_type::MPLS
                | ether_type::PPPOE_SESSION
        )
    })
}

/// RFC 2516 section 4, the session stage: code 0.
pub(super) fn pppoe(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    let [version_and_type, code, _, _, high, low] =
        *cursor.take::<6>(MalformedReason::PppoeTooShort)?;
    if version_and_type != 0x11 || code != 0 {
        return Err(Verdict::NonIp(ether_type::PPPOE_SESSION));
    }
    *cursor = cursor.limited(usize::from(be16([high, low])));
    Ok(Layer::Ppp)
}

/// PPP with or without HDLC's address and control (RFC 1662), and with the
/// protocol in one or two bytes (RFC 1661 section 6.5).
fn ppp(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    let reason = MalformedReason::LinkTooShort;
    match cursor.peek::<2>() {
        Some([0xff, 0x03]) => {
            cursor.take::<2>(reason)?;
        }
        // Cisco's HDLC on the same link type: unicast or multicast address.
        Some([0x0f | 0x8f, 0x00]) => {
            cursor.take::<2>(reason)?;
            let [high, low] = *cursor.take::<2>(reason)?;
            return Ok(Layer::EtherType(be16([high, low])));
        }
        _ => {}
    }
    let [first] = *cursor.take::<1>(reason)?;
    let protocol = if first & 1 == 1 {
        u16::from(first)
    } else {
        let [second] = *cursor.take::<1>(reason)?;
        be16([first, second])
    };
    Ok(match protocol {
        0x0021 => Layer::Ipv4,
        0x0057 => Layer::Ipv6,
        0x0281 | 0x0283 => Layer::EtherType(ether_type::MPLS),
        _ => return Err(Verdict::NonIp(ppp_pseudo_type(protocol))),
    })
}

fn ppp_pseudo_type(protocol: u16) -> u16 {
    match protocol {
        0xc021 => pseudo::PPP_LCP,
        0x8021 => pseudo::PPP_IPCP,
        0x8057 => pseudo::PPP_IPV6CP,
        0xc023 => pseudo::PPP_PAP,
        0xc223 => pseudo::PPP_CHAP,
        0x80fd => pseudo::PPP_CCP,
        0x00fd | 0x00fb => pseudo::PPP_COMPRESSED,
        0x003d => pseudo::PPP_MULTILINK,
        0xc227 => pseudo::PPP_EAP,
        _ => pseudo::PPP_OTHER,
    }
}

/// IEEE 802.2, with SNAP (RFC 1042) as the way to EtherTypes.
fn llc(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const SNAP: u8 = 0xaa;
    const UNNUMBERED_INFORMATION: u8 = 0x03;
    const NOVELL_RAW_CHECKSUM: [u8; 2] = [0xff, 0xff];

    if cursor.peek::<2>() == Some(&NOVELL_RAW_CHECKSUM) {
        return Err(Verdict::NonIp(pseudo::NOVELL_RAW));
    }
    if cursor.wire_left() < 3 {
        // Test frames of network cards have a length of zero.
        return Err(Verdict::NonIp(pseudo::LLC));
    }
    let [destination, source, control] = *cursor.take::<3>(MalformedReason::LinkTooShort)?;
    match (destination, source, control) {
        (SNAP, SNAP, UNNUMBERED_INFORMATION) => {}
        // IP over its own service access point, as early Arcnet and Proteon did.
        (0x06, 0x06, UNNUMBERED_INFORMATION) => return Ok(Layer::Ipv4),
        // RFC 2684: network layer identifiers in routed mode.
        (0xfe, 0xfe, UNNUMBERED_INFORMATION) => {
            return match cursor.peek::<1>() {
                Some([0xcc]) => {
                    cursor.take::<1>(MalformedReason::LinkTooShort)?;
                    Ok(Layer::Ipv4)
                }
                Some([0x8e]) => {
                    cursor.take::<1>(MalformedReason::LinkTooShort)?;
                    Ok(Layer::Ipv6)
                }
                _ => Err(Verdict::NonIp(pseudo::LLC | 0xfe)),
            };
        }
        _ => return Err(Verdict::NonIp(pseudo::LLC | u16::from(destination & 0xfe))),
    }
    snap(cursor)
}

/// Organisation and protocol after the LLC header's three bytes.
pub(super) fn snap(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    let [a, b, c, high, low] = *cursor.take::<5>(MalformedReason::LinkTooShort)?;
    let protocol = be16([high, low]);
    match [a, b, c] {
        // Encapsulated Ethernet, RFC 1042 and 802.1H's tunnel form.
        [0, 0, 0] | [0, 0, 0xf8] => Ok(Layer::EtherType(protocol)),
        // RFC 2684: bridged Ethernet with (1) and without (7) its FCS.
        [0x00, 0x80, 0xc2] if matches!(protocol, 0x0001 | 0x0007) => {
            cursor.take::<2>(MalformedReason::LinkTooShort)?;
            Ok(Layer::Ethernet)
        }
        [0x00, 0x00, 0x0c] => Err(Verdict::NonIp(match protocol {
            0x2000 => pseudo::CDP,
            0x2003 => pseudo::VTP,
            0x2004 => pseudo::DTP,
            0x010b => pseudo::PVST,
            0x0111 => pseudo::UDLD,
            _ => pseudo::CISCO_SNAP,
        })),
        _ => Err(Verdict::NonIp(pseudo::SNAP_OTHER)),
    }
}

fn ip_by_version(cursor: &Cursor<'_>) -> Result<IpVersion, Verdict> {
    let Some([first, ..]) = cursor.peek::<1>() else {
        return Err(cursor.missing(1, MalformedReason::LinkTooShort));
    };
    match first >> 4 {
        4 => Ok(IpVersion::V4),
        6 => Ok(IpVersion::V6),
        _ => Err(Verdict::Malformed(MalformedReason::IpVersion)),
    }
}

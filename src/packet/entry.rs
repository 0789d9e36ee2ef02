//! From a link type to the first layer: the headers that captures or operating
//! systems put before the network's own.

use super::cursor::{Cursor, be16};
use super::ethernet::{self, Layer};
use super::facts::{Facts, MalformedReason, Verdict};
use super::link::{LinkType, pseudo};
use super::row::Macs;
use super::wlan::{self, Form};

const SHORT: MalformedReason = MalformedReason::LinkTooShort;

/// Goes over the capture's own header of `link`. Link types that are not read
/// are non-IP under their own name, never malformed.
pub(super) fn enter(
    link: LinkType,
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
) -> Result<Layer, Verdict> {
    Ok(match link {
        LinkType::ETHERNET => Layer::Ethernet,
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD => Layer::Ip,
        LinkType::IPV4 => Layer::Ipv4,
        LinkType::IPV6 => Layer::Ipv6,
        LinkType::NULL => loopback(cursor, u32::from_le_bytes)?,
        LinkType::LOOP => loopback(cursor, u32::from_be_bytes)?,
        LinkType::LINUX_SLL => cooked(cursor, facts)?,
        LinkType::LINUX_SLL2 => cooked_v2(cursor, facts)?,
        LinkType::PPP | LinkType::PPP_HDLC => Layer::Ppp,
        LinkType::PPP_WITH_DIR | LinkType::PPP_PPPD => {
            cursor.take::<1>(SHORT)?;
            Layer::Ppp
        }
        LinkType::PPP_ETHER => ethernet::pppoe(cursor)?,
        LinkType::C_HDLC => cisco_hdlc(cursor)?,
        LinkType::C_HDLC_WITH_DIR => {
            cursor.take::<1>(SHORT)?;
            cisco_hdlc(cursor)?
        }
        LinkType::FRELAY => frame_relay(cursor)?,
        LinkType::FRELAY_WITH_DIR => {
            cursor.take::<1>(SHORT)?;
            frame_relay(cursor)?
        }
        LinkType::IEEE802_11 => Layer::Wlan(Form::Plain),
        LinkType::IEEE802_11_RADIOTAP => wlan::radiotap(cursor)?,
        LinkType::IEEE802_11_PRISM | LinkType::IEEE802_11_AVS => wlan::prism(cursor)?,
        LinkType::PPI => match wlan::ppi(cursor)? {
            LinkType::IEEE802_11 => Layer::Wlan(Form::Plain),
            LinkType::ETHERNET => Layer::Ethernet,
            LinkType::RAW | LinkType::RAW_BSD => Layer::Ip,
            other => return Err(Verdict::NonIp(pseudo::link_type(other))),
        },
        LinkType::FDDI => fddi(cursor, facts)?,
        LinkType::ATM_RFC1483 | LinkType::ATM_RFC1483_OLD => Layer::Llc,
        LinkType::SLIP => slip(cursor)?,
        LinkType::NFLOG => nflog(cursor)?,
        LinkType::ARCNET_LINUX => arcnet(cursor)?,
        LinkType::IPOIB => {
            // Forty bytes of routing header, the type, two reserved.
            cursor.take::<40>(SHORT)?;
            let [high, low, _, _] = *cursor.take::<4>(SHORT)?;
            Layer::EtherType(be16([high, low]))
        }
        LinkType::DSA_TAG_DSA | LinkType::DSA_TAG_BRCM => switch_tag(cursor, 4, facts)?,
        LinkType::DSA_TAG_EDSA => switch_tag(cursor, 8, facts)?,
        LinkType::DSA_TAG_BRCM_PREPEND => {
            cursor.take::<4>(SHORT)?;
            Layer::Ethernet
        }
        other => return Err(Verdict::NonIp(pseudo::link_type(other))),
    })
}

/// The address family of the capturing host, in its byte order (NULL) or in
/// network order (LOOP). Families are small numbers: a large one is swapped.
fn loopback(cursor: &mut Cursor<'_>, read: fn([u8; 4]) -> u32) -> Result<Layer, Verdict> {
    let family = read(*cursor.take::<4>(SHORT)?);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 => Ok(Layer::Ipv4),
        // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 23 | 24 | 28 | 30 => Ok(Layer::Ipv6),
        _ => Err(Verdict::NonIp(pseudo::ADDRESS_FAMILY)),
    }
}

/// Linux cooked capture, version 1: sixteen bytes, the protocol last.
fn cooked(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Layer, Verdict> {
    let bytes = cursor.take::<16>(SHORT)?;
    let [_, _, h0, h1, l0, l1, m0, m1, m2, m3, m4, m5, _, _, p0, p1] = *bytes;
    if be16([l0, l1]) == 6 {
        facts.macs = Macs::new([m0, m1, m2, m3, m4, m5], [0; 6]);
        facts.has_mac = true;
    }
    cooked_protocol(cursor, be16([h0, h1]), be16([p0, p1]))
}

/// Version 2: twenty bytes, the protocol first.
fn cooked_v2(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Layer, Verdict> {
    let bytes = cursor.take::<20>(SHORT)?;
    let [p0, p1, _, _, _, _, _, _, h0, h1, _, length, m0, m1, m2, m3, m4, m5, _, _] = *bytes;
    if length == 6 {
        facts.macs = Macs::new([m0, m1, m2, m3, m4, m5], [0; 6]);
        facts.has_mac = true;
    }
    cooked_protocol(cursor, be16([h0, h1]), be16([p0, p1]))
}

fn cooked_protocol(
    cursor: &mut Cursor<'_>,
    hardware: u16,
    protocol: u16,
) -> Result<Layer, Verdict> {
    const ARPHRD_RADIOTAP: u16 = 803;
    const ARPHRD_NETLINK: u16 = 824;
    /// Not an EtherType but Linux's own numbers under 1,536.
    const NOVELL_RAW: u16 = 0x0001;
    const LLC: u16 = 0x0004;

    Ok(match (hardware, protocol) {
        (ARPHRD_RADIOTAP, _) => wlan::radiotap(cursor)?,
        (ARPHRD_NETLINK, _) => {
            return Err(Verdict::NonIp(pseudo::link_type(LinkType::NETLINK)));
        }
        (_, LLC) => Layer::Llc,
        (_, NOVELL_RAW) => return Err(Verdict::NonIp(pseudo::NOVELL_RAW)),
        (_, 0x0000..0x0600) => return Err(Verdict::NonIp(pseudo::COOKED_OTHER)),
        (_, ether_type) => Layer::EtherType(ether_type),
    })
}

/// Address, control, EtherType. A control byte other than 0 is seen where the
/// link is bridged; the type stands in the same place.
fn cisco_hdlc(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    /// ISO 9577 after a padding byte, instead of an EtherType.
    const OSI: u16 = 0xfefe;

    let [_, _, high, low] = *cursor.take::<4>(SHORT)?;
    match be16([high, low]) {
        0x2000 => Err(Verdict::NonIp(pseudo::CDP)),
        OSI => Err(Verdict::NonIp(pseudo::LLC | 0xfe)),
        ether_type => Ok(Layer::EtherType(ether_type)),
    }
}

/// RFC 2427, or Cisco's form with an EtherType after the address.
fn frame_relay(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const EXTENDED_ADDRESS_END: u8 = 0x01;
    const UNNUMBERED_INFORMATION: u8 = 0x03;

    // Q.922 addresses have two to four bytes; the last has its low bit set.
    let mut ended = false;
    for _ in 0..4 {
        let [byte] = *cursor.take::<1>(SHORT)?;
        if byte & EXTENDED_ADDRESS_END != 0 {
            ended = true;
            break;
        }
    }
    let other = Verdict::NonIp(pseudo::link_type(LinkType::FRELAY));
    if !ended {
        return Err(other);
    }
    let Some(&[control, second]) = cursor.peek::<2>() else {
        return Err(cursor.missing(2, SHORT));
    };
    if control != UNNUMBERED_INFORMATION {
        let ether_type = be16([control, second]);
        if ether_type < 0x0600 {
            return Err(other);
        }
        cursor.take::<2>(SHORT)?;
        return Ok(Layer::EtherType(ether_type));
    }
    cursor.take::<1>(SHORT)?;
    // A padding byte of zero aligns what follows.
    if second == 0 {
        cursor.take::<1>(SHORT)?;
    }
    let [network_layer] = *cursor.take::<1>(SHORT)?;
    match network_layer {
        0xcc => Ok(Layer::Ipv4),
        0x8e => Ok(Layer::Ipv6),
        0x80 => ethernet::snap(cursor),
        0xcf => Ok(Layer::Ppp),
        _ => Err(other),
    }
}

/// Ethernet with a switch chip's tag between addresses and type.
fn switch_tag(
    cursor: &mut Cursor<'_>,
    tag_bytes: usize,
    facts: &mut Facts,
) -> Result<Layer, Verdict> {
    let dst = *cursor.take::<6>(SHORT)?;
    facts.macs = Macs::new(*cursor.take::<6>(SHORT)?, dst);
    facts.has_mac = true;
    cursor.skip(tag_bytes, SHORT)?;
    let field = be16(*cursor.take::<2>(SHORT)?);
    Ok(ethernet::type_or_length(cursor, field))
}

/// Frame control, addresses, LLC. Only LLC frames carry anything.
fn fddi(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Layer, Verdict> {
    let [control, dst @ .., s0, s1, s2, s3, s4, s5] = *cursor.take::<13>(SHORT)?;
    facts.macs = Macs::new([s0, s1, s2, s3, s4, s5], dst);
    facts.has_mac = true;
    // 0b_CLFF: asynchronous (C = 0) or synchronous LLC has FF = 01.
    if control & 0x30 == 0x10 {
        return Ok(Layer::Llc);
    }
    Err(Verdict::NonIp(pseudo::link_type(LinkType::FDDI)))
}

/// Sixteen bytes of direction and compression, then IP unless compressed.
fn slip(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    cursor.take::<16>(SHORT)?;
    match cursor.peek::<1>() {
        Some([first]) if matches!(first >> 4, 4 | 6) => Ok(Layer::Ip),
        Some(_) => Err(Verdict::NonIp(pseudo::link_type(LinkType::SLIP))),
        None => Err(cursor.missing(1, SHORT)),
    }
}

/// Linux netfilter log: attributes of which one is the packet.
fn nflog(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const PACKET_HEADER: u16 = 1;
    const PAYLOAD: u16 = 9;
    const AF_BRIDGE: u8 = 7;
    /// The kernel writes about fifteen.
    const MAX_ATTRIBUTES: usize = 64;

    let other = Verdict::NonIp(pseudo::link_type(LinkType::NFLOG));
    let [family, version, _, _] = *cursor.take::<4>(SHORT)?;
    if version != 0 {
        return Err(other);
    }
    let mut layer = match family {
        2 => Some(Layer::Ipv4),
        10 => Some(Layer::Ipv6),
        _ => None,
    };
    for _ in 0..MAX_ATTRIBUTES {
        let [l0, l1, t0, t1] = *cursor.take::<4>(SHORT).map_err(|_| other)?;
        // In the host's byte order, which the type betrays: it is small.
        let (length, kind) = match u16::from_le_bytes([t0, t1]) {
            small @ 0..0x100 => (u16::from_le_bytes([l0, l1]), small),
            _ => (be16([l0, l1]), be16([t0, t1])),
        };
        let Some(content_bytes) = usize::from(length).checked_sub(4) else { return Err(other) };
        match kind {
            // A bridge hands over any EtherType and says which.
            PACKET_HEADER if family == AF_BRIDGE => {
                layer = cursor.peek::<2>().map(|field| Layer::EtherType(be16(*field)));
            }
            PAYLOAD => {
                *cursor = cursor.limited(content_bytes);
                return layer.ok_or(other);
            }
            _ => {}
        }
        cursor.skip(content_bytes.next_multiple_of(4), SHORT).map_err(|_| other)?;
    }
    Err(other)
}

/// Station addresses, Linux's offset, protocol; RFC 1201 splits packets and
/// puts its own header in between, RFC 1051 does not.
fn arcnet(cursor: &mut Cursor<'_>) -> Result<Layer, Verdict> {
    const IP_RFC1201: u8 = 212;
    const IP_RFC1051: u8 = 240;
    const EXCEPTION: u8 = 0xff;

    let other = Verdict::NonIp(pseudo::link_type(LinkType::ARCNET_LINUX));
    let [_, _, _, _, protocol] = *cursor.take::<5>(SHORT)?;
    match protocol {
        IP_RFC1051 => return Ok(Layer::Ipv4),
        IP_RFC1201 => {}
        _ => return Err(other),
    }
    let [mut split, _, _] = *cursor.take::<3>(SHORT)?;
    if split == EXCEPTION {
        // Padding of short frames: the real header follows.
        cursor.take::<1>(SHORT)?;
        [split, _, _] = *cursor.take::<3>(SHORT)?;
    }
    // Odd: the first of several; even: a later one.
    if split != 0 && split % 2 == 0 {
        return Err(other);
    }
    Ok(Layer::Ipv4)
}

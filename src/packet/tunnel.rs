//! Tunnels: what of a packet's payload is another frame or packet.
//!
//! [`find`] recognises a tunnel by protocol and port and goes over its header;
//! [`Tunnel::open`] succeeds only if an IP packet is really inside. Otherwise
//! the flow stays the outer one: a port number alone proves nothing.

use super::cursor::{Cursor, be16};
use super::ethernet::{self, Layer};
use super::facts::{Facts, Fragment, MalformedReason, TunnelKind, TunnelLayer};
use super::ip::{self, IpPacket, is_6to4, proto};
use super::key::IpVersion;
use super::transport::Transport;
use super::wlan::Form;

/// Never seen outside: a tunnel header that is too short is no tunnel.
const SHORT: MalformedReason = MalformedReason::LinkTooShort;

const MPLS: Layer = Layer::EtherType(0x8847);

/// A tunnel header that was gone over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunnel<'a> {
    kind: TunnelKind,
    id: Option<u32>,
    /// What the tunnel says is inside, and where.
    layer: Layer,
    inside: Cursor<'a>,
}

/// Encapsulations over UDP, by port. The direct reader leaves these to the
/// general path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UdpTunnel {
    Vxlan,
    VxlanGpe,
    Geneve,
    GtpU,
    Teredo,
    L2tp,
    Lisp,
    Capwap,
    Mpls,
}

impl UdpTunnel {
    /// VXLAN, GENEVE and MPLS hash their source port and never answer to it;
    /// the others use their port at either end.
    #[inline]
    pub(super) fn by_port(src: u16, dst: u16) -> Option<Self> {
        match dst {
            // RFC 7348, and what Linux used before it was given out.
            4789 | 8472 => Some(Self::Vxlan),
            4790 => Some(Self::VxlanGpe),
            6081 => Some(Self::Geneve),
            2152 => Some(Self::GtpU),
            3544 => Some(Self::Teredo),
            1701 => Some(Self::L2tp),
            4341 => Some(Self::Lisp),
            5247 => Some(Self::Capwap),
            6635 => Some(Self::Mpls),
            _ => match src {
                2152 => Some(Self::GtpU),
                3544 => Some(Self::Teredo),
                1701 => Some(Self::L2tp),
                4341 => Some(Self::Lisp),
                5247 => Some(Self::Capwap),
                _ => None,
            },
        }
    }
}

/// The tunnel that `packet` carries, if its header makes sense.
pub(super) fn find<'a>(packet: &IpPacket<'a>, transport: &Transport<'a>) -> Option<Tunnel<'a>> {
    if !packet.at_transport || matches!(packet.fragment, Some(Fragment::Later(_))) {
        return None;
    }
    match packet.proto {
        proto::IPV4 => Some(Tunnel {
            kind: match packet.version {
                IpVersion::V4 => TunnelKind::IpInIp,
                IpVersion::V6 => TunnelKind::FourInSix,
            },
            id: None,
            layer: Layer::Ipv4,
            inside: packet.payload,
        }),
        proto::IPV6 => Some(Tunnel {
            kind: match packet.version {
                IpVersion::V4 => six_in_four(&packet.payload),
                IpVersion::V6 => TunnelKind::SixInSix,
            },
            id: None,
            layer: Layer::Ipv6,
            inside: packet.payload,
        }),
        proto::GRE => gre(packet.payload),
        proto::MPLS_IN_IP => Some(Tunnel {
            kind: TunnelKind::MplsInIp,
            id: None,
            layer: MPLS,
            inside: packet.payload,
        }),
        proto::ETHER_IP => ether_ip(packet.payload),
        proto::UDP => {
            let payload = transport.payload;
            match UdpTunnel::by_port(transport.src_port, transport.dst_port)? {
                UdpTunnel::Vxlan => vxlan(payload),
                UdpTunnel::VxlanGpe => vxlan_gpe(payload),
                UdpTunnel::Geneve => geneve(payload),
                UdpTunnel::GtpU => gtp_u(payload),
                UdpTunnel::Teredo => teredo(payload),
                UdpTunnel::L2tp => l2tp(payload),
                UdpTunnel::Lisp => lisp(payload),
                UdpTunnel::Capwap => capwap(payload),
                UdpTunnel::Mpls => Some(Tunnel {
                    kind: TunnelKind::MplsInUdp,
                    id: None,
                    layer: MPLS,
                    inside: payload,
                }),
            }
        }
        _ => None,
    }
}

impl<'a> Tunnel<'a> {
    /// The IP packet inside, if there is one.
    pub(super) fn open(&self) -> Option<IpPacket<'a>> {
        let mut cursor = self.inside;
        let version = ethernet::walk(&mut cursor, self.layer, None).ok()?;
        ip::read(version, cursor).ok()
    }

    /// What is remembered of the tunnel around `inner`.
    pub(super) fn remember(&self, outer: &IpPacket<'_>, facts: &mut Facts) {
        facts.tunnels.push(TunnelLayer {
            kind: self.kind,
            version: outer.version,
            id: self.id,
            outer_src: outer.src,
            outer_dst: outer.dst,
        });
    }

    /// The network identifier that is part of a flow's key.
    pub(super) fn key_vni(&self) -> Option<u32> {
        match self.kind {
            TunnelKind::Vxlan | TunnelKind::Geneve => self.id.map(|vni| vni + 1),
            _ => None,
        }
    }
}

fn six_in_four(inside: &Cursor<'_>) -> TunnelKind {
    let mut addresses = *inside;
    addresses.advance(8);
    match (addresses.peek::<16>(), addresses.peek::<32>()) {
        (Some(src), _) if is_6to4(*src) => TunnelKind::SixToFour,
        (_, Some([_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..]))
            if be16([*high, *low]) == 0x2002 =>
        {
            TunnelKind::SixToFour
        }
        _ => TunnelKind::SixInFour,
    }
}

/// RFC 2784 and 2890, with the routing of RFC 1701; version 1 is PPTP's
/// (RFC 2637).
fn gre(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    const ACKNOWLEDGMENT: u8 = 0x80;

    let [flags, flags_and_version, p0, p1] = *at.take::<4>(SHORT).ok()?;
    let protocol = be16([p0, p1]);
    let version = flags_and_version & 0x07;
    if flags & (CHECKSUM | ROUTING) != 0 {
        at.take::<4>(SHORT).ok()?;
    }
    let key = if flags & KEY != 0 { Some(*at.take::<4>(SHORT).ok()?) } else { None };
    if flags & SEQUENCE != 0 {
        at.take::<4>(SHORT).ok()?;
    }
    match version {
        0 => {
            if flags & ROUTING != 0 {
                skip_routing(&mut at)?;
            }
            gre_payload(at, protocol, key.map(u32::from_be_bytes), flags & SEQUENCE != 0)
        }
        1 if protocol == 0x880b => {
            if flags_and_version & ACKNOWLEDGMENT != 0 {
                at.take::<4>(SHORT).ok()?;
            }
            // The key holds the payload's length and the call.
            let [l0, l1, c0, c1] = key?;
            Some(Tunnel {
                kind: TunnelKind::Gre,
                id: Some(u32::from(be16([c0, c1]))),
                layer: Layer::Ppp,
                inside: at.limited(usize::from(be16([l0, l1]))),
            })
        }
        _ => None,
    }
}

/// RFC 1701: source route entries until one of family and length 0.
fn skip_routing(at: &mut Cursor<'_>) -> Option<()> {
    const MAX_ENTRIES: usize = 8;

    for _ in 0..MAX_ENTRIES {
        let [f0, f1, _, length] = *at.take::<4>(SHORT).ok()?;
        if length == 0 && be16([f0, f1]) == 0 {
            return Some(());
        }
        at.skip(usize::from(length), SHORT).ok()?;
    }
    None
}

fn gre_payload(
    mut at: Cursor<'_>,
    protocol: u16,
    key: Option<u32>,
    has_sequence: bool,
) -> Option<Tunnel<'_>> {
    const ERSPAN_I_II: u16 = 0x88be;
    const ERSPAN_III: u16 = 0x22eb;
    const WCCP: u16 = 0x883e;

    let layer = match protocol {
        ERSPAN_I_II if has_sequence => return erspan_ii(at),
        ERSPAN_I_II => {
            return Some(Tunnel {
                kind: TunnelKind::ErspanI,
                id: None,
                layer: Layer::Ethernet,
                inside: at,
            });
        }
        ERSPAN_III => return erspan_iii(at),
        WCCP => {
            // Version 2 puts a redirect header before the packet; version 1
            // does not, and only the packet's first byte tells.
            if !matches!(at.peek::<1>()?, [first] if first >> 4 == 4) {
                at.take::<4>(SHORT).ok()?;
            }
            Layer::Ipv4
        }
        // IP, Ethernet (NVGRE, RFC 7637), MPLS, PPP.
        0x0800 | 0x86dd | 0x6558 | 0x8847 | 0x8848 | 0x880b => Layer::EtherType(protocol),
        _ => return None,
    };
    Some(Tunnel { kind: TunnelKind::Gre, id: key, layer, inside: at })
}

/// Ten bits of session and whether the mirrored frame was cut.
fn erspan_session(word: u16) -> (u32, bool) {
    (u32::from(word & 0x03ff), word & 0x0400 != 0)
}

fn erspan_ii(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    let [version, _, s0, s1, ..] = *at.take::<8>(SHORT).ok()?;
    if version >> 4 != 1 {
        return None;
    }
    Some(erspan(TunnelKind::ErspanII, be16([s0, s1]), at))
}

fn erspan_iii(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const SUBHEADER: u8 = 0x01;

    let [version, _, s0, s1, .., flags] = *at.take::<12>(SHORT).ok()?;
    if version >> 4 != 2 {
        return None;
    }
    if flags & SUBHEADER != 0 {
        at.take::<8>(SHORT).ok()?;
    }
    Some(erspan(TunnelKind::ErspanIII, be16([s0, s1]), at))
}

fn erspan(kind: TunnelKind, word: u16, at: Cursor<'_>) -> Tunnel<'_> {
    let (session, truncated) = erspan_session(word);
    // A mirror that cuts frames says so: then the inner lengths are right and
    // the outer ones are those of the copy.
    let inside = if truncated { at.unlimited() } else { at };
    Tunnel { kind, id: Some(session), layer: Layer::Ethernet, inside }
}

/// RFC 7348 section 5: only the I flag must be set; reserved bits are in use
/// (group policy) and ignored by receivers.
fn vxlan(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const VNI_PRESENT: u8 = 0x08;

    let [flags, _, _, _, v0, v1, v2, _] = *at.take::<8>(SHORT).ok()?;
    if flags & VNI_PRESENT == 0 {
        return None;
    }
    Some(Tunnel {
        kind: TunnelKind::Vxlan,
        id: Some(u32::from_be_bytes([0, v0, v1, v2])),
        layer: Layer::Ethernet,
        inside: at,
    })
}

/// draft-ietf-nvo3-vxlan-gpe: a next protocol when the P flag is set.
fn vxlan_gpe(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const VERSION: u8 = 0x30;
    const VNI_PRESENT: u8 = 0x08;
    const NEXT_PROTOCOL: u8 = 0x04;

    let [flags, _, _, next, v0, v1, v2, _] = *at.take::<8>(SHORT).ok()?;
    if flags & VERSION != 0 || flags & VNI_PRESENT == 0 {
        return None;
    }
    let layer = match (flags & NEXT_PROTOCOL != 0, next) {
        (false, _) | (true, 3) => Layer::Ethernet,
        (true, 1) => Layer::Ipv4,
        (true, 2) => Layer::Ipv6,
        (true, 4) => ethernet::nsh(&mut at).ok()?,
        _ => return None,
    };
    Some(Tunnel {
        kind: TunnelKind::Vxlan,
        id: Some(u32::from_be_bytes([0, v0, v1, v2])),
        layer,
        inside: at,
    })
}

/// RFC 8926 section 3.4.
fn geneve(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    let [version_and_options, _, p0, p1, v0, v1, v2, _] = *at.take::<8>(SHORT).ok()?;
    if version_and_options >> 6 != 0 {
        return None;
    }
    at.skip(usize::from(version_and_options & 0x3f) * 4, SHORT).ok()?;
    let layer = match be16([p0, p1]) {
        0x6558 => Layer::Ethernet,
        0x0800 => Layer::Ipv4,
        0x86dd => Layer::Ipv6,
        _ => return None,
    };
    Some(Tunnel {
        kind: TunnelKind::Geneve,
        id: Some(u32::from_be_bytes([0, v0, v1, v2])),
        layer,
        inside: at,
    })
}

/// 3GPP TS 29.281 section 5.1: a G-PDU carries a user's packet, every other
/// message type is signalling.
fn gtp_u(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const VERSION_1_GTP: u8 = 0x30;
    const G_PDU: u8 = 255;
    const EXTENSION: u8 = 0x04;
    const ANY_OPTION: u8 = 0x07;
    /// Three kinds may stand in one G-PDU; a chain this long is an attack.
    const MAX_EXTENSIONS: usize = 8;

    let [flags, message, l0, l1, t0, t1, t2, t3] = *at.take::<8>(SHORT).ok()?;
    if flags & 0xf0 != VERSION_1_GTP || message != G_PDU {
        return None;
    }
    at = at.limited(usize::from(be16([l0, l1])));
    if flags & ANY_OPTION != 0 {
        let [_, _, _, mut next] = *at.take::<4>(SHORT).ok()?;
        let mut count = 0;
        while flags & EXTENSION != 0 && next != 0 {
            let [words] = *at.peek::<1>()?;
            count += 1;
            if words == 0 || count > MAX_EXTENSIONS {
                return None;
            }
            at.skip(usize::from(words) * 4 - 1, SHORT).ok()?;
            [next] = *at.take::<1>(SHORT).ok()?;
        }
    }
    Some(Tunnel {
        kind: TunnelKind::GtpU,
        id: Some(u32::from_be_bytes([t0, t1, t2, t3])),
        layer: Layer::Ip,
        inside: at,
    })
}

/// RFC 4380 section 5.1.1. The port is used by other programs, too: the inner
/// header must fit the datagram (RFC 6081 puts trailers behind it) and have
/// addresses that Teredo gives.
fn teredo(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    if at.peek::<2>()? == &[0, 1] {
        let [_, _, client_bytes, value_bytes] = *at.take::<4>(SHORT).ok()?;
        // Then a nonce of eight bytes and a confirmation of one.
        at.skip(usize::from(client_bytes) + usize::from(value_bytes) + 9, SHORT).ok()?;
    }
    if at.peek::<2>()? == &[0, 0] {
        at.skip(8, SHORT).ok()?;
    }
    let [version, _, _, _, l0, l1, _, _, addresses @ ..] = at.peek::<40>()?;
    let (src, dst) = addresses.split_at(16);
    if version >> 4 != 6
        || 40 + usize::from(be16([*l0, *l1])) > at.wire_left()
        || !(is_teredo_address(src) || is_teredo_address(dst))
    {
        return None;
    }
    Some(Tunnel { kind: TunnelKind::Teredo, id: None, layer: Layer::Ipv6, inside: at })
}

/// RFC 2661 section 3.1: data messages carry PPP. The identifier is the
/// session's.
fn l2tp(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const CONTROL: u8 = 0x80;
    const LENGTH: u8 = 0x40;
    const SEQUENCE: u8 = 0x08;
    const OFFSET: u8 = 0x02;
    const VERSION: u8 = 0x0f;

    let start = at;
    let [flags, version] = *at.take::<2>(SHORT).ok()?;
    if flags & CONTROL != 0 || version & VERSION != 2 {
        return None;
    }
    if flags & LENGTH != 0 {
        let bytes = usize::from(be16(*at.peek::<2>()?));
        at = start.limited(bytes);
        at.skip(4, SHORT).ok()?;
    }
    let [_, _, s0, s1] = *at.take::<4>(SHORT).ok()?;
    if flags & SEQUENCE != 0 {
        at.skip(4, SHORT).ok()?;
    }
    if flags & OFFSET != 0 {
        let offset = be16(*at.take::<2>(SHORT).ok()?);
        at.skip(usize::from(offset), SHORT).ok()?;
    }
    Some(Tunnel {
        kind: TunnelKind::L2tp,
        id: Some(u32::from(be16([s0, s1]))),
        layer: Layer::Ppp,
        inside: at,
    })
}

/// RFC 9300 section 5.1: eight bytes, then a whole IP packet. The identifier is
/// the instance where the I flag gives one.
fn lisp(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const INSTANCE: u8 = 0x08;

    let [flags, _, _, _, i0, i1, i2, _] = *at.take::<8>(SHORT).ok()?;
    let id = (flags & INSTANCE != 0).then(|| u32::from_be_bytes([0, i0, i1, i2]));
    Some(Tunnel { kind: TunnelKind::Lisp, id, layer: Layer::Ip, inside: at })
}

/// RFC 5415 section 4.3 on the data port: IEEE 802.11 or 802.3 frames, unless
/// they are under DTLS or in fragments. The identifier is the radio's.
fn capwap(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    const NATIVE: u8 = 0x01;
    const LATER_FRAGMENT: u8 = 0x80;
    const WIRELESS_802_11: u8 = 1;

    let start = at;
    let [preamble, lengths, ids, flags, _, _, offset, _] = *at.take::<8>(SHORT).ok()?;
    let header_bytes = usize::from(lengths >> 3) * 4;
    let later = flags & LATER_FRAGMENT != 0 && offset != 0;
    if preamble != 0 || header_bytes < 8 || later {
        return None;
    }
    let mut inside = start;
    inside.skip(header_bytes, SHORT).ok()?;
    let radio = (lengths & 0x07) << 2 | ids >> 6;
    let layer = match (ids & NATIVE != 0, (ids >> 1) & 0x1f) {
        (false, _) => Layer::Ethernet,
        (true, WIRELESS_802_11) => Layer::Wlan(Form::EitherOrder),
        _ => return None,
    };
    Some(Tunnel { kind: TunnelKind::Capwap, id: Some(u32::from(radio)), layer, inside })
}

/// RFC 3378: version 3, the rest zero, then an Ethernet frame.
fn ether_ip(mut at: Cursor<'_>) -> Option<Tunnel<'_>> {
    if *at.take::<2>(SHORT).ok()? != [0x30, 0] {
        return None;
    }
    Some(Tunnel { kind: TunnelKind::EtherIp, id: None, layer: Layer::Ethernet, inside: at })
}

/// 2001:0::/32, or link-local as router discovery uses it.
fn is_teredo_address(address: &[u8]) -> bool {
    address.starts_with(&[0x20, 0x01, 0, 0])
        || matches!(address, [0xfe, second, ..] if second & 0xc0 == 0x80)
}

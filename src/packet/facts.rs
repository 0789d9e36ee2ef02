//! What the decoder says of one frame.

use std::ops::{Deref, DerefMut};

use super::key::{Address, IpVersion};
use super::row::{NO_TUNNELS, PacketRow, row_flag};
use crate::input::Frame;

/// Nesting of tunnels that is followed; deeper ones keep the flow at this
/// depth. Real captures nest three (GTP-U in VXLAN in GENEVE behind a cloud
/// mirror); more is an attack on the decoder.
pub const MAX_TUNNELS: usize = 6;

/// Where a frame goes in the accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An IP packet: [`PacketRow::key`] names its flow.
    Flow,
    /// No IP inside; the EtherType (or a pseudo type for other link layers,
    /// see [`super::link::non_ip_name`]) says what it is.
    NonIp(u16),
    /// Headers contradict themselves. Never given for a frame that is only
    /// cut by the snap length, except [`MalformedReason::CutInHeaders`].
    Malformed(MalformedReason),
}

/// Why a frame is malformed: the layer and which of its fields lied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MalformedReason {
    /// The wire frame is shorter than its link header.
    LinkTooShort,
    VlanTooShort,
    MplsTooShort,
    PppoeTooShort,
    /// IP version nibble is neither 4 nor 6 where IP was announced.
    IpVersion,
    /// IPv4 header length under 20 bytes or over the packet.
    Ipv4HeaderLength,
    /// IPv4 total length under the header length.
    Ipv4TotalLength,
    /// The wire frame ends inside the IPv4 header.
    Ipv4TooShort,
    Ipv6TooShort,
    /// An IPv6 extension header runs over the packet.
    Ipv6Extension,
    /// More extension headers than any real packet has.
    Ipv6ExtensionCount,
    /// The link type is one this build can't read. Never given by the decoder,
    /// which counts such frames as non-IP under the link type's name.
    LinkTypeUnsupported,
    /// Not the packet's fault: the snap length is too short to hold the
    /// headers up to the IP addresses, so that no flow can be named. The one
    /// reason that a cut frame is given, so that it stays accounted for.
    CutInHeaders,
}

impl MalformedReason {
    pub const ALL: [Self; 13] = [
        Self::LinkTooShort,
        Self::VlanTooShort,
        Self::MplsTooShort,
        Self::PppoeTooShort,
        Self::IpVersion,
        Self::Ipv4HeaderLength,
        Self::Ipv4TotalLength,
        Self::Ipv4TooShort,
        Self::Ipv6TooShort,
        Self::Ipv6Extension,
        Self::Ipv6ExtensionCount,
        Self::LinkTypeUnsupported,
        Self::CutInHeaders,
    ];

    /// Name in `accounting.malformed_reasons`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkTooShort => "link_too_short",
            Self::VlanTooShort => "vlan_too_short",
            Self::MplsTooShort => "mpls_too_short",
            Self::PppoeTooShort => "pppoe_too_short",
            Self::IpVersion => "ip_version",
            Self::Ipv4HeaderLength => "ipv4_header_length",
            Self::Ipv4TotalLength => "ipv4_total_length",
            Self::Ipv4TooShort => "ipv4_too_short",
            Self::Ipv6TooShort => "ipv6_too_short",
            Self::Ipv6Extension => "ipv6_extension",
            Self::Ipv6ExtensionCount => "ipv6_extension_count",
            Self::LinkTypeUnsupported => "link_type_unsupported",
            Self::CutInHeaders => "cut_in_headers",
        }
    }
}

/// What kind of packet this is to a flood detector. One class a packet;
/// fragments are counted beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketClass {
    Udp = 0,
    Icmp = 1,
    Gre = 2,
    /// Any other IP protocol (SCTP, ESP, AH, IGMP, ...), also UDP-Lite.
    OtherIp = 3,
    /// SYN without ACK, RST or FIN.
    TcpSyn = 4,
    /// SYN with ACK.
    TcpSynAck = 5,
    /// RST, with or without ACK.
    TcpRst = 6,
    /// FIN with ACK, no SYN, no RST.
    TcpFin = 7,
    /// ACK alone (PSH and ECN bits ignored) without payload.
    TcpAck = 8,
    /// ACK with payload.
    TcpData = 9,
    /// Flag sets that no stack sends: none, FIN alone, FIN+URG+PSH, SYN+FIN, no ACK outside SYN, ...
    TcpOdd = 10,
    /// TCP whose flags were cut off or lie in an earlier fragment.
    TcpUnknown = 11,
}

pub const PACKET_CLASSES: usize = 12;

impl PacketClass {
    pub const ALL: [Self; PACKET_CLASSES] = [
        Self::Udp,
        Self::Icmp,
        Self::Gre,
        Self::OtherIp,
        Self::TcpSyn,
        Self::TcpSynAck,
        Self::TcpRst,
        Self::TcpFin,
        Self::TcpAck,
        Self::TcpData,
        Self::TcpOdd,
        Self::TcpUnknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Gre => "gre",
            Self::OtherIp => "other_ip",
            Self::TcpSyn => "tcp_syn",
            Self::TcpSynAck => "tcp_synack",
            Self::TcpRst => "tcp_rst",
            Self::TcpFin => "tcp_fin",
            Self::TcpAck => "tcp_ack",
            Self::TcpData => "tcp_data",
            Self::TcpOdd => "tcp_odd",
            Self::TcpUnknown => "tcp_unknown",
        }
    }
}

/// Kinds of tunnel that are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TunnelKind {
    Gre,
    ErspanI,
    ErspanII,
    ErspanIII,
    Vxlan,
    Geneve,
    GtpU,
    IpInIp,
    /// IPv6 in IPv4 (protocol 41) between configured ends, RFC 4213.
    SixInFour,
    /// Protocol 41 with a 2002::/16 address inside, RFC 3056.
    SixToFour,
    /// IPv4 in IPv6, RFC 2473.
    FourInSix,
    /// IPv6 in IPv6, RFC 2473.
    SixInSix,
    Teredo,
    /// L2TP version 2 data, RFC 2661.
    L2tp,
    /// LISP data, RFC 9300.
    Lisp,
    /// Wireless frames to their controller, RFC 5415.
    Capwap,
    /// RFC 7510.
    MplsInUdp,
    /// RFC 4023.
    MplsInIp,
    /// RFC 3378.
    EtherIp,
}

impl TunnelKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::ErspanI => "erspan1",
            Self::ErspanII => "erspan2",
            Self::ErspanIII => "erspan3",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtpu",
            Self::IpInIp => "ipip",
            Self::SixInFour => "6in4",
            Self::SixToFour => "6to4",
            Self::FourInSix => "4in6",
            Self::SixInSix => "6in6",
            Self::Teredo => "teredo",
            Self::L2tp => "l2tp",
            Self::Lisp => "lisp",
            Self::Capwap => "capwap",
            Self::MplsInUdp => "mplsudp",
            Self::MplsInIp => "mplsip",
            Self::EtherIp => "etherip",
        }
    }
}

/// One opened tunnel, in the direction of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelLayer {
    pub kind: TunnelKind,
    pub version: IpVersion,
    /// VNI (VXLAN, GENEVE), TEID (GTP-U), session (ERSPAN, L2TP), key (GRE),
    /// call (PPTP), instance (LISP), radio (CAPWAP).
    pub id: Option<u32>,
    pub outer_src: Address,
    pub outer_dst: Address,
}

/// Tunnels opened on the way to the flow, outermost first. Equal when the
/// opened layers are.
#[derive(Clone, Copy, Debug)]
pub struct Tunnels {
    len: u8,
    layers: [TunnelLayer; MAX_TUNNELS],
}

impl Default for Tunnels {
    fn default() -> Self {
        let none = TunnelLayer {
            kind: TunnelKind::Gre,
            version: IpVersion::V4,
            id: None,
            outer_src: [0; 16],
            outer_dst: [0; 16],
        };
        Self { len: 0, layers: [none; MAX_TUNNELS] }
    }
}

impl PartialEq for Tunnels {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Tunnels {}

impl Tunnels {
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// False when the stack is full: the caller stays at this depth.
    pub fn push(&mut self, layer: TunnelLayer) -> bool {
        let Some(slot) = self.layers.get_mut(self.len as usize) else { return false };
        *slot = layer;
        self.len += 1;
        true
    }

    pub fn as_slice(&self) -> &[TunnelLayer] {
        &self.layers[..self.len as usize]
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len as usize == MAX_TUNNELS
    }
}

/// Identity of a fragmented datagram (RFC 791 and RFC 8200 section 4.5) at the
/// IP layer that is fragmented; that may be outside a tunnel. `proto` is 0 for
/// IPv6, whose fragments are told apart by addresses and identification alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FragmentId {
    pub version: IpVersion,
    pub proto: u8,
    pub id: u32,
    pub src: Address,
    pub dst: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Offset 0 and more to come: its ports name the flow of all the others.
    First(FragmentId),
    /// Offset over 0: the key has ports 0 until the engine joins it.
    Later(FragmentId),
}

/// Everything later stages know of an IP packet. Filled in place, so that the
/// packet path neither allocates nor moves it.
///
/// What a flow needs lies in [`Facts::row`], as it will travel; its fields can
/// be reached as if they were the facts' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Decoders fill in what the frame says; see [`Facts::row_of`].
    pub row: PacketRow,
    /// The packet goes from `key.a` to `key.b`.
    pub forward: bool,
    pub has_mac: bool,
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// Where the outermost IP header starts in the frame.
    pub ip_offset: u32,
    /// Where the captured payload starts in the frame.
    pub payload_offset: u32,
    pub fragment: Option<Fragment>,
    pub tunnels: Tunnels,
}

impl Deref for Facts {
    type Target = PacketRow;

    #[inline]
    fn deref(&self) -> &PacketRow {
        &self.row
    }
}

impl DerefMut for Facts {
    #[inline]
    fn deref_mut(&mut self) -> &mut PacketRow {
        &mut self.row
    }
}

impl Facts {
    /// Forgets the last frame. Leaves the tunnel layers' memory alone: only
    /// their number counts.
    #[inline]
    pub(super) fn clear(&mut self) {
        let mut tunnels = self.tunnels;
        tunnels.clear();
        *self = Self { tunnels, ..Self::default() };
    }

    /// The packet on its way to a flow: adds what the frame's place in the
    /// stream says.
    #[inline]
    pub fn row_of(&mut self, frame: &Frame, hash: u64, index: u16, clock_ns: i64) -> &PacketRow {
        let mut flags = 0;
        if self.forward {
            flags |= row_flag::FORWARD;
        }
        if self.has_mac {
            flags |= row_flag::HAS_MAC;
        }
        match self.fragment {
            Some(Fragment::First(_)) => flags |= row_flag::FRAGMENT,
            Some(Fragment::Later(_)) => flags |= row_flag::FRAGMENT | row_flag::LATER_FRAGMENT,
            None => {}
        }
        let row = &mut self.row;
        row.flags = flags;
        row.payload_at = self.payload_offset;
        row.tunnels = NO_TUNNELS;
        row.mark_group();
        row.put_in_stream(frame, hash, index, clock_ns);
        row
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            row: PacketRow::NOTHING,
            forward: true,
            has_mac: false,
            icmp_type: 0,
            icmp_code: 0,
            ip_offset: 0,
            payload_offset: 0,
            fragment: None,
            tunnels: Tunnels::default(),
        }
    }
}

/// Bits of [`PacketRow::tcp_flags`].
pub mod tcp_flag {
    pub const FIN: u16 = 0x001;
    pub const SYN: u16 = 0x002;
    pub const RST: u16 = 0x004;
    pub const PSH: u16 = 0x008;
    pub const ACK: u16 = 0x010;
    pub const URG: u16 = 0x020;
    pub const ECE: u16 = 0x040;
    pub const CWR: u16 = 0x080;
    pub const NS: u16 = 0x100;
}

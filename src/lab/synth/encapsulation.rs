//! Tunnels and link headers of [`Frame`].

use super::frame::{Frame, Head, ip_proto};

/// MAC addresses, locally administered.
pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
/// Transparent Ethernet bridging: an Ethernet frame inside GRE or GENEVE.
const ETHERTYPE_BRIDGING: u16 = 0x6558;

/// Fields of the GRE header (RFC 2784, RFC 2890) that are there on demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gre {
    pub checksum: bool,
    pub key: Option<u32>,
    pub sequence: Option<u32>,
}

impl Frame {
    pub fn ethernet(&mut self, src: [u8; 6], dst: [u8; 6]) -> &mut Self {
        let ether_type = self.carried_ether_type();
        self.push(&ether_type.to_be_bytes());
        self.push(&src);
        self.push(&dst);
        self.head = Head::Ethernet;
        self
    }

    /// An EtherType that has no builder here.
    pub fn ether_type(&mut self, ether_type: u16) -> &mut Self {
        self.head = Head::Network(ether_type);
        self
    }

    /// IEEE 802.3 length field and LLC header, as spanning tree uses it.
    pub fn llc(&mut self, src: [u8; 6], dst: [u8; 6], llc: [u8; 3]) -> &mut Self {
        self.push(&llc);
        self.push(&(self.len() as u16).to_be_bytes());
        self.push(&src);
        self.push(&dst);
        self.head = Head::Ethernet;
        self
    }

    /// 802.1Q tag; comes before [`Self::ethernet`].
    pub fn vlan(&mut self, id: u16) -> &mut Self {
        self.tag(0x8100, id)
    }

    /// 802.1ad service tag (QinQ), outside of a [`Self::vlan`].
    pub fn service_vlan(&mut self, id: u16) -> &mut Self {
        self.tag(0x88a8, id)
    }

    /// One MPLS label; the first one put on is the bottom of the stack.
    pub fn mpls(&mut self, label: u32) -> &mut Self {
        let bottom = u32::from(self.head != Head::Network(ETHERTYPE_MPLS));
        self.push(&(label << 12 | bottom << 8 | 64).to_be_bytes());
        self.head = Head::Network(ETHERTYPE_MPLS);
        self
    }

    /// PPPoE session stage (RFC 2516) with the PPP protocol of what is inside.
    pub fn pppoe(&mut self, session: u16) -> &mut Self {
        let protocol = self.carried_ppp();
        self.push(&protocol.to_be_bytes());
        let length = self.len() as u16;
        let mut header = [0x11, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&session.to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        self.push(&header);
        self.head = Head::Network(ETHERTYPE_PPPOE_SESSION);
        self
    }

    pub fn gre(&mut self, gre: Gre) -> &mut Self {
        self.gre_of(self.carried_ether_type(), gre)
    }

    /// ERSPAN type I: GRE without sequence, no header of its own.
    pub fn erspan_1(&mut self) -> &mut Self {
        self.gre_of(0x88be, Gre::default())
    }

    /// ERSPAN type II: GRE with a sequence and an 8-byte header.
    pub fn erspan_2(&mut self, session: u16, vlan: u16, sequence: u32) -> &mut Self {
        let mut header = [0; 8];
        header[0..2].copy_from_slice(&(1 << 12 | vlan & 0xfff).to_be_bytes());
        header[2..4].copy_from_slice(&(session & 0x3ff).to_be_bytes());
        self.push(&header);
        self.gre_of(0x88be, Gre { sequence: Some(sequence), ..Gre::default() })
    }

    /// ERSPAN type III: a 12-byte header with a time stamp.
    pub fn erspan_3(&mut self, session: u16, vlan: u16, sequence: u32) -> &mut Self {
        let mut header = [0; 12];
        header[0..2].copy_from_slice(&(2 << 12 | vlan & 0xfff).to_be_bytes());
        header[2..4].copy_from_slice(&(session & 0x3ff).to_be_bytes());
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
        self.push(&header);
        self.gre_of(0x22eb, Gre { sequence: Some(sequence), ..Gre::default() })
    }

    /// VXLAN header (RFC 7348); UDP to port 4789 follows.
    pub fn vxlan(&mut self, vni: u32) -> &mut Self {
        self.push(&(vni << 8).to_be_bytes());
        self.push(&[0x08, 0, 0, 0]);
        self.head = Head::Payload;
        self
    }

    /// GENEVE header (RFC 8926) with options (a multiple of 4 bytes); UDP to
    /// port 6081 follows.
    pub fn geneve(&mut self, vni: u32, options: &[u8]) -> &mut Self {
        let protocol = self.carried_ether_type();
        self.push(options);
        self.push(&(vni << 8).to_be_bytes());
        self.push(&protocol.to_be_bytes());
        self.push(&[(options.len() / 4) as u8 & 0x3f, 0]);
        self.head = Head::Payload;
        self
    }

    /// GTP-U G-PDU (3GPP TS 29.281), with a sequence number on demand; UDP to
    /// port 2152 follows.
    pub fn gtp_u(&mut self, teid: u32, sequence: Option<u16>) -> &mut Self {
        let mut flags = 0x30;
        if let Some(sequence) = sequence {
            flags |= 0x02;
            let [high, low] = sequence.to_be_bytes();
            self.push(&[high, low, 0, 0]);
        }
        let length = self.len() as u16;
        self.push(&teid.to_be_bytes());
        self.push(&length.to_be_bytes());
        self.push(&[flags, 0xff]);
        self.head = Head::Payload;
        self
    }

    /// PPP in HDLC-like framing (LINKTYPE_PPP).
    pub fn ppp(&mut self) -> &mut Self {
        let protocol = self.carried_ppp();
        self.push(&protocol.to_be_bytes());
        self.push(&[0xff, 0x03]);
        self
    }

    /// BSD loopback: the address family in the host's byte order (LINKTYPE_NULL)
    /// or in network order (LINKTYPE_LOOP). Values for IPv6 differ by system.
    pub fn loopback(&mut self, ipv6_family: u32, big_endian: bool) -> &mut Self {
        let family = if self.head == Head::Network(ETHERTYPE_IPV6) { ipv6_family } else { 2 };
        self.push(&if big_endian { family.to_be_bytes() } else { family.to_le_bytes() });
        self
    }

    /// Linux cooked capture v1 (LINKTYPE_LINUX_SLL).
    pub fn linux_cooked(&mut self, src: [u8; 6], outgoing: bool) -> &mut Self {
        let ether_type = self.carried_ether_type();
        self.push(&ether_type.to_be_bytes());
        self.push(&[0, 0]);
        self.push(&src);
        self.push(&[0, if outgoing { 4 } else { 0 }, 0, 1, 0, 6]);
        self
    }

    /// Linux cooked capture v2 (LINKTYPE_LINUX_SLL2).
    pub fn linux_cooked_2(&mut self, src: [u8; 6], outgoing: bool, interface: u32) -> &mut Self {
        let ether_type = self.carried_ether_type();
        self.push(&[0, 0]);
        self.push(&src);
        self.push(&[0, 1, if outgoing { 4 } else { 0 }, 6]);
        self.push(&interface.to_be_bytes());
        self.push(&[0, 0]);
        self.push(&ether_type.to_be_bytes());
        self
    }

    /// IEEE 802.11 data frame with LLC/SNAP (LINKTYPE_IEEE802_11); QoS data
    /// when asked for. From the station to the access point or back.
    pub fn wifi(&mut self, src: [u8; 6], dst: [u8; 6], to_ap: bool, qos: bool) -> &mut Self {
        const BSSID: [u8; 6] = [2, 0, 0, 0, 0, 0xaf];
        let ether_type = self.carried_ether_type();
        self.push(&ether_type.to_be_bytes());
        self.push(&[0xaa, 0xaa, 0x03, 0, 0, 0]);
        if qos {
            self.push(&[0, 0]);
        }
        self.push(&[0, 0]);
        let (one, two, three) = if to_ap { (BSSID, src, dst) } else { (dst, BSSID, src) };
        self.push(&three);
        self.push(&two);
        self.push(&one);
        self.push(&[if qos { 0x88 } else { 0x08 }, if to_ap { 1 } else { 2 }, 0, 0]);
        self
    }

    /// Radiotap header with one field (flags: no FCS at the end) in front of
    /// [`Self::wifi`].
    pub fn radiotap(&mut self) -> &mut Self {
        self.push(&[0, 0, 9, 0, 0x02, 0, 0, 0, 0]);
        self
    }

    fn tag(&mut self, tpid: u16, id: u16) -> &mut Self {
        let ether_type = self.carried_ether_type();
        self.push(&ether_type.to_be_bytes());
        self.push(&(id & 0xfff).to_be_bytes());
        self.head = Head::Network(tpid);
        self
    }

    fn gre_of(&mut self, protocol: u16, gre: Gre) -> &mut Self {
        let mut flags = 0u16;
        if let Some(sequence) = gre.sequence {
            flags |= 0x1000;
            self.push(&sequence.to_be_bytes());
        }
        if let Some(key) = gre.key {
            flags |= 0x2000;
            self.push(&key.to_be_bytes());
        }
        if gre.checksum {
            flags |= 0x8000;
            self.push(&[0; 4]);
        }
        self.push(&protocol.to_be_bytes());
        self.push(&flags.to_be_bytes());
        if gre.checksum {
            let checksum = super::checksum::fold(super::checksum::sum(self.bytes()));
            self.put(4, &checksum.to_be_bytes());
        }
        self.head = Head::Transport(ip_proto::GRE);
        self
    }

    fn carried_ether_type(&self) -> u16 {
        match self.head {
            Head::Network(ether_type) => ether_type,
            Head::Ethernet => ETHERTYPE_BRIDGING,
            // Local experimental EtherType 1 of IEEE 802.
            Head::Payload | Head::Transport(_) => 0x88b5,
        }
    }

    fn carried_ppp(&self) -> u16 {
        match self.head {
            Head::Network(ETHERTYPE_IPV4) => 0x0021,
            Head::Network(ETHERTYPE_IPV6) => 0x0057,
            Head::Network(ETHERTYPE_MPLS) => 0x0281,
            _ => 0xc021, // LCP
        }
    }
}

//! Link-layer header types (LINKTYPE_ numbers of tcpdump.org) and the names of
//! everything that is not IP.

/// A LINKTYPE_ number without FCS and flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

macro_rules! link_types {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl LinkType {
            $(
                #[doc = concat!("LINKTYPE_", stringify!($constant), ".")]
                pub const $constant: Self = Self($number);
            )*

            /// The registered name in lower case, if this build knows it.
            pub fn known_name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

// Numbers and names: tcpdump.org/linktypes.html. RAW_BSD (12) and RAW_OPENBSD
// (14) are what BSDs wrote into files before LINKTYPE_RAW was given.
link_types! {
    NULL = 0, "null";
    ETHERNET = 1, "ethernet";
    AX25 = 3, "ax25";
    TOKEN_RING = 6, "token_ring";
    ARCNET_BSD = 7, "arcnet_bsd";
    SLIP = 8, "slip";
    PPP = 9, "ppp";
    FDDI = 10, "fddi";
    ATM_RFC1483_OLD = 11, "atm_rfc1483";
    RAW_BSD = 12, "raw";
    RAW_OPENBSD = 14, "raw";
    PPP_HDLC = 50, "ppp_hdlc";
    PPP_ETHER = 51, "ppp_ether";
    ATM_RFC1483 = 100, "atm_rfc1483";
    RAW = 101, "raw";
    C_HDLC = 104, "c_hdlc";
    IEEE802_11 = 105, "ieee802_11";
    FRELAY = 107, "frelay";
    LOOP = 108, "loop";
    LINUX_SLL = 113, "linux_sll";
    LTALK = 114, "ltalk";
    PFLOG = 117, "pflog";
    IEEE802_11_PRISM = 119, "ieee802_11_prism";
    IP_OVER_FC = 122, "ip_over_fc";
    SUNATM = 123, "sunatm";
    IEEE802_11_RADIOTAP = 127, "ieee802_11_radiotap";
    ARCNET_LINUX = 129, "arcnet_linux";
    APPLE_IP_OVER_IEEE1394 = 138, "apple_ip_over_ieee1394";
    MTP2_WITH_PHDR = 139, "mtp2_with_phdr";
    MTP2 = 140, "mtp2";
    MTP3 = 141, "mtp3";
    SCCP = 142, "sccp";
    DOCSIS = 143, "docsis";
    LINUX_IRDA = 144, "linux_irda";
    IEEE802_11_AVS = 163, "ieee802_11_avs";
    BACNET_MS_TP = 165, "bacnet_ms_tp";
    PPP_PPPD = 166, "ppp_pppd";
    GPRS_LLC = 169, "gprs_llc";
    LINUX_LAPD = 177, "linux_lapd";
    MFR = 182, "mfr";
    BLUETOOTH_HCI_H4 = 187, "bluetooth_hci_h4";
    USB_LINUX = 189, "usb_linux";
    PPI = 192, "ppi";
    IEEE802_15_4_WITHFCS = 195, "ieee802_15_4";
    ERF = 197, "erf";
    BLUETOOTH_HCI_H4_WITH_PHDR = 201, "bluetooth_hci_h4_with_phdr";
    AX25_KISS = 202, "ax25_kiss";
    LAPD = 203, "lapd";
    PPP_WITH_DIR = 204, "ppp_with_dir";
    C_HDLC_WITH_DIR = 205, "c_hdlc_with_dir";
    FRELAY_WITH_DIR = 206, "frelay_with_dir";
    IPMB_LINUX = 209, "ipmb_linux";
    LIN = 212, "lin";
    IEEE802_15_4_NONASK_PHY = 215, "ieee802_15_4_nonask_phy";
    USB_LINUX_MMAPPED = 220, "usb_linux_mmapped";
    FC_2 = 224, "fc_2";
    IPNET = 226, "ipnet";
    CAN_SOCKETCAN = 227, "can";
    IPV4 = 228, "ipv4";
    IPV6 = 229, "ipv6";
    IEEE802_15_4_NOFCS = 230, "ieee802_15_4_nofcs";
    DBUS = 231, "dbus";
    DVB_CI = 235, "dvb_ci";
    STANAG_5066 = 237, "stanag_5066_d_pdu";
    NFLOG = 239, "nflog";
    NETANALYZER = 240, "netanalyzer";
    NETANALYZER_TRANSPARENT = 241, "netanalyzer_transparent";
    IPOIB = 242, "ipoib";
    MPEG_2_TS = 243, "mpeg_2_ts";
    NG40 = 244, "ng40";
    NFC_LLCP = 245, "nfc_llcp";
    INFINIBAND = 247, "infiniband";
    SCTP = 248, "sctp";
    USBPCAP = 249, "usbpcap";
    RTAC_SERIAL = 250, "rtac_serial";
    BLUETOOTH_LE_LL = 251, "bluetooth_le_ll";
    WIRESHARK_UPPER_PDU = 252, "wireshark_upper_pdu";
    NETLINK = 253, "netlink";
    BLUETOOTH_LINUX_MONITOR = 254, "bluetooth_linux_monitor";
    BLUETOOTH_BREDR_BB = 255, "bluetooth_bredr_bb";
    BLUETOOTH_LE_LL_WITH_PHDR = 256, "bluetooth_le_ll_with_phdr";
    PROFIBUS_DL = 257, "profibus_dl";
    PKTAP = 258, "pktap";
    EPON = 259, "epon";
    ZWAVE_R3 = 262, "zwave_r3";
    ISO_14443 = 264, "iso_14443";
    RDS = 265, "rds";
    USB_DARWIN = 266, "usb_darwin";
    SDLC = 268, "sdlc";
    VSOCK = 271, "vsock";
    NORDIC_BLE = 272, "nordic_ble";
    ETHERNET_MPACKET = 274, "ethernet_mpacket";
    LINUX_SLL2 = 276, "linux_sll2";
    OPENVIZSLA = 278, "openvizsla";
    EBHSCR = 279, "ebhscr";
    VPP_DISPATCH = 280, "vpp_dispatch";
    DSA_TAG_BRCM = 281, "dsa_tag_brcm";
    DSA_TAG_BRCM_PREPEND = 282, "dsa_tag_brcm_prepend";
    IEEE802_15_4_TAP = 283, "ieee802_15_4_tap";
    DSA_TAG_DSA = 284, "dsa_tag_dsa";
    DSA_TAG_EDSA = 285, "dsa_tag_edsa";
    ELEE = 286, "elee";
    Z_WAVE_SERIAL = 287, "z_wave_serial";
    USB_2_0 = 288, "usb_2_0";
    ATSC_ALP = 289, "atsc_alp";
    ETW = 290, "etw";
}

impl LinkType {
    /// The link type in a pcap file header, whose upper bits tell the length of
    /// the FCS and flags.
    pub const fn from_header_field(field: u32) -> Self {
        Self((field & 0xffff) as u16)
    }

    /// `ethernet`, or the number when it has no name here.
    pub fn name(self) -> String {
        self.known_name().map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

/// Pseudo types of [`super::Verdict::NonIp`]. They stay under 0x0600, which no
/// EtherType does (IEEE 802.3 section 3.2.6).
pub mod pseudo {
    use super::LinkType;

    /// IEEE 802.2 with the destination service access point in the low byte.
    pub const LLC: u16 = 0x0000;
    pub const WLAN_MANAGEMENT: u16 = 0x0100;
    pub const WLAN_CONTROL: u16 = 0x0101;
    /// A data frame under WEP, WPA or later: its payload can't be read.
    pub const WLAN_ENCRYPTED: u16 = 0x0102;
    /// A data frame that carries no data (power saving).
    pub const WLAN_NULL: u16 = 0x0103;
    /// A later fragment of an IEEE 802.11 frame.
    pub const WLAN_FRAGMENT: u16 = 0x0104;
    pub const WLAN_EXTENSION: u16 = 0x0105;
    pub const CISCO_SNAP: u16 = 0x0110;
    pub const CDP: u16 = 0x0111;
    pub const VTP: u16 = 0x0112;
    pub const DTP: u16 = 0x0113;
    pub const PVST: u16 = 0x0114;
    pub const UDLD: u16 = 0x0115;
    /// SNAP with an organisation that has no name here.
    pub const SNAP_OTHER: u16 = 0x0116;
    pub const NOVELL_RAW: u16 = 0x0117;
    pub const PPP_LCP: u16 = 0x0120;
    pub const PPP_IPCP: u16 = 0x0121;
    pub const PPP_IPV6CP: u16 = 0x0122;
    pub const PPP_PAP: u16 = 0x0123;
    pub const PPP_CHAP: u16 = 0x0124;
    pub const PPP_CCP: u16 = 0x0125;
    pub const PPP_COMPRESSED: u16 = 0x0126;
    pub const PPP_MULTILINK: u16 = 0x0127;
    pub const PPP_EAP: u16 = 0x0128;
    pub const PPP_OTHER: u16 = 0x0129;
    /// MPLS around something that is neither IP nor Ethernet.
    pub const MPLS_PAYLOAD: u16 = 0x0130;
    /// Link headers nested deeper than any real frame.
    pub const TOO_DEEP: u16 = 0x0131;
    /// A loopback address family that is not IP.
    pub const ADDRESS_FAMILY: u16 = 0x0132;
    /// A protocol number of Linux under 0x0600 in a cooked capture.
    pub const COOKED_OTHER: u16 = 0x0133;
    /// The first of the types that stand for a whole link type.
    pub const LINK_TYPES: u16 = 0x0200;
    /// Link types whose number leaves no room for a type of their own.
    pub const LINK_TYPE_OTHER: u16 = 0x05ff;

    /// The type of frames of a link type that is not read.
    pub fn link_type(link: LinkType) -> u16 {
        link.0.saturating_add(LINK_TYPES).min(LINK_TYPE_OTHER)
    }
}

/// Name of a non-IP type as the summary's `non_ip_types` shows it.
pub fn non_ip_name(ether_type: u16) -> String {
    match known_non_ip_name(ether_type) {
        Some(name) => name.to_owned(),
        None => match ether_type {
            0x0000..0x0100 => format!("llc_0x{ether_type:02x}"),
            pseudo::LINK_TYPES..pseudo::LINK_TYPE_OTHER => {
                format!("linktype_{}", LinkType(ether_type - pseudo::LINK_TYPES).name())
            }
            _ => format!("0x{ether_type:04x}"),
        },
    }
}

/// EtherTypes by the IEEE registry, service access points by IEEE 802.2.
fn known_non_ip_name(ether_type: u16) -> Option<&'static str> {
    Some(match ether_type {
        0x0000 => "llc_null",
        0x0042 => "stp",
        0x0006 => "llc_ip",
        0x007e => "llc_x25",
        0x0080 => "llc_xns",
        0x00aa => "llc_snap",
        0x00bc => "llc_vines",
        0x00e0 => "llc_ipx",
        0x00f0 => "netbeui",
        0x00f4 => "lan_network_manager",
        0x00fe => "osi",
        pseudo::NOVELL_RAW => "ipx_raw",
        pseudo::WLAN_MANAGEMENT => "wlan_management",
        pseudo::WLAN_CONTROL => "wlan_control",
        pseudo::WLAN_ENCRYPTED => "wlan_encrypted",
        pseudo::WLAN_NULL => "wlan_null",
        pseudo::WLAN_FRAGMENT => "wlan_fragment",
        pseudo::WLAN_EXTENSION => "wlan_extension",
        pseudo::CISCO_SNAP => "cisco_snap",
        pseudo::CDP => "cdp",
        pseudo::VTP => "vtp",
        pseudo::DTP => "dtp",
        pseudo::PVST => "pvst",
        pseudo::UDLD => "udld",
        pseudo::SNAP_OTHER => "snap_other",
        pseudo::PPP_LCP => "ppp_lcp",
        pseudo::PPP_IPCP => "ppp_ipcp",
        pseudo::PPP_IPV6CP => "ppp_ipv6cp",
        pseudo::PPP_PAP => "ppp_pap",
        pseudo::PPP_CHAP => "ppp_chap",
        pseudo::PPP_CCP => "ppp_ccp",
        pseudo::PPP_COMPRESSED => "ppp_compressed",
        pseudo::PPP_MULTILINK => "ppp_multilink",
        pseudo::PPP_EAP => "ppp_eap",
        pseudo::PPP_OTHER => "ppp_other",
        pseudo::MPLS_PAYLOAD => "mpls_payload",
        pseudo::TOO_DEEP => "link_headers_too_deep",
        pseudo::ADDRESS_FAMILY => "loopback_not_ip",
        pseudo::COOKED_OTHER => "linux_cooked_other",
        pseudo::LINK_TYPE_OTHER => "linktype_other",
        0x0600 => "xns",
        0x0800 => "ipv4",
        0x0806 => "arp",
        0x0842 => "wake_on_lan",
        0x22ea => "srp",
        0x22f0 => "avtp",
        0x22f3 => "trill",
        0x6002 => "dec_mop",
        0x6003 => "decnet",
        0x6004 => "dec_lat",
        0x6558 => "transparent_ethernet",
        0x8035 => "rarp",
        0x809b => "appletalk",
        0x80f3 => "aarp",
        0x8100 => "vlan",
        0x8137 => "ipx",
        0x8204 => "qnx",
        0x86dd => "ipv6",
        0x8808 => "mac_control",
        0x8809 => "slow_protocols",
        0x880b => "ppp",
        0x8819 => "cobranet",
        0x8847 => "mpls",
        0x8848 => "mpls_multicast",
        0x8863 => "pppoe_discovery",
        0x8864 => "pppoe_session",
        0x886d => "intel_ans",
        0x8870 => "jumbo_llc",
        0x887b => "homeplug",
        0x888e => "eapol",
        0x8892 => "profinet",
        0x8899 => "realtek",
        0x889a => "hyperscsi",
        0x88a2 => "aoe",
        0x88a4 => "ethercat",
        0x88a8 => "qinq",
        0x88ab => "powerlink",
        0x88b5 => "experimental_1",
        0x88b6 => "experimental_2",
        0x88b7 => "oui_extended",
        0x88b8 => "goose",
        0x88b9 => "gse",
        0x88ba => "sampled_values",
        0x88bf => "mikrotik_romon",
        0x88c7 => "wlan_preauth",
        0x88cc => "lldp",
        0x88cd => "sercos",
        0x88e1 => "homeplug_av",
        0x88e3 => "mrp",
        0x88e5 => "macsec",
        0x88e7 => "pbb",
        0x88f5 => "mvrp",
        0x88f6 => "mmrp",
        0x88f7 => "ptp",
        0x88f8 => "ncsi",
        0x88fb => "prp",
        0x8902 => "cfm",
        0x8906 => "fcoe",
        0x890d => "tdls",
        0x8914 => "fcoe_init",
        0x8915 => "roce",
        0x891d => "tte",
        0x8926 => "vntag",
        0x892f => "hsr",
        0x893a => "ieee1905",
        0x894f => "nsh",
        0x8980 => "fip_snooping",
        0x8999 => "sonix_arnet",
        0x9000 => "ethernet_loopback",
        0x9003 => "slpp",
        0x9998 => "wlan_monitor",
        0xcafe => "veritas_llt",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fcs_and_flag_bits_of_the_header_field_are_no_part_of_the_link_type() {
        assert_eq!(LinkType::from_header_field(0x2400_0001), LinkType::ETHERNET);
        assert_eq!(LinkType::from_header_field(67_108_865), LinkType::ETHERNET);
    }

    #[test]
    fn every_unreadable_link_type_has_a_name_of_its_own() {
        assert_eq!(non_ip_name(pseudo::link_type(LinkType::BACNET_MS_TP)), "linktype_bacnet_ms_tp");
        assert_eq!(non_ip_name(pseudo::link_type(LinkType(299))), "linktype_299");
        assert_eq!(non_ip_name(pseudo::link_type(LinkType(u16::MAX))), "linktype_other");
    }

    #[test]
    fn unknown_types_are_shown_as_numbers() {
        assert_eq!(non_ip_name(0x0806), "arp");
        assert_eq!(non_ip_name(0x1234), "0x1234");
        assert_eq!(non_ip_name(0x0098), "llc_0x98");
    }

    #[test]
    fn a_name_stands_for_one_type() {
        let mut names: Vec<String> = (0..=u16::MAX).map(non_ip_name).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        // RAW (12, 14, 101) and ATM_RFC1483 (11, 100) have several numbers.
        assert_eq!(before - names.len(), 3);
    }
}

//! Link-layer header types (LINKTYPE_ numbers of tcpdump.org).

/// A LINKTYPE_ number without FCS and flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    pub const NULL: Self = Self(0);
    pub const ETHERNET: Self = Self(1);
}

/// Name of a non-IP type as the summary's `non_ip_types` shows it.
pub fn non_ip_name(ether_type: u16) -> String {
    match ether_type {
        0x0806 => "arp".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

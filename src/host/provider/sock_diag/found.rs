//! A socket as the kernel's tables show it.

use std::net::IpAddr;

use crate::host::event::SocketKind;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const UDP_LITE: u8 = 136;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;

/// Which of the kernel's tables a socket is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Table {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
    UdpLite4,
    UdpLite6,
    Raw4,
    Raw6,
    Ping4,
    Ping6,
    Packet,
}

impl Table {
    pub(super) const ALL: [Self; 11] = [
        Self::Tcp4,
        Self::Tcp6,
        Self::Udp4,
        Self::Udp6,
        Self::UdpLite4,
        Self::UdpLite6,
        Self::Raw4,
        Self::Raw6,
        Self::Ping4,
        Self::Ping6,
        Self::Packet,
    ];

    pub(super) fn protocol(self) -> u8 {
        match self {
            Self::Tcp4 | Self::Tcp6 => TCP,
            Self::Udp4 | Self::Udp6 => UDP,
            Self::UdpLite4 | Self::UdpLite6 => UDP_LITE,
            Self::Ping4 => ICMP,
            Self::Ping6 => ICMP6,
            // Raw sockets each have their own.
            Self::Raw4 | Self::Raw6 | Self::Packet => 0,
        }
    }

    pub(super) fn is_ipv6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6 | Self::UdpLite6 | Self::Raw6 | Self::Ping6)
    }
}

/// A set of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables(u16);

impl Tables {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self((1 << Table::ALL.len()) - 1);

    /// By the name of a socket's protocol, which is an attribute of the
    /// descriptor. None for sockets that no packet of a network comes from; all
    /// where the kernel does not say.
    pub(super) fn of_protocol_name(name: Option<&[u8]>) -> Self {
        match name {
            Some(b"TCP" | b"MPTCP" | b"SMC") => Self::one(Table::Tcp4),
            Some(b"TCPv6" | b"MPTCPv6" | b"SMC6") => Self::one(Table::Tcp6),
            Some(b"UDP") => Self::one(Table::Udp4),
            Some(b"UDPv6") => Self::one(Table::Udp6),
            Some(b"UDP-Lite") => Self::one(Table::UdpLite4),
            Some(b"UDPLITEv6") => Self::one(Table::UdpLite6),
            Some(b"RAW") => Self::one(Table::Raw4),
            Some(b"RAWv6") => Self::one(Table::Raw6),
            Some(b"PING") => Self::one(Table::Ping4),
            Some(b"PINGv6") => Self::one(Table::Ping6),
            Some(b"PACKET") => Self::one(Table::Packet),
            Some(b"") | None => Self::ALL,
            Some(_) => Self::NONE,
        }
    }

    pub(super) fn one(table: Table) -> Self {
        Self(1 << table as u8)
    }

    pub(super) fn has(self, table: Table) -> bool {
        self.0 & (1 << table as u8) != 0
    }

    pub(super) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(move |&table| self.has(table))
    }
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) table: Table,
    pub(super) kind: SocketKind,
    pub(super) protocol: u8,
    /// 0 where no descriptor leads to it.
    pub(super) inode: u32,
    pub(super) cookie: Option<u64>,
    /// Unspecified, it says of which version the socket is.
    pub(super) local: Option<IpAddr>,
    pub(super) local_port: u16,
    pub(super) remote: Option<IpAddr>,
    pub(super) remote_port: u16,
    pub(super) dual_stack: bool,
    pub(super) interface_index: Option<u32>,
}

impl Found {
    /// The same as far as flows are told apart by it.
    pub(super) fn same_ends(&self, other: &Self) -> bool {
        (self.kind, self.local, self.local_port, self.remote, self.remote_port)
            == (other.kind, other.local, other.local_port, other.remote, other.remote_port)
            && self.interface_index == other.interface_index
    }
}

/// IPv4 in its own form; nothing for the unspecified address.
pub(super) fn specified(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (!address.is_unspecified()).then_some(address)
}

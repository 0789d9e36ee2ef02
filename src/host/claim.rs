//! Where claims of processes lie, and what one says.
//!
//! A claim is "this process had the socket at this end, from then to then". It
//! lies at an [`Endpoint`]: as much of a socket's addresses as is known, the rest
//! left open. A flow's end is looked for at all endpoints that cover it, the
//! exact one first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use ahash::RandomState;

use super::attribution::{Basis, Method};
use super::event::{Socket, SocketKind};
use super::process::ProcessId;

/// IP protocol numbers whose "port" is the identifier of an ICMP echo.
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

pub(super) const TCP: u8 = 6;

/// A use of a socket that was not told again for so long has ended: programs in the
/// kernel tell each anew after some seconds. Twice the longest default time-out of
/// a flow.
const QUIET_NS: i64 = 600_000_000_000;

/// Stands for packet sockets, which have no protocol; IANA reserves it, and Linux
/// takes it for raw sockets that write headers themselves (`IPPROTO_RAW`).
pub(super) const ANY_PROTOCOL: u8 = 255;

/// One end of a conversation as far as it is known. Open is an unspecified
/// address of the version, and port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) protocol: u8,
    pub(super) local: IpAddr,
    pub(super) local_port: u16,
    pub(super) remote: IpAddr,
    pub(super) remote_port: u16,
}

/// Endpoints that may cover one end of a flow.
pub(super) const COVERING: usize = 11;

fn open_address(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Endpoint {
    /// Where claims could lie that cover this end, the most exact first.
    pub(super) fn covering(&self) -> [Self; COVERING] {
        let any = open_address(self.local);
        let at = |local, local_port, remote, remote_port| Self {
            protocol: self.protocol,
            local,
            local_port,
            remote,
            remote_port,
        };
        [
            *self,
            at(self.local, self.local_port, any, 0),
            at(any, self.local_port, self.remote, self.remote_port),
            at(any, self.local_port, any, 0),
            // Telemetry that says who connected to what, and not from where.
            at(self.local, 0, self.remote, self.remote_port),
            at(any, 0, self.remote, self.remote_port),
            // Raw sockets have no ports, and may be connected or bound.
            at(self.local, 0, self.remote, 0),
            at(self.local, 0, any, 0),
            at(any, 0, self.remote, 0),
            at(any, 0, any, 0),
            Self::packet_socket(any),
        ]
    }

    fn packet_socket(any: IpAddr) -> Self {
        Self { protocol: ANY_PROTOCOL, local: any, local_port: 0, remote: any, remote_port: 0 }
    }

    /// Where a socket's claim lies: two places when it takes both IP versions.
    pub(super) fn of(socket: &Socket) -> impl Iterator<Item = Self> {
        let like = socket.local.or(socket.remote).map(|address| address.to_canonical());
        let versions: [Option<IpAddr>; 2] = match like.map(open_address) {
            // A packet socket, or one bound to no address, of which only the
            // protocol may tell the version.
            None if socket.protocol == ICMP => [Some(Ipv4Addr::UNSPECIFIED.into()), None],
            None if socket.protocol == ICMPV6 => [Some(Ipv6Addr::UNSPECIFIED.into()), None],
            None => [Some(Ipv4Addr::UNSPECIFIED.into()), Some(Ipv6Addr::UNSPECIFIED.into())],
            Some(any) if socket.dual_stack && is_open(socket) => {
                [Some(any), Some(Ipv4Addr::UNSPECIFIED.into())]
            }
            Some(any) => [Some(any), None],
        };
        let (kind, protocol) = (socket.kind, socket.protocol);
        let known = |address: Option<IpAddr>, any: IpAddr| {
            address
                .map(|address| address.to_canonical())
                .filter(|address| address.is_ipv4() == any.is_ipv4() && !address.is_unspecified())
        };
        let (local, remote) = (socket.local, socket.remote);
        // Of an echo the identifier belongs to both ends: it stands at the local one.
        let remote_port = if matches!(protocol, ICMP | ICMPV6) { 0 } else { socket.remote_port };
        let local_port = socket.local_port;
        versions.into_iter().flatten().map(move |any| match kind {
            SocketKind::Packet if local.is_none() && remote.is_none() => Self::packet_socket(any),
            // A raw socket of this number sends whatever protocol it writes itself.
            SocketKind::Raw if protocol == ANY_PROTOCOL => Self::packet_socket(any),
            _ => Self {
                protocol,
                local: known(local, any).unwrap_or(any),
                local_port,
                remote: known(remote, any).unwrap_or(any),
                remote_port,
            },
        })
    }
}

/// Which parts of endpoints are known that have claims, by protocol: most hosts
/// have no raw and no packet sockets, and need not look for them at each flow.
#[derive(Debug)]
pub(super) struct Shapes(Box<[AtomicU16; 256]>);

impl Default for Shapes {
    fn default() -> Self {
        Self(Box::new([const { AtomicU16::new(0) }; 256]))
    }
}

impl Shapes {
    pub(super) fn add(&self, at: &Endpoint) {
        self.0[usize::from(at.protocol)].fetch_or(Self::bit(at), Ordering::Release);
    }

    pub(super) fn has(&self, at: &Endpoint) -> bool {
        self.0[usize::from(at.protocol)].load(Ordering::Acquire) & Self::bit(at) != 0
    }

    fn bit(at: &Endpoint) -> u16 {
        let known = [
            !at.local.is_unspecified(),
            at.local_port != 0,
            !at.remote.is_unspecified(),
            at.remote_port != 0,
        ];
        1 << known.iter().fold(0, |number, &known| number << 1 | u16::from(known))
    }
}

/// Which addresses a map may have, in 4 KiB: a flood of strange ones is told from
/// them without a search. Of more than some thousand all may be.
#[derive(Debug)]
pub(super) struct MayHave {
    bits: Box<[AtomicU64; 512]>,
    hash_state: RandomState,
}

impl Default for MayHave {
    fn default() -> Self {
        Self {
            bits: Box::new([const { AtomicU64::new(0) }; 512]),
            hash_state: RandomState::default(),
        }
    }
}

impl MayHave {
    pub(super) fn add(&self, address: IpAddr) {
        let (word, bit) = self.place(address);
        self.bits[word].fetch_or(bit, Ordering::Release);
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        let (word, bit) = self.place(address);
        self.bits[word].load(Ordering::Acquire) & bit != 0
    }

    fn place(&self, address: IpAddr) -> (usize, u64) {
        // Of a number that is a few instructions, of an address's variants many.
        let number = match address {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let hash = self.hash_state.hash_one::<u128>(number);
        ((hash >> 6) as usize % self.bits.len(), 1 << (hash & 63))
    }
}

fn is_open(socket: &Socket) -> bool {
    socket.local.is_none_or(|address| address.is_unspecified()) && socket.remote.is_none()
}

/// The kernel's identity of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SocketName {
    Cookie(u64),
    Inode(u64),
}

impl SocketName {
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        let cookie = socket.cookie.map(Self::Cookie);
        cookie.or_else(|| socket.inode.map(Self::Inode))
    }
}

/// A process of one of the hosts whose maps were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Number of the map and boot that knows it.
    pub source: u16,
    pub id: ProcessId,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) from_ns: i64,
    /// When the socket was closed.
    pub(super) until_ns: i64,
    /// When it was first told: who decides at a time must not know better.
    pub(super) learned_ns: i64,
    /// When it was last told.
    pub(super) told_ns: i64,
    pub(super) source: u16,
    /// Nothing for a socket that no process holds.
    pub(super) process: Option<ProcessId>,
    pub(super) basis: Basis,
    pub(super) method: Method,
    pub(super) name: Option<SocketName>,
    pub(super) netns: Option<u64>,
}

impl Claim {
    /// Of a claim at an endpoint of this protocol. Datagram sockets may use any
    /// number of them, of which none is ever closed; connections are.
    pub(super) fn end_ns(&self, protocol: u8) -> i64 {
        if self.method == Method::Ebpf && protocol != TCP {
            return self.until_ns.min(self.told_ns.saturating_add(QUIET_NS));
        }
        self.until_ns
    }

    /// When the process surely had the socket. Programs in the kernel tell of it after
    /// the packet, to which the claim may reach back.
    pub(super) fn known_since_ns(&self) -> i64 {
        if self.method == Method::Ebpf { self.learned_ns } else { self.from_ns }
    }

    /// Whether nobody will ever say that it ended: other tools tell that a process
    /// connected, and seldom that it closed. Of several such the latest counts.
    pub(super) fn is_endless(&self) -> bool {
        self.method == Method::Imported && self.name.is_none()
    }

    /// Whether the other says the same once more.
    pub(super) fn is_again(&self, other: &Self, protocol: u8) -> bool {
        self.until_ns == i64::MAX
            && self.from_ns <= other.from_ns
            && self.end_ns(protocol) >= other.from_ns
            && (self.source, self.process, self.basis, self.method, self.name, self.netns)
                == (other.source, other.process, other.basis, other.method, other.name, other.netns)
    }
}

/// What a claim on a listening socket means for a connection that came in there.
pub(super) fn basis_of(socket: &Socket) -> Basis {
    match socket.kind {
        SocketKind::Listener => socket.basis.max(Basis::Listens),
        SocketKind::Raw if socket.remote.is_none() => socket.basis.max(Basis::RawSocket),
        SocketKind::Packet if socket.remote.is_none() => Basis::PacketSocket,
        _ => socket.basis,
    }
}

//! What host watchers say, one event after the other: the lines of `map.jsonl`.
//!
//! The same types travel from a watcher to the correlation stage, lie in recorded
//! maps, and come from importers of other tools' telemetry. Everything but the
//! time is optional, since no source has everything. Kinds and fields that a
//! reader does not know are passed over (and kinds counted), so that a map of a
//! later version can be read.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::attribution::{Basis, Method};
use super::process::{Process, ProcessId, is_false};
use super::workload::Workload;

/// Version of the event log; in its first line.
pub const MAP_VERSION: u32 = 1;

/// One line of a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostEvent {
    /// When it was so, by the clock that stamps packets.
    #[serde(rename = "time", with = "super::time_text")]
    pub time_ns: i64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum What {
    /// First line: who speaks.
    #[serde(rename = "map.start")]
    Start(MapStart),
    /// Everything before this time has been told.
    #[serde(rename = "map.time")]
    Time,
    /// A process appeared, or was there when the map began.
    #[serde(rename = "process.start")]
    ProcessStart(Box<Process>),
    /// It runs another program from now on.
    #[serde(rename = "process.exec")]
    ProcessExec(Box<Process>),
    #[serde(rename = "process.exit")]
    ProcessExit(ProcessId),
    #[serde(rename = "socket.open")]
    SocketOpen(Socket),
    /// The process sent or received on it: the first time, and now and then.
    #[serde(rename = "socket.use")]
    SocketUse(Socket),
    #[serde(rename = "socket.close")]
    SocketClose(Socket),
    /// An address of an interface of this host, in any namespace.
    #[serde(rename = "address.up")]
    AddressUp(Address),
    #[serde(rename = "address.down")]
    AddressDown(Address),
    #[serde(rename = "interface.counters")]
    Counters(Counters),
    #[serde(rename = "workload")]
    Workload(Box<Workload>),
    /// The kernel translates a connection's addresses.
    #[serde(rename = "nat")]
    Nat(Nat),
    /// It does so no more.
    #[serde(rename = "nat.end")]
    NatEnd(Nat),
    /// Someone was at the host at this time, or nobody.
    #[serde(rename = "host.presence")]
    Presence(Presence),
    /// A provider begins, or can't go on.
    #[serde(rename = "map.provider")]
    Provider(ProviderState),
    /// Events that a provider could not tell.
    #[serde(rename = "map.lost")]
    Lost { method: Method, events: u64 },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapStart {
    pub version: u32,
    /// The host's name.
    #[serde(default)]
    pub host: String,
    /// Identifier of the boot; processes of two boots have nothing in common.
    #[serde(default)]
    pub boot: String,
    #[serde(default)]
    pub providers: Vec<Method>,
    /// Inode of the network namespace of the watcher itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Who watches and captures: their packet sockets hear and never send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observers: Vec<ProcessId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderState {
    pub method: Method,
    pub running: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A socket, and the claim of a process on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    pub method: Method,
    pub basis: Basis,
    pub kind: SocketKind,
    /// IP protocol number; 0 for packet sockets.
    #[serde(default)]
    pub protocol: u8,
    /// `0.0.0.0` or `::` where it takes any address of that version; nothing where not
    /// even the version is known. IPv4 in its own form, on dual-stack sockets too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// 0 where not bound. Of ICMP echo sockets the identifier.
    #[serde(default)]
    pub local_port: u16,
    /// Nothing where it is not connected and no packet was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    #[serde(default)]
    pub remote_port: u16,
    /// Also takes IPv4: an IPv6 socket bound to any address without V6ONLY.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dual_stack: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// Others that hold the same socket, where several do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<ProcessId>,
    /// The kernel's identity of the socket: its cookie, unique within a boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Its inode, unique at any one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Inode of its network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Of packet sockets: index of the interface that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_index: Option<u32>,
    /// Others used the socket, at this end, and do not any more: whoever does again is
    /// told again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alone: bool,
    /// The socket is at least as old as this: the claim reaches back to here.
    /// Without it the claim begins with the event.
    #[serde(
        rename = "since",
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::time_text::option"
    )]
    pub since_ns: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    Stream,
    /// A stream socket that takes connections.
    Listener,
    Datagram,
    Raw,
    /// `IPPROTO_ICMP` datagram socket: echo without rights.
    Ping,
    Packet,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub address: IpAddr,
    /// Of all hosts of its network at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    #[serde(default)]
    pub interface: String,
    #[serde(default)]
    pub interface_index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
}

/// Counters of an interface since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub interface: String,
    #[serde(default)]
    pub interface_index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    #[serde(default)]
    pub received_drops: u64,
    #[serde(default)]
    pub sent_drops: u64,
}

/// Who uses a host at one of its terminals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Empty: nobody is logged in there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `console` is the machine's own screen and keyboard.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terminal: String,
    /// Where a login over the network came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Since a key, a button or a pointer last moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ns: Option<i64>,
}

/// A connection as one side has it, and as the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    pub protocol: u8,
    pub original: Ends,
    /// As replies travel: `src` is who answers.
    pub reply: Ends,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ends {
    pub src: IpAddr,
    /// Of ICMP echo the identifier.
    pub src_port: u16,
    pub dst: IpAddr,
    pub dst_port: u16,
}

//! What the kernel of macOS logs of connections: `tcp connected:`, `udp connect:`,
//! `tcp_connection_summary` and `udp_connection_summary`, each with the process.
//!
//! The kernel bounds how many it logs and says how many it left out. Addresses stand
//! there where the log shows private data; else the local port alone tells whose
//! packets they were.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind};
use crate::host::process::ProcessId;
use crate::telemetry::process_log::hosts::claim;
use crate::telemetry::text::{address, epoch_s_ns, number};

/// One such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection<'a> {
    pub(super) protocol: u8,
    pub(super) name: &'a str,
    pub(super) pid: u32,
    local: End,
    remote: End,
    /// Number of the socket, unique within a boot.
    number: Option<u64>,
    /// Messages that the kernel has left out so far.
    pub(super) skipped: Option<u64>,
    pub(super) summary: Option<Summary>,
}

/// Of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) duration_ns: i64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_packets: u64,
    pub(super) sent_packets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    ipv6: bool,
    /// Nothing where it was hidden, or any.
    address: Option<IpAddr>,
    port: u16,
}

impl<'a> Connection<'a> {
    /// Nothing for other messages.
    pub(super) fn of(message: &'a str) -> Option<Self> {
        let protocol = match message.get(..3)? {
            "tcp" => 6,
            "udp" => 17,
            _ => return None,
        };
        let (before, rest) = message.split_once('[')?;
        let (ends, rest) = rest.split_once("] interface: ")?;
        let (local, remote) = ends.split_once("<->")?;
        let (name, pid) = process(value(rest, "process: ")?)?;
        let skipped = value(rest, "(skipped: ").and_then(|text| text.split_once(')'));
        Some(Self {
            protocol,
            name,
            pid,
            local: End::of(local)?,
            remote: End::of(remote)?,
            number: value(rest, "so_gencnt: ").and_then(word).and_then(digits),
            skipped: skipped.and_then(|(count, _)| digits(count)),
            summary: match before.contains("_connection_summary") {
                true => Some(Summary::of(rest)?),
                false => None,
            },
        })
    }

    /// As the map has it; nothing where no port tells it.
    pub(super) fn socket(&self, process: ProcessId, time_ns: i64) -> Option<Socket> {
        if self.local.port == 0 {
            return None;
        }
        let ipv6 = self.local.ipv6;
        let any: IpAddr =
            if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let carried = self.summary.is_some_and(|s| s.received_packets > 0 || s.sent_packets > 0);
        let since_ns = self.summary.map(|summary| time_ns.saturating_sub(summary.duration_ns));
        let basis = if carried { Basis::Used } else { Basis::Opened };
        let kind = if self.protocol == 6 { SocketKind::Stream } else { SocketKind::Datagram };
        Some(Socket {
            local: self.local.address.or(Some(any)),
            local_port: self.local.port,
            remote: self.remote.address,
            // A port without its address would tell nothing.
            remote_port: self.remote.address.map_or(0, |_| self.remote.port),
            cookie: self.number,
            since_ns,
            ..claim(kind, self.protocol, basis, process)
        })
    }
}

impl End {
    /// `192.0.2.7:50123`, `<IPv4-redacted>:50123`, `2001:db8::7:50123`.
    fn of(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = digits(port)?;
        if let Some(hidden) = host.strip_prefix('<') {
            return Some(Self { ipv6: hidden.starts_with("IPv6"), address: None, port });
        }
        let address = address(host.as_bytes())?;
        let known = Some(address).filter(|address| !address.is_unspecified());
        Some(Self { ipv6: address.is_ipv6(), address: known, port })
    }
}

impl Summary {
    fn of(rest: &str) -> Option<Self> {
        let duration = word(value(rest, "Duration: ")?)?;
        let pair = |key| {
            let (received, sent) = word(value(rest, key)?)?.split_once('/')?;
            Some((digits::<u64>(received)?, digits::<u64>(sent)?))
        };
        let (received_bytes, sent_bytes) = pair("bytes in/out: ")?;
        let (received_packets, sent_packets) = pair("pkts in/out: ")?;
        Some(Self {
            duration_ns: epoch_s_ns(duration.as_bytes())?,
            received_bytes,
            sent_bytes,
            received_packets,
            sent_packets,
        })
    }
}

/// What follows the first `key`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, rest)| rest)
}

fn word(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().next()
}

fn digits<T: TryFrom<u64>>(text: &str) -> Option<T> {
    number(text.as_bytes())
}

/// `name:501` at the start, names with spaces and colons too.
fn process(text: &str) -> Option<(&str, u32)> {
    text.match_indices(':').find_map(|(at, _)| {
        let pid = word(&text[at + 1..]).filter(|_| !text[at + 1..].starts_with(' '))?;
        Some((&text[..at], digits(pid)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "udp_connection_summary [192.0.2.7:50123<->198.51.100.9:53] interface: en0 \
        (skipped: 12)\nso_gencnt: 4711 so_state: 0x0002 process: Net Tool: x:501 Duration: 20.081 sec \
        bytes in/out: 0/1772803 pkts in/out: 0/1864 rxnospace pkts/bytes: 0/0 so_error: 0";

    #[test]
    fn a_summary_says_who_sent_how_much() {
        let connection = Connection::of(SUMMARY).expect("a connection");
        assert_eq!(
            (connection.name, connection.pid, connection.protocol),
            ("Net Tool: x", 501, 17)
        );
        assert_eq!(connection.skipped, Some(12));
        let summary = connection.summary.expect("a summary");
        assert_eq!((summary.sent_packets, summary.sent_bytes), (1864, 1_772_803));
        assert_eq!(summary.duration_ns, 20_081_000_000);
        let id = ProcessId { pid: 501, start_ticks: 0 };
        let socket = connection.socket(id, 30_000_000_000).expect("a socket");
        assert_eq!((socket.remote_port, socket.cookie), (53, Some(4711)));
        assert_eq!((socket.basis, socket.since_ns), (Basis::Used, Some(9_919_000_000)));
    }

    #[test]
    fn hidden_addresses_leave_the_local_port() {
        let text = "tcp connect outgoing: [<IPv4-redacted>:50516<-><IPv4-redacted>:53] interface: en0 \
            (skipped: 6843)\nso_gencnt: 5762786 t_state: SYN_SENT process: curl:501 SYN in/out: 0/1 \
            bytes in/out: 0/0 pkts in/out: 0/0 rtt: 0.0 ms";
        let connection = Connection::of(text).expect("a connection");
        assert_eq!(connection.summary, None);
        let socket = connection.socket(ProcessId::default(), 0).expect("a socket");
        assert_eq!((socket.local_port, socket.remote, socket.remote_port), (50516, None, 0));
        assert_eq!((socket.local, socket.basis), ("0.0.0.0".parse().ok(), Basis::Opened));
        let open = text.replace(":50516<", ":0<");
        let open = Connection::of(&open).expect("a connection");
        assert_eq!(open.socket(ProcessId::default(), 0), None);
    }

    #[test]
    fn other_messages_are_none() {
        for text in [
            "tcp",
            "udp [",
            "tcp connected: [a:1<->b:2] interface: en0 process: x:1",
            "tcp connected: [192.0.2.1:1<->192.0.2.2:2] interface: en0 process: x",
            "tcp_connection_summary (f:1)[192.0.2.1:1<->192.0.2.2:2] interface: process: x:1 Duration: y",
            "a message",
        ] {
            assert_eq!(Connection::of(text), None, "{text}");
        }
    }
}

//! inet_diag: TCP, UDP, UDP-Lite and raw sockets over netlink, and packet_diag.

use netlink_packet_core::{Emitable as _, Parseable as _};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, TCP_LISTEN};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags,
};

use super::found::{Found, TCP, Table, specified};
use crate::host::event::SocketKind;
use crate::host::provider::netlink::attribute;

pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Multicast groups that tell of destroyed TCP and UDP sockets.
pub(super) const DESTROY_GROUPS: [u32; 4] = [1, 2, 3, 4];

/// Header of an inet_diag answer.
const INET_BYTES: usize = 72;

/// In an answer on a destroyed socket: its IP protocol.
const INET_DIAG_PROTOCOL: u16 = 10;

/// inet_diag knows raw sockets by this number, whatever their protocol.
const IPPROTO_RAW: u8 = 255;

const AF_PACKET: u8 = 17;
const PACKET_SHOW_INFO: u32 = 1;
const PACKET_DIAG_INFO: u16 = 0;
const PACKET_BYTES: usize = 16;

/// All but TIME_WAIT, which no process has any more, and SYN_RECV, where none has
/// it yet: the listener of the port stands for it.
fn states() -> StateFlags {
    StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::SYN_RECV
}

/// Request for all sockets of a table. Nothing for tables that are elsewhere.
pub(super) fn request(table: Table) -> Option<Vec<u8>> {
    let protocol = match table {
        Table::Raw4 | Table::Raw6 => IPPROTO_RAW,
        Table::Packet => return Some(packet_request()),
        Table::Ping4 | Table::Ping6 => return None,
        _ => table.protocol(),
    };
    let request = InetRequest {
        family: if table.is_ipv6() { AF_INET6 } else { AF_INET },
        protocol,
        extensions: ExtensionFlags::empty(),
        states: states(),
        socket_id: if table.is_ipv6() { SocketId::new_v6() } else { SocketId::new_v4() },
    };
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    Some(bytes)
}

fn packet_request() -> Vec<u8> {
    let mut bytes = vec![AF_PACKET, 0, 0, 0];
    bytes.extend(0u32.to_ne_bytes()); // any inode
    bytes.extend(PACKET_SHOW_INFO.to_ne_bytes());
    bytes.extend([0; 8]); // any cookie
    bytes
}

/// One socket of an answer to [`request`].
pub(super) fn parse(table: Table, payload: &[u8]) -> Option<Found> {
    if table == Table::Packet { parse_packet(payload) } else { parse_inet(table, payload) }
}

/// A socket that is no more.
pub(super) fn parse_destroyed(payload: &[u8]) -> Option<Found> {
    let attributes = payload.get(INET_BYTES..)?;
    let protocol = *attribute(attributes, INET_DIAG_PROTOCOL)?.first()?;
    let ipv6 = *payload.first()? == AF_INET6;
    let table = Table::ALL
        .into_iter()
        .find(|table| table.protocol() == protocol && table.is_ipv6() == ipv6)?;
    parse_inet(table, payload)
}

fn parse_inet(table: Table, payload: &[u8]) -> Option<Found> {
    let header = InetResponseHeader::parse(payload).ok()?;
    let ends = &header.socket_id;
    let raw = matches!(table, Table::Raw4 | Table::Raw6);
    let v6only = || {
        attribute(payload.get(INET_BYTES..).unwrap_or_default(), INET_DIAG_SKV6ONLY)
            .and_then(<[u8]>::first)
            .is_some_and(|&only| only != 0)
    };
    let remote = specified(ends.destination_address);
    Some(Found {
        table,
        kind: match table.protocol() {
            TCP if header.state == TCP_LISTEN => SocketKind::Listener,
            TCP => SocketKind::Stream,
            _ if raw => SocketKind::Raw,
            _ => SocketKind::Datagram,
        },
        // Raw sockets have theirs where others have the port.
        protocol: if raw { u8::try_from(ends.source_port).ok()? } else { table.protocol() },
        inode: header.inode,
        cookie: cookie(ends.cookie),
        local: Some(ends.source_address.to_canonical()),
        local_port: if raw { 0 } else { ends.source_port },
        remote,
        remote_port: if raw { 0 } else { ends.destination_port },
        dual_stack: table.is_ipv6()
            && !raw
            && ends.source_address.is_unspecified()
            && remote.is_none()
            && !v6only(),
        interface_index: None,
    })
}

fn parse_packet(payload: &[u8]) -> Option<Found> {
    let header = payload.first_chunk::<PACKET_BYTES>()?;
    if header[0] != AF_PACKET {
        return None;
    }
    let interface = attribute(&payload[PACKET_BYTES..], PACKET_DIAG_INFO)
        .and_then(|info| info.first_chunk())
        .map(|&index| u32::from_ne_bytes(index));
    Some(packet(word(&header[4..8]), cookie(*header.last_chunk()?), interface))
}

/// A packet socket; bound to no interface it is on all of them.
pub(super) fn packet(inode: u32, cookie: Option<u64>, interface: Option<u32>) -> Found {
    Found {
        table: Table::Packet,
        kind: SocketKind::Packet,
        protocol: 0,
        inode,
        cookie,
        local: None,
        local_port: 0,
        remote: None,
        remote_port: 0,
        dual_stack: false,
        interface_index: interface.filter(|&index| index != 0),
    }
}

/// The low word comes first. All ones stand for none.
fn cookie(bytes: [u8; 8]) -> Option<u64> {
    let cookie = u64::from(word(&bytes[..4])) | u64::from(word(&bytes[4..])) << 32;
    (cookie != 0 && cookie != u64::MAX).then_some(cookie)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |&bytes| u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_answers_are_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            family in prop::sample::select(vec![AF_INET, AF_INET6, AF_PACKET, 1]),
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = family;
            }
            for table in Table::ALL {
                let _ = parse(table, &bytes);
            }
            let _ = parse_destroyed(&bytes);
        }
    }

    #[test]
    fn a_raw_socket_has_its_protocol_where_others_have_the_port() {
        let mut answer = vec![0; INET_BYTES];
        answer[0] = AF_INET;
        answer[5] = 89;
        answer[68..72].copy_from_slice(&7u32.to_ne_bytes());
        let found = parse(Table::Raw4, &answer).unwrap();
        assert_eq!((found.protocol, found.local_port, found.inode), (89, 0, 7));
        assert_eq!(found.kind, SocketKind::Raw);
    }
}

//! Socket tables that only `/proc/net` has: ping sockets, and raw and packet
//! sockets of kernels without their diagnosis.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::found::{Found, Table, specified};
use super::inet::packet;
use crate::host::event::SocketKind;

/// Of one table: half a million raw sockets. What is longer is cut.
const MAX_BYTES: u64 = 64 << 20;

/// A file of `/proc/net` as seen in the namespace that it was opened in.
pub(super) struct ProcNet {
    file: File,
    text: String,
}

impl ProcNet {
    /// In the namespace of the calling thread.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let file = File::open(format!("/proc/thread-self/net/{name}"))?;
        Ok(Self { file, text: String::new() })
    }

    /// Reads it anew.
    pub(super) fn read(&mut self) -> io::Result<&str> {
        self.file.rewind()?;
        self.text.clear();
        (&self.file).take(MAX_BYTES).read_to_string(&mut self.text)?;
        Ok(&self.text)
    }
}

pub(super) fn file_name(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Raw4 => "raw",
        Table::Raw6 => "raw6",
        Table::Ping4 => "icmp",
        Table::Ping6 => "icmp6",
        Table::Packet => "packet",
        _ => return None,
    })
}

/// One line of a table; nothing for its heading and for what does not fit.
pub(super) fn parse(table: Table, line: &str) -> Option<Found> {
    let mut fields = line.split_ascii_whitespace();
    if table == Table::Packet {
        let interface = fields.nth(4)?.parse().ok()?;
        let inode = fields.nth(3)?.parse().ok()?;
        return Some(packet(inode, None, Some(interface)));
    }
    let (local, local_port) = end(fields.nth(1)?)?;
    let (remote, remote_port) = end(fields.next()?)?;
    let inode = fields.nth(6)?.parse().ok()?;
    let raw = matches!(table, Table::Raw4 | Table::Raw6);
    Some(Found {
        table,
        kind: if raw { SocketKind::Raw } else { SocketKind::Ping },
        protocol: if raw { u8::try_from(local_port).ok()? } else { table.protocol() },
        inode,
        cookie: None,
        local: Some(local.to_canonical()),
        local_port: if raw { 0 } else { local_port },
        remote: specified(remote),
        remote_port: if raw { 0 } else { remote_port },
        dual_stack: false,
        interface_index: None,
    })
}

/// Address and port in hexadecimal; of addresses each four bytes are a number in
/// the machine's order.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let ping = "  247: 0100007F:00F7 0200007F:0000 01 00000000:00000000 00:00000000 00000000     0        0 41522 2 0000000000000000 0 ";
        let found = parse(Table::Ping4, ping).unwrap();
        assert_eq!(found.local, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(found.remote, Some(Ipv4Addr::new(127, 0, 0, 2).into()));
        assert_eq!((found.local_port, found.inode, found.protocol), (247, 41522, 1));

        let raw = "   58: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0000000000000000 0";
        let found = parse(Table::Raw6, raw).unwrap();
        assert_eq!(found.local, Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!((found.protocol, found.local_port, found.inode), (58, 0, 99));

        let packet = "0000000000000000 3      3    0003   2     1 0      0      7331 ";
        let found = parse(Table::Packet, packet).unwrap();
        assert_eq!((found.interface_index, found.inode), (Some(2), 7331));
    }

    #[test]
    fn headings_are_no_sockets() {
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        assert_eq!(parse(Table::Raw4, heading), None);
        let heading = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode";
        assert_eq!(parse(Table::Packet, heading), None);
    }

    proptest! {
        #[test]
        fn arbitrary_lines_are_read_without_panic(line in ".{0,200}") {
            for table in Table::ALL {
                let _ = parse(table, &line);
            }
        }
    }
}

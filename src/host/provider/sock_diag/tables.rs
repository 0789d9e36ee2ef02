//! The socket tables of one network namespace.
//!
//! Netlink where the kernel has it, `/proc/net` else. Tables that the kernel
//! counts as empty are not walked: a walk costs what the table is large, not what
//! is in it, and TCP's and UDP's are shared by all namespaces.

use std::io;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::found::{Found, Table, Tables};
use super::inet;
use super::proc_net::{self, ProcNet};
use crate::host::provider::netlink::{Dump, Netlink};

/// What stays open in a namespace. Made by a thread that is in it.
pub(super) struct SocketTables {
    diag: Netlink,
    /// Nothing without the right to hear of destroyed sockets.
    destroyed: Option<Netlink>,
    in_use: [Option<ProcNet>; 2],
    texts: Vec<(Table, ProcNet)>,
}

impl SocketTables {
    pub(super) fn open() -> io::Result<Self> {
        let mut diag = Netlink::open(NETLINK_SOCK_DIAG)?;
        let mut texts = Vec::new();
        for table in Table::ALL {
            let Some(name) = proc_net::file_name(table) else { continue };
            let by_netlink = inet::request(table).is_some_and(|request| {
                diag.dump(inet::SOCK_DIAG_BY_FAMILY, &request, |_, _| {}).is_ok()
            });
            // Not there without IPv6.
            if !by_netlink && let Ok(file) = ProcNet::open(name) {
                texts.push((table, file));
            }
        }
        Ok(Self {
            diag,
            destroyed: None,
            in_use: [ProcNet::open("sockstat").ok(), ProcNet::open("sockstat6").ok()],
            texts,
        })
    }

    /// Hears of destroyed sockets from now on, where that is allowed.
    pub(super) fn listen(&mut self) {
        self.destroyed = Netlink::notices(NETLINK_SOCK_DIAG, &inet::DESTROY_GROUPS).ok();
    }

    pub(super) fn listens(&self) -> bool {
        self.destroyed.is_some()
    }

    /// Reads tables. Which of them were read wholly.
    pub(super) fn read(&mut self, tables: Tables, mut each: impl FnMut(Found)) -> Tables {
        let empty = self.empty();
        let mut whole = Tables::NONE;
        for table in tables.iter() {
            if empty.has(table) || self.read_one(table, &mut each) {
                whole.add(Tables::one(table));
            }
        }
        whole
    }

    fn read_one(&mut self, table: Table, each: &mut impl FnMut(Found)) -> bool {
        if let Some((_, file)) = self.texts.iter_mut().find(|(of, _)| *of == table) {
            let Ok(text) = file.read() else { return false };
            text.lines().filter_map(|line| proc_net::parse(table, line)).for_each(each);
            return true;
        }
        // A table that the kernel does not have at all is empty.
        let Some(request) = inet::request(table) else { return true };
        let dumped = self.diag.dump(inet::SOCK_DIAG_BY_FAMILY, &request, |_, payload| {
            if let Some(found) = inet::parse(table, payload) {
                each(found);
            }
        });
        match dumped {
            Ok(dump) => dump == Dump::Whole,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        }
    }

    /// Sockets destroyed since the last call, and how often some were lost.
    pub(super) fn take_destroyed(&mut self, mut each: impl FnMut(Found)) -> u64 {
        let Some(destroyed) = &mut self.destroyed else { return 0 };
        destroyed
            .take_notices(|_, payload| {
                if let Some(found) = inet::parse_destroyed(payload) {
                    each(found);
                }
            })
            .unwrap_or(1)
    }

    /// Tables without a socket, by the kernel's own count.
    fn empty(&mut self) -> Tables {
        let mut empty = Tables::NONE;
        for file in self.in_use.iter_mut().flatten() {
            let Ok(text) = file.read() else { continue };
            for line in text.lines() {
                let Some((name, rest)) = line.split_once(": inuse ") else { continue };
                if rest.split_ascii_whitespace().next() == Some("0")
                    && let Some(table) = counted(name)
                {
                    empty.add(Tables::one(table));
                }
            }
        }
        empty
    }
}

fn counted(name: &str) -> Option<Table> {
    Some(match name {
        "TCP" => Table::Tcp4,
        "TCP6" => Table::Tcp6,
        "UDP" => Table::Udp4,
        "UDP6" => Table::Udp6,
        "UDPLITE" => Table::UdpLite4,
        "UDPLITE6" => Table::UdpLite6,
        "RAW" => Table::Raw4,
        "RAW6" => Table::Raw6,
        _ => return None,
    })
}

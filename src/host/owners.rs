//! Who owns which socket at one time: the events of a map put together.

use std::collections::BTreeMap;

use super::event::{HostEvent, Socket, SocketKind, What};
use super::process::{Process, ProcessId};
use super::workload::Workload;

/// What is there now.
#[derive(Debug, Default)]
pub struct OwnerTable {
    pub processes: BTreeMap<ProcessId, Process>,
    pub workloads: BTreeMap<String, Workload>,
    sockets: BTreeMap<SocketPlace, Socket>,
}

/// A socket by what people sort it by, and by its identity.
type SocketPlace =
    (u8, Option<std::net::IpAddr>, u16, Option<std::net::IpAddr>, u16, Option<u64>, Option<u64>);

fn place(socket: &Socket) -> SocketPlace {
    let Socket { protocol, local, local_port, remote, remote_port, inode, cookie, .. } = *socket;
    (protocol, local, local_port, remote, remote_port, inode, cookie)
}

impl OwnerTable {
    /// Takes an event over.
    pub fn apply(&mut self, event: &HostEvent) {
        match &event.what {
            What::ProcessStart(process) | What::ProcessExec(process) => {
                self.processes.insert(process.id, Process::clone(process));
            }
            What::ProcessExit(id) => {
                self.processes.remove(id);
            }
            What::SocketOpen(socket) | What::SocketUse(socket) => {
                self.sockets.insert(place(socket), socket.clone());
            }
            What::SocketClose(socket) => {
                self.sockets.remove(&place(socket));
            }
            What::Workload(workload) => {
                self.workloads.insert(workload.container.clone(), Workload::clone(workload));
            }
            _ => {}
        }
    }

    /// Sockets by protocol and address; packet sockets last.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        let of_kind = |packet| {
            self.sockets
                .values()
                .filter(move |socket| (socket.kind == SocketKind::Packet) == packet)
        };
        of_kind(false).chain(of_kind(true))
    }
}

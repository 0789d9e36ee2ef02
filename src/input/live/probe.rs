//! Whether live capture would work here: tried out, without a packet taken.

use std::io;

use super::filter::ACCEPT_NOTHING;
use super::packet_socket::{BLOCK_BYTES, PacketSocket, device};
use super::tap::{interface_drops, link_of};
use crate::packet::LinkType;

/// What an interface is to a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    pub up: bool,
    /// It has a carrier.
    pub running: bool,
    pub loopback: bool,
    pub mtu_bytes: u32,
    /// `ARPHRD_*`.
    pub hardware: u16,
    /// Nothing for frames that are not understood.
    pub link: Option<LinkType>,
    /// Dropped by the device or its driver since it was made.
    pub drops: Option<u64>,
}

/// Needs no rights; `NotFound` where there is none of this name.
pub fn interface(name: &str) -> io::Result<InterfaceFacts> {
    let found = device(name)?;
    Ok(InterfaceFacts {
        up: found.up,
        running: found.running,
        loopback: found.loopback,
        mtu_bytes: found.mtu_bytes,
        hardware: found.hardware,
        link: link_of(found.hardware),
        drops: interface_drops(name, &found),
    })
}

/// Opens a small ring, as a capture would, and closes it again.
pub fn ring() -> io::Result<()> {
    PacketSocket::open(2 * BLOCK_BYTES).map(drop)
}

/// Lets two rings share the frames of an interface, as the workers of a
/// capture would.
pub fn fanout(name: &str) -> io::Result<()> {
    let found = device(name)?;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let socket = PacketSocket::open(2 * BLOCK_BYTES)?;
        socket.set_filter(&ACCEPT_NOTHING)?;
        socket.bind(found.index)?;
        sockets.push(socket);
    }
    match &*sockets {
        [first, second] => second.join(first.found_group()?),
        _ => Ok(()),
    }
}

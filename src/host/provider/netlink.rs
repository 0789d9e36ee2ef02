//! Questions to the kernel over netlink: send one, walk through the answer.
//!
//! Never waits: the kernel has an answer's first part ready when the question was
//! sent, and the next when one was read. What comes is taken by length fields
//! that are checked; a message that does not fit is passed over.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

/// Of every message.
const NETLINK_HEADER_LEN: usize = 16;

/// Types below are netlink's own: 1 nothing, 2 error, 3 end, 4 overrun.
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const FIRST_TYPE_OF_FAMILIES: u16 = 0x10;

/// The dump was walked while the table changed: parts may be missing.
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;

/// Of one read. The kernel fills what it is offered up to 32 KiB, and no
/// message of the families read here is longer.
const READ_BYTES: usize = 32 << 10;

/// What may wait unread in a socket of notices: some 10,000 closed sockets.
const NOTICE_BUFFER_BYTES: usize = 8 << 20;

/// Reads in one go from a socket of notices, so that a flood of them can't hold
/// the watcher; the rest waits for the next turn.
const MAX_NOTICE_READS: usize = 256;

/// A netlink socket for questions, or for notices of multicast groups.
pub(super) struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dump {
    Whole,
    /// The table changed meanwhile, or the kernel stopped in the middle.
    Partial,
}

impl Netlink {
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: vec![0; READ_BYTES], sequence: 0 })
    }

    /// With the groups that the kernel has; fails when it has none of them.
    pub(super) fn notices(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        let netlink = Self::open(protocol)?;
        // Without the right to go over the system's limit, up to it.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(
            netlink.socket.as_fd(),
            NOTICE_BUFFER_BYTES,
        )
        .is_err()
        {
            let bytes = i32::try_from(NOTICE_BUFFER_BYTES).unwrap_or(i32::MAX);
            netlink.socket.set_rx_buf_sz(bytes)?;
        }
        let mut joined = Err(io::Error::from(ErrorKind::Unsupported));
        for &group in groups {
            match netlink.socket.add_membership(group) {
                Ok(()) => joined = Ok(()),
                Err(error) if joined.is_err() => joined = Err(error),
                Err(_) => {}
            }
        }
        joined.map(|()| netlink)
    }

    /// Asks for all that `request` names and calls `each` with type and payload of
    /// every message of the answer.
    pub(super) fn dump(
        &mut self,
        message_type: u16,
        request: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<Dump> {
        self.discard();
        self.sequence = self.sequence.wrapping_add(1);
        let message = message(message_type, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, request)?;
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        let mut whole = Dump::Whole;
        loop {
            let Some(bytes) = self.read()? else { return Ok(Dump::Partial) };
            let mut end = None;
            walk(&self.buffer[..bytes], |message| {
                if message.sequence_number() != self.sequence || end.is_some() {
                    return;
                }
                if message.flags() & FLAG_DUMP_INTERRUPTED != 0 {
                    whole = Dump::Partial;
                }
                match message.message_type() {
                    TYPE_DONE | TYPE_ERROR => end = Some(code(message.payload())),
                    kind if kind >= FIRST_TYPE_OF_FAMILIES => each(kind, message.payload()),
                    _ => {}
                }
            });
            match end {
                Some(0) => return Ok(whole),
                Some(code) => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
                None => {}
            }
        }
    }

    /// Calls `each` with what came for the groups. The number of times that
    /// notices were lost.
    pub(super) fn take_notices(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<u64> {
        let mut lost = 0;
        for _ in 0..MAX_NOTICE_READS {
            match self.read() {
                Ok(Some(bytes)) => walk(&self.buffer[..bytes], |message| {
                    if message.message_type() >= FIRST_TYPE_OF_FAMILIES {
                        each(message.message_type(), message.payload());
                    }
                }),
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lost += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }

    /// What an earlier dump that failed may have left.
    fn discard(&mut self) {
        while matches!(self.read(), Ok(Some(_))) {}
    }

    /// Nothing where nothing waits.
    fn read(&mut self) -> io::Result<Option<usize>> {
        loop {
            let mut buffer = &mut self.buffer[..];
            match self.socket.recv(&mut buffer, 0) {
                Ok(bytes) => return Ok(Some(bytes.min(READ_BYTES))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A message: header and payload.
fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let bytes = NETLINK_HEADER_LEN + payload.len();
    let length = u32::try_from(bytes).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let mut message = vec![0; bytes];
    message[NETLINK_HEADER_LEN..].copy_from_slice(payload);
    let mut header = NetlinkBuffer::new(&mut message);
    header.set_length(length);
    header.set_message_type(kind);
    header.set_flags(flags);
    header.set_sequence_number(sequence);
    Ok(message)
}

/// The messages of one read, each checked to lie within it.
fn walk(mut bytes: &[u8], mut each: impl FnMut(NetlinkBuffer<&[u8]>)) {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        // At least the header's 16: new_checked has seen to it.
        let length = message.length() as usize;
        let next = length.next_multiple_of(4).min(bytes.len());
        each(message);
        bytes = &bytes[next..];
    }
}

/// Of an error or end message: 0 or a negative error number.
fn code(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |&bytes| i32::from_ne_bytes(bytes))
}

/// Value of the first attribute of a kind.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == kind)
        .and_then(|attribute| {
            let length = usize::from(attribute.length());
            attribute.into_inner().get(NLA_HEADER_SIZE..length)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_walked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut taken = 0;
            walk(&bytes, |message| taken += message.payload().len() + NETLINK_HEADER_LEN);
            prop_assert!(taken <= bytes.len());
            let _ = attribute(&bytes, 3);
        }
    }

    #[test]
    fn messages_of_one_read_are_told_apart() {
        let mut bytes = message(20, 0, 7, &[1, 2, 3]).unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(message(TYPE_DONE, 0, 7, &0i32.to_ne_bytes()).unwrap());
        let mut seen = Vec::new();
        walk(&bytes, |message| seen.push((message.message_type(), message.payload().to_vec())));
        assert_eq!(seen, [(20, vec![1, 2, 3]), (TYPE_DONE, vec![0; 4])]);
    }

    #[test]
    fn a_question_that_the_kernel_refuses_is_an_error() {
        let mut netlink = Netlink::open(netlink_sys::protocols::NETLINK_SOCK_DIAG).unwrap();
        // No such family.
        let refused = netlink.dump(20, &[250, 0, 0, 0, 0, 0, 0, 0], |_, _| {});
        assert!(refused.is_err(), "{refused:?}");
    }
}

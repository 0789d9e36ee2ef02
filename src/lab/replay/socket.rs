//! The packet socket that frames leave by: the one file here with `unsafe`.
//!
//! Opens AF_PACKET without a protocol, so that it never receives, and hands
//! over frames where they lie, many in one call (sendmmsg). Start at
//! [`PacketSocket::open`].
//!
//! Why not a ring (PACKET_TX_RING): it was measured and costs more. Processor
//! time of a packet over a veth pair with a capture socket at the other end,
//! delivery included (Linux 6.18, 64 frames a call, medians of five alternating
//! runs on two shared cores):
//!
//! | | 64 bytes | 512 bytes |
//! |---|---|---|
//! | sendmmsg, queueing bypassed | 1106 ns | 1156 ns |
//! | sendmmsg | 1163 ns | 1248 ns |
//! | ring, queueing bypassed | 1250 ns | 1471 ns |
//! | ring | 1290 ns | 1301 ns |
//!
//! Of these about 15 ns are spent in the program, all others in the system.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;

use super::send::{BATCH, Outgoing, Wire};

/// A captured part and the zeros that fill it up.
const PARTS: usize = 2;

/// What the system says about the interface that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// ARPHRD_ number.
    pub(super) hardware: u16,
    pub(super) mtu_bytes: u32,
}

impl Link {
    pub(super) fn is_ethernet(self) -> bool {
        self.hardware == libc::ARPHRD_ETHER
    }

    /// Frames on loopback have an Ethernet header, too.
    pub(super) fn takes_ethernet(self) -> bool {
        self.is_ethernet() || self.hardware == libc::ARPHRD_LOOPBACK
    }
}

pub(super) struct PacketSocket {
    socket: OwnedFd,
    /// For each message its parts, in pairs.
    parts: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    zeros: Vec<u8>,
}

impl PacketSocket {
    /// Opens a socket that sends out of this interface and no other.
    pub(super) fn open(interface: &str) -> io::Result<(Self, Link)> {
        let name =
            CString::new(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        // SAFETY: `name` is a string with its end that lives through the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: no pointers; the result is checked before it is used.
        let socket = unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            let socket = succeeded(libc::socket(libc::AF_PACKET, kind, 0))?;
            // SAFETY: the descriptor is new and nobody else's.
            OwnedFd::from_raw_fd(socket)
        };
        let link = bind(&socket, index)?;
        bypass_queueing(&socket)?;
        let link = Link { hardware: link, mtu_bytes: mtu_bytes(&socket, interface)? };
        // SAFETY: all-zero bytes are a valid iovec and a valid mmsghdr: null
        // pointers, lengths of nothing.
        let (mut parts, mut messages): (Box<[libc::iovec]>, Box<[libc::mmsghdr]>) = unsafe {
            ((0..BATCH * PARTS).map(|_| zeroed()).collect(), (0..BATCH).map(|_| zeroed()).collect())
        };
        for (message, parts) in messages.iter_mut().zip(parts.chunks_exact_mut(PARTS)) {
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
        }
        Ok((Self { socket, parts, messages, zeros: Vec::new() }, link))
    }
}

impl Wire for PacketSocket {
    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        let most_zeros = frames.iter().map(|frame| frame.zeros as usize).max().unwrap_or(0);
        if self.zeros.len() < most_zeros {
            self.zeros.resize(most_zeros, 0);
        }
        let count = frames.len().min(BATCH);
        let parts = self.parts.chunks_exact_mut(PARTS);
        for ((message, parts), frame) in self.messages.iter_mut().zip(parts).zip(frames) {
            if let [captured, zeros] = parts {
                captured.iov_base = frame.bytes.as_ptr().cast_mut().cast();
                captured.iov_len = frame.bytes.len();
                zeros.iov_base = self.zeros.as_mut_ptr().cast();
                zeros.iov_len = frame.zeros as usize;
            }
            message.msg_hdr.msg_iovlen = if frame.zeros == 0 { 1 } else { PARTS as _ };
        }
        // SAFETY: each of the `count` messages points at its one or two parts, which
        // `self` owns and which never move. The parts point at bytes of
        // `frames` and of `self.zeros`, which outlive the call and have at
        // least these lengths. Sending only reads them.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), self.messages.as_mut_ptr(), count as _, 0)
        };
        Ok(succeeded(sent)? as usize)
    }
}

/// Lets this thread's sleeps end when they should, and not up to 50
/// microseconds later.
pub(super) fn end_sleeps_on_time() {
    // SAFETY: takes a number and no pointer. A system that refuses sleeps as
    // before, which shows in the lateness.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

fn succeeded(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Binds for sending alone and gives the interface's hardware type.
fn bind(socket: &OwnedFd, index: u32) -> io::Result<u16> {
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is a whole sockaddr_ll (all-zero bytes are valid) and
    // `length` its size; both live through the calls, and getsockname writes
    // at most `length` bytes.
    unsafe {
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        let pointer = ptr::from_mut(&mut address).cast::<libc::sockaddr>();
        succeeded(libc::bind(socket.as_raw_fd(), pointer, length))?;
        succeeded(libc::getsockname(socket.as_raw_fd(), pointer, &mut length))?;
        Ok(address.sll_hatype)
    }
}

/// Straight to the driver: one queue less to lock and to fill.
fn bypass_queueing(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    succeeded(result).map(drop)
}

fn mtu_bytes(socket: &OwnedFd, interface: &str) -> io::Result<u32> {
    // SAFETY: all-zero bytes are a valid ifreq. Its name ends in a zero byte,
    // because at most all bytes but the last are written. The request reads the
    // name and fills in the MTU, within the struct.
    let mtu = unsafe {
        let mut request: libc::ifreq = zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(room)) {
            *to = from as libc::c_char;
        }
        succeeded(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &mut request))?;
        request.ifr_ifru.ifru_mtu
    };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

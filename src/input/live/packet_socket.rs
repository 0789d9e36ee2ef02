//! AF_PACKET sockets with a TPACKET_V3 ring: every system call and every
//! shared byte of live capture is in this file.
//!
//! A [`PacketSocket`] hands out one block of its ring at a time as plain bytes
//! and gives it back to the kernel. It never looks into a frame; `frames` does.
//! Start at [`PacketSocket::open`]. packet(7), and
//! Documentation/networking/packet_mmap.rst of the kernel.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, socklen_t};
use memmap2::{MmapOptions, MmapRaw};

use super::filter::ACCEPT_NOTHING;
use crate::input::bpf::Instruction;

/// Bytes of a ring block. The kernel copies no frame across two of them, so
/// it must hold the longest (a GSO frame of 64 KiB and more); large enough
/// that a full one is worth a look.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// After this time the kernel hands over a block that is not full, and takes the
/// next. So a ring of 64 blocks lasts four seconds while few packets come,
/// however busy the machine is with other things; windows are a second late
/// anyway.
pub(super) const RETIRE_MS: u32 = 64;

/// A ring of blocks, and the socket that fills it.
pub(super) struct PacketSocket {
    fd: OwnedFd,
    map: MmapRaw,
    blocks: usize,
    /// The block to read next.
    next: usize,
    ignores_outgoing: bool,
}

/// What a socket counted since the last question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RingStatistics {
    /// Put into the ring.
    pub(super) packets: u64,
    /// Passed the filter and found the ring full.
    pub(super) drops: u64,
}

impl PacketSocket {
    /// A socket with a ring of `ring_bytes` (rounded up to blocks) that gets
    /// nothing yet: [`Self::bind`] attaches it.
    pub(super) fn open(ring_bytes: usize) -> io::Result<Self> {
        // SAFETY: no pointers. Protocol 0 receives nothing until it is bound.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let blocks = ring_bytes.div_ceil(BLOCK_BYTES).max(2);
        set_option(&fd, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        // Frames are of any size in version 3: these two only have to agree.
        let frame_bytes = 2048;
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "the ring is too large");
        let frames = blocks * (BLOCK_BYTES / frame_bytes);
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: u32::try_from(blocks).map_err(too_large)?,
            tp_frame_size: frame_bytes as u32,
            tp_frame_nr: u32::try_from(frames).map_err(too_large)?,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&fd, libc::PACKET_RX_RING, &request)?;
        let map = MmapOptions::new().len(blocks * BLOCK_BYTES).map_raw(&fd)?;
        Ok(Self { fd, map, blocks, next: 0, ignores_outgoing: false })
    }

    /// Receives the frames of this interface from now on.
    pub(super) fn bind(&self, interface: i32) -> io::Result<()> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface;
        // SAFETY: the address is a whole `sockaddr_ll` and its size is given.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Makes a group that shares the frames of an interface by a hash of the
    /// flow, the same for both directions. Gives the group's number for
    /// [`Self::join`]. No defragmentation (it would hide fragments), no
    /// rollover (it would take flows apart).
    pub(super) fn found_group(&self) -> io::Result<u16> {
        let mode = self.group_mode() | libc::PACKET_FANOUT_FLAG_UNIQUEID;
        set_option(&self.fd, libc::PACKET_FANOUT, &(mode << 16))?;
        let group: u32 = get_option(&self.fd, libc::PACKET_FANOUT)?;
        Ok(group as u16)
    }

    pub(super) fn join(&self, group: u16) -> io::Result<()> {
        let mode = self.group_mode();
        set_option(&self.fd, libc::PACKET_FANOUT, &(mode << 16 | u32::from(group)))
    }

    /// A group does not look at what its sockets ignore.
    fn group_mode(&self) -> u32 {
        let ignored =
            if self.ignores_outgoing { libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING } else { 0 };
        libc::PACKET_FANOUT_HASH | ignored
    }

    /// Only frames that the program accepts, as much of them as it says.
    pub(super) fn set_filter(&self, program: &[Instruction]) -> io::Result<()> {
        let mut code: Vec<libc::sock_filter> = program
            .iter()
            .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
            .collect();
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the filter is too long");
        let len = u16::try_from(code.len()).map_err(too_long)?;
        let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
        // The kernel copies the program that `program` points to.
        set_option_at(&self.fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Frames for other stations too, as long as the socket lives.
    pub(super) fn set_promiscuous(&self, interface: i32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: interface,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&self.fd, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Leaves out what the machine sends: over loopback each frame would come
    /// twice. Before it joins a group.
    pub(super) fn ignore_outgoing(&mut self) -> io::Result<()> {
        self.ignores_outgoing = true;
        set_option(&self.fd, libc::PACKET_IGNORE_OUTGOING, &1_i32)
    }

    /// Frames get the device's time stamp where it has one, else the kernel's.
    pub(super) fn prefer_hardware_stamps(&self) -> io::Result<()> {
        set_option(&self.fd, libc::PACKET_TIMESTAMP, &libc::SOF_TIMESTAMPING_RAW_HARDWARE)
    }

    /// Nothing more comes in. What lies in an open block is handed over soon.
    pub(super) fn close(&self) {
        // A socket whose interface is gone gets nothing anyway.
        let _ = self.set_filter(&ACCEPT_NOTHING);
    }

    /// What was counted since this was asked last.
    pub(super) fn statistics(&self) -> io::Result<RingStatistics> {
        let counted: libc::tpacket_stats_v3 = get_option(&self.fd, libc::PACKET_STATISTICS)?;
        // The kernel's `tp_packets` includes those that it dropped.
        let (all, drops) = (u64::from(counted.tp_packets), u64::from(counted.tp_drops));
        Ok(RingStatistics { packets: all.saturating_sub(drops), drops })
    }

    /// Blocks in the ring.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The next block, once the kernel has handed it over: its header and
    /// frames. The same until [`Self::release`].
    pub(super) fn block(&self) -> Option<&[u8]> {
        if !self.is_ready(0) {
            return None;
        }
        let start = self.block_start(0);
        // SAFETY: the block lies within the map (`next` is below `blocks`), which
        // lives as long as `self`. Its status says that it is ours: the kernel
        // writes to it again only after `release`, which takes `&mut self` and so
        // can't run while the slice is borrowed. `is_ready` read the status with
        // Acquire, so the kernel's writes are seen.
        Some(unsafe { std::slice::from_raw_parts(start, BLOCK_BYTES) })
    }

    /// Whether the block that is `ahead` blocks after the next is handed over
    /// as well: how full the ring is.
    pub(super) fn is_ready(&self, ahead: usize) -> bool {
        self.status(ahead).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Where no block is handed over: the time at which the kernel began the one
    /// that it fills, if a frame is in it.
    pub(super) fn filling_since_ns(&self) -> Option<i64> {
        let header = offset_of!(libc::tpacket_block_desc, hdr);
        let first = header + offset_of!(libc::tpacket_hdr_v1, ts_first_pkt);
        let frames = self.word(0, header + offset_of!(libc::tpacket_hdr_v1, num_pkts));
        if frames.load(Ordering::Acquire) == 0 {
            return None;
        }
        let seconds = self.word(0, first).load(Ordering::Acquire);
        let nanoseconds = self.word(0, first + size_of::<u32>()).load(Ordering::Acquire);
        Some(i64::from(seconds) * 1_000_000_000 + i64::from(nanoseconds))
    }

    /// Gives the block at hand back to the kernel.
    pub(super) fn release(&mut self) {
        if self.is_ready(0) {
            self.status(0).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.blocks;
        }
    }

    fn block_start(&self, ahead: usize) -> *mut u8 {
        let at = (self.next + ahead) % self.blocks;
        self.map.as_mut_ptr().wrapping_add(at * BLOCK_BYTES)
    }

    fn status(&self, ahead: usize) -> &AtomicU32 {
        let header = offset_of!(libc::tpacket_block_desc, hdr);
        self.word(ahead, header + offset_of!(libc::tpacket_hdr_v1, block_status))
    }

    /// A word of a block's header, which the kernel may be writing.
    fn word(&self, ahead: usize, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < size_of::<libc::tpacket_block_desc>());
        // SAFETY: each block lies within the map and begins with this header; the
        // word is aligned (blocks are aligned to pages, `at` is checked), lives as
        // long as `self`, and while the kernel owns the block it is only read and
        // written as an atomic, here and there.
        unsafe { AtomicU32::from_ptr(self.block_start(ahead).wrapping_add(at).cast()) }
    }
}

// SAFETY: nothing in a socket or its map belongs to a thread; blocks are only
// read and given back through references as Rust's rules have it.
unsafe impl Send for PacketSocket {}

fn set_option<T>(fd: &OwnedFd, name: c_int, value: &T) -> io::Result<()> {
    set_option_at(fd, libc::SOL_PACKET, name, value)
}

fn set_option_at<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at a reference to a `T`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Integers and structures of integers only: any bytes are a valid `T`.
trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for libc::tpacket_stats_v3 {}

fn get_option<T: Plain>(fd: &OwnedFd, name: c_int) -> io::Result<T> {
    // SAFETY: `Plain` types are valid for all bytes, zeros too.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a value of that size.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: i32,
    /// `ARPHRD_*`.
    pub(super) hardware: u16,
    pub(super) mtu_bytes: u32,
    pub(super) up: bool,
    pub(super) running: bool,
    pub(super) loopback: bool,
}

/// Looks an interface up; `NotFound` where there is none of this name.
pub(super) fn device(name: &str) -> io::Result<Device> {
    // SAFETY: no pointers.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let ask = |request: libc::Ioctl| -> io::Result<libc::ifreq> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
        let bytes = name.as_bytes();
        // One byte stays zero: the kernel wants an end.
        if bytes.is_empty() || bytes.len() >= wanted.ifr_name.len() || bytes.contains(&0) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        for (to, &from) in wanted.ifr_name.iter_mut().zip(bytes) {
            *to = from as libc::c_char;
        }
        // SAFETY: these requests read a name from and write one member of an
        // `ifreq`, which outlives the call.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut wanted) };
        if result == 0 {
            return Ok(wanted);
        }
        let error = io::Error::last_os_error();
        let gone = error.raw_os_error() == Some(libc::ENODEV);
        Err(if gone { io::ErrorKind::NotFound.into() } else { error })
    };
    // SAFETY: each request fills in the member that is read; all are integers
    // or, for the hardware address, bytes.
    let (index, flags, mtu, hardware) = unsafe {
        (
            ask(libc::SIOCGIFINDEX as libc::Ioctl)?.ifr_ifru.ifru_ifindex,
            c_int::from(ask(libc::SIOCGIFFLAGS as libc::Ioctl)?.ifr_ifru.ifru_flags),
            ask(libc::SIOCGIFMTU as libc::Ioctl)?.ifr_ifru.ifru_mtu,
            ask(libc::SIOCGIFHWADDR as libc::Ioctl)?.ifr_ifru.ifru_hwaddr.sa_family,
        )
    };
    Ok(Device {
        index,
        hardware,
        mtu_bytes: u32::try_from(mtu).unwrap_or(0),
        up: flags & libc::IFF_UP != 0,
        running: flags & libc::IFF_RUNNING != 0,
        loopback: flags & libc::IFF_LOOPBACK != 0,
    })
}

/// Name that the interface of this index has now.
pub(super) fn name_of(index: i32) -> Option<String> {
    let index = u32::try_from(index).ok()?;
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that the call is documented to need.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    let bytes: Vec<u8> = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    let name = CString::new(bytes).ok()?;
    name.into_string().ok()
}

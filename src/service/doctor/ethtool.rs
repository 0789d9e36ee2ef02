//! What a network driver says of itself, by the ioctls of ethtool(8). Only
//! those that read; they need no rights.
//!
//! Own code: two requests that every kernel knows need no library.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// linux/ethtool.h
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GGSO: u32 = 0x23;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;
// linux/net_tstamp.h
const SOF_TIMESTAMPING_RX_HARDWARE: u32 = 1 << 2;
const SOF_TIMESTAMPING_RAW_HARDWARE: u32 = 1 << 6;

/// Offloads that change what a capture sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offloads {
    pub(super) gro: bool,
    pub(super) lro: bool,
    pub(super) gso: bool,
    pub(super) tso: bool,
    pub(super) rx_vlan: bool,
}

/// Slots of the device's own ring for frames that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceRing {
    pub(super) slots: u32,
    pub(super) most: u32,
}

/// A socket to ask by.
pub(super) struct Ethtool {
    fd: OwnedFd,
}

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: no pointers.
        let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(raw) } })
    }

    pub(super) fn offloads(&self, name: &str) -> io::Result<Offloads> {
        let is_on = |command| self.ask(name, [command, 0]).map(|[_, value]| value != 0);
        let [_, flags] = self.ask(name, [ETHTOOL_GFLAGS, 0])?;
        Ok(Offloads {
            gro: is_on(ETHTOOL_GGRO)?,
            lro: flags & ETH_FLAG_LRO != 0,
            gso: is_on(ETHTOOL_GGSO)?,
            tso: is_on(ETHTOOL_GTSO)?,
            rx_vlan: flags & ETH_FLAG_RXVLAN != 0,
        })
    }

    /// An error where the device has none, as virtual ones do.
    pub(super) fn ring(&self, name: &str) -> io::Result<DeviceRing> {
        // struct ethtool_ringparam: rx_max_pending is the second word, rx_pending the sixth.
        let [_, most, _, _, _, slots, ..] = self.ask(name, {
            let mut words = [0; 9];
            words[0] = ETHTOOL_GRINGPARAM;
            words
        })?;
        Ok(DeviceRing { slots, most })
    }

    /// Whether frames that come in get the device's time stamp.
    pub(super) fn has_hardware_stamps(&self, name: &str) -> io::Result<bool> {
        const WANTED: u32 = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
        // struct ethtool_ts_info: so_timestamping is the second word.
        let [_, stamps, ..] = self.ask(name, {
            let mut words = [0; 11];
            words[0] = ETHTOOL_GET_TS_INFO;
            words
        })?;
        Ok(stamps & WANTED == WANTED)
    }

    /// The structures that are asked for are all words of 32 bits, the command
    /// first.
    fn ask<const WORDS: usize>(
        &self,
        name: &str,
        mut words: [u32; WORDS],
    ) -> io::Result<[u32; WORDS]> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
        // One byte stays zero: the kernel wants an end.
        if name.is_empty() || name.len() >= wanted.ifr_name.len() || name.contains('\0') {
            return Err(io::ErrorKind::NotFound.into());
        }
        for (to, from) in wanted.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        wanted.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the kernel reads and writes the structure that the command in
        // the first word names; each caller gives one of that size. Both it and
        // the request outlive the call.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut wanted)
        };
        if result == 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
    }
}

//! Questions to the kernel that no well-kept crate asks: every system call of
//! this part is in this file.
//!
//! Nothing here changes anything.
#![allow(unsafe_code)]

use std::io;

/// Microseconds of the monotonic clock, as the service manager reads it.
pub(super) fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which outlives it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(result, 0, "Linux always has this clock");
    let (seconds, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000).saturating_add(ns.unwrap_or(0) / 1_000)
}

/// Seconds of processor time that this process has used, in the kernel too.
pub(super) fn processor_s() -> f64 {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `rusage`, which outlives it.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    debug_assert_eq!(result, 0, "the process itself can always be asked");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// State of the system clock (adjtimex(2)); nothing is adjusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockState {
    pub(super) synchronised: bool,
    pub(super) estimated_error_us: i64,
}

pub(super) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills in one `timex`; with no mode set it only reads.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let synchronised = state != libc::TIME_ERROR && clock.status & libc::STA_UNSYNC == 0;
    Ok(ClockState { synchronised, estimated_error_us: clock.esterror as i64 })
}

/// Version of the Landlock interface; an error where there is none.
pub(super) fn landlock_abi() -> io::Result<i64> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no attributes (null, size 0) and
    // returns a number, no descriptor (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    if version < 0 { Err(io::Error::last_os_error()) } else { Ok(version) }
}

/// Whether the kernel has this netlink protocol.
pub(super) fn has_netlink(protocol: i32) -> bool {
    use std::os::fd::{FromRawFd, OwnedFd};

    // SAFETY: no pointers.
    let raw =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return false;
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(raw) });
    true
}

//! Whether the machine's clock follows a reference: the kernel knows.
//!
//! One system call that changes nothing (`modes` is 0); it needs no privilege.

// The C library's call has no safe form in any crate that is kept.
#![allow(unsafe_code)]

use std::fmt::Debug;

/// Says whether the clock that stamps packets follows a reference.
pub trait ClockWatch: Debug + Send + Sync {
    /// Nothing where it can't be told.
    fn is_synchronised(&self) -> Option<bool>;
}

/// The system's clock, by the kernel's word: its NTP state without `STA_UNSYNC`,
/// which a time service sets right and keeps up.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelClock;

impl ClockWatch for KernelClock {
    #[cfg(target_os = "linux")]
    fn is_synchronised(&self) -> Option<bool> {
        // SAFETY: all of it is integers, for which zero is a value.
        let mut state: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: it points to a whole `timex`, and is read and written only here.
        let result = unsafe { libc::adjtimex(&raw mut state) };
        // The result is TIME_ERROR also for reasons of a PPS device alone.
        (result >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
    }

    #[cfg(not(target_os = "linux"))]
    fn is_synchronised(&self) -> Option<bool> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another program that asks the kernel.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_says_the_same_to_adjtimex() {
        let ask = "import ctypes; t = (ctypes.c_long * 64)(); \
                   ctypes.CDLL(None).adjtimex(t); \
                   print(ctypes.c_int.from_buffer(t, 5 * ctypes.sizeof(ctypes.c_long)).value)";
        let python = std::process::Command::new("python3").args(["-c", ask]).output();
        let Ok(output) = python else {
            eprintln!("SKIPPED: there is no python3; nothing was compared");
            return;
        };
        // modes, offset, freq, maxerror, esterror, status: on 64 bits a word each.
        let status: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("status");
        assert_eq!(KernelClock.is_synchronised(), Some(status & 0x40 == 0));
    }
}

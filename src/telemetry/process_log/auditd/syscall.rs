//! System calls by their numbers, and socket addresses as the kernel has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a system call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Exec,
    /// Its flags are the first argument, unless it is `fork` or `vfork`.
    Fork,
    Clone,
    /// Its flags lie in memory: a thread can't be told from a process.
    Clone3,
    Exit,
    Socket,
    Bind,
    Connect,
    Accept,
    /// Sends to an address.
    Send,
    /// Receives from one.
    Receive,
    /// All socket calls of older 32-bit programs; the first argument says which.
    Multiplexed,
    Other,
}

const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
const I386: u32 = 0x4000_0003;

/// Of system calls of the x32 ABI on x86-64.
const X32: u32 = 0x4000_0000;

impl Call {
    /// By its architecture (`AUDIT_ARCH_*`: machine and byte order) and number.
    pub(super) fn of(arch: u32, number: u32) -> Self {
        match arch {
            X86_64 => Self::x86_64(number & !X32),
            AARCH64 => Self::aarch64(number),
            I386 => Self::i386(number),
            _ => Self::Other,
        }
    }

    fn x86_64(number: u32) -> Self {
        match number {
            // The last two are x32's own.
            59 | 322 | 520 | 545 => Self::Exec,
            57 | 58 => Self::Fork,
            56 => Self::Clone,
            435 => Self::Clone3,
            231 => Self::Exit,
            41 => Self::Socket,
            49 => Self::Bind,
            42 => Self::Connect,
            43 | 288 => Self::Accept,
            44 | 46 | 307 => Self::Send,
            45 | 47 | 299 => Self::Receive,
            _ => Self::Other,
        }
    }

    fn aarch64(number: u32) -> Self {
        match number {
            221 | 281 => Self::Exec,
            220 => Self::Clone,
            435 => Self::Clone3,
            94 => Self::Exit,
            198 => Self::Socket,
            200 => Self::Bind,
            203 => Self::Connect,
            202 | 242 => Self::Accept,
            206 | 211 | 269 => Self::Send,
            207 | 212 | 243 => Self::Receive,
            _ => Self::Other,
        }
    }

    fn i386(number: u32) -> Self {
        match number {
            11 | 358 => Self::Exec,
            2 | 190 => Self::Fork,
            120 => Self::Clone,
            435 => Self::Clone3,
            252 => Self::Exit,
            102 => Self::Multiplexed,
            359 => Self::Socket,
            361 => Self::Bind,
            362 => Self::Connect,
            364 => Self::Accept,
            369 | 370 | 345 => Self::Send,
            371 | 372 | 337 => Self::Receive,
            _ => Self::Other,
        }
    }

    /// Of `socketcall` by its first argument.
    pub(super) fn of_socketcall(number: u64) -> Self {
        match number {
            1 => Self::Socket,
            2 => Self::Bind,
            3 => Self::Connect,
            5 | 18 => Self::Accept,
            11 | 16 | 20 => Self::Send,
            12 | 17 | 19 => Self::Receive,
            _ => Self::Other,
        }
    }

    /// By its name, of any architecture: enriched logs have it.
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"execve" | b"execveat" => Self::Exec,
            b"fork" | b"vfork" => Self::Fork,
            b"clone" => Self::Clone,
            b"clone3" => Self::Clone3,
            b"exit_group" => Self::Exit,
            b"socket" => Self::Socket,
            b"bind" => Self::Bind,
            b"connect" => Self::Connect,
            b"accept" | b"accept4" => Self::Accept,
            b"sendto" | b"sendmsg" | b"sendmmsg" => Self::Send,
            b"recvfrom" | b"recvmsg" | b"recvmmsg" => Self::Receive,
            b"socketcall" => Self::Multiplexed,
            _ => Self::Other,
        }
    }
}

/// A socket's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Inet(IpAddr, u16),
    /// Of another family: within the host.
    Other,
}

impl Address {
    /// A `struct sockaddr`: its family in the machine's byte order, the rest in the
    /// network's.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        const INET: u8 = 2;
        const INET6: u8 = 10;
        let ([family, 0, ..] | [0, family, ..]) = *bytes else { return None };
        let port = || Some(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?));
        Some(match family {
            INET => {
                let address: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
                Self::Inet(Ipv4Addr::from(address).into(), port()?)
            }
            INET6 => {
                let address: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
                Self::Inet(IpAddr::from(Ipv6Addr::from(address)).to_canonical(), port()?)
            }
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::hex;
    use super::*;

    /// Numbers against the kernel's own headers for this machine.
    #[test]
    fn a_number_means_different_calls_on_different_machines() {
        for (arch, number, call) in [
            (X86_64, 59, Call::Exec),
            (X86_64, 42, Call::Connect),
            (X86_64, X32 | 42, Call::Connect),
            (AARCH64, 203, Call::Connect),
            (AARCH64, 221, Call::Exec),
            (AARCH64, 59, Call::Other),
            (I386, 362, Call::Connect),
            (I386, 11, Call::Exec),
            (I386, 42, Call::Other),
            (0xc000_00f3, 203, Call::Other),
        ] {
            assert_eq!(Call::of(arch, number), call, "{arch:x} {number}");
        }
    }

    #[test]
    fn addresses_are_read_in_both_byte_orders() {
        let of = |digits: &str| Address::of(&hex(digits.as_bytes()).unwrap());
        let inet = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            Some(Address::Inet(address.ip(), address.port()))
        };
        assert_eq!(of("020020FBC63364070000000000000000"), inet("198.51.100.7:8443"));
        assert_eq!(of("000220FBC6336407"), inet("198.51.100.7:8443"));
        assert_eq!(
            of("0A001F900000000020010DB800000000000000000000000700000000"),
            inet("[2001:db8::7]:8080")
        );
        let mapped = "0A0001BB0000000000000000000000000000FFFFC000020100000000";
        assert_eq!(of(mapped), inet("192.0.2.1:443"));
        assert_eq!(of("01002F72756E2F78"), Some(Address::Other));
        assert_eq!(of("100000000000000000000000"), Some(Address::Other));
        for short in ["", "02", "0200", "02000035C6", "0A001F9000000000"] {
            assert_eq!(of(short), None, "{short}");
        }
    }
}

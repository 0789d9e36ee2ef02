//! What an ICMP error quotes: the headers of the packet that it is about (RFC 792,
//! RFC 4443), so that the flow and the program that caused it are known.

use std::net::IpAddr;

use super::{AppInfo, ICMP, ICMPV6, Quoted};

/// TCP, UDP, SCTP, UDP-Lite: ports in the first four bytes.
const WITH_PORTS: [u8; 4] = [6, 17, 132, 136];

/// Unreachable, source quench, redirect, time exceeded, parameter problem; of IPv6
/// unreachable, too big, time exceeded, parameter problem.
pub(super) fn is_error(proto: u8, icmp_type: u16) -> bool {
    match proto {
        ICMP => matches!(icmp_type, 3..=5 | 11 | 12),
        _ => proto == ICMPV6 && matches!(icmp_type, 1..=4),
    }
}

/// Reads what is quoted, from the IP header on. Of another sender's packet nothing but that
/// there are several is noted: a router tells a host of all its flows in one.
pub(super) fn inspect(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let Some(quoted) = quoted(bytes) else { return };
    let known = &mut info.get_or_insert_default().icmp_error;
    match known {
        None => *known = Some(Box::new(quoted)),
        Some(known) => known.several |= known.sender() != quoted.sender(),
    }
}

impl Quoted {
    /// The socket that it was sent from.
    fn sender(&self) -> (u8, IpAddr, u16, u16) {
        (self.proto, self.src, self.ports[0], self.echo_id)
    }
}

/// Nothing of later fragments, of behind IPv6's extension headers, and of protocols that
/// have neither ports nor an identifier.
fn quoted(bytes: &[u8]) -> Option<Quoted> {
    let (proto, src, dst, inner): (u8, IpAddr, IpAddr, &[u8]) = match bytes.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = bytes.first_chunk()?;
            let &[first, _, _, _, _, _, frag_high, frag_low, _, proto, _, _, ref ends @ ..] =
                header;
            let is_first = u16::from_be_bytes([frag_high, frag_low]) & 0x1fff == 0;
            let length = usize::from(first & 0xf) * 4;
            if !is_first || length < header.len() {
                return None;
            }
            let &[a, b, c, d, e, f, g, h] = ends;
            (proto, [a, b, c, d].into(), [e, f, g, h].into(), bytes.get(length..)?)
        }
        6 => {
            let (header, inner) = bytes.split_first_chunk::<40>()?;
            let src = header[8..].first_chunk::<16>()?;
            let dst = header[24..].first_chunk::<16>()?;
            (header[6], (*src).into(), (*dst).into(), inner)
        }
        _ => return None,
    };
    let (mut ports, mut echo_id) = ([0; 2], 0);
    match (proto, inner) {
        (_, &[s0, s1, d0, d1, ..]) if WITH_PORTS.contains(&proto) => {
            ports = [[s0, s1], [d0, d1]].map(u16::from_be_bytes);
        }
        (ICMP, &[8, _, _, _, high, low, ..]) | (ICMPV6, &[128, _, _, _, high, low, ..]) => {
            echo_id = u16::from_be_bytes([high, low]);
        }
        _ => return None,
    }
    Some(Quoted { proto, src, dst, ports, echo_id, several: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram from 192.0.2.1, as an error quotes it.
    fn datagram(src_port: u16) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 60, 0, 1, 0, 0, 1, 17, 0, 0];
        bytes.extend([192, 0, 2, 1, 198, 51, 100, 7]);
        bytes.extend(src_port.to_be_bytes());
        bytes.extend([0, 53, 0, 40, 0, 0]);
        bytes
    }

    fn read(all: &[&[u8]]) -> Option<Quoted> {
        let mut info = None;
        all.iter().for_each(|bytes| inspect(bytes, &mut info));
        info.and_then(|info| info.icmp_error).map(|quoted| *quoted)
    }

    #[test]
    fn the_sender_of_what_did_not_arrive_is_read() {
        let quoted = read(&[&datagram(40_000)]).expect("quoted");
        assert_eq!((quoted.proto, quoted.ports), (17, [40_000, 53]));
        let ends = [quoted.src, quoted.dst].map(|ip| ip.to_string());
        assert_eq!(ends, ["192.0.2.1", "198.51.100.7"]);
        let mut options = datagram(40_000);
        options[0] = 0x46;
        options.splice(20..20, [1, 1, 1, 0]);
        assert_eq!(read(&[&options]).expect("quoted").ports, [40_000, 53]);

        let mut ping = datagram(0);
        ping[9] = 1;
        ping[20..].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        assert_eq!(read(&[&ping]).expect("quoted").echo_id, 0x1234);

        let mut six = vec![0; 40];
        (six[0], six[6], six[23], six[39]) = (0x60, 6, 1, 2);
        six.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 0]);
        let quoted = read(&[&six]).expect("quoted");
        assert_eq!((quoted.proto, quoted.ports), (6, [40_000, 443]));
        assert_eq!([quoted.src, quoted.dst].map(|ip| ip.to_string()), ["::1", "::2"]);
    }

    #[test]
    fn one_sender_of_several_datagrams_is_one_and_two_are_several() {
        let several = |all: &[&[u8]]| read(all).expect("quoted").several;
        let mut elsewhere = datagram(40_000);
        elsewhere[23] = 54;
        assert!(!several(&[&datagram(40_000), &elsewhere]));
        assert!(several(&[&datagram(40_000), &datagram(40_001), &datagram(40_000)]));
    }

    #[test]
    fn what_has_no_ports_tells_nothing() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = datagram(40_000);
            bytes[at] = byte;
            bytes
        };
        for bytes in [changed(0, 0x55), changed(0, 0x44), changed(7, 1), changed(9, 47)] {
            assert_eq!(read(&[&bytes]), None);
        }
        assert_eq!(read(&[&datagram(40_000)[..23]]), None, "cut before its ports");
        assert!(is_error(1, 3) && is_error(58, 1) && !is_error(1, 8) && !is_error(58, 128));
        assert!(!is_error(17, 3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            first in prop_oneof![Just(0x45_u8), Just(0x60), Just(0x4f), any::<u8>()],
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            read(&[&[&[first], &rest[..]].concat()]);
        }
    }
}

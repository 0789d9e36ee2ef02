//! Addresses in the answers of a DNS response: whom its name stands for.
//!
//! Only sizes and the records of addresses are read, each once and from front to
//! back; names in between are stepped over, never followed. What a cut message
//! still shows counts. Whether an answer belongs to the question is not checked:
//! whoever answers says of the name what he likes anyway. Start at [`addresses`].

use std::net::IpAddr;

use super::{DnsInfo, HEADER_BYTES};
use crate::flow::app::{DnsAddress, MAX_DNS_ADDRESSES};

/// Answers looked at: chains of aliases are short, and nobody can use more
/// addresses of one name than are kept.
const MAX_RECORDS: u16 = 32;
/// Questions stepped over; nobody asks more than one.
const MAX_QUESTIONS: u16 = 4;

const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;
/// In multicast DNS the first bit of the class says something else (RFC 6762
/// section 10.2).
const CLASS_BITS: u16 = 0x7fff;

/// Adds the addresses of a response to those of its name, each once, while there
/// is room.
pub(super) fn addresses(message: &[u8], dns: &mut DnsInfo) {
    each_address(message, |found| {
        if dns.addresses.iter().any(|known| known.address == found.address) {
            return true;
        }
        let has_room = dns.addresses.len() < MAX_DNS_ADDRESSES;
        if has_room {
            dns.addresses.push(found);
        }
        has_room
    });
}

/// Hands out the addresses in the answers of a response, until `take` has enough.
pub(crate) fn each_address(message: &[u8], mut take: impl FnMut(DnsAddress) -> bool) {
    let Some((header, behind)) = message.split_first_chunk::<HEADER_BYTES>() else { return };
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut rest = behind;
    for _ in 0..count(4).min(MAX_QUESTIONS) {
        let Some(behind) = skip_name(rest).and_then(|rest| rest.get(4..)) else { return };
        rest = behind;
    }
    for _ in 0..count(6).min(MAX_RECORDS) {
        let Some((found, behind)) = record(rest) else { return };
        rest = behind;
        if found.is_some_and(|found| !take(found)) {
            return;
        }
    }
}

/// A record, and what follows it.
fn record(bytes: &[u8]) -> Option<(Option<DnsAddress>, &[u8])> {
    let (fixed, behind) = skip_name(bytes)?.split_first_chunk::<10>()?;
    let [kind, class, length] = [0, 2, 8].map(|at| u16::from_be_bytes([fixed[at], fixed[at + 1]]));
    let ttl_s = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let (data, behind) = behind.split_at_checked(usize::from(length))?;
    let address = match kind {
        A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    };
    let address = address.filter(|_| class & CLASS_BITS == INTERNET);
    Some((address.map(|address| DnsAddress { address, ttl_s }), behind))
}

/// What follows a name.
fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, behind) = bytes.split_first()?;
        match length {
            0 => return Some(behind),
            1..=63 => bytes = behind.get(usize::from(length)..)?,
            // A pointer ends the name (RFC 1035 section 4.1.4).
            0xc0.. => return behind.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response to `example A` with these answers: name, type, class, data.
    fn response(answers: &[(&[u8], u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = b"\0\x07\x81\x80\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01".to_vec();
        bytes[7] = answers.len() as u8;
        for (name, kind, class, data) in answers {
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&class.to_be_bytes());
            bytes.extend_from_slice(&300_u32.to_be_bytes());
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    fn read(message: &[u8]) -> Vec<String> {
        let mut dns = DnsInfo::default();
        addresses(message, &mut dns);
        assert!(dns.addresses.iter().all(|found| found.ttl_s == 300));
        dns.addresses.iter().map(|found| found.address.to_string()).collect()
    }

    const POINTER: &[u8] = &[0xc0, 12];

    #[test]
    fn addresses_behind_aliases_are_found_and_other_records_are_not() {
        let v6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let message = response(&[
            (POINTER, 5, 1, b"\x03cdn\xc0\x0c"),
            (b"\x03cdn\xc0\x0c", A, 1, &[192, 0, 2, 1]),
            (POINTER, A, 3, &[192, 0, 2, 2]),
            (POINTER, A, 1, &[192, 0, 2]),
            (b"\x03cdn\x07example\0", AAAA, 0x8001, &v6),
            (POINTER, A, 1, &[192, 0, 2, 1]),
        ]);
        assert_eq!(read(&message), ["192.0.2.1", "2001:db8::7"]);
    }

    #[test]
    fn a_cut_message_shows_the_addresses_before_the_cut() {
        let message =
            response(&[(POINTER, A, 1, &[192, 0, 2, 1]), (POINTER, A, 1, &[192, 0, 2, 2])]);
        assert_eq!(read(&message[..message.len() - 1]), ["192.0.2.1"]);
    }

    #[test]
    fn of_many_addresses_the_first_are_kept() {
        let data: Vec<[u8; 4]> = (0..40).map(|n| [192, 0, 2, n]).collect();
        let answers: Vec<_> = data.iter().map(|data| (POINTER, A, 1, &data[..])).collect();
        let found = read(&response(&answers));
        assert_eq!(found.len(), MAX_DNS_ADDRESSES);
        assert_eq!(found[MAX_DNS_ADDRESSES - 1], "192.0.2.7");
    }

    proptest! {
        #[test]
        fn any_message_gives_bounded_addresses(bytes: Vec<u8>, counts: [u8; 4], data: Vec<u8>) {
            let mut message = response(&[(POINTER, A, 1, &[192, 0, 2, 1]), (&bytes, A, 1, &data)]);
            message[4..8].copy_from_slice(&counts);
            let mut dns = DnsInfo::default();
            addresses(&message, &mut dns);
            addresses(&bytes, &mut dns);
            prop_assert!(dns.addresses.len() <= MAX_DNS_ADDRESSES);
        }
    }
}

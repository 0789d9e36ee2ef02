//! JA4, the TLS client fingerprint (FoxIO, BSD-3-Clause, described in
//! github.com/FoxIO-LLC/ja4 under technical_details/JA4.md).
//!
//! Only JA4 itself: the other methods of that family have another licence.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::tls::{ALPN, ClientHello, SERVER_NAME, is_grease};

/// Stands for the hash of an empty list.
const NOTHING: &str = "000000000000";

/// Fingerprint of a complete hello. `transport` is `t` for TLS over TCP, `q`
/// for QUIC.
pub(super) fn fingerprint(transport: char, hello: &ClientHello<'_>) -> String {
    let mut ciphers = without_grease(&hello.ciphers);
    let mut extensions = without_grease(&hello.extensions);
    let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let [first, last] = alpn_letters(hello.protocols.first().copied().unwrap_or_default());
    let mut text = format!(
        "{transport}{}{name}{:02}{:02}{first}{last}",
        version(hello.version()),
        ciphers.len().min(99),
        extensions.len().min(99),
    );
    ciphers.sort_unstable();
    extensions.retain(|&kind| kind != SERVER_NAME && kind != ALPN);
    extensions.sort_unstable();
    let extensions = match without_grease(&hello.signature_algorithms).as_slice() {
        _ if extensions.is_empty() => String::new(),
        [] => list(&extensions),
        algorithms => format!("{}_{}", list(&extensions), list(algorithms)),
    };
    for part in [list(&ciphers), extensions] {
        text.push('_');
        text.push_str(&hash(&part));
    }
    text
}

fn version(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last letter of a protocol name, or of its hexadecimal form if one
/// of the two bytes is not alphanumeric.
fn alpn_letters(protocol: &[u8]) -> [char; 2] {
    let (Some(&first), Some(&last)) = (protocol.first(), protocol.last()) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first as char, last as char];
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)]
}

fn without_grease(values: &[u16]) -> Vec<u16> {
    values.iter().copied().filter(|&value| !is_grease(value)).collect()
}

fn list(values: &[u16]) -> String {
    let mut text = String::with_capacity(values.len() * 5);
    for value in values {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{value:04x}");
    }
    text
}

/// First twelve hexadecimal digits of SHA-256.
fn hash(list: &str) -> String {
    if list.is_empty() {
        return NOTHING.to_owned();
    }
    let digest = Sha256::digest(list.as_bytes());
    digest[..6].iter().fold(String::with_capacity(12), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello message with the given lists; ALPN and versions as extensions.
    fn hello(ciphers: &[u16], extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[9; 32]);
        body.push(0);
        body.extend_from_slice(&(ciphers.len() as u16 * 2).to_be_bytes());
        body.extend(ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()));
        body.extend_from_slice(&[1, 0]);
        let encoded: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, data)| {
                let length = data.len() as u16;
                [&kind.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
            })
            .collect();
        body.extend_from_slice(&(encoded.len() as u16).to_be_bytes());
        body.extend_from_slice(&encoded);
        let mut message = vec![1, 0];
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(&body);
        message
    }

    fn ja4(message: &[u8]) -> String {
        let hello = ClientHello::parse(message).expect("hello");
        assert!(hello.complete);
        fingerprint('t', &hello)
    }

    /// The example of the published description: its ciphers and extensions in
    /// the order given there, with GREASE mixed in.
    #[test]
    fn the_published_example_is_met() {
        let ciphers = [
            0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let algorithms =
            b"\x00\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01";
        let extensions: [(u16, &[u8]); 18] = [
            (0x3a3a, b""),
            (0x001b, b"\x02\x00\x02"),
            (0x0000, b"\x00\x06\x00\x00\x03a.b"),
            (0x0033, b"\x00\x00"),
            (0x0010, b"\x00\x0c\x02h2\x08http/1.1"),
            (0x4469, b"\x00\x03\x02h2"),
            (0x0017, b""),
            (0x002d, b"\x01\x01"),
            (0x000d, algorithms),
            (0x0005, b"\x01\x00\x00\x00\x00"),
            (0x0023, b""),
            (0x0012, b""),
            (0x002b, b"\x06\xfa\xfa\x03\x04\x03\x03"),
            (0xff01, b"\x00"),
            (0x000b, b"\x01\x00"),
            (0x000a, b"\x00\x02\x00\x1d"),
            (0x0015, b"\x00\x00"),
            (0xdada, b"\x00"),
        ];
        assert_eq!(ja4(&hello(&ciphers, &extensions)), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let without: Vec<_> = extensions.into_iter().filter(|(kind, _)| *kind != 0x000d).collect();
        let without = hello(&ciphers, &without);
        // 000d is in the example's list without signature algorithms; here it is gone.
        assert!(ja4(&without).starts_with("t13d1515h2_8daaf6152771_"));
        assert_eq!(
            hash("0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"),
            "6d807ffa2a79"
        );
    }

    #[test]
    fn empty_lists_have_a_name_of_their_own() {
        assert_eq!(ja4(&hello(&[], &[])), "t12i000000_000000000000_000000000000");
        let only_captured_ones: [(u16, &[u8]); 1] = [(0x0010, b"\x00\x03\x02h2")];
        assert!(ja4(&hello(&[], &only_captured_ones)).ends_with("01h2_000000000000_000000000000"));
    }

    /// The description's own examples.
    #[test]
    fn protocol_names_that_are_not_alphanumeric_show_their_hexadecimal_ends() {
        for (protocol, expected) in [
            (&b""[..], "00"),
            (b"h", "hh"),
            (b"http/1.1", "h1"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"\x30\xab\xcd\x31", "01"),
        ] {
            assert_eq!(String::from_iter(alpn_letters(protocol)), expected);
        }
    }
}

//! Addresses and query values inside texts.
//!
//! An address is replaced where it stands by itself: letters, digits, dots and
//! colons around it are part of the word, and a word that is no address stays.
//! Start at [`rewrite`] and [`mask_query`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use ipnet::IpNet;

use super::crypto_pan::Pseudonyms;
use crate::packet::Mac;

const V4_ZONE: &str = ".in-addr.arpa";
const V6_ZONE: &str = ".ip6.arpa";

/// Replaces the addresses in a text: IPv4 (with a port too), IPv6, MAC. A
/// prefix (`10.0.0.0/8`) stays one of the same length.
pub(super) fn rewrite(pseudonyms: &Pseudonyms, text: &str) -> String {
    rewrite_words(pseudonyms, text, |_| true, push_as_it_is)
}

/// The same, and also an address that is glued to other letters, digits, dots
/// and colons: an option (`-h192.0.2.1`), a forwarding (`8080:192.0.2.1:80`), a
/// unit's name. What looks like an address and is a version changes too.
pub(super) fn rewrite_glued(pseudonyms: &Pseudonyms, text: &str) -> String {
    rewrite_words(pseudonyms, text, |_| true, |word, out| push_glued(pseudonyms, word, out))
}

/// The same for a user agent, whose product versions (RFC 9110 section
/// 10.1.5: `Name/120.0.0.0`) only look like addresses.
pub(super) fn rewrite_agent(pseudonyms: &Pseudonyms, text: &str) -> String {
    rewrite_words(pseudonyms, text, |before| !before.ends_with('/'), push_as_it_is)
}

/// `/a?x=1&y=2` as `/a?x=*&y=*`. What stands without a name in a query is a
/// value too.
pub(super) fn mask_query(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut masked = String::with_capacity(target.len());
    masked.push_str(path);
    let mut separator = '?';
    for parameter in query.split('&') {
        masked.push(separator);
        separator = '&';
        match parameter.split_once('=') {
            Some((name, "")) => {
                masked.push_str(name);
                masked.push('=');
            }
            Some((name, _)) => {
                masked.push_str(name);
                masked.push_str("=*");
            }
            None if parameter.is_empty() => {}
            None => masked.push('*'),
        }
    }
    masked
}

/// The address that a whole reverse DNS name (RFC 1035 section 3.5, RFC 3596
/// section 2.5) asks about. A zone's shorter name is none.
pub(super) fn reverse_name(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(V4_ZONE) {
        let backward: Ipv4Addr = labels.parse().ok()?;
        let [d, c, b, a] = backward.octets();
        return Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    }
    let labels = name.strip_suffix(V6_ZONE)?;
    let mut bits: u128 = 0;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let [digit] = label.as_bytes() else { return None };
        bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
        count += 1;
    }
    (count == 32).then_some(IpAddr::V6(Ipv6Addr::from(bits)))
}

pub(super) fn reverse_name_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}{V4_ZONE}")
        }
        IpAddr::V6(ip) => {
            let digits: Vec<String> =
                format!("{:032x}", u128::from(ip)).chars().rev().map(String::from).collect();
            format!("{}{V6_ZONE}", digits.join("."))
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':')
}

/// `applies` is asked with what stands before the word; `other` appends a word
/// that is no address.
fn rewrite_words(
    pseudonyms: &Pseudonyms,
    text: &str,
    applies: impl Fn(&str) -> bool,
    other: impl Fn(&str, &mut String),
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Word bytes are ASCII, so every cut is between characters.
    while let Some(start) = rest.bytes().position(is_word) {
        let (before, word) = rest.split_at(start);
        out.push_str(before);
        let end = word.bytes().position(|byte| !is_word(byte)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        // The end of a sentence is no part of an address, except after `::`.
        let bare = word.trim_end_matches('.');
        let bare = if bare.ends_with("::") { bare } else { bare.trim_end_matches(':') };
        let consumed =
            if applies(&out) { replace(pseudonyms, bare, after, &mut out) } else { None };
        match consumed {
            Some(consumed) => {
                out.push_str(&word[bare.len()..]);
                rest = &after[consumed..];
            }
            None => {
                other(word, &mut out);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn push_as_it_is(word: &str, out: &mut String) {
    out.push_str(word);
}

/// Longest text of an address: IPv6 with an IPv4 end.
const MAX_ADDRESS_BYTES: usize = 45;

/// Appends a word with the addresses in it replaced. Work is linear in the word.
fn push_glued(pseudonyms: &Pseudonyms, word: &str, out: &mut String) {
    if let Some(ip) = reverse_name(word) {
        out.push_str(&reverse_name_of(pseudonyms.address(ip)));
        return;
    }
    let mut before = None;
    let mut rest = word;
    while let Some(&first) = rest.as_bytes().first() {
        let in_number = before.is_some_and(|byte: u8| byte.is_ascii_digit());
        let could = first.is_ascii_hexdigit() || first == b':';
        let found = if could && !(in_number && first.is_ascii_digit()) {
            leading_address(pseudonyms, rest)
        } else {
            None
        };
        let taken = match found {
            Some((pseudonym, bytes)) => {
                out.push_str(&pseudonym);
                bytes
            }
            None => {
                out.push(char::from(first));
                1
            }
        };
        before = rest.as_bytes().get(taken - 1).copied();
        rest = &rest[taken..];
    }
}

/// The pseudonym of the longest address that `text` begins with, and that
/// address's length.
fn leading_address(pseudonyms: &Pseudonyms, text: &str) -> Option<(String, usize)> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let run = text.bytes().take_while(is_part).take(MAX_ADDRESS_BYTES).count();
    let whole = &text[..run];
    // Digits alone, or without any (`std::dec`), are no address.
    if !whole.contains(['.', ':']) || !whole.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ends = (2..=run).rev().filter(|&end| {
        // Never in the middle of a number.
        let digits = [end - 1, end].map(|at| text.as_bytes().get(at));
        let in_number = digits.iter().all(|byte| byte.is_some_and(u8::is_ascii_digit));
        // `::e88.0.0.0` is an address of 88.0.0.0 behind something, not `::e88`.
        let in_dotted = whole[..end].contains(':')
            && text.as_bytes().get(end) == Some(&b'.')
            && text.as_bytes().get(end + 1).is_some_and(u8::is_ascii_digit);
        !in_number && !in_dotted
    });
    ends.map(|end| &whole[..end]).find_map(|word| {
        let mut pseudonym = String::new();
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_address = has_digit && (mac(word).is_some() || word.parse::<IpAddr>().is_ok());
        (is_address && replace(pseudonyms, word, "", &mut pseudonym).is_some())
            .then_some((pseudonym, word.len()))
    })
}

/// Appends the pseudonym of a word that is an address. Says how much of what
/// follows it took: the length of a prefix.
fn replace(pseudonyms: &Pseudonyms, word: &str, after: &str, out: &mut String) -> Option<usize> {
    if let Some(mac) = mac(word) {
        out.push_str(&pseudonyms.mac(mac).map(|byte| format!("{byte:02x}")).join(":"));
        return Some(0);
    }
    if let Ok(ip) = word.parse::<IpAddr>() {
        let pseudonym = pseudonyms.address(ip);
        if let Some((net, consumed)) = prefix(pseudonym, after) {
            out.push_str(&net.to_string());
            return Some(consumed);
        }
        out.push_str(&pseudonym.to_string());
        return Some(0);
    }
    let socket: SocketAddrV4 = word.parse().ok()?;
    let pseudonym = pseudonyms.address(IpAddr::V4(*socket.ip()));
    out.push_str(&format!("{pseudonym}:{}", socket.port()));
    Some(0)
}

/// The prefix of `ip` whose length stands at the start of `after`.
fn prefix(ip: IpAddr, after: &str) -> Option<(IpNet, usize)> {
    let digits = after.strip_prefix('/')?;
    let end = digits.bytes().position(|byte| !is_word(byte)).unwrap_or(digits.len());
    let bits = digits[..end].trim_end_matches(['.', ':']);
    if bits.len() > 3 || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let net = IpNet::new(ip, bits.parse().ok()?).ok()?.trunc();
    Some((net, 1 + bits.len()))
}

fn mac(word: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut groups = word.split(':');
    for byte in &mut mac {
        let group = groups.next().filter(|group| group.len() == 2)?;
        if !group.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(group, 16).ok()?;
    }
    groups.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::Key;
    use super::*;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(&Key::from_bytes([9; 32]))
    }

    fn of(ip: &str) -> String {
        pseudonyms().address(ip.parse().expect("address")).to_string()
    }

    #[test]
    fn addresses_are_replaced_where_they_stand_by_themselves() {
        let (v4, v6) = (of("192.0.2.1"), of("2001:db8::1"));
        let mac = pseudonyms().mac([2, 0, 0, 0, 0, 0xa]).map(|b| format!("{b:02x}")).join(":");
        for (text, expected) in [
            ("from 192.0.2.1 to 2001:db8::1.", format!("from {v4} to {v6}.")),
            ("192.0.2.1", v4.clone()),
            ("192.0.2.1:8080", format!("{v4}:8080")),
            ("[2001:db8::1]:443", format!("[{v6}]:443")),
            ("at 192.0.2.1: 7 packets", format!("at {v4}: 7 packets")),
            ("02:00:00:00:00:0A@vlan7", format!("{mac}@vlan7")),
            ("2001:db8::", of("2001:db8::")),
        ] {
            assert_eq!(rewrite(&pseudonyms(), text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_glued_to_other_words_are_found_where_texts_glue_them() {
        let (v4, v6) = (of("192.0.2.1"), of("2001:db8::1"));
        let mac = pseudonyms().mac([2, 0, 0, 0, 0, 0xa]).map(|b| format!("{b:02x}")).join(":");
        for (text, expected) in [
            ("-h192.0.2.1", format!("-h{v4}")),
            ("-b192.0.2.1:80", format!("-b{v4}:80")),
            ("8080:192.0.2.1:80", format!("8080:{v4}:80")),
            ("tunnel@192.0.2.1.service", format!("tunnel@{v4}.service")),
            ("192.0.2.1:80:192.0.2.1:81", format!("{v4}:80:{v4}:81")),
            ("-a2001:db8::1", format!("-a{v6}")),
            ("host:2001:db8::1", format!("host:{v6}")),
            ("-m02:00:00:00:00:0a", format!("-m{mac}")),
            ("tcp:192.0.2.1:80,fork", format!("tcp:{v4}:80,fork")),
            ("x1.2.3.4y", format!("x{}y", of("1.2.3.4"))),
            ("::e192.0.2.1:a", format!("::e{v4}:a")),
            ("192.0.2.1", v4),
        ] {
            assert_eq!(rewrite_glued(&pseudonyms(), text), expected, "{text}");
        }
        let name = reverse_name_of("2001:db8::1".parse().expect("address"));
        let expected = reverse_name_of(v6.parse().expect("address"));
        assert_eq!(rewrite_glued(&pseudonyms(), &name), expected);
        for text in ["std::dec", "300.1.1.1", "1.2.3", "09:30:00", "sha256:abcd01", "Ünï 🙂"] {
            assert_eq!(rewrite_glued(&pseudonyms(), text), text);
        }
    }

    #[test]
    fn a_prefix_stays_a_prefix_of_its_length() {
        for (text, address, bits) in [
            ("10.0.0.0/8", "10.0.0.0", 8),
            ("2001:db8::/32", "2001:db8::", 32),
            ("0.0.0.0/0", "0.0.0.0", 0),
        ] {
            let net: IpNet = rewrite(&pseudonyms(), text).parse().expect("prefix");
            assert_eq!((net.prefix_len(), net.trunc()), (bits, net), "{text}");
            assert!(net.contains(&of(address).parse::<IpAddr>().expect("address")), "{text}");
        }
        // No prefix: a path behind a host.
        assert_eq!(rewrite(&pseudonyms(), "192.0.2.1/33x"), format!("{}/33x", of("192.0.2.1")));
    }

    #[test]
    fn what_is_no_address_stays() {
        for text in [
            "",
            "2026-11-21T09:30:00Z",
            "12,345 packets/s, 1.5 Gbit/s; confidence 0.6",
            "host.example.org:443",
            "v1.2.3.4-beta is a name",
            "09:30:00",
            "...:::",
            "Ünïcödé 🙂",
            "300.1.1.1",
            "/index.html",
        ] {
            assert_eq!(rewrite(&pseudonyms(), text), text);
        }
    }

    #[test]
    fn every_value_of_a_query_is_masked() {
        for (target, expected) in [
            ("/a?x=1&y=2", "/a?x=*&y=*"),
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?token", "/a?*"),
            ("/a?x=1=2&&=3&z=", "/a?x=*&&=*&z="),
            ("/a?b?c=d", "/a?b?c=*"),
            ("http://h/p?q=\\xff", "http://h/p?q=*"),
        ] {
            assert_eq!(mask_query(target), expected, "{target}");
        }
    }

    #[test]
    fn reverse_names_are_read_both_ways() {
        for ip in ["192.0.2.1", "2001:db8::1", "::"] {
            let ip: IpAddr = ip.parse().expect("address");
            assert_eq!(reverse_name(&reverse_name_of(ip)), Some(ip));
        }
        assert_eq!(reverse_name_of("192.0.2.1".parse().expect("ip")), "1.2.0.192.in-addr.arpa");
        for name in ["2.0.192.in-addr.arpa", "in-addr.arpa", "1.ip6.arpa", "é.ip6.arpa", "x"] {
            assert_eq!(reverse_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_rewritten_and_masked(text: String) {
            rewrite(&pseudonyms(), &text);
            rewrite_agent(&pseudonyms(), &text);
            rewrite_glued(&pseudonyms(), &text);
            reverse_name(&text);
            let once = mask_query(&text);
            prop_assert_eq!(mask_query(&once), once);
        }

        #[test]
        fn no_value_survives_its_mask(
            names in prop::collection::vec("[a-z]{1,4}", 1..5),
            secret in "[A-Z0-9%.+]{1,9}",
        ) {
            let query: Vec<String> = names.iter().map(|name| format!("{name}={secret}")).collect();
            let masked = mask_query(&format!("/path?{}", query.join("&")));
            prop_assert!(!masked.contains(&secret), "{masked}");
            prop_assert_eq!(masked.matches("=*").count(), names.len());
        }

        #[test]
        fn no_address_hides_behind_letters(
            before in "[g-z]{0,3}[a-z:.]{0,3}", after in "[:.][a-z]{1,3}[0-9]{0,4}", ip: u32,
        ) {
            let ip = Ipv4Addr::from(ip).to_string();
            prop_assume!(of(&ip) != ip);
            let rewritten = rewrite_glued(&pseudonyms(), &format!("{before}{ip}{after}"));
            prop_assert!(!rewritten.contains(&ip), "{}", rewritten);
        }

        #[test]
        fn text_around_an_address_is_kept(before in "[a-z ]{0,9} ", after in " [a-z ]{0,9}", ip: u32) {
            let ip = Ipv4Addr::from(ip);
            let text = format!("{before}{ip}{after}");
            let expected = format!("{before}{}{after}", of(&ip.to_string()));
            prop_assert_eq!(rewrite(&pseudonyms(), &text), expected);
        }
    }
}

//! JSON into a reused buffer.
//!
//! Faster than a general serialiser because the layout is fixed and absent
//! fields cost nothing; the tests read everything back with one.

use std::io::Write as _;
use std::net::IpAddr;

use super::ascii::Ascii;
use crate::time::rfc3339_bytes;

/// Appends JSON. Commas are set from what stands at the end. What takes a key
/// is always inlined: then the key's length is a constant and its copy a few
/// moves instead of a call.
#[derive(Debug, Default)]
pub(super) struct Json {
    pub(super) bytes: Vec<u8>,
}

impl Json {
    /// One object on a line of its own at the end of `out`.
    pub(super) fn append_line(out: &mut Vec<u8>, fields: impl FnOnce(&mut Self)) {
        let mut json = Self { bytes: std::mem::take(out) };
        json.line(fields);
        *out = json.bytes;
    }

    /// One object on a line of its own.
    pub(super) fn line(&mut self, fields: impl FnOnce(&mut Self)) {
        self.bytes.push(b'{');
        fields(self);
        self.bytes.extend_from_slice(b"}\n");
    }

    #[inline(always)]
    pub(super) fn object(&mut self, key: &str, fields: impl FnOnce(&mut Self)) {
        self.key(key);
        self.bytes.push(b'{');
        fields(self);
        self.bytes.push(b'}');
    }

    /// An object that is an array's element.
    pub(super) fn element(&mut self, fields: impl FnOnce(&mut Self)) {
        self.comma();
        self.bytes.push(b'{');
        fields(self);
        self.bytes.push(b'}');
    }

    #[inline(always)]
    pub(super) fn array(&mut self, key: &str, elements: impl FnOnce(&mut Self)) {
        self.key(key);
        self.bytes.push(b'[');
        elements(self);
        self.bytes.push(b']');
    }

    /// A pair of numbers that is an array's element.
    pub(super) fn pair(&mut self, negative: bool, first: u64, second: u64) {
        self.comma();
        self.bytes.push(b'[');
        if negative {
            self.bytes.push(b'-');
        }
        self.number(first);
        self.bytes.push(b',');
        self.number(second);
        self.bytes.push(b']');
    }

    #[inline(always)]
    pub(super) fn uint(&mut self, key: &str, value: impl Into<u64>) {
        self.key(key);
        self.number(value.into());
    }

    /// A number that is left out where it is zero.
    #[inline(always)]
    pub(super) fn count(&mut self, key: &str, value: u32) {
        if value > 0 {
            self.uint(key, value);
        }
    }

    /// A number that is an array's element.
    pub(super) fn uint_element(&mut self, value: impl Into<u64>) {
        self.comma();
        self.number(value.into());
    }

    /// Rounded to three decimals; see [`push_decimal`].
    #[inline(always)]
    pub(super) fn decimal(&mut self, key: &str, value: f64) {
        self.key(key);
        push_decimal(&mut self.bytes, value);
    }

    #[inline(always)]
    pub(super) fn bool(&mut self, key: &str, value: bool) {
        self.key(key);
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    pub(super) fn optional_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A text that is an array's element.
    pub(super) fn text_element(&mut self, value: &str) {
        self.comma();
        self.quoted(value);
    }

    /// A text under a key that may need escapes itself.
    pub(super) fn member(&mut self, key: &str, value: &str) {
        self.comma();
        self.quoted(key);
        self.bytes.push(b':');
        self.quoted(value);
    }

    /// Fields that were written before; at least one.
    pub(super) fn fields(&mut self, fields: &str) {
        self.comma();
        self.bytes.extend_from_slice(fields.as_bytes());
    }

    /// A text that is known to need no escape.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'"');
    }

    #[inline(always)]
    pub(super) fn time(&mut self, key: &str, ns: i64) {
        self.plain(key, &rfc3339_bytes(ns));
    }

    #[inline(always)]
    pub(super) fn ip(&mut self, key: &str, ip: IpAddr) {
        self.key(key);
        self.bytes.push(b'"');
        push_ip(&mut self.bytes, ip);
        self.bytes.push(b'"');
    }

    /// An address that is an array's element.
    pub(super) fn ip_element(&mut self, ip: IpAddr) {
        self.comma();
        self.bytes.push(b'"');
        push_ip(&mut self.bytes, ip);
        self.bytes.push(b'"');
    }

    /// MAC in the usual six pairs.
    #[inline(always)]
    pub(super) fn mac(&mut self, key: &str, mac: &[u8; 6]) {
        self.plain(key, &mac_text(mac));
    }

    #[inline(always)]
    fn key(&mut self, key: &str) {
        // Room for comma, quotes and colon, so that one check covers all.
        self.bytes.reserve(key.len() + 4);
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    /// Texts end with a quote and numbers with a digit, so an opening bracket
    /// at the end is always structure.
    fn comma(&mut self) {
        if !matches!(self.bytes.last(), Some(b'{' | b'[' | b'\n') | None) {
            self.bytes.push(b',');
        }
    }

    fn number(&mut self, value: u64) {
        push_uint(&mut self.bytes, value);
    }

    fn quoted(&mut self, text: &str) {
        self.bytes.push(b'"');
        let mut rest = text.as_bytes();
        loop {
            let (plain, after) = rest.split_at(plain_bytes(rest));
            self.bytes.extend_from_slice(plain);
            let Some((&byte, after)) = after.split_first() else { break };
            rest = after;
            if matches!(byte, b'"' | b'\\') {
                self.bytes.extend_from_slice(&[b'\\', byte]);
            } else {
                // Writing to a Vec cannot fail.
                let _ = write!(self.bytes, "\\u{byte:04x}");
            }
        }
        self.bytes.push(b'"');
    }
}

/// How many bytes at the start need no escape. Whole blocks are looked at side by
/// side.
fn plain_bytes(text: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\' || byte == 0x7f;
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | escaped(byte));
    let blocks = BLOCK * text.chunks_exact(BLOCK).take_while(is_plain).count();
    let rest = &text[blocks..];
    blocks + rest.iter().position(|&byte| escaped(byte)).unwrap_or(rest.len())
}

pub(super) fn push_uint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A number that is not negative, rounded half away from zero to three
/// decimals, without trailing zeros. From 2^50 on without decimals, which a
/// float of that size does not have. Not a number gives `null`.
pub(super) fn push_decimal(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = (1_u64 << 50) as f64;
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let value = value.max(0.0);
    if value >= EXACT {
        out.extend_from_slice(itoa::Buffer::new().format(value.round() as u128).as_bytes());
        return;
    }
    let thousandths = (value * 1000.0).round() as u64;
    push_uint(out, thousandths / 1000);
    let fraction = thousandths % 1000;
    if fraction > 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10];
        let kept = 3 - digits.iter().rev().take_while(|&&digit| digit == 0).count();
        out.push(b'.');
        out.extend(digits[..kept].iter().map(|&digit| b'0' + digit as u8));
    }
}

pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    out.extend_from_slice(Ascii::from(ip).as_bytes());
}

pub(super) fn mac_text(mac: &[u8; 6]) -> [u8; 17] {
    let mut text = [b':'; 17];
    for (at, &byte) in mac.iter().enumerate() {
        text[3 * at..3 * at + 2].copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

/// `00` to `ff`.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(value: f64) -> String {
        let mut out = Vec::new();
        push_decimal(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn decimals_are_short_and_end_at_the_third() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.5, "1.5"),
            (0.0004, "0"),
            (0.0005, "0.001"),
            (2.9996, "3"),
            (100.25, "100.25"),
            (12.003, "12.003"),
            (1e18, "1000000000000000000"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(decimal(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text: String, key in "[a-z_]{1,8}") {
            let mut json = Json::default();
            json.line(|json| {
                json.text(&key, &text);
                json.array("list", |json| {
                    json.text_element(&text);
                    json.text_element("");
                });
                json.object("members", |json| json.member(&text, &text));
            });
            prop_assert_eq!(json.bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&json.bytes).expect("JSON");
            prop_assert_eq!(read[&key].as_str(), Some(text.as_str()));
            prop_assert_eq!(read["list"][0].as_str(), Some(text.as_str()));
            prop_assert_eq!(read["members"][&text].as_str(), Some(text.as_str()));
        }

        #[test]
        fn decimals_are_within_half_a_thousandth(value in 0.0..1e12_f64) {
            let read: f64 = decimal(value).parse().expect("number");
            prop_assert!((read - value).abs() <= 0.000_5 + value * 1e-15, "{value} {read}");
        }
    }
}

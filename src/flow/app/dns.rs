//! DNS (RFC 1035), multicast DNS (RFC 6762) and LLMNR (RFC 4795): the first
//! question and, from the response, its code, its number of answers and the
//! addresses among them ([`answers`]).
//!
//! A response cut by the snap length tells its code as a whole one does, and
//! counts that lie cost nothing.

pub(crate) mod answers;

use simple_dns::Packet;

use super::text::push;
use super::{AppInfo, DnsInfo};

const HEADER_BYTES: usize = 12;
/// Longest name on the wire (RFC 1035 section 2.3.4), type and class.
const QUESTION_BYTES: usize = 255 + 4;
/// Highest operation code in use (IANA: 6, DNS stateful operations).
const LAST_OPCODE: u8 = 6;

/// DNS, multicast DNS, LLMNR.
pub(super) fn is_port(port: u16) -> bool {
    matches!(port, 53 | 5353 | 5355)
}

/// DNS over TCP: two bytes of length come first (RFC 1035 section 4.2.2).
pub(super) fn inspect_tcp(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let Some((prefix, message)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length >= HEADER_BYTES {
        inspect(&message[..message.len().min(length)], info);
    }
}

/// Adds what one DNS message tells. A response tells its code only for the
/// question that the flow asked first, and addresses for the name in it: A and
/// AAAA are asked for side by side.
pub(super) fn inspect(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let Some(message) = Message::parse(bytes) else { return };
    let answered = |dns: &mut DnsInfo| {
        if message.is_response && dns.response_code.is_none() {
            dns.response_code = Some(message.response_code);
            dns.answers = Some(message.answers);
        }
    };
    match info.as_deref_mut().and_then(|app| app.dns.as_mut()) {
        Some(dns) if dns.query == message.query => {
            if dns.query_type == message.query_type {
                answered(dns);
            }
            message.add_addresses(bytes, dns);
        }
        Some(_) => {}
        None => {
            let dns = info.get_or_insert_default().dns.insert(DnsInfo {
                query: message.query.clone(),
                query_type: message.query_type,
                ..DnsInfo::default()
            });
            answered(dns);
            message.add_addresses(bytes, dns);
        }
    }
}

struct Message {
    query: String,
    query_type: u16,
    is_response: bool,
    response_code: u8,
    answers: u16,
}

impl Message {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, behind) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let is_response = header[2] & 0x80 != 0;
        let opcode = header[2] >> 3 & 0x0f;
        let questions = u16::from_be_bytes([header[4], header[5]]);
        let answers = u16::from_be_bytes([header[6], header[7]]);
        if opcode > LAST_OPCODE {
            return None;
        }
        let (query, query_type) = match questions {
            // Multicast DNS answers carry no question (RFC 6762 section 6).
            0 if is_response => (String::new(), 0),
            0 => return None,
            _ => first_question(header, behind)?,
        };
        Some(Self { query, query_type, is_response, response_code: header[3] & 0x0f, answers })
    }

    /// Multicast answers without a question name nobody here.
    fn add_addresses(&self, bytes: &[u8], dns: &mut DnsInfo) {
        if self.is_response && self.response_code == 0 && !self.query.is_empty() {
            answers::addresses(bytes, dns);
        }
    }
}

/// Name and type of the first question.
///
/// The parser is given that question alone, with a header that announces
/// nothing else: it would otherwise refuse a cut message, and make room for as
/// many records as the header claims.
fn first_question(header: &[u8; HEADER_BYTES], behind: &[u8]) -> Option<(String, u16)> {
    let mut message = [0; HEADER_BYTES + QUESTION_BYTES];
    let taken = behind.len().min(QUESTION_BYTES);
    // Identifier, operation code and flags; the reserved bit, which LLMNR uses, cleared.
    message[..4].copy_from_slice(&header[..4]);
    message[3] &= !0x40;
    message[5] = 1;
    message[HEADER_BYTES..HEADER_BYTES + taken].copy_from_slice(&behind[..taken]);
    let packet = Packet::parse(&message[..HEADER_BYTES + taken]).ok()?;
    let question = packet.questions.first()?;
    Some((name(question.qname.as_bytes()), question.qtype.into()))
}

/// Lower-case text of a name, odd bytes escaped as in a zone file (RFC 1035
/// section 5.1).
fn name<'a>(labels: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for label in labels {
        if !text.is_empty() && !push(&mut text, format_args!("."), 1) {
            return text;
        }
        for &byte in label {
            let fits = match byte {
                b'.' | b'\\' => push(&mut text, format_args!("\\{}", byte as char), 2),
                b'!'..=b'~' => {
                    push(&mut text, format_args!("{}", byte.to_ascii_lowercase() as char), 1)
                }
                _ => push(&mut text, format_args!("\\{byte:03}"), 4),
            };
            if !fits {
                return text;
            }
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `labels` with identifier 7 and recursion desired.
    fn query(labels: &[&[u8]], query_type: u16) -> Vec<u8> {
        let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend_from_slice(&query_type.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    /// The response to a query: code and number of answers as claimed, none there.
    fn response(query: &[u8], code: u8, answers: u16) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2] |= 0x80;
        bytes[3] = 0x80 | code;
        bytes[6..8].copy_from_slice(&answers.to_be_bytes());
        bytes
    }

    fn read(messages: &[&[u8]]) -> Option<DnsInfo> {
        let mut info = None;
        for message in messages {
            inspect(message, &mut info);
        }
        info.and_then(|app| app.dns)
    }

    #[test]
    fn a_query_and_its_response_make_one_hint() {
        let asked = query(&[b"WWW", b"example", b"org"], 28);
        let dns = read(&[&asked, &response(&asked, 3, 0)]).expect("hint");
        assert_eq!((dns.query.as_str(), dns.query_type), ("www.example.org", 28));
        assert_eq!((dns.response_code, dns.answers), (Some(3), Some(0)));
    }

    #[test]
    fn a_response_cut_after_its_question_still_counts_its_answers() {
        let asked = query(&[b"example", b"org"], 255);
        let dns = read(&[&response(&asked, 0, 65_535)]).expect("hint");
        assert_eq!((dns.response_code, dns.answers), (Some(0), Some(65_535)));
    }

    #[test]
    fn a_response_to_another_question_changes_nothing() {
        let first = query(&[b"a"], 1);
        let other = query(&[b"a"], 28);
        let dns = read(&[&first, &response(&other, 2, 9), &response(&first, 0, 1)]).expect("hint");
        assert_eq!((dns.query_type, dns.response_code, dns.answers), (1, Some(0), Some(1)));
    }

    #[test]
    fn addresses_are_kept_for_the_name_that_was_asked_first_of_either_type() {
        let answered = |query: &[u8], kind: u8, data: &[u8]| {
            let mut bytes = response(query, 0, 1);
            bytes.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            bytes.extend_from_slice(data);
            bytes
        };
        let (v4, v6) = (query(&[b"a"], 1), query(&[b"a"], 28));
        let dns = read(&[
            &v4,
            &v6,
            &answered(&v6, 28, &[0x20; 16]),
            &answered(&query(&[b"b"], 1), 1, &[192, 0, 2, 9]),
            &answered(&v4, 1, &[192, 0, 2, 1]),
        ])
        .expect("hint");
        let found = dns.addresses.iter().map(|found| (found.address.to_string(), found.ttl_s));
        let expected = ["2020:2020:2020:2020:2020:2020:2020:2020", "192.0.2.1"];
        assert!(found.eq(expected.map(|address| (address.to_owned(), 60))));
        let mut refused = answered(&v4, 1, &[192, 0, 2, 1]);
        refused[3] |= 3;
        assert_eq!(read(&[&v4, &refused]).expect("hint").addresses, []);
    }

    #[test]
    fn odd_bytes_are_escaped_and_the_root_has_a_name() {
        let dns = read(&[&query(&[b"a.b\\", b"\x1b[m \xff"], 16)]).expect("hint");
        assert_eq!(dns.query, "a\\.b\\\\.\\027[m\\032\\255");
        assert_eq!(read(&[&query(&[], 2)]).expect("root").query, ".");
    }

    #[test]
    fn names_that_expand_over_the_bound_are_cut() {
        let label = [0xff; 63];
        let dns = read(&[&query(&[&label, &label, &label], 1)]).expect("hint");
        assert!(dns.query.len() <= super::super::MAX_TEXT_BYTES);
        assert!(dns.query.ends_with("\\255") || dns.query.ends_with('.'));
    }

    #[test]
    fn what_is_no_dns_message_gives_nothing() {
        let asked = query(&[b"example"], 1);
        for cut in 0..asked.len() {
            assert_eq!(read(&[&asked[..cut]]), None, "cut at {cut}");
        }
        let mut loops = asked.clone();
        loops[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(read(&[&loops]), None, "a pointer to itself");
        let mut operation = asked.clone();
        operation[2] = 0x78;
        assert_eq!(read(&[&operation]), None, "operation code 15");
        let mut empty = asked;
        empty[5] = 0;
        assert_eq!(read(&[&empty]), None, "a query without a question");
    }

    #[test]
    fn over_tcp_the_length_bounds_the_message() {
        let asked = query(&[b"example"], 1);
        let mut framed = (asked.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&asked);
        let mut info = None;
        inspect_tcp(&framed, &mut info);
        assert_eq!(info.expect("hint").dns.expect("dns").query, "example");
        framed[1] -= 1;
        let mut info = None;
        inspect_tcp(&framed, &mut info);
        assert_eq!(info, None, "the question runs over the length");
    }
}

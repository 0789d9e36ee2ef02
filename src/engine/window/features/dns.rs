//! DNS messages by who asks whom about which registered domain.
//!
//! The registered domain is by the rules of [`super::domain`].

use super::super::sample::BottomK;
use super::super::table::Merge;
use super::super::{Hll, Host};
use super::domain::registered_len;
use super::{Carried, Ends, Features, Text, digest};
use crate::packet::PacketRow;

/// The only one at which messages are read.
pub const PORT: u16 = 53;

const HEADER: usize = 12;
/// RFC 1035, 2.3.4: 255 on the wire, with a length before each label and the root behind.
const MAX_NAME: usize = 253;

/// Longest domain and longest name that are kept whole.
const DOMAIN: usize = 64;
const SAMPLE: usize = 128;

/// Bytes of an answer that a name with some addresses, or an alias and one, has.
pub const ORDINARY_ANSWER: u64 = 100;

/// Classes of bytes whose frequencies are counted: printable ASCII by itself, control
/// bytes as one, the upper half by four.
pub const SYMBOLS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsKey {
    pub client: Host,
    pub server: Host,
    /// Digest of the registered domain.
    pub domain: u64,
}

/// Types of question that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DnsType {
    A,
    Aaaa,
    Txt,
    Null,
    Cname,
    Mx,
    Other,
}

impl DnsType {
    fn of(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            16 => Self::Txt,
            10 => Self::Null,
            5 => Self::Cname,
            15 => Self::Mx,
            _ => Self::Other,
        }
    }
}

/// What was asked of one server about one domain in a second.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsStats {
    pub domain: Text<DOMAIN>,
    pub queries: u32,
    pub responses: u32,
    /// Responses that say that the name does not exist.
    pub nxdomain: u32,
    /// Distinct names, asked or answered.
    pub names: Hll,
    /// Of queries, what stands before the registered domain, dots left out.
    pub subdomain_bytes: u64,
    pub longest_subdomain: u16,
    /// Queries by [`DnsType`].
    pub types: [u32; 7],
    /// Of responses, behind the question.
    pub answer_bytes: u64,
    /// Those of responses with answers: not of what says that there is none, which with
    /// signatures (DNSSEC) is long. Of each beyond [`ORDINARY_ANSWER`].
    pub given_bytes: u64,
    /// Bytes of the subdomains of queries.
    pub symbols: [u32; SYMBOLS],
    /// Of queries and responses.
    pub carried: Carried,
    /// One of the names.
    pub sample: BottomK<Text<SAMPLE>, 1>,
}

impl Default for DnsStats {
    fn default() -> Self {
        Self {
            domain: Text::default(),
            queries: 0,
            responses: 0,
            nxdomain: 0,
            names: Hll::default(),
            subdomain_bytes: 0,
            longest_subdomain: 0,
            types: [0; 7],
            answer_bytes: 0,
            given_bytes: 0,
            symbols: [0; SYMBOLS],
            carried: Carried::default(),
            sample: BottomK::default(),
        }
    }
}

impl Merge for DnsStats {
    fn merge(&mut self, other: &Self) {
        // One digest is one domain; were it two, the same one is shown anywhere.
        self.domain =
            if self.domain.is_empty() { other.domain } else { self.domain.min(other.domain) };
        self.queries = self.queries.saturating_add(other.queries);
        self.responses = self.responses.saturating_add(other.responses);
        self.nxdomain = self.nxdomain.saturating_add(other.nxdomain);
        self.names.merge(&other.names);
        self.subdomain_bytes = self.subdomain_bytes.saturating_add(other.subdomain_bytes);
        self.longest_subdomain = self.longest_subdomain.max(other.longest_subdomain);
        self.answer_bytes = self.answer_bytes.saturating_add(other.answer_bytes);
        self.given_bytes = self.given_bytes.saturating_add(other.given_bytes);
        add_all(&mut self.types, &other.types);
        add_all(&mut self.symbols, &other.symbols);
        self.carried.merge(&other.carried);
        self.sample.merge(&other.sample);
    }
}

pub(super) fn add_all(sums: &mut [u32], more: &[u32]) {
    for (sum, &more) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(more);
    }
}

impl Features {
    /// Reads a message of which `wire_bytes` were on the wire; whether it is one about a name.
    pub(super) fn add_dns(
        &mut self,
        packet: &PacketRow,
        ends: &Ends,
        message: &[u8],
        wire_bytes: u32,
    ) -> bool {
        let Some(question) = Question::read(message) else { return false };
        let (client, server) = match question.is_response {
            true if ends.src_port == PORT => (ends.dst, ends.src),
            false if ends.dst_port == PORT => (ends.src, ends.dst),
            _ => return true,
        };
        self.dns.messages = self.dns.messages.saturating_add(1);
        let seed = self.seed;
        let (subdomain, domain) = question.parts();
        let key = DnsKey { client, server, domain: digest(seed, domain) };
        let hash = seed.mix(seed.mix(seed.host(&client), seed.host(&server)), key.domain);
        let name_hash = digest(seed, question.name());
        if question.is_response && question.code == 0 {
            self.add_told(&key, question.name(), message);
        }
        let Some(stats) = self.dns.entry(hash, key) else { return true };
        if stats.domain.is_empty() {
            stats.domain = Text::new(domain);
        }
        stats.carried.add(packet);
        stats.names.insert(name_hash);
        if stats.sample.would_take(name_hash) {
            stats.sample.insert(name_hash, Text::new(question.name()));
        }
        if question.is_response {
            stats.responses = stats.responses.saturating_add(1);
            stats.nxdomain = stats.nxdomain.saturating_add(u32::from(question.code == 3));
            let answer = u64::from(wire_bytes).saturating_sub(question.end as u64);
            stats.answer_bytes = stats.answer_bytes.saturating_add(answer);
            if question.code == 0 && message.get(6..8).is_some_and(|count| count != [0, 0]) {
                let given = answer.saturating_sub(ORDINARY_ANSWER);
                stats.given_bytes = stats.given_bytes.saturating_add(given);
            }
            return true;
        }
        stats.queries = stats.queries.saturating_add(1);
        let of_type = &mut stats.types[DnsType::of(question.kind) as usize];
        *of_type = of_type.saturating_add(1);
        let mut bytes = 0;
        for &byte in subdomain.iter().filter(|&&byte| byte != b'.') {
            bytes += 1;
            let sum = &mut stats.symbols[symbol(byte)];
            *sum = sum.saturating_add(1);
        }
        stats.subdomain_bytes = stats.subdomain_bytes.saturating_add(bytes);
        stats.longest_subdomain = stats.longest_subdomain.max(bytes as u16);
        true
    }
}

/// Class of a byte, under [`SYMBOLS`].
fn symbol(byte: u8) -> usize {
    match byte {
        ..0x20 => 0,
        0x20..0x80 => usize::from(byte) - 0x1f,
        // 32 classes fill the rest.
        _ => 97 + usize::from(byte & 0x7f) * (SYMBOLS - 97) / 0x80,
    }
}

/// Operation code 0, a plain query; Z, which must be zero; one question.
fn asks_plainly(header: &[u8; HEADER]) -> bool {
    header[2] & 0x78 == 0 && header[3] & 0x40 == 0 && header[4..6] == [0, 1]
}

/// Begins as a message about a name does.
pub(super) fn may_begin(payload: &[u8]) -> bool {
    payload.first_chunk::<HEADER>().is_some_and(asks_plainly)
}

/// The first question of a message.
struct Question {
    /// Lower case: resolvers mix cases at random (RFC 5452's relatives), which says
    /// nothing. Labels with dots between; a dot inside a label is `\xff`.
    text: [u8; MAX_NAME],
    len: usize,
    kind: u16,
    is_response: bool,
    code: u8,
    /// Where the question ends in the message.
    end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER>().filter(|header| asks_plainly(header))?;
        let mut question = Self {
            text: [0; MAX_NAME],
            len: 0,
            kind: 0,
            is_response: header[2] & 0x80 != 0,
            code: header[3] & 0x0f,
            end: 0,
        };
        let mut at = HEADER;
        loop {
            let label_len = usize::from(*message.get(at)?);
            at += 1;
            if label_len == 0 {
                break;
            }
            // Longer ones are pointers, and there is nothing to point at yet.
            let label = message.get(at..at + label_len).filter(|_| label_len < 64)?;
            let from = if question.len == 0 { 0 } else { question.len + 1 };
            let room = question.text.get_mut(from..from + label_len)?;
            for (to, &byte) in room.iter_mut().zip(label) {
                *to = if byte == b'.' { 0xff } else { byte.to_ascii_lowercase() };
            }
            if from > 0 {
                question.text[from - 1] = b'.';
            }
            question.len = from + label_len;
            at += label_len;
        }
        let [t0, t1, c0, c1] = *message.get(at..)?.first_chunk::<4>()?;
        question.kind = u16::from_be_bytes([t0, t1]);
        question.end = at + 4;
        // Internet, or any.
        matches!([c0, c1], [0, 1] | [0, 255]).then_some(question)
    }

    fn name(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// What stands before the registered domain, with the dot, and the domain.
    fn parts(&self) -> (&[u8], &[u8]) {
        let name = self.name();
        name.split_at(name.len().saturating_sub(registered_len(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(labels: &[&[u8]]) -> Option<Question> {
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(label.len() as u8);
            message.extend_from_slice(label);
        }
        message.extend_from_slice(&[0, 0, 16, 0, 1]);
        Question::read(&message)
    }

    fn parts(labels: &[&[u8]]) -> (String, String) {
        let question = question(labels).expect("a question");
        let (before, domain) = question.parts();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        (text(before), text(domain))
    }

    #[test]
    fn names_part_before_the_registered_domain() {
        let expect = |labels: &[&[u8]], before: &str, domain: &str| {
            assert_eq!(parts(labels), (before.to_owned(), domain.to_owned()));
        };
        expect(&[b"WWW", b"Example", b"co", b"uk"], "www.", "example.co.uk");
        expect(&[b"example", b"com"], "", "example.com");
        expect(&[b"co", b"uk"], "", "co.uk");
        expect(&[b"a", b"b", b"user", b"github", b"io"], "a.b.", "user.github.io");
        expect(
            &[b"mzxw6ytboi2dkobrgiztinjwg44ds", b"tunnel"],
            "mzxw6ytboi2dkobrgiztinjwg44ds.",
            "tunnel",
        );
        expect(&[b"localhost"], "", "localhost");
        expect(&[b"a.b", b"example", b"com"], "a\\xffb.", "example.com");
        expect(&[], "", "");
    }

    #[test]
    fn what_is_no_question_is_none() {
        assert!(question(&[&[b'a'; 64]]).is_none(), "a label of 64");
        assert!(question(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 63]]).is_none());
        assert!(Question::read(&[0; 11]).is_none());
        assert!(Question::read(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12]).is_none());
    }

    #[test]
    fn each_byte_has_a_symbol() {
        for byte in 0..=255 {
            assert!(symbol(byte) < SYMBOLS, "{byte}");
        }
        assert_ne!(symbol(0x7f), symbol(0x80));
    }
}

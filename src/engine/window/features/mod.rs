//! What packets of some protocols say, for every packet of them: DNS messages and what is
//! none at their port, ICMP echo, HTTP/1 request and status lines in clear.
//!
//! A [`Features`] is one second of a shard. Each of its tables keeps the keys with the
//! lowest ranks ([`Kept`]), each key's sums whole; so shards merge in any order to
//! the same, whatever their number, and a flood of keys takes bounded memory. What
//! was not kept is counted. A packet of another protocol costs a look at its class
//! and ports (`concerns`); TCP to other ports than those of TLS and SSH costs a look at
//! its first three bytes.
//!
//! Not seen: what begins behind the first byte of a segment (pipelined requests),
//! later fragments, DNS on other ports than 53, HTTP/2.

mod carried;
mod dns;
mod domain;
mod echo;
mod http;
mod kept;
mod not_dns;
mod symbols;
mod template;
mod text;
mod told;

pub use carried::Carried;
pub use dns::{DnsKey, DnsStats, DnsType, ORDINARY_ANSWER, PORT as DNS_PORT, SYMBOLS};
pub use domain::registered;
pub use echo::{EchoKey, EchoStats, Exchange, Exchanges, Sampled};
pub use http::{AnswerKey, RequestKey, RequestLine, Status};
pub use kept::Kept;
pub use not_dns::{NotDnsKey, NotDnsStats};
pub use symbols::Symbols;
pub use template::Template;
pub use text::{Text, shown};
pub use told::{ToldKey, ToldName};

use super::{Host, Seed};
use crate::packet::{PacketClass, PacketRow, row_flag};

/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Triples of client, server and domain kept of a second: what a resolver of ten
/// thousand people sees. Each takes 1.3 KB, and up to twice as many are held meanwhile.
const DNS_KEYS: usize = 2_048;
/// Names and addresses that servers told in a second, by who was told: two addresses of each
/// domain. Each takes 200 bytes.
const TOLD_NAMES: usize = 2 * DNS_KEYS;
/// Pairs of a second that send what is no DNS message to its port, of 0.3 KB each.
const NOT_DNS_PAIRS: usize = 1_024;
/// Pairs of a second. A sweep has more; it is no tunnel.
const ECHO_PAIRS: usize = 1_024;
/// Requests of a second, of 3 KB each.
const REQUESTS: usize = 1_024;
/// Answers of a second: those of more requests than are kept.
const ANSWERS: usize = 4_096;

/// One second of one shard, or of all of them once merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    seed: Seed,
    pub dns: Kept<DnsKey, DnsStats>,
    /// Whom names stand for, by answers.
    pub told: Kept<ToldKey, ToldName>,
    /// What is no DNS message at its port.
    pub not_dns: Kept<NotDnsKey, NotDnsStats>,
    pub echo: Kept<EchoKey, EchoStats>,
    pub requests: Kept<RequestKey, RequestLine>,
    pub answers: Kept<AnswerKey, Status>,
}

/// Whether a packet is one that [`Features::add`] reads. Every packet is asked: of UDP and of
/// TCP by what is known where each is decoded, and with one branch that is rarely taken, for
/// what mixed traffic has next can't be guessed.
#[inline(always)]
pub(crate) fn concerns(packet: &PacketRow, bytes: &[u8]) -> bool {
    let key = &packet.key;
    let has_port = |port: u16| (key.port_a == port) | (key.port_b == port);
    let payload = || bytes.get(packet.payload_at as usize..).unwrap_or_default();
    match key.proto {
        TCP => {
            let encrypted = has_port(443) | has_port(22);
            let reads = has_port(dns::PORT) | http::may_begin(payload());
            (packet.class == PacketClass::TcpData) & !encrypted & reads
        }
        UDP if has_port(dns::PORT) => {
            // Of what was cut, messages about names alone are counted.
            packet.payload_captured >= packet.payload_bytes || dns::may_begin(payload())
        }
        UDP => false,
        _ => packet.class == PacketClass::Icmp && echo::is_echo(key),
    }
}

impl Features {
    pub fn new(second: i64, seed: Seed) -> Self {
        Self {
            seed,
            dns: Kept::new(DNS_KEYS, second, seed),
            told: Kept::new(TOLD_NAMES, second, seed),
            not_dns: Kept::new(NOT_DNS_PAIRS, second, seed),
            echo: Kept::new(ECHO_PAIRS, second, seed),
            requests: Kept::new(REQUESTS, second, seed),
            answers: Kept::new(ANSWERS, second, seed),
        }
    }

    /// Reads a packet that [`concerns`]; `bytes` is its block.
    pub(crate) fn add(&mut self, packet: &PacketRow, bytes: &[u8]) {
        if packet.is(row_flag::LATER_FRAGMENT) {
            return; // what it holds is of the middle
        }
        let start = packet.payload_at as usize;
        let end = start + packet.payload_captured as usize;
        let payload = bytes.get(start..end).unwrap_or_default();
        let ends = Ends::of(packet);
        match packet.class {
            PacketClass::Icmp => {
                let header = bytes.get(start.saturating_sub(2)..start).unwrap_or_default();
                let sequence = header.first_chunk::<2>().map_or(0, |two| u16::from_be_bytes(*two));
                self.add_echo(packet, &ends, sequence, payload);
            }
            PacketClass::Udp => {
                if !self.add_dns(packet, &ends, payload, packet.payload_bytes) {
                    self.add_not_dns(packet, &ends, payload);
                }
            }
            _ if ends.has_port(dns::PORT) => {
                // RFC 1035, 4.2.2: two bytes of length come first.
                let Some((length, message)) = payload.split_first_chunk::<2>() else { return };
                let length = u32::from(u16::from_be_bytes(*length));
                let message = message.get(..length as usize).unwrap_or(message);
                let _ = self.add_dns(packet, &ends, message, length);
            }
            _ => self.add_http(packet.time_ns, &ends, payload),
        }
    }

    /// Empty, for another second; the memory stays.
    pub(crate) fn begin(&mut self, second: i64, seed: Seed) {
        self.seed = seed;
        self.dns.begin(second, seed);
        self.told.begin(second, seed);
        self.not_dns.begin(second, seed);
        self.echo.begin(second, seed);
        self.requests.begin(second, seed);
        self.answers.begin(second, seed);
    }

    /// Takes over another shard's of the same second.
    pub fn merge(&mut self, other: &mut Self) {
        self.dns.merge(&mut other.dns);
        self.told.merge(&mut other.told);
        self.not_dns.merge(&mut other.not_dns);
        self.echo.merge(&mut other.echo);
        self.requests.merge(&mut other.requests);
        self.answers.merge(&mut other.answers);
    }

    /// Lets go of what is held beyond the caps: the last step.
    pub fn settle(&mut self) {
        self.dns.settle();
        self.told.settle();
        self.not_dns.settle();
        self.echo.settle();
        self.requests.settle();
        self.answers.settle();
    }

    pub fn seed(&self) -> Seed {
        self.seed
    }
}

/// The ends of a packet in its own direction.
struct Ends {
    src: Host,
    dst: Host,
    src_port: u16,
    dst_port: u16,
}

impl Ends {
    fn of(packet: &PacketRow) -> Self {
        let key = &packet.key;
        let a = (Host { version: key.version, address: key.a }, key.port_a);
        let b = (Host { version: key.version, address: key.b }, key.port_b);
        let ((src, src_port), (dst, dst_port)) =
            if packet.is(row_flag::FORWARD) { (a, b) } else { (b, a) };
        Self { src, dst, src_port, dst_port }
    }

    fn has_port(&self, port: u16) -> bool {
        self.src_port == port || self.dst_port == port
    }
}

/// Digest of bytes: the same on every machine.
fn digest(seed: Seed, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum =
        words.iter().fold(bytes.len() as u64, |sum, word| seed.mix(sum, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    seed.mix(sum, u64::from_le_bytes(last))
}

/// Shannon entropy of counted bytes in bits (the plug-in estimate); 0 for none.
pub fn entropy(counts: &[u32]) -> f64 {
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let terms = counts.iter().filter(|&&count| count > 0).map(|&count| {
        let share = f64::from(count) / total;
        -share * libm::log2(share)
    });
    terms.sum()
}

#[cfg(test)]
pub(crate) mod tests;

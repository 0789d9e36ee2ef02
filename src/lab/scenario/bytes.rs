//! Payloads: what goes into the packets of a conversation.

use super::tls::RECORD_BYTES;
use crate::lab::synth::Rng;

/// Bytes that random payloads are cut from: long enough that two seldom share a piece.
const POOL_BYTES: usize = 1 << 18;

/// Header, content and tag of a record that says something.
const LEAST_RECORD_BYTES: u64 = 40;

/// What one side says before the other answers.
#[derive(Clone, Debug)]
pub enum Said {
    Bytes(Vec<u8>),
    /// A head, and so many bytes of a body behind it.
    WithBody {
        head: Vec<u8>,
        body_bytes: u64,
        text: bool,
    },
    /// Encrypted records of so many bytes in all.
    Tls {
        bytes: u64,
    },
    Random {
        bytes: u64,
    },
    Zeros {
        bytes: u64,
    },
}

impl Said {
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::WithBody { head, body_bytes, .. } => head.len() as u64 + body_bytes,
            // No record, the last one neither, is shorter than its header and tag.
            Self::Tls { bytes } => match bytes % RECORD_BYTES {
                0 if *bytes > 0 => *bytes,
                rest if rest < LEAST_RECORD_BYTES => bytes + LEAST_RECORD_BYTES - rest,
                _ => *bytes,
            },
            Self::Random { bytes } | Self::Zeros { bytes } => *bytes,
        }
    }

    /// Its bytes from `offset` to `offset + out.len()`, which must lie in it.
    pub fn fill(&self, offset: u64, out: &mut [u8], pool: &Pool, rng: &mut Rng) {
        match self {
            Self::Bytes(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                for (to, from) in out.iter_mut().zip(rest) {
                    *to = *from;
                }
            }
            Self::WithBody { head, text, .. } => {
                let in_head = (head.len() as u64).saturating_sub(offset).min(out.len() as u64);
                let (first, body) = out.split_at_mut(in_head as usize);
                if !first.is_empty() {
                    first.copy_from_slice(&head[offset as usize..offset as usize + first.len()]);
                }
                if *text { pool.text(body, rng) } else { pool.random(body, rng) }
            }
            Self::Tls { .. } => {
                pool.random(out, rng);
                let end = offset + out.len() as u64;
                let mut record = offset / RECORD_BYTES * RECORD_BYTES;
                while record < end {
                    let left = (self.length() - record).min(RECORD_BYTES);
                    let header = super::tls::record_header(left as usize - 5);
                    // A segment may begin or end within a header.
                    for (place, byte) in (record..end).zip(header) {
                        if let Some(at) = place.checked_sub(offset) {
                            out[at as usize] = byte;
                        }
                    }
                    record += RECORD_BYTES;
                }
            }
            Self::Random { .. } => pool.random(out, rng),
            Self::Zeros { .. } => out.fill(0),
        }
    }
}

/// Random bytes and words that are made once.
#[derive(Debug)]
pub struct Pool {
    random: Vec<u8>,
    text: Vec<u8>,
}

const WORDS: [&str; 12] = [
    "flow ",
    "count ",
    "total ",
    "bytes ",
    "sent ",
    "value ",
    "host ",
    "state ",
    "0.25 ",
    "1024 ",
    "up ",
    "seconds\n",
];

impl Pool {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x706f_6f6c);
        let mut random = vec![0; POOL_BYTES];
        rng.fill(&mut random);
        let mut text = Vec::with_capacity(POOL_BYTES + 16);
        while text.len() < POOL_BYTES {
            text.extend_from_slice(WORDS[rng.below(WORDS.len() as u32) as usize].as_bytes());
        }
        Self { random, text }
    }

    pub fn random(&self, out: &mut [u8], rng: &mut Rng) {
        cut(&self.random, out, rng);
    }

    pub fn text(&self, out: &mut [u8], rng: &mut Rng) {
        cut(&self.text, out, rng);
    }
}

fn cut(from: &[u8], out: &mut [u8], rng: &mut Rng) {
    for piece in out.chunks_mut(POOL_BYTES / 2) {
        let start = rng.below((POOL_BYTES - piece.len()) as u32) as usize;
        piece.copy_from_slice(&from[start..start + piece.len()]);
    }
}

/// The head of a request.
pub fn http_request(
    method: &str,
    path: &str,
    host: &str,
    agent: &str,
    body_bytes: Option<u64>,
) -> Vec<u8> {
    let length =
        body_bytes.map_or_else(String::new, |bytes| format!("Content-Length: {bytes}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{length}\r\n")
        .into_bytes()
}

/// The head of an answer.
pub fn http_answer(status: u16, body_bytes: u64, content: &str) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        _ => "Status",
    };
    format!("HTTP/1.1 {status} {reason}\r\nServer: nginx\r\nContent-Type: {content}\r\nContent-Length: {body_bytes}\r\n\r\n")
        .into_bytes()
}

/// Data of Linux's ping: time of day in 16 bytes, then a ramp (iputils).
pub fn ping_data(time_ns: i64, bytes: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    let time = [time_ns.div_euclid(1_000_000_000), time_ns.rem_euclid(1_000_000_000) / 1_000];
    for (slot, word) in data.chunks_exact_mut(8).zip(time) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    data
}

/// A packet of NTP version 4 (RFC 5905): mode 3 asks, mode 4 answers.
pub fn ntp(mode: u8, time_ns: i64) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[0] = 4 << 3 | mode;
    packet[1] = if mode == 3 { 0 } else { 2 };
    packet[2] = 10;
    packet[3] = 0xe9;
    let seconds = (time_ns.div_euclid(1_000_000_000) + 2_208_988_800) as u32;
    let fraction = ((time_ns.rem_euclid(1_000_000_000) as u64) << 32) / 1_000_000_000;
    for at in if mode == 3 { &[40][..] } else { &[16, 32, 40] } {
        packet[*at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        packet[at + 4..at + 8].copy_from_slice(&(fraction as u32).to_be_bytes());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever its size, records follow each other without a gap to its end.
    #[test]
    fn records_of_every_size_are_whole() {
        let (pool, mut rng) = (Pool::new(1), Rng::new(1));
        for bytes in
            (0..200).chain(RECORD_BYTES - 50..RECORD_BYTES + 50).chain([RECORD_BYTES * 3 + 2])
        {
            let said = Said::Tls { bytes };
            let length = said.length();
            let mut all = Vec::new();
            while (all.len() as u64) < length {
                let left = (length - all.len() as u64).min(super::super::tls::SEGMENT_BYTES);
                let mut segment = vec![0; left as usize];
                said.fill(all.len() as u64, &mut segment, &pool, &mut rng);
                all.extend(segment);
            }
            let mut rest = &all[..];
            while !rest.is_empty() {
                assert_eq!(rest[..3], [23, 3, 3], "{bytes}");
                let record = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
                assert!((17..=16_384 + 256).contains(&record), "{bytes}: {record}");
                rest = &rest[5 + record..];
            }
        }
    }
}

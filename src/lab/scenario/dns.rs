//! DNS messages (RFC 1035).

use std::net::IpAddr;

use crate::lab::synth::Rng;

pub const A: u16 = 1;
pub const NULL: u16 = 10;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;

/// A question of one name.
pub fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = header(id, 0x0100, 0);
    put_question(&mut message, name, kind);
    message
}

/// The answer with one record, or that there is no such name.
pub fn answer(id: u16, name: &str, kind: u16, data: Option<&[u8]>) -> Vec<u8> {
    let flags = if data.is_some() { 0x8180 } else { 0x8183 };
    let mut message = header(id, flags, u16::from(data.is_some()));
    put_question(&mut message, name, kind);
    if let Some(data) = data {
        // The name is that of the question, at offset 12.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 1, 44]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    message
}

/// The data of an A or AAAA record.
pub fn address_data(address: IpAddr) -> (u16, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (A, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
    }
}

/// Data as strings of a TXT record.
pub fn text_data(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 255 + 1);
    for piece in data.chunks(255) {
        out.push(piece.len() as u8);
        out.extend(piece);
    }
    out
}

/// A name below `domain` whose labels hold `bytes` random bytes in base 32, as tunnels
/// write them.
pub fn tunnel_name(domain: &str, bytes: usize, rng: &mut Rng) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let room = 250_usize.saturating_sub(domain.len());
    let letters = (bytes * 8).div_ceil(5).clamp(1, room - room / 64);
    let mut name = String::with_capacity(253);
    for at in 0..letters {
        if at > 0 && at % 60 == 0 {
            name.push('.');
        }
        name.push(char::from(ALPHABET[rng.below(32) as usize]));
    }
    name.push('.');
    name.push_str(domain);
    name
}

fn header(id: u16, flags: u16, answers: u16) -> Vec<u8> {
    [id, flags, 1, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn put_question(message: &mut Vec<u8>, name: &str, kind: u16) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        message.push(label.len() as u8);
        message.extend(label);
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
}

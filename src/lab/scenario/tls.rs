//! TLS 1.3 as it looks from outside: hellos that parsers take, then records of noise.

use crate::lab::synth::Rng;

/// Payload of a full TCP segment: 1,500 bytes less headers and the time-stamp option's
/// room, as most hosts have it.
pub(super) const SEGMENT_BYTES: u64 = 1_448;

/// Eleven full segments, the most that fit into a record of 16,384 bytes: so records begin
/// at segments.
pub(super) const RECORD_BYTES: u64 = SEGMENT_BYTES * 11;

/// Of application data in `length` bytes.
pub(super) fn record_header(length: usize) -> [u8; 5] {
    let [high, low] = (length as u16).to_be_bytes();
    [23, 3, 3, high, low]
}

/// What the client says first: names `server` and speaks HTTP.
pub(super) fn client_hello(server: &str, rng: &mut Rng) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random::<32>(rng));
    body.push(32);
    body.extend(random::<32>(rng));
    body.extend([0, 6, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 1, 0]);
    let mut extensions = Vec::new();
    let name = server.as_bytes();
    let mut list = vec![0];
    list.extend((name.len() as u16).to_be_bytes());
    list.extend(name);
    extension(&mut extensions, 0, &with_length(&list));
    extension(&mut extensions, 10, &[0, 4, 0, 29, 0, 23]);
    extension(&mut extensions, 13, &[0, 6, 4, 3, 8, 4, 4, 1]);
    extension(&mut extensions, 16, &with_length(b"\x02h2\x08http/1.1"));
    extension(&mut extensions, 43, &[2, 3, 4]);
    extension(&mut extensions, 51, &with_length(&key_share(rng)));
    body.extend(with_length(&extensions));
    record(22, &handshake(1, &body))
}

/// What the server says first, with its certificate encrypted in `certificate_bytes`.
pub(super) fn server_hello(certificate_bytes: usize, rng: &mut Rng) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random::<32>(rng));
    body.push(32);
    body.extend(random::<32>(rng));
    body.extend([0x13, 0x01, 0]);
    let mut extensions = Vec::new();
    extension(&mut extensions, 43, &[3, 4]);
    extension(&mut extensions, 51, &key_share(rng));
    body.extend(with_length(&extensions));
    let mut bytes = record(22, &handshake(2, &body));
    bytes.extend(record(20, &[1]));
    let mut noise = vec![0; certificate_bytes.clamp(64, 16_000)];
    rng.fill(&mut noise);
    bytes.extend(record(23, &noise));
    bytes
}

/// The client's end of the handshake.
pub(super) fn finished(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = record(20, &[1]);
    bytes.extend(record(23, &random::<53>(rng)));
    bytes
}

fn key_share(rng: &mut Rng) -> Vec<u8> {
    let mut share = vec![0, 29, 0, 32];
    share.extend(random::<32>(rng));
    share
}

fn random<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn extension(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend(with_length(data));
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    let mut bytes = vec![kind, a, b, c];
    bytes.extend(body);
    bytes
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, if kind == 22 && body.first() == Some(&1) { 1 } else { 3 }];
    bytes.extend(with_length(body));
    bytes
}

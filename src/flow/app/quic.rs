//! QUIC Initial packets of versions 1 and 2 (RFC 9000, 9001, 9369): the
//! ClientHello inside.
//!
//! Initial keys follow from the connection identifier on the wire, so anybody
//! on the path can read the hello. CRYPTO frames are joined within one
//! datagram only; a hello that goes on in the next one is read as far as it
//! is there.

use aes_gcm::aead::{AeadInOut, KeyInit as _};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::BlockCipherEncrypt as _;
use aes_gcm::{Aes128Gcm, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;

use super::tls::ClientHello;
use super::{AppInfo, QuicInfo, ja4};

/// Longest connection identifier (RFC 9000 section 17.2).
const MAX_CID_BYTES: usize = 20;
/// Smallest datagram with a client's Initial (RFC 9000 section 14.1): servers
/// discard smaller ones. Here it keeps floods of small packets from costing a
/// decryption each.
const MIN_DATAGRAM_BYTES: usize = 1200;
const TAG_BYTES: usize = 16;
const SAMPLE_BYTES: usize = 16;
/// Header protection always samples as if the packet number had four bytes
/// (RFC 9001 section 5.4.2).
const MAX_NUMBER_BYTES: usize = 4;
/// Initial packets read of one datagram; clients coalesce at most two.
const MAX_PACKETS: usize = 4;
/// End of the crypto stream that is kept: larger than any hello that fits in
/// a datagram.
const MAX_STREAM_BYTES: u64 = 65_536;

/// What differs between the two versions.
struct Version {
    number: u32,
    /// Long packet type of an Initial.
    initial_type: u8,
    salt: [u8; 20],
    key_label: &'static [u8],
    iv_label: &'static [u8],
    mask_label: &'static [u8],
}

/// RFC 9001 section 5.2, RFC 9369 section 3.
const VERSIONS: [Version; 2] = [
    Version {
        number: 1,
        initial_type: 0,
        salt: [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
            0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
        ],
        key_label: b"quic key",
        iv_label: b"quic iv",
        mask_label: b"quic hp",
    },
    Version {
        number: 0x6b33_43cf,
        initial_type: 1,
        salt: [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
            0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
        ],
        key_label: b"quicv2 key",
        iv_label: b"quicv2 iv",
        mask_label: b"quicv2 hp",
    },
];

/// Long header with the fixed bit (RFC 9000 section 17.2).
#[inline(always)]
pub(super) fn may_begin(first: u8) -> bool {
    first & 0xc0 == 0xc0
}

/// Long header with the fixed bit, of a known version and the Initial type.
pub(super) fn may_be_initial(bytes: &[u8]) -> bool {
    version_of(bytes).is_some()
}

/// Reads the client's first datagram.
pub(super) fn inspect(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    if info.as_deref().is_some_and(|app| app.quic.is_some()) {
        return;
    }
    let Some(first) = Initial::parse(bytes) else { return };
    let quic = info
        .get_or_insert_default()
        .quic
        .insert(QuicInfo { version: first.version.number, ..QuicInfo::default() });
    if bytes.len() < MIN_DATAGRAM_BYTES {
        return;
    }
    let stream = crypto_stream(bytes);
    if stream.first() != Some(&1) {
        return; // no ClientHello
    }
    if let Some(hello) = ClientHello::parse(&stream) {
        quic.sni = hello.server_name();
        quic.alpn = hello.alpn();
        quic.ja4 = hello.complete.then(|| ja4::fingerprint('q', &hello));
    }
}

fn version_of(bytes: &[u8]) -> Option<&'static Version> {
    let (&[first, number @ ..], _) = bytes.split_first_chunk::<5>()?;
    let number = u32::from_be_bytes(number);
    VERSIONS.iter().find(|version| {
        version.number == number && may_begin(first) && first >> 4 & 3 == version.initial_type
    })
}

/// One Initial packet (RFC 9000 section 17.2.2).
struct Initial<'a> {
    version: &'static Version,
    destination: &'a [u8],
    /// From the first byte to the end that the length field announces.
    packet: &'a [u8],
    /// Where the packet number starts.
    number_offset: usize,
    /// Cut by the snap length.
    cut: bool,
}

impl<'a> Initial<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let version = version_of(bytes)?;
        let mut reader = Reader(&bytes[5..]);
        let destination = reader.connection_id()?;
        reader.connection_id()?;
        let token_bytes = reader.varint()?;
        reader.take(token_bytes)?;
        let length = usize::try_from(reader.varint()?).ok()?;
        if length < MAX_NUMBER_BYTES + SAMPLE_BYTES {
            return None;
        }
        let number_offset = bytes.len() - reader.0.len();
        let end = number_offset.checked_add(length)?;
        let packet = &bytes[..end.min(bytes.len())];
        Some(Self { version, destination, packet, number_offset, cut: end > bytes.len() })
    }

    /// Frames of the packet, if it is one of the client's and whole.
    fn open(&self) -> Option<Vec<u8>> {
        if self.cut {
            return None;
        }
        let keys = Keys::of_client(self.version, self.destination)?;
        let protected = self.packet.get(self.number_offset..)?;
        let sample: [u8; SAMPLE_BYTES] =
            protected.get(MAX_NUMBER_BYTES..)?.first_chunk().copied()?;
        let mask = keys.mask(sample);
        let first = self.packet.first()? ^ (mask[0] & 0x0f);
        let number_bytes = usize::from(first & 3) + 1;
        let (number, sealed) = protected.split_at_checked(number_bytes)?;
        let number: Vec<u8> =
            number.iter().zip(&mask[1..]).map(|(byte, mask)| byte ^ mask).collect();
        let mut header = self.packet.get(..self.number_offset)?.to_vec();
        *header.first_mut()? = first;
        header.extend_from_slice(&number);
        keys.open(&number, &header, sealed)
    }
}

/// Client Initial keys (RFC 9001 section 5).
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    mask_key: [u8; 16],
}

impl Keys {
    fn of_client(version: &Version, destination: &[u8]) -> Option<Self> {
        let initial = Hkdf::<Sha256>::new(Some(&version.salt), destination);
        let mut secret = [0; 32];
        expand_label(&initial, b"client in", &mut secret)?;
        let client = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let mut keys = Self { key: [0; 16], iv: [0; 12], mask_key: [0; 16] };
        expand_label(&client, version.key_label, &mut keys.key)?;
        expand_label(&client, version.iv_label, &mut keys.iv)?;
        expand_label(&client, version.mask_label, &mut keys.mask_key)?;
        Some(keys)
    }

    fn mask(&self, sample: [u8; SAMPLE_BYTES]) -> [u8; 16] {
        let mut block = sample.into();
        Aes128::new(&self.mask_key.into()).encrypt_block(&mut block);
        block.into()
    }

    /// Decrypts and checks. The number on the wire is the whole number: these
    /// are the first packets of a connection.
    fn open(&self, number: &[u8], header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let tag: [u8; TAG_BYTES] = tag.try_into().ok()?;
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        let mut text = text.to_vec();
        Aes128Gcm::new(&self.key.into())
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                header,
                text.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .ok()?;
        Some(text)
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand_label(hkdf: &Hkdf<Sha256>, label: &[u8], output: &mut [u8]) -> Option<()> {
    let length = u16::try_from(output.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(b"tls13 ".len() + label.len()).ok()?];
    hkdf.expand_multi_info(&[&length, &label_length, b"tls13 ", label, &[0]], output).ok()
}

/// Start of the crypto stream: what the CRYPTO frames of all Initial packets
/// of a datagram give without a gap.
fn crypto_stream(datagram: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut rest = datagram;
    for _ in 0..MAX_PACKETS {
        let Some(initial) = Initial::parse(rest) else { break };
        if let Some(frames) = initial.open() {
            collect_crypto(&frames, &mut pieces);
        }
        rest = &rest[initial.packet.len()..];
    }
    pieces.sort();
    let mut stream = Vec::new();
    for (offset, piece) in pieces {
        let Ok(offset) = usize::try_from(offset) else { break };
        let Some(known) = stream.len().checked_sub(offset) else { break };
        stream.extend_from_slice(piece.get(known..).unwrap_or_default());
    }
    stream
}

/// CRYPTO frames of a packet (RFC 9000 section 19.6). Stops at a frame that no
/// Initial packet may hold.
fn collect_crypto(frames: &[u8], pieces: &mut Vec<(u64, Vec<u8>)>) {
    let mut reader = Reader(frames);
    while let Some(kind) = reader.varint() {
        let read = match kind {
            0 | 1 => Some(()), // PADDING, PING
            2 | 3 => reader.skip_ack(kind == 3),
            6 => reader.crypto().map(|(offset, data)| {
                if offset.saturating_add(data.len() as u64) <= MAX_STREAM_BYTES {
                    pieces.push((offset, data.to_vec()));
                }
            }),
            _ => None,
        };
        if read.is_none() {
            return;
        }
    }
}

/// Reads from the front of a slice; None at its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// RFC 9000 section 16.
    fn varint(&mut self) -> Option<u64> {
        let bytes = self.take(1 << (self.0.first()? >> 6))?;
        let value = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        Some(value & (u64::MAX >> (64 - 8 * bytes.len() + 2)))
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        if usize::from(length) > MAX_CID_BYTES { None } else { self.take(u64::from(length)) }
    }

    fn crypto(&mut self) -> Option<(u64, &'a [u8])> {
        let offset = self.varint()?;
        let length = self.varint()?;
        Some((offset, self.take(length)?))
    }

    /// RFC 9000 section 19.3: largest, delay, ranges, then the ECN counts.
    fn skip_ack(&mut self, ecn: bool) -> Option<()> {
        self.varint()?;
        self.varint()?;
        let ranges = self.varint()?;
        self.varint()?;
        // Ends with the slice, whatever the count claims.
        for _ in 0..ranges.checked_mul(2)? {
            self.varint()?;
        }
        for _ in 0..if ecn { 3 } else { 0 } {
            self.varint()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;

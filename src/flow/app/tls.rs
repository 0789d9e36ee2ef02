//! TLS hellos (RFC 8446 and before): server name, ALPN, version, JA4.
//!
//! Fields of a hello that goes on in the next segment are read as far as they
//! are there; each one is read whole or not at all.

use std::borrow::Cow;

use tls_parser::{
    SNIType, TlsExtension, parse_tls_client_hello_extension, parse_tls_handshake_client_hello,
    parse_tls_handshake_server_hello,
};

use super::text::escape;
use super::{AppInfo, TlsInfo, ja4};

/// Record type of handshake messages (RFC 8446 section 5.1).
pub(super) const HANDSHAKE: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const RECORD_HEADER_BYTES: usize = 5;

/// Extension types (IANA) whose content is read.
pub(super) const SERVER_NAME: u16 = 0;
pub(super) const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;

/// Protocol names kept of one offer: real clients send one to three.
const MAX_ALPN: usize = 8;

/// Reads a ClientHello or ServerHello that starts a segment.
pub(super) fn inspect(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let message = handshake_bytes(bytes);
    match message.first() {
        Some(&CLIENT_HELLO) => {
            let Some(hello) = ClientHello::parse(&message) else { return };
            let tls = info.get_or_insert_default().tls.get_or_insert_with(TlsInfo::default);
            if tls.sni.is_none() && tls.alpn.is_empty() && tls.ja4.is_none() {
                tls.sni = hello.server_name();
                tls.alpn = hello.alpn();
                tls.ja4 = hello.complete.then(|| ja4::fingerprint('t', &hello));
                // What the server chose, if it was read before, stands.
                if tls.version == 0 {
                    tls.version = hello.version();
                }
            }
        }
        Some(&SERVER_HELLO) => {
            let Some(version) = chosen_version(&message) else { return };
            let tls = info.get_or_insert_default().tls.get_or_insert_with(TlsInfo::default);
            tls.version = version;
        }
        _ => {}
    }
}

/// What a client offers. Lists are in the order of the wire, GREASE included.
pub(super) struct ClientHello<'a> {
    /// The message was there to its end and every extension fits in it.
    pub(super) complete: bool,
    pub(super) ciphers: Vec<u16>,
    pub(super) extensions: Vec<u16>,
    pub(super) signature_algorithms: Vec<u16>,
    pub(super) protocols: Vec<&'a [u8]>,
    /// Version field of the message, which TLS 1.3 clients leave at 1.2.
    legacy_version: u16,
    supported_versions: Vec<u16>,
    name: Option<&'a [u8]>,
}

impl<'a> ClientHello<'a> {
    /// Reads a handshake message that starts with its type. None if it is not
    /// even there up to its extensions.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (body, whole) = message_body(message)?;
        let (rest, hello) = parse_tls_handshake_client_hello(body).ok()?;
        // The parser gives no extensions at all when their announced length is not there.
        let (mut extensions, all_there) = match hello.ext {
            Some(extensions) => (extensions, true),
            None => (rest.get(2..).unwrap_or_default(), rest.is_empty()),
        };
        let mut this = Self {
            complete: whole && all_there,
            ciphers: hello.ciphers.iter().map(|cipher| cipher.0).collect(),
            extensions: Vec::new(),
            signature_algorithms: Vec::new(),
            protocols: Vec::new(),
            legacy_version: hello.version.0,
            supported_versions: Vec::new(),
            name: None,
        };
        while !extensions.is_empty() {
            let Some((kind, extension, behind)) = split_extension(extensions) else {
                this.complete = false;
                break;
            };
            this.extensions.push(kind);
            this.read_extension(kind, extension);
            extensions = behind;
        }
        Some(this)
    }

    fn read_extension(&mut self, kind: u16, extension: &'a [u8]) {
        if !matches!(kind, SERVER_NAME | ALPN | SIGNATURE_ALGORITHMS | SUPPORTED_VERSIONS) {
            return;
        }
        match parse_tls_client_hello_extension(extension) {
            Ok((_, TlsExtension::SNI(names))) => {
                let host = names.iter().find(|(kind, _)| *kind == SNIType::HostName);
                self.name = host.map(|(_, name)| *name);
            }
            Ok((_, TlsExtension::ALPN(protocols))) => self.protocols = protocols,
            Ok((_, TlsExtension::SignatureAlgorithms(list))) => self.signature_algorithms = list,
            Ok((_, TlsExtension::SupportedVersions(list))) => {
                self.supported_versions = list.iter().map(|version| version.0).collect();
            }
            _ => {}
        }
    }

    pub(super) fn server_name(&self) -> Option<String> {
        self.name.map(escape)
    }

    pub(super) fn alpn(&self) -> Vec<String> {
        self.protocols.iter().take(MAX_ALPN).map(|name| escape(name)).collect()
    }

    /// Highest version offered; 0 if the extension that tells may be missing.
    pub(super) fn version(&self) -> u16 {
        let offered = self.supported_versions.iter().copied().filter(|&v| !is_grease(v)).max();
        offered.unwrap_or(if self.complete { self.legacy_version } else { 0 })
    }
}

/// Values that clients mix in so that servers learn to ignore unknown ones
/// (RFC 8701): both bytes equal, low nibble 10.
pub(super) fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Version that the server chose. None if the extension that tells may be
/// behind what was captured.
fn chosen_version(message: &[u8]) -> Option<u16> {
    let (body, whole) = message_body(message)?;
    let (rest, hello) = parse_tls_handshake_server_hello(body).ok()?;
    let (mut extensions, all_there) = match hello.ext {
        Some(extensions) => (extensions, true),
        None => (rest.get(2..).unwrap_or_default(), rest.is_empty()),
    };
    while let Some((kind, extension, behind)) = split_extension(extensions) {
        if kind == SUPPORTED_VERSIONS {
            // Type, length, then the one version (RFC 8446 section 4.2.1).
            let version: [u8; 2] = extension.get(4..)?.try_into().ok()?;
            return Some(u16::from_be_bytes(version));
        }
        extensions = behind;
    }
    (whole && all_there && extensions.is_empty()).then_some(hello.version.0)
}

/// Body of a handshake message, cut to its announced length, and whether all
/// of it is there.
fn message_body(message: &[u8]) -> Option<(&[u8], bool)> {
    let (header, body) = message.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    Some((&body[..body.len().min(length)], body.len() >= length))
}

/// Type, whole extension with its header, and what follows it.
fn split_extension(extensions: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let header: &[u8; 4] = extensions.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let (extension, behind) = extensions.split_at_checked(4 + length)?;
    Some((u16::from_be_bytes([header[0], header[1]]), extension, behind))
}

/// Handshake bytes of the records in a segment, joined: a hello may be spread
/// over several records.
fn handshake_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some((mut joined, mut rest)) =
        split_record(bytes).map(|(body, rest)| (Cow::from(body), rest))
    else {
        return Cow::default();
    };
    while message_body(&joined).is_none_or(|(_, whole)| !whole) {
        let Some((body, behind)) = split_record(rest) else { break };
        joined.to_mut().extend_from_slice(body);
        rest = behind;
    }
    joined
}

/// Body of a handshake record, as far as it is there, and what follows.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk()?;
    // The major version was 3 from SSL 3.0 on and is frozen since.
    if header[0] != HANDSHAKE || header[1] != 3 || header[2] > 4 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let body = &bytes[RECORD_HEADER_BYTES..];
    (length > 0).then(|| body.split_at(body.len().min(length)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// ClientHello of RFC 9001 appendix A.2, with its handshake header.
    pub(in crate::flow::app) const RFC_9001_HELLO: &str = "010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302\
         010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007\
         000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa\
         71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d000201\
         01001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110010480007530090110\
         0f088394c8f03e51570806048000ffff";

    pub(in crate::flow::app) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let value = |digit: u8| (digit as char).to_digit(16).expect("hexadecimal") as u8;
        digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
    }

    /// A handshake message in records of at most `size` bytes.
    pub(in crate::flow::app) fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in message.chunks(size) {
            bytes.extend_from_slice(&[HANDSHAKE, 3, 1]);
            bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// ServerHello with the given extensions.
    fn server_hello(version: u16, extensions: &[u8]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0x13, 0x01, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(extensions);
        let mut message = vec![SERVER_HELLO, 0, 0, body.len() as u8];
        message.extend_from_slice(&body);
        message
    }

    fn read(segments: &[&[u8]]) -> Option<TlsInfo> {
        let mut info = None;
        for segment in segments {
            inspect(segment, &mut info);
        }
        info.and_then(|app| app.tls)
    }

    #[test]
    fn a_client_hello_tells_name_alpn_version_and_fingerprint() {
        let tls = read(&[&records(&unhex(RFC_9001_HELLO), 16_384)]).expect("hint");
        assert_eq!(tls.sni.as_deref(), Some("example.com"));
        assert_eq!(tls.alpn, ["alpn"]);
        assert_eq!(tls.version, 0x0304);
        // Counts and letters by hand from the bytes: 2 ciphers, 11 extensions.
        assert!(tls.ja4.expect("whole").starts_with("t13d0211an_"));
    }

    #[test]
    fn a_hello_spread_over_records_reads_the_same() {
        let message = unhex(RFC_9001_HELLO);
        let whole = read(&[&records(&message, 16_384)]);
        for size in [1, 3, 50, 200] {
            assert_eq!(read(&[&records(&message, size)]), whole, "records of {size}");
        }
    }

    #[test]
    fn a_cut_hello_gives_whole_fields_or_none() {
        let segment = records(&unhex(RFC_9001_HELLO), 16_384);
        let whole = read(&[&segment]).expect("hint");
        let mut names = 0;
        for cut in 0..segment.len() {
            let Some(tls) = read(&[&segment[..cut]]) else { continue };
            assert_eq!(tls.ja4, None, "cut at {cut}");
            assert!(tls.sni.is_none() || tls.sni == whole.sni, "cut at {cut}");
            assert!(tls.alpn.is_empty() || tls.alpn == whole.alpn, "cut at {cut}");
            assert!(tls.version == 0 || tls.version == whole.version, "cut at {cut}");
            names += usize::from(tls.sni.is_some());
        }
        assert!(names > 100, "the name comes early: {names}");
    }

    #[test]
    fn the_servers_choice_replaces_the_offer() {
        let client = records(&unhex(RFC_9001_HELLO), 16_384);
        let tls13 = records(&server_hello(0x0303, &[0, 43, 0, 2, 3, 4]), 16_384);
        let tls12 = records(&server_hello(0x0303, &[0xff, 1, 0, 1, 0]), 16_384);
        assert_eq!(read(&[&client, &tls12]).expect("hint").version, 0x0303);
        assert_eq!(read(&[&tls13]).expect("hint").version, 0x0304);
        let late = read(&[&tls12, &client]).expect("hint");
        assert_eq!((late.version, late.sni.as_deref()), (0x0303, Some("example.com")));
    }

    #[test]
    fn a_cut_server_hello_never_tells_the_legacy_version() {
        let segment = records(&server_hello(0x0303, &[0xff, 1, 0, 1, 0, 0, 43, 0, 2, 3, 4]), 99);
        for cut in 0..segment.len() {
            assert_eq!(read(&[&segment[..cut]]), None, "cut at {cut}");
        }
        assert_eq!(read(&[&segment]).expect("hint").version, 0x0304);
    }

    #[test]
    fn grease_has_both_bytes_equal() {
        for high in 0..16u16 {
            let value = (high << 4 | 0x0a) * 0x0101;
            assert!(is_grease(value), "{value:04x}");
        }
        assert!(!is_grease(0x1a2a) && !is_grease(0x1301) && !is_grease(0x0a0b));
    }
}

//! HTTP/1 in clear, on any port: request lines with their headers, and status lines by
//! connection.

use memchr::memchr;

use super::super::Host;
use super::super::table::Merge;
use super::{Ends, Features, Text, digest};

/// Longest method (IANA: 17, `UPDATEREDIRECTREF`).
const METHOD: usize = 18;
/// Nearly all that a segment holds: a shorter bound could be filled up before what is to
/// stay unseen.
const PATH: usize = 1_280;
const HOST: usize = 128;
const AGENT: usize = 256;
/// The other headers, together.
const HEADERS_BYTES: usize = 1_024;
/// Headers that are kept at most.
const HEADERS: usize = 32;

/// A request's identity: two of one time are one only if all of their bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    pub time_ns: i64,
    pub client: Host,
    pub client_port: u16,
    pub server: Host,
    pub server_port: u16,
    digest: u64,
}

#[cfg(test)]
impl RequestKey {
    pub(crate) fn of_test(time_ns: i64, client: (Host, u16), server: (Host, u16)) -> Self {
        let ((client, client_port), (server, server_port)) = (client, server);
        Self { time_ns, client, client_port, server, server_port, digest: 0 }
    }
}

/// What a request says, as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestLine {
    pub method: Text<METHOD>,
    pub path: Text<PATH>,
    pub host: Text<HOST>,
    pub agent: Text<AGENT>,
    /// The other headers, a line each, as far as the segment has them.
    pub headers: Text<HEADERS_BYTES>,
    /// Minor version; `None` where the line was cut.
    pub version: Option<u8>,
}

impl Merge for RequestLine {
    /// Equal keys are one request, read once.
    fn merge(&mut self, other: &Self) {
        if self.method.is_empty() {
            *self = *other;
        }
    }
}

/// An answer's connection, as its client sees it, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerKey {
    pub client: Host,
    pub client_port: u16,
    pub server: Host,
    pub server_port: u16,
    pub time_ns: i64,
}

/// Status of an answer: 200 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u16);

impl Merge for Status {
    /// Equal keys are one answer, read once.
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.max(other.0);
    }
}

/// Three upper-case letters, as all methods (the shortest are GET and PUT) and status
/// lines begin, with something behind. Six signs pass for letters: all three are looked at
/// at once.
#[inline]
pub(super) fn may_begin(payload: &[u8]) -> bool {
    let first = payload.first_chunk::<4>().map_or(0, |four| u32::from_le_bytes(*four));
    first & 0xe0_e0e0 == 0x40_4040
}

impl Features {
    pub(super) fn add_http(&mut self, time_ns: i64, ends: &Ends, payload: &[u8]) {
        let seed = self.seed;
        if let Some(status) = status_of(payload) {
            self.answers.messages = self.answers.messages.saturating_add(1);
            let key = AnswerKey {
                client: ends.dst,
                client_port: ends.dst_port,
                server: ends.src,
                server_port: ends.src_port,
                time_ns,
            };
            let who = seed.mix(seed.host(&key.client), seed.host(&key.server));
            let ports = u64::from(key.client_port) << 16 | u64::from(key.server_port);
            let hash = seed.mix(seed.mix(who, ports), time_ns as u64);
            if let Some(known) = self.answers.entry(hash, key) {
                known.merge(&Status(status));
            }
            return;
        }
        let Some(line) = Line::read(payload) else { return };
        self.requests.messages = self.requests.messages.saturating_add(1);
        let key = RequestKey {
            time_ns,
            client: ends.src,
            client_port: ends.src_port,
            server: ends.dst,
            server_port: ends.dst_port,
            digest: digest(seed, payload),
        };
        let who = seed.mix(seed.host(&key.client), seed.host(&key.server));
        let ports = u64::from(key.client_port) << 16 | u64::from(key.server_port);
        let hash = seed.mix(seed.mix(who, ports ^ key.digest), time_ns as u64);
        if let Some(request) = self.requests.entry(hash, key) {
            request.merge(&line.with_headers());
        }
    }
}

/// Of a final answer: 1xx (RFC 9110, 15.2) comes before one.
fn status_of(payload: &[u8]) -> Option<u16> {
    let rest = payload.strip_prefix(b"HTTP/1.")?;
    let [minor, b' ', digits @ ..] = rest else { return None };
    let [class @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] = *digits else {
        return None;
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    minor.is_ascii_digit().then(|| 100 * digit(class) + 10 * digit(tens) + digit(ones))
}

/// A request line, and what follows.
struct Line<'a> {
    method: &'a [u8],
    path: &'a [u8],
    version: Option<u8>,
    headers: &'a [u8],
}

impl<'a> Line<'a> {
    /// A line that is cut counts only where its method is one of HTTP's own: other
    /// protocols have the same beginning.
    fn read(payload: &'a [u8]) -> Option<Self> {
        let space = memchr(b' ', payload.get(..METHOD).unwrap_or(payload))?;
        let (method, rest) = payload.split_at(space);
        let rest = rest.get(1..)?;
        let is_token = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
        if !method.iter().all(is_token) || !rest.first()?.is_ascii_graphic() {
            return None;
        }
        let Some(end) = memchr(b'\n', rest) else {
            let known = matches!(
                method,
                b"GET" | b"POST" | b"HEAD" | b"PUT" | b"DELETE" | b"PATCH" | b"OPTIONS" | b"TRACE"
            );
            return known.then_some(Self { method, path: rest, version: None, headers: &[] });
        };
        let (line, headers) = rest.split_at(end);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // From the back: attackers put spaces into paths.
        let (line, minor) = line.split_at_checked(line.len().checked_sub(1)?)?;
        let path = line.strip_suffix(b" HTTP/1.")?;
        let [minor @ b'0'..=b'9'] = minor else { return None };
        Some(Self { method, path, version: Some(minor - b'0'), headers: headers.get(1..)? })
    }

    fn with_headers(&self) -> RequestLine {
        let mut request = RequestLine {
            method: Text::new(self.method),
            path: Text::new(self.path),
            version: self.version,
            ..RequestLine::default()
        };
        let mut rest = self.headers;
        let mut others = [0; HEADERS_BYTES];
        let mut filled = 0;
        for _ in 0..HEADERS {
            // A header that is cut tells nothing.
            let Some(end) = memchr(b'\n', rest) else { break };
            let header = rest[..end].trim_ascii();
            rest = &rest[end + 1..];
            let Some(colon) = memchr(b':', header) else { break };
            let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
            if request.host.is_empty() && name.eq_ignore_ascii_case(b"host") {
                request.host = Text::new(value);
            } else if request.agent.is_empty() && name.eq_ignore_ascii_case(b"user-agent") {
                request.agent = Text::new(value);
            } else if let Some(room) = others.get_mut(filled..filled + header.len() + 1) {
                let (line, end) = room.split_at_mut(header.len());
                line.copy_from_slice(header);
                end.fill(b'\n');
                filled += header.len() + 1;
            }
        }
        request.headers = Text::new(&others[..filled]);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &[u8]) -> Option<RequestLine> {
        Line::read(payload).map(|line| line.with_headers())
    }

    #[test]
    fn a_request_tells_its_line_and_two_headers() {
        let request = read(
            b"GET /a?b=c%27 d HTTP/1.1\r\nhost: h.example\r\nAccept: */*\r\nUser-Agent: x/1\r\n\r\n",
        )
        .expect("a request");
        assert_eq!(request.method.as_bytes(), b"GET");
        assert_eq!(request.path.as_bytes(), b"/a?b=c%27 d");
        assert_eq!(
            (request.host.as_bytes(), request.agent.as_bytes()),
            (&b"h.example"[..], &b"x/1"[..])
        );
        assert_eq!(request.version, Some(1));
        assert_eq!(request.headers.as_bytes(), b"Accept: */*\n");
        let long = [b"POST /", &[b'x'; 3_000][..]].concat();
        let cut = read(&long).expect("a request");
        assert!(cut.path.cut && cut.path.as_bytes().len() == PATH && cut.version.is_none());
    }

    #[test]
    fn other_protocols_are_none() {
        for payload in [
            &b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"[..],
            b"OPTIONS rtsp://a RTSP/1.0\r\n\r\n",
            b"EHLO example.org\r\n",
            b"USER anonymous\r\n",
            b"MAIL FROM:<a@example.org>",
            b"GET ",
            b"GET",
            b"",
        ] {
            assert!(read(payload).is_none(), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn status_lines_of_final_answers_have_a_status() {
        assert_eq!(status_of(b"HTTP/1.1 503 Busy\r\n"), Some(503));
        assert_eq!(status_of(b"HTTP/1.0 200"), Some(200));
        for payload in [
            &b"HTTP/1.1 100 Continue\r\n"[..],
            b"HTTP/1.1 999 x",
            b"HTTP/1.1 20",
            b"HTTP/1.1  200 ok",
        ] {
            assert_eq!(status_of(payload), None);
        }
    }
}

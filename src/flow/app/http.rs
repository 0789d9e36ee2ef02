//! HTTP/1 (RFC 9112): request line and status line, host and user agent.

use httparse::{EMPTY_HEADER, Header, Request, Response};

use super::text::escape;
use super::{AppInfo, HttpInfo};

/// Headers read of one head; the host is among the first ones of any client.
const MAX_HEADERS: usize = 32;

/// Longest method name that is tried (IANA's longest is 17,
/// `UPDATEREDIRECTREF`).
const MAX_METHOD_BYTES: usize = 17;

/// Reads the head of a request or response as far as it was captured. A line
/// that is not there to its end tells nothing.
pub(super) fn inspect(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    if bytes.starts_with(b"HTTP/1.") {
        response(bytes, info);
    } else if starts_with_method(bytes) {
        request(bytes, info);
    }
}

/// Upper-case letters, a space and a target: rejects other text protocols
/// before a parser is asked.
fn starts_with_method(bytes: &[u8]) -> bool {
    let bound = bytes.len().min(MAX_METHOD_BYTES + 1);
    let Some(space) = bytes[..bound].iter().position(|&byte| byte == b' ') else { return false };
    bytes[..space].iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
        && bytes.get(space + 1).is_some_and(|byte| byte.is_ascii_graphic())
}

fn request(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    // Lines before a cut or malformed one were read whole: the outcome doesn't matter.
    let _ = request.parse(bytes);
    // The version comes last on the line: without it this may be another
    // protocol (SIP and RTSP requests look alike up to there).
    let (Some(method), Some(path), Some(_)) = (request.method, request.path, request.version)
    else {
        return;
    };
    let http = info.get_or_insert_default().http.get_or_insert_with(HttpInfo::default);
    if http.method.is_none() {
        http.method = Some(escape(method.as_bytes()));
        http.path = Some(escape(path.as_bytes()));
        http.host = value(request.headers, "host");
        http.user_agent = value(request.headers, "user-agent");
    }
}

fn response(bytes: &[u8], info: &mut Option<Box<AppInfo>>) {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let _ = response.parse(bytes);
    if let Some(code) = response.code {
        let http = info.get_or_insert_default().http.get_or_insert_with(HttpInfo::default);
        http.status.get_or_insert(code);
    }
}

/// First header of that name. Headers behind the captured end are still empty.
fn value(headers: &[Header<'_>], name: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(escape(header.value.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /a?b=\"c\" HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\
        User-Agent: probe/1.0 \x9b2J\r\n\r\nbody";

    fn read(messages: &[&[u8]]) -> Option<HttpInfo> {
        let mut info = None;
        for message in messages {
            inspect(message, &mut info);
        }
        info.and_then(|app| app.http)
    }

    #[test]
    fn a_request_and_its_response_make_one_hint() {
        let http = read(&[REQUEST, b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n"]).expect("hint");
        assert_eq!(http.method.as_deref(), Some("GET"));
        assert_eq!(http.path.as_deref(), Some("/a?b=\"c\""));
        assert_eq!(http.host.as_deref(), Some("example.org"));
        assert_eq!(http.user_agent.as_deref(), Some("probe/1.0 \\x9b2J"));
        assert_eq!(http.status, Some(404));
    }

    #[test]
    fn a_cut_head_never_gives_half_a_field() {
        let whole = read(&[REQUEST]).expect("hint");
        for cut in 0..REQUEST.len() {
            let Some(http) = read(&[&REQUEST[..cut]]) else { continue };
            assert_eq!(http.method, whole.method, "cut at {cut}");
            assert_eq!(http.path, whole.path, "cut at {cut}");
            assert!(http.host.is_none() || http.host == whole.host, "cut at {cut}: {http:?}");
            assert!(
                http.user_agent.is_none() || http.user_agent == whole.user_agent,
                "cut at {cut}: {http:?}"
            );
        }
        let after_host = REQUEST.iter().position(|&byte| byte == b'*').expect("accept");
        assert_eq!(read(&[&REQUEST[..after_host]]).expect("hint").host, whole.host);
        let status = b"HTTP/1.1 204 No Content\r\n\r\n";
        for cut in 0..status.len() {
            let code = read(&[&status[..cut]]).and_then(|http| http.status);
            assert!(code.is_none() || code == Some(204), "cut at {cut}: {code:?}");
        }
    }

    #[test]
    fn more_headers_than_are_read_still_give_the_first_ones() {
        let mut many = b"POST / HTTP/1.0\r\nHost: h\r\n".to_vec();
        for number in 0..200 {
            many.extend_from_slice(format!("X-{number}: y\r\n").as_bytes());
        }
        assert_eq!(read(&[&many]).expect("hint").host.as_deref(), Some("h"));
    }

    #[test]
    fn what_stands_before_a_malformed_line_counts() {
        let http = read(&[
            b"GET / HTTP/1.1\r\nHost: h\r\n: no name\r\nUser-Agent: u\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n no colon\r\n\r\n",
        ]);
        let http = http.expect("hint");
        assert_eq!((http.host.as_deref(), http.user_agent), (Some("h"), None));
        assert_eq!(http.status, Some(200));
    }

    #[test]
    fn other_text_protocols_give_nothing() {
        for bytes in [
            &b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"[..],
            b"OPTIONS rtsp://a RTSP/1.0\r\n\r\n",
            b"EHLO example.org\r\n",
            b"GETTING",
            b"HTTP/1.1 abc\r\n\r\n",
        ] {
            assert_eq!(read(&[bytes]), None, "{}", bytes.escape_ascii());
        }
    }
}

use super::*;
use crate::telemetry::access_log::tests::{all, labels, one_of};
use crate::telemetry::tests::decode;

#[test]
fn an_http_line_says_who_asked_which_backend_for_what() {
    let request = one_of(&KIND, None, KIND.sample);
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.101Z"));
    assert_eq!(request.end_ns, Some(request.time_ns + 13_000_000));
    assert_eq!(request.client, Some([198, 51, 100, 7].into()));
    assert_eq!(request.client_port, Some(50412));
    assert_eq!(&*request.observer, "fe-https");
    assert_eq!(request.target.as_ref().unwrap().name.as_deref(), Some("app/srv2"));
    assert_eq!(request.uri.as_deref(), Some("/item?id=7"));
    assert_eq!((request.status, request.sent_bytes), (Some(500), Some(1187)));
    assert_eq!(request.target_duration_ns, Some(12_000_000));
    assert_eq!((request.error.as_deref(), request.tls.as_ref()), (None, None));
    assert_eq!(labels(&request), [("haproxy.host", "lb")]);
}

const BARE: &str = "2001:db8::7:50412 [01/Mar/2026:10:15:02.101] fe~ app/srv1 0/0/0/1/1 200 65 - - \
    ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";

#[test]
fn what_syslog_puts_in_front_says_the_offset_and_who_sent_it() {
    for (head, host, time) in [
        ("", None, "10:15:02.101Z"),
        ("<134>Mar  1 10:15:02 haproxy[4711]: ", None, "10:15:02.101Z"),
        ("Mar 11 10:15:02 lb haproxy[4711]: ", Some("lb"), "10:15:02.101Z"),
        ("2026-03-01T10:15:02.103417+01:00 lb haproxy[4711]: ", Some("lb"), "09:15:02.101Z"),
        ("<134>1 2026-03-01T10:15:02Z - haproxy 4711 - - ", None, "10:15:02.101Z"),
        ("<134>1 2026-03-01T10:15:02-07:00 lb haproxy 4711 - - ", Some("lb"), "17:15:02.101Z"),
    ] {
        let request = one_of(&KIND, None, &format!("{head}{BARE}"));
        let expected = rfc3339_ns(format!("2026-03-01T{time}").as_bytes());
        assert_eq!(Some(request.time_ns), expected, "{head}");
        assert_eq!(labels(&request), host.map(|host| ("haproxy.host", host)).as_slice());
        assert_eq!(request.client, Some("2001:db8::7".parse().unwrap()));
        assert_eq!((&*request.observer, request.tls.is_some()), ("fe", true));
    }
}

/// As HAProxy 2.6.12 wrote them, but for the last.
const LINES: &str = r#"127.0.0.1:51754 [25/Nov/2026:18:14:51.853] fe app/srv1 0/0/0/0/0 200 65 - - ---- 1/1/0/0/0 0/0 {odd #22quoted#22 \back\ agent#231|#7Ba#7C#7D} {back} "GET /a%2e%2e/%252e?q='#22<>\x41 HTTP/1.1"
127.0.0.1:51760 [25/Nov/2026:18:14:51.854] fe fe/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"
127.0.0.1:36348 [25/Nov/2026:18:14:52.117] fe2 app/srv1 0/0/0/0/+0 200 +65 - - ---- 1/1/1/0/0 0/0 "GET /item?id=7 HTTP/1.1"
127.0.0.1:51844 [25/Nov/2026:18:14:52.181] fe fe/<STATS> 0/0/0/0/0 200 29418 - - LR-- 1/1/0/0/0 0/0 {curl/7.88.1} {} "GET /stats HTTP/1.1"
127.0.0.1:51856 [25/Nov/2026:18:14:52.205] fe none/gone 0/0/-1/-1/3005 503 217 - - SC-- 1/1/0/0/3 0/0 {curl/7.88.1} {} "GET /none HTTP/1.1"
127.0.0.1:47322 [25/Nov/2026:18:14:55.229] tcp tapp/srv2 1/0/12 77 -- 1/1/0/0/0 0/0
127.0.0.1:51822 [25/Nov/2026:18:14:51.856] fe app/srv1 0/0/0/0/0 200 65 id=secret - ---- 1/1/0/0/0 0/0 {one} "GET /aaaa
"#;

#[test]
fn odd_lines_are_read_as_they_are() {
    let (out, bad) = decode(&KIND, &Context::default(), LINES.as_bytes());
    assert_eq!((bad, out.bad_parts["the request line is cut off"]), (vec![], 1));
    let all = all(&KIND, None, LINES);
    let [escaped, no_http, early, stats, failed, tcp, cut] = all.as_slice() else { panic!() };
    assert_eq!(escaped.uri.as_deref(), Some(r#"/a%2e%2e/%252e?q='"<>\x41"#));
    assert_eq!(
        labels(escaped),
        [
            ("haproxy.captured_request_headers", "odd \"quoted\" \\back\\ agent#1|{a|}"),
            ("haproxy.captured_response_headers", "back"),
        ]
    );
    assert_eq!((&no_http.method, &no_http.uri, &no_http.target), (&None, &None, &None));
    assert_eq!((no_http.status, no_http.error.as_deref()), (Some(400), Some("PR--")));
    assert_eq!((early.duration_ns, early.sent_bytes, early.end_ns), (None, None, None));
    assert_eq!((early.status, early.target_duration_ns), (Some(200), Some(0)));
    assert_eq!((stats.error.as_deref(), stats.target.as_ref()), (None, None));
    assert_eq!(labels(stats)[0], ("haproxy.backend", "fe/<STATS>"));
    assert_eq!((failed.error.as_deref(), failed.target_duration_ns), (Some("SC--"), None));
    assert_eq!((tcp.duration_ns, tcp.sent_bytes), (Some(12_000_000), Some(77)));
    assert_eq!((&tcp.method, tcp.status), (&None, None));
    assert_eq!((cut.method.as_deref(), cut.uri.as_deref()), (Some("GET"), Some("/aaaa")));
    assert_eq!(labels(cut), [("haproxy.captured_headers", "one")]);
}

#[test]
fn https_lines_end_with_the_connection() {
    let text =
        format!("{BARE} 0/0000000000000000/0/0/1 shop.example/TLSv1.3/TLS_AES_256_GCM_SHA384");
    let request = one_of(&KIND, None, &text);
    let tls = request.tls.as_ref().unwrap();
    assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
    assert_eq!(tls.cipher.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
    assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
}

#[test]
fn what_else_haproxy_says_is_passed_over() {
    let text = "Mar  1 10:15:02 lb haproxy[4711]: Proxy fe started.\n\
        Mar  1 10:15:02 lb haproxy[4711]: Server app/srv1 is DOWN, reason: Layer4 timeout.\n\
        192.0.2.7:4 [01/Mar/2026:10:15:02.101] fe/1: SSL handshake failure\n\
        something else\n\
        192.0.2.7:4 [01/Mar/2026:10:15:02.101] fe app/srv1 custom\n";
    let (out, bad) = decode(&KIND, &Context::default(), text.as_bytes());
    assert_eq!((out.passed["notice"], out.passed["failed connection"]), (2, 1));
    assert_eq!((out.observations.len(), bad.len()), (0, 2));
}

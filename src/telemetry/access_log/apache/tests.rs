use super::*;
use crate::telemetry::access_log::tests::{labels, one, one_of};
use crate::telemetry::kind::{Head, recognise};
use crate::telemetry::text::rfc3339_ns;

#[test]
fn common_and_combined_are_recognised_and_read() {
    let request = one_of(&COMBINED_KIND, None, COMBINED_KIND.sample);
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02Z"));
    assert_eq!((request.method.as_deref(), request.status), (Some("GET"), Some(500)));
    assert_eq!(request.user_agent.as_deref(), Some("curl/8.5.0"));
    assert_eq!((request.referer, request.host), (None, None));
    let common =
        r#"client.example - anna [bob] [01/Mar/2026:10:15:02 -0700] "HEAD / HTTP/1.0" 304 -"#;
    let head = Head::new(common.as_bytes(), true);
    assert_eq!(recognise(&head).map(|kind| kind.name), Some("combined"));
    let request = one(&COMBINED_KIND, None, common);
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T17:15:02Z"));
    assert_eq!((request.client, request.sent_bytes), (None, Some(0)));
    assert_eq!(
        labels(&request),
        [("combined.client_name", "client.example"), ("combined.user", "anna [bob]")]
    );
}

#[test]
fn what_is_no_request_is_one_without_a_method() {
    for (line, uri) in [
        ("-", None),
        ("", None),
        (r"\x16\x03\x01\x02", Some("\u{16}\u{3}\u{1}\u{2}")),
        (r"\x16\x03\x01\xff", Some("\u{16}\u{3}\u{1}\\xff")),
        (r#"a \"b\""#, Some("a \"b\"")),
    ] {
        let line =
            format!(r#"192.0.2.7 - - [01/Mar/2026:10:15:02 +0000] "{line}" 400 226 "-" "-""#);
        let request = one(&COMBINED_KIND, None, &line);
        assert_eq!((request.method.as_deref(), request.uri.as_deref()), (None, uri));
        assert_eq!(request.status, Some(400));
    }
}

#[test]
fn a_log_format_says_what_each_field_is() {
    let format = r#"LogFormat "%a %h %{c}a %{remote}p %v:%p \"%{%Y-%m-%d %T}t.%{usec_frac}t %{%z}t\" \"%m %U%q %H\" %>s %B %I %O %D \"%!200{User-agent}i\" \"%{X-Forwarded-For}i\" %{SSL_PROTOCOL}x %{Cookie}i \"%{X-Team}i\" %L" name"#;
    let line = r#"198.51.100.7 client.example 10.0.0.1 50412 shop.example:443 "2026-03-01 11:15:02.250001 +0100" "GET /a b?c=%27 HTTP/1.1" 403 199 421 512 1500 "curl \"8\"" "203.0.113.9, 203.0.113.10" TLSv1.3 secret=1 "shop" aB3"#;
    let request = one(&KIND, Some(format), line);
    assert_eq!(request.client, Some([198, 51, 100, 7].into()));
    assert_eq!(request.client_port, Some(50412));
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.250001Z"));
    assert_eq!(request.end_ns, Some(request.time_ns + 1_500_000));
    assert_eq!(request.uri.as_deref(), Some("/a b?c=%27"));
    assert_eq!(request.decoded_uri.as_deref(), Some("/a b?c='"));
    assert_eq!((request.received_bytes, request.sent_bytes), (Some(421), Some(512)));
    assert_eq!(request.forwarded_for.as_deref(), Some("203.0.113.9, 203.0.113.10"));
    assert_eq!(request.user_agent.as_deref(), Some("curl \"8\""));
    assert_eq!(&*request.observer, "shop.example");
    assert_eq!(request.tls.as_ref().unwrap().version.as_deref(), Some("TLSv1.3"));
    assert_eq!(
        labels(&request),
        [
            ("apache.client_name", "client.example"),
            ("apache.peer", "10.0.0.1"),
            ("apache.p", "443"),
            ("apache.{X-Team}i", "shop"),
            ("uid", "aB3"),
        ]
    );
}

#[test]
fn times_come_in_many_forms() {
    let expected = rfc3339_ns(b"2026-03-01T10:15:02Z");
    for (format, line) in [
        ("%{sec}t %s", "1772360102 200"),
        ("%{msec}t %s", "1772360102000 200"),
        ("%{usec}t %s", "1772360102000000 200"),
        ("%{end:usec}t %s %D", "1772360102000001 200 1"),
        ("%{%s}t %s", "1772360102 200"),
        ("%{%d/%b/%Y %T}t %s", "01/Mar/2026 10:15:02 200"),
        ("%{%c}t %s", "Sun Mar  1 10:15:02 2026 200"),
        ("%{begin:%F}t %{%T}t %s", "2026-03-01 10:15:02 200"),
        ("%t %s", "[01/Mar/2026:10:15:02 +0000] 200"),
    ] {
        let request = one(&KIND, Some(format), line);
        assert_eq!((Some(request.time_ns), request.status), (expected, Some(200)), "{format}");
    }
}

#[test]
fn a_format_that_tells_no_fields_apart_is_refused() {
    for (format, why) in [
        ("%>s%b", "nothing is between %s and %b"),
        ("none", "the format 'none' has no directive"),
        ("%{a", "a '%{' without its '}'"),
        ("a %", "a '%' without a letter"),
    ] {
        let context = Context { format: Some(format.into()), ..Context::default() };
        assert_eq!((KIND.decoder)(&context).err().as_deref(), Some(why));
    }
}

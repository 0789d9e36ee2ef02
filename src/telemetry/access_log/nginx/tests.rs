use super::*;
use crate::telemetry::access_log::tests::{labels, one, one_of};
use crate::telemetry::tests::decode;
use crate::telemetry::text::rfc3339_ns;

#[test]
fn a_format_says_what_each_field_is() {
    let format = r#"$remote_addr:$remote_port $host $msec $request_method $scheme://$http_host$request_uri $server_protocol $status/$upstream_status $request_length $bytes_sent $request_time $upstream_addr $upstream_header_time $upstream_response_time $ssl_protocol/$ssl_cipher/$ssl_server_name "$http_user_agent" "$http_cookie" $request_id"#;
    let line = r#"2001:db8::7:50412 shop.example 1772360102.514 POST https://shop.example:8443/a%2e%2e/?q=1 HTTP/2.0 502/500, 502 812 1187 0.514 10.0.3.20:8080, 10.0.3.21:8080 0.100, 0.200 0.101, 0.210 TLSv1.3/TLS_AES_256_GCM_SHA384/shop.example "a \x22b\x22" "session=secret" 6f0c"#;
    let request = one(&KIND, Some(format), line);
    assert_eq!(request.client, Some("2001:db8::7".parse().unwrap()));
    assert_eq!(request.client_port, Some(50412));
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02Z"));
    assert_eq!(request.end_ns, rfc3339_ns(b"2026-03-01T10:15:02.514Z"));
    assert_eq!(request.method.as_deref(), Some("POST"));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
    assert_eq!(request.uri.as_deref(), Some("/a%2e%2e/?q=1"));
    assert_eq!(request.decoded_uri.as_deref(), Some("/a../?q=1"));
    assert_eq!(request.version.as_deref(), Some("HTTP/2.0"));
    assert_eq!((request.status, request.target_status), (Some(502), Some(502)));
    assert_eq!((request.received_bytes, request.sent_bytes), (Some(812), Some(1187)));
    assert_eq!(request.target_duration_ns, Some(200_000_000));
    let target = request.target.as_ref().unwrap();
    assert_eq!((target.address, target.port), (Some([10, 0, 3, 21].into()), Some(8080)));
    let tls = request.tls.as_ref().unwrap();
    assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
    assert_eq!(request.user_agent.as_deref(), Some("a \"b\""));
    assert_eq!(
        labels(&request),
        [
            ("nginx.scheme", "https"),
            ("nginx.upstream_addr", "10.0.3.20:8080, 10.0.3.21:8080"),
            ("nginx.upstream_response_time", "0.101, 0.210"),
            ("uid", "6f0c"),
        ]
    );
}

#[test]
fn a_directive_is_a_format_with_its_escapes() {
    let json = r#"log_format  main  escape=json
        '{"time":"$time_iso8601","client":"$remote_addr",'
        '"request":"$request","status":$status,"agent":"$http_user_agent"}';"#;
    let line = r#"{"time":"2026-03-01T10:15:02+01:00","client":"198.51.100.7","request":"GET /\"a\\b\u0007 HTTP/1.1","status":404,"agent":"x\ty"}"#;
    let request = one(&KIND, Some(json), line);
    assert_eq!(request.uri.as_deref(), Some("/\"a\\b\u{7}"));
    assert_eq!(request.user_agent.as_deref(), Some("x\ty"));
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T09:15:02Z"));
    // Quotes of the agent's own: only what is around it tells.
    let none =
        r#"escape=none '$remote_addr [$time_local] "$request" $status "$http_user_agent" "$host"'"#;
    let line =
        r#"198.51.100.7 [01/Mar/2026:10:15:02 +0000] "GET / HTTP/1.1" 200 "a" "b\" "shop.example""#;
    let request = one(&KIND, Some(none), line);
    assert_eq!(request.user_agent.as_deref(), Some(r#"a" "b\"#));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
}

#[test]
fn a_request_line_without_quotes_ends_after_its_version() {
    let format = "$time_local|$remote_addr $request $status $uri$is_args$args";
    let line = "01/Mar/2026:10:15:02 +0000|198.51.100.7 GET /a b HTTP/1.1 404 /a?b=1";
    let request = one(&KIND, Some(format), line);
    assert_eq!(request.uri.as_deref(), Some("/a b"));
    assert_eq!(request.status, Some(404));
    let format = "$msec $remote_addr $status $uri?$args";
    let request = one(&KIND, Some(format), "1772360102.5 unix: 404 /a b?c");
    assert_eq!((request.uri.as_deref(), request.client), (Some("/a b?c"), None));
}

#[test]
fn the_formats_of_packages_are_known() {
    let ingress = "198.51.100.7 - - [01/Mar/2026:10:15:02 +0000] \"GET /item?id=7 HTTP/1.1\" 200 \
        1187 \"-\" \"curl/8.5.0\" 421 0.013 [shop-web-80] [] 10.0.3.21:8080 1187 0.012 200 6f0c7c1e";
    assert!(recognise(&Head::new(ingress.as_bytes(), true)));
    let request = one(&KIND, None, ingress);
    let target = request.target.as_ref().unwrap();
    assert_eq!((target.port, target.name.as_deref()), (Some(8080), Some("shop-web-80")));
    assert_eq!(request.duration_ns, Some(13_000_000));
    let main = one_of(&KIND, None, KIND.sample);
    assert_eq!(main.forwarded_for.as_deref(), Some("203.0.113.9"));
}

#[test]
fn a_format_that_tells_no_fields_apart_is_refused() {
    for (format, why) in [
        ("$status$request_time", "nothing is between $status and $request_time"),
        ("none", "the format 'none' has no variable"),
        ("${status", "a '${' without its '}'"),
        ("a $ b", "'$' is no variable"),
    ] {
        let context = Context { format: Some(format.into()), ..Context::default() };
        assert_eq!(decoder(&context).err().as_deref(), Some(why));
    }
}

#[test]
fn a_line_of_another_format_is_bad() {
    let context = Context::default();
    let (out, bad) = decode(&KIND, &context, b"something else\n");
    assert_eq!((out.observations.len(), bad[0].reason), (0, "not in the format"));
}

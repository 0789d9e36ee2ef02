use super::*;
use crate::telemetry::access_log::tests::{labels, one, one_of};
use crate::telemetry::text::rfc3339_ns;

#[test]
fn the_default_text_says_who_served_what_and_who_asked_by_its_header_alone() {
    let request = one_of(&KIND, None, KIND.sample);
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.114Z"));
    assert_eq!(request.end_ns, Some(request.time_ns + 13_000_000));
    assert_eq!((request.client, request.forwarded_for.as_deref()), (None, Some("198.51.100.7")));
    assert_eq!(request.method.as_deref(), Some("GET"));
    assert_eq!(request.uri.as_deref(), Some("/item?id=7"));
    assert_eq!((request.status, request.sent_bytes), (Some(500), Some(1187)));
    assert_eq!(request.target_duration_ns, Some(12_000_000));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
    let target = request.target.as_ref().unwrap();
    assert_eq!((target.address, target.port), (Some([10, 0, 3, 21].into()), Some(8080)));
    assert_eq!(request.error, None);
}

/// As Envoy 1.40.0 wrote it, but for addresses.
const ISTIO_LINE: &str = r#"[2026-11-25T18:15:05.878Z] "GET /a%2e%2e/%252e?q='"<>\x41 HTTP/1.1" 503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} - "delayed_connect_error:_Connection_refused" 0 98 3 - "203.0.113.9, 203.0.113.10" "odd "quoted" \back\" "2e6f2b3e-2446-4160-8b73-544c46c1e459" "shop.example" "127.0.0.1:18099" gone - 127.0.0.1:18095 [2001:db8::7]:50412 - -"#;

#[test]
fn quotes_of_the_client_do_not_shift_the_fields() {
    let request = one_of(&KIND, None, ISTIO_LINE);
    assert_eq!(request.uri.as_deref(), Some(r#"/a%2e%2e/%252e?q='"<>\x41"#));
    assert_eq!(request.decoded_uri.as_deref(), Some(r#"/a../.?q='"<>\x41"#));
    assert_eq!(request.user_agent.as_deref(), Some(r#"odd "quoted" \back\"#));
    assert_eq!(request.forwarded_for.as_deref(), Some("203.0.113.9, 203.0.113.10"));
    assert_eq!(request.client, Some("2001:db8::7".parse().unwrap()));
    assert_eq!(request.client_port, Some(50412));
    assert_eq!(request.error.as_deref(), Some("UF"));
    assert_eq!(request.target.as_ref().unwrap().name.as_deref(), Some("gone"));
    let names: Vec<_> = labels(&request).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "envoy.response_code_details",
            "envoy.upstream_transport_failure_reason",
            "uid",
            "envoy.downstream_local_address",
        ]
    );
}

#[test]
fn what_is_no_http_to_envoy_has_a_status_alone() {
    let line = r#"[2026-11-25T18:14:59.443Z] "- - HTTP/1.1" 400 DPE 0 11 0 - "-" "-" "-" "-" "-""#;
    let request = one_of(&KIND, None, line);
    assert_eq!((request.method, request.uri, request.status), (None, None, Some(400)));
    assert_eq!(request.error.as_deref(), Some("DPE"));
    let line = r#"[2026-11-25T18:14:59.443Z] "- - -" 0 DC 0 0 0 - "-" "-" "-" "-" "-""#;
    let request = one_of(&KIND, None, line);
    assert_eq!((request.version, request.status), (None, None));
}

#[test]
fn json_is_read_by_the_names_that_operators_give() {
    let text = r#"{"authority":"shop.example","bytes_received":0,"bytes_sent":6,"downstream_remote_address":"203.0.113.10:0","duration":9,"method":"GET","path":"/item?q=%27","protocol":"HTTP/1.1","request_id":"83b9","requested_server_name":null,"response_code":200,"response_flags":"-","start_time":"2026-11-25T18:15:12.193Z","upstream_cluster":"app","upstream_host":"127.0.0.1:18090","upstream_service_time":"1","user_agent":"odd \"quoted\" \\back\\ agent","x-team":"shop","cookie":"secret","nested":{"a":[1]}}"#;
    let request = one_of(&KIND, None, text);
    assert_eq!(request.client, Some([203, 0, 113, 10].into()));
    assert_eq!((request.client_port, request.duration_ns), (None, Some(9_000_000)));
    assert_eq!(request.decoded_uri.as_deref(), Some("/item?q='"));
    assert_eq!(request.user_agent.as_deref(), Some(r#"odd "quoted" \back\ agent"#));
    assert_eq!(request.target_duration_ns, Some(1_000_000));
    assert_eq!(labels(&request), [("uid", "83b9"), ("envoy.x-team", "shop")]);
    let (out, _) = crate::telemetry::tests::decode(&KIND, &Context::default(), text.as_bytes());
    assert_eq!(out.unknown_fields.keys().map(|name| &**name).collect::<Vec<_>>(), ["x-team"]);
}

#[test]
fn a_text_format_says_what_each_field_is() {
    let format = r#"%START_TIME(%Y/%m/%d %H:%M:%S.%3f)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(:METHOD)% %REQ(:PATH):256% %PROTOCOL% %RESPONSE_CODE% %REQ(COOKIE)% %RESP(SERVER)% %DOWNSTREAM_TLS_VERSION%\n"#;
    let line = "2026/03/01 10:15:02.114 2001:db8::7 GET /a HTTP/2 200 secret envoy TLSv1.3";
    let request = one(&KIND, Some(format), line);
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.114Z"));
    assert_eq!(request.client, Some("2001:db8::7".parse().unwrap()));
    assert_eq!(request.uri.as_deref(), Some("/a"));
    assert_eq!(request.tls.as_ref().unwrap().version.as_deref(), Some("TLSv1.3"));
    assert_eq!(labels(&request), [("envoy.server", "envoy")]);
}

use super::*;
use crate::telemetry::access_log::tests::{all, labels};
use crate::telemetry::tests::decode;

/// A record of an ALB with these parts.
fn alb(target: &str, line: &str, agent: &str) -> String {
    format!(
        "http 2026-03-01T10:15:02.5Z app/shop/0a1b [2001:db8::7]:50412 {target} -1 -1 -1 400 - 0 272 \
         \"{line}\" \"{agent}\" - - - \"-\" \"-\" \"-\" - 2026-03-01T10:15:02.25Z \"-\" \"-\" \"-\" \
         \"-\" \"-\" \"-\" \"-\""
    )
}

#[test]
fn an_alb_record_says_who_asked_whom_for_what() {
    let all = all(&ALB, None, ALB.sample);
    let [request] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.101Z"));
    assert_eq!(request.end_ns, rfc3339_ns(b"2026-03-01T10:15:02.114903Z"));
    assert_eq!(request.client, Some([198, 51, 100, 7].into()));
    assert_eq!(request.client_port, Some(50412));
    let target = request.target.as_ref().unwrap();
    assert_eq!((target.address, target.port), (Some([10, 0, 3, 21].into()), Some(8080)));
    assert_eq!(
        target.name.as_deref(),
        Some("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/01")
    );
    assert_eq!(request.method.as_deref(), Some("GET"));
    assert_eq!(request.uri.as_deref(), Some("https://shop.example:443/item?id=7"));
    assert_eq!(request.decoded_uri, None);
    assert_eq!(request.version.as_deref(), Some("HTTP/1.1"));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
    assert_eq!((request.status, request.target_status), (Some(500), Some(500)));
    assert_eq!((request.received_bytes, request.sent_bytes), (Some(421), Some(1187)));
    assert_eq!(request.duration_ns, Some(13_000_000));
    assert_eq!(request.target_duration_ns, Some(12_000_000));
    assert_eq!(request.user_agent.as_deref(), Some("curl/8.5.0"));
    let tls = request.tls.as_ref().unwrap();
    assert_eq!(tls.version.as_deref(), Some("TLSv1.2"));
    assert_eq!(tls.cipher.as_deref(), Some("ECDHE-RSA-AES128-GCM-SHA256"));
    assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
    assert_eq!(request.error, None);
    assert_eq!(&*request.observer, "app/shop/0a1b2c3d4e5f6071");
    assert_eq!(
        labels(request),
        [
            ("aws.type", "https"),
            ("aws.chosen_cert_arn", "arn:aws:acm:eu-west-1:111122223333:certificate/a"),
            ("rule", "3"),
            ("aws.actions_executed", "forward"),
            ("trace_id", "Root=1-0-0"),
            ("uid", "TID_01"),
        ]
    );
}

#[test]
fn a_request_that_was_not_dispatched_has_no_target_and_no_target_time() {
    let all = all(&ALB, None, &alb("-", "- http://shop.example:80- -", "-"));
    let [request] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(request.client, Some("2001:db8::7".parse().unwrap()));
    assert_eq!((request.target.as_ref(), request.target_status), (None, None));
    assert_eq!((request.duration_ns, request.target_duration_ns), (Some(250_000_000), None));
    assert_eq!((request.method.as_ref(), request.version.as_ref()), (None, None));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
    assert_eq!((request.user_agent.as_ref(), request.tls.as_ref()), (None, None));
    assert_eq!(labels(request), [("aws.type", "http")]);
}

#[test]
fn quotes_in_texts_close_them_only_where_the_record_is_one_then() {
    for (agent, expected) in [
        (r#"a \"quoted\" agent"#, r#"a "quoted" agent"#),
        (r#"a \x22quoted\x22 agent"#, r#"a "quoted" agent"#),
        (r#"a "bare"quote"#, r#"a "bare"quote"#),
        // The client's own backslash before the closing quote.
        (r"C:\temp\", r"C:\temp\"),
        (r"\\192.0.2.1\share", r"\\192.0.2.1\share"),
        // What looks like the end of the field, three times.
        (r#"x" "y" - - "z"#, r#"x" "y" - - "z"#),
    ] {
        let line = "GET http://shop.example:80/?q=%2527 HTTP/1.1";
        let all = all(&ALB, None, &alb("10.0.3.21:8080", line, agent));
        let [request] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(request.user_agent.as_deref(), Some(expected));
        assert_eq!(request.decoded_uri.as_deref(), Some("http://shop.example:80/?q='"));
    }
}

#[test]
fn quotes_in_the_request_line_do_not_lose_the_request() {
    let line = r#"GET http://shop.example:80/?q=" or "1" = "1 HTTP/1.1"#;
    let found = all(&ALB, None, &alb("10.0.3.21:8080", line, "-"));
    assert_eq!(found[0].uri.as_deref(), Some(r#"http://shop.example:80/?q=" or "1" = "1"#));
    assert_eq!((found[0].status, found[0].version.as_deref()), (Some(400), Some("HTTP/1.1")));
    let elb =
        ELB.sample.replace("GET http://shop.example:80/", r#"GET http://shop.example:80/?" ""#);
    let found = all(&ELB, None, &elb);
    assert_eq!(found[0].uri.as_deref(), Some(r#"http://shop.example:80/?" ""#));
}

#[test]
fn old_and_future_records_are_read_as_far_as_they_are_known() {
    let sample = ALB.sample.trim_end();
    let old = sample.split(" \"shop.example\"").next().unwrap();
    let future = format!("{sample} \"new\" 7");
    for text in [old, &future] {
        let all = all(&ALB, None, text);
        assert_eq!(all[0].status, Some(500));
    }
    // Without the time of creation: less the duration.
    let all = all(&ALB, None, old);
    assert_eq!(Some(all[0].time_ns), rfc3339_ns(b"2026-03-01T10:15:02.101903Z"));
}

#[test]
fn a_file_that_only_shows_that_it_may_be_written_says_nothing() {
    for kind in [&ALB, &ELB, &NLB] {
        let text = "Enable AWSLogs for the load balancer at 2026-03-01";
        let (out, bad) = decode(kind, &Context::default(), text.as_bytes());
        assert_eq!((out.observations.len(), bad.len()), (0, 0));
        assert_eq!(out.passed["test of access"], 1);
    }
}

#[test]
fn a_classic_balancer_logs_when_it_had_the_request() {
    let tcp = "2026-03-01T10:15:02.114903Z shop 198.51.100.7:50412 10.0.3.21:8080 0.001 0.002 0.003 \
        - - 82 305 \"- - - \" \"-\" - -\n";
    let all = all(&ELB, None, &format!("{}{tcp}", ELB.sample));
    let [http, tcp] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(Some(http.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.114903Z"));
    assert_eq!(http.end_ns, Some(http.time_ns + 1_178_000));
    assert_eq!(http.uri.as_deref(), Some("http://shop.example:80/"));
    assert_eq!((http.status, http.sent_bytes), (Some(200), Some(29)));
    assert_eq!((&tcp.method, &tcp.uri, tcp.status), (&None, &None, None));
    assert_eq!((tcp.received_bytes, tcp.sent_bytes), (Some(82), Some(305)));
}

#[test]
fn a_network_balancer_logs_connections() {
    let all = all(&NLB, None, NLB.sample);
    let [request] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:01Z"));
    assert_eq!(request.end_ns, rfc3339_ns(b"2026-03-01T10:15:02Z"));
    assert_eq!(request.duration_ns, Some(120_000_000));
    assert_eq!((request.received_bytes, request.sent_bytes), (Some(512), Some(20480)));
    assert_eq!(request.host.as_deref(), Some("shop.example"));
    let tls = request.tls.as_ref().unwrap();
    assert_eq!(tls.version.as_deref(), Some("tlsv12"));
    assert_eq!(request.method, None);
    assert!(labels(request).contains(&("aws.tls_handshake_time", "9")));
}

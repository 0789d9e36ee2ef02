//! AN0223, stage one, from access logs.

use serde_json::json;

use super::{START_S, alerts, at};

/// Three requests of one client, a second apart.
pub(super) fn requests(kind: &str, uri: &str, status: u16) -> String {
    let mut out = String::new();
    for second in START_S..START_S + 3 {
        let request = format!("GET {uri} HTTP/1.1");
        let tail = format!("{status} 1187 \"-\" \"curl/8.5.0\"");
        let clf = at(second, "%d/%b/%Y:%H:%M:%S +0000");
        let time = at(second, "%Y-%m-%dT%H:%M:%S");
        let line = match kind {
            "aws-alb" => format!(
                "http {time}.114903Z app/shop/0a1b2c3d4e5f6071 198.51.100.7:50412 10.0.3.21:8080 0.001 0.012 \
                 0.000 {status} {status} 421 1187 \"GET http://shop.example:80{uri} HTTP/1.1\" \"curl/8.5.0\" \
                 - - arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/01 \"Root=1-0-0\" \
                 \"-\" \"-\" 0 {time}.101000Z \"forward\" \"-\" \"-\" \"10.0.3.21:8080\" \"{status}\" \"-\" \"-\""
            ),
            "aws-elb" => format!(
                "{time}.114903Z shop 198.51.100.7:50412 10.0.3.21:8080 0.000073 0.001048 0.000057 {status} \
                 {status} 0 29 \"GET http://shop.example:80{uri} HTTP/1.1\" \"curl/8.5.0\" - -"
            ),
            "gcp-lb" => json!({
                "logName": "projects/p/logs/requests", "timestamp": format!("{time}Z"),
                "resource": {"type": "http_load_balancer", "labels": {"backend_service_name": "shop"}},
                "httpRequest": {
                    "requestMethod": "GET", "requestUrl": format!("https://shop.example{uri}"),
                    "requestSize": "421", "status": status, "responseSize": "1187",
                    "userAgent": "curl/8.5.0", "remoteIp": "198.51.100.7",
                    "serverIp": "10.0.3.21", "latency": "0.012s",
                },
                "jsonPayload": {
                    "@type": "type.googleapis.com/google.cloud.loadbalancing.type.LoadBalancerLogEntry",
                    "statusDetails": "response_sent_by_backend", "remoteIp": "198.51.100.7",
                },
            })
            .to_string(),
            "azure-appgw" => {
                let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
                json!({
                    "timeStamp": format!("{time}+00:00"), "resourceId": "/G", "listenerName": "l",
                    "ruleName": "r", "backendPoolName": "p", "backendSettingName": "s",
                    "operationName": "ApplicationGatewayAccess",
                    "category": "ApplicationGatewayAccessLog",
                    "properties": {
                        "instanceId": "appgw_1", "clientIP": "198.51.100.7", "clientPort": 50_412,
                        "httpMethod": "GET", "originalRequestUriWithArgs": uri,
                        "requestUri": path, "requestQuery": query, "userAgent": "curl/8.5.0",
                        "httpStatus": status, "httpVersion": "HTTP/1.1", "receivedBytes": 421,
                        "sentBytes": 1_187, "timeTaken": 0.013, "serverRouted": "10.0.3.21:8080",
                        "serverStatus": status.to_string(), "serverResponseLatency": "0.012",
                        "host": "shop.example",
                    },
                })
                .to_string()
            }
            "haproxy" => format!(
                "{} lb haproxy[4711]: 198.51.100.7:50412 [{}.101] fe-https app/srv2 0/0/1/12/13 {status} 1187 \
                 - - ---- 3/3/1/1/0 0/0 \"{request}\"",
                at(second, "%b %e %H:%M:%S"),
                at(second, "%d/%b/%Y:%H:%M:%S")
            ),
            "envoy" => format!(
                "[{time}.114Z] \"{request}\" {status} - 0 1187 13 12 \"198.51.100.7\" \"curl/8.5.0\" \
                 \"6f0c7c1e-0000-4000-8000-000000000001\" \"shop.example\" \"10.0.3.21:8080\""
            ),
            "nginx" => format!("198.51.100.7 - - [{clf}] \"{request}\" {tail} \"203.0.113.9\""),
            "apache" => format!("shop.example:80 198.51.100.7 - - [{clf}] \"{request}\" {tail}"),
            _ => format!("198.51.100.7 - - [{clf}] \"{request}\" {tail}"),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn an0223_stage_one_from_each_kind_of_request_log_alone() {
    const EXPLOIT: &str = "/item?id=1%27%20union%20select%201,2,3--";
    for (kind, place) in [
        ("aws-alb", "10.0.3.21"),
        ("aws-elb", "10.0.3.21"),
        ("gcp-lb", "10.0.3.21"),
        ("azure-appgw", "10.0.3.21"),
        ("envoy", "10.0.3.21"),
        // These name no target's address: the host that wrote them is told.
        ("haproxy", "web"),
        ("nginx", "web"),
        ("apache", "web"),
        ("combined", "web"),
    ] {
        let more: &[&str] = if place == "web" { &["--log-host", "web"] } else { &[] };
        let found = alerts(kind, &requests(kind, EXPLOIT, 200), more);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["entity"]["id"]), (&"chain".into(), &place.into()));
        assert_eq!(alert["severity"], "informational", "{kind}: one stage alone");
        assert_eq!(alert["analytics"], json!(["AN0223"]), "{kind}");
        assert_eq!(alert["case"]["timeline"][0]["what"], "exploit_request", "{kind}");
        assert!(alerts(kind, &requests(kind, "/item?id=7", 200), more).is_empty(), "{kind}");
        // What the target did not find is everyday noise.
        assert!(alerts(kind, &requests(kind, EXPLOIT, 404), more).is_empty(), "{kind}");
    }
}

//! Google Cloud's HTTP(S) load balancers: LogEntry JSON, a line each or an array.

use serde::Deserialize;

use super::escape::{Escapes, name};
use super::line::put_uri;
use super::scalar::{Members, Scalar};
use super::{CLIENTS_SEE, authority, label_of};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::names::Names;
use crate::telemetry::request::{Request, Target, Tls};
use crate::telemetry::text::{address, address_and_port, epoch_s_ns, rfc3339_ns};

pub(super) static KIND: Kind = Kind {
    name: "gcp-lb",
    title: "Google Cloud HTTP(S) load balancer log",
    gives: Gives::Requests,
    versions: "LogEntry of global, classic and regional application load balancers, as Cloud \
        Logging exports it; other entries with an httpRequest too",
    source: "Google Cloud documentation, external application load balancer logging; Cloud Logging \
        API, HttpRequest",
    sample: "{\"logName\":\"projects/p/logs/requests\",\"timestamp\":\"2026-03-01T10:15:02.114Z\",\
        \"resource\":{\"type\":\"http_load_balancer\",\"labels\":{\"backend_service_name\":\"shop\"}},\
        \"httpRequest\":{\"requestMethod\":\"GET\",\"requestUrl\":\"https://shop.example/item?id=7\",\
        \"requestSize\":\"421\",\"status\":500,\"responseSize\":\"1187\",\"userAgent\":\"curl/8.5.0\",\
        \"remoteIp\":\"198.51.100.7\",\"serverIp\":\"10.0.3.21\",\"latency\":\"0.012s\"},\
        \"jsonPayload\":{\"@type\":\"type.googleapis.com/google.cloud.loadbalancing.type.LoadBalancerLogEntry\",\
        \"statusDetails\":\"response_sent_by_backend\",\"remoteIp\":\"198.51.100.7\"}}\n",
    sees: CLIENTS_SEE,
    absent: "what the backend answered, the port that served, headers but referer and user agent, \
        bodies; requests that the backend service's sampling left out",
    // Cloud Logging has most within a minute; exports to storage come in hourly batches.
    lateness_s: 3900,
    framing: Framing::Json,
    recognise,
    decoder: |_: &Context| Ok(Box::new(Gcp)),
};

fn recognise(head: &Head<'_>) -> bool {
    let of_balancer = |text: Option<&str>| {
        text.is_some_and(|text| {
            ["http_load_balancer", "_http_lb_rule", "loadbalancing.type.LoadBalancerLogEntry"]
                .iter()
                .any(|ending| text.ends_with(ending))
        })
    };
    head.json_has(&["/httpRequest"])
        && (of_balancer(head.json_text("/resource/type"))
            || of_balancer(head.json_text("/jsonPayload/@type")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    timestamp: Scalar<'a>,
    #[serde(borrow, default)]
    insert_id: Scalar<'a>,
    #[serde(borrow, default)]
    trace: Scalar<'a>,
    #[serde(borrow, default)]
    resource: Resource<'a>,
    #[serde(borrow)]
    http_request: Option<HttpRequest<'a>>,
    #[serde(borrow, default)]
    json_payload: Payload<'a>,
}

#[derive(Default, Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    labels: Option<Members<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HttpRequest<'a> {
    #[serde(borrow)]
    request_method: Scalar<'a>,
    #[serde(borrow)]
    request_url: Scalar<'a>,
    #[serde(borrow)]
    request_size: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    response_size: Scalar<'a>,
    #[serde(borrow)]
    user_agent: Scalar<'a>,
    #[serde(borrow)]
    remote_ip: Scalar<'a>,
    #[serde(borrow)]
    server_ip: Scalar<'a>,
    #[serde(borrow)]
    referer: Scalar<'a>,
    #[serde(borrow)]
    latency: Scalar<'a>,
    #[serde(borrow)]
    protocol: Scalar<'a>,
    #[serde(borrow)]
    cache_hit: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Payload<'a> {
    #[serde(borrow)]
    status_details: Scalar<'a>,
    #[serde(borrow)]
    proxy_status: Scalar<'a>,
    #[serde(borrow)]
    tls: PayloadTls<'a>,
    #[serde(borrow)]
    enforced_security_policy: Policy<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PayloadTls<'a> {
    #[serde(borrow)]
    protocol: Scalar<'a>,
    #[serde(borrow)]
    cipher: Scalar<'a>,
}

/// What Cloud Armor decided.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Policy<'a> {
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    outcome: Scalar<'a>,
}

struct Gcp;

impl Decoder for Gcp {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let entry: Entry<'_> =
            serde_json::from_slice(record).map_err(|_| Bad::value("not a log entry", record))?;
        let Some(http) = entry.http_request else {
            out.pass("entry without a request");
            return Ok(());
        };
        let time_ns = rfc3339_ns(entry.timestamp.bytes())
            .ok_or_else(|| Bad::value("the time is none", entry.timestamp.bytes()))?;
        let names = &mut out.names;
        let mut request = Request { time_ns, ..Request::default() };
        request.duration_ns =
            http.latency.said().and_then(|s| epoch_s_ns(s.strip_suffix('s')?.as_bytes()));
        request.end_ns = request.duration_ns.and_then(|ns| time_ns.checked_add(ns));
        (request.client, request.client_port) = split(&http.remote_ip);
        request.method = named(&http.request_method, names);
        if let Some(url) = http.request_url.said() {
            put_uri(url, &mut request);
            request.host = authority(url).map(|host| names.of(host.as_bytes()));
        }
        request.version = named(&http.protocol, names);
        request.status = http.status.number().filter(|status| *status != 0);
        request.received_bytes = http.request_size.number();
        request.sent_bytes = http.response_size.number();
        request.user_agent = named(&http.user_agent, names);
        request.referer = http.referer.said().map(Into::into);
        let payload = entry.json_payload;
        let (version, cipher) =
            (named(&payload.tls.protocol, names), named(&payload.tls.cipher, names));
        if version.is_some() || cipher.is_some() {
            request.tls = Some(Tls { version, cipher, server_name: None });
        }
        // `response_sent_by_backend`, `response_from_cache`: the others say why not.
        if let Some(details) = payload.status_details.said() {
            if details.starts_with("response_") {
                label("gcp.statusDetails", &payload.status_details, &mut request, names);
            } else {
                request.error = Some(names.of(details.as_bytes()));
            }
        }
        let (address, port) = split(&http.server_ip);
        if address.is_some() {
            request.target = Some(Target { address, port, name: None });
        }
        for (key, value) in entry.resource.labels.iter().flat_map(|labels| &labels.0) {
            match &**key {
                "backend_service_name" if value.said().is_some() => {
                    request.target.get_or_insert_default().name = named(value, names);
                }
                "forwarding_rule_name" => {
                    request.observer = named(value, names).unwrap_or_default();
                }
                "project_id" => label(label::ACCOUNT, value, &mut request, names),
                "zone" => label(label::ZONE, value, &mut request, names),
                "region" => label(label::REGION, value, &mut request, names),
                key => label(&format!("gcp.{key}"), value, &mut request, names),
            }
        }
        label(label::RULE, &payload.enforced_security_policy.name, &mut request, names);
        label("gcp.policy_outcome", &payload.enforced_security_policy.outcome, &mut request, names);
        label("gcp.proxyStatus", &payload.proxy_status, &mut request, names);
        label("gcp.cacheHit", &http.cache_hit, &mut request, names);
        for (name, value) in [(label::TRACE_ID, &entry.trace), (label::UID, &entry.insert_id)] {
            if let Some(value) = value.said() {
                request.labels.push(label_of(&names.of(name.as_bytes()), value));
            }
        }
        out.request(request);
        Ok(())
    }
}

fn named(value: &Scalar<'_>, names: &mut Names) -> Option<std::sync::Arc<str>> {
    value.said().map(|text| name(text.as_bytes(), Escapes::None, names))
}

fn label(label: &str, value: &Scalar<'_>, request: &mut Request, names: &mut Names) {
    if let Some(value) = named(value, names) {
        request.labels.push((names.of(label.as_bytes()), value));
    }
}

/// An address with a port or not: the API has both.
fn split(value: &Scalar<'_>) -> (Option<std::net::IpAddr>, Option<u16>) {
    match address(value.bytes()) {
        Some(address) => (Some(address), None),
        None => address_and_port(value.bytes()).unzip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::tests::{labels, one_of};
    use crate::telemetry::tests::decode;

    #[test]
    fn an_entry_says_who_asked_which_server_for_what() {
        let request = one_of(&KIND, None, KIND.sample);
        assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:02.114Z"));
        assert_eq!(request.end_ns, Some(request.time_ns + 12_000_000));
        assert_eq!(request.client, Some([198, 51, 100, 7].into()));
        assert_eq!(request.host.as_deref(), Some("shop.example"));
        assert_eq!(request.uri.as_deref(), Some("https://shop.example/item?id=7"));
        assert_eq!((request.received_bytes, request.sent_bytes), (Some(421), Some(1187)));
        let target = request.target.as_ref().unwrap();
        assert_eq!(target.address, Some([10, 0, 3, 21].into()));
        assert_eq!(target.name.as_deref(), Some("shop"));
        assert_eq!((request.status, request.error.as_deref()), (Some(500), None));
        assert_eq!(labels(&request), [("gcp.statusDetails", "response_sent_by_backend")]);
    }

    const DENIED: &str = r#"[{"insertId":"1x","timestamp":"2026-03-01T10:15:02Z","trace":"projects/p/traces/7",
        "resource":{"type":"http_load_balancer","labels":{"forwarding_rule_name":"front","project_id":"p","zone":"global","url_map_name":"m"}},
        "httpRequest":{"requestMethod":"POST","requestUrl":"http://192.0.2.1/?a=%252e","status":403,"remoteIp":"2001:db8::7","serverIp":"","protocol":"HTTP/1.1"},
        "jsonPayload":{"@type":"type.googleapis.com/google.cloud.loadbalancing.type.LoadBalancerLogEntry",
          "statusDetails":"denied_by_security_policy","enforcedSecurityPolicy":{"name":"edge","outcome":"DENY","priority":7},
          "tls":{"protocol":"TLSv1.3","cipher":"1301"},"cacheDecision":["A"]}},
      {"timestamp":"2026-03-01T10:15:03Z","textPayload":"other"}]"#;

    #[test]
    fn what_did_not_reach_a_backend_says_why() {
        let request = one_of(&KIND, None, DENIED);
        assert_eq!(request.error.as_deref(), Some("denied_by_security_policy"));
        assert_eq!((request.target.as_ref(), &*request.observer), (None, "front"));
        assert_eq!(request.decoded_uri.as_deref(), Some("http://192.0.2.1/?a=."));
        assert_eq!(request.tls.as_ref().unwrap().version.as_deref(), Some("TLSv1.3"));
        assert_eq!(
            labels(&request),
            [
                ("account", "p"),
                ("zone", "global"),
                ("gcp.url_map_name", "m"),
                ("rule", "edge"),
                ("gcp.policy_outcome", "DENY"),
                ("trace_id", "projects/p/traces/7"),
                ("uid", "1x"),
            ]
        );
        let (out, _) = decode(&KIND, &Context::default(), DENIED.as_bytes());
        assert_eq!(out.passed["entry without a request"], 1);
    }
}

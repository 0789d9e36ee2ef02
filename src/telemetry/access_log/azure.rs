//! Azure Application Gateway's access log, of both generations.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Deserialize;

use super::draft::{NS_PER_MS, NS_PER_S};
use super::escape::{Escapes, name};
use super::line::put_uri;
use super::scalar::Scalar;
use super::{CLIENTS_SEE, label_of};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::names::Names;
use crate::telemetry::request::{Request, Target, Tls};
use crate::telemetry::text::{address, address_and_port, rfc3339_ns};

pub(super) static KIND: Kind = Kind {
    name: "azure-appgw",
    title: "Azure Application Gateway access log",
    gives: Gives::Requests,
    versions: "v1 and v2, one entry after the other or in records",
    source: "Azure documentation, Application Gateway diagnostic logs, access log",
    sample: "{\"timeStamp\":\"2026-03-01T10:15:02+00:00\",\"resourceId\":\"/G\",\
        \"listenerName\":\"l\",\"ruleName\":\"r\",\"backendPoolName\":\"p\",\"backendSettingName\":\"s\",\
        \"operationName\":\"ApplicationGatewayAccess\",\"category\":\"ApplicationGatewayAccessLog\",\
        \"properties\":{\"instanceId\":\"appgw_1\",\"clientIP\":\"198.51.100.7\",\"clientPort\":50412,\
        \"httpMethod\":\"GET\",\"originalRequestUriWithArgs\":\"/item?id=7\",\"requestUri\":\"/item\",\
        \"requestQuery\":\"id=7\",\"userAgent\":\"curl/8.5.0\",\"httpStatus\":500,\
        \"httpVersion\":\"HTTP/1.1\",\"receivedBytes\":421,\"sentBytes\":1187,\"timeTaken\":0.013,\
        \"serverRouted\":\"10.0.3.21:8080\",\"serverStatus\":\"500\",\
        \"serverResponseLatency\":\"0.012\",\"host\":\"shop.example\",\
        \"error_info\":\"ERRORINFO_NO_ERROR\"}}\n",
    sees: CLIENTS_SEE,
    absent: "headers but the user agent; bodies; of v1 the server's port and time",
    // Storage has them within about 300 s.
    lateness_s: 900,
    framing: Framing::Json,
    recognise,
    decoder: |_: &Context| Ok(Box::new(Azure)),
};

const CATEGORY: &str = "ApplicationGatewayAccessLog";

fn recognise(head: &Head<'_>) -> bool {
    match &head.json {
        Some(_) => head.json_text("/category") == Some(CATEGORY),
        // The first entry may be what is no JSON: see `repaired`.
        None => {
            let first = head.bytes.trim_ascii_start().starts_with(b"{");
            first && memchr::memmem::find(head.line(), b"\"ApplicationGatewayAccessLog\"").is_some()
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    /// v1.
    #[serde(borrow, default)]
    time: Scalar<'a>,
    /// v2.
    #[serde(borrow, default)]
    time_stamp: Scalar<'a>,
    #[serde(borrow, default)]
    resource_id: Scalar<'a>,
    #[serde(borrow, default)]
    listener_name: Scalar<'a>,
    #[serde(borrow, default)]
    rule_name: Scalar<'a>,
    #[serde(borrow, default)]
    backend_pool_name: Scalar<'a>,
    #[serde(borrow, default)]
    backend_setting_name: Scalar<'a>,
    #[serde(borrow, default)]
    category: Scalar<'a>,
    #[serde(borrow)]
    properties: Option<Properties<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    #[serde(borrow, default)]
    instance_id: Scalar<'a>,
    #[serde(borrow, default, rename = "clientIP")]
    client_ip: Scalar<'a>,
    #[serde(borrow, default)]
    client_port: Scalar<'a>,
    #[serde(borrow, default)]
    http_method: Scalar<'a>,
    #[serde(borrow, default)]
    original_request_uri_with_args: Scalar<'a>,
    #[serde(borrow, default)]
    request_uri: Scalar<'a>,
    #[serde(borrow, default)]
    request_query: Scalar<'a>,
    #[serde(borrow, default)]
    user_agent: Scalar<'a>,
    #[serde(borrow, default)]
    http_status: Scalar<'a>,
    #[serde(borrow, default)]
    http_version: Scalar<'a>,
    #[serde(borrow, default)]
    received_bytes: Scalar<'a>,
    #[serde(borrow, default)]
    sent_bytes: Scalar<'a>,
    #[serde(borrow, default)]
    time_taken: Scalar<'a>,
    #[serde(borrow, default)]
    ssl_enabled: Scalar<'a>,
    #[serde(borrow, default)]
    ssl_cipher: Scalar<'a>,
    #[serde(borrow, default)]
    ssl_protocol: Scalar<'a>,
    #[serde(borrow, default)]
    server_routed: Scalar<'a>,
    #[serde(borrow, default)]
    server_status: Scalar<'a>,
    #[serde(borrow, default)]
    server_response_latency: Scalar<'a>,
    #[serde(borrow, default)]
    original_host: Scalar<'a>,
    #[serde(borrow, default)]
    host: Scalar<'a>,
    #[serde(borrow, default, rename = "error_info")]
    error_info: Scalar<'a>,
    #[serde(borrow, default, rename = "WAFMode")]
    waf_mode: Scalar<'a>,
    #[serde(borrow, default)]
    transaction_id: Scalar<'a>,
}

struct Azure;

impl Decoder for Azure {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let whole: Result<Entry<'_>, _> = serde_json::from_slice(record);
        match whole {
            Ok(entry) => entry.put(out),
            Err(_) => {
                let repaired = repaired(record);
                let entry: Entry<'_> = serde_json::from_slice(&repaired)
                    .map_err(|_| Bad::value("not an entry", record))?;
                entry.put(out)
            }
        }
    }
}

/// v1 writes `"clientPort":-`, which is no JSON, for null.
fn repaired(record: &[u8]) -> Vec<u8> {
    let mut repaired = Vec::with_capacity(record.len() + 16);
    let (mut in_text, mut escaped) = (false, false);
    for (at, &byte) in record.iter().enumerate() {
        let next = record.get(at + 1);
        if !in_text && byte == b'-' && !next.is_some_and(u8::is_ascii_digit) {
            repaired.extend(b"null");
            continue;
        }
        if byte == b'"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && byte == b'\\' && !escaped;
        repaired.push(byte);
    }
    repaired
}

impl Entry<'_> {
    fn put(&self, out: &mut Out) -> Result<(), Bad> {
        let Some(properties) = self.properties.as_ref().filter(|_| self.is_access()) else {
            out.pass("other category");
            return Ok(());
        };
        let client = address(properties.client_ip.bytes());
        if client.is_some_and(|client| client == Ipv4Addr::LOCALHOST) {
            out.pass("request of the gateway's own");
            return Ok(());
        }
        // Seconds since the second generation, which renamed the time.
        let (time, unit_ns) = match self.time_stamp.said() {
            Some(time) => (time, NS_PER_S),
            None => (self.time.said().unwrap_or_default(), NS_PER_MS),
        };
        let logged_ns = rfc3339_ns(time.as_bytes())
            .ok_or_else(|| Bad::value("the time is none", time.as_bytes()))?;
        let names = &mut out.names;
        let duration_ns = properties.time_taken.of_unit(unit_ns);
        let mut request = Request {
            time_ns: logged_ns.saturating_sub(duration_ns.unwrap_or_default()),
            end_ns: Some(logged_ns),
            duration_ns,
            client,
            client_port: properties.client_port.number(),
            method: named(&properties.http_method, names),
            version: named(&properties.http_version, names),
            host: named(&properties.original_host, names)
                .or_else(|| named(&properties.host, names)),
            status: properties.http_status.number().filter(|status| *status != 0),
            received_bytes: properties.received_bytes.number(),
            sent_bytes: properties.sent_bytes.number(),
            user_agent: named(&properties.user_agent, names),
            observer: self.gateway(names),
            ..Request::default()
        };
        if properties.ssl_enabled.said() == Some("on") {
            let version = named(&properties.ssl_protocol, names);
            let cipher = named(&properties.ssl_cipher, names);
            request.tls = Some(Tls { version, cipher, server_name: None });
        }
        request.error = Some(&properties.error_info)
            .filter(|error| error.said() != Some("ERRORINFO_NO_ERROR"))
            .and_then(|error| named(error, names));
        let query = query_of(properties.request_query.said().unwrap_or_default());
        put_whole_uri(properties, &query.query, &mut request);
        let server = properties.server_routed.said().or(query.server).unwrap_or_default();
        let (address, port) = match address_and_port(server.as_bytes()) {
            Some((address, port)) => (Some(address), Some(port)),
            None => (address(server.as_bytes()), None),
        };
        let pool = named(&self.backend_pool_name, names);
        if address.is_some() || pool.is_some() {
            request.target = Some(Target { address, port, name: pool });
        }
        request.target_status = properties.server_status.number().or(query.status);
        request.target_duration_ns = properties.server_response_latency.of_unit(NS_PER_S);
        for (label, value) in [
            (label::RULE, &self.rule_name),
            ("azure.listenerName", &self.listener_name),
            ("azure.backendSettingName", &self.backend_setting_name),
            ("azure.instanceId", &properties.instance_id),
            ("azure.WAFMode", &properties.waf_mode),
        ] {
            if let Some(value) = named(value, names) {
                request.labels.push((names.of(label.as_bytes()), value));
            }
        }
        if let Some(id) = properties.transaction_id.said() {
            request.labels.push(label_of(&names.of(label::UID.as_bytes()), id));
        }
        out.request(request);
        Ok(())
    }

    fn is_access(&self) -> bool {
        self.category.said() == Some(CATEGORY)
    }

    /// The last of `/SUBSCRIPTIONS/.../APPLICATIONGATEWAYS/SHOP`.
    fn gateway(&self, names: &mut Names) -> Arc<str> {
        let resource = self.resource_id.said().unwrap_or_default();
        names.of(resource.rsplit('/').next().unwrap_or_default().as_bytes())
    }
}

/// As the client sent it, where that is there: what it was rewritten to is not.
fn put_whole_uri(properties: &Properties<'_>, query: &str, request: &mut Request) {
    if let Some(uri) = properties.original_request_uri_with_args.said() {
        put_uri(uri, request);
    } else if let Some(path) = properties.request_uri.said() {
        match query {
            "" => put_uri(path, request),
            query => put_uri(&format!("{path}?{query}"), request),
        }
    }
}

/// What v1 has in `requestQuery`: its own parameters, and the client's.
struct Query<'a> {
    query: Cow<'a, str>,
    server: Option<&'a str>,
    status: Option<u16>,
}

fn query_of(text: &str) -> Query<'_> {
    let mut found = Query { query: Cow::Borrowed(text), server: None, status: None };
    if !text.contains("SERVER-ROUTED=") {
        return found;
    }
    let mut kept = Vec::new();
    for part in text.split('&') {
        match part.split_once('=') {
            // The gateway's come last: the client may write the same before them.
            Some(("SERVER-ROUTED", server)) => found.server = Some(server),
            Some(("SERVER-STATUS", status)) => {
                found.status = crate::telemetry::text::number(status.as_bytes());
            }
            Some((name, _)) if name.starts_with("X-AzureApplicationGateway-") => {}
            _ => kept.push(part),
        }
    }
    found.query = Cow::Owned(kept.join("&"));
    found
}

fn named(value: &Scalar<'_>, names: &mut Names) -> Option<Arc<str>> {
    value.said().map(|text| name(text.as_bytes(), Escapes::None, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::tests::{all, labels, one_of};
    use crate::telemetry::tests::decode;

    #[test]
    fn a_v2_entry_says_who_asked_which_server_for_what() {
        let request = one_of(&KIND, None, KIND.sample);
        assert_eq!(request.end_ns, rfc3339_ns(b"2026-03-01T10:15:02Z"));
        assert_eq!(request.duration_ns, Some(13_000_000));
        assert_eq!(request.target_duration_ns, Some(12_000_000));
        assert_eq!(request.client, Some([198, 51, 100, 7].into()));
        assert_eq!(request.client_port, Some(50412));
        assert_eq!(request.uri.as_deref(), Some("/item?id=7"));
        assert_eq!((request.status, request.target_status), (Some(500), Some(500)));
        let target = request.target.as_ref().unwrap();
        assert_eq!((target.address, target.port), (Some([10, 0, 3, 21].into()), Some(8080)));
        assert_eq!((target.name.as_deref(), &*request.observer), (Some("p"), "G"));
        assert_eq!((request.error.as_deref(), request.tls.as_ref()), (None, None));
        assert_eq!(
            labels(&request),
            [
                ("rule", "r"),
                ("azure.listenerName", "l"),
                ("azure.backendSettingName", "s"),
                ("azure.instanceId", "appgw_1"),
            ]
        );
    }

    /// A file of records, the first of them no JSON, the last of the gateway itself.
    const V1: &str = r#"{"records":[
        {"resourceId":"/SUBSCRIPTIONS/0/APPLICATIONGATEWAYS/SHOP","operationName":"ApplicationGatewayAccess","time":"2026-03-01T10:15:02Z","category":"ApplicationGatewayAccessLog","properties":{"instanceId":"ApplicationGatewayRole_IN_0","clientIP":"203.0.113.9","clientPort":-,"httpMethod":"GET","requestUri":"/a\"-\\","requestQuery":"id=7&X-AzureApplicationGateway-CACHE-HIT=0&SERVER-ROUTED=10.0.3.21&X-AzureApplicationGateway-LOG-ID=0&SERVER-STATUS=404","userAgent":"-","httpStatus":"404","httpVersion":"HTTP/1.0","receivedBytes":"65","sentBytes":553,"timeTaken":205,"sslEnabled":"on"}},
        {"time":"2026-03-01T10:15:02Z","category":"ApplicationGatewayFirewallLog","properties":{}},
        {"time":"2026-03-01T10:15:02Z","category":"ApplicationGatewayAccessLog","properties":{"clientIP":"127.0.0.1","requestUri":"/"}}
        ]}"#;

    #[test]
    fn a_v1_entry_has_its_server_in_the_query_and_no_port() {
        let all = all(&KIND, None, V1);
        let [request] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(Some(request.time_ns), rfc3339_ns(b"2026-03-01T10:15:01.795Z"));
        assert_eq!((request.client_port, request.user_agent.as_ref()), (None, None));
        assert_eq!(request.uri.as_deref(), Some("/a\"-\\?id=7"));
        assert_eq!((request.status, request.target_status), (Some(404), Some(404)));
        let target = request.target.as_ref().unwrap();
        assert_eq!((target.address, target.port), (Some([10, 0, 3, 21].into()), None));
        assert_eq!((request.received_bytes, &*request.observer), (Some(65), "SHOP"));
        assert_eq!(request.tls, Some(Tls::default()));
        let (out, _) = decode(&KIND, &Context::default(), V1.as_bytes());
        assert_eq!(out.passed["other category"], 1);
        assert_eq!(out.passed["request of the gateway's own"], 1);
    }

    #[test]
    fn a_first_entry_that_is_no_json_is_recognised_all_the_same() {
        let entry = V1.lines().nth(1).unwrap().trim().trim_end_matches(',');
        assert!(serde_json::from_str::<serde_json::Value>(entry).is_err());
        let request = one_of(&KIND, None, entry);
        assert_eq!(request.status, Some(404));
    }
}

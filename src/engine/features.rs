//! What packets said in a second, as events for analytics: in order of their keys.

use std::sync::Arc;

use super::correlation::Correlation;
use super::window::features::{Features, RequestKey, RequestLine};
use crate::detect::analytic::{DnsSecond, EchoSecond, Event, PACKETS, Source};
use crate::telemetry::request::{Request, Target};
use crate::telemetry::text::decoded_uri;

/// IP protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

impl Correlation<'_> {
    /// Of a second, merged of all shards.
    pub(super) fn show_features(&mut self, second: i64, features: &mut Features) {
        features.settle();
        let seed = features.seed();
        let entities = &self.entities;
        let mut show = |event: &Event<'_>| self.detection.event(event, self.looked_s, &self.known);
        for (key, stats) in features.dns.sorted() {
            let who = entities.sender(key.client, key.server, &[UDP, TCP]);
            show(&Event::Dns(&DnsSecond { second, key, stats, who }));
        }
        for (key, stats) in features.echo.sorted() {
            let who = entities.sender(key.requester, key.responder, &[ICMP, ICMPV6]);
            show(&Event::Echo(&EchoSecond { second, key, stats, seed, who }));
        }
        for (server, statuses) in features.statuses.sorted() {
            show(&Event::Statuses { second, server, statuses });
        }
        let requests = features.requests.sorted();
        if requests.is_empty() {
            return;
        }
        let source = Source { name: PACKETS.into(), kind: PACKETS, lateness_ns: 0 };
        for (key, line) in requests {
            let request = request(key, line, &source.name);
            self.show_request(&source, &request);
        }
    }
}

/// As logs give it, but for what only the answer tells.
fn request(key: &RequestKey, line: &RequestLine, source: &Arc<str>) -> Request {
    let uri: Box<str> = line.path.shown().into();
    let text = |shown: String| (!shown.is_empty()).then(|| shown.into());
    Request {
        time_ns: key.time_ns,
        client: Some(key.client.ip()),
        client_port: Some(key.client_port),
        target: Some(Target {
            address: Some(key.server.ip()),
            port: Some(key.server_port),
            name: None,
        }),
        method: text(line.method.shown()),
        decoded_uri: decoded_uri(&uri),
        uri: Some(uri),
        version: line.version.map(|minor| format!("HTTP/1.{minor}").into()),
        host: text(line.host.shown()),
        user_agent: text(line.agent.shown()),
        observer: Arc::clone(source),
        ..Request::default()
    }
}

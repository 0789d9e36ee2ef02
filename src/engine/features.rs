//! What packets said in a second, as events for analytics: in order of their keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::correlation::Correlation;
use super::window::features::{AnswerKey, DnsKey, Features, RequestKey, RequestLine, shown};
use crate::detect::analytic::{DnsSecond, EchoSecond, Event, NotDnsSecond, PACKETS, Source};
use crate::telemetry::request::{Request, Target};
use crate::telemetry::text::decoded_uri;

/// IP protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Requests in clear that nobody had answered by the end of their second: they wait for the
/// next one.
#[derive(Default)]
pub(super) struct Awaiting {
    second: i64,
    requests: Vec<(RequestKey, Request)>,
}

/// What DNS was asked in a second: answers to it may come in the next one.
#[derive(Default)]
pub(super) struct Asked {
    second: i64,
    keys: BTreeSet<DnsKey>,
}

/// Answers of a second, each to be given once.
struct Answers<'a> {
    sorted: Vec<(&'a AnswerKey, u16)>,
    given: Vec<bool>,
}

impl<'a> Answers<'a> {
    fn of(features: &'a Features) -> Self {
        // Where not all were kept, none is surely whose it seems.
        let sorted = features.answers.sorted();
        let is_whole = features.answers.messages == sorted.len() as u64;
        let sorted = if is_whole { sorted } else { Vec::new() };
        let sorted: Vec<_> = sorted.into_iter().map(|(key, status)| (key, status.0)).collect();
        let given = vec![false; sorted.len()];
        Self { sorted, given }
    }

    /// Nothing for requests on connections that have more answers than these: which of them
    /// is whose can't be told.
    fn leave_out_doubtful<'r>(&mut self, requests: impl Iterator<Item = &'r RequestKey>) {
        let mut asked_on = BTreeMap::<AnswerKey, usize>::new();
        for request in requests {
            *asked_on.entry(connection(&asked(request))).or_default() += 1;
        }
        let mut at = 0;
        for answers in self.sorted.chunk_by(|(x, _), (y, _)| connection(x) == connection(y)) {
            let on = answers.first().map(|(key, _)| connection(key));
            let requests = on.and_then(|on| asked_on.get(&on)).copied().unwrap_or_default();
            if answers.len() > requests {
                self.given[at..at + answers.len()].fill(true);
            }
            at += answers.len();
        }
    }

    /// The first answer on the request's connection after it that is not another's: requests
    /// of one connection are answered in their order (RFC 9112, 9.3.2).
    fn take(&mut self, asked: AnswerKey) -> Option<u16> {
        let mut at = self.sorted.partition_point(|(key, _)| **key < asked);
        while let Some((key, status)) = self.sorted.get(at) {
            if connection(key) != connection(&asked) {
                return None;
            }
            if !std::mem::replace(&mut self.given[at], true) {
                return Some(*status);
            }
            at += 1;
        }
        None
    }
}

/// The earliest answer that a request can have.
fn asked(request: &RequestKey) -> AnswerKey {
    let RequestKey { time_ns, client, client_port, server, server_port, .. } = *request;
    AnswerKey { client, client_port, server, server_port, time_ns }
}

/// Of whatever time.
fn connection(key: &AnswerKey) -> AnswerKey {
    AnswerKey { time_ns: 0, ..*key }
}

impl Correlation<'_> {
    /// Of a second, merged of all shards.
    pub(super) fn show_features(&mut self, second: i64, features: &mut Features) {
        features.settle();
        let seed = features.seed();
        let entities = &self.entities;
        let mut show = |event: &Event<'_>| self.detection.event(event, self.looked_s, &self.known);
        let dns = features.dns.sorted();
        let questions = dns.iter().filter(|(_, stats)| stats.queries > 0).map(|(key, _)| **key);
        let questions = Asked { second, keys: questions.collect() };
        let before = std::mem::replace(&mut self.asked, questions);
        let before = Some(before).filter(|before| before.second == second - 1);
        for (key, told) in features.told.sorted() {
            let is_asked = |of: &Asked| of.keys.contains(&key.asked);
            if is_asked(&self.asked) || before.as_ref().is_some_and(is_asked) {
                show(&Event::Told { second, key, told });
            }
        }
        for (key, stats) in features.not_dns.sorted() {
            let who = entities.sender(key.client, key.server, &[UDP]);
            show(&Event::NotDns(&NotDnsSecond { second, key, stats, who }));
        }
        for (key, stats) in dns {
            let who = entities.sender(key.client, key.server, &[UDP, TCP]);
            show(&Event::Dns(&DnsSecond { second, key, stats, who }));
        }
        for (key, stats) in features.echo.sorted() {
            let who = entities.sender(key.requester, key.responder, &[ICMP, ICMPV6]);
            show(&Event::Echo(&EchoSecond { second, key, stats, seed, who }));
        }
        let mut answers = Answers::of(features);
        let requests = features.requests.sorted();
        let awaited = self.awaiting.requests.iter().map(|(key, _)| key);
        answers.leave_out_doubtful(awaited.chain(requests.iter().map(|(key, _)| *key)));
        for (key, mut request) in std::mem::take(&mut self.awaiting.requests) {
            request.status = answers.take(asked(&key));
            self.show_seen_request(&request);
        }
        let mut awaiting = Awaiting { second, requests: Vec::new() };
        for (key, line) in requests {
            let mut request = request(key, line);
            match answers.take(asked(key)) {
                None => {
                    self.show_asked(&request);
                    awaiting.requests.push((*key, request));
                }
                status => {
                    request.status = status;
                    self.show_seen_request(&request);
                }
            }
        }
        self.awaiting = awaiting;
    }

    /// Shows requests whose answers can't come any more, all before `second` being closed.
    pub(super) fn show_unanswered(&mut self, second: i64) {
        if second > self.awaiting.second.saturating_add(1) {
            for (_, request) in std::mem::take(&mut self.awaiting.requests) {
                self.show_seen_request(&request);
            }
        }
    }

    /// Who serves it matters to what begins before the answer comes.
    fn show_asked(&mut self, request: &Request) {
        let Some(joiner) = &mut self.joiner else { return };
        let served = joiner.served(request, false);
        let event = Event::Asked { time_ns: request.time_ns, served: &served };
        self.detection.event(&event, self.looked_s, &self.known);
    }

    fn show_seen_request(&mut self, request: &Request) {
        let source = Source { name: PACKETS.into(), kind: PACKETS, lateness_ns: 0 };
        self.show_request(&source, request);
    }
}

/// As logs give it, but for what only the answer tells.
fn request(key: &RequestKey, line: &RequestLine) -> Request {
    let uri: Box<str> = line.path.shown().into();
    let text = |shown: String| (!shown.is_empty()).then(|| shown.into());
    let name: Arc<str> = "header".into();
    let headers = line.headers.as_bytes().split(|&byte| byte == b'\n');
    let headers = headers.filter(|header| !header.is_empty());
    let labels = headers.map(|header| (Arc::clone(&name), shown(header).into())).collect();
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
        observer: PACKETS.into(),
        labels,
        ..Request::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::Host;

    fn answer(client_port: u16, time_ns: i64) -> AnswerKey {
        let [client, server] =
            [9, 1].map(|last| Host::from(std::net::IpAddr::from([10, 0, 0, last])));
        AnswerKey { client, client_port, server, server_port: 80, time_ns }
    }

    #[test]
    fn requests_of_one_connection_take_its_answers_in_order_and_no_others() {
        let keys = [answer(1, 20), answer(1, 40), answer(2, 5), answer(3, 15)];
        let sorted: Vec<_> = keys.iter().zip([200, 404, 500, 302]).collect();
        let mut answers = Answers { given: vec![false; sorted.len()], sorted };
        let mut ask = |port, time_ns| answers.take(answer(port, time_ns));
        assert_eq!([ask(1, 10), ask(1, 11), ask(1, 12)], [Some(200), Some(404), None]);
        assert_eq!(ask(2, 6), None, "what came before it is no answer to it");
        assert_eq!((ask(3, 15), ask(4, 0)), (Some(302), None));
    }

    #[test]
    fn a_request_that_was_not_read_gives_its_answer_to_no_other() {
        let keys = [answer(1, 20), answer(1, 40), answer(2, 5)];
        let sorted: Vec<_> = keys.iter().zip([404, 200, 200]).collect();
        let mut answers = Answers { given: vec![false; sorted.len()], sorted };
        let request = |client_port, time_ns| {
            let AnswerKey { client, server, server_port, .. } = answer(client_port, 0);
            RequestKey::of_test(time_ns, (client, client_port), (server, server_port))
        };
        answers.leave_out_doubtful([request(1, 10), request(2, 1)].iter());
        assert_eq!(answers.take(answer(1, 10)), None);
        assert_eq!(answers.take(answer(2, 1)), Some(200));
    }
}

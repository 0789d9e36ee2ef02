//! Access logs of AWS's balancers: application, network (TLS) and classic.
//!
//! Fields in a fixed order, one space between, texts of clients in quotes. AWS
//! appends fields; those that came after this was written are left out.

use std::sync::Arc;

use memchr::memchr;

use super::escape::{Escapes, clear, name};
use super::line::RequestLine;
use super::{CLIENTS_SEE, authority, label_of};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::request::{Request, Target, Tls};
use crate::telemetry::text::{address_and_port, epoch_s_ns, number, rfc3339_ns};

const NS_PER_MS: i64 = 1_000_000;

pub(super) static ALB: Kind = Kind {
    name: "aws-alb",
    title: "AWS application load balancer access log",
    gives: Gives::Requests,
    versions: "all that have come: 17 to 33 fields; further ones are left out",
    source: "Elastic Load Balancing user guide for application load balancers, access logs",
    sample: "https 2026-03-01T10:15:02.114903Z app/shop/0a1b2c3d4e5f6071 198.51.100.7:50412 \
        10.0.3.21:8080 0.001 0.012 0.000 500 500 421 1187 \
        \"GET https://shop.example:443/item?id=7 HTTP/1.1\" \"curl/8.5.0\" \
        ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 \
        arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/01 \"Root=1-0-0\" \
        \"shop.example\" \"arn:aws:acm:eu-west-1:111122223333:certificate/a\" 3 \
        2026-03-01T10:15:02.101000Z \"forward\" \"-\" \"-\" \"10.0.3.21:8080\" \"500\" \"-\" \"-\" \
        TID_01 \"-\" \"-\" \"-\"\n",
    sees: CLIENTS_SEE,
    absent: "headers and bodies but the user agent; health checks; requests that were not logged: \
        AWS logs as far as it can",
    // A file a node every 300 s, delivered within about as long.
    lateness_s: 600,
    framing: Framing::Lines,
    recognise: |head| read(head.line(), ALB_LINE, is_alb).is_some(),
    decoder: |_: &Context| Ok(Box::new(Alb::new())),
};

pub(super) static ELB: Kind = Kind {
    name: "aws-elb",
    title: "AWS classic load balancer access log",
    gives: Gives::Requests,
    versions: "15 fields, and the 12 of before 2014",
    source: "Elastic Load Balancing user guide for classic load balancers, access logs",
    sample: "2026-03-01T10:15:02.114903Z shop 198.51.100.7:50412 10.0.3.21:8080 0.000073 0.001048 \
        0.000057 200 200 0 29 \"GET http://shop.example:80/ HTTP/1.1\" \"curl/8.5.0\" - -\n",
    sees: CLIENTS_SEE,
    absent: "headers and bodies but the user agent; health checks; requests that were not logged: \
        AWS logs as far as it can",
    // A file a node every 300 or 3600 s, delivered within about 300 s.
    lateness_s: 3900,
    framing: Framing::Lines,
    recognise: |head| read(head.line(), ELB_LINE, is_elb).is_some(),
    decoder: |_: &Context| Ok(Box::new(Elb)),
};

pub(super) static NLB: Kind = Kind {
    name: "aws-nlb",
    title: "AWS network load balancer access log",
    gives: Gives::Requests,
    versions: "1.0 and 2.0; further fields are left out",
    source: "Elastic Load Balancing user guide for network load balancers, access logs",
    sample: "tls 2.0 2026-03-01T10:15:02 net/edge/0a1b 5f60 198.51.100.7:50412 10.0.3.21:443 120 9 \
        512 20480 - arn:aws:acm:eu-west-1:111122223333:certificate/a - ECDHE-RSA-AES128-SHA tlsv12 \
        - shop.example - - - 2026-03-01T10:15:01\n",
    sees: "connections through TLS listeners: who, to which target, under which name, how much, \
        how long",
    absent: "requests; connections through listeners without TLS",
    // A file a node every 300 s, delivered within about as long.
    lateness_s: 600,
    framing: Framing::Lines,
    recognise: |head: &Head<'_>| is_nlb(head.line()),
    decoder: |_: &Context| Ok(Box::new(Nlb::new())),
};

/// Fields that are looked at; the longest of these logs has 33.
const MOST_FIELDS: usize = 33;

/// Places of the request line.
const ALB_LINE: usize = 12;
const ELB_LINE: usize = 11;

struct Fields<'a> {
    all: [&'a [u8]; MOST_FIELDS],
    count: usize,
}

impl<'a> Fields<'a> {
    /// What a field says; nothing where it is `-` or not there.
    fn get(&self, at: usize) -> Option<&'a [u8]> {
        self.all.get(at).copied().filter(|field| !matches!(*field, b"" | b"-"))
    }
}

/// Quotes that do not close the text of a field, though they look it.
#[derive(Clone, Copy, Default)]
struct Passed {
    at: usize,
    quotes: usize,
}

/// Fields between single spaces, in quotes or not; quotes are left out. None where a
/// quote does not close.
fn fields_of(record: &[u8], escapes: Escapes, passed: Passed) -> Option<Fields<'_>> {
    let mut fields = Fields { all: [b""; MOST_FIELDS], count: 0 };
    let mut rest = record;
    for (at, slot) in fields.all.iter_mut().enumerate() {
        if rest.is_empty() {
            break;
        }
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let pass = if at == passed.at { passed.quotes } else { 0 };
            let end = closing_quote(quoted, escapes, pass)?;
            *slot = &quoted[..end];
            rest = quoted.get(end + 2..).unwrap_or_default();
        } else {
            let end = memchr(b' ', rest).unwrap_or(rest.len());
            *slot = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        fields.count += 1;
    }
    Some(fields)
}

/// Where the quote closes: before a space or at the end.
fn closing_quote(quoted: &[u8], escapes: Escapes, mut pass: usize) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', &quoted[from..])?;
        if matches!(quoted.get(at + 1), None | Some(b' ')) && escapes.bare(quoted, at) {
            if pass == 0 {
                return Some(at);
            }
            pass -= 1;
        }
        from = at + 1;
    }
}

/// The fields of a record that `is` recognises: with `\"` in a text as a quote
/// that does not close it, and if that fails, as one that does, for AWS does not say.
/// If that fails too, the client sent what looks like the text's end: in the user
/// agent where the request before it, at `line`, ends in its version, else in that.
fn read<'a>(record: &'a [u8], line: usize, is: fn(&Fields<'_>) -> bool) -> Option<Fields<'a>> {
    let plain = |escapes| fields_of(record, escapes, Passed::default());
    let found = plain(Escapes::Quotes).filter(is).or_else(|| plain(Escapes::None).filter(is));
    found.or_else(|| {
        const MOST_QUOTES: usize = 8;
        let text = plain(Escapes::None)?.all[line];
        let whole = text.len().checked_sub(3).is_some_and(|n| text[..n].ends_with(b" HTTP/"));
        let order = if whole { [line + 1, line] } else { [line, line + 1] };
        let all = order.into_iter().flat_map(|at| (1..=MOST_QUOTES).map(move |n| (at, n)));
        all.map(|(at, quotes)| Passed { at, quotes })
            .find_map(|passed| fields_of(record, Escapes::None, passed).filter(is))
    })
}

fn is_alb(fields: &Fields<'_>) -> bool {
    let [kind, time, balancer, ..] = fields.all;
    matches!(kind, b"http" | b"https" | b"h2" | b"grpcs" | b"ws" | b"wss")
        && fields.count >= 17
        && balancer.starts_with(b"app/")
        && rfc3339_ns(time).is_some()
        && (fields.count <= 21 || rfc3339_ns(fields.all[21]).is_some())
}

fn is_elb(fields: &Fields<'_>) -> bool {
    let [time, _, client, _, _, _, _, _, _, received_bytes, sent_bytes, ..] = fields.all;
    matches!(fields.count, 12 | 15)
        && rfc3339_ns(time).is_some()
        && address_and_port(client).is_some()
        && [received_bytes, sent_bytes].iter().all(|bytes| number::<u64>(bytes).is_some())
}

/// A record that is no request: what AWS writes to see whether it may.
fn is_test(record: &[u8]) -> bool {
    record.starts_with(b"Enable")
}

/// What ALB and classic balancers have alike, from the client on.
fn common(fields: &[&[u8]], out: &mut Out) -> Result<Request, Bad> {
    let &[client, target, before, served, after, status, target_status, received, sent, line] =
        fields
    else {
        return Err(Bad::new("too few fields"));
    };
    let mut request = Request::default();
    if let Some((address, port)) = address_and_port(client) {
        (request.client, request.client_port) = (Some(address), Some(port));
    } else if client != b"-" {
        out.bad_part("the client is no address");
    }
    if let Some((address, port)) = address_and_port(target) {
        request.target = Some(Target { address: Some(address), port: Some(port), name: None });
    } else if target != b"-" {
        let name = Some(name(target, Escapes::None, &mut out.names));
        request.target = Some(Target { name, ..Target::default() });
    }
    // -1 where the request was not dispatched.
    let [before_ns, served_ns, after_ns] = [before, served, after].map(epoch_s_ns);
    request.target_duration_ns = served_ns;
    if let (Some(before_ns), Some(served_ns), Some(after_ns)) = (before_ns, served_ns, after_ns) {
        request.duration_ns =
            before_ns.checked_add(served_ns).and_then(|ns| ns.checked_add(after_ns));
    }
    (request.status, request.target_status) = (number(status), number(target_status));
    (request.received_bytes, request.sent_bytes) = (number(received), number(sent));
    let line = clear(line, Escapes::Quotes);
    RequestLine::of(&line).put(&mut request, &mut out.names);
    // The whole URL is in the line, with the name that the client asked for.
    let host = request.uri.as_deref().and_then(authority);
    request.host = host.map(|host| out.names.of(host.as_bytes()));
    Ok(request)
}

struct Alb {
    /// Fields that are kept under a name alone, by their places.
    labels: Vec<(usize, Arc<str>)>,
    trace: Arc<str>,
    uid: Arc<str>,
}

impl Alb {
    fn new() -> Self {
        let labels = [
            (0, "aws.type"),
            (19, "aws.chosen_cert_arn"),
            (20, label::RULE),
            (22, "aws.actions_executed"),
            (23, "aws.redirect_url"),
            (27, "aws.classification"),
            (28, "aws.classification_reason"),
            (30, "aws.transformed_host"),
            (31, "aws.transformed_uri"),
            (32, "aws.request_transform_status"),
        ];
        Self {
            labels: labels.into_iter().map(|(at, name)| (at, name.into())).collect(),
            trace: label::TRACE_ID.into(),
            uid: label::UID.into(),
        }
    }
}

impl Decoder for Alb {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let Some(fields) = read(record, ALB_LINE, is_alb) else {
            if is_test(record) {
                out.pass("test of access");
                return Ok(());
            }
            return Err(Bad::value("not an ALB record", record));
        };
        let mut request = common(&fields.all[3..13], out)?;
        let end_ns = rfc3339_ns(fields.all[1]).ok_or_else(|| Bad::new("no time"))?;
        let created_ns = fields.get(21).and_then(rfc3339_ns);
        request.time_ns = created_ns
            .unwrap_or_else(|| end_ns.saturating_sub(request.duration_ns.unwrap_or_default()));
        request.end_ns = Some(end_ns.max(request.time_ns));
        if request.duration_ns.is_none() && created_ns.is_some() {
            request.duration_ns = end_ns.checked_sub(request.time_ns).filter(|ns| *ns >= 0);
        }
        let names = &mut out.names;
        request.observer = names.of(fields.all[2]);
        let mut quoted = |at: usize| Some(name(fields.get(at)?, Escapes::Quotes, names));
        request.user_agent = quoted(13);
        let (cipher, version, server_name) = (quoted(14), quoted(15), quoted(18));
        if cipher.is_some() || version.is_some() {
            request.tls = Some(Tls { version, cipher, server_name });
        }
        if let Some(group) = quoted(16) {
            request.target.get_or_insert_default().name = Some(group);
        }
        request.error = quoted(24);
        request.labels.reserve_exact(8);
        for (at, label) in &self.labels {
            if let Some(value) = quoted(*at) {
                request.labels.push((Arc::clone(label), value));
            }
        }
        // Of each request its own: no names that come again.
        for (at, label) in [(17, &self.trace), (29, &self.uid)] {
            if let Some(value) = fields.get(at) {
                request.labels.push(label_of(label, &clear(value, Escapes::Quotes)));
            }
        }
        out.request(request);
        Ok(())
    }
}

struct Elb;

impl Decoder for Elb {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let Some(fields) = read(record, ELB_LINE, is_elb) else {
            if is_test(record) {
                out.pass("test of access");
                return Ok(());
            }
            return Err(Bad::value("not a classic ELB record", record));
        };
        let mut request = common(&fields.all[2..12], out)?;
        // When the balancer had the client's request, by its user guide.
        request.time_ns = rfc3339_ns(fields.all[0]).ok_or_else(|| Bad::new("no time"))?;
        request.end_ns = request.duration_ns.and_then(|ns| request.time_ns.checked_add(ns));
        let names = &mut out.names;
        request.observer = names.of(fields.all[1]);
        let mut quoted = |at: usize| Some(name(fields.get(at)?, Escapes::Quotes, names));
        request.user_agent = quoted(12);
        let (cipher, version) = (quoted(13), quoted(14));
        if cipher.is_some() || version.is_some() {
            request.tls = Some(Tls { version, cipher, server_name: None });
        }
        out.request(request);
        Ok(())
    }
}

fn is_nlb(line: &[u8]) -> bool {
    let fields: Vec<_> = line.split(|&byte| byte == b' ').take(4).collect();
    let &[b"tls", version, time, balancer] = fields.as_slice() else { return false };
    matches!(version, b"1.0" | b"2.0")
        && rfc3339_ns(time).is_some()
        && balancer.starts_with(b"net/")
}

struct Nlb {
    labels: Vec<(usize, Arc<str>)>,
}

impl Nlb {
    fn new() -> Self {
        let labels = [
            (4, "aws.listener"),
            (8, "aws.tls_handshake_time"),
            (12, "aws.chosen_cert_arn"),
            (16, "aws.tls_named_group"),
            (18, "aws.alpn_fe_protocol"),
            (19, "aws.alpn_be_protocol"),
            (20, "aws.alpn_client_preference_list"),
        ];
        Self { labels: labels.into_iter().map(|(at, name)| (at, name.into())).collect() }
    }
}

impl Decoder for Nlb {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if is_test(record) {
            out.pass("test of access");
            return Ok(());
        }
        // None is in quotes as a whole: `"h2","http/1.1"` is one field.
        let mut fields = Fields { all: [b""; MOST_FIELDS], count: 0 };
        for (slot, field) in fields.all.iter_mut().zip(record.split(|&byte| byte == b' ')) {
            *slot = field;
            fields.count += 1;
        }
        if fields.count < 16 || !is_nlb(record) {
            return Err(Bad::value("not an NLB record", record));
        }
        let end_ns = rfc3339_ns(fields.all[2]).ok_or_else(|| Bad::new("no time"))?;
        let mut request = Request { observer: out.names.of(fields.all[3]), ..Request::default() };
        if let Some((address, port)) = address_and_port(fields.all[5]) {
            (request.client, request.client_port) = (Some(address), Some(port));
        } else {
            out.bad_part("the client is no address");
        }
        if let Some((address, port)) = address_and_port(fields.all[6]) {
            request.target = Some(Target { address: Some(address), port: Some(port), name: None });
        }
        request.duration_ns = number::<i64>(fields.all[7]).and_then(|ms| ms.checked_mul(NS_PER_MS));
        (request.received_bytes, request.sent_bytes) =
            (number(fields.all[9]), number(fields.all[10]));
        let created_ns = fields.get(21).and_then(rfc3339_ns);
        request.time_ns = created_ns
            .unwrap_or_else(|| end_ns.saturating_sub(request.duration_ns.unwrap_or_default()));
        request.end_ns = Some(end_ns.max(request.time_ns));
        let names = &mut out.names;
        let mut named = |at: usize| Some(name(fields.get(at)?, Escapes::None, names));
        request.error = named(11);
        let (cipher, version, server_name) = (named(14), named(15), named(17));
        request.host.clone_from(&server_name);
        request.tls = Some(Tls { version, cipher, server_name });
        for (at, label) in &self.labels {
            if let Some(value) = named(*at) {
                request.labels.push((Arc::clone(label), value));
            }
        }
        out.request(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

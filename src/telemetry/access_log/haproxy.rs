//! HAProxy's logs of HTTP and of TCP, with whatever syslog puts in front.
//!
//! Times are the proxy's local ones without an offset. They are taken for UTC, or for
//! what the offset in syslog's own time says.

use super::draft::NS_PER_MS;
use super::escape::{Escapes, clear, name};
use super::line::RequestLine;
use super::{CLIENTS_SEE, label_of};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};
use crate::telemetry::request::{Request, Target, Tls};
use crate::telemetry::text::{MONTHS, address_and_port, clf_ns, number, rfc3339_ns};

pub(super) static KIND: Kind = Kind {
    name: "haproxy",
    title: "HAProxy log",
    gives: Gives::Requests,
    versions: "2.6: option httplog, httpslog and tcplog, bare or after syslog's RFC 3164, \
        RFC 5424 or ISO 8601 head; no log-format",
    source: "HAProxy 2.6.12; HAProxy configuration manual, logging",
    sample: "Mar  1 10:15:02 lb haproxy[4711]: 198.51.100.7:50412 [01/Mar/2026:10:15:02.101] \
        fe-https app/srv2 0/0/1/12/13 500 1187 - - ---- 3/3/1/1/0 0/0 \
        \"GET /item?id=7 HTTP/1.1\"\n",
    sees: CLIENTS_SEE,
    absent: "the server's address; what was received; headers that are not captured; the bytes of \
        what is no HTTP to it (<BADREQ>); heads as they were sent in the bytes; the offset of its times",
    // Logged when the request is over, through syslog.
    lateness_s: 60,
    framing: Framing::Lines,
    recognise: |head| {
        let lines = head.lines.iter().take(FIRST_LINES);
        lines.copied().any(|line| read(line, &mut Out::default()).is_ok_and(|all| all.is_some()))
    },
    decoder: |_: &Context| Ok(Box::new(HaProxy)),
};

/// Lines that can come before the first request: the proxies have started.
const FIRST_LINES: usize = 16;

struct HaProxy;

impl Decoder for HaProxy {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let Some(Line { mut request, host }) = read(record, out)? else { return Ok(()) };
        if let Some(host) = host {
            let label = out.names.of(b"haproxy.host");
            request.labels.push((label, out.names.of(host)));
        }
        out.request(request);
        Ok(())
    }
}

struct Line<'a> {
    request: Request,
    /// Who sent it, by syslog.
    host: Option<&'a [u8]>,
}

/// None of a line that is no request.
fn read<'a>(record: &'a [u8], out: &mut Out) -> Result<Option<Line<'a>>, Bad> {
    let Some((before, date, rest)) = at_date(record) else {
        if memchr::memmem::find(record, b"haproxy").is_some() {
            out.pass("notice");
            return Ok(None);
        }
        return Err(Bad::value("not an HAProxy line", record));
    };
    let client_at = before.iter().rposition(|&byte| byte == b' ').map_or(0, |at| at + 1);
    let (head, client) = before.split_at(client_at);
    let (host, offset_ns) = syslog(head);
    // RFC 5424 writes `-`, others the tag, where the host's name would be.
    let host = host.filter(|host| *host != b"-" && !host.ends_with(b":"));
    let accepted_ns = clf_ns(date).and_then(|ns| ns.checked_sub(offset_ns));
    let mut request = Request {
        time_ns: accepted_ns.ok_or_else(|| Bad::value("the time is none", date))?,
        ..Request::default()
    };
    match address_and_port(client) {
        Some((address, port)) => {
            (request.client, request.client_port) = (Some(address), Some(port));
        }
        // `unix:1`
        None => {
            let label = out.names.of(b"haproxy.client");
            request.labels.push(label_of(&label, &clear(client, Escapes::None)));
        }
    }
    let mut words = Words { rest };
    let frontend = words.next()?;
    if frontend.ends_with(b":") {
        out.pass("failed connection");
        return Ok(None);
    }
    match frontend.strip_suffix(b"~") {
        Some(frontend) => {
            request.observer = out.names.of(frontend);
            request.tls = Some(Tls::default());
        }
        None => request.observer = out.names.of(frontend),
    }
    let server = words.next()?;
    let split = server.iter().position(|&byte| byte == b'/');
    match split.map(|at| &server[at + 1..]).ok_or_else(misfit)? {
        b"<NOSRV>" | b"<STATS>" => {
            request.labels.push((out.names.of(b"haproxy.backend"), out.names.of(server)));
        }
        _ => {
            let name = Some(out.names.of(server));
            request.target = Some(Target { name, ..Target::default() });
        }
    }
    let timers: Vec<_> = words.next()?.split(|&byte| byte == b'/').take(6).map(timer).collect();
    match *timers.as_slice() {
        [Some(_), Some(_), Some(_), Some(answered_ns), Some(whole_ns)] => {
            request.target_duration_ns = answered_ns;
            request.duration_ns = whole_ns;
            http(&mut words, &mut request, out)?;
        }
        [Some(_), Some(_), Some(whole_ns)] => {
            request.duration_ns = whole_ns;
            request.sent_bytes = bytes(words.next()?)?;
            state(words.next()?, &mut request, out);
            connections(&mut words)?;
        }
        _ => return Err(misfit()),
    }
    request.end_ns = request.duration_ns.and_then(|ns| request.time_ns.checked_add(ns));
    Ok(Some(Line { request, host }))
}

fn misfit() -> Bad {
    Bad::new("not an HAProxy log format")
}

/// What is before the date in brackets, the date, and what is after.
fn at_date(record: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const DATE_BYTES: usize = b"01/Mar/2026:10:15:02.101".len();
    memchr::memchr_iter(b'[', record).find_map(|at| {
        let before = record[..at].strip_suffix(b" ")?;
        let (date, rest) = record[at + 1..].split_at_checked(DATE_BYTES)?;
        clf_ns(date)?;
        Some((before, date, rest.strip_prefix(b"] ")?))
    })
}

/// Who sent it and the offset of its clock, where what syslog puts in front says so.
fn syslog(head: &[u8]) -> (Option<&[u8]>, i64) {
    let mut words = head.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let Some(mut first) = words.next() else { return (None, 0) };
    if first.starts_with(b"<") {
        let end = first.iter().position(|&byte| byte == b'>').map_or(first.len(), |at| at + 1);
        first = &first[end..];
        // RFC 5424's version.
        if first == b"1" {
            first = words.next().unwrap_or_default();
        }
    }
    if MONTHS.iter().any(|month| month.as_bytes() == first) {
        return (words.nth(2), 0);
    }
    let civil_ns = first.get(..19).and_then(rfc3339_ns);
    let Some((civil_ns, ns)) = civil_ns.zip(rfc3339_ns(first)) else { return (None, 0) };
    const NS_PER_S: i64 = 1_000_000_000;
    let offset_ns = civil_ns.saturating_sub(ns.div_euclid(NS_PER_S) * NS_PER_S);
    (words.next(), offset_ns)
}

/// Words with one space between.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a [u8], Bad> {
        if self.rest.is_empty() {
            return Err(misfit());
        }
        let end = memchr::memchr(b' ', self.rest).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Ok(word)
    }
}

/// Milliseconds; nothing of -1, and of `+13`: at least so much, for it was logged
/// before it was over. None of what is no timer.
fn timer(word: &[u8]) -> Option<Option<i64>> {
    match word.strip_prefix(b"+").unwrap_or(word) {
        b"-1" => Some(None),
        digits => {
            let ns = number::<i64>(digits)?.checked_mul(NS_PER_MS)?;
            Some(Some(ns).filter(|_| !word.starts_with(b"+")))
        }
    }
}

fn bytes(word: &[u8]) -> Result<Option<u64>, Bad> {
    let digits = word.strip_prefix(b"+");
    let count = number(digits.unwrap_or(word)).ok_or_else(misfit)?;
    Ok(Some(count).filter(|_| digits.is_none()))
}

/// Why the session ended. Of what the proxy answered itself as it should, nothing.
fn state(word: &[u8], request: &mut Request, out: &mut Out) {
    if !word.starts_with(b"-") && !word.starts_with(b"L") {
        request.error = Some(out.names.of(word));
    }
}

/// Counts of connections and of queues.
fn connections(words: &mut Words<'_>) -> Result<(), Bad> {
    let of_counts = |word: &[u8], slashes: usize| {
        let count = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'/' | b'+' | b'-');
        word.iter().filter(|&&byte| byte == b'/').count() == slashes && word.iter().all(count)
    };
    let (open, queued) = (words.next()?, words.next()?);
    if of_counts(open, 4) && of_counts(queued, 1) { Ok(()) } else { Err(misfit()) }
}

/// From the status on.
fn http(words: &mut Words<'_>, request: &mut Request, out: &mut Out) -> Result<(), Bad> {
    let status = words.next()?;
    request.status = number(status);
    if request.status.is_none() && status != b"-1" {
        return Err(misfit());
    }
    request.sent_bytes = bytes(words.next()?)?;
    // Cookies: credentials.
    let _cookies = (words.next()?, words.next()?);
    state(words.next()?, request, out);
    connections(words)?;
    let mut captures = Vec::new();
    while let Some(inside) = words.rest.strip_prefix(b"{") {
        // HAProxy escapes braces of the client's.
        let end = memchr::memchr(b'}', inside).ok_or_else(misfit)?;
        captures.push(&inside[..end]);
        words.rest = inside.get(end + 2..).unwrap_or_default();
    }
    let names: &[&str] = match captures.len() {
        1 => &["haproxy.captured_headers"],
        _ => &["haproxy.captured_request_headers", "haproxy.captured_response_headers"],
    };
    for (label, headers) in names.iter().zip(captures) {
        if !headers.is_empty() {
            let headers = name(headers, Escapes::Hash, &mut out.names);
            request.labels.push((out.names.of(label.as_bytes()), headers));
        }
    }
    let quoted = words.rest.strip_prefix(b"\"").ok_or_else(misfit)?;
    // HAProxy escapes quotes of the client's; it cuts lines off, by default after 1024 bytes.
    let end = memchr::memchr(b'"', quoted);
    if end.is_none() {
        out.bad_part("the request line is cut off");
    }
    let (line, after) = quoted.split_at(end.unwrap_or(quoted.len()));
    if line != b"<BADREQ>" {
        let line = clear(line, Escapes::Hash);
        RequestLine::of(&line).put(request, &mut out.names);
    }
    // Of `option httpslog`: errors, then name, version and cipher.
    let tls = after.strip_prefix(b"\" ").and_then(|after| after.split(|&byte| byte == b' ').nth(1));
    if let Some(tls) = tls {
        let mut parts = tls.rsplitn(3, |&byte| byte == b'/');
        let names = &mut out.names;
        let mut part = || {
            let part = parts.next().filter(|part| !matches!(*part, b"-" | b""))?;
            Some(name(part, Escapes::Hash, names))
        };
        let (cipher, version, server_name) = (part(), part(), part());
        if version.is_some() {
            request.tls = Some(Tls { version, cipher, server_name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

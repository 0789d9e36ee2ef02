//! A request as the fields of a configurable log fill it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::escape::{Escapes, clear, name};
use super::label_of;
use super::line::{RequestLine, put_uri};
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::request::{Request, Target};
use crate::telemetry::text::{address, address_and_port, clf_ns, epoch_s_ns, number, rfc3339_ns};

pub(super) const NS_PER_US: i64 = 1_000;
pub(super) const NS_PER_MS: i64 = 1_000_000;
pub(super) const NS_PER_S: i64 = 1_000_000_000;

/// What a field of a configurable log is to a request. Of several fields for the same
/// the first that says something counts.
#[derive(Clone, Debug)]
pub(super) enum Field {
    /// Address, with a port or not, or name where the server looked it up: that
    /// becomes the label.
    Client(Arc<str>),
    ClientPort,
    ClientAndPort,
    ForwardedFor,
    /// When the request was received.
    Received(Clock),
    /// When it was logged: when it was over.
    Logged(Clock),
    /// Part of a time that is read by the template's own format.
    TimePart,
    Line,
    Method,
    /// As the client sent it.
    Uri,
    /// As the server has it decoded: used where nothing is as the client sent it.
    Path,
    /// What follows the `?`, with it or without.
    Query,
    PathAndQuery,
    Version,
    Host,
    Status,
    TargetStatus,
    ReceivedBytes,
    SentBytes,
    /// Without heads: used where the whole is not there. `-` is unknown.
    BodyBytes,
    /// The same, where `-` is zero.
    ClfBytes,
    /// In units of so many nanoseconds.
    Duration(i64),
    TargetDuration(i64),
    /// Address and port, of several that were tried the last; all of them in the label.
    Target(Arc<str>),
    TargetName,
    UserAgent,
    Referer,
    TlsVersion,
    TlsCipher,
    ServerName,
    Error,
    Observer,
    Label(Arc<str>),
    /// The same, each value of one request alone.
    Id(Arc<str>),
    /// Says nothing that is used, or is a secret.
    Skipped,
}

/// How a time is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    Clf,
    Rfc3339,
    /// Since the epoch, in units of so many nanoseconds, with a fraction or not.
    Epoch(i64),
    /// RFC 3339, or seconds or milliseconds since the epoch.
    Any,
}

impl Clock {
    fn ns(self, value: &[u8]) -> Option<i64> {
        match self {
            Self::Clf => clf_ns(value),
            Self::Rfc3339 => rfc3339_ns(value),
            Self::Epoch(unit_ns) => of_unit(value, unit_ns),
            Self::Any => match number::<i64>(value) {
                // From here on in the year 5138 of seconds, 1973 of milliseconds.
                Some(ms) if ms >= 100_000_000_000 => ms.checked_mul(NS_PER_MS),
                _ => rfc3339_ns(value).or_else(|| epoch_s_ns(value)),
            },
        }
    }
}

/// A number with a fraction or not, in units of so many nanoseconds.
fn of_unit(value: &[u8], unit_ns: i64) -> Option<i64> {
    if unit_ns == NS_PER_S {
        return epoch_s_ns(value);
    }
    // Microseconds since the epoch do not fit into nanoseconds as seconds.
    match number::<i64>(value) {
        Some(whole) => whole.checked_mul(unit_ns),
        None => Some(epoch_s_ns(value)? / (NS_PER_S / unit_ns)),
    }
}

/// What the fields of a record have said so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) request: Request,
    received_ns: Option<i64>,
    logged_ns: Option<i64>,
    /// The time's parts, each followed by [`TIME_PARTS_END`].
    time_parts: String,
    path: Option<Box<str>>,
    query: Option<Box<str>>,
    body_bytes: Option<u64>,
}

/// Ends each part of a time in its text and in its format: in no such format.
pub(super) const TIME_PARTS_END: char = '|';

impl Draft {
    pub(super) fn take(
        &mut self,
        field: &Field,
        value: &[u8],
        escapes: Escapes,
        out: &mut Out,
    ) -> Result<(), Bad> {
        if matches!(value, b"" | b"-") {
            if matches!((field, value), (Field::ClfBytes, b"-")) {
                self.body_bytes.get_or_insert(0);
            }
            return Ok(());
        }
        let request = &mut self.request;
        match field {
            Field::Client(label) => {
                if let Some(address) = address(value) {
                    request.client.get_or_insert(address);
                } else if let Some((address, port)) = address_and_port(value) {
                    put_client(address, port, request);
                } else {
                    request.labels.push(label_of(label, &clear(value, escapes)));
                }
            }
            Field::ClientPort => request.client_port = number(value),
            Field::ClientAndPort => {
                if let Some((address, port)) = address_and_port(value) {
                    put_client(address, port, request);
                }
            }
            Field::ForwardedFor => request.forwarded_for = Some(clear(value, escapes).into()),
            Field::Received(clock) => self.received_ns = Some(time(*clock, value)?),
            Field::Logged(clock) => self.logged_ns = Some(time(*clock, value)?),
            Field::TimePart => {
                self.time_parts.push_str(&clear(value, escapes));
                self.time_parts.push(TIME_PARTS_END);
            }
            Field::Line => {
                RequestLine::of(&clear(value, escapes)).put(request, &mut out.names);
            }
            Field::Method => named(&mut request.method, value, escapes, out),
            Field::Uri if request.uri.is_none() => put_uri(&clear(value, escapes), request),
            Field::Path => self.path = Some(clear(value, escapes).into()),
            Field::Query => {
                let query = clear(value, escapes);
                self.query = Some(query.strip_prefix('?').unwrap_or(&query).into());
            }
            Field::PathAndQuery => self.path = Some(clear(value, escapes).into()),
            Field::Version => named(&mut request.version, value, escapes, out),
            Field::Host => named(&mut request.host, value, escapes, out),
            Field::Status => request.status = status(value)?,
            Field::TargetStatus => {
                request.target_status = status(last_tried(value)).unwrap_or_default();
            }
            Field::ReceivedBytes => request.received_bytes = Some(count(value)?),
            Field::SentBytes => request.sent_bytes = Some(count(value)?),
            Field::BodyBytes | Field::ClfBytes => self.body_bytes = Some(count(value)?),
            Field::Duration(unit_ns) => {
                let duration_ns = duration(value, *unit_ns)?;
                request.duration_ns = request.duration_ns.or(duration_ns);
            }
            Field::TargetDuration(unit_ns) => {
                let duration_ns = duration(last_tried(value), *unit_ns)?;
                request.target_duration_ns = request.target_duration_ns.or(duration_ns);
            }
            Field::Target(label) => {
                let tried = last_tried(value);
                let target = request.target.get_or_insert_default();
                if let Some((address, port)) = address_and_port(tried) {
                    (target.address, target.port) = (Some(address), Some(port));
                } else if let Some(address) = address(tried) {
                    target.address = Some(address);
                } else {
                    named(&mut target.name, tried, escapes, out);
                }
                if tried.len() < value.len() {
                    let all = name(value, escapes, &mut out.names);
                    request.labels.push((Arc::clone(label), all));
                }
            }
            Field::TargetName => {
                let target = request.target.get_or_insert_with(Target::default);
                named(&mut target.name, value, escapes, out);
            }
            Field::UserAgent => named(&mut request.user_agent, value, escapes, out),
            Field::Referer => request.referer = Some(clear(value, escapes).into()),
            Field::TlsVersion => {
                named(&mut request.tls.get_or_insert_default().version, value, escapes, out);
            }
            Field::TlsCipher => {
                named(&mut request.tls.get_or_insert_default().cipher, value, escapes, out);
            }
            Field::ServerName => {
                named(&mut request.tls.get_or_insert_default().server_name, value, escapes, out);
            }
            Field::Error => named(&mut request.error, value, escapes, out),
            Field::Observer if request.observer.is_empty() => {
                request.observer = name(value, escapes, &mut out.names);
            }
            Field::Label(label) => {
                let value = name(value, escapes, &mut out.names);
                request.labels.push((Arc::clone(label), value));
            }
            Field::Id(label) => request.labels.push(label_of(label, &clear(value, escapes))),
            Field::Uri | Field::Observer | Field::Skipped => {}
        }
        Ok(())
    }

    /// The request, with a time of parts read by this format.
    pub(super) fn finish(mut self, time_format: Option<&str>) -> Result<Request, Bad> {
        if let Some(format) = time_format
            && self.received_ns.is_none()
        {
            let ns = time_of_parts(format, &self.time_parts);
            let bad = || Bad::value("the time is none", self.time_parts.as_bytes());
            self.received_ns = Some(ns.ok_or_else(bad)?);
        }
        let mut request = self.request;
        if request.uri.is_none()
            && let Some(path) = self.path
        {
            let uri = match self.query {
                Some(query) => Cow::Owned(format!("{path}?{query}")),
                None => Cow::Borrowed(&*path),
            };
            put_uri(&uri, &mut request);
        }
        request.sent_bytes = request.sent_bytes.or(self.body_bytes);
        let duration_ns = request.duration_ns;
        let (time_ns, end_ns) = match (self.received_ns, self.logged_ns) {
            (Some(received_ns), Some(logged_ns)) => (received_ns, Some(logged_ns.max(received_ns))),
            (Some(received_ns), None) => {
                (received_ns, duration_ns.and_then(|ns| received_ns.checked_add(ns)))
            }
            (None, Some(logged_ns)) => {
                (logged_ns.saturating_sub(duration_ns.unwrap_or_default()), Some(logged_ns))
            }
            (None, None) => return Err(Bad::new("no time")),
        };
        (request.time_ns, request.end_ns) = (time_ns, end_ns);
        Ok(request)
    }
}

/// An address that came with its port; zero is of one that was taken from a header.
fn put_client(address: IpAddr, port: u16, request: &mut Request) {
    if request.client.is_none() {
        request.client = Some(address);
        request.client_port = Some(port).filter(|port| *port != 0);
    }
}

fn named(slot: &mut Option<Arc<str>>, value: &[u8], escapes: Escapes, out: &mut Out) {
    if slot.is_none() {
        *slot = Some(name(value, escapes, &mut out.names));
    }
}

fn time(clock: Clock, value: &[u8]) -> Result<i64, Bad> {
    clock.ns(value).ok_or_else(|| Bad::value("the time is none", value))
}

fn count(value: &[u8]) -> Result<u64, Bad> {
    number(value).ok_or_else(|| Bad::value("not a number", value))
}

/// A status; nginx and Envoy write zero where there was none, HAProxy -1.
fn status(value: &[u8]) -> Result<Option<u16>, Bad> {
    match value {
        b"-1" => Ok(None),
        _ => match number::<u16>(value) {
            Some(status) => Ok(Some(status).filter(|status| *status != 0)),
            None => Err(Bad::value("the status is no number", value)),
        },
    }
}

/// None where the log writes -1.
fn duration(value: &[u8], unit_ns: i64) -> Result<Option<i64>, Bad> {
    match value {
        b"-1" | b"-" => Ok(None),
        _ => match of_unit(value, unit_ns) {
            Some(ns) => Ok(Some(ns)),
            None => Err(Bad::value("the duration is none", value)),
        },
    }
}

/// Of `a, b : c`, as nginx lists the servers that it tried, `c`.
fn last_tried(value: &[u8]) -> &[u8] {
    let space = value.iter().rposition(|&byte| byte == b' ');
    space.map_or(value, |at| &value[at + 1..])
}

fn time_of_parts(format: &str, parts: &str) -> Option<i64> {
    let parsed = jiff::fmt::strtime::parse(format, parts).ok()?;
    let time = parsed.to_timestamp().or_else(|_| {
        let utc = parsed.to_datetime()?.to_zoned(jiff::tz::TimeZone::UTC)?;
        Ok::<_, jiff::Error>(utc.timestamp())
    });
    i64::try_from(time.ok()?.as_nanosecond()).ok()
}

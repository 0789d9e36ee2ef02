//! nginx's access logs by their `log_format`.

use super::draft::{Clock, Field, NS_PER_S};
use super::escape::Escapes;
use super::template::{Piece, Template};
use super::{CLIENTS_SEE, is_secret, of_templates};
use crate::telemetry::decode::{Context, Decoder};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;

/// Formats that are read without being told: that of the packages of nginx.org and
/// of its container image, and that of the ingress controller of Kubernetes.
const KNOWN: &[&str] = &[
    r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#,
    r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id"#,
];

pub(super) static KIND: Kind = Kind {
    name: "nginx",
    title: "nginx access log",
    gives: Gives::Requests,
    versions: "any log_format with text between its variables (--fields), escape=default, json \
        and none; without one that of nginx.org's packages or of ingress-nginx",
    source: "nginx 1.22.1; its documentation, modules ngx_http_log_module and \
        ngx_http_core_module; NGINX Ingress Controller documentation, log format",
    sample: "198.51.100.7 - - [01/Mar/2026:10:15:02 +0000] \"GET /item?id=7 HTTP/1.1\" 500 1187 \
        \"-\" \"curl/8.5.0\" \"203.0.113.9\"\n",
    sees: CLIENTS_SEE,
    absent: "what the format leaves out: by default target, host, durations and what was received; \
        headers and bodies",
    // Written when the request is over; buffered as configured, by default not.
    lateness_s: 60,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    known().is_ok_and(|templates| {
        templates.iter().any(|template| template.read(head.line(), &mut Default::default()).is_ok())
    })
}

fn known() -> Result<Vec<Template>, String> {
    KNOWN.iter().map(|format| template(format)).collect()
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(of_templates(match &context.format {
        Some(format) => vec![template(format)?],
        None => known()?,
    }))
}

fn template(format: &str) -> Result<Template, String> {
    let (format, escapes) = unwrapped(format);
    // One variable for what is one URI.
    let format = format.replace("$uri$is_args$args", "$uri_and_args");
    let pieces = pieces(&format)?;
    Template::new(pieces, escapes, None)
}

/// The format of a `log_format` directive, or as it is, and its escapes.
fn unwrapped(format: &str) -> (String, Escapes) {
    let mut rest = format.trim();
    if let Some(after) = rest.strip_prefix("log_format") {
        let name = after.trim_start();
        rest = name.find(char::is_whitespace).map_or("", |at| name[at..].trim_start());
    }
    let mut escapes = Escapes::Backslash;
    if let Some(after) = rest.strip_prefix("escape=") {
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        if &after[..end] == "none" {
            escapes = Escapes::None;
        }
        rest = after[end..].trim_start();
    }
    let quote = rest.chars().next().filter(|letter| matches!(letter, '\'' | '"'));
    let text = match quote {
        // A format without the directive can begin with a quote of its own.
        Some(_) if rest.len() < format.trim().len() => joined(rest),
        Some('\'') => joined(rest),
        _ => unescaped(rest, None).0,
    };
    (text, escapes)
}

/// Texts in quotes one behind the other, as nginx joins them.
fn joined(mut rest: &str) -> String {
    let mut text = String::new();
    while let Some(quote) = rest.chars().next().filter(|letter| matches!(letter, '\'' | '"')) {
        let (part, length) = unescaped(&rest[1..], Some(quote));
        text.push_str(&part);
        rest = rest.get(1 + length..).unwrap_or_default().trim_start();
    }
    text
}

/// As nginx reads a text of its configuration, up to the quote, and how long it was.
fn unescaped(text: &str, quote: Option<char>) -> (String, usize) {
    let mut plain = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if Some(letter) == quote {
            return (plain, at + 1);
        }
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next().map(|(_, letter)| letter) {
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('n') => plain.push('\n'),
            Some(letter @ ('"' | '\'' | '\\')) => plain.push(letter),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    (plain, text.len())
}

fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('$') {
        pieces.push(Piece::Text(rest[..at].into()));
        let after = &rest[at + 1..];
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let (name, end) = match after.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}').ok_or("a '${' without its '}'")?;
                (&braced[..end], end + 2)
            }
            None => {
                let end = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("'${name}' is no variable"));
        }
        pieces.push(Piece::field(field(name), &format!("${name}")));
        rest = &after[end..];
    }
    if pieces.is_empty() {
        return Err(format!("the format '{format}' has no variable"));
    }
    pieces.push(Piece::Text(rest.into()));
    Ok(pieces)
}

fn field(name: &str) -> Field {
    let label = || format!("nginx.{name}").into();
    match name {
        "remote_addr" => Field::Client(label()),
        "remote_port" => Field::ClientPort,
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => Field::ForwardedFor,
        "time_local" => Field::Logged(Clock::Clf),
        "time_iso8601" => Field::Logged(Clock::Rfc3339),
        "msec" => Field::Logged(Clock::Epoch(NS_PER_S)),
        "request" => Field::Line,
        "request_method" => Field::Method,
        "request_uri" => Field::Uri,
        "uri" | "document_uri" => Field::Path,
        "args" | "query_string" => Field::Query,
        "uri_and_args" => Field::PathAndQuery,
        "server_protocol" => Field::Version,
        "host" | "http_host" => Field::Host,
        "status" => Field::Status,
        "upstream_status" => Field::TargetStatus,
        "request_length" => Field::ReceivedBytes,
        "bytes_sent" => Field::SentBytes,
        "body_bytes_sent" => Field::BodyBytes,
        "request_time" => Field::Duration(NS_PER_S),
        // To the head of the answer; $upstream_response_time is to its last byte.
        "upstream_header_time" => Field::TargetDuration(NS_PER_S),
        "upstream_addr" => Field::Target(label()),
        "proxy_upstream_name" | "proxy_host" => Field::TargetName,
        "http_user_agent" => Field::UserAgent,
        "http_referer" => Field::Referer,
        "ssl_protocol" => Field::TlsVersion,
        "ssl_cipher" => Field::TlsCipher,
        "ssl_server_name" => Field::ServerName,
        "server_name" | "hostname" => Field::Observer,
        "request_id" | "req_id" => Field::Id(label::UID.into()),
        "http_x_request_id" | "connection" | "http_traceparent" => Field::Id(label()),
        "is_args" | "pid" | "connection_requests" | "pipe" => Field::Skipped,
        _ if is_secret(name) => Field::Skipped,
        _ => Field::Label(label()),
    }
}

#[cfg(test)]
mod tests;

//! Apache's access logs by their `LogFormat`; the common and the combined log format,
//! which other servers write too.

use super::draft::{Clock, Field, NS_PER_MS, NS_PER_S, NS_PER_US, TIME_PARTS_END};
use super::escape::Escapes;
use super::template::{Piece, Template};
use super::{CLIENTS_SEE, is_secret, of_templates};
use crate::telemetry::decode::{Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};
use crate::telemetry::label;
use crate::telemetry::text::{address, number};

const COMBINED: &[&str] = &[
    r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    // Common.
    r#"%h %l %u %t "%r" %>s %b"#,
];

/// Debian's `vhost_combined`: its servers write it where a virtual host has no log of
/// its own.
const BY_HOST: &str = r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#;

pub(super) static COMBINED_KIND: Kind = Kind {
    name: "combined",
    title: "Web server access log, common or combined log format",
    gives: Gives::Requests,
    versions: "common and combined, as Apache and nginx write them",
    source: "Apache 2.4.71, nginx 1.22.1; Apache HTTP Server documentation, log files; nginx \
        documentation, ngx_http_log_module",
    sample: "198.51.100.7 - - [01/Mar/2026:10:15:02 +0000] \"GET /item?id=7 HTTP/1.1\" 500 1187 \
        \"-\" \"curl/8.5.0\"\n",
    sees: CLIENTS_SEE,
    absent: "host, target, durations, what was received; heads in the bytes sent; headers but \
        referer and user agent; bodies",
    // Written when the request is over.
    lateness_s: 60,
    framing: Framing::Lines,
    recognise: |head| head.lines.iter().take(FIRST_LINES).any(|line| is_combined(line)),
    decoder: |_| Ok(of_templates(templates(COMBINED, "combined")?)),
};

pub(super) static KIND: Kind = Kind {
    name: "apache",
    title: "Apache access log",
    gives: Gives::Requests,
    versions: "2.4, any LogFormat with text between its directives (--fields); without one \
        Debian's vhost_combined",
    source: "Apache 2.4.71; Apache HTTP Server documentation, mod_log_config and mod_logio",
    sample: "shop.example:80 198.51.100.7 - - [01/Mar/2026:10:15:02 +0000] \
        \"GET /item?id=7 HTTP/1.1\" 500 1187 \"-\" \"curl/8.5.0\"\n",
    sees: CLIENTS_SEE,
    absent: "what the format leaves out: by default target, durations and what was received; \
        headers but referer and user agent; bodies",
    // Written when the request is over; with BufferedLogs when the buffer is full.
    lateness_s: 60,
    framing: Framing::Lines,
    recognise: |head| head.lines.iter().take(FIRST_LINES).any(|line| is_by_host(line)),
    decoder: |context: &Context| -> Result<Box<dyn Decoder>, String> {
        Ok(of_templates(match &context.format {
            Some(format) => vec![template(format, "apache")?],
            None => templates(&[BY_HOST], "apache")?,
        }))
    },
};

/// The first line can be cut off where a log was rotated by copying.
const FIRST_LINES: usize = 3;

fn templates(formats: &[&str], kind: &str) -> Result<Vec<Template>, String> {
    formats.iter().map(|format| template(format, kind)).collect()
}

fn is_combined(line: &[u8]) -> bool {
    // A virtual host in front would else pass for the client.
    let mut words = line.split(|&byte| byte == b' ');
    let (client, ident) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (address(client).is_some() || (!client.is_empty() && client.iter().all(named)))
        && address(ident).is_none()
        && fits(COMBINED, line)
}

fn is_by_host(line: &[u8]) -> bool {
    let mut words = line.split(|&byte| byte == b' ');
    let host = words.next().unwrap_or_default();
    let port = host.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    port.len() < host.len() && number::<u16>(port).is_some() && fits(&[BY_HOST], line)
}

fn fits(formats: &[&str], line: &[u8]) -> bool {
    let mut out = Out::default();
    templates(formats, "apache")
        .is_ok_and(|all| all.iter().any(|template| template.read(line, &mut out).is_ok()))
}

fn template(format: &str, kind: &str) -> Result<Template, String> {
    // One directive for what is one URI.
    let format = unwrapped(format).replace("%U%q", "%{uri}^");
    let (pieces, time_format) = pieces(&format, kind)?;
    Template::new(pieces, Escapes::Backslash, time_format)
}

/// The format of a `LogFormat` directive, or as it is.
fn unwrapped(format: &str) -> String {
    let text = format.trim();
    let text = match text.strip_prefix("LogFormat").map(str::trim_start) {
        Some(directive) => match directive.strip_prefix('"') {
            Some(quoted) => {
                let bytes = quoted.as_bytes();
                let end =
                    memchr::memchr_iter(b'"', bytes).find(|&at| Escapes::Backslash.bare(bytes, at));
                &quoted[..end.unwrap_or(quoted.len())]
            }
            None => directive,
        },
        None => text,
    };
    text.replace("\\\"", "\"").replace("\\t", "\t").replace("\\\\", "\\")
}

/// The pieces, and how the parts of the time are written.
fn pieces(format: &str, kind: &str) -> Result<(Vec<Piece>, Option<String>), String> {
    let mut pieces = Vec::new();
    let mut time_format = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        pieces.push(Piece::Text(rest[..at].into()));
        let directive = &rest[at + 1..];
        if let Some(after) = directive.strip_prefix('%') {
            pieces.push(Piece::Text("%".into()));
            rest = after;
            continue;
        }
        // Only for these statuses, of the first or the last request of a redirection.
        let modifiers = |letter: char| matches!(letter, '!' | ',' | '<' | '>' | '0'..='9');
        let plain = directive.trim_start_matches(modifiers);
        let (argument, plain) = match plain.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}').ok_or("a '%{' without its '}'")?;
                (Some(&braced[..end]), braced[end + 1..].trim_start_matches(modifiers))
            }
            None => (None, plain),
        };
        let (letter, after) = match plain.strip_prefix("^t").map(|trailer| ("^t", trailer)) {
            Some((_, trailer)) if trailer.starts_with(['i', 'o']) => ("^t", &trailer[1..]),
            _ => plain.split_at_checked(1).ok_or("a '%' without a letter")?,
        };
        let written = match argument {
            Some(argument) => format!("%{{{argument}}}{letter}"),
            None => format!("%{letter}"),
        };
        match (letter, argument) {
            ("t", None) => {
                pieces.push(Piece::Text("[".into()));
                pieces.push(Piece::field(Field::Received(Clock::Clf), &written));
                pieces.push(Piece::Text("]".into()));
            }
            ("t", Some(form)) => {
                let form = form.strip_prefix("begin:").unwrap_or(form);
                let (field, own) = time(form, &mut time_format);
                pieces.push(Piece::Field { field, written, spaces: own });
            }
            _ => pieces.push(Piece::field(field(letter, argument, &written, kind), &written)),
        }
        rest = after;
    }
    if pieces.is_empty() {
        return Err(format!("the format '{format}' has no directive"));
    }
    pieces.push(Piece::Text(rest.into()));
    Ok((pieces, Some(time_format).filter(|format| !format.is_empty())))
}

/// A time's field, and how many spaces are in each value.
fn time(form: &str, time_format: &mut String) -> (Field, usize) {
    let field = |unit_ns| Field::Received(Clock::Epoch(unit_ns));
    let parts = match form {
        "sec" => return (field(NS_PER_S), 0),
        "msec" => return (field(NS_PER_MS), 0),
        "usec" => return (field(NS_PER_US), 0),
        "end:sec" => return (Field::Logged(Clock::Epoch(NS_PER_S)), 0),
        "end:msec" => return (Field::Logged(Clock::Epoch(NS_PER_MS)), 0),
        "end:usec" => return (Field::Logged(Clock::Epoch(NS_PER_US)), 0),
        // Of the end in parts: the beginning is what the parts are read for.
        _ if form.starts_with("end:") => return (Field::Skipped, form.matches(' ').count()),
        "msec_frac" | "usec_frac" => "%f",
        form => form,
    };
    let parts = parts.replace("%c", "%a %b %e %H:%M:%S %Y");
    time_format.push_str(&parts);
    time_format.push(TIME_PARTS_END);
    (Field::TimePart, parts.matches(' ').count())
}

fn field(letter: &str, argument: Option<&str>, written: &str, kind: &str) -> Field {
    let label = |name: &str| format!("{kind}.{name}").into();
    let as_written = || label(written.trim_start_matches('%'));
    match (letter, argument.map(str::to_ascii_lowercase).as_deref()) {
        ("a", None) | ("h", None) => Field::Client(label("client_name")),
        ("a", Some("c")) => Field::Label(label("peer")),
        ("p", Some("remote")) => Field::ClientPort,
        ("l", _) => Field::Label(label("ident")),
        ("u", _) => Field::Label(label("user")),
        ("r", _) => Field::Line,
        ("m", _) => Field::Method,
        ("U", _) => Field::Path,
        ("q", _) => Field::Query,
        ("^", Some("uri")) => Field::PathAndQuery,
        ("H", _) => Field::Version,
        ("V", _) | ("i", Some("host")) => Field::Host,
        ("v", _) => Field::Observer,
        ("s", _) => Field::Status,
        ("b", _) => Field::ClfBytes,
        ("B", _) => Field::BodyBytes,
        ("O", _) => Field::SentBytes,
        ("I", _) => Field::ReceivedBytes,
        ("D", _) | ("T", Some("us")) => Field::Duration(NS_PER_US),
        ("T", Some("ms")) => Field::Duration(NS_PER_MS),
        ("T", _) => Field::Duration(NS_PER_S),
        ("i", Some("referer")) => Field::Referer,
        ("i", Some("user-agent")) => Field::UserAgent,
        ("i", Some("x-forwarded-for")) => Field::ForwardedFor,
        ("x" | "e", Some("ssl_protocol")) => Field::TlsVersion,
        ("x" | "e", Some("ssl_cipher")) => Field::TlsCipher,
        ("x" | "e", Some("ssl_tls_sni")) => Field::ServerName,
        ("L", _) | ("e", Some("unique_id")) => Field::Id(label::UID.into()),
        ("P" | "k", _) => Field::Skipped,
        ("C", _) => Field::Skipped,
        ("i" | "o" | "e" | "n" | "x", Some(name)) if is_secret(name) => Field::Skipped,
        _ => Field::Label(as_written()),
    }
}

#[cfg(test)]
mod tests;

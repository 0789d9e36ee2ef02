//! Envoy's access logs: text by its format, JSON by the names that operators give.

use std::collections::HashMap;

use super::draft::{Clock, Draft, Field, NS_PER_MS, TIME_PARTS_END};
use super::escape::Escapes;
use super::scalar::Members;
use super::template::{Piece, Template};
use super::{CLIENTS_SEE, Formatted, is_secret};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;

const DEFAULT: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#;

/// The default of Istio's proxies.
const ISTIO: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"#;

pub(super) static KIND: Kind = Kind {
    name: "envoy",
    title: "Envoy access log",
    gives: Gives::Requests,
    versions: "1.40: Envoy's and Istio's default text, JSON with the names of Istio's default or \
        of the operators, any text format (--fields)",
    source: "Envoy 1.40.0; Envoy documentation, access logging; Istio documentation, Envoy access \
        logs",
    sample: "[2026-03-01T10:15:02.114Z] \"GET /item?id=7 HTTP/1.1\" 500 - 0 1187 13 12 \
        \"198.51.100.7\" \"curl/8.5.0\" \"6f0c7c1e-0000-4000-8000-000000000001\" \"shop.example\" \
        \"10.0.3.21:8080\"\n",
    sees: CLIENTS_SEE,
    absent: "in the default text the client but for what X-Forwarded-For claims; what is no HTTP \
        to Envoy is a request without method; heads in the bytes; quotes in text are not escaped, \
        so clients can shift the fields after their own",
    // Flushed every second, or every 64 KiB.
    lateness_s: 60,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let line = head.line();
    if line.starts_with(b"{") {
        let has = |name: &str| {
            let members = head.json.as_ref().and_then(|json| json.as_object());
            members.is_some_and(|members| members.keys().any(|key| plain(key) == name))
        };
        return ["start_time", "response_code", "response_flags"].into_iter().all(has);
    }
    line.starts_with(b"[")
        && known().is_ok_and(|all| {
            all.iter().any(|template| template.read(line, &mut Out::default()).is_ok())
        })
}

fn known() -> Result<Vec<Template>, String> {
    [DEFAULT, ISTIO].into_iter().map(template).collect()
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    let templates = match &context.format {
        Some(format) => vec![template(format)?],
        None => known()?,
    };
    Ok(Box::new(Envoy { text: Formatted { templates }, fields: HashMap::new() }))
}

struct Envoy {
    text: Formatted,
    /// What the names in JSON are.
    fields: HashMap<Box<str>, Named>,
}

struct Named {
    field: Field,
    known: bool,
}

/// Names that are remembered; operators have some dozen.
const MAX_FIELDS: usize = 256;

impl Decoder for Envoy {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if !record.starts_with(b"{") {
            return self.text.record(record, out);
        }
        let members: Members<'_> =
            serde_json::from_slice(record).map_err(|_| Bad::value("no JSON", record))?;
        let mut draft = Draft::default();
        for (name, value) in &members.0 {
            if value.said().is_none() {
                continue;
            }
            if !self.fields.contains_key(&**name) && self.fields.len() < MAX_FIELDS {
                self.fields.insert(name.as_ref().into(), named(name));
            }
            let made;
            let named = match self.fields.get(&**name) {
                Some(known) => known,
                None => {
                    made = named(name);
                    &made
                }
            };
            if !named.known {
                out.unknown_field(name);
            }
            draft.take(&named.field, value.bytes(), Escapes::None, out)?;
        }
        let request = draft.finish(None)?;
        out.request(request);
        Ok(())
    }
}

/// A name however it is written: `:authority`, `X-Request-Id`.
fn plain(name: &str) -> String {
    name.trim_start_matches([':', '@']).to_ascii_lowercase().replace(['-', '.'], "_")
}

/// What an operator's name for a field in JSON most likely means.
fn named(name: &str) -> Named {
    let plain = plain(name);
    let known = match plain.as_str() {
        "start_time" | "timestamp" | "time" => Field::Received(Clock::Any),
        "method" | "request_method" => Field::Method,
        "path" | "uri" | "request_path" | "original_path" | "x_envoy_original_path" => Field::Uri,
        "protocol" => Field::Version,
        "response_code" | "status" | "status_code" => Field::Status,
        "response_flags" => Field::Error,
        "bytes_received" => Field::ReceivedBytes,
        "bytes_sent" => Field::SentBytes,
        "duration" | "duration_ms" => Field::Duration(NS_PER_MS),
        "upstream_service_time" | "x_envoy_upstream_service_time" => {
            Field::TargetDuration(NS_PER_MS)
        }
        "x_forwarded_for" | "forwarded_for" => Field::ForwardedFor,
        "user_agent" => Field::UserAgent,
        "referer" => Field::Referer,
        "request_id" | "x_request_id" => Field::Id(label::UID.into()),
        "trace_id" | "traceparent" => Field::Id(label::TRACE_ID.into()),
        "authority" | "host" => Field::Host,
        "upstream_host" => Field::Target("envoy.upstream_host".into()),
        "upstream_cluster" => Field::TargetName,
        "downstream_remote_address" | "client_ip" | "remote_address" => {
            Field::Client("envoy.client".into())
        }
        "requested_server_name" => Field::ServerName,
        "tls_version" | "downstream_tls_version" => Field::TlsVersion,
        "tls_cipher" | "downstream_tls_cipher" => Field::TlsCipher,
        "route_name" => Field::Label(label::RULE.into()),
        "hostname" => Field::Observer,
        "response_code_details"
        | "connection_termination_details"
        | "upstream_transport_failure_reason"
        | "upstream_local_address"
        | "downstream_local_address"
        | "downstream_direct_remote_address" => Field::Label(format!("envoy.{plain}").into()),
        _ if is_secret(name) => Field::Skipped,
        _ => {
            return Named { field: Field::Label(format!("envoy.{name}").into()), known: false };
        }
    };
    Named { field: known, known: true }
}

fn template(format: &str) -> Result<Template, String> {
    let mut pieces = Vec::new();
    let mut time_format = None;
    // As YAML has it, with a line break at its end.
    let mut rest = format.trim_end_matches("\\n").trim_end();
    while let Some(at) = rest.find('%') {
        pieces.push(Piece::Text(rest[..at].into()));
        let command = &rest[at + 1..];
        let name_end = command.find(['%', '(', ':']).ok_or("a '%' without its end")?;
        let (name, mut after) = command.split_at(name_end);
        let mut argument = None;
        if let Some(opened) = after.strip_prefix('(') {
            let (inside, behind) = opened.split_once(')').ok_or("a '(' without its ')'")?;
            (argument, after) = (Some(inside), behind);
        }
        // What comes between is the length that it is cut to.
        let (_, behind) = after.split_once('%').ok_or("a '%' without its end")?;
        let written = match argument {
            Some(argument) => format!("%{name}({argument})%"),
            None => format!("%{name}%"),
        };
        match (name, argument) {
            ("START_TIME", Some(form)) if !form.is_empty() => {
                time_format = Some(format!("{form}{TIME_PARTS_END}"));
                let spaces = form.matches(' ').count();
                pieces.push(Piece::Field { field: Field::TimePart, written, spaces });
            }
            _ => pieces.push(Piece::field(command_field(name, argument), &written)),
        }
        rest = behind;
    }
    if pieces.is_empty() {
        return Err(format!("the format '{format}' has no command"));
    }
    pieces.push(Piece::Text(rest.into()));
    Template::new(pieces, Escapes::None, time_format)
}

/// What a command of a text format is: most by the name that JSON has for it.
fn command_field(name: &str, argument: Option<&str>) -> Field {
    // The second is for where the first is not there.
    let header = argument.unwrap_or_default().split('?').next().unwrap_or_default();
    match name {
        "REQ" | "RESP" | "TRAILER" if header.is_empty() => Field::Skipped,
        "REQ" | "RESP" | "TRAILER" if is_secret(header) => Field::Skipped,
        "REQ" => named(header).field,
        "RESP" if header.eq_ignore_ascii_case("x-envoy-upstream-service-time") => {
            Field::TargetDuration(NS_PER_MS)
        }
        "RESP" | "TRAILER" => Field::Label(format!("envoy.{}", header.to_ascii_lowercase()).into()),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Field::Client("envoy.client".into()),
        _ => named(&name.to_ascii_lowercase()).field,
    }
}

#[cfg(test)]
mod tests;

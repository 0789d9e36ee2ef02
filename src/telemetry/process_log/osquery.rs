//! osquery's results: rows of its tables, one event, a batch or a snapshot a line.
//!
//! A result names the query and not its table, so rows are told apart by their
//! columns. A row is read where it has the columns of process events, of socket
//! events (both from audit, BPF or Endpoint Security), of open sockets, of
//! processes, or of a container's statistics, whatever else the query joined to
//! them.

mod rows;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer};

use super::fields::{Fields, Text};
use super::hosts::Hosts;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::text::number;
use rows::{OpenSockets, Row};

pub(in crate::telemetry) static OSQUERY: Kind = Kind {
    name: "osquery",
    title: "osquery results",
    gives: Gives::Hosts,
    versions: "event, batch and snapshot lines of versions 1.4 and up; rows of process_events, \
        bpf_process_events, es_process_events, socket_events, bpf_socket_events, \
        process_open_sockets, processes and docker_container_stats",
    source: "osquery documentation, Logging; osquery schema, table specifications",
    sample: r#"{"name":"pack_net_socket_events","hostIdentifier":"web1","calendarTime":"Sun Mar  1 10:15:03 2026 UTC","unixTime":1772360103,"epoch":0,"counter":7,"numerics":false,"columns":{"action":"connect","pid":"901","path":"/usr/bin/curl","fd":"5","auid":"1000","status":"succeeded","family":"2","local_address":"","local_port":"0","remote_address":"203.0.113.9","remote_port":"443","time":"1772360102","uptime":"512"},"action":"added"}
"#,
    sees: "programs with arguments, parents and users; who connected to which address and port, \
        with the local end from open sockets (AN0031, AN0083)",
    absent: "what was sent; ends of processes on Linux; starts within the same second can't be \
        ordered; sockets that opened and closed between two looks",
    // Queries are scheduled at intervals that the user chose; five minutes are long.
    lateness_s: 300,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/name", "/unixTime"])
        && ["/columns", "/snapshot", "/diffResults"].iter().any(|rows| head.json_has(&[rows]))
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Osquery { hosts: Hosts::new(context), open: OpenSockets::default() }))
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default, rename = "hostIdentifier")]
    host: Text<'a>,
    /// Of older versions.
    #[serde(borrow, default)]
    hostname: Text<'a>,
    #[serde(borrow, default, rename = "unixTime")]
    time_s: Text<'a>,
    #[serde(borrow, default)]
    action: Text<'a>,
    #[serde(borrow)]
    columns: Option<Fields<'a>>,
    #[serde(borrow)]
    snapshot: Option<Rows<'a>>,
    #[serde(borrow, rename = "diffResults")]
    changes: Option<Changes<'a>>,
}

#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow, default)]
    added: Rows<'a>,
    #[serde(borrow, default)]
    removed: Rows<'a>,
}

/// Rows; where there are none some versions write an empty text.
#[derive(Default)]
struct Rows<'a>(Vec<Fields<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<'a> {
            #[serde(borrow)]
            Rows(Vec<Fields<'a>>),
            Other(serde::de::IgnoredAny),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Rows(rows) => rows,
            Either::Other(_) => Vec::new(),
        }))
    }
}

struct Osquery {
    hosts: Hosts,
    open: OpenSockets,
}

impl Decoder for Osquery {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let line: Line<'_> =
            serde_json::from_slice(record).map_err(|_| Bad::value("not a result", record))?;
        let name = if line.host.as_str().is_empty() { &line.hostname } else { &line.host };
        let host = self.hosts.host(name.as_str().as_bytes(), out)?;
        let time_ns = number::<i64>(line.time_s.as_str().as_bytes())
            .and_then(|time_s| time_s.checked_mul(1_000_000_000))
            .ok_or_else(|| Bad::value("no time", line.time_s.as_str().as_bytes()))?;
        let mut row = |fields: &Fields<'_>, removed: bool, out: &mut Out| {
            Row { fields, host, time_ns, removed }.tell(&mut self.hosts, out);
        };
        if let Some(fields) = &line.columns {
            match line.action.as_str() {
                "added" | "snapshot" => row(fields, false, out),
                "removed" => row(fields, true, out),
                action => return Err(Bad::value("unknown action", action.as_bytes())),
            }
        } else if let Some(changes) = &line.changes {
            changes.removed.0.iter().for_each(|fields| row(fields, true, out));
            changes.added.0.iter().for_each(|fields| row(fields, false, out));
        } else if let Some(rows) = &line.snapshot {
            rows.0.iter().for_each(|fields| row(fields, false, out));
            let query = line.name.as_str();
            self.open.close_gone(host, query, time_ns, &rows.0, &mut self.hosts, out);
        } else {
            return Err(Bad::new("no rows"));
        }
        Ok(())
    }
}

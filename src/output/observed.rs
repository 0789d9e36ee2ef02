//! What other sources observed, as JSON lines: `reported_flows.ndjson`,
//! `requests.ndjson` and `counters.ndjson`.
//!
//! Apart from `flows.ndjson`, which has what was seen in packets, so that nobody adds
//! up the same traffic twice. What a source lacks is left out. Texts are the source's
//! own. The layouts are [`super::REPORTED_FLOW_SCHEMA`], [`super::REQUEST_SCHEMA`] and
//! [`super::COUNTER_SCHEMA`].
//!
//! Start at [`ObservedFiles::write`]; a long run's files are [`super::rolling`]'s.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::access::Access;
use super::hosts::host_side;
use super::json::Json;
use super::names::{proto_name, tcp_flags};
use crate::engine::Joined;
use crate::host::side::FlowHosts;
use crate::telemetry::Observation;
use crate::telemetry::counters::series::Growth;
use crate::telemetry::observation::{FlowReport, Labels, Measures, Span};
use crate::telemetry::request::Request;
use crate::telemetry::sample::{CounterSample, Reading};

/// Lines are put together up to about this size before they are handed on.
const PIECE_BYTES: usize = 1 << 16;

/// What is observed, each in files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    Flows = 0,
    Requests = 1,
    Counters = 2,
}

impl Observed {
    pub const ALL: [Self; 3] = [Self::Flows, Self::Requests, Self::Counters];

    /// What files are named for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "reported_flows",
            Self::Requests => "requests",
            Self::Counters => "counters",
        }
    }
}

/// Lines on their way to the files.
#[derive(Debug, Default)]
pub(super) struct ObservedLines {
    /// By [`Observed`]: the lines, and how many.
    pieces: [(Json, u64); 3],
}

impl ObservedLines {
    /// Adds an observation; `source` is its place in the summary's list. Says which
    /// lines should be handed on by now. Host events have no lines: they are in the
    /// records that they explain.
    pub(super) fn add(
        &mut self,
        source: u16,
        observation: &Observation,
        joined: &Joined<'_>,
    ) -> Option<Observed> {
        let observed = match observation {
            Observation::Flow(_) => Observed::Flows,
            Observation::Request(_) => Observed::Requests,
            Observation::Counter(_) => Observed::Counters,
            Observation::Host(_) | Observation::Gap(_) => return None,
        };
        let (json, records) = &mut self.pieces[observed as usize];
        *records += 1;
        json.line(|json| match observation {
            Observation::Flow(flow) => reported_flow(json, source, flow, joined.hosts),
            Observation::Request(request) => self::request(json, source, request),
            Observation::Counter(sample) => counter(json, source, sample, joined.growth),
            Observation::Host(_) | Observation::Gap(_) => {}
        });
        (json.bytes.len() >= PIECE_BYTES).then_some(observed)
    }

    /// The lines so far, and how many.
    pub(super) fn take(&mut self, observed: Observed) -> (Vec<u8>, u64) {
        let (json, records) = &mut self.pieces[observed as usize];
        (std::mem::take(&mut json.bytes), std::mem::take(records))
    }
}

/// The files of a run folder, each made with its first line.
pub struct ObservedFiles {
    folder: PathBuf,
    files: [Option<File>; 3],
    lines: ObservedLines,
}

impl ObservedFiles {
    /// In a folder that holds nothing of an earlier run.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            files: [None, None, None],
            lines: ObservedLines::default(),
        }
    }

    /// Adds an observation to its file.
    pub fn write(
        &mut self,
        source: u16,
        observation: &Observation,
        joined: &Joined<'_>,
    ) -> io::Result<()> {
        match self.lines.add(source, observation, joined) {
            Some(full) => self.flush(full),
            None => Ok(()),
        }
    }

    fn flush(&mut self, observed: Observed) -> io::Result<()> {
        let (bytes, records) = self.lines.take(observed);
        if records == 0 {
            return Ok(());
        }
        let file = match &mut self.files[observed as usize] {
            Some(file) => file,
            none => {
                let path = self.folder.join(format!("{}.ndjson", observed.name()));
                let file = Access::Group.create(&path).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                none.insert(file)
            }
        };
        file.write_all(&bytes)
    }

    /// Where a line could not be written says so now.
    pub fn finish(mut self) -> io::Result<()> {
        let flushed = Observed::ALL.map(|observed| self.flush(observed));
        flushed.into_iter().collect()
    }
}

fn reported_flow(json: &mut Json, source: u16, flow: &FlowReport, hosts: Option<&FlowHosts>) {
    json.uint("source", source);
    known(json, "observer", &flow.observer);
    json.ip("src_ip", flow.src);
    json.ip("dst_ip", flow.dst);
    number(json, "src_port", flow.src_port);
    number(json, "dst_port", flow.dst_port);
    if let Some(protocol) = flow.protocol {
        json.uint("proto", protocol);
        json.plain("proto_name", proto_name(protocol).as_bytes());
    }
    if let Some((kind, code)) = flow.icmp {
        json.uint("icmp_type", kind);
        json.uint("icmp_code", code);
    }
    json.time("start", flow.start_ns);
    json.time("end", flow.end_ns);
    let span = match flow.span {
        Span::Packets => "packets",
        Span::Interval => "interval",
    };
    json.plain("span", span.as_bytes());
    json.bool("originator_known", flow.originator_known);
    for (name, measures) in [("fwd", Some(&flow.fwd)), ("rev", flow.rev.as_ref())] {
        if let Some(measures) = measures {
            json.object(name, |json| self::measures(json, measures));
        }
    }
    if let Some(action) = flow.action {
        json.plain("action", action.name().as_bytes());
    }
    if let Some(direction) = flow.direction {
        json.plain("direction", direction.name().as_bytes());
    }
    json.optional_text("state", flow.state.as_deref());
    json.optional_text("app", flow.app.as_deref());
    number(json, "sampled_1_of", flow.sampled_1_of);
    labels(json, &flow.labels);
    if let Some(hosts) = hosts {
        host_side(json, "src_host", hosts.src.as_ref());
        host_side(json, "dst_host", hosts.dst.as_ref());
    }
}

fn measures(json: &mut Json, measures: &Measures) {
    number(json, "packets", measures.packets);
    number(json, "wire_bytes", measures.wire_bytes);
    number(json, "ip_bytes", measures.ip_bytes);
    number(json, "payload_bytes", measures.payload_bytes);
    if let Some(flags) = measures.tcp_flags {
        json.plain("tcp_flags", tcp_flags(flags).as_bytes());
    }
    number(json, "missed_bytes", measures.missed_bytes);
}

fn request(json: &mut Json, source: u16, request: &Request) {
    json.uint("source", source);
    known(json, "observer", &request.observer);
    json.time("time", request.time_ns);
    if let Some(end_ns) = request.end_ns {
        json.time("end", end_ns);
    }
    if let Some(client) = request.client {
        json.ip("client_ip", client);
    }
    number(json, "client_port", request.client_port);
    json.optional_text("forwarded_for", request.forwarded_for.as_deref());
    if let Some(target) = &request.target {
        json.object("target", |json| {
            if let Some(address) = target.address {
                json.ip("ip", address);
            }
            number(json, "port", target.port);
            json.optional_text("name", target.name.as_deref());
        });
    }
    json.optional_text("method", request.method.as_deref());
    json.optional_text("uri", request.uri.as_deref());
    json.optional_text("decoded_uri", request.decoded_uri.as_deref());
    json.optional_text("version", request.version.as_deref());
    json.optional_text("host", request.host.as_deref());
    number(json, "status", request.status);
    number(json, "target_status", request.target_status);
    number(json, "received_bytes", request.received_bytes);
    number(json, "sent_bytes", request.sent_bytes);
    for (name, ns) in
        [("duration_ns", request.duration_ns), ("target_duration_ns", request.target_duration_ns)]
    {
        number(json, name, ns.and_then(|ns| u64::try_from(ns).ok()));
    }
    json.optional_text("user_agent", request.user_agent.as_deref());
    json.optional_text("referer", request.referer.as_deref());
    if let Some(tls) = &request.tls {
        json.object("tls", |json| {
            json.optional_text("version", tls.version.as_deref());
            json.optional_text("cipher", tls.cipher.as_deref());
            json.optional_text("server_name", tls.server_name.as_deref());
        });
    }
    json.optional_text("error", request.error.as_deref());
    labels(json, &request.labels);
}

fn counter(json: &mut Json, source: u16, sample: &CounterSample, growth: Option<&Growth>) {
    let subject = &sample.subject;
    json.uint("source", source);
    json.time("time", sample.time_ns);
    if let Reading::Since { start_ns } = sample.reading {
        json.time("since", start_ns);
    }
    for (name, text) in [
        ("host", &subject.host),
        ("instance", &subject.instance),
        ("container", &subject.container),
        ("container_name", &subject.container_name),
        ("pod", &subject.pod),
        ("namespace", &subject.namespace),
        ("image", &subject.image),
        ("process", &subject.process),
        ("interface", &subject.interface),
    ] {
        known(json, name, text);
    }
    number(json, "netns", subject.netns);
    number(json, "received_bytes", sample.received_bytes);
    number(json, "sent_bytes", sample.sent_bytes);
    number(json, "received_packets", sample.received_packets);
    number(json, "sent_packets", sample.sent_packets);
    number(json, "received_drops", sample.received_drops);
    number(json, "sent_drops", sample.sent_drops);
    if let Some(growth) = growth
        && sample.reading == Reading::Total
    {
        json.object("growth", |json| {
            json.time("since", growth.start_ns);
            number(json, "received_bytes", growth.received_bytes);
            number(json, "sent_bytes", growth.sent_bytes);
            number(json, "received_packets", growth.received_packets);
            number(json, "sent_packets", growth.sent_packets);
            number(json, "received_drops", growth.received_drops);
            number(json, "sent_drops", growth.sent_drops);
        });
    }
    labels(json, &sample.labels);
}

fn labels(json: &mut Json, labels: &Labels) {
    if !labels.is_empty() {
        json.object("labels", |json| {
            labels.iter().for_each(|(name, value)| json.member(name, value));
        });
    }
}

fn known(json: &mut Json, key: &str, text: &str) {
    if !text.is_empty() {
        json.text(key, text);
    }
}

fn number(json: &mut Json, key: &str, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        json.uint(key, value);
    }
}

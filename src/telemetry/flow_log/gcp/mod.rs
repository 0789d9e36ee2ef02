//! Google Cloud VPC flow logs, as entries of Cloud Logging in JSON.
//!
//! A record counts one direction of a flow at one end, or at a gateway in between:
//! both ends may report the same packets. The label `gcp.reporter` tells them
//! apart, so that nobody adds them up.

mod fields;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use self::fields::{Field, shared_label};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::flow_log::drop_ports_that_no_packet_had;
use crate::telemetry::framing::Framing;
use crate::telemetry::json::{Leaf, leaves};
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::observation::{FlowDirection, FlowReport, Labels, Seat};
use crate::telemetry::text::{address, rfc3339_ns};

pub(super) static VPC: Kind = Kind {
    name: "gcp-vpc",
    title: "Google Cloud VPC flow log",
    gives: Gives::Flows,
    versions: "entries of compute.googleapis.com/vpc_flows and networkmanagement.googleapis.com/\
        vpc_flows, as lines of JSON or as an array",
    source: "Google Cloud VPC: About VPC Flow Logs records; About traffic flows",
    sample: r#"{"logName":"projects/p/logs/compute.googleapis.com%2Fvpc_flows","jsonPayload":{"connection":{"src_ip":"10.0.0.6","src_port":40112,"dest_ip":"203.0.113.9","dest_port":53,"protocol":17},"reporter":"SRC","bytes_sent":"9600","packets_sent":"120","start_time":"2026-03-01T10:15:00Z","end_time":"2026-03-01T10:15:05Z","src_instance":{"project_id":"p","vm_name":"web-1","zone":"z"}}}"#,
    sees: "egress volume, concentration and protocols per instance (AN0972)",
    absent: "whether a packet was allowed; how many were sampled and over which interval; TCP \
        flags; headers' bytes; ICMP types",
    // Aggregated over at most 15 minutes; delivery some minutes.
    lateness_s: 1200,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let is_flows = head.json_text("/logName").is_some_and(|name| {
        name.ends_with("googleapis.com%2Fvpc_flows") || name.ends_with("googleapis.com/vpc_flows")
    });
    is_flows
        || head.json_has(&[
            "/jsonPayload/connection/src_ip",
            "/jsonPayload/connection/dest_ip",
            "/jsonPayload/reporter",
        ])
}

fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Log))
}

/// Reads entries; keeps nothing.
struct Log;

impl Decoder for Log {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let mut entry = Entry::default();
        leaves(record, |path, leaf| entry.take(path, &leaf, out))
            .map_err(|error| Bad { reason: "no entry", detail: error.to_string() })?;
        entry.report(out)
    }
}

/// What the fields of an entry have said so far.
#[derive(Default)]
struct Entry {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    protocol: Option<u8>,
    payload_bytes: Option<u64>,
    packets: Option<u64>,
    start_ns: Option<i64>,
    end_ns: Option<i64>,
    reporter: Option<Reporter>,
    src_vm: Option<Arc<str>>,
    dst_vm: Option<Arc<str>>,
    subnet: Option<Arc<str>>,
    labels: Labels,
    bad: Option<Bad>,
    /// Anything of a flow was there.
    is_flow: bool,
    /// Another log's entry.
    is_other: bool,
}

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reporter {
    Source,
    Destination,
    /// A gateway on the source's side, or on the destination's.
    SourceGateway,
    DestinationGateway,
}

impl Reporter {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "SRC" => Self::Source,
            "DEST" => Self::Destination,
            "SRC_GATEWAY" => Self::SourceGateway,
            "DEST_GATEWAY" => Self::DestinationGateway,
            _ => return None,
        })
    }

    fn is_source_side(self) -> bool {
        matches!(self, Self::Source | Self::SourceGateway)
    }
}

impl Entry {
    fn take(&mut self, path: &str, leaf: &Leaf<'_>, out: &mut Out) {
        // Log Analytics writes its own name for it.
        let payload =
            path.strip_prefix("jsonPayload.").or_else(|| path.strip_prefix("json_payload."));
        let Some(field) = payload else {
            match path {
                "logName" => {
                    self.is_other = leaf.text().is_some_and(|name| !name.ends_with("vpc_flows"));
                }
                "resource.labels.subnetwork_name" => self.subnet = leaf.name(&mut out.names),
                _ => {}
            }
            return;
        };
        if *leaf == Leaf::Null {
            return;
        }
        let known = Field::named(field);
        self.is_flow |= !matches!(known, Field::Unknown);
        if let Err(bad) = self.field(known, field, leaf, out) {
            self.bad.get_or_insert(bad);
        }
    }

    fn field(
        &mut self,
        known: Field,
        name: &str,
        leaf: &Leaf<'_>,
        out: &mut Out,
    ) -> Result<(), Bad> {
        match known {
            Field::SrcIp => self.src = Some(address_of(leaf)?),
            Field::DestIp => self.dst = Some(address_of(leaf)?),
            Field::SrcPort => self.src_port = Some(number_of(leaf)?),
            Field::DestPort => self.dst_port = Some(number_of(leaf)?),
            Field::Protocol => self.protocol = Some(number_of(leaf)?),
            Field::BytesSent => self.payload_bytes = Some(number_of(leaf)?),
            Field::PacketsSent => self.packets = Some(number_of(leaf)?),
            Field::StartTime => self.start_ns = Some(time_of(leaf)?),
            Field::EndTime => self.end_ns = Some(time_of(leaf)?),
            Field::Reporter => {
                // One of a later day is kept by its name.
                self.reporter = leaf.text().and_then(Reporter::of);
                self.label("gcp.reporter", leaf, out);
            }
            Field::SrcVm => self.src_vm = leaf.name(&mut out.names),
            Field::DestVm => self.dst_vm = leaf.name(&mut out.names),
            Field::Label(label) => self.label(label, leaf, out),
            Field::Unknown => {
                out.unknown_field(name);
                self.label(&format!("gcp.{name}"), leaf, out);
            }
        }
        Ok(())
    }

    fn label(&mut self, name: &str, leaf: &Leaf<'_>, out: &mut Out) {
        // Lists of a hundred networks on the way are cut there.
        const MOST: usize = 64;
        if self.labels.len() < MOST
            && let Some(value) = leaf.name(&mut out.names)
        {
            self.labels.push((out.names.of(name.as_bytes()), value));
        }
    }

    fn report(self, out: &mut Out) -> Result<(), Bad> {
        if self.is_other {
            out.pass("entry of another log");
            return Ok(());
        }
        if !self.is_flow {
            return Err(Bad::new("no flow in the entry"));
        }
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let (src, dst) = self.src.zip(self.dst).ok_or_else(|| Bad::new("no address"))?;
        let times = self.start_ns.or(self.end_ns).zip(self.end_ns.or(self.start_ns));
        let (start_ns, end_ns) = times.ok_or_else(|| Bad::new("no start or end"))?;
        // The times are those of the first and last packet that were sampled.
        let mut flow = FlowReport::between(src, dst, start_ns, end_ns);
        (flow.src_port, flow.dst_port, flow.protocol) =
            (self.src_port, self.dst_port, self.protocol);
        (flow.fwd.packets, flow.fwd.payload_bytes) = (self.packets, self.payload_bytes);
        flow.direction = match self.reporter {
            Some(Reporter::Source) => Some(FlowDirection::Egress),
            Some(Reporter::Destination) => Some(FlowDirection::Ingress),
            Some(Reporter::SourceGateway | Reporter::DestinationGateway) | None => None,
        };
        let vm = match self.reporter {
            Some(Reporter::Source) => &self.src_vm,
            Some(Reporter::Destination) => &self.dst_vm,
            Some(Reporter::SourceGateway | Reporter::DestinationGateway) | None => &None,
        };
        // Of what is no machine, a balancer, a tunnel or a subnet, it is not said whose
        // address it is.
        flow.seat = if vm.is_some() { Seat::Packets } else { Seat::Way };
        flow.observer = vm.clone().or(self.subnet).unwrap_or_default();
        flow.labels = self.labels;
        let mut more = vec![
            (crate::telemetry::label::SRC_INSTANCE, self.src_vm.clone()),
            (crate::telemetry::label::DST_INSTANCE, self.dst_vm.clone()),
            (crate::telemetry::label::INSTANCE, vm.clone()),
        ];
        if let Some(reporter) = self.reporter {
            for (name, _) in &mut flow.labels {
                if let Some(shared) = shared_label(name, reporter.is_source_side()) {
                    *name = out.names.of(shared.as_bytes());
                }
            }
        } else {
            more.pop();
        }
        for (name, value) in more {
            if let Some(value) = value {
                flow.labels.push((out.names.of(name.as_bytes()), value));
            }
        }
        drop_ports_that_no_packet_had(&mut flow);
        out.flow(flow);
        Ok(())
    }
}

fn number_of<T: TryFrom<u64>>(leaf: &Leaf<'_>) -> Result<T, Bad> {
    let number = leaf.number().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| bad("not a number", leaf))
}

fn address_of(leaf: &Leaf<'_>) -> Result<IpAddr, Bad> {
    let text = leaf.text().and_then(|text| address(text.as_bytes()));
    text.ok_or_else(|| bad("not an address", leaf))
}

fn time_of(leaf: &Leaf<'_>) -> Result<i64, Bad> {
    let time_ns = leaf.text().and_then(|text| rfc3339_ns(text.as_bytes()));
    time_ns.ok_or_else(|| bad("not a time", leaf))
}

fn bad(reason: &'static str, leaf: &Leaf<'_>) -> Bad {
    match leaf.text() {
        Some(text) => Bad::value(reason, text.as_bytes()),
        None => Bad { reason, detail: format!("{leaf:?}") },
    }
}

//! `nfdump -o json`: an array of flows, or one flow a line.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::{action, tcp_flags};
use crate::telemetry::connection_log::protocol;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::kind::Head;
use crate::telemetry::label;
use crate::telemetry::observation::{FlowDirection, FlowReport, Measures};
use crate::telemetry::text::{address, rfc3339_ns};

pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/type", "/first", "/last", "/in_packets", "/in_bytes", "/proto"])
}

pub(super) fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Json))
}

struct Json;

/// Names as nfdump 1.7.1 has them; what an exporter did not send is left out.
#[derive(Deserialize)]
struct Flow<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    first: Cow<'a, str>,
    #[serde(borrow, default)]
    last: Cow<'a, str>,
    #[serde(default)]
    sampled: Option<u64>,
    #[serde(default)]
    export_sysid: Option<u64>,
    #[serde(default)]
    in_packets: Option<u64>,
    #[serde(default)]
    in_bytes: Option<u64>,
    #[serde(default)]
    out_packets: Option<u64>,
    #[serde(default)]
    out_bytes: Option<u64>,
    #[serde(default)]
    proto: Option<u8>,
    #[serde(borrow, default)]
    tcp_flags: Cow<'a, str>,
    #[serde(default)]
    src_port: Option<u16>,
    #[serde(default)]
    dst_port: Option<u16>,
    #[serde(default)]
    icmp_type: Option<u8>,
    #[serde(default)]
    icmp_code: Option<u8>,
    #[serde(borrow, default)]
    src4_addr: Cow<'a, str>,
    #[serde(borrow, default)]
    dst4_addr: Cow<'a, str>,
    #[serde(borrow, default)]
    src6_addr: Cow<'a, str>,
    #[serde(borrow, default)]
    dst6_addr: Cow<'a, str>,
    #[serde(borrow, default)]
    src4_xlt_ip: Cow<'a, str>,
    #[serde(borrow, default)]
    dst4_xlt_ip: Cow<'a, str>,
    #[serde(borrow, default)]
    ip4_next_hop: Cow<'a, str>,
    #[serde(borrow, default)]
    ip4_router: Cow<'a, str>,
    #[serde(borrow, default)]
    ip6_router: Cow<'a, str>,
    #[serde(default)]
    fwd_status: u64,
    #[serde(default)]
    direction: Option<u8>,
    #[serde(default)]
    src_tos: Option<u64>,
    #[serde(default)]
    input_snmp: Option<u64>,
    #[serde(default)]
    output_snmp: Option<u64>,
    #[serde(default)]
    src_as: Option<u64>,
    #[serde(default)]
    dst_as: Option<u64>,
    #[serde(default)]
    src_vlan: Option<u64>,
    #[serde(default)]
    aggr_flows: Option<u64>,
}

impl Decoder for Json {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let flow: Flow<'_> = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "not a flow", detail: error.to_string() })?;
        match &*flow.kind {
            "FLOW" => flow.report(out),
            // Of firewalls and translators: no counts.
            "EVENT" => {
                out.pass("event");
                Ok(())
            }
            other => Err(Bad::value("unknown type", other.as_bytes())),
        }
    }
}

impl Flow<'_> {
    fn report(&self, out: &mut Out) -> Result<(), Bad> {
        let time = |text: &str| {
            rfc3339_ns(text.as_bytes()).ok_or_else(|| Bad::value("not a time", text.as_bytes()))
        };
        let src = either_address(&self.src4_addr, &self.src6_addr)?;
        let dst = either_address(&self.dst4_addr, &self.dst6_addr)?;
        let mut flow = FlowReport::between(src, dst, time(&self.first)?, time(&self.last)?);
        flow.protocol = self.proto;
        if self.proto.is_some_and(protocol::is_icmp) {
            flow.icmp = self.icmp_type.zip(self.icmp_code);
        } else {
            (flow.src_port, flow.dst_port) = (self.src_port, self.dst_port);
        }
        let is_tcp = self.proto == Some(6);
        flow.fwd = Measures {
            packets: self.in_packets,
            ip_bytes: self.in_bytes,
            tcp_flags: is_tcp.then(|| tcp_flags(self.tcp_flags.as_bytes())).flatten(),
            ..Measures::default()
        };
        flow.rev = self.out_packets.map(|packets| Measures {
            packets: Some(packets),
            ip_bytes: self.out_bytes,
            ..Measures::default()
        });
        flow.action = action(self.fwd_status);
        flow.direction = match self.direction {
            Some(0) => Some(FlowDirection::Ingress),
            Some(1) => Some(FlowDirection::Egress),
            _ => None,
        };
        let router = [&self.ip4_router, &self.ip6_router].into_iter().find(|text| !text.is_empty());
        if let Some(router) = router {
            flow.observer = out.names.of(router.as_bytes());
        }
        self.labels(&mut flow, out);
        out.flow(flow);
        Ok(())
    }

    fn labels(&self, flow: &mut FlowReport, out: &mut Out) {
        for (name, text) in [
            (label::NAT_SRC, &self.src4_xlt_ip),
            (label::NAT_DST, &self.dst4_xlt_ip),
            (label::NEXT_HOP, &self.ip4_next_hop),
        ] {
            if !text.is_empty() {
                flow.labels.push((out.names.of(name.as_bytes()), out.names.of(text.as_bytes())));
            }
        }
        let mut digits = itoa::Buffer::new();
        for (name, number) in [
            (label::TOS, self.src_tos),
            (label::INPUT_INTERFACE, self.input_snmp),
            (label::OUTPUT_INTERFACE, self.output_snmp),
            (label::SRC_AS, self.src_as),
            (label::DST_AS, self.dst_as),
            (label::VLAN, self.src_vlan),
            ("nfdump.export_sysid", self.export_sysid),
            ("nfdump.aggr_flows", self.aggr_flows),
            // nfcapd has multiplied the counts of those that it marks as sampled.
            ("nfdump.sampled", self.sampled),
        ] {
            if let Some(number) = number.filter(|&number| number != 0) {
                let value = out.names.of(digits.format(number).as_bytes());
                flow.labels.push((out.names.of(name.as_bytes()), value));
            }
        }
    }
}

fn either_address(v4: &str, v6: &str) -> Result<IpAddr, Bad> {
    let text = if v4.is_empty() { v6 } else { v4 };
    if text.is_empty() {
        return Err(Bad::new("no address"));
    }
    address(text.as_bytes()).ok_or_else(|| Bad::value("not an address", text.as_bytes()))
}

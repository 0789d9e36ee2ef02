//! Samples of packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::frame::{self, Packet};
use super::{Datagram, SourceId, address, address_text, opaque, source, words};
use crate::telemetry::decode::Out;
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::{Form, Texts};
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Labels, Span};

const NS_PER_S: i64 = 1_000_000_000;

/// An interface of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// 0 where it is not known, or the agent itself.
    Index(u32),
    /// No output: dropped, for this reason.
    Discarded(u32),
    /// Outputs, more than one.
    Several(u32),
}

impl Port {
    fn read(expanded: bool, rest: &mut Reader<'_>) -> Option<Self> {
        /// An output that is the agent itself.
        const INTERNAL: u32 = 0x3fff_ffff;
        let word = rest.u32()?;
        let (format, value) =
            if expanded { (word, rest.u32()?) } else { (word >> 30, word & INTERNAL) };
        Some(match format {
            1 => Self::Discarded(value),
            2 => Self::Several(value),
            _ if value == INTERNAL || value == u32::MAX => Self::Index(0),
            _ => Self::Index(value),
        })
    }
}

/// What the records of a sample have said so far.
#[derive(Default)]
struct Parts {
    packet: Option<Packet>,
    wire_bytes: Option<u64>,
    labels: Labels,
    nat: [Option<IpAddr>; 2],
    /// A record that could not be read.
    odd: bool,
}

/// Reads a sample of the formats 1 (flow), 3 (expanded), 5 (discarded). Returns who
/// sampled and how many samples it had to drop so far.
pub(super) fn read(
    format: u32,
    mut rest: Reader<'_>,
    datagram: &Datagram,
    texts: &mut Texts,
    out: &mut Out,
) -> Option<(SourceId, u32)> {
    let (expanded, discarded) = (format != 1, format == 5);
    let _number = rest.u32()?;
    let source = source(expanded, &mut rest)?;
    let one_of = if discarded { 0 } else { rest.u32()? };
    if !discarded {
        let _pool = rest.u32()?;
    }
    let drops = rest.u32()?;
    let (input, output) = if discarded {
        (Port::Index(rest.u32()?), Port::Index(rest.u32()?))
    } else {
        (Port::read(expanded, &mut rest)?, Port::read(expanded, &mut rest)?)
    };
    let reason = if discarded { Some(rest.u32()?) } else { None };
    let mut parts = Parts::default();
    for _ in 0..rest.u32()? {
        let (format, record) = rest.u32().zip(opaque(&mut rest))?;
        if parts.record(format, Reader(record), texts, out).is_none() {
            parts.odd = true;
        }
    }
    if parts.odd {
        out.bad_part("record of a sample that is shorter than its format");
    }
    let Some(packet) = parts.packet.take() else {
        out.pass("samples of packets that are not IP");
        return Some((source, drops));
    };
    let (start_ns, end_ns) = (datagram.received_ns.saturating_sub(NS_PER_S), datagram.received_ns);
    let mut flow = FlowReport::between(packet.src, packet.dst, start_ns, end_ns);
    flow.span = Span::Interval;
    packet.fill(&mut flow);
    flow.fwd.wire_bytes = parts.wire_bytes;
    flow.observer = Arc::clone(&datagram.observer);
    flow.sampled_1_of = (one_of > 0).then_some(one_of);
    // Of a source that is an interface it is told which way the packet passed it.
    if source.class == 0 && source.index != 0 {
        flow.direction = match Port::Index(source.index) {
            it if it == input => Some(FlowDirection::Ingress),
            it if it == output => Some(FlowDirection::Egress),
            _ => None,
        };
    }
    let mut add = |name: &str, value: Arc<str>| {
        parts.labels.push((out.names.of(name.as_bytes()), value));
    };
    let ports = [(label::INPUT_INTERFACE, input), (label::OUTPUT_INTERFACE, output)];
    for (name, port) in ports {
        match port {
            Port::Index(0) => {}
            Port::Index(index) => add(name, texts.number(u64::from(index))),
            Port::Several(count) => {
                add("sflow.output_interfaces", texts.number(u64::from(count)));
            }
            Port::Discarded(reason) => {
                flow.action = Some(Action::Rejected);
                add("sflow.discarded", texts.number(u64::from(reason)));
            }
        }
    }
    if let Some(reason) = reason {
        flow.action = Some(Action::Rejected);
        add("sflow.discarded", texts.number(u64::from(reason)));
    }
    if let Some(tos) = packet.tos {
        add(label::TOS, texts.of(Form::Tos, u128::from(tos)));
    }
    for (name, address) in [label::NAT_SRC, label::NAT_DST].into_iter().zip(parts.nat) {
        if let Some(address) = address {
            add(name, address_text(address, texts));
        }
    }
    let has_vlan = parts.labels.iter().any(|(name, _)| &**name == label::VLAN);
    if let Some(vlan) = packet.vlan
        && !has_vlan
    {
        let name = out.names.of(label::VLAN.as_bytes());
        parts.labels.push((name, texts.number(u64::from(vlan))));
    }
    flow.labels = parts.labels;
    out.flow(flow);
    Some((source, drops))
}

impl Parts {
    fn record(
        &mut self,
        format: u32,
        mut rest: Reader<'_>,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Option<()> {
        let mut add = |name: &str, value: Arc<str>, out: &mut Out| {
            self.labels.push((out.names.of(name.as_bytes()), value));
        };
        match format {
            1 => {
                let [protocol, frame_bytes, stripped] = words(&mut rest)?;
                let header = opaque(&mut rest)?;
                self.packet = match protocol {
                    1 => frame::of_ethernet(header),
                    11 | 12 => frame::of_ip(header),
                    _ => None,
                };
                // Counted with its checksum, which is among what was stripped; a frame that
                // begins with IP has no length of its own.
                if protocol == 1 {
                    self.wire_bytes = Some(u64::from(frame_bytes.saturating_sub(stripped)));
                }
            }
            // What was the packet's header, where the agent has no more of it.
            3 if self.packet.is_none() => {
                let [ip_bytes, protocol] = words(&mut rest)?;
                let (src, dst) = (rest.array::<4>()?, rest.array::<4>()?);
                let ports = words(&mut rest)?;
                let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
                self.packet = Some(Packet::of_fields(src, dst, protocol, ip_bytes, ports));
            }
            4 if self.packet.is_none() => {
                let [ip_bytes, protocol] = words(&mut rest)?;
                let (src, dst) = (rest.array::<16>()?, rest.array::<16>()?);
                let ports = words(&mut rest)?;
                let (src, dst) = (Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into());
                self.packet = Some(Packet::of_fields(src, dst, protocol, ip_bytes, ports));
            }
            1001 => {
                let [vlan, _, out_vlan, _] = words(&mut rest)?;
                for (name, vlan) in [(label::VLAN, vlan), ("sflow.output_vlan", out_vlan)] {
                    // 0xffffffff: not known.
                    if vlan != 0 && vlan <= 4095 {
                        add(name, texts.number(u64::from(vlan)), out);
                    }
                }
            }
            1002 => {
                if let Some(hop) = address(&mut rest)?.filter(|hop| !hop.is_unspecified()) {
                    add(label::NEXT_HOP, address_text(hop, texts), out);
                }
            }
            1003 => {
                let _next_hop = address(&mut rest)?;
                let [_own_as, src_as, _src_peer_as, segments] = words(&mut rest)?;
                let mut dst_as = 0;
                for _ in 0..segments {
                    let [_kind, count] = words(&mut rest)?;
                    let path = rest.take((count as usize).checked_mul(4)?)?;
                    dst_as = path.last_chunk().map_or(dst_as, |last| u32::from_be_bytes(*last));
                }
                for (name, number) in [(label::SRC_AS, src_as), (label::DST_AS, dst_as)] {
                    if number != 0 {
                        add(name, texts.number(u64::from(number)), out);
                    }
                }
            }
            1007 => self.nat = [address(&mut rest)?, address(&mut rest)?],
            // The frame's own addresses, and what a full header says already.
            2..=4 => {}
            _ => out.unknown_field(&format!("sflow.{}.{}", format >> 12, format & 0xfff)),
        }
        Some(())
    }
}

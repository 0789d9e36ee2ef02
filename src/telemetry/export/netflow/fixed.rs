//! NetFlow v5 and v7: records of one layout.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::domain::{Domain, lose};
use super::record::Export;
use super::value::of_uptime;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::{Form, Texts};
use crate::telemetry::label;
use crate::telemetry::observation::FlowReport;

const NS_PER_S: i64 = 1_000_000_000;

/// A datagram without its records.
pub(super) struct Header<'a> {
    version: u16,
    /// Type and slot of the engine that counted.
    pub(super) engine: u32,
    export: Export,
    sequence: u32,
    sampled_1_of: Option<u32>,
    count: u16,
    records: Reader<'a>,
}

impl<'a> Header<'a> {
    /// Of what follows the version.
    pub(super) fn read(version: u16, rest: &'a [u8]) -> Option<Self> {
        /// The upper two bits are the mode.
        const INTERVAL: u16 = 0x3fff;
        let mut rest = Reader(rest);
        let count = rest.u16()?;
        let uptime_ms = rest.u32()?;
        let exported_ns = i64::from(rest.u32()?) * NS_PER_S + i64::from(rest.u32()?);
        let sequence = rest.u32()?;
        let (engine, sampling) = (rest.u16()?, rest.u16()?);
        // Of v7 both are reserved.
        let (engine, interval) =
            if version == 5 { (u32::from(engine), sampling & INTERVAL) } else { (0, 0) };
        Some(Self {
            version,
            engine,
            export: Export { exported_ns, uptime_ms: Some(uptime_ms) },
            sequence,
            sampled_1_of: (interval > 0).then_some(u32::from(interval)),
            count,
            records: rest,
        })
    }

    pub(super) fn records(
        mut self,
        domain: &mut Domain,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Result<(), Bad> {
        if domain.up(&self.export) {
            lose(self.version, domain.begin_anew(out), out);
        }
        let lost = domain.sequence.seen(self.sequence, Some(u32::from(self.count)));
        lose(self.version, lost, out);
        for _ in 0..self.count {
            self.record(domain, texts, out)
                .ok_or_else(|| Bad::new("datagram shorter than its records"))?;
        }
        Ok(())
    }

    fn record(&mut self, domain: &Domain, texts: &mut Texts, out: &mut Out) -> Option<()> {
        let rest = &mut self.records;
        let (src, dst, next_hop) = (rest.u32()?, rest.u32()?, rest.u32()?);
        let (input, output) = (rest.u16()?, rest.u16()?);
        let (packets, octets) = (rest.u32()?, rest.u32()?);
        let (first_ms, last_ms) = (rest.u32()?, rest.u32()?);
        let (src_port, dst_port) = (rest.u16()?, rest.u16()?);
        // v5: padding; v7: which fields are valid, of which nothing is asked here.
        let [_, tcp_flags, protocol, tos] = rest.array()?;
        let (src_as, dst_as) = (rest.u16()?, rest.u16()?);
        rest.take(if self.version == 5 { 4 } else { 8 })?;

        let start_ns = of_uptime(first_ms, &self.export, None)?;
        let end_ns = of_uptime(last_ms, &self.export, None)?;
        let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
        let mut flow = FlowReport::between(src, dst, start_ns, end_ns);
        flow.protocol = Some(protocol);
        if protocol == 1 {
            let [kind, code] = dst_port.to_be_bytes();
            flow.icmp = Some((kind, code));
        } else {
            (flow.src_port, flow.dst_port) = (Some(src_port), Some(dst_port));
        }
        flow.fwd.packets = Some(u64::from(packets));
        flow.fwd.ip_bytes = Some(u64::from(octets));
        flow.fwd.tcp_flags = (protocol == 6).then_some(u16::from(tcp_flags));
        flow.observer = Arc::clone(&domain.known.observer);
        flow.sampled_1_of = self.sampled_1_of;
        let values = [
            (label::INPUT_INTERFACE, Form::Number, u32::from(input)),
            (label::OUTPUT_INTERFACE, Form::Number, u32::from(output)),
            (label::NEXT_HOP, Form::Ipv4, next_hop),
            (label::SRC_AS, Form::Number, u32::from(src_as)),
            (label::DST_AS, Form::Number, u32::from(dst_as)),
        ];
        flow.labels.reserve(values.len() + 2);
        // Zero is none of all these, and of a type of service a value.
        for (name, form, value) in values.into_iter().filter(|&(_, _, value)| value != 0) {
            let name = out.names.of(name.as_bytes());
            flow.labels.push((name, texts.of(form, u128::from(value))));
        }
        let name = out.names.of(label::TOS.as_bytes());
        flow.labels.push((name, texts.of(Form::Tos, u128::from(tos))));
        if let Some(domain) = &domain.known.domain {
            flow.labels.push((out.names.of(b"netflow.domain"), Arc::clone(domain)));
        }
        out.flow(flow);
        Some(())
    }
}

//! NetFlow v5, v7 and v9, and IPFIX, as they come in datagrams.
//!
//! Each version is told by the datagram's first two bytes. Of v9 and IPFIX the
//! layout of records comes in templates: data that comes before its template waits
//! for it, within bounds. What is known of an exporter is kept by its address, port
//! and observation domain, so that exporters never read each other's templates.
//!
//! Not by the library netflow_parser 1.0.6: it makes a value of its own of every field
//! (2.8 M records of 14 fields a second and core, before any report is made of them,
//! where this makes 3.7 M reports), drops a whole datagram for one bad set, and leaves
//! gaps in sequence numbers, samplers and reverse directions to its user.

mod domain;
mod element;
mod fixed;
mod message;
mod record;
mod sampler;
mod template;
mod value;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use self::domain::{DomainId, Domains};
use self::template::Dialect;
use super::texts::Texts;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};

pub(super) static NETFLOW: Kind = Kind {
    name: "netflow",
    title: "NetFlow and IPFIX",
    gives: Gives::Flows,
    versions: "NetFlow v5, v7, v9; IPFIX (v10) with reverse elements, over UDP",
    source: "Cisco NetFlow Export Datagram Format; RFC 3954, 7011, 7012, 5103; softflowd 1.1.0",
    sample: "Datagrams that begin with 00 05, 00 07, 00 09 or 00 0a: from --listen, or of a \
        capture with --as netflow",
    sees: "volume, peers, ports and TCP flags of every flow that a router, firewall or probe counts",
    absent: "sizes and times of single packets, payload; who began a flow, but for biflows",
    // A flow is exported when it has been idle for up to 300 s (softflowd, UDP; routers
    // 15 s) and the exporter has looked for such flows, each 60 s.
    lateness_s: 360,
    framing: Framing::Datagrams,
    // Captures are recognised as captures.
    recognise: |_| false,
    decoder: |_: &Context| Ok(Box::new(Netflow::new())),
};

/// Whether a datagram is of a version that is read.
pub(super) fn is_netflow(datagram: &[u8]) -> bool {
    matches!(datagram, [0, 5 | 7 | 9 | 10, ..])
}

pub(super) struct Netflow {
    domains: Domains,
    texts: Texts,
}

impl Netflow {
    pub(super) fn new() -> Self {
        Self { domains: Domains::default(), texts: Texts::new() }
    }
}

impl Decoder for Netflow {
    fn record(&mut self, _: &[u8], _: &mut Out) -> Result<(), Bad> {
        Err(Bad::new("NetFlow comes in datagrams"))
    }

    fn datagram(
        &mut self,
        exporter: SocketAddr,
        _: i64,
        datagram: &[u8],
        out: &mut Out,
    ) -> Result<(), Bad> {
        let Some((&version, rest)) = datagram.split_first_chunk() else {
            return Err(Bad::new("no version"));
        };
        let version = u16::from_be_bytes(version);
        let no_header = || Bad::new("no whole header");
        let Self { domains, texts } = self;
        match version {
            5 | 7 => {
                let header = fixed::Header::read(version, rest).ok_or_else(no_header)?;
                let id = DomainId { exporter, version, number: header.engine };
                domains
                    .with(id, texts, out, |domain, texts, out| header.records(domain, texts, out))
            }
            9 | 10 => {
                let dialect = if version == 9 { Dialect::V9 } else { Dialect::Ipfix };
                let header = message::Header::read(dialect, rest).ok_or_else(no_header)?;
                let id = DomainId { exporter, version, number: header.domain };
                domains.with(id, texts, out, |domain, texts, out| header.sets(domain, texts, out))
            }
            _ => Err(Bad::value("unknown version", version.to_string().as_bytes())),
        }
    }

    fn end(&mut self, out: &mut Out) {
        self.domains.end(out);
    }
}

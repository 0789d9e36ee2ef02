//! sFlow v5: sampled packets as flow reports of one packet each, and counters of
//! interfaces.
//!
//! A sample stands for as many packets as the report's `sampled_1_of` says; nothing
//! is multiplied here. Datagrams have no time of day: a sample is of the second
//! before its datagram came.

mod counters;
mod flow;
mod frame;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::reader::Reader;
use super::sequence::Sequence;
use super::texts::{Form, Texts};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};

/// Agents whose datagrams are counted; a further one makes all forgotten.
const MAX_AGENTS: usize = 4096;
/// Sources of samples, of all agents, whose drops are counted.
const MAX_SOURCES: usize = 1 << 16;

pub(super) static SFLOW: Kind = Kind {
    name: "sflow",
    title: "sFlow",
    gives: Gives::Flows,
    versions: "5 over UDP: flow, expanded flow and discarded samples; counters of interfaces and hosts",
    source: "sFlow.org, sFlow Version 5; sFlow Host Structures; pmacct 1.7.7",
    sample: "Datagrams that begin with 00 00 00 05: from --listen, or of a capture with --as sflow",
    sees: "sampled packets of every port of a switch with addresses, ports and flags; counters",
    absent: "the packets between the samples; when within a second; payload beyond the first bytes",
    // Agents send a sample within a second; counters every 20 to 30 s say when they were read.
    lateness_s: 5,
    framing: Framing::Datagrams,
    // Captures are recognised as captures.
    recognise: |_| false,
    decoder: |_: &Context| Ok(Box::new(Sflow::new())),
};

/// Whether a datagram is of the version that is read.
pub(super) fn is_sflow(datagram: &[u8]) -> bool {
    datagram.starts_with(&[0, 0, 0, 5])
}

/// Whose datagrams are counted together.
type AgentId = (IpAddr, u32);

pub(super) struct Sflow {
    agents: HashMap<AgentId, Agent, ahash::RandomState>,
    /// Samples that a source had to drop, since it began.
    drops: HashMap<(AgentId, SourceId), u32, ahash::RandomState>,
    texts: Texts,
}

#[derive(Default)]
struct Agent {
    sequence: Sequence,
    uptime_ms: u32,
}

/// What of an agent samples: kind and index, mostly of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SourceId {
    class: u32,
    index: u32,
}

/// What all samples of a datagram share.
struct Datagram {
    received_ns: i64,
    agent: AgentId,
    observer: Arc<str>,
}

impl Sflow {
    pub(super) fn new() -> Self {
        Self { agents: HashMap::default(), drops: HashMap::default(), texts: Texts::new() }
    }

    fn read(&mut self, received_ns: i64, bytes: &[u8], out: &mut Out) -> Result<(), Bad> {
        let short = || Bad::new("no whole header");
        let mut rest = Reader(bytes);
        if rest.u32().ok_or_else(short)? != 5 {
            return Err(Bad::new("unknown version"));
        }
        let address = address(&mut rest).ok_or_else(short)?;
        let address = address.ok_or_else(|| Bad::new("agent without an address"))?;
        let [sub_agent, number, uptime_ms, count] = words(&mut rest).ok_or_else(short)?;
        let agent = (address, sub_agent);
        self.count(agent, number, uptime_ms, out);
        let observer = address_text(address, &mut self.texts);
        let datagram = Datagram { received_ns, agent, observer };
        for _ in 0..count {
            let sample = rest.u32().zip(opaque(&mut rest));
            let (format, sample) = sample.ok_or_else(|| Bad::new("sample cut off"))?;
            self.sample(format, Reader(sample), &datagram, out)
                .ok_or_else(|| Bad::new("sample shorter than its format"))?;
        }
        Ok(())
    }

    fn count(&mut self, id: AgentId, number: u32, uptime_ms: u32, out: &mut Out) {
        if self.agents.len() >= MAX_AGENTS && !self.agents.contains_key(&id) {
            self.forget(out);
        }
        let agent = self.agents.entry(id).or_default();
        let mut lost = 0;
        // Datagrams that overtook others are no new start.
        if (uptime_ms.wrapping_sub(agent.uptime_ms) as i32) < -60_000 {
            lost += agent.sequence.restart();
        }
        agent.uptime_ms = uptime_ms;
        lost += agent.sequence.seen(number, Some(1));
        lose(lost, out);
    }

    fn sample(
        &mut self,
        format: u32,
        sample: Reader<'_>,
        datagram: &Datagram,
        out: &mut Out,
    ) -> Option<()> {
        match format {
            1 | 3 | 5 => {
                let (source, drops) = flow::read(format, sample, datagram, &mut self.texts, out)?;
                self.dropped(datagram.agent, source, drops, out);
            }
            2 | 4 => counters::read(format == 4, sample, datagram, &mut self.texts, out)?,
            _ => out.pass("samples of other formats"),
        }
        Some(())
    }

    fn dropped(&mut self, agent: AgentId, source: SourceId, drops: u32, out: &mut Out) {
        if self.drops.len() >= MAX_SOURCES && !self.drops.contains_key(&(agent, source)) {
            self.drops.clear();
        }
        // Those of before the first sample were told to nobody who can be asked.
        let before = self.drops.insert((agent, source), drops).unwrap_or(drops);
        // A total that goes back is that of an agent that began anew.
        if drops > before {
            out.lost("sflow samples that the agent dropped", u64::from(drops - before));
        }
    }

    fn forget(&mut self, out: &mut Out) {
        for (_, mut agent) in self.agents.drain() {
            lose(agent.sequence.rest(), out);
        }
    }
}

impl Decoder for Sflow {
    fn record(&mut self, _: &[u8], _: &mut Out) -> Result<(), Bad> {
        Err(Bad::new("sFlow comes in datagrams"))
    }

    fn datagram(
        &mut self,
        _: SocketAddr,
        received_ns: i64,
        datagram: &[u8],
        out: &mut Out,
    ) -> Result<(), Bad> {
        self.read(received_ns, datagram, out)
    }

    fn end(&mut self, out: &mut Out) {
        self.forget(out);
    }
}

fn lose(count: u64, out: &mut Out) {
    if count > 0 {
        out.lost("sflow datagrams", count);
    }
}

fn words<const N: usize>(rest: &mut Reader<'_>) -> Option<[u32; N]> {
    let mut words = [0; N];
    for word in &mut words {
        *word = rest.u32()?;
    }
    Some(words)
}

/// Bytes with their length in front, filled up to four.
fn opaque<'a>(rest: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = rest.u32()? as usize;
    let bytes = rest.take(length)?;
    // What fills up the very end is sometimes left out.
    let _ = rest.take(length.wrapping_neg() % 4);
    Some(bytes)
}

/// The inner `None` is an address of no family.
fn address(rest: &mut Reader<'_>) -> Option<Option<IpAddr>> {
    match rest.u32()? {
        0 => Some(None),
        1 => Some(Some(Ipv4Addr::from(rest.array::<4>()?).into())),
        2 => Some(Some(Ipv6Addr::from(rest.array::<16>()?).to_canonical())),
        _ => None,
    }
}

fn address_text(address: IpAddr, texts: &mut Texts) -> Arc<str> {
    match address {
        IpAddr::V4(address) => texts.of(Form::Ipv4, u128::from(u32::from(address))),
        IpAddr::V6(address) => texts.of(Form::Ipv6, u128::from(address)),
    }
}

/// Kind and index of a source: in one word, or in two where it is expanded.
fn source(expanded: bool, rest: &mut Reader<'_>) -> Option<SourceId> {
    let word = rest.u32()?;
    Some(if expanded {
        SourceId { class: word, index: rest.u32()? }
    } else {
        SourceId { class: word >> 24, index: word & 0x00ff_ffff }
    })
}

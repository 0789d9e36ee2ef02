//! What a source says of flows, and everything that a source can say.

use std::net::IpAddr;
use std::sync::Arc;

use super::label;
use super::request::Request;
use super::sample::CounterSample;
use crate::host::event::{HostEvent, What};

/// One thing that a source observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    Flow(Box<FlowReport>),
    Request(Box<Request>),
    /// A process, a socket, a container: what a recorded host map has too.
    Host(Box<HostReport>),
    Counter(Box<CounterSample>),
    /// Flows that the source left out.
    Gap(Box<FlowGap>),
}

/// A source says that it left out flows of an observer in a time; not how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowGap {
    /// `[start, end)`.
    pub start_ns: i64,
    pub end_ns: i64,
    /// As in [`FlowReport::observer`].
    pub observer: Arc<str>,
}

impl Observation {
    /// What it is ordered by: when it was complete. Of a flow its end.
    pub fn time_ns(&self) -> i64 {
        match self {
            Self::Flow(flow) => flow.end_ns,
            Self::Request(request) => request.time_ns,
            Self::Host(report) => report.event.time_ns,
            Self::Counter(sample) => sample.time_ns,
            Self::Gap(gap) => gap.end_ns,
        }
    }

    /// About what it takes in memory: its struct and the texts that a record may make as
    /// long as it likes. Texts that many share (names of fields, hosts) are counted with
    /// each.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Flow(flow) => size_of::<FlowReport>() + labels_bytes(&flow.labels),
            Self::Request(request) => request.held_bytes() + labels_bytes(&request.labels),
            Self::Host(report) => {
                let texts = match &report.event.what {
                    What::ProcessStart(process) | What::ProcessExec(process) => {
                        let args: usize = process.args.iter().map(String::len).sum();
                        size_of_val(&**process) + args + process.exe.len()
                    }
                    _ => 0,
                };
                size_of::<HostReport>() + texts
            }
            Self::Counter(sample) => size_of::<CounterSample>() + labels_bytes(&sample.labels),
            Self::Gap(_) => size_of::<FlowGap>(),
        }
    }
}

fn labels_bytes(labels: &Labels) -> usize {
    const A_PAIR: usize = size_of::<(Arc<str>, Arc<str>)>();
    labels.iter().map(|(name, value)| A_PAIR + name.len() + value.len()).sum()
}

/// An event of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReport {
    /// Its name as the source has it; empty where the source says none: then all of
    /// the source is one host.
    pub host: Arc<str>,
    pub event: HostEvent,
}

/// A flow as another observer has it. What the source lacks is absent, never zero.
///
/// The source's own record may be about one direction alone (AWS), or about both
/// (Zeek); of an interval (AWS, Azure, NetFlow's active time-out) or of a whole
/// connection (Zeek).
#[derive(Clone, Debug, PartialEq)]
pub struct FlowReport {
    /// `[start, end)`: of the packets, where `span` is exact, else of the interval
    /// that they were counted in. `end_ns >= start_ns`.
    pub start_ns: i64,
    pub end_ns: i64,
    pub span: Span,
    /// Who sent what `fwd` counts: the originator where `originator_known`.
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Absent where the protocol has none or the source does not say. Zero where the
    /// source says zero.
    pub src_port: Option<u16>,
    pub dst_port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    pub originator_known: bool,
    pub fwd: Measures,
    /// Absent where the record is about one direction alone.
    pub rev: Option<Measures>,
    pub action: Option<Action>,
    /// Which way it crossed the observer.
    pub direction: Option<FlowDirection>,
    pub seat: Seat,
    /// State of the connection in the source's own words (`SF`, `established`, `E`).
    pub state: Option<Arc<str>>,
    /// Application protocol in the source's own words (`dns`, `tls`).
    pub app: Option<Arc<str>>,
    /// Who counted: interface, security group, exporter, sensor. Empty where the
    /// source does not say.
    pub observer: Arc<str>,
    /// Packets that each counted one stands for, where the source says that it
    /// samples: 1 is all. Counts are as the source has them, not multiplied.
    pub sampled_1_of: Option<u32>,
    /// What else the source says, by the names in [`super::label`], or by the source's
    /// own field name with the kind's name in front (`aws.traffic-path`).
    pub labels: Labels,
}

impl FlowReport {
    /// A report of nothing but who and when, to be filled.
    pub fn between(src: IpAddr, dst: IpAddr, start_ns: i64, end_ns: i64) -> Self {
        Self {
            start_ns,
            end_ns: end_ns.max(start_ns),
            span: Span::Packets,
            src,
            dst,
            src_port: None,
            dst_port: None,
            protocol: None,
            icmp: None,
            originator_known: false,
            fwd: Measures::default(),
            rev: None,
            action: None,
            direction: None,
            seat: Seat::Way,
            state: None,
            app: None,
            observer: Arc::default(),
            sampled_1_of: None,
            labels: Labels::new(),
        }
    }
}

impl FlowReport {
    /// The address at the interface that counted it, where it is that of an end, and not of
    /// one on the way: the interface's own, or that of its packets, as [`Seat`] has it.
    pub fn interface_address(&self) -> Option<IpAddr> {
        let (address, other) = match self.direction.filter(|_| self.seat != Seat::Way)? {
            FlowDirection::Egress => (self.src, label::INTERFACE_SRC),
            FlowDirection::Ingress => (self.dst, label::INTERFACE_DST),
        };
        self.label(other).is_none().then_some(address)
    }

    /// What the source says under a name.
    pub fn label(&self, name: &str) -> Option<&str> {
        let (_, value) = self.labels.iter().find(|(known, _)| **known == *name)?;
        Some(value)
    }
}

/// Where a flow was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Anywhere on its way.
    Way,
    /// At the network interface of one of the ends, whose address the source gives: of the
    /// source where the direction is egress, of the destination where it is ingress.
    Interface,
    /// At an interface likewise, but the addresses are those of the packets: one that
    /// forwards has those of others.
    Packets,
}

/// Names and values, in the source's order.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// What the times of a report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Those of its first and last packet.
    Packets,
    /// Those of the interval that it was counted in: packets can lie anywhere in it.
    Interval,
}

/// What a source counted in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    pub packets: Option<u64>,
    /// Whole frames.
    pub wire_bytes: Option<u64>,
    /// IP packets with their headers.
    pub ip_bytes: Option<u64>,
    /// What the transport carried.
    pub payload_bytes: Option<u64>,
    /// OR of the TCP flags.
    pub tcp_flags: Option<u16>,
    /// Bytes that the source knows it missed.
    pub missed_bytes: Option<u64>,
}

/// What was decided of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Accepted,
    Rejected,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowDirection {
    Ingress,
    Egress,
}

impl FlowDirection {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

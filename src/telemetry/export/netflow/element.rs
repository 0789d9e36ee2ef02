//! What the information elements of templates mean to a flow report.
//!
//! Names and numbers are those of the IANA registry of IPFIX information elements;
//! of NetFlow v9 also the few that Cisco's firewalls number otherwise.

use crate::telemetry::export::texts::Form;
use crate::telemetry::label;

/// Elements of a flow's reverse direction (RFC 5103): numbered as the forward ones.
pub(super) const REVERSE_ENTERPRISE: u32 = 29305;
/// CERT's, whose YAF exports the flags of the first and of all other segments apart.
const CERT_ENTERPRISE: u32 = 6871;
/// Set in CERT's own numbers for the reverse direction.
const CERT_REVERSE: u16 = 0x4000;

/// What a field of a record does to the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Says nothing that a report needs.
    Skip,
    Source,
    Destination,
    SourcePrefix,
    DestinationPrefix,
    SourcePort,
    DestinationPort,
    Protocol,
    IcmpTypeCode,
    IcmpType,
    IcmpCode,
    Count(Counter, Measure),
    TcpFlags,
    Start(Clock),
    End(Clock),
    /// In so many ns.
    Duration(i64),
    /// When the system started, in ms: what [`Clock::Uptime`] counts from.
    SystemStart,
    Direction,
    BiflowDirection,
    EndReason,
    ForwardingStatus,
    FirewallEvent,
    Exporter,
    NatSource,
    NatDestination,
    NatSourcePort,
    NatDestinationPort,
    ApplicationId,
    ApplicationName,
    Sampling(Sampling),
    /// Kept as a label too, under the name with this index in the template.
    Interface(u16, End),
    /// Flows that the exporter says it did not send, since it started.
    NotSent,
    /// Kept as it is, under the name with this index in the template.
    Label(u16, Render),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Packets,
    Bytes,
}

/// Which of several counts of the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    /// Since the last report of the flow.
    Delta,
    /// Since the flow began.
    Total,
    /// After what the observer did to them.
    Post,
    PostTotal,
    Initiator,
    Responder,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clock {
    /// That of an event, for records that have no other.
    EventMilliseconds,
    EventNtp,
    Seconds,
    /// Milliseconds since the system started.
    Uptime,
    Milliseconds,
    /// Microseconds before the export.
    DeltaMicroseconds,
    /// 32 bits of seconds, 32 of fractions (RFC 5905).
    Ntp,
}

/// Which end of the way through an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Input,
    Output,
}

/// Parts of "one of how many", by whom it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// The sampler that the record is about.
    Id,
    /// Where it is used.
    Interface,
    LineCard,
    Sequence,
    OneOf,
    /// Sampled and passed over, one after the other.
    Taken,
    Passed,
    /// So many out of so many.
    Size,
    Population,
    Probability,
}

/// How a value that is kept is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Render {
    Is(Form),
    /// Zero says that there is none.
    NotZero(Form),
    /// Numbers in decimal; what is longer than one as text, or in hexadecimal.
    Any,
    /// Text where it is one, else as any value.
    Text,
}

/// An element as it stands in a template.
pub(super) enum Element {
    Known(Op),
    /// Known, and kept under a label of its own.
    Kept(&'static str, Render),
    /// An interface: of a flow, or in options the one that they are about.
    Interface(&'static str, End),
    /// Not known.
    Other,
}

/// Of an element with its enterprise (0: IANA's): what it is, and whether of the
/// reverse direction.
pub(super) fn element(enterprise: u32, id: u16) -> (Element, bool) {
    match enterprise {
        0 => (of_iana(id), false),
        REVERSE_ENTERPRISE => (of_iana(id), true),
        // Flags of the first segment, and of all others.
        CERT_ENTERPRISE if matches!(id & !CERT_REVERSE, 14 | 15) => {
            (Element::Known(Op::TcpFlags), id & CERT_REVERSE != 0)
        }
        _ => (Element::Other, false),
    }
}

fn of_iana(id: u16) -> Element {
    use Clock::{
        DeltaMicroseconds, EventMilliseconds, EventNtp, Milliseconds, Ntp, Seconds, Uptime,
    };
    use Counter::{Delta, Initiator, Post, PostTotal, Responder, Total};
    use Measure::{Bytes, Packets};
    use Render::{Is, NotZero};
    let kept = |name, form| Element::Kept(name, NotZero(form));
    Element::Known(match id {
        1 => Op::Count(Delta, Bytes),
        2 => Op::Count(Delta, Packets),
        3 => return kept("netflow.deltaFlowCount", Form::Number),
        4 => Op::Protocol,
        5 => return Element::Kept(label::TOS, Is(Form::Tos)),
        6 => Op::TcpFlags,
        7 | 180 | 182 => Op::SourcePort,
        8 | 27 => Op::Source,
        10 => return Element::Interface(label::INPUT_INTERFACE, End::Input),
        11 | 181 | 183 => Op::DestinationPort,
        12 | 28 => Op::Destination,
        14 => return Element::Interface(label::OUTPUT_INTERFACE, End::Output),
        15 => return kept(label::NEXT_HOP, Form::Ipv4),
        16 => return kept(label::SRC_AS, Form::Number),
        17 => return kept(label::DST_AS, Form::Number),
        18 => return kept("netflow.bgpNextHopIPv4Address", Form::Ipv4),
        21 => Op::End(Uptime),
        22 => Op::Start(Uptime),
        23 => Op::Count(Post, Bytes),
        24 => Op::Count(Post, Packets),
        32 | 139 => Op::IcmpTypeCode,
        34 | 50 => Op::Sampling(Sampling::OneOf),
        44 | 170 => Op::SourcePrefix,
        45 | 169 => Op::DestinationPrefix,
        48 | 302 => Op::Sampling(Sampling::Id),
        56 => return kept("netflow.sourceMacAddress", Form::Mac),
        57 => return kept("netflow.postDestinationMacAddress", Form::Mac),
        58 | 243 => return kept(label::VLAN, Form::Number),
        59 | 254 => return kept("netflow.postVlanId", Form::Number),
        61 => Op::Direction,
        62 => return kept(label::NEXT_HOP, Form::Ipv6),
        63 => return kept("netflow.bgpNextHopIPv6Address", Form::Ipv6),
        80 => return kept("netflow.destinationMacAddress", Form::Mac),
        81 => return kept("netflow.postSourceMacAddress", Form::Mac),
        85 => Op::Count(Total, Bytes),
        86 => Op::Count(Total, Packets),
        89 => Op::ForwardingStatus,
        95 => Op::ApplicationId,
        96 => Op::ApplicationName,
        128 => return kept("netflow.bgpNextAdjacentAsNumber", Form::Number),
        129 => return kept("netflow.bgpPrevAdjacentAsNumber", Form::Number),
        130 | 131 => Op::Exporter,
        136 => Op::EndReason,
        141 => Op::Sampling(Sampling::LineCard),
        148 => return Element::Kept(label::UID, Is(Form::Number)),
        150 => Op::Start(Seconds),
        151 => Op::End(Seconds),
        152 => Op::Start(Milliseconds),
        153 => Op::End(Milliseconds),
        154 | 156 => Op::Start(Ntp),
        155 | 157 => Op::End(Ntp),
        158 => Op::Start(DeltaMicroseconds),
        159 => Op::End(DeltaMicroseconds),
        160 => Op::SystemStart,
        161 => Op::Duration(1_000_000),
        162 => Op::Duration(1_000),
        166 => Op::NotSent,
        171 => Op::Count(PostTotal, Bytes),
        172 => Op::Count(PostTotal, Packets),
        176 | 178 => Op::IcmpType,
        177 | 179 => Op::IcmpCode,
        195 => return Element::Kept(label::TOS, Is(Form::Dscp)),
        225 | 281 | 40001 => Op::NatSource,
        226 | 282 | 40002 => Op::NatDestination,
        227 | 40003 => Op::NatSourcePort,
        228 | 40004 => Op::NatDestinationPort,
        230 => return Element::Kept("netflow.natEvent", Is(Form::Number)),
        231 => Op::Count(Initiator, Bytes),
        232 => Op::Count(Responder, Bytes),
        233 | 40005 => Op::FirewallEvent,
        234 => return kept("netflow.ingressVRFID", Form::Number),
        235 => return kept("netflow.egressVRFID", Form::Number),
        236 => return Element::Kept("netflow.VRFname", Render::Text),
        239 => Op::BiflowDirection,
        245 => return kept("netflow.dot1qCustomerVlanId", Form::Number),
        252 => return kept("netflow.ingressPhysicalInterface", Form::Number),
        253 => return kept("netflow.egressPhysicalInterface", Form::Number),
        298 => Op::Count(Initiator, Packets),
        299 => Op::Count(Responder, Packets),
        301 => Op::Sampling(Sampling::Sequence),
        305 => Op::Sampling(Sampling::Taken),
        306 => Op::Sampling(Sampling::Passed),
        309 => Op::Sampling(Sampling::Size),
        310 => Op::Sampling(Sampling::Population),
        311 => Op::Sampling(Sampling::Probability),
        322 => Op::End(Seconds),
        323 => Op::End(EventMilliseconds),
        324 | 325 => Op::End(EventNtp),
        // Known, and nothing to a report: prefix lengths, engines, classes and modes
        // of samplers, time-outs, IP version, headers' lengths and life times, labels
        // of MPLS, names and totals of the exporter itself, padding.
        9
        | 13
        | 29..=31
        | 33
        | 35..=43
        | 46
        | 49
        | 52..=55
        | 60
        | 64
        | 70..=79
        | 82..=84
        | 88
        | 91
        | 94
        | 138
        | 142..=145
        | 149
        | 163..=165
        | 167
        | 168
        | 173
        | 189..=193
        | 197
        | 206..=208
        | 210
        | 211
        | 213
        | 217
        | 224
        | 241
        | 242
        | 244
        | 246
        | 256
        | 303
        | 304 => Op::Skip,
        _ => return Element::Other,
    })
}

//! Data records to flow reports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::domain::Known;
use super::element::{Measure, Op, Sampling};
use super::sampler::Place;
use super::template::{Field, Template, VARIABLE};
use super::value::{
    Time, address, address_text, application, of_uptime, put_address, small, text, time, uint,
};
use crate::telemetry::decode::Out;
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::{Form, Texts};
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Labels, Measures, Span};

/// What the header of a datagram says of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Export {
    pub(super) exported_ns: i64,
    /// Of the exporter when it exported; IPFIX does not say.
    pub(super) uptime_ms: Option<u32>,
}

/// What the fields of one record have said so far.
#[derive(Default)]
pub(super) struct Parts {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    protocol: Option<u8>,
    icmp: Option<(u8, u8)>,
    fwd: Measures,
    rev: Measures,
    start: Option<Time>,
    end: Option<Time>,
    duration_ns: Option<i64>,
    pub(super) system_start_ms: Option<u64>,
    direction: Option<FlowDirection>,
    biflow: u64,
    end_reason: u64,
    forwarding: u64,
    firewall_event: u64,
    exporter: Option<IpAddr>,
    nat_src: Option<IpAddr>,
    nat_dst: Option<IpAddr>,
    nat_src_port: u16,
    nat_dst_port: u16,
    pub(super) application: Option<u128>,
    pub(super) application_name: Option<Arc<str>>,
    pub(super) sampling: Sampled,
    /// Where it came in and where it left, by the interfaces' numbers.
    interfaces: [Option<u64>; 2],
    pub(super) not_sent: Option<u64>,
    labels: Labels,
}

/// Of "one of how many" what one record says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampled {
    pub(super) id: Option<u64>,
    /// The first that is named.
    pub(super) place: Option<Place>,
    one_of: Option<u64>,
    taken: Option<u64>,
    passed: Option<u64>,
    size: Option<u64>,
    population: Option<u64>,
    probability: Option<f64>,
}

impl Sampled {
    /// An interval of 0 and nothing else of a rate: of a sampler, that it is off.
    pub(super) fn is_off(&self) -> bool {
        self.one_of == Some(0) && self.one_of().is_none()
    }

    /// Which sampler is used at a place.
    pub(super) fn names_sampler(&self) -> bool {
        self.id.is_some() && self.place.is_some()
    }

    /// Packets that each counted one stands for, rounded where that is no whole number.
    pub(super) fn one_of(&self) -> Option<u32> {
        let ratio = |part: u64, whole: u64| (part > 0).then(|| whole / part);
        let of_spaces = || {
            let (taken, passed) = (self.taken?, self.passed?);
            ratio(taken, taken.saturating_add(passed))
        };
        let of_sizes = || ratio(self.size?, self.population?);
        let of_probability = || {
            let probability = self.probability.filter(|it| *it > 0.0 && *it <= 1.0)?;
            Some((1.0 / probability).round() as u64)
        };
        // An interval of 0 says that nothing is sampled, or nothing known of it.
        let one_of = self.one_of.filter(|&n| n > 0);
        let one_of = one_of.or_else(of_spaces).or_else(of_sizes).or_else(of_probability);
        one_of.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0)
    }
}

/// Cuts a record off a data set. `None` where less is left than a record takes.
pub(super) fn parts(
    template: &Template,
    set: &mut Reader<'_>,
    export: &Export,
    texts: &mut Texts,
    out: &mut Out,
) -> Option<Parts> {
    let mut ahead = *set;
    let mut parts = Parts::default();
    if !template.options {
        // Three that records get beside their fields: engine, counts, translation.
        parts.labels.reserve(template.labels.len() + 3);
    }
    for field in &template.fields {
        let length = match field.length {
            VARIABLE => match ahead.u8()? {
                255 => usize::from(ahead.u16()?),
                length => usize::from(length),
            },
            length => usize::from(length),
        };
        let value = ahead.take(length)?;
        if field.op != Op::Skip && parts.take(*field, value, template, export, texts, out).is_none()
        {
            out.bad_part("value of a length that its element can't have");
        }
    }
    *set = ahead;
    for name in &template.unknown {
        out.unknown_field(name);
    }
    Some(parts)
}

impl Parts {
    fn take(
        &mut self,
        Field { op, reverse, .. }: Field,
        value: &[u8],
        template: &Template,
        export: &Export,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Option<()> {
        let measures = if reverse { &mut self.rev } else { &mut self.fwd };
        match op {
            Op::Skip => {}
            Op::Source => put_address(&mut self.src, value)?,
            Op::Destination => put_address(&mut self.dst, value)?,
            Op::SourcePrefix => self.src = self.src.or(Some(address(value)?)),
            Op::DestinationPrefix => self.dst = self.dst.or(Some(address(value)?)),
            Op::SourcePort => self.src_port = Some(small(value)?),
            Op::DestinationPort => self.dst_port = Some(small(value)?),
            Op::Protocol => self.protocol = Some(small(value)?),
            Op::IcmpTypeCode => {
                let [kind, code] = small::<u16>(value)?.to_be_bytes();
                // Exporters that have one template for all protocols say 0 for the others.
                if self.icmp.is_none() || (kind, code) != (0, 0) {
                    self.icmp = Some((kind, code));
                }
            }
            Op::IcmpType => self.icmp.get_or_insert_default().0 = small(value)?,
            Op::IcmpCode => self.icmp.get_or_insert_default().1 = small(value)?,
            Op::Count(_, Measure::Packets) => measures.packets = Some(uint(value)?),
            Op::Count(_, Measure::Bytes) => measures.ip_bytes = Some(uint(value)?),
            Op::TcpFlags => {
                let flags = uint(value)? as u16;
                measures.tcp_flags = Some(measures.tcp_flags.unwrap_or_default() | flags);
            }
            Op::Start(clock) => {
                let time = time(clock, value, export)?;
                self.start = if reverse { earlier(self.start, time) } else { time };
            }
            Op::End(clock) => {
                let time = time(clock, value, export)?;
                self.end = if reverse { later(self.end, time) } else { time };
            }
            Op::Duration(unit_ns) => {
                self.duration_ns = i64::try_from(uint(value)?).ok()?.checked_mul(unit_ns);
            }
            Op::SystemStart => self.system_start_ms = Some(uint(value)?),
            Op::Direction => {
                self.direction = match uint(value)? {
                    0 => Some(FlowDirection::Ingress),
                    1 => Some(FlowDirection::Egress),
                    _ => None,
                }
            }
            Op::BiflowDirection => self.biflow = uint(value)?,
            Op::EndReason => self.end_reason = uint(value)?,
            Op::ForwardingStatus => self.forwarding = uint(value)?,
            Op::FirewallEvent => self.firewall_event = uint(value)?,
            Op::Exporter => put_address(&mut self.exporter, value)?,
            Op::NatSource => put_address(&mut self.nat_src, value)?,
            Op::NatDestination => put_address(&mut self.nat_dst, value)?,
            Op::NatSourcePort => self.nat_src_port = small(value)?,
            Op::NatDestinationPort => self.nat_dst_port = small(value)?,
            Op::ApplicationId => self.application = application(value),
            Op::ApplicationName => {
                let name = text(value);
                self.application_name = (!name.is_empty()).then(|| out.names.of(name));
            }
            Op::Sampling(part) => self.sampling.take(part, value)?,
            Op::NotSent => self.not_sent = Some(uint(value)?),
            Op::Interface(index, end) => {
                let interface = self.interfaces.get_mut(end as usize)?;
                *interface = Some(uint(value)?).filter(|&number| number != 0);
                if let Some(number) = *interface {
                    let name = template.labels.get(usize::from(index))?;
                    self.labels.push((Arc::clone(name), texts.number(number)));
                }
            }
            Op::Label(_, _) if template.options => {}
            Op::Label(index, render) => {
                if let Some(value) = render.of(value, texts, out)? {
                    let name = template.labels.get(usize::from(index))?;
                    self.labels.push((Arc::clone(name), value));
                }
            }
        }
        Some(())
    }

    /// As a report, where the record is about a flow.
    pub(super) fn report(
        mut self,
        template: &Template,
        known: &Known,
        export: &Export,
        texts: &mut Texts,
        out: &mut Out,
    ) {
        let Some((src, dst)) = self.src.zip(self.dst) else {
            out.pass("records without two addresses");
            return;
        };
        let (start_ns, end_ns, span) = self.times(known, export, out);
        let mut flow = Box::new(FlowReport::between(src, dst, start_ns, end_ns));
        flow.span = span;
        flow.protocol = self.protocol;
        (flow.src_port, flow.dst_port) = (self.src_port, self.dst_port);
        if matches!(self.protocol, Some(1 | 58)) {
            // NetFlow has type and code in place of the destination port.
            let in_port = |port: u16| (port >> 8, port & 0xff);
            let of_port =
                || self.dst_port.map(in_port).map(|(kind, code)| (kind as u8, code as u8));
            flow.icmp = self.icmp.or_else(of_port);
            (flow.src_port, flow.dst_port) = (None, None);
        }
        if self.protocol.is_some_and(|protocol| protocol != 6) {
            // One template for all protocols says 0 for those without flags.
            (self.fwd.tcp_flags, self.rev.tcp_flags) = (None, None);
        }
        flow.fwd = self.fwd;
        flow.rev = template.reverse.then_some(self.rev);
        flow.direction = self.direction;
        flow.app = self.application_name.take();
        let own = self.sampling.one_of();
        flow.sampled_1_of = own
            .or_else(|| known.sampled_1_of(&self.sampling, self.interfaces, self.direction, out));
        flow.observer = match self.exporter {
            Some(exporter) => address_text(exporter, texts),
            None => Arc::clone(&known.observer),
        };
        self.outcome(&mut flow, out);
        flow.labels = self.labels(template, known, texts, out);
        // 1: the source began; 2: the destination did, and the record is the wrong way
        // round; others say nothing of that (RFC 5103).
        flow.originator_known = template.by_role || matches!(self.biflow, 1 | 2);
        if self.biflow == 2 {
            swap(&mut flow);
        }
        out.observations.push(crate::telemetry::Observation::Flow(flow));
    }

    fn times(&mut self, known: &Known, export: &Export, out: &mut Out) -> (i64, i64, Span) {
        let system_start_ms = self.system_start_ms.or(known.system_start_ms);
        let mut ns = |time: Option<Time>| match time? {
            Time::Ns(ns) => Some(ns),
            Time::Uptime(uptime_ms) => {
                let ns = of_uptime(uptime_ms, export, system_start_ms);
                if ns.is_none() {
                    out.bad_part("time since an unknown start of the system");
                }
                ns
            }
        };
        let (start, end) = (ns(self.start), ns(self.end));
        let duration = self.duration_ns;
        let start = start.or_else(|| end?.checked_sub(duration?));
        let end = end.or_else(|| start?.checked_add(duration?));
        match (start, end) {
            (Some(start), Some(end)) => (start, end, Span::Packets),
            // One that is left out by its exporter: the report is about that moment.
            (Some(at), None) | (None, Some(at)) => (at, at, Span::Packets),
            (None, None) => (export.exported_ns, export.exported_ns, Span::Interval),
        }
    }

    /// How the flow ended and what became of it.
    fn outcome(&self, flow: &mut FlowReport, out: &mut Out) {
        let reason = match self.end_reason {
            1 => "idle timeout",
            2 => "active timeout",
            3 => "end of flow detected",
            4 => "forced end",
            5 => "lack of resources",
            _ => "",
        };
        let event = match self.firewall_event {
            1 => "flow created",
            2 => "flow deleted",
            3 => "flow denied",
            4 => "flow alert",
            5 => "flow update",
            _ => "",
        };
        let state = if reason.is_empty() { event } else { reason };
        flow.state = (!state.is_empty()).then(|| out.names.of(state.as_bytes()));
        // The upper two bits of a forwarding status: 1 forwarded, 2 dropped.
        flow.action = match (self.firewall_event, self.forwarding as u8 >> 6) {
            (3, _) | (0, 2) => Some(Action::Rejected),
            (1 | 2 | 5, _) | (0, 1) => Some(Action::Accepted),
            _ => None,
        };
    }

    /// Those of single fields, and those that are put together of several.
    fn labels(
        &mut self,
        template: &Template,
        known: &Known,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Labels {
        let mut labels = std::mem::take(&mut self.labels);
        let mut add = |name: &str, value: Arc<str>| {
            labels.push((out.names.of(name.as_bytes()), value));
        };
        if let Some(domain) = &known.domain {
            add("netflow.domain", Arc::clone(domain));
        }
        if template.totals {
            add("netflow.counts", Arc::clone(&known.since_it_began));
        }
        if self.forwarding != 0 {
            add("netflow.forwardingStatus", texts.number(self.forwarding));
        }
        if let Some(application) = self.application {
            let name = known.application(application);
            add("netflow.applicationId", texts.of(Form::Application, application));
            if let Some(name) = name {
                add("netflow.applicationName", name);
            }
        }
        let nat = [
            (label::NAT_SRC, self.nat_src, self.nat_src_port),
            (label::NAT_DST, self.nat_dst, self.nat_dst_port),
        ];
        for (name, address, port) in nat {
            let Some(address) = address.filter(|address| !address.is_unspecified()) else {
                continue;
            };
            let text = match port {
                0 => address_text(address, texts),
                _ => SocketAddr::new(address, port).to_string().into(),
            };
            add(name, text);
        }
        labels
    }
}

impl Sampled {
    fn take(&mut self, part: Sampling, value: &[u8]) -> Option<()> {
        match part {
            Sampling::Id => self.id = Some(uint(value)?),
            Sampling::Interface => self.at(Place::Interface, value)?,
            Sampling::LineCard => self.at(Place::LineCard, value)?,
            Sampling::Sequence => self.at(Place::Sequence, value)?,
            Sampling::OneOf => self.one_of = Some(uint(value)?),
            Sampling::Taken => self.taken = Some(uint(value)?),
            Sampling::Passed => self.passed = Some(uint(value)?),
            Sampling::Size => self.size = Some(uint(value)?),
            Sampling::Population => self.population = Some(uint(value)?),
            Sampling::Probability => {
                self.probability = Some(match value.len() {
                    4 => f64::from(f32::from_be_bytes(value.try_into().ok()?)),
                    _ => f64::from_be_bytes(value.try_into().ok()?),
                });
            }
        }
        Some(())
    }
}

impl Sampled {
    /// A number of 0 says none.
    fn at(&mut self, place: fn(u64) -> Place, value: &[u8]) -> Option<()> {
        let number = uint(value)?;
        if number != 0 {
            self.place.get_or_insert_with(|| place(number));
        }
        Some(())
    }
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(Time::Ns(a)), Some(Time::Ns(b))) => Some(Time::Ns(a.min(b))),
        _ => a.or(b),
    }
}

fn later(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(Time::Ns(a)), Some(Time::Ns(b))) => Some(Time::Ns(a.max(b))),
        _ => a.or(b),
    }
}

fn swap(flow: &mut FlowReport) {
    (flow.src, flow.dst) = (flow.dst, flow.src);
    (flow.src_port, flow.dst_port) = (flow.dst_port, flow.src_port);
    let rev = flow.rev.unwrap_or_default();
    flow.rev = Some(std::mem::replace(&mut flow.fwd, rev));
}

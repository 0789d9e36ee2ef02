//! One tuple of values to a flow report.

use std::net::IpAddr;
use std::sync::Arc;

use super::level::Shape;
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::flow_log::drop_ports_that_no_packet_had;
use crate::telemetry::observation::{
    Action, FlowDirection, FlowReport, Labels, Measures, Seat, Span,
};
use crate::telemetry::text::{address, number};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a tuple says.
pub(super) struct Tuple {
    pub(super) time_ns: i64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) protocol: u8,
    pub(super) direction: FlowDirection,
    pub(super) state: Option<State>,
    action: Action,
    encryption: Option<Arc<str>>,
    sent: Measures,
    received: Measures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Begin,
    Continuing,
    End,
    Denied,
}

impl State {
    fn of(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"B" => Self::Begin,
            b"C" => Self::Continuing,
            b"E" => Self::End,
            b"D" => Self::Denied,
            _ => return None,
        })
    }

    fn letter(self) -> &'static [u8] {
        match self {
            Self::Begin => b"B",
            Self::Continuing => b"C",
            Self::End => b"E",
            Self::Denied => b"D",
        }
    }
}

impl Tuple {
    pub(super) fn read(shape: Shape, tuple: &[u8], out: &mut Out) -> Result<Self, Bad> {
        let mut values = tuple.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let mut next =
            || values.next().ok_or_else(|| Bad::value("a tuple of too few values", tuple));
        let time_ns = time_ns(next()?)?;
        let (src, dst) = (address_of(next()?)?, address_of(next()?)?);
        let (src_port, dst_port) = (number_of(next()?)?, number_of(next()?)?);
        let protocol = protocol_of(next()?)?;
        let direction = match next()? {
            b"I" => FlowDirection::Ingress,
            b"O" => FlowDirection::Egress,
            other => return Err(Bad::value("unknown direction", other)),
        };
        let state_of = |value| State::of(value).ok_or_else(|| Bad::value("unknown state", value));
        let (action, state, encryption) = match shape {
            Shape::Nsg => {
                let action = match next()? {
                    b"A" => Action::Accepted,
                    b"D" => Action::Rejected,
                    other => return Err(Bad::value("unknown decision", other)),
                };
                // Version 1 ends here.
                (action, values.next().map(state_of).transpose()?, None)
            }
            Shape::Vnet => {
                let state = state_of(next()?)?;
                let encryption = out.names.of(next()?);
                let denied = state == State::Denied;
                let action = if denied { Action::Rejected } else { Action::Accepted };
                (action, Some(state), Some(encryption))
            }
        };
        let counts = matches!(state, Some(State::Continuing | State::End));
        let mut count = || match values.next() {
            None | Some(b"") => Ok(None),
            // Nothing was counted yet, though some write it as zero.
            Some(b"0") if !counts => Ok(None),
            Some(value) => number_of(value).map(Some),
        };
        let sent = Measures { packets: count()?, ip_bytes: count()?, ..Measures::default() };
        let received = Measures { packets: count()?, ip_bytes: count()?, ..Measures::default() };
        Ok(Self {
            time_ns,
            src,
            dst,
            src_port,
            dst_port,
            protocol,
            direction,
            state,
            action,
            encryption,
            sent,
            received,
        })
    }

    /// What was counted from `start_ns` on.
    pub(super) fn report(
        self,
        start_ns: i64,
        observer: &Arc<str>,
        labels: &Labels,
        out: &mut Out,
    ) -> FlowReport {
        let mut flow = FlowReport::between(self.src, self.dst, start_ns, self.time_ns);
        // A flow that began, or was denied, did so when it says.
        let counts = matches!(self.state, Some(State::Continuing | State::End));
        flow.span = if counts { Span::Interval } else { Span::Packets };
        (flow.src_port, flow.dst_port) = (Some(self.src_port), Some(self.dst_port));
        flow.protocol = Some(self.protocol);
        // Azure follows connections: the source is who began.
        flow.originator_known = true;
        flow.fwd = self.sent;
        flow.rev = (self.received != Measures::default()).then_some(self.received);
        flow.action = Some(self.action);
        flow.direction = Some(self.direction);
        flow.seat = Seat::Packets;
        flow.state = self.state.map(|state| out.names.of(state.letter()));
        flow.observer = Arc::clone(observer);
        flow.labels.reserve_exact(labels.len() + usize::from(self.encryption.is_some()));
        flow.labels.extend_from_slice(labels);
        if let Some(encryption) = self.encryption {
            flow.labels.push((out.names.of(b"azure.encryption"), encryption));
        }
        drop_ports_that_no_packet_had(&mut flow);
        flow
    }
}

/// Seconds, or milliseconds: Azure's documentation has virtual networks' in both.
fn time_ns(value: &[u8]) -> Result<i64, Bad> {
    /// The year 5138 in seconds, 1973 in milliseconds.
    const FIRST_MS: i64 = 100_000_000_000;
    let time: i64 = number_of(value)?;
    let unit_ns = if time < FIRST_MS { 1_000_000_000 } else { 1_000_000 };
    time.checked_mul(unit_ns).ok_or_else(|| Bad::value("time out of range", value))
}

fn protocol_of(value: &[u8]) -> Result<u8, Bad> {
    match value {
        b"T" => Ok(TCP),
        b"U" => Ok(UDP),
        _ => number(value).ok_or_else(|| Bad::value("unknown protocol", value)),
    }
}

fn number_of<T: TryFrom<u64>>(value: &[u8]) -> Result<T, Bad> {
    number(value).ok_or_else(|| Bad::value("not a number", value))
}

fn address_of(value: &[u8]) -> Result<IpAddr, Bad> {
    address(value).ok_or_else(|| Bad::value("not an address", value))
}

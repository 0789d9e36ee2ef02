//! What the first packets of a flow tell beside their sizes: application hints,
//! entropy, tunnels.

use super::app::{AppInfo, Payload, inspect};
use super::entropy::byte_entropy;
use super::live::{Entropy, Extra, Live, MAX_FLOW_TUNNELS};
use super::table::Arrival;
use crate::input::Shed;
use crate::packet::{TunnelLayer, row_flag};

/// Packets with payload in each direction that are shown to the application
/// parsers: the first carries the request, for DNS the next may be the answer.
pub(crate) const APP_PACKETS: u64 = 4;

/// What an early packet tells of its flow beside its size.
#[derive(Default)]
pub(crate) struct FirstPayload {
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) entropy: Entropy,
}

impl FirstPayload {
    /// Adds tunnels and application hints to `extra`, which is made on demand;
    /// measures entropy unless the direction's is known.
    pub(crate) fn read(
        mut extra: Option<Box<Extra>>,
        arrival: Arrival<'_>,
        from_originator: bool,
        entropy_known: bool,
    ) -> Self {
        let Arrival { packet, payload, tunnels, shed, hints_alone } = arrival;
        for layer in tunnels {
            let extra = extra.get_or_insert_default();
            if extra.tunnels.len() < MAX_FLOW_TUNNELS && !extra.tunnels.contains(layer) {
                extra.tunnels.push(*layer);
            }
        }
        let mut entropy = Entropy::default();
        let is_start = !payload.is_empty() && !packet.is(row_flag::LATER_FRAGMENT);
        if is_start && !entropy_known && !hints_alone && shed < Shed::Entropy {
            entropy = Entropy::new(byte_entropy(payload));
        }
        if is_start && shed < Shed::Hints {
            let (src_port, dst_port) = if packet.is(row_flag::FORWARD) {
                (packet.key.port_a, packet.key.port_b)
            } else {
                (packet.key.port_b, packet.key.port_a)
            };
            let proto = packet.key.proto;
            let mut app: Option<Box<AppInfo>> = extra.as_mut().and_then(|extra| extra.app.take());
            let bytes = payload;
            inspect(Payload { proto, src_port, dst_port, from_originator, bytes }, &mut app);
            if app.is_some() {
                extra.get_or_insert_default().app = app;
            }
        }
        Self { extra, entropy }
    }
}

impl Live {
    /// Looks at a packet that is one of the direction's `early` ones, or came
    /// through tunnels.
    pub(crate) fn look_closer(&mut self, arrival: Arrival<'_>, early: bool) {
        let early = early && !arrival.payload.is_empty();
        if early || (!arrival.tunnels.is_empty() && self.lacks_tunnel(arrival.tunnels)) {
            let from_originator = self.originator().0 == arrival.packet.direction();
            self.look_at(arrival, from_originator);
        }
    }

    /// Reads an early packet's payload, and what it came through.
    pub(crate) fn look_at(&mut self, arrival: Arrival<'_>, from_originator: bool) {
        let direction = arrival.packet.direction();
        let known = self.entropy(direction).is_some();
        let first = FirstPayload::read(self.extra.take(), arrival, from_originator, known);
        self.extra = first.extra;
        if !known {
            self.set_entropy(direction, first.entropy);
        }
    }

    /// One of these tunnels is new and there is room for it.
    fn lacks_tunnel(&self, tunnels: &[TunnelLayer]) -> bool {
        self.extra.as_ref().is_none_or(|extra| {
            extra.tunnels.len() < MAX_FLOW_TUNNELS
                && tunnels.iter().any(|layer| !extra.tunnels.contains(layer))
        })
    }
}

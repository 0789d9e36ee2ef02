//! Who is at the ends of the flows of a second, as their records say.
//!
//! A record names no host: its sensor's name stands for it, which is the host's own where
//! flows were recorded on it. Without one the address does, so that processes of two hosts
//! with the same number stay two.

use std::sync::Arc;

use ahash::HashMap;

use crate::engine::window::{FlowRow, Host};
use crate::flow::FlowRecord;
use crate::host::inventory::Instance;
use crate::host::join::Seat;
use crate::host::side::HostSide;
use crate::packet::key::to_ip;

/// As [`FlowRow::key`].
type Key = (Host, Host, u16, u16, u8, u16);

/// By flow: who is at its key's `a`, and at `b`.
#[derive(Debug, Default)]
pub(in crate::engine) struct Told(HashMap<Key, [Option<End>; 2]>);

#[derive(Clone, Debug)]
struct End {
    seat: Option<Seat>,
    instance: Option<Arc<Instance>>,
}

impl Told {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes down who is at the ends of a flow that has packets in the second.
    pub(super) fn note(&mut self, record: &FlowRecord) {
        let Some(hosts) = record.hosts.as_deref() else { return };
        let key = &record.key;
        let host = |address| Host { version: key.version, address };
        let (a, b) = (host(key.a), host(key.b));
        let sensor = record.origin.as_ref().map_or("", |origin| &origin.sensor);
        let end = |side: &Option<HostSide>, at: Host| {
            let side = side.as_ref()?;
            let place: Arc<str> = match sensor {
                "" => to_ip(at.version, &at.address).to_string().into(),
                sensor => sensor.into(),
            };
            let how = side.attribution.as_ref();
            let certainty = how.map_or(0.0, |how| how.certainty);
            // Who provoked an error is not at its end of it.
            let process = side.process.as_ref().filter(|_| how.is_none_or(|how| !how.provoked));
            let seat = process.map(|process| Seat {
                process: Arc::clone(process),
                workload: side.workload.clone(),
                host: Arc::clone(&place),
                boot: place,
                certainty,
                basis: how.and_then(|how| how.basis),
            });
            Some(End { seat, instance: side.instance.clone() })
        };
        let ends = match record.forward_is_a_to_b {
            true => [end(&hosts.src, a), end(&hosts.dst, b)],
            false => [end(&hosts.dst, a), end(&hosts.src, b)],
        };
        let row = (a, b, key.port_a, key.port_b, key.proto, key.echo_id);
        self.0.insert(row, ends);
    }

    /// Who is at an end of a row's flow, 0 for `there`'s source.
    pub(in crate::engine) fn seat(&self, row: &FlowRow, end: usize) -> Option<Seat> {
        self.end(row, end)?.seat.clone()
    }

    pub(in crate::engine) fn instance(&self, row: &FlowRow, end: usize) -> Option<Arc<Instance>> {
        self.end(row, end)?.instance.clone()
    }

    fn end(&self, row: &FlowRow, end: usize) -> Option<&End> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&row.key())?[end].as_ref()
    }
}

//! When each flow was last counted: a record has what was counted since then, and
//! says only when it was made.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::tuple::{State, Tuple};

/// Counts of a flow that lasts come every five minutes: without the record before
/// this is as far as packets can lie back.
const INTERVAL_NS: i64 = 300 * 1_000_000_000;

/// Flows of a generation; two are kept, some 30 MB. An interface has some ten
/// thousand at a time.
const MAX_FLOWS: usize = 1 << 17;

/// The last records of flows that go on. The one that was looked for longest ago is
/// forgotten first, roughly: the older of two generations goes as a whole.
#[derive(Default)]
pub(super) struct Updates {
    young: HashMap<Flow, i64, ahash::RandomState>,
    old: HashMap<Flow, i64, ahash::RandomState>,
}

#[derive(PartialEq, Eq, Hash)]
struct Flow {
    ends: [(IpAddr, u16); 2],
    protocol: u8,
    egress: bool,
    observer: Arc<str>,
}

impl Updates {
    /// Where the interval began that ends with this tuple: at the flow's record before
    /// it, else five minutes earlier. Of a flow that began or was denied, its time.
    pub(super) fn start_ns(&mut self, tuple: &Tuple, observer: &Arc<str>) -> i64 {
        let flow = Flow {
            ends: [(tuple.src, tuple.src_port), (tuple.dst, tuple.dst_port)],
            protocol: tuple.protocol,
            egress: tuple.direction == crate::telemetry::observation::FlowDirection::Egress,
            observer: Arc::clone(observer),
        };
        let time_ns = tuple.time_ns;
        match tuple.state {
            None | Some(State::Denied) => time_ns,
            Some(State::Begin) => {
                self.keep(flow, time_ns);
                time_ns
            }
            Some(State::Continuing) => {
                let start_ns = self.since(&flow, time_ns);
                self.keep(flow, time_ns);
                start_ns
            }
            Some(State::End) => self.since(&flow, time_ns),
        }
    }

    /// Forgets the flow's record before.
    fn since(&mut self, flow: &Flow, time_ns: i64) -> i64 {
        let before = self.young.remove(flow).or_else(|| self.old.remove(flow));
        let earliest_ns = time_ns.saturating_sub(INTERVAL_NS);
        // Records can be missing in between, and a log can be out of order; a minute
        // late, which is how often Azure looks, is neither.
        let longest_ns = time_ns.saturating_sub(INTERVAL_NS + 60 * 1_000_000_000);
        before.filter(|&before| longest_ns <= before && before <= time_ns).unwrap_or(earliest_ns)
    }

    fn keep(&mut self, flow: Flow, time_ns: i64) {
        if self.young.len() >= MAX_FLOWS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(flow, time_ns);
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

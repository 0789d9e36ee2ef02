//! Where ended flows go: into the sums of the summary, and into records where
//! somebody wants them.

use super::live::{Bins, Live};
use super::record::{EndReason, FlowRecord};
use super::slab::Slab;
use super::stub::Stub;
use super::talkers::Sought;
use super::totals::FlowTotals;

/// Where ended flows go.
pub(crate) struct Outlet {
    /// Make records at all.
    pub(crate) wanted: bool,
    pub(crate) records: Vec<FlowRecord>,
    pub(crate) totals: FlowTotals,
    pub(crate) flows: u64,
}

impl Outlet {
    pub(crate) fn new(wanted: bool, hash_state: ahash::RandomState) -> Self {
        Self { wanted, records: Vec::new(), totals: FlowTotals::new(hash_state), flows: 0 }
    }

    /// A record of a flow that goes on.
    pub(crate) fn live(
        &mut self,
        live: &Live,
        bins: &Slab<Bins>,
        reason: EndReason,
        decided_ns: i64,
    ) {
        let addresses = self.totals.seek_addresses(&live.key);
        self.end_live(live, bins, addresses, reason, decided_ns);
    }

    /// A record of a flow that goes on.
    pub(crate) fn stub(
        &mut self,
        stub: &mut Stub,
        bins: &mut Slab<Bins>,
        reason: EndReason,
        decided_ns: i64,
    ) {
        let addresses = self.totals.seek_addresses(&stub.key);
        self.end_stub(stub, bins, addresses, reason, decided_ns);
    }

    pub(crate) fn end_live(
        &mut self,
        live: &Live,
        bins: &Slab<Bins>,
        addresses: [Sought; 2],
        reason: EndReason,
        decided_ns: i64,
    ) {
        self.flows += 1;
        self.totals.add_live(live, bins, addresses, reason);
        if self.wanted {
            self.records.push(live.record(reason, decided_ns, bins));
        }
    }

    pub(crate) fn end_stub(
        &mut self,
        stub: &mut Stub,
        bins: &mut Slab<Bins>,
        addresses: [Sought; 2],
        reason: EndReason,
        decided_ns: i64,
    ) {
        self.flows += 1;
        self.totals.add_stub(stub, addresses, reason);
        if self.wanted {
            let live = Live::from_stub(stub, bins);
            self.records.push(live.record(reason, decided_ns, bins));
        }
        stub.extra = None;
    }
}

//! Where ended flows go: into the sums of the summary, and into records where
//! somebody wants them.

use super::live::{Bins, Live};
use super::record::{EndReason, FlowRecord};
use super::slab::Slab;
use super::stub::Stub;
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

    pub(crate) fn live(
        &mut self,
        live: &Live,
        bins: &Slab<Bins>,
        reason: EndReason,
        decided_ns: i64,
    ) {
        self.flows += 1;
        let hashes = self.totals.address_hashes(&live.key);
        self.totals.add_live(live, bins, hashes, reason);
        if self.wanted {
            self.records.push(live.record(reason, decided_ns, bins));
        }
    }

    pub(crate) fn stub(
        &mut self,
        stub: &mut Stub,
        bins: &mut Slab<Bins>,
        reason: EndReason,
        decided_ns: i64,
    ) {
        self.flows += 1;
        let hashes = self.totals.address_hashes(&stub.key);
        self.totals.add_stub(stub, hashes, reason);
        if self.wanted {
            let live = Live::from_stub(stub, bins);
            self.records.push(live.record(reason, decided_ns, bins));
        }
        stub.extra = None;
    }
}

//! Where ended flows go: into the sums of the summary, and into records or outlines
//! where somebody wants them.

use super::app::AppInfo;
use super::live::{Bins, Live};
use super::outline::{EndedFlow, Outline};
use super::record::{EndReason, FlowRecord};
use super::settings::Wanted;
use super::slab::Slab;
use super::stub::Stub;
use super::talkers::Sought;
use super::totals::FlowTotals;
use super::unanswered::{BySecond, is_sampled};

/// Where ended flows go.
pub(crate) struct Outlet {
    pub(crate) wanted: Wanted,
    names: bool,
    pub(crate) ended: Ended,
    pub(crate) totals: FlowTotals,
    pub(crate) flows: u64,
}

/// Flows that ended, in no order: of one run either records or outlines.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) records: Vec<FlowRecord>,
    pub(crate) outlines: Vec<EndedFlow>,
    /// Of either run; see [`is_sampled`].
    pub(crate) unanswered: BySecond,
}

impl Ended {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.outlines.is_empty() && self.unanswered.is_empty()
    }

    fn add(&mut self, outline: Outline, app: Option<Box<AppInfo>>, names: bool) {
        if is_sampled(&outline.key, outline.answered(), app.as_deref(), names) {
            self.unanswered.at(outline.decided_ns).add(outline);
        } else {
            self.outlines.push(EndedFlow { outline, app });
        }
    }
}

impl Outlet {
    pub(crate) fn new(wanted: Wanted, names: bool, hash_state: ahash::RandomState) -> Self {
        let totals = FlowTotals::new(hash_state);
        Self { wanted, names, ended: Ended::default(), totals, flows: 0 }
    }

    /// What ended since the last call.
    pub(crate) fn take(&mut self) -> Ended {
        std::mem::take(&mut self.ended)
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
    pub(crate) fn stub(&mut self, stub: &mut Stub, reason: EndReason, decided_ns: i64) {
        let addresses = self.totals.seek_addresses(&stub.key);
        self.end_stub(stub, addresses, reason, decided_ns);
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
        match self.wanted {
            Wanted::Counts => {}
            Wanted::Outlines => {
                let app = live.extra.as_ref().and_then(|extra| extra.app.clone());
                self.ended.add(live.outline(reason, decided_ns), app, self.names);
            }
            Wanted::Records => {
                let record = live.record(reason, decided_ns, bins);
                if is_sampled(&record.key, record.answered, record.app.as_deref(), self.names) {
                    self.ended.unanswered.at(decided_ns).add(record.outline());
                }
                self.ended.records.push(record);
            }
        }
    }

    pub(crate) fn end_stub(
        &mut self,
        stub: &mut Stub,
        addresses: [Sought; 2],
        reason: EndReason,
        decided_ns: i64,
    ) {
        self.flows += 1;
        self.totals.add_stub(stub, addresses, reason);
        match self.wanted {
            Wanted::Counts => {}
            // One packet is never answered.
            Wanted::Outlines if stub.extra.is_none() => {
                self.ended.unanswered.at(decided_ns).add_stub(stub, reason, decided_ns);
            }
            Wanted::Outlines => {
                let app = stub.extra.take().and_then(|extra| extra.app);
                self.ended.add(stub.outline(reason, decided_ns), app, self.names);
            }
            Wanted::Records => {
                let app = stub.extra.as_ref().and_then(|extra| extra.app.as_deref());
                if is_sampled(&stub.key, false, app, self.names) {
                    self.ended.unanswered.at(decided_ns).add_stub(stub, reason, decided_ns);
                }
                self.ended.records.push(stub.record(reason, decided_ns));
            }
        }
        stub.extra = None;
    }
}

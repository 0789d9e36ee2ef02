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
use super::unanswered::BySecond;

/// Where ended flows go.
pub(crate) struct Outlet {
    pub(crate) wanted: Wanted,
    pub(crate) ended: Ended,
    pub(crate) totals: FlowTotals,
    pub(crate) flows: u64,
}

/// Flows that ended, in no order: of one run either records or outlines.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) records: Vec<FlowRecord>,
    pub(crate) outlines: Vec<EndedFlow>,
    /// Of a run without records.
    pub(crate) unanswered: BySecond,
}

impl Ended {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.outlines.is_empty() && self.unanswered.is_empty()
    }

    fn add(&mut self, outline: Outline, app: Option<Box<AppInfo>>) {
        // Names are learned from any flow.
        if app.is_some() || outline.answered() {
            self.outlines.push(EndedFlow { outline, app });
        } else {
            self.unanswered.at(outline.decided_ns).add(outline);
        }
    }
}

impl Outlet {
    pub(crate) fn new(wanted: Wanted, hash_state: ahash::RandomState) -> Self {
        Self { wanted, ended: Ended::default(), totals: FlowTotals::new(hash_state), flows: 0 }
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
        match self.wanted {
            Wanted::Counts => {}
            Wanted::Answered => {
                if live.halves.iter().all(|half| half.packets > 0) {
                    let outline = live.outline(reason, decided_ns);
                    self.ended.outlines.push(EndedFlow { outline, app: None });
                }
            }
            Wanted::Outlines => {
                let app = live.extra.as_ref().and_then(|extra| extra.app.clone());
                self.ended.add(live.outline(reason, decided_ns), app);
            }
            Wanted::Records => self.ended.records.push(live.record(reason, decided_ns, bins)),
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
        match self.wanted {
            Wanted::Counts | Wanted::Answered => {}
            // One packet is never answered.
            Wanted::Outlines if stub.extra.is_none() => {
                self.ended.unanswered.at(decided_ns).add_stub(stub, reason, decided_ns);
            }
            Wanted::Outlines => {
                let app = stub.extra.take().and_then(|extra| extra.app);
                self.ended.add(stub.outline(reason, decided_ns), app);
            }
            Wanted::Records => {
                let live = Live::from_stub(stub, bins);
                self.ended.records.push(live.record(reason, decided_ns, bins));
            }
        }
        stub.extra = None;
    }
}

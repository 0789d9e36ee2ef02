//! Where ended flows go: into the sums of the summary, and into records or outlines
//! where somebody wants them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::app::AppInfo;
use super::live::{Bins, Live};
use super::outline::{EndedFlow, Outline};
use super::record::{EndReason, FlowRecord};
use super::settings::Wanted;
use super::slab::Slab;
use super::stub::Stub;
use super::talkers::Sought;
use super::totals::FlowTotals;
use super::unanswered::Unanswered;

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
    /// Of a run without records, by the second in which it was decided that they are over.
    pub(crate) unanswered: BTreeMap<i64, Unanswered>,
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
            self.unanswered_at(outline.decided_ns).add(outline);
        }
    }

    fn unanswered_at(&mut self, decided_ns: i64) -> &mut Unanswered {
        self.unanswered.entry(decided_ns.div_euclid(1_000_000_000)).or_default()
    }

    /// Adds what else ended without an answer.
    pub(crate) fn merge_unanswered(&mut self, others: BTreeMap<i64, Unanswered>) {
        for (second, other) in others {
            match self.unanswered.entry(second) {
                Entry::Vacant(place) => {
                    place.insert(other);
                }
                Entry::Occupied(place) => place.into_mut().merge(other),
            }
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
            Wanted::Outlines => {
                match stub.extra.take().and_then(|extra| extra.app) {
                    // One packet is never answered.
                    None => self.ended.unanswered_at(decided_ns).add_stub(stub, reason, decided_ns),
                    app => self.ended.add(stub.outline(reason, decided_ns), app),
                }
            }
            Wanted::Records => {
                let live = Live::from_stub(stub, bins);
                self.ended.records.push(live.record(reason, decided_ns, bins));
            }
        }
        stub.extra = None;
    }
}

//! What a report keeps of a run while it goes on: bounded, however long that is.
//!
//! | kept | bound |
//! |---|---|
//! | traffic over time | [`timeline::MOST`] buckets, that become wider |
//! | bytes of hosts over time and by hour of the day | [`hosts::MOST`] hosts |
//! | flow records | [`flows::MOST`] rows: the largest, and a sample of the others |
//!
//! Nothing of this exists in a run without a report. Start at [`Collector`].

mod flows;
mod grid;
mod hosts;
mod timeline;

use std::sync::Arc;

use ahash::RandomState;

pub(super) use flows::{KeptFlows, Row};
pub(super) use hosts::{HostTraffic, Hosts};
pub(super) use timeline::Timeline;

use crate::engine::window::Assembled;
use crate::flow::FlowRecord;
use crate::output::privacy::Privacy;
use crate::service::control::talkers::Second;

/// Takes what a run says along the way.
#[derive(Debug)]
pub struct Collector {
    privacy: Arc<Privacy>,
    hasher: RandomState,
    pub(super) timeline: Timeline,
    pub(super) hosts: Hosts,
    pub(super) flows: KeptFlows,
}

impl Collector {
    /// The hasher decides which of the small flows are in the sample: with fixed keys it
    /// is the same in each run, with random ones nobody can foresee it.
    pub fn new(privacy: Arc<Privacy>, hasher: RandomState) -> Self {
        Self {
            privacy,
            timeline: Timeline::default(),
            hosts: Hosts::default(),
            flows: KeptFlows::new(hasher.clone()),
            hasher,
        }
    }

    /// A second that is complete.
    pub fn window(&mut self, window: &Assembled) {
        let slice = &window.slice;
        let packets = slice.total().packets().saturating_add(slice.non_ip_frames());
        let bytes = slice.total().wire_bytes.saturating_add(slice.non_ip_bytes());
        self.timeline.add(slice.second(), packets, bytes);
        self.hosts.add(&Second::new(window, &self.hasher));
    }

    /// A finished record.
    pub fn record(&mut self, record: &FlowRecord) {
        let Self { flows, privacy, .. } = self;
        flows.offer(record.fwd.wire_bytes.saturating_add(record.rev.wire_bytes), || {
            if privacy.concerns(record) {
                let mut shown = record.clone();
                privacy.record(&mut shown);
                Row::of(&shown)
            } else {
                Row::of(record)
            }
        });
    }

    pub(super) fn privacy(&self) -> &Privacy {
        &self.privacy
    }
}

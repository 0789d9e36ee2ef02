//! A shard by itself, for the benches of the flow table. Nothing else uses it.

use std::sync::Arc;

use super::batch::{Batch, BlockData, Rows};
use super::feed::WindowFeed;
use super::sequencer::offline_hash_state;
use super::shard::Shard;
use crate::flow::settings::TableSettings;
use crate::flow::table::TableCounters;
use crate::input::{BlockBytes, Shed};
use crate::packet::PacketRow;

/// The flows of one shard.
pub struct Flows {
    shard: Shard,
    batch: Batch,
}

impl Flows {
    /// No flow yet.
    pub fn new(settings: TableSettings) -> Self {
        let feed = WindowFeed::default();
        let data = BlockData::new(BlockBytes::Owned(Vec::new()), None);
        let batch = Batch {
            rows: Rows::default(),
            data: Arc::new(data),
            first_frame: 0,
            closed_before_s: i64::MIN,
            end: false,
            latest_ns: 0,
            shed: Shed::Nothing,
        };
        Self { shard: Shard::new(settings, None, feed, offline_hash_state()), batch }
    }

    /// The keys of the hash that packets must carry.
    pub fn hash_state() -> ahash::RandomState {
        offline_hash_state()
    }

    /// Counts a block of packets, which stay as they are.
    pub fn take(&mut self, packets: &mut Vec<PacketRow>) {
        std::mem::swap(&mut self.batch.rows.packets, packets);
        self.shard.take(&self.batch);
        std::mem::swap(&mut self.batch.rows.packets, packets);
    }

    /// Ends every flow that was over before this second.
    pub fn close(&mut self, until_s: i64) {
        self.shard.close(0, until_s);
    }

    /// Flows that have ended, and what the table counted.
    pub fn counters(self) -> (u64, TableCounters) {
        let sums = self.shard.into_sums();
        (sums.flows, sums.counters)
    }
}

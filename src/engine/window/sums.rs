//! What a flow did in a second, counted by somebody who kept no packets: rows of the
//! log from sums. Counters of a row are small; sums over them take several rows,
//! which changes no result.

use super::SIZE_BINS;
use super::log::{ChunkPool, Counts, FlowSecond, Log};
use crate::packet::PacketRow;
use crate::packet::facts::PACKET_CLASSES;

/// What a flow sent in one direction in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) classes: [u32; PACKET_CLASSES],
    pub(crate) sizes: [u32; SIZE_BINS],
    pub(crate) wire_bytes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) fragments: u32,
}

impl Sums {
    pub(crate) fn packets(&self) -> u64 {
        self.classes.iter().map(|&packets| u64::from(packets)).sum()
    }

    /// Rows that hold it.
    fn rows(&self) -> u64 {
        // A piece of `n` in `k` is at most one more than `n / k`, for each class.
        const MOST_PACKETS: u64 = u16::MAX as u64 - 2 * PACKET_CLASSES as u64;
        const MOST_BYTES: u64 = u32::MAX as u64 - 1;
        let bytes = self.wire_bytes.max(self.payload_bytes);
        self.packets().div_ceil(MOST_PACKETS).max(bytes.div_ceil(MOST_BYTES)).max(1)
    }

    /// The `at`-th of `of` pieces.
    fn piece(&self, at: u64, of: u64, station: u16) -> Counts {
        let share = |sum: u64| {
            let before = |at: u64| (u128::from(sum) * u128::from(at) / u128::from(of)) as u64;
            before(at + 1) - before(at)
        };
        let small = |sum: u32| share(u64::from(sum)) as u16;
        let classes = self.classes.map(small);
        Counts {
            wire_bytes: share(self.wire_bytes) as u32,
            payload_bytes: share(self.payload_bytes) as u32,
            classes,
            sizes: self.sizes.map(small),
            packets: classes.iter().sum(),
            fragments: small(self.fragments),
            station,
        }
    }
}

impl Log {
    /// Writes what a flow did in this second: `ways` from its key's `a` to `b`, and back.
    pub(crate) fn sums(
        &mut self,
        packet: &PacketRow,
        ways: &[Sums; 2],
        stations: [u16; 2],
        pool: &ChunkPool,
    ) {
        let rows = ways[0].rows().max(ways[1].rows());
        for at in 0..rows {
            let mut row = FlowSecond::new(packet);
            row.counts = [0, 1].map(|way| ways[way].piece(at, rows, stations[way]));
            self.push(row, pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketClass;

    #[test]
    fn sums_over_a_row_take_several_and_lose_nothing() {
        let mut sums = Sums::default();
        sums.classes[PacketClass::Udp as usize] = 200_000;
        sums.classes[PacketClass::TcpSyn as usize] = 7;
        sums.sizes[3] = 200_007;
        (sums.wire_bytes, sums.payload_bytes, sums.fragments) = (9_000_000_001, 8_999, 5);
        let mut log = Log::default();
        let pool = ChunkPool::default();
        log.sums(&PacketRow::NOTHING, &[sums, Sums::default()], [0; 2], &pool);
        assert_eq!(log.rows(), 4);
        let mut told = Sums::default();
        for delta in log.deltas() {
            told.wire_bytes += delta.wire_bytes;
            told.payload_bytes += delta.payload_bytes;
            told.fragments += delta.fragments;
            for (sum, more) in told.classes.iter_mut().zip(delta.classes) {
                *sum += more;
            }
            for (sum, more) in told.sizes.iter_mut().zip(delta.sizes) {
                *sum += more;
            }
        }
        assert_eq!(told, sums);
    }
}

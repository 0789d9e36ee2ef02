//! What travels from the worker that decoded a block to the shards.

use std::sync::Arc;

use super::worker::Pool;
use crate::input::{BlockBytes, Shed};
use crate::packet::{Fragment, Mac, MalformedReason, PacketRow, Tunnels};

/// A frame that is in no flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkRow {
    pub(crate) time_ns: i64,
    pub(crate) index: u64,
    pub(crate) digest: u64,
    pub(crate) wire_bytes: u32,
    pub(crate) kind: LinkKind,
    pub(crate) src_mac: Mac,
    pub(crate) dst_mac: Mac,
    pub(crate) has_mac: bool,
    pub(crate) vlan: u16,
    /// Target address of an ARP request.
    pub(crate) arp_target: Option<[u8; 4]>,
    pub(crate) late: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkKind {
    NonIp(u16),
    Malformed(MalformedReason),
}

/// One shard's part of a block, in stream order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) packets: Vec<PacketRow>,
    pub(crate) links: Vec<LinkRow>,
    /// Digests of the packets, when `--dedup` wants them.
    pub(crate) digests: Vec<u64>,
    /// What [`PacketRow::tunnels`] points into.
    pub(crate) tunnels: Vec<Tunnels>,
}

impl Rows {
    /// Adds a packet.
    #[inline(always)]
    pub(crate) fn push(&mut self, row: PacketRow, digest: Option<u64>) -> &mut PacketRow {
        if let Some(digest) = digest {
            self.digests.push(digest);
        }
        self.packets.push_mut(row)
    }

    /// Adds a packet with what it came through.
    pub(crate) fn push_tunneled(
        &mut self,
        mut row: PacketRow,
        digest: Option<u64>,
        tunnels: &Tunnels,
    ) -> &mut PacketRow {
        if !tunnels.is_empty() {
            // Neighbours mostly share their tunnel.
            if self.tunnels.last() != Some(tunnels) {
                self.tunnels.push(*tunnels);
            }
            // A block's frames and the fragments that waited: below NO_TUNNELS.
            row.tunnels = (self.tunnels.len() - 1) as u16;
        }
        self.push(row, digest)
    }

    /// Makes room for so many packets at once, rather than by doubling.
    pub(crate) fn reserve(&mut self, packets: usize, digests: bool) {
        self.packets.reserve(packets);
        if digests {
            self.digests.reserve(packets);
        }
    }

    /// Moves the packets from `tail` on between those before, so that all are in
    /// the order of the stream as each of the two parts is; of one place, the
    /// tail's come last. `scratch` takes the tail meanwhile.
    pub(crate) fn merge_tail(&mut self, tail: usize, scratch: &mut Vec<(PacketRow, u64)>) {
        let Self { packets, digests, .. } = self;
        let mut head = tail.min(packets.len());
        let mut end = packets.len();
        let with_digests = digests.len() == packets.len();
        scratch.clear();
        scratch.extend(
            packets[head..]
                .iter()
                .zip(head..)
                .map(|(row, at)| (*row, digests.get(at).copied().unwrap_or_default())),
        );
        // From the back, into the places that the tail left.
        while let Some(&(row, digest)) = scratch.last() {
            end -= 1;
            let (next, digest) = if head > 0 && packets[head - 1].index > row.index {
                head -= 1;
                (packets[head], digests.get(head).copied().unwrap_or_default())
            } else {
                scratch.pop();
                (row, digest)
            };
            packets[end] = next;
            if with_digests {
                digests[end] = digest;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.digests.clear();
        self.links.clear();
        self.tunnels.clear();
    }
}

/// A fragment on its way to the sequencer.
#[derive(Debug)]
pub(crate) struct FragmentRow {
    pub(crate) row: PacketRow,
    pub(crate) fragment: Fragment,
    pub(crate) digest: Option<u64>,
    pub(crate) tunnels: Tunnels,
}

/// What a decoded block came in, to be filled again.
#[derive(Debug, Default)]
pub(crate) struct Emptied {
    pub(crate) rows: Vec<Rows>,
    pub(crate) fragments: Vec<FragmentRow>,
}

/// A decoded block on its way to the sequencer.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) sequence: u64,
    /// One for each shard.
    pub(crate) rows: Vec<Rows>,
    /// Fragments have no shard before they are joined.
    pub(crate) fragments: Vec<FragmentRow>,
    pub(crate) data: Arc<BlockData>,
    pub(crate) closed_before_s: i64,
    /// Position of the block's first frame in the stream.
    pub(crate) first_frame: u64,
    pub(crate) shed: Shed,
}

/// One shard's part of a block, in its turn.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    pub(crate) data: Arc<BlockData>,
    /// Position of the block's first frame in the stream.
    pub(crate) first_frame: u64,
    /// Seconds before this are closed once the batch is done.
    pub(crate) closed_before_s: i64,
    pub(crate) shed: Shed,
    /// The last batch; the stream's clock stood at `latest_ns`.
    pub(crate) end: bool,
    pub(crate) latest_ns: i64,
}

/// A block's captured bytes while any shard still needs them. Gives its buffer
/// back when the last one is done.
#[derive(Debug)]
pub(crate) struct BlockData {
    bytes: BlockBytes,
    pool: Option<Arc<Pool>>,
}

impl BlockData {
    pub(crate) fn new(bytes: BlockBytes, pool: Option<Arc<Pool>>) -> Self {
        Self { bytes, pool }
    }

    pub(crate) fn all(&self) -> &[u8] {
        self.bytes.all()
    }
}

impl Drop for BlockData {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let bytes = std::mem::replace(&mut self.bytes, BlockBytes::Owned(Vec::new()));
            pool.block_done(match bytes {
                BlockBytes::Owned(bytes) => bytes,
                BlockBytes::Mapped { .. } => Vec::new(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::Frame;
    use crate::packet::{Facts, LinkType};

    /// Tells itself by its hash.
    fn row(index: u16, name: usize) -> PacketRow {
        let frame = Frame {
            time_ns: 0,
            offset: 0,
            captured_bytes: 60,
            wire_bytes: 60,
            link: LinkType::ETHERNET,
            interface: 0,
            flags: 0,
        };
        *Facts::default().row_of(&frame, name as u64, index, 0)
    }

    proptest! {
        #[test]
        fn a_merged_tail_is_a_stable_sort_of_both(
            mut head in proptest::collection::vec(0_u16..50, 0..60),
            mut tail in proptest::collection::vec(0_u16..50, 0..20),
            with_digests: bool,
        ) {
            head.sort_unstable();
            tail.sort_unstable();
            let mut rows = Rows::default();
            let all: Vec<_> = head.iter().chain(&tail).copied().zip(0..).collect();
            for &(index, name) in &all {
                let digest = with_digests.then_some(name as u64 + 1_000);
                rows.push(row(index, name), digest);
            }
            rows.merge_tail(head.len(), &mut vec![(row(9, 9), 9)]);
            let mut expected = all;
            expected.sort_by_key(|&(index, _)| index);
            let merged: Vec<_> =
                rows.packets.iter().map(|row| (row.index, row.hash as usize)).collect();
            prop_assert_eq!(&merged, &expected);
            let digests: Vec<_> = merged.iter().map(|&(_, name)| name as u64 + 1_000).collect();
            prop_assert_eq!(rows.digests, if with_digests { digests } else { Vec::new() });
        }
    }
}

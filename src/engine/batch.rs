//! What travels from the worker that decoded a block to the shards.

use std::sync::Arc;

use super::worker::Pool;
use crate::input::BlockBytes;
use crate::packet::{Fragment, Mac, MalformedReason, PacketRow, TunnelLayer, Tunnels};

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
    /// Adds a packet with what it came through.
    #[inline]
    pub(crate) fn push(&mut self, mut row: PacketRow, digest: Option<u64>, tunnels: &Tunnels) {
        if let Some(digest) = digest {
            self.digests.push(digest);
        }
        if !tunnels.is_empty() {
            // Neighbours mostly share their tunnel.
            let same =
                self.tunnels.last().is_some_and(|last| last.as_slice() == tunnels.as_slice());
            if !same {
                self.tunnels.push(*tunnels);
            }
            row.tunnels = self.tunnels.len() as u32 - 1;
        }
        self.packets.push(row);
    }

    pub(crate) fn tunnels_of(&self, row: &PacketRow) -> &[TunnelLayer] {
        self.tunnels.get(row.tunnels as usize).map_or(&[], Tunnels::as_slice)
    }

    /// Puts packets in the order of the stream, those of one place as they are.
    pub(crate) fn sort(&mut self) {
        if self.digests.is_empty() {
            self.packets.sort_by_key(|row| row.index);
            return;
        }
        let digests = self.digests.drain(..);
        let mut pairs: Vec<_> = self.packets.drain(..).zip(digests).collect();
        pairs.sort_by_key(|(row, _)| row.index);
        (self.packets, self.digests) = pairs.into_iter().unzip();
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

//! How much the packets of one key were, whatever they say.

use super::super::table::Merge;
use super::super::{SIZE_BINS, size_bin};
use super::dns::add_all;
use crate::packet::PacketRow;

/// Sums of packets both ways, by their headers: cut ones count whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub packets: u32,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    /// Packets by payload size, see [`super::super::size_bin`].
    pub sizes: [u32; SIZE_BINS],
}

impl Default for Carried {
    fn default() -> Self {
        Self { packets: 0, wire_bytes: 0, payload_bytes: 0, sizes: [0; SIZE_BINS] }
    }
}

impl Carried {
    pub(super) fn add(&mut self, packet: &PacketRow) {
        self.packets = self.packets.saturating_add(1);
        self.wire_bytes = self.wire_bytes.saturating_add(packet.wire_bytes.into());
        self.payload_bytes = self.payload_bytes.saturating_add(packet.payload_bytes.into());
        let of_size = &mut self.sizes[size_bin(packet.payload_bytes)];
        *of_size = of_size.saturating_add(1);
    }
}

impl Merge for Carried {
    fn merge(&mut self, other: &Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
        add_all(&mut self.sizes, &other.sizes);
    }
}

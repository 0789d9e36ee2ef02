//! Drops the second copy that a SPAN port delivers of a packet.
//!
//! Two frames are copies when their digests are equal and they are near each
//! other, in packets of the stream and in time. Each original absorbs at most
//! one copy. A shard sees all packets of its flows, and so every copy of a
//! packet it saw. Windows are fed before: a flood of identical packets is not
//! eaten.

use std::collections::VecDeque;

use ahash::HashMap;

/// What counts as a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupMode {
    /// The same bytes.
    Exact,
    /// The same packet on another segment: MAC addresses, VLAN tags, TTL and
    /// the IPv4 checksum may differ.
    Routed,
}

/// `--dedup` and its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupSettings {
    pub mode: DedupMode,
    /// Copies are looked for among this many packets before.
    pub window_packets: u64,
    /// And not further back than this.
    pub window_ns: i64,
}

impl DedupSettings {
    /// 1,024 packets and 10 ms: a switch sends both copies within its own
    /// buffering time, and TCP never retransmits that fast (RFC 6298: 1 s at
    /// first, 200 ms at least in practice).
    pub fn new(mode: DedupMode) -> Self {
        Self { mode, window_packets: 1024, window_ns: 10_000_000 }
    }
}

#[derive(Debug)]
pub(crate) struct Dedup {
    settings: DedupSettings,
    /// Originals that have not absorbed a copy yet, by digest.
    originals: HashMap<u64, (u64, i64)>,
    order: VecDeque<(u64, u64)>,
}

impl Dedup {
    pub(crate) fn new(settings: DedupSettings) -> Self {
        Self { settings, originals: HashMap::default(), order: VecDeque::new() }
    }

    /// Is the packet at `index` of the stream a copy?
    pub(crate) fn is_copy(&mut self, digest: u64, index: u64, time_ns: i64) -> bool {
        while let Some(&(digest, old)) = self.order.front() {
            if index.saturating_sub(old) <= self.settings.window_packets {
                break;
            }
            self.order.pop_front();
            if self.originals.get(&digest).is_some_and(|&(at, _)| at == old) {
                self.originals.remove(&digest);
            }
        }
        if let Some(&(at, original_ns)) = self.originals.get(&digest)
            && index.saturating_sub(at) <= self.settings.window_packets
            && time_ns.abs_diff(original_ns) <= self.settings.window_ns.unsigned_abs()
        {
            self.originals.remove(&digest);
            return true;
        }
        self.originals.insert(digest, (index, time_ns));
        self.order.push_back((digest, index));
        false
    }
}

/// Digest of a frame for [`DedupMode::Routed`]: the IP packet from
/// `ip_offset` on without the fields that a router changes. `None` where there
/// is no IP header.
pub(crate) fn routed_digest(
    data: &[u8],
    ip_offset: usize,
    state: &ahash::RandomState,
) -> Option<u64> {
    use std::hash::{BuildHasher, Hasher};
    let packet = data.get(ip_offset..)?;
    let mut hasher = state.build_hasher();
    match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            hasher.write(&header[..8]);
            hasher.write_u8(header[9]);
            hasher.write(&header[12..]);
            hasher.write(packet.get(20..length.min(packet.len())).unwrap_or_default());
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            hasher.write(&header[..7]);
            hasher.write(&header[8..]);
            hasher.write(packet.get(40..length.min(packet.len())).unwrap_or_default());
        }
        _ => return None,
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dedup() -> Dedup {
        Dedup::new(DedupSettings { mode: DedupMode::Exact, window_packets: 3, window_ns: 100 })
    }

    #[test]
    fn each_original_absorbs_at_most_one_copy() {
        let mut dedup = dedup();
        let verdicts: Vec<_> = (0..6).map(|n| dedup.is_copy(7, n, 0)).collect();
        assert_eq!(verdicts, [false, true, false, true, false, true]);
    }

    #[test]
    fn the_window_ends_by_packets_and_by_time() {
        let mut dedup = dedup();
        assert!(!dedup.is_copy(7, 0, 0));
        assert!(!dedup.is_copy(7, 4, 0), "four packets later");
        assert!(!dedup.is_copy(7, 5, 101), "101 ns later");
        assert!(dedup.is_copy(7, 6, 60));
    }

    #[test]
    fn routed_copies_differ_in_ttl_and_checksum_only() {
        let state = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut packet = [0u8; 40];
        packet[0] = 0x45;
        packet[3] = 28;
        packet[8] = 64;
        let digest = routed_digest(&packet, 0, &state);
        packet[8] = 63;
        packet[10] = 9;
        packet[35] = 1; // Ethernet padding
        assert_eq!(routed_digest(&packet, 0, &state), digest);
        packet[5] = 1; // IP identification
        assert_ne!(routed_digest(&packet, 0, &state), digest);
    }
}

//! Names of a record in formats that want one: derived from its key and its
//! start, so that they are the same in every run.

use sha1::{Digest, Sha1};

use crate::flow::FlowRecord;
use crate::flow::community_id::CommunityId;

/// Digest that tells records apart, also those of one Community ID.
pub(super) struct Identity([u8; 20]);

impl Identity {
    pub(super) fn of(record: &FlowRecord, community: &CommunityId) -> Self {
        let mut hash = Sha1::new();
        hash.update(community.0);
        hash.update(record.start_ns.to_be_bytes());
        hash.update(record.key.echo_id.to_be_bytes());
        hash.update(record.key.vlan.to_be_bytes());
        hash.update(record.key.vni.to_be_bytes());
        // Community ID leaves out ports of protocols that it does not name.
        hash.update(record.key.port_a.to_be_bytes());
        hash.update(record.key.port_b.to_be_bytes());
        Self(hash.finalize().into())
    }

    /// Suricata's `flow_id`: a number below 2^53, which JavaScript and JSON
    /// readers keep exactly.
    pub(super) fn flow_id(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11
    }

    /// Zeek's `uid`: `C` and 17 letters and digits.
    pub(super) fn uid(&self) -> [u8; 18] {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut uid = [b'C'; 18];
        let mut number = self.0[..16].iter().fold(0, |n: u128, &byte| n << 8 | u128::from(byte));
        for digit in &mut uid[1..] {
            *digit = DIGITS[(number % 62) as usize];
            number /= 62;
        }
        uid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn records_of_one_conversation_have_their_own_names() {
        let first = samples::tcp();
        let second = FlowRecord { start_ns: first.start_ns + 1, ..first.clone() };
        let community = CommunityId::of(&first.key, 0);
        let [first, second] = [&first, &second].map(|record| Identity::of(record, &community));
        assert_ne!(first.flow_id(), second.flow_id());
        assert_ne!(first.uid(), second.uid());
        assert!(first.flow_id() < 1 << 53);
        assert!(first.uid().starts_with(b"C") && first.uid().is_ascii());
    }
}

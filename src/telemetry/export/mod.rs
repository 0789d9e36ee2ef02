//! Flow exports in datagrams (NetFlow, IPFIX, sFlow) to flow reports.

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[];

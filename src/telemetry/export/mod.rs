//! Flow exports in datagrams (NetFlow, IPFIX, sFlow) to flow reports.

#[cfg(test)]
mod fixture;
mod netflow;
mod reader;
mod sequence;
mod texts;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[&netflow::NETFLOW];

/// What a datagram is by its first bytes.
pub fn kind_of(datagram: &[u8]) -> Option<&'static Kind> {
    netflow::is_netflow(datagram).then_some(&netflow::NETFLOW)
}

//! Flow exports in datagrams (NetFlow, IPFIX, sFlow) to flow reports.

pub mod capture;
#[cfg(test)]
mod fixture;
#[cfg(target_os = "linux")]
pub mod listen;
mod netflow;
mod reader;
mod sequence;
mod sflow;
mod shape;
mod texts;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[&netflow::NETFLOW, &sflow::SFLOW];

/// What a datagram is by its first bytes.
pub fn kind_of(datagram: &[u8]) -> Option<&'static Kind> {
    match datagram {
        _ if netflow::is_netflow(datagram) => Some(&netflow::NETFLOW),
        _ if sflow::is_sflow(datagram) => Some(&sflow::SFLOW),
        _ => None,
    }
}

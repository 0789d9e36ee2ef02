//! Connection logs of other flow tools to flow reports.

mod nfdump;
mod protocol;
mod suricata;
mod zeek;

#[cfg(test)]
mod tests;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] =
    &[&zeek::TSV, &zeek::JSON, &suricata::EVE, &nfdump::CSV, &nfdump::JSON];

//! Interface counters of hosts, containers and instances to samples.

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[];

//! Flow logs of clouds to flow reports.

mod aws;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[&aws::VPC];

//! Access logs of load balancers, proxies and web servers to requests.

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[];

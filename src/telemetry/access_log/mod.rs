//! Access logs of load balancers, proxies and web servers to requests.
//!
//! What the client sent stays as it sent it: the log's own escapes are undone, the
//! URI is not normalised, and a line that is no request becomes one without a method
//! whose URI is all of the line. Cookies and credentials that a log has are left out.

mod aws;
mod escape;
mod line;

use std::sync::Arc;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[&aws::ALB, &aws::NLB, &aws::ELB];

/// What request logs are for.
const CLIENTS_SEE: &str = "exploit-like requests, error spikes and who served them (AN0223)";

fn label_of(name: &Arc<str>, value: &str) -> (Arc<str>, Arc<str>) {
    (Arc::clone(name), value.into())
}

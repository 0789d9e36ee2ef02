//! Access logs of load balancers, proxies and web servers to requests.
//!
//! What the client sent stays as it sent it: the log's own escapes are undone, the
//! URI is not normalised, and a line that is no request becomes one without a method
//! whose URI is all of the line. Cookies and credentials that a log has are left out.

mod apache;
mod aws;
mod azure;
mod draft;
mod envoy;
mod escape;
mod gcp;
mod haproxy;
mod line;
mod nginx;
mod scalar;
mod template;

use std::sync::Arc;

use super::decode::{Bad, Decoder, Out};
use super::kind::Kind;
use template::Template;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[
    &aws::ALB,
    &aws::NLB,
    &aws::ELB,
    &gcp::KIND,
    &azure::KIND,
    &haproxy::KIND,
    &envoy::KIND,
    &nginx::KIND,
    &apache::KIND,
    &apache::COMBINED_KIND,
];

/// Whether a kind of log is written by a balancer that a cloud runs: it is no host's, and
/// the targets that it names are hosts.
pub(crate) fn is_of_balancers(kind: &str) -> bool {
    let kinds = [&aws::ALB, &aws::NLB, &aws::ELB, &gcp::KIND, &azure::KIND];
    kinds.iter().any(|one| one.name == kind)
}

/// What request logs are for.
const CLIENTS_SEE: &str = "exploit-like requests, error spikes and who served them (AN0223)";

fn label_of(name: &Arc<str>, value: &str) -> (Arc<str>, Arc<str>) {
    (Arc::clone(name), value.into())
}

/// The name in a URL, without the port, which AWS appends.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.trim_end_matches('-').bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => authority,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// Whether a header or variable carries credentials, by its name.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["cookie", "authorization", "token", "api_key", "api-key", "secret", "password"]
        .iter()
        .any(|secret| name.contains(secret))
}

/// Reads lines that have one of some formats.
struct Formatted {
    /// The one that the last line had in front.
    templates: Vec<Template>,
}

fn of_templates(templates: Vec<Template>) -> Box<dyn Decoder> {
    Box::new(Formatted { templates })
}

impl Decoder for Formatted {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let mut bad = None;
        for at in 0..self.templates.len() {
            match self.templates[at].read(record, out) {
                Ok(request) => {
                    out.request(request);
                    self.templates.swap(0, at);
                    return Ok(());
                }
                Err(error) => _ = bad.get_or_insert(error),
            }
        }
        Err(bad.unwrap_or_else(|| Bad::new("no format")))
    }
}

#[cfg(test)]
mod tests;

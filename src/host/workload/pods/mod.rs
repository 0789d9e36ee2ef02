//! A Kubernetes pod list: which pod and owner a container belongs to, and its
//! part in it.
//!
//! [`PodSource`] says where the list is, and [`PodSource::read`] reads it once;
//! [`PodList`] keeps it fresh on a thread of its own, so that who asks never
//! waits for a server.

mod fetch;
mod index;
mod keep;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use fetch::PodSource;
pub use index::PodIndex;
pub use keep::PodList;

/// Longest list: 5,000 pods are some 50 MB. Its memory is that of what is kept
/// of each pod, a few KB.
pub const MAX_LIST_BYTES: u64 = 256 << 20;

/// Why there is no pod list, for people.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    #[error(
        "'{text}' is no pod list: use a file, http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH"
    )]
    Source { text: String },
    #[error("the pod list {at}: {source}")]
    Io {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the pod list {at} is not what the kubelet's /pods or the API's /api/v1/pods answer: {source}"
    )]
    Json {
        at: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the pod list {at}: it answers {status}{}", advice(*status))]
    Status { at: String, status: u16 },
    #[error(
        "the pod list {at}: a token goes to https:// or this host alone, anybody could read it on the way"
    )]
    TokenInTheClear { at: String },
    #[error("the pod list {at}: {why}")]
    Tls { at: String, why: String },
    #[error("{}: {source}", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => " (the token is missing, wrong or too old)",
        403 => {
            " (the token's account may not list pods: nodes/proxy of a kubelet, pods of the API)"
        }
        _ => "",
    }
}

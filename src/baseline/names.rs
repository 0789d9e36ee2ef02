//! Names as baselines know them: by a digest of the domain that somebody registered.
//!
//! Hosts below one domain are one destination: those of clouds and content networks are
//! called otherwise every day. Below a suffix where anybody gets a name
//! (`duckdns.org`, `cloudfront.net`) it is the label before it as well. The digest is the
//! first eight bytes of SHA-256: who wants a name of his own to have one
//! of a baseline's digests tries 2^58 of them. It has no key, so that files can be compared:
//! whoever has a list of names can tell which of them are in a file, as of prefixes.
//!
//! An entity's names count once there are so many days of them as make a baseline mature,
//! and at a prefix only where most flows have one: of what is encrypted, or was learned
//! before there were names, nothing is called new by its name.

use sha2::{Digest as _, Sha256};

use crate::engine::window::features::registered;

/// Of a registered domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameDigest(pub(super) u64);

impl NameDigest {
    /// Of the domain of a name in lower case, without a dot at its end.
    pub fn of(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(registered(name.as_bytes())).into();
        let first = digest.first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }

    pub fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for NameDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_domain_are_one_name_unless_anybody_gets_them() {
        let of = NameDigest::of;
        assert_eq!(of("a1b2.cdn.example.com"), of("example.com"));
        assert_ne!(of("example.com"), of("example.org"));
        assert_ne!(of("one.duckdns.org"), of("other.duckdns.org"));
        assert_eq!(of("example.com").to_string(), "a379a6f6eeafb9a5");
    }
}

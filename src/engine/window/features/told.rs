//! Whom names stand for, as answers of DNS say: at once, and not when the flow that asked
//! has ended, which is a minute after whoever asked has used the answer.

use super::super::Host;
use super::super::table::Merge;
use super::dns::DnsKey;
use super::domain::registered;
use super::{Features, Text, digest};
use crate::flow::app::each_address;

/// Longest name that counts; what is cut could be anybody's.
const NAME: usize = 96;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToldKey {
    /// Who asked whom about which registered domain.
    pub asked: DnsKey,
    /// Digest of the domain as [`registered`] has it, which is finer.
    pub domain: u64,
    /// Whom the answer names.
    pub address: Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldName {
    /// The first in the alphabet of the domain's names; never cut.
    pub name: Text<NAME>,
    /// Seconds that the answer may be kept.
    pub ttl_s: u32,
}

impl Merge for ToldName {
    fn merge(&mut self, other: &Self) {
        self.name = match self.name.is_empty() {
            true => other.name,
            false => self.name.min(other.name),
        };
        self.ttl_s = self.ttl_s.max(other.ttl_s);
    }
}

impl Features {
    /// Reads the addresses of a response.
    pub(super) fn add_told(&mut self, asked: &DnsKey, name: &[u8], message: &[u8]) {
        let name = Text::new(name);
        if name.cut || name.is_empty() {
            return;
        }
        let seed = self.seed;
        let domain = digest(seed, registered(name.as_bytes()));
        let hash = seed.mix(seed.host(&asked.client), seed.host(&asked.server));
        let hash = seed.mix(hash, domain);
        each_address(message, |found| {
            let address = Host::from(found.address);
            let key = ToldKey { asked: *asked, domain, address };
            if let Some(told) = self.told.entry(seed.mix(hash, seed.host(&address)), key) {
                told.merge(&ToldName { name, ttl_s: found.ttl_s });
            }
            true
        });
    }
}

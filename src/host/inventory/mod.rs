//! What the user's inventory says of hosts: whose address it is and what for.
//!
//! An inventory is a CSV file with a header or JSON (a list, `{"instances": [...]}`
//! or an object a line):
//!
//! ```text
//! id,name,owner,application,environment,purpose,role,last_change,shared_egress,security_groups,routes,address,interface
//! i-0a1,web-1,shop team,shop,production,,frontend,2026-11-02,no,sg-1;sg-2,,10.0.0.5 2001:db8::5,eni-0a1
//! net-lab,lab,network team,,test,,,,,,,10.9.0.0/16,
//! ```
//!
//! Only `id` and one of `address` and `interface` are needed; lists are separated by
//! `;` or spaces. `address` takes addresses and prefixes: an address that is listed
//! itself wins, then the longest prefix. Lines with one `id` (one for each interface)
//! are one instance, and must not contradict each other. What two instances both
//! claim is an error that names both lines: an inventory that is wrong somewhere is
//! not believed elsewhere. Never guesses and never asks anybody. Start at
//! [`Inventory`].

mod build;
mod csv;
mod field;
mod json;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::table::{self, Blocks, Content, MAX_TEXT_BYTES, Table, TableError, Warning};
use build::Builder;

/// A host or cloud instance as the user's inventory has it. What is not known is
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The stable name of it: `i-0abc...`, a host's name.
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub environment: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// As the inventory writes it: a date, a ticket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_change: String,
    /// Others' traffic leaves by this address: a NAT gateway, proxy, balancer.
    #[serde(default, skip_serializing_if = "super::process::is_false")]
    pub shared_egress: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Prefixes whose other addresses belong to it: a network's entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    /// Interface identifiers (`eni-...`), also VNIs of mirror sessions: `vni:4711`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
}

/// Instances by address and interface.
#[derive(Debug, Default)]
pub struct Inventory {
    instances: Vec<Arc<Instance>>,
    by_address: HashMap<IpAddr, Claim>,
    by_network: Blocks<Claim>,
    by_interface: HashMap<Box<str>, Claim>,
    /// Numbers of instances in the order of their ids, and of their names.
    order: [Vec<u32>; 2],
}

/// Whose it is, and the line that says so.
#[derive(Clone, Copy, Debug)]
struct Claim {
    instance: u32,
    line: u32,
}

impl Inventory {
    pub fn read(path: &Path) -> Result<(Self, Vec<Warning>), TableError> {
        Self::parse(table::read(path, Self::MAX_BYTES)?)
    }

    /// The instance that has the address, or the smallest network that holds it.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Instance>> {
        let address = address.to_canonical();
        let exact = self.by_address.get(&address);
        let claim = exact.or_else(|| self.by_network.longest(address).map(|(_, claim)| claim));
        self.instance(claim)
    }

    /// The instance that every address of the prefix belongs to: one whose network holds it,
    /// where nobody else has an address or a network inside. Addresses that are listed one by
    /// one make no prefix.
    pub fn by_prefix(&self, prefix: IpNet) -> Option<Arc<Instance>> {
        let prefix = prefix.trunc();
        let mut holding = self.by_network.holding(prefix.addr());
        let (_, claim) = holding.find(|(net, _)| net.prefix_len() <= prefix.prefix_len())?;
        let addresses = self.by_address.iter().filter(|(address, _)| prefix.contains(*address));
        let mut inside = addresses.map(|(_, other)| other).chain(self.by_network.inside(prefix));
        let is_anothers = inside.any(|other| other.instance != claim.instance);
        if is_anothers { None } else { self.instance(Some(claim)) }
    }

    /// By the identifier of an interface: `eni-...`, `vni:4711`.
    pub fn by_interface(&self, interface: &str) -> Option<Arc<Instance>> {
        self.instance(self.by_interface.get(interface))
    }

    /// The one that is called like a host: whose id it is, else the only one with that
    /// name.
    pub fn by_host(&self, host: &str) -> Option<Arc<Instance>> {
        if host.is_empty() {
            return None;
        }
        let [by_id, by_name] = &self.order;
        let called = |order: &[u32], text: fn(&Instance) -> &str| {
            let of = |at: &u32| self.instances.get(*at as usize).map_or("", |one| text(one));
            let from = order.partition_point(|at| of(at) < host);
            let mut with = order.iter().skip(from).take_while(|at| of(at) == host);
            let first = with.next()?;
            with.next().is_none().then(|| self.instances.get(*first as usize).cloned())?
        };
        called(by_id, |one| &one.id).or_else(|| called(by_name, |one| &one.name))
    }

    /// In the order of the file.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    fn instance(&self, claim: Option<&Claim>) -> Option<Arc<Instance>> {
        self.instances.get(claim?.instance as usize).cloned()
    }
}

impl Table for Inventory {
    const MAX_BYTES: u64 = MAX_TEXT_BYTES;

    fn parse(content: Content) -> Result<(Self, Vec<Warning>), TableError> {
        let mut builder = Builder::new(&content.file);
        match content.text().trim_ascii_start().first() {
            None => {
                let what = "is empty: an inventory has a header, or is JSON".to_owned();
                return Err(TableError::File { file: content.file, what });
            }
            Some(b'{' | b'[') => json::parse(&content, &mut builder)?,
            Some(_) => csv::parse(&content, &mut builder)?,
        }
        Ok(builder.finish())
    }
}

#[cfg(test)]
mod tests;

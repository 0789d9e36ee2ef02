//! What is documented of hosts and networks: whose address it is, what for, and
//! what others say of it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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
    /// Interface identifiers (`eni-...`), also VNIs of mirror sessions: `vni:4711`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
}

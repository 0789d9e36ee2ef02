//! Whom an alert is about.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::window::{Host, Prefix, Station};
use crate::packet::key::to_ip;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Entity {
    pub kind: EntityKind,
    pub id: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    Process,
    Workload,
    Instance,
    Host,
    Address,
    Prefix,
    Mac,
}

impl EntityKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Workload => "workload",
            Self::Instance => "instance",
            Self::Host => "host",
            Self::Address => "address",
            Self::Prefix => "prefix",
            Self::Mac => "mac",
        }
    }
}

impl Entity {
    pub fn address(host: &Host) -> Self {
        Self::new(EntityKind::Address, host.text_after(""))
    }

    pub fn prefix(prefix: &Prefix) -> Self {
        let id = format!("{}/{}", to_ip(prefix.version, &prefix.address), prefix.bits);
        Self::new(EntityKind::Prefix, id)
    }

    /// An interface of the sensor.
    pub fn interface(name: &str) -> Self {
        Self::new(EntityKind::Host, format!("sensor:{name}"))
    }

    /// A MAC, told apart by VLAN and VNI where there are any.
    pub fn station(station: &Station) -> Self {
        let mut id = match station.mac {
            Some([a, b, c, d, e, f]) => {
                format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            }
            None => "unknown".to_owned(),
        };
        let mut labels = BTreeMap::new();
        if station.vlan > 0 {
            id.push_str(&format!("@vlan{}", station.vlan));
            labels.insert("vlan".to_owned(), station.vlan.to_string());
        }
        if station.vni > 0 {
            let vni = station.vni - 1;
            id.push_str(&format!("@vni{vni}"));
            labels.insert("vni".to_owned(), vni.to_string());
        }
        Self { kind: EntityKind::Mac, id, labels }
    }

    /// What a baseline of it is called: `address:192.0.2.1`.
    pub fn baseline_name(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }

    pub fn new(kind: EntityKind, id: String) -> Self {
        Self { kind, id, labels: BTreeMap::new() }
    }

    /// Orders as entities do, but for those that begin alike: what many are sorted by
    /// before their whole texts are looked at. The kind, and as much of the id as an address
    /// of IPv4 takes.
    pub(crate) fn beginning(&self) -> Beginning {
        let mut first = [0; 16];
        first[0] = self.kind as u8;
        for (place, byte) in first.iter_mut().skip(1).zip(self.id.bytes()) {
            *place = byte;
        }
        u128::from_be_bytes(first)
    }
}

/// See [`Entity::beginning`].
pub(crate) type Beginning = u128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_order_as_entities_do() {
        let ids = [
            "",
            "1",
            "10.0.0.1",
            "10.0.0.10",
            "10.0.0.2",
            "2001:db8:0:1::a",
            "2001:db8:0:1::b",
            "a",
        ];
        let mut all: Vec<Entity> = [EntityKind::Address, EntityKind::Process]
            .into_iter()
            .flat_map(|kind| ids.map(|id| Entity::new(kind, id.to_owned())))
            .collect();
        all.sort();
        assert!(all.is_sorted_by(|x, y| x.beginning() <= y.beginning()));
    }
}

//! Which packets belong to whom an alert is about.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::alert::{Alert, EntityKind};
use crate::input::Frame;
use crate::packet::key::from_ip;
use crate::packet::{Address, Decoder, Facts, IpVersion, Mac, Verdict};

/// Chooses the packets of an entity: an address or a prefix at either end, of
/// the flow or of a tunnel around it; a MAC that sends or receives. An entity
/// without a place in packets (a process) is sought by its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Addresses(Vec<(IpVersion, Address)>),
    Prefix(IpNet),
    /// Of frames without MAC where there is none.
    Station {
        mac: Option<Mac>,
        vlan: u16,
        vni: u32,
    },
}

/// A decoded frame, to be held against several selectors.
#[derive(Debug, Default)]
pub struct Sight {
    decoder: Decoder,
    facts: Facts,
    is_ip: bool,
}

impl Selector {
    /// Of an alert as it was raised; nothing when it names nobody.
    pub fn of(alert: &Alert) -> Option<Self> {
        let peers = alert.peers.iter().map(|peer| peer.address);
        let kind = match alert.entity.kind {
            EntityKind::Address => "address",
            EntityKind::Prefix => "prefix",
            EntityKind::Mac => "mac",
            _ => "",
        };
        Self::named(kind, &alert.entity.id, peers)
    }

    /// Of the kind and id of an entity as they stand in an alert's record.
    pub fn named(kind: &str, id: &str, peers: impl Iterator<Item = IpAddr>) -> Option<Self> {
        match kind {
            "address" => Some(Self::Addresses(vec![from_ip(id.parse().ok()?)])),
            "prefix" => Some(Self::Prefix(id.parse().ok()?)),
            "mac" => Self::station(id),
            _ => {
                let peers: Vec<_> = peers.map(from_ip).collect();
                (!peers.is_empty()).then_some(Self::Addresses(peers))
            }
        }
    }

    /// `02:00:00:00:00:05@vlan7@vni4096`; see [`crate::alert::Entity::station`].
    fn station(id: &str) -> Option<Self> {
        let mut parts = id.split('@');
        let mac = match parts.next()? {
            "unknown" => None,
            text => {
                let octets: Option<Vec<u8>> =
                    text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
                Some(Mac::try_from(octets?).ok()?)
            }
        };
        let (mut vlan, mut vni) = (0, 0);
        for part in parts {
            if let Some(text) = part.strip_prefix("vlan") {
                vlan = text.parse().ok()?;
            } else {
                let number: u32 = part.strip_prefix("vni")?.parse().ok()?;
                vni = number.checked_add(1)?;
            }
        }
        Some(Self::Station { mac, vlan, vni })
    }

    /// True when the frame that was looked at is one of the entity.
    pub fn chooses(&self, sight: &Sight) -> bool {
        match self {
            Self::Addresses(wanted) => sight.has_end(|version, address| {
                wanted.iter().any(|(v, a)| *v == version && a == address)
            }),
            Self::Prefix(net) => sight.has_end(|version, address| {
                net.contains(&crate::packet::key::to_ip(version, address))
            }),
            Self::Station { mac, vlan, vni } => {
                let facts = &sight.facts;
                let ours = match mac {
                    Some(mac) => {
                        facts.has_mac && ([facts.macs.src(), facts.macs.dst()].contains(mac))
                    }
                    None => !facts.has_mac,
                };
                let in_vni = if sight.is_ip { facts.key.vni } else { 0 };
                ours && facts.row.innermost_vlan() == *vlan && in_vni == *vni
            }
        }
    }
}

impl Sight {
    /// Looks at a frame.
    pub fn look(&mut self, frame: &Frame, data: &[u8]) {
        let verdict = self.decoder.decode(frame.link, data, frame.wire_bytes, &mut self.facts);
        self.is_ip = verdict == Verdict::Flow;
    }

    fn has_end(&self, wanted: impl Fn(IpVersion, &Address) -> bool) -> bool {
        if !self.is_ip {
            return false;
        }
        let key = &self.facts.key;
        wanted(key.version, &key.a)
            || wanted(key.version, &key.b)
            || self.facts.tunnels.as_slice().iter().any(|tunnel| {
                wanted(tunnel.version, &tunnel.outer_src)
                    || wanted(tunnel.version, &tunnel.outer_dst)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Entity;
    use crate::engine::window::Station;

    #[test]
    fn a_station_is_read_back_from_its_name() {
        let mac = [2, 0, 0, 0xab, 0, 5];
        for (mac, vlan, vni) in
            [(Some(mac), 0, 0), (Some(mac), 7, 0), (Some(mac), 7, 4097), (None, 0, 1), (None, 0, 0)]
        {
            let entity = Entity::station(&Station { mac, vlan, vni });
            let selector = Selector::named("mac", &entity.id, std::iter::empty());
            assert_eq!(selector, Some(Selector::Station { mac, vlan, vni }), "{}", entity.id);
        }
    }

    #[test]
    fn names_that_mean_nobody_choose_nothing() {
        for (kind, id) in [
            ("address", "10.0.0"),
            ("prefix", "10.0.0.0/33"),
            ("mac", "02:00:00:00:00"),
            ("mac", "02:00:00:00:00:05@vnix"),
            ("mac", "02:00:00:00:00:05@vni4294967295"),
            ("process", "1:2:3"),
        ] {
            assert_eq!(Selector::named(kind, id, std::iter::empty()), None, "{kind} {id}");
        }
    }
}

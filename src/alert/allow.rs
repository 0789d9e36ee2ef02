//! What an operator has allowed: alerts that are counted instead of raised.
//!
//! An [`AllowEntry`] names a detector, an entity, why, by whom and until when, and where to if
//! that is to matter ([`Towards`]); it may have bounds in packets/s and bytes a minute, beyond which the alert is
//! raised after all and says so. So it is where nobody knows how much it was (a chain of
//! stages has no volume): what can't be held against a bound is not within it. Judged in
//! the alert book, where an alert would open: packets,
//! flows and findings are never touched. An entry ends by the stream's time,
//! never by the wall clock, so that a capture gives the same alerts whenever it
//! is read. An alert that is open when an entry is taken over that covers it is closed,
//! and says by whose leave; beyond the entry's bounds it goes on, and says that. One that
//! is beyond an entry goes on to its end, however little it becomes. Start at
//! [`Allowances::judge`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::open::Open;
use super::towards::{Named, Towards, net_text};
use super::{Entity, EntityKind, second_ns};
use crate::detect::Finding;
use crate::host::inventory::Inventory;
use crate::time::rfc3339;

/// Names that an alert's `detector` can have.
pub const DETECTORS: [&str; 41] = [
    "arp_sweep",
    "beacon",
    "broadcast_storm",
    "carpet_bombing",
    "chain",
    "connection_flood",
    "connection_rate",
    "counter_increase",
    "data_ratio",
    "dns_tunnel",
    "dormant_active",
    "egress",
    "fragment_flood",
    "gre_flood",
    "held_open",
    "host_scan",
    "icmp_flood",
    "icmp_tunnel",
    "ip_flood",
    "multicast_storm",
    "non_ip_storm",
    "non_networking",
    "payload_shift",
    "ping_sweep",
    "port_scan",
    "protocol_scan",
    "reflection",
    "reflector",
    "relay",
    "request_flood",
    "sender_flood",
    "sensor_loss",
    "tcp_ack_flood",
    "tcp_data_flood",
    "tcp_fin_flood",
    "tcp_odd_flood",
    "tcp_rst_flood",
    "tcp_syn_flood",
    "tcp_synack_flood",
    "tool_flood",
    "udp_flood",
];

/// Entities of one entry whose suppressed alerts are told apart at a time; the
/// book's default for open alerts.
const FOLLOWED_ENTITIES: usize = 1_024;

/// Entries that are no longer configured but have counts for the summary.
const KEPT_FORMER: usize = 1_024;

/// One thing that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    /// One of [`DETECTORS`]; nothing for any.
    pub detector: Option<String>,
    pub entity: AllowedEntity,
    pub towards: Towards,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// From here on, in the stream's time, it is not in force.
    pub expires_ns: i64,
    /// Beyond either the alert is raised.
    pub max_packets_per_s: Option<u64>,
    pub max_bytes_per_minute: Option<u64>,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedEntity {
    /// Addresses and prefixes inside of this one.
    Net(IpNet),
    /// A station as an alert names it; without VLAN and VNI, in any.
    Mac(String),
    /// An interface of the sensor.
    Interface(String),
    /// An instance by its id, as well where an address of it, a prefix that is all its own or its host is meant; a workload by its id or stable name, a process by its
    /// name or executable.
    Named(EntityKind, String),
}

const NAMED: [(&str, EntityKind); 3] = [
    ("instance:", EntityKind::Instance),
    ("workload:", EntityKind::Workload),
    ("process:", EntityKind::Process),
];

impl FromStr for AllowedEntity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `sensor:` is how an alert names it.
        let interface = text.strip_prefix("interface:").or_else(|| text.strip_prefix("sensor:"));
        if let Some(name) = interface {
            return if name.is_empty() {
                Err(format!("'{text}' names no interface: try interface:eth0"))
            } else {
                Ok(Self::Interface(name.to_owned()))
            };
        }
        for (prefix, kind) in NAMED {
            match text.strip_prefix(prefix) {
                Some("") => return Err(format!("'{text}' names no {}", kind.name())),
                Some(name) => return Ok(Self::Named(kind, name.to_owned())),
                None => {}
            }
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        if is_station(text) {
            return Ok(Self::Mac(text.to_ascii_lowercase()));
        }
        Err(format!(
            "'{text}' is neither an address (192.0.2.1), a prefix (10.0.0.0/8), a MAC \
             (02:00:00:00:00:01), an interface (interface:eth0) nor an instance:, workload: or \
             process: with its name"
        ))
    }
}

/// `02:00:00:00:00:01`, and `@vlan10` or `@vni5` after it.
fn is_station(text: &str) -> bool {
    let mut parts = text.split('@');
    let octets: Vec<&str> = parts.next().unwrap_or_default().split(':').collect();
    let is_octet =
        |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    octets.len() == 6
        && octets.iter().all(is_octet)
        && parts.all(|part| {
            let number = part.strip_prefix("vlan").or_else(|| part.strip_prefix("vni"));
            number.is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
}

impl std::fmt::Display for AllowedEntity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(net) => f.write_str(&net_text(net)),
            Self::Mac(id) => f.write_str(id),
            Self::Interface(name) => write!(f, "interface:{name}"),
            Self::Named(kind, name) => write!(f, "{}:{name}", kind.name()),
        }
    }
}

impl AllowedEntity {
    /// Detectors of windows know addresses alone: whose they are says the inventory.
    fn covers(&self, entity: &Entity, inventory: Option<&Inventory>) -> bool {
        match (self, entity.kind) {
            (Self::Net(net), EntityKind::Address) => {
                entity.id.parse::<IpAddr>().is_ok_and(|address| net.contains(&address))
            }
            (Self::Net(net), EntityKind::Prefix) => {
                entity.id.parse::<IpNet>().is_ok_and(|prefix| net.contains(&prefix))
            }
            (Self::Mac(id), EntityKind::Mac) => {
                let bare = entity.id.split('@').next().unwrap_or_default();
                entity.id == *id || bare == id
            }
            (Self::Interface(name), EntityKind::Host) => {
                entity.id.strip_prefix("sensor:").is_some_and(|found| found == name)
            }
            (
                Self::Named(EntityKind::Instance, id),
                found @ (EntityKind::Address | EntityKind::Host | EntityKind::Prefix),
            ) => {
                let instance = inventory.and_then(|inventory| match found {
                    EntityKind::Host => inventory.by_host(&entity.id),
                    EntityKind::Prefix => {
                        let prefix: IpNet = entity.id.parse().ok()?;
                        // Nearly always the first address says that it is not.
                        let first = inventory.by_address(prefix.network());
                        first.filter(|first| first.id == *id)?;
                        inventory.by_prefix(prefix)
                    }
                    _ => inventory.by_address(entity.id.parse().ok()?),
                });
                instance.is_some_and(|instance| instance.id == *id)
            }
            (Self::Named(kind, name), found) if *kind == found => {
                let labels = ["name", "exe"].map(|label| entity.labels.get(label));
                entity.id == *name || labels.contains(&Some(name))
            }
            _ => false,
        }
    }
}

impl AllowEntry {
    /// Whether it was over at this time.
    pub fn has_expired(&self, at_ns: i64) -> bool {
        at_ns >= self.expires_ns
    }

    /// Whether it is about the same and, in that second, in force.
    fn covers_at(&self, finding: &Finding, second: i64, inventory: Option<&Inventory>) -> bool {
        !self.has_expired(second_ns(second))
            && self.detector.as_ref().is_none_or(|name| name == finding.detector)
            && (self.entity.covers(&finding.entity, inventory) || self.covers_name(finding))
            && (self.towards.is_anywhere() || self.towards.holds(&Named::of(finding)))
    }

    /// The name that stays over restarts is that of the baseline.
    fn covers_name(&self, finding: &Finding) -> bool {
        let key = finding.case.as_ref().and_then(|case| case.baseline_key.as_deref());
        matches!(&self.entity, AllowedEntity::Named(kind, name)
            if key.and_then(|key| key.strip_prefix(kind.name())?.strip_prefix(':'))
                == Some(name.as_str()))
    }

    fn allows(&self, volume: Volume) -> bool {
        let within = |most: Option<u64>, found: Option<u64>| {
            most.is_none_or(|most| found.is_some_and(|found| found <= most))
        };
        within(self.max_packets_per_s, volume.packets_per_s)
            && within(self.max_bytes_per_minute, volume.bytes_per_minute)
    }

    fn has_bounds(&self) -> bool {
        self.max_packets_per_s.is_some() || self.max_bytes_per_minute.is_some()
    }

    /// What it allows, to compare.
    fn bounds(&self) -> (u64, u64) {
        let bound = |most: Option<u64>| most.unwrap_or(u64::MAX);
        (bound(self.max_packets_per_s), bound(self.max_bytes_per_minute))
    }
}

/// How much a finding is about, as far as its detector knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub packets_per_s: Option<u64>,
    pub bytes_per_minute: Option<u64>,
}

impl Volume {
    pub(super) fn of(finding: &Finding) -> Self {
        let packets_per_s = match finding.case {
            // Of a minute or more.
            Some(_) => finding.packets_per_s(),
            None => Some(finding.traffic.packets),
        };
        Self { packets_per_s, bytes_per_minute: finding.bytes_per_minute() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sum = |known: Option<u64>, more: Option<u64>| match (known, more) {
            (Some(known), Some(more)) => Some(known.saturating_add(more)),
            // What has none may be anything.
            _ => None,
        };
        self.packets_per_s = sum(self.packets_per_s, other.packets_per_s);
        self.bytes_per_minute = sum(self.bytes_per_minute, other.bytes_per_minute);
    }
}

/// What an entry kept from being raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllowCount {
    pub detector: String,
    pub entity: String,
    /// Where to; empty for anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<u16>,
    pub reason: String,
    pub owner: String,
    pub expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packets_per_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_minute: Option<u64>,
    /// Alerts that would have been raised.
    pub suppressed: u64,
    /// Seconds of them.
    pub suppressed_windows: u64,
}

/// What is to become of a finding that would open an alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    NotListed,
    /// Within this entry, which is in force; counted there.
    Suppressed(AllowEntry),
    /// Not within any entry that covers it; this one allows the most.
    Beyond(Bound),
}

/// What entries that were taken over make of an alert that is open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// It is over.
    Allowed(AllowEntry),
    Beyond(Bound),
}

/// An entry, and whether its bounds could be held against how much it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub entry: AllowEntry,
    pub volume_known: bool,
}

impl Bound {
    fn of(entry: &AllowEntry, volume: Volume) -> Self {
        let volume_known = (entry.max_packets_per_s.is_none() || volume.packets_per_s.is_some())
            && (entry.max_bytes_per_minute.is_none() || volume.bytes_per_minute.is_some());
        Self { entry: entry.clone(), volume_known }
    }
}

/// The entries of a run, with their counts.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    /// Times that entries were taken over.
    generation: u64,
    listed: Vec<Listed>,
    /// Of an earlier configuration, with counts.
    former: Vec<Listed>,
    inventory: Option<Arc<Inventory>>,
}

#[derive(Debug)]
struct Listed {
    entry: AllowEntry,
    /// That of the list when it came into it; none of an earlier configuration.
    generation: Option<u64>,
    suppressed: u64,
    windows: u64,
    /// Last second of what is being suppressed, and how much longer than others it may pause.
    current: BTreeMap<(&'static str, String), (i64, i64)>,
}

impl Allowances {
    pub(super) fn new(entries: &[AllowEntry]) -> Self {
        let mut allowances = Self::default();
        allowances.replace(entries);
        allowances
    }

    /// Other entries from here on; those that stay keep their counts.
    pub(super) fn replace(&mut self, entries: &[AllowEntry]) {
        let mut known = std::mem::take(&mut self.former);
        known.append(&mut self.listed);
        self.generation += 1;
        for entry in entries {
            let at = known.iter().position(|listed| listed.entry == *entry);
            let mut listed = at.map(|at| known.remove(at)).unwrap_or_else(|| Listed {
                entry: entry.clone(),
                generation: None,
                suppressed: 0,
                windows: 0,
                current: BTreeMap::new(),
            });
            listed.generation.get_or_insert(self.generation);
            self.listed.push(listed);
        }
        for listed in &mut known {
            listed.generation = None;
        }
        known.retain(|listed| listed.windows > 0);
        let over = known.len().saturating_sub(KEPT_FORMER);
        known.drain(..over);
        self.former = known;
    }

    /// Whose addresses are whose from here on.
    pub(super) fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.inventory = Some(inventory);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// For [`Open::seen_entries`]: what came up to now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// What entries that it has not seen say, in this second, of an alert that was open
    /// before them, and of a finding that goes on with it. Without a volume those without
    /// bounds alone are asked.
    pub(super) fn news(
        &self,
        open: &Open,
        finding: &Finding,
        second: i64,
        volume: Option<Volume>,
    ) -> News {
        let mut beyond: Option<&AllowEntry> = None;
        for listed in &self.listed {
            let entry = &listed.entry;
            if listed.generation.is_none_or(|came| came <= open.seen_entries)
                || !entry.covers_at(finding, second, self.inventory.as_deref())
                || !entry.towards.holds(&open.named)
            {
                continue;
            }
            let is_within = match volume {
                Some(volume) => entry.allows(volume),
                None => !entry.has_bounds(),
            };
            if is_within {
                return News::Allowed(entry.clone());
            }
            if beyond.is_none_or(|known| known.bounds() < entry.bounds()) {
                beyond = Some(entry);
            }
        }
        match (beyond, volume) {
            (Some(entry), Some(volume)) => News::Beyond(Bound::of(entry, volume)),
            _ => News::Nothing,
        }
    }

    /// Decides on a finding that would open an alert. `volume` is that of its time,
    /// over all that the alert would be seen at.
    pub(super) fn judge(
        &mut self,
        finding: &Finding,
        volume: Volume,
        quiet_time_s: u64,
    ) -> Verdict {
        let mut beyond: Option<&AllowEntry> = None;
        let (at, inventory) = (finding.second, self.inventory.as_deref());
        let covers = |listed: &&mut Listed| listed.entry.covers_at(finding, at, inventory);
        for listed in self.listed.iter_mut().filter(covers) {
            if listed.entry.allows(volume) {
                listed.count(finding, quiet_time_s);
                return Verdict::Suppressed(listed.entry.clone());
            }
            if beyond.is_none_or(|entry| entry.bounds() < listed.entry.bounds()) {
                beyond = Some(&listed.entry);
            }
        }
        beyond.map_or(Verdict::NotListed, |entry| Verdict::Beyond(Bound::of(entry, volume)))
    }

    /// The first entry in force that covers it, in words.
    pub(super) fn covering(&self, finding: &Finding) -> Option<String> {
        let mut entries = self.listed.iter().map(|listed| &listed.entry);
        let (at, inventory) = (finding.second, self.inventory.as_deref());
        let entry = entries.find(|entry| entry.covers_at(finding, at, inventory))?;
        let up_to = |most: Option<u64>, unit: &str| {
            most.map_or_else(String::new, |most| format!(", up to {most} {unit}"))
        };
        let most = up_to(entry.max_packets_per_s, "packets/s")
            + &up_to(entry.max_bytes_per_minute, "bytes/minute");
        Some(format!(
            "{} (by {}{}{most}, until {})",
            entry.reason,
            entry.owner,
            entry.towards,
            rfc3339(entry.expires_ns)
        ))
    }

    /// Of each entry, in the order of the file; then those of earlier files.
    pub(super) fn counts(&self) -> Vec<AllowCount> {
        self.listed.iter().chain(&self.former).map(Listed::counts).collect()
    }
}

impl Listed {
    fn count(&mut self, finding: &Finding, quiet_time_s: u64) {
        self.windows += 1;
        let quiet_s = i64::try_from(quiet_time_s).unwrap_or(i64::MAX);
        let goes_on = |&(last, more_s): &(i64, i64)| {
            finding.second.saturating_sub(last) <= quiet_s.saturating_add(more_s)
        };
        let more_s = finding.case.as_ref().map_or(0, |case| case.quiet_s);
        let key = (finding.detector, finding.entity.id.clone());
        if let Some(current) = self.current.get_mut(&key) {
            self.suppressed += u64::from(!goes_on(current));
            *current = (finding.second.max(current.0), more_s.max(current.1));
            return;
        }
        self.suppressed += 1;
        if self.current.len() >= FOLLOWED_ENTITIES {
            self.current.retain(|_, current| goes_on(current));
        }
        if self.current.len() < FOLLOWED_ENTITIES {
            self.current.insert(key, (finding.second, more_s));
        }
    }

    fn counts(&self) -> AllowCount {
        let entry = &self.entry;
        AllowCount {
            detector: entry.detector.clone().unwrap_or_else(|| "any".to_owned()),
            entity: entry.entity.to_string(),
            peer: entry.towards.peer_texts(),
            port: entry.towards.ports.clone(),
            reason: entry.reason.clone(),
            owner: entry.owner.clone(),
            expires: rfc3339(entry.expires_ns),
            max_packets_per_s: entry.max_packets_per_s,
            max_bytes_per_minute: entry.max_bytes_per_minute,
            suppressed: self.suppressed,
            suppressed_windows: self.windows,
        }
    }
}

/// As it stands in an alert that went beyond it.
pub(super) fn beyond_detail(bound: &Bound) -> Value {
    let mut detail = entry_detail(&bound.entry);
    detail["volume_known"] = bound.volume_known.into();
    detail
}

/// As it stands in an alert that it closed.
pub(super) fn entry_detail(entry: &AllowEntry) -> Value {
    let mut detail = json!({
        "max_packets_per_s": entry.max_packets_per_s,
        "max_bytes_per_minute": entry.max_bytes_per_minute,
        "reason": entry.reason,
        "owner": entry.owner,
        "expires": rfc3339(entry.expires_ns),
    });
    if !entry.towards.peers.is_empty() {
        detail["peer"] = entry.towards.peer_texts().into();
    }
    if !entry.towards.ports.is_empty() {
        detail["port"] = entry.towards.ports.clone().into();
    }
    detail
}

#[cfg(test)]
#[path = "allow_tests.rs"]
mod tests;

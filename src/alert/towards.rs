//! Where to an entry allows: peers and ports, held against those that an alert names.
//!
//! An alert is within only if it says where all of it went, and all of that is within:
//! what somebody allows to one place must not hide what goes to another.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::detect::{Finding, PeerRole, Shape};

/// Peers and ports of an alert that are told apart; more than any entry lists by hand.
const MOST: usize = 256;

/// Share of the packets from which on the port that most of them have is that of all: the
/// share from which on a flood is from one to one.
pub(crate) const ALL_AT_ONE_PORT: f64 = 0.9;

/// Destinations that an entry is about; without any, whatever they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Towards {
    pub peers: Vec<IpNet>,
    /// From 1.
    pub ports: Vec<u16>,
}

impl Towards {
    pub(super) fn is_anywhere(&self) -> bool {
        self.peers.is_empty() && self.ports.is_empty()
    }

    pub(super) fn holds(&self, named: &Named) -> bool {
        let peer = |peer: &IpAddr| self.peers.iter().any(|net| net.contains(peer));
        (self.peers.is_empty() || named.peers.all(peer))
            && (self.ports.is_empty() || named.ports.all(|port| self.ports.contains(port)))
    }

    /// As the configuration file has them.
    pub(crate) fn peer_texts(&self) -> Vec<String> {
        self.peers.iter().map(net_text).collect()
    }
}

impl Display for Towards {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&towards_words(&self.peer_texts(), &self.ports))
    }
}

/// Behind `192.0.2.1`; nothing where it is anywhere.
pub(crate) fn towards_words(peers: &[String], ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let words = |before: &str, texts: &[String]| match texts.is_empty() {
        true => String::new(),
        false => format!(" {before} {}", texts.join(", ")),
    };
    words("towards", peers) + &words("at port", &ports)
}

/// An address without its length.
pub(super) fn net_text(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

/// Destinations that an alert names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) peers: Places<IpAddr>,
    pub(super) ports: Places<u16>,
}

/// Destinations of one sort, and whether they are all.
#[derive(Clone, Debug)]
pub(super) struct Places<T> {
    found: BTreeSet<T>,
    are_all: bool,
}

impl<T: Ord> Places<T> {
    fn new(found: BTreeSet<T>, are_all: bool) -> Self {
        let are_all = are_all && !found.is_empty() && found.len() <= MOST;
        Self { found: if are_all { found } else { BTreeSet::new() }, are_all }
    }

    fn add(&mut self, more: Self) {
        let mut found = std::mem::take(&mut self.found);
        found.extend(more.found);
        *self = Self::new(found, self.are_all && more.are_all);
    }

    fn all(&self, holds: impl Fn(&T) -> bool) -> bool {
        self.are_all && self.found.iter().all(holds)
    }

    /// All of them; nothing where others are not known.
    pub(super) fn known(&self) -> Option<&BTreeSet<T>> {
        self.are_all.then_some(&self.found)
    }
}

impl Named {
    pub(super) fn of(finding: &Finding) -> Self {
        // Whom the alert is about is no peer of itself.
        let own = finding.entity.id.parse::<IpAddr>().ok();
        let to = finding.peers.iter().filter(|peer| peer.role == PeerRole::Destination);
        let to = to.map(|peer| peer.host.ip()).filter(|&ip| Some(ip) != own);
        let mut to: BTreeSet<IpAddr> = to.collect();
        let are_all = finding.names_all_peers.unwrap_or_else(|| {
            // One that sends to many, and does not count them, names the largest.
            let is_counted = finding.shape != Shape::OneToMany || finding.destinations > 1;
            is_counted && finding.destinations <= to.len() as u64
        });
        let are_all = are_all || !finding.to_peers.is_empty();
        if !finding.to_peers.is_empty() {
            to = finding.to_peers.iter().map(|host| host.ip()).collect();
        }
        let ports = match finding.dst_port {
            _ if !finding.to_ports.is_empty() => finding.to_ports.iter().copied().collect(),
            Some(most) if most.share >= ALL_AT_ONE_PORT => BTreeSet::from([most.port]),
            _ => BTreeSet::new(),
        };
        Self { peers: Places::new(to, are_all), ports: Places::new(ports, true) }
    }

    /// What the same alert names later.
    pub(super) fn add(&mut self, more: Self) {
        self.peers.add(more.peers);
        self.ports.add(more.ports);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{AlertBook, AllowEntry, Entity, Update};
    use crate::detect::{DetectSettings, Family, Peer, PortShare, Rule, Subject, Telemetry};
    use crate::engine::window::Host;

    const BACKUP: [u8; 4] = [10, 0, 0, 1];
    const STORE: [u8; 4] = [192, 0, 2, 5];
    const OTHER: [u8; 4] = [192, 0, 2, 99];

    fn host(address: [u8; 4]) -> Host {
        IpAddr::from(address).into()
    }

    /// What the backup server sends, to these and at these ports, as a minute names them.
    fn sent(to: &[[u8; 4]], ports: &[u16]) -> Finding {
        let peer = |&to: &[u8; 4]| Peer {
            host: host(to),
            role: PeerRole::Destination,
            packets: Some(100),
            wire_bytes: Some(100_000),
        };
        let (subject, entity) = (Subject::Sender(host(BACKUP)), Entity::address(&host(BACKUP)));
        let mut finding = Finding::new("egress", Family::Udp, 1, subject, entity, Rule::NONE);
        finding.opens = true;
        finding.traffic.packets = 100;
        finding.peers = to.iter().map(peer).collect();
        finding.names_all_peers = Some(true);
        finding.to_ports = ports.to_vec();
        finding
    }

    fn entry(peers: &[&str], ports: &[u16]) -> AllowEntry {
        AllowEntry {
            detector: None,
            entity: "10.0.0.1".parse().unwrap(),
            towards: Towards {
                peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
                ports: ports.to_vec(),
            },
            reason: "backup".to_owned(),
            owner: "ops".to_owned(),
            expires_ns: i64::MAX,
            max_packets_per_s: None,
            max_bytes_per_minute: None,
        }
    }

    fn is_covered(finding: &Finding, peers: &[&str], ports: &[u16]) -> bool {
        entry(peers, ports).towards.holds(&Named::of(finding))
    }

    #[test]
    fn an_entry_for_some_peers_covers_what_goes_to_them_alone() {
        let store = ["192.0.2.5/32"];
        assert!(is_covered(&sent(&[STORE], &[]), &store, &[]));
        assert!(!is_covered(&sent(&[OTHER], &[]), &store, &[]));
        assert!(!is_covered(&sent(&[STORE, OTHER], &[]), &store, &[]), "one of them is not");
        assert!(is_covered(&sent(&[STORE, OTHER], &[]), &["192.0.2.0/24"], &[]));
        let both = ["192.0.2.5/32", "192.0.2.99/32"];
        assert!(is_covered(&sent(&[STORE, OTHER], &[]), &both, &[]));
    }

    #[test]
    fn what_names_no_peers_or_not_all_of_them_is_not_towards_any() {
        let anybody = ["0.0.0.0/0"];
        assert!(!is_covered(&sent(&[], &[]), &anybody, &[]));
        assert!(is_covered(&sent(&[], &[]), &[], &[]));
        // An attacked entity has sources, and is its own destination.
        let mut attacked = sent(&[BACKUP, STORE], &[]);
        attacked.peers[1].role = PeerRole::Source;
        assert!(!is_covered(&attacked, &anybody, &[]));
        let mut some = sent(&[STORE], &[]);
        some.names_all_peers = Some(false);
        assert!(!is_covered(&some, &anybody, &[]));
        // Where they are counted, by their number; where not, by whether they are many.
        for (shape, destinations, covered) in
            [(Shape::OneToOne, 1, true), (Shape::OneToMany, 1, false), (Shape::OneToMany, 2, false)]
        {
            let counted = Finding { names_all_peers: None, shape, destinations, ..some.clone() };
            assert_eq!(is_covered(&counted, &anybody, &[]), covered, "{shape:?} {destinations}");
        }
    }

    #[test]
    fn an_entry_for_some_ports_covers_what_goes_to_them_alone() {
        assert!(is_covered(&sent(&[STORE], &[443]), &[], &[443]));
        assert!(!is_covered(&sent(&[STORE], &[444]), &[], &[443]));
        assert!(!is_covered(&sent(&[STORE], &[443, 444]), &[], &[443]));
        assert!(is_covered(&sent(&[STORE], &[443, 444]), &["192.0.2.5/32"], &[443, 444]));
        assert!(!is_covered(&sent(&[OTHER], &[443]), &["192.0.2.5/32"], &[443]));
        assert!(!is_covered(&sent(&[STORE], &[]), &[], &[443]), "no port is named");
        // Of a window's packets the port that most share is known.
        for (share, covered) in [(0.95, true), (0.6, false)] {
            let mut flood = sent(&[STORE], &[]);
            flood.dst_port = Some(PortShare { port: 443, share });
            assert_eq!(is_covered(&flood, &[], &[443]), covered, "{share}");
        }
    }

    /// What is told of a second of it by the book.
    fn told(book: &mut AlertBook, second: i64, to: &[[u8; 4]]) -> Vec<Update> {
        let finding = Finding { second, start_second: second, ..sent(to, &[443]) };
        let settings = DetectSettings::default();
        book.record(second, &mut vec![finding], &Telemetry::default(), &settings);
        book.take_updates()
    }

    fn with(entries: Vec<AllowEntry>) -> DetectSettings {
        DetectSettings { allow: entries, ..DetectSettings::default() }
    }

    /// A backup server asks for names too.
    #[test]
    fn of_a_minute_of_egress_those_count_that_much_went_to() {
        let mut minute = sent(&[STORE, OTHER], &[443]);
        minute.to_peers = vec![host(STORE)];
        assert!(is_covered(&minute, &["192.0.2.5/32"], &[443]));
        minute.to_peers.push(host(OTHER));
        assert!(!is_covered(&minute, &["192.0.2.5/32"], &[443]));
    }

    #[test]
    fn what_is_allowed_to_one_peer_alerts_as_soon_as_another_is_among_them() {
        let entry = entry(&["192.0.2.5/32"], &[443]);
        let mut book = AlertBook::new(&with(vec![entry]));
        assert_eq!(told(&mut book, 1, &[STORE]), []);
        let update = &told(&mut book, 2, &[STORE, OTHER])[0];
        assert_eq!(update.alert.evidence.details["destination_ports"], serde_json::json!([443]));
        let count = &book.allowed()[0];
        assert_eq!((&*count.peer, &*count.port), (&["192.0.2.5".to_owned()][..], &[443][..]));
        assert_eq!(count.suppressed, 1);
        let allowed = &book.take_allowed_alerts()[0].evidence.details["allowed_by"];
        assert_eq!(allowed["peer"], serde_json::json!(["192.0.2.5"]));
        assert_eq!(allowed["port"], serde_json::json!([443]));
    }

    #[test]
    fn an_open_alert_is_closed_by_an_entry_for_all_its_peers_and_not_for_the_last() {
        let mut book = AlertBook::new(&with(Vec::new()));
        assert_eq!(told(&mut book, 1, &[OTHER]).len(), 1);
        told(&mut book, 2, &[STORE]);
        book.set_settings(&with(vec![entry(&["192.0.2.5/32"], &[])]));
        assert!(told(&mut book, 3, &[STORE]).iter().all(|update| !update.closed));
        book.set_settings(&with(vec![entry(&["192.0.2.0/24"], &[])]));
        assert!(told(&mut book, 4, &[STORE])[0].closed);
    }
}

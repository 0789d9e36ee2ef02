//! What a finding keeps from being learned: METHODS 8, "windows under alert do not train".
//!
//! An alert is about one entity, and its traffic counts for others: a process's for its
//! workload and for the address or instance that it is seen at; an address's for whatever
//! runs there, and nobody knows which of it. A flood is no more normal for whom it goes to
//! than for who sends it, so its victims at home are held back too. A scan's targets are
//! not: somebody always scans, and what a probe leaves in a minute is little.
//!
//! Left out: a process that is found guilty does not hold back others at its address, and
//! of an instance with several addresses the one that sends most is its.
//!
//! Bounded: of [`MOST_SEEN`] baselines it is remembered where they were seen; past it all
//! are forgotten, and learned again with the next minute.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;

use super::{DetectSettings, Direction, Family, Finding, PeerRole, Subject};
use crate::alert::{Case, EntityKind, Severity};
use crate::baseline::Freeze;
use crate::engine::window::Host;
use crate::entity::{Minute, Who};

/// Twice the entities of a minute, about 100 bytes each.
const MOST_SEEN: usize = 32_768;

#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// Addresses of processes, workloads and instances in their last minutes.
    seen_at: HashMap<Arc<str>, Host>,
}

/// Of one finding, by which its alert is found.
#[derive(Debug)]
pub(super) struct Held {
    pub family: Family,
    pub subject: Subject,
    /// Nobody is told of it unless it goes beyond what is allowed.
    pub is_allowed: bool,
    pub freeze: Freeze,
}

impl Quarantine {
    pub(super) fn note(&mut self, minute: &Minute) {
        let Some((own, _)) = minute.measures.own else { return };
        if minute.who.entity.kind == EntityKind::Address {
            return;
        }
        if self.seen_at.len() >= MOST_SEEN && !self.seen_at.contains_key(&minute.who.baseline) {
            self.seen_at.clear();
        }
        self.seen_at.insert(Arc::clone(&minute.who.baseline), own);
    }

    /// Nothing where it opens no alert, or an informational one: that may be tonight's
    /// backup, which is to become normal.
    pub(super) fn of(&self, finding: &Finding, settings: &DetectSettings) -> Option<Freeze> {
        if !finding.opens {
            return None;
        }
        match finding.case.as_deref() {
            Some(case) if case.severity > Severity::Informational => {
                Some(self.of_case(finding, case, settings))
            }
            Some(_) => None,
            None => of_window(finding, settings),
        }
    }

    fn of_case(&self, finding: &Finding, case: &Case, settings: &DetectSettings) -> Freeze {
        let cause = case.baseline_key.clone().unwrap_or_else(|| cause_of(finding));
        let workload = case.workload.as_ref().map(|workload| Who::workload(workload).baseline);
        let instance = case.instance.as_ref().map(|instance| Who::instance(instance).baseline);
        let mut keys = case.same_traffic.clone();
        keys.extend(workload.into_iter().chain(instance));
        keys.retain(|key| *key != cause);
        let sender = finding.act.as_ref().map(|act| act.from);
        let own = sender.or_else(|| self.seen_at.get(&cause).copied());
        let named = keys.iter().chain([&cause]).filter_map(|key| address_of(key));
        let mut addresses: Vec<Host> = named.chain(own).chain(entity_address(finding)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let all = !matches!(finding.entity.kind, EntityKind::Process | EntityKind::Workload);
        // As long as its alert is open: a verdict on it is forgotten with this.
        let until_s = finding.second.saturating_add(case.quiet_s).saturating_add(quiet_s(settings));
        Freeze { cause, alert: None, keys, addresses, all, until_s }
    }
}

/// Who at home takes part in what a detector of windows found.
fn of_window(finding: &Finding, settings: &DetectSettings) -> Option<Freeze> {
    let mut addresses: Vec<Host> = entity_address(finding).into_iter().collect();
    match finding.family {
        Family::Sensor | Family::Link => return None,
        Family::Scan => {}
        _ => {
            if let Subject::Host(host) | Subject::Sender(host) = finding.subject {
                addresses.push(host);
            }
            let from_home = matches!(finding.direction, Direction::Outbound | Direction::Internal);
            // Members of a sample may be anybody.
            let peers = finding.peers.iter().filter(|peer| peer.packets.is_some());
            let peers = peers.filter(|peer| peer.role == PeerRole::Destination || from_home);
            addresses.extend(peers.map(|peer| peer.host));
        }
    }
    addresses.retain(|host| settings.home_nets.contains(host));
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return None;
    }
    Some(Freeze {
        cause: cause_of(finding),
        alert: None,
        keys: Vec::new(),
        addresses,
        all: true,
        until_s: finding.second.saturating_add(quiet_s(settings)),
    })
}

fn quiet_s(settings: &DetectSettings) -> i64 {
    i64::try_from(settings.quiet_time_s).unwrap_or(i64::MAX)
}

/// As a verdict on its alert names it.
fn cause_of(finding: &Finding) -> Arc<str> {
    finding.entity.baseline_name().into()
}

fn entity_address(finding: &Finding) -> Option<Host> {
    let entity = &finding.entity;
    let is_address = entity.kind == EntityKind::Address;
    is_address.then(|| entity.id.parse::<IpAddr>().ok()).flatten().map(Host::from)
}

fn address_of(key: &str) -> Option<Host> {
    key.strip_prefix("address:")?.parse::<IpAddr>().ok().map(Host::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{AlertBook, Entity, Score};
    use crate::baseline::{BaselineSettings, Baselines};
    use crate::detect::{Rule, Telemetry};

    const RULE: Rule = Rule { name: "r", threshold: 1, unit: "bytes", formula: "f" };

    /// What it may go on with after a pause is held back for as long.
    #[test]
    fn what_an_alert_is_of_is_not_learned_while_it_is_open() {
        let settings = DetectSettings { quiet_time_s: 600, ..DetectSettings::default() };
        let (second, quiet_s) = (1_000, 180);
        let entity = Entity::new(EntityKind::Instance, "i-0a".to_owned());
        let (subject, family) = (Subject::Entity(7), Family::Case("egress"));
        let mut finding = Finding::new("egress", family, second, subject, entity, RULE);
        let mut case = Case::new(Score::of(Vec::new(), 0.0));
        (case.severity, case.quiet_s) = (Severity::High, quiet_s);
        (finding.opens, finding.case) = (true, Some(Box::new(case)));
        let freeze = Quarantine::default().of(&finding, &settings).unwrap();
        let cause = Arc::clone(&freeze.cause);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("normal.redb");
        let mut baselines = Baselines::open(&path, BaselineSettings::default(), true).unwrap();
        baselines.freeze(&freeze);
        let mut book = AlertBook::new(&settings);
        book.record(second, &mut vec![finding], &Telemetry::default(), &settings);
        let is_open = |book: &mut AlertBook, second: i64| {
            book.close_quiet(second, &settings);
            book.open_about(family, subject).is_some()
        };
        let last_s = second + quiet_s + 600;
        assert!(is_open(&mut book, last_s));
        assert!(baselines.frozen_until(&cause) >= Some(last_s));
        assert!(!is_open(&mut book, last_s + 1), "and no longer");
        assert_eq!(baselines.frozen_until(&cause), Some(last_s));
    }
}

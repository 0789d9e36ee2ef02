//! Alerts that an entry allowed, as they would have been told: nobody was, and whoever
//! wonders later what an entry hides can look.
//!
//! Bounded: [`MOST_OPEN`] at a time and the newest [`MOST_KEPT`] that are over. What has no
//! place is in the entry's counts alone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::allow::{AllowEntry, entry_detail};
use super::ended::Ended;
use super::open::Open;
use super::{Alert, State};
use crate::detect::{Finding, Telemetry};

/// A quarter of the alerts that may be open: each is as large as one of those.
const MOST_OPEN: usize = 256;

/// A few MiB; nobody reads more.
const MOST_KEPT: usize = 1_000;

/// Where an alert says which entry allowed it: among the details of its evidence.
const ALLOWED_BY: &str = "allowed_by";

#[derive(Debug, Default)]
pub(super) struct AllowedAlerts {
    /// By detector and entity, as they are counted.
    open: BTreeMap<(&'static str, String), Allowed>,
    closed: Vec<Alert>,
}

#[derive(Debug)]
struct Allowed {
    open: Open,
    entry: AllowEntry,
}

impl AllowedAlerts {
    /// Takes a finding that an entry keeps from opening an alert.
    pub(super) fn note(
        &mut self,
        mut finding: Finding,
        entry: AllowEntry,
        telemetry: &Telemetry,
        (quiet_s, burst_s): (i64, u64),
        ended: &Ended,
    ) {
        let key = (finding.detector, finding.entity.id.clone());
        if let Some(known) = self.open.get_mut(&key) {
            let open = &mut known.open;
            if finding.second.saturating_sub(open.last_second) <= quiet_s + open.more_quiet_s {
                // A rule may bring along the window before, which was told already.
                let told = open.subjects.get(&finding.subject);
                if told.is_none_or(|&at| at < finding.second) {
                    open.extend(finding, telemetry);
                }
                return;
            }
            if let Some(over) = self.open.remove(&key) {
                self.keep(over.told(burst_s));
            }
        }
        if self.open.len() >= MOST_OPEN {
            self.close_before(finding.second.saturating_sub(quiet_s), burst_s);
        }
        if self.open.len() < MOST_OPEN {
            ended.begin_behind(&mut finding);
            self.open.insert(key, Allowed { open: Open::new(finding, telemetry), entry });
        }
    }

    fn close_before(&mut self, second: i64, burst_s: u64) {
        let over = |_: &_, known: &mut Allowed| {
            known.open.last_second.saturating_add(known.open.more_quiet_s) < second
        };
        let over: Vec<_> = self.open.extract_if(.., over).collect();
        over.into_iter().for_each(|(_, known)| self.keep(known.told(burst_s)));
    }

    fn keep(&mut self, alert: Alert) {
        self.closed.push(alert);
        if self.closed.len() > MOST_KEPT {
            // Many at a time: the rest moves each time.
            self.closed.drain(..MOST_KEPT / 10);
        }
    }

    /// All of them, by start and id.
    pub(super) fn take(&mut self, burst_s: u64) -> Vec<Alert> {
        let open = std::mem::take(&mut self.open).into_values();
        let mut all = std::mem::take(&mut self.closed);
        all.extend(open.map(|known| known.told(burst_s)));
        all.sort_by(|a, b| (a.start_ns, &a.id).cmp(&(b.start_ns, &b.id)));
        all
    }
}

impl Allowed {
    fn told(mut self, burst_s: u64) -> Alert {
        self.open.revision = 1;
        if self.open.active_seconds >= burst_s {
            self.open.state = State::Sustained;
        }
        let mut alert = self.open.alert();
        alert.evidence.details.insert(ALLOWED_BY.to_owned(), detail(&self.entry));
        alert
    }
}

fn detail(entry: &AllowEntry) -> Value {
    let mut detail = entry_detail(entry);
    detail["detector"] = entry.detector.as_deref().unwrap_or("any").into();
    detail["entity"] = entry.entity.to_string().into();
    detail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Case, Entity, EntityKind, Score, Towards};
    use crate::detect::{Family, Rule, Subject, Traffic};

    fn finding(entity: usize, second: i64) -> Finding {
        let id = format!("192.0.2.{entity}");
        let entity = Entity { kind: EntityKind::Address, id, labels: BTreeMap::new() };
        let subject = Subject::Interface(0);
        Finding {
            opens: true,
            measured: 5_000,
            traffic: Traffic { packets: 5_000, ..Traffic::default() },
            ..Finding::new("udp_flood", Family::Udp, second, subject, entity, Rule::NONE)
        }
    }

    fn entry() -> AllowEntry {
        AllowEntry {
            detector: None,
            entity: "192.0.2.0/24".parse().unwrap(),
            towards: Towards::default(),
            reason: "backup".to_owned(),
            owner: "ops".to_owned(),
            expires_ns: i64::MAX,
            max_packets_per_s: None,
            max_bytes_per_minute: None,
        }
    }

    fn all(findings: impl Iterator<Item = Finding>) -> Vec<Alert> {
        let mut allowed = AllowedAlerts::default();
        let (telemetry, ended) = (Telemetry::default(), Ended::default());
        findings.for_each(|one| allowed.note(one, entry(), &telemetry, (60, 5), &ended));
        allowed.take(5)
    }

    #[test]
    fn what_goes_on_is_one_and_a_pause_ends_it() {
        let seconds = [0, 1, 2, 3, 4, 5, 100];
        let told = all(seconds.into_iter().map(|second| finding(1, second)));
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].evidence.active_seconds, told[0].state), (6, State::Sustained));
        assert_eq!(told[0].evidence.packets, 30_000);
        assert_eq!(told[1].start_ns, 100_000_000_000);
        assert_eq!(told[0].evidence.details[ALLOWED_BY]["entity"], "192.0.2.0/24");
        assert_eq!(told[0].evidence.details[ALLOWED_BY]["reason"], "backup");
    }

    /// As a beacon does, whose calls are far apart.
    #[test]
    fn what_may_pause_longer_is_one_for_as_long() {
        let calls = (0..8).map(|call| {
            let mut case = Case::new(Score::of(Vec::new(), 0.0));
            case.quiet_s = 600;
            Finding { case: Some(Box::new(case)), ..finding(1, call * 650) }
        });
        assert_eq!(all(calls).len(), 1);
    }

    #[test]
    fn however_many_there_are_they_have_a_bound() {
        assert_eq!(all((0..5_000).map(|entity| finding(entity, 0))).len(), MOST_OPEN);
        // Of many in turn the newest are kept.
        let told = all((0..5_000).map(|at| finding(at, at as i64 * 1_000)));
        assert!(told.len() <= MOST_KEPT + MOST_OPEN, "{}", told.len());
        assert_eq!(told.last().map(|alert| alert.start_ns), Some(4_999_000_000_000_000));
    }
}

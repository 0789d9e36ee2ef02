//! Whom somebody asks about: what detectors measured of it, and by how much it missed.
//!
//! `flowtap why-not` runs a run's inputs again with a [`Watch`] in the settings. Windows
//! then hold everything (see [`super::Interest`]), so that the highest counts of its
//! addresses are known even far below any threshold; a detector tells each score that it
//! makes of an entity, also one too low for a finding. No alert is another for it.
//!
//! Bounded: [`MOST`] entities and detectors; what comes later is counted.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use super::{DetectSettings, Finding, Kind, Rule, Subject};
use crate::alert::{Entity, EntityKind, Score};
use crate::engine::window::{Host, Slice};
use crate::entity::Who;
use crate::lock::Lock;

const MOST: usize = 1_024;

/// Shared by the run that fills it and whoever asked.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    addresses: Vec<IpAddr>,
    /// Whoever is within.
    nets: Vec<IpNet>,
    /// Ids of entities, keys of baselines, names of programs.
    names: Vec<String>,
    seen: Lock<Seen>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Of each detector and entity the nearest.
    pub findings: Vec<Near>,
    /// Highest counts of a second, of each kind of packet.
    pub windows: Vec<Peak>,
    /// Findings that had no place.
    pub left_out: u64,
}

/// What a detector measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Near {
    pub detector: &'static str,
    pub entity_kind: EntityKind,
    pub entity: String,
    /// The service, where it is about that alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Seconds since the epoch.
    pub second: i64,
    /// Of the score where there is one, else of the rule.
    pub value: f64,
    pub threshold: f64,
    pub unit: &'static str,
    pub formula: &'static str,
    /// Enough for an alert of its own; without it an alert that is open goes on.
    pub opens: bool,
    /// The entry that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
    /// Why it was not judged, or what it lacked beside its score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacked: Option<String>,
    /// Until then nothing is learned of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_until_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
}

impl Near {
    /// A value, its threshold, unit and formula, of what does not open an alert.
    fn short(
        detector: &'static str,
        entity: &Entity,
        second: i64,
        (value, threshold, unit, formula): (f64, f64, &'static str, &'static str),
    ) -> Self {
        Self {
            detector,
            entity_kind: entity.kind,
            entity: entity.id.clone(),
            service: None,
            second,
            value,
            threshold,
            unit,
            formula,
            opens: false,
            allowed_by: None,
            lacked: None,
            frozen_until_s: None,
            score: None,
        }
    }
}

/// The highest count of an address in one second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peak {
    pub address: IpAddr,
    /// `received` or `sent`.
    pub direction: &'static str,
    pub kind: &'static str,
    pub second: i64,
    pub packets: u64,
    /// Packets the other way in that second.
    pub packets_back: u64,
    /// One window at or over it opens a flood.
    pub threshold: u64,
    /// Two in a row at or over it, where nobody answers.
    pub unanswered_threshold: u64,
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Watch {
    pub fn new(addresses: Vec<IpAddr>, names: Vec<String>) -> Self {
        // Prefixes are entities too, by that name.
        let nets = names.iter().filter_map(|name| name.parse().ok()).collect();
        Self(Arc::new(Inner { addresses, nets, names, seen: Lock::default() }))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.addresses.contains(&address) || self.0.nets.iter().any(|net| net.contains(&address))
    }

    /// By detector and entity, and by address, direction and kind.
    pub fn seen(&self) -> Seen {
        let mut seen = self.0.seen.lock().clone();
        seen.findings.sort_by(|a, b| (a.detector, &a.entity).cmp(&(b.detector, &b.entity)));
        seen.windows.sort_by(|a, b| {
            (a.address, a.direction, a.kind).cmp(&(b.address, b.direction, b.kind))
        });
        seen
    }

    fn asks_about(&self, who: &Who) -> bool {
        let names = &self.0.names;
        self.is_entity(&who.entity)
            || names.iter().any(|name| **name == *who.baseline)
            || who.process.as_deref().is_some_and(|view| {
                let (name, exe) = (&view.process.name, &view.process.exe);
                names.iter().any(|wanted| wanted == name || wanted == exe)
            })
            || who.workload.as_deref().is_some_and(|one| {
                let parts = [&one.name, &one.pod, &one.container];
                names.iter().any(|wanted| parts.contains(&wanted))
            })
    }

    fn is_entity(&self, entity: &Entity) -> bool {
        let address = match entity.kind {
            EntityKind::Address => entity.id.parse::<IpAddr>().ok(),
            _ => None,
        };
        address.is_some_and(|address| self.has(address)) || self.0.names.contains(&entity.id)
    }

    fn concerns(&self, finding: &Finding) -> bool {
        let is_watched = |host: &Host| self.has(host.ip());
        let subject = match &finding.subject {
            Subject::Host(host) | Subject::Sender(host) => is_watched(host),
            Subject::Prefix(prefix) => {
                self.0.addresses.iter().any(|&address| prefix.contains(&Host::from(address)))
            }
            _ => false,
        };
        let case = finding.case.as_deref();
        let keys = case.into_iter().filter_map(|case| case.baseline_key.as_deref());
        let programs = case.and_then(|case| case.process.as_deref()).into_iter();
        let programs = programs.flat_map(|view| [&*view.process.name, &*view.process.exe]);
        subject
            || self.is_entity(&finding.entity)
            || finding.peers.iter().any(|peer| is_watched(&peer.host))
            || keys.chain(programs).any(|name| self.0.names.iter().any(|wanted| wanted == name))
    }

    /// Takes down a score that may be too low for a finding.
    pub(super) fn score(
        &self,
        detector: &'static str,
        (who, service): (&Who, Option<&str>),
        second: i64,
        (score, lacked): (&Score, Option<String>),
        frozen_until_s: Option<i64>,
    ) {
        if self.asks_about(who) {
            let measured = (score.value, score.threshold, "points", score.formula);
            self.0.seen.lock().add(Near {
                service: service.map(str::to_owned),
                lacked,
                frozen_until_s,
                score: Some(score.clone()),
                ..Near::short(detector, &who.entity, second, measured)
            });
        }
    }

    /// Takes down a measure that was too low to make a score of.
    pub(super) fn measure(
        &self,
        detector: &'static str,
        who: &Who,
        second: i64,
        (value, rule): (f64, &Rule),
    ) {
        if self.asks_about(who) {
            let measured = (value, rule.threshold as f64, rule.unit, rule.formula);
            self.0.seen.lock().add(Near::short(detector, &who.entity, second, measured));
        }
    }

    /// Takes down findings of watched entities.
    pub(super) fn look(
        &self,
        findings: &[Finding],
        allowed: impl Fn(&Finding) -> Option<String>,
        frozen: impl Fn(&str) -> Option<i64>,
    ) {
        for finding in findings.iter().filter(|finding| self.concerns(finding)) {
            let case = finding.case.as_deref();
            let score = case.map(|case| case.score.clone());
            let rule = &finding.rule;
            let measured = match &score {
                Some(score) => (score.value, score.threshold, "points", score.formula),
                None => (finding.measured as f64, rule.threshold as f64, rule.unit, rule.formula),
            };
            self.0.seen.lock().add(Near {
                service: finding.details.get("service").and_then(Value::as_str).map(str::to_owned),
                opens: finding.opens,
                allowed_by: allowed(finding),
                frozen_until_s: case.and_then(|case| frozen(case.baseline_key.as_deref()?)),
                score,
                ..Near::short(finding.detector, &finding.entity, finding.second, measured)
            });
        }
    }

    /// Takes down the counts of watched addresses in a second.
    pub(super) fn count(&self, slice: &Slice, settings: &DetectSettings) {
        for &address in &self.0.addresses {
            let host = Host::from(address);
            let [received, sent] = [slice.receivers(), slice.senders()]
                .map(|table| table.get(slice.seed(), &host).map(|stats| stats.tally));
            for (direction, tally, back) in
                [("received", &received, &sent), ("sent", &sent, &received)]
            {
                let Some(tally) = tally else { continue };
                for kind in Kind::ALL {
                    let packets = kind.count(tally);
                    if packets == 0 {
                        continue;
                    }
                    self.0.seen.lock().peak(Peak {
                        address,
                        direction,
                        kind: kind.name(),
                        second: slice.second(),
                        packets,
                        packets_back: back.as_ref().map_or(0, |back| back.packets()),
                        threshold: settings.packet_rate_threshold,
                        unanswered_threshold: settings.unanswered_rate_threshold,
                    });
                }
            }
        }
    }
}

impl Seen {
    /// Whether an alert of this detector on this entity is about whom was watched.
    pub fn concerns(&self, detector: &str, entity: &str) -> bool {
        self.findings.iter().any(|near| near.detector == detector && near.entity == entity)
    }

    fn add(&mut self, near: Near) {
        // What made a score came nearer than what was too little for one.
        let rank = |near: &Near| (near.opens, near.score.is_some(), near.value);
        let room = self.findings.len() < MOST;
        let known = self
            .findings
            .iter_mut()
            .find(|known| known.detector == near.detector && known.entity == near.entity);
        match known {
            Some(known) if rank(&near) > rank(known) => *known = near,
            Some(_) => {}
            None if room => self.findings.push(near),
            None => self.left_out += 1,
        }
    }

    /// Two directions and a dozen kinds of each address: few.
    fn peak(&mut self, peak: Peak) {
        let known = self.windows.iter_mut().find(|known| {
            (known.address, known.direction, known.kind)
                == (peak.address, peak.direction, peak.kind)
        });
        match known {
            Some(known) if peak.packets > known.packets => *known = peak,
            Some(_) => {}
            None => self.windows.push(peak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Family;

    fn finding(address: [u8; 4], measured: u64, opens: bool) -> Finding {
        let rule = Rule { name: "r", threshold: 100, unit: "packets/s", formula: "f" };
        let host = Host::from(IpAddr::from(address));
        let subject = Subject::Host(host);
        let mut finding =
            Finding::new("udp_flood", Family::Udp, 7, subject, Entity::address(&host), rule);
        (finding.measured, finding.opens) = (measured, opens);
        finding
    }

    #[test]
    fn the_nearest_of_who_is_watched_is_kept_and_others_are_not() {
        let watch = Watch::new(vec!["10.0.0.1".parse().unwrap()], Vec::new());
        let findings = [
            finding([10, 0, 0, 1], 50, false),
            finding([10, 0, 0, 1], 80, false),
            finding([10, 0, 0, 1], 70, false),
            finding([10, 0, 0, 2], 900, true),
        ];
        watch.look(&findings, |_| Some("backup".to_owned()), |_| None);
        let seen = watch.seen();
        assert_eq!(seen.findings.len(), 1);
        let near = &seen.findings[0];
        assert_eq!((near.value, near.threshold, near.opens), (80.0, 100.0, false));
        assert_eq!(near.allowed_by.as_deref(), Some("backup"));
    }
}

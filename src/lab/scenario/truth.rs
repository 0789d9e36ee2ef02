//! What was done, by whom and when: `truth.json`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::world::World;
use super::{OneOrMore, Scenario};
use crate::alert::{Severity, time_text};

pub const SCHEMA: &str = "flowtap.lab.truth.v1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    pub schema: String,
    pub scenario: String,
    pub seed: u64,
    pub start: String,
    pub end: String,
    /// Hosts inside the home networks: false alerts are counted by them too.
    pub home_hosts: u64,
    /// Host of `access.log`, for `--log-host`.
    pub log_host: Option<String>,
    pub packets: u64,
    pub wire_bytes: u64,
    pub attacks: Vec<Attack>,
    pub expects: Vec<Expected>,
    pub quiets: Vec<Quieted>,
}

/// An attack, and everyone whom an alert may rightly be about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    pub label: String,
    pub start: String,
    pub end: String,
    pub entities: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    pub name: String,
    pub detectors: Vec<String>,
    pub entities: Vec<String>,
    pub analytic: Option<String>,
    pub severity: Severity,
    pub start: String,
    /// An alert that begins later is late, and none.
    pub until: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quieted {
    pub name: String,
    pub entities: Vec<String>,
    pub below: Severity,
}

impl Truth {
    pub fn new(name: &str, seed: u64, scenario: &Scenario, world: &World) -> Result<Self> {
        let ns = |seconds: f64| (seconds * 1e9) as i64;
        let span = |behaviour: &super::Behaviour| {
            let start_ns = world.start_ns.saturating_add(ns(behaviour.start_s));
            let end_ns =
                behaviour.duration_s.map_or(world.end_ns, |it| start_ns.saturating_add(ns(it)));
            (start_ns, end_ns.min(world.end_ns))
        };
        let mut attacks = Vec::new();
        for (at, behaviour) in scenario.behaviours.iter().enumerate() {
            if !behaviour.is_attack() {
                continue;
            }
            let mut entities = BTreeSet::new();
            for name in behaviour.names() {
                for seat in world.seats(name)? {
                    entities.extend(world.involved(seat));
                }
            }
            let (start_ns, end_ns) = span(behaviour);
            let label = match behaviour.label.as_str() {
                "" => format!("behaviour {}", at + 1),
                label => label.to_owned(),
            };
            attacks.push(Attack {
                label,
                start: time_text(start_ns),
                end: time_text(end_ns),
                entities: entities.into_iter().collect(),
            });
        }
        let mut expects = Vec::new();
        for expect in &scenario.expects {
            let labels = expect.attack.as_slice();
            let (mut start_ns, mut end_ns) = (i64::MAX, i64::MIN);
            let mut names: Vec<String> = Vec::new();
            for label in labels {
                let mut found = false;
                for behaviour in scenario.behaviours.iter().filter(|it| it.label == *label) {
                    let (from_ns, to_ns) = span(behaviour);
                    (start_ns, end_ns) = (start_ns.min(from_ns), end_ns.max(to_ns));
                    names.push(behaviour.from.clone());
                    found = true;
                }
                if !found {
                    bail!("expect: there is no behaviour with the label {label}");
                }
            }
            let names = expect.entity.as_ref().map_or(names.as_slice(), OneOrMore::as_slice);
            let detectors = expect.detector.as_slice().to_vec();
            let about = match (&expect.analytic, detectors.as_slice()) {
                (Some(analytic), [any]) if any == "*" => analytic.clone(),
                (Some(analytic), named) => format!("{} ({analytic})", named.join(" or ")),
                (None, named) => named.join(" or "),
            };
            expects.push(Expected {
                name: format!("{} by {about}", labels.join(", ")),
                detectors,
                entities: ids(world, names)?,
                analytic: expect.analytic.clone(),
                severity: expect.severity,
                start: time_text(start_ns),
                until: time_text(end_ns.saturating_add(ns(expect.late_s))),
            });
        }
        let mut quiets = Vec::new();
        for quiet in &scenario.quiets {
            let names = quiet.entity.as_slice();
            let mut name = names.join(", ");
            if !quiet.because.is_empty() {
                name.push_str(&format!(": {}", quiet.because));
            }
            quiets.push(Quieted { name, entities: ids(world, names)?, below: quiet.below });
        }
        Ok(Self {
            schema: SCHEMA.to_owned(),
            scenario: name.to_owned(),
            seed,
            start: time_text(world.start_ns),
            end: time_text(world.end_ns),
            home_hosts: world.hosts.iter().filter(|host| !host.outside).count() as u64,
            log_host: world.log_host().map(|host| host.name.clone()),
            packets: 0,
            wire_bytes: 0,
            attacks,
            expects,
            quiets,
        })
    }
}

fn ids(world: &World, names: &[String]) -> Result<Vec<String>> {
    let mut ids = BTreeSet::new();
    for name in names {
        ids.extend(world.entity_ids(name)?);
    }
    Ok(ids.into_iter().collect())
}

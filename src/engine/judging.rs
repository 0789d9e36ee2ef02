//! What the correlation stage shows to the analytics, and when.
//!
//! Of a second, in this order: minutes that it ends, what entities did in it, what
//! packets said ([`super::features`]), programs that began, flows that ended,
//! observations of other sources that are due, the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::correlation::Correlation;
use super::run::{Joined, RunOptions};
use super::window::Assembled;
use crate::alert::second_ns;
use crate::baseline::Lent;
use crate::detect::analytic::{Event, Inputs, Source};
use crate::detect::{Detection, Telemetry};
use crate::entity::{Minute, Minutes};
use crate::host::execs::Served;
use crate::host::inventory::Inventory;
use crate::host::join::Joiner;
use crate::input::Shed;
use crate::telemetry::Observation;
use crate::telemetry::access_log;
use crate::telemetry::kind::always_logs_both_ways;
use crate::telemetry::observation::Seat;
use crate::telemetry::request::Request;

pub(super) fn detection_of(options: &RunOptions) -> Detection {
    let mut detection = Detection::new(options.detect.clone());
    let hosts = options.hosts.as_ref();
    detection.set_inputs(Inputs {
        undetected: !options.detects,
        host_map: hosts.is_some_and(|hosts| hosts.map.is_some()),
        inventory: hosts.is_some_and(|hosts| hosts.inventory.is_some()),
        ..Inputs::default()
    });
    if let Some(baselines) = options.baselines.as_ref().and_then(Lent::take) {
        detection.set_baselines(baselines);
    }
    detection
}

/// What a second of packets lacks.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pub(super) cut_packets: u64,
    pub(super) shed: Shed,
    pub(super) lost: bool,
}

impl Gaps {
    /// As they stand in alerts. Flows that a full table refused are no gap here: windows
    /// have their packets, and how full it is depends on the number of workers.
    pub(super) fn names(&self) -> Vec<String> {
        let gaps = [
            ("cut_packets", self.cut_packets > 0),
            ("packets_lost", self.lost),
            ("sampled_flows", self.shed >= Shed::NewFlows),
            ("unread_payloads", self.shed >= Shed::Hints),
        ];
        gaps.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// Analytics judge a minute at once, or what they saw in several: what lacked in it is a
/// gap of theirs.
const REMEMBERED_S: i64 = 60;

/// When something lacked last.
#[derive(Debug, Default)]
pub(super) struct RecentGaps(BTreeMap<String, i64>);

impl RecentGaps {
    /// Those of a second and of the minute before it.
    pub(super) fn with(&mut self, second: i64, gaps: &[String]) -> &BTreeMap<String, i64> {
        self.0.extend(gaps.iter().map(|gap| (gap.clone(), second)));
        self.0.retain(|_, &mut at| second - at <= REMEMBERED_S);
        &self.0
    }
}

impl Correlation<'_> {
    /// The minute at hand, where it is over before a second. What it tells goes on with alerts
    /// that end for this second: after a silence these would be closed first. Shown where it
    /// ends, so that it does not matter how many seconds are closed at a time.
    pub(super) fn end_minute(&mut self, before_s: i64) {
        let Some(end_s) = self.entities.minute_end_s().filter(|&end_s| end_s <= before_s) else {
            self.entities.rest(before_s);
            return;
        };
        self.show_unanswered(end_s);
        let minutes = self.entities.begin(end_s);
        self.show_entities(minutes);
    }

    /// A second of packets, after the detectors of windows.
    pub(super) fn look_at_entities(&mut self, assembled: &Assembled, telemetry: Telemetry) {
        let second = assembled.slice.second();
        self.looked_s = self.looked_s.max(second);
        // Loss is a matter of its second.
        let missing = telemetry.lately.keys().cloned().collect();
        self.known = Telemetry { losses: Vec::new(), missing, ..telemetry };
        let minutes = self.entities.begin(second);
        self.show_entities(minutes);
        self.take_over_inventory();
        let home = &self.detection.settings().home_nets;
        self.entities.count(assembled, self.joiner.as_mut(), home);
        let entities = self.entities.second();
        if !entities.is_empty() {
            let event = Event::Second { second, entities: &entities };
            self.detection.event(&event, self.looked_s, &self.known);
        }
    }

    /// What the inventory names is ours: as it is now, where its file has changed.
    pub(super) fn take_over_inventory(&mut self) {
        let interfaces = self.joiner.as_mut().map(Joiner::take_interfaces).unwrap_or_default();
        for address in interfaces {
            self.detection.add_interface(address);
        }
        let inventory = self.joiner.as_ref().and_then(Joiner::inventory);
        let is_known = |now: &Arc<Inventory>| {
            self.inventory.as_ref().is_some_and(|known| Arc::ptr_eq(known, now))
        };
        if let Some(inventory) = inventory.filter(|now| !is_known(now)) {
            self.detection.set_inventory(&inventory);
            self.entities.forget_addresses();
            self.inventory = Some(inventory);
        }
    }

    fn show_entities(&mut self, mut minutes: Minutes) {
        while let Some(minute) = minutes.show_next() {
            self.detection.event(&Event::Minute(minute), self.looked_s, &self.known);
        }
        self.entities.give_back(minutes);
    }

    fn show_minutes(&mut self, minutes: Vec<Minute>) {
        for minute in minutes {
            self.detection.event(&Event::Minute(&minute), self.looked_s, &self.known);
        }
    }

    /// All of what was before this second has been shown. Only told of seconds in which
    /// something was.
    pub(super) fn show_time(&mut self, second: i64) {
        let event = Event::Time { second };
        self.detection.event(&event, self.looked_s, &self.known);
        self.detection.keep_baselines(second);
    }

    /// Programs that began before a second.
    pub(super) fn show_execs(&mut self, before_s: i64) {
        let Some(joiner) = &mut self.joiner else { return };
        for exec in joiner.take_execs(second_ns(before_s)) {
            self.looked_s = self.looked_s.max(exec.time_ns.div_euclid(1_000_000_000));
            self.detection.event(&Event::Exec(&exec), self.looked_s, &self.known);
        }
    }

    /// What another source observed, joined.
    pub(super) fn show_observation(
        &mut self,
        source: u16,
        observation: &Observation,
        joined: &Joined<'_>,
    ) {
        let source = &self.source_of(source);
        if let Observation::Flow(flow) = observation {
            if let Some(address) = flow.interface_address() {
                match flow.seat {
                    Seat::Interface => self.detection.add_interface(address),
                    Seat::Packets => self.detection.add_seen_at(address, &flow.observer),
                    Seat::Way => {}
                }
            }
            let home = &self.detection.settings().home_nets;
            let both_ways = always_logs_both_ways(source.kind);
            let minutes = self.reported.take(&source.name, both_ways, flow, joined.hosts, home);
            self.show_minutes(minutes);
        }
        if let Observation::Gap(gap) = observation {
            let home = &self.detection.settings().home_nets;
            let minutes = self.reported.take_gap(&source.name, gap, home);
            self.show_minutes(minutes);
        }
        let event = match (observation, joined.growth) {
            (Observation::Flow(flow), _) => Event::Report { source, flow, hosts: joined.hosts },
            (Observation::Request(request), _) => return self.show_request(source, request),
            (Observation::Counter(sample), Some(growth)) => {
                Event::Counter { source, sample, growth }
            }
            _ => return,
        };
        let second = observation.time_ns().div_euclid(1_000_000_000);
        self.looked_s = self.looked_s.max(second);
        self.detection.event(&event, self.looked_s, &self.known);
    }

    /// A request that was logged, or seen in packets, with who served it.
    pub(super) fn show_request(&mut self, source: &Source, request: &Request) {
        let joiner = self.joiner.as_mut();
        let by_balancer = access_log::is_of_balancers(source.kind);
        let served = joiner
            .map_or_else(|| Served::of_log(request), |joiner| joiner.served(request, by_balancer));
        self.looked_s = self.looked_s.max(request.time_ns.div_euclid(1_000_000_000));
        let event = Event::Request { source, request, served: &served };
        self.detection.event(&event, self.looked_s, &self.known);
    }

    fn source_of(&mut self, source: u16) -> Source {
        let feed = self.telemetry.as_ref();
        let known = self.sources.entry(source).or_insert_with(|| {
            let (name, kind) = feed.and_then(|feed| feed.name_of(source))?;
            Some(Source {
                name: name.into(),
                kind: kind.name,
                lateness_ns: kind.lateness_s.saturating_mul(1_000_000_000),
            })
        });
        let nameless = || Source { name: "".into(), kind: "", lateness_ns: 0 };
        known.clone().unwrap_or_else(nameless)
    }

    /// The last minute; what was learned is written and given back.
    pub(super) fn end_entities(&mut self) {
        let minutes = self.entities.finish();
        self.show_entities(minutes);
        let minutes = self.reported.close(&self.detection.settings().home_nets);
        self.show_minutes(minutes);
        self.show_time(self.looked_s.saturating_add(1));
        self.detection.event(&Event::End, self.looked_s, &self.known);
        if let Some(lent) = &self.baselines {
            let mut baselines = self.detection.take_baselines();
            baselines.flush();
            lent.give_back(baselines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_of_a_minute_are_those_of_each_of_its_seconds() {
        let mut recent = RecentGaps::default();
        let names = |recent: &mut RecentGaps, second, gaps: &[String]| {
            recent.with(second, gaps).keys().cloned().collect::<Vec<_>>()
        };
        let cut = Gaps { cut_packets: 1, ..Gaps::default() };
        assert_eq!(names(&mut recent, 100, &cut.names()), ["cut_packets"]);
        let behind = Gaps { shed: Shed::NewFlows, ..Gaps::default() };
        assert_eq!(
            names(&mut recent, 160, &behind.names()),
            ["cut_packets", "sampled_flows", "unread_payloads"]
        );
        assert_eq!(names(&mut recent, 161, &[]), ["sampled_flows", "unread_payloads"]);
        assert!(Gaps::default().names().is_empty());
    }
}

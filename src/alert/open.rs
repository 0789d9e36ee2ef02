//! An alert that may still go on: what its findings add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::act::{Acts, News};
use super::allow::{AllowEntry, Bound, beyond_detail, entry_detail};
use super::grade::{Circumstances, Grade, Severity, weighs};
use super::towards::Named;
use super::{
    Alert, AlertPeer, Case, Evidence, Known, Peak, Related, SizeCount, State, alert_id, lasted,
    second_ns, seconds_text, sentence,
};
use crate::detect::{
    Background, Busiest, Family, Finding, Peer, PeerRole, Shape, Subject, Telemetry, round3,
};
use crate::engine::window::{Host, SIZE_BINS, size_bin_range};

/// Peers that stand in an alert, and those remembered to choose them from.
const LISTED_PEERS: usize = 10;
const REMEMBERED_PEERS: usize = 64;

/// Coarser sources that are named in an alert.
const LISTED_SOURCES: usize = 16;

/// An alert that may still go on.
#[derive(Debug)]
pub(super) struct Open {
    /// The worst finding, which has the alert's case (see [`Open::takes`]); the first where
    /// there is none.
    best: Arc<Finding>,
    /// The second of the most severe one and its reason: severity never sinks.
    worst: (i64, Severity, String),
    /// The second with the most packets.
    busiest: Second,
    /// The second that findings are added to.
    under_way: Second,
    pub(super) detector: &'static str,
    pub(super) id: String,
    pub(super) revision: u32,
    pub(super) state: State,
    pub(super) start_second: i64,
    pub(super) last_second: i64,
    pub(super) active_seconds: u64,
    /// Packets of the busiest second when the revision last rose.
    pub(super) told_packets: u64,
    /// Severity, tens of the score and moments of the case at that time.
    pub(super) told_case: (Severity, u64, usize),
    pub(super) packets: u64,
    pub(super) wire_bytes: u64,
    pub(super) sizes: [u64; SIZE_BINS],
    pub(super) peers: BTreeMap<(PeerRole, Host), Option<(u64, u64)>>,
    /// Where it goes, to be held against entries.
    pub(super) named: Named,
    pub(super) sources: u64,
    pub(super) destinations: u64,
    pub(super) spoofed: bool,
    pub(super) estimated: bool,
    pub(super) also_seen: Vec<&'static str>,
    pub(super) one_sided: bool,
    pub(super) missing: Vec<String>,
    /// Processes at the entity's address are known.
    pub(super) process_map: bool,
    /// The entry that allowed less.
    pub(super) beyond: Option<Bound>,
    /// The entry that came while it was open, and closes it.
    pub(super) allowed: Option<AllowEntry>,
    /// Entries that were asked, by their generation.
    pub(super) seen_entries: u64,
    /// What it is seen at, and when last.
    pub(super) subjects: BTreeMap<Subject, i64>,
    /// Beyond the setting's quiet time.
    pub(super) more_quiet_s: i64,
    /// Coarser sources that saw it too.
    pub(super) corroborated_by: BTreeSet<Arc<str>>,
    /// Who sent to whom, and which alerts are of the same act.
    pub(super) acts: Acts,
    /// What of that was told.
    pub(super) told_acts: News,
}

/// What was sent in a second over all subjects.
#[derive(Clone, Debug, Default)]
struct Second {
    at: Busiest,
    /// Of the detector that the alert is by, the finding with the most packets in it.
    largest: Option<Arc<Finding>>,
}

impl Second {
    /// Those without packets compare by what was measured.
    fn rank(&self) -> (u64, u64) {
        (self.at.packets, self.largest.as_ref().map_or(0, |finding| finding.measured))
    }
}

impl Open {
    pub(super) fn new(finding: Finding, telemetry: &Telemetry) -> Self {
        let at = Busiest { second: finding.second, ..Busiest::default() };
        let nothing = Second { at, largest: None };
        let mut open = Self {
            id: alert_id(finding.detector, &finding.entity, finding.start_second),
            detector: finding.detector,
            revision: 0,
            state: State::Provisional,
            start_second: finding.start_second,
            last_second: finding.second,
            active_seconds: 0,
            told_packets: 0,
            told_case: (Severity::Informational, 0, 0),
            packets: 0,
            wire_bytes: 0,
            sizes: [0; SIZE_BINS],
            peers: BTreeMap::new(),
            named: Named::of(&finding),
            sources: 0,
            destinations: 0,
            spoofed: false,
            estimated: false,
            also_seen: Vec::new(),
            one_sided: false,
            missing: Vec::new(),
            process_map: false,
            beyond: None,
            allowed: None,
            seen_entries: 0,
            subjects: BTreeMap::new(),
            more_quiet_s: 0,
            corroborated_by: BTreeSet::new(),
            acts: Acts::default(),
            told_acts: News::default(),
            best: Arc::new(finding.clone()),
            worst: (finding.second, Severity::Informational, String::new()),
            busiest: nothing.clone(),
            under_way: nothing,
        };
        open.extend(finding, telemetry);
        open
    }

    pub(super) fn extend(&mut self, finding: Finding, telemetry: &Telemetry) {
        let new_second = self.active_seconds == 0 || finding.second > self.last_second;
        if new_second {
            // Windows of a minute or more, and the first one's seconds before it; what
            // overlaps with the last one counts once.
            let since_last = match self.active_seconds {
                0 => u64::MAX,
                _ => finding.second.abs_diff(self.last_second),
            };
            self.active_seconds += finding.active_seconds().min(since_last);
        }
        self.last_second = self.last_second.max(finding.second);
        self.subjects.insert(finding.subject, finding.second);
        self.one_sided |= telemetry.one_sided;
        // A rule that waits for a second one is told of the first one's gaps too.
        let since = |&(_, at): &(&String, &i64)| *at >= finding.start_second;
        let lately = telemetry.lately.iter().filter(since).map(|(gap, _)| gap);
        for gap in telemetry.missing.iter().chain(lately) {
            if !self.missing.contains(gap) {
                self.missing.push(gap.clone());
            }
        }
        match finding.detector == self.detector {
            true => self.named.add(Named::of(&finding)),
            false => self.also_see(finding.detector),
        }
        self.acts.add(&finding);
        if let Some(case) = &finding.case {
            self.more_quiet_s = self.more_quiet_s.max(case.quiet_s);
        }
        self.packets += finding.traffic.packets;
        self.wire_bytes += finding.traffic.wire_bytes;
        for (mine, theirs) in self.sizes.iter_mut().zip(&finding.traffic.sizes) {
            *mine += theirs;
        }
        self.sources = self.sources.max(finding.sources);
        self.destinations =
            self.destinations.max(finding.destinations).max(self.subjects.len() as u64);
        // They may be seen only when the flood is under way.
        self.process_map |= finding.background.process_map && finding.entity == self.best.entity;
        self.spoofed |= finding.spoofed_sources;
        self.estimated |= finding.estimated;
        self.remember(&finding.peers);
        self.weigh(finding, new_second);
    }

    /// Keeps the worst finding, and the busiest second whole: they need not be of the same
    /// time.
    fn weigh(&mut self, finding: Finding, new_second: bool) {
        let at = finding.busiest();
        let adds = !new_second && at.second == self.under_way.at.second;
        // Sums are of one second: of two that are told of together, of the busier.
        let counts = adds || new_second || at.packets > self.under_way.at.packets;
        if counts {
            match adds {
                true => self.under_way.at.add(&at),
                false => self.under_way = Second { at, largest: None },
            }
        }
        if finding.detector == self.detector {
            // Whom the alert is about does not change.
            let (entity, background) = (self.best.entity.clone(), self.best.background.clone());
            let home_sender = self.best.home_sender;
            let mut finding = Finding { entity, background, home_sender, ..finding };
            let takes = self.takes(&finding);
            if takes {
                self.keep_severity(&mut finding);
            }
            let finding = Arc::new(finding);
            if takes {
                self.best = Arc::clone(&finding);
            }
            let largest = self.under_way.largest.as_ref().map(|known| known.busiest().packets);
            if counts && largest.is_none_or(|largest| at.packets > largest) {
                self.under_way.largest = Some(finding);
            }
        }
        if self.under_way.rank() > self.busiest.rank() {
            let known = self.busiest.largest.take();
            self.busiest = self.under_way.clone();
            self.busiest.largest = self.busiest.largest.take().or(known);
        }
    }

    /// Whether the alert is told by this finding from here on: it is worse or as bad and
    /// later, or it is of the same whole and holds all that the one before did.
    fn takes(&self, finding: &Finding) -> bool {
        let best = &self.best;
        let goes_on = finding.whole.is_some()
            && finding.whole == best.whole
            && finding.start_second <= best.start_second;
        goes_on || finding.case_rank().is_some_and(|rank| Some(rank) >= best.case_rank())
    }

    /// What goes on may look less bad than it was: then the severity is still that of its
    /// worst time, and says so.
    fn keep_severity(&mut self, finding: &mut Finding) {
        let second = finding.second;
        let Some(case) = finding.case.as_mut() else { return };
        let (at, worst, reason) = &self.worst;
        if case.severity >= *worst {
            self.worst = (second, case.severity, case.severity_reason.clone());
            return;
        }
        case.severity_reason = format!(
            "{} (so at {}; by all of it {})",
            reason.trim_end_matches('.'),
            seconds_text(second_ns(*at)),
            case.severity.name()
        );
        case.severity = *worst;
    }

    /// The finding that the figures and the sentence are of.
    fn shown(&self) -> &Finding {
        match &self.busiest.largest {
            Some(largest) if self.best.is_rate() => largest,
            _ => &self.best,
        }
    }

    /// The finding that the grade is of, with its case.
    fn judged(&self) -> &Finding {
        if self.best.case.is_some() { &self.best } else { self.shown() }
    }

    pub(super) fn peak_packets(&self) -> u64 {
        self.busiest.at.packets
    }

    /// What entries are held against.
    pub(super) fn about(&self) -> &Finding {
        &self.best
    }

    pub(super) fn corroborate(&mut self, source: Arc<str>) {
        if self.corroborated_by.len() < LISTED_SOURCES {
            self.corroborated_by.insert(source);
        }
    }

    pub(super) fn also_see(&mut self, detector: &'static str) {
        if detector != self.detector && !self.also_seen.contains(&detector) {
            self.also_seen.push(detector);
            self.also_seen.sort_unstable();
        }
    }

    /// Sums by peer; beyond the bound those with the fewest packets go, so the
    /// sums of the rest are lower bounds.
    fn remember(&mut self, peers: &[Peer]) {
        for peer in peers {
            let sums = self.peers.entry((peer.role, peer.host)).or_insert(None);
            if let (Some(packets), Some(bytes)) = (peer.packets, peer.wire_bytes) {
                let (old_packets, old_bytes) = sums.unwrap_or((0, 0));
                *sums = Some((old_packets + packets, old_bytes + bytes));
            }
        }
        while self.peers.len() > REMEMBERED_PEERS {
            let least = self.peers.iter().min_by_key(|(key, sums)| (sums.map(|s| s.0), **key));
            let Some(least) = least.map(|(key, _)| *key) else { break };
            self.peers.remove(&least);
        }
    }

    /// What makes news of a case: its severity, tens of its score, moments.
    pub(super) fn case_rank(&self) -> (Severity, u64, usize) {
        let rank = self.best.case_rank();
        let rank = rank.map(|(severity, score, moments)| (severity, score / 10_000, moments));
        rank.unwrap_or((Severity::Informational, 0, 0))
    }

    /// What other alerts of the same act say of it.
    pub(super) fn related(&self) -> Related {
        let (severity, ..) = Grade::of(self.judged(), &self.circumstances());
        Related {
            id: self.id.clone(),
            detector: self.detector.to_owned(),
            entity: self.best.entity.clone(),
            start_second: self.start_second,
            has_case: self.best.case.is_some(),
            severity,
            analytics: analytics(self.judged()).0,
        }
    }

    /// As if there were no other alert of the same act.
    fn circumstances(&self) -> Circumstances<'_> {
        let known: &[&str] = self.best.case.as_ref().map_or(&[], |case| &case.missing);
        let further = self
            .missing
            .iter()
            .filter(|gap| !known.contains(&gap.as_str()) && weighs(gap, self.detector));
        Circumstances {
            peak_packets: self.peak_packets(),
            state: self.state,
            one_sided: self.one_sided,
            further_gaps: further.count(),
            is_part: false,
            worst_part: None,
        }
    }

    pub(super) fn alert(&self) -> Alert {
        let finding = self.judged();
        let (mut analytics, mut possible_analytics) = analytics(finding);
        let answered = self.acts.parts().flat_map(|part| &part.analytics);
        analytics.extend(answered.cloned());
        analytics.sort();
        analytics.dedup();
        possible_analytics.retain(|name| !analytics.contains(name));
        let worst_part = self.acts.worst_part();
        let (severity, confidence, grade) = Grade::of(
            finding,
            &Circumstances {
                is_part: self.acts.part_of().is_some(),
                worst_part: worst_part.map(|part| (part.detector.as_str(), part.severity)),
                ..self.circumstances()
            },
        );
        let mut missing: Vec<String> = match (&finding.case, finding.family) {
            (Some(case), _) => case.missing.iter().map(|&gap| gap.to_owned()).collect(),
            (None, Family::Sensor) => Vec::new(),
            (None, _) => {
                let has_baseline = finding.background.baseline_days.is_some();
                let gaps = [("baseline", has_baseline), ("process_map", self.process_map)];
                gaps.iter().filter(|gap| !gap.1).map(|gap| gap.0.to_owned()).collect()
            }
        };
        if self.one_sided {
            missing.push("one_sided_capture".to_owned());
        }
        missing.extend(self.missing.iter().cloned());
        missing.sort();
        missing.dedup();
        // Whom the alert is about is no peer of itself.
        let own = |host: &Host| host.ip().to_string() == finding.entity.id;
        let mut peers: Vec<_> = self.peers.iter().filter(|(key, _)| !own(&key.1)).collect();
        peers.sort_by_key(|(key, sums)| (u64::MAX - sums.map_or(0, |s| s.0), **key));
        let mut alert = Alert {
            id: self.id.clone(),
            revision: self.revision.max(1),
            detector: self.detector.to_owned(),
            state: self.state,
            analytics,
            possible_analytics,
            severity,
            confidence,
            grade,
            start_ns: second_ns(self.start_second),
            end_ns: second_ns(self.last_second.saturating_add(1)),
            entity: finding.entity.clone(),
            known: Known {
                instance: finding.case.as_ref().and_then(|case| case.instance.clone()),
                context: None,
            },
            peers: peers
                .into_iter()
                .take(LISTED_PEERS)
                .map(|(&(role, host), sums)| AlertPeer {
                    address: host.ip(),
                    role,
                    packets: sums.map(|s| s.0),
                    wire_bytes: sums.map(|s| s.1),
                    known: Known::default(),
                })
                .collect(),
            evidence: self.evidence(),
            case: self.case(),
            part_of: self.acts.part_of().cloned().map(Box::new),
            parts: self.acts.parts().cloned().collect(),
            missing_telemetry: missing,
            summary: String::new(),
            sensor: String::new(),
            interface: String::new(),
            interfaces: Vec::new(),
            files: Vec::new(),
            further_files: 0,
            clock_synchronised: None,
        };
        alert.summary = sentence(&alert);
        alert
    }

    /// That of the worst finding, with the sentence of what is shown; where that is not the
    /// last, it says of which time it is.
    fn case(&self) -> Option<Box<Case>> {
        let mut case = self.best.case.clone()?;
        let shown = self.shown();
        if let Some(told) = &shown.case {
            case.summary.clone_from(&told.summary);
        }
        let at = if shown.is_rate() { self.busiest.at.second } else { shown.second };
        let further_s = self.last_second.saturating_sub(at);
        if further_s > 0 {
            case.summary.push_str(&format!(
                " So it was at {}; it went on for {}.",
                seconds_text(second_ns(at)),
                lasted(further_s.unsigned_abs())
            ));
        }
        Some(case)
    }

    fn corroborations(&self) -> Option<(String, Value)> {
        let names: Vec<&str> = self.corroborated_by.iter().map(AsRef::as_ref).collect();
        (!names.is_empty()).then(|| ("corroborated_by".to_owned(), names.into()))
    }

    /// Where its detector tells those that much went to.
    fn destinations(&self, finding: &Finding) -> impl Iterator<Item = (String, Value)> {
        let ports = self.named.ports.known().filter(|_| !finding.to_ports.is_empty());
        let ports = ports.map(|ports| ports.iter().copied().collect::<Vec<u16>>().into());
        let peers = self.named.peers.known().filter(|_| !finding.to_peers.is_empty());
        let peers = peers.map(|peers| peers.iter().map(ToString::to_string).collect());
        let named = [("destination_ports", ports), ("destinations", peers)];
        named.into_iter().filter_map(|(name, all)| Some((name.to_owned(), all?)))
    }

    fn evidence(&self) -> Evidence {
        let finding = self.shown();
        let busiest = &self.busiest.at;
        let several = self.subjects.len() > 1 && finding.shape != Shape::Carpet;
        Evidence {
            class: finding.kind.to_owned(),
            direction: finding.direction,
            shape: if several { Shape::OneToMany } else { finding.shape },
            rule: finding.rule.clone(),
            measured: finding.measured,
            decided_by: self
                .best
                .case
                .as_ref()
                .map_or("absolute_threshold", |case| case.decided_by.name())
                .to_owned(),
            baseline: self
                .best
                .case
                .as_ref()
                .map_or_else(|| baseline_words(&finding.background), |case| case.baseline.clone()),
            peak: Peak {
                time_ns: second_ns(busiest.second),
                packets_per_s: busiest.packets,
                unanswered_packets_per_s: busiest.unanswered,
                bits_per_s: busiest.wire_bytes.saturating_mul(8),
                payload_bytes_per_s: busiest.payload_bytes,
            },
            active_seconds: self.active_seconds,
            packets: self.packets,
            wire_bytes: self.wire_bytes,
            payload_sizes: size_counts(&self.sizes),
            distinct_sources: self.sources,
            distinct_destinations: self.destinations,
            answer_ratio: finding.answer_ratio,
            top_source_port: finding.src_port,
            top_destination_port: finding.dst_port,
            spoofed_sources: self.spoofed,
            estimated: self.estimated,
            also_seen: self.also_seen.iter().map(|&name| name.to_owned()).collect(),
            details: finding
                .details
                .iter()
                .map(|(&name, value)| (name.to_owned(), value.clone()))
                .chain(baseline_details(finding))
                .chain(self.beyond.iter().map(|entry| ("allowed".to_owned(), beyond_detail(entry))))
                .chain(
                    self.allowed
                        .iter()
                        .map(|by| ("closed_as_allowed".to_owned(), entry_detail(by))),
                )
                .chain(self.destinations(finding))
                .chain(self.corroborations())
                .collect(),
        }
    }
}

/// Analytics that a network-only alert answers, and those that a process or a
/// workload behind it would answer.
fn analytics(finding: &Finding) -> (Vec<String>, Vec<String>) {
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
    if let Some(case) = &finding.case {
        return (names(&case.analytics), names(&case.possible_analytics));
    }
    if matches!(finding.family, Family::Scan | Family::Link | Family::Sensor) {
        return (Vec::new(), Vec::new());
    }
    if finding.home_sender {
        return (names(&["AN0972"]), names(&["AN0971", "AN0083"]));
    }
    // A MAC that sends under foreign addresses may be an instance of ours.
    match finding.entity.kind {
        super::EntityKind::Mac => (Vec::new(), names(&["AN0972", "AN0971", "AN0083"])),
        _ => (Vec::new(), Vec::new()),
    }
}

/// What an alert of a window says of its entity's baseline, which it does not ask.
fn baseline_words(background: &Background) -> String {
    match (background.baseline_days, background.baseline_mature) {
        (None, _) => "none: confidence is capped until the entity's baseline is mature".to_owned(),
        (Some(days), false) => format!(
            "of {days:.1} days, not asked: an absolute threshold decided; confidence is capped \
             until it is mature"
        ),
        (Some(days), true) => {
            format!("of {days:.1} days, not asked: an absolute threshold decided")
        }
    }
}

fn baseline_details(finding: &Finding) -> Vec<(String, Value)> {
    let Some(days) = finding.background.baseline_days.filter(|_| finding.case.is_none()) else {
        return Vec::new();
    };
    let mature = finding.background.baseline_mature;
    vec![
        ("baseline_days".to_owned(), round3(days).into()),
        ("baseline_mature".to_owned(), mature.into()),
    ]
}

fn size_counts(sizes: &[u64; SIZE_BINS]) -> Vec<SizeCount> {
    sizes
        .iter()
        .enumerate()
        .filter(|&(_, &packets)| packets > 0)
        .map(|(bin, &packets)| {
            let (min, max) = size_bin_range(bin);
            SizeCount { min, max, packets }
        })
        .collect()
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;

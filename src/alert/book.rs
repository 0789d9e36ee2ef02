//! The book of alerts: many findings, one alert an attack.
//!
//! Which findings are one attack:
//! 1. In one window, findings of one family on one subject: of those that may
//!    open an alert the one of lowest precedence (then most packets) names it, the others are `also_seen`. So
//!    reflection comes before fragment flood before UDP flood, the largest TCP
//!    flag set before the others, a SYN flood before a connection flood.
//! 2. Across windows, a finding continues the open alert of its family that
//!    has the same subject, else the one with the same detector and entity (a
//!    sender that floods several victims), while pauses are at most
//!    `quiet_time_s`.
//!
//! Detectors themselves leave out what findings before theirs explain: carpet
//! bombing the victims, sender floods both, scans the pairs of a flood.
//!
//! What an [`AllowEntry`] covers opens no alert; see [`super::allow`].
//!
//! Bounds: `open_alerts` at a time, `total_alerts` a run and `kept_alerts` that
//! are over. Each window
//! that would have opened one more is counted in `alerts_suppressed`; it may
//! still open when there is room again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::allow::{AllowCount, AllowEntry, Allowances, Verdict, Volume, beyond_detail};
use super::grade::{Circumstances, Grade, Severity};
use super::{
    Alert, AlertPeer, Evidence, Known, Peak, SizeCount, State, alert_id, second_ns, sentence,
};
use crate::detect::{DetectSettings, Family, Finding, Peer, PeerRole, Shape, Subject, Telemetry};
use crate::engine::window::{Host, SIZE_BINS, size_bin_range};

/// Peers that stand in an alert, and those remembered to choose them from.
const LISTED_PEERS: usize = 10;
const REMEMBERED_PEERS: usize = 64;

/// Coarser sources that are named in an alert.
const LISTED_SOURCES: usize = 16;

#[derive(Debug)]
pub struct AlertBook {
    settings: DetectSettings,
    /// By number, in the order of their opening.
    open: BTreeMap<u64, Open>,
    by_subject: BTreeMap<(Family, Subject), u64>,
    by_entity: BTreeMap<(&'static str, String), u64>,
    closed: Vec<Alert>,
    updated: Vec<Update>,
    opened: u64,
    suppressed: u64,
    allowances: Allowances,
}

/// Packets/s and bytes a minute by second, detector and entity.
type Volumes = BTreeMap<(i64, &'static str, String), Volume>;

/// An alert with a new revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub alert: Alert,
    /// It has gone quiet: this revision is the last.
    pub closed: bool,
}

/// An alert that may still go on.
#[derive(Debug)]
struct Open {
    /// The finding of the second with the most packets.
    peak: Finding,
    detector: &'static str,
    id: String,
    revision: u32,
    state: State,
    start_second: i64,
    last_second: i64,
    active_seconds: u64,
    /// Packets of the second under way, over all subjects.
    second_packets: u64,
    peak_packets: u64,
    /// Peak when the revision last rose.
    told_packets: u64,
    /// Severity, tens of the score and moments of the case at that time.
    told_case: (Severity, u64, usize),
    packets: u64,
    wire_bytes: u64,
    sizes: [u64; SIZE_BINS],
    peers: BTreeMap<(PeerRole, Host), Option<(u64, u64)>>,
    sources: u64,
    destinations: u64,
    spoofed: bool,
    estimated: bool,
    also_seen: Vec<&'static str>,
    one_sided: bool,
    missing: Vec<String>,
    /// The entry that allowed less.
    beyond: Option<AllowEntry>,
    /// What it is seen at, and when last.
    subjects: BTreeMap<Subject, i64>,
    /// Beyond the setting's quiet time.
    more_quiet_s: i64,
    /// Coarser sources that saw it too.
    corroborated_by: BTreeSet<Arc<str>>,
}

impl AlertBook {
    pub fn new(settings: &DetectSettings) -> Self {
        Self {
            settings: settings.clone(),
            open: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            by_entity: BTreeMap::new(),
            closed: Vec::new(),
            updated: Vec::new(),
            opened: 0,
            suppressed: 0,
            allowances: Allowances::new(&settings.allow),
        }
    }

    /// Other settings from here on; alerts that are open go on.
    pub fn set_settings(&mut self, settings: &DetectSettings) {
        self.settings = settings.clone();
        self.allowances.replace(&settings.allow);
    }

    /// Takes the findings up to this second and closes what has gone quiet.
    pub fn record(
        &mut self,
        second: i64,
        findings: &mut Vec<Finding>,
        telemetry: &Telemetry,
        settings: &DetectSettings,
    ) {
        self.close_quiet(second, settings);
        // Seconds in order first: a window may bring the one before it along.
        findings.sort_by_key(|f| {
            let rank = (!f.opens, f.precedence, u64::MAX - f.traffic.packets);
            (f.second, f.family, f.subject, rank)
        });
        let volumes = self.volumes(findings);
        let mut last: Option<(i64, Family, Subject, Option<u64>)> = None;
        for finding in findings.drain(..) {
            match last {
                Some((second, family, subject, number))
                    if (second, family, subject)
                        == (finding.second, finding.family, finding.subject) =>
                {
                    if let Some(open) = number.and_then(|number| self.open.get_mut(&number)) {
                        open.also_see(finding.detector);
                    }
                }
                _ => {
                    let key = (finding.second, finding.family, finding.subject);
                    let number = self.place(finding, telemetry, &volumes);
                    last = Some((key.0, key.1, key.2, number));
                }
            }
        }
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        for number in numbers {
            self.revise(number);
        }
    }

    /// Closes what has gone quiet by this second.
    pub fn close_quiet(&mut self, second: i64, settings: &DetectSettings) {
        let quiet_s = i64::try_from(settings.quiet_time_s).unwrap_or(i64::MAX);
        self.close_before(second.saturating_sub(quiet_s));
    }

    pub fn close_all(&mut self) {
        self.close_before(i64::MAX);
    }

    /// Closed and open alerts by start and id.
    pub fn alerts(&self) -> Vec<Alert> {
        let open = self.open.values().map(Open::alert);
        let mut all: Vec<Alert> = self.closed.iter().cloned().chain(open).collect();
        all.sort_by(|a, b| (a.start_ns, &a.id).cmp(&(b.start_ns, &b.id)));
        all
    }

    pub fn take_updates(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.updated)
    }

    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// What was allowed, by entry.
    pub fn allowed(&self) -> Vec<AllowCount> {
        self.allowances.counts()
    }

    /// The entry that covers it, in words, whether within its bound or not.
    pub(crate) fn allowance_of(&self, finding: &Finding) -> Option<String> {
        self.allowances.covering(finding)
    }

    /// Packets of a second by what would be one alert: a sender may flood
    /// several victims. Only asked for where something is allowed.
    fn volumes(&self, findings: &[Finding]) -> Volumes {
        let mut volumes = Volumes::new();
        if self.allowances.is_empty() {
            return volumes;
        }
        for finding in findings {
            let key = (finding.second, finding.detector, finding.entity.id.clone());
            volumes.entry(key).or_default().add(&Volume::of(finding));
        }
        volumes
    }

    /// Whether the finding may open an alert, and what it went beyond.
    fn judge(&mut self, finding: &Finding, volumes: &Volumes) -> Verdict {
        if self.allowances.is_empty() {
            return Verdict::NotListed;
        }
        let key = (finding.second, finding.detector, finding.entity.id.clone());
        let volume = volumes.get(&key).copied().unwrap_or_else(|| Volume::of(finding));
        self.allowances.judge(finding, volume, self.settings.quiet_time_s)
    }

    /// Number of the alert that the finding now belongs to.
    fn place(&mut self, finding: Finding, telemetry: &Telemetry, volumes: &Volumes) -> Option<u64> {
        let subject = (finding.family, finding.subject);
        let entity = (finding.detector, finding.entity.id.clone());
        let known = self.by_subject.get(&subject).or_else(|| self.by_entity.get(&entity)).copied();
        if let Some(number) = known {
            let open = self.open.get_mut(&number)?;
            if let Some(source) = finding.corroborated_by {
                open.corroborate(source);
                return Some(number);
            }
            self.by_subject.insert(subject, number);
            // A rule may bring along the window before, which was told already.
            let told = open.subjects.get(&finding.subject).is_some_and(|&at| at >= finding.second);
            if !told {
                open.extend(finding, telemetry);
            }
            return Some(number);
        }
        if !finding.opens || finding.corroborated_by.is_some() {
            return None;
        }
        let beyond = match self.judge(&finding, volumes) {
            Verdict::NotListed => None,
            Verdict::Beyond(entry) => Some(entry),
            Verdict::Suppressed => return None,
        };
        if self.open.len() >= self.settings.open_alerts
            || self.opened >= self.settings.total_alerts as u64
        {
            self.suppressed += 1;
            return None;
        }
        let number = self.opened;
        self.opened += 1;
        self.by_subject.insert(subject, number);
        self.by_entity.insert(entity, number);
        self.open.insert(number, Open { beyond, ..Open::new(finding, telemetry) });
        Some(number)
    }

    fn revise(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let sustained = open.state == State::Provisional
            && open.active_seconds >= self.settings.burst_time_window_s;
        if sustained {
            open.state = State::Sustained;
        }
        let twice = open.peak_packets >= 2 * open.told_packets.max(1);
        let case = open.case_rank();
        if open.revision == 0 || sustained || twice || case > open.told_case {
            open.revision += 1;
            open.told_case = case;
            open.told_packets = open.peak_packets;
            self.updated.push(Update { alert: open.alert(), closed: false });
            self.bound_updates();
        }
    }

    /// A run of months keeps the newest; the others were handed out.
    fn bound_closed(&mut self) {
        let cap = self.settings.kept_alerts.max(1);
        if self.closed.len() > cap {
            // Many at a time: the rest moves each time.
            self.closed.drain(..cap.div_ceil(10));
        }
    }

    /// Nobody may be taking updates (an offline run): keep the newest.
    fn bound_updates(&mut self) {
        let cap = 4 * self.settings.open_alerts.max(1);
        if self.updated.len() > cap {
            self.updated.drain(..cap / 2);
        }
    }

    fn close_before(&mut self, second: i64) {
        let quiet: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| open.last_second.saturating_add(open.more_quiet_s) < second)
            .map(|(&number, _)| number)
            .collect();
        for number in quiet {
            let Some(mut open) = self.open.remove(&number) else { continue };
            open.revision += 1;
            let alert = open.alert();
            self.updated.push(Update { alert: alert.clone(), closed: true });
            self.closed.push(alert);
            self.bound_closed();
            self.by_subject.retain(|_, at| *at != number);
            self.by_entity.retain(|_, at| *at != number);
            self.bound_updates();
        }
    }
}

impl Open {
    fn new(finding: Finding, telemetry: &Telemetry) -> Self {
        let mut open = Self {
            id: alert_id(finding.detector, &finding.entity, finding.start_second),
            detector: finding.detector,
            revision: 0,
            state: State::Provisional,
            start_second: finding.start_second,
            last_second: finding.second,
            active_seconds: 0,
            second_packets: 0,
            peak_packets: 0,
            told_packets: 0,
            told_case: (Severity::Informational, 0, 0),
            packets: 0,
            wire_bytes: 0,
            sizes: [0; SIZE_BINS],
            peers: BTreeMap::new(),
            sources: 0,
            destinations: 0,
            spoofed: false,
            estimated: false,
            also_seen: Vec::new(),
            one_sided: false,
            missing: Vec::new(),
            beyond: None,
            subjects: BTreeMap::new(),
            more_quiet_s: 0,
            corroborated_by: BTreeSet::new(),
            peak: finding.clone(),
        };
        open.extend(finding, telemetry);
        open
    }

    fn extend(&mut self, finding: Finding, telemetry: &Telemetry) {
        let new_second = self.active_seconds == 0 || finding.second > self.last_second;
        if new_second {
            self.active_seconds += 1;
            self.second_packets = 0;
        }
        self.last_second = self.last_second.max(finding.second);
        self.subjects.insert(finding.subject, finding.second);
        self.one_sided |= telemetry.one_sided;
        for gap in &telemetry.missing {
            if !self.missing.contains(gap) {
                self.missing.push(gap.clone());
            }
        }
        if finding.detector != self.detector {
            self.also_see(finding.detector);
        }
        let busiest = finding.busiest().packets;
        self.second_packets += busiest;
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
        self.spoofed |= finding.spoofed_sources;
        self.estimated |= finding.estimated;
        self.remember(&finding.peers);
        self.peak_packets = self.peak_packets.max(self.second_packets);
        if finding.detector == self.detector && finding.rank() > self.peak.rank() {
            let (entity, home_sender) = (self.peak.entity.clone(), self.peak.home_sender);
            self.peak = Finding { entity, home_sender, ..finding };
        }
    }

    fn corroborate(&mut self, source: Arc<str>) {
        if self.corroborated_by.len() < LISTED_SOURCES {
            self.corroborated_by.insert(source);
        }
    }

    fn also_see(&mut self, detector: &'static str) {
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

    /// What makes news of a case.
    fn case_rank(&self) -> (Severity, u64, usize) {
        let rank = self.peak.case.as_ref().map(|case| {
            (case.severity, case.score.value.max(0.0) as u64 / 10, case.timeline.len())
        });
        rank.unwrap_or((Severity::Informational, 0, 0))
    }

    fn alert(&self) -> Alert {
        let finding = &self.peak;
        let (analytics, possible_analytics) = analytics(finding);
        let known: &[&str] = finding.case.as_ref().map_or(&[], |case| &case.missing);
        let further = self.missing.iter().filter(|gap| !known.contains(&gap.as_str()));
        let (severity, confidence, grade) = Grade::of(
            finding,
            &Circumstances {
                peak_packets: self.peak_packets,
                state: self.state,
                one_sided: self.one_sided,
                further_gaps: further.count(),
            },
        );
        let mut missing: Vec<String> = match (&finding.case, finding.family) {
            (Some(case), _) => case.missing.iter().map(|&gap| gap.to_owned()).collect(),
            (None, Family::Sensor) => Vec::new(),
            (None, _) => vec!["baseline".to_owned(), "process_map".to_owned()],
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
            case: finding.case.clone(),
            missing_telemetry: missing,
            summary: String::new(),
            sensor: String::new(),
            interface: String::new(),
            clock_synchronised: None,
        };
        alert.summary = sentence(&alert);
        alert
    }

    fn corroborations(&self) -> Option<(String, Value)> {
        let names: Vec<&str> = self.corroborated_by.iter().map(AsRef::as_ref).collect();
        (!names.is_empty()).then(|| ("corroborated_by".to_owned(), names.into()))
    }

    fn evidence(&self) -> Evidence {
        let finding = &self.peak;
        let busiest = finding.busiest();
        let several = self.subjects.len() > 1 && finding.shape != Shape::Carpet;
        Evidence {
            class: finding.kind.to_owned(),
            direction: finding.direction,
            shape: if several { Shape::OneToMany } else { finding.shape },
            rule: finding.rule.clone(),
            measured: finding.measured,
            decided_by: finding
                .case
                .as_ref()
                .map_or("absolute_threshold", |case| case.decided_by.name())
                .to_owned(),
            baseline: finding.case.as_ref().map_or_else(
                || "none: confidence is capped until the entity's baseline is mature".to_owned(),
                |case| case.baseline.clone(),
            ),
            peak: Peak {
                time_ns: second_ns(busiest.second),
                packets_per_s: self.peak_packets,
                unanswered_packets_per_s: finding.unanswered,
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
                .chain(self.beyond.iter().map(|entry| ("allowed".to_owned(), beyond_detail(entry))))
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

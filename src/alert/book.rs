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
//! Of several alerts of one act the one that knows best who did it stands; see
//! [`super::act`].
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

use super::allow::{AllowCount, Allowances, News, Verdict, Volume};
use super::allowed::AllowedAlerts;
use super::ended::Ended;
use super::open::Open;
use super::{Alert, State, act};
use crate::detect::{DetectSettings, Family, Finding, Subject, Telemetry};
use crate::engine::window::Host;
use crate::host::inventory::Inventory;

#[derive(Debug)]
pub struct AlertBook {
    settings: DetectSettings,
    /// By number, in the order of their opening.
    open: BTreeMap<u64, Open>,
    by_subject: BTreeMap<(Family, Subject), u64>,
    by_entity: BTreeMap<(&'static str, String), u64>,
    /// By the address that sends, where that is told.
    by_sender: BTreeMap<Host, BTreeSet<u64>>,
    closed: Vec<Alert>,
    updated: Vec<Update>,
    opened: u64,
    suppressed: u64,
    allowances: Allowances,
    /// Those without bounds were not yet held against the alerts that are open.
    has_new_entries: bool,
    allowed: AllowedAlerts,
    ended: Ended,
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

impl AlertBook {
    pub fn new(settings: &DetectSettings) -> Self {
        Self {
            settings: settings.clone(),
            open: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            by_entity: BTreeMap::new(),
            by_sender: BTreeMap::new(),
            closed: Vec::new(),
            updated: Vec::new(),
            opened: 0,
            suppressed: 0,
            allowances: Allowances::new(&settings.allow),
            has_new_entries: false,
            allowed: AllowedAlerts::default(),
            ended: Ended::default(),
        }
    }

    /// Other settings from here on. Alerts that are open go on, but for those that an
    /// entry that came allows.
    pub fn set_settings(&mut self, settings: &DetectSettings) {
        self.settings = settings.clone();
        self.allowances.replace(&settings.allow);
        self.has_new_entries = !self.open.is_empty();
    }

    /// Whose addresses are whose from here on, where entries name instances.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.allowances.set_inventory(inventory);
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
        let mut touched = BTreeSet::new();
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
                    touched.extend(number);
                    last = Some((key.0, key.1, key.2, number));
                }
            }
        }
        for number in touched {
            self.relate(number);
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
        if std::mem::take(&mut self.has_new_entries) {
            self.close_allowed(second);
        }
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

    /// The alerts that were, as far as they are kept, by start and id.
    pub fn take_allowed_alerts(&mut self) -> Vec<Alert> {
        self.allowed.take(self.settings.burst_time_window_s)
    }

    /// The entry that covers it, in words, whether within its bound or not.
    pub(crate) fn allowance_of(&self, finding: &Finding) -> Option<String> {
        self.allowances.covering(finding)
    }

    /// The id of the alert that is open about it.
    pub(crate) fn open_about(&self, family: Family, subject: Subject) -> Option<&str> {
        let number = self.by_subject.get(&(family, subject))?;
        Some(&self.open.get(number)?.id)
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
            let volume = Volume::of(finding);
            let sum = volumes.entry(key);
            sum.and_modify(|sum| sum.add(&volume)).or_insert(volume);
        }
        volumes
    }

    /// Whether the finding may open an alert, and what it went beyond.
    fn judge(&mut self, finding: &Finding, volumes: &Volumes) -> Verdict {
        if self.allowances.is_empty() {
            return Verdict::NotListed;
        }
        let volume = volume_in(volumes, finding);
        self.allowances.judge(finding, volume, self.settings.quiet_time_s)
    }

    /// Closes what entries without bounds allow by now: those with bounds are asked
    /// when it is known how much goes on ([`Self::is_over`]).
    fn close_allowed(&mut self, second: i64) {
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        for number in numbers {
            let Some(open) = self.open.get_mut(&number) else { continue };
            let news = self.allowances.news(open, open.about(), second, None);
            if let News::Allowed(entry) = news {
                open.allowed = Some(entry);
                self.close(number);
            }
        }
    }

    /// Holds entries that came since against an alert that goes on: whether it is
    /// closed by one of them.
    fn is_over(&mut self, number: u64, finding: &Finding, volumes: &Volumes) -> bool {
        let generation = self.allowances.generation();
        let Some(open) = self.open.get_mut(&number) else { return false };
        let is_its_own =
            finding.detector == open.detector && finding.entity.id == open.about().entity.id;
        if open.seen_entries == generation || !is_its_own || finding.corroborated_by.is_some() {
            return false;
        }
        let volume = Some(volume_in(volumes, finding));
        match self.allowances.news(open, finding, finding.second, volume) {
            News::Allowed(entry) => {
                open.allowed = Some(entry);
                self.close(number);
                return true;
            }
            News::Beyond(entry) => open.beyond = Some(entry),
            News::Nothing => {}
        }
        open.seen_entries = generation;
        false
    }

    /// Number of the alert that the finding now belongs to.
    fn place(
        &mut self,
        mut finding: Finding,
        telemetry: &Telemetry,
        volumes: &Volumes,
    ) -> Option<u64> {
        let subject = (finding.family, finding.subject);
        let entity = (finding.detector, finding.entity.id.clone());
        let known = self.by_subject.get(&subject).or_else(|| self.by_entity.get(&entity)).copied();
        let known = known.filter(|&number| !self.is_over(number, &finding, volumes));
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
            Verdict::Suppressed(entry) => {
                let quiet_s = i64::try_from(self.settings.quiet_time_s).unwrap_or(i64::MAX);
                let burst_s = self.settings.burst_time_window_s;
                let (detector, second) = (finding.detector, finding.second);
                self.allowed.note(finding, entry, telemetry, (quiet_s, burst_s), &self.ended);
                self.ended.note(detector, &entity.1, second);
                return None;
            }
        };
        if self.open.len() >= self.settings.open_alerts
            || self.opened >= self.settings.total_alerts as u64
        {
            self.suppressed += 1;
            return None;
        }
        self.ended.begin_behind(&mut finding);
        let number = self.opened;
        self.opened += 1;
        self.by_subject.insert(subject, number);
        self.by_entity.insert(entity, number);
        let mut open = Open::new(finding, telemetry);
        open.beyond = beyond;
        open.seen_entries = self.allowances.generation();
        self.open.insert(number, open);
        Some(number)
    }

    /// Finds alerts of the same act among those of the same senders.
    fn relate(&mut self, number: u64) {
        let Some(open) = self.open.get(&number) else { return };
        let mut same = BTreeSet::new();
        for sender in open.acts.senders() {
            let others = self.by_sender.entry(sender).or_default();
            others.insert(number);
            same.extend(others.iter().copied());
        }
        act::relate(&mut self.open, number, &same);
    }

    fn revise(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let sustained = open.state == State::Provisional
            && open.active_seconds >= self.settings.burst_time_window_s;
        if sustained {
            open.state = State::Sustained;
        }
        let twice = open.peak_packets() >= 2 * open.told_packets.max(1);
        let case = open.case_rank();
        let acts = open.acts.news();
        let related = acts != open.told_acts;
        if open.revision == 0 || sustained || twice || related || case > open.told_case {
            open.revision += 1;
            // A score that sinks and rises again is no news.
            open.told_case = open.told_case.max(case);
            open.told_acts = acts;
            open.told_packets = open.peak_packets();
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
            self.close(number);
        }
    }

    fn close(&mut self, number: u64) {
        let Some(mut open) = self.open.remove(&number) else { return };
        open.revision += 1;
        self.ended.note(open.detector, &open.about().entity.id, open.last_second);
        let alert = open.alert();
        self.updated.push(Update { alert: alert.clone(), closed: true });
        self.closed.push(alert);
        self.bound_closed();
        self.by_subject.retain(|_, at| *at != number);
        self.by_entity.retain(|_, at| *at != number);
        self.by_sender.retain(|_, numbers| {
            numbers.remove(&number);
            !numbers.is_empty()
        });
        self.bound_updates();
    }
}

/// Of all that the alert is seen at in that second.
fn volume_in(volumes: &Volumes, finding: &Finding) -> Volume {
    let key = (finding.second, finding.detector, finding.entity.id.clone());
    volumes.get(&key).copied().unwrap_or_else(|| Volume::of(finding))
}

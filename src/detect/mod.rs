//! Detectors: windows in, alerts out.
//!
//! [`Detection`] takes the merged [`Slice`]s of a run in the order of their
//! seconds (seconds without traffic are left out) and owns the detectors and
//! the [`AlertBook`]. A detector never sees a packet or a clock: what it says
//! is a function of the slices alone. Its memory across seconds is bounded and
//! its policy at the bound is stated in its file.
//!
//! Memory beside the slice: what one second can hold over the thresholds,
//! 4 MB of scan sources (0.5 MB while each probed once), 0.4 MB of ARP stations, and the book's alerts (1,024
//! open with 64 peers each, 10,000 in all) at the default settings.
//!
//! Order matters: a detector sees the findings of those before it in the same
//! window and leaves out packets that they explain. Victims come first, then
//! prefixes, then senders, then scans.

pub mod analytic;
mod arp_sweep;
mod background;
mod carpet;
pub mod classes;
mod connection_flood;
mod endpoints;
mod finding;
mod flood;
mod home;
mod horizon;
pub(crate) mod interest;
mod interfaces;
mod kind;
mod names;
mod narrowed;
mod quarantine;
mod rate_rule;
mod reflection;
mod scan;
mod scan_order;
mod sender_flood;
mod sensor_loss;
mod settable;
mod settings;
mod sources;
mod storm;
mod victims;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::alert::{Alert, AlertBook, Counters, Update};
use crate::baseline::{BaselineSettings, Baselines};
use crate::engine::window::{Seed, Slice};
use crate::entity::Finest;
use crate::host::inventory::Inventory;

use analytic::{AnalyticContext, Analytics, Event, Inputs, Measured};
use background::KnownAddresses;
use quarantine::{Held, Quarantine};

pub use arp_sweep::ArpSweep;
pub use background::Background;
pub use carpet::CarpetBombing;
pub use connection_flood::ConnectionFlood;
pub(crate) use finding::round3;
pub use finding::{
    Act, Busiest, Direction, Family, Finding, Peer, PeerRole, PortShare, Rule, Shape, Subject,
    Traffic,
};
pub use flood::{FragmentFlood, StatelessFlood, TcpFlood};
pub use home::HomeNets;
pub use interest::Interest;
pub use kind::Kind;
pub use names::{FlowNames, Name, Names};
pub use reflection::Reflection;
pub use scan::Scan;
pub use sender_flood::SenderFlood;
pub use sensor_loss::{Loss, SensorLoss};
pub(crate) use settable::PACKET_RATES;
pub use settable::{SETTINGS, Setting, SettingRange, SettingValue};
pub use settings::DetectSettings;
pub use storm::Storm;
pub use watch::{Near, Peak, Seen, Watch};

/// What is known of the telemetry itself, beside the slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// More than a fifth of the TCP connections were seen one way: the answer
    /// ratio says nothing.
    pub one_sided: bool,
    /// Further gaps, as they stand in an alert (`cut_packets`, `packets_lost`,
    /// `sampled_flows`, `unread_payloads`).
    pub missing: Vec<String>,
    /// Gaps of this second and the minute before it, and the last second of each: what
    /// began earlier than it was told has those of its time.
    pub lately: BTreeMap<String, i64>,
    /// What the interfaces lost in this second; empty offline.
    pub losses: Vec<Loss>,
}

/// What a detector may use.
pub struct Context<'a> {
    pub settings: &'a DetectSettings,
    pub one_sided: bool,
    pub losses: &'a [Loss],
}

impl Context<'_> {
    /// Whether packets of this kind need no connection.
    fn is_stateless(&self, kind: Kind) -> bool {
        self.settings.protocol_type.contains(&kind)
    }
}

/// A slice with what several detectors need of it.
pub struct Window<'a> {
    pub slice: &'a Slice,
    pub(crate) victims: Vec<victims::Victim>,
}

/// A method that finds one sort of attack.
pub trait Detector: Send {
    fn name(&self) -> &'static str;

    /// Looks at one second, later than all before; `out` holds what detectors
    /// before this one found in it.
    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>);

    /// How often its memory was full.
    fn refused(&self) -> u64 {
        0
    }
}

/// All detectors of a run, and the book of its alerts.
pub struct Detection {
    settings: DetectSettings,
    detectors: Vec<Box<dyn Detector>>,
    analytics: Analytics,
    baselines: Baselines,
    quarantine: Quarantine,
    inputs: Inputs,
    known: KnownAddresses,
    names: Names,
    seed: Seed,
    finest: Finest,
    book: AlertBook,
    findings: Vec<Finding>,
    windows: u64,
    pairs_overflowed_windows: u64,
    estimated_windows: u64,
}

impl Detection {
    pub fn new(settings: DetectSettings) -> Self {
        let detectors: Vec<Box<dyn Detector>> = vec![
            Box::<Reflection>::default(),
            Box::<FragmentFlood>::default(),
            Box::<StatelessFlood>::default(),
            Box::<TcpFlood>::default(),
            Box::<CarpetBombing>::default(),
            Box::<SenderFlood>::default(),
            Box::<ConnectionFlood>::default(),
            Box::<Storm>::default(),
            Box::<Scan>::default(),
            Box::<ArpSweep>::default(),
            Box::<SensorLoss>::default(),
        ];
        let book = AlertBook::new(&settings);
        Self {
            settings,
            detectors,
            analytics: Analytics::default(),
            baselines: Baselines::default(),
            quarantine: Quarantine::default(),
            inputs: Inputs::default(),
            known: KnownAddresses::default(),
            names: Names::default(),
            seed: Seed::default(),
            finest: Finest::default(),
            book,
            findings: Vec::new(),
            windows: 0,
            pairs_overflowed_windows: 0,
            estimated_windows: 0,
        }
    }

    /// Other settings from the next second on. What detectors remember of
    /// earlier ones, and alerts that are open, stay.
    pub fn set_settings(&mut self, mut settings: DetectSettings) {
        settings.home_nets.take_over(&mut self.settings.home_nets);
        self.book.set_settings(&settings);
        self.baselines.set_settings(BaselineSettings::from(&settings));
        self.settings = settings;
    }

    /// What the inventory names is ours, and is meant by entries for instances, from the next
    /// second on.
    pub fn set_inventory(&mut self, inventory: &Arc<Inventory>) {
        self.book.set_inventory(Arc::clone(inventory));
        let instances = inventory.instances().iter();
        self.settings.home_nets.set_inventory(instances.flat_map(|instance| {
            let addresses = instance.addresses.iter().map(|&address| address.into());
            addresses.chain(instance.networks.iter().copied())
        }));
    }

    /// A source says that an interface of ours has the address.
    pub fn add_interface(&mut self, address: IpAddr) {
        self.settings.home_nets.add_interface(address.into());
    }

    /// Packets had the address at the end where an interface counted them.
    pub fn add_seen_at(&mut self, address: IpAddr, interface: &Arc<str>) {
        self.settings.home_nets.add_seen_at(address.into(), interface);
    }

    /// Takes the next second. A slice that is not later than the one before is
    /// an error of the caller; it is looked at as if it were.
    pub fn observe(&mut self, slice: &Slice, telemetry: &Telemetry) {
        if self.inputs.undetected {
            return;
        }
        let ctx = Context {
            settings: &self.settings,
            one_sided: telemetry.one_sided,
            losses: &telemetry.losses,
        };
        let window = Window { slice, victims: victims::find(slice, &ctx) };
        self.findings.clear();
        for detector in &mut self.detectors {
            detector.observe(&window, &ctx, &mut self.findings);
        }
        for finding in &mut self.findings {
            finding.background = self.known.background(finding, &self.baselines);
        }
        if let Some(watch) = &self.settings.watch {
            watch.count(slice, &self.settings);
        }
        self.tell_watch();
        self.windows += 1;
        self.pairs_overflowed_windows += u64::from(slice.pairs_overflowed());
        self.estimated_windows +=
            u64::from(!slice.receivers().is_exact() || !slice.senders().is_exact());
        let held = self.held();
        self.book.record(slice.second(), &mut self.findings, telemetry, &self.settings);
        self.hold_back(held);
    }

    /// What the run is given. Kinds of telemetry are added as they come.
    pub fn set_inputs(&mut self, inputs: Inputs) {
        self.inputs = inputs;
    }

    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    pub fn settings(&self) -> &DetectSettings {
        &self.settings
    }

    /// What entities are held against.
    pub fn set_baselines(&mut self, baselines: Baselines) {
        self.inputs.baseline = true;
        self.baselines = baselines;
    }

    /// Time has come to this second: baselines that are due are written.
    pub fn keep_baselines(&mut self, second: i64) {
        self.baselines.tick(second);
    }

    pub fn baselines(&self) -> &Baselines {
        &self.baselines
    }

    /// Gives up the baselines, to be kept.
    pub fn take_baselines(&mut self) -> Baselines {
        std::mem::take(&mut self.baselines)
    }

    /// Shows an event to the analytics; `second` is how far time has come.
    pub fn event(&mut self, event: &Event<'_>, second: i64, telemetry: &Telemetry) {
        self.inputs.note(event);
        if self.inputs.undetected {
            return;
        }
        if narrowed::is_of_another_project(event, &self.settings) {
            return;
        }
        match *event {
            Event::Second { entities, .. } => self.known.note(entities),
            // Names are held against baselines alone.
            Event::Told { .. } if !self.inputs.baseline => return,
            Event::Told { second, key, told } => return self.names.tell(second, key, told),
            _ => {}
        }
        // Of an entity and time the finest source decides; others corroborate.
        let coarser = match event {
            Event::Minute(minute) if !self.finest.decides(minute) => {
                Some(Arc::clone(&minute.source))
            }
            _ => None,
        };
        let ctx = AnalyticContext {
            settings: &self.settings,
            baselines: &self.baselines,
            inputs: &self.inputs,
            names: &self.names,
            seed: self.seed,
        };
        self.findings.clear();
        let mut taught = Vec::new();
        self.analytics.show(event, &ctx, &mut self.findings, &mut taught);
        if self.findings.is_empty() {
            self.tell_watch();
        } else {
            self.take_findings(second, telemetry, coarser.as_ref());
        }
        if let (Event::Minute(minute), None) = (event, &coarser) {
            self.quarantine.note(minute);
            self.baselines.learn(minute);
        }
        match event {
            Event::Minute(minute) => self.names.teach(minute, &mut self.baselines),
            Event::Flow(flow) if self.baselines.is_learning() => {
                let home = &self.settings.home_nets;
                self.names.note(flow, home, &self.baselines, self.seed);
            }
            Event::End => self.names.end(&mut self.baselines),
            _ => {}
        }
        if taught.is_empty() {
            return;
        }
        for Measured { key, metric, at_s, value, is_usual } in taught {
            match is_usual {
                true => self.baselines.learn_value(&key, metric, at_s, value),
                false => self.baselines.learn_habit(&key, metric, at_s, value),
            }
        }
    }

    /// Takes what was found in an event; where its source is coarser than another, that
    /// only corroborates.
    fn take_findings(&mut self, second: i64, telemetry: &Telemetry, coarser: Option<&Arc<str>>) {
        // What is narrowed away is no more normal for that.
        let held = self.held();
        for finding in &mut self.findings {
            narrowed::by_image(finding, &self.settings);
            if let Some(source) = coarser {
                finding.corroborated_by = Some(Arc::clone(source));
                finding.opens = false;
            }
        }
        self.tell_watch();
        self.book.record(second, &mut self.findings, telemetry, &self.settings);
        self.hold_back(held);
    }

    /// What the findings keep from being learned, before the book takes them.
    fn held(&self) -> Vec<Held> {
        if !self.baselines.is_learning() {
            return Vec::new();
        }
        let held = |finding: &Finding| {
            let freeze = self.quarantine.of(finding, &self.settings)?;
            let is_allowed = self.book.allowance_of(finding).is_some();
            Some(Held { family: finding.family, subject: finding.subject, is_allowed, freeze })
        };
        self.findings.iter().filter_map(held).collect()
    }

    /// What is within what somebody allowed alerts nobody, and is to become normal.
    fn hold_back(&mut self, held: Vec<Held>) {
        for Held { family, subject, is_allowed, mut freeze } in held {
            freeze.alert = self.book.open_about(family, subject).map(Arc::from);
            if !is_allowed || freeze.alert.is_some() {
                self.baselines.freeze(&freeze);
            }
        }
    }

    fn tell_watch(&self) {
        let Some(watch) = &self.settings.watch else { return };
        let allowed = |finding: &Finding| self.book.allowance_of(finding);
        watch.look(&self.findings, allowed, |key| self.baselines.frozen_until(key));
    }

    /// Time has come to this second without traffic: what went quiet is closed.
    pub fn advance(&mut self, second: i64) {
        self.book.close_quiet(second, &self.settings);
    }

    /// Every alert so far, open ones as they stand, by start and id.
    pub fn alerts_so_far(&self) -> Vec<Alert> {
        self.book.alerts()
    }

    /// Alerts whose revision rose since the last call, for live output.
    pub fn take_updates(&mut self) -> Vec<Update> {
        self.book.take_updates()
    }

    /// The stream has ended: closes all alerts.
    pub fn close(&mut self) {
        self.book.close_all();
    }

    /// Ends the run: all alerts by start and id, and what was left out.
    pub fn finish(&mut self) -> (Vec<Alert>, Counters) {
        self.close();
        let mut counters = self.counters();
        counters.allowed_alerts = self.book.take_allowed_alerts();
        (self.book.alerts(), counters)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            windows: self.windows,
            alerts_suppressed: self.book.suppressed(),
            pairs_overflowed_windows: self.pairs_overflowed_windows,
            estimated_windows: self.estimated_windows,
            detector_state_refused: self.detectors.iter().map(|d| d.refused()).sum::<u64>()
                + self.analytics.iter().map(|analytic| analytic.refused()).sum::<u64>()
                + self.names.refused(),
            allowed: self.book.allowed(),
            allowed_alerts: Vec::new(),
        }
    }

    /// Names of the detectors, in their order.
    pub fn detectors(&self) -> Vec<&'static str> {
        self.detectors.iter().map(|detector| detector.name()).collect()
    }
}

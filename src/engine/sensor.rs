//! What a live capture says of itself, second by second: losses for the
//! detectors, and events for whoever runs the sensor.
//!
//! Asked by the correlation stage when seconds close. It reads counters, never
//! a packet. Offline there is none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::detect::Loss;
use crate::flow::totals::InferredLoss;
use crate::input::live::{Change, LiveStatus, TapStatus};
use crate::time::rfc3339;

const SECOND_NS: i64 = 1_000_000_000;

/// Kinds of events when settings change.
pub(crate) const RELOADED: &str = "config.reloaded";
pub(crate) const REFUSED: &str = "config.refused";

/// Something happened to the sensor, not on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SensorEvent {
    pub time: String,
    /// `sensor.silent`, `sensor.resumed`, `interface.down` and so on.
    pub kind: &'static str,
    pub interface: String,
    /// For people.
    pub text: String,
    /// Id of the sensor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sensor: String,
    /// Whether its clock followed a reference then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
}

/// Seconds whose ended flows a share of inferred loss is over: one lost segment
/// of a short flow says little.
const INFER_OVER_S: i64 = 60;

/// Bytes that must be expected in that time for a share to mean something: a
/// full-sized segment is below 2 per mille of it.
const LEAST_EXPECTED_BYTES: u64 = 1_000_000;

impl SensorEvent {
    /// Of what the sensor writes and sends, not of what it hears.
    pub(crate) fn of_outputs(
        kind: &'static str,
        text: String,
        time_ns: i64,
        status: &LiveStatus,
    ) -> Self {
        let mut event = event(kind, "", text, time_ns.div_euclid(SECOND_NS));
        status.sensor().clone_into(&mut event.sensor);
        event.clock_synchronised = status.clock_synchronised();
        event
    }

    /// Nobody has to do anything.
    pub fn is_good_news(&self) -> bool {
        matches!(
            self.kind,
            "interface.up"
                | "interface.returned"
                | "sensor.resumed"
                | "sensor.inferred_loss_over"
                | "clock.synchronised"
                | "source.resumed"
                | "output.resumed"
                | "recording.resumed"
                | "delivery.resumed"
                | RELOADED
        )
    }
}

/// The sensor of a run.
#[derive(Debug)]
pub(crate) struct Sensor {
    status: Arc<LiveStatus>,
    /// Seconds without a packet after which an interface counts as silent.
    silent_after_s: i64,
    /// Share of lost bytes from which on it is told.
    loss_per_mille: u64,
    taps: Vec<Watched>,
    heard_before: BTreeMap<String, i64>,
    clock_synchronised: Option<bool>,
    events: Vec<SensorEvent>,
}

#[derive(Debug, Default)]
struct Watched {
    before: TapStatus,
    /// Last second that brought a packet; `None` before the first.
    last_packet_s: Option<i64>,
    /// Of one that an earlier run heard: the last second of then, and the first of now.
    before_s: Option<(i64, i64)>,
    silent: bool,
    inferred: Inferred,
}

/// Loss before us or by us, as acknowledgements tell it.
#[derive(Debug, Default)]
struct Inferred {
    /// Sums up to the last seconds, oldest first; the oldest is of before them.
    sums: VecDeque<(i64, InferredLoss)>,
    told: bool,
}

impl Sensor {
    pub(crate) fn new(status: Arc<LiveStatus>, silent_after_s: u64, loss_per_mille: u64) -> Self {
        let silent_after_s = i64::try_from(silent_after_s).unwrap_or(i64::MAX);
        let clock_synchronised = status.clock_synchronised();
        Self {
            status,
            silent_after_s,
            loss_per_mille,
            taps: Vec::new(),
            heard_before: BTreeMap::new(),
            clock_synchronised,
            events: Vec::new(),
        }
    }

    /// Which interfaces an earlier run heard, and when last.
    pub(crate) fn heard_before(mut self, heard: BTreeMap<String, i64>) -> Self {
        self.heard_before = heard;
        self
    }

    /// From here on, inferred loss is held against this.
    pub(crate) fn set_loss_per_mille(&mut self, loss_per_mille: u64) {
        self.loss_per_mille = loss_per_mille;
    }

    /// What each interface lost since this was asked last. `second` is the
    /// stream's.
    pub(crate) fn look(&mut self, second: i64) -> Vec<Loss> {
        self.ask_clock(second);
        for change in self.status.take_changes() {
            self.events.push(event_of(&change, second));
        }
        let now = self.status.taps();
        let mut losses = Vec::with_capacity(now.len());
        for (number, tap) in now.into_iter().enumerate() {
            if self.taps.len() == number {
                let before = TapStatus::default();
                let before_s = self.heard_before.get(&tap.name).map(|&last_s| (last_s, second));
                self.taps.push(Watched { before, before_s, ..Watched::default() });
            }
            let watched = &mut self.taps[number];
            let before = &watched.before;
            losses.push(Loss {
                interface: number as u16,
                name: tap.name.clone(),
                packets: tap.frames.saturating_sub(before.frames),
                kernel_drops: tap.kernel_drops.saturating_sub(before.kernel_drops),
                interface_drops: tap.interface_drops.saturating_sub(before.interface_drops),
            });
            self.events.extend(watched.follow(&tap, second, self.silent_after_s));
            watched.before = tap;
        }
        losses
    }

    /// An event that does not come from an interface.
    pub(crate) fn tell(&mut self, kind: &'static str, text: String, second: i64) {
        self.tell_of("", kind, text, second);
    }

    /// Something happened to an interface or to another source.
    pub(crate) fn tell_of(&mut self, name: &str, kind: &'static str, text: String, second: i64) {
        self.events.push(event(kind, name, text, second));
    }

    /// Takes what each interface is inferred to have lost since the start, as
    /// `each` calls it by name; of one name all sums count.
    pub(crate) fn infer(
        &mut self,
        second: i64,
        each: impl FnOnce(&mut dyn FnMut(&str, InferredLoss)),
    ) {
        let sums = self.status.sum_by_tap(each);
        for (watched, &sum) in self.taps.iter_mut().zip(&sums) {
            let name = &watched.before.name;
            let told = watched.inferred.follow(sum, second, self.loss_per_mille);
            self.events.extend(
                told.map(|(kind, text)| event(kind, name, format!("{name}: {text}"), second)),
            );
        }
        self.status.set_inferred(sums);
    }

    pub(crate) fn take_events(&mut self) -> Vec<SensorEvent> {
        let mut events = std::mem::take(&mut self.events);
        for event in &mut events {
            self.status.sensor().clone_into(&mut event.sensor);
            event.clock_synchronised = self.clock_synchronised;
        }
        events
    }

    fn ask_clock(&mut self, second: i64) {
        let now = self.status.ask_clock();
        if now == std::mem::replace(&mut self.clock_synchronised, now) {
            return;
        }
        let (kind, text) = match now {
            Some(true) => ("clock.synchronised", "the clock follows a reference again"),
            Some(false) => ("clock.unsynchronised", "the clock follows no reference any more"),
            None => {
                ("clock.unknown", "whether the clock follows a reference is not known any more")
            }
        };
        self.events.push(event(kind, "", text.to_owned(), second));
    }
}

impl Watched {
    /// Silence begins and ends.
    fn follow(&mut self, tap: &TapStatus, second: i64, after_s: i64) -> Option<SensorEvent> {
        // What was lost here was no silence.
        let dropped = |tap: &TapStatus| tap.kernel_drops.saturating_add(tap.interface_drops);
        if tap.frames > self.before.frames || dropped(tap) > dropped(&self.before) {
            self.last_packet_s = Some(second);
            // The last packets of one that goes down begin nothing.
            return (tap.up && std::mem::take(&mut self.silent)).then(|| {
                let text = format!("{}: packets come in again", tap.name);
                event("sensor.resumed", &tap.name, text, second)
            });
        }
        // An interface that never had traffic may well be a spare.
        let begun_s = self.before_s.map(|(_, begun_s)| begun_s);
        let quiet_s = second.saturating_sub(self.last_packet_s.or(begun_s)?);
        if self.silent || quiet_s < after_s {
            return None;
        }
        self.silent = true;
        let mut text = format!("{}: no packet for {quiet_s} s", tap.name);
        if let (None, Some((last_s, _))) = (self.last_packet_s, self.before_s) {
            let last = rfc3339(last_s.saturating_mul(SECOND_NS));
            text.push_str(&format!(", since the start; an earlier run heard the last at {last}"));
        }
        Some(event("sensor.silent", &tap.name, text, second))
    }
}

impl Inferred {
    /// Takes the sum up to this second; kind and words when loss begins or ends.
    fn follow(
        &mut self,
        sum: InferredLoss,
        second: i64,
        threshold: u64,
    ) -> Option<(&'static str, String)> {
        if self.sums.is_empty() {
            // Everything came since the start.
            self.sums.push_back((second, InferredLoss::default()));
        }
        self.sums.push_back((second, sum));
        while self.sums.get(1).is_some_and(|&(at, _)| second.saturating_sub(at) >= INFER_OVER_S) {
            self.sums.pop_front();
        }
        let before = self.sums.front().map_or_else(InferredLoss::default, |&(_, sum)| sum);
        let lately = InferredLoss {
            missed_bytes: sum.missed_bytes.saturating_sub(before.missed_bytes),
            expected_bytes: sum.expected_bytes.saturating_sub(before.expected_bytes),
        };
        // Too little says nothing, neither that it begins nor that it is over.
        let enough = lately.expected_bytes >= LEAST_EXPECTED_BYTES;
        let lossy = lately.missed_bytes > 0 && lately.per_mille() >= threshold;
        if !enough || lossy == self.told {
            return None;
        }
        self.told = lossy;
        if !lossy {
            let text = "acknowledged data is seen again".to_owned();
            return Some(("sensor.inferred_loss_over", text));
        }
        let text = format!(
            "{} of {} bytes of the TCP flows that ended in the last {INFER_OVER_S} s were \
             acknowledged but not seen: lost before the capture or in it",
            lately.missed_bytes, lately.expected_bytes,
        );
        Some(("sensor.inferred_loss", text))
    }
}

fn event_of(change: &Change, second: i64) -> SensorEvent {
    let (kind, name) = match change {
        Change::Up { name } => ("interface.up", name.as_str()),
        Change::Down { name } => ("interface.down", name.as_str()),
        Change::Absent { name } => ("interface.absent", name.as_str()),
        Change::Removed { name } => ("interface.removed", name.as_str()),
        Change::Returned { name } => ("interface.returned", name.as_str()),
        Change::CannotOpen { name, .. } => ("interface.unusable", name.as_str()),
        Change::Renamed { to, .. } => ("interface.renamed", to.as_str()),
        Change::ClockSetBack { name, .. } => ("clock.set_back", name.as_str()),
        Change::Overload { .. } => ("sensor.overload", ""),
    };
    event(kind, name, change.to_string(), second)
}

fn event(kind: &'static str, interface: &str, text: String, second: i64) -> SensorEvent {
    let time = rfc3339(second.saturating_mul(SECOND_NS));
    let (sensor, clock_synchronised) = (String::new(), None);
    SensorEvent { time, kind, interface: interface.to_owned(), text, sensor, clock_synchronised }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Shed;
    use crate::input::live::{ClockWatch, KernelClock};

    fn sensor() -> (Arc<LiveStatus>, Sensor) {
        let status = Arc::new(LiveStatus::default());
        (Arc::clone(&status), Sensor::new(status, 60, 10))
    }

    fn tap(frames: u64, kernel_drops: u64) -> TapStatus {
        let name = "eth0".to_owned();
        TapStatus { name, frames, kernel_drops, up: true, ..TapStatus::default() }
    }

    #[test]
    fn losses_are_those_since_the_last_look() {
        let (status, mut sensor) = sensor();
        status.publish(vec![tap(900, 100)], Shed::Nothing, &mut Vec::new());
        let first = sensor.look(10);
        assert_eq!((first[0].packets, first[0].lost(), first[0].per_mille()), (900, 100, 100));
        assert_eq!(sensor.look(11)[0].lost(), 0);
    }

    #[test]
    fn silence_is_told_once_and_its_end_too() {
        let (status, mut sensor) = sensor();
        let kinds = |sensor: &mut Sensor| {
            sensor.take_events().into_iter().map(|event| event.kind).collect::<Vec<_>>()
        };
        status.publish(vec![tap(1, 0)], Shed::Nothing, &mut Vec::new());
        sensor.look(100);
        sensor.look(159);
        assert!(kinds(&mut sensor).is_empty());
        sensor.look(160);
        sensor.look(161);
        assert_eq!(kinds(&mut sensor), ["sensor.silent"]);
        status.publish(vec![tap(2, 0)], Shed::Nothing, &mut Vec::new());
        sensor.look(170);
        assert_eq!(kinds(&mut sensor), ["sensor.resumed"]);
    }

    #[test]
    fn what_is_lost_at_an_interface_is_no_silence() {
        let (status, mut sensor) = sensor();
        for (second, drops) in [(100, 0), (155, 7), (160, 7), (214, 7)] {
            status.publish(vec![tap(1, drops)], Shed::Nothing, &mut Vec::new());
            sensor.look(second);
            assert!(sensor.take_events().iter().all(|event| event.kind != "sensor.silent"));
        }
        sensor.look(215);
        assert_eq!(sensor.take_events()[0].kind, "sensor.silent");
    }

    #[test]
    fn one_that_an_earlier_run_heard_is_silent_from_the_start() {
        let (status, sensor) = sensor();
        let heard = BTreeMap::from([("eth0".to_owned(), 50), ("gone".to_owned(), 50)]);
        let mut sensor = sensor.heard_before(heard);
        let mut at = |second: i64, frames: u64| {
            let spare = TapStatus { name: "eth1".to_owned(), ..tap(0, 0) };
            status.publish(vec![tap(frames, 0), spare], Shed::Nothing, &mut Vec::new());
            sensor.look(second);
            sensor.take_events()
        };
        assert!(at(1_000, 0).is_empty() && at(1_059, 0).is_empty(), "it may take its time");
        let told = at(1_060, 0);
        assert_eq!((told.len(), told[0].kind), (1, "sensor.silent"));
        let words = "eth0: no packet for 60 s, since the start; an earlier run heard the last at \
                     1970-01-01T00:00:50.000000000Z";
        assert_eq!(told[0].text, words);
        assert_eq!(at(1_070, 1)[0].kind, "sensor.resumed");
        assert_eq!(at(1_130, 1)[0].text, "eth0: no packet for 60 s");
    }

    #[test]
    fn what_came_before_an_interface_went_down_does_not_end_its_silence() {
        let (status, mut sensor) = sensor();
        let mut at = |second: i64, frames: u64, up: bool, mut changes: Vec<Change>| {
            let tap = TapStatus { up, ..tap(frames, 0) };
            status.publish(vec![tap], Shed::Nothing, &mut changes);
            sensor.look(second);
            sensor.take_events().into_iter().map(|event| event.kind).collect::<Vec<_>>()
        };
        let name = || "eth0".to_owned();
        at(100, 1, true, Vec::new());
        assert_eq!(at(160, 1, true, Vec::new()), ["sensor.silent"]);
        // A lease that is given back, groups that are left.
        let down = vec![Change::Down { name: name() }];
        assert_eq!(at(170, 3, false, down), ["interface.down"]);
        assert!(at(300, 3, false, Vec::new()).is_empty(), "told already");
        let up = vec![Change::Up { name: name() }];
        assert_eq!(at(301, 3, true, up), ["interface.up"]);
        assert_eq!(at(302, 4, true, Vec::new()), ["sensor.resumed"]);
    }

    #[test]
    fn an_interface_that_never_had_traffic_is_not_silent() {
        let (status, mut sensor) = sensor();
        status.publish(vec![tap(0, 0)], Shed::Nothing, &mut Vec::new());
        sensor.look(0);
        sensor.look(1_000);
        assert!(sensor.take_events().is_empty());
    }

    #[test]
    fn inferred_loss_is_told_when_its_share_is_reached_and_when_it_is_over() {
        const MB: u64 = 1_000_000;
        let names = ["eth0".to_owned()];
        let status = Arc::new(LiveStatus::new("tap-7", &names, Arc::new(KernelClock)));
        let mut sensor = Sensor::new(Arc::clone(&status), 60, 10);
        status.publish(vec![tap(1, 0)], Shed::Nothing, &mut Vec::new());
        let mut at = |second: i64, missed_bytes: u64, expected_bytes: u64| {
            sensor.look(second);
            let loss = InferredLoss { missed_bytes, expected_bytes };
            sensor.infer(second, |add| {
                // The same interface under two states of the clock.
                add("eth0", loss);
                add("eth0", InferredLoss::default());
                add("other", InferredLoss { missed_bytes: 9 * MB, expected_bytes: 9 * MB });
            });
            assert_eq!(status.inferred(), [loss]);
            let events = sensor.take_events();
            assert!(events.iter().all(|event| event.sensor == "tap-7"));
            let events = events.iter().filter(|event| event.kind.starts_with("sensor.inferred"));
            events.map(|event| event.kind).collect::<Vec<_>>()
        };
        assert!(at(100, 9_000, 10_000).is_empty(), "too little to mean anything");
        assert!(at(101, 9_000, 2 * MB).is_empty(), "below 10 per mille");
        assert_eq!(at(102, 30_000, 2 * MB + MB / 2), ["sensor.inferred_loss"]);
        assert!(at(103, 60_000, 3 * MB).is_empty(), "told once");
        assert_eq!(at(170, 60_000, 9 * MB), ["sensor.inferred_loss_over"]);
    }

    /// A clock whose state a test sets.
    #[derive(Debug)]
    struct Said(std::sync::atomic::AtomicBool);

    impl ClockWatch for Said {
        fn is_synchronised(&self) -> Option<bool> {
            Some(self.0.load(std::sync::atomic::Ordering::Relaxed))
        }
    }

    #[test]
    fn a_clock_that_gains_or_loses_its_reference_is_an_event() {
        let clock = Arc::new(Said(true.into()));
        let watch = Arc::clone(&clock) as Arc<dyn ClockWatch>;
        let status = Arc::new(LiveStatus::new("", &[], watch));
        let mut sensor = Sensor::new(Arc::clone(&status), 60, 10);
        for (second, synchronised, expected) in [
            (1, true, None),
            (2, false, Some("clock.unsynchronised")),
            (3, false, None),
            (4, true, Some("clock.synchronised")),
        ] {
            clock.0.store(synchronised, std::sync::atomic::Ordering::Relaxed);
            sensor.look(second);
            let events = sensor.take_events();
            assert_eq!(events.first().map(|event| event.kind), expected);
            assert!(events.iter().all(|event| event.clock_synchronised == Some(synchronised)));
            assert_eq!(status.clock_synchronised(), Some(synchronised));
        }
    }
}

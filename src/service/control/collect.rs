//! From what the correlation stage has when it closes a second to a
//! [`Snapshot`].
//!
//! Always kept: a rate for each of the last seconds, alerts, events. Only while
//! somebody watches: talkers, protocols and sizes of each second. Addresses are
//! replaced by pseudonyms here, where they are to be, like everything that is
//! written. Start at [`Collector::window`] and [`Collector::closed`].

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};

use super::snapshot::{
    AlertLine, Alerts, Conversation, Conversations, Event, Hosts, Interface, PayloadSizes,
    Protocol, Rates, SCHEMA, Snapshot, Talker,
};
use super::talkers::{Both, ProtocolKey, Ranked, Second, Sum};
use crate::alert::Alert;
use crate::engine::window::{Assembled, FineSizes, Host};
use crate::engine::{FlowGauge, SensorEvent};
use crate::flow::sizes::bin_range;
use crate::input::live::{LiveStatus, TapStatus};
use crate::output::names::proto_name;
use crate::output::privacy::Privacy;
use crate::time::rfc3339;

/// Seconds that sums are over: long enough to read, short enough to be now.
pub const WINDOW_S: i64 = 10;
/// Seconds of rates: five minutes, as many as a wide screen has columns.
const HISTORY_S: usize = 300;
/// Entries sent of each list.
const SHOWN: usize = 100;
/// Alerts kept. Open ones go last.
const ALERTS: usize = 200;
const EVENTS: usize = 50;
const PEERS: usize = 8;

const SECOND_NS: i64 = 1_000_000_000;

/// Keeps what a snapshot is made of.
#[derive(Debug)]
pub struct Collector {
    privacy: Arc<Privacy>,
    status: Arc<LiveStatus>,
    watched: Arc<AtomicBool>,
    started: Instant,
    hasher: RandomState,
    /// Of seconds that are being closed.
    pending: Vec<Totals>,
    /// Seconds before this one are closed.
    closed_before_s: Option<i64>,
    history: VecDeque<(u64, u64)>,
    /// The first second that was watched, and what was seen in those since.
    watched_since_s: Option<i64>,
    seconds: VecDeque<Second>,
    flows_begun: u64,
    taps: Taps,
    alerts: VecDeque<AlertLine>,
    alerts_total: u64,
    events: VecDeque<Event>,
}

/// A second's packets and bytes, non-IP ones too.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    second: i64,
    packets: u64,
    bytes: u64,
    late: u64,
}

impl Collector {
    /// `watched` is the one that the engine was given.
    pub fn new(privacy: Arc<Privacy>, status: Arc<LiveStatus>, watched: Arc<AtomicBool>) -> Self {
        Self {
            privacy,
            status,
            watched,
            started: Instant::now(),
            hasher: RandomState::new(),
            pending: Vec::new(),
            closed_before_s: None,
            history: VecDeque::new(),
            watched_since_s: None,
            seconds: VecDeque::new(),
            flows_begun: 0,
            taps: Taps::default(),
            alerts: VecDeque::new(),
            alerts_total: 0,
            events: VecDeque::new(),
        }
    }

    /// A second is complete.
    pub fn window(&mut self, window: &Assembled) {
        let slice = &window.slice;
        self.pending.push(Totals {
            second: slice.second(),
            packets: slice.total().packets().saturating_add(slice.non_ip_frames()),
            bytes: slice.total().wire_bytes.saturating_add(slice.non_ip_bytes()),
            late: slice.late_packets(),
        });
        if self.is_watched() {
            self.seconds.push_back(Second::new(window, &self.hasher));
        }
    }

    /// An alert as it may be shown: after [`Privacy::alert`].
    pub fn alert(&mut self, shown: &Alert, over: bool) {
        let line = alert_line(shown, over);
        if let Some(known) = self.alerts.iter_mut().find(|known| known.id == line.id) {
            *known = line;
            return;
        }
        // One that was dropped from here while it went on is none more.
        self.alerts_total = self.alerts_total.saturating_add(u64::from(shown.revision == 1));
        if self.alerts.len() >= ALERTS {
            let oldest = self.alerts.iter().position(|alert| alert.over).unwrap_or(0);
            self.alerts.remove(oldest);
        }
        self.alerts.push_back(line);
    }

    pub fn event(&mut self, event: &SensorEvent) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            time: event.time.clone(),
            kind: event.kind.to_owned(),
            interface: event.interface.clone(),
            text: event.text.clone(),
        });
    }

    /// All seconds before this one are closed. A snapshot, if anybody watches.
    /// `now_ns` is the wall clock.
    pub fn closed(&mut self, before_s: i64, flows: FlowGauge, now_ns: i64) -> Option<Snapshot> {
        let newest = self.extend_history(before_s);
        let begun = flows.begun.saturating_sub(self.flows_begun);
        self.flows_begun = flows.begun;
        let seconds = self.closed_before_s.map_or(1, |last| before_s.saturating_sub(last));
        self.closed_before_s = Some(before_s);
        self.taps.look(&self.status);
        if !self.is_watched() {
            self.watched_since_s = None;
            self.seconds.clear();
            return None;
        }
        let first_s = self.seconds.front().map_or(before_s - 1, |second| second.second);
        let since_s = *self.watched_since_s.get_or_insert_with(|| first_s.min(before_s - 1));
        let from_s = before_s.saturating_sub(WINDOW_S).max(since_s);
        while self.seconds.front().is_some_and(|second| second.second < from_s) {
            self.seconds.pop_front();
        }
        let end_ns = before_s.saturating_mul(SECOND_NS);
        Some(Snapshot {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: rfc3339(end_ns),
            seconds_behind: now_ns.saturating_sub(end_ns) as f64 / 1e9,
            uptime_s: self.started.elapsed().as_secs(),
            rates: Rates {
                packets_per_s: newest.packets,
                bits_per_s: newest.bytes.saturating_mul(8),
                new_flows_per_s: begun / seconds.max(1).unsigned_abs(),
                flows_held: flows.held,
                late_packets_per_s: newest.late,
            },
            history: self.history.iter().copied().collect(),
            interfaces: self.taps.interfaces(),
            overload: self.status.shed().name().to_owned(),
            window_s: before_s.saturating_sub(from_s).unsigned_abs(),
            hosts: self.hosts(),
            conversations: self.conversations(),
            protocols: self.protocols(),
            payload_sizes: self.payload_sizes(),
            alerts: self.alerts(),
            events: self.events.iter().cloned().collect(),
        })
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Adds the closed seconds, those without packets too. Returns the newest.
    fn extend_history(&mut self, before_s: i64) -> Totals {
        let pending = std::mem::take(&mut self.pending);
        let first_s = pending.first().map_or(before_s - 1, |totals| totals.second);
        let from_s = self.closed_before_s.unwrap_or(first_s);
        // A jump of the stream's clock is no reason to count for long.
        let from_s = from_s.max(before_s.saturating_sub(HISTORY_S as i64));
        let mut newest = Totals::default();
        for second in from_s..before_s {
            let known = pending.iter().find(|totals| totals.second == second);
            newest = known.copied().unwrap_or_default();
            if self.history.len() >= HISTORY_S {
                self.history.pop_front();
            }
            self.history.push_back((newest.packets, newest.bytes));
        }
        newest
    }

    fn hosts(&self) -> Hosts {
        let ranked = merged(self.seconds.iter().map(|second| &second.hosts));
        let talker = |(host, [sent, received]): &(Host, Both)| Talker {
            address: self.shown(host),
            sent_packets: sent.packets,
            sent_bytes: sent.bytes,
            received_packets: received.packets,
            received_bytes: received.bytes,
        };
        Hosts {
            complete: ranked.complete,
            estimated: self.seconds.iter().any(|second| second.hosts_estimated),
            top: ranked.entries.iter().map(talker).collect(),
        }
    }

    fn conversations(&self) -> Conversations {
        let known = self.seconds.iter().filter_map(|second| second.conversations.as_ref());
        let missing = self.seconds.iter().filter(|second| second.conversations.is_none());
        let seconds_missing = missing.count() as u64;
        let ranked = merged(known);
        let top = ranked.entries.iter().map(|(tuple, [there, back])| Conversation {
            protocol: proto_name(tuple.proto).to_owned(),
            a: self.shown(&tuple.a.0),
            a_port: tuple.a.1,
            b: self.shown(&tuple.b.0),
            b_port: tuple.b.1,
            a_to_b_packets: there.packets,
            a_to_b_bytes: there.bytes,
            b_to_a_packets: back.packets,
            b_to_a_bytes: back.bytes,
        });
        let complete = ranked.complete && seconds_missing == 0;
        Conversations { complete, seconds_missing, top: top.collect() }
    }

    fn shown(&self, host: &Host) -> String {
        let ip = host.ip();
        self.privacy.pseudonyms.as_ref().map_or(ip, |keyed| keyed.address(ip)).to_string()
    }

    fn protocols(&self) -> Vec<Protocol> {
        // Names of classes are those of protocols.
        let mut sums = HashMap::<&str, (Sum, bool)>::default();
        for (key, sum) in self.seconds.iter().flat_map(|second| &second.protocols) {
            let (name, known) = match *key {
                ProtocolKey::Ip(proto) => (proto_name(proto), true),
                ProtocolKey::Class(name) => (name, false),
                ProtocolKey::NonIp => ("non_ip", true),
            };
            let (all, bytes_known) = sums.entry(name).or_insert_with(|| (Sum::default(), true));
            all.add(*sum);
            *bytes_known &= known;
        }
        let mut protocols: Vec<_> = sums
            .into_iter()
            .map(|(name, (sum, bytes_known))| Protocol {
                name: name.to_owned(),
                packets: sum.packets,
                wire_bytes: bytes_known.then_some(sum.bytes),
            })
            .collect();
        protocols.sort_by(|x, y| y.packets.cmp(&x.packets).then_with(|| x.name.cmp(&y.name)));
        protocols
    }

    fn payload_sizes(&self) -> PayloadSizes {
        let mut sizes = FineSizes::default();
        let seconds = self.seconds.iter().filter_map(|second| second.sizes.as_deref());
        seconds.for_each(|second| sizes.merge(second));
        let some = sizes.count() > 0;
        let bins = sizes.bins.iter().enumerate().filter(|&(_, &packets)| packets > 0);
        PayloadSizes {
            count: sizes.count(),
            empty: sizes.bins[0],
            min: some.then_some(sizes.min),
            max: some.then_some(sizes.max),
            p50: sizes.percentile(50),
            p90: sizes.percentile(90),
            p99: sizes.percentile(99),
            histogram: bins.map(|(bin, &packets)| (bin_range(bin).0, packets)).collect(),
        }
    }

    fn alerts(&self) -> Alerts {
        let newest = self.alerts.iter().rev();
        let mut list: Vec<_> = newest.cloned().collect();
        list.sort_by_key(|alert| alert.over);
        list.truncate(SHOWN);
        let open = self.alerts.iter().filter(|alert| !alert.over).count() as u64;
        Alerts { open, total: self.alerts_total, list }
    }
}

fn merged<'a, K: Copy + Eq + Hash + Ord + 'a>(
    seconds: impl Iterator<Item = &'a Ranked<K>>,
) -> Ranked<K> {
    let mut table = HashMap::<K, Both>::default();
    let mut complete = true;
    for second in seconds {
        complete &= second.complete;
        for (key, both) in &second.entries {
            let sums = table.entry(*key).or_default();
            sums[0].add(both[0]);
            sums[1].add(both[1]);
        }
    }
    let mut ranked = Ranked { entries: table.into_iter().collect(), complete };
    ranked.truncate(SHOWN);
    ranked
}

fn alert_line(alert: &Alert, over: bool) -> AlertLine {
    AlertLine {
        id: alert.id.clone(),
        revision: alert.revision,
        severity: alert.severity.name().to_owned(),
        detector: alert.detector.clone(),
        entity: alert.entity.id.clone(),
        start: rfc3339(alert.start_ns),
        end: rfc3339(alert.end_ns),
        over,
        confidence: alert.confidence,
        summary: alert.summary.clone(),
        analytics: alert.analytics.clone(),
        peak_packets_per_s: alert.evidence.peak.packets_per_s,
        peak_bits_per_s: alert.evidence.peak.bits_per_s,
        packets: alert.evidence.packets,
        wire_bytes: alert.evidence.wire_bytes,
        peers: alert.peers.iter().take(PEERS).map(|peer| peer.address.to_string()).collect(),
        missing_telemetry: alert.missing_telemetry.clone(),
        because: alert.grade.severity_reason.clone(),
        actor: alert.case.as_ref().map(|case| case.actor()).unwrap_or_default(),
    }
}

/// Interfaces, with rates from the last two looks of the capture at them.
#[derive(Debug, Default)]
struct Taps {
    looked: Option<Instant>,
    newest: Vec<TapStatus>,
    before: Vec<TapStatus>,
    between: Duration,
}

impl Taps {
    fn look(&mut self, status: &LiveStatus) {
        let (taps, looked) = status.taps_and_look();
        if looked == self.looked {
            return;
        }
        if let (Some(last), Some(now)) = (self.looked, looked) {
            self.between = now.saturating_duration_since(last);
            self.before = std::mem::take(&mut self.newest);
        }
        self.looked = looked;
        self.newest = taps;
    }

    fn interfaces(&self) -> Vec<Interface> {
        let seconds = self.between.as_secs_f64();
        let rate = |now: u64, before: u64| {
            let rate = now.saturating_sub(before) as f64 / seconds;
            if seconds > 0.0 { rate.round() as u64 } else { 0 }
        };
        let lost = |tap: &TapStatus| tap.kernel_drops.saturating_add(tap.interface_drops);
        let all = self.newest.iter().enumerate();
        all.map(|(number, tap)| {
            // Before the first two looks there is no rate.
            let before = self.before.get(number).unwrap_or(tap);
            Interface {
                name: tap.name.clone(),
                present: tap.present,
                up: tap.up,
                packets_per_s: rate(tap.frames, before.frames),
                bits_per_s: rate(tap.wire_bytes, before.wire_bytes).saturating_mul(8),
                lost_per_s: rate(lost(tap), lost(before)),
                packets: tap.frames,
                wire_bytes: tap.wire_bytes,
                kernel_drops: tap.kernel_drops,
                interface_drops: tap.interface_drops,
                ring_fill_percent: tap.ring_fill_percent,
            }
        })
        .collect()
    }
}

//! The correlation stage: one thread that merges what the shards say, in
//! event-time order.
//!
//! It closes seconds when all shards are past them: puts their windows together,
//! runs the detectors, and hands records to the sink in their final order. It
//! never sees a packet, and nothing it sees depends on the number of workers.
//! Start at [`Correlation::follow`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ahash::HashMap;
use crossbeam_channel::Receiver;

use super::entities::{Entities, Sight};
use super::features::{Asked, Awaiting};
use super::feed::{ShardWindow, SidedCount, Vantage};
use super::judging::{Gaps, RecentGaps, detection_of};
use super::reload::Reloads;
use super::run::{FlowGauge, RecordSink, RunOptions, wants_names};
use super::sensor::{REFUSED, RELOADED, Sensor};
use super::shard::ShardOutput;
use super::tails::{add_by_second, in_order, places_in_order};
use super::telemetry::{Lane, Turn};
use super::window::features::Features;
use super::window::{Assembler, FineSizes, Seed, Slice};
use crate::alert;
use crate::alert::Alert;
use crate::baseline::Lent;
use crate::detect::analytic::{Event, FlowEnd, Source};
use crate::detect::{DetectSettings, Detection, Interest, Loss, Telemetry};
use crate::entity::{Reported, ReportedLimits};
use crate::flow::app::AppInfo;
use crate::flow::record::SeenAt;
use crate::flow::totals::InferredLoss;
use crate::flow::{Ended, EndedFlow, FlowRecord, Outline, Unanswered, is_sampled};
use crate::host::coverage::Coverage;
use crate::host::gate::Gate;
use crate::host::inventory::Inventory;
use crate::host::join::Joiner;
use crate::host::side::FlowHosts;
use crate::input::origin::{Origin, Origins};
use crate::telemetry::Observation;
use crate::telemetry::counters::series::Series;
use crate::telemetry::feed::Feed;

pub(super) const SECOND_NS: i64 = 1_000_000_000;

/// Connections of an interface and VLAN that must be known before their share
/// of one-way ones says anything.
const MIN_SIDED_CONNECTIONS: i64 = 10;
/// Share of TCP connections seen one way above which a capture counts as
/// one-sided.
const ONE_SIDED_SHARE: f64 = 0.2;

/// Pairs of interfaces whose names are remembered: many times what a sensor has.
const MAX_FLOW_ORIGINS: usize = 1 << 12;

/// Merges what the shards say, in event-time order.
pub(super) struct Correlation<'a> {
    /// Each shard's latest word on which seconds are closed.
    closed_before_s: Vec<i64>,
    /// Each shard's flows at that time.
    flows: Vec<FlowGauge>,
    /// What each shard inferred to be lost until then.
    inferred_losses: Vec<Vec<InferredLoss>>,
    /// Seconds not closed yet, each with what the shards sent of it.
    windows: BTreeMap<i64, Vec<ShardWindow>>,
    assembler: Assembler,
    records: BTreeMap<i64, Vec<FlowRecord>>,
    /// In a run without records.
    outlines: BTreeMap<i64, Vec<EndedFlow>>,
    /// With records and without.
    unanswered: BTreeMap<i64, Unanswered>,
    sided: HashMap<Vantage, SidedCount>,
    pub(super) detection: Detection,
    pub(super) detects: bool,
    pub(super) entities: Entities,
    /// As it was taken over last.
    pub(super) inventory: Option<Arc<Inventory>>,
    /// What other sources report of them.
    pub(super) reported: Reported,
    /// Where they go back to at the end.
    pub(super) baselines: Option<Lent>,
    /// How far seconds were looked at.
    pub(super) looked_s: i64,
    /// What is known of the telemetry by then.
    pub(super) known: Telemetry,
    pub(super) gaps: RecentGaps,
    origins: Arc<Origins>,
    /// By the interfaces of a flow's directions.
    flow_origins: HashMap<SeenAt, Option<Arc<Origin>>>,
    pub(super) joiner: Option<Joiner>,
    /// Of a live run with watchers: holds seconds until they are up to date.
    gate: Option<Gate>,
    pub(super) sensor: Option<Sensor>,
    pub(super) sensor_second: i64,
    reloads: Option<Arc<Reloads>>,
    /// Of the seconds that are being closed; told with the first of them.
    losses: Vec<Loss>,
    pub(super) wants_records: bool,
    wants_names: bool,
    /// Of flows that nobody answered a sample comes beside the records; see
    /// [`crate::flow::is_sampled`].
    pub(super) samples: bool,
    pub(super) sink: &'a mut dyn RecordSink,
    pub(super) write_error: Option<io::Error>,
    /// Seconds of packets before this one are closed.
    closed_s: i64,
    /// Observations of other sources, where there are any.
    pub(super) lane: Option<Lane>,
    pub(super) telemetry: Option<Feed>,
    /// Requests in clear that wait for their answers.
    pub(super) awaiting: Awaiting,
    pub(super) asked: Asked,
    /// Observations that were looked at, before they go back.
    pub(super) spent: Vec<Observation>,
    /// Of counters, by source.
    pub(super) series: HashMap<u16, Series>,
    /// What sources are called, once asked.
    pub(super) sources: HashMap<u16, Option<Source>>,
    /// Of the stream's last second.
    pub(super) last: Ended,
    leaves_memory: bool,
}

impl<'a> Correlation<'a> {
    pub(super) fn new(
        workers: usize,
        options: &RunOptions,
        assembler: Assembler,
        origins: Arc<Origins>,
        sink: &'a mut dyn RecordSink,
    ) -> Self {
        let mut correlation = Self {
            assembler,
            closed_before_s: vec![i64::MIN; workers],
            flows: vec![FlowGauge::default(); workers],
            inferred_losses: vec![Vec::new(); workers],
            windows: BTreeMap::new(),
            records: BTreeMap::new(),
            outlines: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            sided: HashMap::default(),
            detection: detection_of(options),
            detects: options.detects,
            inventory: None,
            reported: Reported::new(ReportedLimits::default(), Seed::default()),
            entities: Entities::new(match (&options.hosts, &options.baselines) {
                (_, Some(_)) => Sight::All,
                (Some(_), None) => Sight::OfKnown,
                (None, None) => Sight::Large,
            }),
            baselines: options.baselines.clone(),
            looked_s: 0,
            known: Telemetry::default(),
            gaps: RecentGaps::default(),
            origins,
            flow_origins: HashMap::default(),
            joiner: options.hosts.clone().map(Joiner::new),
            gate: options.hosts.as_ref().and_then(Gate::of),
            sensor: options.live.as_ref().map(|live| {
                let status = Arc::clone(&live.status);
                Sensor::new(status, live.silent_after_s, options.detect.loss_per_mille)
                    .heard_before(live.heard_before.clone())
            }),
            sensor_second: 0,
            reloads: options.reloads.clone(),
            losses: Vec::new(),
            wants_records: sink.wants_records(),
            wants_names: wants_names(options),
            samples: true,
            sink,
            write_error: None,
            closed_s: i64::MIN,
            lane: options.telemetry.as_ref().map(Lane::new),
            telemetry: options.telemetry.clone(),
            awaiting: Awaiting::default(),
            asked: Asked::default(),
            spent: Vec::new(),
            series: HashMap::default(),
            sources: HashMap::default(),
            last: Ended::default(),
            leaves_memory: options.leaves_memory,
        };
        correlation.take_over_inventory();
        correlation
    }

    pub(super) fn follow(&mut self, outputs: &Receiver<ShardOutput>) {
        if self.sensor.is_some() && self.lane.is_some() {
            self.follow_both(outputs);
        } else {
            for output in outputs {
                self.take(output);
                let now_s = self.closed_before_s.iter().copied().min().unwrap_or(i64::MAX);
                // At the end all is closed, but the last second's records wait for
                // those of the flows that the end cut off.
                if now_s < i64::MAX {
                    let now_s = self.held_to(now_s);
                    self.close_in_turn(now_s);
                }
            }
        }
        let last_s = self.windows.keys().copied().chain(self.ended_seconds()).max();
        if self.lane.is_some()
            && self.sensor.is_none()
            && let Some(last_s) = last_s
        {
            self.close_in_turn(last_s);
        }
        if let Some(gate) = &self.gate {
            let in_time = gate.wait_for_the_end(last_s.unwrap_or(self.closed_s));
            if !in_time && let Some(joiner) = &mut self.joiner {
                joiner.count_late_second();
            }
        }
        // The last second goes on: flows that the end cut off are decided in it.
        let last_s = self.ended_seconds().max().unwrap_or(i64::MAX);
        let last = Ended {
            records: self.records.remove(&last_s).unwrap_or_default(),
            outlines: self.outlines.remove(&last_s).unwrap_or_default(),
            unanswered: BTreeMap::from_iter(self.unanswered.remove_entry(&last_s)).into(),
        };
        self.close(i64::MAX);
        self.last = last;
    }

    /// Closes seconds of packets before `now_s`, which are complete, and takes what
    /// telemetry has to say in between.
    fn close_in_turn(&mut self, now_s: i64) {
        while let Some(lane) = &mut self.lane {
            match lane.turn(now_s) {
                Turn::Observations { due_s } => {
                    self.close_up_to(due_s);
                    self.take_observations(due_s);
                }
                Turn::Packets { until_s } => {
                    self.close_up_to(now_s.min(until_s));
                    return;
                }
            }
        }
        self.close_up_to(now_s);
    }

    fn close_up_to(&mut self, before_s: i64) {
        if before_s > self.closed_s {
            self.closed_s = before_s;
            self.close(before_s);
        }
    }

    /// Live: takes what comes, packets and telemetry, in the order in which it does.
    fn follow_both(&mut self, outputs: &Receiver<ShardOutput>) {
        loop {
            // Packets go on when telemetry is over.
            let telemetry = self.lane.as_ref().and_then(Lane::batches).cloned();
            let telemetry = telemetry.unwrap_or_else(crossbeam_channel::never);
            crossbeam_channel::select! {
                recv(outputs) -> output => match output {
                    Ok(output) => {
                        self.take(output);
                        let now_s =
                            self.closed_before_s.iter().copied().min().unwrap_or(i64::MAX);
                        if now_s < i64::MAX {
                            let now_s = self.held_to(now_s);
                            self.close_up_to(now_s);
                        }
                    }
                    Err(_) => break,
                },
                recv(telemetry) -> batch => {
                    let Some(lane) = &mut self.lane else { continue };
                    match batch {
                        Ok(batch) => lane.receive(batch),
                        Err(_) => lane.over(),
                    }
                    self.take_observations(i64::MAX);
                }
            }
        }
    }

    pub(super) fn write(&mut self, mut record: FlowRecord) {
        if self.flow_origins.len() > MAX_FLOW_ORIGINS {
            self.flow_origins.clear();
        }
        let SeenAt { first, other } = record.seen_at;
        let known = self.flow_origins.entry(record.seen_at);
        let known = known.or_insert_with(|| self.origins.of_flow(first, other));
        // A record that was read again has what was known when it was written.
        if let Some(known) = known {
            record.origin = Some(Arc::clone(known));
        }
        if let Some(joiner) = &mut self.joiner {
            record.hosts = joiner.join(&record);
        }
        if self.detects {
            self.detection.event(&Event::Record(&record), self.looked_s, &self.known);
            let app = record.app.as_deref();
            if !self.samples || !is_sampled(&record.key, record.answered, app, self.wants_names) {
                self.show_flow(&record.outline(), app, record.hosts.as_deref());
            }
        }
        if let Err(error) = self.sink.record(record)
            && self.write_error.is_none()
        {
            self.write_error = Some(error);
        }
    }

    /// Joins flows that have no records, and shows them to the analytics. Those from which
    /// names are to be learned.
    pub(super) fn count(&mut self, flows: Vec<EndedFlow>) -> Vec<EndedFlow> {
        let order = places_in_order(&flows, |flow| (flow.outline.start_ns, flow.outline.key));
        for at in order {
            let EndedFlow { outline, app } = &flows[at as usize];
            let hosts = self.joiner.as_mut().and_then(|joiner| joiner.join_outline(outline));
            self.show_flow(outline, app.as_deref(), hosts.as_deref());
        }
        flows.into_iter().filter(|flow| flow.app.is_some()).collect()
    }

    /// Shows those of a second that nobody answered, in a flood a sample, and joins and
    /// counts them where they have no records.
    pub(super) fn take_unanswered(&mut self, unanswered: Unanswered) {
        let counts = !self.wants_records;
        if !counts && !self.detects {
            return;
        }
        let (flows, others) = unanswered.into_parts();
        for flow in &flows {
            let hosts = match &mut self.joiner {
                Some(joiner) if counts => joiner.join_outline(flow),
                Some(joiner) => joiner.hosts_of(flow),
                None => None,
            };
            self.show_flow(flow, None, hosts.as_deref());
        }
        if let Some(joiner) = &mut self.joiner
            && counts
        {
            joiner.count_others(others);
        }
    }

    fn show_flow(&mut self, outline: &Outline, app: Option<&AppInfo>, hosts: Option<&FlowHosts>) {
        if self.detects {
            let end = FlowEnd { outline, app, hosts };
            self.detection.event(&Event::Flow(&end), self.looked_s, &self.known);
        }
    }

    pub(super) fn learn(&mut self, named: Vec<EndedFlow>) {
        if let Some(joiner) = &mut self.joiner {
            joiner.learn(named);
        }
    }

    fn take(&mut self, output: ShardOutput) {
        self.closed_before_s[output.shard] = output.closed_before_s;
        self.flows[output.shard] = output.flows;
        self.inferred_losses[output.shard] = output.inferred_losses;
        for window in output.windows {
            self.windows.entry(window.slice.second()).or_default().push(window);
        }
        add_by_second(output.ended.records, |record| record.decided_ns, &mut self.records);
        add_by_second(output.ended.outlines, |flow| flow.outline.decided_ns, &mut self.outlines);
        for (second, flows) in output.ended.unanswered.into_seconds() {
            self.unanswered.entry(second).or_default().merge(flows);
        }
    }

    /// The second up to which host watchers have told everything, at most `now_s`.
    fn held_to(&mut self, now_s: i64) -> i64 {
        let Some(gate) = &mut self.gate else { return now_s };
        let (held_s, late) = gate.held_to(now_s);
        if late && let Some(joiner) = &mut self.joiner {
            joiner.count_late_second();
        }
        held_s
    }

    /// How much of what was written has a process.
    pub(super) fn coverage(&self) -> Option<Coverage> {
        self.joiner.as_ref().map(Joiner::coverage)
    }

    /// All shards are past these seconds.
    fn close(&mut self, before_s: i64) {
        self.look_at_sensor(before_s);
        self.take_over_settings();
        while let Some(second) = self.first_second(before_s) {
            self.end_minute(second);
            self.show_unanswered(second);
            self.close_second(second);
        }
        if before_s < i64::MAX {
            self.end_minute(before_s);
        }
        self.show_unanswered(before_s);
        if let Some(sensor) = &mut self.sensor {
            for notice in self.telemetry.iter().flat_map(Feed::take_notices) {
                sensor.tell_of(&notice.source, notice.kind, notice.text, self.sensor_second);
            }
            for event in sensor.take_events() {
                self.sink.sensor_event(&event);
            }
        }
        if before_s < i64::MAX {
            // Alerts that went quiet end also while nothing comes in.
            self.detection.keep_baselines(before_s);
            self.detection.advance(before_s.saturating_sub(1));
            self.tell_alerts();
            let mut flows = FlowGauge::default();
            self.flows.iter().for_each(|&shard| flows.merge(shard));
            if let Some(coverage) = self.coverage() {
                self.sink.hosts(&coverage);
            }
            self.sink.inputs(self.detection.inputs());
            self.sink.closed_before(before_s, flows);
        }
    }

    /// Seconds in which flows ended.
    fn ended_seconds(&self) -> impl Iterator<Item = i64> {
        let flows = self.records.keys().chain(self.outlines.keys());
        flows.chain(self.unanswered.keys()).copied()
    }

    /// The first second before this one of which there is something.
    fn first_second(&self, before_s: i64) -> Option<i64> {
        let windows = self.windows.first_key_value().map(|(&second, _)| second);
        let records = self.records.first_key_value().map(|(&second, _)| second);
        let outlines = self.outlines.first_key_value().map(|(&second, _)| second);
        let unanswered = self.unanswered.first_key_value().map(|(&second, _)| second);
        let first = [windows, records, outlines, unanswered].into_iter().flatten().min()?;
        (first < before_s).then_some(first)
    }

    /// All of a second before anything of the next: what is made of it does not depend
    /// on how many are closed at a time.
    fn close_second(&mut self, second: i64) {
        if let Some(parts) = self.windows.remove(&second) {
            self.observe(second, parts);
        }
        self.looked_s = self.looked_s.max(second);
        self.show_execs(second.saturating_add(1));
        if let Some(records) = self.records.remove(&second) {
            in_order(records).for_each(|record| self.write(record));
        }
        if let Some(flows) = self.outlines.remove(&second) {
            let named = self.count(flows);
            self.learn(named);
        }
        if let Some(flows) = self.unanswered.remove(&second) {
            self.take_unanswered(flows);
        }
        self.show_time(second.saturating_add(1));
    }

    /// What was lost since the last look. Stays until a window tells it.
    fn look_at_sensor(&mut self, before_s: i64) {
        let Some(sensor) = &mut self.sensor else { return };
        // The end of the stream is no time of its own.
        let ended = before_s == i64::MAX;
        let second = if ended { self.sensor_second } else { before_s };
        self.sensor_second = second;
        let mut inferred = Vec::new();
        for sums in &self.inferred_losses {
            InferredLoss::add_all(&mut inferred, sums);
        }
        let losses = sensor.look(second);
        sensor.infer(second, |add| self.origins.by_name(&inferred, add));
        if self.losses.is_empty() {
            self.losses = losses;
            return;
        }
        for (sum, more) in self.losses.iter_mut().zip(losses) {
            sum.packets += more.packets;
            sum.kernel_drops += more.kernel_drops;
            sum.interface_drops += more.interface_drops;
        }
    }

    /// Settings that came since the seconds before these were closed. Only what
    /// is after the merge asks for settings: rows are the same with any.
    fn take_over_settings(&mut self) {
        let Some(reloads) = &self.reloads else { return };
        for reload in reloads.take() {
            if let Some(settings) = &reload.settings {
                self.assembler.set_interest(Interest::of(settings));
                self.detection.set_settings(DetectSettings::clone(settings));
                self.entities.forget_addresses();
                if let Some(sensor) = &mut self.sensor {
                    sensor.set_loss_per_mille(settings.loss_per_mille);
                }
            }
            if let Some(sensor) = &mut self.sensor {
                let kind = if reload.settings.is_some() { RELOADED } else { REFUSED };
                sensor.tell(kind, reload.text.clone(), self.sensor_second);
            }
            self.sink.reloaded(&reload);
        }
    }

    fn tell_alerts(&mut self) {
        for mut update in self.detection.take_updates() {
            update.alert.set_origin(&self.origins);
            if let Some(joiner) = &self.joiner {
                joiner.explain(&mut update.alert);
            }
            self.sink.alert(&update.alert, update.closed);
        }
    }

    /// Puts a second together and has the detectors look at it.
    fn observe(&mut self, second: i64, parts: Vec<ShardWindow>) {
        let mut slice = None::<Slice>;
        let mut logs = Vec::with_capacity(parts.len());
        let mut coarse = false;
        let mut gaps = Gaps::default();
        let mut sizes = None::<Box<FineSizes>>;
        let mut features = None::<Box<Features>>;
        for part in parts {
            let ShardWindow {
                slice: theirs,
                log,
                coarse: theirs_coarse,
                sided,
                cut_packets,
                shed,
                sizes: fine,
                features: read,
                told,
                ..
            } = part;
            if !told.is_empty() {
                self.entities.tell(told);
            }
            match (&mut features, read) {
                (Some(features), Some(mut read)) => {
                    features.merge(&mut read);
                    self.assembler.recycle_features(read);
                }
                (features @ None, read) => *features = read,
                (Some(_), None) => {}
            }
            for (vantage, count) in sided {
                let sum = self.sided.entry(vantage).or_default();
                sum.one_way += count.one_way;
                sum.two_way += count.two_way;
            }
            coarse |= theirs_coarse;
            gaps.cut_packets += cut_packets;
            gaps.shed = gaps.shed.max(shed);
            match (&mut sizes, fine) {
                (Some(sizes), Some(fine)) => sizes.merge(&fine),
                (sizes @ None, fine) => *sizes = fine,
                (Some(_), None) => {}
            }
            logs.push(log);
            match &mut slice {
                Some(slice) => slice.merge(theirs),
                None => slice = Some(theirs),
            }
        }
        let Some(slice) = slice else { return };
        debug_assert_eq!(slice.second(), second);
        let losses = std::mem::take(&mut self.losses);
        gaps.lost = losses.iter().any(|loss| loss.lost() > 0);
        let missing = gaps.names();
        let lately = self.gaps.with(second, &missing).clone();
        let telemetry = Telemetry { one_sided: self.is_one_sided(), missing, lately, losses };
        let mut assembled = self.assembler.assemble(slice, logs, coarse, telemetry.one_sided);
        assembled.sizes = sizes;
        self.sink.window(&assembled);
        if self.detects {
            self.detection.observe(&assembled.slice, &telemetry);
            self.look_at_entities(&assembled, telemetry);
        }
        if let Some(mut features) = features {
            self.show_features(second, &mut features);
            self.assembler.recycle_features(features);
        }
        self.show_unanswered(second.saturating_add(1));
        self.tell_alerts();
        self.assembler.recycle(assembled);
    }

    /// On some interface and VLAN too many connections are seen one way.
    fn is_one_sided(&self) -> bool {
        self.sided.values().any(SidedCount::is_one_sided)
    }

    #[expect(clippy::type_complexity, reason = "taken apart at once by the only caller")]
    pub(super) fn finish(
        mut self,
    ) -> (Vec<Alert>, alert::Counters, Vec<(Vantage, SidedCount)>, Option<io::Error>) {
        self.end_entities();
        self.detection.close();
        self.tell_alerts();
        let (mut alerts, mut counters) = self.detection.finish();
        for alert in alerts.iter_mut().chain(&mut counters.allowed_alerts) {
            alert.set_origin(&self.origins);
            if let Some(joiner) = &self.joiner {
                joiner.explain(alert);
            }
        }
        let mut sided: Vec<_> = self.sided.into_iter().collect();
        sided.sort_unstable_by_key(|&(vantage, _)| vantage);
        if self.leaves_memory {
            std::mem::forget((self.detection, self.entities));
        }
        (alerts, counters, sided, self.write_error)
    }
}

impl SidedCount {
    /// Too many connections are seen one way for answers to mean anything.
    pub fn is_one_sided(&self) -> bool {
        let known = self.one_way + self.two_way;
        known >= MIN_SIDED_CONNECTIONS && self.one_way as f64 > known as f64 * ONE_SIDED_SHARE
    }
}

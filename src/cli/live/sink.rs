//! Where a live run's results go: files, the recording, receivers, metrics, the
//! control socket, the service manager, and standard error. Nothing in here waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::so_far::{Known, SoFar};
use super::troubles::{Told, Troubles};

use crate::alert::Alert;
use crate::cli::control::Control;
use crate::detect::analytic::Inputs;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, Joined, RecordSink, Reload, SensorEvent};
use crate::flow::FlowRecord;
use crate::host::coverage::Coverage;
use crate::input::LiveHandle;
use crate::output::capture::OutputSummary;
use crate::output::privacy::Privacy;
use crate::output::recording::{Notice, Recording, RecordingCounters};
use crate::output::rolling::{OutputCounters, RollingOutput};
use crate::report::html::Collector;
use crate::service::deliver::{Delivery, TargetCounters};
use crate::service::metrics::{Published, ReloadCounters, Snapshot};
use crate::service::notify::Notifier;
use crate::telemetry::Observation;
use crate::telemetry::feed::Feed;
use crate::telemetry::report::SourceReport;

/// How long the end of a run waits for a disk that does not answer.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// How long it waits for receivers of alerts.
const DELIVER_WITHIN: Duration = Duration::from_secs(5);

/// All of them, as the correlation stage sees them.
pub(super) struct Sink {
    pub(super) started: Instant,
    pub(super) seconds: Option<u64>,
    pub(super) handle: LiveHandle,
    pub(super) output: Option<RollingOutput>,
    pub(super) recording: Option<Recording>,
    pub(super) privacy: Arc<Privacy>,
    pub(super) delivery: Option<Delivery>,
    pub(super) published: Arc<Published>,
    pub(super) control: Control,
    pub(super) notifier: Notifier,
    /// Opened, by severity.
    pub(super) alerts: [u64; 5],
    /// For the service manager.
    pub(super) listening: String,
    pub(super) reloads: ReloadCounters,
    pub(super) hosts: Option<Coverage>,
    pub(super) inputs: Inputs,
    /// Nothing where no folder is kept.
    pub(super) so_far: Option<SoFar>,
    pub(super) telemetry: Option<Feed>,
    /// Without --out only summary and alerts are kept.
    pub(super) keeps_observed: bool,
    pub(super) troubles: Troubles,
    /// For `--report`.
    pub(super) collector: Option<Collector>,
}

/// What became of what was handed out.
pub(super) struct Finished {
    /// Records that could not be written.
    pub(super) lost: u64,
    pub(super) recording: Option<RecordingCounters>,
    pub(super) output: Option<OutputSummary>,
    pub(super) delivery: Vec<TargetCounters>,
}

impl Sink {
    /// Ends the files and what is on its way; receivers last, so that they are told how
    /// the others ended.
    pub(super) fn finish(mut self) -> Finished {
        self.notifier.stopping();
        let recording = self.recording.take().map(|recording| {
            let (counters, notices) = recording.finish();
            self.tell_recording(notices, counters);
            counters
        });
        let lost = recording.as_ref().map_or(0, |counters| counters.lost_packets);
        if lost > 0 {
            warn!(event = "recording.lost", lost, "{lost} packets are missing in the recording");
        }
        self.tell_troubles();
        let output = self.output.take().map(|output| {
            let finished = output.finish(FINISH_WITHIN);
            for event in &finished.events {
                let told = self.troubles.output(event);
                self.tell(told);
            }
            OutputSummary::new(&finished)
        });
        let lost = output.as_ref().map_or(0, OutputSummary::lost);
        let mut delivery = Vec::new();
        if let Some(carried) = self.delivery.take() {
            let (counters, changes) = carried.finish(DELIVER_WITHIN);
            for change in &changes {
                let told = self.troubles.delivery(change);
                self.tell(told);
            }
            for target in counters.iter().filter(|target| target.lost > 0) {
                let (lost, to) = (target.lost, &target.target);
                warn!(event = "delivery.lost", lost, "{lost} messages to {to} were lost");
            }
            delivery = counters;
        }
        Finished { lost, recording, output, delivery }
    }

    fn tell_troubles(&mut self) {
        let events = self.output.iter_mut().flat_map(RollingOutput::take_events);
        let mut all: Vec<Told> = events.map(|event| self.troubles.output(&event)).collect();
        let changes = self.delivery.iter().flat_map(Delivery::take_changes);
        all.extend(changes.map(|change| self.troubles.delivery(&change)));
        all.into_iter().for_each(|told| self.tell(told));
        if let Some(recording) = &self.recording {
            let (notices, counters) = (recording.take_notices(), recording.counters());
            self.tell_recording(notices, counters);
        }
    }

    fn tell_recording(&mut self, notices: Vec<Notice>, counters: RecordingCounters) {
        let told = self.troubles.recording(notices, counters.lost_packets, Instant::now());
        told.into_iter().for_each(|told| self.tell(told));
    }

    fn tell(&mut self, told: Told) {
        let Told { kind, text, not_to } = told;
        let event = SensorEvent::of_outputs(kind, text, now_ns(), &self.handle.status);
        self.hand_on(&event, not_to.as_deref());
    }

    /// As it may be shown, to all but this receiver.
    fn hand_on(&mut self, event: &SensorEvent, not_to: Option<&str>) {
        let event = &self.privacy.event(event);
        let SensorEvent { kind, interface, text, .. } = event;
        if event.is_good_news() {
            info!(event = kind, interface, "{text}");
        } else {
            warn!(event = kind, interface, "{text}");
        }
        self.control.event(event);
        match (&self.delivery, not_to) {
            (Some(delivery), Some(target)) => delivery.deliver_event_but_to(target, event),
            (Some(delivery), None) => delivery.deliver_event(event),
            (None, _) => {}
        }
    }

    /// What metrics and health are made of.
    fn publish(&self, second: i64, flows: FlowGauge) {
        let taps = self.handle.status.taps();
        let output = self.output.as_ref().map(RollingOutput::counters);
        let written = output.iter().flat_map(|output| &output.kinds);
        let closed_ns = second.saturating_mul(1_000_000_000);
        let mut delivery = self.delivery.as_ref().map(Delivery::counters).unwrap_or_default();
        for receiver in &mut delivery {
            receiver.target = self.privacy.text(&receiver.target);
        }
        self.published.publish(Snapshot {
            packets: taps.iter().map(|tap| tap.frames).sum(),
            wire_bytes: taps.iter().map(|tap| tap.wire_bytes).sum(),
            flows_held: flows.held,
            records_written: written.map(|kind| kind.written).sum(),
            records_lost: output.as_ref().map_or(0, OutputCounters::lost),
            alerts: self.alerts,
            reloads: self.reloads.clone(),
            taps,
            inferred: self.handle.status.inferred(),
            sensor: self.handle.status.sensor().to_owned(),
            clock_synchronised: self.handle.status.clock_synchronised(),
            overload: self.handle.status.shed(),
            left_out: flows.overload,
            seconds_behind: now_ns().saturating_sub(closed_ns) as f64 / 1e9,
            recording: self.recording.as_ref().map(Recording::counters),
            delivery,
            troubles: self.troubles.reasons().map(|reason| self.privacy.text(reason)).collect(),
            hosts: self.hosts.clone(),
            sources: self.telemetry.as_ref().map(Feed::reports).unwrap_or_default(),
        });
    }

    fn tell_so_far(&self, second: i64) {
        let Some(so_far) = &self.so_far else { return };
        let sources = self.telemetry.as_ref().map(Feed::reports).unwrap_or_default();
        so_far.tell(Known {
            closed_ns: second.saturating_mul(1_000_000_000),
            hosts: self.hosts.clone(),
            inputs: self.inputs.clone(),
            flow_records_lost: sources.iter().any(SourceReport::lost_flows),
            platform_omitted: sources.iter().any(SourceReport::omits_platform),
        });
    }
}

impl RecordSink for Sink {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        if let Some(collector) = &mut self.collector {
            collector.record(&record);
        }
        if let Some(output) = &mut self.output
            && output.wants_records()
        {
            output.record(record);
        }
        Ok(())
    }

    fn wants_records(&self) -> bool {
        self.collector.is_some() || self.output.as_ref().is_some_and(RollingOutput::wants_records)
    }

    fn observed(
        &mut self,
        source: u16,
        observation: &Observation,
        joined: &Joined<'_>,
    ) -> io::Result<()> {
        if self.keeps_observed
            && let Some(output) = &mut self.output
        {
            output.observed(source, observation, joined);
        }
        Ok(())
    }

    fn alert(&mut self, alert: &Alert, closed: bool) {
        if let Some(output) = &mut self.output {
            output.alert(alert);
        }
        if alert.revision == 1 {
            self.alerts[alert.severity as usize] += 1;
        }
        let shown = self.privacy.alert(alert);
        if let Some(recording) = &self.recording {
            // Packets are found by real addresses, and named as everything else is.
            let Alert { id, summary, .. } = shown.clone();
            recording.alert(&Alert { id, summary, ..alert.clone() }, closed);
        }
        self.control.alert(&shown, closed);
        if let Some(delivery) = &self.delivery {
            delivery.deliver(&shown);
        }
        let over = if closed { " (over)" } else { "" };
        warn!(
            event = if closed { "alert.closed" } else { "alert" },
            id = shown.id,
            revision = shown.revision,
            detector = shown.detector,
            severity = shown.severity.name(),
            "{}{over}: {}",
            shown.severity.name(),
            shown.summary
        );
    }

    fn window(&mut self, window: &Assembled) {
        self.control.window(window);
        if let Some(collector) = &mut self.collector {
            collector.window(window);
        }
    }

    fn sensor_event(&mut self, event: &SensorEvent) {
        self.hand_on(event, None);
    }

    fn reloaded(&mut self, reload: &Reload) {
        self.notifier.reloading();
        self.reloads.count(reload.settings.is_some());
        self.notifier.ready(&self.listening);
    }

    fn hosts(&mut self, coverage: &Coverage) {
        self.hosts = Some(coverage.clone());
    }

    fn inputs(&mut self, inputs: &Inputs) {
        self.inputs = inputs.clone();
    }

    fn closed_before(&mut self, second: i64, flows: FlowGauge) {
        if let Some(output) = &mut self.output {
            output.second(now_ns());
        }
        self.tell_troubles();
        self.publish(second, flows);
        self.tell_so_far(second);
        self.control.closed(second, flows, now_ns());
        self.notifier.progress();
        if self.seconds.is_some_and(|seconds| self.started.elapsed().as_secs() >= seconds) {
            self.handle.stop.store(true, Ordering::Release);
        }
    }
}

pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

//! What a run says of itself to those who watch it: figures for Prometheus,
//! and whether all is well.
//!
//! The run publishes a [`Snapshot`] once a second; [`metrics_text`] writes it
//! in the text format 0.0.4 and [`health`] judges it. Neither asks the run
//! anything, so a scraper can't slow it down. Start at [`Published`].

mod hosts;
mod recording;
mod sources;
#[cfg(test)]
pub(super) mod tests;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::deliver::TargetCounters;
use crate::alert::Severity;
use crate::engine::accounting::Overload;
use crate::flow::totals::InferredLoss;
use crate::host::coverage::Coverage;
use crate::input::Shed;
use crate::input::live::TapStatus;
use crate::lock::Lock;
use crate::output::recording::RecordingCounters;
use crate::telemetry::report::SourceReport;

/// A run at one moment. Counts are since its start and never fall.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Packets accounted for, over all interfaces.
    pub packets: u64,
    pub wire_bytes: u64,
    /// In the flow table now.
    pub flows_held: u64,
    pub records_written: u64,
    /// Records that no file took.
    pub records_lost: u64,
    /// Alerts opened, by [`Severity`] in rising order: as first told.
    pub alerts: [u64; 5],
    pub reloads: ReloadCounters,
    pub taps: Vec<TapStatus>,
    /// By tap, what acknowledgements say was lost in the flows that have ended.
    pub inferred: Vec<InferredLoss>,
    /// Id of the sensor; empty for none.
    pub sensor: String,
    pub clock_synchronised: Option<bool>,
    /// What is left out now because packets come in too fast.
    pub overload: Shed,
    /// Packets of which something was.
    pub left_out: Overload,
    /// How far the newest closed second is behind the clock.
    pub seconds_behind: f64,
    /// Nothing where nothing is recorded.
    pub recording: Option<RecordingCounters>,
    pub delivery: Vec<TargetCounters>,
    /// What is being lost behind the capture now (records, recorded packets, messages),
    /// for people.
    pub troubles: Vec<String>,
    /// Nothing where no host is watched.
    pub hosts: Option<Coverage>,
    /// Logs, exports and counters beside the interfaces.
    pub sources: Vec<SourceReport>,
}

/// How often the configuration was read again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReloadCounters {
    pub done: u64,
    /// Refused: what was in force stayed so.
    pub failed: u64,
    /// When it was done last, in seconds since the epoch.
    pub last_done_s: Option<f64>,
}

impl ReloadCounters {
    /// One more, now.
    pub fn count(&mut self, done: bool) {
        if !done {
            self.failed += 1;
            return;
        }
        self.done += 1;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.last_done_s = now.ok().map(|now| now.as_secs_f64());
    }
}

/// Where the run puts its newest snapshot. Both sides only ever wait for a
/// pointer to be copied.
#[derive(Debug, Default)]
pub struct Published {
    newest: Lock<Option<(Instant, Arc<Snapshot>)>>,
}

impl Published {
    /// To be called whenever seconds are closed: that it stays out is what
    /// [`health`] takes for a run that hangs.
    pub fn publish(&self, snapshot: Snapshot) {
        *self.newest.lock() = Some((Instant::now(), Arc::new(snapshot)));
    }

    /// The newest snapshot and its age.
    pub fn newest(&self) -> Option<(Duration, Arc<Snapshot>)> {
        let newest = self.newest.lock();
        newest.as_ref().map(|(at, snapshot)| (at.elapsed(), Arc::clone(snapshot)))
    }
}

/// Answer of `/health`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// `ok` or `failing`.
    pub status: &'static str,
    /// Why, when failing.
    pub reasons: Vec<String>,
    pub seconds_behind: Option<f64>,
    /// Id of the sensor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sensor: String,
    /// For information: a clock that follows nothing is no failure of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
}

impl Health {
    pub fn is_ok(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Seconds may be closed so late, and snapshots be so old. The engine waits
/// three seconds for late packets; a scheduler under load takes some more.
pub const BEHIND_LIMIT: Duration = Duration::from_secs(15);

/// Well as long as seconds are closed in time, every interface is there, and what comes of
/// it is written and delivered.
pub fn health(published: &Published) -> Health {
    let Some((age, snapshot)) = published.newest() else {
        let reasons = vec!["no second has been closed yet".to_owned()];
        let (sensor, clock_synchronised) = (String::new(), None);
        let status = "failing";
        return Health { status, reasons, seconds_behind: None, sensor, clock_synchronised };
    };
    let mut reasons = Vec::new();
    let behind_s = snapshot.seconds_behind + age.as_secs_f64();
    // A clock that can't be told from others (NaN) is not in time either.
    if behind_s.is_nan() || behind_s > BEHIND_LIMIT.as_secs_f64() {
        reasons.push(format!("seconds are closed {behind_s:.0} s late"));
    }
    for tap in &snapshot.taps {
        if !tap.present {
            reasons.push(format!("{}: there is no such interface", tap.name));
        } else if !tap.up {
            reasons.push(format!("{}: the interface is down", tap.name));
        }
    }
    reasons.extend(snapshot.troubles.iter().cloned());
    let status = if reasons.is_empty() { "ok" } else { "failing" };
    // JSON has no infinity.
    Health {
        status,
        reasons,
        seconds_behind: Some(behind_s).filter(|s| s.is_finite()),
        sensor: snapshot.sensor.clone(),
        clock_synchronised: snapshot.clock_synchronised,
    }
}

/// All figures, in Prometheus' text format 0.0.4.
pub fn metrics_text(published: &Published) -> String {
    let mut page = Page::default();
    page.family("flowtap_build_info", "gauge", "The program that runs.");
    page.sample("flowtap_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.process();
    let health = health(published);
    page.family("flowtap_healthy", "gauge", "1 while /health answers 200.");
    page.sample("flowtap_healthy", &[], u8::from(health.is_ok()));
    if let Some((_, snapshot)) = published.newest() {
        page.run(&snapshot, health.seconds_behind.unwrap_or(f64::NAN));
        page.sensor(&snapshot);
        page.interfaces(&snapshot.taps);
        page.reloads(&snapshot.reloads);
        page.inferred(&snapshot);
        if let Some(recording) = &snapshot.recording {
            page.recording(recording);
        }
        page.delivery(&snapshot.delivery);
        if let Some(hosts) = &snapshot.hosts {
            page.hosts(hosts);
        }
        page.sources(&snapshot.sources);
    }
    page.text
}

const SEVERITIES: [Severity; 5] =
    [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn run(&mut self, snapshot: &Snapshot, behind_s: f64) {
        self.counter("flowtap_packets_total", "Packets accounted for.", snapshot.packets);
        let help = "Their bytes on the wire.";
        self.counter("flowtap_wire_bytes_total", help, snapshot.wire_bytes);
        self.family("flowtap_flows", "gauge", "Flows in the table.");
        self.sample("flowtap_flows", &[], snapshot.flows_held);
        self.counter(
            "flowtap_records_total",
            "Records written, of every kind: flows, alerts, requests, counters.",
            snapshot.records_written,
        );
        let help = "Flow records that no file took.";
        self.counter("flowtap_records_lost_total", help, snapshot.records_lost);
        self.family("flowtap_alerts_total", "counter", "Alerts opened.");
        for (severity, count) in SEVERITIES.iter().zip(snapshot.alerts) {
            self.sample("flowtap_alerts_total", &[("severity", severity.name())], count);
        }
        let help = "What is left out because packets come in too fast: 1 for the step in force.";
        self.family("flowtap_overload_step", "gauge", help);
        for step in Shed::ALL {
            let in_force = u8::from(step == snapshot.overload);
            self.sample("flowtap_overload_step", &[("step", step.name())], in_force);
        }
        let left_out = snapshot.left_out;
        let name = "flowtap_overload_packets_total";
        let help = "Packets counted while this was left out of them.";
        self.family(name, "counter", help);
        for (step, packets) in [
            (Shed::Hints, left_out.application_hints),
            (Shed::Entropy, left_out.payload_entropy),
            (Shed::NewFlows, left_out.new_flows_sampled),
        ] {
            self.sample(name, &[("step", step.name())], packets);
        }
        let name = "flowtap_sampled_away_packets_total";
        let help = "Packets of new flows that were not taken in because packets came too fast.";
        self.counter(name, help, left_out.sampled_away);
        let help = "How far the newest closed second is behind the clock.";
        self.family("flowtap_behind_seconds", "gauge", help);
        self.sample("flowtap_behind_seconds", &[], behind_s);
    }

    fn sensor(&mut self, snapshot: &Snapshot) {
        if !snapshot.sensor.is_empty() {
            self.family("flowtap_sensor_info", "gauge", "The sensor by its id.");
            self.sample("flowtap_sensor_info", &[("sensor", &snapshot.sensor)], 1);
        }
        if let Some(synchronised) = snapshot.clock_synchronised {
            let help = "1 while the clock that stamps packets follows a reference.";
            self.family("flowtap_clock_synchronised", "gauge", help);
            self.sample("flowtap_clock_synchronised", &[], u8::from(synchronised));
        }
    }

    fn inferred(&mut self, snapshot: &Snapshot) {
        type Figure = fn(&InferredLoss) -> u64;
        let figures: [(&str, &str, Figure); 2] = [
            (
                "flowtap_inferred_loss_bytes_total",
                "TCP bytes that were acknowledged and never seen, lost before the capture or in \
                 it. Of flows that have ended.",
                |loss| loss.missed_bytes,
            ),
            (
                "flowtap_inferred_loss_expected_bytes_total",
                "TCP payload of the same flows, seen or missed: what a share of loss is of.",
                |loss| loss.expected_bytes,
            ),
        ];
        for (name, help, figure) in figures {
            self.family(name, "counter", help);
            for (tap, loss) in snapshot.taps.iter().zip(&snapshot.inferred) {
                self.sample(name, &[("interface", &tap.name)], figure(loss));
            }
        }
    }

    fn interfaces(&mut self, taps: &[TapStatus]) {
        type Figure = fn(&TapStatus) -> u64;
        let figures: [(&str, &str, &str, Figure); 9] = [
            ("flowtap_interface_up", "gauge", "1 while it is up and has a carrier.", |tap| {
                u64::from(tap.present && tap.up)
            }),
            ("flowtap_interface_packets_total", "counter", "Packets handed on.", |tap| tap.frames),
            ("flowtap_interface_wire_bytes_total", "counter", "Their bytes on the wire.", |tap| {
                tap.wire_bytes
            }),
            (
                "flowtap_interface_oversized_packets_total",
                "counter",
                "Packets longer than the MTU: several put together by an offload.",
                |tap| tap.oversized,
            ),
            (
                "flowtap_interface_checksum_pending_packets_total",
                "counter",
                "Packets whose checksum was left to the device.",
                |tap| tap.checksum_pending,
            ),
            (
                "flowtap_interface_hardware_stamps_total",
                "counter",
                "Packets with a time stamp of the device.",
                |tap| tap.hardware_stamps,
            ),
            (
                "flowtap_interface_clock_steps_back_total",
                "counter",
                "Times that the clock was set back by over a second.",
                |tap| tap.clock_steps_back,
            ),
            ("flowtap_interface_rings", "gauge", "Rings joined.", |tap| tap.rings as u64),
            ("flowtap_interface_mtu_bytes", "gauge", "The interface's MTU.", |tap| {
                u64::from(tap.mtu_bytes)
            }),
        ];
        for (name, kind, help, figure) in figures {
            self.family(name, kind, help);
            for tap in taps {
                self.sample(name, &[("interface", &tap.name)], figure(tap));
            }
        }
        let name = "flowtap_interface_info";
        self.family(name, "gauge", "What each interface, as it was named at the start, is called.");
        for tap in taps {
            self.sample(name, &[("interface", &tap.name), ("called", &tap.called)], 1);
        }
        let help = "Share of the rings that waits to be read.";
        self.family("flowtap_interface_ring_fill_ratio", "gauge", help);
        for tap in taps {
            let fill = f64::from(tap.ring_fill_percent) / 100.0;
            self.sample("flowtap_interface_ring_fill_ratio", &[("interface", &tap.name)], fill);
        }
        let help = "Packets lost: in the kernel's ring, or by the device and its driver.";
        self.family("flowtap_drops_total", "counter", help);
        for tap in taps {
            for (kind, count) in [("kernel", tap.kernel_drops), ("interface", tap.interface_drops)]
            {
                let labels = [("interface", tap.name.as_str()), ("kind", kind)];
                self.sample("flowtap_drops_total", &labels, count);
            }
        }
    }

    fn reloads(&mut self, reloads: &ReloadCounters) {
        let name = "flowtap_config_reloads_total";
        self.family(name, "counter", "Times that the configuration was read again.");
        self.sample(name, &[("result", "done")], reloads.done);
        self.sample(name, &[("result", "failed")], reloads.failed);
        if let Some(at_s) = reloads.last_done_s {
            let name = "flowtap_config_last_reload_timestamp_seconds";
            self.family(name, "gauge", "When it was read again with success.");
            self.sample(name, &[], format!("{at_s:.3}"));
        }
    }

    fn delivery(&mut self, targets: &[TargetCounters]) {
        type Figure = fn(&TargetCounters) -> u64;
        let figures: [(&str, &str, &str, Figure); 6] = [
            ("flowtap_delivery_delivered_total", "counter", "Messages delivered.", |t| t.delivered),
            ("flowtap_delivery_lost_total", "counter", "Messages given up.", |t| t.lost),
            (
                "flowtap_delivery_refused_total",
                "counter",
                "Messages that the receiver refused for good.",
                |t| t.refused,
            ),
            ("flowtap_delivery_retries_total", "counter", "Attempts that failed.", |t| t.retries),
            ("flowtap_delivery_waiting", "gauge", "Messages that wait.", |t| t.waiting),
            ("flowtap_delivery_failing", "gauge", "1 after an attempt that failed.", |t| {
                u64::from(t.failing)
            }),
        ];
        if targets.is_empty() {
            return;
        }
        for (name, kind, help, figure) in figures {
            self.family(name, kind, help);
            for target in targets {
                self.sample(name, &[("target", &target.target)], figure(target));
            }
        }
    }

    /// What every exporter says of its process, by the names that Prometheus'
    /// own libraries use.
    #[cfg(target_os = "linux")]
    fn process(&mut self) {
        self.family("process_cpu_seconds_total", "counter", "Processor time used.");
        self.sample("process_cpu_seconds_total", &[], super::kernel::processor_s());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = kib_in(&status, "VmRSS:") {
            self.family("process_resident_memory_bytes", "gauge", "Memory in use.");
            self.sample("process_resident_memory_bytes", &[], kib * 1024);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.family("process_open_fds", "gauge", "Open file descriptors.");
            // The one that this folder is read by is not there a moment later.
            self.sample("process_open_fds", &[], open.count().saturating_sub(1));
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn process(&mut self) {}

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    // Writing to a String cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if number == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A line such as `VmRSS:    1234 kB`.
#[cfg(target_os = "linux")]
pub(super) fn kib_in(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

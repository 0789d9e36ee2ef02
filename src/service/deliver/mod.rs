//! Delivery of alerts and of what happens to the sensor: syslog, HTTP, a Unix
//! socket.
//!
//! [`Delivery::deliver`] never blocks: each receiver has a bounded queue and a
//! thread of its own, so that one that is slow or down holds up neither the
//! run nor the others. A message is tried until its receiver has it, refuses
//! it, or newer ones push it out of a full queue; whatever is not delivered is
//! counted, and told once when it begins and once when it ends
//! ([`Delivery::take_changes`]); of outages within a minute only the first. A message may arrive twice, after a connection
//! that broke: `id` and `revision` tell.
//!
//! What nobody can count: a datagram that the network lost, and bytes that a
//! TCP receiver acknowledged and then forgot (RFC 6587, section 3.1).
//!
//! Start at [`Delivery::start`]. Inside: `target` is where to, `message` what,
//! `lane` the queue and thread of one receiver, `connection` what all
//! receivers have in common.

mod connection;
mod lane;
mod message;
mod post;
mod syslog;
mod target;
mod unix;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use syslog::Facility;
pub use target::{Target, TargetError};

use crate::alert::Alert;
use crate::engine::SensorEvent;
use lane::Lane;
use message::Message;

/// How to deliver. The defaults suit receivers on a local network.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// Messages that wait for a receiver; then the oldest is given up for the
    /// newest. Default 1,024: an alert has about five revisions, so some 200
    /// attacks during an outage, in about 2 MiB.
    pub queue: usize,
    /// For a connection, and for each message. Default 5 s.
    pub timeout: Duration,
    /// Pause after the first failure; doubled with each further one. Default
    /// 500 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 30 s: a receiver that restarts is found again
    /// soon, one that is gone costs nothing.
    pub longest_pause: Duration,
    /// Default `daemon`.
    pub facility: Facility,
    /// Host name in syslog messages; default the machine's.
    pub hostname: String,
    /// Certificates (PEM) that `https://` receivers may be signed by, in place
    /// of the system's.
    pub certificates: Option<PathBuf>,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            queue: 1_024,
            timeout: Duration::from_secs(5),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            facility: Facility::Daemon,
            hostname: machine_name(),
            certificates: None,
        }
    }
}

/// What was counted for one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TargetCounters {
    /// Without user, password and query; numbered where others are shown alike.
    pub target: String,
    /// Handed over; of HTTP: answered by 2xx.
    pub delivered: u64,
    /// Given up because the queue was full, or at the end.
    pub lost: u64,
    /// Refused by the receiver for good.
    pub refused: u64,
    /// Attempts that failed and were repeated.
    pub retries: u64,
    /// Waiting now, the one that is being sent included.
    pub waiting: u64,
    /// The last attempt failed.
    pub failing: bool,
}

/// Told once each, not for every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryChange {
    /// The receiver can't be reached, or does not take messages.
    Failing { target: String, error: String },
    /// Messages are being lost from here on.
    Losing { target: String, why: String },
    /// It takes messages again; so many were lost or refused meanwhile.
    Recovered { target: String, lost: u64 },
}

impl std::fmt::Display for DeliveryChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failing { target, error } => {
                write!(f, "alerts don't get through to {target} ({error}); trying again")
            }
            Self::Losing { target, why } => write!(f, "alerts to {target} are lost: {why}"),
            Self::Recovered { target, lost: 0 } => {
                write!(f, "alerts get through to {target} again; none was lost")
            }
            Self::Recovered { target, lost } => {
                write!(f, "alerts get through to {target} again; {lost} were lost")
            }
        }
    }
}

/// Why delivery can't start.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("{target}: this build speaks no TLS: build it with the feature https")]
    NoTls { target: String },
    #[error("{}: {why}", path.display())]
    Certificates { path: PathBuf, why: String },
    #[error("no thread for {target}: {source}")]
    Thread { target: String, source: std::io::Error },
}

/// Receivers of a run.
#[derive(Debug)]
pub struct Delivery {
    lanes: Vec<Lane>,
}

impl Delivery {
    /// One queue and thread a receiver. Nothing is connected before there is
    /// something to say, so a receiver may come up later.
    pub fn start(targets: &[Target], options: &DeliveryOptions) -> Result<Self, DeliveryError> {
        let mut lanes: Vec<Lane> = Vec::with_capacity(targets.len());
        for target in targets {
            // What is not shown of two receivers may be all that tells them apart.
            let shown = target.to_string();
            let is_taken = |name: &String| lanes.iter().any(|lane| lane.target() == name);
            let mut names = std::iter::once(shown.clone())
                .chain((2_u32..).map(|number| format!("{shown} #{number}")));
            let name = names.find(|name| !is_taken(name)).unwrap_or(shown);
            lanes.push(Lane::start(target, name, options)?);
        }
        Ok(Self { lanes })
    }

    /// Never blocks. Costs a copy of the alert.
    pub fn deliver(&self, alert: &Alert) {
        if !self.lanes.is_empty() {
            self.send(Message::Alert(Box::new(alert.clone())));
        }
    }

    /// Never blocks.
    pub fn deliver_event(&self, event: &SensorEvent) {
        if !self.lanes.is_empty() {
            self.send(Message::Event(event.clone()));
        }
    }

    /// To all receivers but the one that it is about: in a queue that is full, or of a
    /// receiver that is down, it would take an alert's place. Never blocks.
    pub fn deliver_event_but_to(&self, target: &str, event: &SensorEvent) {
        let message = Arc::new(Message::Event(event.clone()));
        for lane in self.lanes.iter().filter(|lane| lane.target() != target) {
            lane.offer(Arc::clone(&message));
        }
    }

    /// One for each receiver, in the order given.
    pub fn counters(&self) -> Vec<TargetCounters> {
        self.lanes.iter().map(Lane::counters).collect()
    }

    /// What began and ended since this was asked last.
    pub fn take_changes(&self) -> Vec<DeliveryChange> {
        self.lanes.iter().flat_map(Lane::take_changes).collect()
    }

    /// Sends what waits, for at most so long; what is left then is lost and
    /// counted. Returns the final counters and the last changes. Delivery that
    /// is dropped instead gives up what waits.
    pub fn finish(self, within: Duration) -> (Vec<TargetCounters>, Vec<DeliveryChange>) {
        let deadline = Instant::now() + within;
        // All are told before one is waited for: they drain at the same time.
        self.lanes.iter().for_each(|lane| lane.close(deadline));
        self.lanes.iter().for_each(|lane| lane.wait(deadline));
        (self.counters(), self.take_changes())
    }

    fn send(&self, message: Message) {
        let message = Arc::new(message);
        for lane in &self.lanes {
            lane.offer(Arc::clone(&message));
        }
    }
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // NILVALUE of RFC 5424.
    if name.trim().is_empty() { "-".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests;

//! Frames of captures, sent out of an interface: for labs.
//!
//! `feed` reads captures ahead on its own thread and judges each frame
//! (`admission`); `send` hands each one over at the moment that `crate::pace` works
//! out, through `socket`, the one place with `unsafe`. Every frame of the
//! captures is either sent, once and in order, or counted with the reason why
//! not. Nothing is changed on the way: no addresses, no checksums, no lengths,
//! except that a frame check sequence that the capture kept is left to the
//! interface, and that cut frames can be filled up with zero bytes on demand.
//!
//! It refuses an interface by which frames could leave the lab: replayed
//! attacks are attacks. Start at [`run`].

mod admission;
mod clock;
mod feed;
mod interface;
mod report;
mod send;
#[cfg(test)]
mod send_tests;
mod socket;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use thiserror::Error;

pub use crate::pace::Speed;
pub use admission::NotSent;
pub use report::{Ended, FileSummary, Lateness, Report};

use crate::input::{InputError, Progress};
use crate::pace::Pace;
use crate::time::rfc3339;
use admission::{Admission, ETHERNET_HEADER_BYTES};
use clock::Monotonic;
use feed::Order;
use send::{End, Manner, Sender};
use socket::PacketSocket;

/// Between looks at the stop flag while the input has nothing to give.
const LOOK: Duration = Duration::from_millis(50);

/// How long the reading thread may take to end. One that waits for standard
/// input may never: it ends with the process.
const READER_LOOKS: u32 = 500;
const READER_LOOK: Duration = Duration::from_millis(1);

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    pub speed: Speed,
    /// Times over all captures; `None` until stopped.
    pub rounds: Option<u64>,
    /// Packets to send at most; at least one.
    pub limit: Option<u64>,
    /// The first packet of each round leaves as far into a second of the wall
    /// clock as its time stamp is.
    pub align_second: bool,
    /// Fill cut frames up to their length on the wire with zero bytes.
    pub pad: bool,
    /// Send even where a default route leads out of the lab.
    pub despite_default_route: bool,
    /// Told how far reading has come in the first round.
    pub progress: Option<Arc<Progress>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            speed: Speed::Times(1.0),
            rounds: Some(1),
            limit: None,
            align_second: false,
            pad: false,
            despite_default_route: false,
            progress: None,
        }
    }
}

/// Why nothing was sent at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    #[error("there is no interface '{0}'")]
    NoInterface(String),
    #[error("{0} takes no Ethernet frames")]
    NotEthernet(String),
    #[error(
        "a default route leads through {routed}, so frames sent to {interface} could leave the \
         lab; use an interface of a network namespace, or --despite-default-route"
    )]
    DefaultRoute { interface: String, routed: String },
    #[error("{interface}: {error}; sending frames needs root or CAP_NET_RAW")]
    NotPermitted { interface: String, error: io::Error },
    #[error("{interface}: can't be opened for sending: {error}")]
    Open { interface: String, error: io::Error },
    #[error(transparent)]
    Input(#[from] InputError),
}

impl ReplayError {
    /// True when another command line would help.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoInterface(_) | Self::NotEthernet(_) | Self::DefaultRoute { .. })
    }
}

/// Sends all frames of `paths`, merged by time, out of `interface` until there
/// are no more or `stop` is set. What could not be read or sent is in the
/// report.
pub fn run(
    paths: &[PathBuf],
    interface: &str,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Report, ReplayError> {
    let (socket, admission) = open(interface, options)?;
    socket::end_sleeps_on_time();
    let order = Order {
        paths: paths.to_vec(),
        rounds: options.rounds,
        admission,
        progress: options.progress.clone(),
    };
    let drops_before = interface::dropped_packets(interface);
    let (deliveries, reports) = feed::start(order);
    let manner = Manner { limit: options.limit, align_second: options.align_second };
    let mut sender = Sender::new(socket, Monotonic::new(), Pace::new(options.speed), manner, stop);
    let end = loop {
        match deliveries.recv_timeout(LOOK) {
            // A whole round without one frame to send: another would not have one either.
            Ok(delivery) if delivery.round > 0 && sender.tally().sent_packets == 0 => break None,
            Ok(delivery) => {
                if let ControlFlow::Break(end) = sender.send(delivery.round, &delivery.load) {
                    break Some(end);
                }
            }
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => {
                break Some(End::Stopped);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    drop(deliveries);
    let files = collect(reports)?;

    let tally = sender.tally();
    let (ended, error) = match end {
        None => (Ended::Complete, None),
        Some(End::Limit) => (Ended::Limit, None),
        Some(End::Stopped) => (Ended::Stopped, None),
        Some(End::Failed(error)) => (Ended::Failed, Some(error.to_string())),
    };
    let drops = interface::dropped_packets(interface);
    let duration_s = tally.duration_ns() as f64 / 1e9;
    let per_s = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
    Ok(Report {
        schema: "flowtap.replay.v1",
        interface: interface.to_owned(),
        max_frame_bytes: admission.max_frame_bytes,
        speed: options.speed.to_string(),
        ended,
        error,
        rounds: tally.rounds,
        packets: tally.sent_packets + tally.not_sent.total(),
        sent_packets: tally.sent_packets,
        sent_bytes: tally.sent_bytes,
        not_sent: tally.not_sent,
        padded_packets: tally.padded_packets,
        started: tally.start_ns.map(|_| rfc3339(tally.start_wall_ns)),
        duration_s,
        packets_per_s: per_s(tally.sent_packets),
        bits_per_s: per_s(tally.sent_bytes) * 8.0,
        lateness: tally.lateness(),
        full_queue_waits: tally.full_queue_waits,
        interface_drops: drops.zip(drops_before).map(|(now, before)| now.saturating_sub(before)),
        files,
    })
}

fn open(interface: &str, options: &Options) -> Result<(PacketSocket, Admission), ReplayError> {
    let name = || interface.to_owned();
    let (socket, link) = PacketSocket::open(interface).map_err(|error| {
        if error.raw_os_error() == Some(libc::ENODEV) || error.raw_os_error() == Some(libc::ENXIO) {
            ReplayError::NoInterface(name())
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            ReplayError::NotPermitted { interface: name(), error }
        } else {
            ReplayError::Open { interface: name(), error }
        }
    })?;
    if !link.takes_ethernet() {
        return Err(ReplayError::NotEthernet(name()));
    }
    if !options.despite_default_route
        && let Some(routed) = interface::default_route(interface)
    {
        return Err(ReplayError::DefaultRoute { interface: name(), routed });
    }
    let admission = Admission {
        max_frame_bytes: link.mtu_bytes.saturating_add(ETHERNET_HEADER_BYTES),
        takes_vlan_tag: link.is_ethernet(),
        pad: options.pad,
    };
    Ok((socket, admission))
}

fn collect(reports: feed::Reports) -> Result<Vec<FileSummary>, InputError> {
    for _ in 0..READER_LOOKS {
        if reports.is_finished() {
            break;
        }
        thread::sleep(READER_LOOK);
    }
    if !reports.is_finished() {
        return Ok(Vec::new());
    }
    match reports.join() {
        Ok(reports) => Ok(reports?.iter().map(FileSummary::from).collect()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

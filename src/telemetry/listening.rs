//! Flow exports as they come: a thread that receives datagrams and hands on what they
//! say. Start at [`start`].

use std::io;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::decode::Out;
use super::export::listen::{Listener, Received};
use super::kind::Kind;
use super::live::Shared;
use super::report::SourceReport;

/// Longest wait for a datagram: how late the end of the run may be seen.
const PATIENCE: Duration = Duration::from_millis(100);

/// Longest that the end of the run waits for what had come before it: at 3 M records a second
/// a full buffer of the kernel takes about a second, behind a slow disk some more.
const LAST: Duration = Duration::from_secs(5);

/// Name of the kind that its report bears: NetFlow, IPFIX and sFlow come in at one
/// place.
const KIND: &str = "netflow";

/// Receives until the run is over.
pub(super) fn start(listener: Listener, shared: Shared) -> io::Result<JoinHandle<()>> {
    let addresses: Vec<_> = listener.addresses()?.iter().map(ToString::to_string).collect();
    let name = format!("udp {}", addresses.join(", "));
    thread::Builder::new().name("exports".to_owned()).spawn(move || run(listener, &name, &shared))
}

fn run(listener: Listener, name: &str, shared: &Shared) {
    let Some(mut receiving) = Receiving::new(listener, name, shared) else { return };
    while !shared.stop.load(Ordering::Acquire) {
        if !receiving.turn(PATIENCE) {
            thread::sleep(PATIENCE);
        }
    }
    receiving.finish(LAST);
}

struct Receiving<'a> {
    listener: Listener,
    name: &'a str,
    shared: &'a Shared,
    kind: &'static Kind,
    /// Place of its report.
    report: u16,
    out: Out,
    /// The last turn could not receive: of several in a row the first is told.
    failed: bool,
}

impl<'a> Receiving<'a> {
    fn new(listener: Listener, name: &'a str, shared: &'a Shared) -> Option<Self> {
        let kind = super::kind::named(KIND)?;
        let report = shared.report(name, kind);
        Some(Self { listener, name, shared, kind, report, out: Out::default(), failed: false })
    }

    /// Receives once; false where that failed.
    fn turn(&mut self, patience: Duration) -> bool {
        let received = self.listener.receive(&mut self.out, patience);
        let is_received = received.is_ok();
        match received {
            Ok(received) => self.count(&received),
            Err(error) => {
                if !self.failed {
                    let text = format!("can't receive at {}: {error}", self.name);
                    self.shared.notice("source.unreadable", self.name, text);
                }
                self.hand_on(SourceReport::new(self.name, self.kind));
            }
        }
        self.failed = !is_received;
        is_received
    }

    /// Datagrams that came before the end are of the run; those that would keep it too long
    /// are told as lost.
    fn finish(mut self, most: Duration) {
        let (begun, mut all_read) = (Instant::now(), false);
        while !all_read
            && begun.elapsed() < most
            && let Ok(received) = self.listener.receive(&mut self.out, Duration::ZERO)
        {
            self.count(&received);
            all_read = received.datagrams == 0;
        }
        self.listener.end(&mut self.out, all_read);
        self.hand_on(SourceReport::new(self.name, self.kind));
    }

    fn count(&mut self, received: &Received) {
        let mut counted = SourceReport::new(self.name, self.kind);
        counted.records = received.datagrams;
        counted.bytes = received.bytes;
        for (exporter, bad) in &received.bad {
            counted.count_bad_from(bad, &exporter.to_string());
        }
        self.hand_on(counted);
    }

    fn hand_on(&mut self, counted: SourceReport) {
        self.shared.hand_on(self.report, counted, &mut self.out);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::lock::Lock;
    use crate::telemetry::merge::Batch;

    /// One record of NetFlow v5, the number of which counts records.
    fn datagram(number: u32) -> Vec<u8> {
        let mut datagram = vec![0; 24 + 48];
        datagram[..4].copy_from_slice(&[0, 5, 0, 1]);
        datagram[8..12].copy_from_slice(&1_772_360_102_u32.to_be_bytes());
        datagram[16..20].copy_from_slice(&number.to_be_bytes());
        datagram
    }

    /// A run that ends already while so many datagrams wait for it.
    fn ending(waiting: u32) -> (Listener, Shared, Receiver<Batch>) {
        let listener = Listener::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(listener.addresses().unwrap()[0]).unwrap();
        for number in 0..waiting {
            sender.send(&datagram(number)).unwrap();
        }
        let (batches, taken) = unbounded();
        let shared = Shared {
            batches,
            reports: Arc::new(Lock::new(Vec::new())),
            notices: unbounded().0,
            map: None,
            stop: Arc::new(AtomicBool::new(true)),
        };
        (listener, shared, taken)
    }

    #[test]
    fn what_waits_when_the_run_ends_is_still_read() {
        // More than one turn takes.
        let (listener, shared, taken) = ending(1000);
        run(listener, "udp", &shared);
        let report = &shared.reports.lock()[0];
        assert_eq!((report.records, report.observations.flows), (1000, 1000));
        assert_eq!(taken.try_iter().map(|batch| batch.observed.len()).sum::<usize>(), 1000);
        assert!(report.lost.is_empty() && report.bad.is_empty(), "{report:?}");
    }

    #[test]
    fn what_would_keep_the_end_too_long_is_told_as_lost() {
        let (listener, shared, _taken) = ending(1000);
        Receiving::new(listener, "udp", &shared).unwrap().finish(Duration::ZERO);
        let report = &shared.reports.lock()[0];
        assert_eq!(report.observations.flows, 0);
        assert_eq!(report.lost["export datagrams that were not read at the end"], 1000);
    }
}

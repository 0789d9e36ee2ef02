//! Flow exports as they come: a thread that receives datagrams and hands on what they
//! say. Start at [`start`].

use std::io;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::decode::Out;
use super::export::listen::Listener;
use super::live::Shared;
use super::report::SourceReport;

/// Longest wait for a datagram: how late the end of the run may be seen.
const PATIENCE: Duration = Duration::from_millis(100);

/// Name of the kind that its report bears: NetFlow, IPFIX and sFlow come in at one
/// place.
const KIND: &str = "netflow";

/// Receives until the run is over.
pub(super) fn start(listener: Listener, shared: Shared) -> io::Result<JoinHandle<()>> {
    let addresses: Vec<_> = listener.addresses()?.iter().map(ToString::to_string).collect();
    let name = format!("udp {}", addresses.join(", "));
    thread::Builder::new().name("exports".to_owned()).spawn(move || run(listener, &name, &shared))
}

fn run(mut listener: Listener, name: &str, shared: &Shared) {
    let Some(kind) = super::kind::named(KIND) else { return };
    let report = shared.report(name, kind);
    let mut out = Out::default();
    let mut failed = false;
    while !shared.stop.load(Ordering::Acquire) {
        let mut counted = SourceReport::new(name, kind);
        match listener.receive(&mut out, PATIENCE) {
            Ok(received) => {
                counted.records = received.datagrams;
                counted.bytes = received.bytes;
                for (exporter, bad) in &received.bad {
                    counted.count_bad_from(bad, &exporter.to_string());
                }
                failed = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    let text = format!("can't receive at {name}: {error}");
                    shared.notice("source.unreadable", name, text);
                }
                thread::sleep(PATIENCE);
            }
        }
        shared.hand_on(report, counted, &mut out);
    }
    listener.end(&mut out);
    shared.hand_on(report, SourceReport::new(name, kind), &mut out);
}

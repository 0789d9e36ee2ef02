//! Samples of counters.

use std::sync::Arc;

use super::{Datagram, opaque, source, words};
use crate::telemetry::decode::Out;
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::Texts;
use crate::telemetry::sample::{CounterSample, Reading, Subject};

/// Says that an agent does not have a counter.
const UNKNOWN: u32 = u32::MAX;

pub(super) fn read(
    expanded: bool,
    mut rest: Reader<'_>,
    datagram: &Datagram,
    texts: &mut Texts,
    out: &mut Out,
) -> Option<()> {
    let _number = rest.u32()?;
    let _source = source(expanded, &mut rest)?;
    for _ in 0..rest.u32()? {
        let (format, record) = rest.u32().zip(opaque(&mut rest))?;
        let record = Reader(record);
        let sample = match format {
            1 => of_interface(record, datagram, texts),
            2006 => of_host(record, datagram),
            _ => {
                out.pass("counters other than of interfaces");
                continue;
            }
        };
        match sample {
            Some(sample) => out.counter(sample),
            None => out.bad_part("record of a sample that is shorter than its format"),
        }
    }
    Some(())
}

fn empty(datagram: &Datagram, interface: Arc<str>) -> CounterSample {
    CounterSample {
        time_ns: datagram.received_ns,
        reading: Reading::Total,
        subject: Subject { host: Arc::clone(&datagram.observer), interface, ..Subject::default() },
        received_bytes: None,
        sent_bytes: None,
        received_packets: None,
        sent_packets: None,
        received_drops: None,
        sent_drops: None,
        labels: Vec::new(),
    }
}

/// The generic counters of an interface.
fn of_interface(
    mut rest: Reader<'_>,
    datagram: &Datagram,
    texts: &mut Texts,
) -> Option<CounterSample> {
    let [index, _kind] = words(&mut rest)?;
    let _bits_per_s = rest.u64()?;
    let [_duplex, _status] = words(&mut rest)?;
    let received_bytes = rest.u64()?;
    let [unicast, multicast, broadcast, discards, _errors, _other] = words(&mut rest)?;
    let sent_bytes = rest.u64()?;
    let [sent_unicast, sent_multicast, sent_broadcast, sent_discards, _sent_errors, _promiscuous] =
        words(&mut rest)?;
    let mut sample = empty(datagram, texts.number(u64::from(index)));
    sample.received_bytes = (received_bytes != u64::MAX).then_some(received_bytes);
    sample.sent_bytes = (sent_bytes != u64::MAX).then_some(sent_bytes);
    sample.received_packets = packets([unicast, multicast, broadcast]);
    sample.sent_packets = packets([sent_unicast, sent_multicast, sent_broadcast]);
    sample.received_drops = known(discards);
    sample.sent_drops = known(sent_discards);
    Some(sample)
}

/// All interfaces of a host together.
fn of_host(mut rest: Reader<'_>, datagram: &Datagram) -> Option<CounterSample> {
    let received_bytes = rest.u64()?;
    let [packets, _errors, drops] = words(&mut rest)?;
    let sent_bytes = rest.u64()?;
    let [sent_packets, _sent_errors, sent_drops] = words(&mut rest)?;
    let mut sample = empty(datagram, Arc::default());
    sample.received_bytes = Some(received_bytes);
    sample.sent_bytes = Some(sent_bytes);
    (sample.received_packets, sample.received_drops) = (known(packets), known(drops));
    (sample.sent_packets, sample.sent_drops) = (known(sent_packets), known(sent_drops));
    Some(sample)
}

fn known(count: u32) -> Option<u64> {
    (count != UNKNOWN).then_some(u64::from(count))
}

/// The sum in 32 bits, so that it runs over where a single counter of that width would.
fn packets(counts: [u32; 3]) -> Option<u64> {
    let known = counts.into_iter().filter(|&count| count != UNKNOWN);
    known.reduce(u32::wrapping_add).map(u64::from)
}

//! Linux's `/proc/net/dev`, one snapshot or a recording of them.
//!
//! Totals since an interface was made, of one network namespace. How to record them
//! with their times: [`super::snapshot`].

use super::snapshot::{Snapshots, is_recorder_line};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::Subject;
use crate::telemetry::text::number;

pub(super) static KIND: Kind = Kind {
    name: "proc-net-dev",
    title: "Linux /proc/net/dev",
    gives: Gives::Counters,
    versions: "Linux 2.2 and up; one snapshot (its time is the file's), or several, each behind a line of `date +%s.%N`",
    source: "Linux 6.18, /proc/net/dev; proc(5)",
    sample: "1772360102.114903000\n\
        Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
        lo: 4331    75    0    0    0     0          0         0     4331      75    0    0    0     0       0          0\n  \
        eth0: 461746712   18474    0    1    0     0          0         0  1142689   11580    0    0    0     0       0          0\n",
    sees: "bytes, packets and drops per interface and network namespace",
    absent: "who sent it, to whom, by which protocol; interfaces of other namespaces unless recorded too",
    // Written as it is read.
    lateness_s: 0,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let mut lines = head.lines.iter().skip_while(|line| is_recorder_line(line));
    lines.next().is_some_and(|line| is_title(line))
        && lines.next().is_some_and(|line| is_header(line))
}

fn is_title(line: &[u8]) -> bool {
    line.starts_with(b"Inter-|")
}

/// The columns have not changed since Linux 2.2; others would be read wrongly.
fn is_header(line: &[u8]) -> bool {
    const COLUMNS: &str = "face |bytes packets errs drop fifo frame compressed multicast|bytes \
        packets errs drop fifo colls carrier compressed";
    let words = |text: &[u8]| -> Vec<Vec<u8>> {
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.map(<[u8]>::to_vec).collect()
    };
    line.trim_ascii_start().starts_with(b"face |") && words(line) == words(COLUMNS.as_bytes())
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(ProcNetDev { snapshots: Snapshots::new(context), has_header: false }))
}

struct ProcNetDev {
    snapshots: Snapshots,
    has_header: bool,
}

/// Numbers of an interface: eight received, eight sent.
const NUMBERS: usize = 16;

impl Decoder for ProcNetDev {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if is_title(record) {
            self.has_header = false;
            return Ok(());
        }
        if record.trim_ascii_start().starts_with(b"face |") {
            self.has_header = is_header(record);
            return if self.has_header { Ok(()) } else { Err(Bad::value("other columns", record)) };
        }
        if self.snapshots.recorder_line(record, out) {
            return Ok(());
        }
        // No number has a colon, an interface may.
        let colon = record.iter().rposition(|&byte| byte == b':');
        let colon = colon.ok_or_else(|| Bad::value("not an interface", record))?;
        if !self.has_header {
            return Err(Bad::new("no header before it"));
        }
        let (name, rest) = (record[..colon].trim_ascii(), &record[colon + 1..]);
        let mut numbers = [0_u64; NUMBERS];
        let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        for value in &mut numbers {
            let word = words.next().ok_or_else(|| Bad::new("fewer numbers than columns"))?;
            *value = number(word).ok_or_else(|| Bad::value("not a number", word))?;
        }
        if words.next().is_some() {
            return Err(Bad::new("more numbers than columns"));
        }
        let [
            received_bytes,
            received_packets,
            _,
            received_drops,
            _,
            _,
            _,
            _,
            sent_bytes,
            sent_packets,
            _,
            sent_drops,
            ..,
        ] = numbers;
        let subject = Subject { interface: out.names.of(name), ..Subject::default() };
        let mut sample = self.snapshots.sample(subject);
        (sample.received_bytes, sample.sent_bytes) = (Some(received_bytes), Some(sent_bytes));
        (sample.received_packets, sample.sent_packets) =
            (Some(received_packets), Some(sent_packets));
        (sample.received_drops, sample.sent_drops) = (Some(received_drops), Some(sent_drops));
        self.snapshots.add(sample, out);
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        self.snapshots.end(out);
    }
}

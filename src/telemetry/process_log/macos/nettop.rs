//! Counters of processes and their sockets as `nettop -L` prints them: comma-separated,
//! a header before each sample.
//!
//! Rows have a time of day alone, in a zone that is not said. A line of `date` before
//! the first header gives both, as the first sample comes within a quarter of an hour
//! of it and zones are whole quarters off UTC; without one the last row was when the
//! file was last changed. Numbers are totals: `-d`, which prints differences, can't be
//! told from them and must not be used.

use std::sync::Arc;

use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::{CounterSample, Reading, Subject};

use super::date::date_line;
use super::nettop_clock::Clock;
use super::nettop_row::{Columns, Counted, Row};
use super::nettop_sockets::Sockets;
use super::speaker::Speaker;

/// Rows that wait for the end of a file to have a date: some megabytes of it.
const MAX_HELD: usize = 1 << 16;

pub(in crate::telemetry::process_log) static NETTOP: Kind = Kind {
    name: "nettop",
    title: "nettop -L (macOS, per process and socket)",
    // Counters too: read as of a host for the sockets.
    gives: Gives::Hosts,
    versions: "macOS 10.14 and up: nettop -L N -x -n, with -P or with the sockets, any columns (-J)",
    source: "nettop(1) of macOS; header and rows as published by its users",
    sample: "2026-03-01T10:15:00Z\n\
        time,,interface,state,bytes_in,bytes_out,rx_dupe,rx_ooo,re-tx,rtt_avg,rcvsize,tx_win,tc_class,tc_mgt,cc_algo,P,C,R,W,arch,\n\
        11:15:02.114903,curl.501,,,1200,90000000,0,0,0,,,,,,,,,,,,\n\
        11:15:02.114903,tcp4 192.0.2.7:50123<->198.51.100.9:443,en0,Established,1200,90000000,0,0,0,12.00 ms,131072,65535,BE,-,cubic,-,-,-,-,so,\n",
    sees: "bytes, and with -J packets, that each process sent and received: rates and bursts by pid (AN0971)",
    absent: "ICMP and other raw sockets; arguments and users of processes; what ended between two samples",
    lateness_s: 5,
    framing: Framing::Lines,
    recognise,
    decoder: |context| Ok(Box::new(Nettop::new(context))),
};

fn recognise(head: &Head<'_>) -> bool {
    let line = head.lines.iter().find(|line| date_line(line).is_none());
    line.is_some_and(|line| Columns::of_header(line).is_some())
}

struct Nettop {
    host: Arc<str>,
    sockets: Sockets,
    modified_ns: Option<i64>,
    columns: Option<Columns>,
    clock: Clock,
    held: Vec<Row>,
}

impl Nettop {
    fn new(context: &Context) -> Self {
        let speaker = Speaker::new(context);
        Self {
            host: Arc::clone(speaker.host()),
            sockets: Sockets::new(speaker),
            modified_ns: context.modified_ns,
            columns: None,
            clock: Clock::default(),
            held: Vec::new(),
        }
    }

    fn row(&mut self, row: Row, out: &mut Out) {
        match self.clock.time_ns(row.clock_ns) {
            Some(time_ns) => self.tell(row, time_ns, out),
            None if self.held.len() < MAX_HELD => self.held.push(row),
            None => out.bad_part("row without a date (date before the first)"),
        }
    }

    fn tell(&mut self, row: Row, time_ns: i64, out: &mut Out) {
        match row.what {
            Counted::SampleEnds => self.sockets.end_sample(time_ns, out),
            Counted::Process(process) => {
                let told = Arc::clone(&process);
                let sample = CounterSample {
                    time_ns,
                    reading: Reading::Total,
                    subject: Subject {
                        host: Arc::clone(&self.host),
                        process: told,
                        ..Subject::default()
                    },
                    received_bytes: row.received_bytes,
                    sent_bytes: row.sent_bytes,
                    received_packets: row.received_packets,
                    sent_packets: row.sent_packets,
                    received_drops: None,
                    sent_drops: None,
                    labels: Vec::new(),
                };
                out.counter(sample);
                self.sockets.process(&process, time_ns, out);
            }
            Counted::Socket(socket) => {
                let counted = (row.received_bytes, row.sent_bytes);
                self.sockets.socket(socket, counted, time_ns, out);
            }
        }
    }
}

impl Decoder for Nettop {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if let Some(time_ns) = date_line(record) {
            self.clock.set(time_ns);
            return Ok(());
        }
        if let Some(columns) = Columns::of_header(record) {
            if self.columns.as_ref() != Some(&columns) {
                columns.unknown().for_each(|name| out.unknown_field(name));
            }
            if self.columns.replace(columns).is_some() {
                self.row(Row::sample_ends(), out);
            }
            return Ok(());
        }
        let columns = self.columns.as_ref().ok_or_else(|| Bad::new("row before the header"))?;
        let row = columns.row(record, &mut out.names)?;
        self.row(row, out);
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return;
        }
        let Some(modified_ns) = self.modified_ns else {
            held.iter().for_each(|_| out.bad_part("row without a date (date before the first)"));
            return;
        };
        self.clock.set_last(modified_ns, held.iter().map(|row| row.clock_ns));
        for row in held {
            self.row(row, out);
        }
    }
}

//! The Linux audit log, as auditd writes it, raw or enriched, and with what syslog
//! or the kernel's log put in front of its lines.
//!
//! An event is several records, joined by their time and serial number, and mixed
//! with those of others. An event is over with its last record (`PROCTITLE` or
//! `EOE`), or when the host's log has gone on for two seconds. A record's time is
//! the one at which the system call began: an `accept` that waited for an hour is
//! an hour old when it is logged. Start at [`Auditd`]; `event.rs` says what an event
//! means.

mod event;
mod line;
mod syscall;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use event::{Event, Sockets};
use line::{Line, Type};

use super::hosts::{HostNumber, Hosts};
use crate::host::attribution::Method;
use crate::host::event::What;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::text::number;

/// Other records of the host that an event waits for its own by their time: what
/// auditd itself waits by default (`end_of_event_timeout`).
const WAIT_NS: i64 = 2_000_000_000;

/// Events that wait at once, of all hosts; some ten are normal.
const MAX_OPEN: usize = 256;

pub(in crate::telemetry::process_log) static AUDITD: Kind = Kind {
    name: "auditd",
    title: "Linux audit log",
    gives: Gives::Hosts,
    versions: "raw and enriched, with node names, also through syslog or the kernel's log; system \
        calls of x86-64, aarch64 and i386, of others where the log is enriched",
    source: "auditd 3.0.9 on Linux 6.18 (recorded); audit.rules(7), ausearch(8)",
    sample: "type=SYSCALL msg=audit(1772360102.114:4711): arch=c000003e syscall=42 success=no \
        exit=-115 a0=3 a1=7ffd a2=10 a3=0 items=0 ppid=812 pid=901 auid=1000 uid=1000 gid=1000 \
        euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=3 \
        comm=\"curl\" exe=\"/usr/bin/curl\" key=\"net\"\n\
        type=SOCKADDR msg=audit(1772360102.114:4711): saddr=020001BBCB0071090000000000000000\n\
        type=PROCTITLE msg=audit(1772360102.114:4711): proctitle=6375726C002D73\n",
    sees: "programs with arguments, parents, users and terminals; who connected to which address \
        and port, where rules log connect (AN0031, AN0223)",
    absent: "the local address and port of connections; the protocol, unless rules log socket; \
        what was sent; containers; in other PID namespaces the numbers of children",
    // Records are joined for two seconds, and auditd's queue is emptied at once.
    lateness_s: 5,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    // Where syslog mixes them with others the first lines can be anybody's.
    head.lines.iter().any(|line| Line::of(line).is_some())
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Auditd {
        hosts: Hosts::new(context),
        open: VecDeque::new(),
        latest_ns: Vec::new(),
        sockets: Sockets::default(),
        lost: 0,
    }))
}

struct Auditd {
    hosts: Hosts,
    /// In the order of their first records.
    open: VecDeque<Event>,
    /// The latest time of each host's records.
    latest_ns: Vec<i64>,
    sockets: Sockets,
    /// Records that the kernel last said it had lost since it was started.
    lost: u64,
}

impl Decoder for Auditd {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let Some(line) = Line::of(record) else { return self.other_line(record, out) };
        let host = self.hosts.host(line.host, out)?;
        let latest_ns = self.latest(host, line.time_ns);
        match line.is {
            Type::Other => out.pass("record of another type"),
            Type::File => {}
            Type::Boot => {
                self.completed(host, |_| true, out);
                self.hosts.boots(host, line.time_ns.to_string());
            }
            Type::Abend => {
                let pid = line.fields().find(|(name, _)| *name == b"pid");
                if let Some(pid) = pid.and_then(|(_, value)| value.number()) {
                    self.hosts.exits(host, pid, line.time_ns, out);
                }
            }
            Type::End => self.completed(host, |event| event.is(host, &line), out),
            Type::Syscall => {
                let since_ns = latest_ns.saturating_sub(WAIT_NS);
                self.completed(host, |event| event.opened_ns < since_ns, out);
                if self.open.len() >= MAX_OPEN {
                    self.close(0, out);
                }
                self.open.push_back(Event::new(host, latest_ns, &line)?);
            }
            Type::Execve | Type::Address | Type::Title => {
                // The latest is the likeliest.
                let Some(at) = self.open.iter().rposition(|event| event.is(host, &line)) else {
                    // Of what the log began in the middle of, or what has no system call.
                    out.pass("part of an event without its system call");
                    return Ok(());
                };
                if let Some(event) = self.open.get_mut(at) {
                    event.add(&line, out);
                }
                if line.is == Type::Title {
                    self.completed(host, |event| event.is(host, &line), out);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        while !self.open.is_empty() {
            self.close(0, out);
        }
    }
}

impl Auditd {
    /// The host's latest time, with this record.
    fn latest(&mut self, host: HostNumber, time_ns: i64) -> i64 {
        let at = host.0 as usize;
        if at >= self.latest_ns.len() {
            self.latest_ns.resize(at + 1, i64::MIN);
        }
        let Some(latest_ns) = self.latest_ns.get_mut(at) else { return time_ns };
        *latest_ns = (*latest_ns).max(time_ns);
        *latest_ns
    }

    /// Those events of the host have all of their records. They are told in the order in
    /// which they began: the last record of a fork can come after all of the child's.
    fn completed(&mut self, host: HostNumber, which: impl Fn(&Event) -> bool, out: &mut Out) {
        for event in self.open.iter_mut().filter(|event| event.host == host) {
            event.complete |= which(event);
        }
        while let Some(at) = self.open.iter().position(|event| event.host == host)
            && self.open.get(at).is_some_and(|event| event.complete)
        {
            self.close(at, out);
        }
    }

    fn close(&mut self, at: usize, out: &mut Out) {
        let Some(event) = self.open.remove(at) else { return };
        let latest_ns = self.latest(event.host, event.time_ns);
        event.tell(latest_ns, &mut self.hosts, &mut self.sockets, out);
    }

    /// A line of syslog that is no audit record, or the kernel's word that it lost some.
    fn other_line(&mut self, line: &[u8], out: &mut Out) -> Result<(), Bad> {
        const LOST: &[u8] = b"audit: audit_lost=";
        let Some(at) = memchr::memmem::find(line, LOST) else {
            return Err(Bad::value("no audit record", line));
        };
        let digits = line.get(at + LOST.len()..).unwrap_or_default();
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        let total: u64 = number(&digits[..end]).ok_or_else(|| Bad::value("not a number", line))?;
        // After a start the kernel counts from zero.
        let lost = total.checked_sub(self.lost).unwrap_or(total);
        self.lost = total;
        out.lost("audit records", lost);
        // Whose time is not in a form that all of them share: when others last came.
        let host = self.hosts.host(line::host(&line[..at]), out)?;
        if let Some(&time_ns) = self.latest_ns.get(host.0 as usize)
            && time_ns > i64::MIN
        {
            let what = What::Lost { method: Method::Imported, events: lost };
            self.hosts.tell(host, time_ns, what, out);
        }
        Ok(())
    }
}

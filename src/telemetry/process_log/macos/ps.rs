//! Processes as `ps -axo ...` prints them, in any order of columns by its header. The
//! same on Linux.
//!
//! A snapshot: what ran at one time. When that was comes from a line of `date` before
//! the header, or is when the file was last changed. Starts are told in the zone that
//! `ps` ran in, which it does not say; its own row does, since it began when the
//! snapshot was made. Without that row UTC is meant (`TZ=UTC0 ps`).

use std::collections::HashMap;

use crate::host::event::What;
use crate::host::process::Process;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};

use super::date::date_line;
use super::process::process_id;
use super::ps_columns::{Column, Row, columns, row};
use super::speaker::Speaker;

const NS_PER_S: i64 = 1_000_000_000;

/// Processes in a snapshot; macOS gives numbers up to 99,999.
const MAX_ROWS: usize = 1 << 17;

/// Zones are whole quarters of an hour off UTC, at most 14 hours.
const QUARTER_S: i64 = 900;
const MAX_ZONE_S: i64 = 14 * 3600;

/// Between the start of `ps` and the time of the snapshot: a loaded host, a file that
/// is closed later.
const MAX_PS_AGE_S: i64 = 120;

pub(in crate::telemetry::process_log) static PS: Kind = Kind {
    name: "ps",
    title: "ps -axo pid,ppid,...,lstart,command",
    gives: Gives::Hosts,
    versions: "macOS and Linux (procps), columns in any order by the header, the command last; \
        lstart in the C locale; one snapshot or more",
    source: "ps(1) of macOS; procps-ng 4.0.2 of Debian 12",
    sample: "2026-03-01T10:15:02Z\n  \
        PID  PPID  PGID   SESS TTY      USER             UID STARTED                      COMMAND\n    \
        1     0     1      0 ??       root               0 Sun Mar  1 08:00:00 2026     /sbin/launchd\n  \
        501   400   501      0 ttys001  alice            501 Sun Mar  1 10:14:59 2026     ping -f 192.0.2.1\n",
    sees: "processes with arguments, parents, users, terminals and starts (AN0971)",
    absent: "what began and ended between two snapshots; sessions on macOS; where an argument ends",
    lateness_s: 5,
    framing: Framing::Lines,
    recognise,
    decoder: |context| Ok(Box::new(Ps::new(context))),
};

fn recognise(head: &Head<'_>) -> bool {
    let line = head.lines.iter().find(|line| date_line(line).is_none());
    line.is_some_and(|line| columns(line).is_some())
}

struct Ps {
    speaker: Speaker,
    modified_ns: Option<i64>,
    /// Of the snapshot that is being read.
    time_ns: Option<i64>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// As of the snapshot before.
    told: HashMap<u32, Process, ahash::RandomState>,
}

impl Ps {
    fn new(context: &Context) -> Self {
        Self {
            speaker: Speaker::new(context),
            modified_ns: context.modified_ns,
            time_ns: None,
            columns: Vec::new(),
            rows: Vec::new(),
            told: HashMap::default(),
        }
    }

    /// Tells what is new since the snapshot before, and what is gone.
    fn end_snapshot(&mut self, time_ns: Option<i64>, out: &mut Out) -> Result<(), Bad> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let time_ns =
            time_ns.ok_or_else(|| Bad::new("snapshot without a time (date before it)"))?;
        let zone_s = zone_s(&rows, time_ns.div_euclid(NS_PER_S));
        let mut starts: HashMap<u32, Option<i64>, ahash::RandomState> = HashMap::default();
        for row in &rows {
            let started_s = row.started_civil_s.map(|civil_s| civil_s.saturating_sub(zone_s));
            starts.insert(row.process.id.pid, started_s.and_then(|s| s.checked_mul(NS_PER_S)));
        }
        let start_of = |pid: u32| starts.get(&pid).copied().flatten();
        let mut now = HashMap::default();
        let mut order = Vec::new();
        for mut process in rows.into_iter().map(|row| row.process) {
            let pid = process.id.pid;
            process.started_ns = start_of(pid);
            process.id = process_id(pid, process.started_ns);
            let parent = process.parent.map(|parent| parent.pid).filter(|&parent| parent != pid);
            process.parent = parent.map(|parent| process_id(parent, start_of(parent)));
            if now.insert(pid, process).is_none() {
                order.push(pid);
            }
        }
        let is_there = |told: &Process| {
            now.get(&told.id.pid).is_some_and(|process: &Process| process.id == told.id)
        };
        let mut gone: Vec<_> =
            self.told.values().filter(|told| !is_there(told)).map(|told| told.id).collect();
        gone.sort_unstable();
        for id in gone {
            self.speaker.tell(time_ns, What::ProcessExit(id), out);
        }
        for process in order.iter().filter_map(|pid| now.get(pid)) {
            let what = match self.told.get(&process.id.pid) {
                Some(told) if told == process => continue,
                Some(told) if told.id == process.id => What::ProcessExec,
                _ => What::ProcessStart,
            };
            self.speaker.tell(time_ns, what(Box::new(process.clone())), out);
        }
        self.told = now;
        self.speaker.looked(time_ns, out);
        Ok(())
    }
}

/// How far the zone of the starts is ahead of UTC.
fn zone_s(rows: &[Row], time_s: i64) -> i64 {
    let own = rows.iter().filter(|row| row.is_ps).filter_map(|row| row.started_civil_s).max();
    let Some(ahead_s) = own.map(|started_s| started_s.saturating_sub(time_s)) else { return 0 };
    // A little above the zone where the clock of the snapshot was read first.
    let zone_s = (ahead_s + MAX_PS_AGE_S).div_euclid(QUARTER_S) * QUARTER_S;
    let is_zone = (ahead_s - zone_s).abs() <= MAX_PS_AGE_S && zone_s.abs() <= MAX_ZONE_S;
    if is_zone { zone_s } else { 0 }
}

impl Decoder for Ps {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if let Some(time_ns) = date_line(record) {
            let before_ns = self.time_ns.replace(time_ns);
            return self.end_snapshot(before_ns, out);
        }
        if let Some(columns) = columns(record) {
            // Without a date before it: its time is not the one before's.
            let told = match self.rows.is_empty() {
                true => Ok(()),
                false => {
                    let before_ns = self.time_ns.take();
                    self.end_snapshot(before_ns, out)
                }
            };
            self.columns = columns;
            return told;
        }
        if self.columns.is_empty() {
            return Err(Bad::new("row before the header"));
        }
        let row = row(&self.columns, record)?;
        if self.rows.len() < MAX_ROWS {
            self.rows.push(row);
        } else {
            out.bad_part("more processes than are kept");
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        let time_ns = self.time_ns.take().or(self.modified_ns);
        if let Err(bad) = self.end_snapshot(time_ns, out) {
            out.bad_part(bad.reason);
        }
    }
}

//! The unified log as `log show` and `log stream` print it in JSON: one object a line
//! (`--style ndjson`) or an array of them (`--style json`).
//!
//! Used are the processes that speak, the jobs that `launchd` starts and ends, and the
//! connections that the kernel tells of. Other messages are counted and passed over,
//! their words are not kept: they can hold anything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::host::attribution::Method;
use crate::host::event::What;
use crate::host::process::{Process, ProcessId};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::process_log::command::{cut, short_name};
use crate::telemetry::sample::{CounterSample, Reading, Subject};

use super::date::zoned_ns;
use super::eslogger::Eslogger;
use super::kernel_log::Connection;
use super::launchd_log::{Job, LAUNCHD};
use super::process::{process_id, set_executable};
use super::speaker::Speaker;

/// macOS gives numbers up to 99,999.
const MAX_PROCESSES: usize = 100_000;

/// Of a process in a counter's name; the kernel has at most 32.
const MAX_NAME_BYTES: usize = 64;

/// Stands for a user that the log does not know.
const NO_USER: u32 = 0xaaaa_aaaa;

pub(in crate::telemetry::process_log) static UNIFIED_LOG: Kind = Kind {
    name: "macos-log",
    title: "macOS unified log (log show --style ndjson)",
    gives: Gives::Hosts,
    versions: "macOS 10.12 and up: log show, log stream; ndjson and json; kernel messages of \
        connections as in macOS 12 and up",
    source: "log(1) of macOS; messages of the kernel by XNU's tcp_log.c and udp_log.c",
    sample: r#"{"timezoneName":"","messageType":"Default","eventType":"logEvent","source":null,"formatString":"Successfully spawned %s[%d] because %s","userID":0,"activityIdentifier":0,"subsystem":"user\/501\/com.example.flood [501]","category":"","threadID":7,"processImagePath":"\/sbin\/launchd","senderImagePath":"\/sbin\/launchd","timestamp":"2026-03-01 10:15:02.114903+0000","machTimestamp":1,"eventMessage":"Successfully spawned flood[501] because ipc (mach)","traceID":1,"processID":1,"senderProgramCounter":1,"parentActivityIdentifier":0}
{"timezoneName":"","messageType":"Default","eventType":"logEvent","source":null,"formatString":"udp_connection_summary","userID":0,"activityIdentifier":0,"subsystem":"","category":"","threadID":8,"processImagePath":"\/kernel","senderImagePath":"\/kernel","timestamp":"2026-03-01 10:15:32.000000+0000","machTimestamp":2,"eventMessage":"udp_connection_summary [192.0.2.7:50123<->198.51.100.9:9] interface: en0 (skipped: 0)\nso_gencnt: 4711 so_state: 0x0002 process: flood:501 Duration: 29.500 sec bytes in\/out: 0\/42000000 pkts in\/out: 0\/300000 rxnospace pkts\/bytes: 0\/0 so_error: 0 svc\/tc: 0","traceID":2,"processID":0,"senderProgramCounter":1,"parentActivityIdentifier":0}
"#,
    sees: "processes as they are started, and what each sent on a connection (AN0971)",
    absent: "arguments and parents of processes; ICMP; connections beyond what the kernel logs; \
        addresses where private data is hidden",
    // Exported or streamed in its order.
    lateness_s: 5,
    framing: Framing::Json,
    recognise,
    decoder: |context| Ok(Box::new(UnifiedLog::new(context))),
};

fn recognise(head: &Head<'_>) -> bool {
    const FIELDS: &[&str] = &["/timestamp", "/machTimestamp", "/processID", "/eventMessage"];
    if head.json_has(FIELDS) {
        return true;
    }
    // What the program says of itself before.
    if !["Filtering the log data ", "Skipping info and debug messages"]
        .iter()
        .any(|says| head.line().starts_with(says.as_bytes()))
    {
        return false;
    }
    let begins = |line: &&&[u8]| matches!(line.first(), Some(b'{' | b'['));
    let Some(first) = head.lines.iter().find(begins).and_then(|line| line.first()) else {
        return false;
    };
    let at = head.bytes.windows(2).position(|pair| pair[0] == b'\n' && pair[1] == *first);
    at.is_some_and(|at| Head::new(&head.bytes[at + 1..], true).json_has(FIELDS))
}

struct UnifiedLog {
    speaker: Speaker,
    eslogger: Eslogger,
    processes: HashMap<u32, Known, ahash::RandomState>,
    /// As the kernel has last said.
    skipped: Option<u64>,
}

struct Known {
    id: ProcessId,
    /// Nothing before it has spoken itself.
    image: Option<Box<str>>,
    /// As `launchd` started it.
    spawned: Option<Box<Process>>,
}

impl UnifiedLog {
    fn new(context: &Context) -> Self {
        Self {
            speaker: Speaker::new(context),
            eslogger: Eslogger::new(context),
            processes: HashMap::default(),
            skipped: None,
        }
    }

    fn remember(&mut self, pid: u32, known: Known, out: &mut Out) {
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&pid) {
            self.processes.insert(pid, known);
        } else {
            out.bad_part("more processes than are remembered");
        }
    }

    /// The process that an entry is from: told when it is first seen, and when it runs
    /// another program.
    fn speaks(&mut self, pid: u32, entry: &Entry<'_>, time_ns: i64, out: &mut Out) {
        let Some(image) = entry.process_image_path.as_deref() else { return };
        // The kernel is no process.
        if pid == 0 || image.is_empty() {
            return;
        }
        let is_full = self.processes.len() >= MAX_PROCESSES;
        let known = self.processes.get_mut(&pid);
        if known.as_ref().is_some_and(|known| known.image.as_deref() == Some(image)) {
            return;
        }
        let is_new = known.is_none();
        let (id, spawned) = match known {
            Some(known) => (known.id, known.spawned.take()),
            None if is_full => {
                out.bad_part("more processes than are remembered");
                return;
            }
            None => (process_id(pid, None), None),
        };
        let mut process = spawned.map_or_else(Process::default, |spawned| *spawned);
        process.id = id;
        set_executable(&mut process, image);
        let user = entry.user_id.filter(|&uid| uid != NO_USER);
        process.uid = process.uid.or(user);
        let known = Known { id, image: Some(image.into()), spawned: None };
        self.processes.insert(pid, known);
        let what = if is_new { What::ProcessStart } else { What::ProcessExec };
        self.speaker.tell(time_ns, what(Box::new(process)), out);
    }

    fn job(&mut self, job: Job, time_ns: i64, out: &mut Out) {
        match job {
            Job::Spawned(process) => {
                let known = Known { id: process.id, image: None, spawned: Some(process.clone()) };
                self.remember(process.id.pid, known, out);
                self.speaker.tell(time_ns, What::ProcessStart(process), out);
            }
            Job::Exited { pid } => {
                let known = self.processes.remove(&pid);
                let id = known.map_or_else(|| process_id(pid, None), |known| known.id);
                self.speaker.tell(time_ns, What::ProcessExit(id), out);
            }
        }
    }

    fn connection(&mut self, connection: &Connection<'_>, time_ns: i64, out: &mut Out) {
        if let Some(skipped) = connection.skipped {
            // Starts anew with the kernel.
            let before = self.skipped.replace(skipped).filter(|&before| before <= skipped);
            let missing = before.map_or(0, |before| skipped - before);
            if missing > 0 {
                out.lost("connection messages of the kernel", missing);
                let lost = What::Lost { method: Method::Imported, events: missing };
                self.speaker.tell(time_ns, lost, out);
            }
        }
        let pid = connection.pid;
        let id = match self.processes.get(&pid) {
            Some(known) => known.id,
            None => {
                let id = process_id(pid, None);
                self.remember(pid, Known { id, image: None, spawned: None }, out);
                let process =
                    Process { id, name: short_name(connection.name), ..Process::default() };
                self.speaker.tell(time_ns, What::ProcessStart(Box::new(process)), out);
                id
            }
        };
        let socket = connection.socket(id, time_ns);
        let Some(summary) = connection.summary else {
            if let Some(socket) = socket {
                self.speaker.tell(time_ns, What::SocketOpen(socket), out);
            }
            return;
        };
        if let Some(socket) = socket {
            self.speaker.tell(time_ns, What::SocketUse(socket.clone()), out);
            self.speaker.tell(time_ns, What::SocketClose(socket), out);
        }
        let process = format!("{}.{pid}", cut(connection.name, MAX_NAME_BYTES));
        out.counter(CounterSample {
            time_ns,
            reading: Reading::Since { start_ns: time_ns.saturating_sub(summary.duration_ns) },
            subject: Subject {
                host: Arc::clone(self.speaker.host()),
                process: process.into(),
                ..Subject::default()
            },
            received_bytes: Some(summary.received_bytes),
            sent_bytes: Some(summary.sent_bytes),
            received_packets: Some(summary.received_packets),
            sent_packets: Some(summary.sent_packets),
            received_drops: None,
            sent_drops: None,
            labels: Vec::new(),
        });
    }
}

impl Decoder for UnifiedLog {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let entry: Entry<'_> = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "no entry", detail: error.to_string() })?;
        let Some(timestamp) = &entry.timestamp else {
            if entry.finished.is_some() {
                out.pass("end of the export");
                return Ok(());
            }
            return Err(Bad::new("no time"));
        };
        let time_ns = zoned_ns(timestamp.as_bytes())
            .ok_or_else(|| Bad::value("no time", timestamp.as_bytes()))?;
        if let Some(lost) = entry.loss_count {
            out.lost("entries of the log", lost);
            self.speaker.tell(time_ns, What::Lost { method: Method::Imported, events: lost }, out);
            return Ok(());
        }
        let Some(pid) = entry.process_id else {
            out.pass("entry without a process");
            return Ok(());
        };
        let (subsystem, message) = (
            entry.subsystem.as_deref().unwrap_or(""),
            entry.event_message.as_deref().unwrap_or(""),
        );
        if subsystem == "com.apple.eslogger" && message.starts_with('{') {
            return self.eslogger.record(message.as_bytes(), out);
        }
        self.speaks(pid, &entry, time_ns, out);
        if pid == LAUNCHD
            && let Some(job) = Job::of(subsystem, message, time_ns)
        {
            self.job(job, time_ns, out);
        } else if pid == 0
            && let Some(connection) = Connection::of(message)
        {
            self.connection(&connection, time_ns, out);
        } else {
            out.pass(match entry.event_type.as_deref() {
                Some("activityCreateEvent" | "activityTransitionEvent") => "activity",
                Some("signpostEvent") => "signpost",
                Some("timesyncEvent") => "time synchronisation",
                Some("stateEvent") => "state",
                _ => "log message",
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    timestamp: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    event_message: Option<Cow<'a, str>>,
    subsystem: Option<Cow<'a, str>>,
    process_image_path: Option<Cow<'a, str>>,
    #[serde(rename = "processID")]
    process_id: Option<u32>,
    #[serde(rename = "userID")]
    user_id: Option<u32>,
    /// Of an entry that stands for others that found no room.
    loss_count: Option<u64>,
    /// Last line of an export.
    finished: Option<IgnoredAny>,
}

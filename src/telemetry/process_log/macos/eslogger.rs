//! Endpoint Security events as `eslogger` prints them, one JSON object each.
//!
//! `eslogger` is no interface: Apple says that its output may change with any
//! release. So few fields are read, and what is missing is absent. The environment
//! of a process is never looked at.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::host::attribution::Method;
use crate::host::event::What;
use crate::host::process::{Process, ProcessId};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::process_log::command::{login, set_arguments};

use super::date::zoned_ns;
use super::process::{context, is_application, process_id, set_executable, terminal};
use super::seen::{Seen, Token};
use super::speaker::Speaker;

pub(in crate::telemetry::process_log) static ESLOGGER: Kind = Kind {
    name: "eslogger",
    title: "macOS Endpoint Security events (eslogger)",
    gives: Gives::Hosts,
    versions: "macOS 13 to 26: exec, fork, exit; audit tokens as objects and as arrays; also \
        inside macos-log (eslogger --oslog)",
    source: "eslogger(1), Endpoint Security es_message_t, es_process_t, es_event_exec_t",
    sample: r#"{"schema_version":1,"version":9,"time":"2026-03-01T10:15:02.114903Z","mach_time":1,"seq_num":5,"global_seq_num":9,"action_type":1,"event_type":9,"thread":{"thread_id":7},"process":{"audit_token":{"pid":501,"pidversion":11,"auid":501,"euid":501,"ruid":501,"egid":20,"rgid":20,"asid":100},"ppid":400,"original_ppid":400,"session_id":400,"group_id":501,"start_time":"2026-03-01T10:15:02.100000Z","executable":{"path":"/bin/zsh"},"tty":{"path":"/dev/ttys001"},"signing_id":"com.apple.zsh","is_platform_binary":true},"event":{"exec":{"args":["ping","-f","192.0.2.1"],"cwd":{"path":"/Users/a"},"script":null,"target":{"audit_token":{"pid":501,"pidversion":12,"auid":501,"euid":501,"ruid":501,"egid":20,"rgid":20,"asid":100},"parent_audit_token":{"pid":400,"pidversion":8,"auid":501,"euid":501,"ruid":501,"egid":20,"rgid":20,"asid":100},"ppid":400,"original_ppid":400,"session_id":400,"group_id":501,"start_time":"2026-03-01T10:15:02.100000Z","executable":{"path":"/sbin/ping"},"tty":{"path":"/dev/ttys001"}}}}}
"#,
    sees: "processes with all their arguments, parents, users, terminals and sessions (AN0971)",
    absent: "network: Endpoint Security has no events of IP sockets; what ran before it was started",
    // Written as it happens; a pipe's buffer holds some of it back.
    lateness_s: 5,
    framing: Framing::Json,
    recognise,
    decoder: |context| Ok(Box::new(Eslogger::new(context))),
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/event_type", "/event", "/process/audit_token", "/process/executable/path"])
}

/// Reads one stream of events.
pub(super) struct Eslogger {
    speaker: Speaker,
    seen: Seen,
    /// Number of the last event of this client.
    last_number: Option<u64>,
}

impl Eslogger {
    pub(super) fn new(context: &Context) -> Self {
        Self { speaker: Speaker::new(context), seen: Seen::default(), last_number: None }
    }

    /// Endpoint Security numbers what it has for a client, told or not.
    fn count_lost(&mut self, number: u64, time_ns: i64, out: &mut Out) {
        let expected = self.last_number.and_then(|last| last.checked_add(1));
        self.last_number = Some(number);
        // Lower ones: another client began, with numbers of its own.
        let missing = expected.and_then(|expected| number.checked_sub(expected)).unwrap_or(0);
        if missing > 0 {
            out.lost("endpoint security events", missing);
            let lost = What::Lost { method: Method::Imported, events: missing };
            self.speaker.tell(time_ns, lost, out);
        }
    }

    /// A process as an event has it; remembered.
    fn process(&mut self, about: &Actor<'_>) -> Process {
        let token = about.audit_token.token();
        let started_ns = about.start_time.as_deref().and_then(|time| zoned_ns(time.as_bytes()));
        let id = process_id(token.pid, started_ns);
        let mut process = Process {
            id,
            started_ns,
            parent: self.parent(about),
            uid: Some(token.ruid),
            login_uid: login(token.auid),
            session: about.session_id,
            ..Process::default()
        };
        set_executable(&mut process, &about.executable.path);
        let tty = about.tty.as_ref().map_or("", |tty| &*tty.path);
        process.terminal = terminal(tty);
        let own = is_application(&process.exe);
        let responsible = about.responsible_audit_token.as_ref().map(AuditToken::token);
        let in_application = process.login_uid.is_some()
            && (own || responsible.is_some_and(|token| self.seen.is_application(token)));
        process.context = Some(context(&process.terminal, in_application));
        self.seen.note(token, id, own);
        process
    }

    fn parent(&self, about: &Actor<'_>) -> Option<ProcessId> {
        let known = about.parent_audit_token.as_ref().map(|parent| self.seen.id(parent.token()));
        known.or_else(|| about.ppid.map(|pid| process_id(pid, None)))
    }

    /// The process that acted, where nothing told of it yet.
    fn tell_actor(&mut self, actor: &Actor<'_>, time_ns: i64, out: &mut Out) {
        if !self.seen.knows(actor.audit_token.token()) {
            let process = self.process(actor);
            self.speaker.tell(time_ns, What::ProcessStart(Box::new(process)), out);
        }
    }
}

impl Decoder for Eslogger {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let message: Message<'_> = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "no event", detail: error.to_string() })?;
        let time_ns = zoned_ns(message.time.as_bytes())
            .ok_or_else(|| Bad::value("no time", message.time.as_bytes()))?;
        if let Some(number) = message.global_seq_num {
            self.count_lost(number, time_ns, out);
        }
        match message.event {
            Event { exec: Some(exec), .. } => {
                let mut process = self.process(&exec.target);
                set_arguments(&mut process, &exec.args);
                self.speaker.tell(time_ns, What::ProcessExec(Box::new(process)), out);
            }
            Event { fork: Some(fork), .. } => {
                self.tell_actor(&message.process, time_ns, out);
                let child = self.process(&fork.child);
                self.speaker.tell(time_ns, What::ProcessStart(Box::new(child)), out);
            }
            Event { exit: Some(_), .. } => {
                self.tell_actor(&message.process, time_ns, out);
                let id = self.process(&message.process).id;
                self.seen.forget(id.pid);
                self.speaker.tell(time_ns, What::ProcessExit(id), out);
            }
            _ => out.pass("event other than exec, fork, exit"),
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    global_seq_num: Option<u64>,
    #[serde(borrow)]
    process: Actor<'a>,
    #[serde(borrow)]
    event: Event<'a>,
}

/// Named by its member: the numbers of `event_type` are those of `es_event_type_t`
/// (9 exec, 11 fork, 15 exit), and were words in some releases.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    exec: Option<Exec<'a>>,
    #[serde(borrow)]
    fork: Option<Fork<'a>>,
    exit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Exec<'a> {
    /// The process as it is from now on; the acting one is as it was.
    #[serde(borrow)]
    target: Actor<'a>,
    #[serde(default)]
    args: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Fork<'a> {
    #[serde(borrow)]
    child: Actor<'a>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    audit_token: AuditToken,
    parent_audit_token: Option<AuditToken>,
    responsible_audit_token: Option<AuditToken>,
    ppid: Option<u32>,
    session_id: Option<u32>,
    start_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    executable: File<'a>,
    #[serde(borrow)]
    tty: Option<File<'a>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

/// `audit_token_t`: fields by name up to macOS 15, its eight numbers from 26 on.
#[derive(Deserialize)]
#[serde(untagged)]
enum AuditToken {
    Named(Token),
    /// auid, euid, egid, ruid, rgid, pid, asid, pidversion.
    Numbers([u32; 8]),
}

impl AuditToken {
    fn token(&self) -> Token {
        match *self {
            Self::Named(token) => token,
            Self::Numbers([auid, _, _, ruid, _, pid, _, pidversion]) => {
                Token { pid, pidversion, auid, ruid }
            }
        }
    }
}

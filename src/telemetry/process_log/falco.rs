//! Falco's alerts as JSON: what their output fields say of processes, connections
//! and containers.
//!
//! Which fields an alert has depends on the rule's output text: of a process nothing
//! can be told without its number (`%proc.pid`), of a connection nothing without
//! both ends (`%fd.name`) and the side that the process is on. What a rule found is
//! not read.

use serde::Deserialize;

use super::command::{login, set_command_line, set_executable, short_name, short_text, terminal};
use super::fields::{Fields, Text};
use super::hosts::{HostNumber, Hosts, Seen, Sighting, bound, claim};
use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::{Context as Where, Process, ProcessId, terminal_name};
use crate::host::workload::Workload;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::text::{address_and_port, number, rfc3339_ns};

/// Ancestors that a rule may name.
const MAX_ANCESTORS: usize = 8;

pub(in crate::telemetry) static FALCO: Kind = Kind {
    name: "falco",
    title: "Falco alerts",
    gives: Gives::Hosts,
    versions: "JSON output of version 0.27 and up, with or without message, tags and priorities",
    source: "Falco documentation: Alerts formatting, Supported fields",
    sample: r#"{"hostname":"n1","output":"10:15:02.114903000: Notice Outbound connection","output_fields":{"container.id":"0a1b2c3d4e5f","container.name":"web","evt.time":1772360102114903000,"evt.type":"connect","fd.l4proto":"tcp","fd.name":"192.0.2.10:40112->203.0.113.9:443","proc.cmdline":"curl -s https://shop.example/","proc.exepath":"/usr/bin/curl","proc.name":"curl","proc.pid":901,"proc.ppid":812,"user.uid":1000},"priority":"Notice","rule":"Outbound connection","source":"syscall","tags":["network"],"time":"2026-03-01T10:15:02.114903000Z"}
"#,
    sees: "processes with parents and containers, and connections, of whatever rules fired on",
    absent: "whatever no rule fired on; processes whose rule's output has no %proc.pid; bytes",
    // Alerts are written as they fire, behind a queue.
    lateness_s: 10,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/rule", "/priority", "/time"])
        && ["/output_fields", "/output"].iter().any(|field| head.json_has(&[field]))
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Falco { hosts: Hosts::new(context) }))
}

#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    hostname: Text<'a>,
    #[serde(borrow, default)]
    output_fields: Option<Fields<'a>>,
}

struct Falco {
    hosts: Hosts,
}

impl Decoder for Falco {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let alert: Alert<'_> =
            serde_json::from_slice(record).map_err(|_| Bad::value("not an alert", record))?;
        let fields = alert.output_fields.unwrap_or_default();
        // Nanoseconds; with another form of the field the alert's own time says as much.
        let event_ns = fields.number::<i64>("evt.time").filter(|&ns| ns > 1_000_000_000_000_000);
        let time_ns = event_ns
            .or_else(|| rfc3339_ns(alert.time.as_str().as_bytes()))
            .ok_or_else(|| Bad::value("no time", alert.time.as_str().as_bytes()))?;
        let host = self.hosts.host(alert.hostname.as_str().as_bytes(), out)?;
        let event = Event { fields: &fields, host, time_ns };
        event.tell_container(&mut self.hosts, out);
        event.tell_process(&mut self.hosts, out);
        Ok(())
    }
}

struct Event<'a> {
    fields: &'a Fields<'a>,
    host: HostNumber,
    time_ns: i64,
}

impl Event<'_> {
    /// What is not known is left out, or named so.
    fn text(&self, name: &str) -> &str {
        match self.fields.text(name) {
            "<NA>" | "N/A" => "",
            text => text,
        }
    }

    /// As much of the id as Falco has: twelve digits, or all where the rule asks for it.
    fn container(&self) -> &str {
        match (self.text("container.full_id"), self.text("container.id")) {
            (_, "host") => "",
            ("", id) => id,
            (id, _) => id,
        }
    }

    fn tell_container(&self, hosts: &mut Hosts, out: &mut Out) {
        let container = self.container();
        if container.is_empty() {
            return;
        }
        let either = |one, other| match self.text(one) {
            "" => short_text(self.text(other)),
            text => short_text(text),
        };
        let image =
            match (self.text("container.image.repository"), self.text("container.image.tag")) {
                ("", _) => short_text(self.text("container.image")),
                (repository, "") => short_text(repository),
                (repository, tag) => short_text(&format!("{repository}:{tag}")),
            };
        let workload = Workload {
            runtime: short_text(self.text("container.type")),
            container: short_text(container),
            name: short_text(self.text("container.name")),
            image,
            image_id: short_text(self.text("container.image.id")),
            pod: short_text(self.text("k8s.pod.name")),
            pod_uid: either("k8s.pod.uid", "k8s.pod.id"),
            namespace: short_text(self.text("k8s.ns.name")),
            ..Workload::default()
        };
        hosts.contains(self.host, self.time_ns, workload, out);
    }

    fn tell_process(&self, hosts: &mut Hosts, out: &mut Out) {
        let Some(pid) = self.fields.number::<u32>("proc.pid").filter(|&pid| pid != 0) else {
            return out.pass("alert without a process number");
        };
        self.tell_ancestors(hosts, out);
        let seen = match self.text("evt.type") {
            "execve" | "execveat" => Seen::Execs,
            "procexit" => return hosts.exits(self.host, pid, self.time_ns, out),
            _ => Seen::Runs,
        };
        let exe = self.exe();
        let sighting = Sighting {
            seen,
            pid,
            start_ticks: 0,
            exe,
            parent: self.fields.number("proc.ppid").filter(|&pid| pid != 0),
            instance: None,
        };
        let id = hosts.sighted(self.host, self.time_ns, &sighting, out, |process| {
            process.name = short_name(self.text("proc.name"));
            set_executable(process, exe);
            set_command_line(process, self.text("proc.cmdline"));
            self.describe(process);
        });
        self.tell_socket(id, hosts, out);
    }

    fn exe(&self) -> &str {
        match self.text("proc.exepath") {
            // The first argument: a path only where it begins as one.
            "" => Some(self.text("proc.exe")).filter(|exe| exe.starts_with('/')).unwrap_or(""),
            path => path,
        }
    }

    fn describe(&self, process: &mut Process) {
        process.uid = self.fields.number("user.uid");
        process.user = short_text(self.text("user.name"));
        process.login_uid = self.fields.number("user.loginuid").and_then(login);
        if process.login_uid.is_some() {
            process.login_user = short_text(self.text("user.loginname"));
        }
        process.session = self.fields.number("proc.sid").filter(|&session| session != 0);
        process.container = short_text(self.container());
        let tty = self.text("proc.tty");
        process.terminal = match number(tty.as_bytes()) {
            Some(device) => terminal_name(device),
            None => terminal(tty),
        };
        if !process.terminal.is_empty() {
            process.context = Some(Where::Terminal);
        } else if tty == "0" && self.text("user.loginuid") == "-1" {
            process.context = Some(Where::None);
        }
    }

    /// `proc.pname` and the like for the parent, `proc.aname[2]` for its own, from the
    /// oldest to the youngest.
    fn tell_ancestors(&self, hosts: &mut Hosts, out: &mut Out) {
        let pid_at = |level: usize| match level {
            1 => self.fields.number::<u32>("proc.ppid"),
            level => self.fields.number(&format!("proc.apid[{level}]")),
        };
        let text_at = |level: usize, parent: &str, ancestor: &str| match level {
            1 => self.text(parent),
            level => self.text(&format!("proc.{ancestor}[{level}]")),
        };
        for level in (1..=MAX_ANCESTORS).rev() {
            let name = text_at(level, "proc.pname", "aname");
            let exe = text_at(level, "proc.pexepath", "aexepath");
            let Some(pid) = pid_at(level).filter(|&pid| pid != 0) else { continue };
            if name.is_empty() && exe.is_empty() {
                continue;
            }
            let parent = pid_at(level + 1).filter(|&pid| pid != 0);
            let sighting =
                Sighting { seen: Seen::Runs, pid, start_ticks: 0, exe, parent, instance: None };
            hosts.sighted(self.host, self.time_ns, &sighting, out, |process| {
                process.name = short_name(name);
                set_executable(process, exe);
                set_command_line(process, text_at(level, "proc.pcmdline", "acmdline"));
            });
        }
    }

    fn tell_socket(&self, id: ProcessId, hosts: &mut Hosts, out: &mut Out) {
        let call = self.text("evt.type");
        let (kind, protocol) = match self.text("fd.l4proto") {
            "tcp" => (SocketKind::Stream, 6),
            "udp" => (SocketKind::Datagram, 17),
            "" | "<NA>" => return,
            _ => return out.pass("connection of another protocol"),
        };
        let ends = self.local_and_remote(call);
        let Some(((local, local_port), (remote, remote_port))) = ends else {
            return out.pass("connection whose side is not known");
        };
        let opens = matches!(call, "connect" | "accept" | "accept4");
        let basis = if opens { Basis::Opened } else { Basis::Used };
        let socket = Socket {
            local: bound(Some(local)),
            local_port,
            remote: bound(Some(remote)),
            remote_port,
            ..claim(kind, protocol, basis, id)
        };
        let what = if opens { What::SocketOpen(socket) } else { What::SocketUse(socket) };
        hosts.tell(self.host, self.time_ns, what, out);
    }

    /// Which end is the process's own: Falco has client and server.
    fn local_and_remote(&self, call: &str) -> Option<(End, End)> {
        let end = |address: &str, port: &str| {
            Some((self.fields.address(address)?, self.fields.number(port)?))
        };
        if let (Some(local), Some(remote)) = (end("fd.lip", "fd.lport"), end("fd.rip", "fd.rport"))
        {
            return Some((local, remote));
        }
        let name = self.text("fd.name").split_once("->");
        let by_name = name.and_then(|(client, server)| {
            Some((address_and_port(client.as_bytes())?, address_and_port(server.as_bytes())?))
        });
        let (client, server) = match by_name {
            Some(ends) => ends,
            None => (end("fd.cip", "fd.cport")?, end("fd.sip", "fd.sport")?),
        };
        let is_server = match (call, self.text("fd.is_server")) {
            ("accept" | "accept4", _) | (_, "true") => true,
            ("connect", _) | (_, "false") => false,
            _ => return None,
        };
        Some(if is_server { (server, client) } else { (client, server) })
    }
}

type End = (std::net::IpAddr, u16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::observation::Observation;
    use crate::telemetry::tests::decode;

    const ALERTS: &[u8] = include_bytes!("../../../tests/fixtures/process_log/falco.jsonl");

    fn read(bytes: &[u8]) -> (Vec<What>, Out) {
        let (mut out, bad) = decode(&FALCO, &Context::default(), bytes);
        assert_eq!(bad, []);
        let whats = out.observations.drain(..).map(|observation| match observation {
            Observation::Host(report) => report.event.what,
            other => panic!("{other:?}"),
        });
        (whats.collect(), out)
    }

    #[test]
    fn alerts_tell_processes_containers_and_connections() {
        let (whats, out) = read(ALERTS);
        let mut processes = Vec::new();
        let mut sockets = Vec::new();
        let mut workloads = Vec::new();
        for what in &whats {
            match what {
                What::ProcessStart(process) | What::ProcessExec(process) => processes.push(process),
                What::SocketOpen(socket) | What::SocketUse(socket) => sockets.push(socket),
                What::Workload(workload) => workloads.push(workload),
                _ => {}
            }
        }
        let shell = processes.iter().find(|process| process.name == "sh").unwrap();
        assert_eq!(shell.args, ["sh", "-c", "mysql -uroot -p***"]);
        assert_eq!((shell.terminal.as_str(), shell.session), ("pts/0", Some(900)));
        assert_eq!((shell.uid, shell.login_uid), (Some(33), None));
        assert!(shell.exe_in_writable_folder);
        let parent = processes.iter().find(|process| Some(process.id) == shell.parent).unwrap();
        assert_eq!((parent.name.as_str(), parent.exe.as_str()), ("nginx", "/usr/sbin/nginx"));
        let grandparent =
            processes.iter().find(|process| Some(process.id) == parent.parent).unwrap();
        assert_eq!(grandparent.name, "containerd-shim");
        let workload = workloads.first().unwrap();
        assert_eq!(
            (workload.pod.as_str(), workload.image.as_str()),
            ("web-0", "shop.example/web:1")
        );
        assert_eq!(workloads.len(), 1);
        let ends: Vec<_> = sockets
            .iter()
            .map(|socket| {
                (
                    socket.local.unwrap().to_string(),
                    socket.local_port,
                    socket.remote_port,
                    socket.basis,
                )
            })
            .collect();
        assert_eq!(
            ends,
            [
                ("192.0.2.10".to_owned(), 40112, 443, Basis::Opened),
                ("192.0.2.10".to_owned(), 8080, 50412, Basis::Opened),
                ("2001:db8::7".to_owned(), 40113, 53, Basis::Used),
            ]
        );
        assert_eq!(out.passed.get("connection whose side is not known"), Some(&1));
        assert_eq!(out.passed.get("alert without a process number"), Some(&1));
        assert_eq!(whats.iter().filter(|what| matches!(what, What::ProcessExit(_))).count(), 1);
    }
}

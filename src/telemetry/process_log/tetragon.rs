//! Tetragon's events as JSON: programs, their ends, and what probes of the kernel's
//! functions saw of sockets.
//!
//! Each event names its process by an `exec_id` (node, time since boot, number, in
//! base64) which changes with each program that the process runs.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::command::{login, set_arguments, set_executable, short_text, words};
use super::fields::{Fields, Text};
use super::hosts::{HostNumber, Hosts, Seen, Sighting, bound, claim, instance};
use crate::host::attribution::{Basis, Method};
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::ProcessId;
use crate::host::workload::Workload;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::text::{number, rfc3339_ns};

const NS_PER_TICK: u64 = 10_000_000;

/// A node's name and two numbers.
const MAX_EXEC_ID_BYTES: usize = 320;

/// Ancestors beyond the parent that an event may carry.
const MAX_ANCESTORS: usize = 32;

pub(in crate::telemetry) static TETRAGON: Kind = Kind {
    name: "tetragon",
    title: "Tetragon events",
    gives: Gives::Hosts,
    versions: "JSON of version 0.8 and up: process_exec, process_exit, process_kprobe of functions \
        with a socket as argument (tcp_connect, tcp_close, sendmsg, recvmsg), rate_limit_info",
    source: "Tetragon documentation: Process lifecycle, gRPC API",
    sample: r#"{"process_exec":{"process":{"exec_id":"bjE6MTIzMDAwMDAwMDAwOjkwMQ==","pid":901,"uid":0,"cwd":"/","binary":"/usr/bin/curl","arguments":"-s https://shop.example/","flags":"execve clone","start_time":"2026-03-01T10:15:02.114Z","auid":4294967295,"parent_exec_id":"bjE6MTIyMDAwMDAwMDAwOjgxMg==","refcnt":1},"parent":{"exec_id":"bjE6MTIyMDAwMDAwMDAwOjgxMg==","pid":812,"uid":0,"binary":"/bin/sh"}},"node_name":"n1","time":"2026-03-01T10:15:02.114Z"}
"#,
    sees: "programs with arguments, parents, pods and containers from start to end; where a policy \
        probes tcp_connect or tcp_sendmsg, both ends of each connection",
    absent: "connections that no policy probes; terminals and sessions; bytes",
    // Written as they happen, behind a cache that waits for pods' names.
    lateness_s: 30,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/time"])
        && EVENTS.iter().any(|event| {
            head.json_has(&[&format!("/{event}/process/exec_id")])
                || *event == "rate_limit_info"
                    && head.json_has(&["/rate_limit_info/number_of_dropped_process_events"])
        })
}

const EVENTS: [&str; 8] = [
    "process_exec",
    "process_exit",
    "process_kprobe",
    "process_tracepoint",
    "process_loader",
    "process_uprobe",
    "process_lsm",
    "rate_limit_info",
];

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Tetragon { hosts: Hosts::new(context) }))
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    process_exec: Option<Event<'a>>,
    #[serde(borrow)]
    process_exit: Option<Event<'a>>,
    #[serde(borrow)]
    process_kprobe: Option<Event<'a>>,
    #[serde(borrow)]
    rate_limit_info: Option<Fields<'a>>,
    #[serde(borrow, default)]
    node_name: Text<'a>,
    #[serde(borrow, default)]
    time: Text<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    process: Option<Process<'a>>,
    #[serde(borrow)]
    parent: Option<Process<'a>>,
    #[serde(borrow, default)]
    ancestors: Vec<Process<'a>>,
    #[serde(borrow, default)]
    function_name: Text<'a>,
    #[serde(borrow, default)]
    args: Vec<Argument<'a>>,
    #[serde(borrow, rename = "return")]
    returned: Option<Argument<'a>>,
}

#[derive(Deserialize)]
struct Argument<'a> {
    #[serde(borrow)]
    sock_arg: Option<Fields<'a>>,
}

#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow, default)]
    exec_id: Text<'a>,
    #[serde(borrow, default)]
    parent_exec_id: Text<'a>,
    #[serde(borrow, default)]
    pid: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    auid: Text<'a>,
    #[serde(borrow, default)]
    binary: Text<'a>,
    #[serde(borrow, default)]
    arguments: Text<'a>,
    #[serde(borrow, default)]
    flags: Text<'a>,
    #[serde(borrow, default)]
    start_time: Text<'a>,
    #[serde(borrow)]
    pod: Option<Pod<'a>>,
    /// As much of the container's id as fits 31 letters.
    #[serde(borrow, default)]
    docker: Text<'a>,
    #[serde(borrow)]
    ns: Option<Namespaces<'a>>,
}

#[derive(Deserialize)]
struct Namespaces<'a> {
    #[serde(borrow)]
    net: Option<Fields<'a>>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    workload: Text<'a>,
    #[serde(borrow, default)]
    workload_kind: Text<'a>,
    #[serde(borrow)]
    container: Option<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    image: Option<Fields<'a>>,
}

/// `node:nanoseconds since boot:number` in base64; nodes' names have colons at times.
fn exec_id(text: &str) -> Option<(u64, u32)> {
    let mut decoded = [0; MAX_EXEC_ID_BYTES];
    let length = STANDARD.decode_slice(text, &mut decoded).ok()?;
    let mut parts = decoded.get(..length)?.rsplitn(3, |&byte| byte == b':');
    let pid = number(parts.next()?)?;
    Some((number::<u64>(parts.next()?)?, pid))
}

impl Process<'_> {
    fn pid(&self) -> Option<u32> {
        number(self.pid.as_str().as_bytes()).filter(|&pid| pid != 0)
    }

    /// Runtime and id of the container.
    fn container(&self) -> Option<(&str, &str)> {
        let id = self.pod.as_ref().and_then(|pod| pod.container.as_ref());
        let id = id.map_or("", |container| container.id.as_str());
        let (runtime, id) = id.split_once("://").unwrap_or(("", id));
        let id = if id.is_empty() { self.docker.as_str() } else { id };
        (!id.is_empty()).then_some((runtime, id))
    }

    fn workload(&self) -> Option<Workload> {
        let (runtime, id) = self.container()?;
        let pod = self.pod.as_ref()?;
        let container = pod.container.as_ref();
        let image = container.and_then(|container| container.image.as_ref());
        let image = |name| short_text(image.map_or("", |image| image.text(name)));
        let owner = match (pod.workload_kind.as_str(), pod.workload.as_str()) {
            ("", _) | (_, "") => String::new(),
            (kind, name) => short_text(&format!("{kind}/{name}")),
        };
        Some(Workload {
            runtime: short_text(runtime),
            container: short_text(id),
            name: short_text(container.map_or("", |container| container.name.as_str())),
            image: image("name"),
            image_id: image("id"),
            pod: short_text(pod.name.as_str()),
            pod_uid: short_text(pod.uid.as_str()),
            namespace: short_text(pod.namespace.as_str()),
            owner,
            ..Workload::default()
        })
    }

    /// Tells the process where it is not known yet, or runs another program.
    fn tell(
        &self,
        seen: Seen,
        host: HostNumber,
        time_ns: i64,
        hosts: &mut Hosts,
        out: &mut Out,
    ) -> Option<ProcessId> {
        let pid = self.pid()?;
        if let Some(workload) = self.workload() {
            hosts.contains(host, time_ns, workload, out);
        }
        let since_boot_ns = exec_id(self.exec_id.as_str()).map_or(0, |(ns, _)| ns);
        let parent = exec_id(self.parent_exec_id.as_str()).map(|(_, pid)| pid);
        let sighting = Sighting {
            seen,
            pid,
            start_ticks: since_boot_ns / NS_PER_TICK,
            exe: self.binary.as_str(),
            // Of a process that ran another program before, that one is named at times.
            parent: parent.filter(|&parent| parent != pid && parent != 0),
            instance: instance(self.exec_id.as_str()),
        };
        let id = hosts.sighted(host, time_ns, &sighting, out, |process| {
            set_executable(process, self.binary.as_str());
            let program = std::iter::once(self.binary.as_str());
            set_arguments(process, program.chain(words(self.arguments.as_str())));
            process.args_cut |= self.has_flag("truncArgs");
            process.uid = number(self.uid.as_str().as_bytes());
            process.login_uid = number(self.auid.as_str().as_bytes()).and_then(login);
            // Else it is the time of the program, of which there was another before.
            if self.has_flag("clone") || self.has_flag("procFS") {
                process.started_ns = rfc3339_ns(self.start_time.as_str().as_bytes());
            }
            process.container = self.container().map_or_else(String::new, |(_, id)| short_text(id));
            let net = self.ns.as_ref().and_then(|namespaces| namespaces.net.as_ref());
            process.netns = net.and_then(|net| net.number("inum")).filter(|&netns| netns != 0);
        });
        Some(id)
    }

    fn has_flag(&self, name: &str) -> bool {
        self.flags.as_str().split(' ').any(|flag| flag == name)
    }
}

struct Tetragon {
    hosts: Hosts,
}

impl Decoder for Tetragon {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let line: Line<'_> =
            serde_json::from_slice(record).map_err(|_| Bad::value("not an event", record))?;
        let time = line.time.as_str().as_bytes();
        let time_ns = rfc3339_ns(time).ok_or_else(|| Bad::value("no time", time))?;
        let host = self.hosts.host(line.node_name.as_str().as_bytes(), out)?;
        if let Some(dropped) = &line.rate_limit_info {
            let events = dropped.number("number_of_dropped_process_events").unwrap_or(0);
            out.lost("events over the rate limit", events);
            let what = What::Lost { method: Method::Imported, events };
            self.hosts.tell(host, time_ns, what, out);
            return Ok(());
        }
        let (event, is_exec, is_exit) = match &line {
            Line { process_exec: Some(event), .. } => (event, true, false),
            Line { process_exit: Some(event), .. } => (event, false, true),
            Line { process_kprobe: Some(event), .. } => (event, false, false),
            _ => {
                out.pass("other event");
                return Ok(());
            }
        };
        let process = event.process.as_ref().ok_or_else(|| Bad::new("no process"))?;
        // The oldest first, so that each finds its parent.
        let ancestors = event.ancestors.iter().take(MAX_ANCESTORS).rev().chain(&event.parent);
        for ancestor in ancestors.filter(|_| !is_exit) {
            if ancestor.pid() != process.pid() {
                ancestor.tell(Seen::Runs, host, time_ns, &mut self.hosts, out);
            }
        }
        let seen = match is_exec {
            true if process.has_flag("clone") => Seen::Begins,
            true if process.has_flag("execve") => Seen::Execs,
            _ => Seen::Runs,
        };
        let id = process
            .tell(seen, host, time_ns, &mut self.hosts, out)
            .ok_or_else(|| Bad::new("no process number"))?;
        if is_exit {
            self.hosts.exits(host, id.pid, time_ns, out);
        } else if !is_exec {
            self.tell_socket(event, id, host, time_ns, out);
        }
        Ok(())
    }
}

impl Tetragon {
    fn tell_socket(
        &mut self,
        event: &Event<'_>,
        id: ProcessId,
        host: HostNumber,
        time_ns: i64,
        out: &mut Out,
    ) {
        let arguments = event.args.iter().chain(&event.returned);
        let Some(sock) = arguments.filter_map(|argument| argument.sock_arg.as_ref()).next() else {
            return out.pass("probe without a socket");
        };
        let (kind, protocol) = match sock.text("protocol") {
            "IPPROTO_TCP" => (SocketKind::Stream, 6),
            "IPPROTO_UDP" => (SocketKind::Datagram, 17),
            _ => return out.pass("socket of another protocol"),
        };
        let function = event.function_name.as_str();
        let is_use = function.contains("sendmsg") || function.contains("recvmsg");
        let mut socket =
            claim(kind, protocol, if is_use { Basis::Used } else { Basis::Opened }, id);
        socket.cookie = sock.number("cookie").filter(|&cookie| cookie != 0);
        // A socket's own address is the source also where it was called.
        socket.local = bound(sock.address("saddr"));
        socket.local_port = sock.number("sport").unwrap_or(0);
        socket.remote = bound(sock.address("daddr"));
        socket.remote_port = sock.number("dport").unwrap_or(0);
        let process = event.process.as_ref();
        let net = process.and_then(|process| process.ns.as_ref()?.net.as_ref());
        socket.netns = net.and_then(|net| net.number("inum")).filter(|&netns| netns != 0);
        if socket.local_port == 0 && socket.remote_port == 0 {
            return out.pass("socket without ports");
        }
        let what = match function {
            "tcp_close" | "udp_destroy_sock" => What::SocketClose(socket),
            "tcp_connect" | "inet_csk_accept" => What::SocketOpen(socket),
            _ if is_use => What::SocketUse(Socket { ..socket }),
            _ => return out.pass("probe of another function"),
        };
        self.hosts.tell(host, time_ns, what, out);
    }
}

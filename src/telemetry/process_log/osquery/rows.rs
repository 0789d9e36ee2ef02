//! Rows to events, by their columns.

use std::collections::HashMap;
use std::net::IpAddr;

use ahash::RandomState;

use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind, What};
use crate::host::process::{Process, ProcessId};
use crate::telemetry::decode::Out;
use crate::telemetry::process_log::command::{
    login, set_command_line, set_executable, short_name, short_text,
};
use crate::telemetry::process_log::fields::Fields;
use crate::telemetry::process_log::hosts::{HostNumber, Hosts, Seen, Sighting, bound, claim};
use crate::telemetry::sample::{CounterSample, Reading, Subject};

const NS_PER_S: i64 = 1_000_000_000;
const TICKS_PER_S: u64 = 100;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Open sockets that are remembered from one snapshot to the next, of all queries.
const MAX_OPEN: usize = 1 << 17;

/// What `connect` says where it does not wait.
const IN_PROGRESS: &str = "-115";

/// A row of a result.
pub(super) struct Row<'a> {
    pub(super) fields: &'a Fields<'a>,
    pub(super) host: HostNumber,
    /// When the query ran.
    pub(super) time_ns: i64,
    /// It is no longer there.
    pub(super) removed: bool,
}

impl Row<'_> {
    pub(super) fn tell(&self, hosts: &mut Hosts, out: &mut Out) {
        let has = |name| self.fields.has(name);
        let is_event = has("syscall") || has("event_type") || has("uptime") || has("ntime");
        // Of events that are only removed from osquery's own store.
        if self.removed && (is_event || has("action") || has("read")) {
            return out.pass("removed event");
        }
        if has("network_rx_bytes") || has("network_tx_bytes") {
            self.tell_counters(hosts, out);
        } else if !has("pid") {
            out.pass("row without a process");
        } else if has("remote_address") || has("local_address") {
            if is_event || has("action") {
                self.tell_socket_event(hosts, out);
            } else {
                self.tell_open_socket(hosts, out);
            }
        } else if !(has("path") || has("cmdline")) {
            out.pass("row of another table");
        } else if is_event || has("time") {
            self.tell_process_event(hosts, out);
        } else {
            self.tell_process(hosts, out);
        }
    }

    /// When the event was, else when the query ran.
    fn event_ns(&self) -> i64 {
        let own = self.fields.number::<i64>("time").filter(|&time_s| time_s > 0);
        own.and_then(|time_s| time_s.checked_mul(NS_PER_S)).unwrap_or(self.time_ns)
    }

    fn pid(&self) -> Option<u32> {
        self.fields.number("pid").filter(|&pid| pid != 0)
    }

    fn sighting(&self, seen: Seen, pid: u32) -> Sighting<'_> {
        Sighting {
            seen,
            pid,
            start_ticks: 0,
            exe: self.fields.text("path"),
            parent: self.fields.number("parent").filter(|&pid| pid != 0),
            instance: None,
        }
    }

    fn describe(&self, process: &mut Process) {
        let fields = self.fields;
        process.name = short_name(fields.text("name"));
        set_executable(process, fields.text("path"));
        set_command_line(process, fields.text("cmdline"));
        process.uid = fields.number("uid");
        process.user = short_text(fields.text("username"));
        process.login_uid = fields.number("auid").and_then(login);
        process.netns = fields.number("net_namespace").filter(|&netns| netns != 0);
    }

    fn tell_process_event(&self, hosts: &mut Hosts, out: &mut Out) {
        let Some(pid) = self.pid() else { return out.bad_part("no process number") };
        let time_ns = self.event_ns();
        let seen = match (self.fields.text("syscall"), self.fields.text("event_type")) {
            (_, "exit") => return hosts.exits(self.host, pid, time_ns, out),
            (_, "fork") => {
                let Some(child) = self.fields.number("child_pid") else {
                    return out.bad_part("no process number");
                };
                let sighting = Sighting { parent: Some(pid), ..self.sighting(Seen::Begins, child) };
                hosts.sighted(self.host, time_ns, &sighting, out, |process| {
                    self.describe(process);
                    process.started_ns = Some(time_ns);
                });
                return;
            }
            // Whether the row is the parent's or the child's depends on the version.
            ("fork" | "vfork" | "clone", _) => Seen::Runs,
            _ if self.fields.text("exit_code").starts_with('-') => {
                return out.pass("exec that failed");
            }
            _ => Seen::Execs,
        };
        let sighting = self.sighting(seen, pid);
        hosts.sighted(self.host, time_ns, &sighting, out, |process| self.describe(process));
    }

    /// Of the table `processes`: who runs, and since when.
    fn tell_process(&self, hosts: &mut Hosts, out: &mut Out) {
        let Some(pid) = self.pid() else { return out.bad_part("no process number") };
        if self.removed {
            return hosts.exits(self.host, pid, self.time_ns, out);
        }
        let started_s = self.fields.number::<u64>("start_time").filter(|&started_s| started_s != 0);
        let sighting = Sighting {
            start_ticks: started_s.unwrap_or(0).saturating_mul(TICKS_PER_S),
            instance: started_s,
            ..self.sighting(Seen::Runs, pid)
        };
        hosts.sighted(self.host, self.time_ns, &sighting, out, |process| {
            self.describe(process);
            process.started_ns = started_s
                .and_then(|started_s| i64::try_from(started_s).ok()?.checked_mul(NS_PER_S));
        });
    }

    /// Whose the socket is. -1 stands for nobody.
    fn owner(&self, time_ns: i64, hosts: &mut Hosts, out: &mut Out) -> Option<ProcessId> {
        let pid = self.pid()?;
        // Of a snapshot of sockets the path is that of a socket.
        if self.fields.has("socket") {
            return Some(hosts.id(self.host, pid, time_ns));
        }
        let sighting = self.sighting(Seen::Runs, pid);
        Some(hosts.sighted(self.host, time_ns, &sighting, out, |process| self.describe(process)))
    }

    fn end(&self, address: &str, port: &str) -> (Option<IpAddr>, u16) {
        (bound(self.fields.address(address)), self.fields.number(port).unwrap_or(0))
    }

    /// Families of the internet; others are within the host.
    fn is_inet(&self) -> bool {
        matches!(self.fields.text("family"), "2" | "10" | "30" | "")
    }

    fn tell_socket_event(&self, hosts: &mut Hosts, out: &mut Out) {
        let fields = self.fields;
        let call = match fields.text("action") {
            "" => fields.text("syscall"),
            action => action,
        };
        let exit = fields.text("exit_code");
        let failed = matches!(fields.text("status"), "failed" | "no_client")
            || exit.starts_with('-') && exit != IN_PROGRESS;
        if !self.is_inet() {
            return out.pass("local socket");
        }
        if failed {
            return out.pass("socket call that failed");
        }
        let time_ns = self.event_ns();
        let Some(owner) = self.owner(time_ns, hosts, out) else {
            return out.bad_part("no process number");
        };
        let (local, local_port) = self.end("local_address", "local_port");
        let (remote, remote_port) = self.end("remote_address", "remote_port");
        let is_binding = match call {
            "bind" | "listen" => true,
            "connect" | "accept" | "accept4" => false,
            _ => return out.pass("other socket call"),
        };
        if if is_binding { local_port == 0 } else { remote_port == 0 || remote.is_none() } {
            return out.pass("socket address without a port");
        }
        let stream_only = call.starts_with("accept")
            || call == "listen"
            || fields.text("status") == "in_progress"
            || exit == IN_PROGRESS;
        let protocols: &[u8] = match (fields.text("protocol"), fields.text("type")) {
            ("6", _) | (_, "1") => &[TCP],
            ("17", _) | (_, "2") => &[UDP],
            _ if stream_only => &[TCP],
            _ => &[TCP, UDP],
        };
        let basis = match call {
            "connect" if local_port == 0 => Basis::ConnectedTo,
            _ => Basis::Opened,
        };
        for &protocol in protocols {
            let kind = match (protocol, is_binding) {
                (UDP, _) => SocketKind::Datagram,
                (_, true) => SocketKind::Listener,
                (_, false) => SocketKind::Stream,
            };
            let socket = Socket {
                local,
                local_port,
                remote: remote.filter(|_| !is_binding),
                remote_port: if is_binding { 0 } else { remote_port },
                ..claim(kind, protocol, basis, owner)
            };
            hosts.tell(self.host, time_ns, What::SocketOpen(socket), out);
        }
    }

    /// Of the table `process_open_sockets`.
    fn tell_open_socket(&self, hosts: &mut Hosts, out: &mut Out) {
        if !self.is_inet() {
            return out.pass("local socket");
        }
        let Some(protocol) = self.fields.number::<u8>("protocol").filter(|&protocol| protocol != 0)
        else {
            return out.pass("socket without a protocol");
        };
        let process = self.owner(self.time_ns, hosts, out);
        let (local, local_port) = self.end("local_address", "local_port");
        let (remote, remote_port) = self.end("remote_address", "remote_port");
        let kind = match protocol {
            TCP if self.fields.text("state") == "LISTEN" => SocketKind::Listener,
            TCP if remote_port == 0 => SocketKind::Listener,
            TCP => SocketKind::Stream,
            UDP => SocketKind::Datagram,
            _ => SocketKind::Raw,
        };
        let socket = Socket {
            local,
            local_port,
            remote,
            remote_port,
            dual_stack: self.fields.text("local_address") == "::" && remote.is_none(),
            process,
            inode: inode(self.fields),
            netns: self.fields.number("net_namespace").filter(|&netns| netns != 0),
            ..claim(kind, protocol, Basis::Holds, process.unwrap_or_default())
        };
        let what = if self.removed { What::SocketClose(socket) } else { What::SocketOpen(socket) };
        hosts.tell(self.host, self.time_ns, what, out);
    }

    /// Of the table `docker_container_stats`: totals since the container began.
    fn tell_counters(&self, hosts: &Hosts, out: &mut Out) {
        let fields = self.fields;
        let container = fields.text("id");
        if container.is_empty() {
            return out.bad_part("no container");
        }
        let read_ns = fields.number::<i64>("read").filter(|&read_s| read_s > 0);
        let read_ns = read_ns.and_then(|read_s| read_s.checked_mul(NS_PER_S));
        out.counter(CounterSample {
            time_ns: read_ns.unwrap_or(self.time_ns),
            reading: Reading::Total,
            subject: Subject {
                host: hosts.name(self.host),
                container: container.into(),
                container_name: fields.text("name").trim_start_matches('/').into(),
                ..Subject::default()
            },
            received_bytes: fields.number("network_rx_bytes"),
            sent_bytes: fields.number("network_tx_bytes"),
            received_packets: None,
            sent_packets: None,
            received_drops: None,
            sent_drops: None,
            labels: Vec::new(),
        });
    }
}

fn inode(fields: &Fields<'_>) -> Option<u64> {
    fields.number("socket").filter(|&inode| inode != 0)
}

/// The sockets of each query's last snapshot: what is not in the next one was closed.
#[derive(Default)]
pub(super) struct OpenSockets {
    /// By host and the hash of the query's name.
    last: HashMap<(HostNumber, u64), Vec<u64>, RandomState>,
    held: usize,
}

impl OpenSockets {
    pub(super) fn close_gone(
        &mut self,
        host: HostNumber,
        query: &str,
        time_ns: i64,
        rows: &[Fields<'_>],
        hosts: &mut Hosts,
        out: &mut Out,
    ) {
        let is_snapshot = |row: &&Fields<'_>| row.has("socket") && row.has("remote_address");
        let mut now: Vec<u64> = rows.iter().filter(is_snapshot).filter_map(inode).collect();
        let key = (host, self.last.hasher().hash_one(query));
        if now.is_empty() && !self.last.contains_key(&key) {
            return;
        }
        now.sort_unstable();
        now.dedup();
        let before = self.last.remove(&key).unwrap_or_default();
        self.held -= before.len();
        for inode in before {
            if now.binary_search(&inode).is_err() {
                let socket = Socket {
                    process: None,
                    inode: Some(inode),
                    ..claim(SocketKind::Stream, TCP, Basis::Holds, ProcessId::default())
                };
                hosts.tell(host, time_ns, What::SocketClose(socket), out);
            }
        }
        if self.held + now.len() > MAX_OPEN {
            self.last.clear();
            self.held = 0;
        }
        if !now.is_empty() && now.len() <= MAX_OPEN {
            self.held += now.len();
            self.last.insert(key, now);
        }
    }
}

//! Host maps of watched hosts: processes that begin and end, and the sockets of their
//! conversations, as programs in the kernel would have told.

use std::io;

use super::play::Notes;
use super::talk::{End, Form, Talk};
use super::world::World;
use crate::host::attribution::{Basis, Method};
use crate::host::event::{
    Address, HostEvent, MAP_VERSION, MapStart, ProviderState, Socket, SocketKind, What,
};
use crate::host::process::{Process, ProcessId};
use crate::lab::synth::frame::ip_proto;

/// A socket in use is told again so often; the kernel's watchers do so too.
const TELL_AGAIN_NS: i64 = 60_000_000_000;

/// Everything has been told, so often.
const TIME_NS: i64 = 1_000_000_000;

pub(super) struct HostMaps<'a> {
    world: &'a World,
    /// Begins and ends of processes: time, place, and whether it begins; the last is next.
    changes: Vec<(i64, usize, bool)>,
    next_cookie: u64,
    time_ns: i64,
    any: bool,
}

impl<'a> HostMaps<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let mut changes = Vec::new();
        for (at, process) in world.processes.iter().enumerate() {
            changes.push((process.start_ns.max(world.start_ns), at, true));
            if let Some(end_ns) = process.end_ns.filter(|&end_ns| end_ns < world.end_ns) {
                changes.push((end_ns.max(world.start_ns), at, false));
            }
        }
        changes.sort_by_key(|&(ns, at, begins)| (ns, !begins, at));
        changes.reverse();
        let any = world.hosts.iter().any(|host| host.watched);
        Self { world, changes, next_cookie: 1, time_ns: world.start_ns, any }
    }

    pub(super) fn begin(&mut self, notes: &mut dyn Notes) -> io::Result<()> {
        let start_ns = self.world.start_ns;
        for (at, host) in self.world.hosts.iter().enumerate().filter(|(_, host)| host.watched) {
            let mut tell = |what| notes.host_event(at, &HostEvent { time_ns: start_ns, what });
            tell(What::Start(MapStart {
                version: MAP_VERSION,
                host: host.name.clone(),
                boot: host.boot.clone(),
                providers: vec![Method::Ebpf],
                netns: Some(host.netns),
                observers: Vec::new(),
            }))?;
            let provider =
                ProviderState { method: Method::Ebpf, running: true, reason: String::new() };
            tell(What::Provider(provider))?;
            tell(What::AddressUp(address(host.address, host.netns)))?;
            for container in self.world.containers.iter().filter(|container| container.host == at) {
                if container.netns != host.netns {
                    tell(What::AddressUp(address(container.address, container.netns)))?;
                }
                tell(What::Workload(Box::new(container.workload.clone())))?;
            }
            tell(What::ProcessStart(Box::new(Process {
                id: ProcessId { pid: 1, start_ticks: 1 },
                name: "systemd".to_owned(),
                exe: "/usr/lib/systemd/systemd".to_owned(),
                args: vec!["/sbin/init".to_owned()],
                uid: Some(0),
                user: "root".to_owned(),
                netns: Some(host.netns),
                ..Process::default()
            })))?;
        }
        self.advance(start_ns, notes)
    }

    /// Tells what happened up to now.
    pub(super) fn advance(&mut self, now_ns: i64, notes: &mut dyn Notes) -> io::Result<()> {
        if !self.any {
            return Ok(());
        }
        while let Some(&(time_ns, at, begins)) = self.changes.last()
            && time_ns <= now_ns
        {
            self.changes.pop();
            let Some(process) = self.world.processes.get(at) else { continue };
            let what = match begins {
                true => What::ProcessStart(Box::new(process.process.clone())),
                false => What::ProcessExit(process.process.id),
            };
            notes.host_event(process.host, &HostEvent { time_ns, what })?;
        }
        if now_ns - self.time_ns >= TIME_NS {
            self.time_ns = now_ns;
            self.tell_time(now_ns, notes)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, notes: &mut dyn Notes) -> io::Result<()> {
        self.tell_time(self.world.end_ns, notes)
    }

    fn tell_time(&self, time_ns: i64, notes: &mut dyn Notes) -> io::Result<()> {
        for (at, _) in self.world.hosts.iter().enumerate().filter(|(_, host)| host.watched) {
            notes.host_event(at, &HostEvent { time_ns, what: What::Time })?;
        }
        Ok(())
    }

    /// A packet of a conversation is due: its sockets are told, at first and now and then.
    pub(super) fn using(
        &mut self,
        now_ns: i64,
        talk: &Talk,
        told_ns: &mut i64,
        cookies: &mut [u64; 2],
        notes: &mut dyn Notes,
    ) -> io::Result<()> {
        if !self.any || now_ns.saturating_sub(*told_ns) < TELL_AGAIN_NS {
            return Ok(());
        }
        let is_first = *told_ns == i64::MIN;
        *told_ns = now_ns;
        for (cookie, own, other) in ends(talk, cookies) {
            let Some(host) = self.host_of(own) else { continue };
            if is_first {
                *cookie = self.next_cookie;
                self.next_cookie += 1;
            }
            let Some(socket) = self.socket(talk, own, other, *cookie) else { continue };
            let what = match is_first {
                true => What::SocketOpen(socket),
                false => What::SocketUse(socket),
            };
            notes.host_event(host, &HostEvent { time_ns: now_ns, what })?;
        }
        Ok(())
    }

    pub(super) fn ended(
        &self,
        now_ns: i64,
        talk: &Talk,
        cookies: &mut [u64; 2],
        notes: &mut dyn Notes,
    ) -> io::Result<()> {
        if !self.any {
            return Ok(());
        }
        for (cookie, own, other) in ends(talk, cookies) {
            let Some(host) = self.host_of(own) else { continue };
            let Some(socket) = self.socket(talk, own, other, *cookie) else { continue };
            let what = What::SocketClose(socket);
            notes.host_event(host, &HostEvent { time_ns: now_ns, what })?;
        }
        Ok(())
    }

    fn host_of(&self, end: &End) -> Option<usize> {
        end.seat.process?;
        Some(end.seat.host).filter(|&host| self.world.hosts.get(host).is_some_and(|it| it.watched))
    }

    fn socket(&self, talk: &Talk, own: &End, other: &End, cookie: u64) -> Option<Socket> {
        let process = self.world.processes.get(own.seat.process?)?;
        let proto = talk.proto();
        let is_echo = matches!(proto, ip_proto::ICMP | ip_proto::ICMPV6);
        Some(Socket {
            method: Method::Ebpf,
            basis: Basis::Used,
            kind: match &talk.form {
                Form::Tcp(_) => SocketKind::Stream,
                _ if is_echo => SocketKind::Ping,
                _ => SocketKind::Datagram,
            },
            protocol: proto,
            local: Some(own.seat.address),
            local_port: own.port,
            remote: Some(other.seat.address),
            remote_port: if is_echo { 0 } else { other.port },
            dual_stack: false,
            process: Some(process.process.id),
            shared_with: Vec::new(),
            cookie: Some(cookie),
            inode: None,
            netns: Some(own.seat.netns),
            interface_index: None,
            alone: false,
            since_ns: None,
        })
    }
}

/// Who has a socket of a conversation: of an echo only who asks.
fn ends<'t>(
    talk: &'t Talk,
    cookies: &'t mut [u64; 2],
) -> impl Iterator<Item = (&'t mut u64, &'t End, &'t End)> {
    let is_echo = matches!(talk.proto(), ip_proto::ICMP | ip_proto::ICMPV6);
    let pairs = [(&talk.client, &talk.server), (&talk.server, &talk.client)];
    cookies
        .iter_mut()
        .zip(pairs)
        .map(|(cookie, (own, other))| (cookie, own, other))
        .take(if is_echo { 1 } else { 2 })
}

fn address(address: std::net::IpAddr, netns: u64) -> Address {
    Address {
        address,
        broadcast: None,
        interface: "eth0".to_owned(),
        interface_index: 2,
        netns: Some(netns),
    }
}

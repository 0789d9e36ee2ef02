//! A scenario's hosts, containers and processes with everything that tells them apart:
//! addresses, MACs, process and container ids, all from names and seed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow, bail};

use super::Scenario;
use crate::host::process::{Context, Process, ProcessId, in_usual_writable_folder};
use crate::host::workload::{Role, Workload};
use crate::lab::synth::Rng;

/// Hosts that a scenario may have: each has at most a few names and a map.
const MAX_HOSTS: u32 = 100_000;

/// Hosts were up so long before the scenario began.
const UPTIME_S: f64 = 864_000.0;

/// Behind it lies everything outside.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const NS: f64 = 1e9;

#[derive(Clone, Debug)]
pub struct HostAt {
    pub name: String,
    pub address: IpAddr,
    pub outside: bool,
    pub watched: bool,
    pub access_log: bool,
    pub interface: Option<String>,
    pub counters: bool,
    pub dns_name: String,
    pub boot: String,
    pub netns: u64,
}

#[derive(Clone, Debug)]
pub struct ContainerAt {
    pub host: usize,
    pub address: IpAddr,
    pub netns: u64,
    pub workload: Workload,
}

#[derive(Clone, Debug)]
pub struct ProcessAt {
    pub host: usize,
    pub container: Option<usize>,
    pub process: Process,
    pub start_ns: i64,
    pub end_ns: Option<i64>,
}

/// Someone who can send: a host, or a container or process on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seat {
    pub host: usize,
    pub container: Option<usize>,
    pub process: Option<usize>,
    pub address: IpAddr,
    pub mac: [u8; 6],
    pub netns: u64,
}

#[derive(Clone, Debug)]
pub struct World {
    pub start_ns: i64,
    pub end_ns: i64,
    pub hosts: Vec<HostAt>,
    pub containers: Vec<ContainerAt>,
    pub processes: Vec<ProcessAt>,
    seats: BTreeMap<String, Vec<Seat>>,
}

impl World {
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        let start: jiff::Timestamp =
            scenario.start.parse().map_err(|error| anyhow!("start: {error}"))?;
        let start_ns = i64::try_from(start.as_nanosecond())?;
        if !(scenario.duration_s > 0.0 && scenario.duration_s <= 366.0 * 86_400.0) {
            bail!("duration_s: over 0, and a year at most");
        }
        let mut world = Self {
            start_ns,
            end_ns: start_ns.saturating_add((scenario.duration_s * NS) as i64),
            hosts: Vec::new(),
            containers: Vec::new(),
            processes: Vec::new(),
            seats: BTreeMap::new(),
        };
        let mut rng = Rng::new(seed ^ 0x0077_6f72_6c64);
        for host in &scenario.hosts {
            world.add_host(host, &mut rng)?;
        }
        for container in &scenario.containers {
            world.add_container(container, &mut rng)?;
        }
        for process in &scenario.processes {
            world.add_process(process)?;
        }
        if world.hosts.iter().filter(|host| host.access_log).count() > 1 {
            bail!("access_log: only one host can have it");
        }
        Ok(world)
    }

    /// Gives hosts, and containers with an address of their own, other addresses: by name,
    /// each with the MAC address that its frames are to have.
    pub fn place(&mut self, places: &BTreeMap<String, (IpAddr, [u8; 6])>) {
        for host in &mut self.hosts {
            if let Some(&(address, _)) = places.get(&host.name) {
                host.address = address;
            }
        }
        for container in &mut self.containers {
            let host = self.hosts.get(container.host);
            if let Some(&(address, _)) = places.get(&container.workload.name) {
                container.address = address;
            } else if let Some(host) = host.filter(|_| container.workload.host_network) {
                container.address = host.address;
            }
        }
        for seat in self.seats.values_mut().flatten() {
            let host = self.hosts.get(seat.host).map(|host| &host.name);
            let container = seat.container.and_then(|at| self.containers.get(at));
            let own = container.filter(|it| !it.workload.host_network);
            let name = own.map(|container| &container.workload.name).or(host);
            if let Some(&(address, mac)) = name.and_then(|name| places.get(name)) {
                (seat.address, seat.mac) = (address, mac);
            }
        }
    }

    /// Everyone of this name.
    pub fn seats(&self, name: &str) -> Result<&[Seat]> {
        let seats = self.seats.get(name);
        seats.map(Vec::as_slice).ok_or_else(|| anyhow!("there is no host or process {name}"))
    }

    /// Gives every host inside that has none an interface, for flow logs of all of them.
    pub fn give_interfaces(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| !host.outside) {
            let number = match host.address {
                IpAddr::V4(v4) => u128::from(u32::from(v4)),
                IpAddr::V6(v6) => u128::from(v6) & 0xffff_ffff_ffff_ffff,
            };
            host.interface.get_or_insert_with(|| format!("eni-{number:017x}"));
        }
    }

    pub fn log_host(&self) -> Option<&HostAt> {
        self.hosts.iter().find(|host| host.access_log)
    }

    /// Ids that alerts may give to those of this name.
    pub fn entity_ids(&self, name: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for seat in self.seats(name)? {
            ids.push(self.entity_id(seat));
            // Counters name a container without its runtime.
            if seat.process.is_none() {
                ids.extend(seat.container.and_then(|at| self.container_id(at)));
            }
            // A host goes by its name too.
            if seat.process.is_none() && seat.container.is_none() {
                ids.extend(self.hosts.get(seat.host).map(|host| host.name.clone()));
            }
        }
        Ok(ids)
    }

    /// Ids of the entities that a sender is part of.
    pub fn involved(&self, seat: &Seat) -> Vec<String> {
        let mut ids = vec![seat.address.to_string(), self.entity_id(seat)];
        if let Some(container) = seat.container {
            ids.push(self.workload_id(container));
            ids.extend(self.container_id(container));
        }
        if let Some(host) = self.hosts.get(seat.host) {
            ids.extend([host.address.to_string(), host.name.clone()]);
        }
        ids.sort();
        ids.dedup();
        ids
    }

    fn entity_id(&self, seat: &Seat) -> String {
        if let Some(at) = seat.process.and_then(|process| self.processes.get(process)) {
            let boot = self.hosts.get(at.host).map_or("", |host| &host.boot);
            let id = at.process.id;
            return format!("{boot}:{}:{}", id.pid, id.start_ticks);
        }
        match seat.container {
            Some(container) => self.workload_id(container),
            None => seat.address.to_string(),
        }
    }

    fn container_id(&self, container: usize) -> Option<String> {
        self.containers.get(container).map(|it| it.workload.container.clone())
    }

    fn workload_id(&self, container: usize) -> String {
        let workload = self.containers.get(container).map(|container| &container.workload);
        workload.map_or_else(String::new, |it| format!("{}:{}", it.runtime, it.container))
    }

    fn add_host(&mut self, host: &super::Host, rng: &mut Rng) -> Result<()> {
        let count = host.count.unwrap_or(1);
        if count == 0 || count > MAX_HOSTS {
            bail!("host {}: count is from 1 to {MAX_HOSTS}", host.name);
        }
        for index in 0..count {
            let name = match host.count {
                Some(_) => format!("{}{}", host.name, index + 1),
                None => host.name.clone(),
            };
            let address = later(host.address, index);
            let at = HostAt {
                address,
                outside: host.outside,
                watched: host.watched,
                access_log: host.access_log,
                counters: host.counters,
                interface: host.interface.as_ref().map(|interface| match host.count {
                    Some(_) => format!("{interface}{:04x}", index + 1),
                    None => interface.clone(),
                }),
                dns_name: match (&host.dns_name, host.count) {
                    (Some(known), Some(_)) => format!("{}.{known}", name),
                    (Some(known), None) => known.clone(),
                    (None, _) => format!("{name}.example"),
                },
                boot: identifier(rng),
                netns: 4_026_531_840 + self.hosts.len() as u64 * 1_000,
                name: name.clone(),
            };
            let mac = if host.outside { ROUTER_MAC } else { mac_of(address) };
            let seat = Seat {
                host: self.hosts.len(),
                container: None,
                process: None,
                address,
                mac,
                netns: at.netns,
            };
            self.hosts.push(at);
            self.name(&name, seat)?;
            if host.count.is_some() {
                self.seats.entry(host.name.clone()).or_default().push(seat);
            }
        }
        Ok(())
    }

    /// A name of one alone.
    fn name(&mut self, name: &str, seat: Seat) -> Result<()> {
        match self.seats.insert(name.to_owned(), vec![seat]) {
            Some(_) => bail!("there are two with the name {name}"),
            None => Ok(()),
        }
    }

    fn add_container(&mut self, container: &super::Container, rng: &mut Rng) -> Result<()> {
        let [seat] = *self.seats(&container.host)? else {
            bail!("container {}: {} is a group", container.name, container.host);
        };
        let mut id = identifier(rng).replace('-', "");
        id.push_str(&identifier(rng).replace('-', ""));
        let workload = Workload {
            runtime: "containerd".to_owned(),
            container: id,
            name: container.name.clone(),
            image: container.image.clone(),
            pod: container.pod.clone(),
            namespace: container.namespace.clone(),
            owner: container.owner.clone(),
            role: container.sidecar.then_some(Role::Sidecar),
            host_network: container.address.is_none(),
            ..Workload::default()
        };
        let address = container.address.unwrap_or(seat.address);
        let netns = match container.address {
            // Those of one pod share it.
            Some(address) => self
                .containers
                .iter()
                .find(|other| other.address == address)
                .map_or(seat.netns + 1 + self.containers.len() as u64, |other| other.netns),
            None => seat.netns,
        };
        let mac = if container.address.is_some() { mac_of(address) } else { seat.mac };
        let at = self.containers.len();
        self.containers.push(ContainerAt { host: seat.host, address, netns, workload });
        self.name(&container.name, Seat { container: Some(at), address, mac, netns, ..seat })
    }

    fn add_process(&mut self, process: &super::Process) -> Result<()> {
        let place = process.container.as_ref().unwrap_or(&process.host);
        let places = self.seats(place)?.to_vec();
        let is_group = places.len() > 1;
        for seat in places {
            let host = self.hosts.get(seat.host).ok_or_else(|| anyhow!("no host"))?;
            if !host.watched {
                bail!("process {}: {} is not watched", process.name, host.name);
            }
            let own_name = match is_group {
                true => format!("{}@{}", process.name, host.name),
                false => process.name.clone(),
            };
            let parent = match &process.parent {
                None => ProcessId { pid: 1, start_ticks: 1 },
                Some(parent) => self.process_on(parent, seat.host)?,
            };
            let made = self.process(process, &seat, parent);
            let at = self.processes.len();
            self.processes.push(made);
            let seat = Seat { process: Some(at), ..seat };
            self.name(&own_name, seat)?;
            if is_group {
                self.seats.entry(process.name.clone()).or_default().push(seat);
            }
        }
        Ok(())
    }

    fn process_on(&self, name: &str, host: usize) -> Result<ProcessId> {
        let on_host = |seat: &&Seat| seat.host == host && seat.process.is_some();
        let seat = self.seats(name)?.iter().find(on_host);
        seat.and_then(|seat| self.processes.get(seat.process?))
            .map(|at| at.process.id)
            .ok_or_else(|| anyhow!("there is no process {name} on that host (parents come first)"))
    }

    fn process(&self, of: &super::Process, seat: &Seat, parent: ProcessId) -> ProcessAt {
        let index = self.processes.len();
        let start_ns = self.start_ns.saturating_add((of.start_s * NS) as i64);
        let program = of.exe.rsplit('/').next().unwrap_or_default();
        let terminal = if of.terminal.is_empty() { Context::None } else { Context::Terminal };
        let container = seat.container.and_then(|container| self.containers.get(container));
        let container_id =
            container.map_or_else(String::new, |container| container.workload.container.clone());
        let process = Process {
            id: ProcessId {
                pid: 1_000 + index as u32,
                start_ticks: ((UPTIME_S + of.start_s).max(1.0) * 100.0) as u64 + index as u64,
            },
            started_ns: Some(start_ns),
            parent: Some(parent),
            name: program.chars().take(15).collect(),
            exe: of.exe.clone(),
            exe_in_writable_folder: in_usual_writable_folder(&of.exe),
            args: if of.args.is_empty() { vec![program.to_owned()] } else { of.args.clone() },
            uid: Some(if of.user.is_empty() || of.user == "root" { 0 } else { 1_000 }),
            user: if of.user.is_empty() { "root".to_owned() } else { of.user.clone() },
            terminal: of.terminal.clone(),
            context: Some(of.context.unwrap_or(terminal)),
            unit: of.unit.clone(),
            cgroup: match container_id.is_empty() {
                true => String::new(),
                false => format!("/kubepods.slice/cri-containerd-{container_id}.scope"),
            },
            netns: Some(seat.netns),
            container: container_id,
            ..Process::default()
        };
        let end_ns = of.end_s.map(|end_s| self.start_ns.saturating_add((end_s * NS) as i64));
        ProcessAt { host: seat.host, container: seat.container, process, start_ns, end_ns }
    }
}

fn later(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(by)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(u128::from(by))).into(),
    }
}

fn mac_of(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => (u128::from(v6) as u32).to_be_bytes(),
    };
    [2, 1, a, b, c, d]
}

/// As boots have it: a UUID.
fn identifier(rng: &mut Rng) -> String {
    let (high, low) = (rng.next_u64(), rng.next_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

//! Programs that began, in the order of time, for whoever judges them; and who serves
//! a request that was logged.
//!
//! A map's writer notes each start and exec (`Begun`); the correlation stage takes
//! those of seconds that are closed (`Joiner::take_execs`). What ran before a map
//! began has not begun: a map starts with all that is there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::claim::ProcessKey;
use super::inventory::Instance;
use super::join::{HOLD_NS, Joiner};
use super::map::HostMap;
use super::resolve::Question;
use super::side::ProcessView;
use super::whose::Machine;
use super::workload::Workload;
use crate::detect::analytic::Exec;
use crate::lock::Lock;
use crate::telemetry::request::Request;

const SECOND_NS: i64 = 1_000_000_000;
const TCP: u8 = 6;

/// Programs that began and were not taken yet. Beyond the bound further ones are
/// counted and left out: those that are there are older.
#[derive(Debug, Default)]
pub(super) struct Begun(Lock<Held>);

#[derive(Debug, Default)]
struct Held {
    waiting: BTreeSet<(i64, ProcessKey)>,
    left_out: u64,
}

impl Begun {
    pub(super) fn note(&self, ns: i64, key: ProcessKey, most: u64) {
        let mut held = self.0.lock();
        if held.waiting.len() as u64 >= most {
            held.left_out += 1;
            return;
        }
        held.waiting.insert((ns, key));
    }

    fn take_before(&self, ns: i64) -> BTreeSet<(i64, ProcessKey)> {
        let mut held = self.0.lock();
        let later =
            if ns == i64::MAX { BTreeSet::new() } else { held.waiting.split_off(&first(ns)) };
        std::mem::replace(&mut held.waiting, later)
    }

    pub(super) fn left_out(&self) -> u64 {
        self.0.lock().left_out
    }
}

/// Before all of a time.
fn first(ns: i64) -> (i64, ProcessKey) {
    (ns, ProcessKey { source: 0, id: Default::default() })
}

/// Who serves a request, as far as the target or the log's host tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// The process at the target's address and port.
    pub process: Option<Arc<ProcessView>>,
    pub workload: Option<Arc<Workload>>,
    /// Name and boot of the host that has the target's address, or that wrote the log.
    pub host: Option<Arc<str>>,
    pub boot: Option<Arc<str>>,
    pub instance: Option<Arc<Instance>>,
}

impl Served {
    /// Where nothing is known of hosts.
    pub(crate) fn of_log(request: &Request) -> Self {
        Self { host: request.on_host.clone(), ..Self::default() }
    }
}

impl Joiner {
    /// Programs that began before a time, by time and process, which were not taken
    /// before. By what had been told when their second was closed.
    pub(crate) fn take_execs(&mut self, before_ns: i64) -> Vec<Exec> {
        let Some(map) = self.map.clone() else { return Vec::new() };
        let begun = map.begun.take_before(before_ns);
        let mut execs = Vec::with_capacity(begun.len());
        for (time_ns, key) in begun {
            if map.meant(key.source, key.id, time_ns) != key.id {
                // Its beginning is noted with its start.
                continue;
            }
            let second_ns =
                time_ns.div_euclid(SECOND_NS).saturating_add(1).saturating_mul(SECOND_NS);
            // Live it may be told late, offline it was there all along.
            let known_ns = second_ns.saturating_add(HOLD_NS);
            let process = self.view(&map, key, time_ns, known_ns);
            let workload = self.workload(&map, key.source, &process.process, known_ns);
            let (host, boot) = self.host_of(&map, key.source);
            let container = &process.process.container;
            let began_ns = map.containers.began_ns(key.source, container, known_ns);
            let begins_container = began_ns == Some(time_ns);
            let Machine { instance, addresses } = self.machine(&map, key.source, time_ns);
            execs.push(Exec {
                time_ns,
                process,
                workload,
                begins_container,
                host,
                boot,
                instance,
                addresses,
            });
        }
        execs
    }

    /// Who served a request: by the target's address and port, else by the host that
    /// the log is of, unless the target is known to be another. `by_balancer`: a cloud's
    /// balancer logged it, which no target is behind.
    pub(crate) fn served(&mut self, request: &Request, by_balancer: bool) -> Served {
        let mut served = Served::default();
        let target = request.target.as_ref();
        if let Some(address) = target.and_then(|target| target.address) {
            served.instance = self.instance_of_target(address);
            self.at_target(address, target.and_then(|target| target.port), request, &mut served);
        }
        if served.host.is_none() {
            let host = request.on_host.clone().or_else(|| self.own_host());
            served.host = host.filter(|host| !self.is_elsewhere(host, request, by_balancer));
        }
        served
    }

    fn at_target(
        &mut self,
        address: IpAddr,
        port: Option<u16>,
        request: &Request,
        served: &mut Served,
    ) {
        let Some(map) = self.map.clone() else { return };
        let end_ns = request.end_ns.unwrap_or(request.time_ns);
        let known_ns = end_ns.saturating_add(HOLD_NS);
        let any = match address {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let question = Question {
            protocol: TCP,
            local: address,
            local_port: port.unwrap_or(0),
            remote: any,
            remote_port: 0,
            sent: true,
            // A server answered.
            by_kernel: true,
            start_ns: request.time_ns,
            end_ns,
            begun_by_ns: request.time_ns,
            known_ns,
        };
        let answer = port.and_then(|_| map.resolve(&question).ok().flatten());
        if let Some(answer) = answer {
            let ran = map.program_of(&answer, &question);
            let process = self.view_of(&map, answer.process, ran, known_ns);
            served.workload =
                self.workload(&map, answer.process.source, &process.process, known_ns);
            served.process = Some(process);
            let (host, boot) = self.host_of(&map, answer.process.source);
            (served.host, served.boot) = (Some(host), Some(boot));
        } else if !address.is_loopback()
            && let Some(source) = map.source_at(address, request.time_ns)
        {
            let (host, boot) = self.host_of(&map, source);
            (served.host, served.boot) = (Some(host), Some(boot));
        }
    }

    fn instance_of_target(&self, address: IpAddr) -> Option<Arc<Instance>> {
        self.inventory.as_ref()?.get().by_address(address)
    }

    /// Live, a log that says nothing else is of the host that reads it.
    fn own_host(&mut self) -> Option<Arc<str>> {
        let map = self.map.clone().filter(|_| self.live)?;
        let own = map.watched_here()?;
        Some(self.host_of(&map, own).0).filter(|host| !host.is_empty())
    }
}

impl HostMap {
    /// The source of watchers that run here: they know their namespace.
    fn watched_here(&self) -> Option<u16> {
        let sources = self.sources.lock();
        let here = sources.iter().position(|source| source.start.netns.is_some())?;
        u16::try_from(here).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::event::{HostEvent, MapStart, What};
    use crate::host::join::HostKnowledge;
    use crate::host::map::{HostMap, MapLimits};
    use crate::host::process::{Process, ProcessId};

    fn told(at_s: i64, what: What) -> HostEvent {
        HostEvent { time_ns: at_s * SECOND_NS, what }
    }

    fn process(pid: u32, container: &str, started_s: Option<i64>) -> Box<Process> {
        Box::new(Process {
            id: ProcessId { pid, start_ticks: 1 },
            container: container.to_owned(),
            exe: format!("/bin/{pid}"),
            started_ns: started_s.map(|started_s| started_s * SECOND_NS),
            ..Process::default()
        })
    }

    #[test]
    fn only_the_first_process_of_a_container_begins_it() {
        let map = Arc::new(HostMap::new(MapLimits::default()));
        let mut writer = map.writer();
        let start = MapStart { version: 1, ..MapStart::default() };
        for event in [
            told(100, What::Start(start)),
            // There when the map began, one of them with its start and one without.
            told(100, What::ProcessStart(process(1, "old", Some(10)))),
            told(100, What::ProcessStart(process(2, "older", None))),
            told(110, What::ProcessStart(process(3, "old", Some(110)))),
            told(111, What::ProcessExec(process(4, "older", None))),
            told(120, What::ProcessExec(process(5, "new", Some(119)))),
            told(121, What::ProcessStart(process(6, "new", Some(121)))),
            told(122, What::ProcessStart(process(7, "", Some(122)))),
        ] {
            writer.apply(&event);
        }
        map.complete();
        let knowledge = HostKnowledge { map: Some(map), ..HostKnowledge::default() };
        let execs = Joiner::new(knowledge).take_execs(i64::MAX);
        let told: Vec<(u32, bool)> =
            execs.iter().map(|exec| (exec.process.process.id.pid, exec.begins_container)).collect();
        assert_eq!(told, [(3, false), (4, false), (5, true), (6, false), (7, false)]);
    }
}

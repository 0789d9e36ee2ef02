//! Records joined to the hosts at their ends, in the correlation stage.
//!
//! [`Joiner::join`] is asked once a record, in the records' final order, and gives
//! the same for the same record, map and inventory. It never looks at a packet and
//! never waits for anything but a shard of the map.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;

use super::attribution::Basis;
use super::claim::ProcessKey;
use super::coverage::{Coverage, Found};
use super::destination::{Destinations, Lists};
use super::inventory::{Instance, Inventory};
use super::map::HostMap;
use super::mirrored::{Interface, Mirrored, Sessions};
use super::presence::AtMachine;
use super::process::Process;
use super::questions;
use super::ran::{Ran, ancestors};
use super::resolve::{Answer, Question};
use super::side::{Attribution, FlowHosts, HostSide, ProcessView, Reason};
use super::table::Watched;
use super::workload::Workload;
use crate::alert::{Alert, Known};
use crate::detect::HomeNets;
use crate::entity::View;
use crate::flow::app::Quoted;
use crate::flow::{Amount, EndedFlow, FlowRecord, Outline};
use crate::telemetry::observation::FlowReport;

/// How much later than a record's decision something may be told and still count
/// in it. Live, seconds wait so long for the watchers before they are closed:
/// twice the interval at which providers say that they are up to date.
pub const HOLD_NS: i64 = 500_000_000;

/// Processes whose texts are kept put together.
const MAX_VIEWS: usize = 1 << 16;

/// What a run is told of hosts.
#[derive(Clone, Debug, Default)]
pub struct HostKnowledge {
    pub map: Option<Arc<HostMap>>,
    /// The map is still growing: seconds wait for its watchers.
    pub live: bool,
    pub inventory: Option<Arc<Watched<Inventory>>>,
    /// Owners and reputation. Names are learned along the way.
    pub lists: Option<Arc<Lists>>,
    /// Which end a mirror session's interface belongs to.
    pub home_nets: HomeNets,
}

/// What an end of a flow is to the map.
#[derive(Clone, Debug)]
pub(crate) enum Seated {
    /// Of no host that has a map.
    Stranger,
    /// Of one that has, and nobody is known to have the socket.
    Unclaimed,
    At(Seat),
}

/// Who sits at the end of a flow.
#[derive(Clone, Debug)]
pub struct Seat {
    pub process: Arc<ProcessView>,
    pub workload: Option<Arc<Workload>>,
    /// Name and boot of the host.
    pub host: Arc<str>,
    pub boot: Arc<str>,
    pub certainty: f64,
    /// What that rests on, where it was told.
    pub basis: Option<Basis>,
}

/// Joins records to what is known of hosts.
#[derive(Debug)]
pub struct Joiner {
    pub(super) map: Option<Arc<HostMap>>,
    /// The map is that of this host, or of what it watches.
    pub(super) live: bool,
    pub(super) inventory: Option<Arc<Watched<Inventory>>>,
    destinations: Destinations,
    home_nets: HomeNets,
    /// By process, the time from which it ran that program, and when that was told.
    views: HashMap<(ProcessKey, i64, i64), Arc<ProcessView>>,
    /// With who was at the machine last, and what it was made of.
    attended: HashMap<ProcessKey, (Arc<ProcessView>, Arc<ProcessView>)>,
    bare_workloads: HashMap<String, Arc<Workload>>,
    /// Name and boot by source of the map.
    pub(super) hosts: HashMap<u16, (Arc<str>, Arc<str>)>,
    mirrored: Mirrored,
    sessions: Sessions,
    /// Addresses of interfaces that sessions gave since they were asked for.
    interfaces: Vec<IpAddr>,
    coverage: Coverage,
}

impl Joiner {
    pub fn new(hosts: HostKnowledge) -> Self {
        Self {
            map: hosts.map,
            live: hosts.live,
            inventory: hosts.inventory,
            destinations: Destinations::new(hosts.lists.unwrap_or_default()),
            home_nets: hosts.home_nets,
            views: HashMap::default(),
            attended: HashMap::default(),
            bare_workloads: HashMap::default(),
            hosts: HashMap::default(),
            mirrored: Mirrored::default(),
            sessions: Sessions::default(),
            interfaces: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// The inventory as it is now.
    pub(crate) fn inventory(&self) -> Option<Arc<Inventory>> {
        self.inventory.as_ref().map(|inventory| inventory.get())
    }

    /// What is known of both ends of a record. Whom an ICMP error reached is who sent what
    /// it is about, where that is known; the coverage is of the flow's own ends.
    pub fn join(&mut self, record: &FlowRecord) -> Option<Box<FlowHosts>> {
        let flow = record.outline();
        self.destinations.learn(&flow, record.app.as_deref());
        let hosts = self.join_outline(&flow);
        let quoted = record.app.as_deref().and_then(|app| app.icmp_error.as_deref());
        let Some(side) = quoted.and_then(|quoted| self.provoker(&flow, quoted)) else {
            return hosts;
        };
        let mut hosts = hosts.unwrap_or_default();
        let instance = hosts.dst.take().and_then(|dst| dst.instance);
        hosts.dst = Some(HostSide { instance, ..side });
        Some(hosts)
    }

    /// Who sent the packet that an error is about, where that is known.
    fn provoker(&mut self, flow: &Outline, quoted: &Quoted) -> Option<HostSide> {
        let mut side = self.side(&questions::of_quoted(flow, quoted)?)?;
        side.process.as_ref()?;
        side.attribution.as_mut()?.provoked = true;
        Some(side)
    }

    /// What is known of both ends of a flow; counts it.
    pub(crate) fn join_outline(&mut self, flow: &Outline) -> Option<Box<FlowHosts>> {
        let hosts = self.hosts_of(flow);
        let sides = hosts
            .as_deref()
            .map_or([None, None], |hosts| [&hosts.src, &hosts.dst].map(Option::as_ref));
        let has_instance = sides.iter().flatten().any(|side| side.instance.is_some());
        let ends = sides.map(|side| side.and_then(found));
        self.coverage.count(ends, has_instance, flow.packets.iter().sum(), flow.wire_bytes);
        hosts
    }

    /// The same of a flow that counts elsewhere.
    pub(crate) fn hosts_of(&mut self, flow: &Outline) -> Option<Box<FlowHosts>> {
        let instances = self.instances_of(flow);
        let hosts = if !self.is_among_strangers(flow) {
            let [of_src, of_dst] = questions::of_flow(flow);
            FlowHosts { src: self.side(&of_src), dst: self.side(&of_dst) }
        } else if instances.iter().any(Option::is_some) {
            FlowHosts::default()
        } else {
            return None;
        };
        known(with_instances(hosts, instances))
    }

    /// Whether neither end can be of a host with a map, so that nothing more has to be asked:
    /// of most flows on a link, and of every one in a flood from strange addresses.
    fn is_among_strangers(&self, flow: &Outline) -> bool {
        let Some(map) = &self.map else { return true };
        let known_ns = questions::known_of_ns(flow);
        let ends = [(flow.src_ip(), flow.packets[0]), (flow.dst_ip(), flow.packets[1])];
        ends.iter().all(|&(address, sent)| map.is_stranger(address, sent > 0, known_ns))
    }

    /// Counts flows of which nothing else is told.
    pub(crate) fn count_others(&mut self, others: Amount) {
        let Amount { flows, packets, wire_bytes } = others;
        self.coverage.not_looked_up.add_all(flows, packets, wire_bytes);
    }

    /// Takes names from flows of one second that have no records, in the order which
    /// their records would have.
    pub(crate) fn learn(&mut self, mut flows: Vec<EndedFlow>) {
        flows.sort_by(|x, y| {
            let (x, y) = (&x.outline, &y.outline);
            (x.start_ns, &x.key).cmp(&(y.start_ns, &y.key))
        });
        for flow in &flows {
            self.destinations.learn(&flow.outline, flow.app.as_deref());
        }
    }

    /// What is known of both ends of a flow that another source reported. It does not
    /// count in the coverage, which is of packets.
    pub fn join_report(&mut self, flow: &FlowReport) -> Option<Box<FlowHosts>> {
        let sides = questions::of_report(flow).map(|ends| ends.map(|end| self.side(&end)));
        let [src, dst] = sides.unwrap_or_default();
        let hosts = FlowHosts { src, dst };
        known(with_instances(hosts, self.instances([flow.src, flow.dst])))
    }

    /// What was found so far.
    pub fn coverage(&self) -> Coverage {
        let map = self.map.as_ref().map(|map| map.counters()).unwrap_or_default();
        Coverage { map, ..self.coverage.clone() }
    }

    /// A second was closed before the watchers were up to date with it.
    pub(crate) fn count_late_second(&mut self) {
        self.coverage.late_seconds += 1;
    }

    /// Whether anybody may be found at an address in a second. Of a flood of strange
    /// addresses this is all that is done.
    pub(crate) fn may_seat(&self, address: IpAddr, second: i64) -> bool {
        let known_ns = questions::known_in_ns(second);
        self.map.as_ref().is_some_and(|map| map.may_know(address, known_ns))
    }

    /// Who was at this end of a flow in a second of it.
    pub(crate) fn seat(&mut self, view: &View<'_>, echo_id: u16) -> Seated {
        let is_strange = !self.may_seat(view.sent.src.ip(), view.second);
        let Some(map) = self.map.clone().filter(|_| !is_strange) else { return Seated::Stranger };
        let known_ns = questions::known_in_ns(view.second);
        let question = questions::of_second(view, echo_id);
        let answer = match map.resolve(&question) {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(Reason::Multicast | Reason::Broadcast) => return Seated::Stranger,
            Err(_) => return Seated::Unclaimed,
        };
        let mut process = self.view(&map, answer.process, question.end_ns, known_ns);
        let source = answer.process.source;
        let workload = self.workload(&map, source, &process.process, known_ns);
        let (host, boot) = self.host_of(&map, source);
        if let Some(at) = map.at_machine(&host, question.start_ns, known_ns) {
            process = self.attended(answer.process, process, at);
        }
        let (certainty, basis) = (certainty(&answer), Some(answer.basis));
        Seated::At(Seat { process, workload, host, boot, certainty, basis })
    }

    /// The process with who was at its machine.
    fn attended(
        &mut self,
        key: ProcessKey,
        view: Arc<ProcessView>,
        at: AtMachine,
    ) -> Arc<ProcessView> {
        if self.attended.len() >= MAX_VIEWS {
            self.attended.clear();
        }
        if let Some((of, known)) = self.attended.get(&key)
            && Arc::ptr_eq(of, &view)
            && known.at_machine.as_ref() == Some(&at)
        {
            return Arc::clone(known);
        }
        let with = ProcessView { at_machine: Some(at), ..ProcessView::clone(&view) };
        let with = Arc::new(with);
        self.attended.insert(key, (view, Arc::clone(&with)));
        with
    }

    /// Name and boot of the host that a source of the map is about.
    pub(super) fn host_of(&mut self, map: &HostMap, source: u16) -> (Arc<str>, Arc<str>) {
        let known = self.hosts.entry(source).or_insert_with(|| {
            let start = map.start_of(source);
            (start.host.into(), start.boot.into())
        });
        known.clone()
    }

    /// The instance of an address, by the inventory.
    pub(crate) fn instance_of(&self, address: IpAddr) -> Option<Arc<Instance>> {
        self.inventory.as_ref()?.get().by_address(address)
    }

    fn side(&mut self, question: &Question) -> Option<HostSide> {
        let map = self.map.clone()?;
        let answer = match map.resolve(question) {
            Ok(answer) => answer?,
            Err(reason) => {
                let host = match reason {
                    // Another's packets, or everybody's.
                    Reason::Forwarded | Reason::Multicast | Reason::Broadcast => Arc::default(),
                    _ => self.host_without_socket(&map, question),
                };
                let attribution = Attribution { reason: Some(reason), ..Attribution::default() };
                let attribution = Some(attribution);
                return Some(HostSide { host, attribution, ..HostSide::default() });
            }
        };
        let known_ns = question.known_ns;
        let ran = map.program_of(&answer, question);
        let process = self.view_of(&map, answer.process, ran, known_ns);
        let workload = self.workload(&map, answer.process.source, &process.process, known_ns);
        let attribution = Some(attribution(&answer));
        let host = self.host_of(&map, answer.process.source).0;
        Some(HostSide { process: Some(process), workload, instance: None, host, attribution })
    }

    fn instances_of(&mut self, flow: &Outline) -> [Option<Arc<Instance>>; 2] {
        let ends = [flow.src_ip(), flow.dst_ip()];
        let Some(vni) = flow.key.vni.checked_sub(1) else { return self.instances(ends) };
        let mut instances = self.instances(ends);
        if instances.iter().all(Option::is_none)
            && let Some(mirrored) = self.session(vni)
        {
            let at_home = ends.map(|address| self.home_nets.contains_ip(address));
            let at = match at_home {
                [true, false] => Some(0),
                [false, true] => Some(1),
                [true, true] => None,
                [false, false] => {
                    let own = match self.sessions.interface(vni, ends, flow.end_ns) {
                        Interface::Unknown => None,
                        Interface::Found(own) => {
                            self.interfaces.push(own);
                            Some(own)
                        }
                        Interface::Known(own) => Some(own),
                        Interface::Not(own) => {
                            self.mirrored.take_back(own, &mirrored);
                            None
                        }
                    };
                    own.and_then(|own| ends.iter().position(|end| *end == own))
                }
            };
            if let Some(at) = at {
                instances[at] = Some(mirrored);
            }
        }
        for (address, instance) in ends.into_iter().zip(&instances) {
            if let Some(instance) = instance {
                // What looks at addresses alone, an alert, does not know the session.
                self.mirrored.note(address, instance, flow.end_ns);
            }
        }
        instances
    }

    /// By the ends' addresses.
    fn instances(&self, ends: [IpAddr; 2]) -> [Option<Arc<Instance>>; 2] {
        let Some(inventory) = &self.inventory else { return [None, None] };
        let inventory = inventory.get();
        ends.map(|address| inventory.by_address(address))
    }

    /// Whose interface a mirror session copies. Where neither end is in the inventory it is
    /// the end at home, or else the one that all flows of the session have.
    fn session(&self, vni: u32) -> Option<Arc<Instance>> {
        self.inventory.as_ref()?.get().by_interface(&format!("vni:{vni}"))
    }

    /// Addresses of interfaces that became known since the last call.
    pub(crate) fn take_interfaces(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.interfaces)
    }

    /// Adds to an alert what is known of its entity's and its peers' addresses.
    pub fn explain(&self, alert: &mut Alert) {
        let at_ns = alert.end_ns;
        if let Ok(address) = alert.entity.id.parse() {
            alert.known = self.known(address, at_ns);
        }
        for peer in &mut alert.peers {
            peer.known = self.known(peer.address, at_ns);
        }
    }

    fn known(&self, address: IpAddr, at_ns: i64) -> Known {
        let inventory = self.inventory.as_ref().map(|inventory| inventory.get());
        Known {
            instance: inventory
                .and_then(|inventory| inventory.by_address(address))
                .or_else(|| self.mirrored.at(address, at_ns)),
            context: Some(Box::new(self.destinations.about(address, at_ns))),
        }
    }

    /// The program that the process ran at the time.
    pub(super) fn view(
        &mut self,
        map: &HostMap,
        key: ProcessKey,
        at_ns: i64,
        known_ns: i64,
    ) -> Arc<ProcessView> {
        self.view_of(map, key, map.process_at(key, at_ns, known_ns), known_ns)
    }

    pub(super) fn view_of(
        &mut self,
        map: &HostMap,
        key: ProcessKey,
        ran: Option<Ran>,
        known_ns: i64,
    ) -> Arc<ProcessView> {
        let Some(ran) = ran else {
            let process = Process { id: key.id, ..Process::default() };
            return Arc::new(ProcessView { process, ..ProcessView::default() });
        };
        if self.views.len() >= MAX_VIEWS {
            self.views.clear();
        }
        let view = self.views.entry((key, ran.from_ns, ran.learned_ns)).or_insert_with(|| {
            let ancestors = ancestors(map, key.source, &ran.process, ran.from_ns, known_ns);
            let process = Process::clone(&ran.process);
            Arc::new(ProcessView { process, ancestors, ..ProcessView::default() })
        });
        Arc::clone(view)
    }

    pub(super) fn workload(
        &mut self,
        map: &HostMap,
        source: u16,
        process: &Process,
        known_ns: i64,
    ) -> Option<Arc<Workload>> {
        if process.container.is_empty() {
            return None;
        }
        let key = (source, process.container.clone());
        let known = map.workloads.get(&key);
        if let Some(known) = known.as_ref().and_then(|known| known.at(i64::MAX, known_ns)) {
            return Some(Arc::clone(&known.value));
        }
        if self.bare_workloads.len() >= MAX_VIEWS {
            self.bare_workloads.clear();
        }
        // A container of which nothing but its id is known is one all the same.
        let bare = self.bare_workloads.entry(key.1).or_insert_with_key(|container| {
            Arc::new(Workload { container: container.clone(), ..Workload::default() })
        });
        Some(Arc::clone(bare))
    }
}

/// One of several with the same claim, or with the same address, is right as often as any
/// other of them; who is behind a translation that may have ended as often as it has not.
fn certainty(answer: &Answer) -> f64 {
    let others = 1 + answer.others.len() + answer.elsewhere;
    answer.basis.certainty() / others as f64
}

fn attribution(answer: &Answer) -> Attribution {
    Attribution {
        method: Some(answer.method),
        basis: Some(answer.basis),
        certainty: certainty(answer),
        others: answer.others.iter().map(|key| key.id.pid).collect(),
        translated: answer.translated,
        provoked: false,
        reason: None,
    }
}

/// Who was found at an end, or why nobody was.
fn found(side: &HostSide) -> Option<Result<Found, Reason>> {
    let attribution = side.attribution.as_ref()?;
    let Some(method) = attribution.method else { return attribution.reason.map(Err) };
    let Attribution { certainty, .. } = *attribution;
    Some(Ok(Found { method, certainty, in_workload: side.workload.is_some() }))
}

fn with_instances(mut hosts: FlowHosts, instances: [Option<Arc<Instance>>; 2]) -> FlowHosts {
    for (instance, side) in instances.into_iter().zip([&mut hosts.src, &mut hosts.dst]) {
        if instance.is_some() {
            side.get_or_insert_default().instance = instance;
        }
    }
    hosts
}

fn known(hosts: FlowHosts) -> Option<Box<FlowHosts>> {
    (hosts.src.is_some() || hosts.dst.is_some()).then(|| Box::new(hosts))
}

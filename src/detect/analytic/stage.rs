//! What the stages of a chain are made of: signs, and where they were seen.
//!
//! A [`Sign`] is one thing that an attacker would do and others may do as well: an
//! exploit-like request, a shell below a web server, an address never reached before.
//! [`super::chain`] joins them; a sign alone is no attack.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashSet;

use crate::alert::{Entity, EntityKind};
use crate::engine::window::Host;
use crate::entity::Who;
use crate::host::execs::Served;
use crate::host::inventory::Instance;
use crate::host::process::ProcessId;
use crate::host::side::{HostSide, ProcessView};
use crate::host::workload::Workload;

/// Stages in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Exploit-like input, or a burst of errors.
    Request,
    /// A shell below a service, or the metadata service asked.
    Foothold,
    /// A new destination outside.
    Egress,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sign {
    pub stage: Stage,
    pub time_ns: i64,
    /// 0 to 1: how seldom it happens where nothing is wrong. From a third on it counts
    /// as a stage.
    pub strength: f64,
    /// As the timeline names it: `exploit_request`.
    pub what: &'static str,
    pub text: String,
    /// Who said so.
    pub source: Arc<str>,
    pub place: Place,
    /// Who was at the other end.
    pub peer: Option<IpAddr>,
    /// The time is when it was over, which may be so much later than its begin.
    pub may_be_earlier_ns: i64,
    /// It counts only behind a request that the target answered.
    pub only_after_request: bool,
    /// Learned over days, and not only in this run.
    pub by_baseline: bool,
    /// Gaps that stand in the alert.
    pub missing: Vec<&'static str>,
}

impl Sign {
    pub(super) fn new(stage: Stage, what: &'static str, time_ns: i64, place: Place) -> Self {
        Self {
            stage,
            time_ns,
            strength: 1.0,
            what,
            text: String::new(),
            source: "packets".into(),
            place,
            peer: None,
            may_be_earlier_ns: 0,
            only_after_request: false,
            by_baseline: false,
            missing: Vec::new(),
        }
    }

    pub(super) fn counts(&self) -> bool {
        self.strength * 3.0 >= 1.0
    }
}

/// Whose it is, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub workload: Option<Arc<Workload>>,
    /// Name of the host.
    pub host: Option<Arc<str>>,
    pub instance: Option<Arc<Instance>>,
    pub address: Option<IpAddr>,
    pub process: Option<Arc<ProcessView>>,
    /// The service below which the process runs.
    pub service: Option<ProcessId>,
}

impl Place {
    pub(super) fn of_flow(side: Option<&HostSide>, address: IpAddr) -> Self {
        let mut place = Self { address: Some(address), ..Self::default() };
        if let Some(side) = side {
            place.workload.clone_from(&side.workload);
            place.instance.clone_from(&side.instance);
            place.process.clone_from(&side.process);
            place.host = (!side.host.is_empty()).then(|| Arc::clone(&side.host));
            // What leaves by a gateway is seldom the gateway's own.
            let is_gateway = side.instance.as_ref().is_some_and(|instance| instance.shared_egress);
            if is_gateway && side.process.is_none() {
                place.host = None;
            }
        }
        place
    }

    pub(super) fn of_target(served: &Served, address: Option<IpAddr>) -> Self {
        Self {
            workload: served.workload.clone(),
            host: served.host.clone(),
            instance: served.instance.clone(),
            address: address.filter(|address| !address.is_loopback()),
            process: served.process.clone(),
            service: None,
        }
    }

    /// Whether two signs can be of one workload: by the narrowest that is known of both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        if let (Some(one), Some(other)) = (&self.workload, &other.workload) {
            return (&one.runtime, &one.container) == (&other.runtime, &other.container);
        }
        if let (Some(one), Some(other)) = (&self.host, &other.host) {
            return one == other;
        }
        if let (Some(one), Some(its)) = (&self.instance, &other.instance) {
            // A network's addresses are of many.
            let is_listed = !self.is_by_network() && !other.is_by_network();
            return one.id == its.id && (is_listed || self.address == other.address);
        }
        self.address.is_some() && self.address == other.address
    }

    /// Whether the inventory has its address only as one of a network.
    fn is_by_network(&self) -> bool {
        let (Some(instance), Some(address)) = (&self.instance, self.address) else { return false };
        !instance.addresses.contains(&address)
            && instance.networks.iter().any(|network| network.contains(&address))
    }

    /// The workload, else the host, the instance, the address that it is about.
    pub(super) fn who(&self) -> Option<Who> {
        if let Some(workload) = &self.workload {
            return Some(Who::workload(workload));
        }
        if let Some(host) = &self.host {
            let mut who = Who::address(&Host::default());
            who.entity = Entity::new(EntityKind::Host, host.to_string());
            who.baseline = format!("host:{host}").into();
            who.instance.clone_from(&self.instance);
            return Some(who);
        }
        if let Some(instance) = &self.instance {
            return Some(Who::instance(instance));
        }
        self.address.map(|address| Who::address(&Host::from(address)))
    }

    /// Keys of baselines that say what is normal here, the narrowest first.
    pub(super) fn baselines(&self) -> Vec<Arc<str>> {
        let workload = self.workload.as_ref().map(|workload| Who::workload(workload).baseline);
        // Of a container the address may be its host's, where others' traffic is normal.
        match workload {
            Some(workload) => vec![workload],
            None => self.seen_as(),
        }
    }

    /// Keys of baselines that its traffic counts for on the network: those of its instance
    /// and its address.
    pub(super) fn seen_as(&self) -> Vec<Arc<str>> {
        let instance = self.instance.as_ref().map(|instance| Who::instance(instance).baseline);
        let address = self.address.map(|address| Who::address(&Host::from(address)).baseline);
        instance.into_iter().chain(address).collect()
    }

    /// Key of the process's own baseline.
    pub(super) fn process_baseline(&self) -> Option<Arc<str>> {
        let view = self.process.as_ref()?;
        let host = self.host.as_deref().unwrap_or_default();
        Some(Who::process(host, "", view, self.workload.as_ref(), 1.0).baseline)
    }

    /// Whether what this one did can have come from what that one did before: by
    /// descent, service or unit where both processes are known.
    pub(super) fn can_follow(&self, before: &Self) -> bool {
        if self.workload.is_some() && before.workload.is_some() {
            return true;
        }
        let (Some(view), Some(earlier)) = (&self.process, &before.process) else { return true };
        let line = |view: &ProcessView| -> Vec<ProcessId> {
            let above = view.ancestors.iter().map(|ancestor| ancestor.id);
            // Everything descends from the first process.
            [view.process.id].into_iter().chain(above).filter(|id| id.pid != 1).collect()
        };
        let unit = &view.process.unit;
        line(view).contains(&earlier.process.id)
            || (self.service.is_some() && self.service == before.service)
            || (!unit.is_empty() && unit.ends_with(".service") && *unit == earlier.process.unit)
    }
}

/// What places have that another must share with one of them to meet it.
#[derive(Debug, Default)]
pub(super) struct Neighbours<'a> {
    workloads: HashSet<&'a str>,
    hosts: HashSet<&'a str>,
    instances: HashSet<&'a str>,
    addresses: HashSet<IpAddr>,
}

impl<'a> Neighbours<'a> {
    pub(super) fn of(places: impl Iterator<Item = &'a Place>) -> Self {
        let mut near = Self::default();
        for place in places {
            near.workloads
                .extend(place.workload.iter().map(|workload| workload.container.as_str()));
            near.hosts.extend(place.host.as_deref());
            near.instances.extend(place.instance.iter().map(|instance| instance.id.as_str()));
            near.addresses.extend(place.address);
        }
        near
    }

    /// False where [`Place::meets`] is for each of them.
    pub(super) fn may_meet(&self, place: &Place) -> bool {
        let workload = place.workload.as_ref().map(|workload| workload.container.as_str());
        let instance = place.instance.as_ref().map(|instance| instance.id.as_str());
        workload.is_some_and(|container| self.workloads.contains(container))
            || place.host.as_deref().is_some_and(|host| self.hosts.contains(host))
            || instance.is_some_and(|id| self.instances.contains(id))
            || place.address.is_some_and(|address| self.addresses.contains(&address))
    }
}

/// A process in words.
pub(super) fn named(view: &ProcessView) -> String {
    let process = &view.process;
    let name = match process.name.as_str() {
        "" => super::programs::base(&process.exe),
        name => name,
    };
    format!("{name} ({})", process.id.pid)
}

/// The beginning of a text, on a border of letters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((at, _)) => text.get(..at).unwrap_or_default(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = Place> {
        let maybe = || proptest::option::of(0..3_u8);
        (maybe(), maybe(), maybe(), maybe()).prop_map(|(workload, host, instance, address)| Place {
            workload: workload
                .map(|n| Arc::new(Workload { container: format!("c{n}"), ..Workload::default() })),
            host: host.map(|n| format!("h{n}").into()),
            instance: instance
                .map(|n| Arc::new(Instance { id: format!("i{n}"), ..Instance::default() })),
            address: address.map(|n| IpAddr::from([10, 0, 0, n])),
            ..Place::default()
        })
    }

    proptest! {
        #[test]
        fn places_that_meet_are_neighbours(
            places in proptest::collection::vec(place(), 0..4), other in place(),
        ) {
            let near = Neighbours::of(places.iter());
            let meets = places.iter().any(|place| place.meets(&other));
            prop_assert!(!meets || near.may_meet(&other));
        }
    }
}

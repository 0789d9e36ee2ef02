//! What of a scenario goes into a background: its attacks, and who takes part in them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};

use crate::lab::scenario::world::{Seat, World};
use crate::lab::scenario::{Behaviour, Kind, Scenario};

/// A host, or a container with an address of its own, that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) outside: bool,
    /// What it serves in the attack; empty for who only asks.
    pub(super) ports: BTreeSet<u16>,
}

/// Leaves the attacks of a scenario, what is expected of them, and the hosts that they
/// need. Attacks are behaviours that are, and those that an expectation names.
pub(super) fn only_attacks(scenario: &mut Scenario) -> Result<()> {
    let named: BTreeSet<String> =
        scenario.expects.iter().flat_map(|it| it.attack.as_slice().to_vec()).collect();
    scenario.behaviours.retain(|it| it.is_attack() || named.contains(&it.label));
    if scenario.behaviours.is_empty() {
        bail!("there is no attack in it");
    }
    for behaviour in &mut scenario.behaviours {
        behaviour.attack = Some(true);
    }
    // Look-alikes are not played.
    scenario.quiets.clear();
    let mut hosts = BTreeSet::new();
    let names = scenario.behaviours.iter().flat_map(Behaviour::names);
    let names: BTreeSet<String> = names.cloned().collect();
    for name in &names {
        hosts.insert(host_of(scenario, name)?);
    }
    scenario.hosts.retain(|host| {
        // A group, and one of it alone.
        hosts.contains(&host.name)
            || host.count.is_some() && hosts.iter().any(|name| is_member(name, &host.name))
    });
    let kept = |host: &str| hosts.contains(host);
    scenario.containers.retain(|container| kept(&container.host));
    let containers: BTreeSet<&str> =
        scenario.containers.iter().map(|container| container.name.as_str()).collect();
    scenario.processes.retain(|process| match &process.container {
        Some(container) => containers.contains(container.as_str()),
        None => kept(&process.host),
    });
    Ok(())
}

fn is_member(name: &str, group: &str) -> bool {
    let number = name.strip_prefix(group);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

/// The host or group that something is on.
fn host_of(scenario: &Scenario, name: &str) -> Result<String> {
    let mut name = name.to_owned();
    // `PROCESS@HOST` is one of a group's.
    if let Some((_, host)) = name.rsplit_once('@') {
        name = host.to_owned();
    }
    // A process in a container on a host.
    for _ in 0..2 {
        if let Some(process) = scenario.processes.iter().find(|process| process.name == name) {
            name = process.container.as_ref().unwrap_or(&process.host).clone();
        } else if let Some(container) = scenario.containers.iter().find(|it| it.name == name) {
            name = container.host.clone();
        }
    }
    let is_there = |host: &crate::lab::scenario::Host| {
        host.name == name || host.count.is_some() && is_member(&name, &host.name)
    };
    match scenario.hosts.iter().any(is_there) {
        true => Ok(name),
        false => Err(anyhow!("there is no host or process {name}")),
    }
}

/// Everyone who needs an address in the background, once each, in the scenario's order.
pub(super) fn members(scenario: &Scenario, world: &World) -> Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    let mut note = |seat: &Seat, port: Option<u16>| {
        let Some(host) = world.hosts.get(seat.host) else { return };
        let container = seat.container.and_then(|at| world.containers.get(at));
        let own = container.filter(|it| !it.workload.host_network);
        let name = own.map_or(&host.name, |container| &container.workload.name);
        let at = members.iter().position(|member| member.name == *name).unwrap_or_else(|| {
            members.push(Member {
                name: name.clone(),
                address: seat.address,
                outside: host.outside,
                ports: BTreeSet::new(),
            });
            members.len() - 1
        });
        if let Some(member) = members.get_mut(at) {
            member.ports.extend(port);
        }
    };
    for behaviour in &scenario.behaviours {
        for seat in world.seats(&behaviour.from)? {
            note(seat, None);
        }
        for seat in behaviour.to.iter().flat_map(|name| world.seats(name)).flatten() {
            note(seat, served(behaviour));
        }
        let asked = matches!(behaviour.kind, Kind::Web | Kind::Dns).then_some(53);
        for seat in behaviour.via.iter().flat_map(|name| world.seats(name)).flatten() {
            note(seat, asked);
        }
        let far = behaviour.tunnel.iter().map(|tunnel| &tunnel.to);
        for seat in far.flat_map(|name| world.seats(name)).flatten() {
            note(seat, None);
        }
    }
    Ok(members)
}

/// The port at which a behaviour's target listens, where it says what the target is.
fn served(behaviour: &Behaviour) -> Option<u16> {
    let usual = match behaviour.kind {
        Kind::Dns | Kind::DnsTunnel => 53,
        Kind::Requests | Kind::Exploit | Kind::Updates => 80,
        Kind::ConnectionFlood | Kind::HeldOpen => 80,
        Kind::Web | Kind::Tls | Kind::Backup | Kind::Upload | Kind::Chat => 443,
        Kind::Beacon | Kind::SizeShift | Kind::Relay => 443,
        Kind::Mail => 993,
        Kind::Monitoring => 9_100,
        Kind::Replication => 5_432,
        Kind::Ntp => 123,
        _ => return behaviour.port,
    };
    Some(behaviour.port.unwrap_or(usual))
}

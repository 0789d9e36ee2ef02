//! Which host of the background stands for which of an attack's.
//!
//! The same background and attack give the same places: hosts are taken by role first,
//! then by how busy they are, then by address. Start at [`places`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Result, anyhow};

use super::attack::Member;
use super::learn::{Background, DOCUMENTED, Seen, Tags};
use crate::lab::WrongArguments;

/// Where no packet says how the router's frames look: a MAC of the lab's own.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A member of an attack in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) was: IpAddr,
    pub(super) address: IpAddr,
    pub(super) mac: [u8; 6],
    /// Nothing for who is outside: frames have those of the other end.
    pub(super) tags: Option<Tags>,
    /// It sends in the background.
    pub(super) exists: bool,
}

/// What `--map` says: the place of each host by name, asked for once at least.
#[derive(Debug, Default)]
pub(super) struct Told {
    by_name: BTreeMap<String, IpAddr>,
    used: BTreeSet<String>,
}

impl Told {
    pub(super) fn new(pairs: &[(String, IpAddr)]) -> Self {
        Self { by_name: pairs.iter().cloned().collect(), used: BTreeSet::new() }
    }

    fn take(&mut self, name: &str) -> Option<IpAddr> {
        let address = self.by_name.get(name).copied()?;
        self.used.insert(name.to_owned());
        Some(address)
    }

    /// A name that no attack has.
    pub(super) fn unused(&self) -> Option<&str> {
        self.by_name.keys().find(|name| !self.used.contains(*name)).map(String::as_str)
    }
}

/// A place for every member. `busy` are hosts that other attacks have already: taken only
/// where there are no more.
pub(super) fn places(
    members: &[Member],
    background: &Background,
    told: &mut Told,
    busy: &mut HashSet<IpAddr>,
) -> Result<Vec<Place>> {
    let mut taken: HashSet<IpAddr> = HashSet::new();
    let mut found: Vec<Option<Place>> = vec![None; members.len()];
    // What was told, then roles that somebody has, then the others.
    for (slot, member) in found.iter_mut().zip(members) {
        if let Some(address) = told.take(&member.name) {
            if address.is_ipv4() != member.address.is_ipv4() {
                let why = format!(
                    "--map {}={address}: it is of the other IP version than {} of the scenario",
                    member.name, member.address
                );
                return Err(WrongArguments(why).into());
            }
            if !taken.insert(address) {
                let why = format!("--map {}={address}: another host has that address", member.name);
                return Err(WrongArguments(why).into());
            }
            *slot = Some(placed(member, address, background));
        }
    }
    for by_role in [true, false] {
        for (slot, member) in found.iter_mut().zip(members) {
            if slot.is_some() {
                continue;
            }
            let address = match (member.outside, by_role) {
                (true, true) => continue,
                (true, false) => outside(member, members, background, &taken)?,
                (false, true) => match by_port(member, background, &taken, busy) {
                    Some(address) => address,
                    None => continue,
                },
                (false, false) => busiest(member, background, &taken, busy)
                    .ok_or_else(|| too_few(members, member, background))?,
            };
            taken.insert(address);
            *slot = Some(placed(member, address, background));
        }
    }
    busy.extend(taken.iter().copied().filter(|address| background.ours.contains_key(address)));
    Ok(found.into_iter().flatten().collect())
}

fn too_few(members: &[Member], member: &Member, background: &Background) -> anyhow::Error {
    let alike = |address: &IpAddr| address.is_ipv4() == member.address.is_ipv4();
    let there = background.ours.keys().filter(|address| alike(address)).count();
    let asked = members.iter().filter(|it| !it.outside && alike(&it.address)).count();
    let version = if member.address.is_ipv4() { 4 } else { 6 };
    anyhow!(
        "the background has {there} hosts of IPv{version} inside the home networks, the attack \
         needs {asked}: no place for {name}; name one with --map {name}=ADDRESS, or the home \
         networks with --home-net",
        name = member.name
    )
}

fn placed(member: &Member, address: IpAddr, background: &Background) -> Place {
    let seen = background.ours.get(&address).or_else(|| background.others.get(&address));
    let mac = seen.and_then(|seen| seen.mac.get());
    let ours = !member.outside || background.ours.contains_key(&address);
    Place {
        name: member.name.clone(),
        was: member.address,
        address,
        mac: mac.or_else(|| background.router.get()).unwrap_or(ROUTER_MAC),
        tags: ours.then(|| seen.and_then(|seen| seen.tags.get()).unwrap_or_default()),
        exists: seen.is_some(),
    }
}

/// Unused before used, then the most of a figure, then the least address.
fn best<'a>(
    hosts: impl Iterator<Item = (&'a IpAddr, u64)>,
    member: &Member,
    taken: &HashSet<IpAddr>,
    busy: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    hosts
        .filter(|(address, figure)| {
            *figure > 0
                && address.is_ipv4() == member.address.is_ipv4()
                && !taken.contains(*address)
        })
        .max_by_key(|(address, figure)| (!busy.contains(*address), *figure, Reverse(**address)))
        .map(|(address, _)| *address)
}

fn busiest(
    member: &Member,
    background: &Background,
    taken: &HashSet<IpAddr>,
    busy: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    let hosts = background.ours.iter().map(|(address, seen)| (address, seen.packets));
    best(hosts, member, taken, busy)
}

/// One that answers at the ports that the member serves; a resolver may be outside.
fn by_port(
    member: &Member,
    background: &Background,
    taken: &HashSet<IpAddr>,
    busy: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    let mut ports: Vec<u16> = member.ports.iter().copied().collect();
    if ports.iter().any(|port| matches!(port, 80 | 443)) {
        ports.extend([80, 443]);
    }
    let answers = |(address, seen): (&'_ IpAddr, &Seen)| (*address, seen.answers_on(&ports));
    let ours: Vec<_> = background.ours.iter().map(answers).collect();
    let found = best(ours.iter().map(|(address, count)| (address, *count)), member, taken, busy);
    if found.is_some() || !ports.contains(&53) {
        return found;
    }
    let others: Vec<_> = background.others.iter().map(answers).collect();
    best(others.iter().map(|(address, count)| (address, *count)), member, taken, busy)
}

/// It keeps its address unless the background or another has it; then one that is for
/// documents and in no use. What is link-local (a metadata service) is it by its address.
fn outside(
    member: &Member,
    members: &[Member],
    background: &Background,
    taken: &HashSet<IpAddr>,
) -> Result<IpAddr> {
    let free = |address: &IpAddr| !background.taken.contains(address) && !taken.contains(address);
    let is_link_local = match member.address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if is_link_local || free(&member.address) {
        return Ok(member.address);
    }
    let unwanted = |address: &IpAddr| members.iter().all(|member| member.address != *address);
    let free = |address: &IpAddr| free(address) && unwanted(address);
    let found = match member.address {
        IpAddr::V4(_) => DOCUMENTED
            .iter()
            .flat_map(|&[a, b, c]| (1..=254).map(move |d| IpAddr::from([a, b, c, d])))
            .find(free),
        IpAddr::V6(_) => (1..=u16::MAX)
            .map(|last| IpAddr::from(Ipv6Addr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, last])))
            .find(free),
    };
    found.ok_or_else(|| {
        let Member { name, address, .. } = member;
        anyhow!(
            "{address} of {name} is in the background, and so is every other address that is \
             for documents: name a free one with --map {name}=ADDRESS"
        )
    })
}

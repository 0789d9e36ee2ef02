//! `flowtap lab mix`: a scenario's attacks in a capture of somebody's own.
//!
//! ```text
//! background ──▶ learn ──▶ place ──▶ scenario's world ──▶ play ──┐
//!   (1st read)   hosts     who is    with those                  ▼ by time
//! background ────────────────────────────────────────────────▶ merge ──▶ traffic, truth
//!   (2nd read, copied byte for byte)
//! ```
//!
//! Attacks are made anew with the addresses of the background's hosts, so checksums, names
//! and lengths are right; no packet is rewritten. What the background has, stays: each
//! record with its bytes, in its order. The truth names the hosts of the background.
//! Behaviours that are no attacks are left out: the background has its own. Nothing here
//! knows a detector. Start at [`mix`].

mod attack;
mod learn;
mod merge;
mod place;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, BufWriter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::alert::time_text;
use crate::detect::HomeNets;
use crate::input::raw::RawCapture;
use crate::lab::WrongArguments;
use crate::lab::scenario::make::{LogPaths, Logs, write_truth};
use crate::lab::scenario::play::{Notes, Played, Player, Stage};
use crate::lab::scenario::truth::Truth;
use crate::lab::scenario::world::World;
use crate::lab::scenario::{OneOrMore, Scenario};
use crate::output::access::Access;
use learn::{Background, learn};
use merge::Merge;
use place::{Place, Told, places};

/// Written at once.
const WRITE_BYTES: usize = 1 << 18;

/// An attack to be put in.
#[derive(Clone, Debug)]
pub struct Attack {
    pub name: String,
    pub scenario: Scenario,
    pub seed: u64,
    /// Where its first packet is to be; in the middle of the background, where it is not
    /// told.
    pub at: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Since the background's first packet.
    Offset(i64),
    Time(i64),
}

#[derive(Clone, Debug, Default)]
pub struct MixOptions {
    /// Which address a host of a scenario is to have.
    pub map: Vec<(String, IpAddr)>,
    /// Our side of the background.
    pub home: HomeNets,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Mixed {
    pub capture: PathBuf,
    pub maps: Vec<PathBuf>,
    pub logs: Vec<PathBuf>,
    pub truth: Truth,
    pub attack_packets: u64,
    pub background_packets: u64,
    pub attacks: Vec<Placed>,
    /// What whoever asked for it ought to know.
    pub warnings: Vec<String>,
}

/// An attack in the background.
#[derive(Clone, Debug, Serialize)]
pub struct Placed {
    pub name: String,
    pub start: String,
    pub end: String,
    pub packets: u64,
    pub hosts: Vec<PlacedHost>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedHost {
    pub host: String,
    pub was: IpAddr,
    pub address: IpAddr,
    pub mac: String,
    /// It sends in the background too.
    pub in_background: bool,
}

/// An attack whose hosts have their places.
struct Ready {
    name: String,
    scenario: Scenario,
    world: World,
    seed: u64,
    places: Vec<Place>,
    start_ns: i64,
    end_ns: i64,
}

/// Writes the background with attacks in it, `truth.json`, and the attacks' host maps and
/// logs into a folder.
pub fn mix(
    background_path: &Path,
    attacks: Vec<Attack>,
    dir: &Path,
    options: &MixOptions,
) -> Result<Mixed> {
    if background_path == Path::new("-") {
        let why = "standard input can't be read twice: name a file";
        return Err(WrongArguments(why.to_owned()).into());
    }
    let mut prepared = Vec::new();
    let mut wanted = HashSet::new();
    for mut attack in attacks {
        let context = || format!("scenario {}", attack.name);
        attack::only_attacks(&mut attack.scenario).with_context(context)?;
        let world = World::new(&attack.scenario, attack.seed).with_context(context)?;
        let members = attack::members(&attack.scenario, &world).with_context(context)?;
        wanted.extend(members.iter().filter(|it| it.outside).map(|member| member.address));
        prepared.push((attack, members));
    }
    let background = learn(background_path, &options.home, &wanted)?;
    let mut told = Told::new(&options.map);
    let mut busy = HashSet::new();
    let mut warnings = background.warnings.clone();
    let mut all = Vec::new();
    for (attack, members) in prepared {
        let context = || format!("scenario {}", attack.name);
        let found = places(&members, &background, &mut told, &mut busy).with_context(context)?;
        all.push(ready(attack, found, &background, &mut warnings)?);
    }
    if let Some(name) = told.unused() {
        let known: BTreeSet<&str> =
            all.iter().flat_map(|it| &it.places).map(|place| place.name.as_str()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let known = shortened(&known);
        let why = format!("--map {name}=...: no attack has that host; they have {known}");
        return Err(WrongArguments(why).into());
    }
    write(background_path, dir, &background, all, warnings)
}

fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

/// Gives an attack its time and its hosts' places.
fn ready(
    attack: Attack,
    found: Vec<Place>,
    background: &Background,
    warnings: &mut Vec<String>,
) -> Result<Ready> {
    let Attack { name, mut scenario, seed, at } = attack;
    let ns = |seconds: f64| (seconds * 1e9) as i64;
    let first_s = scenario.behaviours.iter().map(|it| it.start_s).fold(f64::INFINITY, f64::min);
    let ends = scenario.behaviours.iter().map(|behaviour| {
        let to_end_s = scenario.duration_s - behaviour.start_s;
        behaviour.start_s + behaviour.duration_s.unwrap_or(to_end_s).min(to_end_s)
    });
    let length_ns = ns(ends.fold(0.0, f64::max) - first_s).max(0);
    let Background { first_ns, latest_ns, .. } = *background;
    let start_ns = match at {
        Some(At::Offset(offset_ns)) => first_ns.saturating_add(offset_ns),
        Some(At::Time(time_ns)) => time_ns,
        None => first_ns + (latest_ns - first_ns - length_ns).max(0) / 2,
    };
    if !(first_ns..latest_ns.max(first_ns + 1)).contains(&start_ns) {
        bail!(
            "scenario {name}: it would begin at {}, the background goes from {} to {}",
            time_text(start_ns),
            time_text(first_ns),
            time_text(latest_ns)
        );
    }
    if start_ns.saturating_add(length_ns) > latest_ns {
        warnings.push(format!(
            "{name}: of {} s of attack the background has room for {} s; the rest is left out",
            length_ns / 1_000_000_000,
            (latest_ns - start_ns) as f64 / 1e9
        ));
    }
    scenario.start = time_text(start_ns.saturating_sub(ns(first_s)));
    let mut world = World::new(&scenario, seed).with_context(|| format!("scenario {name}"))?;
    // Nothing is later than the background, so that each packet has one to stand before.
    world.end_ns = world.end_ns.min(latest_ns);
    let mut by_name: BTreeMap<String, (IpAddr, [u8; 6])> =
        found.iter().map(|place| (place.name.clone(), (place.address, place.mac))).collect();
    for host in &world.hosts {
        if !by_name.contains_key(&host.name) {
            // It sends nothing; its map must not claim what others send.
            by_name.insert(host.name.clone(), (unused(host.address, background), [0; 6]));
        }
    }
    world.place(&by_name);
    let end_ns = start_ns.saturating_add(length_ns).min(world.end_ns);
    Ok(Ready { name, scenario, world, seed, places: found, start_ns, end_ns })
}

/// The address, or the next one that the background does not have.
fn unused(mut address: IpAddr, background: &Background) -> IpAddr {
    while background.ours.contains_key(&address) || background.others.contains_key(&address) {
        address = match address {
            IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(1)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(1)).into(),
        };
    }
    address
}

fn write(
    background_path: &Path,
    dir: &Path,
    background: &Background,
    all: Vec<Ready>,
    warnings: Vec<String>,
) -> Result<Mixed> {
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let is_pcapng = RawCapture::open(background_path)?.is_pcapng();
    let name = if is_pcapng { "traffic.pcapng" } else { "traffic.pcap" };
    let same = fs::canonicalize(dir.join(name)).ok();
    if same.is_some() && same == fs::canonicalize(background_path).ok() {
        bail!(
            "{} is the background itself: name another folder with -o",
            background_path.display()
        );
    }
    let capture = dir.join(name);
    // Most of them are real packets.
    let file = Access::Owner.create(&capture);
    let file = file.with_context(|| format!("can't create {}", capture.display()))?;
    let mut tags = HashMap::new();
    for place in all.iter().flat_map(|it| &it.places) {
        if let Some(found) = place.tags.filter(|found| !found.bytes().is_empty()) {
            tags.insert(place.address, found);
        }
    }
    let out = BufWriter::with_capacity(WRITE_BYTES, file);
    let mut merge = Merge::open(background_path, out, tags)?;
    let mut players = Vec::new();
    let (mut maps, mut all_logs) = (Vec::new(), Vec::new());
    for attack in &all {
        let infix = match all.as_slice() {
            [_] => String::new(),
            _ => format!("-{}", attack.name),
        };
        let (logs, paths) = Logs::create(dir, &attack.world, &infix, &[])?;
        let LogPaths { maps: of_hosts, access_log, vpc_log, counters, .. } = paths;
        maps.extend(of_hosts);
        all_logs.extend([access_log, vpc_log, counters].into_iter().flatten());
        let player = Player::new(&attack.scenario, &attack.world, attack.seed, 1.0)?;
        players.push((player, logs));
    }
    let wrong = || format!("can't write {}", capture.display());
    for (player, logs) in &mut players {
        player.begin(&mut Between { merge: &mut merge, logs, failed: None })?;
    }
    loop {
        let next =
            players.iter_mut().min_by_key(|(player, _)| player.next_ns().unwrap_or(i64::MAX));
        let Some((player, logs)) = next.filter(|(player, _)| player.next_ns().is_some()) else {
            break;
        };
        let mut between = Between { merge: &mut merge, logs, failed: None };
        let stepped = player.step(&mut between);
        if let Some(failed) = between.failed {
            return Err(failed.context(wrong()));
        }
        stepped?;
    }
    let mut attacks = Vec::new();
    for ((player, mut logs), attack) in players.into_iter().zip(&all) {
        let played =
            player.finish(&mut Between { merge: &mut merge, logs: &mut logs, failed: None })?;
        logs.finish().with_context(|| format!("can't write into {}", dir.display()))?;
        attacks.push(placed(attack, played));
    }
    let (attack_packets, attack_bytes, _) = merge.finish().with_context(wrong)?;
    let mut truth = truth(&all, background)?;
    truth.packets = background.packets + attack_packets;
    truth.wire_bytes = background.wire_bytes + attack_bytes;
    write_truth(dir, &truth)?;
    Ok(Mixed {
        capture,
        maps,
        logs: all_logs,
        truth,
        attack_packets,
        background_packets: background.packets,
        attacks,
        warnings,
    })
}

/// Takes what an attack gives: packets go between those of the background.
struct Between<'a, W: io::Write> {
    merge: &'a mut Merge<W>,
    logs: &'a mut Logs,
    /// Why a packet could not be put in.
    failed: Option<anyhow::Error>,
}

impl<W: io::Write> Stage for Between<'_, W> {
    fn packet(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        self.merge.attack(time_ns, frame).map_err(|error| {
            self.failed = Some(error);
            io::Error::other("a packet could not be put in")
        })
    }

    fn notes(&mut self) -> &mut dyn Notes {
        self.logs
    }
}

fn placed(attack: &Ready, played: Played) -> Placed {
    let host = |place: &Place| PlacedHost {
        host: place.name.clone(),
        was: place.was,
        address: place.address,
        mac: place.mac.map(|byte| format!("{byte:02x}")).join(":"),
        in_background: place.exists,
    };
    Placed {
        name: attack.name.clone(),
        start: time_text(attack.start_ns),
        end: time_text(attack.end_ns),
        packets: played.packets,
        hosts: attack.places.iter().map(host).collect(),
    }
}

/// The truth of all attacks, over the background's time and hosts.
///
/// What a scenario expects of a process may here be about its host too: who reads the mix
/// need not have the attack's host map.
fn truth(all: &[Ready], background: &Background) -> Result<Truth> {
    let mut whole: Option<Truth> = None;
    for attack in all {
        let mut own = Truth::new(&attack.name, attack.seed, &attack.scenario, &attack.world)?;
        for (expected, expect) in own.expects.iter_mut().zip(&attack.scenario.expects) {
            let labels = expect.attack.as_slice();
            let named = expect.entity.as_ref().map_or(&[][..], OneOrMore::as_slice);
            let done_by = attack.scenario.behaviours.iter().filter(|it| labels.contains(&it.label));
            let mut entities: BTreeSet<String> = expected.entities.drain(..).collect();
            let from = done_by.map(|it| &it.from).filter(|_| named.is_empty());
            for name in named.iter().chain(from) {
                for seat in attack.world.seats(name)? {
                    entities.extend(attack.world.involved(seat));
                }
            }
            expected.entities = entities.into_iter().collect();
        }
        let Some(whole) = &mut whole else {
            whole = Some(own);
            continue;
        };
        whole.scenario = format!("{}, {}", whole.scenario, own.scenario);
        whole.attacks.append(&mut own.attacks);
        whole.expects.append(&mut own.expects);
        whole.log_host = whole.log_host.take().or(own.log_host);
    }
    let Some(mut truth) = whole else { bail!("name an attack") };
    if all.len() > 1 {
        let mut at = 0;
        for attack in all {
            for _ in 0..attack.scenario.behaviours.len() {
                if let Some(entry) = truth.attacks.get_mut(at) {
                    entry.label = format!("{}: {}", attack.name, entry.label);
                }
                at += 1;
            }
        }
    }
    truth.start = time_text(background.first_ns);
    truth.end = time_text(background.latest_ns);
    truth.home_hosts = background.ours.len() as u64;
    Ok(truth)
}

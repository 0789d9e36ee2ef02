//! What a live scenario comes to: hosts with addresses, and who runs which tool against
//! whom.
//!
//! Everything that can be refused is refused here, before anything is made. Start at
//! [`load`].

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::text::{Behaviour, Host, LiveScenario, Server, parse};
use super::tool::{ServerTool, Tool};
use crate::lab::scenario::load::text_among;
use crate::lab::scenario::{Expect, Quiet};

macro_rules! embedded {
    [$($name:literal),* $(,)?] => {
        &[$(($name, include_str!(concat!("../scenarios/live/", $name, ".toml")))),*]
    };
}

/// Those that come with the program.
pub const EMBEDDED: &[(&str, &str)] = embedded![
    "udp-flood",
    "ping-flood",
    "curl-loop",
    "dns-tunnel",
    "exfiltration",
    "quiet",
    "everything",
];

/// Longest that a lab may take: an attack is found in seconds, or in minutes of a window.
const MAX_DURATION_S: f64 = 1_800.0;

/// A namespace each: more would be another kind of lab.
const MAX_HOSTS: usize = 32;

/// Servers and behaviours, a process each or more at a time.
const MAX_ACTIVITIES: usize = 128;

/// Packets a second: `hping3 -i u10`, far over every threshold of a flood.
const MAX_RATE_PER_S: f64 = 100_000.0;

/// Of one upload, on the disk beside it.
const MAX_BYTES: u64 = 1 << 30;

/// Programs that one behaviour starts, at most.
pub(super) const MAX_COUNT: u64 = 100_000;

const MAX_RATE_MBPS: f64 = 10_000.0;

/// A datagram that needs no fragments but at jumbo frames.
const MAX_PAYLOAD_BYTES: u32 = 8_000;

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub about: String,
    pub duration: Duration,
    /// Place in `hosts`.
    pub capture: Option<usize>,
    pub hosts: Vec<HostAt>,
    pub servers: Vec<ServerAt>,
    pub actions: Vec<Action>,
    pub expects: Vec<Expect>,
    pub quiets: Vec<Quiet>,
}

#[derive(Clone, Debug)]
pub struct HostAt {
    pub name: String,
    pub address: Ipv4Addr,
    pub outside: bool,
}

#[derive(Clone, Debug)]
pub struct ServerAt {
    pub server: Server,
    /// Place in [`Plan::hosts`].
    pub host: usize,
    pub port: u16,
    /// Its own inside a tunnel.
    pub inside: Ipv4Addr,
}

/// A behaviour whose ends are known.
#[derive(Clone, Debug)]
pub struct Action {
    pub behaviour: Behaviour,
    /// Places in [`Plan::hosts`].
    pub from: usize,
    pub to: usize,
    pub address: Ipv4Addr,
    /// Place in [`Plan::servers`] of what it talks to.
    pub server: Option<usize>,
    /// Place in [`Plan::actions`] of the tunnel that it is in.
    pub through: Option<usize>,
    pub start: Duration,
    pub end: Duration,
}

impl Plan {
    pub fn host(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }
}

/// A scenario by its file or by the name of an embedded one, with `KEY=VALUE`s: a
/// parameter, or `LABEL.FIELD` of a behaviour. `most` shortens it.
pub fn load(name: &str, set: &[(String, String)], most: Option<Duration>) -> Result<Plan> {
    let text = text_among(EMBEDDED, name)?;
    let path = std::path::Path::new(name);
    let title = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    let read = || plan(title, parse(&text, set)?, most);
    read().with_context(|| format!("scenario {name}"))
}

fn plan(name: &str, scenario: LiveScenario, most: Option<Duration>) -> Result<Plan> {
    let LiveScenario { about, duration_s, capture, hosts, servers, behaviours, expects, quiets } =
        scenario;
    let duration = duration("duration_s", duration_s)?;
    let duration = most.map_or(duration, |most| duration.min(most));
    ensure!(!hosts.is_empty(), "there is no [[host]]");
    ensure!(hosts.len() <= MAX_HOSTS, "over {MAX_HOSTS} hosts");
    ensure!(servers.len() + behaviours.len() <= MAX_ACTIVITIES, "over {MAX_ACTIVITIES} activities");
    let mut plan = Plan {
        name: name.to_owned(),
        about,
        duration,
        capture: None,
        hosts: addressed(hosts)?,
        servers: Vec::new(),
        actions: Vec::new(),
        expects,
        quiets,
    };
    plan.capture = capture.map(|name| host_of(&plan, &name).context("capture")).transpose()?;
    for server in servers {
        let place = format!("server {} of {}", server.tool.name(), server.host);
        let at = server_at(&plan, server).context(place)?;
        plan.servers.push(at);
    }
    for behaviour in behaviours {
        let place = format!("behaviour {}", behaviour.label);
        let action = action(&plan, behaviour).context(place)?;
        plan.actions.push(action);
    }
    check_names(&plan)?;
    Ok(plan)
}

/// Each lab has addresses of its own: what watches a whole machine sees all of them.
fn addressed(hosts: Vec<Host>) -> Result<Vec<HostAt>> {
    let own = std::process::id() as u8;
    let mut known = BTreeSet::new();
    let mut at = Vec::new();
    for (index, host) in hosts.into_iter().enumerate() {
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let name = &host.name;
        // It becomes part of a namespace's name and of an interface's (15 bytes).
        ensure!(
            (1..=13).contains(&name.len()) && name.chars().all(is_plain) && name != SWITCH,
            "host {name:?}: a name is 1 to 13 small letters and digits, and not {SWITCH}"
        );
        let last = 10 + index as u8;
        let given = match host.outside {
            // RFC 2544: for tests of network devices.
            true => Ipv4Addr::new(198, 18, own, last),
            false => Ipv4Addr::new(10, 77, own, last),
        };
        let address = host.address.unwrap_or(given);
        ensure!(
            is_for_labs(address),
            "host {name}: {address} may belong to somebody: take one of 10.0.0.0/8, 172.16.0.0/12, \
             192.168.0.0/16, 198.18.0.0/15, 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 or \
             169.254.0.0/16"
        );
        ensure!(known.insert(address.to_string()), "two hosts have {address}");
        ensure!(known.insert(name.clone()), "there are two hosts {name}");
        at.push(HostAt { name: host.name, address, outside: host.outside });
    }
    Ok(at)
}

/// Name of the namespace that joins the others.
pub(super) const SWITCH: &str = "switch";

fn is_for_labs(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_documentation()
        || address.is_link_local()
        || (a == 198 && (b == 18 || b == 19))
}

fn host_of(plan: &Plan, name: &str) -> Result<usize> {
    let names = || plan.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
    plan.host(name).ok_or_else(|| anyhow!("there is no host {name}; there are {}", names()))
}

fn server_at(plan: &Plan, server: Server) -> Result<ServerAt> {
    let host = host_of(plan, &server.host)?;
    let port = server.port.unwrap_or_else(|| server.tool.usual_port());
    ensure!(server.page_bytes.unwrap_or(0) <= MAX_BYTES, "page_bytes is at most {MAX_BYTES}");
    if server.page_bytes.is_some() && server.tool != ServerTool::Nginx {
        bail!("page_bytes is nginx's");
    }
    match (&server.domain, server.tool) {
        (Some(domain), ServerTool::Iodined) => check_domain(domain)?,
        (None, ServerTool::Iodined) => bail!("iodined needs a domain"),
        (Some(_), _) => bail!("domain is iodined's"),
        (None, _) => {}
    }
    if plan.servers.iter().any(|other| other.host == host && other.port == port) {
        bail!("there is another one at port {port}");
    }
    let inside = Ipv4Addr::new(10, 78, plan.servers.len() as u8, 1);
    Ok(ServerAt { server, host, port, inside })
}

fn action(plan: &Plan, behaviour: Behaviour) -> Result<Action> {
    let label = &behaviour.label;
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    // It becomes a file's name.
    ensure!(
        (1..=40).contains(&label.len()) && label.chars().all(is_word),
        "a label is 1 to 40 letters, digits, - and _"
    );
    let from = host_of(plan, &behaviour.from)?;
    let (to, mut address) = destination(plan, from, &behaviour.to)?;
    check_bounds(&behaviour)?;
    let needed = behaviour.tool.server();
    let server = needed.map(|tool| {
        let fits = |at: &&ServerAt| {
            at.host == to
                && at.server.tool == tool
                && behaviour.port.is_none_or(|port| port == at.port)
        };
        let found = plan.servers.iter().position(|at| fits(&at));
        let name = &plan.hosts[to].name;
        found.ok_or_else(|| anyhow!("{name} has no server {} for it", tool.name()))
    });
    let server = server.transpose()?;
    let through = behaviour.through.as_ref().map(|label| {
        let is_it = |action: &Action| action.behaviour.label == *label;
        let at = plan.actions.iter().position(is_it);
        at.filter(|&at| plan.actions[at].behaviour.tool == Tool::Iodine)
            .ok_or_else(|| anyhow!("through: there is no iodine {label} before it"))
    });
    let through = through.transpose()?;
    if let Some(tunnel) = through.and_then(|at| plan.actions.get(at)) {
        ensure!(tunnel.from == from && tunnel.to == to, "through: its tunnel has other ends");
        if let Some(end) = tunnel.server.and_then(|at| plan.servers.get(at)) {
            address = end.inside;
        }
    }
    let start = duration_from("start_s", behaviour.start_s, 0.0)?;
    let end = match behaviour.duration_s {
        Some(seconds) => start.saturating_add(duration("duration_s", seconds)?),
        None => plan.duration,
    };
    let end = end.min(plan.duration);
    Ok(Action { behaviour, from, to, address, server, through, start, end })
}

/// Only hosts of the scenario can be reached, and loopback: there is no way out of the
/// namespaces, and nobody shall think that there is one.
fn destination(plan: &Plan, from: usize, to: &str) -> Result<(usize, Ipv4Addr)> {
    if let Some(host) = plan.host(to) {
        return Ok((host, plan.hosts[host].address));
    }
    if let Ok(address) = to.parse::<Ipv4Addr>() {
        if address.is_loopback() {
            return Ok((from, address));
        }
        if let Some(host) = plan.hosts.iter().position(|host| host.address == address) {
            return Ok((host, address));
        }
    }
    let names: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    bail!(
        "to: {to} is outside of the lab: refused; a destination is one of its hosts ({}), an \
         address that the scenario gives to one of them, or loopback",
        names.join(", ")
    )
}

fn check_bounds(behaviour: &Behaviour) -> Result<()> {
    let within = |field: &str, value: Option<f64>, least: f64, most: f64| match value {
        // Not a number is not within either.
        Some(value) if !(value >= least && value <= most) => {
            Err(anyhow!("{field} is from {least} to {most}"))
        }
        _ => Ok(()),
    };
    within("rate_per_s", behaviour.rate_per_s, 0.01, MAX_RATE_PER_S)?;
    within("rate_mbps", behaviour.rate_mbps, 0.01, MAX_RATE_MBPS)?;
    // Starting a program in a namespace takes some milliseconds.
    within("gap_s", behaviour.gap_s, 0.05, MAX_DURATION_S)?;
    within("up_bytes", behaviour.up_bytes.map(|it| it as f64), 1.0, MAX_BYTES as f64)?;
    within("count", behaviour.count.map(|it| it as f64), 1.0, MAX_COUNT as f64)?;
    within("requests", behaviour.requests.map(f64::from), 1.0, 1_000.0)?;
    within("parallel", behaviour.parallel.map(f64::from), 1.0, 32.0)?;
    let most = f64::from(MAX_PAYLOAD_BYTES);
    within("payload_bytes", behaviour.payload_bytes.map(f64::from), 0.0, most)?;
    if let Some(name) = &behaviour.disguise {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        // The kernel's name of a process has 15 bytes.
        let fits = (1..=15).contains(&name.len()) && name.bytes().all(is_plain);
        ensure!(fits, "disguise: a name is 1 to 15 letters, digits, - and _");
    }
    if let Some(path) = &behaviour.path {
        // Braces and brackets stand for several paths to curl.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#"\"'`{}[]"#.contains(&byte);
        ensure!(
            path.starts_with('/') && path.len() <= 2_000 && path.bytes().all(is_plain),
            "path: begins with / and has letters, digits and signs, no quotes, braces or brackets"
        );
    }
    ensure!(behaviour.names.len() <= 10_000, "names: over 10,000");
    behaviour.names.iter().try_for_each(|name| check_domain(name))
}

fn check_domain(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    ensure!(
        starts && name.len() <= 253 && name.bytes().all(is_plain),
        "{name:?} is no name of DNS"
    );
    Ok(())
}

/// Labels are told apart, and expectations speak of what is there.
fn check_names(plan: &Plan) -> Result<()> {
    let mut labels = BTreeSet::new();
    for action in &plan.actions {
        let label = action.behaviour.label.as_str();
        ensure!(labels.insert(label), "there are two behaviours with the label {label}");
        ensure!(plan.host(label).is_none(), "behaviour {label}: a host has that name");
    }
    let known = |name: &String| labels.contains(name.as_str()) || plan.host(name).is_some();
    for expect in &plan.expects {
        for label in expect.attack.as_slice() {
            let is_there = labels.contains(label.as_str());
            ensure!(is_there, "expect: there is no behaviour with the label {label}");
        }
        let entities = expect.entity.as_ref().map_or(&[][..], |entity| entity.as_slice());
        if let Some(name) = entities.iter().find(|name| !known(name)) {
            bail!("expect: there is no behaviour or host {name}");
        }
    }
    for quiet in &plan.quiets {
        if let Some(name) = quiet.entity.as_slice().iter().find(|name| !known(name)) {
            bail!("quiet: there is no behaviour or host {name}");
        }
    }
    Ok(())
}

fn duration(field: &str, seconds: f64) -> Result<Duration> {
    duration_from(field, seconds, 0.1)
}

fn duration_from(field: &str, seconds: f64, least: f64) -> Result<Duration> {
    let fits = seconds >= least && seconds <= MAX_DURATION_S;
    ensure!(fits, "{field} is from {least} to {MAX_DURATION_S}");
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

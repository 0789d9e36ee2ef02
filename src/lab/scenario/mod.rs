//! Scenarios: who does what on a network, and which alerts that should raise.
//!
//! A scenario is a TOML file: hosts, containers and processes, what they do
//! ([`Behaviour`]), and what is expected of detection ([`Expect`], [`Quiet`]).
//! [`play`](play::play) merges all behaviours by time into packets, a host map and logs,
//! the same bytes for the same seed; [`score`] holds alerts against the truth, [`sweep`]
//! repeats both over values and seeds. Nothing here knows a detector: what is expected
//! stands in the scenario alone.
//!
//! ```text
//! load ──▶ world ──▶ play ──▶ make (files) ──▶ sweep
//! TOML     ids       talks    pcap, map,       engine, score
//! ```

pub mod attack;
pub mod bytes;
mod counters;
pub mod dns;
pub mod draw;
mod hostmap;
pub mod learn;
mod limits;
pub mod load;
mod logs;
pub mod make;
pub mod ordinary;
pub mod play;
pub mod score;
pub mod sweep;
pub mod talk;
mod tls;
pub mod truth;
pub mod tunnel;
pub mod world;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use thiserror::Error;

use crate::alert::Severity;
use crate::host::process::Context;

/// It was told to stop before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("stopped before the end")]
pub struct Stopped;

/// A scenario as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub about: String,
    /// First time stamp, RFC 3339.
    pub start: String,
    pub duration_s: f64,
    /// Network identifier of a cloud's traffic mirror: then each frame comes in VXLAN, as
    /// AWS mirrors an interface.
    #[serde(default)]
    pub mirror_vni: Option<u32>,
    /// Whether baselines are to know the days before.
    #[serde(default)]
    pub learn: Option<Learn>,
    /// Of a day that is learned: how many before the scenario's own.
    #[serde(skip)]
    pub days_before: u32,
    /// Scenarios whose hosts, processes and behaviours are here too.
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default, rename = "host")]
    pub hosts: Vec<Host>,
    #[serde(default, rename = "container")]
    pub containers: Vec<Container>,
    #[serde(default, rename = "process")]
    pub processes: Vec<Process>,
    #[serde(default, rename = "behaviour")]
    pub behaviours: Vec<Behaviour>,
    #[serde(default, rename = "expect")]
    pub expects: Vec<Expect>,
    #[serde(default, rename = "quiet")]
    pub quiets: Vec<Quiet>,
}

/// The days before a scenario: the same from the same time of day on, without attacks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learn {
    pub days: u32,
    /// Of each day; as long as the scenario, where it is not given.
    #[serde(default)]
    pub duration_s: Option<f64>,
}

/// A year.
const MOST_DAYS: u32 = 366;

impl Scenario {
    /// What happened so many days before: nobody attacks, and nothing is expected.
    pub fn days_before(&self, days: u32) -> Result<Self> {
        if days == 0 || days > MOST_DAYS {
            bail!("days before the scenario are from 1 to {MOST_DAYS}");
        }
        let start: jiff::Timestamp =
            self.start.parse().map_err(|error| anyhow!("start: {error}"))?;
        let start = start.checked_sub(jiff::SignedDuration::from_hours(24 * i64::from(days)))?;
        let learned_s = self.learn.and_then(|learn| learn.duration_s);
        Ok(Self {
            start: start.to_string(),
            duration_s: learned_s.unwrap_or(self.duration_s),
            days_before: days,
            behaviours: self.behaviours.iter().filter(|it| !it.is_attack()).cloned().collect(),
            expects: Vec::new(),
            quiets: Vec::new(),
            ..self.clone()
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    /// Of the first; the others follow it.
    pub address: std::net::IpAddr,
    /// So many alike: `name1`, `name2`, ... The name alone means all of them.
    #[serde(default)]
    pub count: Option<u32>,
    /// Words for people: `web server`, `desk`.
    #[serde(default)]
    pub role: String,
    /// Beyond the home networks.
    #[serde(default)]
    pub outside: bool,
    /// It has a host map: its processes are known.
    #[serde(default)]
    pub watched: bool,
    /// Its requests stand in `access.log`.
    #[serde(default)]
    pub access_log: bool,
    /// Network interface under which `vpc.log` has its flows.
    #[serde(default)]
    pub interface: Option<String>,
    /// Counters of its containers stand in `counters.prom`.
    #[serde(default)]
    pub counters: bool,
    /// Name in DNS and TLS; `NAME.example` without it.
    #[serde(default)]
    pub dns_name: Option<String>,
}

/// A container on a watched host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub name: String,
    pub host: String,
    pub image: String,
    /// Its own; without it the host's.
    #[serde(default)]
    pub address: Option<std::net::IpAddr>,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub pod: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub sidecar: bool,
}

/// A program that runs on a host, or on each of a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub name: String,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub container: Option<String>,
    pub exe: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub terminal: String,
    #[serde(default)]
    pub context: Option<Context>,
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub unit: String,
    /// Since the scenario's start; before it, it was there already.
    #[serde(default = "an_hour_before")]
    pub start_s: f64,
    #[serde(default)]
    pub end_s: Option<f64>,
}

fn an_hour_before() -> f64 {
    -3_600.0
}

/// Something that somebody does. What is left out is as usual for the kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    pub kind: Kind,
    /// Name for `[[expect]]` and `--set LABEL.KEY=VALUE`.
    #[serde(default)]
    pub label: String,
    /// A process, container, host or group; each member does it on its own.
    pub from: String,
    /// One of these, for each conversation anew.
    #[serde(default)]
    pub to: Option<String>,
    /// Of a relay: who asks it. Of the others: who resolves names for them.
    #[serde(default)]
    pub via: Option<String>,
    /// Whether alerts about it are right, even where none is expected; by the kind.
    #[serde(default)]
    pub attack: Option<bool>,
    #[serde(default)]
    pub start_s: f64,
    /// To the scenario's end, where it is not given.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// Mean time from one conversation's start to the next.
    #[serde(default)]
    pub gap_s: Option<f64>,
    /// Gaps spread so far about their mean, evenly: 0 is a clock, 1 is twice the mean at
    /// most. Without it they are exponential.
    #[serde(default)]
    pub jitter_share: Option<f64>,
    /// Fewer at night: the curve of [`draw::DAY`].
    #[serde(default)]
    pub daily: bool,
    /// Packets, datagrams or connections a second.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    #[serde(default)]
    pub payload_bytes: Option<u32>,
    /// Payload sizes spread evenly so far about it, as a share of it.
    #[serde(default)]
    pub payload_spread_share: Option<f64>,
    /// From client to server in a conversation: the median.
    #[serde(default)]
    pub up_bytes: Option<f64>,
    #[serde(default)]
    pub down_bytes: Option<f64>,
    /// Fastest that a conversation sends.
    #[serde(default)]
    pub rate_mbps: Option<f64>,
    /// Questions and answers in a conversation.
    #[serde(default)]
    pub turns: Option<u32>,
    #[serde(default)]
    pub port: Option<u16>,
    /// Domain of DNS, or server name of TLS.
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default)]
    pub method: Option<String>,
    /// One of these, in turn.
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub user_agent: Option<String>,
    /// Connections at the same time, of `held_open` and `chat`.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Share of datagrams that are answered.
    #[serde(default)]
    pub answered_share: Option<f64>,
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// What goes to the outside goes through this.
    #[serde(default)]
    pub tunnel: Option<tunnel::TunnelPlan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Web,
    Dns,
    Mail,
    Backup,
    VideoCall,
    Monitoring,
    Updates,
    Chat,
    Replication,
    Ntp,
    Syslog,
    Ping,
    Vpn,
    /// HTTP in clear text, logged by the server.
    Requests,
    /// One TLS conversation after the other, of stated size.
    Tls,
    UdpFlood,
    IcmpFlood,
    ConnectionFlood,
    /// Requests that never end, a line of a header at a time.
    HeldOpen,
    Relay,
    Upload,
    SizeShift,
    Beacon,
    DnsTunnel,
    IcmpTunnel,
    Exploit,
    Metadata,
}

impl Kind {
    pub fn is_attack(self) -> bool {
        matches!(
            self,
            Self::UdpFlood
                | Self::IcmpFlood
                | Self::ConnectionFlood
                | Self::HeldOpen
                | Self::Relay
                | Self::SizeShift
                | Self::Beacon
                | Self::DnsTunnel
                | Self::IcmpTunnel
                | Self::Exploit
        )
    }
}

impl Behaviour {
    pub fn is_attack(&self) -> bool {
        self.attack.unwrap_or_else(|| self.kind.is_attack())
    }

    /// Everyone who takes part: as hosts, processes and containers are called.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let tunnel = self.tunnel.as_ref().filter(|it| it.kind != tunnel::TunnelKind::None);
        let ends = tunnel.into_iter().flat_map(|it| [Some(&it.to), it.by.as_ref()]);
        let own = [Some(&self.from), self.to.as_ref(), self.via.as_ref()];
        own.into_iter().chain(ends).flatten()
    }
}

/// An alert that must come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Behaviours that it is about: it must fall in their time.
    pub attack: OneOrMore,
    /// Any of these; `*` stands for anything.
    #[serde(default = "anything")]
    pub detector: OneOrMore,
    /// About any of these; without it, about whoever the behaviours name.
    #[serde(default)]
    pub entity: Option<OneOrMore>,
    #[serde(default)]
    pub analytic: Option<String>,
    #[serde(default = "lowest")]
    pub severity: Severity,
    /// How long after the behaviours' end it may begin.
    #[serde(default = "five_minutes")]
    pub late_s: f64,
}

/// Nothing at or above `below` may be said of it at any time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    pub entity: OneOrMore,
    #[serde(default = "lowest")]
    pub below: Severity,
    /// The look-alike, and why it is none.
    #[serde(default)]
    pub because: String,
}

fn lowest() -> Severity {
    Severity::Low
}

fn anything() -> OneOrMore {
    OneOrMore::One("*".to_owned())
}

fn five_minutes() -> f64 {
    300.0
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

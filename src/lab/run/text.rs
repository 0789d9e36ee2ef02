//! A live scenario as its file has it. Start at [`LiveScenario`].

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::tool::{ServerTool, Tool};
use crate::lab::scenario::load::{list, table};
use crate::lab::scenario::{Expect, Quiet};

/// A scenario of a live lab.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveScenario {
    #[serde(default)]
    pub about: String,
    /// Everything is ended after so long.
    pub duration_s: f64,
    /// Host at whose interface is listened; without it where all hosts are joined.
    #[serde(default)]
    pub capture: Option<String>,
    #[serde(default, rename = "host")]
    pub hosts: Vec<Host>,
    #[serde(default, rename = "server")]
    pub servers: Vec<Server>,
    #[serde(default, rename = "behaviour")]
    pub behaviours: Vec<Behaviour>,
    #[serde(default, rename = "expect")]
    pub expects: Vec<Expect>,
    #[serde(default, rename = "quiet")]
    pub quiets: Vec<Quiet>,
}

/// A network namespace of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    /// Words for people.
    #[serde(default)]
    pub role: String,
    /// Beyond the home networks.
    #[serde(default)]
    pub outside: bool,
    /// The lab gives one where there is none.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

/// A program that answers, for as long as the lab is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub tool: ServerTool,
    pub host: String,
    /// As usual for the tool, where it is not given.
    #[serde(default)]
    pub port: Option<u16>,
    /// Done without, where the program is not installed.
    #[serde(default)]
    pub optional: bool,
    /// Of nginx: size of `/`.
    #[serde(default)]
    pub page_bytes: Option<u64>,
    /// Of iodined.
    #[serde(default)]
    pub domain: Option<String>,
}

/// Somebody runs a tool. Which fields a tool takes: [`Tool::fields`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    pub tool: Tool,
    /// Name for `[[expect]]`, `[[quiet]]` and `--set LABEL.KEY=VALUE`.
    pub label: String,
    pub from: String,
    /// A host; an address must be one that the scenario gives to a host, or loopback.
    pub to: String,
    /// Inside the tunnel of this behaviour of iodine.
    #[serde(default)]
    pub through: Option<String>,
    /// Alerts about it are right, even where none is expected.
    #[serde(default)]
    pub attack: bool,
    /// Left out, where the program is not installed.
    #[serde(default)]
    pub optional: bool,
    #[serde(default)]
    pub start_s: f64,
    /// To the scenario's end, where it is not given.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// From one run of the program to the next; without it, it is run once.
    #[serde(default)]
    pub gap_s: Option<f64>,
    /// Packets a second.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    #[serde(default)]
    pub rate_mbps: Option<f64>,
    /// Programs that a loop starts, at most.
    #[serde(default)]
    pub count: Option<u64>,
    /// Connections that each program of a loop makes, one after the other.
    #[serde(default)]
    pub requests: Option<u32>,
    /// Run a copy of the program with this name, from a folder where everybody may write.
    #[serde(default)]
    pub disguise: Option<String>,
    /// So many at a time.
    #[serde(default)]
    pub parallel: Option<u32>,
    #[serde(default)]
    pub payload_bytes: Option<u32>,
    /// As fast as answers come.
    #[serde(default)]
    pub flood: bool,
    /// `tcp`, `udp` or `icmp`.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub up_bytes: Option<u64>,
    /// Of a server's file, beginning with `/`.
    #[serde(default)]
    pub path: Option<String>,
    /// Asked for in turn.
    #[serde(default)]
    pub names: Vec<String>,
    /// From the server to the client.
    #[serde(default)]
    pub reverse: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// A scenario from its text.
pub fn parse(text: &str, set: &[(String, String)]) -> Result<LiveScenario> {
    let mut table = table(text, set)?;
    check_fields(&table)?;
    let hosts = list(&mut table, "host")?;
    let servers = list(&mut table, "server")?;
    let behaviours = list(&mut table, "behaviour")?;
    let expects = list(&mut table, "expect")?;
    let quiets = list(&mut table, "quiet")?;
    let rest: LiveScenario = serde_json::from_value(Value::Object(table))?;
    Ok(LiveScenario { hosts, servers, behaviours, expects, quiets, ..rest })
}

/// A field that a tool does nothing with is a mistake.
fn check_fields(table: &Map<String, Value>) -> Result<()> {
    for entry in table.get("behaviour").and_then(Value::as_array).into_iter().flatten() {
        let label = entry.get("label").and_then(Value::as_str).unwrap_or_default();
        let tool = entry.get("tool").cloned().unwrap_or_default();
        // What is no tool is refused later, with the names of all tools.
        let Ok(tool) = serde_json::from_value::<Tool>(tool) else { continue };
        let fields = tool.fields();
        for key in entry.as_object().into_iter().flat_map(Map::keys) {
            if !COMMON.contains(&key.as_str()) && !fields.contains(&key.as_str()) {
                bail!(
                    "behaviour {label}: {} has no field {key}; it has {}",
                    tool.name(),
                    fields.join(", ")
                );
            }
        }
    }
    Ok(())
}

/// Fields of every tool.
const COMMON: [&str; 9] =
    ["tool", "label", "from", "to", "through", "attack", "optional", "start_s", "duration_s"];

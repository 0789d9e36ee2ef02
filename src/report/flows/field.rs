//! Fields of flow records, by the names of their schema.
//!
//! Beside those: `ip`, `port` and `mac` mean either end, and so do `process.`,
//! `workload.`, `instance.` and `attribution.` without a side; `packets`, `bytes`
//! (`wire_bytes`), `ip_bytes` and `payload_bytes` are sums of both directions. Compared
//! as a whole, a process is its name, a workload its name or container, an instance its
//! name or id.

use std::sync::LazyLock;

use serde_json::Value;

use super::kind::Kind;
use crate::output::FLOW_SCHEMA;

/// Whose figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    name: String,
    means: Means,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    Path(Vec<String>),
    /// The name of what is there, which has several.
    Names(Vec<Vec<String>>),
    /// The same of either end.
    Either(Vec<String>, Vec<String>),
    Sum(&'static str),
}

/// Of both directions.
const SUMS: [(&str, &str); 5] = [
    ("packets", "packets"),
    ("bytes", "wire_bytes"),
    ("wire_bytes", "wire_bytes"),
    ("ip_bytes", "ip_bytes"),
    ("payload_bytes", "payload_bytes"),
];

const EITHER: [&str; 3] = ["ip", "port", "mac"];
const OF_HOSTS: [&str; 4] = ["process", "workload", "instance", "attribution"];

/// What one calls a process, a workload, an instance by.
const CALLED: [(&str, &[&str]); 3] =
    [("process", &["name"]), ("workload", &["name", "container"]), ("instance", &["name", "id"])];

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(FLOW_SCHEMA).unwrap_or(Value::Null));

impl Field {
    pub fn parse(name: &str) -> Result<Self, String> {
        let path = |prefix: &str| -> Vec<String> {
            format!("{prefix}{name}").split('.').map(str::to_owned).collect()
        };
        let first = name.split('.').next().unwrap_or_default();
        let means = if let Some((_, sum)) = SUMS.into_iter().find(|(of, _)| *of == name) {
            Means::Sum(sum)
        } else if EITHER.contains(&name) {
            Means::Either(path("src_"), path("dst_"))
        } else if OF_HOSTS.contains(&first) {
            Means::Either(path("src_host."), path("dst_host."))
        } else {
            Means::Path(path(""))
        };
        let kind = match &means {
            Means::Path(path) | Means::Either(path, _) => described(&SCHEMA, path).map(Kind::of),
            Means::Names(_) => None,
            Means::Sum(_) => Some(Kind::COUNT),
        };
        if let Some(kind) = kind {
            let kind = match &means {
                _ if name == "proto_name" => Kind::protocols(),
                Means::Path(path) if is_known_left_out(path) => kind.or_nothing(),
                _ => kind,
            };
            return Ok(Self { name: name.to_owned(), means, kind });
        }
        Err(near(name).map_or_else(
            || "no such field; the flow schema has them all".to_owned(),
            |known| format!("no such field; did you mean {known}?"),
        ))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The field that a value is held against, or flows are summed up by: what a process, a workload or an instance
    /// is called by in place of all that is known of it.
    pub fn compared(&self) -> Result<Self, String> {
        let Kind::Parts(parts) = &self.kind else { return Ok(self.clone()) };
        let paths: Vec<&Vec<String>> = match &self.means {
            Means::Path(path) => vec![path],
            Means::Either(one, other) => vec![one, other],
            Means::Names(_) | Means::Sum(_) => Vec::new(),
        };
        let last = self.name.rsplit('.').next().unwrap_or_default();
        let called = CALLED.iter().find(|(name, _)| *name == last);
        let Some((_, names)) = called else {
            let parts: Vec<String> =
                parts.iter().map(|part| format!("{}.{part}", self.name)).collect();
            return Err(format!("has several values: compare one of {}", parts.join(", ")));
        };
        let below = |path: &&Vec<String>| {
            let path = (*path).clone();
            names.iter().map(move |name| [path.as_slice(), &[(*name).to_owned()]].concat())
        };
        Ok(Self {
            name: self.name.clone(),
            means: Means::Names(paths.iter().flat_map(below).collect()),
            kind: Kind::Text { one_case: false },
        })
    }

    /// What a flow has there; of either end both. Where its line leaves out what follows from
    /// the rest, that.
    pub fn values(&self, flow: &Value) -> impl Iterator<Item = Value> {
        self.found(flow, |flow, path| at(flow, path).or_else(|| left_out(flow, path)))
    }

    /// The same of what is written there.
    pub fn written(&self, flow: &Value) -> impl Iterator<Item = Value> {
        self.found(flow, at)
    }

    fn found(
        &self,
        flow: &Value,
        at: impl Fn(&Value, &[String]) -> Option<Value>,
    ) -> impl Iterator<Item = Value> {
        match &self.means {
            Means::Path(path) => vec![at(flow, path)],
            Means::Either(one, other) => vec![at(flow, one), at(flow, other)],
            Means::Names(paths) => paths.iter().map(|path| at(flow, path)).collect(),
            Means::Sum(of) => vec![Some(sum(flow, of).into())],
        }
        .into_iter()
        .flatten()
    }
}

/// Of both directions.
pub(super) fn sum(flow: &Value, of: &str) -> u64 {
    ["fwd", "rev"]
        .iter()
        .map(|side| flow[side][of].as_u64().unwrap_or_default())
        .fold(0, u64::saturating_add)
}

/// Of each of several, where there are several. A free name may have dots of its own.
fn at(flow: &Value, path: &[String]) -> Option<Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(flow.clone()).filter(|value| !value.is_null());
    };
    if let Value::Array(items) = flow {
        let found: Vec<Value> = items.iter().filter_map(|item| at(item, path)).collect();
        return (!found.is_empty()).then_some(Value::Array(found));
    }
    let below = flow.get(first).and_then(|value| at(value, rest));
    below.or_else(|| (!rest.is_empty()).then(|| flow.get(path.join(".")).cloned()).flatten())
}

const TCP: u8 = 6;

/// Counts of a direction that are left out where they are 0, all of them where no packet
/// went that way.
const COUNTS: [&str; 7] = [
    "packets",
    "wire_bytes",
    "ip_bytes",
    "payload_bytes",
    "fragments",
    "retransmitted",
    "out_of_order",
];

/// What follows from the rest of a record is left out of its line, as the schema says.
fn left_out(flow: &Value, path: &[String]) -> Option<Value> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["duration_ns"] => Some(0.into()),
        ["originator_guessed" | "continues"] => Some(false.into()),
        ["fwd" | "rev", "retransmitted" | "out_of_order"] if flow["proto"] != TCP => None,
        ["fwd" | "rev", count] if COUNTS.contains(&count) => Some(0.into()),
        [side @ ("fwd" | "rev"), "ttl_max"] => flow[side].get("ttl_min").cloned(),
        [side @ ("fwd" | "rev"), "payload_sizes", figure] => {
            let (direction, sizes) = (&flow[side], &flow[side]["payload_sizes"]);
            match (figure, sizes.is_object()) {
                ("empty", true) | ("stddev", true) => Some(0.into()),
                ("min" | "max", false) => Some(0.into()),
                ("empty", false) => {
                    Some(direction.get("packets").cloned().unwrap_or_else(|| 0.into()))
                }
                ("mean" | "p50" | "p90" | "p99", true) => sizes.get("min").cloned(),
                _ => None,
            }
        }
        [side @ ("fwd" | "rev"), "gaps", figure] => {
            let gaps = &flow[side]["gaps"];
            match figure {
                "stddev_ns" if gaps.is_object() => Some(0.into()),
                "mean_ns" => gaps.get("min_ns").cloned(),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Fields that may be 0 or false in what is left out.
fn is_known_left_out(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["duration_ns" | "originator_guessed" | "continues"] => true,
        ["fwd" | "rev", count] => COUNTS.contains(&count),
        ["fwd" | "rev", "payload_sizes" | "gaps", _] => true,
        _ => false,
    }
}

/// What the schema says of a path; below a map of free names everything is.
fn described<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    let node = resolved(schema);
    let Some((first, rest)) = path.split_first() else { return Some(schema) };
    if let Some(inner) = node["properties"].get(first) {
        return described(inner, rest);
    }
    if node["additionalProperties"].is_object() {
        return Some(&node["additionalProperties"]);
    }
    node["items"].is_object().then(|| described(&node["items"], path)).flatten()
}

pub(super) fn resolved(schema: &Value) -> &Value {
    let named = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
    named.and_then(|pointer| SCHEMA.pointer(pointer)).unwrap_or(schema)
}

/// What was meant, perhaps: a field of which this is the start, addresses first, or one that
/// is written much alike.
fn near(name: &str) -> Option<String> {
    const LEAST_START: usize = 2;
    let begins = |known: &&String| {
        let rest = known.strip_prefix(name);
        name.len() >= LEAST_START && rest.is_some_and(|rest| rest.starts_with(['_', '.']))
    };
    let known = names();
    let longer = known
        .iter()
        .filter(begins)
        .min_by_key(|known| (!known.ends_with("_ip"), known.len(), known.as_str()));
    let alike = || {
        let distances = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known));
        let length = name.chars().count();
        distances.filter(|(distance, _)| distance * 3 <= length).min().map(|(_, known)| known)
    };
    longer.or_else(alike).cloned()
}

/// Names to choose from: fields, and those of processes and workloads.
fn names() -> Vec<String> {
    let of = |schema: &Value, prefix: &str| -> Vec<String> {
        let fields = resolved(schema)["properties"].as_object().into_iter().flatten();
        fields.map(|(name, _)| format!("{prefix}{name}")).collect()
    };
    let mut names = of(&SCHEMA, "");
    let host = resolved(&SCHEMA["properties"]["src_host"]);
    for part in OF_HOSTS {
        names.extend(of(&host["properties"][part], &format!("{part}.")));
    }
    for app in ["dns", "tls", "quic", "http", "ssh"] {
        let apps = resolved(&SCHEMA["properties"]["app"]);
        names.extend(of(&apps["properties"][app], &format!("app.{app}.")));
    }
    for side in ["fwd", "rev"] {
        names.extend(of(&SCHEMA["properties"][side], &format!("{side}.")));
    }
    names.extend(SUMS.iter().map(|(name, _)| (*name).to_owned()));
    names.extend(EITHER.map(str::to_owned));
    names
}

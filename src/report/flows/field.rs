//! Fields of flow records, by the names of their schema.
//!
//! Beside those: `ip`, `port` and `mac` mean either end, and so do `process.`,
//! `workload.`, `instance.` and `attribution.` without a side; `packets`, `bytes`
//! (`wire_bytes`), `ip_bytes` and `payload_bytes` are sums of both directions.

use std::sync::LazyLock;

use serde_json::Value;

use crate::output::FLOW_SCHEMA;

/// Whose figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: String,
    means: Means,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    Path(Vec<String>),
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
        let known = match &means {
            Means::Path(path) | Means::Either(path, _) => is_known(&SCHEMA, path),
            Means::Sum(_) => true,
        };
        if known {
            return Ok(Self { name: name.to_owned(), means });
        }
        let near = names()
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(&known, name), known))
            .filter(|(distance, _)| *distance <= 3)
            .min();
        Err(near.map_or_else(
            || "no such field; the flow schema has them all".to_owned(),
            |(_, known)| format!("no such field; did you mean {known}?"),
        ))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a flow has there; of either end both.
    pub fn values(&self, flow: &Value) -> impl Iterator<Item = Value> {
        let values = match &self.means {
            Means::Path(path) => [at(flow, path).cloned(), None],
            Means::Either(one, other) => [at(flow, one).cloned(), at(flow, other).cloned()],
            Means::Sum(of) => [Some(sum(flow, of).into()), None],
        };
        values.into_iter().flatten()
    }
}

/// Of both directions.
pub(super) fn sum(flow: &Value, of: &str) -> u64 {
    ["fwd", "rev"]
        .iter()
        .map(|side| flow[side][of].as_u64().unwrap_or_default())
        .fold(0, u64::saturating_add)
}

fn at<'a>(flow: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(flow, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// Whether the schema has such a path; below a map of free names everything is.
fn is_known(schema: &Value, path: &[String]) -> bool {
    let node = resolved(schema);
    let Some((first, rest)) = path.split_first() else { return true };
    if let Some(inner) = node["properties"].get(first) {
        return is_known(inner, rest);
    }
    node["additionalProperties"].is_object()
        || node["items"].is_object() && {
            let inner = resolved(&node["items"]);
            inner["properties"].get(first).is_some()
        }
}

fn resolved(schema: &Value) -> &Value {
    let named = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
    named.and_then(|pointer| SCHEMA.pointer(pointer)).unwrap_or(schema)
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

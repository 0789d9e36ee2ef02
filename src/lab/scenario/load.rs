//! A scenario's text, its parameters and what is set on the command line.
//!
//! A value `"$name"` stands for the parameter `name` of the table `[parameters]`. Start at
//! [`load`].

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::{Scenario, limits};

macro_rules! embedded {
    [$($name:literal),* $(,)?] => {
        &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*]
    };
}

/// Those that come with the program.
pub const EMBEDDED: &[(&str, &str)] = embedded![
    "udp-flood",
    "egress-lookalikes",
    "web-chain",
    "web-noise",
    "ping-flood",
    "curl-loop",
    "relay",
    "dormant",
    "beacon",
    "dns-tunnel",
    "icmp-tunnel",
    "size-shift",
    "exfiltration",
    "ordinary-day",
    "office",
    "script-flood",
    "rollout",
    "all-five",
    "mirrored-flood",
    "split-exfiltration",
    "held-open",
    "tunnelled-exfiltration",
    "tunnelled-flood",
    "slow-leak",
];

/// Far over what anybody writes.
const LONGEST_BYTES: u64 = 4 << 20;

/// Longest title: files and folders are named after it, which file systems let have 255.
const LONGEST_TITLE_BYTES: usize = 200;

/// A scenario by its file or by the name of an embedded one, with `KEY=VALUE`s: a
/// parameter, or `LABEL.FIELD` of a behaviour.
pub fn load(name: &str, set: &[(String, String)]) -> Result<(String, Scenario)> {
    let text = text_among(EMBEDDED, name)?;
    let title = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    if title.len() > LONGEST_TITLE_BYTES || title.chars().any(char::is_control) {
        bail!(
            "{:?} can't name files: a scenario's name has at most {LONGEST_TITLE_BYTES} bytes, \
             none of them control characters",
            Path::new(name)
        );
    }
    let scenario = parse(&text, set).with_context(|| format!("scenario {name}"))?;
    Ok((title.to_owned(), scenario))
}

/// The text of a file, or of one of these by its name.
pub(in crate::lab) fn text_among(embedded: &[(&str, &str)], name: &str) -> Result<String> {
    if let Some((_, text)) = embedded.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    let path = Path::new(name);
    if !path.is_file() {
        let names: Vec<&str> = embedded.iter().map(|(name, _)| *name).collect();
        let called = match name {
            "" => "with an empty name".to_owned(),
            name => name.escape_debug().to_string(),
        };
        bail!("there is no scenario or file {called}; embedded are: {}", names.join(", "));
    }
    let length = path.metadata().with_context(|| format!("can't read {name}"))?.len();
    if length > LONGEST_BYTES {
        bail!("{name}: over {} MiB: no scenario", LONGEST_BYTES >> 20);
    }
    std::fs::read_to_string(path).with_context(|| format!("can't read {name}"))
}

/// The tables of a text, its parameters put in.
pub(in crate::lab) fn table(text: &str, set: &[(String, String)]) -> Result<Map<String, Value>> {
    let mut table = table_of(text)?;
    let mut parameters = match table.remove("parameters") {
        Some(Value::Object(parameters)) => parameters,
        Some(_) => bail!("parameters: must be a table"),
        None => Map::new(),
    };
    for (key, value) in set {
        apply(&mut table, &mut parameters, key, literal(value))?;
    }
    for value in table.values_mut() {
        substitute(value, &parameters)?;
    }
    Ok(table)
}

/// A scenario from its text.
pub fn parse(text: &str, set: &[(String, String)]) -> Result<Scenario> {
    let table = table(text, set)?;
    limits::check(&table)?;
    let mut scenario: Scenario = whole(table)?;
    for name in scenario.include.clone() {
        let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            bail!("include: there is no embedded scenario {name}");
        };
        let other = parse(text, &[]).with_context(|| format!("include {name}"))?;
        if !other.include.is_empty() {
            bail!("include {name}: it includes others itself");
        }
        scenario.hosts.extend(other.hosts);
        scenario.containers.extend(other.containers);
        scenario.processes.extend(other.processes);
        scenario.behaviours.extend(other.behaviours);
    }
    Ok(scenario)
}

/// Lists are read entry by entry, so that an error names its place.
fn whole(mut table: Map<String, Value>) -> Result<Scenario> {
    let hosts = list(&mut table, "host")?;
    let containers = list(&mut table, "container")?;
    let processes = list(&mut table, "process")?;
    let behaviours = list(&mut table, "behaviour")?;
    let expects = list(&mut table, "expect")?;
    let quiets = list(&mut table, "quiet")?;
    let rest: Scenario = serde_json::from_value(Value::Object(table))?;
    Ok(Scenario { hosts, containers, processes, behaviours, expects, quiets, ..rest })
}

/// Takes the entries `[[key]]` out of a table.
pub(in crate::lab) fn list<T: DeserializeOwned>(
    table: &mut Map<String, Value>,
    key: &str,
) -> Result<Vec<T>> {
    let Some(value) = table.remove(key) else { return Ok(Vec::new()) };
    let Value::Array(entries) = value else { bail!("{key}: must be [[{key}]]") };
    let read = |(at, entry): (usize, Value)| {
        let name = ["label", "name", "detector"]
            .iter()
            .find_map(|key| entry.get(key)?.as_str().map(str::to_owned))
            .unwrap_or_default();
        serde_json::from_value(entry).map_err(|error| anyhow!("{key} {} ({name}): {error}", at + 1))
    };
    entries.into_iter().enumerate().map(read).collect()
}

fn table_of(text: &str) -> Result<Map<String, Value>> {
    let table = DeTable::parse(text).map_err(|error| anyhow!("{error}"))?;
    let mut map = Map::new();
    for (key, value) in table.into_inner() {
        map.insert(key.into_inner().into_owned(), json_of(value.into_inner())?);
    }
    Ok(map)
}

fn json_of(value: DeValue<'_>) -> Result<Value> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => {
            let text = integer.as_str().replace('_', "");
            Value::from(i64::from_str_radix(&text, integer.radix())?)
        }
        DeValue::Float(float) => number(float.as_str().replace('_', "").parse()?)?,
        DeValue::Boolean(boolean) => Value::Bool(boolean),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(array) => array
            .into_iter()
            .map(|value| json_of(value.into_inner()))
            .collect::<Result<Vec<Value>>>()?
            .into(),
        DeValue::Table(table) => {
            let mut map = Map::new();
            for (key, value) in table {
                map.insert(key.into_inner().into_owned(), json_of(value.into_inner())?);
            }
            Value::Object(map)
        }
    })
}

fn number(value: f64) -> Result<Value> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| anyhow!("{value} is no figure"))
}

/// A value of the command line: a number where it is one.
fn literal(text: &str) -> Value {
    let integer = text.parse::<i64>().ok().map(Value::from);
    let float = || text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    let boolean = || text.parse::<bool>().ok().map(Value::Bool);
    integer.or_else(float).or_else(boolean).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn apply(
    table: &mut Map<String, Value>,
    parameters: &mut Map<String, Value>,
    key: &str,
    value: Value,
) -> Result<()> {
    if let Some(parameter) = parameters.get_mut(key) {
        *parameter = value;
        return Ok(());
    }
    if matches!(key, "start" | "duration_s") {
        table.insert(key.to_owned(), value);
        return Ok(());
    }
    let known = || parameters.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some((label, field)) = key.split_once('.') else {
        bail!(
            "there is no parameter {key}; there are: {}, and LABEL.FIELD of a behaviour",
            known()
        );
    };
    let labelled = |entry: &&mut Value| entry.get("label").and_then(Value::as_str) == Some(label);
    let behaviours = table.get_mut("behaviour").and_then(Value::as_array_mut);
    let mut found = false;
    for entry in behaviours.into_iter().flatten().filter(labelled) {
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(field.to_owned(), value.clone());
            found = true;
        }
    }
    if !found {
        bail!("there is no behaviour with the label {label}");
    }
    Ok(())
}

fn substitute(value: &mut Value, parameters: &Map<String, Value>) -> Result<()> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix('$') {
                let parameter = parameters.get(name);
                *value = parameter.ok_or_else(|| anyhow!("there is no parameter {name}"))?.clone();
            }
        }
        Value::Array(values) => {
            for value in values {
                substitute(value, parameters)?;
            }
        }
        Value::Object(map) => {
            for value in map.values_mut() {
                substitute(value, parameters)?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
start = "2026-03-02T09:00:00Z"
duration_s = 60
[parameters]
strength = 10
[[host]]
name = "a"
address = "10.0.0.1"
[[behaviour]]
kind = "udp_flood"
label = "flood"
from = "a"
to = "a"
rate_per_s = "$strength"
"#;

    fn set(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn parameters_and_fields_can_be_set() {
        assert_eq!(parse(TEXT, &[]).unwrap().behaviours[0].rate_per_s, Some(10.0));
        let stronger = parse(TEXT, &set("strength", "2.5")).unwrap();
        assert_eq!(stronger.behaviours[0].rate_per_s, Some(2.5));
        let other = parse(TEXT, &set("flood.payload_bytes", "99")).unwrap();
        assert_eq!(other.behaviours[0].payload_bytes, Some(99));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let error =
            |text: &str, set: &[(String, String)]| parse(text, set).unwrap_err().to_string();
        assert!(error(TEXT, &set("force", "1")).contains("strength"));
        assert!(error(TEXT, &set("flud.port", "1")).contains("flud"));
        assert!(error(TEXT, &set("flood.colour", "1")).contains("behaviour 1 (flood)"));
        assert!(error(&TEXT.replace("$strength", "$nothing"), &[]).contains("nothing"));
    }

    #[test]
    fn every_embedded_scenario_can_be_read() {
        for (name, _) in EMBEDDED {
            load(name, &[]).unwrap();
        }
    }
}

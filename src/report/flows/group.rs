//! Sums of flows by keys.
//!
//! Bounded: [`MOST_GROUPS`]; flows of further keys are summed up as one, `(others)`,
//! and it is said.

use std::collections::HashMap;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::field::{Field, sum};

/// About 200 MB of keys.
const MOST_GROUPS: usize = 1_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub flows: u64,
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
}

/// By what the top is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    Flows,
    Packets,
    Bytes,
    Payload,
}

#[derive(Debug)]
pub struct Groups {
    by: Vec<Field>,
    groups: HashMap<Vec<String>, Sums>,
    /// Of keys that had no place.
    pub others: Sums,
    pub total: Sums,
}

impl Sums {
    fn of(flow: &Value) -> Self {
        Self {
            flows: 1,
            packets: sum(flow, "packets"),
            wire_bytes: sum(flow, "wire_bytes"),
            payload_bytes: sum(flow, "payload_bytes"),
        }
    }

    fn add(&mut self, other: Self) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets = self.packets.saturating_add(other.packets);
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
    }

    fn measure(self, by: Measure) -> u64 {
        match by {
            Measure::Flows => self.flows,
            Measure::Packets => self.packets,
            Measure::Bytes => self.wire_bytes,
            Measure::Payload => self.payload_bytes,
        }
    }
}

impl Groups {
    pub fn new(by: Vec<Field>) -> Self {
        Self { by, groups: HashMap::new(), others: Sums::default(), total: Sums::default() }
    }

    pub fn add(&mut self, flow: &Value) {
        let sums = Sums::of(flow);
        self.total.add(sums);
        let key: Vec<String> = self.by.iter().map(|field| key_of(field, flow)).collect();
        let room = self.groups.len() < MOST_GROUPS;
        match self.groups.get_mut(&key) {
            Some(group) => group.add(sums),
            None if room => {
                self.groups.insert(key, sums);
            }
            None => self.others.add(sums),
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Most first; of equals by their keys.
    pub fn top(&self, by: Measure, most: usize) -> Vec<(&[String], Sums)> {
        let mut all: Vec<_> =
            self.groups.iter().map(|(key, &sums)| (key.as_slice(), sums)).collect();
        all.sort_by(|(key, sums), (other_key, other)| {
            other.measure(by).cmp(&sums.measure(by)).then_with(|| key.cmp(other_key))
        });
        all.truncate(most);
        all
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by.iter().map(Field::name)
    }
}

/// `-` where a flow has nothing there.
fn key_of(field: &Field, flow: &Value) -> String {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let values: Vec<String> = field.values(flow).map(text).collect();
    if values.is_empty() { "-".to_owned() } else { values.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_process_is_summed_up_by_its_name() {
        let flow = |pid: u32| json!({"src_host": {"process": {"name": "curl", "pid": pid}}});
        let by = Field::parse("process").and_then(|field| field.compared()).unwrap();
        let mut groups = Groups::new(vec![by]);
        groups.add(&flow(1));
        groups.add(&flow(2));
        let top = groups.top(Measure::Flows, 9);
        assert_eq!(top.iter().map(|(key, _)| key.join("")).collect::<Vec<_>>(), ["curl"]);
        assert_eq!(groups.names().collect::<Vec<_>>(), ["process"]);
    }

    #[test]
    fn groups_are_summed_and_the_top_is_stable() {
        let flow = |ip: &str, bytes: u64| json!({"src_ip": ip, "fwd": {"packets": 1, "wire_bytes": bytes}, "rev": {"packets": 2}});
        let mut groups = Groups::new(vec![Field::parse("src_ip").unwrap()]);
        for flow in [flow("b", 5), flow("a", 5), flow("c", 3), flow("c", 3), json!({})] {
            groups.add(&flow);
        }
        let keys = |by| -> Vec<String> {
            groups.top(by, 3).into_iter().map(|(key, _)| key.join("")).collect()
        };
        assert_eq!(keys(Measure::Bytes), ["c", "a", "b"]);
        assert_eq!(keys(Measure::Flows), ["c", "-", "a"]);
        assert_eq!(groups.total, Sums { flows: 5, packets: 12, wire_bytes: 16, payload_bytes: 0 });
    }
}

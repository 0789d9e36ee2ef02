//! Azure flow logs: of network security groups (NSG) and of virtual networks.
//!
//! A record is what one interface saw in a minute: by rule, tuples of flows. Which
//! of the two logs it is shows where the tuples lie in it, and they are read
//! accordingly: both have 13 values, of other meanings. Start at [`Log`].

mod level;
#[cfg(test)]
mod tests;
mod tuple;
mod updates;

use std::sync::Arc;

use self::level::{Level, Shape};
use self::tuple::Tuple;
use self::updates::Updates;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::observation::Labels;

const NSG_CATEGORY: &str = "NetworkSecurityGroupFlowEvent";
const VNET_CATEGORY: &str = "FlowLogFlowEvent";

/// Collected each minute, a flow that lasts every five; written some minutes later.
const LATENESS_S: i64 = 600;

pub(super) static NSG: Kind = Kind {
    name: "azure-nsg",
    title: "Azure network security group flow log",
    gives: Gives::Flows,
    versions: "1 and 2",
    source: "Azure Network Watcher: Flow logging for network security groups",
    sample: r#"{"records":[{"time":"2026-03-01T10:15:00Z","systemId":"s","category":"NetworkSecurityGroupFlowEvent","resourceId":"/N","operationName":"NetworkSecurityGroupFlowEvents","properties":{"Version":2,"flows":[{"rule":"UserRule_out","flows":[{"mac":"000D3A000001","flowTuples":["1772360100,10.0.0.6,203.0.113.9,40112,53,U,O,A,E,120,9600,0,0"]}]}]}}]}"#,
    sees: "egress volume, concentration and protocols per interface (AN0972), what rules denied",
    absent: "all but TCP and UDP: no ICMP, no GRE; TCP flags; sizes and times of packets; of \
        version 1 packets and bytes",
    lateness_s: LATENESS_S,
    framing: Framing::LargeJson,
    recognise: |head| is_category(head, NSG_CATEGORY),
    decoder,
};

pub(super) static VNET: Kind = Kind {
    name: "azure-vnet",
    title: "Azure virtual network flow log",
    gives: Gives::Flows,
    versions: "4",
    source: "Azure Network Watcher: Virtual network flow logs",
    sample: r#"{"records":[{"time":"2026-03-01T10:15:00Z","flowLogVersion":4,"flowLogGUID":"g","macAddress":"000D3A000001","category":"FlowLogFlowEvent","flowLogResourceID":"/F","targetResourceID":"/V","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"AllowOut","flowTuples":["1772360100123,10.0.0.6,203.0.113.9,40112,53,17,O,E,NX,120,9600,0,0"]}]}]}}]}"#,
    sees: "egress volume, concentration and protocols per interface (AN0972), what rules denied",
    absent: "TCP flags; sizes and times of packets; ICMP types",
    lateness_s: LATENESS_S,
    framing: Framing::LargeJson,
    recognise: |head| is_category(head, VNET_CATEGORY),
    decoder,
};

fn is_category(head: &Head<'_>, category: &str) -> bool {
    if head.json.is_some() {
        return head.json_text("/category") == Some(category);
    }
    // Records are often longer than the first bytes; the category comes early in them.
    let quoted = format!("\"{category}\"");
    head.bytes.trim_ascii_start().starts_with(b"{")
        && memchr::memmem::find(head.bytes, b"\"category\"").is_some()
        && memchr::memmem::find(head.bytes, quoted.as_bytes()).is_some()
}

fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Log { updates: Updates::default() }))
}

/// Reads either log.
struct Log {
    updates: Updates,
}

impl Decoder for Log {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let mut json = serde_json::Deserializer::from_slice(record);
        let level = Level::read(&mut json).map_err(|error| Bad {
            reason: "no record of a flow log",
            detail: error.to_string(),
        })?;
        let mut groups = Groups { updates: &mut self.updates, out, flows: 0, first_bad: None };
        groups.level(&level, &Around::default());
        let (flows, first_bad) = (groups.flows, groups.first_bad);
        match first_bad {
            Some(bad) if flows == 0 => Err(bad),
            None if flows == 0 => {
                // Another log of Azure's in the same file, or a minute without a flow.
                match level.category.as_deref() {
                    Some(NSG_CATEGORY | VNET_CATEGORY) => out.pass("no flows"),
                    Some(_) => out.pass("another category"),
                    None => return Err(Bad::new("neither flows nor a category")),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What the levels around a tuple say of it.
#[derive(Clone, Default)]
struct Around {
    shape: Option<Shape>,
    /// Interface that counted.
    mac: Option<Arc<str>>,
    /// Group, network or interface that the log is about.
    resource: Option<Arc<str>>,
    acl: Option<Arc<str>>,
    rule: Option<Arc<str>>,
}

/// Walks a record.
struct Groups<'a> {
    updates: &'a mut Updates,
    out: &'a mut Out,
    flows: usize,
    first_bad: Option<Bad>,
}

impl Groups<'_> {
    fn level(&mut self, level: &Level<'_>, around: &Around) {
        let names = &mut self.out.names;
        let mut name = |text: &Option<std::borrow::Cow<'_, str>>, outer: &Option<Arc<str>>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| names.of(text.as_bytes())).or_else(|| outer.clone())
        };
        let around = Around {
            shape: level.shape.or(around.shape),
            mac: name(&level.mac, &around.mac),
            resource: name(&level.resource, &around.resource),
            acl: name(&level.acl, &around.acl),
            rule: name(&level.rule, &around.rule),
        };
        for name in &level.unknown {
            self.out.unknown_field(name);
        }
        if !level.tuples.is_empty() {
            self.tuples(&level.tuples, &around);
        }
        for inner in &level.inner {
            self.level(inner, &around);
        }
    }

    fn tuples(&mut self, tuples: &[std::borrow::Cow<'_, str>], around: &Around) {
        let labels = self.labels(around);
        let observer = around.mac.as_ref().or(around.resource.as_ref());
        let observer = observer.cloned().unwrap_or_default();
        for tuple in tuples {
            let read = around
                .shape
                .ok_or_else(|| Bad::new("tuples at an unknown place"))
                .and_then(|shape| Tuple::read(shape, tuple.as_bytes(), self.out));
            match read {
                Ok(tuple) => {
                    let start_ns = self.updates.start_ns(&tuple, &observer);
                    let flow = tuple.report(start_ns, &observer, &labels, self.out);
                    self.out.flow(flow);
                    self.flows += 1;
                }
                Err(bad) => {
                    self.out.bad_part(bad.reason);
                    self.first_bad.get_or_insert(bad);
                }
            }
        }
    }

    fn labels(&mut self, around: &Around) -> Labels {
        let named = [
            (label::RULE, &around.rule),
            (label::MAC, &around.mac),
            ("azure.acl", &around.acl),
            ("azure.resource", &around.resource),
        ];
        let known = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        known.map(|(name, value)| (self.out.names.of(name.as_bytes()), value)).collect()
    }
}

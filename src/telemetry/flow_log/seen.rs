//! What tests look at.

use crate::telemetry::decode::Out;
use crate::telemetry::kind::{Head, recognise};
use crate::telemetry::observation::{FlowReport, Observation};

pub(super) fn flows(out: &Out) -> Vec<&FlowReport> {
    let mut flows = Vec::new();
    for observation in &out.observations {
        match observation {
            Observation::Flow(flow) => flows.push(&**flow),
            Observation::Gap(_) => {}
            other => panic!("{other:?}"),
        }
    }
    flows
}

pub(super) fn label<'a>(flow: &'a FlowReport, name: &str) -> Option<&'a str> {
    flow.labels.iter().find(|(label, _)| &**label == name).map(|(_, value)| &**value)
}

pub(super) fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    recognise(&Head::new(bytes, true)).map(|kind| kind.name)
}

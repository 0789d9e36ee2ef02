//! `crictl statsp -o json`: what a CRI runtime (containerd, CRI-O) counts of pods.
//!
//! `crictl stats` of containers has no network: pods have it.

use serde_json::Value;

use super::snapshot::totals;
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::json::{member, name, number, text};
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::{CounterSample, Subject};

pub(super) static KIND: Kind = Kind {
    name: "cri-pod-stats",
    title: "crictl statsp",
    gives: Gives::Counters,
    versions: "CRI v1 as JSON, up to 1 MiB a snapshot",
    source: "Kubernetes CRI API, PodSandboxStats and NetworkUsage",
    sample: "{\"stats\":[{\"attributes\":{\"id\":\"0a1b2c3d4e5f\",\"metadata\":{\"name\":\"web-0\",\"uid\":\"u-1\",\"namespace\":\"shop\",\"attempt\":0}},\
        \"linux\":{\"network\":{\"timestamp\":\"1772360102114903000\",\"defaultInterface\":{\"name\":\"eth0\",\"rxBytes\":{\"value\":\"227590\"},\
        \"rxErrors\":{\"value\":\"0\"},\"txBytes\":{\"value\":\"226478\"},\"txErrors\":{\"value\":\"0\"}},\"interfaces\":[]}}}]}\n",
    sees: "bytes per pod and interface",
    absent: "packets, drops, image; containers of one pod apart (they share its network)",
    // Runtimes sample every 10 s.
    lateness_s: 10,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/stats/0/attributes/metadata/namespace", "/stats/0/linux"])
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Cri { host: context.host.clone().unwrap_or_default() }))
}

struct Cri {
    host: std::sync::Arc<str>,
}

impl Decoder for Cri {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let value: Value = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "no JSON object", detail: error.to_string() })?;
        let pods = value.get("stats").and_then(Value::as_array);
        for pod in pods.ok_or_else(|| Bad::new("no stats"))? {
            self.pod(pod, out);
        }
        Ok(())
    }
}

impl Cri {
    fn pod(&self, pod: &Value, out: &mut Out) {
        let Some(network) = pod.pointer("/linux/network").filter(|network| !network.is_null())
        else {
            out.pass("pod without a network of its own");
            return;
        };
        let time_ns =
            network.get("timestamp").and_then(number).and_then(|ns| i64::try_from(ns).ok());
        let Some(time_ns) = time_ns else {
            out.bad_part("pod without a time");
            return;
        };
        let first = member(network, "defaultInterface");
        let others = network.get("interfaces").and_then(Value::as_array).into_iter().flatten();
        let name_of = |interface: &Value| interface.get("name").and_then(text).map(str::to_owned);
        let first_name = first.and_then(name_of);
        // Some runtimes list the default one again.
        let others = others.filter(|other| name_of(other) != first_name);
        for interface in first.into_iter().chain(others) {
            let mut of = |pointer: &str| {
                let value = pod.pointer(pointer).and_then(|value| name(value, &mut out.names));
                value.unwrap_or_default()
            };
            let subject = Subject {
                host: self.host.clone(),
                container: of("/attributes/id"),
                pod: of("/attributes/metadata/name"),
                namespace: of("/attributes/metadata/namespace"),
                interface: interface
                    .get("name")
                    .and_then(|value| name(value, &mut out.names))
                    .unwrap_or_default(),
                ..Subject::default()
            };
            let count = |key: &str| member(interface, key).and_then(wrapped);
            out.counter(CounterSample {
                received_bytes: count("rxBytes"),
                sent_bytes: count("txBytes"),
                ..totals(time_ns, subject)
            });
        }
    }
}

/// protobuf's wrapper of a number that may be absent: `{"value":"1"}`, or bare.
fn wrapped(value: &Value) -> Option<u64> {
    number(value.get("value").unwrap_or(value))
}

//! The stream of Docker's engine at `/containers/ID/stats`: exact totals by interface.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::snapshot::{name, totals};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::{CounterSample, Subject};
use crate::telemetry::text::rfc3339_ns;

pub(super) static KIND: Kind = Kind {
    name: "docker-api-stats",
    title: "Docker engine API, container stats",
    gives: Gives::Counters,
    versions: "engine API 1.21 and up, stream or one-shot",
    source: "Docker 20.10.24 GET /containers/NAME/stats",
    sample: "{\"read\":\"2026-03-01T10:15:02.114903Z\",\"preread\":\"2026-03-01T10:15:01.114201Z\",\"pids_stats\":{\"current\":1},\
        \"cpu_stats\":{\"cpu_usage\":{\"total_usage\":22682378}},\"name\":\"/job-1\",\
        \"id\":\"0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9\",\
        \"networks\":{\"eth0\":{\"rx_bytes\":227590,\"rx_packets\":171,\"rx_errors\":0,\"rx_dropped\":0,\
        \"tx_bytes\":226478,\"tx_packets\":159,\"tx_errors\":0,\"tx_dropped\":0}}}\n",
    sees: "bytes, packets and drops per container and interface (AN0083)",
    absent: "image; containers on the host's network; who it was exchanged with",
    // Written as it is read.
    lateness_s: 0,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_has(&["/read", "/preread", "/cpu_stats"])
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(DockerApi { host: context.host.clone().unwrap_or_default() }))
}

struct DockerApi {
    host: std::sync::Arc<str>,
}

#[derive(Deserialize)]
struct Stats<'a> {
    #[serde(borrow, default)]
    read: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    networks: Option<Networks<'a>>,
}

/// In the order of the record.
struct Networks<'a>(Vec<(Cow<'a, str>, Network)>);

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    rx_bytes: Option<u64>,
    #[serde(default)]
    rx_packets: Option<u64>,
    #[serde(default)]
    rx_dropped: Option<u64>,
    #[serde(default)]
    tx_bytes: Option<u64>,
    #[serde(default)]
    tx_packets: Option<u64>,
    #[serde(default)]
    tx_dropped: Option<u64>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Networks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Networks<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("networks by interface")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Networks<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Networks(all))
            }
        }

        deserializer.deserialize_map(All)
    }
}

impl Decoder for DockerApi {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let stats: Stats<'_> = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "not a container", detail: error.to_string() })?;
        // What Go prints of no time.
        if stats.read.starts_with("0001-01-01") {
            out.pass("container that is not running");
            return Ok(());
        }
        let time_ns = rfc3339_ns(stats.read.as_bytes())
            .ok_or_else(|| Bad::value("not a time", stats.read.as_bytes()))?;
        if stats.id.is_empty() && stats.name.is_empty() {
            return Err(Bad::new("no container"));
        }
        let Some(Networks(networks)) = stats.networks else {
            out.pass("container without a network of its own");
            return Ok(());
        };
        let container = name(&stats.id, &mut out.names);
        let container_name = name(stats.name.trim_start_matches('/'), &mut out.names);
        for (interface, network) in networks {
            let subject = Subject {
                host: self.host.clone(),
                container: container.clone(),
                container_name: container_name.clone(),
                interface: name(&interface, &mut out.names),
                ..Subject::default()
            };
            out.counter(CounterSample {
                received_bytes: network.rx_bytes,
                received_packets: network.rx_packets,
                received_drops: network.rx_dropped,
                sent_bytes: network.tx_bytes,
                sent_packets: network.tx_packets,
                sent_drops: network.tx_dropped,
                ..totals(time_ns, subject)
            });
        }
        Ok(())
    }
}

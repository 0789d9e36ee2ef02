//! Prometheus' text format: network counters of node_exporter and cAdvisor.
//!
//! One scrape has a metric after the other, each of all interfaces: a sample is put
//! together over all of a scrape, which ends with `# EOF`, with the next time of a
//! recorder ([`super::snapshot`]) or where its first metric comes again. Any other
//! metric is passed over.

mod line;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem;

use super::snapshot::{Snapshots, is_recorder_line, name, totals};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::{CounterSample, Subject};
use line::Line;

pub(super) static KIND: Kind = Kind {
    name: "prometheus",
    title: "Prometheus text format (node_exporter, cAdvisor)",
    gives: Gives::Counters,
    versions: "text format 0.0.4 and OpenMetrics 1.0; node_network_* and container_network_*; without time stamps a line of `date +%s.%N` before each scrape",
    source: "node_exporter 1.5.0; cAdvisor documentation, Prometheus metrics; Prometheus documentation, exposition formats",
    sample: "1772360102.114903000\n\
        # HELP node_network_receive_bytes_total Network device statistic receive_bytes.\n\
        # TYPE node_network_receive_bytes_total counter\n\
        node_network_receive_bytes_total{device=\"eth0\"} 4.61746886e+08\n\
        # TYPE node_network_transmit_bytes_total counter\n\
        node_network_transmit_bytes_total{device=\"eth0\"} 1.142863e+06\n\
        # TYPE container_network_transmit_bytes_total counter\n\
        container_network_transmit_bytes_total{id=\"/docker/0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9\",\
        image=\"shop/web:1\",interface=\"eth0\",name=\"web-1\"} 226478 1772360101900\n",
    sees: "bytes, packets and drops per host interface, container and pod (AN0083)",
    absent: "who it was exchanged with; containers of one pod apart (they share its network)",
    // In a recording a scrape is whole when the next begins, usually within a minute;
    // cAdvisor's own sampling is up to 15 s behind that.
    lateness_s: 75,
    framing: Framing::Lines,
    recognise,
    decoder,
};

/// Metrics of one scrape that are put together: a node has some thousand containers.
const MAX_SAMPLES: usize = 1 << 16;

fn recognise(head: &Head<'_>) -> bool {
    let mut lines = head.lines.iter().skip_while(|line| is_recorder_line(line));
    let Some(first) = lines.next() else { return false };
    // A scrape, or what a filter left of one.
    (first.starts_with(b"# HELP ") || first.starts_with(b"# TYPE "))
        && head.lines.iter().any(|line| is_type(line))
        || [&b"node_network_"[..], b"container_network_"].iter().any(|name| first.starts_with(name))
            && memmem::find(first, b"_total{").is_some()
}

/// `# TYPE name counter`
fn is_type(line: &[u8]) -> bool {
    const TYPES: &[&[u8]] =
        &[b"counter", b"gauge", b"summary", b"histogram", b"untyped", b"unknown", b"info"];
    line.strip_prefix(b"# TYPE ").is_some_and(|rest| {
        let mut words = rest.split(|&byte| byte == b' ');
        words.next().is_some()
            && words.next().is_some_and(|kind| TYPES.contains(&kind))
            && words.next().is_none()
    })
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Prometheus {
        snapshots: Snapshots::new(context),
        node: Arc::default(),
        scrape: Vec::new(),
        of_subject: HashMap::default(),
    }))
}

struct Prometheus {
    snapshots: Snapshots,
    /// Name of the host as node_exporter has it in the same scrape.
    node: Arc<str>,
    scrape: Vec<(Option<i64>, CounterSample)>,
    of_subject: HashMap<Subject, usize, ahash::RandomState>,
}

impl Decoder for Prometheus {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if is_recorder_line(record) {
            self.end_scrape(out);
            self.snapshots.recorder_line(record, out);
            return Ok(());
        }
        if record.starts_with(b"#") {
            if record == b"# EOF" {
                self.end_scrape(out);
            }
            return Ok(());
        }
        let (metric, rest) = line::name(record);
        if metric == b"node_uname_info" {
            let line = Line::of(rest)?;
            self.node = name(line.label("nodename").unwrap_or_default(), &mut out.names);
            return Ok(());
        }
        let Some((family, count)) = measured(metric) else {
            out.pass("other metric");
            return Ok(());
        };
        self.take(family, count, &Line::of(rest)?, out)
    }

    fn end(&mut self, out: &mut Out) {
        self.end_scrape(out);
        self.snapshots.end(out);
    }
}

/// Whose metric it is.
#[derive(Clone, Copy)]
enum Family {
    Node,
    Container,
}

/// Where a metric's value goes.
type Count = fn(&mut CounterSample) -> &mut Option<u64>;

/// Whose metric it is, and what it counts. Before 0.16 node_exporter's had no `_total`.
fn measured(metric: &[u8]) -> Option<(Family, Count)> {
    let (family, rest) = if let Some(rest) = metric.strip_prefix(b"node_network_") {
        (Family::Node, rest)
    } else {
        (Family::Container, metric.strip_prefix(b"container_network_")?)
    };
    let count: Count = match rest.strip_suffix(b"_total").unwrap_or(rest) {
        b"receive_bytes" => |sample| &mut sample.received_bytes,
        b"transmit_bytes" => |sample| &mut sample.sent_bytes,
        b"receive_packets" => |sample| &mut sample.received_packets,
        b"transmit_packets" => |sample| &mut sample.sent_packets,
        b"receive_drop" | b"receive_packets_dropped" => |sample| &mut sample.received_drops,
        b"transmit_drop" | b"transmit_packets_dropped" => |sample| &mut sample.sent_drops,
        _ => return None,
    };
    Some((family, count))
}

impl Prometheus {
    fn take(
        &mut self,
        family: Family,
        count: Count,
        line: &Line<'_>,
        out: &mut Out,
    ) -> Result<(), Bad> {
        let value = line.count()?;
        let time_ns = line.time_ns()?;
        let subject = subject(family, line, out);
        let again = self.of_subject.get(&subject).and_then(|&at| self.scrape.get_mut(at));
        if again.is_some_and(|(_, sample)| count(sample).is_some()) {
            // The next scrape has begun.
            self.end_scrape(out);
        }
        let at = match self.of_subject.get(&subject) {
            Some(&at) => at,
            None if self.scrape.len() >= MAX_SAMPLES => {
                return Err(Bad::new("too many in one scrape"));
            }
            None => {
                let mut sample = totals(0, subject.clone());
                sample.labels = further_labels(line, out);
                self.scrape.push((None, sample));
                self.of_subject.insert(subject, self.scrape.len() - 1);
                self.scrape.len() - 1
            }
        };
        if let Some((last_ns, sample)) = self.scrape.get_mut(at) {
            *count(sample) = Some(value);
            *last_ns = (*last_ns).max(time_ns);
        }
        Ok(())
    }

    fn end_scrape(&mut self, out: &mut Out) {
        self.of_subject.clear();
        let node = std::mem::take(&mut self.node);
        for (time_ns, sample) in std::mem::take(&mut self.scrape) {
            let mut subject = sample.subject.clone();
            if subject.host.is_empty() {
                subject.host = Arc::clone(&node);
            }
            let named = CounterSample { subject: self.snapshots.sample(subject).subject, ..sample };
            match time_ns {
                Some(time_ns) => out.counter(CounterSample { time_ns, ..named }),
                None => self.snapshots.add(named, out),
            }
        }
    }
}

/// Labels that are part of a subject. Of a federated or stored scrape `instance` is
/// the host.
fn subject(family: Family, line: &Line<'_>, out: &mut Out) -> Subject {
    let mut of = |labels: &[&str]| {
        let found =
            labels.iter().filter_map(|label| line.label(label)).find(|text| !text.is_empty());
        name(found.unwrap_or_default(), &mut out.names)
    };
    let host = of(&["instance"]);
    match family {
        Family::Node => Subject { host, interface: of(&["device"]), ..Subject::default() },
        Family::Container => Subject {
            host,
            container_name: of(&[
                "name",
                "container",
                "container_name",
                "container_label_io_kubernetes_container_name",
            ]),
            pod: of(&["pod", "pod_name", "container_label_io_kubernetes_pod_name"]),
            namespace: of(&["namespace", "container_label_io_kubernetes_pod_namespace"]),
            image: of(&["image"]),
            interface: of(&["interface"]),
            container: name(container_id(line.label("id").unwrap_or_default()), &mut out.names),
            ..Subject::default()
        },
    }
}

/// Of a control group's path the container's id where the path ends in one, else all
/// of it: `/docker/0a1b...`, `/system.slice/docker-0a1b....scope`, `/`.
fn container_id(path: &str) -> &str {
    const DIGITS: usize = 64;
    let last = path.rsplit('/').next().unwrap_or(path);
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let id = last.rsplit('-').next().unwrap_or(last);
    if id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { id } else { path }
}

/// All other labels, under the format's name.
fn further_labels(line: &Line<'_>, out: &mut Out) -> Vec<(Arc<str>, Arc<str>)> {
    const OF_SUBJECT: &[&str] = &[
        "instance",
        "device",
        "name",
        "container",
        "container_name",
        "pod",
        "pod_name",
        "namespace",
        "image",
        "interface",
        "id",
    ];
    let further = line
        .labels()
        .iter()
        .filter(|(name, value)| !OF_SUBJECT.contains(name) && !value.is_empty());
    further
        .map(|(name, value): &(&str, Cow<'_, str>)| {
            let name = out.names.of(format!("prometheus.{name}").as_bytes());
            (name, out.names.of(value.as_bytes()))
        })
        .collect()
}

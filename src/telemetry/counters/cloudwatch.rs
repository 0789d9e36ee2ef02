//! CloudWatch's NetworkIn, NetworkOut, NetworkPacketsIn and NetworkPacketsOut, as the
//! AWS command line exports them: `get-metric-statistics` and `get-metric-data`.
//!
//! Values are sums over periods. Neither export says how long a period is: it is the
//! least time between two of one instance, and of a single one 5 minutes, which is
//! CloudWatch's own without detailed monitoring. `get-metric-data` does not say which
//! statistic it has either: ask for the Sum. Which instance it is about stands in the
//! label of `get-metric-data` where several were asked for; else the user says.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::snapshot::{name, totals};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::json::text;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::sample::{CounterSample, Reading, Subject};
use crate::telemetry::text::rfc3339_ns;

const NS_PER_S: i64 = 1_000_000_000;
/// Without detailed monitoring.
const USUAL_PERIOD_NS: i64 = 300 * NS_PER_S;

pub(super) static KIND: Kind = Kind {
    name: "cloudwatch",
    title: "CloudWatch network metrics",
    gives: Gives::Counters,
    versions: "get-metric-statistics with Sum (or Average and SampleCount), get-metric-data with Sum; JSON up to 1 MiB a document",
    source: "Amazon CloudWatch API reference, GetMetricStatistics and GetMetricData; Amazon EC2 user guide, instance metrics",
    sample: "{\n    \"Label\": \"NetworkOut\",\n    \"Datapoints\": [\n        {\"Timestamp\": \"2026-03-01T10:15:00+00:00\", \"Sum\": 1234567.0, \"Unit\": \"Bytes\"},\n        \
        {\"Timestamp\": \"2026-03-01T10:20:00+00:00\", \"Sum\": 2345678.0, \"Unit\": \"Bytes\"}\n    ]\n}\n",
    sees: "bytes and packets per instance and period (AN0972)",
    absent: "interfaces, protocols, addresses; traffic within a period",
    // A period of 5 minutes, and what comes until then may come as late again.
    lateness_s: 600,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let is_metric = |pointer: &str| head.json_text(pointer).is_some();
    (head.json_has(&["/Datapoints"]) && is_metric("/Label"))
        || head.json_has(&["/MetricDataResults/0/Timestamps", "/MetricDataResults/0/Values"])
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(CloudWatch { host: context.host.clone().unwrap_or_default() }))
}

struct CloudWatch {
    host: Arc<str>,
}

impl Decoder for CloudWatch {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        let document: Value = serde_json::from_slice(record)
            .map_err(|error| Bad { reason: "no JSON object", detail: error.to_string() })?;
        let mut samples = Samples::default();
        if let Some(points) = document.get("Datapoints").and_then(Value::as_array) {
            let label = document.get("Label").and_then(text).unwrap_or_default();
            let points: Vec<_> = points.iter().map(statistics_point).collect();
            samples.take(&[label], points, &self.host, out);
        } else if let Some(results) = document.get("MetricDataResults").and_then(Value::as_array) {
            for result in results {
                let array = |key: &str| {
                    result.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
                };
                let (times, values) = (array("Timestamps"), array("Values"));
                if times.len() != values.len() {
                    out.bad_part("times without values");
                }
                let points = times.iter().zip(values).map(|(time, value)| {
                    Ok((time_ns(time).ok_or("not a time")?, value.as_f64().ok_or("not a number")?))
                });
                let of = |key: &str| result.get(key).and_then(text).unwrap_or_default();
                samples.take(&[of("Label"), of("Id")], points.collect(), &self.host, out);
            }
        } else {
            return Err(Bad::new("no data points"));
        }
        samples.tell(out);
        Ok(())
    }
}

/// Start of a period and its sum, or what is wrong.
type Point = Result<(i64, f64), &'static str>;

fn statistics_point(point: &Value) -> Point {
    let number = |key: &str| point.get(key).and_then(Value::as_f64);
    let start_ns = point.get("Timestamp").and_then(time_ns).ok_or("not a time")?;
    let scale = match point.get("Unit").and_then(text) {
        None | Some("Bytes" | "Count" | "None") => 1.0,
        Some("Kilobytes") => 1e3,
        Some("Megabytes") => 1e6,
        Some("Gigabytes") => 1e9,
        Some(_) => return Err("unit of another kind"),
    };
    let sum = number("Sum").or_else(|| Some(number("Average")? * number("SampleCount")?));
    Ok((start_ns, sum.ok_or("neither a sum nor an average of so many")? * scale))
}

/// ISO 8601, or seconds since the epoch as the command line's older form has them.
fn time_ns(time: &Value) -> Option<i64> {
    match time {
        Value::String(text) => rfc3339_ns(text.as_bytes()),
        Value::Number(number) => {
            let s = number.as_f64().filter(|s| (0.0..9e9).contains(s))?;
            Some((s * 1000.0).round() as i64 * 1_000_000)
        }
        _ => None,
    }
}

/// Where a metric's value goes.
type Count = fn(&mut CounterSample) -> &mut Option<u64>;

fn metric(word: &str) -> Option<Count> {
    Some(match word {
        "NetworkIn" => |sample| &mut sample.received_bytes,
        "NetworkOut" => |sample| &mut sample.sent_bytes,
        "NetworkPacketsIn" => |sample| &mut sample.received_packets,
        "NetworkPacketsOut" => |sample| &mut sample.sent_packets,
        _ => return None,
    })
}

/// `i-` and eight or seventeen hexadecimal digits.
fn is_instance(word: &str) -> bool {
    word.strip_prefix("i-").is_some_and(|id| {
        matches!(id.len(), 8 | 17) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Those of one document, by subject and start: metrics of one join.
#[derive(Default)]
struct Samples {
    of: BTreeMap<Subject, BTreeMap<i64, CounterSample>>,
}

impl Samples {
    fn take(&mut self, texts: &[&str], points: Vec<Point>, host: &Arc<str>, out: &mut Out) {
        let words = || {
            let is_end = |letter: char| !letter.is_ascii_alphanumeric() && letter != '-';
            texts.iter().flat_map(move |text| text.split(is_end))
        };
        let Some(count) = words().find_map(metric) else {
            out.pass("other metric");
            return;
        };
        let instance = words().find(|word| is_instance(word)).unwrap_or_default();
        let subject = Subject {
            host: Arc::clone(host),
            instance: name(instance, &mut out.names),
            ..Subject::default()
        };
        let periods = self.of.entry(subject.clone()).or_default();
        for point in points {
            match point {
                Ok((start_ns, sum)) if (0.0..1.8e19).contains(&sum.round()) => {
                    let sample = periods.entry(start_ns).or_insert_with(|| CounterSample {
                        reading: Reading::Since { start_ns },
                        ..totals(start_ns, subject.clone())
                    });
                    *count(sample) = Some(sum.round() as u64);
                }
                Ok(_) => out.bad_part("not a count"),
                Err(reason) => out.bad_part(reason),
            }
        }
    }

    fn tell(self, out: &mut Out) {
        for periods in self.of.into_values() {
            let starts: Vec<_> = periods.keys().copied().collect();
            let gaps = starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
            let period_ns = gaps.min().unwrap_or(USUAL_PERIOD_NS);
            for (start_ns, sample) in periods {
                let time_ns = start_ns.saturating_add(period_ns);
                out.counter(CounterSample { time_ns, ..sample });
            }
        }
    }
}

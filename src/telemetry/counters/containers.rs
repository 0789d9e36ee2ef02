//! What `docker stats` and `podman stats` print of each container, as JSON.
//!
//! Bytes are rounded to three or four digits: the label `rounded` says to how many
//! bytes, and two of them make no rate that is finer. They have no time: how to
//! record one, [`super::snapshot`]. The engine's API has both exactly
//! ([`super::docker_api`]).

use std::borrow::Cow;

use serde::Deserialize;

use super::snapshot::{Snapshots, is_recorder_line, name};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::label;
use crate::telemetry::sample::Subject;

const SEES: &str = "bytes received and sent per container (AN0083)";
const ABSENT: &str =
    "exact bytes (rounded), interfaces, packets, image; containers on the host's network (0B)";

pub(super) static DOCKER: Kind = Kind {
    name: "docker-stats",
    title: "docker stats",
    gives: Gives::Counters,
    versions: "Docker 17 and up: --format json or '{{json .}}', with a line of `date +%s.%N` before each snapshot",
    source: "Docker 20.10.24 docker stats --no-stream --format '{{json .}}'",
    sample: "1772360102.114903000\n\
        {\"BlockIO\":\"0B / 0B\",\"CPUPerc\":\"0.26%\",\"Container\":\"171dd26cd78c\",\"ID\":\"171dd26cd78c\",\"MemPerc\":\"0.00%\",\
        \"MemUsage\":\"344KiB / 23.54GiB\",\"Name\":\"job-1\",\"NetIO\":\"200kB / 1.99MB\",\"PIDs\":\"1\"}\n",
    sees: SEES,
    absent: ABSENT,
    // Written as it is read.
    lateness_s: 0,
    framing: Framing::Lines,
    recognise: |head| is_first(head, &["NetIO", "Container", "MemUsage"]),
    decoder,
};

pub(super) static PODMAN: Kind = Kind {
    name: "podman-stats",
    title: "podman stats",
    gives: Gives::Counters,
    versions: "Podman 3 and up: --format json, with a line of `date +%s.%N` before each snapshot",
    source: "Podman 4.3.1 podman stats --no-stream --format json",
    sample: "1772360102.114903000\n[\n {\n  \"id\": \"171dd26cd78c\",\n  \"name\": \"job-1\",\n  \"cpu_time\": \"1.2s\",\n  \
        \"cpu_percent\": \"0.26%\",\n  \"avg_cpu\": \"0.26%\",\n  \"mem_usage\": \"344kB / 25.28GB\",\n  \
        \"mem_percent\": \"0.00%\",\n  \"net_io\": \"200kB / 1.99MB\",\n  \"block_io\": \"0B / 0B\",\n  \"pids\": \"1\"\n }\n]\n",
    sees: SEES,
    absent: ABSENT,
    lateness_s: 0,
    framing: Framing::Lines,
    recognise: |head| is_first(head, &["net_io", "mem_usage", "cpu_time"]),
    decoder,
};

/// Behind what a recorder wrote, an object with these members.
fn is_first(head: &Head<'_>, members: &[&str]) -> bool {
    let mut objects = Objects::default();
    for line in head.lines.iter().filter(|line| !is_recorder_line(line)) {
        match objects.line(line) {
            Ok(None) => {}
            Ok(Some(object)) => {
                let value = serde_json::from_slice::<serde_json::Value>(object);
                return value
                    .is_ok_and(|value| members.iter().all(|name| value.get(name).is_some()));
            }
            Err(_) => return false,
        }
    }
    false
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Containers { snapshots: Snapshots::new(context), objects: Objects::default() }))
}

struct Containers {
    snapshots: Snapshots,
    objects: Objects,
}

#[derive(Deserialize)]
struct Stats<'a> {
    #[serde(borrow, default, rename = "ID", alias = "id")]
    id: Cow<'a, str>,
    /// What it was asked for by: name or id.
    #[serde(borrow, default, rename = "Container")]
    container: Cow<'a, str>,
    #[serde(borrow, default, rename = "Name", alias = "name")]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "NetIO", alias = "net_io")]
    net_io: Cow<'a, str>,
}

impl Decoder for Containers {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if self.objects.is_between() && self.snapshots.recorder_line(record, out) {
            return Ok(());
        }
        let Some(object) = self.objects.line(record)? else { return Ok(()) };
        let stats: Stats<'_> = serde_json::from_slice(object)
            .map_err(|error| Bad { reason: "not a container", detail: error.to_string() })?;
        if matches!(&*stats.net_io, "--" | "-- / --") {
            out.pass("container that is not running");
            return Ok(());
        }
        let bad = || Bad::value("no bytes received and sent", stats.net_io.as_bytes());
        let (received, sent) = stats.net_io.split_once('/').ok_or_else(bad)?;
        let (received, sent) = Rounded::of(received).zip(Rounded::of(sent)).ok_or_else(bad)?;
        let id = if stats.id.is_empty() { &stats.container } else { &stats.id };
        let subject = Subject {
            container: name(id, &mut out.names),
            container_name: name(&stats.name, &mut out.names),
            ..Subject::default()
        };
        if subject == Subject::default() {
            return Err(Bad::new("no container"));
        }
        let mut sample = self.snapshots.sample(subject);
        (sample.received_bytes, sample.sent_bytes) = (Some(received.bytes), Some(sent.bytes));
        let to = received.to_bytes.max(sent.to_bytes);
        if to > 1 {
            let value = out.names.of(to.to_string().as_bytes());
            sample.labels.push((out.names.of(label::ROUNDED.as_bytes()), value));
        }
        self.snapshots.add(sample, out);
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        self.snapshots.end(out);
    }
}

/// Objects out of lines: one on a line, or one over several as Podman has them, in
/// an array or not.
#[derive(Default)]
struct Objects {
    object: Vec<u8>,
    is_over: bool,
}

impl Objects {
    fn is_between(&self) -> bool {
        self.object.is_empty() || self.is_over
    }

    /// The object that ends with this line.
    fn line(&mut self, line: &[u8]) -> Result<Option<&[u8]>, Bad> {
        /// One container has some hundred bytes.
        const MOST_BYTES: usize = 1 << 14;
        if std::mem::take(&mut self.is_over) {
            self.object.clear();
        }
        let mut line = line.trim_ascii();
        if self.object.is_empty() {
            // docker stats clears the screen before each snapshot.
            let begin = line.iter().position(|&byte| byte == b'{');
            line = match (begin, line) {
                (Some(begin), _) => &line[begin..],
                (None, b"[" | b"]" | b"[]" | b"],") => return Ok(None),
                (None, _) => return Err(Bad::value("no JSON object", line)),
            };
        }
        if self.object.len() + line.len() > MOST_BYTES {
            self.object.clear();
            return Err(Bad::new("too long"));
        }
        self.object.extend_from_slice(line);
        // There are no objects in it.
        let end = self.object.iter().rposition(|&byte| !matches!(byte, b',' | b']' | b' '));
        match end {
            Some(end) if self.object[end] == b'}' => {
                self.is_over = true;
                Ok(Some(&self.object[..=end]))
            }
            _ => Ok(None),
        }
    }
}

/// A number of bytes with few digits.
struct Rounded {
    bytes: u64,
    /// What a last digit stands for.
    to_bytes: u64,
}

impl Rounded {
    /// `1.23MB`: units of 1000, as Docker and Podman print bytes of networks.
    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let letters = text.find(|letter: char| letter.is_ascii_alphabetic() && letter != 'e')?;
        let (number, unit) = text.split_at(letters);
        let unit: u64 = match unit {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "PB" => 1_000_000_000_000_000,
            "EB" => 1_000_000_000_000_000_000,
            _ => return None,
        };
        let value: f64 = number.parse().ok()?;
        let bytes = (value * unit as f64).round();
        if !(0.0..1.8e19).contains(&bytes) {
            return None;
        }
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let to_bytes = unit / 10_u64.checked_pow(u32::try_from(decimals).ok()?)?;
        Some(Self { bytes: bytes as u64, to_bytes: to_bytes.max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_bytes_say_to_what_they_are_rounded() {
        for (text, expected) in [
            ("0B", Some((0, 1))),
            ("648B", Some((648, 1))),
            ("200kB", Some((200_000, 1000))),
            (" 1.99MB ", Some((1_990_000, 10_000))),
            ("1e+03kB", Some((1_000_000, 1000))),
            ("12.3GB", Some((12_300_000_000, 100_000_000))),
            ("1.23456789012345678901234MB", None),
            ("-1kB", None),
            ("NaNB", None),
            ("1e300EB", None),
            ("12", None),
            ("12KiB", None),
            ("", None),
        ] {
            let rounded = Rounded::of(text).map(|rounded| (rounded.bytes, rounded.to_bytes));
            assert_eq!(rounded, expected, "{text}");
        }
    }
}

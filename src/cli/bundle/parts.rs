//! What goes into a bundle.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::archive::{ALERT, MOST_FILE_BYTES, Part, sha256};
use crate::cli::{alerts, packets, records};
use crate::report::explain;
use crate::report::flows::Owner;
use crate::time::rfc3339;

/// Flows of the entity: the first so many of its time.
const MOST_FLOWS: usize = 10_000;

pub(super) struct Parts<'a> {
    dir: &'a Path,
    alert: &'a Value,
    record: &'a Value,
    from_ns: i64,
    to_ns: i64,
    files: Vec<Part>,
    left_out: Vec<Value>,
}

pub(super) struct Finished {
    pub(super) manifest: Value,
    pub(super) files: Vec<Part>,
}

impl<'a> Parts<'a> {
    /// With everything that the run's own records hold but its flows.
    pub(super) fn new(dir: &'a Path, alert: &'a Value, record: &'a Value) -> anyhow::Result<Self> {
        let from_ns = packets::time_of(&alert["start"])?.saturating_sub(packets::AROUND_NS);
        let to_ns = packets::time_of(&alert["end"])?.saturating_add(packets::AROUND_NS);
        let mut parts =
            Self { dir, alert, record, from_ns, to_ns, files: Vec::new(), left_out: Vec::new() };
        parts.json(ALERT, "the alert as it was told", alert);
        parts.json("formula.json", "its figures redone, with formulas", &explain::redo(alert).json);
        let case = &alert["case"];
        if case.is_object() {
            let baseline = json!({
                "baseline": case["baseline"], "values": case["baseline_values"],
                "days": case["baseline_days"], "mature": case["baseline_mature"],
                "key": case["baseline_key"],
            });
            parts.json("baseline.json", "the entity's normal at that time", &baseline);
        } else {
            parts.leave("baseline", "the alert was held against an absolute threshold");
        }
        if case["process"].is_object() || case["workload"].is_object() {
            let tree = json!({
                "process": case["process"], "workload": case["workload"],
                "class": case["process_class"],
            });
            parts.json("process.json", "the process, its parents and its workload", &tree);
        } else {
            parts.leave("process tree", "no process is known for it");
        }
        if record.is_object() {
            // Where it was made is this machine's own.
            let mut record = record.clone();
            record.as_object_mut().and_then(|fields| fields.remove("folder"));
            parts.json("run.json", "inputs and configuration of the run", &record);
        } else {
            parts.leave("configuration", "the run has no run.json: it was read without --out");
        }
        let id = alert["id"].as_str().unwrap_or_default();
        let verdicts = alerts::verdicts_of(dir, id)?;
        if !verdicts.is_empty() {
            let lines: String = verdicts.iter().map(|verdict| format!("{verdict}\n")).collect();
            parts.push("verdicts.ndjson", "what analysts said of it", lines.into_bytes());
        }
        Ok(parts)
    }

    /// Adds the entity's flows from ten seconds before to ten after.
    pub(super) fn flows(&mut self) -> anyhow::Result<()> {
        let files = records::files_of(self.dir, "flows.ndjson")?;
        if files.is_empty()
            && let Some(why) = records::why_no_flows(self.dir)?
        {
            self.leave("flows", &format!("the run {why}"));
            return Ok(());
        }
        let owner = Owner::of(self.alert);
        let (from, to) = (rfc3339(self.from_ns), rfc3339(self.to_ns));
        let (mut text, mut flows, mut more) = (Vec::new(), 0, 0_u64);
        for path in files {
            records::each_line(&path, |line| {
                let Ok(flow) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
                // RFC 3339 with nine digits sorts as text.
                let of = |field: &str| flow[field].as_str().unwrap_or_default();
                let in_time = of("end") >= from.as_str() && of("start") <= to.as_str();
                if !in_time || !owner.has(&flow) {
                    return Ok(());
                }
                if flows >= MOST_FLOWS || (text.len() + line.len()) as u64 > MOST_FILE_BYTES {
                    more += 1;
                    return Ok(());
                }
                flows += 1;
                text.extend_from_slice(line.trim_ascii_end());
                text.push(b'\n');
                Ok(())
            })?;
        }
        if more > 0 {
            self.leave("other flows", &format!("{more} more than the first {flows}"));
        }
        let whose = if matches!(owner, Owner::Peers(_)) { "its peers" } else { "the entity" };
        if flows > 0 {
            let what = format!("flows of {whose}, 10 s around it too");
            self.push("flows.ndjson", &what, text);
        } else {
            self.leave("flows", &format!("the run has none of {whose} at that time"));
        }
        Ok(())
    }

    /// Adds the packets, or why there are none. False where captures that were named gave not
    /// all that they should.
    pub(super) fn packets(
        &mut self,
        from: &[PathBuf],
        unwanted: bool,
        output: &Path,
    ) -> anyhow::Result<bool> {
        if unwanted {
            self.leave("packets", "they were not asked for");
            return Ok(true);
        }
        if self.record["pseudonyms"] == true {
            self.leave("packets", "this run has pseudonyms, which no packet has");
            return Ok(true);
        }
        let to = output.with_extension("packets.pcapng");
        let taken = packets::take(self.record, self.alert, from, &to, false);
        let fits = fs::metadata(&to).is_ok_and(|about| about.len() <= MOST_FILE_BYTES);
        let bytes = match &taken {
            Ok(taken) if taken.packets > 0 && fits => {
                Some(fs::read(&to).with_context(|| format!("can't read {}", to.display())))
            }
            _ => None,
        };
        // Nothing is there where nothing was found.
        let _ = fs::remove_file(&to);
        let complete = from.is_empty() || taken.as_ref().is_ok_and(|taken| taken.unread.is_empty());
        if let Ok(taken) = &taken {
            taken.unread.iter().for_each(|why| self.leave("packets of one capture", why));
        }
        match (bytes, taken) {
            (Some(bytes), _) => {
                self.push("packets.pcapng", "packets before, during and after it", bytes?);
            }
            (None, Ok(taken)) => {
                let why = format!(
                    "{} packets are too many: take them by `flowtap show alert ID --pcap`",
                    taken.packets
                );
                self.leave("packets", &why);
            }
            (None, Err(error)) => self.leave("packets", &format!("{error:#}")),
        }
        Ok(complete)
    }

    /// With the manifest of all.
    pub(super) fn finish(self) -> anyhow::Result<Finished> {
        let mut manifest = super::manifest(self.alert, self.record);
        let mut list = Vec::new();
        for file in &self.files {
            list.push(json!({
                "name": file.name, "what": file.what, "bytes": file.bytes.len(),
                "sha256": sha256(&mut file.bytes.as_slice())?,
            }));
        }
        manifest["files"] = list.into();
        manifest["left_out"] = self.left_out.into();
        Ok(Finished { manifest, files: self.files })
    }

    fn json(&mut self, name: &'static str, what: &'static str, value: &Value) {
        self.push(name, what, format!("{value}\n").into_bytes());
    }

    fn push(&mut self, name: &'static str, what: &str, bytes: Vec<u8>) {
        self.files.push(Part { name, what: what.to_owned(), bytes });
    }

    fn leave(&mut self, what: &str, why: &str) {
        self.left_out.push(json!({"what": what, "why": why}));
    }
}

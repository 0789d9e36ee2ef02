//! Rows of osquery's table `process_events`, as its results log has them.

use serde_json::json;

use super::time_text;
use crate::host::process::Process;

pub(super) fn line(host: &str, process: &Process) -> String {
    let Some(started_ns) = process.started_ns else { return String::new() };
    let started_s = started_ns.div_euclid(1_000_000_000);
    let parent = process.parent.map_or(1, |parent| parent.pid);
    let row = json!({
        "name": "pack_lab_process_events", "hostIdentifier": host,
        "calendarTime": time_text(started_ns, "%a %b %e %H:%M:%S %Y UTC"),
        "unixTime": started_s + 1, "epoch": 0, "counter": 1, "numerics": false,
        "action": "added",
        "columns": {
            "pid": process.id.pid.to_string(), "parent": parent.to_string(),
            "path": process.exe, "cmdline": process.args.join(" "),
            "uid": process.uid.unwrap_or(0).to_string(), "auid": "4294967295",
            "time": started_s.to_string(), "uptime": (process.id.start_ticks / 100).to_string(),
        },
    });
    format!("{row}\n")
}

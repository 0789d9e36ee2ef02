//! How much of a run has a process: the table "Hosts".
//!
//! Works on the summary as it was written, so that one of an older version shows
//! too. Start at [`hosts`].

use serde_json::Value;

use super::detail::printable;
use super::terminal::{Style, bytes};
use crate::alert::thousands;

/// Flows, packets, bytes.
#[derive(Clone, Copy, Default)]
struct Row([u64; 3]);

impl Row {
    fn of(share: &Value) -> Self {
        Self(["flows", "packets", "wire_bytes"].map(|of| share[of].as_u64().unwrap_or_default()))
    }

    fn flows(self) -> u64 {
        self.0[0]
    }

    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].saturating_add(other.0[at])))
    }

    /// With the share of each figure in that of `whole`.
    fn line(self, name: &str, whole: Self) -> String {
        let [flows, packets, wire_bytes] = self.0;
        let [of_flows, of_packets, of_bytes] =
            std::array::from_fn(|at| percent(self.0[at], whole.0[at]));
        format!(
            "  {name:<22} {:>11} {of_flows:>6} {:>13} {of_packets:>6} {:>9} {of_bytes:>6}\n",
            thousands(flows),
            thousands(packets),
            bytes(wire_bytes)
        )
    }
}

/// Rounded down where it would be told as all, and up where as nothing.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let share = 100.0 * part as f64 / whole as f64;
    let shown = match share {
        _ if part < whole && share > 99.9 => 99.9,
        _ if part > 0 && share < 0.1 => 0.1,
        _ => share,
    };
    format!("{shown:.1}%")
}

/// The table of a summary's `coverage`. Shares are of the flows of hosts with a
/// map.
pub fn hosts(coverage: &Value, style: Style) -> String {
    let attributed = rows(&coverage["attributed"]);
    let unattributed = rows(&coverage["unattributed"]);
    let sum = |rows: &[(String, Row)]| rows.iter().fold(Row::default(), |sum, r| sum.plus(r.1));
    let (named, unnamed) = (sum(&attributed), sum(&unattributed));
    let all = named.plus(unnamed);
    let mut table = format!("{}\n", style.title("Hosts"));
    table.push_str(&format!("  {:<22} {:>11} {:>20} {:>16}\n", "", "flows", "packets", "bytes"));
    table.push_str(&named.line("with a process", all));
    for (method, row) in &attributed {
        table.push_str(&row.line(&format!("  by {}", printable(method)), all));
    }
    if unnamed.flows() > 0 {
        table.push_str(&unnamed.line("without", all));
        for (reason, row) in &unattributed {
            table.push_str(&row.line(&format!("  {}", reason_words(reason)), all));
        }
    }
    for (name, share) in [
        ("in containers", &coverage["in_workloads"]),
        ("with an instance", &coverage["with_instance"]),
    ] {
        let row = Row::of(share);
        if row.flows() > 0 {
            // Instances are also known of hosts without a map: no share of these.
            let whole = if name == "in containers" { all } else { Row::default() };
            table.push_str(&row.line(name, whole));
        }
    }
    let elsewhere = Row::of(&coverage["no_host"]);
    if elsewhere.flows() > 0 {
        table.push_str(&elsewhere.line("of no host with a map", Row::default()));
    }
    let unasked = Row::of(&coverage["not_looked_up"]);
    if unasked.flows() > 0 {
        table.push_str(&unasked.line("not looked up", Row::default()));
    }
    for note in notes(coverage) {
        table.push_str(&format!("  {}\n", style.warning(&note)));
    }
    table
}

/// The second table: each analytic, with what is missing for it. Nothing for a run of
/// an older version.
pub fn analytics(states: &Value, style: Style) -> String {
    let states = states.as_array().map(Vec::as_slice).unwrap_or_default();
    if states.is_empty() {
        return String::new();
    }
    let mut table = format!("\n{}\n", style.title("Analytics"));
    for state in states {
        let of = |field: &str| printable(state[field].as_str().unwrap_or_default()).into_owned();
        let share = |field: &str| 100.0 * state[field].as_f64().unwrap_or_default();
        table.push_str(&format!(
            "  {:<7} {:<8}  {:<50}  {:.1}% of flows and {:.1}% of bytes have {}\n",
            of("id"),
            of("state"),
            of("about"),
            share("flows_share"),
            share("bytes_share"),
            of("attributed_to")
        ));
        for gap in state["missing"].as_array().into_iter().flatten() {
            let of = |field: &str| printable(gap[field].as_str().unwrap_or_default()).into_owned();
            let line = format!("no {}: {}", of("what"), of("means"));
            let line = if gap["blind"] == true { style.warning(&line) } else { line };
            table.push_str(&format!("          {line}\n"));
        }
    }
    table
}

/// What makes the table worse than it could be.
fn notes(coverage: &Value) -> Vec<String> {
    let map = &coverage["map"];
    [
        (&map["lost_events"], "host events were lost: the watchers were too slow for them"),
        (&map["refused"], "sockets and processes found no room in the host map"),
        (&coverage["late_seconds"], "seconds were closed before the watchers were up to date"),
        (&map["unknown_events"], "host events are of kinds that this version does not know"),
    ]
    .into_iter()
    .filter_map(|(count, words)| {
        let count = count.as_u64().filter(|&count| count > 0)?;
        Some(format!("{} {words}", thousands(count)))
    })
    .collect()
}

/// Most flows first.
fn rows(shares: &Value) -> Vec<(String, Row)> {
    let mut rows: Vec<_> = shares
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, share)| (name.clone(), Row::of(share)))
        .collect();
    rows.sort_by_key(|(name, row)| (std::cmp::Reverse(row.flows()), name.clone()));
    rows
}

/// Why there is no process, for people.
pub(super) fn reason_words(reason: &str) -> String {
    match reason {
        "no_socket" => "no such socket".to_owned(),
        "no_process" => "held by no process".to_owned(),
        "outside_map" => "outside the map's time".to_owned(),
        "forwarded" => "only passing through".to_owned(),
        "events_lost" => "events were lost".to_owned(),
        "map_full" => "the map was full".to_owned(),
        "multicast" => "to a group".to_owned(),
        "broadcast" => "to all hosts of a link".to_owned(),
        other => printable(other).replace(['_', '\n'], " "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn share(flows: u64) -> Value {
        json!({"flows": flows, "packets": 10 * flows, "wire_bytes": 1000 * flows})
    }

    #[test]
    fn the_table_says_how_much_has_a_process_and_why_the_rest_has_none() {
        let coverage = json!({
            "attributed": {"ebpf": share(900), "sock_diag": share(60)},
            "unattributed": {"no_socket": share(30), "forwarded": share(10)},
            "no_host": share(5), "in_workloads": share(200), "with_instance": share(0),
            "late_seconds": 2,
            "map": {"events": 9, "unknown_events": 0, "lost_events": 1500, "refused": 0},
        });
        let expected = "\
Hosts
                               flows              packets            bytes
  with a process                 960  96.0%         9,600  96.0%  960.0 kB  96.0%
    by ebpf                      900  90.0%         9,000  90.0%  900.0 kB  90.0%
    by sock_diag                  60   6.0%           600   6.0%   60.0 kB   6.0%
  without                         40   4.0%           400   4.0%   40.0 kB   4.0%
    no such socket                30   3.0%           300   3.0%   30.0 kB   3.0%
    only passing through          10   1.0%           100   1.0%   10.0 kB   1.0%
  in containers                  200  20.0%         2,000  20.0%  200.0 kB  20.0%
  of no host with a map            5                   50           5.0 kB
  1,500 host events were lost: the watchers were too slow for them
  2 seconds were closed before the watchers were up to date
";
        let table = hosts(&coverage, Style::default());
        let trimmed: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_eq!(trimmed, expected);
    }

    #[test]
    fn nothing_is_told_as_all_or_none_that_is_not() {
        for (part, whole, expected) in [
            (9_999_999, 10_000_000, "99.9%"),
            (1, 10_000_000, "0.1%"),
            (0, 7, "0.0%"),
            (7, 7, "100.0%"),
            (0, 0, ""),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
    }

    #[test]
    fn a_summary_of_another_version_or_of_nobody_makes_a_table_all_the_same() {
        for odd in [json!(null), json!({}), json!({"attributed": {"\u{1b}[2J": 7}})] {
            let table = hosts(&odd, Style::default());
            assert!(table.starts_with("Hosts\n") && !table.contains('\u{1b}'), "{table}");
        }
    }
}

//! The table of flows: data for the script, which draws the rows that are looked at.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::collect::{KeptFlows, Row};
use super::markup::Html;
use crate::alert::thousands;

/// Columns with their kind: a text by its number in `strings`, a number, nanoseconds since
/// the epoch as microseconds since `base_ms`, microseconds, bytes, a port.
const COLUMNS: [(&str, &str); 12] = [
    ("Start", "time"),
    ("Duration", "duration"),
    ("Protocol", "text"),
    ("From", "text"),
    ("Port", "port"),
    ("To", "text"),
    ("Port", "port"),
    ("Packets", "number"),
    ("Sent", "bytes"),
    ("Received", "bytes"),
    ("State", "text"),
    ("About", "text"),
];

const PROCESS: (&str, &str) = ("Process", "text");

/// Texts by number: addresses and names come up again and again.
#[derive(Default)]
struct Strings<'a> {
    numbers: HashMap<std::borrow::Cow<'a, str>, usize>,
    texts: Vec<Value>,
}

impl<'a> Strings<'a> {
    fn number(&mut self, text: impl Into<std::borrow::Cow<'a, str>>) -> usize {
        let next = self.texts.len();
        let text = text.into();
        if let Some(&number) = self.numbers.get(&text) {
            return number;
        }
        self.texts.push(Value::String(text.clone().into_owned()));
        self.numbers.insert(text, next);
        next
    }
}

/// The section, with what was left out.
pub(super) fn section(html: &mut Html, flows: &KeptFlows) {
    let rows = flows.rows();
    html.heading("flows", "Flows");
    let offered = flows.offered();
    let left_out = offered - rows.len() as u64;
    if left_out > 0 {
        html.paragraph(&format!(
            "{} of {} flow records are here: the largest half of them by bytes, and a random \
             sample of the others. {} are left out.",
            thousands(rows.len() as u64),
            thousands(offered),
            thousands(left_out)
        ));
    } else {
        html.paragraph(&format!("All {} flow records.", thousands(offered)));
    }
    if rows.is_empty() {
        return;
    }
    html.raw("<div class=\"table lazy\" data-filter data-source=\"flow-data\"><table>");
    html.raw("<caption>Flows</caption><thead><tr></tr></thead><tbody></tbody></table>");
    html.raw("<p class=\"pages\"></p><noscript><p>The rows are drawn by a script.</p></noscript></div>\n");
    html.json("flow-data", &data(&rows));
}

fn data(rows: &[&Row]) -> String {
    let base_ms = rows.first().map_or(0, |row| row.start_ns.div_euclid(1_000_000));
    let with_process = rows.iter().any(|row| row.process.is_some());
    let columns: Vec<_> = COLUMNS.iter().chain(with_process.then_some(&PROCESS)).collect();
    let mut strings = Strings::default();
    strings.number("");
    let cells: Vec<Vec<i64>> = rows
        .iter()
        .map(|row| {
            let mut text = |text: String| strings.number(text) as i64;
            let mut cells = vec![
                row.start_ns.div_euclid(1_000).saturating_sub(base_ms.saturating_mul(1_000)),
                row.duration_ns.div_euclid(1_000),
                text(row.proto.to_owned()),
                text(row.src.0.to_string()),
                i64::from(row.src.1),
                text(row.dst.0.to_string()),
                i64::from(row.dst.1),
                number(row.packets),
                number(row.sent_bytes),
                number(row.received_bytes),
                text(row.state.replace('_', " ")),
                text(row.about.as_deref().unwrap_or_default().to_owned()),
            ];
            if with_process {
                cells.push(text(row.process.as_deref().unwrap_or_default().to_owned()));
            }
            cells
        })
        .collect();
    json!({"columns": columns, "base_ms": base_ms, "strings": strings.texts, "rows": cells})
        .to_string()
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

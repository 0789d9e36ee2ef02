//! What became of every packet, and what could be seen: accounting and coverage.
//! Start at [`accounting`] and [`coverage`].

use serde_json::Value;

use super::super::coverage::reason_words;
use super::super::detail::word;
use super::markup::{Cell, Html, Table};
use crate::alert::thousands;
use crate::output::Summary;
use crate::output::summary::{InputFile, LedgerSums};

/// Where each packet went. The rows add up to what was read.
pub(super) fn accounting(html: &mut Html, summary: &Summary) {
    html.heading("accounting", "Accounting");
    let mut table = Table::new("Every packet", &["Packets are", "Packets", "Bytes on the wire"]);
    let (packets, bytes) = (&summary.accounting.sums, &summary.accounting_bytes);
    type Of = fn(&LedgerSums) -> Option<u64>;
    let rows: [(&str, Of); 6] = [
        ("in flows", |sums| Some(sums.in_flows)),
        ("not IP", |sums| Some(sums.non_ip)),
        ("malformed", |sums| Some(sums.malformed)),
        ("filtered out", |sums| sums.filtered),
        ("duplicates", |sums| Some(sums.duplicate)),
        ("untracked: no room for their flow", |sums| Some(sums.untracked)),
    ];
    for (name, of) in rows {
        match (of(packets), of(bytes)) {
            (Some(packets), Some(bytes)) => {
                table.row(vec![name.into(), packets.into(), bytes.into()]);
            }
            _ => table.row(vec![
                "filtered out: by the kernel, which does not count them".into(),
                Cell::figure(None),
                Cell::figure(None),
            ]),
        }
    }
    table.row(vec!["all that was read".into(), summary.packets.into(), summary.wire_bytes.into()]);
    html.table(&table);

    let mut details = Table::new("More about packets and flows", &["What", "Kind", "Count"]);
    let ends = summary.flow_ends.iter().map(|(name, &count)| ("flows ended by", *name, count));
    let kinds = summary.accounting.non_ip_types.iter();
    let kinds = kinds.map(|(name, &count)| ("packets not IP", name.as_str(), count));
    let reasons = summary.accounting.malformed_reasons.iter();
    let reasons = reasons.map(|(name, &count)| ("packets malformed", name.as_str(), count));
    for (what, kind, count) in ends.chain(kinds).chain(reasons) {
        details.row(vec![what.into(), kind.replace('_', " ").into(), count.into()]);
    }
    for (kind, count) in [
        ("cut short by the capture", summary.cut_packets),
        ("late: their second was closed", summary.late_packets),
        ("with a time out of order", summary.backward_timestamps),
        ("with an impossible time", summary.time_anomalies),
        ("with an impossible length", summary.length_anomalies),
        ("records cut at a file's end", summary.truncated_records),
        ("flows evicted for room", summary.flows_evicted),
        ("addresses that top talkers were not chosen from", summary.talkers_dropped),
    ] {
        if count > 0 {
            details.row(vec!["notable".into(), kind.into(), count.into()]);
        }
    }
    if !details.is_empty() {
        html.table(&details);
    }
    protocols(html, summary);
    inputs(html, summary);
}

fn protocols(html: &mut Html, summary: &Summary) {
    let mut table = Table::new("Protocols", &["Protocol", "Packets", "Bytes", "Flows"]);
    for (name, protocol) in &summary.protocols {
        table.row(vec![
            name.clone().into(),
            protocol.packets.into(),
            Cell::bytes(protocol.wire_bytes),
            protocol.flows.into(),
        ]);
    }
    if !table.is_empty() {
        html.table(&table);
    }
}

/// What a capture says was lost before it was written.
fn lost_before(file: &InputFile) -> impl Iterator<Item = String> {
    let lost = [
        (file.interface_drops, "at its interfaces"),
        (file.system_drops, "in the system that captured"),
        (file.unplaced_drops, "before others that it has"),
    ];
    let lost = lost.into_iter().filter_map(|(packets, place)| Some((packets?, place)));
    let lost = lost.filter(|&(packets, _)| packets > 0);
    lost.map(|(packets, place)| format!("{} packets were lost {place}", thousands(packets)))
}

fn inputs(html: &mut Html, summary: &Summary) {
    let mut table = Table::new("What was read", &["Input", "Kind", "Records", "Bytes", "Trouble"]);
    for file in &summary.files {
        let trouble = lost_before(file).chain(file.warnings.iter().chain(&file.error).cloned());
        let trouble = trouble.collect::<Vec<_>>();
        table.row(vec![
            file.path.clone().into(),
            file.format.clone().into(),
            file.packets.into(),
            Cell::bytes(file.wire_bytes),
            trouble.join("; ").into(),
        ]);
    }
    for source in &summary.sources {
        let bad: u64 = source.bad.values().sum();
        let bad = (bad > 0).then(|| format!("{bad} records left out"));
        let trouble: Vec<String> = bad.into_iter().chain(source.error.clone()).collect();
        table.row(vec![
            source.path.clone().into(),
            source.kind.into(),
            source.records.into(),
            Cell::bytes(source.bytes),
            trouble.join("; ").into(),
        ]);
    }
    for tap in summary.capture.iter().flat_map(|capture| &capture.interfaces) {
        let lost = tap.kernel_drops.saturating_add(tap.interface_drops);
        table.row(vec![
            tap.name.clone().into(),
            "interface".into(),
            tap.packets.into(),
            Cell::bytes(tap.wire_bytes),
            if lost > 0 { format!("{lost} packets were lost").into() } else { "".into() },
        ]);
    }
    if !table.is_empty() {
        html.table(&table);
    }
}

/// Which analytics could see anything, and how much of it has a process.
pub(super) fn coverage(html: &mut Html, summary: &Summary) {
    html.heading("coverage", "Coverage");
    let mut table = Table::new(
        "Analytics",
        &["Analytic", "State", "About", "Judges by", "Of flows", "Of bytes", "Missing"],
    );
    for state in &summary.analytics {
        let missing: Vec<String> =
            state.missing.iter().map(|gap| format!("no {}: {}", gap.what, gap.means)).collect();
        let share = |share: f64| Cell::Shown(share, format!("{:.1} %", 100.0 * share));
        table.row(vec![
            state.id.into(),
            word(&serde_json::to_value(state.state).unwrap_or_default()).into(),
            state.about.into(),
            state.attributed_to.into(),
            share(state.flows_share),
            share(state.bytes_share),
            missing.join("; ").into(),
        ]);
    }
    html.table(&table);
    let Some(coverage) = &summary.coverage else {
        html.paragraph("Nothing is known of hosts in this run: no flow has a process.");
        return;
    };
    // Plain numbers and names: always JSON.
    let coverage = serde_json::to_value(coverage).unwrap_or_default();
    attribution(html, &coverage);
}

fn attribution(html: &mut Html, coverage: &Value) {
    let mut table = Table::new("Hosts", &["Flows", "Count", "Packets", "Bytes"]);
    let mut row = |name: String, share: &Value| {
        let of = |name: &str| share[name].as_u64().unwrap_or_default();
        if of("flows") > 0 {
            let bytes = Cell::bytes(of("wire_bytes"));
            table.row(vec![name.into(), of("flows").into(), of("packets").into(), bytes]);
        }
    };
    for (method, share) in coverage["attributed"].as_object().into_iter().flatten() {
        row(format!("with a process, by {method}"), share);
    }
    for (reason, share) in coverage["unattributed"].as_object().into_iter().flatten() {
        row(format!("without a process: {}", reason_words(reason)), share);
    }
    row("in containers".to_owned(), &coverage["in_workloads"]);
    row("with an instance".to_owned(), &coverage["with_instance"]);
    row("of no host with a map".to_owned(), &coverage["no_host"]);
    row("not looked up".to_owned(), &coverage["not_looked_up"]);
    if !table.is_empty() {
        html.table(&table);
    }
}

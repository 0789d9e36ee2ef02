//! `flowtap flows`: looks over recorded flows.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Usage, records, rundir};
use crate::alert::thousands;
use crate::report::detail;
use crate::report::flows::{Expression, Field, Groups, Measure, Sums};
use crate::report::terminal::bytes;

/// Look over a run's recorded flows: choose, sum up by keys, show the top.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FlowsArgs {
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Which flows: fields of the flow schema with = != < <= > >= ~ (contains) and in, joined by
    /// and, or, not and parentheses.
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// Sum up by these fields, separated by commas [default: by conversation].
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    by: Vec<String>,
    /// How many to show.
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
    /// By which measure.
    #[arg(long, value_enum, default_value = "bytes", value_name = "MEASURE")]
    sort: Measure,
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  flowtap flows --where 'dst_port = 443 and bytes > 1M' --by src_ip,dst_ip
  flowtap flows --where 'src_ip in 10.0.0.0/8 and not ip in 192.168.0.0/16' --by dst_ip --sort flows
  flowtap flows --where 'process.name in (curl, wget)' --by process.user,process.command_line
ip, port, mac, process, workload and instance mean either end (process = curl is its name);
packets, bytes and payload_bytes both directions. Units: k, M, G; ns, us, ms, s, min, h.";

const CONVERSATION: [&str; 5] = ["proto_name", "src_ip", "src_port", "dst_ip", "dst_port"];

pub(crate) fn run(args: &FlowsArgs) -> anyhow::Result<ExitCode> {
    let expression = args.expression()?;
    let mut groups = Groups::new(args.keys()?);
    let dir = rundir::find(args.run.as_deref())?;
    let files = records::flow_files(&dir)?;
    let (mut read, mut bad, mut first_bad) = (0_u64, 0_u64, None);
    for path in &files {
        let mut number = 0_u64;
        records::each_line(path, |line| {
            number += 1;
            let Ok(flow) = serde_json::from_slice::<Value>(line) else {
                bad += 1;
                first_bad.get_or_insert_with(|| format!("{} line {number}", path.display()));
                return Ok(());
            };
            read += 1;
            if expression.holds(&flow) {
                groups.add(&flow);
            }
            Ok(())
        })?;
    }
    if let Some(first) = first_bad {
        let lines =
            if bad == 1 { "line is no record and is" } else { "lines are no records and are" };
        let text = format!("{} {lines} left out; the first: {first}", thousands(bad));
        eprintln!("flowtap: warning: {}", detail::printable(&text));
    }
    args.tell(&groups, read)
}

impl FlowsArgs {
    fn expression(&self) -> anyhow::Result<Expression> {
        let Some(text) = &self.filter else { return Ok(Expression::all()) };
        let parsed = Expression::parse(text);
        parsed.map_err(|mistake| Usage(format!("--where:\n{}", mistake.shown(text))).into())
    }

    fn keys(&self) -> anyhow::Result<Vec<Field>> {
        let names: Vec<&str> = match self.by.as_slice() {
            [] => CONVERSATION.to_vec(),
            by => by.iter().map(|name| name.trim()).collect(),
        };
        let fields = names.into_iter().map(|name| {
            let field = Field::parse(name).map_err(|why| Usage(format!("--by {name}: {why}")))?;
            // What has no name is told as a whole.
            Ok(field.compared().unwrap_or(field))
        });
        fields.collect()
    }

    fn tell(&self, groups: &Groups, read: u64) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        let top = groups.top(self.sort, self.top);
        if self.json {
            let rows: Vec<Value> = top
                .iter()
                .map(|(key, sums)| {
                    let names = groups.names().map(str::to_owned);
                    let key: Map<String, Value> =
                        names.zip(key.iter().map(|part| part.clone().into())).collect();
                    json!({"key": key, "sums": sums})
                })
                .collect();
            let told = json!({
                "flows_read": read, "groups": groups.len(), "total": groups.total,
                "others": groups.others, "top": rows,
            });
            writeln!(out, "{}", detail::json(&told))?;
            return Ok(ExitCode::SUCCESS);
        }
        let names: Vec<&str> = groups.names().collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.len()).collect();
        let cells: Vec<Vec<String>> = top
            .iter()
            .map(|(key, _)| {
                key.iter().map(|part| detail::printable(part).replace('\n', " ")).collect()
            })
            .collect();
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count()).min(60);
            }
        }
        let columns = |cells: &mut dyn Iterator<Item = &str>| -> String {
            let padded = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ")
        };
        let head = columns(&mut names.iter().copied());
        writeln!(out, "{head}  {:>11} {:>13} {:>9} {:>9}", "flows", "packets", "bytes", "payload")?;
        for ((_, sums), row) in top.iter().zip(&cells) {
            writeln!(out, "{}{}", columns(&mut row.iter().map(String::as_str)), figures(*sums))?;
        }
        let total = groups.total;
        let blank = head.chars().count();
        writeln!(out, "{:<blank$}{}", "total", figures(total))?;
        if groups.others.flows > 0 {
            writeln!(out, "{:<blank$}{}", "(others)", figures(groups.others))?;
        }
        let (chosen, all, many) =
            (thousands(total.flows), thousands(read), thousands(groups.len() as u64));
        let plural = if groups.len() == 1 { "" } else { "s" };
        writeln!(out, "{chosen} of {all} flows, {many} group{plural}")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn figures(sums: Sums) -> String {
    format!(
        "  {:>11} {:>13} {:>9} {:>9}",
        thousands(sums.flows),
        thousands(sums.packets),
        bytes(sums.wire_bytes),
        bytes(sums.payload_bytes)
    )
}

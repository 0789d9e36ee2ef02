//! `flowtap procs show` for people: a line a socket.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::host::event::{Socket, SocketKind};
use crate::host::owners::OwnerTable;
use crate::output::names::proto_name;

/// The widest command line that still fits beside the rest on a wide screen.
const MAX_COMMAND_CHARS: usize = 80;

const HEAD: [&str; 7] = ["PROTO", "LOCAL", "REMOTE", "PID", "USER", "CONTAINER", "COMMAND"];

/// The table, columns as wide as they must be.
pub fn render(table: &OwnerTable) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(table.sockets().map(|socket| row(table, socket)));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(table: &OwnerTable, socket: &Socket) -> [String; HEAD.len()] {
    let protocol = match socket.kind {
        SocketKind::Packet => "packet".to_owned(),
        SocketKind::Raw => format!("raw/{}", proto_name(socket.protocol)),
        SocketKind::Ping => format!("ping/{}", proto_name(socket.protocol)),
        _ => proto_name(socket.protocol).to_owned(),
    };
    let process = socket.process.and_then(|id| table.processes.get(&id));
    let container = process.map_or("", |process| &process.container);
    let workload = table.workloads.get(container);
    let container = match workload.map(|workload| &*workload.name) {
        Some(name) if !name.is_empty() => name,
        _ => container.get(..12).unwrap_or(container),
    };
    let mut pid = socket.process.map_or_else(|| "-".to_owned(), |id| id.pid.to_string());
    for other in &socket.shared_with {
        let _ = write!(pid, ",{}", other.pid);
    }
    let user = process.map_or_else(String::new, |process| match process.uid {
        Some(uid) if process.user.is_empty() => uid.to_string(),
        _ => process.user.clone(),
    });
    let command = process.map_or_else(String::new, |process| {
        let words = if process.args.is_empty() { &process.name } else { &process.args.join(" ") };
        printable(words)
    });
    [
        protocol,
        end(socket.local, socket.local_port),
        end(socket.remote, socket.remote_port),
        pid,
        user,
        printable(container),
        command,
    ]
}

fn end(address: Option<IpAddr>, port: u16) -> String {
    match (address, port) {
        (None, 0) => "*".to_owned(),
        (None, port) => format!("*:{port}"),
        (Some(address), 0) => address.to_string(),
        (Some(address), port) => SocketAddr::new(address, port).to_string(),
    }
}

/// On one line of a terminal, whatever a process calls itself.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut short: String = text.chars().take(MAX_COMMAND_CHARS).map(clean).collect();
    if text.chars().nth(MAX_COMMAND_CHARS).is_some() {
        short.push_str("...");
    }
    short
}

//! What a record says of the hosts at its ends, read back.

use std::sync::Arc;

use ahash::HashMap;
use serde::Deserialize;

use crate::host::attribution::{Basis, Method};
use crate::host::inventory::Instance;
use crate::host::process::{Process, ProcessId};
use crate::host::side::{Ancestor, Attribution, FlowHosts, HostSide, ProcessView};
use crate::host::workload::Workload;

/// Processes, workloads and instances that are held for the records that name them.
const MOST_HELD: usize = 1 << 14;

#[derive(Deserialize)]
pub(super) struct Side {
    process: Option<ProcessOf>,
    workload: Option<Workload>,
    instance: Option<Instance>,
    attribution: Option<AttributionOf>,
}

#[derive(Deserialize)]
struct ProcessOf {
    #[serde(flatten)]
    process: Process,
    #[serde(default)]
    command_line: String,
    #[serde(default)]
    ancestors: Vec<AncestorOf>,
}

#[derive(Deserialize)]
struct AncestorOf {
    #[serde(flatten)]
    id: ProcessId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    exe: String,
}

#[derive(Deserialize)]
struct AttributionOf {
    method: Option<Method>,
    basis: Option<Basis>,
    #[serde(default)]
    certainty: f64,
    #[serde(default)]
    others: Vec<u32>,
    #[serde(default)]
    translated: bool,
    #[serde(default)]
    provoked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    processes: HashMap<(ProcessId, String), Arc<ProcessView>>,
    workloads: HashMap<String, Arc<Workload>>,
    instances: HashMap<String, Arc<Instance>>,
}

impl Hosts {
    pub(super) fn of(&mut self, src: Option<Side>, dst: Option<Side>) -> Option<Box<FlowHosts>> {
        if src.is_none() && dst.is_none() {
            return None;
        }
        let src = src.map(|side| self.side(side));
        let dst = dst.map(|side| self.side(side));
        Some(Box::new(FlowHosts { src, dst }))
    }

    fn side(&mut self, side: Side) -> HostSide {
        let Side { process, workload, instance, attribution } = side;
        HostSide {
            process: process.map(|told| {
                let view = view(told, workload.as_ref());
                let key = (view.process.id, view.process.exe.clone());
                once(&mut self.processes, key, view)
            }),
            workload: workload.map(|told| once(&mut self.workloads, told.container.clone(), told)),
            instance: instance.map(|told| once(&mut self.instances, told.id.clone(), told)),
            host: Arc::default(),
            attribution: attribution.map(|told| Attribution {
                method: told.method,
                basis: told.basis,
                certainty: told.certainty.clamp(0.0, 1.0),
                others: told.others,
                translated: told.translated,
                provoked: told.provoked,
                reason: None,
            }),
        }
    }
}

/// The one that is held, where it is the same.
fn once<K: std::hash::Hash + Eq, T: PartialEq>(
    held: &mut HashMap<K, Arc<T>>,
    key: K,
    value: T,
) -> Arc<T> {
    if let Some(known) = held.get(&key)
        && **known == value
    {
        return Arc::clone(known);
    }
    if held.len() >= MOST_HELD {
        held.clear();
    }
    let value = Arc::new(value);
    held.insert(key, Arc::clone(&value));
    value
}

fn view(told: ProcessOf, workload: Option<&Workload>) -> ProcessView {
    let ProcessOf { mut process, command_line, ancestors } = told;
    process.args = args(&command_line);
    if process.container.is_empty()
        && let Some(workload) = workload
    {
        process.container.clone_from(&workload.container);
    }
    let ancestors: Vec<Ancestor> = ancestors
        .into_iter()
        .map(|AncestorOf { id, name, exe }| Ancestor { id, name, exe })
        .collect();
    process.parent = ancestors.first().map(|parent| parent.id);
    ProcessView { process, ancestors, ..ProcessView::default() }
}

/// Arguments of a line as records quote them: bare, `'...'` or `$'...'`.
fn args(line: &str) -> Vec<String> {
    let mut args = Vec::new();
    let mut letters = line.bytes().peekable();
    while letters.peek().is_some() {
        let mut arg = Vec::new();
        let mut quoted = None;
        while let Some(letter) = letters.next() {
            match (quoted, letter) {
                (None, b' ') => break,
                (None, b'$') if letters.peek() == Some(&b'\'') => {
                    letters.next();
                    quoted = Some(b'$');
                }
                (None, b'\'') => quoted = Some(b'\''),
                (Some(_), b'\'') => quoted = None,
                (None, b'\\') => arg.extend(letters.next()),
                (Some(b'$'), b'\\') => arg.push(unescaped(&mut letters)),
                _ => arg.push(letter),
            }
        }
        args.push(String::from_utf8_lossy(&arg).into_owned());
    }
    args
}

/// What stands after a backslash in `$'...'`.
fn unescaped(letters: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> u8 {
    match letters.next().unwrap_or(b'\\') {
        b't' => b'\t',
        b'n' => b'\n',
        b'r' => b'\r',
        first @ b'0'..=b'7' => {
            let mut value = first - b'0';
            for _ in 0..2 {
                let Some(digit) = letters.next_if(|digit| (b'0'..=b'7').contains(digit)) else {
                    break;
                };
                value = value.wrapping_mul(8).wrapping_add(digit - b'0');
            }
            value
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::args;

    #[test]
    fn arguments_are_told_apart_as_a_shell_does() {
        for (line, expected) in [
            ("curl -sS https://example.org/", &["curl", "-sS", "https://example.org/"][..]),
            ("python3 'a b' x", &["python3", "a b", "x"]),
            ("sh -c 'it'\\''s'", &["sh", "-c", "it's"]),
            ("$'a\\tb\\302\\205\\'' c", &["a\tb\u{85}'", "c"]),
            ("a '' b", &["a", "", "b"]),
            ("", &[]),
        ] {
            assert_eq!(args(line), expected, "{line}");
        }
    }
}

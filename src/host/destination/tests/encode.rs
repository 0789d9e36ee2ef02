//! A writer of small MMDB files (format 2.0, 24-bit records), for tests alone.

use std::net::IpAddr;

use ipnet::IpNet;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    U16(u16),
    U32(u32),
    U64(u64),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, size) = match self {
            Self::Text(text) => (2, text.len()),
            Self::U16(_) => (5, 2),
            Self::U32(_) => (6, 4),
            Self::U64(_) => (9, 8),
            Self::List(values) => (11, values.len()),
            Self::Map(fields) => (7, fields.len()),
        };
        assert!(size < 29 + 256, "small values alone");
        let short = size.min(29) as u8;
        if kind < 8 {
            out.push(kind << 5 | short);
        } else {
            out.extend_from_slice(&[short, kind - 7]);
        }
        out.extend(size.checked_sub(29).map(|more| more as u8));
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::U16(number) => out.extend_from_slice(&number.to_be_bytes()),
            Self::U32(number) => out.extend_from_slice(&number.to_be_bytes()),
            Self::U64(number) => out.extend_from_slice(&number.to_be_bytes()),
            Self::List(values) => values.iter().for_each(|value| value.write(out)),
            Self::Map(fields) => fields.iter().for_each(|(key, value)| {
                Self::text(key).write(out);
                value.write(out);
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Record {
    Empty,
    Node(usize),
    Data(usize),
}

/// The file; of equal prefixes the last counts.
pub(super) fn mmdb(version: u16, build_epoch: u64, entries: &[(IpNet, Value)]) -> Vec<u8> {
    let mut entries: Vec<&(IpNet, Value)> = entries.iter().collect();
    entries.sort_by_key(|(net, _)| bits(version, net).len());
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (net, value) in entries {
        let offset = data.len();
        value.write(&mut data);
        insert(&mut nodes, &bits(version, net), offset);
    }
    let mut out = Vec::new();
    let count = nodes.len();
    for record in nodes.iter().flatten() {
        let number = match record {
            Record::Empty => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + 16 + offset,
        };
        out.extend_from_slice(&(number as u32).to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.append(&mut data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::Map(vec![
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(build_epoch)),
        ("database_type", Value::text("Test")),
        ("description", Value::Map(vec![("en", Value::text("test"))])),
        ("ip_version", Value::U16(version)),
        ("languages", Value::List(vec![Value::text("en")])),
        ("node_count", Value::U32(count as u32)),
        ("record_size", Value::U16(24)),
    ]);
    metadata.write(&mut out);
    out
}

/// A prefix as the way through the tree; IPv4 lies at `::/96` in a tree of IPv6.
fn bits(version: u16, net: &IpNet) -> Vec<bool> {
    let (address, before) = match net.addr() {
        IpAddr::V4(address) => {
            (u128::from(u32::from(address)) << 96, if version == 6 { 96 } else { 0 })
        }
        IpAddr::V6(address) => (u128::from(address), 0),
    };
    let way = (0..net.prefix_len()).map(|at| address >> (127 - at) & 1 == 1);
    std::iter::repeat_n(false, before).chain(way).collect()
}

fn insert(nodes: &mut Vec<[Record; 2]>, way: &[bool], offset: usize) {
    let Some((last, before)) = way.split_last() else {
        nodes[0] = [Record::Data(offset); 2];
        return;
    };
    let mut at = 0;
    for &side in before {
        at = match nodes[at][usize::from(side)] {
            Record::Node(node) => node,
            // What held for the whole holds for both halves, until more is said.
            record => {
                nodes.push([record; 2]);
                nodes[at][usize::from(side)] = Record::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
    nodes[at][usize::from(*last)] = Record::Data(offset);
}

//! The decoder against counts that another dissector made of real captures.
//!
//! Needs FLOWTAP_CORPUS, a folder with `captures/`, `catalogue.tsv` and
//! `oracle/`. The captures are read by a small walker of this file's own, so
//! that a fault in the program's capture reader can't hide one in the decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flowtap::packet::{
    Address, DecodeOptions, Decoder, Facts, FlowKey, Fragment, LinkType, Verdict,
};
use serde_json::Value;

/// Captures on which the oracle is known to be wrong, and why. A difference in
/// any other capture fails the test, and so does a capture here that agrees.
const ORACLE_ERRORS: [(&str, &str); 1] = [(
    "4ad9f106b3ab",
    "takes one flood packet to a random port, 3544, for Teredo: 32 bytes of text, no IPv6 header",
)];

#[test]
fn counts_agree_with_the_oracle() {
    let Some(corpus) = corpus() else { return };
    let paths = capture_paths(&corpus);
    let mut compared = 0;
    let mut differences = Vec::new();
    for entry in std::fs::read_dir(corpus.join("oracle")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let oracle: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let id = oracle["id"].as_str().unwrap().to_owned();
        let frames = read_capture(&paths[&id]).unwrap();
        compared += 1;
        let found = compare(&frames, &oracle);
        if let Some((_, reason)) = ORACLE_ERRORS.iter().find(|(known, _)| *known == id) {
            println!("{id}: the oracle {reason}");
            assert!(!found.is_empty(), "{id} agrees: take it off the list");
            continue;
        }
        for difference in found {
            differences.push(format!("{id} {}: {difference}", paths[&id].display()));
        }
    }
    differences.sort();
    for difference in &differences {
        println!("{difference}");
    }
    assert!(compared > 0, "no oracle file found");
    assert!(differences.is_empty(), "{} differences", differences.len());
}

fn corpus() -> Option<PathBuf> {
    let corpus = std::env::var_os("FLOWTAP_CORPUS").map(PathBuf::from);
    if corpus.is_none() {
        eprintln!("SKIPPED: FLOWTAP_CORPUS is not set, no real capture was read");
    }
    corpus
}

/// Capture files by their catalogue id.
fn capture_paths(corpus: &Path) -> BTreeMap<String, PathBuf> {
    let catalogue = std::fs::read_to_string(corpus.join("catalogue.tsv")).unwrap();
    catalogue
        .lines()
        .skip(1)
        .map(|line| {
            let mut columns = line.split('\t');
            let name = columns.next().unwrap();
            let id = columns.next().unwrap();
            (id.to_owned(), corpus.join("captures").join(name))
        })
        .collect()
}

/// What the decoder counted of one level of encapsulation.
#[derive(Default)]
struct Count {
    packets: BTreeMap<&'static str, u64>,
    wire_bytes: BTreeMap<&'static str, u64>,
    payload_bytes: BTreeMap<&'static str, u64>,
    keys: BTreeSet<(u8, Address, u16, Address, u16)>,
}

fn compare(frames: &[Frame], oracle: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    let mut check = |name: String, ours: u64, theirs: &Value| {
        let theirs = theirs.as_u64().unwrap();
        if ours != theirs {
            differences.push(format!("{name}: ours {ours}, oracle {theirs}"));
        }
    };
    check("packets".to_owned(), frames.len() as u64, &oracle["packets"]);
    let wire_bytes = frames.iter().map(|frame| u64::from(frame.wire_bytes)).sum();
    check("wire_bytes".to_owned(), wire_bytes, &oracle["wire_bytes"]);
    for (level, no_decap) in [("outermost", true), ("innermost", false)] {
        let count = count(frames, no_decap);
        let theirs = &oracle[level];
        check(format!("{level} ip_packets"), count.packets.values().sum(), &oracle["ip_packets"]);
        for proto in ["tcp", "udp", "icmp", "icmpv6", "other"] {
            let of = |map: &BTreeMap<&str, u64>| map.get(proto).copied().unwrap_or(0);
            check(
                format!("{level} {proto} packets"),
                of(&count.packets),
                &theirs["packets"][proto],
            );
            check(
                format!("{level} {proto} wire_bytes"),
                of(&count.wire_bytes),
                &theirs["wire_bytes"][proto],
            );
            if matches!(proto, "tcp" | "udp") {
                check(
                    format!("{level} {proto} payload"),
                    of(&count.payload_bytes),
                    &theirs["l4_payload_bytes"][proto],
                );
            }
        }
        check(
            format!("{level} 5-tuples"),
            count.keys.len() as u64,
            &theirs["bidirectional_5tuples"],
        );
    }
    differences
}

fn count(frames: &[Frame], no_decap: bool) -> Count {
    let decoder = Decoder::new(DecodeOptions { no_decap, key_vlan: false });
    let mut facts = Facts::default();
    let mut count = Count::default();
    for frame in frames {
        let verdict = decoder.decode(frame.link, &frame.data, frame.wire_bytes, &mut facts);
        if verdict != Verdict::Flow {
            continue;
        }
        let proto = match facts.key.proto {
            6 => "tcp",
            17 => "udp",
            1 => "icmp",
            58 => "icmpv6",
            _ => "other",
        };
        *count.packets.entry(proto).or_default() += 1;
        *count.wire_bytes.entry(proto).or_default() += u64::from(frame.wire_bytes);
        *count.payload_bytes.entry(proto).or_default() += oracle_payload(&facts, &frame.data);
        count.keys.insert(oracle_key(&facts.key));
    }
    count
}

/// The oracle's payload: TCP's is unknown to it in fragments, UDP's is what the
/// UDP header says, also in a first fragment and beyond the IP packet.
fn oracle_payload(facts: &Facts, data: &[u8]) -> u64 {
    match (facts.key.proto, facts.fragment) {
        (_, Some(Fragment::Later(_))) => 0,
        (6, Some(Fragment::First(_))) => 0,
        (17, _) => {
            let at = facts.payload_offset as usize;
            let Some([high, low]) = data.get(at - 4..at - 2) else { return 0 };
            u64::from(u16::from_be_bytes([*high, *low])).saturating_sub(8)
        }
        _ => u64::from(facts.payload_bytes),
    }
}

/// The oracle's key: ports for TCP, UDP and SCTP alone, ends in any order.
fn oracle_key(key: &FlowKey) -> (u8, Address, u16, Address, u16) {
    let (port_a, port_b) =
        if matches!(key.proto, 6 | 17 | 132) { (key.port_a, key.port_b) } else { (0, 0) };
    let (a, b) = ((key.a, port_a), (key.b, port_b));
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    (key.proto, a.0, a.1, b.0, b.1)
}

struct Frame {
    link: LinkType,
    wire_bytes: u32,
    data: Vec<u8>,
}

/// Reads a whole pcap or pcapng file, compressed or not.
fn read_capture(path: &Path) -> std::io::Result<Vec<Frame>> {
    let raw = std::fs::read(path)?;
    let mut bytes = Vec::new();
    match raw.as_slice() {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut bytes)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => bytes = zstd::decode_all(raw.as_slice())?,
        [0x04, 0x22, 0x4d, 0x18, ..] => {
            lz4_flex::frame::FrameDecoder::new(raw.as_slice()).read_to_end(&mut bytes)?;
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            liblzma::read::XzDecoder::new(raw.as_slice()).read_to_end(&mut bytes)?;
        }
        _ => bytes = raw,
    }
    let frames = if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        read_pcapng(&bytes)
    } else {
        read_pcap(&bytes)
    };
    Ok(frames)
}

/// Reads numbers in the order of the machine that wrote the file.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) })
    }
}

fn read_pcap(bytes: &[u8]) -> Vec<Frame> {
    const MODIFIED: u32 = 0xa1b2_cd34;

    let little = Order { big: false };
    let magic = little.u32(bytes, 0).unwrap();
    let order = Order { big: magic & 0xff == 0xa1 };
    let magic = order.u32(bytes, 0).unwrap();
    assert!(matches!(magic, 0xa1b2_c3d4 | 0xa1b2_3c4d | MODIFIED), "not a pcap file");
    let record_header = if magic == MODIFIED { 24 } else { 16 };
    let link = LinkType::from_header_field(order.u32(bytes, 20).unwrap());
    let mut frames = Vec::new();
    let mut at = 24;
    while let (Some(captured), Some(wire_bytes)) =
        (order.u32(bytes, at + 8), order.u32(bytes, at + 12))
    {
        let start = at + record_header;
        let Some(data) = bytes.get(start..start + captured as usize) else { break };
        frames.push(Frame { link, wire_bytes, data: data.to_vec() });
        at = start + captured as usize;
    }
    frames
}

fn read_pcapng(bytes: &[u8]) -> Vec<Frame> {
    let mut order = Order { big: false };
    let mut links = Vec::new();
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        if bytes.get(at..at + 4) == Some(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            order.big = bytes.get(at + 8) == Some(&0x1a);
            links.clear();
        }
        let (Some(kind), Some(length)) = (order.u32(bytes, at), order.u32(bytes, at + 4)) else {
            break;
        };
        let Some(block) = bytes.get(at..at + length as usize) else { break };
        at += length as usize;
        let packet = match kind {
            1 => {
                links.push(LinkType(order.u16(block, 8).unwrap()));
                None
            }
            // Simple, old and enhanced packet blocks.
            3 => {
                let wire_bytes = order.u32(block, 8).unwrap();
                let captured = (wire_bytes as usize).min(block.len() - 16);
                Some((0, wire_bytes, &block[12..12 + captured]))
            }
            2 => {
                let captured = order.u32(block, 20).unwrap() as usize;
                let interface = usize::from(order.u16(block, 8).unwrap());
                Some((interface, order.u32(block, 24).unwrap(), &block[28..28 + captured]))
            }
            6 => {
                let captured = order.u32(block, 20).unwrap() as usize;
                let interface = order.u32(block, 8).unwrap() as usize;
                Some((interface, order.u32(block, 24).unwrap(), &block[28..28 + captured]))
            }
            _ => None,
        };
        if let Some((interface, wire_bytes, data)) = packet {
            frames.push(Frame { link: links[interface], wire_bytes, data: data.to_vec() });
        }
    }
    frames
}

//! The decoder against counts that another dissector made of real captures.
//!
//! Needs FLOWTAP_CORPUS, a folder with `captures/`, `catalogue.tsv` and
//! `oracle/`. The captures are read by a small walker of this file's own, so
//! that a fault in the program's capture reader can't hide one in the decoder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flowtap::packet::fuzzing::{facts_are_sound, paths_agree};
use flowtap::packet::key::from_ip;
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

/// Damaged captures too: whatever bytes there are.
#[test]
fn every_frame_keeps_the_properties() {
    let Some(corpus) = corpus() else { return };
    let (mut frames_read, mut read_directly) = (0_u64, 0_u64);
    for path in capture_paths(&corpus).values() {
        // Files cut inside their compression are not of interest here.
        let Ok(frames) = read_capture(path) else { continue };
        for frame in frames {
            for no_decap in [false, true] {
                let options = DecodeOptions { no_decap, key_vlan: no_decap };
                facts_are_sound(options, frame.link, &frame.data, frame.wire_bytes);
                let direct = paths_agree(options, &frame.data, frame.wire_bytes);
                read_directly += u64::from(direct && frame.link == LinkType::ETHERNET);
            }
            frames_read += 1;
        }
    }
    println!("{frames_read} frames, {} % read directly", read_directly * 50 / frames_read.max(1));
    assert!(read_directly > 0, "the direct reader took no frame");
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
    /// Packets, wire bytes and payload from the first end and from the second.
    flows: BTreeMap<Key, [[u64; 3]; 2]>,
}

/// Protocol and both ends, the lesser first.
type Key = (u8, (Address, u16), (Address, u16));

fn compare(frames: &[Frame], oracle: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    let mut conversations = Vec::new();
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
            count.flows.len() as u64,
            &theirs["bidirectional_5tuples"],
        );
        conversations.extend(check_top(level, &count, theirs));
    }
    differences.extend(conversations);
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
        let payload_bytes = oracle_payload(&facts, &frame.data);
        *count.payload_bytes.entry(proto).or_default() += payload_bytes;
        let (key, swapped) = oracle_key(&facts.key);
        let side = usize::from(facts.forward == swapped);
        let sums = &mut count.flows.entry(key).or_default()[side];
        sums[0] += 1;
        sums[1] += u64::from(frame.wire_bytes);
        sums[2] += if matches!(proto, "tcp" | "udp") { payload_bytes } else { 0 };
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

/// The oracle's key: ports for TCP, UDP and SCTP alone, ends in any order. True
/// when `b` became the first end.
fn oracle_key(key: &FlowKey) -> (Key, bool) {
    let (port_a, port_b) =
        if matches!(key.proto, 6 | 17 | 132) { (key.port_a, key.port_b) } else { (0, 0) };
    let (a, b) = ((key.a, port_a), (key.b, port_b));
    if a <= b { ((key.proto, a, b), false) } else { ((key.proto, b, a), true) }
}

/// The oracle's ten largest conversations: `[packets, bytes, payload]` from
/// each end, as they stand in it.
fn check_top(level: &str, count: &Count, theirs: &Value) -> Vec<String> {
    let end = |row: &Value, name: &str| {
        let (_, address) = from_ip(row[name].as_str().unwrap().parse().unwrap());
        (address, row[format!("{name}_port")].as_u64().unwrap() as u16)
    };
    let sums = |row: &Value, direction: &str| {
        ["packets", "bytes", "payload"]
            .map(|what| row[format!("{what}_{direction}")].as_u64().unwrap())
    };
    let mut differences = Vec::new();
    for row in theirs["top10"].as_array().unwrap() {
        let (a, b) = (end(row, "a"), end(row, "b"));
        let (mut from_a, mut from_b) = (sums(row, "ab"), sums(row, "ba"));
        if a > b {
            (from_a, from_b) = (from_b, from_a);
        }
        let key = (row["proto"].as_u64().unwrap() as u8, a.min(b), a.max(b));
        let ours = count.flows.get(&key).copied().unwrap_or_default();
        let same = if a == b {
            // Both ends are one: only the sum has a meaning.
            (0..3).all(|i| ours[0][i] + ours[1][i] == from_a[i] + from_b[i])
        } else {
            ours == [from_a, from_b]
        };
        if !same {
            differences.push(format!("{level} conversation {row}: ours {ours:?}"));
        }
    }
    differences
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
    let Some(magic) = little.u32(bytes, 0) else { return Vec::new() };
    let order = Order { big: magic & 0xff == 0xa1 };
    let magic = if order.big { magic.swap_bytes() } else { magic };
    if !matches!(magic, 0xa1b2_c3d4 | 0xa1b2_3c4d | MODIFIED) {
        return Vec::new();
    }
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
        if length == 0 {
            break;
        }
        at += length as usize;
        // Simple, old and enhanced packet blocks.
        let packet = match kind {
            1 => {
                links.push(LinkType(order.u16(block, 8).unwrap_or(0)));
                None
            }
            3 => order.u32(block, 8).and_then(|wire_bytes| {
                let captured = (wire_bytes as usize).min(block.len().checked_sub(16)?);
                Some((0, wire_bytes, block.get(12..12 + captured)?))
            }),
            2 => order
                .u16(block, 8)
                .and_then(|interface| packet_block(order, block, usize::from(interface))),
            6 => order
                .u32(block, 8)
                .and_then(|interface| packet_block(order, block, interface as usize)),
            _ => None,
        };
        if let Some((interface, wire_bytes, data)) = packet {
            let Some(link) = links.get(interface).copied() else { continue };
            frames.push(Frame { link, wire_bytes, data: data.to_vec() });
        }
    }
    frames
}

/// Interface, wire length and bytes.
fn packet_block(order: Order, block: &[u8], interface: usize) -> Option<(usize, u32, &[u8])> {
    let captured = order.u32(block, 20)? as usize;
    Some((interface, order.u32(block, 24)?, block.get(28..28 + captured)?))
}

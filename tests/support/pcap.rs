//! Packets of classic pcap files, read in the plainest way: what tests hold
//! the program's own reader against.

use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) time_ns: i64,
    pub(crate) wire_bytes: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.len() == self.wire_bytes
    }
}

/// Link type field and packets; `None` when it is no classic pcap. Ends before
/// a record that is not all there yet. Unpacks `.zst`.
pub(crate) fn read(path: &Path) -> Option<(u32, Vec<Packet>)> {
    let mut bytes = std::fs::read(path).expect("a file");
    if path.extension().is_some_and(|extension| extension == "zst") {
        bytes = zstd::stream::decode_all(&bytes[..]).expect("zstd data");
    }
    parse(&bytes)
}

/// The other way: nanoseconds, little endian.
pub(crate) fn write(path: &Path, link_field: u32, packets: &[Packet]) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, link_field] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for packet in packets {
        let (second, ns) = (packet.time_ns / 1_000_000_000, packet.time_ns % 1_000_000_000);
        for word in [second as u32, ns as u32, packet.bytes.len() as u32, packet.wire_bytes as u32]
        {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&packet.bytes);
    }
    std::fs::write(path, bytes).expect("a file in the temporary folder");
}

fn parse(bytes: &[u8]) -> Option<(u32, Vec<Packet>)> {
    let magic: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let (big_endian, unit_ns) = match magic {
        [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1_000),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1_000),
        [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
        _ => return None,
    };
    let word = |at: usize| -> Option<u32> {
        let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    };
    let link_field = word(20)?;
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(second), Some(fraction), Some(captured), Some(wire)) =
        (word(at), word(at + 4), word(at + 8), word(at + 12))
    {
        let start = at + 16;
        let Some(data) = bytes.get(start..start + captured as usize) else { break };
        packets.push(Packet {
            time_ns: i64::from(second) * 1_000_000_000 + i64::from(fraction) * unit_ns,
            wire_bytes: wire as usize,
            bytes: data.to_vec(),
        });
        at = start + captured as usize;
    }
    Some((link_field, packets))
}

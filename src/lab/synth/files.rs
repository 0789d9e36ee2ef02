//! Writes the shapes and file formats with their truth.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::Written;
use super::pcap::{PcapOptions, PcapWriter};
use super::pcapng::{Interface, PcapngWriter};
use super::shapes::{self, Shape, Truth};
use super::traffic::EPOCH_NS;

/// 2^-9 s between packets: exact in nanoseconds and in every binary resolution.
const GAP_NS: i64 = 1_953_125;

/// In the capture of several sections each fifth packet is on an interface of
/// raw IP, so its Ethernet header goes.
const RAW_EVERY: usize = 5;
const ETHERNET_BYTES: usize = 14;

/// An entry of the manifest.
#[derive(Debug, Serialize)]
struct Entry {
    file: String,
    kind: &'static str,
    what: String,
    command: &'static str,
    first_packet: String,
    last_packet: String,
    captured_bytes: u64,
    #[serde(flatten)]
    truth: Truth,
}

pub(super) fn write_all(folder: &Path) -> Result<Written> {
    fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
    let mut entries = Vec::new();
    let mut written = Written::default();
    for file in files() {
        let name = format!("crafted-{}", file.name);
        let path = folder.join(&name);
        let out = File::create(&path)
            .map(BufWriter::new)
            .with_context(|| format!("can't create {}", path.display()))?;
        (file.write)(&file.shape, Box::new(out))
            .with_context(|| format!("can't write {}", path.display()))?;
        let frames = &file.shape.frames;
        let last_ns = time_ns(frames.len().saturating_sub(1));
        written.packets += frames.len() as u64;
        written.wire_bytes += file.shape.truth.wire_bytes;
        entries.push(Entry {
            file: name,
            kind: "crafted",
            what: file.what,
            command: "flowtap lab synth shapes -o captures",
            first_packet: rfc_3339(EPOCH_NS),
            last_packet: rfc_3339(last_ns - last_ns % file.resolution_ns),
            captured_bytes: file.captured_bytes,
            truth: file.shape.truth,
        });
    }
    let mut json = serde_json::to_vec_pretty(&entries)?;
    json.push(b'\n');
    let path = folder.join("shapes.json");
    fs::write(&path, json).with_context(|| format!("can't write {}", path.display()))?;
    Ok(written)
}

type WriteShape = fn(&Shape, Box<dyn Write>) -> io::Result<()>;

struct CraftedFile {
    name: String,
    what: String,
    shape: Shape,
    captured_bytes: u64,
    resolution_ns: i64,
    write: WriteShape,
}

fn files() -> Vec<CraftedFile> {
    let mut files: Vec<CraftedFile> = shapes::all()
        .into_iter()
        .map(|shape| CraftedFile {
            name: format!("{}.pcap", shape.name),
            what: format!("{} around the same three conversations", shape.name),
            captured_bytes: shape.truth.wire_bytes,
            shape,
            resolution_ns: 1,
            write: |shape, out| pcap(shape, out, false, true, false, 262_144),
        })
        .collect();
    let mut format =
        |name: &str, what: &str, resolution_ns: i64, snap_length: usize, write: WriteShape| {
            // Plain Ethernet: the format is what is new.
            let Some(shape) = shapes::all().into_iter().find(|shape| shape.name == "ethernet")
            else {
                return;
            };
            let (name, what) = (format!("format-{name}"), what.to_owned());
            let captured_bytes =
                shape.frames.iter().map(|frame| frame.len().min(snap_length) as u64).sum();
            files.push(CraftedFile { name, what, shape, captured_bytes, resolution_ns, write });
        };
    format("us-le.pcap", "pcap, microseconds, little endian", 1_000, usize::MAX, |s, out| {
        pcap(s, out, false, false, false, 262_144)
    });
    format("us-be.pcap", "pcap, microseconds, big endian", 1_000, usize::MAX, |s, out| {
        pcap(s, out, true, false, false, 262_144)
    });
    format("ns-be.pcap", "pcap, nanoseconds, big endian", 1, usize::MAX, |s, out| {
        pcap(s, out, true, true, false, 262_144)
    });
    format("modified-le.pcap", "modified pcap, little endian", 1_000, usize::MAX, |s, out| {
        pcap(s, out, false, false, true, 262_144)
    });
    format("modified-be.pcap", "modified pcap, big endian", 1_000, usize::MAX, |s, out| {
        pcap(s, out, true, false, true, 262_144)
    });
    format("snaplen-64.pcap", "every packet cut to 64 bytes", 1, 64, |s, out| {
        pcap(s, out, false, true, false, 64)
    });
    format("le.pcapng", "pcapng, little endian, nanoseconds", 1, usize::MAX, |s, out| {
        pcapng_plain(s, out, false)
    });
    format("be.pcapng", "pcapng, big endian, nanoseconds", 1, usize::MAX, |s, out| {
        pcapng_plain(s, out, true)
    });
    format(
        "sections.pcapng",
        "pcapng: two sections in different byte orders, four interfaces with their own link type, \
         time resolution and offset, old and unknown blocks",
        1,
        usize::MAX,
        pcapng_sections,
    );
    if let Some(sections) = files.last_mut() {
        let raw = sections.shape.frames.len() / RAW_EVERY;
        sections.shape.truth.wire_bytes -= (raw * ETHERNET_BYTES) as u64;
        sections.captured_bytes = sections.shape.truth.wire_bytes;
    }
    files
}

fn pcap(
    shape: &Shape,
    out: Box<dyn Write>,
    big_endian: bool,
    nanoseconds: bool,
    modified: bool,
    snap_length: u32,
) -> io::Result<()> {
    let link_type = shape.link_type;
    let options = PcapOptions { link_type, big_endian, nanoseconds, modified, snap_length };
    let mut writer = PcapWriter::new(out, options)?;
    for (index, frame) in shape.frames.iter().enumerate() {
        writer.write(time_ns(index), frame)?;
    }
    writer.finish().map(drop)
}

fn pcapng_plain(shape: &Shape, out: Box<dyn Write>, big_endian: bool) -> io::Result<()> {
    let mut writer = PcapngWriter::new(out, big_endian)?;
    let interface = writer.interface(Interface::default())?;
    for (index, frame) in shape.frames.iter().enumerate() {
        writer.packet(interface, time_ns(index), frame, None)?;
    }
    writer.finish().map(drop)
}

fn pcapng_sections(shape: &Shape, out: Box<dyn Write>) -> io::Result<()> {
    let mut writer = PcapngWriter::new(out, false)?;
    let half = shape.frames.len() / 2;
    for (index, frame) in shape.frames.iter().enumerate() {
        if index == half {
            writer.section(true)?;
        }
        if index == 0 || index == half {
            // Name resolution without records, and a type for local use.
            writer.other_block(4, &[0; 4])?;
            writer.other_block(0x8000_0bad, b"no reader knows this")?;
            writer.interface(Interface::default())?;
            writer.interface(Interface { resolution: 0x80 | 20, ..Interface::default() })?;
            writer.interface(Interface { offset_s: 1_000_000_000, ..Interface::default() })?;
            // Picoseconds since 1970 overflow 64 bits: they need an offset.
            writer.interface(Interface {
                link_type: 101,
                resolution: 12,
                offset_s: EPOCH_NS / 1_000_000_000,
                ..Interface::default()
            })?;
        }
        let time_ns = time_ns(index);
        match index % RAW_EVERY {
            0 => writer.packet(0, time_ns, frame, Some("a comment"))?,
            1 => writer.packet(1, time_ns, frame, None)?,
            2 => writer.packet(2, time_ns, frame, None)?,
            3 => writer.obsolete_packet(0, time_ns, frame)?,
            _ => writer.packet(3, time_ns, &frame[ETHERNET_BYTES..], None)?,
        }
    }
    writer.finish().map(drop)
}

fn time_ns(index: usize) -> i64 {
    EPOCH_NS + index as i64 * GAP_NS
}

fn rfc_3339(time_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(time_ns))
        .map_or_else(|error| error.to_string(), |time| format!("{time:.9}"))
}

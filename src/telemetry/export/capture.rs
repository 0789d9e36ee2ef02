//! Datagrams of exporters out of captures that contain them.
//!
//! Of a capture only UDP datagrams with the shape of the kind are read: all others are
//! passed over, as traffic beside the exports is nothing that is wrong with them.
//! Start at [`Captured::open`].

use std::net::SocketAddr;
use std::path::Path;

use super::{kind_of, shape};
use crate::input::{Input, InputError, InputOptions};
use crate::packet::{self, Facts, Fragment};
use crate::telemetry::decode::{Bad, Decoder, Out};
use crate::telemetry::kind::Kind;

const UDP: u8 = 17;

/// A capture, or all captures of a folder, that exports are read from.
pub struct Captured {
    input: Input,
    kind: &'static Kind,
    packets: packet::Decoder,
    facts: Facts,
    frames: u64,
}

/// What some thousand frames had, beside the observations.
#[derive(Debug, Default)]
pub struct Taken {
    pub datagrams: u64,
    pub bytes: u64,
    /// Datagrams that were left out, by the number of their frame, from 1.
    pub bad: Vec<(u64, Bad)>,
}

impl Captured {
    pub fn open(path: &Path, kind: &'static Kind) -> Result<Self, InputError> {
        let input = Input::open(&[path.to_owned()], InputOptions::default())?;
        Ok(Self {
            input,
            kind,
            packets: packet::Decoder::default(),
            facts: Facts::default(),
            frames: 0,
        })
    }

    /// Gives the datagrams of the next frames to the decoder, with their packets' times;
    /// `None` at the end of the capture, where the decoder is told so.
    pub fn next(&mut self, decoder: &mut dyn Decoder, out: &mut Out) -> Option<Taken> {
        let mut taken = Taken::default();
        let Some(block) = self.input.next_block() else {
            decoder.end(out);
            return None;
        };
        for frame in &block.frames {
            self.frames += 1;
            let bytes = block.bytes.frame(frame);
            // What is no IP packet, or none that makes sense, has no exports either.
            let verdict = self.packets.decode(frame.link, bytes, frame.wire_bytes, &mut self.facts);
            if verdict != packet::Verdict::Flow || self.facts.row.key.proto != UDP {
                continue;
            }
            let Some((exporter, datagram)) = self.datagram(bytes, out) else { continue };
            let whole = match datagram {
                Ok(whole) => whole,
                Err(bad) => {
                    taken.datagrams += 1;
                    taken.bad.push((self.frames, bad));
                    continue;
                }
            };
            taken.datagrams += 1;
            taken.bytes += whole.len() as u64;
            if let Err(bad) = decoder.datagram(exporter, frame.time_ns, whole, out) {
                taken.bad.push((self.frames, bad));
            }
        }
        self.input.recycle(Vec::new(), block.frames);
        Some(taken)
    }

    /// Why a file could not be read, or not to its end.
    pub fn error(&self) -> Option<String> {
        self.input.reports().iter().find_map(|file| file.error.as_ref().map(ToString::to_string))
    }

    /// The datagram of the packet at hand and who sent it, where it is one of an exporter;
    /// why it can't be read, where there is no whole one.
    fn datagram<'a>(
        &self,
        frame: &'a [u8],
        out: &mut Out,
    ) -> Option<(SocketAddr, Result<&'a [u8], Bad>)> {
        let facts = &self.facts;
        let key = &facts.row.key;
        let at = facts.payload_offset as usize;
        let payload = frame.get(at..at + facts.row.payload_captured as usize)?;
        if matches!(facts.fragment, Some(Fragment::Later(_))) {
            out.pass("later fragments of UDP datagrams");
            return None;
        }
        if kind_of(payload).map(|kind| kind.name) != Some(self.kind.name) {
            out.pass("UDP datagrams of something else");
            return None;
        }
        let exporter = match facts.forward {
            true => SocketAddr::new(key.ip_a(), key.port_a),
            false => SocketAddr::new(key.ip_b(), key.port_b),
        };
        let datagram = if facts.fragment.is_some() {
            Err(Bad::new("datagram in fragments"))
        } else if facts.row.payload_captured < facts.row.payload_bytes {
            Err(Bad::new("datagram cut off by the capture"))
        } else if shape::is_whole(payload) {
            Ok(payload)
        } else {
            out.pass("UDP datagrams of something else");
            return None;
        };
        Some((exporter, datagram))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::telemetry::decode::Context;
    use crate::telemetry::kind::named;

    fn read(path: &Path, kind: &str) -> (Out, Taken, Option<String>) {
        let kind = named(kind).unwrap();
        let mut decoder = (kind.decoder)(&Context::default()).unwrap();
        let mut captured = Captured::open(path, kind).unwrap();
        let (mut out, mut all) = (Out::default(), Taken::default());
        while let Some(taken) = captured.next(&mut *decoder, &mut out) {
            all.datagrams += taken.datagrams;
            all.bytes += taken.bytes;
            all.bad.extend(taken.bad);
        }
        (out, all, captured.error())
    }

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/export").join(name)
    }

    #[test]
    fn exports_are_read_with_their_packets_times() {
        let (out, taken, error) = read(&fixture("softflowd-v9.pcap"), "netflow");
        assert_eq!((out.observations.len(), taken.bad.len(), error), (18, 0, None));
        let (out, taken, _) = read(&fixture("pmacct-sflow.pcap"), "sflow");
        assert_eq!((out.observations.len(), taken.bad.len()), (41, 0));
        // Recorded on 2026-11-25.
        let days = out.observations[0].time_ns() / 86_400_000_000_000;
        assert_eq!(days, 20_782);
    }

    #[test]
    fn other_traffic_is_passed_over() {
        let (out, taken, _) = read(&fixture("pmacct-sflow.pcap"), "netflow");
        assert_eq!((out.observations.len(), taken.datagrams), (0, 0));
        assert!(out.passed["UDP datagrams of something else"] > 0);
    }

    #[test]
    fn datagrams_that_are_not_whole_are_told_with_their_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.pcap");
        let mut capture = fs::read(fixture("softflowd-v5.pcap")).unwrap();
        // The first record's captured length, not that on the wire.
        let whole = u32::from_le_bytes(capture[32..36].try_into().unwrap()) as usize;
        capture[32..36].copy_from_slice(&(whole as u32 - 10).to_le_bytes());
        capture.truncate(40 + whole - 10);
        fs::write(&path, &capture).unwrap();
        let (out, taken, _) = read(&path, "netflow");
        assert_eq!(taken.bad, [(1, Bad::new("datagram cut off by the capture"))]);
        assert!(out.observations.is_empty());
    }
}

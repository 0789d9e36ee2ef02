//! What a mirror port does to traffic: packets twice, or one direction only.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::checksum::{fold, sum};
use super::rng::Rng;
use super::traffic::Receive;
use super::{Writer, Written};

/// How a SPAN port repeats packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Span {
    /// The same bytes again (both ports of one switch are mirrored)
    Exact,
    /// Again behind a router: TTL one less, other MAC addresses
    Routed,
}

/// Time from a packet to its copy: a store-and-forward hop at 1 Gbit/s takes
/// 12 us for a full frame.
const COPY_DELAY_NS: i64 = 12_000;

const ROUTER_MACS: [u8; 12] = [2, 0, 0, 0, 0, 0x22, 2, 0, 0, 0, 0, 0x11];

/// Writes what it receives as the mirror port would deliver it.
#[derive(Debug)]
pub(super) struct SpanPort<W: Write> {
    writer: Writer<W>,
    written: Written,
    span: Option<Span>,
    share_percent: u32,
    one_sided: bool,
    /// Its own numbers, so that the traffic is the same with and without copies.
    rng: Rng,
    copies: VecDeque<(i64, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl<W: Write> SpanPort<W> {
    pub(super) fn new(
        writer: Writer<W>,
        span: Option<Span>,
        share_percent: u32,
        one_sided: bool,
        seed: u64,
    ) -> Self {
        Self {
            writer,
            written: Written::default(),
            span,
            share_percent,
            one_sided,
            rng: Rng::new(!seed),
            copies: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<(Writer<W>, Written)> {
        self.deliver_copies(i64::MAX)?;
        Ok((self.writer, self.written))
    }

    fn write(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        self.written.packets += 1;
        self.written.wire_bytes += frame.len() as u64;
        self.writer.write(time_ns, frame)
    }

    /// Copies that are due come before the next original: the delay is the
    /// same for all, so they are in order already.
    fn deliver_copies(&mut self, until_ns: i64) -> io::Result<()> {
        while let Some((time_ns, copy)) = self.copies.pop_front() {
            if time_ns > until_ns {
                self.copies.push_front((time_ns, copy));
                break;
            }
            self.written.duplicates += 1;
            self.write(time_ns, &copy)?;
            self.spare.push(copy);
        }
        Ok(())
    }
}

impl<W: Write> Receive for SpanPort<W> {
    fn packet(&mut self, time_ns: i64, frame: &[u8], forward: bool) -> io::Result<()> {
        if self.one_sided && !forward {
            self.written.left_out += 1;
            return Ok(());
        }
        self.deliver_copies(time_ns)?;
        self.write(time_ns, frame)?;
        if let Some(span) = self.span
            && self.rng.chance(self.share_percent)
        {
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(frame);
            if span == Span::Routed {
                route(&mut copy);
            }
            self.copies.push_back((time_ns + COPY_DELAY_NS, copy));
        }
        Ok(())
    }
}

/// What a router changes in an untagged IPv4 frame; others stay as they are.
fn route(frame: &mut [u8]) {
    if frame.len() < 34 || frame[12..15] != [0x08, 0x00, 0x45] || frame[22] == 0 {
        return;
    }
    frame[..12].copy_from_slice(&ROUTER_MACS);
    frame[22] -= 1;
    frame[24..26].fill(0);
    let checksum = fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::synth::frame::Frame;
    use crate::lab::synth::pcap::{PcapOptions, PcapWriter};

    fn port(span: Option<Span>, one_sided: bool) -> SpanPort<Vec<u8>> {
        let options = PcapOptions::default();
        let writer = Writer::Pcap(PcapWriter::new(Vec::new(), options).unwrap());
        SpanPort::new(writer, span, 100, one_sided, 1)
    }

    fn frame(last: u8) -> Vec<u8> {
        let mut frame = Frame::default();
        frame.payload(&[last]).udp(1, 2).ip([192, 0, 2, last].into(), [192, 0, 2, 9].into());
        frame.ethernet([1; 6], [2; 6]);
        frame.bytes().to_vec()
    }

    /// Records of a nanosecond pcap: time and bytes.
    fn records(writer: Writer<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
        let Writer::Pcap(writer) = writer else { panic!() };
        let bytes = writer.finish().unwrap();
        let mut rest = &bytes[24..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = word(8) as usize;
            let time = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4));
            records.push((time, rest[16..16 + length].to_vec()));
            rest = &rest[16 + length..];
        }
        records
    }

    #[test]
    fn an_exact_span_repeats_every_frame_in_time_order() {
        let mut port = port(Some(Span::Exact), false);
        for (index, time_ns) in [0, 5_000, 50_000].into_iter().enumerate() {
            port.packet(time_ns, &frame(index as u8), true).unwrap();
        }
        let (writer, written) = port.finish().unwrap();
        assert_eq!((written.packets, written.duplicates), (6, 3));
        let records = records(writer);
        assert!(records.is_sorted_by_key(|record| record.0));
        let order: Vec<u8> = records.iter().map(|(_, bytes)| bytes[bytes.len() - 1]).collect();
        assert_eq!(order, [0, 1, 0, 1, 2, 2]);
    }

    #[test]
    fn a_routed_copy_differs_in_macs_and_ttl_alone_and_keeps_its_checksum() {
        let mut port = port(Some(Span::Routed), false);
        port.packet(0, &frame(7), true).unwrap();
        let records = records(port.finish().unwrap().0);
        let (original, copy) = (&records[0].1, &records[1].1);
        assert_eq!(fold(sum(&copy[14..34])), 0);
        assert_eq!(copy[22] + 1, original[22]);
        assert_ne!(copy[..12], original[..12]);
        assert_eq!(copy[26..], original[26..]);
    }

    #[test]
    fn one_sided_leaves_out_and_counts_the_answers() {
        let mut port = port(None, true);
        port.packet(0, &frame(1), true).unwrap();
        port.packet(1, &frame(2), false).unwrap();
        let (writer, written) = port.finish().unwrap();
        assert_eq!((written.packets, written.left_out), (1, 1));
        assert_eq!(records(writer).len(), 1);
    }
}

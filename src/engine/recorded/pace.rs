//! When the packets of a recorded flow were: as much of it as its record tells.
//!
//! Known to the nanosecond are the first and the last packet, and the packets with
//! payload up to the sixteenth (`sequence`). A SYN is at a flow's start, a FIN or RST at
//! its end. All others are taken to lie evenly between the last of the known ones and
//! the end of their direction (which the mean of its gaps tells), and to have the sizes
//! of its histogram in turn. Sums over the flow are those of the record; what a burst
//! within it was is lost.
//!
//! Start at [`Pace::of`], then [`Pace::until`] second by second.

use std::collections::VecDeque;

use crate::engine::window::{SIZE_BINS, Sums, size_bin};
use crate::flow::FlowRecord;
use crate::flow::record::Direction;
use crate::flow::sizes::bin_range;
use crate::packet::facts::tcp_flag::{ACK, FIN, RST, SYN};
use crate::packet::{PacketClass, class_of, tcp_class};

const TCP: u8 = 6;
const SECOND_NS: i64 = 1_000_000_000;

/// Packets of a flow that are still to come, by direction: the originator's first.
#[derive(Debug)]
pub(super) struct Pace {
    ways: [Way; 2],
}

/// Of one direction.
#[derive(Debug, Default)]
struct Way {
    /// Times, classes and payloads of single packets, in order.
    singles: VecDeque<(i64, PacketClass, u32)>,
    /// Packets without payload, and with.
    rest_classes: [PacketClassOf; 2],
    /// The rest lies at `from_ns + (i + first) * (to_ns - from_ns) / steps`.
    from_ns: i64,
    to_ns: i64,
    first: u64,
    steps: u64,
    rest: u64,
    told: u64,
    /// Of the rest not told yet, by coarse bin.
    sizes: [u64; SIZE_BINS],
    payload_left: u64,
    /// Of all packets not told yet.
    packets_left: u64,
    headers_left: u64,
    fragments_left: u64,
}

#[derive(Clone, Copy, Debug)]
struct PacketClassOf(PacketClass);

impl Default for PacketClassOf {
    fn default() -> Self {
        Self(PacketClass::OtherIp)
    }
}

impl Pace {
    pub(super) fn of(record: &FlowRecord) -> Self {
        let [fwd, rev] = known_times(record);
        let way = |direction: &Direction, other: &Direction, known, is_fwd| {
            Way::new(record, direction, other, known, is_fwd)
        };
        Self {
            ways: [
                way(&record.fwd, &record.rev, fwd, true),
                way(&record.rev, &record.fwd, rev, false),
            ],
        }
    }

    /// The second of the next packet.
    pub(super) fn next_second(&self) -> Option<i64> {
        let next = self.ways.iter().filter_map(Way::next_ns).min()?;
        Some(next.div_euclid(SECOND_NS))
    }

    /// Packets before the end of this second that were not told yet, by direction.
    pub(super) fn until(&mut self, second: i64) -> [Sums; 2] {
        let end_ns = second.saturating_add(1).saturating_mul(SECOND_NS);
        self.ways.each_mut().map(|way| way.until(end_ns))
    }
}

/// Times and sizes of the packets of the sequence, by direction. The record does not say
/// when the first of them was: after the handshake, whose length is not known, so at the
/// start.
fn known_times(record: &FlowRecord) -> [Vec<(i64, u32)>; 2] {
    let mut known = [Vec::new(), Vec::new()];
    let mut time_ns = record.start_ns;
    for step in &record.sequence {
        let gap_ns = i64::try_from(step.gap_ns).unwrap_or(i64::MAX);
        time_ns = time_ns.saturating_add(gap_ns).min(record.end_ns);
        known[usize::from(!step.fwd)].push((time_ns, step.payload_bytes));
    }
    known
}

/// When the last packet of the sequence was.
fn sequence_end_ns(record: &FlowRecord) -> i64 {
    let gaps = record.sequence.iter().map(|step| step.gap_ns);
    let length = gaps.fold(0_u64, u64::saturating_add);
    record.start_ns.saturating_add(i64::try_from(length).unwrap_or(i64::MAX)).min(record.end_ns)
}

impl Way {
    fn new(
        record: &FlowRecord,
        direction: &Direction,
        other: &Direction,
        known: Vec<(i64, u32)>,
        is_fwd: bool,
    ) -> Self {
        let end_ns = record.end_ns.max(record.start_ns);
        let mut left = direction.packets;
        let mut sizes = coarse(direction);
        let classes = Classes::of(record.key.proto, direction, other, is_fwd);
        let mut singles = VecDeque::new();
        let mut payload_left = direction.payload_bytes;
        // Of a record that contradicts itself the sums count.
        let mut take = |time_ns: i64, class: PacketClass, payload: u32| {
            let bin = &mut sizes[size_bin(payload)];
            if left > 0 && *bin > 0 && u64::from(payload) <= payload_left {
                *bin -= 1;
                left -= 1;
                payload_left -= u64::from(payload);
                singles.push_back((time_ns, class, payload));
            }
        };
        let is_tcp = record.key.proto == TCP;
        // Until when both directions are known, where nothing else had payload.
        let known_to_ns = match record.fwd.sizes.count() + record.rev.sizes.count() {
            all if all > record.sequence.len() as u64 => i64::MIN,
            _ => sequence_end_ns(record),
        };
        let first_known = known.first().map(|&(time_ns, _)| time_ns);
        let starts_ns = if is_tcp { None } else { first_known }.unwrap_or(record.start_ns);
        // The end of this direction, by its gaps.
        let span_ns = i64::try_from(direction.gaps.sum_ns).unwrap_or(i64::MAX);
        let ends_ns = match direction.gaps.count {
            0 => end_ns,
            _ => starts_ns.saturating_add(span_ns).clamp(record.start_ns, end_ns),
        };
        if let Some(class) = classes.opening {
            take(record.start_ns, class, 0);
        }
        let mut last_known = None;
        for (time_ns, payload) in known {
            take(time_ns, classes.with_payload, payload);
            last_known = Some(time_ns);
        }
        if let Some(class) = classes.closing {
            take(ends_ns.max(last_known.unwrap_or(ends_ns)), class, 0);
        }
        let rest_has_payload = sizes[1..].iter().any(|&packets| packets > 0);
        let (from_ns, to_ns) = match last_known {
            Some(last_ns) if rest_has_payload => (last_ns, ends_ns.max(last_ns)),
            // What acknowledges comes with what it acknowledges, of which all is known.
            _ if known_to_ns > starts_ns => (starts_ns, known_to_ns),
            _ => (starts_ns, ends_ns.max(starts_ns)),
        };
        // The first of the rest follows what is known; where nothing is, it is the first.
        let first = u64::from(!singles.is_empty());
        Self {
            singles,
            rest_classes: [classes.empty, classes.with_payload].map(PacketClassOf),
            from_ns,
            to_ns,
            first,
            steps: if first == 1 { left } else { left.saturating_sub(1) }.max(1),
            rest: left,
            told: 0,
            sizes: fitted(sizes, left),
            payload_left,
            packets_left: direction.packets,
            headers_left: direction.wire_bytes.saturating_sub(direction.payload_bytes),
            fragments_left: u64::from(direction.fragments),
        }
    }

    /// Of the rest, how many were before a time.
    fn rest_before(&self, end_ns: i64) -> u64 {
        let past = u128::try_from(end_ns.saturating_sub(self.from_ns)).unwrap_or(0);
        let length = u128::try_from(self.to_ns.saturating_sub(self.from_ns)).unwrap_or(0);
        if past == 0 {
            return 0;
        }
        if past > length {
            return self.rest;
        }
        let steps = (past * u128::from(self.steps)).div_ceil(length.max(1));
        let before = u64::try_from(steps).unwrap_or(u64::MAX).saturating_sub(self.first);
        before.min(self.rest)
    }

    fn next_ns(&self) -> Option<i64> {
        let single = self.singles.iter().map(|&(time_ns, ..)| time_ns).min();
        let rest = (self.told < self.rest).then(|| {
            let length = u128::try_from(self.to_ns.saturating_sub(self.from_ns)).unwrap_or(0);
            let at = u128::from(self.told + self.first) * length / u128::from(self.steps);
            self.from_ns.saturating_add(i64::try_from(at).unwrap_or(i64::MAX))
        });
        match (single, rest) {
            (Some(single), Some(rest)) => Some(single.min(rest)),
            (single, rest) => single.or(rest),
        }
    }

    fn until(&mut self, end_ns: i64) -> Sums {
        let mut sums = Sums::default();
        let Self { singles, .. } = self;
        let mut packets = 0;
        singles.retain(|&(time_ns, class, payload)| {
            let is_due = time_ns < end_ns;
            if is_due {
                packets += 1;
                sums.classes[class as usize] += 1;
                sums.sizes[size_bin(payload)] += 1;
                sums.payload_bytes += u64::from(payload);
            }
            !is_due
        });
        let rest = self.rest_before(end_ns).saturating_sub(self.told);
        if rest > 0 {
            self.take_rest(rest, &mut sums);
        }
        self.take_headers(packets + rest, &mut sums);
        sums
    }

    /// So many of the rest, with sizes in the shares that are left.
    fn take_rest(&mut self, packets: u64, sums: &mut Sums) {
        let left = self.rest - self.told;
        let with_payload: u64 = self.sizes[1..].iter().sum();
        let [empty_class, payload_class] = self.rest_classes;
        let (mut up_to, mut before, mut taken_with_payload) = (0_u64, 0_u64, 0_u64);
        for (bin, count) in self.sizes.iter_mut().enumerate() {
            up_to += *count;
            // Rounded to the nearest, so that each packet gets one of the middle.
            let share = (u128::from(packets) * u128::from(up_to) * 2 + u128::from(left))
                / (u128::from(left) * 2);
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            let taken = share.saturating_sub(before).min(*count);
            before = share;
            *count -= taken;
            let class = if bin == 0 { empty_class } else { payload_class };
            let taken_u32 = u32::try_from(taken).unwrap_or(u32::MAX);
            let sum = &mut sums.classes[class.0 as usize];
            *sum = sum.saturating_add(taken_u32);
            sums.sizes[bin] = sums.sizes[bin].saturating_add(taken_u32);
            if bin > 0 {
                taken_with_payload += taken;
            }
        }
        self.told += packets;
        let payload = part(self.payload_left, taken_with_payload, with_payload);
        self.payload_left -= payload;
        sums.payload_bytes += payload;
    }

    fn take_headers(&mut self, packets: u64, sums: &mut Sums) {
        let headers = part(self.headers_left, packets, self.packets_left);
        let fragments = part(self.fragments_left, packets, self.packets_left);
        self.headers_left -= headers;
        self.fragments_left -= fragments;
        self.packets_left = self.packets_left.saturating_sub(packets);
        if self.packets_left == 0 {
            sums.payload_bytes += std::mem::take(&mut self.payload_left);
        }
        sums.wire_bytes = sums.payload_bytes + headers;
        sums.fragments = u32::try_from(fragments).unwrap_or(u32::MAX);
    }
}

/// `sum * of / all`, all of it once `of` is `all`.
fn part(sum: u64, of: u64, all: u64) -> u64 {
    match all {
        0 => 0,
        _ => (u128::from(sum) * u128::from(of.min(all)) / u128::from(all)) as u64,
    }
}

/// A histogram in the bins of windows.
fn coarse(direction: &Direction) -> [u64; SIZE_BINS] {
    let mut sizes = [0; SIZE_BINS];
    for (bin, &packets) in direction.sizes.bins.iter().enumerate() {
        sizes[size_bin(bin_range(bin).0)] += u64::from(packets);
    }
    // A record leaves the histogram out where no packet has payload.
    let counted: u64 = sizes.iter().sum();
    sizes[0] += direction.packets.saturating_sub(counted);
    sizes
}

/// The same for so many packets: a record that contradicts itself is cut to its count.
fn fitted(mut sizes: [u64; SIZE_BINS], packets: u64) -> [u64; SIZE_BINS] {
    let mut over = sizes.iter().sum::<u64>().saturating_sub(packets);
    for count in &mut sizes {
        let cut = over.min(*count);
        *count -= cut;
        over -= cut;
    }
    sizes
}

/// What kinds of packet a direction had.
struct Classes {
    opening: Option<PacketClass>,
    closing: Option<PacketClass>,
    empty: PacketClass,
    with_payload: PacketClass,
}

impl Classes {
    fn of(proto: u8, direction: &Direction, other: &Direction, is_fwd: bool) -> Self {
        if proto != TCP {
            let class = class_of(proto);
            return Self { opening: None, closing: None, empty: class, with_payload: class };
        }
        let flags = direction.tcp_flags;
        let marks = flags & (SYN | FIN | RST);
        // One packet, or many to which nobody said anything: all with the same flags.
        let is_alike = direction.packets == 1
            || (other.packets == 0 && direction.payload_bytes == 0 && marks.count_ones() <= 1)
            || flags & ACK == 0 && marks.count_ones() <= 1;
        if is_alike {
            let [empty, with_payload] = [false, true].map(|payload| tcp_class(flags, payload));
            return Self { opening: None, closing: None, empty, with_payload };
        }
        let plain = (flags & !(SYN | FIN | RST)) | ACK;
        let opening = if is_fwd { PacketClass::TcpSyn } else { PacketClass::TcpSynAck };
        let closing = if flags & RST == 0 { PacketClass::TcpFin } else { PacketClass::TcpRst };
        Self {
            opening: (flags & SYN != 0).then_some(opening),
            closing: (flags & (FIN | RST) != 0).then_some(closing),
            empty: tcp_class(plain, false),
            with_payload: tcp_class(plain, true),
        }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;

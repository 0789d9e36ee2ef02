//! What is known of a packet beside its row in the log: its station and the
//! link's group traffic. Sums over all rows are made when the log is complete.

use super::links::{Cast, LinkKey, Station};
use super::log::{Counts, Log};
use super::{Host, SIZE_BINS, Slice, size_bin};
use crate::packet::facts::PACKET_CLASSES;
use crate::packet::{IpVersion, Mac, PacketClass, PacketRow, Vlans, row_flag};

/// Where the last stations of a slice are: most links have two, one for each
/// direction, and a lookup costs more than all other sums of a packet.
#[derive(Clone, Debug)]
pub(crate) struct StationCache {
    known: [Known; 2],
    /// Packets and bytes, by tag, that a row of the log counts for its station
    /// and that came from another one, where they are counted already.
    strays: Vec<(u64, u64)>,
}

/// What makes a packet one of a station, and the station's tag.
#[derive(Clone, Copy, Debug)]
struct Known {
    mac: (u16, u32),
    has_mac: bool,
    /// Of which only the innermost counts: the same ones are the same one.
    vlans: Vlans,
    vni: u32,
    tag: u16,
}

impl Known {
    /// A free place: no packet has this VNI of 32 bits.
    const NONE: Self =
        Self { mac: (0, 0), has_mac: false, vlans: Vlans::NONE, vni: u32::MAX, tag: 0 };

    fn new(packet: &PacketRow, tag: u16) -> Self {
        Self {
            mac: parts(packet.macs.src()),
            has_mac: packet.is(row_flag::HAS_MAC),
            vlans: packet.vlans,
            vni: packet.key.vni,
            tag,
        }
    }

    #[inline(always)]
    fn sent(&self, packet: &PacketRow) -> bool {
        self.mac == parts(packet.macs.src())
            && self.vlans == packet.vlans
            && self.vni == packet.key.vni
            && self.has_mac == packet.is(row_flag::HAS_MAC)
    }
}

/// As numbers that are read as they lie there.
#[inline(always)]
fn parts([a, b, c, d, e, f]: Mac) -> (u16, u32) {
    (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([c, d, e, f]))
}

impl Default for StationCache {
    fn default() -> Self {
        Self { known: [Known::NONE; 2], strays: Vec::new() }
    }
}

impl Slice {
    /// Tag of the packet's station: equal tags in one slice are equal stations.
    #[inline(always)]
    pub(crate) fn station(&mut self, packet: &PacketRow, cache: &mut StationCache) -> u16 {
        for known in &cache.known {
            if known.sent(packet) {
                return known.tag;
            }
        }
        self.look_up_station(packet, cache)
    }

    #[cold]
    fn look_up_station(&mut self, packet: &PacketRow, cache: &mut StationCache) -> u16 {
        let station = station_of(packet);
        let level = self.stations.level();
        // No table of stations holds more than tags can tell apart.
        let tag = self.stations.index(self.seed, station) as u16;
        if self.stations.level() != level {
            cache.known = [Known::NONE; 2];
        }
        cache.known.swap(0, 1);
        cache.known[0] = Known::new(packet, tag);
        tag
    }

    /// Where a station's sums are: after the step to the coarse form they are
    /// all in one place, whatever their tags were.
    fn station_at(&self, tag: u16) -> usize {
        if self.stations.level() > 0 { 0 } else { usize::from(tag) }
    }

    /// Counts a packet of a flow from another station than the flow's row is
    /// counted for: a link seen on both sides of a router has every packet twice.
    pub(crate) fn count_stray(
        &mut self,
        packet: &PacketRow,
        station: u16,
        row_station: u16,
        cache: &mut StationCache,
    ) {
        self.note_source(packet, station);
        let at = self.station_at(station);
        let stats = self.stations.at(at);
        stats.packets = stats.packets.saturating_add(1);
        stats.wire_bytes = stats.wire_bytes.saturating_add(u64::from(packet.wire_bytes));
        let tag = usize::from(row_station);
        if cache.strays.len() <= tag {
            cache.strays.resize(tag + 1, (0, 0));
        }
        let (packets, wire_bytes) = &mut cache.strays[tag];
        *packets += 1;
        *wire_bytes += u64::from(packet.wire_bytes);
    }

    /// Notes the packet's source behind its station.
    pub(crate) fn note_source(&mut self, packet: &PacketRow, station: u16) {
        let src = src_host(packet);
        let hash = self.seed.host(&src);
        let at = self.station_at(station);
        let station = self.stations.at(at);
        station.sources.insert(hash);
        station.sample.insert(hash, src);
    }

    /// Counts a packet to a broadcast or multicast address.
    #[inline]
    pub(crate) fn count_group_packet(&mut self, packet: &PacketRow) {
        if packet.is(row_flag::GROUP) {
            self.count_group_packets(packet, 1, u64::from(packet.wire_bytes));
        }
    }

    /// The same for packets that all are as this one.
    pub(crate) fn count_group_packets(&mut self, packet: &PacketRow, frames: u64, bytes: u64) {
        let Some(cast) = group_cast(packet) else { return };
        let key = LinkKey {
            station: station_of(packet),
            ether_type: if packet.key.version == IpVersion::V4 { 0x0800 } else { 0x86dd },
            cast,
            udp: packet.class == PacketClass::Udp,
        };
        let stats = self.links.entry(self.seed, key);
        stats.frames = stats.frames.saturating_add(frames);
        stats.wire_bytes = stats.wire_bytes.saturating_add(bytes);
    }

    /// Adds the rows of a log, complete or about to be drained, to the totals
    /// and to their stations.
    pub(crate) fn settle(&mut self, log: &Log, cache: &mut StationCache) {
        let mut sums = RowSums::default();
        for (number, row) in log.flows().enumerate() {
            for (counts, port) in row.counts.iter().zip([row.port_a, row.port_b]) {
                if counts.packets > 0 {
                    sums.add(counts);
                    self.settle_counts(counts, row.proto, port);
                }
            }
            if number % RowSums::MOST_ROWS == RowSums::MOST_ROWS - 1 {
                self.settle_sums(std::mem::take(&mut sums));
            }
        }
        self.settle_sums(sums);
        for row in log.singles() {
            let total = &mut self.total;
            add(&mut total.classes[row.class as usize], 1);
            add(&mut total.sizes[size_bin(row.payload_bytes)], 1);
            add(&mut total.fragments, u32::from(row.is_fragment()));
            if row.class == PacketClass::Icmp {
                total.add_icmp(row.proto, row.src_port, 1);
            }
            self.settle_bytes(row.station, 1, row.wire_bytes, row.payload_bytes);
        }
        for (tag, (packets, wire_bytes)) in cache.strays.drain(..).enumerate() {
            if packets > 0 {
                let at = self.station_at(tag as u16);
                let stats = self.stations.at(at);
                stats.packets = stats.packets.saturating_sub(packets);
                stats.wire_bytes = stats.wire_bytes.saturating_sub(wire_bytes);
            }
        }
    }

    fn settle_sums(&mut self, sums: RowSums) {
        let total = &mut self.total;
        total.classes.iter_mut().zip(sums.classes).for_each(|(sum, more)| add(sum, more));
        total.sizes.iter_mut().zip(sums.sizes).for_each(|(sum, more)| add(sum, more));
        add(&mut total.fragments, sums.fragments);
    }

    fn settle_counts(&mut self, counts: &Counts, proto: u8, src_port: u16) {
        let icmp = counts.classes[PacketClass::Icmp as usize];
        if icmp > 0 {
            self.total.add_icmp(proto, src_port, u32::from(icmp));
        }
        let packets = u64::from(counts.packets);
        self.settle_bytes(counts.station, packets, counts.wire_bytes, counts.payload_bytes);
    }

    fn settle_bytes(&mut self, station: u16, packets: u64, wire_bytes: u32, payload_bytes: u32) {
        let (wire_bytes, payload_bytes) = (u64::from(wire_bytes), u64::from(payload_bytes));
        let total = &mut self.total;
        total.wire_bytes = total.wire_bytes.saturating_add(wire_bytes);
        total.payload_bytes = total.payload_bytes.saturating_add(payload_bytes);
        let at = self.station_at(station);
        let station = self.stations.at(at);
        station.packets = station.packets.saturating_add(packets);
        station.wire_bytes = station.wire_bytes.saturating_add(wire_bytes);
    }
}

/// Of rows so few that nothing overflows: additions of many lanes at once.
#[derive(Default)]
struct RowSums {
    classes: [u32; PACKET_CLASSES],
    sizes: [u32; SIZE_BINS],
    fragments: u32,
}

impl RowSums {
    /// Two directions each, of at most `u16::MAX` packets.
    const MOST_ROWS: usize = 1 << 14;

    #[inline]
    fn add(&mut self, counts: &Counts) {
        for (at, sum) in self.classes.iter_mut().enumerate() {
            *sum += u32::from(counts.classes[at]);
        }
        for (at, sum) in self.sizes.iter_mut().enumerate() {
            *sum += u32::from(counts.sizes[at]);
        }
        self.fragments += u32::from(counts.fragments);
    }
}

#[inline]
fn add(sum: &mut u32, more: u32) {
    *sum = sum.saturating_add(more);
}

#[inline]
fn station_of(packet: &PacketRow) -> Station {
    Station {
        mac: packet.is(row_flag::HAS_MAC).then_some(packet.macs.src()),
        vlan: packet.innermost_vlan(),
        vni: packet.key.vni,
    }
}

fn src_host(packet: &PacketRow) -> Host {
    let key = &packet.key;
    Host { version: key.version, address: if packet.direction() == 0 { key.a } else { key.b } }
}

/// Broadcast or multicast, by address or (a directed broadcast) by MAC.
#[inline]
fn group_cast(packet: &PacketRow) -> Option<Cast> {
    let key = &packet.key;
    let dst = if packet.direction() == 0 { &key.b } else { &key.a };
    let (broadcast, multicast) = match key.version {
        IpVersion::V4 => (dst[12..] == [0xff; 4], dst[12] & 0xf0 == 0xe0),
        IpVersion::V6 => (false, dst[0] == 0xff),
    };
    if broadcast || (packet.is(row_flag::HAS_MAC) && packet.macs.dst() == [0xff; 6]) {
        Some(Cast::Broadcast)
    } else {
        multicast.then_some(Cast::Multicast)
    }
}

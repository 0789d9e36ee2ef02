//! What every packet is counted in at once: totals, its station, and the
//! link's group traffic. The rest waits in the log.

use super::links::{Cast, LinkKey, Station};
use super::{Host, Slice, size_bin};
use crate::packet::{IpVersion, PacketClass, PacketRow, row_flag};

/// Where the last stations of a slice are: most links have two, one for each
/// direction, and a lookup costs more than all other sums of a packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct StationCache {
    known: [Option<(Station, usize)>; 2],
}

/// Tag of stations that have none of their own: their sources are noted with
/// every packet.
const NO_TAG: u16 = 0;
/// Tag of all stations once they were put together.
const ALL_STATIONS: u16 = u16::MAX;

impl Slice {
    /// Counts a packet in the sums that need no log. Returns a tag of its
    /// station: equal tags in one slice are equal stations, 0 says nothing.
    #[inline]
    pub(crate) fn count_packet(&mut self, packet: &PacketRow, cache: &mut StationCache) -> u16 {
        let wire_bytes = u64::from(packet.wire_bytes);
        let total = &mut self.total;
        let class = &mut total.classes[packet.class as usize];
        *class = class.saturating_add(1);
        let size = &mut total.sizes[size_bin(packet.payload_bytes)];
        *size = size.saturating_add(1);
        total.wire_bytes = total.wire_bytes.saturating_add(wire_bytes);
        total.payload_bytes = total.payload_bytes.saturating_add(u64::from(packet.payload_bytes));
        total.fragments = total.fragments.saturating_add(u32::from(packet.is(row_flag::FRAGMENT)));
        if packet.class == PacketClass::Icmp {
            total.add_icmp(packet.key.proto, src_port(packet), 1);
        }
        let at = self.station_at(packet, cache);
        let station = self.stations.at(at);
        station.packets = station.packets.saturating_add(1);
        station.wire_bytes = station.wire_bytes.saturating_add(wire_bytes);
        if let Some(cast) = group_cast(packet) {
            self.count_group_packet(packet, cast);
        }
        if self.stations.level() > 0 {
            return ALL_STATIONS;
        }
        u16::try_from(at + 1).ok().filter(|&tag| tag < ALL_STATIONS).unwrap_or(NO_TAG)
    }

    /// Notes the packet's source behind its station.
    pub(crate) fn note_source(&mut self, packet: &PacketRow, cache: &mut StationCache) {
        let src = src_host(packet);
        let hash = self.seed.host(&src);
        let at = self.station_at(packet, cache);
        let station = self.stations.at(at);
        station.sources.insert(hash);
        station.sample.insert(hash, src);
    }

    #[inline]
    fn station_at(&mut self, packet: &PacketRow, cache: &mut StationCache) -> usize {
        let station = Station {
            mac: packet.is(row_flag::HAS_MAC).then_some(packet.src_mac),
            vlan: packet.innermost_vlan(),
            vni: packet.key.vni,
        };
        for known in cache.known.iter().flatten() {
            if known.0 == station {
                return known.1;
            }
        }
        let level = self.stations.level();
        let at = self.stations.index(self.seed, station);
        if self.stations.level() != level {
            cache.known = [None; 2];
        }
        cache.known.swap(0, 1);
        cache.known[0] = Some((station, at));
        at
    }

    fn count_group_packet(&mut self, packet: &PacketRow, cast: Cast) {
        let key = LinkKey {
            station: Station {
                mac: packet.is(row_flag::HAS_MAC).then_some(packet.src_mac),
                vlan: packet.innermost_vlan(),
                vni: packet.key.vni,
            },
            ether_type: if packet.key.version == IpVersion::V4 { 0x0800 } else { 0x86dd },
            cast,
            udp: packet.class == PacketClass::Udp,
        };
        let stats = self.links.entry(self.seed, key);
        stats.frames = stats.frames.saturating_add(1);
        stats.wire_bytes = stats.wire_bytes.saturating_add(u64::from(packet.wire_bytes));
    }
}

fn src_port(packet: &PacketRow) -> u16 {
    if packet.direction() == 0 { packet.key.port_a } else { packet.key.port_b }
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
    if broadcast || (packet.is(row_flag::HAS_MAC) && packet.dst_mac == [0xff; 6]) {
        Some(Cast::Broadcast)
    } else {
        multicast.then_some(Cast::Multicast)
    }
}

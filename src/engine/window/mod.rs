//! One second of event time: bounded summaries that merge exactly.
//!
//! Log, filter, then detail. A shard counts every packet of a second in a few
//! sums (totals, stations, links) and writes it into a row of a log; it
//! keeps no table by host. Once the second is over, the assembly
//! merges the shards' sums, looks at all rows, and then again at those that can
//! matter to a detector ([`crate::detect::Interest`]), to add them to the tables
//! of hosts, pairs and services. What is in these is exact; what is not in them can't
//! reach a threshold.
//!
//! Every part is a function of the *set* of rows: sums, HyperLogLog registers,
//! bottom-k samples, and tables whose step to a coarser form depends on the
//! number of distinct keys alone. So slices and logs of one second merge in any
//! order to the same [`Slice`], whatever the number of shards. A flow's second
//! may be split over rows: more may then be let into the tables, never less.
//!
//! Detectors read a slice through its accessors; they never see a packet.
//! Start at [`Assembler`], [`Slice::add`] and [`Slice::merge`].
//!
//! # What it may hold
//!
//! | table | key | at its cap | default cap | bytes an entry |
//! |---|---|---|---|---|
//! | `receivers`, `senders` | address | sketch of heavy hosts, prefixes | 16,384 | 624 |
//! | - prefixes | /24, /64 | /16 /48, then /8 /32, then one | 4,096 | 488 |
//! | - sketch | 3 x 2,048 buckets | | IPv4 3.2 MB, IPv6 5.6 MB | |
//! | `pairs` | source, destination | emptied | 65,536 | 304 |
//! | `services` | address, amplifying port, side | emptied | 16,384 | 128 |
//! | `links` | station, EtherType | EtherType, then one | 4,096 | 112 |
//! | `stations` | MAC, VLAN, VNI | one | 1,024 | 880 |
//! | log | packet by itself, flow | counted in the tables | 2 M flows, 512 MiB a shard | 52, 192 |
//!
//! A slice takes at most 48 MB at the default caps with every table full (a
//! test holds it to that); an empty one is under 1.5 KB and allocates nothing.
//! [`Slice::memory_bytes`] measures it. Rows are bounded twice: a second steps
//! to the tables when its distinct flows, estimated without regard to order or
//! shard, are over [`Caps::log_flows`]; and, since packets that the flow table
//! refused are rows by themselves, when a shard's rows take
//! [`Caps::log_bytes`]. Only the second bound depends on the number of shards.
//! The filters of the assembly take 1.4 MB for a run, and 12 bytes for each row
//! of its fullest second.

mod assemble;
mod counted;
mod delta;
pub mod features;
mod filter;
mod flow_count;
mod hash;
mod hll;
mod hosts;
mod links;
mod log;
mod packets;
mod payload_sizes;
mod rows;
mod sample;
mod services;
mod sketch;
mod sums;
mod table;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use assemble::drain;
pub use assemble::{Assembled, Assembler};
pub use delta::Delta;
pub use hash::Seed;
pub use hll::Hll;
pub(crate) use hll::Register;
pub use hosts::{HostTable, Prefix, PrefixStats};
pub use links::{Cast, LinkDelta, LinkKey, LinkStats, SOURCE_SAMPLE, Station, StationStats};
pub(crate) use log::Written;
pub use log::{ChunkPool, Log, RowRef};
pub(crate) use packets::StationCache;
pub use payload_sizes::{FineSizes, SIZE_BINS, size_bin, size_bin_range};
pub use rows::{EPHEMERAL, FlowRow};
pub(crate) use rows::{Lying, is_between_clients};
pub use sample::BottomK;
pub use services::{AMPLIFIERS, ServiceKey, ServiceSide, ServiceStats, amplifier_name};
pub(crate) use sums::Sums;
pub use table::{Capped, Coarse, Coarsen, Merge, Table};
pub use tally::{HostEntry, HostStats, PEER_SAMPLE, PairStats, PortBits, Tally};
pub(crate) use tally::{is_icmp_answer, is_icmp_request};

use std::net::IpAddr;

use counted::{Classes, Counted};

use crate::packet::key::{from_ip, to_ip};
use crate::packet::{Address, IpVersion, PacketClass};

/// Address of either version as a window's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub version: IpVersion,
    pub address: Address,
}

impl Ord for Host {
    /// Field by field, the address as one number: byte by byte is a call for each of them.
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let number = |host: &Self| (host.version, u128::from_be_bytes(host.address));
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for Host {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Host {
    /// The address alone, as one number: quicker than field by field, and
    /// addresses of the two versions are hardly ever equal.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.address));
    }
}

impl Default for Host {
    fn default() -> Self {
        Self { version: IpVersion::V4, address: [0; 16] }
    }
}

impl Host {
    pub fn ip(&self) -> IpAddr {
        to_ip(self.version, &self.address)
    }

    /// As people write it, behind a prefix: what is called by its address is asked for often.
    pub fn text_after(&self, prefix: &str) -> String {
        let IpAddr::V4(v4) = self.ip() else { return format!("{prefix}{}", self.ip()) };
        // Three digits and a dot each.
        let (mut text, mut len) = ([b'.'; 16], 0);
        for octet in v4.octets() {
            for (unit, least) in [(100, 100), (10, 10), (1, 0)] {
                if octet >= least {
                    text[len] = b'0' + octet / unit % 10;
                    len += 1;
                }
            }
            len += 1;
        }
        let text = std::str::from_utf8(&text[..len - 1]).unwrap_or_default();
        [prefix, text].concat()
    }

    /// Multicast, or the limited broadcast address.
    #[inline]
    pub fn is_group(&self) -> bool {
        let address = &self.address;
        match self.version {
            IpVersion::V4 => address[12] & 0xf0 == 0xe0 || address[12..] == [0xff; 4],
            IpVersion::V6 => address[0] == 0xff,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        let (version, address) = from_ip(ip);
        Self { version, address }
    }
}

/// Which tables a delta is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Roles {
    receiver: bool,
    sender: bool,
    pair: bool,
    /// As an end of an amplifying service: the source, the destination.
    src_service: bool,
    dst_service: bool,
}

impl Roles {
    const ALL: Self =
        Self { receiver: true, sender: true, pair: true, src_service: true, dst_service: true };

    const NONE: Self = Self {
        receiver: false,
        sender: false,
        pair: false,
        src_service: false,
        dst_service: false,
    };

    fn any(self) -> bool {
        self.receiver || self.sender || self.pair || self.src_service || self.dst_service
    }
}

/// How many distinct keys each table of a slice may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub hosts: usize,
    pub prefixes: usize,
    /// Buckets in each of a sketch's three rows. A host with more than one in so
    /// many of all packets outweighs the average bucket.
    pub sketch_buckets: usize,
    pub pairs: usize,
    pub services: usize,
    pub links: usize,
    pub stations: usize,
    /// Distinct flows of one second, over all shards, up to which their rows
    /// are kept; beyond, everything goes into the tables and their sketches.
    pub log_flows: usize,
    /// Bytes of rows of one second that a shard may hold, however they came
    /// about.
    pub log_bytes: usize,
}

impl Default for Caps {
    fn default() -> Self {
        // A 10 Gbit/s access link shows some thousand to some ten thousand
        // addresses a second; a backbone steps to the sketch, which still
        // finds any host over a two-thousandth of all packets.
        Self {
            hosts: 16_384,
            prefixes: 4_096,
            sketch_buckets: 2_048,
            pairs: 65_536,
            services: 16_384,
            links: 4_096,
            stations: 1_024,
            // Twice the new flows a second of a flood at 500 Mbit/s of
            // smallest frames: 100 MB of them as packets by themselves.
            log_flows: 2 << 20,
            // A third over what that many flows take in both directions: only
            // split rows reach it.
            log_bytes: 512 << 20,
        }
    }
}

/// What all slices of a run share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSettings {
    pub caps: Caps,
    pub seed: Seed,
}

/// One second of one shard, or of all of them once merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Seconds since the epoch, of event time.
    second: i64,
    seed: Seed,
    total: Tally,
    non_ip_frames: u64,
    non_ip_bytes: u64,
    late_packets: u64,
    detail: Detail,
    links: Coarse<LinkKey, LinkStats>,
    stations: Coarse<Station, StationStats>,
}

/// The tables by host, by pair and by service.
#[derive(Clone, Debug, PartialEq)]
struct Detail {
    receivers: HostTable,
    senders: HostTable,
    pairs: Capped<(Host, Host), PairStats>,
    services: Capped<ServiceKey, ServiceStats>,
}

impl Detail {
    fn new(caps: Caps) -> Self {
        Self {
            receivers: HostTable::new(caps),
            senders: HostTable::new(caps),
            pairs: Capped::new(caps.pairs),
            services: Capped::new(caps.services),
        }
    }

    fn clear(&mut self) {
        self.receivers.clear();
        self.senders.clear();
        self.pairs.clear();
        self.services.clear();
    }
}

/// Where a pair is in the table of pairs, by the hashes of its ends.
#[inline]
pub(crate) fn pair_hash(seed: Seed, src_hash: u64, dst_hash: u64) -> u64 {
    seed.mix(src_hash, dst_hash)
}

impl Slice {
    pub fn new(second: i64, settings: &WindowSettings) -> Self {
        let caps = settings.caps;
        Self {
            second,
            seed: settings.seed,
            total: Tally::default(),
            non_ip_frames: 0,
            non_ip_bytes: 0,
            late_packets: 0,
            detail: Detail::new(caps),
            links: Coarse::new(caps.links),
            // Rows name stations by 16 bits.
            stations: Coarse::new(caps.stations.min(usize::from(u16::MAX))),
        }
    }

    /// Counts what a flow did in this second, in every table.
    pub fn add(&mut self, delta: &Delta) {
        if delta.packets() == 0 {
            return; // no packet, no peer, no port
        }
        let seed = self.seed;
        let src_hash = seed.host(&delta.src);
        let dst_hash = seed.host(&delta.dst);
        self.total.add(delta);
        self.add_detail(delta, src_hash, dst_hash, Roles::ALL);
        let station = self.stations.entry(seed, delta.station());
        station.packets = station.packets.saturating_add(u64::from(delta.packets()));
        station.wire_bytes = station.wire_bytes.saturating_add(delta.wire_bytes);
        station.sources.insert(src_hash);
        station.sample.insert(src_hash, delta.src);
        if delta.dst_is_broadcast || delta.dst_is_multicast {
            let udp = delta.classes[PacketClass::Udp as usize] > 0;
            self.add_group_packets(delta, udp);
        }
    }

    /// Counts packets in the tables by host, by pair and by service, in those
    /// that they have a role for.
    #[inline]
    fn add_detail(&mut self, packets: &impl Counted, src_hash: u64, dst_hash: u64, roles: Roles) {
        let seed = self.seed;
        let (src, dst) = ((packets.src(), src_hash), (packets.dst(), dst_hash));
        let port_hash = || seed.mix(u64::from(packets.dst_port()), 1);
        let detail = &mut self.detail;
        if roles.receiver {
            detail.receivers.add(seed, dst, packets, src, port_hash());
        }
        if roles.sender {
            detail.senders.add(seed, src, packets, dst, port_hash());
        }
        if roles.pair && !detail.pairs.overflowed() {
            let hash = pair_hash(seed, src_hash, dst_hash);
            if let Some(pair) = detail.pairs.entry(hash, (src.0, dst.0)) {
                pair.add(packets, seed);
            }
        }
        if roles.src_service || roles.dst_service {
            self.add_services(packets, src_hash, dst_hash, roles);
        }
    }

    /// Counts UDP from or to an amplifying port at those of its ends that are
    /// wanted.
    fn add_services(&mut self, packets: &impl Counted, src_hash: u64, dst_hash: u64, roles: Roles) {
        let udp = packets.packets_of(Classes::UDP);
        if udp == 0 {
            return;
        }
        let (src, dst) = ((packets.src(), src_hash, dst_hash), (packets.dst(), dst_hash, src_hash));
        let wanted = [roles.src_service, roles.dst_service];
        for (port, response) in [(packets.src_port(), true), (packets.dst_port(), false)] {
            if services::is_amplifier(port) {
                self.add_service(packets, udp, port, response, [src, dst], wanted);
            }
        }
    }

    /// Counts frames that carry no IP packet.
    pub fn add_link(&mut self, delta: &LinkDelta) {
        self.non_ip_frames = self.non_ip_frames.saturating_add(u64::from(delta.frames));
        self.non_ip_bytes = self.non_ip_bytes.saturating_add(delta.wire_bytes);
        let mac = delta.src_mac_known.then_some(delta.src_mac);
        let key = LinkKey {
            station: Station { mac, vlan: delta.vlan, vni: delta.vni },
            ether_type: delta.ether_type,
            cast: delta.cast(),
            udp: false,
        };
        let stats = self.links.entry(self.seed, key);
        stats.frames = stats.frames.saturating_add(u64::from(delta.frames));
        stats.wire_bytes = stats.wire_bytes.saturating_add(delta.wire_bytes);
        if let Some(target) = delta.arp_target {
            stats.targets.insert(self.seed.mix(u64::from(u32::from_be_bytes(target)), 4));
        }
    }

    /// Counts packets whose second had been closed when they came.
    pub fn add_late(&mut self, packets: u64) {
        self.late_packets = self.late_packets.saturating_add(packets);
    }

    /// Adds another shard's slice of the same second.
    pub fn merge(&mut self, other: Self) {
        debug_assert_eq!((self.second, self.seed), (other.second, other.seed));
        let seed = self.seed;
        self.total.merge(&other.total);
        self.non_ip_frames = self.non_ip_frames.saturating_add(other.non_ip_frames);
        self.non_ip_bytes = self.non_ip_bytes.saturating_add(other.non_ip_bytes);
        self.late_packets = self.late_packets.saturating_add(other.late_packets);
        self.detail.receivers.merge(seed, other.detail.receivers);
        self.detail.senders.merge(seed, other.detail.senders);
        self.detail.pairs.merge(other.detail.pairs);
        self.detail.services.merge(other.detail.services);
        self.links.merge(seed, other.links);
        self.stations.merge(seed, other.stations);
    }

    pub fn second(&self) -> i64 {
        self.second
    }

    /// Everything with IP inside.
    pub fn total(&self) -> &Tally {
        &self.total
    }

    pub fn non_ip_frames(&self) -> u64 {
        self.non_ip_frames
    }

    pub fn non_ip_bytes(&self) -> u64 {
        self.non_ip_bytes
    }

    pub fn late_packets(&self) -> u64 {
        self.late_packets
    }

    pub fn receivers(&self) -> &HostTable {
        &self.detail.receivers
    }

    pub fn senders(&self) -> &HostTable {
        &self.detail.senders
    }

    /// Who sent to whom; nothing once there were too many.
    pub fn pairs(&self) -> Option<&Table<(Host, Host), PairStats>> {
        self.detail.pairs.table()
    }

    /// What `src` sent to `dst`, if pairs are known.
    pub fn pair(&self, src: &Host, dst: &Host) -> Option<&PairStats> {
        let hash = pair_hash(self.seed, self.seed.host(src), self.seed.host(dst));
        self.detail.pairs.table()?.get(hash, &(*src, *dst))
    }

    pub fn pairs_overflowed(&self) -> bool {
        self.detail.pairs.overflowed()
    }

    pub fn services(&self) -> Option<&Table<ServiceKey, ServiceStats>> {
        self.detail.services.table()
    }

    /// Non-IP frames, and IP packets to broadcast and multicast addresses.
    pub fn links(&self) -> &Coarse<LinkKey, LinkStats> {
        &self.links
    }

    /// IP senders by MAC, VLAN and VNI.
    pub fn stations(&self) -> &Coarse<Station, StationStats> {
        &self.stations
    }

    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Bytes held, allocated ones included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.detail.receivers.memory_bytes()
            + self.detail.senders.memory_bytes()
            + self.detail.pairs.memory_bytes()
            + self.detail.services.memory_bytes()
            + self.links.table().memory_bytes()
            + self.stations.table().memory_bytes()
    }

    fn add_service(
        &mut self,
        packets: &impl Counted,
        udp: u32,
        port: u16,
        response: bool,
        ends: [(Host, u64, u64); 2],
        wanted: [bool; 2],
    ) {
        for (index, (host, hash, peer_hash)) in ends.into_iter().enumerate() {
            if !wanted[index] {
                continue;
            }
            let side =
                if (index == 0) == response { ServiceSide::Server } else { ServiceSide::Client };
            let key = ServiceKey { host, port, side };
            let Some(stats) = self.detail.services.entry(key.hash(self.seed, hash), key) else {
                return;
            };
            if response {
                stats.add_response(packets, udp, peer_hash);
            } else {
                stats.add_request(packets, udp);
            }
        }
    }

    fn add_group_packets(&mut self, delta: &Delta, udp: bool) {
        let ether_type = if delta.src.version == IpVersion::V4 { 0x0800 } else { 0x86dd };
        let cast = if delta.dst_is_broadcast { Cast::Broadcast } else { Cast::Multicast };
        let key = LinkKey { station: delta.station(), ether_type, cast, udp };
        let stats = self.links.entry(self.seed, key);
        stats.frames = stats.frames.saturating_add(u64::from(delta.packets()));
        stats.wire_bytes = stats.wire_bytes.saturating_add(delta.wire_bytes);
    }
}

//! Storms on the link: broadcast, multicast, and frames without IP.
//!
//! Method: frames of one second by station (source MAC, VLAN, VNI) and
//! EtherType, and by EtherType over all stations. Broadcast, control protocols
//! (ARP, LLDP, slow protocols, EAPOL, spanning tree and other LLC) and
//! multicast that is not UDP have no use for 1,000 frames/s; UDP multicast and
//! other types get 10,000, since video, market data and fieldbuses run at
//! thousands. Unicast of types that carry bulk data (MACsec, FCoE, RoCE, ...)
//! is no storm at any rate. All stations of one type together get 10,000.

use std::collections::BTreeMap;

use serde_json::json;

use super::victims::TOP_PEERS;
use super::{
    Context, Detector, Direction, Family, Finding, Peer, PeerRole, Rule, Shape, Subject, Traffic,
    Window,
};
use crate::alert::Entity;
use crate::engine::window::{Cast, Host, LinkKey, LinkStats, Slice, Station};
use crate::packet::IpVersion;

#[derive(Debug, Default)]
pub struct Storm;

const STORM: &str = "frames of one second from one station >= storm_rate_threshold (broadcast, \
                     control protocols, multicast without UDP) or bulk_storm_rate_threshold (UDP \
                     multicast, other types, all stations of a type)";

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// Types that talk about the link, never carry data: ARP, RARP, slow protocols
/// (LACP), EAPOL, loop detection, LLDP.
const CONTROL: [u16; 6] = [ARP, 0x8035, 0x8809, 0x888e, 0x9000, 0x88cc];

/// Types that carry data in bulk: MPLS, PPPoE, PROFINET, AoE, EtherCAT, MACsec,
/// FCoE, RoCE.
const BULK: [u16; 9] = [0x8847, 0x8848, 0x8864, 0x8892, 0x88a2, 0x88a4, 0x88e5, 0x8906, 0x8915];

impl Detector for Storm {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let slice = window.slice;
        if slice.links().level() > 1 {
            return; // so many types that none is known any more
        }
        let lowest = ctx.settings.storm_rate_threshold.min(ctx.settings.bulk_storm_rate_threshold);
        let links = slice.links().table();
        if links.iter().map(|(_, stats)| stats.frames).sum::<u64>() < lowest {
            return;
        }
        let mut by_type = BTreeMap::<LinkKey, (LinkStats, u64)>::new();
        let mut named = Vec::new();
        for (key, stats) in links.sorted() {
            let anybody = LinkKey { station: Station { mac: None, vlan: 0, vni: 0 }, ..*key };
            let (sums, stations) = by_type.entry(anybody).or_default();
            sums.frames += stats.frames;
            sums.wire_bytes = sums.wire_bytes.saturating_add(stats.wire_bytes);
            *stations += 1;
            if let Some(threshold) = threshold(key, ctx).filter(|&t| stats.frames >= t) {
                out.push(finding(slice, key, stats, 1, threshold, ctx));
                named.push(anybody);
            }
        }
        // Stations that each stay under the threshold, or change their MAC.
        for (key, (stats, stations)) in by_type {
            if stations < 2 || named.contains(&key) {
                continue;
            }
            // Thousands of stations asking for each other add up.
            let bulk = ctx.settings.bulk_storm_rate_threshold;
            if threshold(&key, ctx).is_some() && stats.frames >= bulk {
                out.push(finding(slice, &key, &stats, stations, bulk, ctx));
            }
        }
    }
}

/// Frames a second from which it is a storm; nothing for bulk carriers and for
/// what the flood detectors judge.
fn threshold(key: &LinkKey, ctx: &Context<'_>) -> Option<u64> {
    let (low, bulk) = (ctx.settings.storm_rate_threshold, ctx.settings.bulk_storm_rate_threshold);
    let ip = key.ether_type == IPV4 || key.ether_type == IPV6;
    // Below 0x0600 the field is a length: LLC, as spanning tree uses it.
    let control = CONTROL.contains(&key.ether_type) || key.ether_type < 0x0600;
    let carrier = BULK.contains(&key.ether_type);
    match key.cast {
        Cast::Unicast if ip || carrier => None,
        Cast::Unicast | Cast::Multicast | Cast::Broadcast if control => Some(low),
        Cast::Broadcast if !carrier => Some(low),
        Cast::Multicast if ip && !key.udp => Some(low),
        Cast::Unicast | Cast::Multicast | Cast::Broadcast => Some(bulk),
    }
}

fn finding(
    slice: &Slice,
    key: &LinkKey,
    stats: &LinkStats,
    stations: u64,
    threshold: u64,
    ctx: &Context<'_>,
) -> Finding {
    let ip = key.ether_type == IPV4 || key.ether_type == IPV6;
    let (detector, kind) = match (key.cast, ip) {
        (Cast::Broadcast, true) => ("broadcast_storm", "ip_broadcast"),
        (_, true) => ("multicast_storm", "ip_multicast"),
        (_, false) => ("non_ip_storm", "non_ip"),
    };
    let senders = if ip { group_senders(slice, key) } else { Vec::new() };
    let main = senders.first().filter(|peer| peer.packets.unwrap_or(0) * 2 >= stats.frames);
    // Without a link layer the sender's address has to do.
    let entity = match main {
        Some(peer) if key.station.mac.is_none() => Entity::address(&peer.host),
        _ => Entity::station(&key.station),
    };
    let home = main.is_some_and(|peer| ctx.settings.home_nets.contains(&peer.host));
    Finding {
        opens: true,
        kind,
        // A broadcast domain is one's own network.
        direction: if ip { Direction::new(home, true) } else { Direction::Internal },
        shape: Shape::OneToMany,
        traffic: Traffic {
            packets: stats.frames,
            wire_bytes: stats.wire_bytes,
            ..Traffic::default()
        },
        measured: stats.frames,
        unanswered: stats.frames,
        sources: stations.max(senders.len() as u64),
        peers: senders,
        details: [
            ("ether_type", json!(format!("0x{:04x}", key.ether_type))),
            ("cast", json!(key.cast)),
            ("stations", json!(stations)),
        ]
        .into(),
        ..Finding::new(
            detector,
            Family::Link,
            slice.second(),
            Subject::Station(key.station, key.ether_type),
            entity,
            Rule { name: "storm_rate", threshold, unit: "frames/s", formula: STORM },
        )
    }
}

/// Who sends to broadcast or multicast addresses, most first.
fn group_senders(slice: &Slice, key: &LinkKey) -> Vec<Peer> {
    let version = if key.ether_type == IPV4 { IpVersion::V4 } else { IpVersion::V6 };
    let mut sums = BTreeMap::<Host, (u64, u64)>::new();
    for ((src, dst), pair) in slice.pairs().into_iter().flat_map(|pairs| pairs.iter()) {
        if src.version == version && dst.is_group() {
            let sum = sums.entry(*src).or_default();
            sum.0 += pair.tally.packets();
            sum.1 = sum.1.saturating_add(pair.tally.wire_bytes);
        }
    }
    let mut peers: Vec<Peer> = sums
        .into_iter()
        .map(|(host, (packets, bytes))| Peer {
            host,
            role: PeerRole::Source,
            packets: Some(packets),
            wire_bytes: Some(bytes),
        })
        .collect();
    peers.sort_by_key(|peer| (u64::MAX - peer.packets.unwrap_or(0), peer.host));
    peers.truncate(TOP_PEERS);
    peers
}

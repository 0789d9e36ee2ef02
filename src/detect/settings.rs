//! Thresholds of the detectors, each with its reason. Where ATT&CK names a
//! mutable element, the setting has its name in snake case.
//! InstanceTrafficThreshold (egress above an instance's normal) is missing on
//! purpose: without a baseline there is no normal to be above.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kind::Kind;
use super::watch::Watch;
use crate::alert::AllowEntry;
use crate::engine::window::Host;
use crate::packet::IpVersion;
use crate::packet::key::from_ip;

/// What detectors compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectSettings {
    pub home_nets: HomeNets,
    /// ATT&CK PacketRateThreshold: one window at or over it opens a flood
    /// alert. ATT&CK's own example for AN0969 is 10,000 packets/s.
    pub packet_rate_threshold: u64,
    /// Two windows in a row at or over it open one as well, if nobody answers.
    /// No ordinary one-way sender (syslog, statsd, a sensor) reaches it for
    /// long, and no tool that floods stays under it.
    pub unanswered_rate_threshold: u64,
    /// Packets back by packets in, under which a stream counts as unanswered.
    /// QUIC acknowledges about every tenth packet, RTCP about every fiftieth.
    pub answer_ratio: f64,
    /// ATT&CK BurstTimeWindow: seconds of activity that make a provisional
    /// flood sustained.
    pub burst_time_window_s: u64,
    /// ATT&CK ProtocolType: kinds of packet that need no connection and raise
    /// the severity of an outbound flood.
    pub protocol_type: Vec<Kind>,
    /// A flood gets the name of a type that holds more than this share of its
    /// packets (FastNetMon).
    pub typing_share: f64,
    /// Addresses of a prefix that must be hit together to speak of carpet
    /// bombing.
    pub carpet_addresses: u64,
    /// New connections a second at one address: FastNetMon's default for flows
    /// of one host.
    pub connection_rate_threshold: u64,
    /// New connections a second from one address to one other that are given up
    /// before any data: ntopng's default for flows of a host.
    pub empty_connection_rate_threshold: u64,
    /// Distinct ports of one target in a minute that make a scan, and twice as
    /// many in five minutes. UDP needs twice as many again: traceroute alone
    /// touches up to 90.
    pub scan_ports: u64,
    /// Distinct targets in a minute that make a scan, and twice as many in five
    /// minutes.
    pub scan_hosts: u64,
    /// Distinct targets of ICMP echo in a minute that make a sweep (Slips: 25),
    /// and twice as many in five minutes.
    pub sweep_hosts: u64,
    /// Distinct IP protocols probed at one target.
    pub scan_protocols: u64,
    /// Distinct targets of ARP requests from one MAC in a minute: a quarter of
    /// a /24 is more than a router asks for.
    pub arp_sweep_hosts: u64,
    /// Distinct reflectors whose unasked responses a second are a reflection
    /// attack already at `unanswered_rate_threshold`.
    pub reflectors: u64,
    /// Response bytes by request bytes that make a server a reflector
    /// (10: SNMP, the weakest of US-CERT TA14-017A worth an attack, gives 6.3).
    pub amplification: f64,
    /// Broadcast frames, and frames of control protocols, a second.
    pub storm_rate_threshold: u64,
    /// UDP multicast and other EtherTypes a second: video and market data over
    /// multicast run at thousands.
    pub bulk_storm_rate_threshold: u64,
    /// Seconds without activity that end an alert.
    pub quiet_time_s: u64,
    /// Alerts open at the same time.
    pub open_alerts: usize,
    /// Alerts of a run that ends. Live, where each is handed out as it comes,
    /// there is no such bound.
    pub total_alerts: usize,
    /// Alerts that are over and still held, for the summary: the newest.
    pub kept_alerts: usize,
    /// Packets of a thousand that an interface loses in a second: one in a
    /// hundred makes flows unreliable (Zeek's capture-loss notice: 10 %; a lost
    /// packet in a thousand is every busy sensor's).
    pub loss_per_mille: u64,
    /// Sources whose probes are remembered.
    pub scan_sources: usize,
    /// Alerts that are counted instead of raised.
    pub allow: Vec<AllowEntry>,
    /// Whom somebody asks about; no setting of a run.
    pub watch: Option<Watch>,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            home_nets: HomeNets::default(),
            packet_rate_threshold: 10_000,
            unanswered_rate_threshold: 1_000,
            answer_ratio: 0.05,
            burst_time_window_s: 15,
            protocol_type: vec![Kind::Udp, Kind::Icmp, Kind::Gre, Kind::OtherIp, Kind::Fragment],
            typing_share: 0.9,
            carpet_addresses: 16,
            connection_rate_threshold: 3_500,
            empty_connection_rate_threshold: 256,
            scan_ports: 50,
            scan_hosts: 30,
            sweep_hosts: 16,
            scan_protocols: 20,
            arp_sweep_hosts: 64,
            reflectors: 50,
            amplification: 10.0,
            storm_rate_threshold: 1_000,
            bulk_storm_rate_threshold: 10_000,
            quiet_time_s: 60,
            open_alerts: 1_024,
            total_alerts: 10_000,
            kept_alerts: 10_000,
            loss_per_mille: 10,
            scan_sources: 4_096,
            allow: Vec::new(),
            watch: None,
        }
    }
}

/// Networks that are ours; decide what is inbound and what is outbound.
#[derive(Clone, Debug, PartialEq)]
pub struct HomeNets {
    nets: Vec<IpNet>,
    /// First and last address of what the nets cover, by version, in order and
    /// apart: asked for every peer of every victim.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl HomeNets {
    pub fn new(nets: Vec<IpNet>) -> Self {
        let range = |net: &IpNet| (number(&net.network().into()), number(&net.broadcast().into()));
        let (v4, v6): (Vec<_>, Vec<_>) = nets.iter().partition(|net| matches!(net, IpNet::V4(_)));
        let ranges = |nets: Vec<&IpNet>| joined(nets.into_iter().map(range).collect());
        Self { v4: ranges(v4), v6: ranges(v6), nets }
    }

    pub fn contains(&self, host: &Host) -> bool {
        let number = number(host);
        let ranges = match host.version {
            IpVersion::V4 => &self.v4,
            IpVersion::V6 => &self.v6,
        };
        let at = ranges.partition_point(|&(_, last)| last < number);
        ranges.get(at).is_some_and(|&(first, _)| first <= number)
    }

    pub fn contains_ip(&self, address: IpAddr) -> bool {
        let (version, address) = from_ip(address);
        self.contains(&Host { version, address })
    }

    pub fn nets(&self) -> &[IpNet] {
        &self.nets
    }
}

/// An address as a number of its version.
fn number(host: &Host) -> u128 {
    let address = u128::from_be_bytes(host.address);
    match host.version {
        IpVersion::V4 => u128::from(address as u32),
        IpVersion::V6 => address,
    }
}

/// Ranges in order; those that overlap become one.
fn joined(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
    ranges
}

impl Default for HomeNets {
    /// Private ranges: RFC 1918, RFC 6598 (carrier NAT), RFC 4193, link-local
    /// and loopback.
    fn default() -> Self {
        let v4 = |octets: [u8; 4], bits| IpNet::from(Ipv4Net::new_assert(octets.into(), bits));
        let v6 = |first: u16, last: u16, bits| {
            IpNet::from(Ipv6Net::new_assert([first, 0, 0, 0, 0, 0, 0, last].into(), bits))
        };
        Self::new(vec![
            v4([10, 0, 0, 0], 8),
            v4([172, 16, 0, 0], 12),
            v4([192, 168, 0, 0], 16),
            v4([100, 64, 0, 0], 10),
            v4([169, 254, 0, 0], 16),
            v4([127, 0, 0, 0], 8),
            v6(0xfc00, 0, 7),
            v6(0xfe80, 0, 10),
            v6(0, 1, 128),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        /// Few bits of address, so that nets meet and contain each other.
        fn any_ip()(v6: bool, high: u8, low: u8) -> IpAddr {
            if v6 {
                Ipv6Addr::new(u16::from(high) << 8, 0, 0, 0, 0, 0, 0, u16::from(low)).into()
            } else {
                Ipv4Addr::new(high, 0, 0, low).into()
            }
        }
    }

    prop_compose! {
        fn any_net()(ip in any_ip(), bits in 0u8..=128) -> IpNet {
            let bits = if ip.is_ipv4() { bits % 33 } else { bits };
            IpNet::new(ip, bits).expect("bits fit the version")
        }
    }

    proptest! {
        #[test]
        fn a_host_is_at_home_when_some_net_has_it(
            nets in prop::collection::vec(any_net(), 0..12),
            ips in prop::collection::vec(any_ip(), 1..60),
        ) {
            let home = HomeNets::new(nets.clone());
            for ip in ips {
                let some_net_has_it = nets.iter().any(|net| net.contains(&ip));
                prop_assert_eq!(home.contains(&Host::from(ip)), some_net_has_it, "{}", ip);
            }
        }
    }
}

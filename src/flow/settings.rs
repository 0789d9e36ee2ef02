//! Time-outs and caps of the flow table.

/// When a flow's record is cut. All in nanoseconds; `None` is never.
///
/// Defaults are in line with Zeek (TCP 300 s inactivity, UDP and ICMP shorter)
/// and nfpcapd (active 300 s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub tcp_idle_ns: Option<i64>,
    /// TCP with a SYN that nobody answered.
    pub half_open_ns: Option<i64>,
    /// TCP after both FINs or a RST: long enough for the last ACKs and for
    /// retransmissions to stay in the record.
    pub closed_ns: Option<i64>,
    pub udp_idle_ns: Option<i64>,
    pub icmp_idle_ns: Option<i64>,
    pub other_idle_ns: Option<i64>,
    /// Age at which the record of a flow that goes on is cut and a new one begun.
    pub tcp_active_ns: Option<i64>,
    pub udp_active_ns: Option<i64>,
    pub icmp_active_ns: Option<i64>,
    pub other_active_ns: Option<i64>,
}

const SECOND_NS: i64 = 1_000_000_000;

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_idle_ns: Some(300 * SECOND_NS),
            half_open_ns: Some(15 * SECOND_NS),
            closed_ns: Some(5 * SECOND_NS),
            udp_idle_ns: Some(60 * SECOND_NS),
            icmp_idle_ns: Some(30 * SECOND_NS),
            other_idle_ns: Some(60 * SECOND_NS),
            tcp_active_ns: Some(300 * SECOND_NS),
            udp_active_ns: Some(300 * SECOND_NS),
            icmp_active_ns: Some(300 * SECOND_NS),
            other_active_ns: Some(300 * SECOND_NS),
        }
    }
}

/// IP protocol numbers with time-outs of their own.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl Timeouts {
    /// Idle time-out by protocol alone.
    pub(crate) fn idle_ns(&self, proto: u8) -> Option<i64> {
        match proto {
            TCP => self.tcp_idle_ns,
            UDP => self.udp_idle_ns,
            ICMP | ICMPV6 => self.icmp_idle_ns,
            _ => self.other_idle_ns,
        }
    }

    /// Age limit of a record.
    pub(crate) fn active_ns(&self, proto: u8) -> Option<i64> {
        match proto {
            TCP => self.tcp_active_ns,
            UDP => self.udp_active_ns,
            ICMP | ICMPV6 => self.icmp_active_ns,
            _ => self.other_active_ns,
        }
    }
}

/// Settings of one shard's table.
#[derive(Clone, Copy, Debug)]
pub struct TableSettings {
    pub timeouts: Timeouts,
    /// Flows held at once; a flood beyond it pushes out only other flows of one packet.
    pub max_flows: usize,
    /// How far behind the stream's latest time stamp a packet may be and still
    /// be taken as it is.
    pub lateness_ns: i64,
    pub wanted: Wanted,
    /// Flows that tell names are handed out one by one, also where nobody answered them.
    pub names: bool,
}

/// What is told of a flow that ended, beside the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Counts,
    /// What detectors and a join to hosts take.
    Outlines,
    /// These, and beside them outlines of a sample of the flows that nobody answered.
    Records,
}

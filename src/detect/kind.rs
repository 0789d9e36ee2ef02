//! Kinds of flood packet, and what counts as an answer to each.
//!
//! A kind is held against the opposite direction of the same conversation: a
//! flood is what nobody asked for and nobody answers. The answer must be one
//! that only a real conversation gives. A SYN-ACK is none, since a victim sends
//! it to a flood as well: for SYN it is the client's next packet.

use crate::engine::window::{Hll, Tally};
use crate::packet::PacketClass as C;

use super::{Context, Family};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Udp,
    Icmp,
    Gre,
    OtherIp,
    TcpSyn,
    TcpSynAck,
    TcpRst,
    TcpFin,
    TcpAck,
    TcpData,
    TcpOdd,
    Fragment,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Udp,
        Self::Icmp,
        Self::Gre,
        Self::OtherIp,
        Self::TcpSyn,
        Self::TcpSynAck,
        Self::TcpRst,
        Self::TcpFin,
        Self::TcpAck,
        Self::TcpData,
        Self::TcpOdd,
        Self::Fragment,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Gre => "gre",
            Self::OtherIp => "other_ip",
            Self::TcpSyn => "tcp_syn",
            Self::TcpSynAck => "tcp_synack",
            Self::TcpRst => "tcp_rst",
            Self::TcpFin => "tcp_fin",
            Self::TcpAck => "tcp_ack",
            Self::TcpData => "tcp_data",
            Self::TcpOdd => "tcp_odd",
            Self::Fragment => "fragment",
        }
    }

    pub fn detector(self) -> &'static str {
        match self {
            Self::Udp => "udp_flood",
            Self::Icmp => "icmp_flood",
            Self::Gre => "gre_flood",
            Self::OtherIp => "ip_flood",
            Self::TcpSyn => "tcp_syn_flood",
            Self::TcpSynAck => "tcp_synack_flood",
            Self::TcpRst => "tcp_rst_flood",
            Self::TcpFin => "tcp_fin_flood",
            Self::TcpAck => "tcp_ack_flood",
            Self::TcpData => "tcp_data_flood",
            Self::TcpOdd => "tcp_odd_flood",
            Self::Fragment => "fragment_flood",
        }
    }

    pub fn family(self) -> Family {
        match self {
            Self::Udp | Self::Fragment => Family::Udp,
            Self::Icmp => Family::Icmp,
            Self::Gre => Family::Gre,
            Self::OtherIp => Family::OtherIp,
            _ => Family::Tcp,
        }
    }

    /// Needs no connection.
    pub fn stateless(self) -> bool {
        matches!(self, Self::Udp | Self::Icmp | Self::Gre | Self::OtherIp | Self::Fragment)
    }

    /// Whether a port scan can look like this kind.
    fn scans_ports(self) -> bool {
        matches!(self, Self::Udp | Self::TcpSyn | Self::TcpFin | Self::TcpAck | Self::TcpOdd)
    }

    /// Judged without looking at the other direction.
    fn judged_one_sided(self) -> bool {
        matches!(
            self,
            Self::Udp
                | Self::Icmp
                | Self::Gre
                | Self::OtherIp
                | Self::TcpSyn
                | Self::TcpOdd
                | Self::Fragment
        )
    }

    pub fn count(self, tally: &Tally) -> u64 {
        match self {
            Self::Udp => tally.class(C::Udp),
            Self::Icmp => tally.class(C::Icmp),
            Self::Gre => tally.class(C::Gre),
            Self::OtherIp => tally.class(C::OtherIp),
            Self::TcpSyn => tally.class(C::TcpSyn),
            Self::TcpSynAck => tally.class(C::TcpSynAck),
            Self::TcpRst => tally.class(C::TcpRst),
            Self::TcpFin => tally.class(C::TcpFin),
            Self::TcpAck => tally.class(C::TcpAck),
            Self::TcpData => tally.class(C::TcpData),
            Self::TcpOdd => tally.class(C::TcpOdd),
            Self::Fragment => u64::from(tally.fragments),
        }
    }
}

/// What part of a stream of one kind belongs to a flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Packets that are no part of an answered conversation: held against the
    /// absolute threshold.
    pub flood: u64,
    /// Those of them that nobody answered and that are no scan.
    pub unanswered: u64,
    /// Packets that came back in answer.
    pub answers: u64,
}

/// Both directions between two ends (or of one end with everybody).
pub(crate) struct Exchange<'a> {
    pub to: &'a Tally,
    pub back: &'a Tally,
    /// Probed ports and flows of `to`, where the two ends are single hosts.
    pub spread: Option<(&'a Hll, &'a Hll)>,
}

impl Exchange<'_> {
    pub(crate) fn judge(&self, kind: Kind, ctx: &Context<'_>) -> Judged {
        let count = kind.count(self.to);
        if count == 0 {
            return Judged::default();
        }
        if ctx.one_sided {
            let flood = if kind.judged_one_sided() { count } else { 0 };
            return Judged { flood, unanswered: 0, answers: 0 };
        }
        let mut judged = match kind {
            Kind::Udp | Kind::Gre | Kind::OtherIp => self.judge_stream(kind, count, ctx),
            Kind::Icmp => self.judge_icmp(count, ctx),
            Kind::Fragment => {
                // One request of an NFS or DNS client is answered by a train
                // of fragments: 32 KiB in 22 of them.
                self.unless(count, self.back.packets(), 0.02)
            }
            Kind::TcpSyn => self.judge_syn(count),
            Kind::TcpOdd => Judged { flood: count, unanswered: count, answers: 0 },
            _ => self.judge_tcp(kind, count, ctx),
        };
        if judged.unanswered > 0 && self.is_scan_like(kind, count, ctx) {
            judged.unanswered = 0;
        }
        judged
    }

    fn judge_stream(&self, kind: Kind, count: u64, ctx: &Context<'_>) -> Judged {
        let answers = kind.count(self.back);
        let answered = ratio(answers, count) >= ctx.settings.answer_ratio;
        // A call, a VPN or a QUIC download keeps its ports; a tool that takes a
        // new one for every fourth packet floods, even if something answers.
        let many_flows = count >= ctx.settings.unanswered_rate_threshold
            && self.spread.is_some_and(|(_, flows)| flows.estimate() > count / 4);
        Judged {
            flood: if answered && !many_flows { 0 } else { count },
            unanswered: if answered { 0 } else { count },
            answers,
        }
    }

    fn judge_icmp(&self, count: u64, ctx: &Context<'_>) -> Judged {
        let requests_back = u64::from(self.back.icmp_requests);
        let asked = u64::from(self.to.icmp_replies).min(requests_back);
        // Errors are the answer to what was sent, whatever it was.
        let provoked = u64::from(self.to.icmp_errors).min(self.back.packets());
        let flood = count.saturating_sub(asked + provoked);
        let answers = u64::from(self.back.icmp_replies).min(flood);
        let answered = flood > 0 && ratio(answers, flood) >= ctx.settings.answer_ratio;
        Judged { flood, unanswered: if answered { 0 } else { flood }, answers }
    }

    /// A handshake goes on with a packet of the client after the SYN-ACK.
    fn judge_syn(&self, count: u64) -> Judged {
        let going_on =
            self.to.class(C::TcpAck) + self.to.class(C::TcpData) + self.to.class(C::TcpFin);
        let answers = self.back.class(C::TcpSynAck);
        let completed = count.min(answers).min(going_on);
        let flood = count - completed;
        Judged { flood, unanswered: flood, answers }
    }

    fn judge_tcp(&self, kind: Kind, count: u64, ctx: &Context<'_>) -> Judged {
        let back = self.back;
        let (syn, ack, data, fin) = (
            back.class(C::TcpSyn),
            back.class(C::TcpAck),
            back.class(C::TcpData),
            back.class(C::TcpFin),
        );
        match kind {
            // Stacks repeat a SYN-ACK five times at most.
            Kind::TcpSynAck => self.unless(count, syn, 0.2),
            // A RST is sent for a packet that came.
            Kind::TcpRst => self.unless(count, back.tcp(), 0.5),
            Kind::TcpFin => self.unless(count, ack + data + fin, ctx.settings.answer_ratio),
            // With segmentation offload one captured data packet may earn
            // dozens of ACKs: then its bytes say so.
            Kind::TcpAck if back.payload_bytes / 100 >= count => {
                Judged { flood: 0, unanswered: 0, answers: data }
            }
            Kind::TcpAck => self.unless(count, data, ctx.settings.answer_ratio),
            // Receive offload acknowledges up to 64 KiB, 44 segments, at once.
            Kind::TcpData => self.unless(count, ack + data + fin, 0.005),
            _ => Judged { flood: count, unanswered: count, answers: 0 },
        }
    }

    /// All of it is a flood unless `answers` come at least at `rate`.
    fn unless(&self, count: u64, answers: u64, rate: f64) -> Judged {
        let flood = if ratio(answers, count) >= rate { 0 } else { count };
        Judged { flood, unanswered: flood, answers }
    }

    /// One source that tries many ports of one target, each a few times, below
    /// the absolute threshold: left to the scan detector.
    fn is_scan_like(&self, kind: Kind, count: u64, ctx: &Context<'_>) -> bool {
        let Some((ports, _)) = self.spread else { return false };
        if !kind.scans_ports()
            || count < ctx.settings.scan_ports
            || count >= ctx.settings.packet_rate_threshold
        {
            return false;
        }
        let ports = ports.estimate();
        ports >= ctx.settings.scan_ports && count / ports.max(1) <= 3
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

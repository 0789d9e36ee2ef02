//! Where one record of a flow ends and the next begins.
//!
//! Decided by the flow's own packets alone: never by when somebody looks.
//! Start at [`cut_reason`].

use super::live::{Live, TCP};
use super::record::EndReason;
use super::settings::Timeouts;
use crate::packet::PacketRow;
use crate::packet::facts::tcp_flag;

/// What decides whether a flow's record ends before its next packet.
pub(crate) struct Clock {
    pub(crate) start_ns: i64,
    pub(crate) last_ns: i64,
    pub(crate) idle_ns: Option<i64>,
    /// Both FINs or a RST were seen.
    pub(crate) over: bool,
}

/// Whether this packet begins a new record, why, and when that was decided.
pub(crate) fn cut_reason(
    flow: Clock,
    active_ns: Option<i64>,
    packet: &PacketRow,
    cut_ns: i64,
) -> Option<(EndReason, i64)> {
    if let Some(idle_ns) = flow.idle_ns {
        let deadline_ns = flow.last_ns.saturating_add(idle_ns);
        if cut_ns > deadline_ns {
            let reason = if flow.over { EndReason::Closed } else { EndReason::Idle };
            return Some((reason, deadline_ns));
        }
    }
    let syn = packet.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
    if flow.over && syn && packet.key.proto == TCP {
        return Some((EndReason::Closed, cut_ns));
    }
    match active_ns {
        // By the packets' own times: a late packet is not old because others are new.
        Some(active_ns) if packet.time_ns.saturating_sub(flow.start_ns) > active_ns => {
            Some((EndReason::Active, cut_ns))
        }
        _ => None,
    }
}

/// The shortest of all time-outs: a packet within them cuts no record, which
/// spares most packets the closer look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortest {
    idle_ns: i64,
    active_ns: i64,
}

impl Shortest {
    pub(crate) fn of(timeouts: &Timeouts) -> Self {
        let least = |all: &[Option<i64>]| all.iter().flatten().copied().min().unwrap_or(i64::MAX);
        let t = timeouts;
        let idle = [t.tcp_idle_ns, t.half_open_ns, t.closed_ns, t.udp_idle_ns, t.icmp_idle_ns];
        let active = [t.tcp_active_ns, t.udp_active_ns, t.icmp_active_ns];
        Self {
            idle_ns: least(&idle).min(least(&[t.other_idle_ns])),
            active_ns: least(&active).min(least(&[t.other_active_ns])),
        }
    }

    #[inline]
    pub(crate) fn may_cut(&self, live: &Live, packet: &PacketRow, cut_ns: i64) -> bool {
        // Times are from 1970 on: no difference overflows.
        cut_ns - live.cut_ns > self.idle_ns
            || packet.time_ns - live.start_ns > self.active_ns
            || live.life.is_over()
    }
}

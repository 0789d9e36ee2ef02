//! What the map of a host is asked for: who had the socket at an end of a flow, of what
//! kind of knowledge of the flow there is.

use super::claim::{ICMP, ICMPV6};
use super::join::HOLD_NS;
use super::kernel::{sent_by_kernel, sent_by_kernel_in};
use super::resolve::Question;
use crate::entity::View;
use crate::flow::app::Quoted;
use crate::flow::{APP_PACKETS, Outline};
use crate::telemetry::observation::FlowReport;

const SECOND_NS: i64 = 1_000_000_000;

/// A packet and the error about it take no longer, once around the world and through full
/// queues: who sent it may have closed its socket since.
const ON_THE_WAY_NS: i64 = SECOND_NS;

/// What is told by then counts of a flow.
pub(super) fn known_of_ns(flow: &Outline) -> i64 {
    flow.decided_ns.saturating_add(HOLD_NS)
}

/// Who was at the originator's end, and who at the responder's.
pub(super) fn of_flow(flow: &Outline) -> [Question; 2] {
    let is_icmp = is_icmp(flow.key.proto);
    // Of an echo its identifier, at both ends.
    let port = |port: u16| if is_icmp { flow.key.echo_id } else { port };
    let of_kernel = sent_by_kernel(flow);
    let of_src = Question {
        protocol: flow.key.proto,
        local: flow.src_ip(),
        local_port: port(flow.src_port()),
        remote: flow.dst_ip(),
        remote_port: port(flow.dst_port()),
        sent: flow.packets[0] > 0,
        by_kernel: of_kernel[0],
        start_ns: flow.start_ns,
        end_ns: flow.end_ns,
        begun_by_ns: flow.start_ns,
        known_ns: known_of_ns(flow),
    };
    let answered = flow.packets[1] > 0;
    let ends = [of_src, of_src.of_the_other_end(answered, of_kernel[1])];
    ends.map(|end| Question { remote_port: if is_icmp { 0 } else { end.remote_port }, ..end })
}

impl Question {
    fn of_the_other_end(self, sent: bool, by_kernel: bool) -> Self {
        Self {
            local: self.remote,
            local_port: self.remote_port,
            remote: self.local,
            remote_port: self.local_port,
            sent,
            by_kernel,
            ..self
        }
    }
}

/// Who sent the packet that an error is about: it came back to its sender.
pub(super) fn of_quoted(flow: &Outline, quoted: &Quoted) -> Option<Question> {
    // Errors that nobody read may be about anybody's packets.
    let all_were_read = flow.packets.iter().all(|&packets| packets <= APP_PACKETS);
    if !all_were_read || quoted.several || quoted.src != flow.dst_ip() {
        return None;
    }
    let is_echo = is_icmp(quoted.proto);
    let [local_port, remote_port] = if is_echo { [quoted.echo_id, 0] } else { quoted.ports };
    Some(Question {
        protocol: quoted.proto,
        local: quoted.src,
        local_port,
        remote: quoted.dst,
        remote_port,
        sent: true,
        by_kernel: false,
        start_ns: flow.start_ns.saturating_sub(ON_THE_WAY_NS),
        end_ns: flow.end_ns,
        begun_by_ns: flow.start_ns,
        known_ns: known_of_ns(flow),
    })
}

/// Who was at the ends of a flow that another source reported. Without a protocol and ports
/// no socket can be told to be the flow's.
pub(super) fn of_report(flow: &FlowReport) -> Option<[Question; 2]> {
    let protocol = flow.protocol.filter(|&protocol| !is_icmp(protocol))?;
    let of_src = Question {
        protocol,
        local: flow.src,
        local_port: flow.src_port?,
        remote: flow.dst,
        remote_port: flow.dst_port?,
        sent: true,
        by_kernel: false,
        start_ns: flow.start_ns,
        end_ns: flow.end_ns,
        begun_by_ns: flow.start_ns,
        known_ns: flow.end_ns.saturating_add(HOLD_NS),
    };
    let answered = flow.rev.is_some_and(|rev| rev.packets != Some(0));
    Some([of_src, of_src.of_the_other_end(answered, false)])
}

/// What is told by then counts in a second.
pub(super) fn known_in_ns(second: i64) -> i64 {
    end_of_ns(second).saturating_add(HOLD_NS)
}

fn end_of_ns(second: i64) -> i64 {
    second.saturating_mul(SECOND_NS).saturating_add(SECOND_NS - 1)
}

/// Who was at this end of a flow in a second of it.
pub(super) fn of_second(view: &View<'_>, echo_id: u16) -> Question {
    let is_icmp = is_icmp(view.proto);
    let end_ns = end_of_ns(view.second);
    Question {
        protocol: view.proto,
        local: view.sent.src.ip(),
        local_port: if is_icmp { echo_id } else { view.local_port },
        remote: view.peer.ip(),
        remote_port: if is_icmp { 0 } else { view.remote_port },
        sent: view.sent.packets() > 0,
        by_kernel: sent_by_kernel_in(view),
        start_ns: view.second.saturating_mul(SECOND_NS),
        end_ns,
        // Nobody counted which packet of the second was the first of all.
        begun_by_ns: end_ns,
        known_ns: known_in_ns(view.second),
    }
}

fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6)
}

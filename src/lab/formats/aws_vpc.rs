//! AWS VPC flow logs, version 2 in the default order.

use super::Interval;

pub(super) const HEAD: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n";

pub(super) fn line(flow: &Interval<'_>) -> String {
    let Interval { interface, src, dst, proto, packets, bytes, first_s, last_s } = flow;
    let ((src, src_port), (dst, dst_port)) = (src, dst);
    format!(
        "2 111122223333 {interface} {src} {dst} {src_port} {dst_port} {proto} {packets} {bytes} {first_s} {last_s} ACCEPT OK\n"
    )
}

//! Flow logs of clouds to flow reports.

mod aws;
mod azure;
mod gcp;
#[cfg(test)]
mod seen;

use super::kind::Kind;
use super::observation::FlowReport;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] =
    &[&aws::parquet::KIND, &aws::TGW, &aws::VPC, &azure::NSG, &azure::VNET, &gcp::VPC];

/// Flow logs write port 0 where a protocol has no ports.
fn drop_ports_that_no_packet_had(flow: &mut FlowReport) {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const DCCP: u8 = 33;
    const SCTP: u8 = 132;
    const UDP_LITE: u8 = 136;
    let without_ports = flow
        .protocol
        .is_some_and(|protocol| !matches!(protocol, TCP | UDP | DCCP | SCTP | UDP_LITE));
    if without_ports && flow.src_port.unwrap_or(0) == 0 && flow.dst_port.unwrap_or(0) == 0 {
        (flow.src_port, flow.dst_port) = (None, None);
    }
}

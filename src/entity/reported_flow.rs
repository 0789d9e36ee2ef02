//! A flow of a window as a source reports it: both directions put together, and who is
//! at its ends.

use std::sync::Arc;

use ahash::HashMap;

use super::{ReportedCounts, Who};
use crate::detect::HomeNets;
use crate::engine::window::{Delta, Host};
use crate::host::inventory::Instance;
use crate::host::side::{FlowHosts, HostSide};
use crate::packet::PacketClass;
use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowDirection, FlowReport, Measures};

/// A flow without regard to direction: its lesser end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tuple {
    pub(super) ends: [(Host, u16); 2],
    pub(super) proto: u8,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// From the first end, from the second.
    pub(super) ways: [Way; 2],
    pub(super) who: [Ends; 2],
    pub(super) sampled_1_of: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) observer: Option<Arc<str>>,
    pub(super) records: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) payload: u64,
    pub(super) syn: u64,
    pub(super) rejected_flows: u64,
    pub(super) rejected_bytes: u64,
}

impl Tuple {
    /// And which of its ends sent what `fwd` counts.
    pub(super) fn of(report: &FlowReport) -> (Self, usize) {
        let proto = report.protocol.unwrap_or(0);
        let (src_port, dst_port) = match report.icmp {
            Some((kind, _)) => (u16::from(kind), 0),
            None => (report.src_port.unwrap_or(0), report.dst_port.unwrap_or(0)),
        };
        let src = (Host::from(report.src), src_port);
        let dst = (Host::from(report.dst), dst_port);
        match src <= dst {
            true => (Self { ends: [src, dst], proto }, 0),
            false => (Self { ends: [dst, src], proto }, 1),
        }
    }

    pub(super) fn delta(&self, flow: &Flow, side: usize) -> Delta {
        let ((src, src_port), (dst, dst_port)) = (self.ends[side], self.ends[1 - side]);
        let mut delta = Delta::new(src, dst, self.proto, src_port, dst_port);
        let way = &flow.ways[side];
        let packets = u32::try_from(way.packets).unwrap_or(u32::MAX);
        let syn = u32::try_from(way.syn).unwrap_or(u32::MAX).min(packets);
        let class = match self.proto {
            6 => PacketClass::TcpUnknown,
            17 => PacketClass::Udp,
            1 | 58 => PacketClass::Icmp,
            47 => PacketClass::Gre,
            _ => PacketClass::OtherIp,
        };
        delta.classes[class as usize] = packets - syn;
        delta.classes[PacketClass::TcpSyn as usize] += syn;
        delta.wire_bytes = way.bytes;
        delta.payload_bytes = way.payload;
        delta
    }
}

impl Flow {
    /// Both directions were reported.
    pub(super) fn is_both_ways(&self) -> bool {
        self.ways.iter().all(|way| way.records > 0)
    }

    /// Counts what a report says of it.
    pub(super) fn add(&mut self, report: &FlowReport, from: usize, counts: &mut ReportedCounts) {
        self.sampled_1_of = self.sampled_1_of.max(report.sampled_1_of.unwrap_or(1)).max(1);
        if report.action == Some(Action::Rejected) {
            counts.rejected += 1;
            self.ways[from].reject(&report.fwd);
            return;
        }
        let forward = self.ways[from].take(report, &report.fwd);
        let back = report.rev.as_ref().is_none_or(|rev| self.ways[1 - from].take(report, rev));
        counts.counted += u64::from(forward && back);
        counts.duplicates += u64::from(!(forward && back));
    }
}

const SYN: u16 = 2;

impl Way {
    /// Adds a record, unless another observer counts this way already.
    pub(super) fn take(&mut self, report: &FlowReport, measures: &Measures) -> bool {
        let observer = self.observer.get_or_insert_with(|| Arc::clone(&report.observer));
        if *observer != report.observer {
            return false;
        }
        self.records += 1;
        let bytes = bytes_of(measures);
        // Something without packets may still have bytes (proxies' logs).
        let packets = measures.packets.unwrap_or_else(|| u64::from(bytes > 0));
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(bytes);
        self.payload = self.payload.saturating_add(measures.payload_bytes.unwrap_or(0));
        let syn = report.protocol == Some(6) && measures.tcp_flags.unwrap_or(0) & SYN != 0;
        self.syn += u64::from(syn);
        true
    }

    pub(super) fn reject(&mut self, measures: &Measures) {
        self.rejected_flows += 1;
        self.rejected_bytes = self.rejected_bytes.saturating_add(bytes_of(measures));
    }
}

pub(super) fn bytes_of(measures: &Measures) -> u64 {
    let bytes = measures.wire_bytes.or(measures.ip_bytes).or(measures.payload_bytes);
    // What one flow can't reach in a day at a terabit a second is no count.
    bytes.unwrap_or(0).min(1 << 53)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Src,
    Dst,
}

/// Entities at one end: its workload, its instance or else its address.
pub(super) type Ends = [Option<Arc<Who>>; 2];

/// Addresses and named instances whose entity is remembered.
const MAX_KNOWN: usize = 1 << 16;

/// Entities that were at an end before: most ends are those of thousands of reports.
#[derive(Debug, Default)]
pub(super) struct Known {
    addresses: HashMap<Host, Arc<Who>>,
    /// By what the source calls them.
    instances: HashMap<String, Arc<Who>>,
}

impl Known {
    /// Who is at an end; an address that is not at home is nobody.
    pub(super) fn owners(
        &mut self,
        report: &FlowReport,
        end: End,
        hosts: Option<&FlowHosts>,
        home: &HomeNets,
    ) -> Ends {
        let side: Option<&HostSide> = hosts.and_then(|hosts| match end {
            End::Src => hosts.src.as_ref(),
            End::Dst => hosts.dst.as_ref(),
        });
        let workload = side.and_then(|side| side.workload.as_ref()).map(Who::workload);
        let instance = side.and_then(|side| side.instance.as_ref());
        let (address, other) = match end {
            End::Src => (report.src, label::INTERFACE_SRC),
            End::Dst => (report.dst, label::INTERFACE_DST),
        };
        let host = Host::from(address);
        let is_home = home.contains(&host);
        // An interface with another address than the packets', which are foreign, passes
        // them on: its instance is no end of theirs.
        let is_end = || is_home || report.label(other).is_none();
        let place = match (instance, named(report, end).filter(|_| is_end())) {
            (Some(instance), _) => Some(Arc::new(Who::instance(instance))),
            (None, Some(id)) => Some(self.instance(id)),
            (None, None) => is_home.then(|| self.address(host)),
        };
        [workload.map(Arc::new), place]
    }

    fn address(&mut self, host: Host) -> Arc<Who> {
        if self.addresses.len() >= MAX_KNOWN {
            self.addresses.clear();
        }
        let who = self.addresses.entry(host).or_insert_with(|| Arc::new(Who::address(&host)));
        Arc::clone(who)
    }

    fn instance(&mut self, id: &str) -> Arc<Who> {
        if let Some(who) = self.instances.get(id) {
            return Arc::clone(who);
        }
        if self.instances.len() >= MAX_KNOWN {
            self.instances.clear();
        }
        let instance = Arc::new(Instance { id: id.to_owned(), ..Instance::default() });
        let who = Arc::new(Who::instance(&instance));
        self.instances.insert(id.to_owned(), Arc::clone(&who));
        who
    }
}

/// The instance that the source itself names.
fn named(report: &FlowReport, end: End) -> Option<&str> {
    let value = |name: &str| report.label(name).filter(|&value| !value.is_empty() && value != "-");
    let (at_end, counting) = match end {
        End::Src => (label::SRC_INSTANCE, FlowDirection::Egress),
        End::Dst => (label::DST_INSTANCE, FlowDirection::Ingress),
    };
    let at_observer =
        || (report.direction == Some(counting)).then(|| value(label::INSTANCE)).flatten();
    value(at_end).or_else(at_observer)
}

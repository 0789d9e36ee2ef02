//! What a flow record says of the hosts at its two ends.

use std::sync::Arc;

use serde::Serialize;

use super::attribution::{Basis, Method};
use super::inventory::Instance;
use super::presence::AtMachine;
use super::process::{Process, ProcessId};
use super::rendered::Rendered;
use super::workload::Workload;

/// Both ends of a flow. `src` is the originator's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowHosts {
    pub src: Option<HostSide>,
    pub dst: Option<HostSide>,
}

/// One end of a flow. Nothing of it is there for an address that no map and no
/// inventory knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSide {
    pub process: Option<Arc<ProcessView>>,
    pub workload: Option<Arc<Workload>>,
    pub instance: Option<Arc<Instance>>,
    /// Name of the host whose map has the address; empty where none has.
    pub host: Arc<str>,
    /// Nothing where the address belongs to no host with a map.
    pub attribution: Option<Attribution>,
}

/// A process with its parents, as it was when the flow was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    #[serde(flatten)]
    pub process: Process,
    /// From its parent up to the first process of the host, as far as known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// Who was at the machine then, where that is asked for and known.
    #[serde(skip)]
    pub at_machine: Option<AtMachine>,
    /// As flow records have it in JSON.
    #[serde(skip)]
    pub json: Rendered,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ancestor {
    #[serde(flatten)]
    pub id: ProcessId,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exe: String,
}

/// How the process was found, or why not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Attribution {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// 0 to 1; 0 without a process.
    pub certainty: f64,
    /// Numbers of processes with a claim of the same strength, besides the one
    /// named; at most eight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<u32>,
    /// The kernel had changed the addresses on the way (NAT).
    #[serde(skip_serializing_if = "super::process::is_false")]
    pub translated: bool,
    /// It sent what the flow, an ICMP error, is about.
    #[serde(skip_serializing_if = "super::process::is_false")]
    pub provoked: bool,
    /// Why there is no process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Why a flow's end has no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The map has no socket for it: too short for the provider, or none at all (a
    /// refused port, the kernel's own answers).
    NoSocket,
    /// A socket that no process holds: the kernel's own, or one whose process had
    /// ended (the last acknowledgements).
    NoProcess,
    /// The flow lies before or after what the map covers.
    OutsideMap,
    /// Packets only pass through this host.
    Forwarded,
    /// The provider lost events at that time.
    EventsLost,
    /// The map was full.
    MapFull,
    /// The end is a group: the packets go to whoever listens to it, on any host.
    Multicast,
    /// The packets go to all hosts of a link.
    Broadcast,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSocket => "no_socket",
            Self::NoProcess => "no_process",
            Self::OutsideMap => "outside_map",
            Self::Forwarded => "forwarded",
            Self::EventsLost => "events_lost",
            Self::MapFull => "map_full",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
        }
    }
}

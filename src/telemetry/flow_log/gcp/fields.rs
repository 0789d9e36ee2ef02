//! The fields of a flow's entry, by their paths in the payload.

use crate::telemetry::label;

/// What a field is to a flow report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    SrcIp,
    DestIp,
    SrcPort,
    DestPort,
    Protocol,
    BytesSent,
    PacketsSent,
    StartTime,
    EndTime,
    Reporter,
    SrcVm,
    DestVm,
    Label(&'static str),
    /// A field that came after this was written, kept by its path and counted.
    Unknown,
}

/// Fields of both ends and of the path, with the labels that they become.
const LABELS: &[(&str, &str)] = &[
    ("rtt_msec", "gcp.rtt_msec"),
    ("round_trip_time", "gcp.round_trip_time"),
    ("src_instance.project_id", "gcp.src_instance.project_id"),
    ("src_instance.region", "gcp.src_instance.region"),
    ("src_instance.zone", "gcp.src_instance.zone"),
    ("src_instance.managed_instance_group.name", "gcp.src_instance.group"),
    ("src_instance.managed_instance_group.region", "gcp.src_instance.group_region"),
    ("src_instance.managed_instance_group.zone", "gcp.src_instance.group_zone"),
    ("dest_instance.project_id", "gcp.dest_instance.project_id"),
    ("dest_instance.region", "gcp.dest_instance.region"),
    ("dest_instance.zone", "gcp.dest_instance.zone"),
    ("dest_instance.managed_instance_group.name", "gcp.dest_instance.group"),
    ("dest_instance.managed_instance_group.region", "gcp.dest_instance.group_region"),
    ("dest_instance.managed_instance_group.zone", "gcp.dest_instance.group_zone"),
    ("src_vpc.project_id", "gcp.src_vpc.project_id"),
    ("src_vpc.vpc_name", "gcp.src_vpc.vpc_name"),
    ("src_vpc.subnetwork_name", "gcp.src_vpc.subnetwork_name"),
    ("src_vpc.subnetwork_region", "gcp.src_vpc.subnetwork_region"),
    ("dest_vpc.project_id", "gcp.dest_vpc.project_id"),
    ("dest_vpc.vpc_name", "gcp.dest_vpc.vpc_name"),
    ("dest_vpc.subnetwork_name", "gcp.dest_vpc.subnetwork_name"),
    ("dest_vpc.subnetwork_region", "gcp.dest_vpc.subnetwork_region"),
    ("src_gke_details.cluster.cluster_name", "gcp.src_gke.cluster"),
    ("src_gke_details.cluster.cluster_location", "gcp.src_gke.cluster_location"),
    ("src_gke_details.pod.pod_name", "gcp.src_gke.pod"),
    ("src_gke_details.pod.pod_namespace", "gcp.src_gke.namespace"),
    ("src_gke_details.service.service_name", "gcp.src_gke.service"),
    ("src_gke_details.service.service_namespace", "gcp.src_gke.service_namespace"),
    ("dest_gke_details.cluster.cluster_name", "gcp.dest_gke.cluster"),
    ("dest_gke_details.cluster.cluster_location", "gcp.dest_gke.cluster_location"),
    ("dest_gke_details.pod.pod_name", "gcp.dest_gke.pod"),
    ("dest_gke_details.pod.pod_namespace", "gcp.dest_gke.namespace"),
    ("dest_gke_details.service.service_name", "gcp.dest_gke.service"),
    ("dest_gke_details.service.service_namespace", "gcp.dest_gke.service_namespace"),
    ("src_location.asn", label::SRC_AS),
    ("src_location.city", "gcp.src_location.city"),
    ("src_location.continent", "gcp.src_location.continent"),
    ("src_location.country", "gcp.src_location.country"),
    ("src_location.region", "gcp.src_location.region"),
    ("dest_location.asn", label::DST_AS),
    ("dest_location.city", "gcp.dest_location.city"),
    ("dest_location.continent", "gcp.dest_location.continent"),
    ("dest_location.country", "gcp.dest_location.country"),
    ("dest_location.region", "gcp.dest_location.region"),
    ("network_service.dscp", "gcp.dscp"),
    ("internet_routing_details.egress_as_path.as_details.asn", "gcp.egress_as_path"),
];

/// Labels of the end that reports, where their names are shared with other kinds.
const SHARED: &[(&str, &str)] = &[
    ("_instance.project_id", label::ACCOUNT),
    ("_instance.region", label::REGION),
    ("_instance.zone", label::ZONE),
    ("_vpc.vpc_name", label::VPC),
    ("_vpc.subnetwork_name", label::SUBNET),
    ("_gke.cluster", label::CLUSTER),
];

impl Field {
    pub(super) fn named(path: &str) -> Self {
        match path {
            "connection.src_ip" => Self::SrcIp,
            "connection.dest_ip" => Self::DestIp,
            "connection.src_port" => Self::SrcPort,
            "connection.dest_port" => Self::DestPort,
            "connection.protocol" => Self::Protocol,
            "bytes_sent" => Self::BytesSent,
            "packets_sent" => Self::PacketsSent,
            "start_time" => Self::StartTime,
            "end_time" => Self::EndTime,
            "reporter" => Self::Reporter,
            "src_instance.vm_name" => Self::SrcVm,
            "dest_instance.vm_name" => Self::DestVm,
            _ => match LABELS.iter().find(|(field, _)| *field == path) {
                Some((_, label)) => Self::Label(label),
                None => Self::Unknown,
            },
        }
    }
}

/// The shared name of a label that is about the reporting end.
pub(super) fn shared_label(name: &str, source_side: bool) -> Option<&'static str> {
    let side = if source_side { "gcp.src" } else { "gcp.dest" };
    let rest = name.strip_prefix(side)?;
    SHARED.iter().find(|(field, _)| *field == rest).map(|(_, label)| *label)
}

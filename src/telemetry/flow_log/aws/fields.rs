//! The fields of AWS flow logs, by their names.

use std::sync::Arc;

use crate::telemetry::label;

/// What a field of a record is to a flow report.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Source,
    Destination,
    PacketSource,
    PacketDestination,
    SourcePort,
    DestinationPort,
    Protocol,
    Packets,
    Bytes,
    Start,
    End,
    Action,
    LogStatus,
    TcpFlags,
    FlowDirection,
    /// Who counted: an interface, a transit gateway's attachment.
    Observer,
    /// Who counted where that is no interface.
    Resource(Arc<str>),
    /// Packets that a transit gateway dropped: a label where there were any.
    Dropped(Arc<str>),
    /// Says nothing that a report needs.
    Skipped,
    Label(Arc<str>),
    /// A field that came after this was written: kept under AWS's name, and counted.
    Unknown {
        name: Arc<str>,
        label: Arc<str>,
    },
}

impl Field {
    pub(super) fn named(name: &str) -> Self {
        // Athena's tables and Parquet files have underscores.
        let name = name.replace('_', "-");
        let aws = || format!("aws.{name}").into();
        let shared = |label: &str| Self::Label(label.into());
        match name.as_str() {
            "srcaddr" => Self::Source,
            "dstaddr" => Self::Destination,
            "pkt-srcaddr" => Self::PacketSource,
            "pkt-dstaddr" => Self::PacketDestination,
            "srcport" => Self::SourcePort,
            "dstport" => Self::DestinationPort,
            "protocol" => Self::Protocol,
            "packets" => Self::Packets,
            "bytes" => Self::Bytes,
            "start" => Self::Start,
            "end" => Self::End,
            "action" => Self::Action,
            "log-status" => Self::LogStatus,
            "tcp-flags" => Self::TcpFlags,
            "flow-direction" => Self::FlowDirection,
            "interface-id" | "tgw-attachment-id" => Self::Observer,
            "resource-id" => Self::Resource(aws()),
            "version" | "type" | "resource-type" => Self::Skipped,
            "account-id" => shared(label::ACCOUNT),
            "vpc-id" => shared(label::VPC),
            "subnet-id" => shared(label::SUBNET),
            "instance-id" => shared(label::INSTANCE),
            "region" => shared(label::REGION),
            "az-id" => shared(label::ZONE),
            "pkt-src-aws-service" => shared(label::SRC_SERVICE),
            "pkt-dst-aws-service" => shared(label::DST_SERVICE),
            "reject-reason" => shared(label::REJECT_REASON),
            "ecs-cluster-name" => shared(label::CLUSTER),
            "ecs-container-id" => shared(label::CONTAINER),
            "ecs-service-name" => shared(label::SERVICE),
            "ecs-task-id" => shared(label::TASK),
            "packets-lost-no-route"
            | "packets-lost-blackhole"
            | "packets-lost-mtu-exceeded"
            | "packets-lost-ttl-expired" => Self::Dropped(aws()),
            "sublocation-type"
            | "sublocation-id"
            | "traffic-path"
            | "encryption-status"
            | "ecs-cluster-arn"
            | "ecs-container-instance-arn"
            | "ecs-container-instance-id"
            | "ecs-second-container-id"
            | "ecs-task-definition-arn"
            | "ecs-task-arn"
            | "tgw-id"
            | "tgw-src-vpc-account-id"
            | "tgw-dst-vpc-account-id"
            | "tgw-src-vpc-id"
            | "tgw-dst-vpc-id"
            | "tgw-src-subnet-id"
            | "tgw-dst-subnet-id"
            | "tgw-src-eni"
            | "tgw-dst-eni"
            | "tgw-src-az-id"
            | "tgw-dst-az-id"
            | "tgw-pair-attachment-id" => Self::Label(aws()),
            _ => Self::Unknown { label: aws(), name: name.into() },
        }
    }

    pub(super) fn is_label(&self) -> bool {
        matches!(
            self,
            Self::Label(_)
                | Self::Unknown { .. }
                | Self::Resource(_)
                | Self::Dropped(_)
                | Self::PacketSource
                | Self::PacketDestination
        )
    }
}

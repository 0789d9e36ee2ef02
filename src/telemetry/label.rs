//! Names of labels that several kinds share, so that they mean the same everywhere.

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

labels! {
    ACCOUNT = "account";
    REGION = "region";
    ZONE = "zone";
    /// Virtual network.
    VPC = "vpc";
    SUBNET = "subnet";
    /// Cloud instance whose interface counted.
    INSTANCE = "instance";
    /// Interface that counted.
    INTERFACE = "interface";
    /// Instance at the report's source, or destination.
    SRC_INSTANCE = "src_instance";
    DST_INSTANCE = "dst_instance";
    /// Cloud service at the source, or destination (`S3`, `EC2`).
    SRC_SERVICE = "src_service";
    DST_SERVICE = "dst_service";
    /// Addresses of the interface that counted, where the packets have others: it passes
    /// them on (a NAT gateway), or has several.
    INTERFACE_SRC = "interface_src";
    INTERFACE_DST = "interface_dst";
    /// Addresses and ports after translation.
    NAT_SRC = "nat_src";
    NAT_DST = "nat_dst";
    /// Rule that decided.
    RULE = "rule";
    REJECT_REASON = "reject_reason";
    CLUSTER = "cluster";
    CONTAINER = "container";
    TASK = "task";
    SERVICE = "service";
    VLAN = "vlan";
    MAC = "mac";
    /// The source's own identifier of the flow or request.
    UID = "uid";
    COMMUNITY_ID = "community_id";
    TARGET_GROUP = "target_group";
    TRACE_ID = "trace_id";
    /// Type of service, or differentiated services code point, with its name in front.
    TOS = "tos";
    NEXT_HOP = "next_hop";
    INPUT_INTERFACE = "input_interface";
    OUTPUT_INTERFACE = "output_interface";
    /// Bytes that counters are rounded to, where the source rounds them.
    ROUNDED = "rounded";
    SRC_AS = "src_as";
    DST_AS = "dst_as";
}

//! Whose a flow is, by whom an alert is about.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// The entity of an alert, as flows name it.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    Address(String),
    Prefix(IpNet),
    Mac(String),
    Process {
        pid: u64,
        start_ticks: u64,
    },
    Workload(String),
    Instance(String),
    /// A host that is known by its name alone: whom it had to do with, as its alert has them.
    Peers(Vec<String>),
    /// Nobody that flows know; an interface, for one.
    Nobody,
}

impl Owner {
    pub fn of(alert: &Value) -> Self {
        let entity = &alert["entity"];
        let kind = entity["kind"].as_str().unwrap_or_default();
        if kind == "host" {
            let peers = alert["peers"].as_array().into_iter().flatten();
            let peers = peers.filter_map(|peer| peer["address"].as_str().map(str::to_owned));
            return Self::Peers(peers.collect());
        }
        Self::named(kind, entity["id"].as_str().unwrap_or_default())
    }

    pub fn named(kind: &str, id: &str) -> Self {
        match kind {
            "address" => Self::Address(id.to_owned()),
            "prefix" => id.parse().map_or(Self::Nobody, Self::Prefix),
            "mac" => Self::Mac(id.split('@').next().unwrap_or_default().to_owned()),
            "instance" => Self::Instance(id.to_owned()),
            // `runtime:container`, as flows have both.
            "workload" => Self::Workload(id.to_owned()),
            "process" => {
                let mut parts = id.rsplit(':').map(str::parse::<u64>);
                match (parts.next(), parts.next()) {
                    (Some(Ok(start_ticks)), Some(Ok(pid))) => Self::Process { pid, start_ticks },
                    _ => Self::Nobody,
                }
            }
            _ => Self::Nobody,
        }
    }

    /// Whether either end of the flow is the owner's.
    pub fn has(&self, flow: &Value) -> bool {
        let ends = |fields: [&str; 2], is: &dyn Fn(&str) -> bool| {
            fields.iter().any(|field| flow[field].as_str().is_some_and(is))
        };
        let hosts = |is: &dyn Fn(&Value) -> bool| is(&flow["src_host"]) || is(&flow["dst_host"]);
        match self {
            Self::Address(id) => ends(["src_ip", "dst_ip"], &|ip| ip == id),
            Self::Prefix(net) => ends(["src_ip", "dst_ip"], &|ip| {
                ip.parse::<IpAddr>().is_ok_and(|ip| net.contains(&ip))
            }),
            Self::Mac(id) => ends(["src_mac", "dst_mac"], &|mac| mac == id),
            Self::Process { pid, start_ticks } => hosts(&|side| {
                let process = &side["process"];
                process["pid"] == *pid && process["start_ticks"] == *start_ticks
            }),
            Self::Workload(id) => hosts(&|side| {
                let part = |name: &str| side["workload"][name].as_str().unwrap_or_default();
                id.split_once(':') == Some((part("runtime"), part("container")))
            }),
            Self::Instance(id) => hosts(&|side| side["instance"]["id"] == **id),
            Self::Peers(all) => ends(["src_ip", "dst_ip"], &|ip| all.iter().any(|peer| peer == ip)),
            Self::Nobody => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_is_found_by_whoever_has_it() {
        let flow = json!({
            "src_ip": "10.0.0.5", "dst_ip": "192.0.2.1", "src_mac": "02:00:00:00:00:01",
            "src_host": {
                "process": {"pid": 7, "start_ticks": 900},
                "workload": {"runtime": "docker", "container": "abc"},
                "instance": {"id": "i-1"},
            },
        });
        for (kind, id, expected) in [
            ("address", "192.0.2.1", true),
            ("address", "192.0.2.2", false),
            ("prefix", "10.0.0.0/24", true),
            ("mac", "02:00:00:00:00:01@vlan7", true),
            ("process", "boot:with:colons:7:900", true),
            ("process", "boot:7:901", false),
            ("workload", "docker:abc", true),
            ("workload", "docker:abd", false),
            ("instance", "i-1", true),
            ("host", "sensor:eth0", false),
            ("process", "odd", false),
        ] {
            assert_eq!(Owner::named(kind, id).has(&flow), expected, "{kind} {id}");
        }
        // No flow names a host: its alert's peers do.
        let mut alert = json!({"entity": {"kind": "host", "id": "web"}});
        assert!(!Owner::of(&alert).has(&flow));
        alert["peers"] = json!([{"address": "192.0.2.9"}, {"address": "192.0.2.1"}]);
        assert!(Owner::of(&alert).has(&flow));
    }
}

//! What is known of hosts, in every field and in an attacker's words.

use std::sync::Arc;

use super::START_NS;
use crate::host::attribution::{Basis, Method};
use crate::host::inventory::Instance;
use crate::host::process::{Context, Process, ProcessId};
use crate::host::side::{Ancestor, Attribution, FlowHosts, HostSide, ProcessView, Reason};
use crate::host::workload::{Role, Workload};

/// Quotes, line breaks, control characters, changes of direction, what stands
/// for bytes that were no text, separators of every format, and addresses.
pub(in crate::output) const HOSTILE: &str =
    "a\"b\\'c,d;\t\n\r\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{fffd} 192.0.2.10 =1+1|`$(x)`";

/// A process in a container of an instance at the source, and none at the
/// destination.
pub(in crate::output) fn hosts() -> FlowHosts {
    let (process, workload) = (Arc::new(process("curl")), Arc::new(workload("web")));
    FlowHosts {
        src: Some(HostSide {
            process: Some(process),
            workload: Some(workload),
            instance: Some(Arc::new(instance("web-1"))),
            host: "web-1".into(),
            attribution: Some(Attribution {
                method: Some(Method::Ebpf),
                basis: Some(Basis::Used),
                certainty: 0.5,
                others: vec![4721],
                translated: true,
                provoked: false,
                reason: None,
            }),
        }),
        dst: Some(HostSide {
            attribution: Some(Attribution {
                reason: Some(Reason::NoSocket),
                ..Attribution::default()
            }),
            ..HostSide::default()
        }),
    }
}

/// Every text of it holds `word`.
pub(in crate::output) fn process(word: &str) -> ProcessView {
    let ancestor = |pid, name: &str| Ancestor {
        id: ProcessId { pid, start_ticks: u64::from(pid) },
        name: name.to_owned(),
        exe: format!("/usr/bin/{name}"),
    };
    let process = Process {
        id: ProcessId { pid: 4720, start_ticks: 123_456 },
        started_ns: Some(START_NS - 5_000_000),
        parent: Some(ProcessId { pid: 812, start_ticks: 812 }),
        name: word.to_owned(),
        exe: format!("/tmp/{word}"),
        exe_deleted: true,
        exe_in_writable_folder: true,
        args: [
            word,
            "-h192.0.2.10",
            "8080:192.0.2.10:80",
            "[2001:db8::7]:443",
            "ether=02:00:00:00:00:0a",
            &format!("http://192.0.2.10/{word}?a=b c"),
        ]
        .map(str::to_owned)
        .to_vec(),
        args_cut: true,
        uid: Some(1000),
        user: format!("ann-{word}"),
        login_uid: Some(1001),
        login_user: format!("bob-{word}"),
        session: Some(12),
        terminal: format!("pts/3-{word}"),
        context: Some(Context::Terminal),
        unit: format!("{word}@192.0.2.10.service"),
        cgroup: format!("/user.slice/{word}"),
        netns: Some(4_026_531_840),
        container: "0123456789abcdef".repeat(4),
    };
    let ancestors = vec![ancestor(812, word), ancestor(1, "systemd")];
    ProcessView { process, ancestors, ..ProcessView::default() }
}

pub(in crate::output) fn workload(word: &str) -> Workload {
    Workload {
        runtime: "containerd".to_owned(),
        container: "0123456789abcdef".repeat(4),
        name: word.to_owned(),
        image: format!("registry.example/{word}:1.27"),
        image_id: "sha256:00".to_owned(),
        pod: format!("{word}-7d9f"),
        pod_uid: "11112222-3333".to_owned(),
        namespace: format!("shop-{word}"),
        owner: format!("Deployment/{word}"),
        role: Some(Role::Sidecar),
        host_network: false,
        labels: [
            (format!("app/{word}"), word.to_owned()),
            ("node".to_owned(), "192.0.2.10".to_owned()),
        ]
        .into(),
    }
}

pub(in crate::output) fn instance(word: &str) -> Instance {
    Instance {
        id: "192.0.2.10".to_owned(),
        name: word.to_owned(),
        owner: format!("team {word}"),
        application: word.to_owned(),
        environment: "production".to_owned(),
        purpose: word.to_owned(),
        role: "front".to_owned(),
        last_change: "2026-11-01".to_owned(),
        shared_egress: true,
        security_groups: vec![format!("sg-{word}")],
        routes: vec!["192.0.2.0/24".parse().expect("prefix")],
        addresses: vec!["192.0.2.10".parse().expect("address")],
        networks: vec!["192.0.2.0/28".parse().expect("prefix")],
        interfaces: vec!["eni-0abc".to_owned(), "vni:4711".to_owned()],
    }
}

/// Drawn by `next`, which gives a number below its argument.
pub(super) fn random(next: &mut impl FnMut(u64) -> u64) -> Option<Box<FlowHosts>> {
    let mut side = || {
        let word = ["curl", "", HOSTILE, "two words"][next(4) as usize];
        let view = match next(3) {
            0 => None,
            1 => Some(process(word)),
            _ => Some(ProcessView::default()),
        };
        let reasons = [
            Reason::NoSocket,
            Reason::NoProcess,
            Reason::OutsideMap,
            Reason::Forwarded,
            Reason::EventsLost,
            Reason::MapFull,
            Reason::Multicast,
            Reason::Broadcast,
        ];
        let methods = [Method::Ebpf, Method::SockDiag, Method::Polling, Method::Imported];
        let attribution = match &view {
            Some(_) => Attribution {
                method: Some(methods[next(4) as usize]),
                basis: (next(2) == 0).then_some(Basis::Holds),
                certainty: next(1001) as f64 / 1000.0,
                others: (0..next(3) as u32).collect(),
                translated: next(2) == 0,
                provoked: next(2) == 0,
                reason: None,
            },
            None => Attribution {
                reason: Some(reasons[next(reasons.len() as u64) as usize]),
                ..Attribution::default()
            },
        };
        HostSide {
            process: view.map(Arc::new),
            workload: (next(2) == 0).then(|| Arc::new(workload(word))),
            instance: (next(3) == 0).then(|| Arc::new(instance(word))),
            host: "".into(),
            attribution: Some(attribution).filter(|_| next(4) > 0),
        }
    };
    let (src, dst) = (side(), side());
    let (src, dst) = (Some(src).filter(|_| next(3) > 0), Some(dst).filter(|_| next(3) > 0));
    (next(2) == 0).then(|| Box::new(FlowHosts { src, dst }))
}

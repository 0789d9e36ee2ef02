//! Minutes for tests: streams of an entity, the same in each second.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Analytic, AnalyticContext, Event, Inputs};
use crate::alert::{Alert, AlertBook};
use crate::baseline::{BaselineSettings, Baselines};
use crate::detect::{DetectSettings, Finding, Names, Telemetry};
use crate::engine::window::{Delta, Host, Seed, size_bin};
use crate::entity::{Leg, Measures, Minute, View, Who};
use crate::flow::Outline;
use crate::host::process::{Process, ProcessId};
use crate::host::side::ProcessView;
use crate::host::workload::Workload;
use crate::packet::key::from_ip;
use crate::packet::{FlowKey, PacketClass};

/// What goes over one flow in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub peer: IpAddr,
    pub proto: u8,
    pub local_port: u16,
    pub remote_port: u16,
    /// Packets, and bytes of each.
    pub sent: (u32, u64),
    pub received: (u32, u64),
}

impl Stream {
    pub(crate) fn udp(peer: &str, port: u16, sent: (u32, u64), received: (u32, u64)) -> Self {
        let peer = peer.parse().unwrap();
        Self { peer, proto: 17, local_port: 50_000, remote_port: port, sent, received }
    }

    pub(crate) fn tcp(peer: &str, port: u16, sent: (u32, u64), received: (u32, u64)) -> Self {
        Self { proto: 6, ..Self::udp(peer, port, sent, received) }
    }

    /// The entity serves on this port.
    pub(crate) fn serves(self, port: u16) -> Self {
        Self { local_port: port, remote_port: 50_000, ..self }
    }

    fn delta(&self, own: Host, sends: bool) -> Delta {
        let peer = Host::from(self.peer);
        let (src, dst) = if sends { (own, peer) } else { (peer, own) };
        let (local, remote) = (self.local_port, self.remote_port);
        let (src_port, dst_port) = if sends { (local, remote) } else { (remote, local) };
        let (packets, bytes) = if sends { self.sent } else { self.received };
        let mut delta = Delta::new(src, dst, self.proto, src_port, dst_port);
        let class = match self.proto {
            6 => PacketClass::TcpData,
            17 => PacketClass::Udp,
            1 => PacketClass::Icmp,
            _ => PacketClass::OtherIp,
        };
        delta.classes[class as usize] = packets;
        delta.wire_bytes = u64::from(packets) * bytes;
        let payload = bytes.saturating_sub(54);
        delta.payload_bytes = u64::from(packets) * payload;
        delta.sizes[size_bin(payload as u32)] = packets;
        delta
    }
}

pub(crate) fn address(ip: &str) -> Arc<Who> {
    Arc::new(Who::address(&ip.parse::<IpAddr>().unwrap().into()))
}

/// A minute in which each stream goes on in the seconds that `when` names.
pub(crate) fn minute_of(
    who: &Arc<Who>,
    start_s: i64,
    streams: impl Fn(i64) -> Vec<Stream>,
) -> Minute {
    let own: Host = IpAddr::from([10, 0, 0, 1]).into();
    let home = DetectSettings::default().home_nets;
    let mut measures = Measures::default();
    for second in start_s..start_s + 60 {
        for stream in streams(second - start_s) {
            let peer = Host::from(stream.peer);
            let view = View {
                second,
                peer,
                external: !home.contains(&peer) && !peer.is_group(),
                proto: stream.proto,
                local_port: stream.local_port,
                remote_port: stream.remote_port,
                leg: Leg::of(stream.local_port, stream.remote_port),
                sent: &stream.delta(own, true),
                received: &stream.delta(own, false),
                scale: 1,
            };
            measures.add(&view, Seed::default());
        }
    }
    let (who, source) = (Arc::clone(who), "packets".into());
    Minute { who, start_s, length_s: 60, source, measures, reported: None }
}

/// A minute of steady streams.
pub(crate) fn minute(who: &Arc<Who>, start_s: i64, streams: &[Stream]) -> Minute {
    minute_of(who, start_s, |_| streams.to_vec())
}

/// As a run shows events: none of a kind that the analytic does not look at.
pub(crate) fn show<D: Analytic + ?Sized>(
    detector: &mut D,
    event: &Event<'_>,
    ctx: &AnalyticContext<'_>,
    out: &mut Vec<Finding>,
) {
    if detector.looks_at().contains(&event.kind()) {
        detector.observe(event, ctx, out);
    }
}

/// A detector with all that it may ask.
pub(crate) struct Bench<D> {
    pub detector: D,
    pub settings: DetectSettings,
    pub baselines: Baselines,
    pub inputs: Inputs,
}

impl<D: Analytic> Bench<D> {
    pub(crate) fn new(detector: D) -> Self {
        Self {
            detector,
            settings: DetectSettings::default(),
            baselines: Baselines::in_memory(BaselineSettings::default(), true),
            inputs: Inputs { packets: true, ..Inputs::default() },
        }
    }

    pub(crate) fn see(&mut self, event: &Event<'_>) -> Vec<Finding> {
        let ctx = AnalyticContext {
            settings: &self.settings,
            baselines: &self.baselines,
            inputs: &self.inputs,
            names: &Names::default(),
            seed: Seed::default(),
        };
        let mut out = Vec::new();
        show(&mut self.detector, event, &ctx, &mut out);
        for finding in &out {
            let case = finding.case.as_ref().unwrap();
            assert_eq!(case.score.value, case.score.recompute(), "redone from its own terms");
            assert!(!case.summary.is_empty() && !case.severity_reason.is_empty());
        }
        out
    }

    pub(crate) fn minute(&mut self, minute: &Minute) -> Vec<Finding> {
        let found = self.see(&Event::Minute(minute));
        self.baselines.learn(minute);
        found
    }

    /// Learns ordinary minutes, one an hour, for so many days before time zero.
    pub(crate) fn learn(&mut self, days: i64, minute: impl Fn(i64) -> Option<Minute>) {
        self.inputs.baseline = true;
        for hour in -24 * days..0 {
            if let Some(minute) = minute(hour * 3_600) {
                self.baselines.learn(&minute);
            }
        }
    }
}

/// A container by its name and image.
pub(crate) fn workload(name: &str, image: &str) -> Arc<Who> {
    Arc::new(Who::workload(&Arc::new(Workload {
        runtime: "runc".to_owned(),
        container: format!("{name}-1"),
        name: name.to_owned(),
        image: image.to_owned(),
        ..Workload::default()
    })))
}

/// A program of that path, as process 7.
pub(crate) fn process(exe: &str) -> Arc<Who> {
    let process = Process {
        id: ProcessId { pid: 7, start_ticks: 50 },
        name: exe.rsplit('/').next().unwrap_or_default().to_owned(),
        exe: exe.to_owned(),
        ..Process::default()
    };
    let view = Arc::new(ProcessView { process, ..ProcessView::default() });
    Arc::new(Who::process("host", "boot", &view, None, 1.0))
}

/// A TCP connection to port 443 that was answered, and over at once.
pub(crate) fn outline(at_s: i64, src: &str, dst: &str) -> Outline {
    let [(version, a), (_, b)] = [src, dst].map(|ip| from_ip(ip.parse().unwrap()));
    let key = FlowKey {
        port_a: 40_000,
        port_b: 443,
        echo_id: 0,
        vlan: 0,
        vni: 0,
        proto: 6,
        version,
        a,
        b,
    };
    Outline {
        key,
        forward_is_a_to_b: true,
        originator_guessed: false,
        start_ns: at_s * 1_000_000_000,
        end_ns: at_s * 1_000_000_000,
        decided_ns: at_s * 1_000_000_000,
        packets: [4, 4],
        tcp_flags: [0, 0],
        wire_bytes: 900,
        sent_ip_bytes: 450,
        had_response: true,
        is_cut: false,
    }
}

/// The one alert that a book makes of findings, with the revisions that it had before it
/// was closed.
pub(crate) fn alert_of(found: impl IntoIterator<Item = Finding>) -> (Alert, Vec<Alert>) {
    let settings = DetectSettings::default();
    let mut book = AlertBook::new(&settings);
    for finding in found {
        book.record(finding.second, &mut vec![finding], &Telemetry::default(), &settings);
    }
    book.close_all();
    let mut revisions: Vec<Alert> =
        book.take_updates().into_iter().map(|update| update.alert).collect();
    assert_eq!(book.alerts().len(), 1, "one alert");
    (revisions.pop().unwrap(), revisions)
}

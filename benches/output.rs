//! Records a second of each writer, into nothing: on one core, and through the
//! threads of a run; and into files of a memory file system, by a run that ends
//! and by one that rolls. Says the bytes of a record.
#![expect(clippy::expect_used, reason = "a bench stops at its first error")]

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtap::flow::app::{AppInfo, TlsInfo};
use flowtap::flow::record::{ConnState, Direction, EndReason, FlowRecord, Gaps, SeenAt, SizeStep};
use flowtap::flow::sizes::Sizes;
use flowtap::host::attribution::{Basis, Method};
use flowtap::host::process::{Context, Process, ProcessId};
use flowtap::host::side::{Ancestor, Attribution, FlowHosts, HostSide, ProcessView, Reason};
use flowtap::host::workload::Workload;
use flowtap::output::rolling::{RollingOptions, RollingOutput};
use flowtap::output::{FlowWriter, Format, Piece, Pipeline, csv, eve, ndjson, zeek};
use flowtap::packet::FlowKey;
use flowtap::packet::key::from_ip;

const RECORDS: u64 = 16_384;
/// Times that the records go through the pipeline.
const ROUNDS: u64 = 8;

/// What most records of a capture look like: a short answered flow, every
/// third one with a TLS hint.
fn records() -> Vec<FlowRecord> {
    (0..RECORDS).map(record).collect()
}

fn record(n: u64) -> FlowRecord {
    let ip = |text: &str| from_ip(text.parse::<IpAddr>().expect("address"));
    let ((version, a), (_, b)) = (ip("192.0.2.10"), ip("198.51.100.7"));
    let start_ns = 1_795_253_400_000_000_000 + n as i64 * 1_234_567;
    FlowRecord {
        key: FlowKey {
            version,
            proto: 6,
            port_a: 1024 + (n % 60_000) as u16,
            port_b: 443,
            a,
            b,
            ..FlowKey::ZERO
        },
        forward_is_a_to_b: true,
        originator_guessed: false,
        continues: false,
        start_ns,
        end_ns: start_ns + 250_000_001,
        decided_ns: start_ns + 5_000_000_000,
        end_reason: EndReason::Closed,
        state: ConnState::Closed,
        answered: true,
        fwd: direction(&[0, 0, 517, 64, 31, 0, 0]),
        rev: direction(&[0, 1400, 1400, 700, 0, 31, 0]),
        src_mac: Some([2, 0, 0, 0, 0, 1]),
        dst_mac: Some([2, 0, 0, 0, 0, 2]),
        vlans: Vec::new(),
        tunnels: Vec::new(),
        sequence: [517, 1400, 1400, 700, 64, 31]
            .map(|payload_bytes| SizeStep {
                fwd: payload_bytes < 600,
                payload_bytes,
                gap_ns: 20_000_000,
            })
            .to_vec(),
        app: n.is_multiple_of(3).then(|| {
            Box::new(AppInfo {
                tls: Some(TlsInfo {
                    sni: Some("www.example.org".to_owned()),
                    alpn: vec!["h2".to_owned()],
                    version: 0x0304,
                    ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
                }),
                ..AppInfo::default()
            })
        }),
        seen_at: SeenAt::default(),
        origin: None,
        hosts: None,
    }
}

/// Processes that the records with hosts share.
const PROCESSES: u64 = 64;

/// The same records, each from a process in a container to another host.
fn records_with_hosts() -> Vec<FlowRecord> {
    let sides: Vec<_> = (0..PROCESSES as u32).map(side).collect();
    let nobody = Attribution { reason: Some(Reason::NoSocket), ..Attribution::default() };
    let with_hosts = |n: u64| {
        let src = sides.get((n % PROCESSES) as usize).cloned();
        let dst = HostSide { attribution: Some(nobody.clone()), ..HostSide::default() };
        let hosts = FlowHosts { src, dst: Some(dst) };
        FlowRecord { hosts: Some(Box::new(hosts)), ..record(n) }
    };
    (0..RECORDS).map(with_hosts).collect()
}

fn side(n: u32) -> HostSide {
    let id = |pid| ProcessId { pid, start_ticks: 1_000_000 + u64::from(pid) };
    let ancestor = |(pid, name): (u32, &str)| Ancestor {
        id: id(pid),
        name: name.to_owned(),
        exe: format!("/usr/bin/{name}"),
    };
    let container = "0123456789abcdef".repeat(4);
    let args = ["curl", "-sS", "--max-time", "10", "https://www.example.org/a/path?q=*"];
    let process = Process {
        id: id(10_000 + n),
        started_ns: Some(1_795_253_400_000_000_000),
        parent: Some(id(812)),
        name: "curl".to_owned(),
        exe: "/usr/bin/curl".to_owned(),
        args: args.map(str::to_owned).to_vec(),
        uid: Some(1000),
        user: "ann".to_owned(),
        session: Some(812),
        context: Some(Context::None),
        cgroup: format!("/kubepods.slice/cri-containerd-{container}.scope"),
        netns: Some(4_026_532_000),
        container: container.clone(),
        ..Process::default()
    };
    let parents = [(812, "sh"), (700, "containerd-shim-runc-v2"), (1, "systemd")];
    let workload = Workload {
        runtime: "containerd".to_owned(),
        container,
        name: "web".to_owned(),
        image: "registry.example.org/shop/web:1.27.3".to_owned(),
        pod: "web-7d9f8b6c5d-abcde".to_owned(),
        namespace: "shop".to_owned(),
        owner: "Deployment/web".to_owned(),
        labels: [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())]
            .into(),
        ..Workload::default()
    };
    HostSide {
        host: Arc::default(),
        process: Some(Arc::new(ProcessView {
            process,
            ancestors: parents.map(ancestor).to_vec(),
            ..ProcessView::default()
        })),
        workload: Some(Arc::new(workload)),
        instance: None,
        attribution: Some(Attribution {
            method: Some(Method::Ebpf),
            basis: Some(Basis::Used),
            certainty: 1.0,
            ..Attribution::default()
        }),
    }
}

fn direction(payloads: &[u32]) -> Direction {
    let mut sizes = Sizes::default();
    payloads.iter().for_each(|&bytes| sizes.record(bytes, 1));
    let packets = payloads.len() as u64;
    Direction {
        packets,
        wire_bytes: sizes.sum + packets * 66,
        ip_bytes: sizes.sum + packets * 52,
        payload_bytes: sizes.sum,
        sizes,
        gaps: Gaps {
            count: packets - 1,
            min_ns: 900,
            max_ns: 30_000_000,
            sum_ns: 90_000_000,
            sum_squares: 2_000_000_000_000_000,
        },
        tcp_flags: 0x1b,
        ttl_min: 64,
        ttl_max: 64,
        entropy: Some((7.125, 256)),
        ..Direction::default()
    }
}

fn writers(criterion: &mut Criterion) {
    each_writer(criterion, "output", &records());
    each_writer(criterion, "output with hosts", &records_with_hosts());
}

fn each_writer(criterion: &mut Criterion, name: &str, records: &[FlowRecord]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(RECORDS));
    let mut bench = |name: &str, mut writer: Box<dyn FlowWriter>| {
        let encoder = writer.encoder();
        let mut piece = Piece::default();
        encoder.encode(records, &mut piece).expect("encodes");
        if piece.text_bytes() > 0 {
            println!("{name}: {} bytes a record", piece.text_bytes() as u64 / RECORDS);
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                piece.clear();
                encoder.encode(records, &mut piece).expect("encodes");
                writer.append(&mut piece).expect("sink");
            });
        });
        writer.finish().expect("sink");
    };
    bench("ndjson", Box::new(ndjson::writer(io::sink())));
    bench("csv", Box::new(csv::writer(io::sink())));
    bench("eve", Box::new(eve::writer(io::sink())));
    bench("zeek", Box::new(zeek::ZeekWriter::new(io::sink())));
    #[cfg(feature = "parquet")]
    bench(
        "parquet",
        Box::new(flowtap::output::parquet::ParquetWriter::new(io::sink()).expect("sink")),
    );
}

/// The same through the threads, as `read` does it: what a run can write.
fn pipeline(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(RECORDS * ROUNDS));
    group.sample_size(10);
    for threads in [1, 2] {
        let mut bench = |name: &str, writer: fn() -> Box<dyn FlowWriter>| {
            group.bench_function(format!("{name}/{threads}"), |bencher| {
                bencher.iter(|| {
                    let mut pipeline =
                        Pipeline::start(vec![writer()], threads).expect("threads start");
                    for _ in 0..ROUNDS {
                        records.iter().for_each(|record| pipeline.push(record.clone()));
                    }
                    pipeline.finish().expect("sink");
                });
            });
        };
        bench("ndjson", || Box::new(ndjson::writer(io::sink())));
        #[cfg(feature = "parquet")]
        bench("parquet", || {
            Box::new(flowtap::output::parquet::ParquetWriter::new(io::sink()).expect("sink"))
        });
    }
}

/// Into files in memory: the disk is not what is measured.
fn files(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("files");
    group.throughput(Throughput::Elements(RECORDS * ROUNDS));
    group.sample_size(10);
    let folder = || {
        let memory = std::path::Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        tempfile::tempdir_in(place).expect("folder")
    };
    for threads in [1, 2] {
        group.bench_function(format!("pipeline/{threads}"), |bencher| {
            bencher.iter(|| {
                let folder = folder();
                let writer = Format::Ndjson.create(folder.path()).expect("file");
                let mut pipeline = Pipeline::start(vec![writer], threads).expect("threads start");
                for _ in 0..ROUNDS {
                    records.iter().for_each(|record| pipeline.push(record.clone()));
                }
                pipeline.finish().expect("files");
            });
        });
        group.bench_function(format!("rolling/{threads}"), |bencher| {
            bencher.iter(|| {
                let folder = folder();
                let options = RollingOptions { threads, ..RollingOptions::new(folder.path()) };
                let mut output = RollingOutput::open(&options, 0).expect("opens");
                for second in 0..ROUNDS as i64 {
                    records.iter().for_each(|record| output.record(record.clone()));
                    output.second(second * 1_000_000_000);
                }
                let finished = output.finish(std::time::Duration::from_secs(60));
                assert_eq!(finished.counters.lost(), 0);
            });
        });
    }
}

criterion_group!(benches, writers, pipeline, files);
criterion_main!(benches);

//! Sums against those of the flow records, and the socket under clients that
//! mean harm.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;

use ahash::RandomState;
use proptest::prelude::*;

use super::talkers::{Both, Ranked, Second, Sum, total};
use super::*;
use crate::engine::window::Assembled;
use crate::engine::{FlowGauge, LiveRun, RecordSink, RunOptions, RunReport, run};
use crate::flow::FlowRecord;
use crate::input::live::LiveStatus;
use crate::input::{Input, InputOptions};
use crate::output::privacy::{Key, Privacy, Pseudonyms};

type Sums = HashMap<IpAddr, [u64; 4]>;

/// What the windows say of hosts, and what the records do.
struct Watch {
    collector: Collector,
    hasher: RandomState,
    windows: Sums,
    records: Sums,
    sizes: Vec<u64>,
    packets: u64,
    last_s: i64,
    flows: FlowGauge,
}

fn add(sums: &mut Sums, ip: IpAddr, more: [u64; 4]) {
    let sum = sums.entry(ip).or_default();
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

impl RecordSink for Watch {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        let (fwd, rev) = (&record.fwd, &record.rev);
        let there = [fwd.packets, fwd.wire_bytes, rev.packets, rev.wire_bytes];
        let back = [rev.packets, rev.wire_bytes, fwd.packets, fwd.wire_bytes];
        add(&mut self.records, record.src_ip(), there);
        add(&mut self.records, record.dst_ip(), back);
        Ok(())
    }

    fn window(&mut self, window: &Assembled) {
        self.collector.window(window);
        let second = Second::new(window, &self.hasher);
        assert!(second.hosts.complete && !second.hosts_estimated);
        for (host, [sent, received]) in &second.hosts.entries {
            let sums = [sent.packets, sent.bytes, received.packets, received.bytes];
            add(&mut self.windows, host.ip(), sums);
        }
        let conversations = second.conversations.expect("rows are kept");
        if conversations.complete {
            let sums = conversations.entries.iter().map(|(_, both)| total(both).packets);
            assert_eq!(sums.sum::<u64>(), counted_in(window));
        }
        let sizes = second.sizes.expect("somebody watches");
        let counted: u64 = sizes.bins.iter().sum();
        assert_eq!(counted, counted_in(window), "second {}", second.second);
        self.sizes.resize(sizes.bins.len(), 0);
        self.sizes.iter_mut().zip(sizes.bins).for_each(|(sum, more)| *sum += more);
        self.packets += counted;
        self.last_s = second.second;
    }

    fn closed_before(&mut self, second: i64, flows: FlowGauge) {
        self.flows = flows;
        self.collector.closed(second, flows, 0);
    }
}

fn counted_in(window: &Assembled) -> u64 {
    window.slice.total().packets()
}

fn capture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    std::fs::read(folder.join(name)).expect("a capture of the repository")
}

fn watch(capture: Vec<u8>, privacy: Privacy) -> (Watch, RunReport) {
    let watched = Arc::new(AtomicBool::new(true));
    let status = Arc::new(LiveStatus::default());
    let mut options = RunOptions { workers: 2, ..RunOptions::default() };
    options.live = Some(LiveRun {
        status: Arc::clone(&status),
        filter_in_kernel: false,
        silent_after_s: 60,
        heard_before: std::collections::BTreeMap::new(),
        preallocates: false,
        watched: Arc::clone(&watched),
    });
    let mut watch = Watch {
        collector: Collector::new(Arc::new(privacy), status, watched),
        hasher: RandomState::new(),
        windows: Sums::new(),
        records: Sums::new(),
        sizes: Vec::new(),
        packets: 0,
        last_s: 0,
        flows: FlowGauge::default(),
    };
    let input = Input::from_bytes(vec![capture], InputOptions::default());
    let report = run(input, &options, &mut watch);
    (watch, report)
}

#[test]
fn hosts_and_sizes_of_all_seconds_add_up_to_those_of_the_records() {
    for name in ["ping.pcap", "web.pcap", "tcp-trouble.pcap", "crafted-ipv6-fragments.pcap"] {
        let (watch, report) = watch(capture(name), Privacy::none());
        assert!(watch.packets > 0, "{name}");
        assert_eq!(watch.windows, watch.records, "{name}");
        assert_eq!(watch.sizes, report.totals.size_bins, "{name}");
        assert!(watch.flows.begun >= watch.flows.held, "{name}");
        assert!(watch.flows.begun <= report.flows, "{name}");
    }
}

#[test]
fn a_snapshot_has_the_last_seconds() {
    let (mut watch, report) = watch(capture("ping.pcap"), Privacy::none());
    let end_s = watch.last_s + 1;
    let snapshot = watch.collector.closed(end_s, watch.flows, end_s * 1_000_000_000 + 5).unwrap();
    let seconds = snapshot.history.len().min(WINDOW_S as usize);
    assert!(seconds > 1);
    assert_eq!((snapshot.schema.as_str(), snapshot.window_s), (SCHEMA, seconds as u64));
    let history: u64 = snapshot.history.iter().map(|&(packets, _)| packets).sum();
    assert_eq!(history, report.input.frames, "with those that are not IP");
    let window: u64 =
        snapshot.history.iter().rev().take(seconds).map(|&(packets, _)| packets).sum();
    let protocols: u64 = snapshot.protocols.iter().map(|protocol| protocol.packets).sum();
    assert_eq!(protocols, window);
    let sent: u64 = snapshot.hosts.top.iter().map(|host| host.sent_packets).sum();
    let non_ip = snapshot.protocols.iter().find(|protocol| protocol.name == "non_ip");
    assert_eq!(sent, window - non_ip.map_or(0, |protocol| protocol.packets));
    assert!(snapshot.hosts.complete && snapshot.conversations.complete);
    // It is what comes out at the other end.
    let line = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&line).unwrap(), snapshot);
}

#[test]
fn nobody_who_is_to_be_a_pseudonym_is_shown() {
    let key = Key::from_bytes([7; 32]);
    let privacy = Privacy { pseudonyms: Some(Pseudonyms::new(&key)), ..Privacy::none() };
    let (mut watch, _) = watch(capture("web.pcap"), privacy);
    let end_s = watch.last_s + 1;
    let snapshot = watch.collector.closed(end_s, watch.flows, 0).unwrap();
    assert!(!snapshot.hosts.top.is_empty() && !snapshot.conversations.top.is_empty());
    let shown: Vec<&String> = snapshot
        .hosts
        .top
        .iter()
        .map(|host| &host.address)
        .chain(snapshot.conversations.top.iter().flat_map(|one| [&one.a, &one.b]))
        .collect();
    for real in watch.windows.keys().map(ToString::to_string) {
        assert!(!shown.contains(&&real), "{real}");
    }
}

#[test]
fn nothing_is_kept_while_nobody_watches() {
    let watched = Arc::new(AtomicBool::new(false));
    let status = Arc::new(LiveStatus::default());
    let mut collector = Collector::new(Arc::new(Privacy::none()), status, Arc::clone(&watched));
    for second in 100..110 {
        assert!(collector.closed(second, FlowGauge::default(), 0).is_none());
    }
    watched.store(true, Ordering::Relaxed);
    let snapshot =
        collector.closed(110, FlowGauge { held: 3, begun: 5, ..FlowGauge::default() }, 0).unwrap();
    assert_eq!((snapshot.window_s, snapshot.history.len()), (1, 11));
    assert_eq!((snapshot.rates.flows_held, snapshot.rates.new_flows_per_s), (3, 5));
    // A clock that jumps by a year.
    let later = collector
        .closed(31_536_000, FlowGauge { held: 3, begun: 6, ..FlowGauge::default() }, 0)
        .unwrap();
    assert_eq!((later.window_s, later.history.len()), (10, 300));
}

proptest! {
    #[test]
    fn the_first_by_bytes_and_by_packets_are_kept(
        sums in prop::collection::vec((0u64..40, 0u64..40), 0..60),
        kept in 1usize..20,
    ) {
        let both = |&(packets, bytes): &(u64, u64)| -> Both {
            [Sum { packets, bytes }, Sum::default()]
        };
        let entries: Vec<(usize, Both)> = sums.iter().map(both).enumerate().collect();
        let mut ranked = Ranked { entries, complete: true };
        ranked.truncate(kept);
        let found: Vec<usize> = ranked.entries.iter().map(|&(key, _)| key).collect();
        for by_bytes in [true, false] {
            let figure = |&key: &usize| if by_bytes { sums[key].1 } else { sums[key].0 };
            let mut all: Vec<usize> = (0..sums.len()).collect();
            all.sort_by_key(|key| (std::cmp::Reverse(figure(key)), *key));
            prop_assert!(all.iter().take(kept).all(|key| found.contains(key)));
        }
        prop_assert!(found.is_sorted_by_key(|&key| (std::cmp::Reverse(sums[key].1), key)));
        prop_assert_eq!(ranked.complete, found.len() == sums.len());
    }

    #[test]
    fn any_line_is_a_request_or_refused(line in prop::collection::vec(any::<u8>(), 0..200)) {
        // Whatever a refusal quotes is one line of JSON.
        if let Err(refused) = parse(&line) {
            let refusal = Refusal { schema: SCHEMA, error: &refused.text };
            prop_assert!(!serde_json::to_string(&refusal).unwrap().contains('\n'));
        }
    }
}

struct Served {
    dir: tempfile::TempDir,
    watched: Arc<AtomicBool>,
    server: ControlServer,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let watched = Arc::new(AtomicBool::new(false));
        let path = dir.path().join("flowtap/control.sock");
        let server = ControlServer::start(&path, Arc::clone(&watched)).unwrap();
        Self { dir, watched, server }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("flowtap/control.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Publishes until something is so.
    fn publish_until(&self, snapshot: &Snapshot, mut done: impl FnMut() -> bool) {
        let since = Instant::now();
        while !done() {
            assert!(since.elapsed() < Duration::from_secs(10), "in vain");
            self.server.publish(snapshot);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn some_snapshot() -> Snapshot {
    Snapshot { schema: SCHEMA.to_owned(), time: "now".to_owned(), ..Snapshot::default() }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(10), "in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_gets_snapshots_and_is_forgotten_when_it_goes() {
    let served = Served::new();
    let mode = std::fs::metadata(served.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Client::watch(&served.path()).unwrap();
    wait_until(|| served.watched.load(Ordering::Relaxed));
    served.server.publish(&some_snapshot());
    assert_eq!(client.snapshot().unwrap(), some_snapshot());
    drop(client);
    served.publish_until(&some_snapshot(), || !served.watched.load(Ordering::Relaxed));

    let mut last = Client::watch(&served.path()).unwrap();
    wait_until(|| served.watched.load(Ordering::Relaxed));
    let path = served.path();
    drop(served.server);
    assert!(matches!(last.snapshot(), Err(ClientError::Gone(_))));
    assert!(matches!(Client::watch(&path), Err(ClientError::Unreachable { .. })));
}

#[test]
fn what_is_no_request_gets_an_error_line_and_no_end_of_one_ends_it() {
    let served = Served::new();
    let mut stream = served.connect();
    stream.write_all(b"{\"watch\":\"nothing\"}\n[[[[\n\xff\n{\"watch\":\"screen\"}\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    for _ in 0..3 {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["schema"], SCHEMA);
        assert!(line["error"].as_str().unwrap().contains("known is {\"watch\":\"screen\"}"));
    }
    wait_until(|| served.watched.load(Ordering::Relaxed));

    let mut endless = served.connect();
    // It may be cut off while it still writes.
    let _ = endless.write_all(&[b'x'; 2 * REQUEST_BYTES]);
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    assert!(String::from_utf8_lossy(&answer).contains("too long"));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_never_waited_for() {
    let served = Served::new();
    let mut deaf = served.connect();
    deaf.write_all(b"{\"watch\":\"screen\"}\n").unwrap();
    let mut client = Client::watch(&served.path()).unwrap();
    wait_until(|| served.server.shared.watchers.lock().len() == 2);
    let long = Snapshot { version: "x".repeat(300_000), ..some_snapshot() };
    let mut slowest = Duration::ZERO;
    for _ in 0..2 * WAITING {
        let since = Instant::now();
        served.server.publish(&long);
        slowest = slowest.max(since.elapsed());
        assert_eq!(client.snapshot().unwrap(), long, "the other one gets all");
    }
    assert!(slowest < WRITE_TIME / 2, "{slowest:?}");
    assert_eq!(served.server.shared.watchers.lock().len(), 1);
    wait_until(|| served.server.shared.clients.load(Ordering::Acquire) == 1);
}

#[test]
fn clients_over_the_limit_are_told_so() {
    let served = Served::new();
    let crowd: Vec<UnixStream> = (0..CLIENTS).map(|_| served.connect()).collect();
    wait_until(|| served.server.shared.clients.load(Ordering::Acquire) == CLIENTS);
    let mut line = String::new();
    BufReader::new(served.connect()).read_line(&mut line).unwrap();
    assert!(line.contains("too many clients"), "{line}");
    drop(crowd);
    wait_until(|| served.server.shared.clients.load(Ordering::Acquire) == 0);
}

#[test]
fn a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let served = Served::new();
    let again = ControlServer::start(&served.path(), Arc::default());
    assert!(matches!(again, Err(ControlError::InUse(_))));

    let dead = served.dir.path().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    drop(ControlServer::start(&dead, Arc::default()).unwrap());
    assert!(!dead.exists());

    let other = served.dir.path().join("other.sock");
    let _living = UnixListener::bind(&other).unwrap();
    let taken = ControlServer::start(&other, Arc::default());
    assert!(matches!(taken, Err(ControlError::InUse(_))));

    let file = served.dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let refused = ControlServer::start(&file, Arc::default());
    assert!(matches!(refused, Err(ControlError::NoSocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

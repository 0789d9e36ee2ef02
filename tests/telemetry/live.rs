//! `flowtap live` on logs that grow and counters that are read again and again, with no
//! interface at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it with results in `out`.
    fn live(&self, out: &str, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_flowtap"))
            .args(["live", "--quiet", "--control", "none", "--out", out])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Lines of all files of one kind in a folder.
    fn lines(&self, out: &str, stem: &str) -> Vec<Value> {
        let mut files: Vec<_> = fs::read_dir(self.path(out))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(stem))
            .collect();
        files.sort();
        let texts = files.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
        // A line that is being written has no end yet.
        let whole = texts.flat_map(|text| {
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        whole.map(|line| serde_json::from_str(&line).unwrap()).collect()
    }

    fn wait_for(&self, what: &str, mut there: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !there() {
            assert!(Instant::now() < until, "{what} never came");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn stop(child: Child) -> Output {
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A record whose source port tells it from all others.
fn record(number: u16) -> String {
    format!(
        "2 111122223333 eni-0a1b2c3d 10.0.1.5 203.0.113.9 {number} 53 17 120 9600 1760000000 \
         1760000058 ACCEPT OK\n"
    )
}

fn append(path: &Path, numbers: std::ops::Range<u16>) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    for number in numbers {
        file.write_all(record(number).as_bytes()).unwrap();
    }
}

#[test]
fn each_line_of_a_log_that_rotates_is_told_once_over_a_stop_and_a_start() {
    let lab = Lab::new();
    let log = lab.path("vpc.log");
    let options = ["--log", "vpc.log", "--log-from-start", "--log-state", "places"];
    let ports = |out: &str| -> Vec<u64> {
        let lines = lab.lines(out, "reported_flows");
        lines.iter().map(|flow| flow["src_port"].as_u64().unwrap()).collect()
    };
    append(&log, 1..100);
    let child = lab.live("first", &options);
    lab.wait_for("the first lines", || ports("first").len() == 99);
    append(&log, 100..200);
    fs::rename(&log, lab.path("vpc.log.1")).unwrap();
    append(&log, 200..300);
    // A line that is not complete yet waits.
    let whole = record(300);
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(&whole.as_bytes()[..30]).unwrap();
    lab.wait_for("the lines after the rotation", || ports("first").len() == 299);
    stop(child);
    file.write_all(&whole.as_bytes()[30..]).unwrap();
    append(&log, 301..400);
    fs::rename(&log, lab.path("vpc.log.2")).unwrap();
    append(&log, 400..500);
    let child = lab.live("second", &options);
    lab.wait_for("the lines after the start", || ports("second").len() == 200);
    stop(child);
    let mut all = [ports("first"), ports("second")].concat();
    all.sort_unstable();
    assert_eq!(all, (1..500).collect::<Vec<u64>>());
}

#[test]
fn a_log_that_is_not_there_is_said_to_be_waited_for_and_is_among_the_sources() {
    let lab = Lab::new();
    let arguments = ["live", "--quiet", "--json", "--control", "none", "--log", "nope.log"];
    let live = || {
        let mut live = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        live.args(arguments).current_dir(lab.folder.path());
        live.env("XDG_STATE_HOME", lab.path("state")).stdout(Stdio::piped());
        live.stderr(Stdio::piped());
        live
    };
    let output = live().args(["--seconds", "2"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nope.log is not there yet: waiting for it"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sources"][0]["path"], "nope.log");
    assert_eq!(summary["sources"][0]["kind"], "unknown");
    // What comes then takes its place.
    let child = live().args(["--log-from-start", "--out", "out"]).spawn().unwrap();
    lab.wait_for("it begins", || lab.path("out").join("run.json").exists());
    append(&lab.path("nope.log"), 1..9);
    lab.wait_for("its lines", || lab.lines("out", "reported_flows").len() == 8);
    let output = stop(child);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sources"].as_array().unwrap().len(), 1, "{summary}");
    assert_eq!(summary["sources"][0]["kind"], "aws-vpc");
}

#[test]
fn options_that_do_nothing_are_said_to() {
    let lab = Lab::new();
    append(&lab.path("vpc.log"), 1..3);
    let run = |options: &[&str]| {
        let mut live = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        live.args(["live", "--quiet", "--control", "none", "--seconds", "1", "--log", "vpc.log"]);
        live.args(options).current_dir(lab.folder.path()).env("XDG_STATE_HOME", lab.path("state"));
        String::from_utf8_lossy(&live.output().unwrap().stderr).into_owned()
    };
    let said = run(&["--procs-record", "x", "--procs-unmasked", "--pods", "p.json"]);
    assert!(said.contains("--procs-record, --procs-unmasked, --pods without --procs"), "{said}");
    let said = run(&["--format", "csv", "--keep-flows-for", "1d"]);
    assert!(said.contains("--format, --keep-flows-for without --out: does nothing"), "{said}");
    assert!(!run(&[]).contains("does nothing"));
}

/// Lateness of a VPC flow log is 20 minutes: what it tells of an hour ago is late, is told
/// all the same and counted.
#[test]
fn what_comes_later_than_its_kind_may_is_told_and_counted() {
    let lab = Lab::new();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ended = |number: u16, ago_s: u64| {
        let (start, end) = (now_s - ago_s - 58, now_s - ago_s);
        record(number).replace("1760000000 1760000058", &format!("{start} {end}"))
    };
    let in_time: String = (1..6).map(|number| ended(number, 900)).collect();
    let late: String = (6..9).map(|number| ended(number, 3600)).collect();
    fs::write(lab.path("vpc.log"), in_time + &late).unwrap();
    let child = lab.live("out", &["--log", "vpc.log", "--log-from-start"]);
    lab.wait_for("the log's lines", || lab.lines("out", "reported_flows").len() == 8);
    stop(child);
    let summary: Value =
        serde_json::from_reader(File::open(lab.path("out/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["sources"][0]["flows"], 8);
    assert_eq!(summary["sources"][0]["late"], 3);
}

/// More sources than are held at a time: the oldest file is the one that is written.
#[test]
fn a_log_that_is_written_is_read_on_however_many_others_come() {
    let lab = Lab::new();
    fs::create_dir(lab.path("logs")).unwrap();
    let make = |names: std::ops::Range<u16>| {
        names.for_each(|n| append(&lab.path(&format!("logs/{n:04}.log")), n..n + 1));
    };
    let told = |number: usize| {
        let what = format!("{number} lines");
        lab.wait_for(&what, || lab.lines("out", "reported_flows").len() == number);
    };
    make(1..3600);
    let child = lab.live("out", &["--log", "logs", "--log-from-start"]);
    told(3599);
    append(&lab.path("logs/0001.log"), 5000..5001);
    told(3600);
    // Fewer than those of which the follower says that they rest.
    make(3600..4400);
    told(4400);
    append(&lab.path("logs/0001.log"), 5001..5002);
    told(4401);
    let said = String::from_utf8_lossy(&stop(child).stderr).into_owned();
    assert!(!said.contains("not read"), "{said}");
}

#[test]
fn what_is_no_log_is_told_and_does_not_end_the_run() {
    let lab = Lab::new();
    fs::create_dir(lab.path("logs")).unwrap();
    fs::write(lab.path("logs/poem.txt"), "Shall I compare thee\nto a summer's day?\n".repeat(4000))
        .unwrap();
    let child = lab.live("out", &["--log", "logs", "--log-from-start"]);
    append(&lab.path("logs/vpc.log"), 1..10);
    lab.wait_for("the log's lines", || lab.lines("out", "reported_flows").len() == 9);
    let said = String::from_utf8_lossy(&stop(child).stderr).into_owned();
    assert!(said.contains("poem.txt is passed over"), "{said}");
    assert!(!said.contains("vpc.log is passed over"), "{said}");
}

/// As containers' logs lie on a node: links to links, all of them confined.
#[test]
fn logs_that_links_lead_to_are_read_through_their_rotation() {
    let lab = Lab::new();
    for folder in ["containers", "pods", "docker"] {
        fs::create_dir(lab.path(folder)).unwrap();
    }
    append(&lab.path("docker/vpc.log"), 1..10);
    std::os::unix::fs::symlink("../docker/vpc.log", lab.path("pods/vpc.log")).unwrap();
    std::os::unix::fs::symlink("../pods/vpc.log", lab.path("containers/vpc.log")).unwrap();
    let named = "containers/vpc.log";
    for (out, log) in [("file", named), ("folder", "containers")] {
        let child = lab.live(out, &["--log", log, "--log-from-start", "--confine", "on"]);
        lab.wait_for("what the link leads to", || lab.lines(out, "reported_flows").len() == 9);
        stop(child);
    }
    let child = lab.live("later", &["--log", named, "--log-from-start", "--confine", "on"]);
    lab.wait_for("the lines", || lab.lines("later", "reported_flows").len() == 9);
    fs::rename(lab.path("docker/vpc.log"), lab.path("docker/vpc.log.1")).unwrap();
    append(&lab.path("docker/vpc.log"), 10..20);
    lab.wait_for("the next file", || lab.lines("later", "reported_flows").len() == 19);
    stop(child);
}

#[test]
fn counters_are_read_again_and_again_from_a_file_and_a_url() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    // An exporter whose counters grow by 1,000 each time that they are asked for.
    thread::spawn(move || {
        for asked in 1_u64.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 1024]);
            let body = format!(
                "# TYPE node_network_transmit_bytes_total counter\n\
                 node_network_transmit_bytes_total{{device=\"scraped0\"}} {}\n",
                asked * 1000
            );
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let child =
        lab.live("out", &["--scrape", "/proc/net/dev", "--scrape", &url, "--scrape-every", "1s"]);
    let sent = |interface: &str| -> Vec<u64> {
        let lines = lab.lines("out", "counters");
        let of = lines.iter().filter(|sample| sample["interface"] == interface);
        of.filter_map(|sample| sample["sent_bytes"].as_u64()).collect()
    };
    lab.wait_for("three readings of both", || sent("lo").len() >= 3 && sent("scraped0").len() >= 3);
    stop(child);
    let exported: Vec<_> = sent("scraped0").into_iter().filter(|bytes| bytes % 1000 == 0).collect();
    assert!(exported.len() >= 3 && exported.windows(2).all(|two| two[1] == two[0] + 1000));
    assert!(sent("lo").is_sorted());
    let grown: Vec<_> = lab
        .lines("out", "counters")
        .iter()
        .filter(|sample| sample["interface"] == "scraped0")
        .filter_map(|sample| sample["growth"]["sent_bytes"].as_u64())
        .collect();
    assert!(grown.len() >= 2 && grown.iter().all(|&bytes| bytes == 1000), "{grown:?}");
    let mut by_source = BTreeMap::new();
    for sample in lab.lines("out", "counters") {
        *by_source.entry(sample["source"].as_u64().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(by_source.len(), 2, "a source each: {by_source:?}");
    let summary: Value =
        serde_json::from_reader(File::open(lab.path("out/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["sources"].as_array().unwrap().len(), 2);
}

#[test]
fn a_run_goes_on_when_its_logs_have_ended() {
    let lab = Lab::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowtap"))
        .args(["live", "--quiet", "--control", "none", "--out", "out", "--log", "-"])
        .args(["--seconds", "3"])
        .current_dir(lab.folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    (1..20).for_each(|number| input.write_all(record(number).as_bytes()).unwrap());
    drop(input);
    let began = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(began.elapsed() >= Duration::from_secs(2), "it ended with its log");
    assert_eq!(lab.lines("out", "reported_flows").len(), 19);
}

#[test]
fn a_log_that_falls_silent_is_told_each_time() {
    let lab = Lab::new();
    let log = lab.path("snapshots.log");
    // Of a kind without lateness: what counts is the option alone.
    let snapshot = |at_s: u64| {
        format!(
            "{at_s}.000000000\nInter-|   Receive                                                | \
             Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    \
             packets errs drop fifo colls carrier compressed\n  eth0: {at_s} 3 0 0 0 0 0 0 9 3 0 0 0 \
             0 0 0\n"
        )
    };
    let tell = |at_s: u64| {
        let mut file = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        file.write_all(snapshot(at_s).as_bytes()).unwrap();
    };
    tell(1_760_000_000);
    let options = [
        "--log",
        "snapshots.log",
        "--log-from-start",
        "--silent-after",
        "2s",
        "--log-format",
        "json",
    ];
    let mut child = lab.live("out", &options);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut event = |kind: &str| loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "{kind} was never told");
        let told: Value = serde_json::from_str(&line).unwrap();
        if told["event"] == kind {
            return told;
        }
    };
    let silent = event("source.silent");
    assert_eq!(silent["level"], "WARN");
    assert!(silent["message"].as_str().unwrap().contains("snapshots.log"), "{silent}");
    tell(1_760_000_060);
    // It went on, and has fallen silent again; good news is not told with --quiet.
    event("source.silent");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
}

/// One record of NetFlow v5 from a port, the number of which counts records.
fn netflow(number: u32, src_port: u16) -> Vec<u8> {
    let mut datagram = vec![0; 24 + 48];
    datagram[..4].copy_from_slice(&[0, 5, 0, 1]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    datagram[8..12].copy_from_slice(&now.to_be_bytes());
    datagram[16..20].copy_from_slice(&number.to_be_bytes());
    datagram[24 + 32..24 + 34].copy_from_slice(&src_port.to_be_bytes());
    datagram[24 + 38] = 17;
    datagram
}

#[test]
fn exports_that_came_before_the_end_are_told() {
    const SENT: u32 = 20_000;
    let lab = Lab::new();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let live = lab.live("out", &["--listen", &address]);
    sender.connect(&address).unwrap();
    lab.wait_for("the first flow", || {
        // Refused until it listens.
        sender.send(&netflow(0, 1)).is_ok() && !lab.lines("out", "reported_flows").is_empty()
    });
    let pid = rustix::process::Pid::from_child(&live);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    for number in 1..=SENT {
        sender.send(&netflow(number, 2)).unwrap();
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let output = live.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = fs::read(lab.path("out/summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    // Without rights the kernel's buffer is small.
    let lost = &summary["sources"][0]["lost"]["export datagrams that the kernel dropped"];
    let flows = lab.lines("out", "reported_flows");
    let told = flows.iter().filter(|flow| flow["src_port"] == 2).count() as u64;
    assert!(told > 100, "{told}");
    assert_eq!(told + lost.as_u64().unwrap_or(0), u64::from(SENT), "{:#}", summary["sources"]);
}

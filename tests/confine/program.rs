//! What a run gives up, seen from outside in the kernel's tables, and from
//! inside by trying what is forbidden.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Dir, captures, text};
use crate::support::netns::{LinkOptions, Netns, Running, wait_for};
use crate::support::program::copy_program;
use serde_json::Value;

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

/// Bit 13: CAP_NET_RAW (linux/capability.h).
const NET_RAW: &str = "0000000000002000";

const NOBODY: u32 = 65_534;

/// Whether everything can be in force on this kernel, and as root; else a loud
/// skip.
fn all_there(test: &str) -> bool {
    let output = Command::new(FLOWTAP).args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = report["confinement"]["missing"].as_array().unwrap();
    if !missing.is_empty() {
        eprintln!("SKIPPED: this kernel can't confine in full: {test}: {missing:?}");
    } else if !is_root() {
        eprintln!("SKIPPED: needs root: {test}");
    }
    missing.is_empty() && is_root()
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    field(&status, "CapEff").trim_start_matches('0').len() > 4
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// A capture under way.
struct Live {
    running: Running,
    said: BufReader<ChildStderr>,
    lines: String,
}

impl Live {
    fn start(net: &Netns, command: Command) -> Self {
        let mut command = command;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = net.spawn(command);
        let mut said = BufReader::new(running.child.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("listening on") {
            assert!(said.read_line(&mut lines).unwrap() > 0, "does not listen: {lines}");
        }
        Self { running, said, lines }
    }

    /// The status of every thread.
    fn threads(&self) -> Vec<String> {
        let tasks = format!("/proc/{}/task", self.running.child.id());
        let tasks = fs::read_dir(tasks).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
    }

    /// Ends it in order; its summary.
    fn stop(mut self) -> Value {
        self.running.signal("INT");
        let mut json = String::new();
        self.running.child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
        let status = self.running.wait(Duration::from_secs(20));
        self.said.read_to_string(&mut self.lines).unwrap();
        assert!(status.success(), "{}", self.lines);
        serde_json::from_str(&json).unwrap()
    }
}

/// `live --json` on the interface, with an empty home.
fn live(net: &Netns, dir: &Dir, program: &[&str], interface: &str, args: &[&str]) -> Command {
    let words = program.iter().copied().chain(["live", "--json", "-i", interface]);
    let mut command = net.command(0, words.chain(args.iter().copied()));
    command.env("XDG_STATE_HOME", dir.path("state"));
    command
}

#[test]
fn every_thread_of_a_capture_has_given_up_its_rights() {
    let test = "every_thread_of_a_capture";
    let Some(mut net) = Netns::or_skip(test, 2, &["ping", "curl"]) else { return };
    if !all_there(test) {
        return;
    }
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    let out = dir.path("out");
    // A port that root alone may bind.
    let args = ["--out", out.to_str().unwrap(), "--metrics", "127.0.0.1:80", "--confine", "strict"];
    let capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
    assert!(capture.lines.contains("flowtap: confined: "), "{}", capture.lines);
    let threads = capture.threads();
    assert!(threads.len() > 5, "workers, writers, the server");
    for status in &threads {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(status, set), NET_RAW, "{set}: {status}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(field(status, set), "0000000000000000", "{set}: {status}");
        }
        assert_eq!(field(status, "NoNewPrivs"), "1");
        assert_eq!(field(status, "Seccomp"), "2", "filters");
        assert_eq!(field(status, "Seccomp_filters"), "2");
    }
    net.run(1, ["ping", "-q", "-c", "5", "-i", "0.05", &link.ipv4[0]]);
    let metrics = text(&net.run(0, ["curl", "-sf", "http://127.0.0.1:80/metrics"]).stdout);
    assert!(metrics.contains("process_open_fds") || metrics.contains("flowtap_"), "{metrics}");
    let summary = capture.stop();
    assert_eq!(summary["protocols"]["icmp"]["packets"], 10);
    let run: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["confinement"]["mode"], "strict");
    assert_eq!(run["confinement"]["missing"], Value::Array(Vec::new()));

    // The same looks see it where nothing is given up.
    let args = ["--confine", "off"];
    let capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
    for status in &capture.threads() {
        assert_ne!(field(status, "CapEff"), NET_RAW);
        assert_eq!(field(status, "Seccomp"), "0");
    }
    capture.stop();
}

/// Runs the attempts, each of them confined as these options say: `None` where
/// it went well, else the error.
fn attempts(options: &[&str], attempts: &[String]) -> Vec<Option<String>> {
    let mut command = Command::new(FLOWTAP);
    let output = command.arg("confined").args(options).args(attempts).output().unwrap();
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    let lines = text(&output.stdout);
    let results = lines.lines().skip(1).map(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        result["error"].as_str().map(str::to_owned)
    });
    results.collect()
}

/// Tries each, confined and not; fails where one is not refused with this
/// error, or would not work anyway.
fn refused(options: &[&str], tried: &[String], error: &str) {
    for (attempt, result) in tried.iter().zip(attempts(options, tried)) {
        let result = result.unwrap_or_else(|| panic!("{attempt} is not refused"));
        assert!(result.contains(error), "{attempt}: {result}");
    }
    let free = [options, &["--confine", "off"]].concat();
    for (attempt, result) in tried.iter().zip(attempts(&free, tried)) {
        assert_eq!(result, None, "{attempt} means nothing");
    }
}

fn granted(options: &[&str], tried: &[String]) {
    for (attempt, result) in tried.iter().zip(attempts(options, tried)) {
        assert_eq!(result, None, "{attempt}");
    }
}

#[test]
fn files_outside_are_closed_and_those_of_the_run_are_open() {
    if !all_there("files_outside_are_closed") {
        return;
    }
    let dir = Dir::new();
    let at = |name: &str| dir.path(name).display().to_string();
    let (out, socket) = (at("out"), at("run"));
    let options = ["--out", &out, "--socket", &socket];
    dir.write("outside", b"x");
    dir.write("kept", b"x");
    refused(
        &options,
        &[
            "open=/etc/passwd".to_owned(),
            "list=/".to_owned(),
            "list=/home".to_owned(),
            format!("open={}", at("outside")),
            format!("list={}", at("")),
            format!("create={}", at("new")),
            format!("create={}", at("outside")),
            format!("remove={}", at("kept")),
            format!("unix={out}/socket"),
        ],
        "Permission denied",
    );
    granted(
        &options,
        &[
            format!("create={out}/a"),
            format!("create={out}/a"),
            format!("open={out}/a"),
            format!("rename={out}/a:{out}/b"),
            format!("list={out}"),
            format!("remove={out}/b"),
            format!("unix={socket}/s"),
            format!("remove={socket}/s"),
            "open=/proc/self/status".to_owned(),
            "open=/proc/meminfo".to_owned(),
            "list=/sys/class/net".to_owned(),
        ],
    );
    // The kernel's own files are for reading.
    let tuned = ["create=/proc/self/oom_score_adj".to_owned()];
    refused(&options, &tuned, "Permission denied");
    // Names of receivers are looked up by files that may be replaced.
    let named = ["--alert-to", "syslog://log.example"];
    granted(&named, &["open=/etc/hosts".to_owned(), "open=/etc/nsswitch.conf".to_owned()]);
    let numbered = ["--alert-to", "syslog://127.0.0.1"];
    refused(&numbered, &["open=/etc/hosts".to_owned()], "Permission denied");
}

#[test]
fn ports_and_sockets_that_no_option_names_are_closed() {
    if !all_there("ports_and_sockets") {
        return;
    }
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (ours, other) = (receiver.local_addr().unwrap(), other.local_addr().unwrap());
    let target = format!("syslog+tcp://{ours}");
    let options = ["--alert-to", target.as_str()];
    granted(&options, &[format!("connect={ours}")]);
    let closed = [format!("connect={other}"), "bind=127.0.0.1:0".to_owned()];
    refused(&options, &closed, "Permission denied");
    let name = format!("flowtap-confine-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    refused(&options, &[format!("abstract={name}")], "Operation not permitted");
}

#[test]
fn there_are_threads_but_no_processes_and_no_signals_to_others() {
    if !all_there("threads_but_no_processes") {
        return;
    }
    let us = std::process::id();
    let closed = ["spawn=/bin/true".to_owned(), format!("signal={us}")];
    refused(&[], &closed, "not implemented");
    granted(&[], &["thread=1".to_owned()]);
}

#[test]
fn calls_of_a_process_that_was_taken_over_kill_it() {
    if !all_there("calls_of_a_process_that_was_taken_over") {
        return;
    }
    let ended = |mode: &str, attempt: &str| {
        let args = ["confined", "--confine", mode, attempt];
        Command::new(FLOWTAP).args(args).stderr(Stdio::null()).status().unwrap()
    };
    for attempt in ["exec=/bin/true", "mount=/no/such/folder", "module=1"] {
        assert_eq!(ended("on", attempt).signal(), Some(libc::SIGSYS), "{attempt}");
        assert_eq!(ended("off", attempt).code(), Some(0), "{attempt}");
    }
}

#[test]
fn reading_captures_has_no_network_and_writes_beneath_its_folder_alone() {
    if !all_there("reading_captures") {
        return;
    }
    let dir = Dir::new();
    let at = |name: &str| dir.path(name).display().to_string();
    let (capture, out) = (at("capture.pcap"), at("out"));
    dir.write("capture.pcap", b"x");
    dir.write("other.pcap", b"x");
    let options = ["--read", capture.as_str(), "--out", &out];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = [
        format!("connect={}", listener.local_addr().unwrap()),
        "bind=127.0.0.1:0".to_owned(),
        format!("unix={out}/socket"),
    ];
    refused(&options, &closed, "not implemented");
    let closed = [
        format!("open={}", at("other.pcap")),
        format!("create={}", at("new")),
        format!("create={capture}"),
    ];
    refused(&options, &closed, "Permission denied");
    granted(&options, &[format!("open={capture}"), format!("create={out}/flows")]);

    // A link that was there leads where it leads.
    std::os::unix::fs::symlink(dir.path("other.pcap"), dir.path("out/link")).unwrap();
    granted(&options, &[format!("create={out}/link")]);

    // A pipe of the shell's has no path.
    let capture = captures().join("web.pcap").display().to_string();
    let words = format!("{FLOWTAP} read --json --confine strict <(cat {capture})");
    let mut shell = Command::new("bash");
    shell.args(["-c", &words]).env("XDG_STATE_HOME", dir.path("state"));
    let output = shell.output().unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(piped["flows"], dir.summary([&capture])["flows"]);

    // And the real thing is: every kind of input still reads.
    let folder = captures();
    let confined = dir.summary(["--confine", "strict", folder.to_str().unwrap()]);
    let free = dir.summary(["--confine", "off", folder.to_str().unwrap()]);
    for name in ["packets", "flows", "alerts", "files"] {
        assert_eq!(confined[name], free[name], "{name}");
    }
    assert!(free["files"].as_array().unwrap().len() > 20);
}

/// A copy of the program that others may run, and a folder of theirs.
fn for_nobody(dir: &Dir) -> (PathBuf, PathBuf) {
    let (program, out) = (dir.path("flowtap"), dir.path("out"));
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(FLOWTAP, &program);
    fs::create_dir(&out).unwrap();
    chown(&out, Some(NOBODY), Some(NOBODY)).unwrap();
    (program, out)
}

#[test]
fn the_programs_own_capability_is_enough_for_an_ordinary_user() {
    let test = "the_programs_own_capability";
    let Some(mut net) = Netns::or_skip(test, 2, &["setpriv", "setcap", "ping"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    let (program, out) = for_nobody(&dir);
    let (program, out) = (program.to_str().unwrap(), out.to_str().unwrap());
    let as_nobody =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", program];

    let mut without = live(&net, &dir, &as_nobody, interface, &["--out", out]);
    let output = without.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let command = format!("sudo setcap cap_net_raw+ep {program}");
    assert!(said.contains(interface) && said.contains(&command), "{said}");

    net.run(0, ["setcap", "cap_net_raw+ep", program]);
    let capture = Live::start(&net, live(&net, &dir, &as_nobody, interface, &["--out", out]));
    for status in &capture.threads() {
        assert!(field(status, "Uid").starts_with("65534\t"));
        assert_eq!(field(status, "CapEff"), NET_RAW);
        assert_eq!(field(status, "NoNewPrivs"), "1");
    }
    net.run(1, ["ping", "-q", "-c", "5", "-i", "0.05", &link.ipv4[0]]);
    let summary = capture.stop();
    assert_eq!(summary["protocols"]["icmp"]["packets"], 10);
    assert!(Path::new(out).join("summary.json").is_file());
}

#[test]
fn a_service_that_was_given_the_capability_alone_is_confined_in_full() {
    let test = "a_service_that_was_given_the_capability_alone";
    let Some(mut net) = Netns::or_skip(test, 2, &["setpriv"]) else { return };
    if !all_there(test) {
        return;
    }
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    let (program, out) = for_nobody(&dir);
    // What tools/flowtap.service has systemd do.
    let as_service = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
        "--bounding-set=-all,+net_raw",
        "--no-new-privs",
        program.to_str().unwrap(),
    ];
    let args = ["--confine", "strict", "--out", out.to_str().unwrap()];
    let capture = Live::start(&net, live(&net, &dir, &as_service, interface, &args));
    for status in &capture.threads() {
        for (set, bits) in [("CapEff", NET_RAW), ("CapInh", "0000000000000000")] {
            assert_eq!(field(status, set), bits, "{set}");
        }
        assert_eq!(field(status, "CapAmb"), "0000000000000000");
        assert_eq!(field(status, "Seccomp"), "2");
    }
    capture.stop();
}

#[cfg(feature = "https")]
#[test]
fn whom_the_system_trusts_is_still_read_for_https() {
    let test = "whom_the_system_trusts";
    let Some(mut net) = Netns::or_skip(test, 2, &[]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    // Without certificates it would not start.
    let args = ["--alert-to", "https://127.0.0.1:9/in"];
    Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args)).stop();
}

#[test]
fn a_signal_a_while_after_the_first_still_ends_it_at_once() {
    let test = "a_signal_a_while_after";
    let Some(mut net) = Netns::or_skip(test, 2, &[]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    // For seconds it tries to tell somebody, who never comes, of an interface that is
    // not there.
    let nobody = format!("unix:{}", dir.path("nobody.sock").display());
    let args = ["-i", "later0", "--alert-to", &nobody];
    let mut capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
    let first = Instant::now();
    for signal in ["INT", "TERM"] {
        capture.running.signal(signal);
    }
    wait_for("somebody tries again", || first.elapsed() > Duration::from_millis(1_500));
    capture.running.signal("TERM");
    let status = capture.running.wait(Duration::from_secs(20));
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status:?}");
}

#[test]
fn root_writes_into_its_own_folders_and_says_why_not_into_others() {
    let test = "root_writes_into_its_own_folders";
    let Some(mut net) = Netns::or_skip(test, 2, &["ping"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    let own = dir.path("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    let (_, others) = for_nobody(&dir);
    let (own, others) = (own.to_str().unwrap(), others.to_str().unwrap());

    let args = ["--out", own, "--record", own];
    let capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
    net.run(1, ["ping", "-q", "-c", "3", "-i", "0.05", &link.ipv4[0]]);
    assert_eq!(capture.stop()["protocols"]["icmp"]["packets"], 6);
    assert!(Path::new(own).join("summary.json").is_file());

    for option in ["--out", "--record"] {
        let mut command = live(&net, &dir, &[FLOWTAP], interface, &[option, others]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        for part in [
            format!("can't write into {others}: "),
            "belongs to user 65534".to_owned(),
            "CAP_DAC_OVERRIDE".to_owned(),
            "--user 65534".to_owned(),
            format!("chown 0 {others}"),
            "--confine off".to_owned(),
        ] {
            assert!(said.contains(&part), "no '{part}' in: {said}");
        }
    }

    // As it says: as that user; not confined.
    for (args, user) in [(["--user", "65534:65534"], "65534\t"), (["--confine", "off"], "0\t")] {
        let args = [&["--out", others][..], &args].concat();
        let capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
        for status in &capture.threads() {
            assert!(field(status, "Uid").starts_with(user), "{status}");
            let groups = field(status, "Groups");
            assert!(user == "0\t" || groups.is_empty(), "{groups}");
            assert_eq!(field(status, "CapEff") == NET_RAW, user != "0\t");
        }
        net.run(1, ["ping", "-q", "-c", "3", "-i", "0.05", &link.ipv4[0]]);
        assert_eq!(capture.stop()["protocols"]["icmp"]["packets"], 6);
    }
    // A folder that it makes is that user's, with those above it, and so is the map.
    let (above, map) = (dir.path("above"), dir.path("map.jsonl"));
    let fresh = above.join("fresh");
    let named = ["--out", fresh.to_str().unwrap(), "--procs-record", map.to_str().unwrap()];
    let args = [&["--user", "65534:65534", "--procs", "polling"][..], &named].concat();
    Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args)).stop();
    assert!(fresh.join("summary.json").is_file());
    for made in [&above, &fresh, &map] {
        assert_eq!(fs::metadata(made).unwrap().uid(), 65534, "{}", made.display());
    }
}

/// Where a receiver in a namespace puts what it gets; see [`receiver`].
const RECEIVED: &str = "FLOWTAP_TEST_RECEIVED";

/// The name server of a namespace (ip-netns(8)), until dropped.
struct NameServer(PathBuf);

impl NameServer {
    fn new(net: &Netns) -> Self {
        let folder = Path::new("/etc/netns").join(net.name(0));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        Self(folder)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // A failure must not hide that of the test.
        let _ = fs::remove_dir_all(&self.0);
        // Only where nothing else is in it.
        let _ = fs::remove_dir("/etc/netns");
    }
}

#[test]
#[ignore = "started by another test, in its namespace"]
fn receiver() {
    let Some(path) = std::env::var_os(RECEIVED) else { return };
    let names = UdpSocket::bind("127.0.0.1:53").unwrap();
    let listener = TcpListener::bind("127.0.0.1:6514").unwrap();
    let mut file = fs::File::create(path).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = names.recv_from(&mut query) {
            // One question: its type stands before its class, at the end where
            // nothing follows (RFC 1035, section 4.1.2).
            let name_end = 12 + query[12..length].iter().position(|&byte| byte == 0).unwrap();
            let wants_ipv4 = query[name_end + 1..name_end + 3] == [0, 1];
            let mut answer = query[..name_end + 5].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(wants_ipv4), 0, 0, 0, 0]);
            if wants_ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
            }
            names.send_to(&answer, from).unwrap();
        }
    });
    let (mut stream, _) = listener.accept().unwrap();
    io::copy(&mut stream, &mut file).unwrap();
}

#[test]
fn alerts_reach_a_receiver_that_has_a_name() {
    let test = "alerts_reach_a_receiver_that_has_a_name";
    let Some(mut net) = Netns::or_skip(test, 2, &["hping3"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let (interface, dir) = (link.names[0].as_str(), Dir::new());
    let _name_server = NameServer::new(&net);
    let got = dir.path("got");
    let itself = std::env::current_exe().unwrap();
    let words = [itself.to_str().unwrap(), "--exact", "program::receiver", "--ignored"];
    let mut receiver = net.command(0, words);
    receiver.env(RECEIVED, &got).stdout(Stdio::null());
    let _receiver = net.spawn(receiver);
    wait_for("the receiver", || got.exists());
    let args = ["--alert-to", "syslog+tcp://alerts.flowtap.test:6514"];
    let capture = Live::start(&net, live(&net, &dir, &[FLOWTAP], interface, &args));
    let flood = ["hping3", "-q", "-S", "-p", "80", "-c", "60000", "-i", "u50", "--rand-source"];
    let mut flood = net.command(1, flood);
    flood.arg(&link.ipv4[0]).stdout(Stdio::null()).stderr(Stdio::null());
    let _flood = net.spawn(flood);
    wait_for("an alert", || text(&fs::read(&got).unwrap()).contains("flood"));
    capture.stop();
}

//! What the watcher of processes gives up, seen from outside, and that it still
//! watches: processes of other users, in other network namespaces.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Dir, text};
use crate::support::netns::{Netns, Running, wait_for};
use crate::support::program::copy_program;
use serde_json::Value;

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

const SYS_PTRACE: u64 = 1 << 19;
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_ADMIN: u64 = 1 << 21;
const NET_ADMIN: u64 = 1 << 12;
const BPF: u64 = 1 << 39;
const SYS_NICE: u64 = 1 << 23;
const WATCHING: u64 = SYS_PTRACE | DAC_READ_SEARCH | SYS_ADMIN | NET_ADMIN;

const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Sends something and rests.
const HOLDER: [&str; 3] = ["bash", "-c", "exec 3<>/dev/udp/127.0.0.1/9; echo >&3; read x"];

/// A namespace, where all of this is possible; else a loud skip.
fn namespace(test: &str) -> Option<Netns> {
    let output = Command::new(FLOWTAP).args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    if report["confinement"]["missing"] != Value::Array(Vec::new()) {
        eprintln!("SKIPPED: this kernel can't confine in full: {test}");
        return None;
    }
    Netns::or_skip(test, 1, &["setpriv", "setcap", "bash"])
}

/// Another user's process with a socket, in a namespace of its own.
fn holder(net: &Netns) -> Running {
    let words = AS_NOBODY.iter().chain(&["--inh-caps=-all"]).chain(&HOLDER);
    let mut command = net.command(0, words);
    command.stdin(Stdio::piped());
    let running = net.spawn(command);
    let of = format!("/proc/{}", running.child.id());
    // What goes before the program, `ip netns exec`, has files of its own and is still
    // in another namespace.
    let begun = || fs::read_link(format!("{of}/exe")).is_ok_and(|exe| exe.ends_with("bash"));
    wait_for("its socket", || begun() && fs::read_link(format!("{of}/fd/3")).is_ok());
    running
}

fn status(path: impl AsRef<Path>, name: &str) -> String {
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// A capture on loopback with its watcher, which records.
struct Live {
    running: Running,
    watcher: u32,
    map: PathBuf,
    said: Arc<Mutex<String>>,
}

impl Live {
    fn start(dir: &Dir, program: &[&str], args: &[&str]) -> Self {
        let map = dir.path("map.jsonl");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["live", "-i", "lo", "--control", "none"]);
        command.arg("--procs-record").arg(&map).args(args);
        command.env("XDG_STATE_HOME", dir.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running { child: command.spawn().unwrap() };
        let mut said = BufReader::new(running.child.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("listening on") {
            assert!(said.read_line(&mut lines).unwrap() > 0, "does not listen: {lines}");
        }
        let all = Arc::new(Mutex::new(lines));
        let heard = Arc::clone(&all);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let own = running.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        Self { running, watcher: children.trim().parse().unwrap(), map, said: all }
    }

    fn says(&self, text: &str) -> bool {
        self.said.lock().unwrap().contains(text)
    }

    fn tells(&self, fits: impl Fn(&Value) -> bool) -> bool {
        let map = fs::read_to_string(&self.map).unwrap();
        // The last line may be half there.
        let whole = map.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().any(|line| fits(&serde_json::from_str(line).unwrap()))
    }

    /// Waits until it has told all that there is to a process in a namespace.
    fn wait_for_all_of(&self, pid: u32) {
        let netns = fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino();
        wait_for("the process", || {
            self.tells(|event| {
                let is_exec =
                    ["process.start", "process.exec"].contains(&event["event"].as_str().unwrap());
                is_exec
                    && event["pid"] == pid
                    && event["exe"].as_str().is_some_and(|exe| exe.ends_with("/bash"))
                    && event["args"].to_string().contains("/dev/udp/127.0.0.1/9")
            })
        });
        wait_for("its socket", || {
            self.tells(|event| event["process"]["pid"] == pid && event["netns"] == netns)
        });
        wait_for("its namespace's addresses", || {
            self.tells(|event| event["event"] == "address.up" && event["netns"] == netns)
        });
    }

    fn stop(mut self) {
        self.running.signal("INT");
        assert!(self.running.wait(Duration::from_secs(20)).success());
        self.is_over();
    }

    fn is_over(&self) {
        let watcher = PathBuf::from(format!("/proc/{}/stat", self.watcher));
        // Whoever takes orphans may leave it as a zombie for a while.
        let ended = |stat: String| stat.rsplit(')').next().unwrap().starts_with(" Z");
        wait_for("the watcher's end", || fs::read_to_string(&watcher).map_or(true, ended));
    }
}

#[test]
fn each_thread_of_a_watcher_keeps_what_watching_takes_and_it_watches() {
    let Some(net) = namespace("each_thread_of_a_watcher") else { return };
    for (provider, capabilities) in
        [("ebpf", WATCHING | BPF), ("sock-diag", WATCHING | SYS_NICE), ("polling", WATCHING)]
    {
        if provider == "ebpf" && !has_ebpf() {
            continue;
        }
        let dir = Dir::new();
        let early = holder(&net);
        let live = Live::start(&dir, &[FLOWTAP], &["--procs", provider, "--confine", "strict"]);
        let late = holder(&net);
        live.wait_for_all_of(early.child.id());
        live.wait_for_all_of(late.child.id());
        let tasks = fs::read_dir(format!("/proc/{}/task", live.watcher)).unwrap();
        let threads: Vec<PathBuf> = tasks.map(|task| task.unwrap().path().join("status")).collect();
        assert!(threads.len() > 2, "{provider}: providers");
        for thread in threads {
            for set in ["CapEff", "CapPrm", "CapBnd"] {
                let held = u64::from_str_radix(&status(&thread, set), 16).unwrap();
                assert_eq!(held, capabilities, "{provider} {set}: {held:x}");
            }
            for set in ["CapInh", "CapAmb"] {
                assert_eq!(status(&thread, set), "0000000000000000", "{provider} {set}");
            }
            assert_eq!(status(&thread, "NoNewPrivs"), "1");
            assert_eq!(status(&thread, "Seccomp"), "2", "filters");
        }
        live.stop();
    }
}

fn has_ebpf() -> bool {
    let output = Command::new(FLOWTAP).args(["procs", "show", "--procs", "ebpf"]).output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED: no eBPF here: {}", text(&output.stderr));
    }
    output.status.success()
}

/// Runs attempts, confined as a watcher is: `None` where it went well, else the
/// error.
fn attempts(program: &[&str], options: &[&str], attempts: &[String]) -> Vec<Option<String>> {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["confined", "--watcher"]).args(options).args(attempts);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    let results = text(&output.stdout);
    let results = results.lines().skip(1).map(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        result["error"].as_str().map(str::to_owned)
    });
    results.collect()
}

#[test]
fn each_capability_that_is_kept_is_missed_without_it() {
    let Some(net) = namespace("each_capability_that_is_kept") else { return };
    let holder = holder(&net);
    let pid = holder.child.id();
    let tried = ["exe", "sockets", "network"].map(|what| format!("{what}={pid}"));
    let tried = [&tried[..], &["connections=1".to_owned()]].concat();
    let strict = ["--confine", "strict"];
    assert_eq!(attempts(&[FLOWTAP], &strict, &tried), [None, None, None, None]);
    let missed_without = |capability: &str| -> Vec<bool> {
        let bounding = format!("--bounding-set=-{capability}");
        let program = ["setpriv", &bounding, "--inh-caps=-all", FLOWTAP];
        attempts(&program, &strict, &tried).iter().map(Option::is_some).collect()
    };
    assert_eq!(missed_without("sys_ptrace"), [true, true, true, false]);
    assert_eq!(missed_without("dac_read_search"), [false, true, false, false]);
    assert_eq!(missed_without("sys_admin"), [false, false, true, false]);
    assert_eq!(missed_without("net_admin"), [false, false, false, true]);
    // What other captures are bound by forbids it.
    let mut command = Command::new(FLOWTAP);
    let output = command.args(["confined", &tried[0]]).output().unwrap();
    assert!(text(&output.stdout).contains("Permission denied"), "{}", text(&output.stdout));
}

#[test]
fn a_watcher_can_neither_write_nor_connect_nor_reach_others() {
    if namespace("a_watcher_can_neither_write").is_none() {
        return;
    }
    let dir = Dir::new();
    let at = |name: &str| dir.path(name).display().to_string();
    dir.write("kept", b"x");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closed = [
        format!("create={}", at("new")),
        format!("create={}", at("kept")),
        "create=/proc/self/oom_score_adj".to_owned(),
        format!("remove={}", at("kept")),
        format!("rename={0}:{0}2", at("kept")),
        format!("unix={}", at("socket")),
        format!("connect={address}"),
        "bind=127.0.0.1:0".to_owned(),
        format!("signal={}", std::process::id()),
        "spawn=/bin/true".to_owned(),
    ];
    for (attempt, result) in closed.iter().zip(attempts(&[FLOWTAP], &[], &closed)) {
        let result = result.unwrap_or_else(|| panic!("{attempt} is not refused"));
        assert!(result.contains("not implemented"), "{attempt}: {result}");
    }
    let open = [format!("open={}", at("kept")), format!("list={}", at("")), "thread=1".to_owned()];
    assert_eq!(attempts(&[FLOWTAP], &[], &open), [None, None, None]);
    // Pods are asked for.
    let connect = [format!("connect={address}"), "bind=127.0.0.1:0".to_owned()];
    let results = attempts(&[FLOWTAP], &["--fetches"], &connect);
    assert_eq!(results[0], None);
    assert!(results[1].is_some(), "it waits for nobody");
    for attempt in ["exec=/bin/true", "mount=/no/such/folder", "module=1"] {
        let args = ["confined", "--watcher", attempt];
        let ended = Command::new(FLOWTAP).args(args).stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGSYS), "{attempt}");
    }
}

#[test]
fn a_watcher_ends_with_its_capture_however_that_ends() {
    if namespace("a_watcher_ends_with_its_capture").is_none() {
        return;
    }
    let dir = Dir::new();
    let mut live = Live::start(&dir, &[FLOWTAP], &["--procs", "auto"]);
    assert!(Path::new(&format!("/proc/{}", live.watcher)).exists());
    live.running.signal("KILL");
    live.running.wait(Duration::from_secs(20));
    live.is_over();

    // And a capture goes on without its watcher, and says so.
    let live = Live::start(&dir, &[FLOWTAP], &["--procs", "polling"]);
    assert!(!live.says("is gone"));
    let watcher = live.watcher.to_string();
    assert!(Command::new("kill").args(["-KILL", &watcher]).status().unwrap().success());
    wait_for("what it says", || live.says("the watcher of processes is gone"));
    live.stop();
}

#[test]
fn pods_are_fetched_by_a_watcher_that_is_confined() {
    if namespace("pods_are_fetched").is_none() {
        return;
    }
    let dir = Dir::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://localhost:{}/pods", server.local_addr().unwrap().port());
    let args = ["--procs", "polling", "--confine", "strict", "--pods", &url];
    let live = Live::start(&dir, &[FLOWTAP], &args);
    let mut client = None;
    wait_for("a request", || {
        client = client.take().or_else(|| server.accept().ok());
        client.is_some()
    });
    let (client, _) = client.unwrap();
    client.set_nonblocking(false).unwrap();
    let mut head = String::new();
    BufReader::new(client).read_line(&mut head).unwrap();
    assert!(head.starts_with("GET /pods "), "{head}");
    // The client is gone before an answer.
    wait_for("what it says", || live.says(&format!("the pod list {url}")));
    live.stop();
}

#[test]
fn as_another_user_it_still_watches_everybody() {
    let Some(net) = namespace("as_another_user") else { return };
    let dir = Dir::new();
    let (args, holder) = (["--procs", "auto", "--user", "65533:65533"], holder(&net));
    let live = Live::start(&dir, &[FLOWTAP], &args);
    let own = format!("/proc/{}/status", live.watcher);
    assert!(status(&own, "Uid").starts_with("65533\t65533\t65533"));
    assert_eq!(u64::from_str_radix(&status(&own, "CapEff"), 16).unwrap() & WATCHING, WATCHING);
    live.wait_for_all_of(holder.child.id());
    // Root's too.
    let us = std::process::id();
    wait_for("this test", || {
        live.tells(|event| event["pid"] == us && event["exe"].as_str().is_some())
    });
    live.stop();
}

#[test]
fn the_programs_own_capabilities_decide_how_an_ordinary_user_watches() {
    let Some(net) = namespace("the_programs_own_capabilities") else { return };
    let dir = Dir::new();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path("flowtap");
    copy_program(FLOWTAP, &program);
    let program = program.to_str().unwrap();
    let as_user = [&AS_NOBODY[..], &["--inh-caps=-all", program]].concat();
    let holder = holder(&net);

    let set = |capabilities: &str| net.run(0, ["setcap", &format!("{capabilities}+ep"), program]);
    set("cap_net_raw");
    let mut command = Command::new(as_user[0]);
    command.args(&as_user[1..]).args(["live", "-i", "lo", "--procs", "auto", "--control", "none"]);
    command.env("XDG_STATE_HOME", dir.path("state"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for part in ["processes can't be watched", "cap_sys_ptrace", "sudo setcap ", program] {
        assert!(said.contains(part), "no '{part}' in {said}");
    }

    let few = "cap_net_raw,cap_sys_ptrace,cap_dac_read_search,cap_sys_admin";
    for (capabilities, strongest) in [
        ("cap_net_raw,cap_sys_ptrace,cap_dac_read_search", "sock_diag"),
        (&format!("{few},cap_net_admin,cap_bpf,cap_perfmon") as &str, "ebpf"),
    ] {
        if strongest == "ebpf" && !has_ebpf() {
            continue;
        }
        set(capabilities);
        let live = Live::start(&dir, &as_user, &["--procs", "auto"]);
        wait_for("its provider", || {
            live.tells(|event| event["event"] == "map.provider" && event["method"] == strongest)
        });
        if strongest == "ebpf" {
            live.wait_for_all_of(holder.child.id());
        } else {
            let us = std::process::id();
            wait_for("this test", || live.tells(|event| event["pid"] == us));
        }
        live.stop();
    }
}

#[test]
fn a_recorder_is_confined_as_a_watcher_is() {
    let Some(net) = namespace("a_recorder_is_confined") else { return };
    let (dir, holder) = (Dir::new(), holder(&net));
    let words = ["procs", "record", "-o", "map.jsonl", "--procs", "polling", "--confine", "strict"];
    let mut command = dir.command(words);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut running = Running { child: command.spawn().unwrap() };
    let pid = holder.child.id();
    let told = || fs::read_to_string(dir.path("map.jsonl")).unwrap_or_default();
    wait_for("the process", || told().contains(&format!("\"pid\":{pid},")));
    let held = status(format!("/proc/{}/status", running.child.id()), "CapEff");
    assert_eq!(u64::from_str_radix(&held, 16).unwrap(), WATCHING);
    running.signal("INT");
    assert!(running.wait(Duration::from_secs(20)).success());
}

/// Value of a setting that the unit has in a comment, for --procs.
fn of_the_unit(setting: &str) -> String {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/flowtap.service");
    let unit = fs::read_to_string(unit).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix(&format!("#{setting}=")));
    line.unwrap_or_else(|| panic!("no {setting}")).to_owned()
}

#[test]
fn what_the_unit_says_is_enough_for_a_service() {
    let Some(net) = namespace("what_the_unit_says") else { return };
    let holder = holder(&net);
    let capabilities = of_the_unit("CapabilityBoundingSet").to_lowercase();
    assert_eq!(capabilities, of_the_unit("AmbientCapabilities").to_lowercase());
    let given = capabilities.split(' ').map(|name| format!(",+{}", &name["cap_".len()..]));
    let given = format!("-all,+net_raw{}", given.collect::<String>());
    let sets = ["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}={given}"));
    let dir = Dir::new();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path("flowtap");
    copy_program(FLOWTAP, &program);
    let sets = sets.each_ref().map(String::as_str);
    let after = ["--no-new-privs", program.to_str().unwrap()];
    let as_service = [&AS_NOBODY[..], &sets, &after].concat();
    let live = Live::start(&dir, &as_service, &["--procs", "auto", "--confine", "strict"]);
    live.wait_for_all_of(holder.child.id());
    let held = status(format!("/proc/{}/status", live.running.child.id()), "CapEff");
    assert_eq!(held, "0000000000002000", "the capture has CAP_NET_RAW alone");
    live.stop();
}

#[test]
fn a_recorded_map_that_is_full_can_be_read() {
    if namespace("a_recorded_map_that_is_full").is_none() {
        return;
    }
    let dir = Dir::new();
    let args = ["--procs", "polling", "--procs-record-size", "16KiB"];
    let live = Live::start(&dir, &[FLOWTAP], &args);
    wait_for("what it says", || live.says("has its full size"));
    let map = live.map.clone();
    live.stop();
    assert!(fs::metadata(&map).unwrap().len() <= 16 << 10);
    let capture = crate::common::captures().join("web.pcap");
    let words: [&OsStr; 3] = ["--procs".as_ref(), map.as_ref(), capture.as_ref()];
    assert!(dir.summary(words)["flows"].is_u64());
}

//! What watching socket tables costs and catches: prints figures.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::host_watch::Watch;
use flowtap::host::event::{Socket, What};
use flowtap::host::provider::polling::Polling;
use flowtap::host::provider::proc::{ProcConnector, ProcessWatch};
use flowtap::host::provider::sock_diag::{Settings, SockDiag, WatchedProcesses};

fn connector() -> WatchedProcesses {
    WatchedProcesses::new(ProcessWatch::new(Box::new(ProcConnector::open().unwrap())))
}

/// Compiles a small static program.
fn compile(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (text, tool) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&text, source).unwrap();
    let gcc = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&tool).arg(&text).status();
    assert!(gcc.unwrap().success());
    tool
}

/// Waits, sends one datagram, says its number and port, waits, ends.
const SEND: &str = r#"#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
int main(int n, char **v) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)}, me;
    socklen_t size = sizeof me;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    usleep(1000 * atoi(v[1]));
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(s, "x", 1, 0, (void *)&to, sizeof to);
    getsockname(s, (void *)&me, &size);
    printf("%d %d\n", getpid(), ntohs(me.sin_port));
    fflush(stdout);
    usleep(1000 * atoi(v[2]));
    return 0;
}
"#;

/// Many processes with some sockets each, until its input ends. With a third
/// argument: short processes, so many a second.
const CROWD: &str = r#"#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
int main(int n, char **v) {
    int processes = atoi(v[1]), sockets = atoi(v[2]);
    if (n > 3) {
        int rate = atoi(v[3]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        puts("ready"); fflush(stdout);
        for (;;) {
            pid_t child = fork();
            if (!child) { execl("/bin/true", "true", NULL); _exit(1); }
            waitpid(child, NULL, 0);
            usleep(1000000 / rate);
        }
    }
    pid_t parent = getpid();
    int ready[2];
    pipe(ready);
    for (int p = 0; p < processes; p++) {
        if (fork()) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        for (int i = 0; i < sockets; i++) {
            struct sockaddr_in me = {.sin_family = AF_INET};
            me.sin_addr.s_addr = htonl(INADDR_LOOPBACK + p % 8);
            int s = socket(AF_INET, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
            if (bind(s, (void *)&me, sizeof me)) { perror("bind"); _exit(1); }
            if (i % 2 == 0 && listen(s, 1)) { perror("listen"); _exit(1); }
        }
        write(ready[1], "x", 1);
        pause();
    }
    char byte;
    for (int p = 0; p < processes; p++) read(ready[0], &byte, 1);
    puts("ready"); fflush(stdout);
    read(0, &byte, 1);
    return 0;
}
"#;

/// Seconds of processor time of this program so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1048576.0
}

fn start(tool: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(tool);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    child
}

/// Share of a processor over some seconds.
fn share(seconds: u64) -> f64 {
    let before = cpu_seconds();
    std::thread::sleep(Duration::from_secs(seconds));
    (cpu_seconds() - before) / seconds as f64 * 100.0
}

/// Time, memory and processor of a full map, at rest and with short processes.
#[test]
#[ignore = "measures"]
fn cost_of_a_full_map() {
    if ProcConnector::open().is_err() {
        return eprintln!("SKIP: no process connector");
    }
    let folder = tempfile::tempdir().unwrap();
    let tool = compile(folder.path(), "crowd", CROWD);
    for (processes, sockets) in [(1, 10), (5_000, 10), (100, 500)] {
        let (p, s) = (processes.to_string(), sockets.to_string());
        let mut crowd = start(&tool, &[&p, &s]);
        for exact in [true, false] {
            let memory = resident_mib();
            let (began, cpu) = (Instant::now(), cpu_seconds());
            let watch = if exact {
                Watch::start(SockDiag::new(Settings::default(), connector()))
            } else {
                Watch::start(Polling::new(Duration::from_secs(1)))
            };
            let wanted = processes * sockets;
            while watch.events().iter().filter(|event| matches!(&event.what, What::SocketOpen(socket) if socket.process.is_some())).count() < wanted {
                assert!(began.elapsed() < Duration::from_secs(60), "not all told");
                std::thread::sleep(Duration::from_millis(10));
            }
            let (time, cpu) = (began.elapsed(), cpu_seconds() - cpu);
            println!(
                "{processes} processes, {sockets} sockets each, connector {exact}: map in {time:.2?} ({cpu:.2} s CPU), {:.0} MiB more (events kept by the test: {})",
                resident_mib() - memory,
                watch.events().len()
            );
            let rest = share(8);
            let mut short = start(&tool, &["0", "0", "100"]);
            let busy = share(8);
            short.kill().unwrap();
            short.wait().unwrap();
            println!(
                "  CPU at rest {rest:.1} %, with up to 100 short processes a second {busy:.1} %"
            );
        }
        drop(crowd.stdin.take());
        crowd.wait().unwrap();
    }
}

/// Share of one-shot senders that were told of with their very process.
#[test]
#[ignore = "measures"]
fn share_of_one_shot_senders_caught() {
    if ProcConnector::open().is_err() {
        return eprintln!("SKIP: no process connector");
    }
    let folder = tempfile::tempdir().unwrap();
    let tool = compile(folder.path(), "send", SEND);
    let python = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.sendto(b'x',('127.0.0.1',9))\nprint(os.getpid(),s.getsockname()[1],flush=True)\ns.close()";
    let command = |kind: &str| match kind {
        "python" => {
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-S", "-c", python]);
            command
        }
        other => {
            let (before, after) = other.split_once('+').unwrap();
            let mut command = Command::new(&tool);
            command.args([before, after]);
            command
        }
    };
    let schedules: [(&str, Vec<u64>); 3] = [
        ("0,1,3,10,30", vec![0, 1, 3, 10, 30]),
        (
            "each 2 ms to 20, then 25,30,40,60",
            vec![0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 25, 30, 40, 60],
        ),
        ("0,1,3,6,10,15,20,30,45", vec![0, 1, 3, 6, 10, 15, 20, 30, 45]),
    ];
    for (name, ages) in schedules {
        let settings = Settings {
            ages: ages.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            ..Settings::default()
        };
        for kind in ["python", "0+0", "0+10", "10+0", "5+5", "25+25"] {
            let watch = Watch::start(SockDiag::new(settings.clone(), connector()));
            std::thread::sleep(Duration::from_millis(500));
            let mut sent = Vec::new();
            for _ in 0..100 {
                let mut child = command(kind).stdout(Stdio::piped()).spawn().unwrap();
                let mut line = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                child.wait().unwrap();
                let numbers: Vec<u32> =
                    line.split_whitespace().map(|number| number.parse().unwrap()).collect();
                sent.push((numbers[0], u16::try_from(numbers[1]).unwrap()));
            }
            std::thread::sleep(Duration::from_millis(1500));
            let events = watch.events();
            // How the strongest claim on the port names the sender.
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            // Ports that two senders had say nothing.
            let once = |port| sent.iter().filter(|&&(_, other)| other == port).count() == 1;
            for &(pid, port) in sent.iter().filter(|&&(_, port)| once(port)) {
                let claim = events
                    .iter()
                    .filter_map(|event| match &event.what {
                        What::SocketOpen(socket)
                            if socket.local_port == port && socket.protocol == 17 =>
                        {
                            Some(socket)
                        }
                        _ => None,
                    })
                    .max_by(|a, b| a.basis.certainty().total_cmp(&b.basis.certainty()));
                let how = claim.map_or_else(
                    || "missed".to_owned(),
                    |socket: &Socket| {
                        let first = socket.process.is_some_and(|id| id.pid == pid);
                        let among = socket.shared_with.iter().any(|id| id.pid == pid);
                        let place = match (first, among, socket.shared_with.is_empty()) {
                            (true, _, true) => "alone",
                            (true, _, false) => "first",
                            (_, true, _) => "among",
                            _ => "WRONG",
                        };
                        format!("{:?} {place}", socket.basis)
                    },
                );
                *counts.entry(how).or_default() += 1;
            }
            println!("{name:34} {kind:7} {counts:?}");
        }
    }
}

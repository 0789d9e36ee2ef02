//! What `live` wrote, `read` writes again from the recording and the map.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Dir, text};
use crate::lab::{Lab, written};
use crate::support::container::{Container, ContainerOptions};
use crate::support::netns::{LinkOptions, Running};
use crate::watched::{PYTHON, Watched, dnsmasq, has_ebpf, in_time, nginx, run, serve};

#[test]
fn records_of_live_come_again_from_the_recorded_map() {
    let test = "parity by eBPF";
    if has_ebpf(test) {
        parity(test, "ebpf");
    }
}

#[test]
fn records_of_live_come_again_from_the_recorded_tables() {
    parity("parity by tables", "sock-diag");
}

fn parity(test: &str, how: &str) {
    let programs = ["nginx", "curl", "dnsmasq", "dig", "ping", "hping3", "iperf3"];
    in_time(|| {
        let lab = Lab::or_skip(test, &programs, LinkOptions::default());
        lab.is_none_or(|lab| is_same(&lab, how))
    });
}

/// False when it says nothing, since something was late or lost.
fn is_same(lab: &Lab, how: &str) -> bool {
    let there = lab.link.ipv4[1].clone();
    let _web = nginx(lab, &there);
    let _servers: [Running; 2] =
        [dnsmasq(lab, &there), serve(&lab.net, 1, &["iperf3", "-s", "-B", &there], 5201)];
    let ring = lab.dir.path("ring");
    let idle = ["--udp-idle", "1s", "--icmp-idle", "1s", "--record", ring.to_str().unwrap()];
    let watched = Watched::start(lab, (1, &[lab.interface()]), how, &idle);
    let map = watched.map.clone();
    traffic(lab, &there);
    let live = watched.stop();
    if !live.is_whole() {
        return false;
    }
    let again = lab.dir.path("again");
    let mut args = vec!["read", "--json", "--udp-idle", "1s", "--icmp-idle", "1s"];
    args.extend(["--procs", map.to_str().unwrap(), "--out", again.to_str().unwrap()]);
    args.push(ring.to_str().unwrap());
    let output = Dir::new().run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing to warn of");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = live.text.matches("\"src_host\":{\"process\"").count();
    assert!(named > 40, "{named} with a process: {}", live.summary["coverage"]);
    same(&live.text, &written(&again, "flows"));
    assert_eq!(live.summary["alerts"], summary["alerts"]);
    for figure in ["attributed", "unattributed", "no_host", "in_workloads", "late_seconds"] {
        assert_eq!(live.summary["coverage"][figure], summary["coverage"][figure], "{figure}");
    }
    // The same without records.
    args.retain(|arg| *arg != "--out" && *arg != again.to_str().unwrap());
    let output = Dir::new().run(args);
    let bare: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(bare["coverage"], summary["coverage"]);
    assert_eq!(bare["alerts"], summary["alerts"]);
    true
}

/// The same bytes; else the first record that is not.
fn same(live: &str, read: &str) {
    if live == read {
        return;
    }
    for (live, read) in live.lines().zip(read.lines()) {
        if live != read {
            let [live, read] = [live, read].map(|line| {
                let value: Value = serde_json::from_str(line).unwrap();
                serde_json::to_string_pretty(&value).unwrap()
            });
            let differs = |(live, read): &(&str, &str)| live != read;
            let first: Vec<_> = live.lines().zip(read.lines()).filter(differs).take(9).collect();
            panic!("live and read: {first:#?}\nlive: {live}\nread: {read}");
        }
    }
    panic!("{} records live, {} read", live.lines().count(), read.lines().count());
}

const SEND: &str = "\
import os,socket,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.connect((sys.argv[1],40001))
for n in range(3):
    if os.fork()==0:
        s.send(b'x'); os._exit(0)
    os.wait()";

/// Programs of every kind, many at once, some in a container.
fn traffic(lab: &Lab, there: &str) {
    let url = |path: &str| format!("http://{there}/{path}");
    let (small, large) = (url("small"), url("large"));
    let server = format!("@{there}");
    let quiet = |words: &[&str]| {
        let mut command = lab.net.command(0, words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        lab.net.spawn(command)
    };
    let container = Container::available()
        .is_ok()
        .then(|| Container::start(&lab.net, 0, ContainerOptions::default()));
    let mut long = vec![
        quiet(&["curl", "-s", "-o", "/dev/null", &large]),
        quiet(&["iperf3", "-u", "-b", "1M", "-t", "3", "-c", there]),
        quiet(&["ping", "-q", "-c4", there]),
    ];
    for n in 0..8 {
        let name = format!("n{n}.lab.test");
        let mut short = vec![
            quiet(&["curl", "-s", "-o", "/dev/null", &small]),
            quiet(&["dig", &server, "+short", "+tries=1", &name]),
            quiet(&["ping", "-q", "-c1", there]),
        ];
        run(&lab.net, 0, &[PYTHON, "-c", SEND, there]);
        if let Some(container) = &container {
            container.run(["ping", "-q", "-c1", there]);
            container.run(["wget", "-q", "-O", "/dev/null", &small]);
        }
        end(&mut short);
    }
    quiet(&["hping3", "-q", "--udp", "-p", "40002", "-c", "500", "-i", "u200", there])
        .wait(Duration::from_secs(20));
    end(&mut long);
    // Flows end while nothing comes, and the last is cut off by the end.
    thread::sleep(Duration::from_millis(2500));
    quiet(&["curl", "-s", "-o", "/dev/null", &small]).wait(Duration::from_secs(20));
    assert!(fs::metadata(lab.dir.path("map.jsonl")).unwrap().len() > 0);
}

fn end(programs: &mut [Running]) {
    for program in programs {
        program.wait(Duration::from_secs(20));
    }
}

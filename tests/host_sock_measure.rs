//! What watching socket tables costs and catches: prints figures.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod host_watch;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flowtap::host::event::{Socket, What};
use flowtap::host::provider::sock_diag::{Settings, SockDiag};
use host_watch::{Connector, Watch};

struct Sender {
    child: Child,
}

/// Share of one-shot senders that were told of with their very process.
#[test]
#[ignore = "measures"]
fn share_of_one_shot_senders_caught() {
    let connector = match Connector::open() {
        Ok(connector) => connector,
        Err(why) => return eprintln!("SKIP: {why}"),
    };
    drop(connector);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("send.c");
    std::fs::write(
        &source,
        r#"#include <stdio.h>
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
"#,
    )
    .unwrap();
    let tool = folder.path().join("send");
    let gcc = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&tool).arg(&source).status();
    assert!(gcc.unwrap().success());
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
    let schedules: [(&str, Vec<u64>); 4] = [
        ("0,1,3,10,30", vec![0, 1, 3, 10, 30]),
        ("each 2 ms to 20, then 25,30,40,60", vec![0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 25, 30, 40, 60]),
        ("each ms to 60", (0..60).collect()),
        ("none", vec![]),
    ];
    for (name, ages) in schedules {
        let settings = Settings {
            ages: ages.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            ..Settings::default()
        };
        for kind in ["python", "0+0", "0+10", "10+0", "5+5", "30+0"] {
            let watch = Watch::start(SockDiag::new(settings.clone(), Connector::open().unwrap()));
            std::thread::sleep(Duration::from_millis(500));
            let mut sent = Vec::new();
            for _ in 0..100 {
                let mut sender = Sender {
                    child: command(kind).stdout(Stdio::piped()).spawn().unwrap(),
                };
                let mut line = String::new();
                BufReader::new(sender.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                sender.child.wait().unwrap();
                let numbers: Vec<u32> =
                    line.split_whitespace().map(|number| number.parse().unwrap()).collect();
                sent.push((numbers[0], u16::try_from(numbers[1]).unwrap()));
            }
            std::thread::sleep(Duration::from_millis(1500));
            let events = watch.events();
            let (mut sole, mut shared, mut wrong) = (0, 0, 0);
            for &(pid, port) in &sent {
                let claims: Vec<_> = events
                    .iter()
                    .filter_map(|event| match &event.what {
                        What::SocketOpen(socket)
                            if socket.local_port == port && socket.protocol == 17 =>
                        {
                            Some(socket)
                        }
                        _ => None,
                    })
                    .collect();
                let names = |socket: &&&Socket| {
                    socket.process.is_some_and(|id| id.pid == pid)
                };
                if claims.iter().any(|socket| names(&socket) && socket.shared_with.is_empty()) {
                    sole += 1;
                } else if claims.iter().any(|socket| {
                    names(&socket) || socket.shared_with.iter().any(|id| id.pid == pid)
                }) {
                    shared += 1;
                } else if !claims.is_empty() {
                    wrong += 1;
                }
            }
            println!("{name:40} {kind:8} sole {sole} shared {shared} wrong {wrong} of {}", sent.len());
        }
    }
}

//! `flowtap top` in a real terminal (tmux), over traffic between network
//! namespaces.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod common;
mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, text};
use serde_json::Value;
use support::netns::{Link, LinkOptions, Netns, Running, wait_for};

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

struct Lab {
    net: Netns,
    link: Link,
    dir: Dir,
}

impl Lab {
    fn or_skip(test: &str) -> Option<Self> {
        let mut net = Netns::or_skip(test, 2, &["tmux", "ping"])?;
        let link = net.join(0, 1, LinkOptions::default());
        Some(Self { net, link, dir: Dir::new() })
    }

    /// Ten echo requests a second, each answered, of 56 bytes of data.
    fn ping(&self) -> Running {
        let mut ping = self.net.command(0, ["ping", "-q", "-i", "0.1", &self.link.ipv4[1]]);
        ping.stdout(Stdio::null());
        self.net.spawn(ping)
    }

    fn live(&self, socket: &Path) -> Running {
        let mut live = self.net.command(1, [FLOWTAP, "live", "-q", "-i", &self.link.names[1]]);
        live.arg("--control").arg(socket);
        live.env("XDG_STATE_HOME", self.dir.path("state")).stderr(Stdio::null());
        let running = self.net.spawn(live);
        wait_for("the control socket", || socket.exists());
        running
    }

    fn terminal(&self, columns: u16, rows: u16, args: &[&str]) -> Tmux<'_> {
        Tmux::start(self, columns, rows, args)
    }
}

/// A terminal with a shell that runs flowtap; it ends when dropped.
struct Tmux<'a> {
    lab: &'a Lab,
}

impl<'a> Tmux<'a> {
    fn start(lab: &'a Lab, columns: u16, rows: u16, args: &[&str]) -> Self {
        let tmux = Self { lab };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // A shell, so that what is on the screen afterwards can be seen.
        tmux.run(&["-f/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "sh"]);
        let mut command = format!("{FLOWTAP} top");
        args.iter().for_each(|arg| command.push_str(&format!(" {arg}")));
        tmux.run(&["send-keys", &format!("PS1=; clear; {command}; echo \"status=$?\""), "Enter"]);
        tmux
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut command = self.lab.net.command(1, ["tmux", "-u", "-S"]);
        command.arg(self.lab.dir.path("tmux")).args(args);
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.env_remove("TMUX").output().unwrap()
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits for a screen that has all of these.
    fn wait_for(&self, wanted: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let screen = self.screen();
            let missing: Vec<_> = wanted.iter().filter(|text| !screen.contains(*text)).collect();
            if missing.is_empty() {
                return screen;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "no {missing:?} in\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        // A failure must not hide that of the test.
        let _ = self.command(&["kill-server"]);
    }
}

const PANELS: [&str; 6] =
    ["Rates", "Interfaces", "Hosts", "Conversations", "Payload sizes", "Alerts: 0 open of 0"];

#[test]
fn an_interface_is_shown_at_both_sizes_and_the_keys_work() {
    let Some(lab) = Lab::or_skip("an_interface_is_shown") else { return };
    let top = lab.terminal(80, 24, &["-i", &lab.link.names[1], "--workers", "2"]);
    top.wait_for(&PANELS);
    // Forty requests and as many answers, each of 98 bytes: within the window.
    let far = lab.link.ipv4[1].as_str();
    lab.net.run(0, ["ping", "-q", "-c", "40", "-i", "0.05", far]);
    let figures = ["3.9 kB   3.9 kB", "icmp ", "p50 56 p90 56 p99 56", &lab.link.names[1]];
    top.wait_for(&figures);
    top.keys(&["Space"]);
    let small = top.wait_for(&["PAUSED"]);
    for address in &lab.link.ipv4 {
        let row = |line: &&str| line.starts_with(address) && line.contains("3.9 kB   3.9 kB");
        assert!(small.lines().any(|line| row(&line)), "{address} in\n{small}");
    }
    assert!(PANELS.iter().chain(&figures).all(|wanted| small.contains(wanted)), "{small}");
    assert!(small.lines().all(|line| line.chars().count() <= 80), "{small}");
    assert_eq!(small.lines().count(), 24);

    top.keys(&["h"]);
    top.wait_for(&["this help"]);
    top.keys(&["Escape"]);
    top.keys(&["Tab"]);
    top.wait_for(&["─> Conversations"]);
    top.keys(&[">"]);
    top.wait_for(&["by packets"]);
    top.keys(&["/"]);
    top.keys(&["nobody"]);
    top.wait_for(&["/nobody_", "nothing with this text"]);
    top.keys(&["Escape"]);
    top.wait_for(&["h:help"]);
    top.keys(&["Enter"]);
    top.wait_for(&["protocol       icmp", "one to other   40 packets, 3.9 kB"]);
    top.keys(&["Escape"]);

    top.run(&["resize-window", "-x", "200", "-y", "60"]);
    let wide = top.wait_for(&["64-127", "no payload", "32-63 █", "PAUSED"]);
    assert!(PANELS.iter().all(|panel| wide.contains(panel)), "{wide}");
    assert_eq!(wide.lines().count(), 60);
    println!("{small}\n{wide}");
    top.keys(&["Space"]);
    top.wait_for(&["Space:pause", "most "]);

    top.keys(&["q"]);
    let after = top.wait_for(&["status=0"]);
    assert!(!after.contains("Rates"), "the terminal is given back:\n{after}");
}

#[test]
fn a_service_is_watched_lost_and_found_again() {
    let Some(lab) = Lab::or_skip("a_service_is_watched") else { return };
    let _ping = lab.ping();
    let socket = lab.dir.path("c.sock");
    let path = socket.to_str().unwrap().to_owned();
    let mut live = lab.live(&socket);
    let top = lab.terminal(80, 24, &["--control", &path]);
    let far = lab.link.ipv4[1].clone();
    top.wait_for(&["icmp ", "p50 56", &far]);

    // Killed: its socket stays, and nobody answers there.
    live.signal("KILL");
    live.wait(Duration::from_secs(10));
    assert!(socket.exists());
    top.wait_for(&["no flowtap answers at"]);
    let again = lab.live(&socket);
    let back = top.wait_for(&["icmp ", "p50 56", "up 00:00:0"]);
    assert!(!back.contains("no flowtap answers"), "{back}");

    // A second one does without the socket that it was not told to have.
    let mut second = lab.net.command(1, [FLOWTAP, "live", "-q", "-i", &lab.link.names[1]]);
    second.arg("--control").arg(&socket).env("XDG_STATE_HOME", lab.dir.path("state2"));
    let refused = second.output().unwrap();
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("another flowtap answers at"), "{said}");

    // In order: the terminal is given back when the screen is told to end.
    let pane = top.run(&["display-message", "-p", "#{pane_pid}"]);
    let children = format!("/proc/{0}/task/{0}/children", pane.trim());
    let child = std::fs::read_to_string(children).unwrap();
    assert!(Command::new("kill").args(["-s", "TERM", child.trim()]).status().unwrap().success());
    let after = top.wait_for(&["status=0"]);
    assert!(!after.contains("Rates"), "{after}");
    drop(again);
}

#[test]
fn scripts_get_one_snapshot_and_an_explanation_without_a_terminal() {
    let Some(lab) = Lab::or_skip("scripts_get_one_snapshot") else { return };
    let _ping = lab.ping();
    let socket = lab.dir.path("c.sock");
    let _live = lab.live(&socket);
    let top = |args: &[&str]| {
        let mut command = lab.net.command(1, [FLOWTAP, "top"]);
        command.args(args).output().unwrap()
    };
    let path = socket.to_str().unwrap();
    for source in [["--control", path], ["-i", &lab.link.names[1]]] {
        let output = top(&[&source[..], &["--once", "--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(snapshot["schema"], "flowtap.control.v1");
        assert_eq!(snapshot["protocols"][0]["name"], "icmp", "{snapshot:#}");
        assert_eq!(snapshot["payload_sizes"]["p50"], 56);
        let hosts = snapshot["hosts"]["top"].as_array().unwrap();
        let listed = |ip: &String| hosts.iter().any(|host| host["address"] == ip.as_str());
        assert!(lab.link.ipv4.iter().all(listed), "{snapshot:#}");
    }
    let refused = top(&["--control", path]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("needs a terminal"), "{}", text(&refused.stderr));
    let nobody = top(&["--once", "--json", "--control", "/nowhere/c.sock"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no flowtap answers at /nowhere/c.sock"));
}

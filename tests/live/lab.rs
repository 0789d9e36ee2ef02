//! A lab for one test: two namespaces, a link, and `flowtap live` at its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Dir, text};
use crate::support::netns::{Link, LinkOptions, Netns, Running};

/// Two namespaces joined by a link; flowtap listens in the second.
pub(crate) struct Lab {
    pub(crate) net: Netns,
    pub(crate) link: Link,
    pub(crate) dir: Dir,
}

impl Lab {
    pub(crate) fn or_skip(test: &str, programs: &[&str], options: LinkOptions) -> Option<Self> {
        let mut net = Netns::or_skip(test, 2, programs)?;
        let link = net.join(0, 1, options);
        Some(Self { net, link, dir: Dir::new() })
    }

    pub(crate) fn interface(&self) -> &str {
        &self.link.names[1]
    }

    pub(crate) fn listen(&self, args: &[&str]) -> Live {
        self.listen_on(1, &[self.interface()], args)
    }

    /// Starts listening, and comes back once it does.
    pub(crate) fn listen_on(&self, space: usize, interfaces: &[&str], args: &[&str]) -> Live {
        self.listen_in(space, interfaces, args, &[])
    }

    pub(crate) fn listen_in(
        &self,
        space: usize,
        interfaces: &[&str],
        args: &[&str],
        variables: &[(&str, &Path)],
    ) -> Live {
        let mut command =
            self.net.command(space, [env!("CARGO_BIN_EXE_flowtap"), "live", "--json"]);
        // However a test goes wrong, what it waits for ends.
        command.args(["--seconds", "300"]);
        for interface in interfaces {
            command.args(["-i", interface]);
        }
        command.env("XDG_STATE_HOME", self.dir.path("state")).envs(variables.iter().copied());
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.net.spawn(command);
        let mut said = BufReader::new(running.child.stderr.take().unwrap());
        let (mut listening, mut lines) = (0, Vec::new());
        while listening < interfaces.len() {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "does not listen: {lines:?}");
            listening += usize::from(line.contains("listening on"));
            lines.push(line);
        }
        Live { running, said, lines }
    }

    pub(crate) fn replay(&self, args: &[&str]) -> Value {
        // Ahead of what else runs on the machine, so that frames leave on time.
        let at_once = ["nice", "-n", "-15"];
        let replay = [env!("CARGO_BIN_EXE_flowtap"), "replay", "--json", "-i", &self.link.names[0]];
        let output =
            self.net.command(0, at_once.iter().chain(&replay)).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn rest(mut said: BufReader<ChildStderr>) -> String {
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    text
}

/// A capture under way.
pub(crate) struct Live {
    pub(crate) running: Running,
    said: BufReader<ChildStderr>,
    pub(crate) lines: Vec<String>,
}

impl Live {
    /// Waits for a line that holds `what`.
    pub(crate) fn wait_for(&mut self, what: &str) {
        let start = Instant::now();
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "no '{what}': {:?}", self.lines);
            self.lines.push(line);
            if self.lines.last().is_some_and(|line| line.contains(what)) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no '{what}': {:?}", self.lines);
        }
    }

    /// Ends it in order; its summary.
    pub(crate) fn stop(self) -> Value {
        let (status, summary, said) = self.end();
        assert_eq!(status, Some(0), "{said}");
        summary
    }

    /// Ends it in any order: its exit status, its summary and what it said last.
    pub(crate) fn end(mut self) -> (Option<i32>, Value, String) {
        self.running.signal("INT");
        let mut json = String::new();
        self.running.child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
        let status = self.running.wait(Duration::from_secs(20));
        let said = rest(self.said);
        let summary = serde_json::from_str(&json).unwrap_or_else(|_| panic!("no summary: {said}"));
        (status.code(), summary, said)
    }
}

/// Packets, and no loss.
pub(crate) fn complete(summary: &Value) -> u64 {
    assert_eq!(summary["capture"]["kernel_drops"], 0);
    assert_eq!(summary["capture"]["interface_drops"], 0);
    assert_eq!(summary["backward_timestamps"], 0, "merged by time");
    summary["packets"].as_u64().unwrap()
}

/// What a file and a wire must agree on.
pub(crate) fn shape(summary: &Value) -> Value {
    let fields = ["packets", "wire_bytes", "accounting", "flows", "conversations", "protocols"];
    fields.iter().map(|&name| (name.to_owned(), summary[name].clone())).collect()
}

/// Detector, entity and severity of each alert.
pub(crate) fn alerts(summary: &Value) -> Vec<[String; 3]> {
    let alerts = summary["alerts"].as_array().unwrap();
    let mut all: Vec<_> = alerts
        .iter()
        .map(|alert| {
            [&alert["detector"], &alert["entity"]["id"], &alert["severity"]]
                .map(|value| value.as_str().unwrap().to_owned())
        })
        .collect();
    all.sort();
    all
}

pub(crate) fn read(args: &[&str]) -> Value {
    Dir::new().summary(args)
}

/// What the files of a stem hold, one after the other.
pub(crate) fn written(dir: &Path, stem: &str) -> String {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(stem));
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

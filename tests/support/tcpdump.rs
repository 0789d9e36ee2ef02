//! tcpdump in a namespace: an independent witness of what arrived.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::{Netns, Running, wait_for};
use super::pcap::{self, Packet};

/// Room for all packets of a test, should tcpdump not run for a while.
const BUFFER_KIB: &str = "131072";

pub(crate) struct Tcpdump {
    running: Running,
    file: PathBuf,
    last_words: Option<JoinHandle<String>>,
}

impl Tcpdump {
    /// Starts it and waits until it listens. It keeps what comes in, whole,
    /// with nanoseconds.
    pub(crate) fn start(net: &Netns, space: usize, interface: &str, file: &Path) -> Self {
        let mut command = net.command(space, ["tcpdump", "-n", "-U", "-Q", "in", "-Z", "root"]);
        command.args(["--time-stamp-precision", "nano", "-B", BUFFER_KIB, "-i", interface, "-w"]);
        command.arg(file).stderr(Stdio::piped());
        let mut running = net.spawn(command);
        let mut stderr = BufReader::new(running.child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("listening on") {
            let more = stderr.read_line(&mut said).expect("tcpdump speaks");
            assert!(more > 0, "tcpdump ended: {said}");
        }
        let last_words = std::thread::spawn(move || {
            let mut said = String::new();
            // What it could not say is missed by `finish`.
            let _ = stderr.read_to_string(&mut said);
            said
        });
        Self { running, file: file.to_owned(), last_words: Some(last_words) }
    }

    /// Waits for that many packets, stops, and gives everything that came.
    pub(crate) fn finish(mut self, expected: usize) -> Vec<Packet> {
        let packets = || pcap::read(&self.file).map_or_else(Vec::new, |(_, packets)| packets);
        // Its buffer is handed over once a second.
        wait_for(&format!("{expected} packets"), || packets().len() >= expected);
        self.running.signal("INT");
        self.running.wait(Duration::from_secs(10));
        let last_words = self.last_words.take().expect("finished once").join().expect("a reader");
        assert!(last_words.contains("\n0 packets dropped by kernel"), "tcpdump lost: {last_words}");
        packets()
    }
}

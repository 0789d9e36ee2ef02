//! What `flowtap live` says it saw and lost, when it is starved on purpose:
//! small rings, the generator's own core, the lowest priority, and no processor
//! at all for a while. However much is lost, the sum is what was sent.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Dir, text};
use crate::support::netns::{Link, LinkOptions, Netns, Running, wait_for};

/// What two rings of 2 MiB hold is well below: some are lost for certain.
const BURST_PACKETS: u64 = 60_000;
const TRICKLE_PACKETS: u64 = 5_000;

/// Two namespaces on one processor; flowtap starves in the second.
struct Starved {
    net: Netns,
    link: Link,
    dir: Dir,
    sent: u64,
}

impl Starved {
    fn or_skip(test: &str) -> Option<Self> {
        let mut net = Netns::or_skip(test, 2, &["taskset", "renice"])?;
        let link = net.join(0, 1, LinkOptions::quiet());
        let dir = Dir::new();
        let packets = BURST_PACKETS.to_string();
        let made = dir.run(["lab", "synth", "flood", "--packets", &packets, "-o", "flood.pcap"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        Some(Self { net, link, dir, sent: 0 })
    }

    fn starve(&self, options: &[&str]) -> Running {
        let flowtap = env!("CARGO_BIN_EXE_flowtap");
        let words = ["taskset", "-c", "0", flowtap, "live", "--json"];
        let mut command = self.net.command(1, words);
        command.args(["--ring-mib", "2", "-i", &self.link.names[1]]).args(options);
        let said = self.dir.path("said");
        command.stdout(Stdio::piped()).stderr(File::create(&said).unwrap());
        let running = self.net.spawn(command);
        wait_for("flowtap to listen", || {
            std::fs::read_to_string(&said).unwrap().contains("listening on")
        });
        self.set_niceness(&running, 19);
        running
    }

    fn set_niceness(&self, running: &Running, niceness: i8) {
        let threads = format!("/proc/{}/task", running.child.id());
        let names = std::fs::read_dir(threads).unwrap().map(|entry| entry.unwrap().file_name());
        let (value, names) = (niceness.to_string(), names.collect::<Vec<_>>());
        let words = ["renice", "-n", &value, "-p"].map(OsString::from);
        self.net.run(1, words.into_iter().chain(names));
    }

    fn send(&mut self, packets: u64) {
        let flowtap = env!("CARGO_BIN_EXE_flowtap");
        let words = ["taskset", "-c", "0", flowtap, "replay", "--json", "--speed", "max"];
        let mut command = self.net.command(0, words);
        command.args(["-i", &self.link.names[0], "--limit", &packets.to_string()]);
        let output = command.arg(self.dir.path("flood.pcap")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["sent_packets"], packets);
        self.sent += packets;
    }

    /// More than the rings hold, while nobody reads them.
    fn send_to_the_stopped(&mut self, running: &Running) {
        running.signal("STOP");
        self.send(BURST_PACKETS);
        running.signal("CONT");
    }

    fn take_down_and_up(&self) {
        for state in ["down", "up"] {
            self.net.run(1, ["ip", "link", "set", &self.link.names[1], state]);
        }
        let path = format!("/sys/class/net/{}/operstate", self.link.names[0]);
        wait_for("the link", || self.net.run(0, ["cat", &path]).stdout.starts_with(b"up"));
    }

    /// Ends it in order, and does the sum.
    fn assert_adds_up(&self, mut running: Running) {
        // However busy the machine is, it ends in time.
        self.set_niceness(&running, 0);
        running.signal("INT");
        let mut json = String::new();
        running.child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
        assert!(running.wait(Duration::from_secs(20)).success());
        let summary: Value = serde_json::from_str(&json).unwrap();
        let capture = &summary["capture"];
        let [packets, kernel, interface] =
            [&summary["packets"], &capture["kernel_drops"], &capture["interface_drops"]]
                .map(|count| count.as_u64().unwrap());
        assert_eq!(packets + kernel + interface, self.sent, "{packets} + {kernel} + {interface}");
        assert!(kernel > 0 && packets > 0, "starved, not dead: {packets} {kernel}");
    }
}

fn starved_it_adds_up(test: &str, options: &[&str]) {
    let Some(mut lab) = Starved::or_skip(test) else { return };
    let running = lab.starve(options);
    lab.send(TRICKLE_PACKETS);
    lab.send_to_the_stopped(&running);
    lab.send(TRICKLE_PACKETS);
    lab.assert_adds_up(running);
}

#[test]
fn with_one_ring_every_packet_sent_is_seen_or_counted_as_lost() {
    starved_it_adds_up("one ring", &["--workers", "1"]);
}

#[test]
fn with_two_rings_every_packet_sent_is_seen_or_counted_as_lost() {
    starved_it_adds_up("two rings", &["--workers", "2"]);
}

#[test]
fn with_libpcap_every_packet_sent_is_seen_or_counted_as_lost() {
    starved_it_adds_up("libpcap", &["--capture", "libpcap"]);
}

fn across_a_link_that_goes_down_it_adds_up(test: &str, options: &[&str]) {
    let Some(mut lab) = Starved::or_skip(test) else { return };
    let running = lab.starve(options);
    lab.send(TRICKLE_PACKETS);
    lab.take_down_and_up();
    lab.send_to_the_stopped(&running);
    lab.take_down_and_up();
    lab.send(TRICKLE_PACKETS);
    lab.assert_adds_up(running);
}

#[test]
fn over_an_interface_that_goes_down_meanwhile_nothing_is_counted_wrong() {
    across_a_link_that_goes_down_it_adds_up("down", &["--workers", "2"]);
}

#[test]
fn libpcap_too_goes_on_when_the_interface_is_up_again() {
    across_a_link_that_goes_down_it_adds_up("down, libpcap", &["--capture", "libpcap"]);
}

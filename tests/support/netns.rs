//! Network namespaces that a test makes, joins by veth pairs, runs programs
//! in, and leaves nothing of, also when it fails.
//!
//! ```ignore
//! let Some(mut net) = Netns::or_skip("my test", 2, &["iperf3"]) else { return };
//! let link = net.join(0, 1, LinkOptions::default());
//! net.run(0, ["ping", "-c1", &link.ipv4[1]]);
//! let server = net.spawn(net.command(1, ["iperf3", "-s"]));
//! ```
//!
//! No link leads out of the namespaces. Only processes started here are ever
//! ended, by their id. Needs root; [`Netns::available`] says what is missing.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Names end in the process id and this, so that tests and test programs never
/// meet.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// No two links of a test program have the same network, and hardly those of two
/// programs: what watches the whole host sees all of them.
static LINKS: AtomicU32 = AtomicU32::new(0);

const PREFIX: &str = "flowtap";

/// Some namespaces, their loopback interfaces up.
#[derive(Debug)]
pub(crate) struct Netns {
    names: Vec<String>,
}

/// How to join two namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    pub(crate) mtu: u32,
    /// Checksums computed, and long segments cut, later than captured.
    pub(crate) offloads: bool,
    /// IPv4 and IPv6. Without them neither end sends anything of its own.
    pub(crate) addresses: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { mtu: 1_500, offloads: true, addresses: true }
    }
}

impl LinkOptions {
    /// Nothing on the wire but what a test puts there.
    pub(crate) fn quiet() -> Self {
        Self { addresses: false, ..Self::default() }
    }
}

/// A veth pair; `[0]` is the end in the namespace named first.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) names: [String; 2],
    pub(crate) macs: [String; 2],
    /// Without the prefix length; on the link even when not given to its ends.
    pub(crate) ipv4: [String; 2],
    pub(crate) ipv6: [String; 2],
}

impl Netns {
    /// Why there can be no namespaces, if so.
    pub(crate) fn available() -> Result<(), String> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        ANSWER.get_or_init(probe).clone()
    }

    /// Namespaces and these programs, or a loud skip.
    pub(crate) fn or_skip(test: &str, count: usize, programs: &[&str]) -> Option<Self> {
        let missing = programs.iter().find(|program| !is_installed(program));
        let why = match (Self::available(), missing) {
            (Err(why), _) => why,
            (Ok(()), Some(program)) => format!("there is no '{program}' (tools/setup test)"),
            (Ok(()), None) => return Some(Self::new(count)),
        };
        eprintln!("SKIPPED: needs root: {test}: {why}");
        None
    }

    pub(crate) fn new(count: usize) -> Self {
        let mut net = Self { names: Vec::new() };
        for _ in 0..count {
            let name = fresh_name();
            ip(&["netns", "add", &name]);
            // From here on it is removed whatever happens.
            net.names.push(name.clone());
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        net
    }

    pub(crate) fn name(&self, space: usize) -> &str {
        &self.names[space]
    }

    /// Joins two namespaces, or one with itself.
    pub(crate) fn join(&mut self, a: usize, b: usize, options: LinkOptions) -> Link {
        let first = std::process::id().wrapping_mul(37);
        let number = first.wrapping_add(LINKS.fetch_add(1, Ordering::Relaxed)) as u8;
        let interface =
            || format!("ft{}x{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let ends = ["1", "2"];
        let link = Link {
            names: [interface(), interface()],
            macs: ends.map(|end| format!("02:00:00:00:{number:02x}:0{end}")),
            ipv4: ends.map(|end| format!("10.77.{number}.{end}")),
            ipv6: ends.map(|end| format!("fd00:77:{number:x}::{end}")),
        };
        let mtu = options.mtu.to_string();
        let [near, far] = &link.names;
        // Made in their namespaces: they never show outside.
        let (space_a, space_b) = (self.name(a), self.name(b));
        ip(&[
            "link",
            "add",
            near,
            "netns",
            space_a,
            "mtu",
            &mtu,
            "address",
            &link.macs[0],
            "type",
            "veth",
            "peer",
            "name",
            far,
            "netns",
            space_b,
            "mtu",
            &mtu,
            "address",
            &link.macs[1],
        ]);
        for (end, space) in [(0, a), (1, b)] {
            let (namespace, name) = (self.name(space), link.names[end].as_str());
            if options.addresses {
                let (v4, v6) = (&link.ipv4[end], &link.ipv6[end]);
                ip(&["-n", namespace, "address", "add", &format!("{v4}/24"), "dev", name]);
                // Without duplicate detection it can be used at once.
                ip(&["-n", namespace, "address", "add", &format!("{v6}/64"), "dev", name, "nodad"]);
            } else {
                let key = format!("net.ipv6.conf.{name}.disable_ipv6=1");
                self.run(space, ["sysctl", "-eqw", &key]);
                ip(&["-n", namespace, "link", "set", name, "arp", "off"]);
            }
            if !options.offloads {
                self.run(
                    space,
                    [
                        "ethtool", "-K", name, "rx", "off", "tx", "off", "sg", "off", "tso", "off",
                        "gso", "off", "gro", "off",
                    ],
                );
            }
            ip(&["-n", namespace, "link", "set", name, "up"]);
        }
        self.wait_for_carrier(a, near);
        self.wait_for_carrier(b, far);
        link
    }

    /// A program in a namespace, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        space: usize,
        program: impl IntoIterator<Item = S>,
    ) -> Command {
        // It replaces itself by the program, so that the process id is the program's.
        let mut command = with_path("ip");
        command.args(["netns", "exec", self.name(space)]).args(program).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end; fails with its own words when it does.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        space: usize,
        program: impl IntoIterator<Item = S>,
    ) -> Output {
        succeeded(&mut self.command(space, program))
    }

    /// Starts a command of [`Netns::command`].
    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running { child }
    }

    /// A counter of an interface: `rx_packets`, `tx_dropped`, ...
    pub(crate) fn counter(&self, space: usize, interface: &str, name: &str) -> u64 {
        let path = format!("/sys/class/net/{interface}/statistics/{name}");
        let text = self.run(space, ["cat", &path]).stdout;
        String::from_utf8_lossy(&text).trim().parse().expect("a counter is a number")
    }

    fn wait_for_carrier(&self, space: usize, interface: &str) {
        let path = format!("/sys/class/net/{interface}/operstate");
        wait_for("an interface that is up", || {
            self.run(space, ["cat", &path]).stdout.starts_with(b"up")
        });
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        for name in &self.names {
            // A failure must not hide that of the test.
            let removed = with_path("ip").args(["netns", "del", name]).output();
            if !removed.is_ok_and(|output| output.status.success()) {
                eprintln!("can't remove the network namespace {name}");
            }
        }
    }
}

/// A process started by a test; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    /// Sends a signal by name, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        succeeded(Command::new("kill").args(["-s", name, &id]));
    }

    /// Waits for its end; fails when it takes too long.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < within, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits up to ten seconds, which even a busy machine keeps to.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// True when a program is to be had, in /usr/sbin too.
pub(crate) fn is_installed(program: &str) -> bool {
    search_path().split(':').any(|folder| std::path::Path::new(folder).join(program).is_file())
}

/// A command that is also looked for where only root looks.
fn with_path(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command
}

fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn fresh_name() -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-{number}", std::process::id())
}

fn ip(arguments: &[&str]) {
    succeeded(with_path("ip").args(arguments));
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn probe() -> Result<(), String> {
    for program in ["ip", "sysctl"] {
        if !is_installed(program) {
            return Err(format!("there is no '{program}' (tools/setup test)"));
        }
    }
    remove_leftovers();
    let name = fresh_name();
    for arguments in [["netns", "add", &name], ["netns", "del", &name]] {
        let output = with_path("ip").args(arguments).output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("ip {}: {}", arguments.join(" "), said.trim()));
        }
    }
    Ok(())
}

/// Removes namespaces of test programs that were killed: names of ours whose
/// process is gone.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let parts: Vec<&str> = name.split('-').collect();
        let [PREFIX, process, number] = parts[..] else { continue };
        let ours = process.parse::<u32>().is_ok() && number.parse::<u32>().is_ok();
        if ours && !std::path::Path::new("/proc").join(process).exists() {
            // Another test program may have been faster.
            let _ = with_path("ip").args(["netns", "del", &name]).output();
        }
    }
}

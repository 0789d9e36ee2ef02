//! OCI containers that a test runs: runc and a root file system of busybox. Each
//! lives in a network namespace of [`Netns`], so that a veth pair joins it to
//! the test's own, and is gone when dropped, also when the test fails.
//!
//! ```ignore
//! let Some(mut net) = Container::or_skip("my test", 2, &[]) else { return };
//! let link = net.join(0, 1, LinkOptions::default());
//! let container = Container::start(&net, 1, ContainerOptions::default());
//! container.run(["ping", "-c1", &link.ipv4[0]]);
//! let process = container.spawn_detached(["nc", "-l", "-p", "7000"]);
//! ```
//!
//! Processes show in the host's `/proc`, under the ids returned here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::netns::{Netns, is_installed, wait_for};
use super::program::copy_program;

/// Ids end in the process id and this, so that tests and test programs never
/// meet.
static COUNTER: AtomicU32 = AtomicU32::new(0);

const PREFIX: &str = "flowtap";

/// A first process that only waits; it ends by itself should nobody clean up.
const INIT: [&str; 3] = ["/bin/busybox", "sleep", "3600"];

#[derive(Debug)]
pub(crate) struct Container {
    id: String,
    bundle: tempfile::TempDir,
    pid: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerOptions {
    /// Something else than an id made for it. Must be unique on this machine.
    pub(crate) id: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The host's `/usr` (read-only), for programs that busybox has no applet of:
    /// curl, dig, python3.
    pub(crate) host_programs: bool,
    /// `cgroupsPath` of the specification; runc's choice is `/<id>`.
    pub(crate) cgroups_path: Option<String>,
}

impl Container {
    /// Why there can be no containers, if so.
    pub(crate) fn available() -> Result<(), String> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        ANSWER.get_or_init(probe).clone()
    }

    /// Namespaces and these programs on a machine that can run containers, or a
    /// loud skip.
    pub(crate) fn or_skip(test: &str, count: usize, programs: &[&str]) -> Option<Netns> {
        let net = Netns::or_skip(test, count, programs)?;
        match Self::available() {
            Ok(()) => Some(net),
            Err(why) => {
                eprintln!("SKIPPED: needs root: {test}: {why}");
                None
            }
        }
    }

    /// Starts a container in a namespace; its first process waits.
    pub(crate) fn start(net: &Netns, space: usize, options: ContainerOptions) -> Self {
        Self::start_in(&Path::new("/run/netns").join(net.name(space)), options)
    }

    fn start_in(netns: &Path, options: ContainerOptions) -> Self {
        let bundle = tempfile::tempdir().expect("a folder for the bundle");
        make_rootfs(&bundle.path().join("rootfs"), options.host_programs);
        run(runc().args(["spec", "--bundle"]).arg(bundle.path()));
        let path = bundle.path().join("config.json");
        let text = fs::read(&path).expect("runc spec writes config.json");
        let mut spec: Value = serde_json::from_slice(&text).expect("a specification is JSON");
        adapt(&mut spec, netns, &options);
        fs::write(&path, spec.to_string()).expect("config.json can be written");

        // From here on it is removed whatever happens.
        let mut container = Self { id: options.id.unwrap_or_else(fresh_id), bundle, pid: 0 };
        let pid_file = container.bundle.path().join("pid");
        let mut command = runc();
        command.args(["run", "--detach", "--bundle"]).arg(container.bundle.path());
        command.arg("--pid-file").arg(&pid_file).arg(&container.id);
        container.run_detached(command);
        container.pid = read_pid(&pid_file);
        container
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Of its first process, as the host has it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn bundle(&self) -> &Path {
        self.bundle.path()
    }

    /// A program inside, not started yet. What is spawned is runc, its parent.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: impl IntoIterator<Item = S>) -> Command {
        let mut command = runc();
        command.args(["exec", &self.id]).args(program).stdin(Stdio::null());
        command
    }

    /// Runs a program inside to its end; fails with its own words when it does.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, program: impl IntoIterator<Item = S>) -> Output {
        run(&mut self.command(program))
    }

    /// Starts a program inside that ends by itself or with the container.
    /// Returns its process id as the host has it.
    pub(crate) fn spawn_detached<S: AsRef<OsStr>>(
        &self,
        program: impl IntoIterator<Item = S>,
    ) -> u32 {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let pid_file = self.bundle.path().join(format!("pid{number}"));
        let mut command = runc();
        command.args(["exec", "--detach", "--pid-file"]).arg(&pid_file);
        command.arg(&self.id).args(program);
        self.run_detached(command);
        let pid = read_pid(&pid_file);
        // runc is done before its child runs the program.
        wait_for("the program in the container", || {
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            !exe.is_ok_and(|exe| exe.to_string_lossy().contains("runc"))
        });
        pid
    }

    /// What runs detached keeps runc's descriptors: a pipe would never end.
    fn run_detached(&self, mut command: Command) {
        let log = self.bundle.path().join("stderr");
        let stderr = File::create(&log).expect("a file for what runc says");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(status.success(), "{command:?}: {said}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Ends its processes too. A failure must not hide that of the test.
        remove(&self.id);
    }
}

fn adapt(spec: &mut Value, netns: &Path, options: &ContainerOptions) {
    let process = &mut spec["process"];
    process["terminal"] = json!(false);
    process["args"] = json!(INIT);
    for set in ["bounding", "effective", "permitted"] {
        let set = process["capabilities"][set].as_array_mut().expect("runc spec lists them");
        set.extend(["CAP_NET_RAW", "CAP_NET_ADMIN"].map(Value::from));
    }
    spec["annotations"] = json!(options.annotations);
    if let Some(path) = &options.cgroups_path {
        spec["linux"]["cgroupsPath"] = json!(path);
    }
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("runc spec lists them");
    for namespace in namespaces {
        if namespace["type"] == "network" {
            namespace["path"] = json!(netns);
        }
    }
    let mounts = spec["mounts"].as_array_mut().expect("runc spec lists them");
    mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "size=16m"]}));
    if options.host_programs {
        mounts.push(json!({"destination": "/usr", "type": "bind", "source": "/usr",
            "options": ["rbind", "ro"]}));
    }
}

fn make_rootfs(root: &Path, host_programs: bool) {
    use std::os::unix::fs::symlink;

    let bin = root.join("bin");
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "usr"] {
        fs::create_dir_all(root.join(folder)).expect("a folder of the root file system");
    }
    let busybox = busybox().expect("probed before");
    copy_program(&busybox, bin.join("busybox"));
    let applets = run(Command::new(&busybox).arg("--list")).stdout;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(applet)).expect("a link to an applet");
    }
    if host_programs {
        for folder in ["lib", "lib64", "sbin"] {
            symlink(Path::new("usr").join(folder), root.join(folder)).expect("a link to /usr");
        }
    }
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

fn read_pid(path: &Path) -> u32 {
    let text = fs::read_to_string(path).expect("runc writes the process id");
    text.trim().parse().expect("a process id is a number")
}

fn fresh_id() -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-c{number}", std::process::id())
}

fn runc() -> Command {
    let mut command = Command::new("runc");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn remove(id: &str) {
    let removed = runc().args(["delete", "--force", id]).output();
    if !removed.is_ok_and(|output| output.status.success()) {
        eprintln!("can't remove the container {id}");
    }
}

/// Runs one: rights, cgroups and busybox at once.
fn probe() -> Result<(), String> {
    Netns::available()?;
    if !is_installed("runc") {
        return Err("there is no 'runc' (tools/setup test)".to_owned());
    }
    if busybox().is_none() {
        return Err("there is no busybox (tools/setup test)".to_owned());
    }
    remove_leftovers();
    let net = Netns::new(1);
    std::panic::catch_unwind(|| drop(Container::start(&net, 0, ContainerOptions::default())))
        .map_err(|_| {
            "runc can't run a container here (see above; busybox must be linked statically)"
                .to_owned()
        })
}

/// Removes containers of test programs that were killed: ids of ours whose
/// process is gone.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/runc") else { return };
    for id in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let parts: Vec<&str> = id.split('-').collect();
        let [PREFIX, process, _] = parts[..] else { continue };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            remove(&id);
        }
    }
}

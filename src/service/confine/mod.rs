//! What the process gives up before it reads a byte that others send.
//!
//! A parser of hostile packets should have nothing to be abused for. [`confine`]
//! takes these away, in this order, while the process has one thread (all of
//! them are per thread and inherited):
//!
//! 1. its user, where another one is asked for ([`User`]);
//! 2. every capability but CAP_NET_RAW, which a capture needs again whenever an
//!    interface comes back; from the bounding and ambient sets too;
//! 3. new privileges by programs that it starts (`no_new_privs`);
//! 4. files, TCP ports, abstract sockets and signals (Landlock): what a [`Plan`]
//!    names is left;
//! 5. system calls (seccomp): first those that no correct run makes, then all
//!    that are not known to be needed.
//!
//! The second process of `live --procs`, which has to look into others, gives up
//! less: [`Plan::watcher`].
//!
//! It never takes the run away: with [`Mode::On`] whatever this kernel does not
//! have is left out and said ([`Confined::missing`]). Inside: `rights` is steps
//! 1 to 3, `files` step 4, `calls` step 5 with the reasons for each list.
//! Start at [`Plan::live`].

mod calls;
mod files;
mod rights;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

pub use calls::Calls;
pub use rights::{User, UserError, how_to_get_cap_net_raw, how_to_get_watcher_rights};

use super::deliver::Target;
use super::kernel::landlock_abi;
use crate::host::attribution::Method;

/// How much has to be in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What the kernel offers; what it lacks is said.
    #[default]
    On,
    /// Everything, or no start.
    Strict,
    /// Nothing.
    Off,
}

/// What a run still needs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Capabilities that are kept where they are there.
    pub keep: Vec<caps::Capability>,
    /// Becomes this user; root's only.
    pub user: Option<User>,
    /// Files and folders that are read; those that are not there are left out.
    pub reads: Vec<PathBuf>,
    /// Folders that are written beneath; made where they are missing.
    pub writes: Vec<PathBuf>,
    /// Files outside of those folders that are written.
    pub files: Vec<PathBuf>,
    /// A folder that is written beneath where it may be; there is no need to.
    pub keeps: Option<PathBuf>,
    /// Folders that sockets are made and replaced in, as far as rights go; made
    /// where they are missing.
    pub sockets: Vec<PathBuf>,
    /// TCP ports that are connected to.
    pub connects: Vec<u16>,
    /// Whether abstract Unix sockets of others are talked to.
    pub abstract_sockets: bool,
    /// Other processes are looked into, which Landlock forbids whatever else it is
    /// asked for: it is left out.
    pub looks_into_processes: bool,
    pub calls: Calls,
}

/// Kernel interfaces as files. All of /proc: a rule for one file in it is lost
/// when the kernel forgets the file's inode to save memory. Other processes'
/// secrets in it stay closed (Landlock forbids to trace what is outside).
const KERNEL_FILES: [&str; 4] = ["/proc", "/sys/class/net", "/sys/devices", "/sys/fs/cgroup"];

/// For names of receivers. The folders, as resolv.conf and hosts are replaced
/// by renaming, which a rule for the file would not outlive; and libraries of
/// nsswitch.conf.
const NAME_FILES: [&str; 6] =
    ["/etc", "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/usr/lib", "/lib"];

/// Where systems keep the certificates that they trust.
const CERTIFICATE_FILES: [&str; 6] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// DNS, where an answer does not fit into a datagram.
const DNS_PORT: u16 = 53;

impl Plan {
    /// A capture that writes into these folders and delivers alerts to these
    /// receivers.
    pub fn live(writes: Vec<PathBuf>, receivers: &[Target]) -> Self {
        let mut plan = Self {
            keep: vec![caps::Capability::CAP_NET_RAW],
            reads: KERNEL_FILES.map(PathBuf::from).to_vec(),
            writes,
            calls: Calls::Network,
            ..Self::default()
        };
        for receiver in receivers {
            plan.add_receiver(receiver);
        }
        // A panic's backtrace has names from it.
        plan.reads.extend(std::env::current_exe());
        let manager = std::env::var_os("NOTIFY_SOCKET");
        plan.abstract_sockets =
            manager.is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"));
        plan
    }

    /// Captures are read, results written into these folders; nothing is sent.
    /// Rights over other users' files are kept: they are what root reads with.
    pub fn read(captures: &[PathBuf], writes: Vec<PathBuf>) -> Self {
        use caps::Capability::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
        let reads = KERNEL_FILES.iter().map(PathBuf::from).chain(captures.iter().cloned());
        Self {
            keep: vec![CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH],
            reads: reads.collect(),
            files: writes.iter().flat_map(|folder| links_in(folder)).collect(),
            writes,
            calls: Calls::Local,
            ..Self::default()
        }
    }

    /// Processes, sockets and networks of the whole host are watched in these ways, by
    /// providers that are open already; `fetches` where pods are asked for over the
    /// network.
    ///
    /// Each capability has its reason, and a test takes each away to see what is missed:
    ///
    /// - CAP_SYS_PTRACE: `/proc/PID/exe`, `environ`, `root`, `ns` and links in `fd` of
    ///   other users' processes;
    /// - CAP_DAC_READ_SEARCH: the folder `/proc/PID/fd`, open to its own user alone;
    ///   states of containers that users run;
    /// - CAP_SYS_ADMIN: entering network namespaces, which come and go while it runs;
    /// - CAP_NET_ADMIN: the table of translated connections, notices of it and of
    ///   sockets that end, and room for them in the kernel, in each new namespace;
    /// - CAP_BPF, of eBPF: its counters, where CAP_SYS_ADMIN was never given (kernels
    ///   before 5.19 let nobody else read a map);
    /// - CAP_SYS_NICE, of sock_diag: to be there before a short process has ended. The
    ///   calls that would move other processes are not there.
    ///
    /// Not needed any more are CAP_PERFMON and what else loads programs, nor CAP_NET_RAW,
    /// as no packet is taken.
    ///
    /// No Landlock: a process under any of its rules, be it for TCP ports alone, may not
    /// look into processes outside, and `/proc/PID` is closed to it. What system calls
    /// may do stands in for it, see [`Calls::Watcher`].
    pub fn watcher(methods: &[Method], fetches: bool) -> Self {
        use caps::Capability::{
            CAP_BPF, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_NICE,
            CAP_SYS_PTRACE,
        };
        let mut keep = vec![CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_NET_ADMIN];
        if methods.contains(&Method::Ebpf) {
            keep.push(CAP_BPF);
        }
        if methods.contains(&Method::SockDiag) {
            keep.push(CAP_SYS_NICE);
        }
        let calls = Calls::Watcher { fetches };
        Self { keep, looks_into_processes: true, calls, ..Self::default() }
    }

    fn add_receiver(&mut self, receiver: &Target) {
        if let Some(port) = receiver.tcp_port() {
            self.connects.push(port);
        }
        if receiver.host().is_some_and(|host| host.parse::<std::net::IpAddr>().is_err()) {
            self.reads.extend(NAME_FILES.map(PathBuf::from));
            self.connects.push(DNS_PORT);
        }
        if receiver.is_https() {
            self.reads.extend(CERTIFICATE_FILES.map(PathBuf::from));
            // What rustls-native-certs and OpenSSL go by.
            let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
            self.reads.extend(named.into_iter().flatten().map(PathBuf::from));
        }
    }
}

/// Links to files that lie in a folder: whoever laid them wants results where
/// they lead.
fn links_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_symlink() && !path.is_dir()).collect()
}

/// A part of the confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    NoNewPrivileges,
    Capabilities,
    /// Landlock: files and folders.
    Files,
    /// Landlock: TCP ports.
    TcpPorts,
    /// Landlock: signals and abstract sockets.
    Scopes,
    /// Seccomp.
    SystemCalls,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::NoNewPrivileges => "no new privileges",
            Self::Capabilities => "capabilities",
            Self::Files => "files",
            Self::TcpPorts => "TCP ports",
            Self::Scopes => "signals and abstract sockets",
            Self::SystemCalls => "system calls",
        }
    }
}

/// Something that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub part: Part,
    pub why: String,
}

/// What came, or would come, into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confined {
    pub mode: Mode,
    pub in_force: Vec<Part>,
    pub missing: Vec<Missing>,
}

impl Confined {
    fn new(mode: Mode) -> Self {
        Self { mode, in_force: Vec::new(), missing: Vec::new() }
    }

    fn note(&mut self, part: Part, result: Result<(), String>) {
        match result {
            Ok(()) => self.in_force.push(part),
            Err(why) => self.missing.push(Missing { part, why }),
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        if self.mode == Mode::Off {
            return "not confined (--confine off)".to_owned();
        }
        let names: Vec<&str> = self.in_force.iter().map(|part| part.name()).collect();
        let mut text = match &*names {
            [] => "not confined".to_owned(),
            names => format!("confined: {}", names.join(", ")),
        };
        for missing in &self.missing {
            text.push_str(&format!("; not confined: {} ({})", missing.part.name(), missing.why));
        }
        text
    }
}

#[derive(Debug, Error)]
pub enum ConfineError {
    #[error("can't make the folder {}: {source}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("can't write into {}: {why}", .path.display())]
    NotWritable { path: PathBuf, why: String },
    #[error("can't become {user}: {source}")]
    User { user: User, source: io::Error },
    #[error("--confine strict: not in force: {0}")]
    Incomplete(String),
    #[error("threads were started before the process was confined")]
    Threads,
}

/// Gives up whatever the plan does not name. To be called while there is one
/// thread.
pub fn confine(plan: &Plan, mode: Mode) -> Result<Confined, ConfineError> {
    let mut confined = Confined::new(mode);
    let overrode = rights::overrides_file_rights();
    if mode == Mode::Off && plan.user.is_none() {
        return Ok(confined);
    }
    // As the user that started this, who may make them where the other can't.
    for folder in plan.writes.iter().chain(&plan.sockets) {
        rights::make_folder(folder, plan.user.as_ref())?;
    }
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() != 1) {
        return Err(ConfineError::Threads);
    }
    rights::drop_bounding(&plan.keep);
    if let Some(user) = &plan.user {
        rights::become_user(user)?;
    }
    let kept = rights::keep_only(&plan.keep);
    if mode != Mode::Off {
        confined.note(Part::Capabilities, kept);
        confined.note(Part::NoNewPrivileges, rights::forgo_new_privileges());
    }
    for folder in &plan.writes {
        rights::check_folder(folder, overrode)?;
    }
    if mode == Mode::Off {
        return Ok(confined);
    }
    if !plan.looks_into_processes {
        let abi = landlock_abi().map_err(|error| format!("the kernel has no Landlock: {error}"));
        let applied = abi.and_then(|abi| files::restrict(plan).map(|()| abi));
        note_landlock(&mut confined, &applied);
    }
    confined.note(Part::SystemCalls, calls::restrict(plan.calls));
    if mode == Mode::Strict && !confined.missing.is_empty() {
        return Err(ConfineError::Incomplete(confined.text()));
    }
    Ok(confined)
}

/// What would be in force here, for a capture that is started as this process
/// is. Changes nothing.
pub fn outlook() -> Confined {
    let mut confined = Confined::new(Mode::On);
    confined.note(Part::Capabilities, Ok(()));
    confined.note(Part::NoNewPrivileges, Ok(()));
    let abi = landlock_abi().map_err(|error| format!("the kernel has no Landlock: {error}"));
    note_landlock(&mut confined, &abi);
    confined.note(Part::SystemCalls, calls::available());
    confined
}

/// Which parts a version of Landlock has.
fn note_landlock(confined: &mut Confined, abi: &Result<i64, String>) {
    let since = |first: i64, kernel: &str| match abi {
        Ok(abi) if *abi >= first => Ok(()),
        Ok(abi) => Err(format!("Landlock ABI {abi}; from Linux {kernel} on")),
        Err(why) => Err(why.clone()),
    };
    // Before, a file outside could be emptied.
    confined.note(Part::Files, since(3, "6.2"));
    confined.note(Part::TcpPorts, since(4, "6.7"));
    confined.note(Part::Scopes, since(6, "6.12"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receivers(names: &[&str]) -> Vec<Target> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn receivers_open_their_port_and_names_what_they_are_looked_up_by() {
        let plan = Plan::live(Vec::new(), &receivers(&["syslog+tcp://10.0.0.1:6514"]));
        assert_eq!(plan.connects, [6_514]);
        assert!(!plan.reads.contains(&"/etc".into()));
        let plan = Plan::live(Vec::new(), &receivers(&["syslog://log.example", "unix:/run/x"]));
        assert_eq!(plan.connects, [DNS_PORT], "datagrams are not TCP");
        assert!(plan.reads.contains(&"/etc".into()));
        let plan = Plan::live(Vec::new(), &receivers(&["https://[fd00::1]/in"]));
        assert_eq!(plan.connects, [443]);
        assert!(plan.reads.contains(&"/etc/ssl".into()) && !plan.reads.contains(&"/etc".into()));
        let plan = Plan::live(Vec::new(), &receivers(&["http://h.example:8080/in"]));
        assert_eq!(plan.connects, [8_080, DNS_PORT]);
    }

    #[test]
    fn any_rule_of_landlock_closes_other_processes() {
        use landlock::{AccessNet, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope};
        let exe = format!("/proc/{}/exe", std::os::unix::process::parent_id());
        if std::fs::read_link(&exe).is_err() || landlock_abi().is_ok_and(|abi| abi < 6) {
            eprintln!("SKIP: any_rule_of_landlock: needs root, Landlock ABI 6, and its parent");
            return;
        }
        let read_under = |rules: Ruleset| {
            let exe = exe.clone();
            // Bound is the thread that asks for it.
            let bound = std::thread::spawn(move || {
                rules.create().unwrap().no_new_privs(true).restrict_self().unwrap();
                std::fs::read_link(exe).map_err(|error| error.kind())
            });
            bound.join().unwrap()
        };
        let ports = Ruleset::default().handle_access(AccessNet::ConnectTcp).unwrap();
        let scopes = Ruleset::default().scope(Scope::Signal).unwrap();
        for rules in [ports, scopes] {
            assert_eq!(read_under(rules), Err(io::ErrorKind::PermissionDenied));
        }
    }

    #[test]
    fn old_kernels_are_told_by_what_they_lack() {
        let lacks = |abi| {
            let mut confined = Confined::new(Mode::On);
            note_landlock(&mut confined, &abi);
            confined.missing.iter().map(|missing| missing.part).collect::<Vec<_>>()
        };
        assert_eq!(lacks(Ok(6)), []);
        assert_eq!(lacks(Ok(5)), [Part::Scopes]);
        assert_eq!(lacks(Ok(3)), [Part::TcpPorts, Part::Scopes]);
        assert_eq!(lacks(Ok(1)), [Part::Files, Part::TcpPorts, Part::Scopes]);
        assert_eq!(lacks(Err("none".to_owned())).len(), 3);
        let mut confined = Confined::new(Mode::On);
        confined.note(Part::Capabilities, Ok(()));
        confined.note(Part::Scopes, Err("too old".to_owned()));
        let text = "confined: capabilities; not confined: signals and abstract sockets (too old)";
        assert_eq!(confined.text(), text);
    }
}

//! What each kind of run still needs. Start at [`Plan::live`].

use std::path::{Path, PathBuf};

use super::{Calls, User};
use crate::host::attribution::Method;
use crate::service::deliver::Target;

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
        let host = receiver.host();
        self.add_peer(receiver.tcp_port(), host.as_deref(), receiver.is_https());
    }

    /// A server that is asked over HTTP.
    pub(crate) fn add_server(&mut self, url: &str) {
        let Ok(url) = url.parse::<ureq::http::Uri>() else { return };
        let is_https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = url.host().map(|host| host.trim_matches(['[', ']']));
        self.add_peer(Some(port), host, is_https);
    }

    fn add_peer(&mut self, port: Option<u16>, host: Option<&str>, is_https: bool) {
        self.connects.extend(port);
        if host.is_some_and(|host| host.parse::<std::net::IpAddr>().is_err()) {
            self.reads.extend(NAME_FILES.map(PathBuf::from));
            self.connects.push(DNS_PORT);
        }
        if is_https {
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
}

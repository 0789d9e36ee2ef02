//! Network namespaces that a lab makes, joined by a bridge in one more, and nothing else:
//! no link leads to the machine's own network, and no host has a default route.
//!
//! Names tell whose they are: process id and start of the lab that made them. A lab that
//! was killed leaves them; [`remove_leftovers`] finds those whose owner no longer lives.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::plan::{HostAt, SWITCH};
use super::tool::search_path;

/// Of namespaces and folders.
const PREFIX: &str = "flowtap-lab";

/// Where iproute2 keeps namespaces by name.
const NAMESPACES: &str = "/run/netns";

/// Of every host, and of the bridge that joins them.
pub(super) const HOST_INTERFACE: &str = "eth0";
pub(super) const SWITCH_INTERFACE: &str = "br0";

/// Killed processes are gone in milliseconds; a machine out of memory takes longer.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Between looks at whether something has happened.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A process that made a lab; no two have both figures in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    fn this() -> Result<Self> {
        let pid = std::process::id();
        let start_ticks = start_ticks(pid).context("can't read /proc/self/stat")?;
        Ok(Self { pid, start_ticks })
    }

    /// Owner and rest of a name of ours.
    fn of(name: &str) -> Option<(Self, &str)> {
        let rest = name.strip_prefix(PREFIX)?.strip_prefix('-')?;
        let mut parts = rest.splitn(3, '-');
        let (pid, start_ticks) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((Self { pid, start_ticks }, parts.next()?))
    }

    fn lives(self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    fn name(self, of: &str) -> String {
        format!("{PREFIX}-{}-{}-{of}", self.pid, self.start_ticks)
    }
}

/// When a process began, as field 22 of `/proc/PID/stat` has it.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    process.stat().ok().map(|stat| stat.starttime)
}

/// A folder of the lab's own; gone when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;

        let path = std::env::temp_dir().join(Owner::this()?.name("files"));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now is a leftover for the next lab.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[derive(Debug)]
pub(super) struct Space {
    pub(super) name: String,
}

/// All namespaces of a lab; gone when dropped, with all that runs in them.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// One a host, in their order; the switch is the last.
    spaces: Vec<Space>,
}

impl Site {
    pub(super) fn new(hosts: &[HostAt]) -> Result<Self> {
        let owner = Owner::this()?;
        let mut site = Self::default();
        let names = hosts.iter().map(|host| host.name.as_str()).chain([SWITCH]);
        for name in names {
            let name = owner.name(name);
            ip(&["netns", "add", &name])?;
            // From here on it is removed whatever happens.
            site.spaces.push(Space { name: name.clone() });
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        let switch = site.switch().to_owned();
        ip(&["-n", &switch, "link", "add", SWITCH_INTERFACE, "type", "bridge"])?;
        up(&switch, SWITCH_INTERFACE)?;
        for (at, host) in hosts.iter().enumerate() {
            site.join(at, host, hosts)?;
        }
        site.wait_for_carriers(hosts)?;
        for space in &site.spaces {
            let routes = ip(&["-n", &space.name, "route", "show", "default"])?;
            ensure!(routes.trim().is_empty(), "{} has a default route: {routes}", space.name);
        }
        Ok(site)
    }

    /// Name of a host's namespace.
    pub(super) fn space(&self, host: usize) -> &str {
        self.spaces.get(host).map_or("", |space| &space.name)
    }

    /// Name of the namespace in which all are joined.
    pub(super) fn switch(&self) -> &str {
        self.spaces.last().map_or("", |space| &space.name)
    }

    /// Ends what runs in them and removes them; says what could not be.
    pub(super) fn remove(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        for space in self.spaces.drain(..) {
            if let Err(error) = remove_space(&space.name) {
                failed.push(format!("{error:#}"));
            }
        }
        ensure!(failed.is_empty(), "{}", failed.join("; "));
        Ok(())
    }

    /// A pair of interfaces, made in their namespaces: they never show outside.
    fn join(&self, at: usize, host: &HostAt, hosts: &[HostAt]) -> Result<()> {
        let (space, switch) = (self.space(at), self.switch());
        let port = format!("p-{}", host.name);
        ip(&[
            "link",
            "add",
            HOST_INTERFACE,
            "netns",
            space,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            switch,
        ])?;
        ip(&["-n", switch, "link", "set", &port, "master", SWITCH_INTERFACE])?;
        up(switch, &port)?;
        let address = format!("{}/32", host.address);
        ip(&["-n", space, "address", "add", &address, "dev", HOST_INTERFACE])?;
        up(space, HOST_INTERFACE)?;
        for other in hosts.iter().filter(|other| other.address != host.address) {
            let route = format!("{}/32", other.address);
            ip(&["-n", space, "route", "add", &route, "dev", HOST_INTERFACE])?;
        }
        Ok(())
    }

    fn wait_for_carriers(&self, hosts: &[HostAt]) -> Result<()> {
        let until = Instant::now() + GONE_WITHIN;
        for at in 0..hosts.len() {
            let up = || ip(&["-n", self.space(at), "link", "show", HOST_INTERFACE, "up"]);
            while !up()?.contains("LOWER_UP") {
                ensure!(Instant::now() < until, "{} does not come up", self.space(at));
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let advice = "`flowtap lab run --clean` removes what is left";
            // A closed standard error is nothing to fail for.
            let _ = writeln!(io::stderr(), "flowtap: {error:#}; {advice}");
        }
    }
}

/// Without addresses of its own: nothing on the wire but what a scenario puts there.
fn up(space: &str, interface: &str) -> Result<()> {
    ip(&["-n", space, "link", "set", interface, "addrgenmode", "none"])?;
    ip(&["-n", space, "link", "set", interface, "up"]).map(drop)
}

/// Removes namespaces and folders of labs whose process no longer lives; their names.
pub fn remove_leftovers() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in names_in(Path::new(NAMESPACES)) {
        if Owner::of(&name).is_some_and(|(owner, _)| !owner.lives()) {
            match remove_space(&name) {
                Ok(()) => removed.push(name),
                // Another lab that begins may have been faster.
                Err(_) if !Path::new(NAMESPACES).join(&name).exists() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let temporary = std::env::temp_dir();
    let own = rustix::process::geteuid().as_raw();
    for name in names_in(&temporary) {
        let is_left = Owner::of(&name).is_some_and(|(owner, of)| of == "files" && !owner.lives());
        let path = temporary.join(&name);
        // Somebody else may have put anything there, a link too.
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir() && it.uid() == own);
        if is_left && is_ours {
            match fs::remove_dir_all(&path) {
                Ok(()) => removed.push(name),
                Err(_) if !path.exists() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("can't remove {}", path.display()));
                }
            }
        }
    }
    Ok(removed)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn remove_space(name: &str) -> Result<()> {
    let until = Instant::now() + GONE_WITHIN;
    let path = Path::new(NAMESPACES).join(name);
    if let Ok(space) = fs::metadata(&path) {
        // One may have started another meanwhile.
        while end_all_in(space.ino(), space.dev()) > 0 {
            if Instant::now() > until {
                bail!("processes in {name} do not end");
            }
            std::thread::sleep(LOOK);
        }
    }
    ip(&["netns", "del", name]).map(drop)
}

/// Kills every process of a namespace; how many there were.
fn end_all_in(inode: u64, device: u64) -> usize {
    let is_in = |pid: u32| {
        let space = fs::metadata(format!("/proc/{pid}/ns/net"));
        space.is_ok_and(|space| (space.ino(), space.dev()) == (inode, device))
    };
    let pids = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    let mut found = 0;
    for pid in pids.filter(|&pid| pid != std::process::id() && is_in(pid)) {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { continue };
        // The number may have gone to another process before it was opened.
        if is_in(pid) {
            // Where it is gone by now, that was the aim.
            let _ = pidfd_send_signal(process, Signal::KILL);
            found += 1;
        }
    }
    found
}

fn ip(arguments: &[&str]) -> Result<String> {
    let run = || -> io::Result<_> {
        Command::new("ip").env("PATH", search_path()).args(arguments).output()
    };
    let output = run().context("can't run ip (Debian: iproute2)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_they_are() {
        let own = Owner::this().unwrap();
        assert!(own.lives());
        assert!(!Owner { start_ticks: own.start_ticks + 1, ..own }.lives(), "another process");
        assert_eq!(Owner::of(&own.name("web")), Some((own, "web")));
        for other in ["flowtap-12-3", "flowtap-lab-12-web", "flowtap-lab-x-1-web", "web"] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
    }
}

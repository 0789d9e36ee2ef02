//! What the kernel offers, the clock and the memory.

use std::fs;
use std::io;
use std::path::Path;

use super::{Check, Plan};
use crate::input::live::probe;
use crate::service::kernel::{clock_state, has_netlink, landlock_abi};
use crate::service::metrics::kib_in;

/// A clock that may be wrong by more can't be compared with other sensors'
/// windows of a second.
const CLOCK_ERROR_US: i64 = 100_000;

/// Whether a capture could open its ring.
pub(super) fn ring() -> Check {
    const NAME: &str = "ring";
    match probe::ring() {
        Ok(()) => Check::ok(NAME, "an AF_PACKET ring (TPACKET_V3) can be opened"),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "see cap_net_raw",
                io::ErrorKind::OutOfMemory => "free memory, or use smaller rings (--ring-mib)",
                _ => "modprobe af_packet",
            };
            Check::failing(NAME, error.to_string(), "no packet can be captured without it")
                .remedy(remedy)
        }
    }
}

pub(super) fn checks(plan: &Plan) -> Vec<Check> {
    // One that is not there is told where interfaces are.
    let mut there = plan.interfaces.iter().filter(|name| probe::interface(name).is_ok());
    let interface = there.next().map_or("lo", String::as_str);
    vec![
        kernel(),
        fanout(interface),
        bpf(),
        feature(
            "sock_diag",
            has_netlink(libc::NETLINK_SOCK_DIAG),
            "sockets by process",
            "modprobe inet_diag",
        ),
        feature(
            "process_events",
            has_process_connector(),
            "processes as they start and end",
            "a kernel with CONFIG_PROC_EVENTS",
        ),
        cgroup(),
        landlock(),
        seccomp(),
        clock(),
        memory(plan),
    ]
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel() -> Check {
    const NAME: &str = "kernel";
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    // PACKET_IGNORE_OUTGOING is the youngest thing that capture itself needs.
    match version_of(&release) {
        Some(version) if version < (4, 20) => {
            let meaning = "older than 4.20: frames over loopback come twice";
            Check::warning(NAME, release, meaning).remedy("a newer kernel")
        }
        Some(_) => Check::ok(NAME, release),
        None => Check::warning(NAME, "unknown", "its version can't be read"),
    }
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn fanout(interface: &str) -> Check {
    const NAME: &str = "fanout";
    match probe::fanout(interface) {
        Ok(()) => Check::ok(NAME, "rings can share an interface's frames (PACKET_FANOUT)"),
        Err(error) => Check::warning(
            NAME,
            error.to_string(),
            "only one worker can take frames from an interface (--workers 1)",
        ),
    }
}

fn bpf() -> Check {
    const NAME: &str = "bpf";
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let unprivileged = match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        None => {
            return Check::warning(NAME, "no BPF programs", "processes are found by polling only");
        }
        Some("0") => "for everybody",
        Some(_) => "with rights",
    };
    if btf {
        return Check::ok(NAME, format!("programs {unprivileged}, BTF present"));
    }
    let found = format!("programs {unprivileged}, no BTF");
    Check::warning(NAME, found, "programs can't be fitted to this kernel")
        .remedy("a kernel with CONFIG_DEBUG_INFO_BTF")
}

/// Something that host attribution builds on; capture works without.
fn feature(name: &'static str, there: bool, gives: &str, remedy: &str) -> Check {
    if there {
        return Check::ok(name, format!("there ({gives})"));
    }
    Check::warning(name, "missing", format!("not to be had: {gives}; capture works without"))
        .remedy(remedy)
}

fn cgroup() -> Check {
    judge_cgroup(&read("/proc/self/mounts").unwrap_or_default())
}

/// By mounts(5). Containers and services are found by either version; who makes a
/// socket is seen before its first use where version 2 is mounted.
fn judge_cgroup(mounts: &str) -> Check {
    const NAME: &str = "cgroup_v2";
    const REMEDY: &str = "boot with systemd.unified_cgroup_hierarchy=1";
    let of = |kind: &str| {
        let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        mounts
            .filter(|fields| fields.get(2) == Some(&kind))
            .find_map(|fields| fields.get(1).map(|place| (*place).to_owned()))
    };
    match (of("cgroup2"), of("cgroup")) {
        (Some(place), None) => Check::ok(NAME, format!("version 2 at {place}")),
        (Some(place), Some(_)) => Check::ok(NAME, format!("version 1, and 2 at {place}")),
        (None, Some(_)) => Check::warning(
            NAME,
            "version 1 alone",
            "who makes a socket is seen by eBPF only once it is used",
        )
        .remedy(REMEDY),
        (None, None) => Check::warning(
            NAME,
            "missing",
            "not to be had: containers and services of processes; capture works without",
        )
        .remedy(REMEDY),
    }
}

fn has_process_connector() -> bool {
    let registered = read("/proc/net/connector");
    registered.is_some_and(|table| table.contains("cn_proc"))
}

fn landlock() -> Check {
    const NAME: &str = "landlock";
    match landlock_abi() {
        Ok(abi) => Check::ok(NAME, format!("ABI {abi}")),
        Err(error) => Check::warning(
            NAME,
            error.to_string(),
            "the process can't give up its access to files; capture works without",
        )
        .remedy("boot with lsm=landlock,... and a kernel from 5.13 on"),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Check::ok(NAME, "filters of system calls")
        }
        _ => Check::warning(
            NAME,
            "missing",
            "the process can't give up system calls; capture works without",
        )
        .remedy("a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn clock() -> Check {
    const NAME: &str = "clock";
    const MEANING: &str = "time stamps can't be compared with those of other machines";
    const REMEDY: &str = "timedatectl set-ntp true    (or chronyd)";
    match clock_state() {
        Err(error) => Check::warning(NAME, error.to_string(), "its state can't be read"),
        Ok(state) if !state.synchronised => {
            Check::warning(NAME, "not synchronised", MEANING).remedy(REMEDY)
        }
        Ok(state) => {
            let error_us = state.estimated_error_us;
            let found = format!("synchronised, estimated error {error_us} us");
            if error_us > CLOCK_ERROR_US {
                Check::warning(NAME, found, MEANING).remedy(REMEDY)
            } else {
                Check::ok(NAME, found)
            }
        }
    }
}

fn memory(plan: &Plan) -> Check {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = kib_in(&table, "MemAvailable:").map(|kib| kib.saturating_mul(1_024));
    judge_memory(plan, free)
}

/// Rings are not swapped, and all is taken at the start.
fn judge_memory(plan: &Plan, free_bytes: Option<u64>) -> Check {
    const NAME: &str = "memory";
    const REMEDY: &str = "smaller rings (--ring-mib), or fewer workers (--workers)";
    let mib = |bytes: u64| bytes >> 20;
    let rings = plan.interfaces.len().max(1).saturating_mul(plan.rings);
    let wanted = (rings as u64).saturating_mul(plan.ring_bytes as u64);
    let Some(free) = free_bytes else {
        return Check::warning(NAME, "unknown", "/proc/meminfo can't be read");
    };
    let found = format!("{} MiB for {rings} rings, {} MiB available", mib(wanted), mib(free));
    if wanted > free {
        Check::failing(NAME, found, "the rings can't be made").remedy(REMEDY)
    } else if wanted > free / 2 {
        Check::warning(NAME, found, "little is left for flows").remedy(REMEDY)
    } else {
        Check::ok(NAME, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn rings_are_held_against_the_memory_that_is_available() {
        let interfaces = vec!["a".to_owned(), "b".to_owned()];
        let plan = Plan { interfaces, rings: 4, ring_bytes: 64 << 20 };
        let status = |free| judge_memory(&plan, Some(free)).status;
        assert_eq!(status(1 << 30), Status::Ok);
        assert_eq!(status((1 << 30) - 2), Status::Warning);
        assert_eq!(status(512 << 20), Status::Warning);
        assert_eq!(status((512 << 20) - 1), Status::Failing);
    }

    #[test]
    fn versions_of_control_groups_are_read_from_the_mounts() {
        let one = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n";
        let two = "none /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = |mounts: &str| judge_cgroup(mounts).found;
        assert_eq!(found(two), "version 2 at /sys/fs/cgroup/unified");
        assert_eq!(found(&[one, two].concat()), "version 1, and 2 at /sys/fs/cgroup/unified");
        assert_eq!(found(one), "version 1 alone");
        assert_eq!(found("tmpfs /tmp tmpfs rw 0 0\nbroken\n"), "missing");
        assert_eq!(judge_cgroup(one).status, Status::Warning);
    }

    #[test]
    fn releases_are_read_as_versions() {
        assert_eq!(version_of("6.18.44-custom"), Some((6, 18)));
        assert_eq!(version_of("4.19"), Some((4, 19)));
        assert_eq!(version_of("custom"), None);
        assert_eq!(version_of(""), None);
    }
}

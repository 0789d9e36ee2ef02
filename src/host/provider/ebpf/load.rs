//! Brings the programs into the kernel, and says what is in the way of that.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSock, Program, ProgramError};
use aya::{Btf, Ebpf};
use caps::{CapSet, Capability};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::host::provider::ProviderError;

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowtap.bpf.o"));
#[cfg(not(bpf_object))]
static OBJECT: &[u8] = &[];

/// Tracepoints that there is a program for, and whether the provider makes sense
/// without it.
const TRACEPOINTS: [(&str, Needed); 7] = [
    ("sched_process_exec", Needed::Yes),
    ("sched_process_fork", Needed::Yes),
    ("sched_process_exit", Needed::Yes),
    ("inet_sock_set_state", Needed::Yes),
    ("net_dev_queue", Needed::Yes),
    ("sock_send_length", Needed::SinceLinux6_3),
    ("sock_recv_length", Needed::SinceLinux6_3),
];

const CGROUP_HOOKS: [&str; 4] = ["sock_create", "post_bind4", "post_bind6", "sock_release"];

/// Kinds of losses that the programs count (`enum lost_kind`).
const LOST_KINDS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    /// Without it whoever made or connected a socket is named, not who uses it.
    SinceLinux6_3,
}

/// The initial namespace of process numbers has this inode on every Linux: the
/// programs speak in its numbers.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether processes can be watched by eBPF here, and if not, why.
pub fn available() -> Result<(), ProviderError> {
    if cfg!(not(bpf_object)) {
        return Err(unavailable("built without clang: install clang and build again"));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(unavailable(
            "the kernel does not describe its types (/sys/kernel/btf/vmlinux is missing): \
             it needs CONFIG_DEBUG_INFO_BTF",
        ));
    }
    let missing = missing_capabilities();
    if !missing.is_empty() {
        return Err(unavailable(format!("no right to: it needs {}", missing.join(", "))));
    }
    match std::fs::read_link("/proc/self/ns/pid") {
        Ok(space) if space.as_os_str() != FIRST_PID_NAMESPACE => Err(unavailable(
            "runs in a process namespace of its own, where the host's processes have other \
             numbers: run it on the host (in a container with --pid=host)",
        )),
        _ => Ok(()),
    }
}

/// CAP_SYS_ADMIN stands for all of them.
fn missing_capabilities() -> Vec<String> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN]
        .into_iter()
        .filter(|capability| !has(*capability))
        .map(|capability| capability.to_string())
        .collect()
}

pub(super) fn unavailable(reason: impl Into<String>) -> ProviderError {
    ProviderError::Unavailable { what: "watching processes by eBPF", reason: reason.into() }
}

/// The programs at work. They leave the kernel when it is dropped.
pub(super) struct Loaded {
    programs: Ebpf,
    pub(super) ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
}

impl Loaded {
    pub(super) fn new() -> Result<Self, ProviderError> {
        let btf = Btf::from_sys_fs().map_err(|error| failed("the kernel's types", &error))?;
        let mut programs = aya::EbpfLoader::new()
            .btf(Some(&btf))
            .load(OBJECT)
            .map_err(|error| failed("the programs' maps", &error))?;
        let ring = take_map(&mut programs, "events", RingBuf::try_from)?;
        let lost = take_map(&mut programs, "lost_events", PerCpuArray::try_from)?;
        let mut loaded = Self { programs, ring, lost, lost_before: 0 };
        // Processes and hooks of sockets first: what a packet or call then refers to
        // is there.
        for (name, needed) in TRACEPOINTS {
            match loaded.attach_tracepoint(name, &btf) {
                Err(error) if needed == Needed::Yes => return Err(program_failed(name, &error)),
                Err(error) => tracing::warn!(
                    "sockets belong to whoever made or connected them, not to who uses them: \
                     {name}, which Linux has since 6.3, could not be watched ({})",
                    short(&error)
                ),
                Ok(()) => {}
            }
        }
        match root_cgroup() {
            Ok(root) => {
                for name in CGROUP_HOOKS {
                    let attached = loaded.attach_cgroup(name, &root);
                    attached.map_err(|error| program_failed(name, &error))?;
                }
            }
            Err(error) => tracing::warn!(
                "who makes a socket is seen only once it is used: no cgroup2 file system is \
                 mounted or can be ({error})"
            ),
        }
        Ok(loaded)
    }

    /// Events lost since the last call.
    pub(super) fn take_lost(&mut self) -> Result<u64, ProviderError> {
        let mut sum = 0_u64;
        for kind in 0..LOST_KINDS {
            let counts = self.lost.get(&kind, 0).map_err(|error| failed("its losses", &error))?;
            sum = counts.iter().fold(sum, |sum, count| sum.wrapping_add(*count));
        }
        let new = sum.saturating_sub(self.lost_before);
        self.lost_before = sum;
        Ok(new)
    }

    fn attach_tracepoint(&mut self, name: &str, btf: &Btf) -> Result<(), ProgramError> {
        let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
        program.load(name, btf)?;
        program.attach()?;
        Ok(())
    }

    fn attach_cgroup(&mut self, name: &str, root: &OwnedFd) -> Result<(), ProgramError> {
        let program: &mut CgroupSock = self.program(name)?.try_into()?;
        program.load()?;
        // By a link, which always stands beside whatever others attached; with one
        // the kernel takes no mode.
        program.attach(root, CgroupAttachMode::Single)?;
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, ProgramError> {
        self.programs.program_mut(name).ok_or(ProgramError::NotLoaded)
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("programs", &self.programs).finish_non_exhaustive()
    }
}

fn take_map<T>(
    programs: &mut Ebpf,
    name: &'static str,
    typed: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, ProviderError> {
    let map = programs.take_map(name).ok_or_else(|| unavailable(format!("no map {name}")))?;
    typed(map).map_err(|error| failed(name, &error))
}

/// The top of the unified hierarchy, wherever it is mounted. Where nothing shows it
/// (`ip netns exec` covers it) by a mount of its own that nobody else sees.
fn root_cgroup() -> io::Result<OwnedFd> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounts = procfs::process::Process::myself().and_then(|me| me.mountinfo());
    let mounts = mounts.map_err(io::Error::other)?;
    if let Some(root) = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2") {
        return Ok(openat(CWD, &root.mount_point, folder, Mode::empty())?);
    }
    let system = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&system)?;
    let mount = fsmount(
        &system,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    Ok(openat(&mount, ".", folder, Mode::empty())?)
}

fn program_failed(name: &str, error: &ProgramError) -> ProviderError {
    unavailable(format!("the kernel refused the program {name}: {}", short(error)))
}

/// The kernel's own words end a long log: its last lines say what was wrong.
fn short(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
    format!("{io_error} ({last})")
}

fn failed(what: &str, error: &dyn std::error::Error) -> ProviderError {
    unavailable(format!("{what}: {}", chain(error)))
}

/// An error with what it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

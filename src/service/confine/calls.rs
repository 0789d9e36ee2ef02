//! System calls, by two seccomp filters.
//!
//! One names the calls that are allowed: those that the program was seen to
//! make in all its tests (strace), and, as a margin, the relatives of each that
//! another version of the C library may use instead (`pread64` and `preadv2`,
//! `newfstatat` and `statx`). Every other call fails with ENOSYS, as on a kernel
//! that does not have it: a library that tries a newer call first then falls
//! back to an older one. EPERM would not tell it to, and a sensor that runs for
//! months must not be killed by an update of a library.
//!
//! The other kills the process at calls that no correct run, of no version of
//! any library in it, makes: they start programs, look into other processes,
//! load code into the kernel, or change what the machine is. Who makes them has
//! been taken over.
//!
//! Arguments are looked at where it is cheap: new threads but no processes,
//! sockets of the families in use, signals to the process itself, no typing
//! into terminals. Who watches processes can't be bound by Landlock (see
//! [`Plan::watcher`](super::Plan::watcher)), so calls stand in for it there: files
//! are opened for reading alone, and there are no TCP sockets unless pods are
//! asked for over the network.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What is left to a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calls {
    /// Files, memory, threads.
    #[default]
    Local,
    /// Those, and sockets.
    Network,
    /// To look at processes and at the kernel's tables in every network namespace;
    /// nothing is written.
    Watcher {
        /// A list of pods is fetched over the network.
        fetches: bool,
    },
}

/// Of every run.
#[rustfmt::skip]
const LOCAL: &[i64] = &[
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mincore, libc::SYS_msync, libc::SYS_membarrier,
    // Files.
    libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_read, libc::SYS_readv, libc::SYS_pread64,
    libc::SYS_preadv, libc::SYS_preadv2, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev,
    libc::SYS_pwritev2, libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range,
    libc::SYS_fallocate, libc::SYS_ftruncate, libc::SYS_truncate, libc::SYS_fadvise64, libc::SYS_readahead,
    libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_unlinkat, libc::SYS_mkdirat, libc::SYS_linkat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat,
    libc::SYS_umask, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_eventfd2,
    // Waiting, and the time.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime,
    libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_adjtimex, libc::SYS_clock_adjtime, libc::SYS_times,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    // Threads and signals.
    libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq,
    libc::SYS_set_tid_address, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_getcpu, libc::SYS_sigaltstack, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_restart_syscall,
    // About itself and the machine.
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid,
    libc::SYS_getgroups, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_capget, libc::SYS_uname, libc::SYS_sysinfo,
    libc::SYS_getrusage, libc::SYS_prlimit64, libc::SYS_getpriority, libc::SYS_getrandom,
];

/// Older forms of the same, which other processors do not have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[i64] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents,
    libc::SYS_rename, libc::SYS_unlink, libc::SYS_rmdir, libc::SYS_mkdir, libc::SYS_link, libc::SYS_chmod,
    libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_time,
    libc::SYS_arch_prctl, libc::SYS_getrlimit, libc::SYS_getpgrp,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

#[rustfmt::skip]
const NETWORK: &[i64] = &[
    libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_getsockname,
    libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_recvfrom,
    libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown,
];

/// Packets; receivers and the metrics; the manager and local sockets; interfaces
/// (libpcap, and the C library when it orders addresses).
const FAMILIES: [i32; 5] =
    [libc::AF_PACKET, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];

/// Of a watcher: the kernel's tables and notices.
const WATCHER_FAMILIES: [i32; 1] = [libc::AF_NETLINK];

/// To fetch pods: their server, and what it takes to look its name up.
const FETCHER_FAMILIES: [i32; 4] = [libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];

/// What a watcher has less: it changes no file, waits for nobody to connect, and moves
/// no thread.
#[rustfmt::skip]
const NOT_OF_WATCHERS: &[i64] = &[
    libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_sync_file_range, libc::SYS_fallocate, libc::SYS_ftruncate, libc::SYS_truncate, libc::SYS_copy_file_range,
    libc::SYS_sendfile, libc::SYS_splice, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat,
    libc::SYS_mkdirat, libc::SYS_linkat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat,
    libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_sched_setaffinity,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER_NOT_OF_WATCHERS: &[i64] = &[
    libc::SYS_rename, libc::SYS_unlink, libc::SYS_rmdir, libc::SYS_mkdir, libc::SYS_link, libc::SYS_chmod,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_NOT_OF_WATCHERS: &[i64] = &[];

/// What a watcher has more. `openat2` keeps a path below a container's root, and
/// has its flags where no filter sees them; `getxattr` tells kinds of sockets.
const OF_WATCHERS: &[i64] = &[libc::SYS_openat2, libc::SYS_getxattr];

/// Opening with any of these can change a file.
const WRITING_FLAGS: u64 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;

/// Of bpf(2), to read a map: what the programs in the kernel have counted.
const BPF_MAP_LOOKUP_ELEM: u64 = 1;

/// Calls that no correct run makes, but a watcher with this argument (its place and
/// value): to enter a network namespace, to read a map.
const DEADLY_BUT: [(i64, u8, u64); 2] =
    [(libc::SYS_setns, 1, libc::CLONE_NEWNET as u64), (libc::SYS_bpf, 0, BPF_MAP_LOOKUP_ELEM)];

/// The name of a thread, and of memory (newer C libraries).
const PRCTL: [i32; 3] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// To put characters into a terminal's input, as if typed.
const TYPING: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// No correct run makes these.
#[rustfmt::skip]
const DEADLY: &[i64] = &[
    // Other programs.
    libc::SYS_execve, libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd, libc::SYS_kcmp,
    // Other views of the machine.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsmount,
    libc::SYS_fsconfig, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_pivot_root, libc::SYS_chroot,
    libc::SYS_setns, libc::SYS_unshare, libc::SYS_open_by_handle_at,
    // The kernel.
    libc::SYS_bpf, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // The machine.
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_settimeofday,
    libc::SYS_clock_settime, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_syslog,
    // Other rights.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capset,
];

/// Installs both filters for this thread and all that it starts.
pub(super) fn restrict(calls: Calls) -> Result<(), String> {
    available()?;
    let install = || -> Result<(), seccompiler::Error> {
        // This one first: the other no longer allows to install any.
        apply_filter(&deadly_filter(calls)?)?;
        apply_filter(&allowed_filter(calls, std::process::id())?)
    };
    install().map_err(|error| error.to_string())
}

/// Whether the kernel, and this processor, have filters.
pub(super) fn available() -> Result<(), String> {
    if TargetArch::try_from(std::env::consts::ARCH).is_err() {
        return Err(format!("no list of calls for {}", std::env::consts::ARCH));
    }
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let actions = actions.unwrap_or_default();
    let has = |name| actions.split_whitespace().any(|action| action == name);
    if has("errno") && has("kill_process") {
        Ok(())
    } else {
        Err("the kernel has no seccomp filters".to_owned())
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn deadly_filter(calls: Calls) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: Rules = DEADLY.iter().map(|&call| (call, Vec::new())).collect();
    if let Calls::Watcher { .. } = calls {
        for (call, argument, value) in DEADLY_BUT {
            rules.insert(call, vec![all([(argument, SeccompCmpOp::Ne, value)])?]);
        }
    }
    compile(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn allowed_filter(calls: Calls, process: u32) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = allow(LOCAL.iter().chain(OLDER));
    // Threads only. clone3 hides its flags in memory: the C library takes clone instead.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![all([(0, SeccompCmpOp::MaskedEq(thread), thread)])?]);
    rules.insert(libc::SYS_prctl, any(0, &PRCTL)?);
    // Signals to itself: abort, and the end by a second signal.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![all([(0, SeccompCmpOp::Eq, u64::from(process))])?]);
    }
    let not_typing = TYPING.map(|request| (1, SeccompCmpOp::Ne, request));
    rules.insert(libc::SYS_ioctl, vec![all(not_typing)?]);
    match calls {
        Calls::Local => {}
        Calls::Network => {
            rules.extend(allow(NETWORK));
            rules.insert(libc::SYS_socket, any(0, &FAMILIES)?);
            rules.insert(libc::SYS_socketpair, any(0, &[libc::AF_UNIX])?);
        }
        Calls::Watcher { fetches } => watch(&mut rules, fetches)?,
    }
    compile(rules, SeccompAction::Errno(libc::ENOSYS as u32), SeccompAction::Allow)
}

fn allow<'a>(calls: impl IntoIterator<Item = &'a i64>) -> Rules {
    calls.into_iter().map(|&call| (call, Vec::new())).collect()
}

/// Makes the rules of every run those of a watcher.
fn watch(rules: &mut Rules, fetches: bool) -> Result<(), seccompiler::BackendError> {
    rules.extend(allow(NETWORK));
    for call in NOT_OF_WATCHERS.iter().chain(OLDER_NOT_OF_WATCHERS) {
        rules.remove(call);
    }
    rules.extend(allow(OF_WATCHERS));
    let families = if fetches { &FETCHER_FAMILIES[..] } else { &WATCHER_FAMILIES };
    rules.insert(libc::SYS_socket, any(0, families)?);
    let reading = |flags| all([(flags, SeccompCmpOp::MaskedEq(WRITING_FLAGS), 0)]);
    rules.insert(libc::SYS_openat, vec![reading(2)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![reading(1)?]);
    for (call, argument, value) in DEADLY_BUT {
        rules.insert(call, vec![all([(argument, SeccompCmpOp::Eq, value)])?]);
    }
    // The priority of the calling thread.
    let own = [(0, SeccompCmpOp::Eq, libc::PRIO_PROCESS.into()), (1, SeccompCmpOp::Eq, 0)];
    rules.insert(libc::SYS_setpriority, vec![all(own)?]);
    Ok(())
}

fn compile(
    rules: Rules,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let processor = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, others, these, processor)?.try_into()
}

/// Conditions on arguments that all have to be met.
fn all<const N: usize>(
    conditions: [(u8, SeccompCmpOp, u64); N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    // The kernel looks at 32 bits of all arguments that are looked at here.
    let conditions = conditions.into_iter().map(|(argument, operator, value)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// An argument that is one of these.
fn any(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values.iter().map(|&value| all([(argument, SeccompCmpOp::Eq, value as u64)])).collect()
}

#[cfg(test)]
mod tests;

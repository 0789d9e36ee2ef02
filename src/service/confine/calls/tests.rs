use super::*;

const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// What the kernel would answer: another reading of the program than that
/// of the crate which wrote it (linux/bpf_common.h, seccomp(2)).
fn answer(program: &[seccompiler::sock_filter], call: i64, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend((call as u32).to_ne_bytes());
    data.extend(ARCH.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let branch = |met: bool| usize::from(if met { step.jt } else { step.jf });
        match step.code {
            0x20 => {
                let word = &data[step.k as usize..][..4];
                value = u32::from_ne_bytes(word.try_into().unwrap());
            }
            0x54 => value &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += branch(value == step.k),
            0x25 => at += branch(value > step.k),
            0x35 => at += branch(value >= step.k),
            0x06 => return step.k,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const NOT_THERE: u32 = 0x0005_0000 | libc::ENOSYS as u32;
const PROCESS: u32 = 4_711;

/// The stricter of both filters decides.
fn decided(calls: Calls, call: i64, arguments: [u64; 6]) -> u32 {
    if answer(&deadly_filter(calls).unwrap(), call, arguments) == KILL_PROCESS {
        return KILL_PROCESS;
    }
    answer(&allowed_filter(calls, PROCESS).unwrap(), call, arguments)
}

#[test]
fn each_call_is_allowed_deadly_or_not_there() {
    let any = [0; 6];
    for &call in LOCAL.iter().chain(OLDER) {
        assert_eq!(decided(Calls::Local, call, any), ALLOW, "{call}");
        assert!(!DEADLY.contains(&call), "{call} is in both lists");
    }
    for &call in NETWORK {
        assert_eq!(decided(Calls::Network, call, any), ALLOW, "{call}");
        assert_eq!(decided(Calls::Local, call, any), NOT_THERE, "{call}");
    }
    for &call in DEADLY {
        for calls in [Calls::Local, Calls::Network] {
            assert_eq!(decided(calls, call, any), KILL_PROCESS, "{call}");
        }
    }
    let by_argument = [libc::SYS_clone, libc::SYS_prctl, libc::SYS_kill, libc::SYS_tgkill];
    let by_argument =
        [&by_argument, &[libc::SYS_ioctl, libc::SYS_socket, libc::SYS_socketpair][..]];
    let by_argument = by_argument.concat();
    let named = |call: &i64| {
        let lists = [LOCAL, OLDER, NETWORK, DEADLY, &by_argument];
        lists.iter().any(|list| list.contains(call))
    };
    // All others, those that no kernel has yet too, and those of x32.
    let others = (0..2_000).chain(0x4000_0000..0x4000_0400).filter(|call| !named(call));
    let calls = Calls::Network;
    let (allowed, deadly) =
        (allowed_filter(calls, PROCESS).unwrap(), deadly_filter(calls).unwrap());
    for call in others {
        assert_eq!(answer(&allowed, call, any), NOT_THERE, "{call}");
        assert_eq!(answer(&deadly, call, any), ALLOW, "{call}");
    }
}

const WATCHER: Calls = Calls::Watcher { fetches: false };

#[test]
fn a_watcher_enters_networks_reads_maps_and_is_killed_for_what_else_these_calls_do() {
    let watcher = |call, first, second| decided(WATCHER, call, [first, second, 0, 0, 0, 0]);
    assert_eq!(watcher(libc::SYS_setns, 9, libc::CLONE_NEWNET as u64), ALLOW);
    for kind in [0, libc::CLONE_NEWNS, libc::CLONE_NEWUSER, libc::CLONE_NEWNET | 1] {
        assert_eq!(watcher(libc::SYS_setns, 9, kind as u64), KILL_PROCESS, "{kind}");
    }
    for command in 0..64 {
        let expected = if command == BPF_MAP_LOOKUP_ELEM { ALLOW } else { KILL_PROCESS };
        assert_eq!(watcher(libc::SYS_bpf, command, 0), expected, "{command}");
    }
    for &call in DEADLY.iter().filter(|&call| !DEADLY_BUT.iter().any(|but| but.0 == *call)) {
        assert_eq!(watcher(call, 0, 0), KILL_PROCESS, "{call}");
    }
    assert_eq!(watcher(libc::SYS_setpriority, 0, 0), ALLOW);
    for (kind, other) in [(0, 1), (1, 0), (2, 0)] {
        assert_eq!(watcher(libc::SYS_setpriority, kind, other), NOT_THERE);
    }
}

#[test]
fn a_watcher_changes_no_file_and_has_only_the_sockets_that_it_needs() {
    let open = |flags: i32| decided(WATCHER, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
    for flags in [libc::O_RDONLY, libc::O_PATH, libc::O_RDONLY | libc::O_DIRECTORY] {
        assert_eq!(open(flags | libc::O_CLOEXEC), ALLOW);
    }
    let writing = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE | 2];
    for flags in writing {
        assert_eq!(open(flags), NOT_THERE, "{flags:#x}");
    }
    for &call in NOT_OF_WATCHERS.iter().chain(OLDER_NOT_OF_WATCHERS) {
        assert_eq!(decided(WATCHER, call, [0; 6]), NOT_THERE, "{call}");
        assert_eq!(decided(Calls::Network, call, [0; 6]), ALLOW, "{call}: named for nothing");
    }
    for &call in OF_WATCHERS {
        assert_eq!(decided(WATCHER, call, [0; 6]), ALLOW, "{call}");
    }
    for (fetches, families) in [(false, &WATCHER_FAMILIES[..]), (true, &FETCHER_FAMILIES)] {
        for family in 0..64 {
            let arguments = [family as u64, 0, 0, 0, 0, 0];
            let answer = decided(Calls::Watcher { fetches }, libc::SYS_socket, arguments);
            let expected = if families.contains(&family) { ALLOW } else { NOT_THERE };
            assert_eq!(answer, expected, "{family}, fetches: {fetches}");
        }
    }
}

#[test]
fn threads_but_no_processes() {
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
    let clone = |flags| decided(Calls::Local, libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
    assert_eq!(clone(thread), ALLOW);
    assert_eq!(clone(libc::SIGCHLD as u64), NOT_THERE);
    assert_eq!(clone((libc::CLONE_VM | libc::CLONE_VFORK) as u64), NOT_THERE);
    assert_eq!(decided(Calls::Local, libc::SYS_clone3, [0; 6]), NOT_THERE);
}

#[test]
fn sockets_of_the_families_in_use_signals_to_itself_and_no_typing() {
    let first = |call, argument| decided(Calls::Network, call, [argument, 0, 0, 0, 0, 0]);
    for family in 0..64 {
        let expected = if FAMILIES.contains(&family) { ALLOW } else { NOT_THERE };
        assert_eq!(first(libc::SYS_socket, family as u64), expected, "{family}");
        let local = decided(Calls::Local, libc::SYS_socket, [family as u64, 0, 0, 0, 0, 0]);
        assert_eq!(local, NOT_THERE);
    }
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        assert_eq!(first(call, u64::from(PROCESS)), ALLOW);
        // Another one, all, and its group.
        for other in [1, u64::MAX, 0, u64::from(PROCESS).wrapping_neg()] {
            assert_eq!(first(call, other), NOT_THERE);
        }
    }
    let second = |request| decided(Calls::Local, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
    assert_eq!(second(libc::FIONBIO), ALLOW);
    assert_eq!(second(libc::TIOCSTI), NOT_THERE);
    assert_eq!(second(libc::TIOCLINUX), NOT_THERE);
    assert_eq!(first(libc::SYS_prctl, libc::PR_SET_NAME as u64), ALLOW);
    assert_eq!(first(libc::SYS_prctl, libc::PR_SET_DUMPABLE as u64), NOT_THERE);
}

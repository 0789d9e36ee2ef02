use super::*;

const NOBODY: u32 = (1 << 22) - 1; // above any pid_max in use

fn myself() -> u32 {
    std::process::id()
}

fn refreshed() -> ProcessTable {
    let mut table = ProcessTable::new();
    table.refresh(&mut Vec::new()).unwrap();
    table
}

fn start(event: &HostEvent) -> &Process {
    match &event.what {
        What::ProcessStart(process) => process,
        other => panic!("not a start: {other:?}"),
    }
}

#[test]
fn parents_are_told_before_their_children() {
    let mut told = Vec::new();
    let mut table = ProcessTable::new();
    table.refresh(&mut told).unwrap();
    let mut seen = std::collections::HashSet::new();
    for event in &told {
        let process = start(event);
        if let Some(parent) = process.parent {
            assert!(seen.contains(&parent), "{process:?} came before its parent");
        }
        seen.insert(process.id);
    }
    let own = table.by_pid(myself()).unwrap();
    assert!(seen.contains(&own.id) && own.parent.is_some());
    assert!(told.is_sorted_by_key(|event| event.time_ns));
}

#[test]
fn one_that_is_gone_before_it_is_read_has_what_its_parent_had() {
    let mut table = refreshed();
    let parent = table.by_pid(myself()).unwrap().clone();
    let time_ns = KernelClock::wall_now_ns();
    let mut told = Vec::new();
    table.apply(ProcEvent::Fork { parent: myself(), child: NOBODY, time_ns }, &mut told);
    table.apply(ProcEvent::Exec { pid: NOBODY, time_ns: time_ns + 1 }, &mut told);
    table.apply(ProcEvent::Exit { pid: NOBODY, time_ns: time_ns + 2 }, &mut told);
    assert_eq!(told.len(), 3);
    let copy = start(&told[0]);
    assert_eq!(
        (copy.id.pid, copy.parent, copy.started_ns),
        (NOBODY, Some(parent.id), Some(time_ns))
    );
    assert_eq!((&copy.exe, &copy.args, copy.uid), (&parent.exe, &parent.args, parent.uid));
    let What::ProcessExec(after) = &told[1].what else { panic!("{:?}", told[1]) };
    assert!(after.exe.is_empty() && after.args.is_empty(), "the parent's program is not its own");
    assert_eq!((after.id, after.uid, &after.cgroup), (copy.id, parent.uid, &parent.cgroup));
    assert_eq!(told[2].what, What::ProcessExit(copy.id));
    let start_ns = KernelClock::now().start_to_wall_ns(copy.id.start_ticks);
    assert!((start_ns - time_ns).abs() <= 20_000_000, "start is {} ns off", start_ns - time_ns);
    assert_eq!((table.counters().unread, table.by_pid(NOBODY)), (1, None));
}

#[test]
fn an_unknown_parent_and_its_ancestors_are_told_first() {
    let mut table = ProcessTable::new();
    let mut told = Vec::new();
    let time_ns = KernelClock::wall_now_ns();
    table.apply(ProcEvent::Fork { parent: myself(), child: NOBODY, time_ns }, &mut told);
    let pids: Vec<u32> = told.iter().map(|event| start(event).id.pid).collect();
    assert!(pids.len() >= 2, "{pids:?}");
    assert_eq!(pids[pids.len() - 2..], [myself(), NOBODY]);
    assert_eq!(start(&told[0]).parent, None, "the first has no parent");
}

#[test]
fn a_number_that_comes_again_is_another_process() {
    let mut table = refreshed();
    let time_ns = KernelClock::wall_now_ns();
    let mut told = Vec::new();
    for time_ns in [time_ns, time_ns + 30_000_000_000] {
        table.apply(ProcEvent::Fork { parent: myself(), child: NOBODY, time_ns }, &mut told);
    }
    let (first, second) = (start(&told[0]).id, start(&told[2]).id);
    assert_eq!(told[1].what, What::ProcessExit(first));
    assert_ne!(first, second);
    assert!(table.get(first).is_none() && table.get(second).is_some());
}

#[test]
fn a_full_table_still_tells() {
    let mut table = ProcessTable::with_max(2);
    let mut told = Vec::new();
    table.refresh(&mut told).unwrap();
    assert!(told.len() > 2);
    assert_eq!(table.len(), 2);
    assert_eq!(table.counters().not_kept, told.len() as u64 - 2);
    let time_ns = KernelClock::wall_now_ns();
    told.clear();
    table.apply(ProcEvent::Fork { parent: myself(), child: NOBODY, time_ns }, &mut told);
    assert_eq!(told.len(), 1);
}

#[test]
fn a_second_look_tells_only_what_changed() {
    let mut table = refreshed();
    let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    let of_child = |told: &[HostEvent]| -> Vec<&'static str> {
        told.iter()
            .filter_map(|event| match &event.what {
                What::ProcessStart(process) if process.id.pid == pid => Some("start"),
                What::ProcessExec(process) if process.id.pid == pid => Some("exec"),
                What::ProcessExit(id) if id.pid == pid => Some("exit"),
                _ => None,
            })
            .collect()
    };
    let mut look = || {
        let mut told = Vec::new();
        table.refresh(&mut told).unwrap();
        of_child(&told)
    };
    assert_eq!(look(), ["start"]);
    assert!(look().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(look(), ["exit"]);
}

#[test]
fn times_do_not_go_back_but_when_the_clock_was_set() {
    let mut table = refreshed();
    let time_ns = KernelClock::wall_now_ns() + 1_000_000;
    let mut times = |times: [i64; 3]| {
        let mut told = Vec::new();
        for (child, time_ns) in (NOBODY - 3..).zip(times) {
            table.apply(ProcEvent::Fork { parent: myself(), child, time_ns }, &mut told);
        }
        told.iter()
            .filter(|event| matches!(event.what, What::ProcessStart(_)))
            .map(|event| event.time_ns)
            .collect::<Vec<_>>()
    };
    let hour = 3_600_000_000_000;
    assert_eq!(times([time_ns, time_ns - 50, time_ns - hour]), [time_ns, time_ns, time_ns - hour]);
}

#[test]
fn another_look_tells_what_changed_without_an_event() {
    let mut table = refreshed();
    let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
    // The child is there a little before its arguments are.
    while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
        std::thread::yield_now();
    }
    let mut told = Vec::new();
    let fork = ProcEvent::Fork {
        parent: myself(),
        child: child.id(),
        time_ns: KernelClock::wall_now_ns(),
    };
    table.apply(fork, &mut told);
    let id = start(&told[0]).id;
    told.clear();
    table.look_again(id, &mut told);
    table.look_again(id, &mut told);
    child.kill().unwrap();
    child.wait().unwrap();
    table.look_again(id, &mut told);
    assert_eq!(told.len(), 1, "once, when it changed");
    let What::ProcessExec(process) = &told[0].what else { panic!("{:?}", told[0]) };
    assert_eq!((process.id, process.args.join(" ").as_str()), (id, "/bin/sleep 60"));
    assert_eq!(process.parent.map(|parent| parent.pid), Some(myself()));
}

//! What it costs and how much it catches. Figures, not limits: they depend on the
//! machine and what else it does. `tools/test --all` prints them.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flowtap::host::event::What;
use flowtap::host::process::Process;
use flowtap::host::provider::proc::{
    KernelClock, ProcEvent, ProcPoller, ProcessSource as _, ProcessTable, ProcessWatch,
};

use crate::{PATIENCE, Watched, connector};

/// A program that keeps many idle children, all of which end with it.
const SLEEPERS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 0, made = 0;
    for (; made < n; made++) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); for (;;) pause(); }
    }
    printf("%d\n", made);
    fflush(stdout);
    getchar();
    return 0;
}
"#;

struct Sleepers(Child);

impl Sleepers {
    fn start(count: u32) -> Option<(Self, u32)> {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("s.c"), folder.path().join("s"));
        fs::write(&source, SLEEPERS).unwrap();
        let built = Command::new("cc").arg("-O1").arg("-o").arg(&program).arg(&source).status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("SKIP: needs a C compiler (cc)");
            return None;
        }
        let mut child = Command::new(&program)
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some((Self(child), line.trim().parse().unwrap()))
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident_mib() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / f64::from(1 << 20)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Processor time of this thread: what a busy machine does not change much.
fn processor_ms() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Wall and processor milliseconds of what it does.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    let (begun, before) = (Instant::now(), processor_ms());
    let result = work();
    (result, ms(begun.elapsed()), processor_ms() - before)
}

#[test]
#[ignore = "makes 20,000 processes"]
fn figures_of_a_full_host() {
    let Some((_sleepers, made)) = Sleepers::start(20_000) else { return };
    let (mut table, mut told) = (ProcessTable::new(), Vec::new());
    let before_mib = resident_mib();
    let ((), wall, processor) = timed(|| table.refresh(&mut told).unwrap());
    let mib = resident_mib() - before_mib;
    assert!(table.len() >= made as usize);
    println!(
        "snapshot of {} processes: {wall:.0} ms, {processor:.0} ms of a processor, {:.1} us each; \
         {mib:.1} MiB with the events to tell",
        table.len(),
        1e3 * processor / table.len() as f64,
    );
    told.clear();
    told.shrink_to_fit();
    let ((), wall, processor) = timed(|| table.refresh(&mut told).unwrap());
    println!(
        "second look at all: {wall:.0} ms, {processor:.0} ms of a processor, {} changes",
        told.len()
    );

    let mut poller = ProcPoller::new(Duration::ZERO);
    let mut look = || {
        let mut events = Vec::new();
        let (lost, _, processor) = timed(|| poller.next(Duration::ZERO, &mut events).unwrap());
        assert_eq!(lost.events, 0);
        processor
    };
    let (first, second) = (look(), look());
    thread::sleep(Duration::from_secs(2));
    let (_, later) = (look(), look());
    println!(
        "poller, ms of a processor: first look {first:.0}, at young processes {second:.0}, later {later:.1}"
    );

    let Some(mut connector) = connector() else { return };
    let mut events = Vec::new();
    for _ in 0..300 {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let id = child.id();
        while !events.iter().any(|e| matches!(e, ProcEvent::Exit { pid, .. } if *pid == id)) {
            let _ = connector.next(Duration::from_millis(100), &mut events).unwrap();
        }
        child.wait().unwrap();
    }
    let ((), _, processor) =
        timed(|| events.iter().for_each(|event| table.apply(*event, &mut told)));
    println!(
        "{} events of ended processes: {:.1} us of a processor each",
        events.len(),
        1e3 * processor / events.len() as f64
    );
    let pid = std::process::id();
    let mut run = |event: fn(u32, i64) -> ProcEvent| {
        let ((), _, processor) = timed(|| {
            for _ in 0..1000 {
                table.apply(event(pid, KernelClock::wall_now_ns()), &mut told);
            }
        });
        processor
    };
    let exec = run(|pid, time_ns| ProcEvent::Exec { pid, time_ns });
    let again = run(|pid, time_ns| ProcEvent::Fork { parent: 1, child: pid, time_ns });
    println!("of a living process, us of a processor: exec {exec:.1}, fork {again:.1}");
}

#[test]
#[ignore = "a thousand processes of a millisecond, twice"]
fn figures_of_short_processes() {
    for first in [false, true] {
        short_processes(first);
    }
}

/// How many command lines of processes of about a millisecond can be read.
fn short_processes(first: bool) {
    const RUNS: usize = 1000;
    let Some(connector) = connector() else { return };
    let watched = Watched::start(ProcessWatch::new(Box::new(connector)), first);
    let mut lives = Vec::new();
    let mut pids = HashSet::new();
    for run in 0..RUNS {
        let begun = Instant::now();
        let mut child = Command::new("/bin/true").arg(format!("run-{run}")).spawn().unwrap();
        pids.insert(child.id());
        child.wait().unwrap();
        lives.push(begun.elapsed());
    }
    lives.sort();
    let mut last = Command::new("/bin/true").spawn().unwrap();
    last.wait().unwrap();
    let mut read = HashSet::new();
    let mut started = 0;
    let until = Instant::now() + PATIENCE;
    while let Ok((_, event)) = watched.told.recv_deadline(until) {
        let note = |process: &Process, read: &mut HashSet<String>| {
            if pids.contains(&process.id.pid) && process.args.len() == 2 {
                read.insert(process.args[1].clone());
            }
        };
        match &event.what {
            What::ProcessStart(process) => started += usize::from(pids.contains(&process.id.pid)),
            What::ProcessExec(process) => note(process, &mut read),
            What::ProcessExit(id) if id.pid == last.id() => break,
            _ => {}
        }
    }
    let watch = watched.stop();
    println!(
        "before others: {first}; {RUNS} runs of /bin/true, median {:.2} ms from spawn to reaped: {started} starts told, command line read of {} ({:.1} %); {:?}, {} lost",
        ms(lives[RUNS / 2]),
        read.len(),
        100.0 * read.len() as f64 / RUNS as f64,
        watch.table().counters(),
        watch.lost(),
    );
    assert!(started >= RUNS, "each must be told");
}

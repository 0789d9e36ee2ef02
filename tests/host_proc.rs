//! Processes of this host as they start, run programs and end: the connector and
//! the poller on real processes.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use flowtap::host::attribution::Method;
use flowtap::host::event::{HostEvent, What};
use flowtap::host::process::Process;
use flowtap::host::provider::EventSink;
use flowtap::host::provider::proc::{
    KernelClock, ProcConnector, ProcEvent, ProcPoller, ProcessReader, ProcessSource as _,
    ProcessTable, ProcessWatch,
};

/// What a test waits for at most on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not the first on the path: that can be a script that looks for the real one.
const PYTHON: &str = "/usr/bin/python3";

/// Nothing where it can't be had.
fn connector() -> Option<ProcConnector> {
    match ProcConnector::open() {
        Ok(connector) => Some(connector),
        Err(error) => {
            eprintln!("SKIP: {error}");
            None
        }
    }
}

/// Events of one process, until it has ended.
fn events_of(connector: &mut ProcConnector, pid: u32) -> Vec<ProcEvent> {
    let until = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    while Instant::now() < until {
        let lost = connector.next(Duration::from_millis(50), &mut events).unwrap();
        assert_eq!(lost.events, 0);
        events.retain(|event| event.pid() == pid);
        if matches!(events.last(), Some(ProcEvent::Exit { .. })) {
            return events;
        }
    }
    panic!("process {pid} did not end: {events:?}");
}

fn kinds(events: &[ProcEvent]) -> Vec<&'static str> {
    events
        .iter()
        .map(|event| match event {
            ProcEvent::Fork { .. } => "fork",
            ProcEvent::Exec { .. } => "exec",
            ProcEvent::Exit { .. } => "exit",
        })
        .collect()
}

#[test]
fn a_process_is_told_from_its_fork_to_its_exit() {
    let Some(mut connector) = connector() else { return };
    let before = KernelClock::wall_now_ns();
    let mut child = Command::new("/bin/sh").args(["-c", "exec /bin/true"]).spawn().unwrap();
    child.wait().unwrap();
    let after = KernelClock::wall_now_ns();
    let events = events_of(&mut connector, child.id());
    assert_eq!(kinds(&events), ["fork", "exec", "exec", "exit"]);
    assert!(matches!(events[0], ProcEvent::Fork { parent, .. } if parent == std::process::id()));
    let times: Vec<i64> = events.iter().map(ProcEvent::time_ns).collect();
    assert!(times.is_sorted());
    assert!(before <= times[0] && times[3] <= after, "{before} {times:?} {after}");
}

#[test]
fn threads_are_no_processes() {
    let Some(mut connector) = connector() else { return };
    let thread = thread::spawn(|| rustix::thread::gettid().as_raw_pid().cast_unsigned());
    let id = thread.join().unwrap();
    let mut child = Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    let mut all = Vec::new();
    while !all
        .iter()
        .any(|event| matches!(event, ProcEvent::Exit { pid, .. } if *pid == child.id()))
    {
        let _ = connector.next(Duration::from_millis(50), &mut all).unwrap();
    }
    assert!(all.iter().all(|event| event.pid() != id), "{all:?}");
}

#[test]
fn a_process_ends_with_its_last_thread() {
    let Some(mut connector) = connector() else { return };
    // The first thread ends by the system call, which ends no other.
    let script = "import ctypes,os,threading,time\n\
                  threading.Thread(target=time.sleep,args=(0.3,)).start()\n\
                  ctypes.CDLL(None).syscall(93 if os.uname().machine=='aarch64' else 60,0)";
    let Ok(mut child) = Command::new(PYTHON).args(["-c", script]).spawn() else {
        eprintln!("SKIP: needs {PYTHON}");
        return;
    };
    let events = events_of(&mut connector, child.id());
    child.wait().unwrap();
    assert_eq!(kinds(&events), ["fork", "exec", "exit"]);
    let lived_ns = events[2].time_ns() - events[1].time_ns();
    assert!(lived_ns > 300_000_000, "told to have ended with its first thread: {lived_ns} ns");
}

#[test]
fn a_program_run_by_another_thread_is_no_end() {
    let Some(mut connector) = connector() else { return };
    let script = "import os,threading,time\n\
                  threading.Thread(target=os.execv,args=('/bin/sleep',['sleep','0.3'])).start()\n\
                  time.sleep(60)";
    let Ok(mut child) = Command::new(PYTHON).args(["-c", script]).spawn() else {
        eprintln!("SKIP: needs {PYTHON}");
        return;
    };
    let events = events_of(&mut connector, child.id());
    child.wait().unwrap();
    assert_eq!(kinds(&events), ["fork", "exec", "exec", "exit"]);
    assert!(events[3].time_ns() - events[2].time_ns() > 300_000_000);
}

/// A watch in a thread of its own, and what it told.
struct Watched {
    told: Receiver<(Method, HostEvent)>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<ProcessWatch>>,
}

impl Watched {
    fn start(mut watch: ProcessWatch) -> Self {
        let (sender, told) = unbounded();
        let sink = EventSink::new(Method::SockDiag, sender);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = unbounded();
        let thread = thread::spawn(move || {
            let mut changes = Vec::new();
            watch.begin(&sink, &mut changes).unwrap();
            ready.send(()).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                changes.clear();
                watch.step(Duration::from_millis(10), &sink, &mut changes).unwrap();
            }
            watch
        });
        is_ready.recv().unwrap();
        Self { told, stop, thread: Some(thread) }
    }

    /// What was told of a process, until its exit.
    fn until_exit(&self, pid: u32) -> Vec<What> {
        let until = Instant::now() + PATIENCE;
        let mut of_process = Vec::new();
        while let Ok((_, event)) = self.told.recv_deadline(until) {
            match event.what {
                What::ProcessStart(ref process) | What::ProcessExec(ref process)
                    if process.id.pid == pid =>
                {
                    of_process.push(event.what);
                }
                What::ProcessExit(id) if id.pid == pid => {
                    of_process.push(event.what);
                    return of_process;
                }
                _ => {}
            }
        }
        panic!("no exit of {pid}: {of_process:?}");
    }

    fn stop(mut self) -> ProcessWatch {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn a_watch_tells_the_copy_the_program_and_the_end_with_secrets_masked() {
    let Some(connector) = connector() else { return };
    let watched = Watched::start(ProcessWatch::new(Box::new(connector)));
    let own = ProcessReader::new().read_process(std::process::id()).unwrap();
    let mut child =
        Command::new("/bin/sleep").args(["0.3", "--", "0.1"]).env_clear().spawn().unwrap();
    let mut other = Command::new("/bin/sh")
        .args(["-c", "read x", "mysql", "-phunter2", "--token=abc"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    drop(other.stdin.take());
    let _ = (child.wait().unwrap(), other.wait().unwrap());
    let told = watched.until_exit(other.id());
    let [What::ProcessStart(copy), What::ProcessExec(program), What::ProcessExit(end)] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((copy.parent, &copy.exe), (Some(own.id), &own.exe));
    assert_eq!(program.args, ["/bin/sh", "-c", "read x", "mysql", "-p***", "--token=***"]);
    assert_eq!((program.parent, copy.id, program.id), (Some(own.id), *end, *end));
    assert_eq!((program.netns, program.user.as_str()), (own.netns, own.user.as_str()));
    watched.stop();
}

#[test]
fn a_poller_sees_what_lives_longer_than_its_interval() {
    let poller = ProcPoller::new(Duration::from_millis(20));
    let watched = Watched::start(ProcessWatch::new(Box::new(poller)));
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read x; exec /bin/sleep 0.5"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    drop(child.stdin.take());
    child.wait().unwrap();
    let told = watched.until_exit(child.id());
    let watch = watched.stop();
    assert!(!watch.is_exact());
    let args: Vec<String> = told
        .iter()
        .filter_map(|what| match what {
            What::ProcessStart(process) | What::ProcessExec(process) => {
                Some(process.args[0].clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(args, ["/bin/sh", "/bin/sleep"]);
}

/// `tools/test --all` runs this: 60,000 events that nobody takes.
#[test]
#[ignore = "floods the process connector"]
fn what_the_kernel_could_not_keep_is_counted() {
    const FORKS: usize = 30_000;
    let Some(mut connector) = connector() else { return };
    let script = format!("i=0; while [ $i -lt {FORKS} ]; do (:); i=$((i+1)); done");
    assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success());
    let (mut events, mut lost, mut idle) = (Vec::new(), 0, 0);
    while idle < 3 {
        let before = events.len();
        let now_lost = connector.next(Duration::from_millis(100), &mut events).unwrap().events;
        lost += now_lost;
        idle = if events.len() == before && now_lost == 0 { idle + 1 } else { 0 };
    }
    // The last gap shows only when something comes after it.
    for _ in 0..4 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    lost += connector.next(Duration::from_secs(1), &mut events).unwrap().events;
    eprintln!("{} events of {} kept, {lost} lost", events.len(), 2 * FORKS);
    assert!(lost > 0, "everything fitted: the buffer is larger than the test");
    assert!(events.len() as u64 + lost >= 2 * FORKS as u64);
}

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

/// Figures, not limits: they depend on the machine and what else it does.
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

/// Figures: how many command lines of processes of about a millisecond can be read.
#[test]
#[ignore = "a thousand processes of a millisecond"]
fn figures_of_short_processes() {
    const RUNS: usize = 1000;
    let Some(connector) = connector() else { return };
    let watched = Watched::start(ProcessWatch::new(Box::new(connector)));
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
        "{RUNS} runs of /bin/true, median {:.2} ms from spawn to reaped: {started} starts told, command line read of {} ({:.1} %); {:?}, {} lost",
        ms(lives[RUNS / 2]),
        read.len(),
        100.0 * read.len() as f64 / RUNS as f64,
        watch.table().counters(),
        watch.lost(),
    );
    assert!(started >= RUNS, "each must be told");
}

//! Processes of this host as they start, run programs and end: the connector and
//! the poller on real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod figures;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use flowtap::host::attribution::Method;
use flowtap::host::event::{HostEvent, What};
use flowtap::host::provider::EventSink;
use flowtap::host::provider::proc::{
    KernelClock, ProcConnector, ProcEvent, ProcPoller, ProcessReader, ProcessWatch,
    run_before_others,
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
    /// Before all other threads, or like them.
    fn start(mut watch: ProcessWatch, first: bool) -> Self {
        let (sender, told) = unbounded();
        let sink = EventSink::new(Method::SockDiag, sender);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = unbounded();
        let thread = thread::spawn(move || {
            if first && !run_before_others() {
                eprintln!("SKIP: no right to run before others");
            }
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
    let watched = Watched::start(ProcessWatch::new(Box::new(connector)), false);
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
fn a_server_that_took_another_user_is_told_again() {
    let Some(connector) = connector() else { return };
    let watched = Watched::start(ProcessWatch::new(Box::new(connector)), false);
    let script = "import os,time\nos.setuid(65534)\ntime.sleep(2.5)";
    let Ok(mut child) = Command::new(PYTHON).args(["-c", script]).spawn() else {
        eprintln!("SKIP: needs {PYTHON}");
        return;
    };
    child.wait().unwrap();
    let told = watched.until_exit(child.id());
    let users: Vec<Option<u32>> = told
        .iter()
        .filter_map(|what| match what {
            What::ProcessStart(process) | What::ProcessExec(process) => Some(process.uid),
            _ => None,
        })
        .collect();
    assert_eq!(users.first(), Some(&Some(0)));
    assert_eq!(users.last(), Some(&Some(65_534)));
    watched.stop();
}

#[test]
fn a_poller_sees_what_lives_longer_than_its_interval() {
    let poller = ProcPoller::new(Duration::from_millis(20));
    let watched = Watched::start(ProcessWatch::new(Box::new(poller)), false);
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
    let mut args: Vec<String> = told
        .iter()
        .filter_map(|what| match what {
            What::ProcessStart(process) | What::ProcessExec(process) => {
                Some(process.args[0].clone())
            }
            _ => None,
        })
        .collect();
    // Between fork and exec it is still the test; a look in the middle of an exec sees it
    // twice.
    args.retain(|arg| Some(arg) != std::env::args().next().as_ref());
    args.dedup();
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

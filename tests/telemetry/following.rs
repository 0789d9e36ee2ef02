//! Following against real programs and real deaths: logrotate under load, kill -9.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowtap::telemetry::follow::cut::Cutter;
use flowtap::telemetry::follow::{Follower, Options, Polled, SourceId, Target};
use flowtap::telemetry::framing::{Framing, Next};

/// Follows a log, and hands on its lines.
struct Reader {
    follower: Follower,
    cutters: HashMap<SourceId, Cutter>,
}

impl Reader {
    fn start(log: &Path, state: &Path) -> Self {
        let target = Target::File(log.to_owned());
        let options = Options { grace: Duration::from_secs(2), ..Options::default() };
        let follower = Follower::start(&target, Some(state), &options, Instant::now()).unwrap();
        Self { follower, cutters: HashMap::new() }
    }

    /// What is there now.
    fn read(&mut self, lines: &mut Vec<String>) {
        let mut take = |cutter: &mut Cutter| {
            while let Some(next) = cutter.next_record() {
                let Next::Record(record) = next else { panic!("{next:?}") };
                lines.push(String::from_utf8_lossy(record).into());
            }
        };
        loop {
            match self.follower.poll(Instant::now()) {
                Polled::Opened(opened) => {
                    let cutter = Cutter::new(Framing::Lines, opened.from);
                    self.cutters.insert(opened.source, cutter);
                }
                Polled::Bytes { source, bytes } => {
                    let cutter = self.cutters.get_mut(&source).unwrap();
                    cutter.feed(bytes);
                    take(cutter);
                }
                Polled::Closed { source, .. } => {
                    let mut cutter = self.cutters.remove(&source).unwrap();
                    cutter.end();
                    take(&mut cutter);
                    self.follower.acknowledge(source, cutter.mark());
                }
                Polled::Told(told) => panic!("{told:?}"),
                Polled::Waiting | Polled::Ended => return,
            }
        }
    }

    fn acknowledge(&mut self) {
        for (&source, cutter) in &self.cutters {
            self.follower.acknowledge(source, cutter.mark());
        }
    }
}

/// Writes lines as fast as a busy server, and opens its log again when told to.
struct Writer {
    log: PathBuf,
    file: File,
    next: u64,
}

impl Writer {
    fn new(log: &Path) -> Self {
        Self { log: log.to_owned(), file: open(log), next: 0 }
    }

    fn write(&mut self, lines: u64) {
        for _ in 0..lines {
            // Now and then in two pieces.
            let text = format!("line {} of a log that is rotated\n", self.next);
            let cut = if self.next.is_multiple_of(7) { 9 } else { text.len() };
            self.file.write_all(&text.as_bytes()[..cut]).unwrap();
            self.file.write_all(&text.as_bytes()[cut..]).unwrap();
            self.next += 1;
        }
    }

    fn reopen_if_renamed(&mut self) {
        let now = fs::metadata(&self.log).map(|about| about.ino()).ok();
        if now.is_some_and(|inode| inode != self.file.metadata().unwrap().ino()) {
            self.file = open(&self.log);
        }
    }
}

fn open(log: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(log).unwrap()
}

fn number(line: &str) -> u64 {
    let number = line.strip_prefix("line ").and_then(|rest| rest.split_once(' ')).unwrap();
    assert_eq!(number.1, "of a log that is rotated", "{line}");
    number.0.parse().unwrap()
}

/// Each line once, and those of one file in their order.
fn assert_all_once(lines: &[String], written: u64) {
    let mut numbers: Vec<_> = lines.iter().map(|line| number(line)).collect();
    numbers.sort_unstable();
    let twice: Vec<_> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).take(5).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let missing: Vec<_> =
        (0..written).filter(|n| numbers.binary_search(n).is_err()).take(5).collect();
    assert!(
        missing.is_empty(),
        "{} of {written} missing: {missing:?}...",
        written - numbers.len() as u64
    );
    assert_eq!(numbers.len() as u64, written);
}

/// A hundred rotations while a writer writes and a follower looks four times a second:
/// most lives of the log are over before they are seen.
fn rotate_under_load(directives: &str) {
    const LOGROTATE: &str = "/usr/sbin/logrotate";
    if !Path::new(LOGROTATE).exists() {
        eprintln!("SKIPPED: no logrotate (apt-get install logrotate)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    let config = folder.path().join("logrotate.conf");
    let rules = format!("{} {{\n rotate 1000\n missingok\n{directives}\n}}\n", log.display());
    fs::write(&config, rules).unwrap();
    let mut writer = Writer::new(&log);
    writer.write(10);
    let mut reader = Reader::start(&log, &folder.path().join("follow.json"));
    let mut lines = Vec::new();
    reader.read(&mut lines);
    let writer = Mutex::new(writer);
    let rotated = AtomicBool::new(false);
    // What is written between a copy and its truncation is lost by logrotate itself.
    let waits = directives.contains("copytruncate");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !rotated.load(Ordering::Relaxed) {
                let mut writer = writer.lock().unwrap();
                writer.write(50);
                writer.reopen_if_renamed();
                drop(writer);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        scope.spawn(|| {
            for _ in 0..100 {
                let pause = waits.then(|| writer.lock().unwrap());
                let status = Command::new(LOGROTATE)
                    .arg("--force")
                    .arg(format!("--state={}", folder.path().join("rotate.state").display()))
                    .arg(&config)
                    .status();
                drop(pause);
                assert!(status.unwrap().success());
            }
            rotated.store(true, Ordering::Relaxed);
        });
        while !rotated.load(Ordering::Relaxed) {
            reader.read(&mut lines);
            reader.acknowledge();
            std::thread::sleep(Duration::from_millis(250));
        }
    });
    let written = writer.lock().unwrap().next;
    let end = Instant::now() + Duration::from_secs(30);
    while (lines.len() as u64) < written && Instant::now() < end {
        reader.read(&mut lines);
        std::thread::sleep(Duration::from_millis(100));
    }
    // What must not come has its time to.
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(250));
        reader.read(&mut lines);
    }
    let rotations = fs::read_dir(folder.path()).unwrap().count();
    assert!(rotations > 100, "{rotations} files");
    assert_all_once(&lines, written);
    eprintln!("{directives}: {written} lines");
}

#[test]
fn a_hundred_rotations_by_renaming() {
    rotate_under_load(" create\n nocompress");
}

#[test]
fn a_hundred_rotations_by_copying_and_truncating() {
    rotate_under_load(" copytruncate\n nocompress");
}

#[test]
fn a_hundred_rotations_that_compress_at_once() {
    rotate_under_load(" copytruncate\n compress");
}

const CHILD: &str = "FLOWTAP_TEST_FOLLOWS";

/// The follower that is killed: run by the test below, and nothing without it.
#[test]
fn child_that_follows() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let mut reader = Reader::start(&folder.join("app.log"), &folder.join("follow.json"));
    let mut out = OpenOptions::new().append(true).create(true).open(folder.join("out")).unwrap();
    let mut lines = Vec::new();
    while !folder.join("stop").exists() {
        lines.clear();
        reader.read(&mut lines);
        for line in &lines {
            out.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        reader.acknowledge();
        std::thread::sleep(Duration::from_millis(20));
    }
    reader.follower.finish().unwrap();
}

fn follow(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "following::child_that_follows", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_and_started_again_nothing_is_missing_and_stopped_nothing_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    let mut writer = Writer::new(&log);
    let mut rotations = 0;
    let mut write_for = |writer: &mut Writer, time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            writer.write(20);
            std::thread::sleep(Duration::from_millis(5));
        }
        rotations += 1;
        fs::rename(&log, folder.path().join(format!("app.log-{rotations:08}"))).unwrap();
        writer.write(3);
        writer.file = open(&log);
    };
    for n in 0..4 {
        let mut child = follow(folder.path());
        write_for(&mut writer, Duration::from_millis(700 + 400 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        write_for(&mut writer, Duration::from_millis(100));
    }
    let read = || -> Vec<u64> {
        let out = fs::read_to_string(folder.path().join("out")).unwrap();
        out.lines().map(number).collect()
    };
    let mut at_stop = Vec::new();
    for _ in 0..3 {
        at_stop.push(read().len());
        let mut child = follow(folder.path());
        write_for(&mut writer, Duration::from_millis(500));
        std::thread::sleep(Duration::from_millis(1000));
        fs::write(folder.path().join("stop"), "").unwrap();
        assert!(child.wait().unwrap().success());
        fs::remove_file(folder.path().join("stop")).unwrap();
    }
    let all = read();
    let mut numbers = all.clone();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..writer.next).collect::<Vec<_>>());
    let again = all.len() - numbers.len();
    eprintln!("{} lines, {again} of them again after 4 kills", numbers.len());
    // At most a second of writing for each kill, at four lines a millisecond.
    assert!(again < 4 * 2 * 4000, "{again} again");
    // After the first clean stop nothing comes again.
    let (before, since) = all.split_at(at_stop[1]);
    assert!(!since.is_empty());
    assert!(since.iter().all(|number| !before.contains(number)));
}

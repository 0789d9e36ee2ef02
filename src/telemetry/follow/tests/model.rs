//! Any order of writing, rotating, polling, stopping and crashing, held against what
//! was written.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many whole lines.
    Write(u8),
    /// Part of a line; the next write ends it.
    WritePart,
    /// Renames the log and those before it; the writer goes on in the renamed one.
    Rename,
    /// The writer opens the log again, or makes it.
    Reopen,
    RenameAndReopen,
    /// Copies the log, and truncates it.
    CopyTruncate,
    /// Copies the log, looks, and truncates it.
    CopyLookTruncate,
    /// Removes the log; what is in it was seen before. The writer makes it anew.
    RemoveAndReopen,
    Poll,
    Acknowledge,
    /// Longer than a rotated file is waited for.
    Wait,
    Stop,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..4).prop_map(Step::Write),
        1 => Just(Step::Write(200)),
        2 => Just(Step::WritePart),
        1 => Just(Step::Rename),
        1 => Just(Step::Reopen),
        3 => Just(Step::RenameAndReopen),
        2 => Just(Step::CopyTruncate),
        1 => Just(Step::CopyLookTruncate),
        1 => Just(Step::RemoveAndReopen),
        6 => Just(Step::Poll),
        3 => Just(Step::Acknowledge),
        1 => Just(Step::Wait),
        2 => Just(Step::Stop),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

struct World {
    place: Place,
    target: Target,
    writer: fs::File,
    /// Number of the next line.
    next: u32,
    /// A part of a line was written, of the line before `next`.
    in_line: bool,
    /// Every line, as it must come: the parts of one that a rotation cut are two.
    written: Vec<String>,
    reader: Option<Reader>,
    /// Lines in the order in which they came.
    read: Vec<String>,
    /// Lines that may come again: those not acknowledged when it crashed.
    again: HashSet<String>,
    acknowledged: usize,
}

impl World {
    fn new(folder: bool) -> Self {
        let place = Place::new();
        let target = if folder { place.all() } else { place.file() };
        let writer = open(&place.path("app.log"));
        let reader = Some(Reader::start(&target, Some(&place.state())));
        let (written, read, again) = (Vec::new(), Vec::new(), HashSet::new());
        let mut world = Self {
            place,
            target,
            writer,
            next: 0,
            in_line: false,
            written,
            reader,
            read,
            again,
            acknowledged: 0,
        };
        // What was rotated before the first look is history.
        world.reader().poll();
        world
    }

    fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("a reader")
    }

    fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).expect("written");
    }

    fn line(&mut self) {
        if std::mem::take(&mut self.in_line) {
            self.write(" end\n");
            let line = self.written.last_mut().expect("its part");
            line.push_str(" end");
        } else {
            let line = format!("line {} {}", self.next, "x".repeat(self.next as usize % 50));
            self.write(&format!("{line}\n"));
            self.written.push(line);
            self.next += 1;
        }
    }

    /// No rotation that cuts a line: what becomes of its parts is the writer's doing.
    fn end_line(&mut self) {
        if self.in_line {
            self.line();
        }
    }

    fn rename(&mut self) {
        for n in (1..100).rev() {
            let (from, to) = (format!("app.log.{n}"), format!("app.log.{}", n + 1));
            if self.place.path(&from).exists() {
                self.place.rename(&from, &to);
            }
        }
        if self.place.path("app.log").exists() {
            self.place.rename("app.log", "app.log.1");
        }
    }

    fn reopen(&mut self) {
        self.end_line();
        self.writer = open(&self.place.path("app.log"));
    }

    fn copy(&mut self) -> bool {
        self.end_line();
        // Of a log that the writer has still open under this name.
        let log = fs::metadata(self.place.path("app.log"));
        let is_writers = log.is_ok_and(|log| {
            use std::os::unix::fs::MetadataExt;
            log.ino() == self.writer.metadata().expect("open").ino()
        });
        if is_writers {
            for n in (1..100).rev() {
                let (from, to) = (format!("app.log.{n}"), format!("app.log.{}", n + 1));
                if self.place.path(&from).exists() {
                    self.place.rename(&from, &to);
                }
            }
            fs::copy(self.place.path("app.log"), self.place.path("app.log.1")).expect("copied");
        }
        is_writers
    }

    fn poll(&mut self, time: Duration) {
        let reader = self.reader();
        if time < Duration::from_secs(1) {
            reader.poll_after(time);
        } else {
            reader.wait(time);
        }
        let lines = reader.take();
        self.read.extend(lines);
    }

    fn acknowledge(&mut self) {
        self.reader().acknowledge();
        self.acknowledged = self.read.len();
    }

    fn stop(&mut self) {
        self.acknowledge();
        self.reader.take().expect("a reader").finish();
        self.reader = Some(Reader::start(&self.target, Some(&self.place.state())));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(lines) => (0..lines).for_each(|_| self.line()),
            Step::WritePart => {
                if !self.in_line {
                    let line = format!("part {}", self.next);
                    self.write(&line);
                    self.written.push(line);
                    self.next += 1;
                    self.in_line = true;
                }
            }
            Step::Rename => self.rename(),
            Step::Reopen => self.reopen(),
            Step::RenameAndReopen => {
                self.rename();
                self.reopen();
            }
            Step::CopyTruncate | Step::CopyLookTruncate => {
                if self.copy() {
                    if matches!(step, Step::CopyLookTruncate) {
                        self.poll(Duration::from_millis(250));
                    }
                    self.writer.set_len(0).expect("truncated");
                }
            }
            Step::RemoveAndReopen => {
                self.end_line();
                self.poll(Duration::from_millis(250));
                // While it is open here, so that nothing in it is lost.
                self.acknowledge();
                let _ = fs::remove_file(self.place.path("app.log"));
                self.reopen();
                self.poll(Duration::from_millis(250));
                self.acknowledge();
            }
            Step::Poll => self.poll(Duration::from_millis(250)),
            Step::Acknowledge => self.acknowledge(),
            Step::Wait => {
                self.end_line();
                self.poll(Duration::from_secs(12));
            }
            Step::Stop => self.stop(),
            Step::Crash => {
                // What was acknowledged has been kept some time ago.
                self.reader().poll_after(Duration::from_secs(2));
                let lines = self.reader().take();
                self.read.extend(lines);
                self.again.extend(self.read.drain(self.acknowledged..));
                self.reader = Some(Reader::start(&self.target, Some(&self.place.state())));
            }
        }
    }
}

fn open(path: &Path) -> fs::File {
    OpenOptions::new().append(true).create(true).open(path).expect("a log")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_line_comes_once(steps in steps(), folder: bool) {
        let mut world = World::new(folder);
        for step in steps {
            world.step(step);
        }
        world.end_line();
        // Until what is gone and was not found in a copy is told.
        world.acknowledge();
        world.poll(Duration::from_secs(75));
        // Of what a crash had forgotten, everything came again.
        let mut read = world.read.clone();
        read.sort_unstable();
        let mut written = world.written.clone();
        written.sort_unstable();
        prop_assert_eq!(read, written);
        prop_assert_eq!(&world.reader().told, &[]);
    }
}

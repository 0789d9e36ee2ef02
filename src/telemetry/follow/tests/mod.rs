//! Following as a whole: real files in a fresh folder, time as the test says.

mod files;
mod folders;
mod journal;
mod model;
#[cfg(feature = "object-store")]
mod objects;
mod pipes;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::framing::{Framing, Next};
use super::cut::Cutter;
use super::*;

/// A consumer: makes lines of what is followed, and acknowledges when told.
struct Reader {
    follower: Follower,
    now: Instant,
    framing: Framing,
    cutters: BTreeMap<SourceId, (String, Cutter)>,
    marks: HashMap<SourceId, Mark>,
    lines: Vec<String>,
    /// With the names of the files.
    closed: Vec<(String, Closed)>,
    opened: Vec<Opened>,
    told: Vec<Told>,
}

impl Reader {
    fn start(target: &Target, state: Option<&Path>) -> Self {
        Self::with(target, state, &Options::default())
    }

    fn with(target: &Target, state: Option<&Path>, options: &Options) -> Self {
        let now = Instant::now();
        Self::new(Follower::start(target, state, options, now).expect("a start"), now)
    }

    fn of(engine: Box<dyn Engine + Send>) -> Self {
        let follower = Follower { engine, buffer: Vec::new(), state: None, state_told: false };
        Self::new(follower, Instant::now())
    }

    fn new(follower: Follower, now: Instant) -> Self {
        Self {
            follower,
            now,
            framing: Framing::Lines,
            cutters: BTreeMap::new(),
            marks: HashMap::new(),
            lines: Vec::new(),
            closed: Vec::new(),
            opened: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Polls until there is nothing more, one pause later.
    fn poll(&mut self) {
        self.poll_after(Duration::from_millis(250));
    }

    fn poll_after(&mut self, time: Duration) {
        self.now += time;
        while self.poll_once() {}
    }

    /// Lets so much time go by, a pause at a time.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.poll();
        }
    }

    fn poll_once(&mut self) -> bool {
        match self.follower.poll(self.now) {
            Polled::Opened(opened) => {
                let cutter = Cutter::new(self.framing, opened.from);
                let open = self.cutters.insert(opened.source, (opened.name.clone(), cutter));
                assert!(open.is_none(), "opened twice: {opened:?}");
                self.opened.push(opened);
            }
            Polled::Bytes { source, bytes } => {
                let (_, cutter) = self.cutters.get_mut(&source).expect("an open source");
                cutter.feed(bytes);
                take(cutter, &mut self.lines);
                self.marks.insert(source, cutter.mark());
            }
            Polled::Closed { source, why } => {
                let (name, mut cutter) = self.cutters.remove(&source).expect("an open source");
                cutter.end();
                take(&mut cutter, &mut self.lines);
                self.marks.insert(source, cutter.mark());
                let name = Path::new(&name).file_name().expect("a name").to_string_lossy();
                self.closed.push((name.into(), why));
            }
            Polled::Told(told) => self.told.push(told),
            Polled::Waiting | Polled::Ended => return false,
        }
        true
    }

    fn acknowledge(&mut self) {
        for (source, mark) in self.marks.drain() {
            self.follower.acknowledge(source, mark);
        }
    }

    /// As a clean stop does.
    fn finish(mut self) -> Vec<String> {
        self.acknowledge();
        self.follower.finish().expect("state to keep");
        self.lines
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

fn take(cutter: &mut Cutter, lines: &mut Vec<String>) {
    while let Some(next) = cutter.next_record() {
        match next {
            Next::Record(record) => lines.push(String::from_utf8_lossy(record).into()),
            other => lines.push(format!("{other:?}")),
        }
    }
}

/// A folder with a log in it, its state beside.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("logs")).expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(name)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    fn file(&self) -> Target {
        Target::File(self.path("app.log"))
    }

    fn all(&self) -> Target {
        Target::Folder(self.path(""))
    }
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.expect("a file").write_all(text.as_bytes()).expect("written");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("to memory");
    encoder.finish().expect("to memory")
}

/// Lines that differ, so many bytes in all.
fn many(name: &str, bytes: usize) -> String {
    let mut text = String::new();
    for n in 0.. {
        if text.len() >= bytes {
            break;
        }
        text += &format!("{name} {n}\n");
    }
    text
}

//! The systemd journal, read by journalctl: each program's messages as the lines of a
//! source of its own, so that each is recognised by what it says.
//!
//! What is kept is the cursor of the last entry of which, and of all before it,
//! everything was acknowledged; before there is one, when it was started.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::super::framing::{Framing, Mark, Next};
use super::cut::Cutter;
use super::state::Saved;
use super::stream::read_ready;
use super::{Engine, Event, Opened, Options, SourceId, Step, Told};

/// Programs whose messages are told apart; those of further ones are left out.
const MAX_SOURCES: usize = 1024;

/// Entries that were handed out and not acknowledged: nothing more is read until they
/// are.
const MAX_UNACKNOWLEDGED: usize = 1 << 16;

/// Before journalctl is started again when it has ended.
const RESTART: Duration = Duration::from_secs(5);

/// Of what journalctl complains, the end.
const MAX_COMPLAINT_BYTES: usize = 500;

/// What a place begins with that is a time, in seconds of UTC, and no entry's cursor.
const TIME: char = '@';

const FIELDS: &str = "MESSAGE,SYSLOG_IDENTIFIER,_COMM,_TRANSPORT,_HOSTNAME";

/// As far as it is asked for; binary values are arrays of numbers.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, rename = "__CURSOR")]
    cursor: Cow<'a, str>,
    #[serde(borrow, default, rename = "MESSAGE")]
    message: Option<Value<'a>>,
    #[serde(borrow, default, rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Value<'a>>,
    #[serde(borrow, default, rename = "_COMM")]
    command: Option<Value<'a>>,
    #[serde(borrow, default, rename = "_TRANSPORT")]
    transport: Option<Value<'a>>,
    #[serde(borrow, default, rename = "_HOSTNAME")]
    host: Option<Value<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes(Vec<u8>),
    /// Several of the name.
    Several(Vec<Self>),
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Several(values) => values.first().map_or(b"", Value::bytes),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

struct Running {
    child: Child,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

#[derive(Default)]
struct Source {
    handed_out: u64,
    acknowledged: u64,
    ignored: bool,
}

pub(super) struct Journal {
    program: &'static str,
    arguments: Vec<String>,
    from_start: bool,
    running: Option<Running>,
    restart_at: Option<Instant>,
    complaint: Vec<u8>,
    entries: Cutter,
    piece: Vec<u8>,
    /// By host and program.
    by_name: HashMap<(String, String), SourceId>,
    sources: Vec<Source>,
    told_too_many: bool,
    told: HashSet<String>,
    /// Handed out, in their order: of which source, up to where, and the cursor.
    handed_out: VecDeque<(Option<SourceId>, u64, Box<str>)>,
    /// Of the last entry that was read.
    read: Option<Box<str>>,
    acknowledged: Option<Box<str>>,
    /// What is kept did, since it was asked.
    has_changed: bool,
    events: VecDeque<Event>,
    bytes: Option<(SourceId, usize)>,
}

impl Journal {
    pub(super) fn start(
        program: &'static str,
        arguments: &[String],
        cursor: Option<String>,
        options: &Options,
    ) -> io::Result<Self> {
        let is_first = cursor.is_none();
        let cursor = cursor.map(Into::into);
        let is_now = is_first && !options.from_start && beginnings(arguments).next().is_none();
        let kept = if is_now { now() } else { None };
        let mut journal = Self {
            program,
            arguments: arguments.to_vec(),
            from_start: options.from_start,
            running: None,
            restart_at: None,
            complaint: Vec::new(),
            entries: Cutter::new(Framing::Lines, Mark::START),
            piece: Vec::new(),
            by_name: HashMap::new(),
            sources: Vec::new(),
            told_too_many: false,
            told: HashSet::new(),
            handed_out: VecDeque::new(),
            read: cursor.clone(),
            has_changed: kept.is_some(),
            acknowledged: kept.or(cursor),
            events: VecDeque::new(),
            bytes: None,
        };
        journal.run()?;
        Ok(journal)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut command = Command::new(self.program);
        command.args(["--follow", "--output=json", "--all", "--no-pager", "--quiet"]);
        command.arg(format!("--output-fields={FIELDS}"));
        let arguments = &self.arguments;
        if let Some(place) = &self.read {
            let option = if place.starts_with(TIME) { "since" } else { "after-cursor" };
            command.arg("--no-tail").arg(format!("--{option}={place}"));
            command.args(without_beginning(arguments));
        } else {
            if self.from_start || beginnings(arguments).any(|kind| kind == Beginning::Since) {
                command.arg("--no-tail");
            } else if beginnings(arguments).all(|kind| kind != Beginning::Lines) {
                command.arg("--lines=0");
            }
            command.args(arguments);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("no pipes"));
        };
        self.running = Some(Running { child, stdout, stderr });
        if self.read.is_none() {
            // Should it have to be started again.
            self.read.clone_from(&self.acknowledged);
        }
        self.entries = Cutter::new(Framing::Lines, Mark::START);
        Ok(())
    }

    /// Reads what journalctl says; false where there is nothing for now.
    fn fill(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.running else {
            if self.restart_at.is_none_or(|at| now < at) {
                return false;
            }
            if let Err(error) = self.run() {
                self.tell(error.to_string());
                self.restart_at = Some(now + RESTART);
            }
            return false;
        };
        if let Ok(Some(n)) = read_ready(&mut running.stderr, &mut self.piece) {
            self.complaint.extend_from_slice(&self.piece[..n]);
            let over = self.complaint.len().saturating_sub(MAX_COMPLAINT_BYTES);
            self.complaint.drain(..over);
        }
        let ended = match read_ready(&mut running.stdout, &mut self.piece) {
            Ok(None) => return false,
            Ok(Some(0)) => String::new(),
            Ok(Some(n)) => {
                self.entries.feed(&self.piece[..n]);
                return true;
            }
            Err(error) => error.to_string(),
        };
        let status =
            self.stop().map_or_else(|error| error.to_string(), |status| status.to_string());
        let complaint = String::from_utf8_lossy(&std::mem::take(&mut self.complaint)).into_owned();
        let said: Vec<_> = [status.trim(), complaint.trim(), &ended]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        self.tell(said.join(": "));
        self.restart_at = Some(now + RESTART);
        false
    }

    fn stop(&mut self) -> io::Result<std::process::ExitStatus> {
        let Some(mut running) = self.running.take() else {
            return Err(io::Error::other("not running"));
        };
        // It may have ended by itself.
        let _ = running.child.kill();
        running.child.wait()
    }

    /// The same thing once.
    fn tell(&mut self, error: String) {
        const MOST: usize = 64;
        if self.told.len() == MOST || !self.told.insert(error.clone()) {
            return;
        }
        let name = self.program.to_owned();
        self.events.push_back(Event::Told(Told::Unreadable { name, error }));
    }

    /// The next entry's message as a line; false where a whole entry is still to come.
    fn next_entry(&mut self, buffer: &mut Vec<u8>) -> bool {
        let record = match self.entries.next_record() {
            None => return false,
            Some(Next::Record(record)) => record,
            Some(Next::TooLong | Next::NoJson | Next::End) => {
                self.tell("an entry is longer than is read".into());
                return true;
            }
        };
        let entry = match serde_json::from_slice::<Entry<'_>>(record) {
            Ok(entry) => entry,
            Err(error) => {
                self.tell(format!("an entry makes no sense: {error}"));
                return true;
            }
        };
        let cursor: Box<str> = entry.cursor.into();
        let text =
            |value: &Option<Value<'_>>| value.as_ref().map(|value| value.text().into_owned());
        let program = text(&entry.identifier)
            .or_else(|| text(&entry.command))
            .or_else(|| text(&entry.transport))
            .unwrap_or_default();
        let host = text(&entry.host).unwrap_or_default();
        buffer.clear();
        if let Some(message) = &entry.message {
            buffer.extend_from_slice(message.bytes());
            buffer.push(b'\n');
        }
        self.read = Some(cursor.clone());
        let source = if buffer.is_empty() { None } else { self.source(host, program) };
        let mut end = 0;
        if let Some(id) = source
            && let Some(source) = self.sources.get_mut(id.0 as usize)
            && !source.ignored
        {
            source.handed_out += buffer.len() as u64;
            end = source.handed_out;
            self.bytes = Some((id, buffer.len()));
        }
        self.handed_out.push_back((source, end, cursor));
        self.advance();
        true
    }

    fn source(&mut self, host: String, program: String) -> Option<SourceId> {
        let name = (host, program);
        if let Some(&id) = self.by_name.get(&name) {
            return Some(id);
        }
        if self.sources.len() == MAX_SOURCES {
            if !std::mem::replace(&mut self.told_too_many, true) {
                self.events.push_back(Event::Told(Told::TooManySources));
            }
            return None;
        }
        let id = SourceId(self.sources.len() as u64);
        let host = Some(name.0.clone()).filter(|host| !host.is_empty());
        let opened = Opened { host, ..Opened::new(id, format!("journal of {}", name.1)) };
        self.events.push_back(Event::Opened(opened));
        self.sources.push(Source::default());
        self.by_name.insert(name, id);
        Some(id)
    }

    /// Moves the cursor over what is acknowledged.
    fn advance(&mut self) {
        while let Some((source, end, cursor)) = self.handed_out.front_mut() {
            let source = source.and_then(|id| self.sources.get(id.0 as usize));
            if source.is_some_and(|source| !source.ignored && source.acknowledged < *end) {
                return;
            }
            self.acknowledged = Some(std::mem::take(cursor));
            self.handed_out.pop_front();
        }
    }
}

/// What an option of the user's says of where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// From a time or an entry on.
    Since,
    /// How many entries back.
    Lines,
    /// Everything, or where a file says.
    Other,
}

/// The option that `words` start with, if it says where to begin: the words that it takes,
/// and flags that stand before it in the same one.
fn beginning(words: &[String]) -> Option<(Beginning, usize, &str)> {
    const LONG: [(&str, Beginning); 6] = [
        ("since", Beginning::Since),
        ("cursor", Beginning::Since),
        ("after-cursor", Beginning::Since),
        ("lines", Beginning::Lines),
        ("cursor-file", Beginning::Other),
        ("no-tail", Beginning::Other),
    ];
    /// As many letters of a name as tell it from all others.
    const ENOUGH: usize = 3;
    /// Short options whose value is the rest of the word, or the next.
    const VALUED: &str = "DMUoutTpgbF";
    let (first, rest) = words.split_first()?;
    let is_number = |word: &String| {
        word == "all" || word.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit())
    };
    let more = |kind, has_value: bool| match kind {
        _ if has_value => 1,
        Beginning::Lines => 1 + usize::from(rest.first().is_some_and(is_number)),
        _ => 2,
    };
    if let Some(long) = first.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let means = |known: &str| known == name || name.len() >= ENOUGH && known.starts_with(name);
        let &(known, kind) = LONG.iter().find(|(known, _)| means(known))?;
        let words = if known == "no-tail" { 1 } else { more(kind, value.is_some()) };
        return Some((kind, words, ""));
    }
    let letters = first.strip_prefix('-')?;
    let at = letters.find(|letter| "Scn".contains(letter) || VALUED.contains(letter))?;
    let kind = match letters.as_bytes()[at] {
        b'S' | b'c' => Beginning::Since,
        b'n' => Beginning::Lines,
        _ => return None,
    };
    Some((kind, more(kind, at + 1 < letters.len()), &letters[..at]))
}

fn beginnings(arguments: &[String]) -> impl Iterator<Item = Beginning> {
    (0..arguments.len()).filter_map(|at| Some(beginning(&arguments[at..])?.0))
}

/// What is kept goes before what the user said of the beginning: journalctl takes one of them.
fn without_beginning(mut arguments: &[String]) -> Vec<String> {
    let mut others = Vec::new();
    while let Some((first, rest)) = arguments.split_first() {
        if let Some((_, words, flags)) = beginning(arguments) {
            if !flags.is_empty() {
                others.push(format!("-{flags}"));
            }
            arguments = arguments.get(words..).unwrap_or_default();
        } else {
            others.push(first.clone());
            arguments = rest;
        }
    }
    others
}

/// The time now as a place: what comes is new, and stays so when there has more come by the
/// next start after a kill.
fn now() -> Option<Box<str>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{TIME}{}", now.as_secs()).into())
}

impl Engine for Journal {
    fn step(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Step {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if let Some((id, n)) = self.bytes.take() {
                return Step::Bytes(id, 0..n);
            }
            if self.handed_out.len() >= MAX_UNACKNOWLEDGED {
                return Step::Waiting;
            }
            if !self.next_entry(buffer) && !self.fill(now) && self.events.is_empty() {
                return Step::Waiting;
            }
        }
    }

    fn acknowledge(&mut self, id: SourceId, mark: Mark) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.acknowledged = source.acknowledged.max(mark.offset);
        }
        self.advance();
    }

    fn ignore(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.ignored = true;
        }
        if self.bytes.is_some_and(|(of, _)| of == id) {
            self.bytes = None;
        }
        self.advance();
    }

    fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    fn save(&mut self, saved: &mut Saved) {
        saved.cursor = self.acknowledged.as_deref().map(Into::into);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

//! Process classes: what kinds of program are expected to do on the network.
//!
//! A versioned table ([`BUILT_IN`]) that people can read, with a reason for each entry;
//! a file of the user's own comes before it. What a class says is cited in alerts
//! ([`Class::cited`]).
//!
//! A name alone is never proof. It counts where the executable lies in a usual folder
//! and where only an administrator could have put it: `/tmp/sort` is not `sort`, and of a
//! process whose path is not known nothing is said. An interpreter is judged by its
//! script, looked up the same way. Limits: nobody compares the file itself (package
//! owner, hash), so who can write to a usual folder can take any class.
//!
//! Start at [`Classes::classify`].

mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::entity::script_of;
use crate::host::process::{Process, in_usual_writable_folder};
use crate::host::side::ProcessView;

/// The table that comes with the program.
pub const BUILT_IN: &str = include_str!("classes.toml");

/// What a kind of program does on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassKind {
    Never,
    Interpreter,
    Client,
    InteractiveClient,
    Server,
    Agent,
    Kernel,
    Unknown,
}

impl ClassKind {
    pub const ALL: [Self; 8] = [
        Self::Never,
        Self::Interpreter,
        Self::Client,
        Self::InteractiveClient,
        Self::Server,
        Self::Agent,
        Self::Kernel,
        Self::Unknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Interpreter => "interpreter",
            Self::Client => "client",
            Self::InteractiveClient => "interactive_client",
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Kernel => "kernel",
            Self::Unknown => "unknown",
        }
    }
}

/// What a program sends with; each has floors of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Echo requests.
    Ping,
    /// Packets of any make.
    Packets,
    /// Requests over HTTP.
    Web,
    /// What it is given.
    Pipe,
    /// A script of an interpreter.
    Script,
    /// Nothing known: judged by its traffic.
    Other,
}

impl Tool {
    pub const ALL: [Self; 6] =
        [Self::Ping, Self::Packets, Self::Web, Self::Pipe, Self::Script, Self::Other];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Packets => "packets",
            Self::Web => "web",
            Self::Pipe => "pipe",
            Self::Script => "script",
            Self::Other => "other",
        }
    }
}

/// Why an executable is not what its name says, or may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It lies where anybody may write.
    WritableFolder,
    /// Its file is gone, and was in no usual folder (an upgrade replaces files in those).
    Deleted,
    /// It lies in no usual folder.
    UnusualFolder,
    /// Its path is not known.
    NameAlone,
}

impl Doubt {
    pub fn name(self) -> &'static str {
        match self {
            Self::WritableFolder => "executable_in_writable_folder",
            Self::Deleted => "executable_deleted",
            Self::UnusualFolder => "executable_in_unusual_folder",
            Self::NameAlone => "executable_unknown",
        }
    }

    /// Programs do not get there by being installed.
    pub fn is_sign(self) -> bool {
        matches!(self, Self::WritableFolder | Self::Deleted)
    }
}

/// What is said of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub kind: ClassKind,
    /// Id of the entry that decided; empty for none.
    pub rule: Arc<str>,
    /// Of the table.
    pub version: Arc<str>,
    pub why: String,
    pub tool: Tool,
    pub doubt: Option<Doubt>,
}

impl Class {
    /// As alerts cite it: `never (text-tools, table 1): why`.
    pub fn cited(&self) -> String {
        let (kind, version) = (self.kind.name(), &self.version);
        match &*self.rule {
            "" => format!("{kind} (table {version}): {}", self.why),
            rule => format!("{kind} ({rule}, table {version}): {}", self.why),
        }
    }
}

/// A table of classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    version: Arc<str>,
    usual_folders: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: Arc<str>,
    kind: ClassKind,
    tool: Option<Tool>,
    names: Vec<String>,
    paths: Vec<String>,
    reason: String,
}

impl Classes {
    /// The table that comes with the program.
    pub fn built_in() -> Arc<Self> {
        table::built_in()
    }

    /// A table of the user's own: its entries come before the built-in ones, its
    /// folders are added, its version stands before theirs.
    pub fn of_user(text: &str) -> Result<Self, String> {
        let mut own = table::parse(text)?;
        let built_in = Self::built_in();
        own.version = format!("{}+{}", own.version, built_in.version).into();
        own.usual_folders.extend(built_in.usual_folders.iter().cloned());
        own.entries.extend(built_in.entries.iter().cloned());
        Ok(own)
    }

    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What is to be expected of a process.
    pub fn classify(&self, view: &ProcessView) -> Class {
        let process = &view.process;
        if is_kernel_thread(process) {
            return self.kernel_thread(process);
        }
        let program = program_of(process);
        if process.exe.is_empty() {
            let entry = self.by_name(program, |_| true);
            return self.say(
                ClassKind::Unknown,
                entry,
                format!("only its name is known: {program}"),
                Some(Doubt::NameAlone),
            );
        }
        let exe = process.exe.as_str();
        if let Some(entry) = self.entries.iter().find(|entry| matches(&entry.paths, exe)) {
            return self.judged(entry, view, exe, None);
        }
        let named = self.by_name(program, |entry| entry.kind != ClassKind::Kernel);
        let doubt = self.doubt(process);
        match (named, doubt) {
            (Some(entry), None) => self.judged(entry, view, exe, None),
            // Being an interpreter excuses nothing: one of a virtual environment is one.
            (Some(entry), Some(doubt))
                if entry.kind == ClassKind::Interpreter && !doubt.is_sign() =>
            {
                self.judged(entry, view, exe, Some(doubt))
            }
            (Some(entry), Some(doubt)) => {
                let why = format!("{exe} has the name of {} only: {}", entry.id, said(doubt));
                self.say(ClassKind::Unknown, Some(entry), why, Some(doubt))
            }
            (None, doubt) => {
                let why = match doubt {
                    Some(doubt) => format!("{exe} is in no entry: {}", said(doubt)),
                    None => format!("{exe} is in no entry"),
                };
                self.say(ClassKind::Unknown, None, why, doubt)
            }
        }
    }

    /// Of an entry that matches: an interpreter is what its script is.
    fn judged(&self, entry: &Entry, view: &ProcessView, exe: &str, doubt: Option<Doubt>) -> Class {
        if entry.kind != ClassKind::Interpreter {
            return self.say(entry.kind, Some(entry), format!("{exe}: {}", entry.reason), doubt);
        }
        let parent = view.ancestors.first().map_or("", |parent| parent.name.as_str());
        let started =
            if parent.is_empty() { String::new() } else { format!(", started by {parent}") };
        let Some(script) = script_of(&view.process.args) else {
            let why = format!("{exe} without a script{started}: {}", entry.reason);
            return self.say(entry.kind, Some(entry), why, doubt);
        };
        let name = base_name(script);
        let installed = script.starts_with('/') && self.is_usual(script);
        let known = installed.then(|| self.by_name(name, |_| true)).flatten();
        if let Some(known) = known {
            let why = format!("script {script} of {exe}: {}", known.reason);
            return self.say(known.kind, Some(known), why, doubt);
        }
        let doubt =
            if in_usual_writable_folder(script) { Some(Doubt::WritableFolder) } else { doubt };
        let shown: String = script.chars().take(120).collect();
        let why = format!("{exe} runs {shown}{started}: {}", entry.reason);
        self.say(entry.kind, Some(entry), why, doubt)
    }

    fn kernel_thread(&self, process: &Process) -> Class {
        let entry = self.by_name(&process.name, |entry| entry.kind == ClassKind::Kernel);
        let why = match entry {
            Some(entry) => format!("kernel thread {}: {}", process.name, entry.reason),
            None => format!("kernel thread {}, in no entry", process.name),
        };
        let kind = entry.map_or(ClassKind::Unknown, |entry| entry.kind);
        self.say(kind, entry, why, None)
    }

    fn by_name(&self, name: &str, is: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.entries.iter().find(|entry| is(entry) && matches(&entry.names, name))
    }

    fn say(
        &self,
        kind: ClassKind,
        entry: Option<&Entry>,
        why: String,
        doubt: Option<Doubt>,
    ) -> Class {
        // A false name can only lower the floors.
        let tool = entry.and_then(|entry| match (entry.tool, entry.kind) {
            (Some(tool), _) => Some(tool),
            (None, ClassKind::Interpreter) => Some(Tool::Script),
            (None, _) => None,
        });
        Class {
            kind,
            rule: entry.map(|entry| Arc::clone(&entry.id)).unwrap_or_default(),
            version: Arc::clone(&self.version),
            why,
            tool: tool.unwrap_or(Tool::Other),
            doubt,
        }
    }

    fn doubt(&self, process: &Process) -> Option<Doubt> {
        if process.exe_in_writable_folder || in_usual_writable_folder(&process.exe) {
            return Some(Doubt::WritableFolder);
        }
        match (self.is_usual(&process.exe), process.exe_deleted) {
            (true, _) => None,
            (false, true) => Some(Doubt::Deleted),
            (false, false) => Some(Doubt::UnusualFolder),
        }
    }

    fn is_usual(&self, path: &str) -> bool {
        // `/usr/lib/../../tmp/x` is in none.
        !path.split('/').any(|part| part == "..")
            && self.usual_folders.iter().any(|folder| {
                path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

/// Whether an executable's path is one of these; `*` at the end stands for anything.
pub fn matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    })
}

fn said(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::WritableFolder => "it lies where anybody may write",
        Doubt::Deleted => "its file is gone",
        Doubt::UnusualFolder => "it lies in no usual folder",
        Doubt::NameAlone => "its path is not known",
    }
}

/// Several programs in one file go by the name that they are called by.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];

fn program_of(process: &Process) -> &str {
    if process.exe.is_empty() {
        return &process.name;
    }
    let name = base_name(&process.exe);
    if !MULTI_CALL.contains(&name) {
        return name;
    }
    let called = process.args.iter().map(|arg| base_name(arg));
    called.take(2).find(|called| !MULTI_CALL.contains(called)).unwrap_or(name)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Without an executable and arguments, and begun by the kernel's own process 2.
fn is_kernel_thread(process: &Process) -> bool {
    const KTHREADD: u32 = 2;
    process.exe.is_empty()
        && process.args.is_empty()
        && (process.id.pid == KTHREADD
            || process.parent.is_some_and(|parent| parent.pid == KTHREADD))
}

//! What the process gives up before it reads a byte that others send.
//!
//! A parser of hostile packets should have nothing to be abused for. [`confine`]
//! takes these away, in this order, while the process has one thread (all of
//! them are per thread and inherited):
//!
//! 1. its user, where another one is asked for ([`User`]);
//! 2. every capability but CAP_NET_RAW, which a capture needs again whenever an
//!    interface comes back; from the bounding and ambient sets too;
//! 3. new privileges by programs that it starts (`no_new_privs`);
//! 4. files, TCP ports, abstract sockets and signals (Landlock): what a [`Plan`]
//!    names is left;
//! 5. system calls (seccomp): first those that no correct run makes, then all
//!    that are not known to be needed.
//!
//! The second process of `live --procs`, which has to look into others, gives up
//! less: [`Plan::watcher`].
//!
//! It never takes the run away: with [`Mode::On`] whatever this kernel does not
//! have is left out and said ([`Confined::missing`]). Inside: `plan` is what is left
//! to whom, `rights` steps 1 to 3, `files` step 4, `calls` step 5 with the reasons
//! for each list.
//! Start at [`Plan::live`].

mod calls;
mod files;
mod plan;
mod rights;

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

pub use calls::Calls;
pub use plan::Plan;
pub(crate) use rights::user_name;
pub use rights::{User, UserError, how_to_get_cap_net_raw, how_to_get_watcher_rights};

use super::kernel::landlock_abi;

/// How much has to be in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What the kernel offers; what it lacks is said.
    #[default]
    On,
    /// Everything, or no start.
    Strict,
    /// Nothing.
    Off,
}

/// A part of the confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    NoNewPrivileges,
    Capabilities,
    /// Landlock: files and folders.
    Files,
    /// Landlock: TCP ports.
    TcpPorts,
    /// Landlock: signals and abstract sockets.
    Scopes,
    /// Seccomp.
    SystemCalls,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::NoNewPrivileges => "no new privileges",
            Self::Capabilities => "capabilities",
            Self::Files => "files",
            Self::TcpPorts => "TCP ports",
            Self::Scopes => "signals and abstract sockets",
            Self::SystemCalls => "system calls",
        }
    }
}

/// Something that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub part: Part,
    pub why: String,
}

/// What came, or would come, into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confined {
    pub mode: Mode,
    pub in_force: Vec<Part>,
    pub missing: Vec<Missing>,
}

impl Confined {
    fn new(mode: Mode) -> Self {
        Self { mode, in_force: Vec::new(), missing: Vec::new() }
    }

    fn note(&mut self, part: Part, result: Result<(), String>) {
        match result {
            Ok(()) => self.in_force.push(part),
            Err(why) => self.missing.push(Missing { part, why }),
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        if self.mode == Mode::Off {
            return "not confined (--confine off)".to_owned();
        }
        let names: Vec<&str> = self.in_force.iter().map(|part| part.name()).collect();
        let mut text = match &*names {
            [] => "not confined".to_owned(),
            names => format!("confined: {}", names.join(", ")),
        };
        for missing in &self.missing {
            text.push_str(&format!("; not confined: {} ({})", missing.part.name(), missing.why));
        }
        text
    }
}

#[derive(Debug, Error)]
pub enum ConfineError {
    #[error("can't make the folder {}: {source}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("can't write into {}: {why}", .path.display())]
    NotWritable { path: PathBuf, why: String },
    #[error("can't become {user}: {source}")]
    User { user: User, source: io::Error },
    #[error("--confine strict: not in force: {0}")]
    Incomplete(String),
    #[error("threads were started before the process was confined")]
    Threads,
}

/// Gives up whatever the plan does not name. To be called while there is one
/// thread.
pub fn confine(plan: &Plan, mode: Mode) -> Result<Confined, ConfineError> {
    let mut confined = Confined::new(mode);
    let overrode = rights::overrides_file_rights();
    if mode == Mode::Off && plan.user.is_none() {
        return Ok(confined);
    }
    // As the user that started this, who may make them where the other can't.
    for folder in plan.writes.iter().chain(&plan.sockets) {
        rights::make_folder(folder, plan.user.as_ref())?;
    }
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() != 1) {
        return Err(ConfineError::Threads);
    }
    rights::drop_bounding(&plan.keep);
    if let Some(user) = &plan.user {
        rights::become_user(user)?;
    }
    let kept = rights::keep_only(&plan.keep);
    if mode != Mode::Off {
        confined.note(Part::Capabilities, kept);
        confined.note(Part::NoNewPrivileges, rights::forgo_new_privileges());
    }
    for folder in &plan.writes {
        rights::check_folder(folder, overrode)?;
    }
    if mode == Mode::Off {
        return Ok(confined);
    }
    if !plan.looks_into_processes {
        let abi = landlock_abi().map_err(|error| format!("the kernel has no Landlock: {error}"));
        let applied = abi.and_then(|abi| files::restrict(plan).map(|()| abi));
        note_landlock(&mut confined, &applied);
    }
    confined.note(Part::SystemCalls, calls::restrict(plan.calls));
    if mode == Mode::Strict && !confined.missing.is_empty() {
        return Err(ConfineError::Incomplete(confined.text()));
    }
    Ok(confined)
}

/// What would be in force here, for a capture that is started as this process
/// is. Changes nothing.
pub fn outlook() -> Confined {
    let mut confined = Confined::new(Mode::On);
    confined.note(Part::Capabilities, Ok(()));
    confined.note(Part::NoNewPrivileges, Ok(()));
    let abi = landlock_abi().map_err(|error| format!("the kernel has no Landlock: {error}"));
    note_landlock(&mut confined, &abi);
    confined.note(Part::SystemCalls, calls::available());
    confined
}

/// Which parts a version of Landlock has.
fn note_landlock(confined: &mut Confined, abi: &Result<i64, String>) {
    let since = |first: i64, kernel: &str| match abi {
        Ok(abi) if *abi >= first => Ok(()),
        Ok(abi) => Err(format!("Landlock ABI {abi}; from Linux {kernel} on")),
        Err(why) => Err(why.clone()),
    };
    // Before, a file outside could be emptied.
    confined.note(Part::Files, since(3, "6.2"));
    confined.note(Part::TcpPorts, since(4, "6.7"));
    confined.note(Part::Scopes, since(6, "6.12"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_rule_of_landlock_closes_other_processes() {
        use landlock::{AccessNet, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope};
        let exe = format!("/proc/{}/exe", std::os::unix::process::parent_id());
        if std::fs::read_link(&exe).is_err() || landlock_abi().is_ok_and(|abi| abi < 6) {
            eprintln!("SKIP: any_rule_of_landlock: needs root, Landlock ABI 6, and its parent");
            return;
        }
        let read_under = |rules: Ruleset| {
            let exe = exe.clone();
            // Bound is the thread that asks for it.
            let bound = std::thread::spawn(move || {
                rules.create().unwrap().no_new_privs(true).restrict_self().unwrap();
                std::fs::read_link(exe).map_err(|error| error.kind())
            });
            bound.join().unwrap()
        };
        let ports = Ruleset::default().handle_access(AccessNet::ConnectTcp).unwrap();
        let scopes = Ruleset::default().scope(Scope::Signal).unwrap();
        for rules in [ports, scopes] {
            assert_eq!(read_under(rules), Err(io::ErrorKind::PermissionDenied));
        }
    }

    #[test]
    fn old_kernels_are_told_by_what_they_lack() {
        let lacks = |abi| {
            let mut confined = Confined::new(Mode::On);
            note_landlock(&mut confined, &abi);
            confined.missing.iter().map(|missing| missing.part).collect::<Vec<_>>()
        };
        assert_eq!(lacks(Ok(6)), []);
        assert_eq!(lacks(Ok(5)), [Part::Scopes]);
        assert_eq!(lacks(Ok(3)), [Part::TcpPorts, Part::Scopes]);
        assert_eq!(lacks(Ok(1)), [Part::Files, Part::TcpPorts, Part::Scopes]);
        assert_eq!(lacks(Err("none".to_owned())).len(), 3);
        let mut confined = Confined::new(Mode::On);
        confined.note(Part::Capabilities, Ok(()));
        confined.note(Part::Scopes, Err("too old".to_owned()));
        let text = "confined: capabilities; not confined: signals and abstract sockets (too old)";
        assert_eq!(confined.text(), text);
    }
}

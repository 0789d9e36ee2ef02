//! Whether this machine can capture, and what would falsify what it captures.
//!
//! Every [`Check`] says what was found, what that means and what to do. It
//! looks and tries out; it changes nothing, and takes no packet. Start at
//! [`examine`]. Inside: `process` is what this process may do, `machine` what
//! the kernel offers, `hosts` how processes can be watched, `interface` each
//! interface, `ethtool` its driver.

mod ethtool;
mod hosts;
mod interface;
mod machine;
mod process;

use std::fmt::Write as _;

use serde::Serialize;

pub use hosts::Procs;

use crate::input::live::Method;
use crate::service::confine::{Confined, outlook};

/// What is meant to be captured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Interfaces by name; all of them when there is none.
    pub interfaces: Vec<String>,
    /// Rings an interface.
    pub rings: usize,
    /// Size of each ring.
    pub ring_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Capture works, and something will be missing or wrong in it.
    Warning,
    /// Capture does not work.
    Failing,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failing => "failing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stays the same from version to version.
    pub name: &'static str,
    /// Of the checks on one interface.
    pub interface: Option<String>,
    pub status: Status,
    pub found: String,
    /// Empty when all is well.
    pub meaning: String,
    /// A command where one does it; empty when there is nothing to do.
    pub remedy: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        let (meaning, remedy) = (String::new(), String::new());
        Self { name, interface: None, status: Status::Ok, found: found.into(), meaning, remedy }
    }

    fn warning(name: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Self {
        let check = Self::ok(name, found);
        Self { status: Status::Warning, meaning: meaning.into(), ..check }
    }

    fn failing(name: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Self {
        let check = Self::ok(name, found);
        Self { status: Status::Failing, meaning: meaning.into(), ..check }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    fn of(self, interface: &str) -> Self {
        Self { interface: Some(interface.to_owned()), ..self }
    }
}

/// How frames would be taken from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capture {
    /// As `flowtap live --capture` names it; nothing when neither works.
    pub method: Option<&'static str>,
    pub why: String,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// The gravest of all checks.
    pub status: Status,
    pub capture: Capture,
    /// How `--procs auto` would name processes.
    pub procs: Procs,
    /// What a capture would be confined by (`--confine on`).
    pub confinement: Confined,
    pub checks: Vec<Check>,
}

/// Looks at everything.
pub fn examine(plan: &Plan) -> Report {
    let mut checks = process::checks();
    let ring = machine::ring();
    let capture = capture(&ring);
    checks.push(ring);
    checks.extend(machine::checks(plan));
    let ways = hosts::Ways::look();
    checks.extend(ways.checks());
    let names =
        if plan.interfaces.is_empty() { interface::names() } else { plan.interfaces.clone() };
    if names.is_empty() {
        let meaning = "there is nothing to capture from";
        checks.push(Check::failing("interface", "none", meaning));
    }
    checks.extend(names.iter().flat_map(|name| interface::checks(name)));
    let confinement = outlook();
    checks.push(judge_confinement(&confinement));
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    let version = env!("CARGO_PKG_VERSION");
    Report { version, status, capture, procs: ways.choice(), confinement, checks }
}

/// Capture works without; whoever takes it over has more to work with.
fn judge_confinement(confinement: &Confined) -> Check {
    const NAME: &str = "confinement";
    if confinement.missing.is_empty() {
        return Check::ok(NAME, confinement.text());
    }
    Check::warning(
        NAME,
        confinement.text(),
        "a capture that is taken over can do more than it should",
    )
    .remedy("a newer kernel, with lsm=landlock,...    (--confine strict refuses to start)")
}

fn capture(ring: &Check) -> Capture {
    let method = Method::default();
    debug_assert_eq!(method, Method::Ring);
    if ring.status == Status::Ok {
        let why = "AF_PACKET rings can be opened: one a worker, the kernel copies each frame once";
        return Capture { method: Some("ring"), why: why.to_owned() };
    }
    // libpcap opens the same kind of socket.
    Capture { method: None, why: format!("no AF_PACKET socket can be opened: {}", ring.found) }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = self.checks.iter().map(|check| check.title().chars().count()).max();
        let width = width.unwrap_or(0);
        for check in &self.checks {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<7}  {:<width$}  {}",
                check.status.name(),
                check.title(),
                check.found
            );
            for more in [&check.meaning, &check.remedy] {
                if !more.is_empty() {
                    let _ = writeln!(text, "{:<9}{more}", "");
                }
            }
        }
        let _ = match self.capture.method {
            Some(method) => writeln!(text, "\ncapture: {method} ({})", self.capture.why),
            None => writeln!(text, "\ncapture: not possible ({})", self.capture.why),
        };
        let procs = &self.procs;
        let _ = match procs.method {
            Some(method) => writeln!(text, "procs: {method} ({})", procs.why),
            None => writeln!(text, "procs: not possible ({})", procs.why),
        };
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let _ = writeln!(
            text,
            "{} checks: {} ok, {} warnings, {} failing",
            self.checks.len(),
            count(Status::Ok),
            count(Status::Warning),
            count(Status::Failing)
        );
        text
    }
}

impl Check {
    fn title(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{interface} {}", self.name),
            None => self.name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_check_decides_and_the_text_says_what_to_do() {
        let checks = vec![
            Check::ok("kernel", "6.1"),
            Check::warning("offloads", "gro on", "sizes are wrong")
                .remedy("ethtool -K x gro off")
                .of("x"),
        ];
        let capture = Capture { method: None, why: "no right".to_owned() };
        let confinement = outlook();
        let procs = Procs { method: Some("ebpf"), why: "all is there".to_owned() };
        let status = Status::Warning;
        let report = Report { version: "1", status, capture, procs, confinement, checks };
        let text = "ok       kernel      6.1\n\
                    warning  x offloads  gro on\n         sizes are wrong\n         ethtool -K x gro off\n\n\
                    capture: not possible (no right)\nprocs: ebpf (all is there)\n2 checks: 1 ok, 1 warnings, 0 failing\n";
        assert_eq!(report.text(), text);
        assert!(Status::Ok < Status::Warning && Status::Warning < Status::Failing);
    }

    #[test]
    fn this_machine_is_examined_whatever_it_is() {
        let plan =
            Plan { interfaces: vec!["no-such-if".to_owned()], rings: 1, ring_bytes: 1 << 20 };
        let report = examine(&plan);
        let check = |name| report.checks.iter().find(|check| check.name == name);
        for name in
            ["cap_net_raw", "kernel", "ring", "clock", "memory", "open_files", "confinement"]
        {
            assert!(check(name).is_some(), "no check {name}");
        }
        let missing = check("interface").unwrap();
        assert_eq!(missing.status, Status::Failing);
        assert_eq!(missing.interface.as_deref(), Some("no-such-if"));
        assert_eq!(report.status, Status::Failing);
    }
}

//! What is the same of processes whichever program tells of them.

use crate::host::process::{Context, Process, ProcessId, in_usual_writable_folder};
use crate::telemetry::process_log::command;

const NS_PER_S: i64 = 1_000_000_000;
const TICKS_PER_S: u64 = 100;

/// A process by its number and start. Whole seconds, though some sources know it
/// better: `ps` does not, and all sources of a host must name a process alike. No
/// host gives a number twice within one. Zero where the start is
/// not known: [`crate::host::starts`] fills it in.
pub(super) fn process_id(pid: u32, started_ns: Option<i64>) -> ProcessId {
    let started_s = started_ns.map_or(0, |ns| u64::try_from(ns / NS_PER_S).unwrap_or(0));
    ProcessId { pid, start_ticks: started_s * TICKS_PER_S }
}

/// Path, and name where there is none better.
pub(super) fn set_executable(process: &mut Process, path: &str) {
    command::set_executable(process, path);
    process.exe_in_writable_folder = in_usual_writable_folder(&process.exe);
}

/// `ttys001` of `/dev/ttys001`; empty for what stands for none.
pub(super) fn terminal(text: &str) -> String {
    if matches!(text, "??" | "-") { String::new() } else { command::terminal(text) }
}

/// Whether the executable lies in an application's folder.
pub(super) fn is_application(path: &str) -> bool {
    path.contains(".app/Contents/")
}

/// A terminal first, as of processes that are read live: what runs in one was typed
/// there, whichever application shows it. `in_application`: its executable, or that
/// of the process responsible for it, is an application's, and someone is logged in.
pub(super) fn context(terminal: &str, in_application: bool) -> Context {
    match (terminal.is_empty(), in_application) {
        (false, _) => Context::Terminal,
        (true, true) => Context::Gui,
        (true, false) => Context::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_by_the_second_of_its_start() {
        let id = |ns| process_id(7, Some(ns)).start_ticks;
        assert_eq!(id(1_772_360_102_999_999_999), 177_236_010_200);
        assert_eq!(id(-1), 0);
        assert_eq!(id(i64::MAX), 922_337_203_600);
        assert_eq!(process_id(7, None).start_ticks, 0);
    }

    #[test]
    fn terminals_and_applications() {
        assert_eq!(terminal("/dev/ttys001"), "ttys001");
        assert_eq!(terminal("??"), "");
        assert_eq!(context("ttys001", true), Context::Terminal);
        assert_eq!(context("", true), Context::Gui);
        assert!(is_application("/Applications/Net.app/Contents/MacOS/Net"));
        assert!(!is_application("/usr/bin/app"));
    }
}

//! The columns of `ps`, by its header.

use crate::host::process::Process;
use crate::telemetry::decode::Bad;
use crate::telemetry::process_log::command::{cut, set_command_line};
use crate::telemetry::text::number;

use super::date::civil_s;
use super::process::{context, is_application, process_id, set_executable, terminal};

/// Longest name of a user, twice over.
const MAX_USER_BYTES: usize = 64;

/// What a column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Pid,
    Parent,
    Session,
    Terminal,
    User,
    Uid,
    /// Five words: `lstart`.
    Started,
    /// The executable alone, if it is the last; else one word that is passed over.
    Executable,
    /// The rest of the line.
    Command,
    /// One word that is not used.
    Other,
}

impl Column {
    fn named(name: &[u8]) -> Self {
        match name {
            b"PID" => Self::Pid,
            b"PPID" => Self::Parent,
            b"SESS" | b"SID" => Self::Session,
            b"TTY" | b"TT" => Self::Terminal,
            // The effective user is who `ps` means by USER; the one whose rights it has.
            b"USER" => Self::User,
            b"UID" => Self::Uid,
            b"STARTED" => Self::Started,
            b"COMM" | b"UCOMM" => Self::Executable,
            b"COMMAND" | b"ARGS" | b"CMD" => Self::Command,
            _ => Self::Other,
        }
    }
}

/// The columns of a header; nothing for what is none.
pub(super) fn columns(line: &[u8]) -> Option<Vec<Column>> {
    let is_name = |word: &[u8]| word.iter().all(|&b| b.is_ascii_uppercase() || b"%_-".contains(&b));
    let names: Vec<_> = words(line).collect();
    if !names.iter().all(|name| is_name(name)) {
        return None;
    }
    let columns: Vec<_> = names.into_iter().map(Column::named).collect();
    let has = |column| columns.contains(&column);
    let last = columns.last()?;
    let is_command = matches!(last, Column::Command | Column::Executable);
    (columns.len() > 2 && has(Column::Pid) && is_command).then_some(columns)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A row.
pub(super) struct Row {
    pub(super) process: Process,
    /// By the clock of the zone that `ps` ran in, in seconds.
    pub(super) started_civil_s: Option<i64>,
    /// It is the very `ps` that wrote this.
    pub(super) is_ps: bool,
}

/// A line as the columns say.
pub(super) fn row(columns: &[Column], line: &[u8]) -> Result<Row, Bad> {
    let mut row = Row { process: Process::default(), started_civil_s: None, is_ps: false };
    let process = &mut row.process;
    let mut rest = line.trim_ascii();
    let mut pid = None;
    let (last, before) =
        columns.split_last().ok_or_else(|| Bad::new("fewer columns than the header"))?;
    for column in before {
        let word = next_word(&mut rest);
        let word = word.ok_or_else(|| Bad::new("fewer columns than the header"))?;
        match column {
            Column::Pid => pid = number(word),
            Column::Parent => {
                process.parent = number(word).map(|pid| process_id(pid, None));
            }
            // macOS prints the kernel's address of it or 0, and Linux 0 where there is none.
            Column::Session => process.session = number(word).filter(|&session| session != 0),
            Column::Terminal => {
                process.terminal = terminal(&String::from_utf8_lossy(word));
            }
            Column::User => {
                process.user = cut(&String::from_utf8_lossy(word), MAX_USER_BYTES).to_owned();
            }
            Column::Uid => process.uid = number(word),
            Column::Started => {
                let mut fields = [word; 5];
                for field in &mut fields[1..] {
                    *field = next_word(&mut rest).unwrap_or_default();
                }
                row.started_civil_s = civil_s(&fields);
                if row.started_civil_s.is_none() {
                    return Err(Bad::value("no time of start (LC_ALL=C ps)", word));
                }
            }
            Column::Executable | Column::Command | Column::Other => {}
        }
    }
    let pid = pid.ok_or_else(|| Bad::new("no process number"))?;
    process.id = process_id(pid, None);
    let command = String::from_utf8_lossy(rest);
    let path = executable(&command, *last);
    set_executable(process, path);
    if !path.starts_with('/') {
        // The program's own word for itself, which is no path.
        process.exe.clear();
    }
    if *last == Column::Command {
        set_command_line(process, &command);
        row.is_ps = process.name == "ps" && command.contains("lstart");
    }
    let in_application = is_application(&process.exe) && process.uid != Some(0);
    process.context =
        columns.contains(&Column::Terminal).then(|| context(&process.terminal, in_application));
    Ok(row)
}

/// The next word, and what is left after it.
fn next_word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let (word, left) = rest.split_at(end);
    *rest = left.trim_ascii_start();
    (!word.is_empty()).then_some(word)
}

/// The executable out of a command line whose arguments are joined by spaces.
/// Applications have spaces in their paths: theirs ends before the first option.
fn executable(command: &str, column: Column) -> &str {
    if column == Column::Executable {
        return command;
    }
    let first = command.split_ascii_whitespace().next().unwrap_or_default();
    if command.starts_with('/')
        && !is_application(first)
        && let Some(at) = command.find(".app/Contents/")
    {
        let end = command[at..].find(" -").map_or(command.len(), |end| at + end);
        return &command[..end];
    }
    if is_application(first) {
        let end = command.find(" -").unwrap_or(command.len());
        return &command[..end];
    }
    first.trim_end_matches(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_number_and_a_command_at_its_end() {
        assert!(columns(b"  PID TT       USER     STARTED COMMAND").is_some());
        assert!(columns(b"USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND").is_some());
        assert_eq!(columns(b"PID COMMAND USER"), None);
        assert_eq!(columns(b"USER COMMAND TTY ARGS"), None);
        assert_eq!(columns(b"  501 ?? alice ping"), None);
        assert_eq!(columns(b""), None);
    }

    #[test]
    fn paths_of_applications_have_spaces() {
        for (command, path) in [
            ("/sbin/ping -f 192.0.2.1", "/sbin/ping"),
            ("-zsh", "-zsh"),
            (
                "/Applications/Net Tool.app/Contents/MacOS/Net Tool",
                "/Applications/Net Tool.app/Contents/MacOS/Net Tool",
            ),
            (
                "/Applications/Net Tool.app/Contents/MacOS/Net Tool --quiet -x",
                "/Applications/Net Tool.app/Contents/MacOS/Net Tool",
            ),
            (
                "/Applications/Net.app/Contents/MacOS/Net Tool -x",
                "/Applications/Net.app/Contents/MacOS/Net Tool",
            ),
            ("/bin/sh /Users/a/x.sh", "/bin/sh"),
            ("", ""),
        ] {
            assert_eq!(executable(command, Column::Command), path);
        }
    }

    #[test]
    fn a_row_follows_its_header() {
        let columns = columns(b"PID PPID SESS TTY USER UID STARTED COMMAND").expect("a header");
        let line = b"  501   400 0 ttys001  alice 501 Sun Mar  1 10:15:02 2026 /usr/bin/curl -u a:secret x";
        let row = row(&columns, line).expect("a row");
        let process = row.process;
        assert_eq!((process.id.pid, process.uid, process.session), (501, Some(501), None));
        assert_eq!((&*process.exe, &*process.name), ("/usr/bin/curl", "curl"));
        assert_eq!(process.args, ["/usr/bin/curl", "-u", "a:***", "x"]);
        assert_eq!(process.terminal, "ttys001");
        assert_eq!(row.started_civil_s, Some(1_772_360_102));
        for bad in
            [&b"501 400"[..], b"x 1 0 ? a 1 Sun Mar  1 10:15:02 2026 x", b"1 1 0 ? a 1 b c d e f g"]
        {
            assert!(super::row(&columns, bad).is_err());
        }
    }
}

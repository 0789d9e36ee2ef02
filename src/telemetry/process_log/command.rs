//! Texts of processes, within the bounds of our own watchers and with secrets masked
//! as they do.

use crate::host::mask::mask_arguments;
use crate::host::process::Process;

/// As our own watchers keep.
pub(super) const MAX_ARGUMENT_BYTES: usize = 4096;
pub(super) const MAX_ARGUMENTS: usize = 64;

const MAX_PATH_BYTES: usize = 4096;

/// Of the kernel's name of a process.
const MAX_NAME_BYTES: usize = 15;

/// "No one", as audit has it.
const NO_LOGIN: u32 = u32::MAX;

/// Takes arguments over, cut and masked.
pub(super) fn set_arguments<T>(process: &mut Process, args: impl IntoIterator<Item = T>)
where
    T: AsRef<str>,
{
    let mut room = MAX_ARGUMENT_BYTES;
    let mut args = args.into_iter();
    for arg in args.by_ref() {
        if process.args.len() >= MAX_ARGUMENTS || room == 0 {
            process.args_cut = true;
            break;
        }
        let arg = arg.as_ref();
        let kept = cut(arg, room);
        process.args_cut |= kept.len() < arg.len();
        // As with the NUL behind it.
        room = room.saturating_sub(kept.len() + 1);
        process.args.push(kept.to_owned());
    }
    mask_arguments(&mut process.args);
}

/// The same out of one text with all arguments.
pub(super) fn set_command_line(process: &mut Process, line: &str) {
    // Cut before it is split: the rest would be dropped word by word.
    let kept = cut(line, 2 * MAX_ARGUMENT_BYTES);
    process.args_cut |= kept.len() < line.len();
    set_arguments(process, words(kept));
}

/// A path, and the name that the kernel gives a process by it: that of the file, of
/// a script the script's, where the source has no other.
pub(super) fn set_executable(process: &mut Process, path: &str) {
    let deleted = path.strip_suffix(" (deleted)");
    process.exe_deleted = deleted.is_some();
    process.exe = cut(deleted.unwrap_or(path), MAX_PATH_BYTES).to_owned();
    if process.name.is_empty() {
        let file = process.exe.rsplit('/').next().unwrap_or_default();
        process.name = cut(file, MAX_NAME_BYTES).to_owned();
    }
}

/// Names of users, containers and pods: twice Kubernetes' longest.
pub(super) fn short_text(text: &str) -> String {
    const MAX_TEXT_BYTES: usize = 512;
    cut(text, MAX_TEXT_BYTES).to_owned()
}

pub(super) fn short_name(name: &str) -> String {
    cut(name, MAX_NAME_BYTES).to_owned()
}

/// A user who logged in; "no one" is a number too.
pub(super) fn login(uid: u32) -> Option<u32> {
    (uid != NO_LOGIN).then_some(uid)
}

/// A terminal as `ps` names it: sources have `/dev/pts/0`, `pts0`, `pts/0`, `34816`.
pub(super) fn terminal(text: &str) -> String {
    let text = text.strip_prefix("/dev/").unwrap_or(text);
    match text {
        "" | "(none)" | "?" | "<NA>" | "0" => String::new(),
        text => {
            match text.strip_prefix("pts").filter(|n| n.starts_with(|c: char| c.is_ascii_digit())) {
                Some(number) => format!("pts/{}", cut(number, MAX_NAME_BYTES)),
                None => cut(text, 2 * MAX_NAME_BYTES).to_owned(),
            }
        }
    }
}

pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Words of a command line that was put together with blanks. Quotes hold a word
/// together where they surround all of it; sources do not say whether they were added.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        if matches!(first, '"' | '\'')
            && let Some(end) = closing(&rest[1..], first)
        {
            let word = &rest[1..=end];
            rest = &rest[end + 2..];
            return Some(word);
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Where the quote ends that a word began with: the next one before white space or
/// the end.
fn closing(text: &str, quote: char) -> Option<usize> {
    text.match_indices(quote).map(|(at, _)| at).find(|&at| {
        let after = &text[at + 1..];
        !text[..at].ends_with('\\') && (after.is_empty() || after.starts_with(char::is_whitespace))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arguments(line: &str) -> Vec<String> {
        let mut process = Process::default();
        set_command_line(&mut process, line);
        process.args
    }

    #[test]
    fn command_lines_become_words_without_their_secrets() {
        for (line, args) in [
            ("curl  -s http://192.0.2.1/", &["curl", "-s", "http://192.0.2.1/"][..]),
            (r#"sh -c "echo 'a b'; id" x"#, &["sh", "-c", "echo 'a b'; id", "x"]),
            ("echo it's fine", &["echo", "it's", "fine"]),
            ("echo 'open end", &["echo", "'open", "end"]),
            ("mysql -uroot -phunter2", &["mysql", "-uroot", "-p***"]),
            ("x --password hunter2", &["x", "--password", "***"]),
            (r#"x "--password=two words""#, &["x", "--password=***"]),
            ("''", &[""]),
            ("", &[]),
        ] {
            assert_eq!(arguments(line), args, "{line}");
        }
    }

    #[test]
    fn arguments_are_cut_as_our_own_watchers_do() {
        let mut process = Process::default();
        set_arguments(&mut process, ["a".repeat(5000)]);
        assert_eq!((process.args[0].len(), process.args_cut), (4096, true));
        let mut process = Process::default();
        set_arguments(&mut process, ["a"; 65]);
        assert_eq!((process.args.len(), process.args_cut), (64, true));
        let mut process = Process::default();
        set_command_line(&mut process, &"ñ ".repeat(5000));
        assert!(process.args_cut && process.args.len() == 64);
    }

    #[test]
    fn terminals_have_one_name() {
        for (text, name) in [
            ("pts0", "pts/0"),
            ("pts/3", "pts/3"),
            ("/dev/pts/12", "pts/12"),
            ("tty1", "tty1"),
            ("(none)", ""),
            ("?", ""),
        ] {
            assert_eq!(terminal(text), name);
        }
    }

    #[test]
    fn an_executable_names_its_process() {
        let mut process = Process::default();
        set_executable(&mut process, "/tmp/a very long name (deleted)");
        assert_eq!(
            (process.exe.as_str(), process.name.as_str()),
            ("/tmp/a very long name", "a very long nam")
        );
        assert!(process.exe_deleted);
    }

    proptest! {
        #[test]
        fn any_line_is_split_without_a_panic(line in "[ab'\"\\\\ \\PC]{0,80}") {
            for word in words(&line) {
                prop_assert!(line.contains(word));
            }
        }
    }
}

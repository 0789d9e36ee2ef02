//! Texts of a host made safe to print: whoever starts a process chooses them.
//!
//! Start at [`command_line`] and [`printable`]; both borrow where there is
//! nothing to do.

use std::borrow::Cow;

/// A character that a terminal obeys instead of showing it: controls, line
/// breaks among them, and changes of the text's direction.
pub(crate) fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{061c}')
        || ('\u{202a}'..='\u{202e}').contains(&letter)
        || ('\u{2066}'..='\u{2069}').contains(&letter)
}

/// Whether there is any in the text. Most texts are plain ASCII, which is quick to see.
fn any_obeyed(text: &str) -> bool {
    !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.chars().any(is_obeyed)
}

/// The text with such characters as `\u{..}`.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !any_obeyed(text) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_obeyed(letter) {
            line.extend(letter.escape_unicode());
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
}

/// Arguments as one line that a POSIX shell with `$'...'` (POSIX.1-2024, bash,
/// zsh) reads back into the same arguments. Always one line, and harmless on a
/// terminal.
pub(super) fn command_line(args: &[String]) -> String {
    let mut line = String::with_capacity(args.iter().map(|arg| arg.len() + 1).sum());
    for arg in args {
        if !line.is_empty() {
            line.push(' ');
        }
        push_quoted(&mut line, arg);
    }
    line
}

fn push_quoted(line: &mut String, arg: &str) {
    if !arg.is_empty() && arg.bytes().all(is_bare) {
        line.push_str(arg);
    } else if any_obeyed(arg) {
        line.push_str("$'");
        arg.chars().for_each(|letter| push_escaped(line, letter));
        line.push('\'');
    } else {
        line.push('\'');
        line.push_str(&arg.replace('\'', r"'\''"));
        line.push('\'');
    }
}

fn push_escaped(line: &mut String, letter: char) {
    match letter {
        '\n' => line.push_str(r"\n"),
        '\r' => line.push_str(r"\r"),
        '\t' => line.push_str(r"\t"),
        '\'' | '\\' => line.extend(['\\', letter]),
        // By its bytes and not `\u`, which reads differently by the locale. Three
        // octal digits end by themselves; hexadecimal ones would take what follows.
        _ if is_obeyed(letter) => {
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                line.push('\\');
                line.extend([6, 3, 0].map(|bits| char::from(b'0' + (byte >> bits & 7))));
            }
        }
        _ => line.push(letter),
    }
}

/// Bytes that mean nothing to a shell, wherever they stand.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn line(args: &[&str]) -> String {
        command_line(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_needs_quotes_has_them() {
        for (args, expected) in [
            (&["curl", "-s", "http://h:80/a,b"][..], "curl -s http://h:80/a,b"),
            (&["sh", "-c", "echo $HOME | wc"], "sh -c 'echo $HOME | wc'"),
            (&["grep", ""], "grep ''"),
            (&["it's"], r"'it'\''s'"),
            (&["a\n'b\\\x1b[2J7"], r"$'a\n\'b\\\033[2J7'"),
            (&["a\u{202e}b"], r"$'a\342\200\256b'"),
            (&["Ünïcödé 🙂"], "'Ünïcödé 🙂'"),
            (&[], ""),
        ] {
            assert_eq!(line(args), expected);
        }
    }

    #[test]
    fn printable_text_is_one_harmless_line() {
        assert!(matches!(printable("plain, Ünïcödé"), Cow::Borrowed(_)));
        assert_eq!(printable("a\nb\x1b[2J\u{202e}"), r"a\u{a}b\u{1b}[2J\u{202e}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_the_same_arguments_back(args in prop::collection::vec(
            prop_oneof!["[^\0]{0,12}", "[-a-z'\"\\\\$`!\n\t\x1b ]{0,12}"], 1..6,
        )) {
            let line = command_line(&args);
            prop_assert!(!line.chars().any(is_obeyed), "{}", line);
            let script = format!("printf '%s\\0' {line}");
            let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
            let read = String::from_utf8(output.stdout).expect("UTF-8");
            let read: Vec<_> = read.split_terminator('\0').collect();
            prop_assert_eq!(read, args);
        }
    }
}

//! `/proc/PID/stat`: one line of fields, the second in brackets.

use std::borrow::Cow;

/// What is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) session: u32,
    pub(super) terminal: u32,
    pub(super) threads: u32,
    pub(super) start_ticks: u64,
    /// Where the stack began: another with each program, 0 without the right to
    /// know.
    pub(super) stack_start: u64,
}

impl<'a> Stat<'a> {
    /// Nothing when it is not such a line. The name may hold anything, brackets and
    /// line ends too: it ends at the last bracket.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(line.get(open + 1..close)?);
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // The third field is the first of these.
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().unwrap_or(0);
        let terminal = fields.next()?.parse::<i32>().unwrap_or(0).cast_unsigned();
        let threads = fields.nth(12)?.parse().unwrap_or(0);
        let start_ticks = fields.nth(1)?.parse().ok()?;
        let stack_start = fields.nth(5).and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(Self { name, state, parent, session, terminal, threads, start_ticks, stack_start })
    }

    /// It has ended and waits for its parent to notice, or less.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::terminal_name;
    use proptest::prelude::*;

    #[test]
    fn every_field_is_where_the_kernel_puts_it() {
        let line = b"4242 (a) b) (c) S 17 4242 99 34819 4242 4194304 1 2 3 4 5 6 7 8 20 0 3 0 \
                     123456 1000 200 18446744073709551615 111 222 140737000 0 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.name, "a) b) (c");
        assert_eq!((stat.state, stat.parent, stat.session), (b'S', 17, 99));
        assert_eq!((stat.threads, stat.start_ticks, stat.stack_start), (3, 123_456, 140_737_000));
        assert_eq!(terminal_name(stat.terminal), "pts/3");
    }

    #[test]
    fn agrees_with_another_parser_about_this_process() {
        let line = std::fs::read("/proc/self/stat").unwrap();
        let ours = Stat::parse(&line).unwrap();
        let theirs = procfs::process::Process::myself().unwrap().stat().unwrap();
        assert_eq!(ours.name, theirs.comm);
        assert_eq!(i64::from(ours.parent), i64::from(theirs.ppid));
        assert_eq!(i64::from(ours.session), i64::from(theirs.session));
        assert_eq!(ours.terminal.cast_signed(), theirs.tty_nr);
        assert_eq!(ours.start_ticks, theirs.starttime);
        assert_eq!(ours.stack_start, theirs.startstack);
    }

    #[test]
    fn terminals_have_their_names() {
        for (major, minor, name) in [
            (0, 0, ""),
            (4, 1, "tty1"),
            (4, 64, "ttyS0"),
            (5, 1, "console"),
            (136, 0, "pts/0"),
            (136, 300, "pts/300"),
            (137, 2, "pts/258"),
            (229, 0, "hvc0"),
            (77, 5, "77:5"),
        ] {
            let device = (minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12);
            assert_eq!(terminal_name(device), name, "{major}:{minor}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(line: Vec<u8>, device: u32) {
            let _ = Stat::parse(&line);
            let _ = terminal_name(device);
        }
    }
}

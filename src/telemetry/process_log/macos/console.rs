//! Who is at a Mac, and since when nobody touched it: a recorded text of what `date`,
//! `stat -f %Su /dev/console`, `ioreg -c IOHIDSystem` and `who` print, over and over.
//!
//! ```text
//! 2026-03-01T10:15:02Z
//! alice
//!     | |   "HIDIdleTime" = 235161083
//! alice            console      Mar  1 09:00
//! bob              ttys001      Mar  1 09:30   (198.51.100.9)
//! ```

use crate::host::event::{Presence, What};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Kind};
use crate::telemetry::text::{address, number};

use super::date::date_line;
use super::process::terminal;
use super::speaker::Speaker;

/// Logins that are kept of one moment.
const MAX_LOGINS: usize = 1000;

/// The display that belongs to the machine, as `who` calls it.
const AT_THE_MACHINE: &str = "console";

pub(in crate::telemetry::process_log) static CONSOLE: Kind = Kind {
    name: "macos-console",
    title: "macOS console user and idle time (stat, ioreg, who)",
    gives: Gives::Hosts,
    versions: "a recorded text: date, stat -f %Su /dev/console, ioreg -c IOHIDSystem, who",
    source: "stat(1), ioreg(8), who(1) of macOS; HIDIdleTime of IOHIDSystem in nanoseconds",
    sample: "2026-03-01T10:15:02Z\nalice\n    | |   \"HIDIdleTime\" = 235161083\n\
        alice            console      Mar  1 09:00\n\
        bob              ttys001      Mar  1 09:30   (198.51.100.9)\n",
    sees: "whether a person was at the machine when it flooded (AN0971)",
    absent: "what a person did; whether the screen is locked; idle times of terminals",
    lateness_s: 5,
    framing: Framing::Lines,
    recognise: |head| head.lines.iter().any(|line| idle_ns(line).is_some()),
    decoder: |context| Ok(Box::new(Console::new(context))),
};

struct Console {
    speaker: Speaker,
    modified_ns: Option<i64>,
    time_ns: Option<i64>,
    /// Who owns the console; nobody is who the login window belongs to.
    user: Option<String>,
    idle_ns: Option<i64>,
    logins: Vec<Presence>,
}

impl Console {
    fn new(context: &Context) -> Self {
        Self {
            speaker: Speaker::new(context),
            modified_ns: context.modified_ns,
            time_ns: None,
            user: None,
            idle_ns: None,
            logins: Vec::new(),
        }
    }

    fn end_moment(&mut self, time_ns: Option<i64>, out: &mut Out) -> Result<(), Bad> {
        let (user, idle_ns) = (self.user.take(), self.idle_ns.take());
        let mut logins = std::mem::take(&mut self.logins);
        if user.is_none() && idle_ns.is_none() && logins.is_empty() {
            return Ok(());
        }
        let time_ns = time_ns.ok_or_else(|| Bad::new("no time (date before it)"))?;
        let at_machine = logins.iter().position(|login| login.terminal == AT_THE_MACHINE);
        let at_machine = at_machine.map(|at| logins.swap_remove(at).user);
        logins.sort_by(|a, b| (&a.terminal, &a.user).cmp(&(&b.terminal, &b.user)));
        let user = match user {
            Some(owner) if owner == "root" => String::new(),
            Some(owner) => owner,
            None => at_machine.unwrap_or_default(),
        };
        let console = Presence { user, terminal: AT_THE_MACHINE.to_owned(), from: None, idle_ns };
        for presence in std::iter::once(console).chain(logins) {
            self.speaker.tell(time_ns, What::Presence(presence), out);
        }
        Ok(())
    }
}

impl Decoder for Console {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if let Some(time_ns) = date_line(record) {
            let before_ns = self.time_ns.replace(time_ns);
            return self.end_moment(before_ns, out);
        }
        if let Some(idle_ns) = idle_ns(record) {
            // Of several devices the one that was touched last.
            self.idle_ns = Some(self.idle_ns.map_or(idle_ns, |least| least.min(idle_ns)));
            return Ok(());
        }
        let text = String::from_utf8_lossy(record);
        let words: Vec<_> = text.split_ascii_whitespace().take(8).collect();
        match *words {
            [] => {}
            [word] if is_name(word) => self.user = Some(word.to_owned()),
            [user, line, month, day, clock, ref rest @ ..]
                if is_name(user) && is_date(month, day, clock) =>
            {
                if self.logins.len() >= MAX_LOGINS {
                    out.bad_part("more logins than are kept");
                    return Ok(());
                }
                let from = rest.last().and_then(|from| from.strip_prefix('(')?.strip_suffix(')'));
                self.logins.push(Presence {
                    user: user.to_owned(),
                    terminal: terminal(line),
                    from: from.and_then(|from| address(from.as_bytes())),
                    idle_ns: None,
                });
            }
            [first, ..] if is_registry(first) => out.pass("line of the I/O registry"),
            _ => return Err(Bad::value("no line of date, stat, ioreg or who", record)),
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) {
        let time_ns = self.time_ns.take().or(self.modified_ns);
        if let Err(bad) = self.end_moment(time_ns, out) {
            out.bad_part(bad.reason);
        }
    }
}

/// `"HIDIdleTime" = 235161083`, with the lines that `ioreg` draws before it.
fn idle_ns(line: &[u8]) -> Option<i64> {
    let at = line.iter().position(|&byte| !matches!(byte, b' ' | b'|' | b'\t'))?;
    let value = line[at..].strip_prefix(b"\"HIDIdleTime\"")?;
    number(value.trim_ascii().strip_prefix(b"=")?.trim_ascii())
}

fn is_name(word: &str) -> bool {
    word.len() <= 64
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte))
}

/// `Mar  1 09:00`
fn is_date(month: &str, day: &str, clock: &str) -> bool {
    let is_day = |text: &str| number::<u8>(text.as_bytes()).is_some_and(|day| day <= 31);
    (is_day(day) || is_day(month))
        && clock.split_once(':').is_some_and(|(hour, minute)| {
            number::<u8>(hour.as_bytes()).is_some() && number::<u8>(minute.as_bytes()).is_some()
        })
}

/// Lines of the tree, and of properties.
fn is_registry(word: &str) -> bool {
    word.starts_with(['|', '+', '{', '}', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_time_stands_in_a_tree() {
        assert_eq!(idle_ns(b"    | |   \"HIDIdleTime\" = 235161083"), Some(235_161_083));
        assert_eq!(idle_ns(b"\"HIDIdleTime\"=1"), Some(1));
        assert_eq!(idle_ns(b"{\"a\":\"\\\"HIDIdleTime\\\" = 1\"}"), None);
        assert_eq!(idle_ns(b"\"HIDIdleTime\" = 99999999999999999999"), None);
    }
}

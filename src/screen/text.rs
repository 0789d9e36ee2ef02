//! Text that fits its place and does nothing to the terminal.

use ratatui::text::Span;

use crate::alert::thousands;
use crate::report::terminal::bytes;
use crate::service::control::Snapshot;

/// Longest text that is kept of any field.
const LONGEST: usize = 1_024;

/// What is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glyphs {
    pub(crate) utf8: bool,
}

impl Glyphs {
    /// By the locale, in the order of setlocale(3).
    pub(crate) fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        Self { utf8: locale.contains("utf-8") || locale.contains("utf8") }
    }

    pub(crate) fn more(self) -> char {
        if self.utf8 { '…' } else { '~' }
    }

    pub(crate) fn line(self) -> char {
        if self.utf8 { '─' } else { '-' }
    }

    pub(crate) fn arrow(self) -> &'static str {
        if self.utf8 { "↔" } else { "-" }
    }

    /// Fillings of a cell from below, in equal steps, empty first.
    pub(crate) fn columns(self) -> &'static [char] {
        if self.utf8 {
            &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &[' ', '.', ':', '#']
        }
    }

    /// The same from the left.
    pub(crate) fn bars(self) -> &'static [char] {
        if self.utf8 {
            &[' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█']
        } else {
            &[' ', '#']
        }
    }

    fn shows(self, c: char) -> bool {
        if c.is_ascii() {
            return !c.is_ascii_control();
        }
        // A character without a place of its own changes others: combining
        // marks, directions, joiners.
        self.utf8 && !c.is_control() && Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width() > 0
    }

    /// Printable characters only, in one line, of bounded length.
    pub(crate) fn clean(self, text: &str) -> String {
        text.chars().take(LONGEST).map(|c| if self.shows(c) { c } else { '?' }).collect()
    }

    /// Cleans all that comes from elsewhere.
    pub(crate) fn clean_snapshot(self, snapshot: &mut Snapshot) {
        let clean = |text: &mut String| *text = self.clean(text);
        let Snapshot {
            schema,
            version,
            time,
            interfaces,
            overload,
            hosts,
            conversations,
            protocols,
            alerts,
            events,
            ..
        } = snapshot;
        [schema, version, time, overload].into_iter().for_each(clean);
        interfaces.iter_mut().for_each(|interface| clean(&mut interface.name));
        hosts.top.iter_mut().for_each(|host| clean(&mut host.address));
        for one in &mut conversations.top {
            [&mut one.protocol, &mut one.a, &mut one.b].into_iter().for_each(clean);
        }
        protocols.iter_mut().for_each(|protocol| clean(&mut protocol.name));
        for alert in &mut alerts.list {
            let texts = [
                &mut alert.id,
                &mut alert.severity,
                &mut alert.detector,
                &mut alert.entity,
                &mut alert.start,
                &mut alert.end,
                &mut alert.summary,
                &mut alert.because,
                &mut alert.actor,
            ];
            texts.into_iter().for_each(clean);
            let lists = [&mut alert.analytics, &mut alert.peers, &mut alert.missing_telemetry];
            lists.into_iter().flatten().for_each(clean);
        }
        for event in events {
            let texts = [&mut event.time, &mut event.kind, &mut event.interface, &mut event.text];
            texts.into_iter().for_each(clean);
        }
    }

    /// Exactly so many columns: cut or filled up.
    pub(crate) fn fit(self, text: &str, columns: usize) -> String {
        let width = Span::raw(text).width();
        if width <= columns {
            return format!("{text}{}", " ".repeat(columns - width));
        }
        let (mut fitted, mut used) = (String::new(), 0);
        for c in text.chars() {
            let width = Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width();
            if used + width + 1 > columns {
                break;
            }
            used += width;
            fitted.push(c);
        }
        if columns > 0 {
            fitted.push(self.more());
            used += 1;
        }
        fitted + &" ".repeat(columns.saturating_sub(used))
    }
}

/// Head and tail where the whole does not fit: ports stand at the end.
impl Glyphs {
    pub(crate) fn squeeze(self, text: &str, columns: usize) -> String {
        let chars: Vec<char> = text.chars().collect();
        // Addresses are ASCII; anything else is cut at its end.
        if chars.len() <= columns || columns < 5 || !text.is_ascii() {
            return self.fit(text, columns);
        }
        let tail = (columns - 1) / 2;
        let head: String = chars[..columns - 1 - tail].iter().collect();
        let tail: String = chars[chars.len() - tail..].iter().collect();
        format!("{head}{}{tail}", self.more())
    }
}

/// Grouped digits where they fit, in decimal units where not.
pub(crate) fn count(number: u64, columns: usize) -> String {
    let text = thousands(number);
    if text.len() <= columns {
        return text;
    }
    // "12.3 MB" without the B.
    bytes(number).trim_end_matches('B').trim_end().to_owned()
}

/// Aligned to the right, and never wider.
pub(crate) fn right(text: &str, columns: usize) -> String {
    format!("{text:>columns$}")
}

/// Part of a whole, for people.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    if part > 0 && share < 0.1 { "<0.1%".to_owned() } else { format!("{share:.1}%") }
}

/// `12:34:56` of an RFC 3339 time.
pub(crate) fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or("--:--:--")
}

/// As `3d 04:05:06`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let text = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days}d {text}") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_takes_exactly_its_columns(text in ".{0,40}|[\\x00-\\x{ff}]{0,40}", columns in 0usize..60, utf8: bool) {
            let glyphs = Glyphs { utf8 };
            let clean = glyphs.clean(&text);
            prop_assert!(!clean.chars().any(char::is_control));
            prop_assert!(utf8 || clean.is_ascii());
            let fitted = glyphs.fit(&clean, columns);
            prop_assert_eq!(Span::raw(&fitted).width(), columns, "{:?}", fitted);
        }

        #[test]
        fn counts_take_few_columns(number: u64) {
            prop_assert!(count(number, 9).len() <= 9);
            prop_assert_eq!(count(number, 26), thousands(number));
        }
    }

    #[test]
    fn what_would_change_the_terminal_or_its_neighbours_is_replaced() {
        let hostile = "a\x1b[2Jb\u{9b}31m\u{202e}c\u{301}\r\n\t\u{200b}d";
        assert_eq!(Glyphs { utf8: true }.clean(hostile), "a?[2Jb?31m?c?????d");
        assert_eq!(Glyphs { utf8: false }.clean("é…"), "??");
        assert_eq!(Glyphs { utf8: true }.clean(&"x".repeat(9_999)).len(), LONGEST);
    }
}

//! Names of the files that a long run leaves.
//!
//! `flows-20261121T143000Z.ndjson`: what it holds, when it was begun (UTC), and
//! its format. A second one of the same second has `_002` behind its time; so
//! names sort as their files were begun. While it is written, `.part` stands
//! behind the name.
//!
//! Start at [`FileName`]; [`Kind`] is what there is to write.

use super::super::Format;
use super::super::observed::Observed;
use crate::time::rfc3339_bytes;

const NS_PER_S: i64 = 1_000_000_000;
const PART: &str = ".part";
const UNFINISHED: &str = ".unfinished";

/// What is written to files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Flow records in a format; alerts too in EVE.
    Flows(Format),
    /// `alerts.ndjson`: every revision of every alert is a line.
    Alerts,
    /// What other sources observed, as lines.
    Observed(Observed),
}

impl Kind {
    /// `alerts`, or the format as in `--format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows(format) => format.name(),
            Self::Alerts => "alerts",
            Self::Observed(observed) => observed.name(),
        }
    }

    pub(super) fn stem(self) -> Stem {
        match self {
            Self::Flows(Format::Ndjson) => FLOWS_NDJSON,
            Self::Flows(Format::Csv) => FLOWS_CSV,
            #[cfg(feature = "parquet")]
            Self::Flows(Format::Parquet) => FLOWS_PARQUET,
            Self::Flows(Format::Eve) => EVE,
            Self::Flows(Format::Zeek) => CONN,
            Self::Alerts => ALERTS,
            Self::Observed(Observed::Flows) => REPORTED_FLOWS,
            Self::Observed(Observed::Requests) => REQUESTS,
            Self::Observed(Observed::Counters) => COUNTERS,
        }
    }
}

/// What stands before and behind the time in the names of one kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stem {
    pub prefix: &'static str,
    pub extension: &'static str,
}

pub(super) const FLOWS_NDJSON: Stem = Stem { prefix: "flows", extension: "ndjson" };
pub(super) const FLOWS_CSV: Stem = Stem { prefix: "flows", extension: "csv" };
/// Known to builds that can't write it too: an earlier build's files are ours.
pub(super) const FLOWS_PARQUET: Stem = Stem { prefix: "flows", extension: "parquet" };
pub(super) const EVE: Stem = Stem { prefix: "eve", extension: "json" };
pub(super) const CONN: Stem = Stem { prefix: "conn", extension: "log" };
pub(super) const ALERTS: Stem = Stem { prefix: "alerts", extension: "ndjson" };

pub(super) const REPORTED_FLOWS: Stem = Stem { prefix: "reported_flows", extension: "ndjson" };
pub(super) const REQUESTS: Stem = Stem { prefix: "requests", extension: "ndjson" };
pub(super) const COUNTERS: Stem = Stem { prefix: "counters", extension: "ndjson" };

/// Files that hold flow records, and what other sources observed.
pub const FLOW_STEMS: [Stem; 8] =
    [FLOWS_NDJSON, FLOWS_CSV, FLOWS_PARQUET, EVE, CONN, REPORTED_FLOWS, REQUESTS, COUNTERS];
/// Files that hold alerts alone.
pub const ALERT_STEMS: [Stem; 1] = [ALERTS];

/// What a name says about its file's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    Complete,
    /// Being written, or left behind by a run that was killed.
    Part,
    /// Left behind, and can't be read: Parquet without its footer.
    Unfinished,
}

/// The parts of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName {
    pub stem: Stem,
    /// Second in which the file was begun.
    pub began_s: i64,
    /// 1, or more where several were begun in one second.
    pub number: u32,
    pub state: FileState,
}

impl FileName {
    pub fn text(&self) -> String {
        let stamp = rfc3339_bytes(self.began_s.saturating_mul(NS_PER_S));
        let digits = |range: std::ops::Range<usize>| {
            stamp[range].iter().filter(|byte| byte.is_ascii_digit()).map(|&byte| char::from(byte))
        };
        let Stem { prefix, extension } = self.stem;
        let mut text = format!("{prefix}-");
        text.extend(digits(0..10));
        text.push('T');
        text.extend(digits(11..19));
        text.push('Z');
        if self.number > 1 {
            text.push_str(&format!("_{:03}", self.number));
        }
        text.push('.');
        text.push_str(extension);
        text.push_str(match self.state {
            FileState::Complete => "",
            FileState::Part => PART,
            FileState::Unfinished => UNFINISHED,
        });
        text
    }

    /// Reads a name back: None unless it is, to the letter, one that we give.
    pub fn parse(stem: Stem, text: &str) -> Option<Self> {
        let (whole, state) = if let Some(whole) = text.strip_suffix(PART) {
            (whole, FileState::Part)
        } else if let Some(whole) = text.strip_suffix(UNFINISHED) {
            (whole, FileState::Unfinished)
        } else {
            (text, FileState::Complete)
        };
        let time = whole.strip_prefix(stem.prefix)?.strip_prefix('-')?;
        let time = time.strip_suffix(stem.extension)?.strip_suffix('.')?;
        let (time, number) = match time.split_once('_') {
            Some((time, number)) => (time, number.parse().ok()?),
            None => (time, 1),
        };
        let began: jiff::Timestamp = time.parse().ok()?;
        let name = Self { stem, began_s: began.as_second(), number, state };
        (name.text() == text).then_some(name)
    }

    /// The first of `stems` that the name belongs to.
    pub fn parse_any(stems: &[Stem], text: &str) -> Option<Self> {
        stems.iter().find_map(|&stem| Self::parse(stem, text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Stem> {
        [&FLOW_STEMS[..], &ALERT_STEMS].concat()
    }

    #[test]
    fn names_say_what_and_when() {
        let name =
            |stem, number, state| FileName { stem, began_s: 1_795_271_400, number, state }.text();
        assert_eq!(name(FLOWS_NDJSON, 1, FileState::Complete), "flows-20261121T143000Z.ndjson");
        assert_eq!(name(EVE, 1, FileState::Part), "eve-20261121T143000Z.json.part");
        assert_eq!(name(CONN, 2, FileState::Complete), "conn-20261121T143000Z_002.log");
        assert_eq!(
            name(FLOWS_PARQUET, 1, FileState::Unfinished),
            "flows-20261121T143000Z.parquet.unfinished"
        );
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for text in [
            "",
            "flows.ndjson",
            "flows-.ndjson",
            "flows-20261121.ndjson",
            "flows-20261121T143000Z.ndjson.gz",
            "flows-20261121T143000Z.ndjson.part.part",
            "flows-20261121T143000Z_001.ndjson",
            "flows-20261121T143000Z_2.ndjson",
            "flows-20261121T143000Z_0002.ndjson",
            "flows-2026-11-21T14:30:00Z.ndjson",
            "flows-20261121T163000+02.ndjson",
            "myflows-20261121T143000Z.ndjson",
            "flows-20261399T143000Z.ndjson",
            "eve-20261121T143000Z.ndjson",
            "../flows-20261121T143000Z.ndjson",
        ] {
            assert_eq!(FileName::parse_any(&all(), text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_reads_back_and_belongs_to_one_kind(
            kind in 0usize..6, began_s in -9_000_000_000i64..9_000_000_000, number in 1u32..2000,
            state in 0usize..3,
        ) {
            let state = [FileState::Complete, FileState::Part, FileState::Unfinished][state];
            let name = FileName { stem: all()[kind], began_s, number, state };
            let stems: Vec<_> =
                all().into_iter().filter_map(|stem| FileName::parse(stem, &name.text())).collect();
            prop_assert_eq!(stems, [name]);
        }

        #[test]
        fn names_sort_as_their_files_were_begun(
            a in 0i64..4_000_000_000, b in 0i64..4_000_000_000, m in 1u32..999, n in 1u32..999,
        ) {
            let name = |began_s, number| {
                FileName { stem: ALERTS, began_s, number, state: FileState::Complete }.text()
            };
            prop_assert_eq!(name(a, m).cmp(&name(b, n)), (a, m).cmp(&(b, n)));
        }

        #[test]
        fn any_text_can_be_asked_about(text: String) {
            FileName::parse_any(&all(), &text);
        }
    }
}

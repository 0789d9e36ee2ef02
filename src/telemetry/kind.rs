//! The kinds of telemetry: what each is, how it is recognised, how it is read.

use serde_json::Value;

use super::decode::{Context, Decoder};
use super::framing::{Framing, first_json, lines_of};

/// First bytes that recognition looks at.
pub const HEAD_BYTES: usize = 64 << 10;

/// One kind of log, export or counter.
pub struct Kind {
    /// As in `--as`: `aws-vpc`.
    pub name: &'static str,
    /// In words: `AWS VPC flow log`.
    pub title: &'static str,
    pub gives: Gives,
    /// Versions and variants that are read, in words.
    pub versions: &'static str,
    /// What the fields were taken from: the vendor's documentation by its title, or
    /// the program and version that wrote the fixtures.
    pub source: &'static str,
    /// A few lines that are recognised and read; addresses are documentation ones.
    pub sample: &'static str,
    /// What it lets detectors see, in one line.
    pub sees: &'static str,
    /// What it never shows, in one line.
    pub absent: &'static str,
    /// How long after something happened a record of it can come, in seconds: the
    /// interval that it is counted in and the delivery after that.
    pub lateness_s: i64,
    pub framing: Framing,
    /// Whether the first bytes of a source are of this kind. Never true of another
    /// kind's sample (a test holds all against all).
    pub recognise: fn(&Head<'_>) -> bool,
    /// A reader of one source; what is wrong with the user's format in words.
    pub decoder: fn(&Context) -> Result<Box<dyn Decoder>, String>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Of a source that nobody has seen yet.
pub(super) static UNKNOWN: Kind = Kind {
    name: "unknown",
    title: "what is not known yet",
    gives: Gives::Hosts,
    versions: "",
    source: "",
    sample: "",
    sees: "",
    absent: "",
    lateness_s: 0,
    framing: Framing::Lines,
    recognise: |_| false,
    decoder: |_| Err("it is not known what it is".to_owned()),
};

/// Whether a source of this kind always has both directions of what it logs, each as a
/// record of its own: then what it has one of alone went unanswered. A network interface
/// of AWS sees what it sends and what it receives; a router may see one of the two, and a
/// kind that has both in one record shows it by that.
pub(crate) fn always_logs_both_ways(kind: &str) -> bool {
    matches!(kind, "aws-vpc" | "aws-vpc-parquet")
}

/// What observations come of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gives {
    Flows,
    Requests,
    /// Processes, sockets, containers.
    Hosts,
    Counters,
}

impl Gives {
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Requests => "requests",
            Self::Hosts => "host events",
            Self::Counters => "counters",
        }
    }
}

/// The first bytes of a source, in the forms that recognition asks for.
pub struct Head<'a> {
    pub bytes: &'a [u8],
    /// The first lines that are neither empty nor cut off.
    pub lines: Vec<&'a [u8]>,
    /// The first JSON value, where the source begins with one: of an array, or of an
    /// object with one of [`super::framing::RECORD_ARRAYS`], the first element.
    pub json: Option<Value>,
}

impl<'a> Head<'a> {
    /// Of the first bytes, `whole` where that is all there is.
    pub fn new(bytes: &'a [u8], whole: bool) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self { bytes, lines: lines_of(bytes, whole), json: first_json(bytes) }
    }

    pub fn line(&self) -> &'a [u8] {
        self.lines.first().copied().unwrap_or_default()
    }

    /// A text in the first JSON value, by JSON pointer.
    pub fn json_text(&self, pointer: &str) -> Option<&str> {
        self.json.as_ref()?.pointer(pointer)?.as_str()
    }

    /// The first JSON value has something at each of these places.
    pub fn json_has(&self, pointers: &[&str]) -> bool {
        let Some(json) = &self.json else { return false };
        pointers.iter().all(|pointer| json.pointer(pointer).is_some())
    }
}

/// All kinds, in the order in which they are tried: those that are surest first.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    [
        super::flow_log::KINDS,
        super::connection_log::KINDS,
        super::export::KINDS,
        super::access_log::KINDS,
        super::process_log::KINDS,
        super::counters::KINDS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The kind by its name in `--as`.
pub fn named(name: &str) -> Option<&'static Kind> {
    kinds().find(|kind| kind.name == name)
}

/// What a source is by its first bytes.
pub fn recognise(head: &Head<'_>) -> Option<&'static Kind> {
    kinds().find(|kind| (kind.recognise)(head))
}

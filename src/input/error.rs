//! What can go wrong with one input, and what the user can do about it.

use thiserror::Error;

/// One input that could not be read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {kind}")]
pub struct InputError {
    /// As the user named it; `-` for standard input.
    pub path: String,
    pub kind: InputErrorKind,
}

/// What was wrong, where, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InputErrorKind {
    #[error("no input was named")]
    NothingNamed,
    #[error("cannot be opened: {0}")]
    Open(String),
    #[error("the folder holds no capture file")]
    EmptyFolder,
    #[error("standard input was already named once")]
    StdinTwice,
    /// `found` with its article: "a ZIP archive".
    #[error("not a pcap or pcapng capture: this is {found}; {advice}")]
    NotACapture { found: String, advice: String },
    /// Not one byte came out.
    #[error("{compression} data that cannot be unpacked: {error}{advice}")]
    Unpack { compression: String, error: String, advice: String },
    #[error("the capture's header makes no sense at offset {offset}: {what}")]
    Header { offset: u64, what: String },
    /// Everything before `offset` was read.
    #[error("damaged at offset {offset}: {what}; everything before it was read")]
    Damaged { offset: u64, what: String },
    /// Captures of unlike forms were joined byte by byte.
    #[error(
        "another capture begins at offset {offset}, of another link type, clock or byte order: \
         name the files apart; everything before it was read"
    )]
    Another { offset: u64 },
    #[error(
        "section {section} is of pcapng version {major}.{minor}, which is unknown; that section \
         was passed over"
    )]
    SectionVersion { section: u32, major: u16, minor: u16 },
    #[error("reading stopped at offset {offset}: {error}; everything before it was read")]
    Read { offset: u64, error: String },
    #[error(
        "{open} compressed or streamed captures that overlap in time are open already; unpack \
         them, or join some with mergecap first"
    )]
    TooManyOpen { open: usize },
}

impl InputError {
    pub(super) fn new(path: &str, kind: InputErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }
}

//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::io;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    #[error("can't read {file}: {error}")]
    Read { file: String, error: io::Error },
    #[error("{file} changed while it was read: try again when it is written")]
    Changing { file: String },
    /// The file as a whole.
    #[error("{file}: {what}")]
    File { file: String, what: String },
    #[error("{file}:{place}: {what}")]
    At { file: String, place: Place, what: String },
    /// Two entries that can't both be true. `what` names the earlier line too.
    #[error("{file}:{line}: {what}")]
    Overlap { file: String, line: u64, earlier_line: u64, what: String },
}

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl Place {
    /// That of a byte.
    pub(in crate::host) fn of(bytes: &[u8], at: usize) -> Self {
        let before = &bytes[..at.min(bytes.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Self {
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64,
            column: 1 + characters(&before[line_start..]),
        }
    }
}

/// Characters in UTF-8 text; of other bytes about as many as an editor shows.
pub(super) fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something that a person should know of a file that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value as it stands in a message: quoted, escaped and not too long.
pub(in crate::host) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let short: String = text.chars().take(MOST).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("'{}{more}'", short.escape_debug())
}

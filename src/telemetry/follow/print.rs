//! Fingerprints: what shows that a file is the one that was read.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// First bytes of a file that tell it from others: more than the header of any log.
pub(super) const HEAD_PRINT_BYTES: usize = 1024;

/// Bytes before a place that tell whether what follows continues what was read:
/// longer than one line of a log, with its time.
pub(super) const TAIL_PRINT_BYTES: usize = 256;

/// Length and SHA-256 of some bytes: the state file must not hold what logs say.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print {
    pub(super) bytes: u16,
    sha256: [u8; 32],
}

impl Print {
    /// Of at most [`HEAD_PRINT_BYTES`].
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(HEAD_PRINT_BYTES)];
        Self { bytes: bytes.len() as u16, sha256: Sha256::digest(bytes).into() }
    }

    /// Of the last bytes.
    pub(super) fn of_tail(bytes: &[u8]) -> Self {
        Self::of(&bytes[bytes.len().saturating_sub(TAIL_PRINT_BYTES)..])
    }

    /// Of the bytes of a file before `offset`.
    pub(super) fn before(file: &File, offset: u64) -> io::Result<Self> {
        let from = offset.saturating_sub(TAIL_PRINT_BYTES as u64);
        Ok(Self::of(&bytes_at(file, from, (offset - from) as usize)?))
    }

    /// Of the first bytes of a file, of those before `until`.
    pub(super) fn head(file: &File, until: u64) -> io::Result<Self> {
        let n = until.min(HEAD_PRINT_BYTES as u64) as usize;
        Ok(Self::of(&bytes_at(file, 0, n)?))
    }

    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..usize::from(self.bytes)).is_some_and(|bytes| Self::of(bytes) == *self)
    }

    pub(super) fn begins_file(&self, file: &File) -> io::Result<bool> {
        Ok(Self::head(file, u64::from(self.bytes))? == *self)
    }

    /// The bytes of a file that end at `offset`.
    pub(super) fn ends_at(&self, file: &File, offset: u64) -> io::Result<bool> {
        let Some(from) = offset.checked_sub(u64::from(self.bytes)) else { return Ok(false) };
        Ok(Self::of(&bytes_at(file, from, usize::from(self.bytes))?) == *self)
    }
}

impl Default for Print {
    /// Of no bytes: begins and ends everything.
    fn default() -> Self {
        Self::of(b"")
    }
}

/// So many bytes from a place, fewer where the file ends.
pub(super) fn bytes_at(file: &File, offset: u64, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    let mut got = 0;
    while got < n {
        match file.read_at(&mut bytes[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(got);
    Ok(bytes)
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.bytes)?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Print {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "no fingerprint";
        let (bytes, digits) = text.split_once(':').ok_or(WRONG)?;
        let bytes = bytes.parse().map_err(|_| WRONG)?;
        if digits.len() != 64 || usize::from(bytes) > HEAD_PRINT_BYTES {
            return Err(WRONG);
        }
        let mut sha256 = [0; 32];
        for (byte, pair) in sha256.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self { bytes, sha256 })
    }
}

impl Serialize for Print {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Print {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

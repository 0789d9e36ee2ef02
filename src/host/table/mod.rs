//! Files in which users say what they know of hosts: read whole, checked, and read
//! again when they change.
//!
//! A file is taken whole or not at all: the first thing that is wrong with it is an
//! error that says where. Sizes are bounded, pipes and devices are refused. Nothing
//! here knows what a file means: [`Table`] is implemented by those who do. Start at
//! [`Watched`].

mod block;
mod error;
mod file;
mod rows;
mod watched;

pub use error::{Place, TableError, Warning};
pub use file::Content;
pub use watched::Watched;

pub(super) use block::{Block, Blocks, block};
pub(super) use error::shown;
pub(super) use file::read;
pub(super) use rows::{Columns, Row, Rows, Unknown, normal};

/// Entries of one file. More is no list that a person or an export of one account
/// keeps; of an inventory a million take about a GiB.
pub(super) const MAX_ENTRIES: usize = 1_000_000;

/// Size of a file that is read as text: a million entries of 256 bytes.
pub(super) const MAX_TEXT_BYTES: u64 = 256 << 20;

/// Longest text kept of one value.
pub(super) const MAX_VALUE_BYTES: usize = 1024;

/// What a file holds, once it was read.
pub trait Table: Sized {
    /// Larger files are refused.
    const MAX_BYTES: u64;

    fn parse(content: Content) -> Result<(Self, Vec<Warning>), TableError>;
}

#[cfg(test)]
mod tests;

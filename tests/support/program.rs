//! Programs that a test puts somewhere and runs.

use std::path::Path;
use std::process::Command;

/// Copies a program so that it can be run at once. A process of its own writes
/// it: what this one holds open to write may be inherited by a child that
/// another test starts at that moment, and then running it fails as busy.
pub(crate) fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    let copied = Command::new("cp").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "can't copy {}", from.display());
}

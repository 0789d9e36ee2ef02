//! What people read: the summary on a terminal, the progress bar.

pub mod progress;
pub mod terminal;

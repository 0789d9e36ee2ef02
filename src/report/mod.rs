//! What people read: the summary on a terminal, one alert or flow in full, the
//! progress bar.

pub mod detail;
pub mod owners;
pub mod progress;
pub mod terminal;

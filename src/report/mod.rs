//! What people read: the summary on a terminal, one alert or flow in full, the
//! progress bar.

pub mod coverage;
pub mod detail;
mod hosts;
mod known;
pub mod owners;
pub mod progress;
mod sources;
pub mod terminal;

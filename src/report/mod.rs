//! What people read: the summary on a terminal, one alert or flow in full, the
//! progress bar, a report for a browser.

mod case;
pub mod coverage;
pub mod detail;
pub mod explain;
pub mod flows;
mod hosts;
pub mod html;
mod known;
pub mod owners;
pub mod progress;
mod sources;
pub mod terminal;
pub mod why_not;

//! What others observed: logs, exports and counters, as observations.
//!
//! ```text
//! bytes ──▶ framing ──▶ decoder ──────▶ observations ──▶ merge by event time ──▶ engine
//!           lines, JSON one a kind      flow reports,
//!           values, whole files         requests, host events, counter samples
//! ```
//!
//! A [`Kind`] is a log format: how it is recognised, what it gives, what it never
//! shows, and its [`Decoder`]. Everything read here is chosen by whoever wrote the
//! log, and by whoever they talked to: a record that makes no sense is counted by
//! reason, the first is told with its place, and reading goes on. Nothing here
//! sees a packet or a flow table, reads a clock, or opens what it was not told to.
//!
//! Start at [`kind::kinds`] for what there is, [`decode::Decoder`] for how a kind
//! is read, [`observation::Observation`] for what comes out.

pub mod access_log;
pub mod connection_log;
pub mod counters;
pub mod decode;
pub mod export;
pub mod feed;
pub mod flow_log;
pub mod follow;
pub mod framing;
pub mod hosts;
pub mod json;
pub mod kind;
pub mod label;
#[cfg(target_os = "linux")]
mod listening;
pub mod live;
pub mod merge;
pub mod names;
pub mod observation;
pub mod process_log;
pub mod report;
pub mod request;
pub mod sample;
pub mod scrape;
pub mod source;
pub mod text;

#[cfg(test)]
pub(crate) mod tests;

pub use decode::{Bad, Context, Decoder, Out};
pub use kind::{Kind, recognise};
pub use observation::Observation;

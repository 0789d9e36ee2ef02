//! The lab: traffic whose truth is known because it was made on purpose, by figures or by
//! real tools in namespaces, and a way to put captures onto a wire.
//!
//! Nothing here is on the way from capture to alert. Start at [`synth`],
//! [`scenario`], [`mix`], [`backtest`], `run` and `replay`.

pub mod backtest;
pub mod formats;
pub mod labels;
pub mod mix;
#[cfg(target_os = "linux")]
pub mod replay;
#[cfg(target_os = "linux")]
pub mod run;
pub mod scenario;
pub mod synth;

/// What was asked for can't be, whatever the files are like.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongArguments(pub String);

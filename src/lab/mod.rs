//! The lab: traffic whose truth is known because it was written on purpose,
//! and a way to put captures onto a wire.
//!
//! Nothing here is on the way from capture to alert. Start at [`synth`],
//! [`scenario`], [`mix`], [`backtest`] and `replay`.

pub mod backtest;
pub mod mix;
#[cfg(target_os = "linux")]
pub mod replay;
pub mod scenario;
pub mod synth;

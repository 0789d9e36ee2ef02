//! The lab: traffic whose truth is known because it was written on purpose.
//!
//! Nothing here is on the way from capture to alert. Start at [`synth`].

pub mod synth;

//! Logs, exports and counters of other programs, read by the real binary: real
//! programs where they run here, else files written from their documentation.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

mod access_logs;
mod connection_logs;
mod counters;
mod exports;
mod flow_logs;
mod following;
mod live;
mod macos;
mod memory;
mod mixed;
mod process_logs;
mod same_traffic;
#[path = "../support/mod.rs"]
mod support;

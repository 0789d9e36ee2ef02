//! Which process, container and instance sent a packet, by the real binary: real
//! programs and containers in namespaces of the test, captured live and read again.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

#[path = "../common/mod.rs"]
mod common;
mod containers;
mod files;
mod hard;
#[path = "../live/lab.rs"]
#[allow(dead_code, reason = "shared with tests/live, which uses more of it")]
mod lab;
mod maps;
mod outputs;
mod parity;
mod programs;
#[path = "../support/mod.rs"]
mod support;
mod translated;
mod watched;
mod watchers;

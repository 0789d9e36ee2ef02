//! What a program of flowtap gives up before it looks at input: the one that reads, and the
//! one that watches the host.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod program;
#[path = "../support/mod.rs"]
mod support;
mod watcher;

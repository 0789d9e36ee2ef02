//! What a program of flowtap gives up before it looks at input: the one that reads, and the
//! one that watches the host.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "../common/mod.rs"]
mod common;
mod program;
#[path = "../support/mod.rs"]
mod support;
mod watcher;

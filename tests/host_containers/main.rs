//! Real OCI containers (runc): the harness that makes them, and what is found of
//! processes in them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod harness;
mod processes;
#[path = "../support/mod.rs"]
mod support;

//! Baselines by the real binary: their files, and what learning makes of attacks.
#![expect(clippy::expect_used, reason = "a step that fails fails its test")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod learning;

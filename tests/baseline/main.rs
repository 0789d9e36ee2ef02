//! Baselines by the real binary: their files, and what learning makes of attacks.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod learning;

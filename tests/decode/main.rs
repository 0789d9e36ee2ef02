//! Decoding packets: of every shape, of real captures, and of arbitrary bytes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod corpus;
#[path = "../common/frames.rs"]
mod frames;
mod properties;
mod shapes;

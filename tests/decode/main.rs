//! Decoding packets: of every shape, of real captures, and of arbitrary bytes.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod corpus;
#[path = "../common/frames.rs"]
mod frames;
mod properties;
mod shapes;

//! What the lab makes and judges: formats, mixtures, scenarios, scores, statistics, synthetic
//! traffic, trials of settings; and how the corpus is judged.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod backtest;
#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod formats;
mod mix;
mod scenarios;
mod score;
mod statistics;
mod synth;

//! What the lab makes and judges: formats, mixtures, scenarios, scores, statistics, synthetic
//! traffic, trials of settings; and how the corpus is judged.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

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

//! Workers, shards, windows, accounting: what turns blocks of frames into
//! flow records and per-second windows.
//!
//! ```text
//! input ─block─▶ worker: decode ─rows─▶ sequencer ─batches, in order─▶ shard: flows, windows
//!   (lock a block)   (N threads)    (lock a block)                     (the same N threads)
//!                                                                            │
//!                     sink ◀─ records in order ─ correlation: merge, detect ◀┘
//! ```
//!
//! A flow belongs to one shard, by its hash. Whatever depends on the order of
//! packets is decided from their position in the stream, so results are the
//! same for any number of workers. Start at [`run::run`].

pub mod accounting;
mod batch;
#[doc(hidden)]
pub mod bench;
mod correlation;
pub mod dedup;
mod entities;
mod features;
pub mod feed;
mod fragments;
mod judging;
pub mod recorded;
pub mod reload;
pub mod run;
mod sensor;
mod sequencer;
mod shard;
mod tails;
mod telemetry;
pub mod window;
mod worker;

pub use reload::{Reload, Reloads};
pub use run::{FlowGauge, Joined, LiveRun, RecordSink, RunOptions, RunReport, run};
pub use sensor::SensorEvent;

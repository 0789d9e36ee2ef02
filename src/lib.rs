//! flowtap: packets to flows, windows, and alerts.
//!
//! ```text
//! input ──▶ packet ──▶ flow ──▶ window ──▶ detect ──▶ alert ──▶ output, report
//! pcap      direct     table    1 s, by    one file   one       NDJSON, CSV,
//! pcapng    reader,    sizes    event      a detector attack,   Parquet, EVE,
//! streams   etherparse expiry   time                  one alert Zeek, terminal
//! ```
//!
//! Between window and detect, [`entity`] sums up what each address, instance, workload
//! and process did, and [`baseline`] knows what is usual of it.
//!
//! Arrows point one way: a stage knows the stage before it by its output type
//! only. Detectors never see a packet; the decoder never sees a flow. Where to
//! start reading: [`engine::run::run`] is the whole way of the data,
//! [`input::Input`] its beginning, [`flow::FlowRecord`] and [`alert::Alert`]
//! its ends. `examples/` reads a file into flows in twenty lines.
//!
//! The library never prints, never reads the wall clock for a result, and
//! never panics on what it is given to read.
#![deny(unsafe_code)]

pub mod alert;
pub mod baseline;
pub mod cli;
pub mod detect;
pub mod engine;
pub mod entity;
pub mod flow;
mod guarded;
pub mod host;
mod https;
pub mod input;
pub mod lab;
mod lanes;
#[doc(hidden)]
pub mod lock;
mod memory;
pub mod output;
mod pace;
pub mod packet;
pub mod report;
#[cfg(unix)]
pub mod screen;
pub mod service;
pub mod telemetry;
pub mod time;
mod whole_file;

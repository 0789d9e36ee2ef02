//! flowtap: packets to flows, windows, and alerts.
#![deny(unsafe_code)]

pub mod alert;
pub mod detect;
pub mod engine;
pub mod flow;
pub mod input;
pub mod output;
pub mod packet;

//! Which process, container and instance sent a packet: what the correlation
//! stage knows of hosts.
//!
//! ```text
//! watchers (own process)        map                    correlation stage
//! eBPF, sock_diag, polling ──▶ HostEvent ──▶ HostMap ◀── join: record to sides
//! map.jsonl, importers     ──▶                      ▲
//! inventory, owners, reputation, names ─────────────┘
//! ```
//!
//! Capture workers never touch any of it, and nothing here sees a packet. Start
//! at [`event`] for what travels, [`provider`] for where it comes from.

pub mod attribution;
mod claim;
#[cfg(target_os = "linux")]
pub mod containers;
pub mod coverage;
pub mod destination;
mod eldest;
pub mod event;
pub mod execs;
mod forks;
pub(crate) mod gate;
pub mod inventory;
pub mod join;
mod kernel;
pub mod log;
pub mod map;
#[cfg(unix)]
pub mod map_file;
pub mod mask;
mod mirrored;
mod numbers;
pub mod owners;
pub mod presence;
pub mod process;
pub mod provider;
mod questions;
mod ran;
pub mod rendered;
pub mod resolve;
pub mod side;
pub mod starts;
pub mod table;
mod time_text;
mod translation;
mod versions;
pub mod watch;
mod whose;
pub mod workload;
mod writer;

#[cfg(test)]
mod tests;

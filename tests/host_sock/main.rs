//! Watching without programs in the kernel: sockets and their holders, addresses,
//! counters and translated connections, of real processes in namespaces.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod host_watch;
mod measure;
mod network;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

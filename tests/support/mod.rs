//! What tests on live traffic share.
#![allow(dead_code, reason = "each test program uses its own part of the harness")]
#![allow(clippy::expect_used, reason = "a harness fails by panicking")]

pub(crate) mod container;
pub(crate) mod netns;
pub(crate) mod pcap;
pub(crate) mod program;
pub(crate) mod tcpdump;

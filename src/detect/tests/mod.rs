//! Scenarios with known truth, fed as deltas second by second.

mod filtered;
mod floods;
mod scans;
mod shapes;
mod shards;
mod traffic;

//! Scenarios with known truth, fed as deltas second by second.

mod background;
mod filtered;
mod floods;
mod scans;
mod shapes;
mod shards;
mod traffic;

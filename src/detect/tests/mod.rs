//! Scenarios with known truth, fed as deltas second by second.

mod floods;
mod traffic;

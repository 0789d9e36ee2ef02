//! Sources that grow, read as they do.
//!
//! Start at [`cut::Cutter`].

pub mod cut;

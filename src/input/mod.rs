//! Where frames come from: capture files and streams, one file a format.
//!
//! An [`Input`] opens everything the user named, merges it in time order, sets
//! time stamps right, and hands out [`Block`]s of some thousand frames. It is
//! the one serial stage: it touches record headers only, never the packet's
//! own bytes. Start at [`Input::open`] and [`Input::next_block`].

pub mod block;

pub use block::{Block, BlockBytes, Frame, frame_flag};

//! Where frames come from: capture files and streams, one file a format.
//!
//! An [`Input`] opens everything the user named, merges it in time order, sets
//! time stamps right, and hands out [`Block`]s of some thousand frames. It is
//! the one serial stage: it touches record headers only, never the packet's
//! own bytes. Start at [`Input::open`] and [`Input::next_block`]; threads that
//! take turns at it read ahead with [`Input::read_ahead`].
//!
//! Inside, one way only: `sniff` names the format (of what is read once through `peek`), `decompress` unpacks
//! on its own thread (`opening` does both), a `reader` lets the walker of the format (`pcap`,
//! `pcapng`) index frames in place (plain files in pieces from `ahead`), `stream` with its `clock` sets times right,
//! `merge` joins several files.

mod ahead;
pub mod block;
mod bpf;
mod clock;
mod decompress;
pub(crate) mod ending;
mod error;
pub mod filter;
pub(crate) mod follow;
#[doc(hidden)]
pub mod fuzzing;
pub mod live;
mod mapping;
mod merge;
mod opening;
pub(crate) mod origin;
mod pcap;
mod pcapng;
pub(crate) mod pcapng_codes;
mod pcapng_drops;
mod pcapng_options;
pub(crate) mod peek;
mod pieces;
mod pool;
pub(crate) mod raw;
mod reader;
mod report;
mod rescale;
mod sniff;
mod source;
mod stream;
pub(crate) mod text;
mod walk;

#[cfg(test)]
mod tests;

pub use ahead::ReadAhead;
pub use block::{Block, BlockBytes, Frame, Shed, frame_flag};
pub use error::{InputError, InputErrorKind};
pub use filter::{Filter, FilterError};
pub use origin::Origin;
pub(crate) use pcapng_codes::is_sensor_id;
pub use report::{Counters, FileReport, Interface, Progress};
pub use source::{Input, InputOptions, LATENESS_S, LiveHandle, Mapping, Next, Recorder};
pub(crate) use source::{LIVE_WAIT, is_capture, is_hidden};

pub use crate::pace::Speed;

use source::Source;

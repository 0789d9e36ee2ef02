//! Bytes of one frame to the facts a flow needs.
//!
//! A [`Decoder`] takes a link type and the captured bytes of a frame and says
//! which flow the frame belongs to and what the headers claim about its
//! lengths. It never keeps state between frames (fragments are joined by
//! [`crate::engine`]), never allocates, and never trusts a length field
//! further than the bytes at hand. A frame cut by the snap length is no error:
//! lengths come from the headers.
//!
//! Start at [`Decoder::decode`]; [`Facts`] is all that leaves this module.

mod cursor;
mod decoder;
mod direct;
mod entry;
mod ethernet;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
mod general;
mod icmp;
mod ip;
pub mod key;
pub mod link;
pub mod row;
mod transport;
mod tunnel;
mod wlan;

pub use decoder::{DecodeOptions, Decoder};
pub(crate) use direct::{Direct, Shape};
pub use facts::{
    Facts, Fragment, FragmentId, MAX_TUNNELS, MalformedReason, PacketClass, TunnelKind,
    TunnelLayer, Tunnels, Verdict,
};
pub use key::{Address, FlowKey, IpVersion, Mac};
pub use link::LinkType;
pub use row::{Macs, NO_TUNNELS, PacketRow, Vlans, row_flag};
pub(crate) use transport::{class_of, recorded_key, tcp_class};

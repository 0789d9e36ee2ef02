//! Packets to flows: the table, the record, payload sizes, expiry.
//!
//! A flow is cut by its own packets alone (gap over idle, age over active, SYN
//! after close), so a record never depends on when expired flows are swept or
//! on how many workers share the traffic. Nothing here knows a capture format,
//! a window or a detector.

pub mod app;
mod began;
pub mod community_id;
mod cut;
mod entropy;
mod first_payload;
mod half;
mod index;
pub(crate) mod live;
mod missed;
mod outlet;
pub mod outline;
pub mod record;
mod remembered;
pub mod settings;
pub mod sizes;
mod slab;
mod slots;
mod stub;
pub(crate) mod table;
pub mod talkers;
mod tcp;
#[cfg(test)]
mod tests;
pub mod totals;
mod unanswered;
mod wheel;

pub(crate) use first_payload::APP_PACKETS;
pub(crate) use outlet::Ended;
pub use outline::{EndedFlow, Outline};
pub use record::{ConnState, Direction, EndReason, FlowRecord, Gaps, SizeStep};
pub use settings::{TableSettings, Timeouts};
pub use sizes::Sizes;
pub(crate) use unanswered::{Amount, BySecond, Unanswered, is_sampled, reads_names};

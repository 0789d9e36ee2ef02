//! Whom traffic belongs to, and what each of them did in a second and in a minute.
//!
//! ```text
//! rows of a second ──▶ Joiner: who is at the ends ──▶ Ledger ──▶ SecondOf, Minute
//! reports of others ──────────────────────────────▶ one of its own a source
//! ```
//!
//! An entity is what CONTRACT says: a process, a workload, an instance, a host, an
//! address. One packet counts for each entity that it belongs to, and measures of
//! different sources never add up: each source has a ledger of its own.
//!
//! Nothing here judges. Start at [`Ledger`]; detectors read [`Minute`] and
//! [`SecondOf`].

mod finest;
mod ledger;
mod measures;
mod ports;
mod reported;
mod second;
mod served;
mod silent;
mod spoken;
mod view;
mod who;

pub(crate) use finest::Finest;
pub use ledger::{Behind, Ledger, LedgerLimits, Minute, Minutes, ReportedFacts, WhoId};
pub use measures::{Measures, PeerSums, SECONDS, SERVICES, Sent, Series, TOP_PEERS};
pub(crate) use ports::has_port;
pub use ports::{OneService, SentPorts};
pub use reported::{Bytes, Reported, ReportedCounts, ReportedLimits};
pub use second::SecondOf;
pub(crate) use served::Served;
pub use silent::Silent;
pub(crate) use spoken::service_name;
pub use spoken::{SPOKEN, Service, Spoken};
pub use view::{Leg, View};
pub use who::Who;
pub(crate) use who::script_of;

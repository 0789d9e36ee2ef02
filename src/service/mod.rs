//! What a run of months needs around the engine.
//!
//! [`deliver`] sends alerts to receivers, [`metrics`] and [`http`] let others
//! watch the run, [`control`] shows it on a screen, [`notify`] talks to the service
//! manager, `confine` gives up rights, and `doctor` says whether a machine can
//! capture at all. Nothing here is on the way of the packets: the engine never
//! waits for a receiver, a scraper or a manager.

#[cfg(target_os = "linux")]
pub mod confine;
#[cfg(unix)]
pub mod control;
pub mod deliver;
#[cfg(target_os = "linux")]
pub mod doctor;
#[cfg(unix)]
pub mod http;
#[cfg(target_os = "linux")]
mod kernel;
pub mod metrics;
#[cfg(target_os = "linux")]
pub mod notify;

//! Where host events come from: one file a way to watch a host.
//!
//! A [`Provider`] answers "socket (protocol, addresses, ports, time) to process,
//! how sure" by telling [`HostEvent`]s in the order of their times. Any number
//! run at once, a thread each; [`super::map::HostMap`] is where their claims
//! meet, and the strongest wins. Importers of other tools' telemetry are
//! providers too.

#[cfg(target_os = "linux")]
pub mod conntrack;
#[cfg(all(feature = "ebpf", target_os = "linux"))]
pub mod ebpf;
#[cfg(target_os = "linux")]
pub mod interfaces;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
pub mod network;
#[cfg(target_os = "linux")]
pub mod polling;
#[cfg(target_os = "linux")]
pub mod proc;
#[cfg(target_os = "linux")]
pub mod sock_diag;

use std::sync::{Arc, Condvar};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::attribution::Method;
use super::event::{HostEvent, What};
use crate::lock::Lock;

/// A way to watch a host.
pub trait Provider: Send {
    fn method(&self) -> Method;

    /// Tells what is there already, then what happens, until told to stop. Says at
    /// least each [`TIME_INTERVAL`] up to when everything has been told.
    fn run(self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError>;
}

/// How often a provider says that it is up to date.
pub const TIME_INTERVAL: Duration = Duration::from_millis(200);

/// Why a provider can't be used or had to give up, for people.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Something that the kernel, its configuration or the process's rights lack.
    #[error("{what}: {reason}")]
    Unavailable { what: &'static str, reason: String },
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Set once a provider is to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Lock<bool>, Condvar)>);

impl Stop {
    pub fn set(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    pub fn is_set(&self) -> bool {
        *self.0.0.lock()
    }

    /// Sleeps, but not longer than until told to stop. In one piece: each time that a
    /// watcher wakes, a capture on its processor waits.
    pub fn sleep(&self, time: Duration) {
        let (is_set, told) = &*self.0;
        // It may be used after a panic, as a `Lock` may.
        let _ = told.wait_timeout_while(is_set.lock(), time, |is_set| !*is_set);
    }
}

/// Takes what a provider tells. A queue with an end: when its reader is behind,
/// the provider waits, and what the kernel could not keep meanwhile is counted as
/// lost by the provider.
#[derive(Clone, Debug)]
pub struct EventSink {
    method: Method,
    events: Sender<(Method, HostEvent)>,
}

impl EventSink {
    pub fn new(method: Method, events: Sender<(Method, HostEvent)>) -> Self {
        Self { method, events }
    }

    /// False when nobody listens any more: the provider should end.
    pub fn tell(&self, time_ns: i64, what: What) -> bool {
        self.events.send((self.method, HostEvent { time_ns, what })).is_ok()
    }

    /// All events before `time_ns` have been told.
    pub fn told_before(&self, time_ns: i64) -> bool {
        self.tell(time_ns, What::Time)
    }

    pub fn lost(&self, time_ns: i64, events: u64) -> bool {
        self.tell(time_ns, What::Lost { method: self.method, events })
    }
}

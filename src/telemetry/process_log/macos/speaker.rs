//! Events of one host, said in its name.

use std::sync::Arc;

use crate::host::attribution::Method;
use crate::host::event::{HostEvent, MAP_VERSION, MapStart, What};
use crate::telemetry::decode::{Context, Out};

/// Says who speaks before the first event.
pub(super) struct Speaker {
    host: Arc<str>,
    begun: bool,
}

impl Speaker {
    pub(super) fn new(context: &Context) -> Self {
        Self { host: context.host.clone().unwrap_or_default(), begun: false }
    }

    pub(super) fn host(&self) -> &Arc<str> {
        &self.host
    }

    pub(super) fn tell(&mut self, time_ns: i64, what: What, out: &mut Out) {
        if !self.begun {
            self.begun = true;
            // No boot: a snapshot does not say which one it is of, and what it says
            // belongs to the same host as what the other programs say.
            let start = MapStart {
                version: MAP_VERSION,
                host: self.host.to_string(),
                providers: vec![Method::Imported],
                ..MapStart::default()
            };
            out.host(&self.host, HostEvent { time_ns, what: What::Start(start) });
        }
        out.host(&self.host, HostEvent { time_ns, what });
    }

    /// The host was looked at, whether or not anything of it had changed.
    pub(super) fn looked(&mut self, time_ns: i64, out: &mut Out) {
        self.tell(time_ns, What::Time, out);
    }
}

//! What is delivered, and its JSON.

use std::io;

use crate::alert::Alert;
use crate::engine::SensorEvent;

#[derive(Debug)]
pub(super) enum Message {
    Alert(Box<Alert>),
    Event(SensorEvent),
}

impl Message {
    /// One line, as in `alerts.ndjson`. Only events have a `kind`.
    pub(super) fn json(&self) -> io::Result<Vec<u8>> {
        let bytes = match self {
            Self::Alert(alert) => serde_json::to_vec(alert),
            Self::Event(event) => serde_json::to_vec(event),
        };
        bytes.map_err(io::Error::from)
    }
}

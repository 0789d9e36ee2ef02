//! One HTTP POST an alert.

use std::io;
use std::time::Duration;

use ureq::Agent;

use super::connection::{Connection, Sent};
use super::message::Message;
use super::{DeliveryError, DeliveryOptions, Target};
use crate::https::HttpsError;

/// Of an answer's body nothing is wanted; so much is read to keep the
/// connection.
const BODY_BYTES: u64 = 64 << 10;

pub(super) struct Post {
    agent: Agent,
    url: String,
}

impl Post {
    pub(super) fn new(
        target: &Target,
        url: &str,
        options: &DeliveryOptions,
    ) -> Result<Self, DeliveryError> {
        let config = crate::https::config(url, options.certificates.as_deref())
            .map_err(|error| refusal(error, target))?;
        Ok(Self { agent: config.build().new_agent(), url: url.to_owned() })
    }
}

fn refusal(error: HttpsError, target: &Target) -> DeliveryError {
    match error {
        HttpsError::NoTls => DeliveryError::NoTls { target: target.to_string() },
        HttpsError::Certificates { path, why } => DeliveryError::Certificates { path, why },
    }
}

impl Connection for Post {
    fn send(&mut self, message: &Message, timeout: Duration) -> io::Result<Sent> {
        let answer = self
            .agent
            .post(&self.url)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .content_type("application/json")
            .send(&message.json()?)
            .map_err(io::Error::other)?;
        let status = answer.status();
        // Read to its end, the connection serves the next one too.
        let _ = answer.into_body().into_with_config().limit(BODY_BYTES).read_to_vec();
        match status.as_u16() {
            200..300 => Ok(Sent::Delivered),
            // Request Timeout, Too Early, Too Many Requests: later it may do.
            408 | 425 | 429 | 500..600 => Err(io::Error::other(format!("it answers {status}"))),
            _ => Ok(Sent::Refused(format!("it answers {status}"))),
        }
    }
}

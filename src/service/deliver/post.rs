//! One HTTP POST an alert.

use std::io;
use std::time::Duration;

use ureq::Agent;

use super::connection::{Connection, Sent};
use super::message::Message;
use super::{DeliveryError, DeliveryOptions, Target};

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
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // An alert must not end up where nobody sent it to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // From the environment it would be a receiver that no option names.
            .proxy(None)
            .user_agent(concat!("flowtap/", env!("CARGO_PKG_VERSION")));
        let config =
            if url.starts_with("https:") { config_tls(config, target, options)? } else { config };
        Ok(Self { agent: config.build().new_agent(), url: url.to_owned() })
    }
}

type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(feature = "https"))]
fn config_tls(_: Builder, target: &Target, _: &DeliveryOptions) -> Result<Builder, DeliveryError> {
    Err(DeliveryError::NoTls { target: target.to_string() })
}

/// Verified against the system's certificates or those of the options, read
/// once: here, while files can still be opened.
#[cfg(feature = "https")]
fn config_tls(
    config: Builder,
    _: &Target,
    options: &DeliveryOptions,
) -> Result<Builder, DeliveryError> {
    use std::path::PathBuf;
    use std::sync::Arc;

    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    let failed = |path: PathBuf, why: String| DeliveryError::Certificates { path, why };
    let roots: Vec<Certificate<'static>> = if let Some(path) = &options.certificates {
        let pem = std::fs::read(path).map_err(|error| failed(path.clone(), error.to_string()))?;
        let items = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(failed(path.clone(), error.to_string()))),
        });
        let found = items.collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() {
            return Err(failed(path.clone(), "no certificate in it".to_owned()));
        }
        found
    } else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = found.errors.first().map_or_else(
                || "the system has no certificates (package ca-certificates)".to_owned(),
                ToString::to_string,
            );
            return Err(failed("/etc/ssl/certs".into(), why));
        }
        found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Ok(config.tls_config(tls))
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

//! How servers are spoken to over HTTP: by whom their certificates may be
//! signed, and what is never done on the way.

use std::path::{Path, PathBuf};

use ureq::Agent;

pub(crate) type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    #[cfg_attr(feature = "https", expect(dead_code, reason = "this build does"))]
    #[error("this build speaks no TLS: build it with the feature https")]
    NoTls,
    #[cfg_attr(not(feature = "https"), expect(dead_code, reason = "this build reads none"))]
    #[error("{}: {why}", path.display())]
    Certificates { path: PathBuf, why: String },
}

/// For one server. Certificates are read once: here, while files can still be
/// opened.
pub(crate) fn config(url: &str, certificates: Option<&Path>) -> Result<Builder, HttpsError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // What is sent must not end up where nobody sent it to.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // From the environment it would be a receiver that no option names.
        .proxy(None)
        .user_agent(concat!("flowtap/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("https:") { config_tls(config, certificates) } else { Ok(config) }
}

#[cfg(not(feature = "https"))]
fn config_tls(_: Builder, _: Option<&Path>) -> Result<Builder, HttpsError> {
    Err(HttpsError::NoTls)
}

/// Verified against the system's certificates or those given.
#[cfg(feature = "https")]
fn config_tls(config: Builder, certificates: Option<&Path>) -> Result<Builder, HttpsError> {
    use std::sync::Arc;

    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    let failed = |path: &Path, why| HttpsError::Certificates { path: path.to_owned(), why };
    let roots: Vec<Certificate<'static>> = if let Some(path) = certificates {
        let pem = std::fs::read(path).map_err(|error| failed(path, error.to_string()))?;
        let items = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(failed(path, error.to_string()))),
        });
        let found = items.collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() {
            return Err(failed(path, "no certificate in it".to_owned()));
        }
        found
    } else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = found.errors.first().map_or_else(
                || "the system has no certificates (package ca-certificates)".to_owned(),
                ToString::to_string,
            );
            return Err(failed(Path::new("/etc/ssl/certs"), why));
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

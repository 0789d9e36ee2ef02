//! Reading a pod list once: from a file, a kubelet or the API.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use super::{MAX_LIST_BYTES, PodIndex, PodsError};

/// A large cluster's API takes seconds for the whole list.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A token is about 1 KiB.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Where the list is, and with what it may be read.
#[derive(Clone, Debug)]
pub struct PodSource {
    place: Place,
    /// Sent as a bearer token; read each time, since tokens of pods are renewed.
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) that the server may be signed by, in place of the
    /// system's. Of a kubelet often `/var/lib/kubelet/pki/kubelet.crt`, with the
    /// node's name in the URL, since it is made out to that.
    pub certificates: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Url(String),
}

impl PodSource {
    /// `FILE`, `http://...` or `https://...`.
    pub fn new(text: &str) -> Result<Self, PodsError> {
        let invalid = || PodsError::Source { text: text.to_owned() };
        let place = match text.split_once("://") {
            Some(("http" | "https", _)) => {
                let url: ureq::http::Uri = text.parse().map_err(|_| invalid())?;
                let has_user = url.authority().is_none_or(|host| host.as_str().contains('@'));
                if url.host().is_none_or(str::is_empty) || has_user {
                    return Err(invalid());
                }
                Place::Url(text.to_owned())
            }
            Some(_) => return Err(invalid()),
            None if text.is_empty() => return Err(invalid()),
            None => Place::File(text.into()),
        };
        Ok(Self { place, token_file: None, certificates: None })
    }

    /// A server has it, not a file.
    pub fn is_fetched(&self) -> bool {
        self.file().is_none()
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Url(_) => None,
        }
    }

    /// Reads the list now; waits for its server.
    pub fn read(&self) -> Result<PodIndex, PodsError> {
        match &self.place {
            Place::File(path) => {
                let failed = |source| PodsError::Io { at: self.to_string(), source };
                let file = File::open(path).map_err(failed)?;
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(failed(io::Error::other("it is no plain file")));
                }
                self.parse(file)
            }
            Place::Url(url) => self.fetch(url),
        }
    }

    fn fetch(&self, url: &str) -> Result<PodIndex, PodsError> {
        let at = || self.to_string();
        let failed =
            |error: ureq::Error| PodsError::Io { at: at(), source: io::Error::other(error) };
        let config = crate::https::config(url, self.certificates.as_deref())
            .map_err(|error| PodsError::Tls { at: at(), why: error.to_string() })?;
        let agent: Agent = config.timeout_global(Some(TIMEOUT)).build().new_agent();
        let mut request = agent.get(url).header("Accept", "application/json");
        if let Some(path) = &self.token_file {
            if !url.starts_with("https:") && !is_this_host(url) {
                return Err(PodsError::TokenInTheClear { at: at() });
            }
            request = request.header("Authorization", format!("Bearer {}", token(path)?));
        }
        let answer = request.call().map_err(failed)?;
        if !answer.status().is_success() {
            return Err(PodsError::Status { at: at(), status: answer.status().as_u16() });
        }
        self.parse(answer.into_body().into_reader())
    }

    fn parse(&self, list: impl Read) -> Result<PodIndex, PodsError> {
        PodIndex::read(Limited { list, left: MAX_LIST_BYTES }).map_err(|error| {
            let at = self.to_string();
            match error.is_io() {
                true => PodsError::Io { at, source: error.into() },
                false => PodsError::Json { at, source: error },
            }
        })
    }
}

impl std::fmt::Display for PodSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::File(path) => path.display().fmt(formatter),
            // A query can have secrets.
            Place::Url(url) => url.split('?').next().unwrap_or_default().fmt(formatter),
        }
    }
}

fn token(path: &Path) -> Result<String, PodsError> {
    let failed = |source| PodsError::Token { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed(io::Error::other("is no token: one line of letters, digits and signs")));
    }
    Ok(token.to_owned())
}

fn is_this_host(url: &str) -> bool {
    let url: Option<ureq::http::Uri> = url.parse().ok();
    let host = url.as_ref().and_then(|url| url.host()).unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback())
}

/// Ends with an error, not as if the list were complete.
struct Limited<R> {
    list: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.list.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it is longer than {} MiB", MAX_LIST_BYTES >> 20))
        })?;
        Ok(read)
    }
}

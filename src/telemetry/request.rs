//! A request as a load balancer, a proxy or a web server logged it.

use std::net::IpAddr;
use std::sync::Arc;

use super::observation::Labels;

/// One request, or one connection of a balancer that does not look into it. What
/// the log lacks is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// When it was received, where the log says so; else when it was logged, less the
    /// duration that it says.
    pub time_ns: i64,
    /// When it was over.
    pub end_ns: Option<i64>,
    pub client: Option<IpAddr>,
    pub client_port: Option<u16>,
    /// Clients before proxies as `X-Forwarded-For` claims them, unchecked.
    pub forwarded_for: Option<Box<str>>,
    /// Who served it.
    pub target: Option<Target>,
    pub method: Option<Arc<str>>,
    /// As the log has it, with the log's own escapes undone: path and query, or a whole URL.
    pub uri: Option<Box<str>>,
    /// `uri` with percent-escapes decoded, twice where that still changes something;
    /// absent where nothing changes. See [`super::text::decoded_uri`].
    pub decoded_uri: Option<Box<str>>,
    /// `HTTP/1.1`.
    pub version: Option<Arc<str>>,
    /// Name that the client asked for: Host, authority, server name.
    pub host: Option<Arc<str>>,
    /// What the client was answered.
    pub status: Option<u16>,
    /// What the target answered.
    pub target_status: Option<u16>,
    /// From the client.
    pub received_bytes: Option<u64>,
    /// To the client.
    pub sent_bytes: Option<u64>,
    /// From receiving to the last byte sent.
    pub duration_ns: Option<i64>,
    /// From sending it to the target to the target's first byte.
    pub target_duration_ns: Option<i64>,
    pub user_agent: Option<Arc<str>>,
    pub referer: Option<Box<str>>,
    pub tls: Option<Tls>,
    /// Why it failed, in the log's words.
    pub error: Option<Arc<str>>,
    /// The balancer, listener or server that logged it.
    pub observer: Arc<str>,
    /// The host that the log was read on or is said to be of, where it is no balancer's.
    pub on_host: Option<Arc<str>>,
    /// What else the source says, as in a flow report.
    pub labels: Labels,
}

impl Request {
    /// Without its labels; see [`super::observation::Observation::held_bytes`].
    pub(super) fn held_bytes(&self) -> usize {
        let own = [&self.forwarded_for, &self.uri, &self.decoded_uri, &self.referer];
        let shared = [&self.method, &self.version, &self.host, &self.user_agent, &self.error];
        let own: usize = own.into_iter().flatten().map(|text| text.len()).sum();
        let shared: usize = shared.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + own + shared
    }
}

/// Who served a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    /// In the log's words, where it gives a name: `app/srv2`, a target group.
    pub name: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2`.
    pub version: Option<Arc<str>>,
    pub cipher: Option<Arc<str>>,
    pub server_name: Option<Arc<str>>,
}

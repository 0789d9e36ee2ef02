//! Names of addresses, as the traffic used them: answers of DNS, server names of TLS
//! and QUIC, hosts of HTTP requests.
//!
//! What packets say is said by whoever sent them: a name is a claim with a source.
//! Those of flows that nobody answered don't count, so that a scan can't give names to
//! addresses that never spoke. Start at [`Names::learn`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use super::age_ns;
use crate::flow::Outline;
use crate::flow::app::{AppInfo, HttpInfo};

/// Addresses with names. A busy office talks to some ten thousand in a day. With eight
/// names each, and the bytes below, the table takes some 60 MiB at most.
const MAX_ADDRESSES: usize = 65_536;

/// Names of one address. Addresses of CDNs have thousands: those used last count.
const MAX_NAMES: usize = 8;

/// Bytes of all names together. Names are short, unless somebody wants the room.
const MAX_NAME_BYTES: usize = 16 << 20;

/// TCP's number: its originator is known by the SYN.
const TCP: u8 = 6;

/// How a name was seen in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// A resolver answered with the address.
    Dns,
    /// A client named the server, by TLS or QUIC.
    Tls,
    /// A client named the host in a request.
    Http,
}

/// A name of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenName {
    pub name: String,
    pub source: NameSource,
    /// When the flow began that used it last.
    #[serde(rename = "seen", serialize_with = "crate::host::time_text::serialize")]
    pub seen_ns: i64,
    /// 0 where it was seen later than what is asked about.
    pub age_ns: u64,
    /// How long a resolver may have kept the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
}

/// Names by address, with a bound: the addresses that were named longest ago go.
#[derive(Debug)]
pub struct Names {
    known: HashMap<IpAddr, Known>,
    /// Addresses by when they were named last.
    order: BTreeMap<u64, IpAddr>,
    turn: u64,
    name_bytes: usize,
    max_addresses: usize,
    max_name_bytes: usize,
}

#[derive(Debug)]
struct Known {
    turn: u64,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    name: Box<str>,
    source: NameSource,
    seen_ns: i64,
    ttl_s: Option<u32>,
}

impl Default for Names {
    fn default() -> Self {
        Self::with_bounds(MAX_ADDRESSES, MAX_NAME_BYTES)
    }
}

impl Names {
    fn with_bounds(max_addresses: usize, max_name_bytes: usize) -> Self {
        Self {
            known: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            name_bytes: 0,
            max_addresses,
            max_name_bytes,
        }
    }

    /// Takes what an ended flow tells.
    pub fn learn(&mut self, flow: &Outline, app: Option<&AppInfo>) {
        let Some(app) = app.filter(|_| flow.answered()) else { return };
        if let Some(dns) = &app.dns {
            for found in &dns.addresses {
                let address = found.address.to_canonical();
                self.add(address, &dns.query, NameSource::Dns, flow.start_ns, Some(found.ttl_s));
            }
        }
        // Without its beginning a connection's ends may be the other way round.
        if flow.key.proto == TCP && flow.originator_guessed {
            return;
        }
        let server = flow.dst_ip().to_canonical();
        if let Some(name) = server_name(app) {
            self.add(server, &name.to_ascii_lowercase(), NameSource::Tls, flow.start_ns, None);
        }
        if let Some(name) = app.http.as_ref().and_then(requested_host) {
            self.add(server, &name.to_ascii_lowercase(), NameSource::Http, flow.start_ns, None);
        }
    }

    /// The names of an address, the newest first.
    pub fn of(&self, address: IpAddr, at_ns: i64) -> Vec<SeenName> {
        let names = self.known.get(&address).into_iter().flat_map(|known| &known.names);
        let mut names: Vec<SeenName> = names
            .map(|name| SeenName {
                name: name.name.to_string(),
                source: name.source,
                seen_ns: name.seen_ns,
                age_ns: age_ns(name.seen_ns, at_ns),
                ttl_s: name.ttl_s,
            })
            .collect();
        names.sort_by(|a, b| (b.seen_ns, &a.name, a.source).cmp(&(a.seen_ns, &b.name, b.source)));
        names
    }

    fn add(
        &mut self,
        address: IpAddr,
        name: &str,
        source: NameSource,
        seen_ns: i64,
        ttl_s: Option<u32>,
    ) {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return;
        }
        self.turn += 1;
        let known = self.known.entry(address).or_insert(Known { turn: 0, names: Vec::new() });
        self.order.remove(&known.turn);
        known.turn = self.turn;
        self.order.insert(self.turn, address);
        let same = |known: &&mut Name| *known.name == *name && known.source == source;
        if let Some(known) = known.names.iter_mut().find(same) {
            (known.seen_ns, known.ttl_s) = (known.seen_ns, known.ttl_s).max((seen_ns, ttl_s));
            return;
        }
        known.names.push(Name { name: name.into(), source, seen_ns, ttl_s });
        self.name_bytes += name.len();
        if known.names.len() > MAX_NAMES {
            let oldest = known.names.iter().enumerate().min_by(|(_, a), (_, b)| {
                (a.seen_ns, &a.name, a.source).cmp(&(b.seen_ns, &b.name, b.source))
            });
            if let Some((oldest, _)) = oldest {
                self.name_bytes -= known.names.swap_remove(oldest).name.len();
            }
        }
        while self.known.len() > self.max_addresses || self.name_bytes > self.max_name_bytes {
            let Some((_, address)) = self.order.pop_first() else { return };
            let names = self.known.remove(&address).into_iter().flat_map(|known| known.names);
            self.name_bytes -= names.map(|name| name.name.len()).sum::<usize>();
        }
    }
}

pub(crate) fn server_name(app: &AppInfo) -> Option<&str> {
    let tls = app.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    tls.or_else(|| app.quic.as_ref().and_then(|quic| quic.sni.as_deref()))
}

/// The host of a request to the server itself: what is asked of a proxy
/// (`CONNECT a:443`, `GET http://a/`) is no name of the proxy.
pub(crate) fn requested_host(http: &HttpInfo) -> Option<&str> {
    http.path.as_deref().filter(|path| path.starts_with('/'))?;
    let host = http.host.as_deref()?;
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
        _ => Some(host),
    }
}

/// Not empty, the root, or an address in its own words.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('[') && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests;

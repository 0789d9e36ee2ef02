//! Application hints from the first payload bytes.
//!
//! Each hint is read from one packet, without reassembly, by a kept parser.
//! Malformed input gives no hint and never an error: a flow does not fail
//! because of its payload. What the bytes at hand don't show for certain (the
//! rest was cut by the snap length or is in the next segment) stays absent.
//! Nothing here decodes a whole message for its own sake or keeps state.
//! Start at [`inspect`].

mod dns;
mod http;
mod icmp;
mod ja4;
mod quic;
mod ssh;
mod text;
mod tls;

use std::net::IpAddr;

use crate::packet::PacketRow;

pub(crate) use dns::answers::each_address;

/// What the first payload bytes of a flow told. Every text is bounded by
/// [`MAX_TEXT_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppInfo {
    pub dns: Option<DnsInfo>,
    pub tls: Option<TlsInfo>,
    pub quic: Option<QuicInfo>,
    pub http: Option<HttpInfo>,
    pub ssh: Option<SshInfo>,
    pub icmp_error: Option<Box<Quoted>>,
}

impl AppInfo {
    /// It is of what [`may_tell`] finds, and so known without records too.
    pub(crate) fn tells(&self) -> bool {
        let Self { dns, tls, quic, http, ssh, icmp_error: _ } = self;
        dns.is_some() || tls.is_some() || quic.is_some() || http.is_some() || ssh.is_some()
    }
}

/// Longest text kept of one field: names fit in 255, paths and user agents are
/// cut here.
pub const MAX_TEXT_BYTES: usize = 255;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsInfo {
    /// First question's name, lower case, without the trailing dot; `.` is the
    /// root and empty a response without a question (multicast DNS). Odd bytes
    /// are escaped as in RFC 1035 section 5.1.
    pub query: String,
    /// Question type number (RFC 1035 and IANA).
    pub query_type: u16,
    /// From the response; absent while none was seen.
    pub response_code: Option<u8>,
    pub answers: Option<u16>,
    /// Addresses among the answers for this name, in their order, A and AAAA; at
    /// most [`MAX_DNS_ADDRESSES`].
    pub addresses: Vec<DnsAddress>,
}

/// Addresses kept of one name. Resolvers hand out fewer; more would make a flow
/// larger than it is worth.
pub const MAX_DNS_ADDRESSES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsAddress {
    pub address: IpAddr,
    /// Seconds that the answer may be kept.
    pub ttl_s: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    pub sni: Option<String>,
    /// Offered by the client, in order.
    pub alpn: Vec<String>,
    /// Highest version offered, or chosen once the server answered; as on the
    /// wire (0x0303 is TLS 1.2). 0 while the bytes at hand don't tell.
    pub version: u16,
    /// Only from a ClientHello that is there to its end.
    pub ja4: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuicInfo {
    pub version: u32,
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    pub ja4: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpInfo {
    pub method: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub user_agent: Option<String>,
    pub status: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshInfo {
    pub client: Option<String>,
    pub server: Option<String>,
}

/// The packet that an ICMP error is about, by the headers that it quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// IP protocol number.
    pub proto: u8,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// The sender's and the receiver's; 0 of an echo.
    pub ports: [u16; 2],
    /// Of an echo request, else 0.
    pub echo_id: u16,
    /// The flow's errors are about packets from several sockets, of which this is the first.
    pub several: bool,
}

/// The packet a hint is read from.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// IP protocol number.
    pub proto: u8,
    pub src_port: u16,
    pub dst_port: u16,
    /// Sent by the flow's originator.
    pub from_originator: bool,
    /// What was captured of the payload.
    pub bytes: &'a [u8],
}

/// IP protocol numbers (IANA) that carry what is read here.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What a packet may begin with, from its ports and first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dns,
    DnsOverTcp,
    Quic,
    Tls,
    Ssh,
    Http,
    IcmpError,
}

/// Nothing where no parser would find anything.
#[inline]
fn kind_of(proto: u8, ports: [u16; 2], bytes: &[u8]) -> Option<Kind> {
    let &first = bytes.first()?;
    match proto {
        UDP if ports.into_iter().any(dns::is_port) => Some(Kind::Dns),
        UDP if quic::may_be_initial(bytes) => Some(Kind::Quic),
        TCP if ports.contains(&53) => Some(Kind::DnsOverTcp),
        TCP => match first {
            tls::HANDSHAKE => Some(Kind::Tls),
            b'S' if bytes.starts_with(b"SSH-") => Some(Kind::Ssh),
            b'A'..=b'Z' => Some(Kind::Http),
            _ => None,
        },
        // A message's type is its sender's port.
        ICMP | ICMPV6 if icmp::is_error(proto, ports[0]) => Some(Kind::IcmpError),
        _ => None,
    }
}

/// False where [`inspect`] would find nothing to learn names from: by the first five bytes.
pub(crate) fn may_tell(packet: &PacketRow, payload: &[u8]) -> bool {
    kind_of(packet.key.proto, [packet.key.port_a, packet.key.port_b], payload)
        .is_some_and(|kind| kind != Kind::IcmpError)
}

/// The same by the first byte alone, which turns most away: every packet is asked.
#[inline(always)]
pub(crate) fn may_begin(packet: &PacketRow, first: u8) -> bool {
    let [a, b] = [packet.key.port_a, packet.key.port_b];
    match packet.key.proto {
        UDP => quic::may_begin(first) || dns::is_port(a) || dns::is_port(b),
        TCP => first == tls::HANDSHAKE || first.is_ascii_uppercase() || a == 53 || b == 53,
        _ => false,
    }
}

/// Reads the first payload packet of a direction and adds what it tells to
/// `info`, making it on demand. Called at most a few times in a flow's life.
///
/// Whatever is no known message is rejected by its ports and first bytes.
pub fn inspect(payload: Payload<'_>, info: &mut Option<Box<AppInfo>>) {
    let Payload { proto, src_port, dst_port, from_originator, bytes } = payload;
    match kind_of(proto, [src_port, dst_port], bytes) {
        Some(Kind::Dns) => dns::inspect(bytes, info),
        Some(Kind::DnsOverTcp) => dns::inspect_tcp(bytes, info),
        Some(Kind::Quic) => quic::inspect(bytes, info),
        Some(Kind::Tls) => tls::inspect(bytes, info),
        Some(Kind::Ssh) => ssh::inspect(bytes, from_originator, info),
        Some(Kind::Http) => http::inspect(bytes, info),
        Some(Kind::IcmpError) => icmp::inspect(bytes, info),
        None => {}
    }
}

#[cfg(test)]
mod tests;

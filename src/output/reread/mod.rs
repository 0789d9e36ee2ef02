//! `flows.ndjson` read back into records.
//!
//! A record that was read back says the same as the one that was written, but for what
//! the file leaves out: sums of squares follow from the deviations, of DNS hints the
//! names are kept alone, a host's own name is not told, arguments come from the command
//! line. A line that is none of ours, or of another version of the layout, is an error in
//! words; nothing here panics, and a line is bounded by who reads it.
//!
//! Start at [`Reread::record`].

mod hosts;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::SCHEMA_VERSION;
use crate::flow::app::{
    AppInfo, DnsAddress, DnsInfo, HttpInfo, QuicInfo, Quoted, SshInfo, TlsInfo,
};
use crate::flow::record::{ConnState, Direction, EndReason, FlowRecord, Gaps, SeenAt, SizeStep};
use crate::flow::sizes::{Sizes, bin_of};
use crate::input::Origin;
use crate::packet::facts::tcp_flag;
use crate::packet::{FlowKey, Mac, recorded_key};

/// Steps of a sequence and VLANs that are kept, as records have them.
const MOST_STEPS: usize = 16;
const MOST_VLANS: usize = 4;

/// Reads records; processes and workloads that many of them name are held once.
#[derive(Debug, Default)]
pub struct Reread {
    hosts: hosts::Hosts,
    origins: Vec<Arc<Origin>>,
}

/// Interfaces whose names are held once.
const MOST_ORIGINS: usize = 64;

#[derive(Deserialize)]
struct Line<'a> {
    schema_version: u64,
    src_ip: IpAddr,
    dst_ip: IpAddr,
    #[serde(default)]
    src_port: u16,
    #[serde(default)]
    dst_port: u16,
    proto: u8,
    #[serde(default)]
    icmp_id: u16,
    #[serde(borrow)]
    start: Cow<'a, str>,
    #[serde(borrow)]
    end: Cow<'a, str>,
    #[serde(borrow)]
    decided: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    answered: bool,
    #[serde(default)]
    originator_guessed: bool,
    #[serde(default)]
    continues: bool,
    #[serde(borrow)]
    end_reason: Cow<'a, str>,
    #[serde(borrow, default)]
    sensor: Cow<'a, str>,
    #[serde(borrow, default)]
    interface: Cow<'a, str>,
    #[serde(borrow, default)]
    other_interface: Cow<'a, str>,
    clock_synchronised: Option<bool>,
    #[serde(borrow)]
    src_mac: Option<Cow<'a, str>>,
    #[serde(borrow)]
    dst_mac: Option<Cow<'a, str>>,
    #[serde(default)]
    vlans: Vec<u16>,
    vni: Option<u32>,
    #[serde(borrow)]
    fwd: Option<Way<'a>>,
    #[serde(borrow)]
    rev: Option<Way<'a>>,
    #[serde(default)]
    sequence: Vec<(i64, u64)>,
    app: Option<App>,
    src_host: Option<hosts::Side>,
    dst_host: Option<hosts::Side>,
}

#[derive(Deserialize)]
struct Way<'a> {
    packets: u64,
    wire_bytes: u64,
    #[serde(default)]
    ip_bytes: u64,
    payload_bytes: u64,
    payload_sizes: Option<PayloadSizes>,
    gaps: Option<GapsOf>,
    #[serde(borrow, default)]
    tcp_flags: Cow<'a, str>,
    #[serde(default)]
    retransmitted: u32,
    #[serde(default)]
    out_of_order: u32,
    missed_bytes: Option<u64>,
    #[serde(default)]
    ttl_min: u8,
    ttl_max: Option<u8>,
    #[serde(default)]
    fragments: u32,
    entropy: Option<f32>,
    #[serde(default)]
    entropy_bytes: u16,
}

#[derive(Deserialize)]
struct PayloadSizes {
    min: u32,
    max: u32,
    mean: Option<f64>,
    stddev: Option<f64>,
    histogram: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
struct GapsOf {
    min_ns: u64,
    max_ns: u64,
    mean_ns: Option<f64>,
    stddev_ns: Option<f64>,
}

#[derive(Deserialize)]
struct App {
    dns: Option<Dns>,
    tls: Option<Tls>,
    quic: Option<Tls>,
    http: Option<Http>,
    ssh: Option<Ssh>,
    icmp_error: Option<IcmpError>,
}

#[derive(Deserialize)]
struct IcmpError {
    proto: u8,
    src_ip: IpAddr,
    dst_ip: IpAddr,
    #[serde(default)]
    src_port: u16,
    #[serde(default)]
    dst_port: u16,
    #[serde(default)]
    echo_id: u16,
    #[serde(default)]
    several: bool,
}

#[derive(Deserialize)]
struct Dns {
    #[serde(default)]
    query: String,
    answers: Option<u16>,
    #[serde(default)]
    addresses: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    address: IpAddr,
    ttl_s: u32,
}

#[derive(Deserialize)]
struct Tls {
    sni: Option<String>,
    #[serde(default)]
    alpn: Vec<String>,
    ja4: Option<String>,
}

#[derive(Deserialize)]
struct Http {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    user_agent: Option<String>,
    status: Option<u16>,
}

#[derive(Deserialize)]
struct Ssh {
    client: Option<String>,
    server: Option<String>,
}

fn why_not(line: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "it is cut off".to_owned();
    }
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    // The place in the line that serde names is of no use to people here.
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    if is_json { format!("no flow record: {text}") } else { format!("no JSON: {text}") }
}

fn time(name: &str, text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("{name} is no time"))?;
    i64::try_from(time.as_nanosecond()).map_err(|_| format!("{name} is not within 1677 to 2262"))
}

impl Reread {
    /// The record that a line is; `ended_ns` is when its input ended, for those that were
    /// not decided before.
    pub fn record(&mut self, line: &[u8], ended_ns: i64) -> Result<FlowRecord, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| why_not(line, &error))?;
        if line.schema_version != u64::from(SCHEMA_VERSION) {
            return Err(format!(
                "a flow record of layout {}; this program reads {SCHEMA_VERSION}",
                line.schema_version
            ));
        }
        let end_reason = named(&EndReason::ALL, EndReason::name, "end_reason", &line.end_reason)?;
        let state = named(&STATES, ConnState::name, "state", &line.state)?;
        let start_ns = time("start", &line.start)?;
        let end_ns = time("end", &line.end)?.max(start_ns);
        let decided_ns = match &line.decided {
            Some(text) => time("decided", text)?,
            None => ended_ns,
        };
        if line.src_ip.is_ipv4() != line.dst_ip.is_ipv4() {
            return Err("its addresses are of two versions of IP".to_owned());
        }
        let key = FlowKey {
            proto: line.proto,
            echo_id: line.icmp_id,
            vni: line.vni.map_or(0, |vni| vni.saturating_add(1)),
            ..FlowKey::ZERO
        };
        let (src, dst) = ((line.src_ip, line.src_port), (line.dst_ip, line.dst_port));
        let (key, forward_is_a_to_b) = recorded_key(src, dst, key);
        let origin = Origin {
            sensor: line.sensor.into_owned(),
            interface: line.interface.into_owned(),
            other_interface: line.other_interface.into_owned(),
            clock_synchronised: line.clock_synchronised,
        };
        let mut vlans = line.vlans;
        vlans.truncate(MOST_VLANS);
        Ok(FlowRecord {
            key,
            forward_is_a_to_b,
            originator_guessed: line.originator_guessed,
            continues: line.continues,
            start_ns,
            end_ns,
            decided_ns: decided_ns.max(end_ns),
            end_reason,
            state,
            answered: line.answered,
            fwd: line.fwd.map(direction).transpose()?.unwrap_or_default(),
            rev: line.rev.map(direction).transpose()?.unwrap_or_default(),
            src_mac: line.src_mac.as_deref().map(mac).transpose()?,
            dst_mac: line.dst_mac.as_deref().map(mac).transpose()?,
            vlans,
            tunnels: Vec::new(),
            sequence: line.sequence.iter().take(MOST_STEPS).map(|&step| size_step(step)).collect(),
            app: line.app.map(|app| Box::new(app_info(app))),
            seen_at: SeenAt::default(),
            origin: self.origin(origin),
            hosts: self.hosts.of(line.src_host, line.dst_host),
        })
    }

    fn origin(&mut self, origin: Origin) -> Option<Arc<Origin>> {
        if origin == Origin::default() {
            return None;
        }
        if let Some(known) = self.origins.iter().find(|known| ***known == origin) {
            return Some(Arc::clone(known));
        }
        let origin = Arc::new(origin);
        if self.origins.len() < MOST_ORIGINS {
            self.origins.push(Arc::clone(&origin));
        }
        Some(origin)
    }
}

const STATES: [ConnState; 7] = [
    ConnState::OneWay,
    ConnState::Answered,
    ConnState::HalfOpen,
    ConnState::Established,
    ConnState::Closed,
    ConnState::Reset,
    ConnState::Midstream,
];

fn named<T: Copy>(
    all: &[T],
    name: impl Fn(T) -> &'static str,
    field: &str,
    text: &str,
) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| name(one) == text);
    found.ok_or_else(|| format!("{field} is none that this program knows"))
}

fn mac(text: &str) -> Result<Mac, String> {
    let mut mac = Mac::default();
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2);
        let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = value.ok_or_else(|| "a MAC address is none".to_owned())?;
    }
    match parts.next() {
        None => Ok(mac),
        Some(_) => Err("a MAC address is none".to_owned()),
    }
}

fn size_step((payload, gap_ns): (i64, u64)) -> SizeStep {
    let payload_bytes = u32::try_from(payload.unsigned_abs()).unwrap_or(u32::MAX);
    SizeStep { fwd: payload >= 0, payload_bytes, gap_ns }
}

fn flags(text: &str) -> Result<u16, String> {
    text.chars().try_fold(0, |flags, letter| {
        let flag = match letter {
            'S' => tcp_flag::SYN,
            'A' => tcp_flag::ACK,
            'P' => tcp_flag::PSH,
            'F' => tcp_flag::FIN,
            'R' => tcp_flag::RST,
            'U' => tcp_flag::URG,
            'E' => tcp_flag::ECE,
            'C' => tcp_flag::CWR,
            'N' => tcp_flag::NS,
            _ => return Err("tcp_flags has a letter that is none".to_owned()),
        };
        Ok(flags | flag)
    })
}

fn direction(way: Way<'_>) -> Result<Direction, String> {
    let mut sizes = Sizes::default();
    match &way.payload_sizes {
        None => sizes.record(0, u32::try_from(way.packets).unwrap_or(u32::MAX)),
        Some(told) => {
            for &(low, packets) in &told.histogram {
                let bin = &mut sizes.bins[bin_of(low)];
                *bin = bin.saturating_add(packets);
            }
            (sizes.min, sizes.max, sizes.sum) = (told.min, told.max, way.payload_bytes);
            let count = sizes.count() as f64;
            let mean = told.mean.unwrap_or_else(|| f64::from(told.min));
            sizes.sum_squares = squares(count, mean, told.stddev.unwrap_or(0.0));
        }
    }
    let gaps = way.gaps.map_or_else(Gaps::default, |told| {
        let count = way.packets.saturating_sub(1);
        let mean = told.mean_ns.unwrap_or(told.min_ns as f64);
        Gaps {
            count,
            min_ns: told.min_ns,
            max_ns: told.max_ns,
            sum_ns: libm::round(mean * count as f64) as u64,
            sum_squares: squares(count as f64, mean, told.stddev_ns.unwrap_or(0.0)),
        }
    });
    Ok(Direction {
        packets: way.packets,
        wire_bytes: way.wire_bytes,
        ip_bytes: way.ip_bytes,
        payload_bytes: way.payload_bytes,
        sizes,
        gaps,
        tcp_flags: flags(&way.tcp_flags)?,
        ttl_min: way.ttl_min,
        ttl_max: way.ttl_max.unwrap_or(way.ttl_min),
        retransmitted: way.retransmitted,
        out_of_order: way.out_of_order,
        missed_bytes: way.missed_bytes,
        fragments: way.fragments,
        entropy: way.entropy.map(|bits| (bits, way.entropy_bytes)),
    })
}

/// Sum of squares by mean and deviation.
fn squares(count: f64, mean: f64, deviation: f64) -> u128 {
    libm::round(count * (mean * mean + deviation * deviation)) as u128
}

fn app_info(app: App) -> AppInfo {
    AppInfo {
        dns: app.dns.map(|dns| DnsInfo {
            query: dns.query,
            query_type: 0,
            response_code: None,
            answers: dns.answers,
            addresses: dns
                .addresses
                .into_iter()
                .map(|Address { address, ttl_s }| DnsAddress { address, ttl_s })
                .collect(),
        }),
        tls: app.tls.map(|Tls { sni, alpn, ja4 }| TlsInfo { sni, alpn, version: 0, ja4 }),
        quic: app.quic.map(|Tls { sni, alpn, ja4 }| QuicInfo { version: 0, sni, alpn, ja4 }),
        http: app.http.map(|Http { method, host, path, user_agent, status }| HttpInfo {
            method,
            host,
            path,
            user_agent,
            status,
        }),
        ssh: app.ssh.map(|Ssh { client, server }| SshInfo { client, server }),
        icmp_error: app.icmp_error.map(|error| {
            Box::new(Quoted {
                proto: error.proto,
                src: error.src_ip,
                dst: error.dst_ip,
                ports: [error.src_port, error.dst_port],
                echo_id: error.echo_id,
                several: error.several,
            })
        }),
    }
}

#[cfg(test)]
mod tests;

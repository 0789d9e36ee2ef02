//! The settings of detection as a table: name, range and why, what it is for.
//! Whatever reads settings from outside goes through it, so that each is
//! checked in one place. Start at [`SETTINGS`].

use std::fmt;

use super::endpoints::Endpoints;
use super::{DetectSettings, Kind};

/// A setting by its name.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    pub range: SettingRange,
    /// Why no other value makes sense.
    pub why: &'static str,
    get: fn(&DetectSettings) -> SettingValue,
    put: fn(&mut DetectSettings, SettingValue),
}

#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    Count(u64),
    Ratio(f64),
    Kinds(Vec<Kind>),
    Names(Vec<String>),
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SettingRange {
    Count(u64, u64),
    Ratio(f64, f64),
    /// Any of the kinds of packet.
    Kinds,
    /// At most as many names, each of 1 to 256 bytes.
    Names(usize),
}

use SettingRange::{Count, Kinds, Names, Ratio};

/// More packets, frames or connections a second than a machine can see.
const RATE_MAX: u64 = 1_000_000_000;
/// Addresses of a /8. Times ten, the most that a detector multiplies by, it
/// fits any sum.
const HOSTS_MAX: u64 = 1 << 24;

/// Bytes of a name: an image's with registry and digest.
const NAME_MAX: usize = 256;

/// The range of `packet_rate_threshold`, for the option of the same name.
pub(crate) const PACKET_RATES: std::ops::RangeInclusive<u64> = 10..=RATE_MAX;

const RATE_WHY: &str = "below it every conversation would be one, above it nothing ever is";
const HOSTS_WHY: &str =
    "a browser alone talks to as many as the least; there are no more than the most";
/// A terabit a second, a minute long.
const BYTES_MAX: u64 = 7_500_000_000_000;
const VOLUME_WHY: &str = "below it every host is over, above it nothing ever is";
const NAMES_WHY: &str = "each is held against every process or flow";
const MEMORY_WHY: &str = "each takes memory that is never given back";

macro_rules! settings {
    ($($name:ident: $range:expr, $help:expr, $why:expr;)*) => {
        /// All of them but home networks, process classes and what is allowed.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            help: $help,
            range: $range,
            why: $why,
            get: |settings| settings.$name.get(),
            put: |settings, value| settings.$name.put(value),
        }),*];

        /// Does not compile while a setting is missing above.
        const _: fn(DetectSettings) = |settings| {
            let DetectSettings {
                home_nets: _, allow: _, classes: _, watch: _, $($name: _),*
            } = settings;
        };
    };
}

settings! {
    packet_rate_threshold: Count(*PACKET_RATES.start(), *PACKET_RATES.end()),
        "Packets of one second that are a flood (ATT&CK PacketRateThreshold).", RATE_WHY;
    unanswered_rate_threshold: Count(10, RATE_MAX),
        "Packets a second that are a flood when two seconds in a row nobody answers.", RATE_WHY;
    answer_ratio: Ratio(0.000_1, 1.0),
        "Packets back by packets in, under which a stream counts as unanswered.",
        "at 0 everything is answered, over 1 nothing";
    burst_time_window_s: Count(1, 86_400),
        "Seconds of activity that make a flood sustained (ATT&CK BurstTimeWindow).",
        "a flood lasts a second at least; over a day it would never be sustained";
    protocol_type: Kinds,
        "Kinds of packet that need no connection (ATT&CK ProtocolType).", "there are no others";
    typing_share: Ratio(0.5, 1.0),
        "Share of a flood's packets that must be of one type to name it.",
        "at less than half two types could name it";
    carpet_addresses: Count(4, HOSTS_MAX),
        "Addresses of a prefix that must be hit together for carpet bombing.", HOSTS_WHY;
    connection_rate_threshold: Count(10, RATE_MAX),
        "New connections a second at one address that are a flood.", RATE_WHY;
    empty_connection_rate_threshold: Count(10, RATE_MAX),
        "Connections a second from one address to another given up before any data.", RATE_WHY;
    scan_ports: Count(5, 65_536),
        "Ports of one target in a minute that are a scan.",
        "a client tries a few ports; there are 65,536";
    scan_hosts: Count(5, HOSTS_MAX), "Targets in a minute that are a scan.", HOSTS_WHY;
    sweep_hosts: Count(3, HOSTS_MAX), "Targets of ICMP echo in a minute that are a sweep.", HOSTS_WHY;
    scan_protocols: Count(3, 256),
        "IP protocols tried at one target that are a scan.",
        "a host has two or three; there are 256";
    arp_sweep_hosts: Count(5, HOSTS_MAX),
        "Targets of ARP requests from one MAC in a minute that are a sweep.", HOSTS_WHY;
    reflectors: Count(2, HOSTS_MAX),
        "Reflectors whose unasked responses are a reflection attack.", HOSTS_WHY;
    amplification: Ratio(1.5, 100_000.0),
        "Response bytes by request bytes that make a server a reflector.",
        "below it most servers are; memcached, the strongest known, gives 51,000";
    storm_rate_threshold: Count(10, RATE_MAX),
        "Broadcast frames, and frames of control protocols, a second that are a storm.", RATE_WHY;
    bulk_storm_rate_threshold: Count(10, RATE_MAX),
        "UDP multicast and other EtherTypes a second that are a storm.", RATE_WHY;
    quiet_time_s: Count(2, 86_400),
        "Seconds without activity that end an alert.",
        "a window that comes late would end it; over a day alerts would never end";
    open_alerts: Count(1, 65_536), "Alerts open at the same time.", MEMORY_WHY;
    total_alerts: Count(1, 10_000_000),
        "Alerts of a run that reads captures; live there is no bound.", MEMORY_WHY;
    kept_alerts: Count(1, 1_000_000), "Alerts that are over and kept for the summary.", MEMORY_WHY;
    loss_per_mille: Count(1, 1_000),
        "Packets of a thousand lost by an interface in a second that are an alert.",
        "it is a share of a thousand, and none lost is no loss";
    scan_sources: Count(16, 262_144), "Sources whose probes are remembered.", MEMORY_WHY;
    instance_traffic_threshold: Ratio(10.0, 100_000.0),
        "Percent above an entity's normal that egress must be (ATT&CK InstanceTrafficThreshold).",
        "every minute is a few percent over some other; a thousand times is over any";
    egress_deviation: Ratio(2.0, 100.0),
        "Robust sigmas above an entity's normal that egress must be.",
        "below two every tenth minute is";
    egress_concentration: Ratio(0.1, 1.0),
        "Share of the egress that one destination or service must take.",
        "one of ten destinations takes a tenth anyway; there is no more than all";
    egress_bytes_per_minute: Count(1_000, BYTES_MAX),
        "Egress a minute below which nothing is unusual.", VOLUME_WHY;
    egress_packets_per_minute: Count(10, RATE_MAX * 60),
        "Packets sent a minute below which nothing is unusual.", VOLUME_WHY;
    egress_absolute_bytes_per_minute: Count(1_000, BYTES_MAX),
        "Egress a minute that is high for an entity without a baseline.", VOLUME_WHY;
    egress_absolute_packets_per_minute: Count(10, RATE_MAX * 60),
        "Packets sent a minute that are many for an entity without a baseline.", VOLUME_WHY;
    baseline_mature_days: Ratio(0.25, 365.0),
        "Days of history from which an entity's baseline counts as mature.",
        "in less than a quarter of a day nothing repeats; longer than a year nobody waits";
    baseline_drift_per_day: Ratio(0.001, 10.0),
        "Share by which what is normal of an entity may grow in a day.",
        "at 0 nothing could ever grow, and over ten times a day nothing is held back";
    baseline_flush_minutes: Count(1, 1_440),
        "Minutes between writes of baselines to their file.",
        "entities are measured by the minute; a kill should not cost more than a day";
    baseline_pending_days: Ratio(0.04, 90.0),
        "Days for which minutes under alert wait for a verdict.",
        "in under an hour nobody judges, and old minutes would be forgotten anyway";
    baseline_held: Count(1, 10_000_000),
        "Entities whose baselines are held in memory.", MEMORY_WHY;
    ping_packet_floor: Count(2, RATE_MAX),
        "Echo packets a second of a process, or of one tool's processes, that are a flood.", RATE_WHY;
    process_packet_floor: Count(10, RATE_MAX),
        "Unanswered packets a second of a process that are a flood.", RATE_WHY;
    process_byte_floor: Count(1_000, 1_000_000_000_000),
        "Unanswered bytes a second of a process that are a flood.", RATE_WHY;
    web_connection_floor: Count(2, RATE_MAX),
        "New connections a second of HTTP clients that are a flood.", RATE_WHY;
    process_connection_floor: Count(2, RATE_MAX),
        "New connections a second of any other process that are a flood.", RATE_WHY;
    tool_flood_seconds: Count(1, 86_400),
        "Seconds of burst_time_window_s at a floor that make a flood of a process.",
        "a flood lasts a second at least; over a day it would never be one";
    payload_shift_threshold: Ratio(0.01, 1.0),
        "Divergence of payload sizes from the learned ones that is a shift, in bits.",
        "at 0 every minute is one; there is no more than 1";
    payload_shift_packets: Count(20, RATE_MAX),
        "Packets with payload that a minute needs to have a shape.",
        "fewer diverge by chance alone";
    data_ratio_threshold: Ratio(1.5, 1_000_000.0),
        "Payload bytes sent by received that are lopsided (ATT&CK DataRatioThreshold).",
        "below it every second conversation is";
    data_ratio_bytes: Count(1_024, 1_000_000_000_000),
        "Payload bytes sent in a minute from which the ratio counts.",
        "less is a request; more nobody sends in a minute";
    entropy_score: Ratio(1.0, 8.0),
        "Bits per byte from which bytes count as packed or encrypted (ATT&CK EntropyScore).",
        "text has over 4; a byte has 8";
    beacon_score: Count(1, 100), "RITA's score, of 100, that is a beacon.", "it goes from 0 to 100";
    beacon_connections: Count(4, 86_400),
        "Connections from which a rhythm counts.",
        "RITA needs four; 86,400 a day are a strobe";
    beacon_span_s: Count(1, 86_400),
        "Seconds from the first connection to the last before a rhythm counts.",
        "the score looks at a day";
    process_whitelist: Names(256),
        "Executables whose payloads, ratios and rhythms are not judged (ATT&CK ProcessWhitelist).",
        "a name alone is no proof: whoever starts a program can choose it";
    image_name: Names(256),
        "Container images that AN0083 is about; what others do is informational. None: all (ATT&CK ImageName).",
        NAMES_WHY;
    lb_projects: Names(256),
        "Projects whose load balancers' logs count, where a log names one. None: all (ATT&CK LBProjects).",
        NAMES_WHY;
    time_window_s: Count(60, 86_400),
        "Seconds between the stages of a chain (ATT&CK TimeWindow).",
        "logs have whole seconds; over a day everything follows everything";
    log_lateness_s: Count(1, 86_400),
        "Seconds that a log of requests may come late and still be joined.",
        "no log comes at once; what is held for it takes memory";
    chain_score: Ratio(31.0, 100.0),
        "Points from which stages that were seen are a chain.",
        "one stage alone, which has 30 or 40, is none; all three have 100";
    suspicious_patterns: Names(1_024),
        "Texts of exploit-like requests, beside the table (ATT&CK SuspiciousPatterns).",
        "each is looked for in every request";
    long_uri_bytes: Count(256, 65_536),
        "Bytes of a URI that are over-long.",
        "ordinary ones have as many as the least; no server takes more than the most";
    error_rate_threshold: Count(1, RATE_MAX),
        "Errors of a target in five minutes that are a floor (ATT&CK ErrorRateThreshold).",
        RATE_WHY;
    error_burst: Count(1, RATE_MAX),
        "Errors of a target a minute that are a burst without a normal (ATT&CK ErrorBurst).",
        RATE_WHY;
    web_proc_list: Names(256),
        "Programs that serve the network (ATT&CK WebProcList).", NAMES_WHY;
    child_tool_list: Names(256),
        "Programs that an exploited service starts (ATT&CK ChildToolList).", NAMES_WHY;
    allowed_child_list: Names(256),
        "Those of them that are expected (ATT&CK AllowedChildList).", NAMES_WHY;
    metadata_endpoints: Names(256),
        "Addresses and names of metadata services (ATT&CK MetadataEndpoints).", NAMES_WHY;
    first_seen_days: Count(1, 3_650),
        "Days after which a destination is as new again.",
        "a baseline counts in days, and forgets over months";
    first_seen_prevalence: Ratio(0.000_01, 1.0),
        "Share of all entities from which a destination is common.",
        "at 0 all are common, over 1 none";
    relay_symmetry: Ratio(0.5, 1.0),
        "Symmetry of two legs, both ways, that makes a relay.",
        "at half one leg has three times the other's bytes; there is no more than equal";
    relay_bytes: Count(10_000, BYTES_MAX), "Payload relayed in five minutes.", VOLUME_WHY;
    proxy_names: Names(256),
        "Images, programs and roles that relay by design.", "each relay is held against all";
    dormant_bytes_per_minute: Count(1_000, BYTES_MAX),
        "Egress a minute up to which an entity is dormant.", VOLUME_WHY;
    dormant_active_bytes_per_minute: Count(1_000, BYTES_MAX),
        "Egress a minute from which a dormant entity is active.", VOLUME_WHY;
    dormant_days: Ratio(0.01, 365.0),
        "Days of dormancy that count in full.", "a quarter of an hour is a pause, a year is for ever";
    container_baseline_network_usage: Ratio(10.0, 100_000.0),
        "Percent above their normal that counters must grow (ATT&CK ContainerBaselineNetworkUsage).",
        "every minute is a few percent over some other; a thousand times is over any";
    counter_bytes_per_minute: Count(1_000, BYTES_MAX),
        "Bytes sent a minute by counters below which nothing is an increase.", VOLUME_WHY;
    counter_increase_s: Count(60, 86_400),
        "Seconds that an increase of counters must last.",
        "counters are read once a minute; after a day it is the new normal";
    held_open_threshold: Count(8, HOSTS_MAX),
        "Connections that one client holds open at one service with hardly any data.",
        "browsers hold six; a client has 65,536 ports, and several addresses";
    held_open_s: Count(10, 300),
        "Seconds from which a connection is held open.",
        "shorter ones are requests; the active time-out cuts longer ones";
    request_rate_threshold: Count(1, RATE_MAX),
        "Requests a second of one client that are a flood.", RATE_WHY;
    target_request_rate_threshold: Count(10, RATE_MAX),
        "Requests a second to one target that are a flood.", RATE_WHY;
    dns_tunnel_names: Count(10, 1_000_000),
        "Distinct names of a domain from one client in five minutes that may be a tunnel.",
        "a site has as many as the least; nobody asks for more than the most";
    dns_tunnel_bytes: Count(512, 1_000_000_000),
        "Bytes in those names, before the domain, that may be a tunnel.",
        "less carries nothing; more no resolver takes";
    dns_tunnel_score: Ratio(26.0, 100.0),
        "Points from which they are a tunnel.", "one sign alone gives up to 25; there are 100";
    dns_tunnel_allowed_domains: Names(1_024),
        "Domains whose long and ever new names are expected.", NAMES_WHY;
    icmp_tunnel_packets: Count(5, RATE_MAX),
        "Echo messages with data of a pair in five minutes that may be a tunnel.",
        "fewer say nothing";
    icmp_tunnel_bytes: Count(1_024, 1_000_000_000_000),
        "Bytes of echo data of a pair in an hour that begin to be much.",
        "two hundred pings have as many as the least; more no link takes";
    icmp_tunnel_score: Ratio(31.0, 100.0),
        "Points from which they are a tunnel.",
        "at less, one sign alone would do; there are 120";
}

impl Setting {
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    pub fn get(&self, settings: &DetectSettings) -> SettingValue {
        (self.get)(settings)
    }

    /// Sets it, unless it is out of its range: then nothing changes and the
    /// error says why.
    pub fn set(&self, settings: &mut DetectSettings, value: SettingValue) -> Result<(), String> {
        let inside = match (&value, self.range) {
            (SettingValue::Count(count), Count(least, most)) => (least..=most).contains(count),
            // NaN is in no range.
            (SettingValue::Ratio(ratio), Ratio(least, most)) => (least..=most).contains(ratio),
            (SettingValue::Kinds(_), Kinds) => true,
            (SettingValue::Names(names), Names(most)) => {
                names.len() <= most && names.iter().all(|name| (1..=NAME_MAX).contains(&name.len()))
            }
            _ => false,
        };
        if !inside {
            return Err(format!("{value} is not allowed: {}, since {}", self.range, self.why));
        }
        (self.put)(settings, value);
        Ok(())
    }
}

impl fmt::Display for SettingRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count(least, most) => write!(f, "a whole number from {least} to {most}"),
            Ratio(least, most) => write!(f, "a number from {least} to {most}"),
            Kinds => {
                let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                write!(f, "a list of {}", names.join(", "))
            }
            Names(most) => write!(f, "a list of at most {most} names of 1 to {NAME_MAX} bytes"),
        }
    }
}

/// As TOML has it.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            // With a point even where it is whole.
            Self::Ratio(ratio) => write!(f, "{ratio:?}"),
            Self::Kinds(kinds) => {
                let names: Vec<String> =
                    kinds.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
                write!(f, "[{}]", names.join(", "))
            }
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                write!(f, "[{}]", names.join(", "))
            }
        }
    }
}

/// A name as a basic string of TOML.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A field of the settings. What does not fit its type is never put: the range
/// was asked before.
trait Field {
    fn get(&self) -> SettingValue;
    fn put(&mut self, value: SettingValue);
}

impl Field for u64 {
    fn get(&self) -> SettingValue {
        SettingValue::Count(*self)
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Count(count) = value {
            *self = count;
        }
    }
}

impl Field for usize {
    fn get(&self) -> SettingValue {
        SettingValue::Count(*self as u64)
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Count(count) = value {
            *self = Self::try_from(count).unwrap_or(Self::MAX);
        }
    }
}

impl Field for f64 {
    fn get(&self) -> SettingValue {
        SettingValue::Ratio(*self)
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Ratio(ratio) = value {
            *self = ratio;
        }
    }
}

impl Field for Vec<Kind> {
    fn get(&self) -> SettingValue {
        SettingValue::Kinds(self.clone())
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Kinds(kinds) = value {
            *self = kinds;
        }
    }
}

impl Field for Vec<String> {
    fn get(&self) -> SettingValue {
        SettingValue::Names(self.clone())
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Names(names) = value {
            *self = names;
        }
    }
}

impl Field for Endpoints {
    fn get(&self) -> SettingValue {
        SettingValue::Names(self.listed().to_vec())
    }

    fn put(&mut self, value: SettingValue) {
        if let SettingValue::Names(names) = value {
            *self = names.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of a range, and what is just outside.
    fn probes(range: SettingRange) -> (Vec<SettingValue>, Vec<SettingValue>) {
        use SettingValue as V;
        match range {
            Count(least, most) => (
                vec![V::Count(least), V::Count(most)],
                vec![V::Count(0), V::Count(least - 1), V::Count(most + 1), V::Count(u64::MAX)],
            ),
            Ratio(least, most) => (
                vec![V::Ratio(least), V::Ratio(most)],
                [0.0, -1.0, least / 2.0, most * 2.0, f64::NAN, f64::INFINITY].map(V::Ratio).into(),
            ),
            Kinds => (vec![V::Kinds(Vec::new()), V::Kinds(Kind::ALL.into())], vec![V::Count(1)]),
            Names(most) => (
                vec![V::Names(Vec::new()), V::Names(vec!["a\"\\b".to_owned(); most])],
                vec![
                    V::Names(vec![String::new()]),
                    V::Names(vec!["a".repeat(NAME_MAX + 1)]),
                    V::Names(vec!["a".to_owned(); most + 1]),
                ],
            ),
        }
    }

    #[test]
    fn each_setting_takes_its_range_and_nothing_else() {
        for setting in SETTINGS {
            let mut settings = DetectSettings::default();
            let (good, bad) = probes(setting.range);
            for value in good {
                setting.set(&mut settings, value.clone()).unwrap();
                assert_eq!(setting.get(&settings), value, "{}", setting.name);
            }
            let before = settings.clone();
            for value in bad {
                let refused = setting.set(&mut settings, value).unwrap_err();
                assert!(refused.contains(setting.why), "{refused}");
            }
            assert_eq!(settings, before, "{}", setting.name);
        }
    }

    #[test]
    fn defaults_lie_in_their_ranges() {
        let default = DetectSettings::default();
        for setting in SETTINGS {
            let mut settings = default.clone();
            setting.set(&mut settings, setting.get(&default)).unwrap();
            assert_eq!(settings, default);
        }
    }

    #[test]
    fn setting_one_leaves_the_others() {
        let mut changed = DetectSettings::default();
        for setting in SETTINGS {
            let (good, _) = probes(setting.range);
            setting.set(&mut changed, good[1].clone()).unwrap();
        }
        for setting in SETTINGS {
            let (good, _) = probes(setting.range);
            assert_eq!(setting.get(&changed), good[1], "{}", setting.name);
        }
    }
}

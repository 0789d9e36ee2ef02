//! The settings of detection as a table: name, range and why, what it is for.
//! Whatever reads settings from outside goes through it, so that each is
//! checked in one place. Start at [`SETTINGS`].

use std::fmt;

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
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SettingRange {
    Count(u64, u64),
    Ratio(f64, f64),
    /// Any of the kinds of packet.
    Kinds,
}

use SettingRange::{Count, Kinds, Ratio};

/// More packets, frames or connections a second than a machine can see.
const RATE_MAX: u64 = 1_000_000_000;
/// Addresses of a /8. Times ten, the most that a detector multiplies by, it
/// fits any sum.
const HOSTS_MAX: u64 = 1 << 24;

/// The range of `packet_rate_threshold`, for the option of the same name.
pub(crate) const PACKET_RATES: std::ops::RangeInclusive<u64> = 10..=RATE_MAX;

const RATE_WHY: &str = "below it every conversation would be one, above it nothing ever is";
const HOSTS_WHY: &str =
    "a browser alone talks to as many as the least; there are no more than the most";
const MEMORY_WHY: &str = "each takes memory that is never given back";

macro_rules! settings {
    ($($name:ident: $range:expr, $help:expr, $why:expr;)*) => {
        /// All of them but home networks and what is allowed.
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
            let DetectSettings { home_nets: _, allow: _, watch: _, $($name: _),* } = settings;
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
        }
    }
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

//! `[[allow]]`: entries of what is allowed, from a file. Start at
//! [`Reader::allow`].

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::file::{File, Key, Reader, Value, did_you_mean, shown};
use crate::alert::{AllowEntry, AllowedEntity, DETECTORS, Towards};

const KEYS: [&str; 9] = [
    "detector",
    "entity",
    "peer",
    "port",
    "reason",
    "owner",
    "expires",
    "max_packets_per_s",
    "max_bytes_per_minute",
];

/// An alert is held against each: more than this nobody looks after.
const MOST: usize = 1_000;

/// Peers or ports of one entry: whoever has more names prefixes, or the entity as a whole.
const MOST_TOWARDS: usize = 256;

impl Reader<'_> {
    pub(super) fn allow(&mut self, key: &Key<'_>, value: &Value<'_>, file: &mut File) {
        let DeValue::Array(items) = value.get_ref() else {
            self.problem(key.span(), "allow is a list of entries: [[allow]]".to_owned());
            return;
        };
        if items.len() > MOST {
            let text = format!("{} entries in [[allow]]: {MOST} are allowed", items.len());
            self.problem(key.span(), text);
        }
        for item in items.iter() {
            if self.is_full() {
                break;
            }
            let DeValue::Table(table) = item.get_ref() else {
                self.problem(item.span(), "allow is a list of entries: [[allow]]".to_owned());
                continue;
            };
            if let Some(entry) = self.entry(table, item.span()) {
                file.allow_lines.push(self.line(&item.span()));
                file.detect.allow.push(entry);
            }
        }
    }

    /// An entry, unless something is wrong with it.
    fn entry(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Option<AllowEntry> {
        for (key, _) in table.iter().filter(|(key, _)| !KEYS.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let meant = did_you_mean(name, KEYS.into_iter());
            self.problem(key.span(), format!("{name}: no such key in [[allow]]{meant}"));
        }
        let detector = self.value(table, "detector", &span, detector);
        let entity =
            self.value(table, "entity", &span, |value| text(value)?.parse::<AllowedEntity>());
        let peers = match table.contains_key("peer") {
            true => self.value(table, "peer", &span, |value| listed(value, peer)),
            false => Some(Vec::new()),
        };
        let ports = match table.contains_key("port") {
            true => self.value(table, "port", &span, |value| listed(value, port)),
            false => Some(Vec::new()),
        };
        let reason = self.value(table, "reason", &span, text);
        let owner = self.value(table, "owner", &span, text);
        let expires_ns = self.value(table, "expires", &span, expiry);
        let mut bound = |name| match table.contains_key(name) {
            true => self.value(table, name, &span, count).map(Some),
            false => Some(None),
        };
        let (packets, bytes) = (bound("max_packets_per_s"), bound("max_bytes_per_minute"));
        Some(AllowEntry {
            detector: detector?,
            entity: entity?,
            towards: Towards { peers: peers?, ports: ports? },
            reason: reason?,
            owner: owner?,
            expires_ns: expires_ns?,
            max_packets_per_s: packets?,
            max_bytes_per_minute: bytes?,
        })
    }

    fn value<T>(
        &mut self,
        table: &DeTable<'_>,
        name: &str,
        entry: &Range<usize>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = table.get(name) else {
            self.problem(entry.clone(), format!("[[allow]]: {name} is missing: {}", wanted(name)));
            return None;
        };
        let read = read(value.get_ref());
        read.map_err(|reason| self.problem(value.span(), format!("{name}: {reason}"))).ok()
    }
}

fn wanted(name: &str) -> &'static str {
    match name {
        "detector" => "name a detector, or \"any\"",
        "entity" => {
            "an address, a prefix, a MAC, interface:NAME, instance:ID, workload:NAME or process:NAME"
        }
        "reason" => "say why it is allowed",
        "owner" => "say who answers for it",
        _ => "a date such as 2027-01-31: what has no end is forgotten",
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => Err(format!("{} is not allowed: a text", shown(value))),
    }
}

fn detector(value: &DeValue<'_>) -> Result<Option<String>, String> {
    let name = text(value)?;
    if name == "any" {
        return Ok(None);
    }
    if DETECTORS.contains(&name.as_str()) {
        return Ok(Some(name));
    }
    let meant = did_you_mean(&name, DETECTORS.into_iter());
    Err(format!("there is no detector {name:?}{meant} (any, {})", DETECTORS.join(", ")))
}

/// One, or a list of some.
fn listed<T: PartialEq>(
    value: &DeValue<'_>,
    read: fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let DeValue::Array(values) = value else { return Ok(vec![read(value)?]) };
    if values.is_empty() {
        return Err("the list is empty: leave it out to allow all".to_owned());
    }
    if values.len() > MOST_TOWARDS {
        return Err(format!("{} in the list: {MOST_TOWARDS} are allowed", values.len()));
    }
    let mut all = Vec::new();
    for value in values.iter() {
        let one = read(value.get_ref())?;
        if all.contains(&one) {
            return Err(format!("{} is there twice", shown(value.get_ref())));
        }
        all.push(one);
    }
    Ok(all)
}

fn peer(value: &DeValue<'_>) -> Result<IpNet, String> {
    let wrong = || {
        format!(
            "{} is not allowed: an address (192.0.2.1), a prefix (10.0.0.0/8) or a list of them",
            shown(value)
        )
    };
    let DeValue::String(text) = value else { return Err(wrong()) };
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>().map(|net| net.trunc())).map_err(|_| wrong())
}

fn port(value: &DeValue<'_>) -> Result<u16, String> {
    let number = match value {
        DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    number.filter(|&port| port > 0).ok_or_else(|| {
        format!("{} is not allowed: a port from 1 to 65535 or a list of them", shown(value))
    })
}

fn count(value: &DeValue<'_>) -> Result<u64, String> {
    let DeValue::Integer(number) = value else {
        return Err(format!("{} is not allowed: a whole number from 1", shown(value)));
    };
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
    // TOML's numbers end there, and so does what `config show` can say.
    number
        .filter(|number| (1..=i64::MAX as u64).contains(number))
        .ok_or_else(|| format!("{} is not allowed: a whole number from 1", shown(value)))
}

/// The first moment after it.
fn expiry(value: &DeValue<'_>) -> Result<i64, String> {
    let text = match value {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => shown(value),
    };
    let wrong = || {
        format!(
            "{text} is not allowed: a date (2027-01-31: to its end, UTC) or a time with its \
             offset (2027-01-31T18:00:00Z)"
        )
    };
    // A date parser takes times too, and forgets their hours.
    let moment: Timestamp = if text.len() == "2027-01-31".len() {
        let date: Date = text.parse().map_err(|_| wrong())?;
        let after = date.tomorrow().and_then(|date| date.to_zoned(TimeZone::UTC));
        after.map_err(|_| wrong())?.timestamp()
    } else {
        text.parse().map_err(|_| wrong())?
    };
    i64::try_from(moment.as_nanosecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expires(text: &str) -> Result<i64, String> {
        let parsed = DeValue::parse(text).unwrap();
        expiry(parsed.get_ref())
    }

    #[test]
    fn a_date_ends_with_its_day_and_a_time_where_it_is() {
        let end = Ok(1_801_440_000_000_000_000);
        for same in [
            "2027-01-31",
            "\"2027-01-31\"",
            "2027-02-01T00:00:00Z",
            "2027-02-01 01:00:00+01:00",
            "\"2027-02-01T00:00:00Z\"",
        ] {
            assert_eq!(expires(same), end, "{same}");
        }
        for bad in ["2027-01-31T00:00:00", "00:00:00", "\"soon\"", "1", "9999-12-31", "true"] {
            assert!(expires(bad).is_err(), "{bad}");
        }
    }
}

//! Draft `[[allow]]` entries for an alert: as the configuration file has them, with the
//! narrowest detectors and entities, an end, and a bound beyond which they alert again.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::alert::ALL_AT_ONE_PORT;

/// Days until somebody has to look again.
const DAYS: i64 = 90;

/// Of what was measured: an everyday day may be twice as busy, an attack that hides
/// behind the entry is more.
const ROOM: u64 = 2;

/// Peers and ports that a draft lists: who reads more of them can't say that each is meant.
const FEW: usize = 4;

/// What the same traffic would raise: the alert, those that were part of it, and by the
/// other detectors that saw it.
pub(super) struct Act {
    pub(super) alert: Value,
    /// As far as the run still has them; the first ten thousand of a run are kept by default.
    pub(super) parts: Vec<Value>,
}

impl Act {
    /// By detector and entity, each once: the alert first. Narrower than any detector, and
    /// none of them is left to raise what the others stood for.
    fn entries(&self) -> anyhow::Result<Vec<Entry<'_>>> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (alert, is_first) in
            std::iter::once((&self.alert, true)).chain(self.parts.iter().map(|part| (part, false)))
        {
            let entity = entity_of(alert);
            let entity = match is_first {
                true => entity.context("the alert names no entity")?,
                false => match entity {
                    Some(entity) => entity,
                    None => continue,
                },
            };
            // Of a part that the run no longer has: it is of the same packets.
            let peak = peak_of(alert).or_else(|| peak_of(&self.alert)).unwrap_or_default();
            let towards = match alert["peers"].is_array() {
                true => Towards::of(alert),
                false => Towards { ports: Vec::new(), ..Towards::of(&self.alert) },
            };
            let seen = alert["evidence"]["also_seen"].as_array().into_iter().flatten();
            let also = seen.filter_map(Value::as_str);
            for detector in alert["detector"].as_str().or(Some("any")).into_iter().chain(also) {
                let entry = Entry { detector, entity, peak, towards: towards.clone() };
                match entries.iter_mut().find(|known| known.is_about_the_same(&entry)) {
                    Some(known) => {
                        known.peak = known.peak.max(peak);
                        known.towards = known.towards.with(&entry.towards);
                    }
                    None => entries.push(entry),
                }
            }
        }
        Ok(entries)
    }
}

struct Entry<'a> {
    detector: &'a str,
    entity: &'a str,
    /// Packets/s; 0 where none were counted.
    peak: u64,
    towards: Towards,
}

/// Where to, as far as the alert says of all of it and that is little; else anywhere.
#[derive(Clone)]
struct Towards {
    peers: Vec<String>,
    ports: Vec<u64>,
}

impl Towards {
    fn of(alert: &Value) -> Self {
        let evidence = &alert["evidence"];
        let to = alert["peers"].as_array().into_iter().flatten();
        let to = to.filter(|peer| peer["role"] == "destination");
        let named: Vec<&str> = to.filter_map(|peer| peer["address"].as_str()).collect();
        // Those that it does not name are more than it counts, or not counted.
        let counted = evidence["distinct_destinations"].as_u64().unwrap_or(0);
        let are_all =
            counted <= named.len() as u64 && (evidence["shape"] != "one_to_many" || counted > 1);
        let (peers, are_all) = match evidence["details"]["destinations"].as_array() {
            Some(largest) => (largest.iter().filter_map(Value::as_str).collect(), true),
            None => (named, are_all),
        };
        let peers: Vec<String> = peers.into_iter().map(str::to_owned).collect();
        let most = &evidence["top_destination_port"];
        let most =
            most["port"].as_u64().filter(|_| most["share"].as_f64() >= Some(ALL_AT_ONE_PORT));
        let ports: Vec<u64> = match evidence["details"]["destination_ports"].as_array() {
            Some(ports) => ports.iter().filter_map(Value::as_u64).collect(),
            None => most.into_iter().collect(),
        };
        Self {
            peers: if are_all && peers.len() <= FEW { peers } else { Vec::new() },
            ports: if ports.len() <= FEW { ports } else { Vec::new() },
        }
    }

    fn is_somewhere(&self) -> bool {
        !self.peers.is_empty() || !self.ports.is_empty()
    }

    /// Of two alerts that one entry is for.
    fn with(&self, other: &Self) -> Self {
        Self { peers: both(&self.peers, &other.peers), ports: both(&self.ports, &other.ports) }
    }
}

/// Anywhere, where one of them is, or where they are many.
fn both<T: Clone + PartialEq>(some: &[T], others: &[T]) -> Vec<T> {
    let mut all = some.to_vec();
    all.extend(others.iter().filter(|other| !some.contains(other)).cloned());
    if some.is_empty() || others.is_empty() || all.len() > FEW { Vec::new() } else { all }
}

impl Entry<'_> {
    fn is_about_the_same(&self, other: &Self) -> bool {
        (self.detector, self.entity) == (other.detector, other.entity)
    }
}

fn peak_of(alert: &Value) -> Option<u64> {
    alert["evidence"]["peak"]["packets_per_s"].as_u64()
}

/// By what stays the same of it.
fn entity_of(alert: &Value) -> Option<&str> {
    let key = alert["case"]["baseline_key"].as_str();
    key.filter(|key| !key.starts_with("address:")).or_else(|| alert["entity"]["id"].as_str())
}

/// The entries, ready to be put into a file by hand.
pub(super) fn entries(
    act: &Act,
    why: &str,
    owner: &str,
    now_ns: i64,
    pseudonyms: bool,
) -> anyhow::Result<String> {
    let expires = Timestamp::from_nanosecond(now_ns.into())
        .and_then(|now| {
            now.to_zoned(TimeZone::UTC).date().checked_add(jiff::Span::new().days(DAYS))
        })
        .context("the end of the entry is no date")?;
    let mut text = "# A draft: nothing is allowed until you put it into the configuration file\n\
                    # (`flowtap config check` reads it, SIGHUP takes it over).\n"
        .to_owned();
    if pseudonyms {
        text.push_str(
            "# This run has pseudonyms: write the real names of the entity and its peers.\n",
        );
    }
    let entries = act.entries()?;
    if entries.len() > 1 {
        text.push_str("# Several detectors saw the same traffic: leave one out and it alerts.\n");
    }
    if entries.iter().any(|entry| entry.towards.is_somewhere()) {
        text.push_str("# Towards these alone: leave `peer` or `port` out to allow more.\n");
    }
    for Entry { detector, entity, peak, towards } in entries {
        let peers: Vec<String> = towards.peers.iter().map(|peer| quoted(peer)).collect();
        let ports: Vec<String> = towards.ports.iter().map(u64::to_string).collect();
        let line = |name: &str, values: &[String]| match values {
            [] => String::new(),
            [one] => format!("{name} = {one}\n"),
            several => format!("{name} = [{}]\n", several.join(", ")),
        };
        text.push_str(&format!(
            "[[allow]]\ndetector = {}\nentity = {}\n{}{}reason = {}\nowner = {}\nexpires = {expires}\n",
            quoted(detector),
            quoted(entity),
            line("peer", &peers),
            line("port", &ports),
            quoted(why),
            quoted(owner),
        ));
        if peak > 0 {
            let most = peak.saturating_mul(ROOM).min(i64::MAX as u64);
            text.push_str(&format!("max_packets_per_s = {most} # twice what was measured\n"));
        }
    }
    Ok(text)
}

/// A TOML basic string. JSON's escapes are a part of TOML's; characters that a
/// terminal obeys are escaped too.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let escaped = json.chars().map(|letter| match crate::output::printable::is_obeyed(letter) {
        true => format!("\\u{:04X}", u32::from(letter)),
        false => letter.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use toml::de::{DeTable, DeValue};

    use super::*;

    #[test]
    fn a_draft_reads_back_whatever_is_in_it() {
        let why = "nightly \"backup\"\n[[allow]]\u{7f}\u{202e}\u{1b}[2J";
        let alert = json!({
            "detector": "udp_flood", "entity": {"id": "10.0.0.1"},
            "evidence": {"peak": {"packets_per_s": 20_440}},
        });
        let act = Act { alert, parts: Vec::new() };
        let draft = entries(&act, why, "ops", 1_795_266_783_000_000_000, true).unwrap();
        assert!(draft.contains("expires = 2027-02-19\n"), "{draft}");
        assert!(!draft.contains('\u{1b}') && !draft.contains('\u{202e}'), "{draft}");
        let parsed = DeTable::parse(&draft).unwrap();
        let DeValue::Array(allowed) = parsed.get_ref()["allow"].get_ref() else { panic!() };
        assert_eq!(allowed.len(), 1);
        let DeValue::Table(entry) = allowed[0].get_ref() else { panic!() };
        let DeValue::String(reason) = entry["reason"].get_ref() else { panic!() };
        assert_eq!(reason, why);
        let DeValue::Integer(most) = entry["max_packets_per_s"].get_ref() else { panic!() };
        assert_eq!(most.as_str(), "40880");
    }

    #[test]
    fn an_entity_is_named_by_what_stays_the_same_of_it() {
        let mut alert = json!({
            "detector": "x", "entity": {"id": "boot:7:8"},
            "case": {"baseline_key": "process:web:/usr/bin/rsync:"},
        });
        let of = |alert: &Value| {
            let act = Act { alert: alert.clone(), parts: Vec::new() };
            entries(&act, "why", "me", 0, false).unwrap()
        };
        assert!(of(&alert).contains("entity = \"process:web:/usr/bin/rsync:\""));
        alert["case"]["baseline_key"] = json!("address:10.0.0.1");
        alert["entity"]["id"] = json!("10.0.0.1");
        assert!(of(&alert).contains("entity = \"10.0.0.1\""));
    }

    #[test]
    fn a_draft_is_for_the_few_peers_and_ports_of_the_alert_alone() {
        let alert = |peers: &[&str], counted: u64, shape: &str, ports: Value| {
            let peer = |ip: &&str| json!({"address": ip, "role": "destination"});
            let mut peers: Vec<Value> = peers.iter().map(peer).collect();
            peers.push(json!({"address": "203.0.113.1", "role": "source"}));
            let evidence = json!({
                "distinct_destinations": counted, "shape": shape, "peak": {},
                "details": {"destination_ports": ports},
            });
            json!({"detector": "egress", "entity": {"id": "10.0.0.1"}, "peers": peers,
                   "evidence": evidence})
        };
        let towards = |alert: &Value| -> Vec<String> {
            let act = Act { alert: alert.clone(), parts: Vec::new() };
            let draft = entries(&act, "why", "me", 0, false).unwrap();
            assert!(DeTable::parse(&draft).is_ok(), "{draft}");
            let is_it = |line: &&str| line.starts_with("peer = ") || line.starts_with("port = ");
            draft.lines().filter(is_it).map(str::to_owned).collect()
        };
        let one = alert(&["192.0.2.5"], 1, "one_to_one", json!([443]));
        assert_eq!(towards(&one), ["peer = \"192.0.2.5\"", "port = 443"]);
        let two = alert(&["192.0.2.5", "192.0.2.6"], 2, "one_to_many", json!([80, 443]));
        assert_eq!(towards(&two), ["peer = [\"192.0.2.5\", \"192.0.2.6\"]", "port = [80, 443]"]);
        // Many, or more than are named, or none.
        let many = alert(&["192.0.2.5"; 5], 5, "one_to_many", json!([1, 2, 3, 4, 5]));
        let more = alert(&["192.0.2.5", "192.0.2.6"], 3, "one_to_many", Value::Null);
        let not_counted = alert(&["192.0.2.5"], 1, "one_to_many", Value::Null);
        let none = alert(&[], 1, "many_to_one", Value::Null);
        for whole in [&many, &more, &not_counted, &none] {
            assert_eq!(towards(whole), Vec::<String>::new(), "{whole}");
        }
        let mut egress = more;
        egress["evidence"]["details"]["destinations"] = json!(["192.0.2.5"]);
        assert_eq!(towards(&egress), ["peer = \"192.0.2.5\""], "what others got is little");
        let mut flood = none;
        for (share, found) in [(0.95, &["port = 443"][..]), (0.7, &[])] {
            flood["evidence"]["top_destination_port"] = json!({"port": 443, "share": share});
            assert_eq!(towards(&flood), found);
        }
    }

    #[test]
    fn each_detector_that_saw_it_has_an_entry_and_none_twice() {
        let of = |detector: &str, entity: &str, peak: u64, also: &[&str]| {
            json!({
                "detector": detector, "entity": {"id": entity},
                "evidence": {"peak": {"packets_per_s": peak}, "also_seen": also},
            })
        };
        let act = Act {
            alert: of("udp_flood", "10.0.0.81", 1_200, &["fragment_flood"]),
            parts: vec![
                of("egress", "10.0.0.81", 1_300, &[]),
                of("udp_flood", "10.0.0.81", 1_500, &[]),
                json!({"detector": "data_ratio", "entity": {"id": "10.0.0.81"}}),
                json!({"detector": "x"}),
            ],
        };
        let draft = entries(&act, "why", "me", 0, false).unwrap();
        let lines = |start: &str| -> Vec<&str> {
            draft.lines().filter_map(|line| line.strip_prefix(start)).collect()
        };
        assert_eq!(
            lines("detector = "),
            ["\"udp_flood\"", "\"fragment_flood\"", "\"egress\"", "\"data_ratio\""],
            "{draft}"
        );
        assert_eq!(lines("entity = "), ["\"10.0.0.81\""; 4]);
        let bounds = lines("max_packets_per_s = ");
        assert!(
            bounds[0].starts_with("3000 ")
                && bounds[2].starts_with("2600 ")
                && bounds[3].starts_with("2400 "),
            "{bounds:?}"
        );
        assert!(entries(&Act { alert: json!({}), parts: Vec::new() }, "", "", 0, false).is_err());
    }
}

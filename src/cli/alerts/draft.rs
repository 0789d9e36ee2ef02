//! A draft `[[allow]]` entry for an alert: as the configuration file has it, with the
//! narrowest entity, an end, and a bound beyond which it alerts again.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// Days until somebody has to look again.
const DAYS: i64 = 90;

/// Of what was measured: an everyday day may be twice as busy, an attack that hides
/// behind the entry is more.
const ROOM: u64 = 2;

/// The entry, ready to be put into a file by hand.
pub(super) fn entry(
    alert: &Value,
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
    let key = alert["case"]["baseline_key"].as_str();
    let entity = key
        .filter(|key| !key.starts_with("address:"))
        .or_else(|| alert["entity"]["id"].as_str())
        .context("the alert names no entity")?;
    let peak = alert["evidence"]["peak"]["packets_per_s"].as_u64().unwrap_or_default();
    let mut text = "# A draft: nothing is allowed until you put it into the configuration file\n\
                    # (`flowtap config check` reads it, SIGHUP takes it over).\n"
        .to_owned();
    if pseudonyms {
        text.push_str("# This run has pseudonyms: write the real name of the entity.\n");
    }
    text.push_str(&format!(
        "[[allow]]\ndetector = {}\nentity = {}\nreason = {}\nowner = {}\nexpires = {expires}\n",
        quoted(alert["detector"].as_str().unwrap_or("any")),
        quoted(entity),
        quoted(why),
        quoted(owner),
    ));
    if peak > 0 {
        let most = peak.saturating_mul(ROOM).min(i64::MAX as u64);
        text.push_str(&format!("max_packets_per_s = {most} # twice what was measured\n"));
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
        let draft = entry(&alert, why, "ops", 1_795_266_783_000_000_000, true).unwrap();
        assert!(draft.contains("expires = 2027-02-19\n"), "{draft}");
        assert!(!draft.contains('\u{1b}') && !draft.contains('\u{202e}'), "{draft}");
        let parsed = DeTable::parse(&draft).unwrap();
        let DeValue::Array(entries) = parsed.get_ref()["allow"].get_ref() else { panic!() };
        assert_eq!(entries.len(), 1);
        let DeValue::Table(entry) = entries[0].get_ref() else { panic!() };
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
        let of = |alert: &Value| entry(alert, "why", "me", 0, false).unwrap();
        assert!(of(&alert).contains("entity = \"process:web:/usr/bin/rsync:\""));
        alert["case"]["baseline_key"] = json!("address:10.0.0.1");
        alert["entity"]["id"] = json!("10.0.0.1");
        assert!(of(&alert).contains("entity = \"10.0.0.1\""));
    }
}

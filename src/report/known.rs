//! What is known of an alert's addresses, in words: instance, names, owner, lists,
//! and what is not known.

use serde_json::Value;

use super::detail::{Page, word};

/// Names of one address that are shown; the record has them all.
const SHOWN_NAMES: usize = 3;

/// Adds what is known of the entity's address.
pub(super) fn of_entity(page: &mut Page, record: &Value) {
    for (name, text) in facts_of_entity(record) {
        page.field(name, text);
    }
}

/// The same as names and values.
pub(super) fn facts_of_entity(record: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![("instance", instance(&record["instance"]))];
    facts.extend(context(&record["context"]));
    facts
}

/// What is known of a peer, behind its line.
pub(super) fn of_peer(peer: &Value) -> String {
    let of = instance(&peer["instance"]);
    let known = context(&peer["context"]).into_iter().map(|(name, text)| format!("{name} {text}"));
    let of = (!of.is_empty()).then(|| format!("instance {of}"));
    of.into_iter().chain(known).collect::<Vec<_>>().join("; ")
}

fn instance(instance: &Value) -> String {
    let mut text = word(&instance["id"]);
    for (field, before) in [
        ("name", ""),
        ("application", "application "),
        ("environment", ""),
        ("owner", "of "),
        ("purpose", ""),
        ("last_change", "changed "),
    ] {
        let value = word(&instance[field]);
        if !value.is_empty() {
            text.push_str(&format!(", {before}{value}"));
        }
    }
    if instance["shared_egress"] == true {
        text.push_str(", shared egress: others' traffic leaves by it");
    }
    text
}

fn context(context: &Value) -> Vec<(&'static str, String)> {
    if !context.is_object() {
        return Vec::new();
    }
    let absent = |what: &str| match context["absent"][what].as_str() {
        Some("no_source") => "not known: no file was given".to_owned(),
        Some("nothing_known") => "not known".to_owned(),
        Some(_) => "not known: its file has something that can't be read".to_owned(),
        None => String::new(),
    };
    let or_absent = |text: String, what| if text.is_empty() { absent(what) } else { text };
    let rows = |field: &str| context[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> = rows("names")
        .iter()
        .take(SHOWN_NAMES)
        .map(|name| {
            let source = word(&name["source"]);
            format!("{} ({source}, {})", word(&name["name"]), age(&name["age_ns"]))
        })
        .collect();
    let owner = &context["owner"];
    let owned = if owner.is_object() {
        let asn = owner["asn"].as_u64().map_or_else(String::new, |asn| format!(" AS{asn}"));
        format!("{}{asn} by {}", word(&owner["name"]), source(owner))
    } else {
        String::new()
    };
    let listed: Vec<String> = rows("reputation")
        .iter()
        .map(|row| {
            format!("{} as {} by {}", word(&row["matched"]), word(&row["category"]), source(row))
        })
        .collect();
    vec![
        ("called", or_absent(names.join(", "), "names")),
        ("owned by", or_absent(owned, "owner")),
        ("listed", or_absent(listed.join(", "), "reputation")),
    ]
}

fn source(of: &Value) -> String {
    let age = if of["later"] == true { "written later".to_owned() } else { age(&of["age_ns"]) };
    format!("{} ({age})", word(&of["file"]))
}

/// As coarse as it matters for trust in it.
fn age(ns: &Value) -> String {
    let s = ns.as_u64().unwrap_or_default() / 1_000_000_000;
    match s {
        0..120 => format!("{s} s old"),
        120..7_200 => format!("{} min old", s / 60),
        7_200..172_800 => format!("{} h old", s / 3_600),
        _ => format!("{} d old", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_has_its_source_and_age_and_what_is_not_says_so() {
        let peer = json!({
            "instance": {"id": "i-1", "owner": "team", "shared_egress": true},
            "context": {
                "names": [{"name": "x.example", "source": "dns", "age_ns": 90_000_000_000_u64}],
                "reputation": [
                    {"matched": "198.51.100.0/24", "category": "scanner", "file": "bad.csv",
                     "age_ns": 259_200_000_000_000_u64}
                ],
                "absent": {"owner": "no_source"}
            }
        });
        assert_eq!(
            of_peer(&peer),
            "instance i-1, of team, shared egress: others' traffic leaves by it; \
             called x.example (dns, 90 s old); owned by not known: no file was given; \
             listed 198.51.100.0/24 as scanner by bad.csv (3 d old)"
        );
        assert_eq!(of_peer(&json!({"address": "192.0.2.1"})), "");
    }
}

//! An alert in one sentence for people.

use jiff::Timestamp;
use serde_json::Value;

use super::{Alert, EntityKind, State};
use crate::detect::PeerRole;

/// From here on a count of addresses is an estimate.
const ESTIMATED_FROM: u64 = 32;

/// What happened, between whom, how much against which threshold, since when,
/// and how sure that is.
pub fn sentence(alert: &Alert) -> String {
    let text = told(alert) + &closed_as_allowed(alert);
    match &alert.part_of {
        Some(whole) => format!("{text} Part of what {} tells.", whole.detector),
        None => text,
    }
}

fn told(alert: &Alert) -> String {
    if let Some(case) = &alert.case {
        let beyond = alert.evidence.details.get("allowed").map(beyond).unwrap_or_default();
        return format!("{}{beyond}", case.summary);
    }
    let evidence = &alert.evidence;
    let (peak, rule) = (&evidence.peak, &evidence.rule);
    if alert.detector == "sensor_loss" {
        return format!(
            "Packets lost at {}: up to {} of 1,000 in a second (threshold {}), {} in all over {} s from {}; \
             everything else of that time is incomplete.",
            alert.entity.id,
            thousands(evidence.measured),
            thousands(rule.threshold),
            thousands(evidence.packets),
            thousands(evidence.active_seconds),
            seconds_text(alert.start_ns),
        );
    }
    let mut text = format!(
        "{} {} ({}): ",
        detector_words(&alert.detector),
        between(alert),
        evidence.direction.name()
    );
    let most = format!("{} packets/s and {}", thousands(peak.packets_per_s), bits(peak.bits_per_s));
    let same_unit = matches!(rule.unit, "packets/s" | "frames/s");
    if same_unit && evidence.measured == peak.packets_per_s {
        text.push_str(&format!("{most} at most, threshold {}", thousands(rule.threshold)));
    } else {
        text.push_str(&format!(
            "{} {}, threshold {}, at most {most}",
            thousands(evidence.measured),
            rule.unit,
            thousands(rule.threshold)
        ));
    }
    match evidence.answer_ratio {
        Some(ratio) if ratio > 0.0 => text.push_str(&format!(", answer ratio {ratio}")),
        // A refusal (RST) answers no connection.
        Some(_) if evidence.class == "tcp_syn" => text.push_str(", without SYN-ACK"),
        Some(_) => text.push_str(", unanswered"),
        None => {}
    }
    let sustained = if alert.state == State::Sustained { ", sustained" } else { "" };
    text.push_str(&format!(
        "; {} s from {}{sustained}; confidence {}{}.",
        thousands(evidence.active_seconds),
        seconds_text(alert.start_ns),
        alert.confidence,
        baseline_text(alert),
    ));
    if let Some(allowed) = evidence.details.get("allowed") {
        text.push_str(&beyond(allowed));
    }
    text
}

/// Why it can't be surer, where the baseline is why.
fn baseline_text(alert: &Alert) -> String {
    let detail = |name: &str| alert.evidence.details.get(name);
    match (detail("baseline_days"), detail("baseline_mature").and_then(Value::as_bool)) {
        (Some(_), Some(true)) => String::new(),
        (Some(days), _) => format!(" with a baseline of {days} days"),
        (None, _) => " without a baseline".to_owned(),
    }
}

/// Somebody allowed it while it was going on.
fn closed_as_allowed(alert: &Alert) -> String {
    let entry = alert.evidence.details.get("closed_as_allowed");
    entry.map_or_else(String::new, |entry| format!(" Closed: allowed by now {}.", leave(entry)))
}

/// Why, by whom and until when.
fn leave(entry: &Value) -> String {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("({}, by {}, until {})", text("reason"), text("owner"), text("expires"))
}

/// The alert is more than what somebody has allowed.
fn beyond(allowed: &Value) -> String {
    let bound = |name: &str| allowed.get(name).and_then(Value::as_u64).map(thousands);
    let bounds: Vec<String> = [
        bound("max_packets_per_s").map(|most| format!("{most} packets/s")),
        bound("max_bytes_per_minute").map(|most| format!("{most} bytes/minute")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let bounds = bounds.join(" or ");
    let by = leave(allowed);
    match allowed.get("volume_known").and_then(Value::as_bool) {
        Some(false) => {
            format!(" Up to {bounds} are allowed {by}, but how much it was is not known.")
        }
        _ => format!(" Beyond the {bounds} that are allowed {by}."),
    }
}

/// `tcp_synack_flood` as "TCP SYN-ACK flood".
fn detector_words(name: &str) -> String {
    let words: Vec<String> = name
        .split('_')
        .map(|word| match word {
            "synack" => "SYN-ACK".to_owned(),
            "tcp" | "udp" | "icmp" | "gre" | "ip" | "arp" | "syn" | "rst" | "fin" | "ack" => {
                word.to_uppercase()
            }
            _ => word.to_owned(),
        })
        .collect();
    let text = words.join(" ").replace("non IP", "non-IP");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// "from X to Y", with a count where one end is many.
fn between(alert: &Alert) -> String {
    let evidence = &alert.evidence;
    let entity = &alert.entity.id;
    if let Some(target) = alert.peers.iter().find(|peer| peer.role == PeerRole::Destination) {
        return if evidence.distinct_destinations > 1 {
            format!("from {entity} to {} addresses", about(evidence.distinct_destinations))
        } else {
            format!("from {entity} to {}", target.address)
        };
    }
    // A station is always the sender.
    if alert.entity.kind == EntityKind::Mac {
        let victim = evidence.details.get("victim").and_then(Value::as_str);
        return victim.map_or_else(
            || format!("from {entity}"),
            |victim| format!("from {entity} to {victim}"),
        );
    }
    match alert.peers.as_slice() {
        [source] if !evidence.spoofed_sources => format!("from {} to {entity}", source.address),
        [] if evidence.distinct_sources <= 1 => format!("at {entity}"),
        _ => {
            let forged = if evidence.spoofed_sources { ", likely spoofed," } else { "" };
            format!("from {} sources{forged} to {entity}", about(evidence.distinct_sources))
        }
    }
}

fn about(count: u64) -> String {
    let about = if count >= ESTIMATED_FROM { "about " } else { "" };
    format!("{about}{}", thousands(count))
}

/// Windows start at whole seconds: a fraction would say nothing.
pub(super) fn seconds_text(ns: i64) -> String {
    Timestamp::from_second(ns.div_euclid(1_000_000_000))
        .map_or_else(|_| super::time_text(ns), |time| time.to_string())
}

/// A length of time to two digits or more, in the largest unit that has them.
pub(crate) fn lasted(seconds: u64) -> String {
    match seconds {
        0..600 => format!("{seconds} s"),
        600..36_000 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn bits(bits_per_s: u64) -> String {
    let value = bits_per_s as f64;
    match bits_per_s {
        1_000_000_000.. => format!("{:.1} Gbit/s", value / 1e9),
        1_000_000.. => format!("{:.1} Mbit/s", value / 1e6),
        1_000.. => format!("{:.1} kbit/s", value / 1e3),
        _ => format!("{bits_per_s} bit/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bits(999), "999 bit/s");
        assert_eq!(bits(3_360_000), "3.4 Mbit/s");
    }

    #[test]
    fn detectors_are_named_as_people_write_them() {
        assert_eq!(detector_words("tcp_synack_flood"), "TCP SYN-ACK flood");
        assert_eq!(detector_words("non_ip_storm"), "Non-IP storm");
        assert_eq!(detector_words("carpet_bombing"), "Carpet bombing");
        assert_eq!(detector_words(""), "");
    }

    #[test]
    fn times_are_whole_seconds_and_estimates_say_so() {
        assert_eq!(seconds_text(1_795_266_783_000_000_000), "2026-11-21T13:13:03Z");
        assert_eq!(seconds_text(-1), "1969-12-31T23:59:59Z");
        assert_eq!(about(1), "1");
        assert_eq!(about(12_524), "about 12,524");
    }
}

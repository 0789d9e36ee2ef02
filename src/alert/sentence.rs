//! An alert in one sentence for people.

use super::{Alert, EntityKind, State, time_text};
use crate::detect::PeerRole;

/// What happened, to whom, how much, and how sure that is.
pub fn sentence(alert: &Alert) -> String {
    let evidence = &alert.evidence;
    let peak = &evidence.peak;
    let mut text = format!(
        "{} {}: {} ({}, {}) from {} for {} s, at most {} packets/s and {} at {}",
        alert.detector.replace('_', " "),
        entity_words(alert),
        evidence.class.replace('_', " "),
        evidence.direction.name(),
        evidence.shape.words(),
        time_text(alert.start_ns),
        evidence.active_seconds,
        thousands(peak.packets_per_s),
        bits(peak.bits_per_s),
        time_text(peak.time_ns),
    );
    let sources = thousands(evidence.distinct_sources);
    if evidence.spoofed_sources {
        text.push_str(&format!(", about {sources} sources, likely spoofed"));
    } else if evidence.distinct_sources > 1 {
        text.push_str(&format!(", {sources} sources"));
    }
    if let Some(ratio) = evidence.answer_ratio {
        text.push_str(&format!(", answer ratio {ratio}"));
    }
    text.push_str(&format!(
        "; {} {} reached {} {}; {}; confidence {} without a baseline.",
        evidence.rule.name.replace('_', " "),
        "threshold",
        thousands(evidence.rule.threshold),
        evidence.rule.unit,
        if alert.state == State::Sustained { "sustained" } else { "provisional" },
        alert.confidence,
    ));
    text
}

/// "of X", and who is at the other end when that is one.
fn entity_words(alert: &Alert) -> String {
    let mut words = alert.entity.id.clone();
    if let Some(target) = alert.peers.iter().find(|peer| peer.role == PeerRole::Destination) {
        words = format!("{words} to {}", target.address);
    } else if alert.peers.len() == 1 && alert.entity.kind != EntityKind::Mac {
        words = format!("{} to {words}", alert.peers[0].address);
    }
    words
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
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

fn bits(bits_per_s: u64) -> String {
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
}

//! Whether a program does what it usually does.
//!
//! Two measures of its baseline say so: the most packets that it sends in a second, and the
//! most of them in flows without an answer. Within both it is quiet. As many packets as
//! usual, of which far more than ever are without an answer, are a flood, or its server is
//! down: then they go where it went before, and the alert is informational.

use super::rates::Rates;
use crate::baseline::{Metric, Normal, Profile};

/// How far above its normal a program still is within it.
const WITHIN: f64 = 1.2;
/// So many times what it ever sent unanswered is no matter of retries: three tries of each
/// question are the most that resolvers and SNMP have by default.
const FAR: f64 = 4.0;
const DAY_S: i64 = 86_400;

/// What is usual of the program, and how this compares.
pub(super) struct Usual {
    /// Of the packets of its busiest second.
    pub(super) packets: Normal,
    pub(super) times_packets: f64,
    /// Of the unanswered ones; nothing where they were counted for less than half of the
    /// minutes, as in baselines of before they were.
    pub(super) unanswered: Option<Normal>,
    /// How many times the most that it ever sent unanswered.
    pub(super) times_unanswered: Option<f64>,
    /// Whether most goes to a destination that it knew before today; nothing where none
    /// gets most.
    pub(super) to_known: Option<bool>,
    /// There is enough of it to be a flood.
    silence_counts: bool,
}

impl Usual {
    /// Of several together: what one of them has at most, held against what one has.
    /// Nothing where too little is known.
    pub(super) fn of(
        profile: &Profile,
        rates: &Rates,
        second: i64,
        silence_floor: u64,
    ) -> Option<Self> {
        let packets = profile.normal(Metric::PeakPackets, second)?;
        let unanswered = profile
            .normal(Metric::PeakUnanswered, second)
            .filter(|unanswered| unanswered.minutes.saturating_mul(2) >= packets.minutes);
        let known = |(host, _)| {
            let known = profile.destination(&host);
            // What it learned today may be this.
            known.is_some_and(|known| known.first_day < second.div_euclid(DAY_S))
        };
        Some(Self {
            times_packets: packets.times_q99(rates.most as f64),
            times_unanswered: unanswered
                .map(|normal| rates.most_unanswered as f64 / normal.max.max(1.0)),
            packets,
            unanswered,
            to_known: rates.top_peer.filter(|_| rates.concentration() >= 0.5).map(known),
            silence_counts: rates.unanswered >= silence_floor,
        })
    }

    /// Far more than ever goes unanswered.
    pub(super) fn is_unheard(&self) -> bool {
        self.silence_counts && self.times_unanswered.is_some_and(|times| times >= FAR)
    }

    /// No more packets than usual.
    pub(super) fn as_many(&self) -> bool {
        self.times_packets <= WITHIN
    }

    /// As if a server did not answer any more: the same as ever, where it always sends.
    pub(super) fn as_if_down(&self) -> bool {
        self.as_many() && self.is_unheard() && self.to_known == Some(true)
    }
}

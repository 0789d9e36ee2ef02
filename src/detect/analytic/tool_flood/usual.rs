//! Whether a program does what it usually does.
//!
//! Two measures of its baseline say so: the most packets that it sends in a second, and the
//! most of them in flows without an answer. Within both it is quiet. As many packets as
//! usual, of which far more than ever are without an answer, are a flood, or its servers
//! are down: then they go where it went before, to one or to many, and the alert is
//! informational.

use super::rates::Rates;
use crate::baseline::{Metric, Normal, Profile, prefix_of};

/// How far above its normal a program still is within it.
const WITHIN: f64 = 1.2;
/// So many times what it ever sent unanswered is no matter of retries: three tries of each
/// question are the most that resolvers and SNMP have by default.
const FAR: f64 = 4.0;
/// So many in ten are nearly all: the rest are names looked up, and a try elsewhere.
const NEARLY_ALL_IN_TEN: u64 = 9;
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
    /// Most goes to one destination that it knew before today.
    to_known: bool,
    /// What nobody answers goes to destinations that it knew before today, however many.
    silence_to_known: bool,
    /// Hardly anything is answered.
    is_silence: bool,
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
        let known = |prefix| {
            let known = profile.destination_prefix(prefix);
            // What it learned today may be this.
            known.is_some_and(|known| known.first_day < second.div_euclid(DAY_S))
        };
        let silent = rates.silent.all().filter(|&(prefix, _)| known(prefix));
        let unanswered_to_known: u64 = silent.map(|(_, packets)| packets).sum();
        let most = rates.top_peer.filter(|_| rates.concentration() >= 0.5);
        let is_nearly_all = |part: u64, whole: u64| {
            whole > 0 && part.saturating_mul(10) >= whole.saturating_mul(NEARLY_ALL_IN_TEN)
        };
        Some(Self {
            times_packets: packets.times_q99(rates.most as f64),
            times_unanswered: unanswered
                .map(|normal| rates.most_unanswered as f64 / normal.max.max(1.0)),
            packets,
            unanswered,
            to_known: most.is_some_and(|(host, _)| known(prefix_of(&host))),
            silence_to_known: is_nearly_all(unanswered_to_known, rates.unanswered),
            is_silence: is_nearly_all(rates.unanswered, rates.packets),
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

    /// As if its servers did not answer any more: the same as ever, where it always sends.
    pub(super) fn as_if_down(&self) -> bool {
        self.as_many() && self.is_unheard() && self.silence_to_known
    }

    /// It goes where it always goes: to one destination, or to several that never answer.
    pub(super) fn same_place(&self) -> bool {
        self.to_known || self.is_silence && self.silence_to_known
    }
}

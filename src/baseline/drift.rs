//! How fast a normal may grow: what keeps slow poisoning slow.
//!
//! Of a mature profile each measure has a ceiling: yesterday's 99th percentile and a
//! share more. A minute above it is learned as if it lay there, and counted. So who
//! raises the traffic of an entity a little each day, to be normal when the attack
//! comes, takes weeks, and whoever looks at the profile sees minutes clipped. Days
//! without activity raise nothing.

use super::metric::Metric;
use super::wire::{Reader, Writer};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ceilings {
    /// The day that they are of.
    day: i64,
    /// By metric; 0 where there is none yet.
    most: [f32; Metric::COUNT],
    /// Values that lay above.
    pub(super) clipped: u64,
}

impl Ceilings {
    /// Whether ceilings of this day are to be set.
    pub(super) fn are_before(&self, day: i64) -> bool {
        self.day < day
    }

    /// Sets this day's by the 99th percentiles so far.
    pub(super) fn raise(&mut self, day: i64, growth: f64, q99: impl Fn(Metric) -> Option<f64>) {
        self.day = day;
        for metric in Metric::EVERY {
            let most = &mut self.most[metric as usize];
            let Some(q99) = q99(metric) else { continue };
            let grown = (q99 * growth).max(metric.small());
            let next = if *most > 0.0 { grown.min(f64::from(*most) * growth) } else { grown };
            *most = next.max(metric.small()) as f32;
        }
    }

    pub(super) fn clip(&mut self, metric: Metric, value: f64) -> f64 {
        let most = self.most(metric);
        if value <= most {
            return value;
        }
        self.clipped = self.clipped.saturating_add(1);
        most
    }

    /// Whether there is one.
    pub(super) fn has(&self, metric: Metric) -> bool {
        self.most[metric as usize] > 0.0
    }

    pub(super) fn most(&self, metric: Metric) -> f64 {
        match self.most[metric as usize] {
            0.0 => f64::INFINITY,
            most => f64::from(most),
        }
    }

    /// Somebody answers for what is normal now: the next day's begin anew.
    pub(super) fn lift(&mut self) {
        *self = Self { clipped: self.clipped, ..Self::default() };
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.signed(self.day);
        out.number(self.clipped);
        let set = |most: &f32| *most > 0.0;
        let mask = (0..).zip(&self.most).filter(|(_, most)| set(most)).map(|(at, _)| 1_u64 << at);
        out.number(mask.sum());
        self.most.iter().filter(|most| set(most)).for_each(|&most| out.short_real(most));
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let day = from.signed()?;
        let clipped = from.number()?;
        let mask = from.up_to((1 << Metric::COUNT) - 1)?;
        let mut most = [0.0; Metric::COUNT];
        for (at, most) in most.iter_mut().enumerate() {
            if mask >> at & 1 == 1 {
                *most = from.short_real().filter(|&most| most > 0.0)?;
            }
        }
        Some(Self { day, most, clipped })
    }
}

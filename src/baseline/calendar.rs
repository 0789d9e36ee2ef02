//! The days on which an entity was active, and how long it was quiet before.

use super::wire::{Reader, Writer};

const DAY_S: i64 = 86_400;
/// A pause from here on ends a stretch of activity: what works once an hour is not
/// dormant in between.
const PAUSE_S: i64 = 2 * 3600;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calendar {
    pub(super) first_s: Option<i64>,
    pub(super) last_s: i64,
    /// Bit 0 is the last day, bit 63 the one 63 days before.
    days: u64,
    /// The pause before the stretch of activity at hand, and when that began.
    pause_s: i64,
    woke_s: i64,
}

impl Calendar {
    pub(super) fn mark(&mut self, at_s: i64) {
        let Some(first_s) = self.first_s else {
            *self = Self { first_s: Some(at_s), last_s: at_s, days: 1, pause_s: 0, woke_s: at_s };
            return;
        };
        // What comes late is no new day.
        let later = day(at_s).saturating_sub(day(self.last_s)).max(0);
        self.days = u32::try_from(later).ok().and_then(|by| self.days.checked_shl(by)).unwrap_or(0);
        self.days |= 1;
        let pause_s = at_s.saturating_sub(self.last_s);
        if pause_s >= PAUSE_S {
            (self.pause_s, self.woke_s) = (pause_s, at_s);
        }
        self.first_s = Some(first_s.min(at_s));
        self.last_s = self.last_s.max(at_s);
    }

    /// Days between the first and the last activity.
    pub(super) fn days(&self) -> f64 {
        let first_s = self.first_s.unwrap_or(self.last_s);
        self.last_s.saturating_sub(first_s) as f64 / DAY_S as f64
    }

    /// Of the last 64 days.
    pub(super) fn active_days(&self) -> u32 {
        self.days.count_ones()
    }

    pub(super) fn was_active_on(&self, on: i64) -> bool {
        let before = day(self.last_s).saturating_sub(on);
        u32::try_from(before).is_ok_and(|by| self.days.checked_shr(by).unwrap_or(0) & 1 == 1)
    }

    /// The pause before the present stretch of activity, and when that began.
    pub(super) fn woke(&self) -> Option<(i64, i64)> {
        (self.pause_s > 0).then_some((self.pause_s, self.woke_s))
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let (Some(mine), Some(theirs)) = (self.first_s, other.first_s) else {
            if self.first_s.is_none() {
                self.clone_from(other);
            }
            return;
        };
        let last = day(self.last_s).max(day(other.last_s));
        let aligned = |calendar: &Self| {
            let by = u32::try_from(last.saturating_sub(day(calendar.last_s))).ok();
            by.and_then(|by| calendar.days.checked_shl(by)).unwrap_or(0)
        };
        self.days = aligned(self) | aligned(other);
        if (other.woke_s, other.pause_s) > (self.woke_s, self.pause_s) {
            (self.pause_s, self.woke_s) = (other.pause_s, other.woke_s);
        }
        self.first_s = Some(mine.min(theirs));
        self.last_s = self.last_s.max(other.last_s);
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.byte(self.first_s.is_some().into());
        out.signed(self.first_s.unwrap_or(0));
        out.signed(self.last_s);
        out.number(self.days);
        out.signed(self.pause_s);
        out.signed(self.woke_s);
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let known = from.byte()? != 0;
        let first_s = from.signed()?;
        Some(Self {
            first_s: known.then_some(first_s),
            last_s: from.signed()?,
            days: from.number()?,
            pause_s: from.signed()?,
            woke_s: from.signed()?,
        })
    }
}

pub(super) fn day(at_s: i64) -> i64 {
    at_s.div_euclid(DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_pauses_are_remembered() {
        let mut calendar = Calendar::default();
        for on in [1_000, 1_001, 1_010] {
            for minute in 0..10 {
                calendar.mark(on * DAY_S + minute * 60);
            }
        }
        assert_eq!(calendar.active_days(), 3);
        let active = [1_000, 1_001, 1_010].map(|on| calendar.was_active_on(on));
        assert_eq!(active, [true; 3]);
        assert!(![999, 1_005, 1_011].iter().any(|&on| calendar.was_active_on(on)));
        assert_eq!(calendar.woke(), Some((9 * DAY_S - 540, 1_010 * DAY_S)));
        calendar.mark(2_000 * DAY_S);
        assert_eq!(calendar.active_days(), 1);
    }
}

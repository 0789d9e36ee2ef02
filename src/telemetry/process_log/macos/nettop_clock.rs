//! Times of day in an unknown zone, as times.

const NS_PER_DAY: i64 = 86_400_000_000_000;
/// Zones are whole quarters of an hour off UTC.
const QUARTER_NS: i64 = 900_000_000_000;

/// Follows a clock of which one time is known.
#[derive(Default)]
pub(super) struct Clock {
    /// Not before this the next row is, and less than a quarter of an hour after it.
    begins_ns: Option<i64>,
    /// Time of day, and time, of the last row that had one.
    last: Option<(i64, i64)>,
    /// Of rows without a time of day.
    now_ns: Option<i64>,
}

impl Clock {
    /// The next row comes after this.
    pub(super) fn set(&mut self, time_ns: i64) {
        self.begins_ns = Some(time_ns);
        self.now_ns = Some(time_ns);
        self.last = None;
    }

    /// The last of these is the last row at or before `end_ns`.
    pub(super) fn set_last(&mut self, end_ns: i64, clocks: impl Iterator<Item = Option<i64>>) {
        let mut first_last = None;
        let mut passed_ns = 0_i64;
        for clock_ns in clocks.flatten() {
            let (first, last) = first_last.unwrap_or((clock_ns, clock_ns));
            passed_ns = passed_ns.saturating_add(between(last, clock_ns));
            first_last = Some((first, clock_ns));
        }
        self.now_ns = Some(end_ns);
        let Some((first, last)) = first_last else { return };
        let age_ns = (end_ns.rem_euclid(NS_PER_DAY) - last).rem_euclid(QUARTER_NS);
        let first_ns = end_ns.saturating_sub(age_ns).saturating_sub(passed_ns);
        self.last = Some((first, first_ns));
    }

    /// The time of a row; nothing where no date is known.
    pub(super) fn time_ns(&mut self, clock_ns: Option<i64>) -> Option<i64> {
        let Some(clock_ns) = clock_ns else { return self.now_ns };
        let time_ns = match (self.last, self.begins_ns) {
            (Some((last, time_ns)), _) => time_ns.saturating_add(between(last, clock_ns)),
            (None, Some(begins_ns)) => {
                let ahead_ns = clock_ns - begins_ns.rem_euclid(NS_PER_DAY);
                begins_ns.saturating_add(ahead_ns.rem_euclid(QUARTER_NS))
            }
            (None, None) => return None,
        };
        self.last = Some((clock_ns, time_ns));
        self.now_ns = Some(time_ns);
        Some(time_ns)
    }
}

/// From one time of day to another, whichever way is shorter: rows of a sample are not
/// in order, and a day ends between two.
fn between(from_ns: i64, to_ns: i64) -> i64 {
    let half = NS_PER_DAY / 2;
    (to_ns - from_ns + half).rem_euclid(NS_PER_DAY) - half
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    /// 2026-03-01T10:15:00Z, and that time of day.
    const T: i64 = 1_772_360_100 * S;
    const AT: i64 = 36_900 * S;

    #[test]
    fn a_date_before_gives_the_zone() {
        for zone_s in [0, 3600, -18_000, 20_700] {
            let mut clock = Clock::default();
            clock.set(T);
            let shown = (AT + zone_s * S).rem_euclid(NS_PER_DAY);
            assert_eq!(clock.time_ns(Some(shown + 2 * S)), Some(T + 2 * S));
            assert_eq!(clock.time_ns(Some(shown + S)), Some(T + S));
            assert_eq!(clock.time_ns(None), Some(T + S));
        }
    }

    #[test]
    fn midnight_is_passed() {
        let mut clock = Clock::default();
        clock.set(T);
        let before = NS_PER_DAY - 300 * S;
        assert_eq!(clock.time_ns(Some(before)), Some(T + 600 * S));
        assert_eq!(clock.time_ns(Some(5 * S)), Some(T + 905 * S));
    }

    #[test]
    fn without_a_date_the_last_row_is_when_the_file_was_changed() {
        let mut clock = Clock::default();
        assert_eq!(clock.time_ns(Some(AT)), None);
        let hour = 3600 * S;
        clock.set_last(T, [AT + hour - 12 * S, AT + hour - 2 * S].into_iter().map(Some));
        assert_eq!(clock.time_ns(Some(AT + hour - 12 * S)), Some(T - 12 * S));
        assert_eq!(clock.time_ns(Some(AT + hour - 2 * S)), Some(T - 2 * S));
    }
}

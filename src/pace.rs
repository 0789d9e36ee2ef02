//! When each packet is due, on a wire or on another time scale: arithmetic
//! alone, no clock and no network.
//!
//! A [`Speed`] is what the user asked for; a [`Pace`] turns time stamps and
//! lengths into moments on a clock of nanoseconds. Moments never run backward,
//! and each is worked out from the start of its run and never from the packet
//! before, so that rounding does not add up. Start at [`Pace::due_ns`].

use std::fmt;
use std::str::FromStr;

const NS_PER_S: f64 = 1e9;

/// Slowest and fastest factor: a day becomes 27 years, or 86 microseconds.
const FACTORS: std::ops::RangeInclusive<f64> = 1e-4..=1e9;

/// Rates: one packet (or bit) in about a quarter of an hour, up to more than
/// any interface takes.
const RATES_PER_S: std::ops::RangeInclusive<f64> = 1e-3..=1e15;

/// How fast frames leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// By the time stamps, this many times as fast.
    Times(f64),
    /// Bits a second of the frames as they are handed to the interface:
    /// without preamble, frame check sequence and gap.
    BitsPerSecond(f64),
    PacketsPerSecond(f64),
    /// As fast as the interface takes them.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        if lower == "max" {
            return Ok(Self::Max);
        }
        let bad = || {
            format!("'{text}' is no speed: try 1x, 0.5x, max, 100Mbps, 64kbps, 50000pps or 50kpps")
        };
        let unit_at = lower.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
        let (number, unit) = lower.split_at(unit_at);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let speed = match unit {
            "x" => Self::Times(number),
            "bps" => Self::BitsPerSecond(number),
            "kbps" => Self::BitsPerSecond(number * 1e3),
            "mbps" => Self::BitsPerSecond(number * 1e6),
            "gbps" => Self::BitsPerSecond(number * 1e9),
            "pps" => Self::PacketsPerSecond(number),
            "kpps" => Self::PacketsPerSecond(number * 1e3),
            "mpps" => Self::PacketsPerSecond(number * 1e6),
            _ => return Err(bad()),
        };
        match speed {
            Self::Times(factor) if !FACTORS.contains(&factor) => Err(format!(
                "'{text}' is out of range: use {}x to {}x",
                FACTORS.start(),
                FACTORS.end()
            )),
            Self::BitsPerSecond(rate) | Self::PacketsPerSecond(rate)
                if !RATES_PER_S.contains(&rate) =>
            {
                Err(format!(
                    "'{text}' is out of range: use {} to {} a second",
                    RATES_PER_S.start(),
                    RATES_PER_S.end()
                ))
            }
            speed => Ok(speed),
        }
    }
}

/// In the form that is read back as the same speed.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(factor) => write!(f, "{factor}x"),
            Self::BitsPerSecond(rate) => write!(f, "{rate}bps"),
            Self::PacketsPerSecond(rate) => write!(f, "{rate}pps"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// The moments of a run of packets.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    start_ns: u64,
    first_time_ns: i64,
    /// Packets, or bits, that were due before.
    units: u64,
    previous_due_ns: u64,
}

impl Pace {
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, start_ns: 0, first_time_ns: 0, units: 0, previous_due_ns: 0 }
    }

    /// Begins a run: the packet stamped `first_time_ns` is due at `start_ns`.
    pub(crate) fn begin(&mut self, start_ns: u64, first_time_ns: i64) {
        self.start_ns = start_ns;
        self.first_time_ns = first_time_ns;
        self.units = 0;
        self.previous_due_ns = start_ns;
    }

    /// Begins the next round over the same packets without a pause: by time
    /// stamps its first packet is due together with the last one of the round
    /// before; a rate just goes on.
    pub(crate) fn go_on(&mut self, first_time_ns: i64) {
        if matches!(self.speed, Speed::Times(_)) {
            self.begin(self.previous_due_ns, first_time_ns);
        }
    }

    /// When the next packet is due; `None` as soon as there is room for it.
    /// A stamp before that of an earlier packet does not hurry it.
    pub(crate) fn due_ns(&mut self, time_ns: i64, bytes: u64) -> Option<u64> {
        let (after_ns, units) = match self.speed {
            Speed::Times(factor) => {
                let elapsed_ns = time_ns.saturating_sub(self.first_time_ns).max(0);
                (elapsed_ns as f64 / factor, 0)
            }
            Speed::BitsPerSecond(rate) => {
                (self.units as f64 / rate * NS_PER_S, bytes.saturating_mul(8))
            }
            Speed::PacketsPerSecond(rate) => (self.units as f64 / rate * NS_PER_S, 1),
            Speed::Max => return None,
        };
        self.units = self.units.saturating_add(units);
        // Rounded up, never early; a float beyond the range becomes its end.
        let due_ns = self.start_ns.saturating_add(after_ns.ceil() as u64);
        self.previous_due_ns = self.previous_due_ns.max(due_ns);
        Some(self.previous_due_ns)
    }
}

/// The next moment of a wall clock, at least `notice_ns` after `wall_ns`, at
/// which it stands as far into its second as `time_ns` does. In nanoseconds
/// from `wall_ns`.
pub(crate) fn until_phase_ns(wall_ns: i64, time_ns: i64, notice_ns: u64) -> u64 {
    const SECOND_NS: i64 = 1_000_000_000;

    let earliest_ns = wall_ns.saturating_add_unsigned(notice_ns);
    let phase = |ns: i64| ns.rem_euclid(SECOND_NS);
    let more_ns = (phase(time_ns) - phase(earliest_ns)).rem_euclid(SECOND_NS);
    notice_ns.saturating_add(more_ns.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn speed(text: &str) -> Speed {
        text.parse().unwrap()
    }

    #[test]
    fn speeds_are_read_as_people_write_them() {
        assert_eq!(speed("1x"), Speed::Times(1.0));
        assert_eq!(speed("0.5x"), Speed::Times(0.5));
        assert_eq!(speed("10X"), Speed::Times(10.0));
        assert_eq!(speed("max"), Speed::Max);
        assert_eq!(speed("100Mbps"), Speed::BitsPerSecond(1e8));
        assert_eq!(speed("1.5gbps"), Speed::BitsPerSecond(1.5e9));
        assert_eq!(speed("50000pps"), Speed::PacketsPerSecond(50_000.0));
        assert_eq!(speed("50kpps"), Speed::PacketsPerSecond(50_000.0));
    }

    #[test]
    fn what_is_no_speed_is_refused_with_an_example() {
        for bad in
            ["", "x", "1", "-1x", "0x", "0pps", "NaNx", "infx", "1e400x", "5 x", "10MB", "fast"]
        {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
        assert!("7".parse::<Speed>().unwrap_err().contains("50000pps"));
        assert!("0x".parse::<Speed>().unwrap_err().contains("out of range"));
    }

    #[test]
    fn time_stamps_set_the_pace_whatever_their_epoch() {
        let mut pace = Pace::new(Speed::Times(10.0));
        pace.begin(1_000, 5_000_000_000);
        assert_eq!(pace.due_ns(5_000_000_000, 60), Some(1_000));
        assert_eq!(pace.due_ns(6_000_000_000, 60), Some(100_001_000));
        // Back in time: at once, and later packets keep their place.
        assert_eq!(pace.due_ns(5_500_000_000, 60), Some(100_001_000));
        assert_eq!(pace.due_ns(7_000_000_000, 60), Some(200_001_000));
    }

    #[test]
    fn a_rate_in_bits_makes_long_frames_wait_longer() {
        let mut pace = Pace::new(Speed::BitsPerSecond(8e6));
        pace.begin(0, 0);
        // A byte takes a microsecond.
        assert_eq!(pace.due_ns(0, 1_000), Some(0));
        assert_eq!(pace.due_ns(0, 64), Some(1_000_000));
        assert_eq!(pace.due_ns(0, 64), Some(1_064_000));
    }

    #[test]
    fn rounds_follow_each_other_without_a_pause() {
        let mut pace = Pace::new(Speed::Times(1.0));
        pace.begin(100, 0);
        pace.due_ns(0, 60);
        assert_eq!(pace.due_ns(700, 60), Some(800));
        pace.go_on(0);
        assert_eq!(pace.due_ns(0, 60), Some(800));
        assert_eq!(pace.due_ns(700, 60), Some(1_500));

        let mut pace = Pace::new(Speed::PacketsPerSecond(1e9));
        pace.begin(100, 0);
        assert_eq!(pace.due_ns(0, 60), Some(100));
        pace.go_on(0);
        assert_eq!(pace.due_ns(0, 60), Some(101));
    }

    #[test]
    fn as_fast_as_possible_is_due_at_no_moment() {
        let mut pace = Pace::new(Speed::Max);
        pace.begin(5, 0);
        assert_eq!(pace.due_ns(1, 60), None);
    }

    proptest! {
        #[test]
        fn any_speed_is_read_back_from_its_text(factor in 1e-4..=1e9f64, rate in 1e-3..=1e15f64) {
            for speed in [
                Speed::Times(factor), Speed::BitsPerSecond(rate), Speed::PacketsPerSecond(rate),
                Speed::Max,
            ] {
                prop_assert_eq!(speed.to_string().parse(), Ok(speed));
            }
        }

        #[test]
        fn no_text_makes_reading_a_speed_fail_badly(text in "\\PC{0,12}") {
            if let Ok(speed) = text.parse::<Speed>() {
                prop_assert_eq!(speed.to_string().parse(), Ok(speed));
            }
        }

        /// Held against exact integers.
        #[test]
        fn packet_rates_do_not_drift(rate in 1u64..10_000_000, packets in 1u64..5_000) {
            let mut pace = Pace::new(Speed::PacketsPerSecond(rate as f64));
            pace.begin(0, 0);
            let mut due_ns = 0;
            for _ in 0..packets {
                due_ns = pace.due_ns(0, 60).unwrap();
            }
            let exact_ns = (packets - 1) * 1_000_000_000 / rate;
            prop_assert!(due_ns.abs_diff(exact_ns) <= 1, "{due_ns} for {exact_ns}");
        }

        #[test]
        fn moments_never_run_backward_nor_overflow(
            speed in prop_oneof![
                Just(Speed::Times(1e-4)), Just(Speed::Times(1.0)), Just(Speed::BitsPerSecond(1e-3)),
                Just(Speed::PacketsPerSecond(1e-3)),
            ],
            start_ns: u64,
            first_ns: i64,
            packets in prop::collection::vec((any::<i64>(), any::<u64>()), 1..50),
        ) {
            let mut pace = Pace::new(speed);
            pace.begin(start_ns, first_ns);
            let mut previous_ns = start_ns;
            for (time_ns, bytes) in packets {
                let due_ns = pace.due_ns(time_ns, bytes).unwrap();
                prop_assert!(due_ns >= previous_ns);
                previous_ns = due_ns;
            }
        }

        #[test]
        fn a_phase_is_met_within_a_second_after_the_notice(
            wall_ns in 0i64..i64::MAX / 2, time_ns: i64, notice_ns in 0u64..5_000_000_000,
        ) {
            let wait_ns = until_phase_ns(wall_ns, time_ns, notice_ns);
            prop_assert!((notice_ns..notice_ns + 1_000_000_000).contains(&wait_ns));
            let start_ns = wall_ns + wait_ns as i64;
            prop_assert_eq!(start_ns.rem_euclid(1_000_000_000), time_ns.rem_euclid(1_000_000_000));
        }
    }
}

//! The beacon score of RITA v5 (METHODS 5): how regular are connections between two.
//!
//! score = (timing + sizes + duration + histogram) / 4, each from 0 to 1, rounded to three
//! places where RITA rounds. Whatever order connections are given in, the score is the
//! same: they are sorted first.

/// Bars of the histogram, over the whole time that was looked at.
const BARS: usize = 24;
/// Bars in use before duration and the fit to two modes are looked at.
const DURATION_BARS: usize = 6;
const BIMODAL_BARS: usize = 11;
/// Bars in a row that are as good as always.
const IDEAL_RUN: f64 = 12.0;
/// Bars that differ by less than this share of the highest are of one height.
const MODE_WIDTH: f64 = 0.05;

/// The parts and their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Beacon {
    pub timing: f64,
    pub sizes: f64,
    pub duration: f64,
    pub histogram: f64,
    pub score: f64,
    /// Median of the intervals in seconds.
    pub interval_s: f64,
}

/// Scores connections by their start in seconds and the bytes sent in each, within a
/// time from `first_s` to `last_s`; nothing with fewer than three intervals.
pub(super) fn score(connections: &[(i64, u64)], (first_s, last_s): (i64, i64)) -> Option<Beacon> {
    let mut starts: Vec<i64> = connections.iter().map(|&(start, _)| start).collect();
    starts.sort_unstable();
    let mut intervals: Vec<f64> = starts
        .windows(2)
        .filter_map(|pair| Some((pair.last()? - pair.first()?) as f64))
        .filter(|&interval| interval > 0.0)
        .collect();
    intervals.sort_by(f64::total_cmp);
    if intervals.len() < 3 || last_s <= first_s {
        return None;
    }
    let mut bytes: Vec<f64> = connections.iter().map(|&(_, bytes)| bytes as f64).collect();
    bytes.sort_by(f64::total_cmp);
    let bars = bars(&starts, (first_s, last_s));
    let timing = regularity(&intervals, 1.0);
    let sizes = regularity(&bytes, 0.0);
    let histogram = flatness(&bars).max(bimodality(&bars));
    let first = starts.first().copied().unwrap_or(first_s);
    let last = starts.last().copied().unwrap_or(first_s);
    let coverage = (last - first) as f64 / (last_s - first_s) as f64;
    let duration = duration(&bars, coverage);
    let score = round3((timing + sizes + duration + histogram) / 4.0);
    Some(Beacon { timing, sizes, duration, histogram, score, interval_s: median(&intervals) })
}

/// Mean of symmetry (Bowley) and closeness to the median (MAD).
fn regularity(sorted: &[f64], when_tiny: f64) -> f64 {
    let median_value = median(sorted);
    let half = sorted.len() / 2;
    let lower = median(sorted.get(..half).unwrap_or_default());
    let upper = median(sorted.get(sorted.len() - half..).unwrap_or_default());
    let width = upper - lower;
    // Of a quartile that is the median itself the skew says nothing.
    let skewed = width >= 10.0 && median_value != lower && median_value != upper;
    let skew = if skewed { (lower + upper - 2.0 * median_value) / width } else { 0.0 };
    let mut off: Vec<f64> = sorted.iter().map(|value| (value - median_value).abs()).collect();
    off.sort_by(f64::total_cmp);
    let close = match median_value >= 1.0 {
        true => ((median_value - median(&off)) / median_value).max(0.0),
        false => when_tiny,
    };
    round3((1.0 - skew.abs() + close) / 2.0)
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => at(middle),
        _ => (at(middle - 1) + at(middle)) / 2.0,
    }
}

fn bars(starts: &[i64], (first_s, last_s): (i64, i64)) -> [u64; BARS] {
    let mut bars = [0; BARS];
    let step = (last_s - first_s) as f64 / BARS as f64;
    for &start in starts {
        let at = libm::floor((start - first_s) as f64 / step).max(0.0) as usize;
        if let Some(bar) = bars.get_mut(at.min(BARS - 1)) {
            *bar += 1;
        }
    }
    bars
}

/// 1 less the coefficient of variation.
fn flatness(bars: &[u64; BARS]) -> f64 {
    let mean = bars.iter().sum::<u64>() as f64 / BARS as f64;
    let square = |bar: u64| (bar as f64 - mean) * (bar as f64 - mean);
    let deviation = libm::sqrt(bars.iter().map(|&bar| square(bar)).sum::<f64>() / BARS as f64);
    let variation = deviation / mean.max(f64::MIN_POSITIVE);
    if variation > 1.0 { 0.0 } else { round3(1.0 - variation) }
}

/// Share of bars that have one of the two commonest heights, one outlier aside.
fn bimodality(bars: &[u64; BARS]) -> f64 {
    let used = bars.iter().filter(|&&bar| bar > 0).count();
    if used < BIMODAL_BARS {
        return 0.0;
    }
    let highest = bars.iter().max().copied().unwrap_or(0);
    let width = (libm::ceil(highest as f64 * MODE_WIDTH) as u64).max(1);
    let mut heights = std::collections::BTreeMap::<u64, usize>::new();
    for bar in bars.iter().filter(|&&bar| bar > 0) {
        *heights.entry(bar / width).or_default() += 1;
    }
    let mut counts: Vec<usize> = heights.into_values().collect();
    counts.sort_unstable_by(|x, y| y.cmp(x));
    let two: usize = counts.iter().take(2).sum();
    round3(two as f64 / (used - 1).max(1) as f64).min(1.0)
}

/// The time covered, or the longest run of bars (around the end too).
fn duration(bars: &[u64; BARS], coverage: f64) -> f64 {
    let used = bars.iter().filter(|&&bar| bar > 0).count();
    if used < DURATION_BARS {
        return 0.0;
    }
    let (mut run, mut longest) = (0_usize, 0_usize);
    for bar in bars.iter().chain(bars) {
        run = if *bar > 0 { run + 1 } else { 0 };
        longest = longest.max(run.min(BARS));
    }
    let up = |value: f64| (libm::ceil(value * 1000.0) / 1000.0).clamp(0.0, 1.0);
    up(coverage).max(up(longest as f64 / IDEAL_RUN))
}

fn round3(value: f64) -> f64 {
    libm::round(value * 1000.0) / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: (i64, i64) = (0, 86_400);

    #[test]
    fn a_perfect_beacon_scores_one() {
        let beacon: Vec<(i64, u64)> = (0..1_440).map(|minute| (minute * 60, 512)).collect();
        let scored = score(&beacon, DAY).unwrap();
        assert_eq!((scored.score, scored.interval_s), (1.0, 60.0));
    }

    #[test]
    fn jitter_costs_little_and_chance_costs_much() {
        let jitter = |at: i64| at * 7_919 % 37;
        let beacon: Vec<(i64, u64)> =
            (0..480).map(|at| (at * 180 + jitter(at), 500 + jitter(at) as u64)).collect();
        let jittered = score(&beacon, DAY).unwrap();
        assert!(jittered.score > 0.9, "{jittered:?}");
        let (mut at_s, mut state) = (0, 1_u64);
        let chance: Vec<(i64, u64)> = (0..480)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let share = ((state >> 33) as f64 + 1.0) / f64::from(1_u32 << 31);
                at_s += (-180.0 * libm::log(share)) as i64;
                (at_s, state >> 48)
            })
            .collect();
        let by_chance = score(&chance, (0, at_s)).unwrap();
        assert!(by_chance.timing < 0.6 && by_chance.score < 0.8, "{by_chance:?}");
    }

    #[test]
    fn one_part_after_the_other_by_hand() {
        // Intervals 10, 20, 30, 60: Q1 15, Q2 25, Q3 45; skew 10 / 30; MAD of 15, 5, 5, 35: 10.
        let four = [(0, 1), (10, 1), (30, 1), (60, 1), (120, 1)];
        let scored = score(&four, DAY).unwrap();
        assert_eq!(scored.timing, round3((1.0 - 1.0 / 3.0 + 15.0 / 25.0) / 2.0));
        // One bar of 24: the deviation is 4.8 times the mean.
        assert_eq!((scored.sizes, scored.duration, scored.histogram), (1.0, 0.0, 0.0));
        assert_eq!(score(&four[..3], DAY), None);
        assert_eq!(score(&[(5, 1); 9], DAY), None);
    }

    #[test]
    fn two_heights_are_a_rhythm_too() {
        let mut bars = [0; BARS];
        bars.iter_mut().enumerate().for_each(|(at, bar)| *bar = if at % 2 == 0 { 10 } else { 100 });
        assert_eq!(bimodality(&bars), 1.0);
        assert!(flatness(&bars) < 0.3);
        assert_eq!(duration(&bars, 0.1), 1.0);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_scores_are_shares(
            mut connections in prop::collection::vec((0i64..86_400, 0u64..100_000), 5..200),
        ) {
            let one = score(&connections, DAY);
            connections.reverse();
            connections.rotate_left(2);
            prop_assert_eq!(one, score(&connections, DAY));
            if let Some(beacon) = one {
                for part in [beacon.timing, beacon.sizes, beacon.duration, beacon.histogram] {
                    prop_assert!((0.0..=1.0).contains(&part), "{:?}", beacon);
                }
            }
        }
    }
}

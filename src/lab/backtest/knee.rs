//! Where a curve bends: the knee.
//!
//! The method is that of Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a
//! Haystack" (2011): both axes are scaled to one, and the knee is the point with the
//! greatest distance from the chord between the curve's ends. Theirs also smooths and
//! looks for several; a sweep has a dozen points without noise, so that one is all there
//! is to find. On whichever side of the chord it is, the distance counts.

use serde::Serialize;

/// Under so many points a bend is no more than a choice of points.
pub const LEAST_POINTS: usize = 4;
/// Distance from the chord, as a share of the curve's whole rise, up to which a curve is
/// straight.
const STRAIGHT: f64 = 0.1;
/// And alerts off the chord, at least: one alert may fall on either side of a value.
const LEAST_ALERTS: f64 = 1.0;

/// The knee among the points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// Its place among the points, as they were given.
    pub at: usize,
    /// From the chord, as a share of the curve's rise.
    pub distance: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoKnee {
    TooFew,
    Flat,
    Straight,
}

impl NoKnee {
    pub fn text(self) -> &'static str {
        match self {
            Self::TooFew => "fewer than 4 different values",
            Self::Flat => "every value gives as many alerts",
            Self::Straight => "the curve is straight",
        }
    }
}

/// The knee of alerts over values, in whichever order they are given.
pub fn knee(points: &[(f64, f64)]) -> Result<Knee, NoKnee> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&x, &y| points[x].0.total_cmp(&points[y].0));
    order.dedup_by(|later, before| points[*later].0 == points[*before].0);
    let (Some(&first), Some(&last)) = (order.first(), order.last()) else {
        return Err(NoKnee::TooFew);
    };
    if order.len() < LEAST_POINTS {
        return Err(NoKnee::TooFew);
    }
    let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let (width, height) = (points[last].0 - points[first].0, most - least);
    if height <= 0.0 {
        return Err(NoKnee::Flat);
    }
    let mut best = Knee { at: first, distance: 0.0 };
    for at in order {
        let along = (points[at].0 - points[first].0) / width;
        let chord = points[first].1 + along * (points[last].1 - points[first].1);
        let distance = (points[at].1 - chord).abs() / height;
        if distance > best.distance {
            best = Knee { at, distance };
        }
    }
    if best.distance < STRAIGHT || best.distance * height < LEAST_ALERTS {
        return Err(NoKnee::Straight);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand: the chord from (1, 100) to (5, 0) is 75 at 2, 50 at 3 and 25 at
    /// 4; the curve is 65, 40 and 15 below it there.
    #[test]
    fn the_elbow_of_a_falling_curve_is_the_farthest_below_its_chord() {
        let found = knee(&[(1.0, 100.0), (2.0, 10.0), (3.0, 10.0), (4.0, 10.0), (5.0, 0.0)]);
        assert_eq!(found, Ok(Knee { at: 1, distance: 0.65 }));
    }

    /// The chord from (0, 20) to (40, 0) is 15, 10 and 5; the curve is 4, 9 and 4 above it.
    #[test]
    fn a_shoulder_is_the_farthest_above() {
        let found = knee(&[(0.0, 20.0), (10.0, 19.0), (20.0, 19.0), (30.0, 9.0), (40.0, 0.0)]);
        assert_eq!(found, Ok(Knee { at: 2, distance: 0.45 }));
    }

    #[test]
    fn values_count_by_their_size_and_not_by_their_order() {
        let found = knee(&[(5.0, 0.0), (2.0, 10.0), (1.0, 100.0), (4.0, 10.0), (3.0, 10.0)]);
        assert_eq!(found, Ok(Knee { at: 1, distance: 0.65 }));
    }

    #[test]
    fn without_a_bend_there_is_no_knee() {
        let line = [(1.0, 30.0), (2.0, 20.0), (3.0, 10.0), (4.0, 0.0)];
        assert_eq!(knee(&line), Err(NoKnee::Straight));
        // 2 of 30 off: under a tenth.
        assert_eq!(
            knee(&[(1.0, 30.0), (2.0, 18.0), (3.0, 10.0), (4.0, 0.0)]),
            Err(NoKnee::Straight)
        );
        // Two thirds of the rise, which is one alert: two thirds of an alert.
        assert_eq!(knee(&[(1.0, 1.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)]), Err(NoKnee::Straight));
        assert_eq!(knee(&[(1.0, 7.0), (2.0, 7.0), (3.0, 7.0), (4.0, 7.0)]), Err(NoKnee::Flat));
        assert_eq!(knee(&[(1.0, 9.0), (2.0, 1.0), (3.0, 0.0)]), Err(NoKnee::TooFew));
        assert_eq!(knee(&[(1.0, 9.0), (1.0, 9.0), (2.0, 1.0), (3.0, 0.0)]), Err(NoKnee::TooFew));
        assert_eq!(knee(&[]), Err(NoKnee::TooFew));
    }
}

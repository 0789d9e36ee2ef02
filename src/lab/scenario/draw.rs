//! Numbers drawn from distributions, and where those come from.
//!
//! - Sizes of web objects: lognormal with mu 9.357 and sigma 1.318, and above 133,000 bytes,
//!   which are 7 % of them, Pareto with 1.1; objects of a page: Pareto with 2.43. After SURGE
//!   (Barford and Crovella, SIGMETRICS 1998, pages 151 to 160), that models just these (file
//!   sizes, embedded references). *The figures are quoted from memory*: its abstract was
//!   looked up, its table of parameters was not to be had. Hold them for assumed.
//! - Starts of sessions: Poisson within an hour. Paxson and Floyd (IEEE/ACM ToN 3(3), 1995)
//!   found that of sessions that users begin (remote login, file transfer), and that other
//!   connections deviate from it considerably (the abstract, looked up); that it holds for
//!   pages of the web is assumed.
//! - Everything else is lognormal about a stated median with sigma 0.5 (95 % within a
//!   factor of 2.7): assumed. Paxson (IEEE/ACM ToN 2(4), 1994) has analytic models of TELNET,
//!   NNTP, SMTP and FTP connections (the abstract, looked up); that those of bytes are
//!   lognormal is quoted from memory. Which behaviour has which: [`super::ordinary`].
//!   `tests/lab/statistics.rs` holds what comes out against all of it.
//! - Which host or name: shares fall nearly as in Zipf's law. That accesses of names are
//!   heavy-tailed is in Jung, Sit, Balakrishnan and Morris (IEEE/ACM ToN 10(5), 2002; the
//!   abstract, looked up); the exponent, 1, is assumed.
//! - The curve of a day, [`DAY`], is a choice too: office hours, a dip at noon, a tenth at
//!   night.

use crate::lab::synth::Rng;

/// Share of the busiest hour, by hour of UTC.
pub const DAY: [f64; 24] = [
    0.10, 0.08, 0.07, 0.07, 0.08, 0.12, 0.25, 0.50, 0.85, 1.00, 1.00, 0.95, 0.75, 0.90, 1.00, 0.95,
    0.85, 0.65, 0.45, 0.35, 0.30, 0.25, 0.18, 0.12,
];

/// Spread of sizes for which nothing better is known.
const SIGMA: f64 = 0.5;

/// Largest object of a page: the tail has no mean that a capture of a day would reach.
const LARGEST_OBJECT_BYTES: f64 = 8e6;

pub trait Draw {
    fn exponential(&mut self, mean: f64) -> f64;
    fn normal(&mut self) -> f64;
    fn lognormal(&mut self, median: f64, sigma: f64) -> f64;
    /// Lognormal with the usual spread.
    fn about(&mut self, median: f64) -> f64;
    fn pareto(&mut self, least: f64, alpha: f64, most: f64) -> f64;
    /// Evenly from `mean * (1 - share)` to `mean * (1 + share)`.
    fn jittered(&mut self, mean: f64, share: f64) -> f64;
    fn web_object_bytes(&mut self) -> f64;
    fn page_objects(&mut self) -> u32;
    /// One of `count`, the first ones most often: rank k has the share
    /// ln(1 + 1/k) / ln(count + 1), which falls nearly as in Zipf's law with exponent 1.
    fn popular(&mut self, count: usize) -> usize;
}

impl Draw for Rng {
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle)
    }

    fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * libm::exp(sigma * self.normal())
    }

    fn about(&mut self, median: f64) -> f64 {
        self.lognormal(median, SIGMA)
    }

    fn pareto(&mut self, least: f64, alpha: f64, most: f64) -> f64 {
        (least / libm::pow(1.0 - self.unit(), 1.0 / alpha)).min(most)
    }

    fn jittered(&mut self, mean: f64, share: f64) -> f64 {
        mean * (1.0 + share * (2.0 * self.unit() - 1.0))
    }

    fn web_object_bytes(&mut self) -> f64 {
        if self.chance(93) {
            // The body ends where the tail begins.
            return self.lognormal(libm::exp(9.357), 1.318).min(133_000.0);
        }
        self.pareto(133_000.0, 1.1, LARGEST_OBJECT_BYTES)
    }

    fn page_objects(&mut self) -> u32 {
        self.pareto(1.0, 2.43, 60.0) as u32
    }

    fn popular(&mut self, count: usize) -> usize {
        let rank = libm::pow(count as f64 + 1.0, self.unit()) as usize;
        rank.clamp(1, count.max(1)) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * share) as usize]
    }

    fn drawn(mut draw: impl FnMut(&mut Rng) -> f64) -> Vec<f64> {
        let mut rng = Rng::new(11);
        (0..20_000).map(|_| draw(&mut rng)).collect()
    }

    fn is_near(value: f64, expected: f64, share: f64) {
        assert!((value / expected - 1.0).abs() < share, "{value} is not {expected}");
    }

    #[test]
    fn quantiles_are_those_of_the_stated_distributions() {
        // Of an exponential the median is mean * ln 2.
        is_near(quantile(drawn(|rng| rng.exponential(10.0)), 0.5), 6.931, 0.03);
        // One sigma above the median is quantile 0.8413.
        let sizes = drawn(|rng| rng.lognormal(1_000.0, 0.5));
        is_near(quantile(sizes.clone(), 0.5), 1_000.0, 0.03);
        is_near(quantile(sizes, 0.8413), 1_000.0 * libm::exp(0.5), 0.03);
        // Of a Pareto the median is least * 2^(1/alpha).
        is_near(quantile(drawn(|rng| rng.pareto(1.0, 1.5, 1e9)), 0.5), 1.587, 0.03);
        // SURGE: 7 % of objects at or over 133,000 bytes; of the body the median is 11,580.
        let objects = drawn(Draw::web_object_bytes);
        let large = objects.iter().filter(|&&bytes| bytes > 133_000.0).count();
        is_near(large as f64 / 20_000.0, 0.07, 0.06);
        is_near(quantile(objects, 0.5 * 0.93), libm::exp(9.357), 0.05);
    }

    #[test]
    fn the_first_is_the_most_popular() {
        let first = drawn(|rng| rng.popular(10) as f64).iter().filter(|&&at| at == 0.0).count();
        is_near(first as f64 / 20_000.0, libm::log(2.0) / libm::log(11.0), 0.05);
    }
}

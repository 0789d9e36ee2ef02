//! Quantiles of a measure from counts in buckets of equal ratio.
//!
//! DDSketch (Masson, Rim, Lee 2019) with the uniform collapse of UDDSketch (Epicoco
//! et al. 2020): a value falls into bucket `ceil(8 log2 v)`, so that quantiles are
//! within 4.4 %; where the values spread over more than [`MOST`] buckets, every two
//! become one and the error doubles. Counts are integers, so that merges of sketches
//! of the same age are exact in any order. Logarithms are libm's.
//!
//! Forgetting: [`Sketch::halve`], once each half-life. A minute counts [`MINUTE`]
//! units and is gone after five halvings.

use super::wire::{Reader, Writer};

/// Buckets of a sketch: 280 bytes.
const MOST: usize = 40;
/// Units that one value counts.
pub(super) const MINUTE: u32 = 16;
/// Buckets an octave before any collapse: 9 % wide.
const PER_OCTAVE: f64 = 8.0;
/// Values up to here count as zero.
const ZERO: f64 = 1.0 / 1024.0;
/// Collapses: then a bucket spans 16 octaves, and 40 of them every number.
const LEVELS: u8 = 7;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sketch {
    level: u8,
    zero: u32,
    max: f64,
    /// By bucket, ascending.
    buckets: Vec<(i16, u32)>,
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { return };
        self.max = self.max.max(value);
        if value <= ZERO {
            self.zero = self.zero.saturating_add(MINUTE);
            return;
        }
        let bucket = libm::ceil(PER_OCTAVE * libm::log2(value)) as i16;
        self.put(coarser(bucket, self.level), MINUTE);
        self.fit();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        while self.level < other.level {
            self.collapse();
        }
        for &(bucket, units) in &other.buckets {
            self.put(coarser(bucket, self.level - other.level), units);
        }
        self.zero = self.zero.saturating_add(other.zero);
        self.max = self.max.max(other.max);
        self.fit();
    }

    /// Forgets half of it, so many times.
    pub(super) fn halve(&mut self, times: u32) {
        let halved = |units: u32| units.checked_shr(times).unwrap_or(0);
        self.zero = halved(self.zero);
        self.buckets.iter_mut().for_each(|(_, units)| *units = halved(*units));
        self.buckets.retain(|&(_, units)| units > 0);
        let top = self.buckets.last().map_or(0.0, |&(bucket, _)| self.edge(f64::from(bucket)));
        self.max = self.max.min(top);
    }

    /// Values in it; forgotten ones count less.
    pub(super) fn count(&self) -> f64 {
        self.units() as f64 / f64::from(MINUTE)
    }

    pub(super) fn max(&self) -> f64 {
        self.max
    }

    /// The smallest value with more than this share at or below it.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        quantile_of(self.values(), self.units(), share)
    }

    /// Median absolute deviation from a value.
    pub(super) fn deviation(&self, from: f64) -> f64 {
        let mut off: Vec<(f64, u32)> =
            self.values().map(|(value, units)| ((value - from).abs(), units)).collect();
        off.sort_by(|x, y| x.0.total_cmp(&y.0));
        quantile_of(off.into_iter(), self.units(), 0.5)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.zero == 0 && self.buckets.is_empty()
    }

    /// What the heap holds of it.
    pub(super) fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(i16, u32)>()
    }

    fn units(&self) -> u64 {
        let buckets = self.buckets.iter().map(|&(_, units)| u64::from(units));
        u64::from(self.zero) + buckets.sum::<u64>()
    }

    /// Values with their units, ascending.
    fn values(&self) -> impl Iterator<Item = (f64, u32)> {
        let zero = (self.zero > 0).then_some((0.0, self.zero));
        let middle = |bucket: i16| self.edge(f64::from(bucket) - 0.5).min(self.max);
        let others = self.buckets.iter().map(move |&(bucket, units)| (middle(bucket), units));
        zero.into_iter().chain(others)
    }

    /// Upper end of a bucket.
    fn edge(&self, bucket: f64) -> f64 {
        libm::exp2(bucket * f64::from(1_u32 << self.level) / PER_OCTAVE)
    }

    fn put(&mut self, bucket: i16, units: u32) {
        match self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(at) => {
                let sum = &mut self.buckets[at].1;
                *sum = sum.saturating_add(units);
            }
            Err(at) => {
                if self.buckets.len() == self.buckets.capacity() {
                    self.buckets.reserve_exact(4);
                }
                self.buckets.insert(at, (bucket, units));
            }
        }
    }

    fn fit(&mut self) {
        self.fit_to(MOST);
    }

    /// Collapses it until it has no more buckets than that.
    pub(super) fn fit_to(&mut self, most: usize) {
        while self.buckets.len() > most && self.level < LEVELS {
            self.collapse();
        }
    }

    /// Makes one bucket of every two.
    pub(super) fn collapse(&mut self) {
        if self.level == LEVELS {
            return;
        }
        self.level += 1;
        self.buckets.iter_mut().for_each(|(bucket, _)| *bucket = coarser(*bucket, 1));
        self.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.byte(self.level);
        out.number(self.zero.into());
        out.number(self.buckets.len() as u64);
        if self.is_empty() {
            return;
        }
        out.real(self.max);
        let mut before = 0;
        for &(bucket, units) in &self.buckets {
            out.signed(i64::from(bucket) - before);
            out.number(units.into());
            before = bucket.into();
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let level = from.byte().filter(|&level| level <= LEVELS)?;
        let zero = u32::try_from(from.number()?).ok()?;
        let len = from.up_to(MOST as u64)? as usize;
        if zero == 0 && len == 0 {
            return Some(Self { level, ..Self::default() });
        }
        let max = from.real().filter(|&max| max >= 0.0)?;
        let mut buckets = Vec::with_capacity(len);
        let mut bucket = 0_i64;
        for at in 0..len {
            let step = from.signed().filter(|&step| at == 0 || step > 0)?;
            bucket = bucket.checked_add(step)?;
            let units = u32::try_from(from.number()?).ok().filter(|&units| units > 0)?;
            buckets.push((i16::try_from(bucket).ok()?, units));
        }
        Some(Self { level, zero, max, buckets })
    }
}

/// A bucket's number after so many collapses.
fn coarser(bucket: i16, times: u8) -> i16 {
    (0..times).fold(bucket, |bucket, _| (i32::from(bucket) + 1).div_euclid(2) as i16)
}

fn quantile_of(values: impl Iterator<Item = (f64, u32)>, units: u64, share: f64) -> f64 {
    let rank = share * units as f64;
    let (mut below, mut last) = (0_u64, 0.0);
    for (value, units) in values {
        last = value;
        below += u64::from(units);
        if below as f64 > rank {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|&value| sketch.add(value));
        sketch
    }

    fn merged(parts: &[&Sketch]) -> Sketch {
        let mut sum = Sketch::default();
        parts.iter().for_each(|part| sum.merge(part));
        sum
    }

    prop_compose! {
        fn values()(many in prop::collection::vec((0.0..60.0, any::<bool>()), 0..200)) -> Vec<f64> {
            many.iter().map(|&(log, zero)| if zero { 0.0 } else { libm::exp2(log) }).collect()
        }
    }

    proptest! {
        #[test]
        fn merges_are_the_same_in_any_order(a in values(), b in values(), c in values()) {
            let (x, y, z) = (of(&a), of(&b), of(&c));
            let one = merged(&[&x, &y, &z]);
            prop_assert_eq!(&one, &merged(&[&z, &y, &x]));
            prop_assert_eq!(&one, &merged(&[&y, &merged(&[&z, &x])]));
            let all: Vec<f64> = [a, b, c].concat();
            prop_assert_eq!(&one, &of(&all));
        }

        #[test]
        fn quantiles_are_as_close_as_buckets(
            mut values in prop::collection::vec(1.0..1e4_f64, 1..300),
            share in 0.0..0.999,
        ) {
            let sketch = of(&values);
            values.sort_by(f64::total_cmp);
            let exact = values[(share * values.len() as f64) as usize];
            // Half a bucket, of a quarter octave at most: 13 octaves in 40.
            let error = (libm::log2(sketch.quantile(share)) - libm::log2(exact)).abs();
            prop_assert!(error <= 0.25 + 1e-9, "{} for {exact}", sketch.quantile(share));
        }

        #[test]
        fn bytes_come_back(values in values(), halvings in 0_u32..4) {
            let mut sketch = of(&values);
            sketch.halve(halvings);
            let mut writer = Writer::default();
            sketch.encode(&mut writer);
            let mut reader = Reader(&writer.0);
            let back = Sketch::decode(&mut reader);
            prop_assert!(reader.0.is_empty());
            let back = back.expect("what was written is read");
            prop_assert_eq!(back.values().collect::<Vec<_>>(), sketch.values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_error_is_small_where_values_are_close() {
        let values: Vec<f64> = (0..1000).map(|n| 1000.0 + f64::from(n)).collect();
        let sketch = of(&values);
        assert!((sketch.quantile(0.5) / 1500.0 - 1.0).abs() < 0.05, "{}", sketch.quantile(0.5));
        assert!((sketch.deviation(1500.0) - 250.0).abs() < 60.0, "{}", sketch.deviation(1500.0));
        assert_eq!(sketch.max(), 1999.0);
    }

    #[test]
    fn what_is_old_is_gone_after_five_halvings() {
        let mut sketch = of(&[10.0]);
        sketch.halve(4);
        assert!(!sketch.is_empty());
        sketch.halve(1);
        assert!(sketch.is_empty());
        assert_eq!((sketch.max(), sketch.quantile(0.99)), (0.0, 0.0));
    }
}

//! The hours of the week: what each of the 168 usually has in a minute.
//!
//! While an hour goes on its minutes are counted; when it is over, its median and its
//! highest minute go into its place in the week, in quarter octaves (19 %). The median
//! moves by the hour's share of what is known (a fifth at least, so that forgetting
//! has the half-life of three weeks); the highest falls as slowly and rises at once.
//! So one odd hour does not make a normal, and a regular one is known after its third
//! time. Hours are UTC; daylight saving shifts them twice a year.
//!
//! A measure is named by its place among those of its season: [`TRAFFIC`] come together
//! each minute, [`ANSWERS`] one by one.
//!
//! An hour of the day is its seven hours of the week together. Narrow figures are
//! drawn towards the wider ones by `n / (n + k)` with k = [`TRUSTED`] minutes.

use super::metric::Metric;
use super::normal::{Basis, Normal};
use super::wire::{Reader, Writer};

/// What of traffic is told apart by hours.
pub(super) const TRAFFIC: [Metric; 4] =
    [Metric::EgressBytes, Metric::EgressPackets, Metric::EgressFlows, Metric::Destinations];

/// What of a target's answers is.
pub(super) const ANSWERS: [Metric; 2] = [Metric::Errors4xx, Metric::Errors5xx];

const HOURS: u8 = 168;
/// Minutes of an hour from which its own figures weigh as much as the wider ones:
/// three weeks of it (METHODS 8).
const TRUSTED: f64 = 180.0;
/// Under a full hour nothing is said of it.
const LEAST: f64 = 60.0;
/// Days of the week that make what an hour's busiest minute reaches a habit: one odd day
/// does not, nor does a second.
const REGULAR_DAYS: usize = 3;
/// Values of an hour that are told apart; others join their neighbour.
const VALUES: usize = 24;
/// Deviations in quarter octaves, and over.
const SPREADS: usize = 16;

/// The hours of so many measures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Season<const N: usize> {
    /// By hour of the week, ascending.
    cells: Vec<Cell<N>>,
    /// Minutes by how far they lay from their hour's median.
    spreads: [[u16; SPREADS]; N],
    open: Open<N>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell<const N: usize> {
    hour: u8,
    /// Pairs of minutes.
    weight: u8,
    levels: [Level; N],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Level {
    median: u8,
    high: u8,
}

/// The hour that goes on.
#[derive(Clone, Debug, PartialEq)]
struct Open<const N: usize> {
    /// Since the epoch.
    hour: i64,
    minutes: u8,
    /// Minutes by level, ascending.
    counts: [Vec<(u8, u8)>; N],
}

impl<const N: usize> Default for Season<N> {
    fn default() -> Self {
        Self { cells: Vec::new(), spreads: [[0; SPREADS]; N], open: Open::default() }
    }
}

impl<const N: usize> Default for Open<N> {
    fn default() -> Self {
        Self { hour: 0, minutes: 0, counts: [const { Vec::new() }; N] }
    }
}

/// Hour of the week, from Monday at midnight.
fn hour_of_week(hour: i64) -> u8 {
    (hour + 72).rem_euclid(HOURS.into()) as u8
}

/// Quarter octaves; 0 for what is less than one.
fn level_of(value: f64) -> u8 {
    if value < 1.0 {
        return 0;
    }
    (1.0 + libm::round(4.0 * libm::log2(value))).min(255.0) as u8
}

fn value_of(level: u8) -> f64 {
    match level {
        0 => 0.0,
        level => libm::exp2((f64::from(level) - 1.0) / 4.0),
    }
}

impl<const N: usize> Season<N> {
    /// Takes a minute in.
    pub(super) fn add(&mut self, at_s: i64, values: [f64; N]) {
        self.begin(at_s);
        self.open.minutes = self.open.minutes.saturating_add(1);
        for (counts, value) in self.open.counts.iter_mut().zip(values) {
            count(counts, level_of(value));
        }
    }

    /// Takes one measure of a minute in, where they come one by one.
    pub(super) fn add_one(&mut self, at_s: i64, at: usize, value: f64) {
        self.begin(at_s);
        let Some(counts) = self.open.counts.get_mut(at) else { return };
        count(counts, level_of(value));
        let minutes = counts.iter().fold(0_u8, |sum, &(_, minutes)| sum.saturating_add(minutes));
        self.open.minutes = self.open.minutes.max(minutes);
    }

    fn begin(&mut self, at_s: i64) {
        let hour = at_s.div_euclid(3600);
        if hour != self.open.hour {
            self.close();
            self.open.hour = hour;
        }
    }

    /// Puts the open hour into its place.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.minutes == 0 {
            return;
        }
        let minutes = f64::from(open.minutes);
        let hour = hour_of_week(open.hour);
        let at = self.cells.binary_search_by_key(&hour, |cell| cell.hour).unwrap_or_else(|at| {
            self.cells.reserve_exact(1);
            self.cells.insert(at, Cell { hour, weight: 0, levels: [Level::default(); N] });
            at
        });
        let Some(cell) = self.cells.get_mut(at) else { return };
        let known = f64::from(cell.weight) * 2.0;
        let share = (minutes / (minutes + known)).max(0.2);
        for (at, counts) in open.counts.iter().enumerate() {
            let Level { median, high } = &mut cell.levels[at];
            let of_hour = middle(counts, open.minutes);
            *median = towards(*median, of_hour, share);
            let highest = counts.last().map_or(0, |&(level, _)| level);
            *high = highest.max(towards(*high, highest, share));
            let spreads = &mut self.spreads[at];
            for &(level, minutes) in counts {
                let off = usize::from(level.abs_diff(*median)).min(SPREADS - 1);
                spreads[off] = spreads[off].saturating_add(minutes.into());
            }
            if spreads.iter().any(|&minutes| minutes > u16::MAX / 2) {
                spreads.iter_mut().for_each(|minutes| *minutes /= 2);
            }
        }
        let minutes = open.minutes.div_ceil(2);
        cell.weight = cell.weight.saturating_add(minutes);
    }

    pub(super) fn halve(&mut self, times: u32) {
        self.cells.iter_mut().for_each(|cell| {
            cell.weight = cell.weight.checked_shr(times).unwrap_or(0);
        });
        self.cells.retain(|cell| cell.weight > 0);
        self.spreads.iter_mut().flatten().for_each(|minutes| {
            *minutes = minutes.checked_shr(times).unwrap_or(0);
        });
    }

    /// Of two of the same entity, or of the same role: by their weights.
    pub(super) fn merge(&mut self, other: &Self) {
        self.close();
        let mut other = other.clone();
        other.close();
        for theirs in other.cells {
            match self.cells.binary_search_by_key(&theirs.hour, |cell| cell.hour) {
                Ok(at) => self.cells[at].merge(&theirs),
                Err(at) => self.cells.insert(at, theirs),
            }
        }
        for (sum, more) in self.spreads.iter_mut().flatten().zip(other.spreads.iter().flatten()) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// Draws the normal of all minutes towards that of the hour, as far as it is known.
    pub(super) fn narrow(&self, at: usize, at_s: i64, all: Normal) -> Normal {
        let hour = hour_of_week(at_s.div_euclid(3600));
        let day: Vec<&Cell<N>> =
            self.cells.iter().filter(|cell| cell.hour % 24 == hour % 24).collect();
        let day_minutes = day.iter().map(|cell| cell.minutes()).sum::<f64>();
        if day_minutes < LEAST {
            return all;
        }
        let mut medians: Vec<(u8, u8)> =
            day.iter().map(|cell| (cell.levels[at].median, cell.weight)).collect();
        medians.sort_unstable();
        let total = medians.iter().map(|&(_, weight)| u32::from(weight)).sum::<u32>();
        let median = middle_of(&medians, total);
        let high = day.iter().map(|cell| cell.levels[at].high).max().unwrap_or(0);
        let mut normal = draw(all, day_minutes, median, high, Basis::HourOfDay);
        normal.regular = self.regular(at, at_s);
        if let Some(cell) = day.iter().find(|cell| cell.hour == hour)
            && cell.minutes() >= LEAST
        {
            let Level { median, high } = cell.levels[at];
            normal = draw(normal, cell.minutes(), median, high, Basis::HourOfWeek);
        }
        if normal.basis != Basis::All {
            normal.sigma = 1.4826 * normal.median * (libm::exp2(self.spread(at) / 4.0) - 1.0);
        }
        normal
    }

    /// What the busiest minute of this hour of the day reaches on [`REGULAR_DAYS`] days of the
    /// week at least.
    pub(super) fn regular(&self, at: usize, at_s: i64) -> f64 {
        let hour = hour_of_week(at_s.div_euclid(3600)) % 24;
        let days = self.cells.iter().filter(|cell| cell.hour % 24 == hour);
        let mut highs: Vec<u8> = days.map(|cell| cell.levels[at].high).collect();
        highs.sort_unstable_by(|x, y| y.cmp(x));
        highs.get(REGULAR_DAYS - 1).map_or(0.0, |&level| value_of(level))
    }

    /// Median distance from the hour's median, in quarter octaves.
    fn spread(&self, at: usize) -> f64 {
        let spreads = &self.spreads[at];
        let half = spreads.iter().map(|&minutes| f64::from(minutes)).sum::<f64>() / 2.0;
        let mut below = 0.0;
        for (off, &minutes) in spreads.iter().enumerate() {
            let minutes = f64::from(minutes);
            if minutes > 0.0 && below + minutes >= half {
                return (off as f64 + (half - below) / minutes - 0.5).max(0.0);
            }
            below += minutes;
        }
        0.0
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let counts = self.open.counts.iter().map(|counts| counts.capacity() * 2).sum::<usize>();
        self.cells.capacity() * size_of::<Cell<N>>() + counts
    }

    /// Leaves out the hours of which least is known.
    pub(super) fn keep_heaviest(&mut self, most: usize) {
        let mut weights: Vec<u8> = self.cells.iter().map(|cell| cell.weight).collect();
        weights.sort_unstable_by(|x, y| y.cmp(x));
        if let Some(&least) = weights.get(most) {
            self.cells.retain(|cell| cell.weight > least);
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.number(self.cells.len() as u64);
        for cell in &self.cells {
            out.byte(cell.hour);
            out.byte(cell.weight);
            for level in &cell.levels {
                out.byte(level.median);
                out.byte(level.high);
            }
        }
        for &minutes in self.spreads.iter().flatten() {
            out.number(minutes.into());
        }
        out.signed(self.open.hour);
        out.byte(self.open.minutes);
        for counts in &self.open.counts {
            out.number(counts.len() as u64);
            for &(level, minutes) in counts {
                out.byte(level);
                out.byte(minutes);
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let mut season = Self::default();
        let len = from.up_to(HOURS.into())?;
        season.cells.reserve_exact(len as usize);
        for _ in 0..len {
            let hour = from.byte().filter(|&hour| hour < HOURS)?;
            if season.cells.last().is_some_and(|last| last.hour >= hour) {
                return None;
            }
            let weight = from.byte()?;
            let mut cell = Cell { hour, weight, levels: [Level::default(); N] };
            for level in &mut cell.levels {
                *level = Level { median: from.byte()?, high: from.byte()? };
            }
            season.cells.push(cell);
        }
        for minutes in season.spreads.iter_mut().flatten() {
            *minutes = u16::try_from(from.number()?).ok()?;
        }
        season.open.hour = from.signed()?;
        season.open.minutes = from.byte()?;
        for counts in &mut season.open.counts {
            let len = from.up_to(VALUES as u64)?;
            for _ in 0..len {
                let (level, minutes) = (from.byte()?, from.byte()?);
                if counts.last().is_some_and(|&(last, _)| last >= level) {
                    return None;
                }
                counts.push((level, minutes));
            }
        }
        Some(season)
    }
}

impl<const N: usize> Cell<N> {
    fn minutes(&self) -> f64 {
        f64::from(self.weight) * 2.0
    }

    fn merge(&mut self, other: &Self) {
        let (mine, theirs) = (u32::from(self.weight), u32::from(other.weight));
        let total = (mine + theirs).max(1);
        for (level, other) in self.levels.iter_mut().zip(&other.levels) {
            let sum = u32::from(level.median) * mine + u32::from(other.median) * theirs;
            level.median = ((sum + total / 2) / total) as u8;
            level.high = level.high.max(other.high);
        }
        self.weight = self.weight.saturating_add(other.weight);
    }
}

fn count(counts: &mut Vec<(u8, u8)>, level: u8) {
    let at = match counts.binary_search_by_key(&level, |&(level, _)| level) {
        Ok(at) => at,
        Err(at) if counts.len() < VALUES => {
            counts.reserve_exact(1);
            counts.insert(at, (level, 0));
            at
        }
        Err(at) => at.min(VALUES - 1),
    };
    if let Some((_, minutes)) = counts.get_mut(at) {
        *minutes = minutes.saturating_add(1);
    }
}

fn middle(counts: &[(u8, u8)], minutes: u8) -> u8 {
    middle_of(counts, minutes.into())
}

/// Median of levels with their weights.
fn middle_of(levels: &[(u8, u8)], total: u32) -> u8 {
    let mut below = 0;
    for &(level, weight) in levels {
        below += u32::from(weight);
        if below * 2 >= total {
            return level;
        }
    }
    levels.last().map_or(0, |&(level, _)| level)
}

/// A level moved by a share of the way, one step at least.
fn towards(from: u8, to: u8, share: f64) -> u8 {
    let way = f64::from(to) - f64::from(from);
    let step = libm::round(way * share);
    let step = if step == 0.0 { libm::copysign(way.abs().min(1.0), way) } else { step };
    (f64::from(from) + step) as u8
}

/// Draws a wider normal towards a narrower one, as far as its minutes go.
fn draw(wide: Normal, minutes: f64, median: u8, high: u8, basis: Basis) -> Normal {
    let share = minutes / (minutes + TRUSTED);
    let mix = |wide: f64, level: u8| {
        let log = |value: f64| libm::log2(value.max(1.0));
        let mixed = libm::exp2(log(wide) * (1.0 - share) + log(value_of(level)) * share);
        if wide < 1.0 && level == 0 { 0.0 } else { mixed }
    };
    let own = share >= 0.5;
    Normal {
        median: mix(wide.median, median),
        q99: mix(wide.q99, high),
        minutes: if own { minutes as u64 } else { wide.minutes },
        basis: if own { basis } else { wide.basis },
        ..wide
    }
}
